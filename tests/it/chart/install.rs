//! The chart on a real API server: installed, upgraded, rolled back, uninstalled, and the program with the rights it gives.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use http::Method;
use serde_json::{Value, json};

use super::{chart, helm, kubelet_of_the_test};
use crate::{
    deploy::{
        account, as_deployed, asked, has_right,
        job::{DEFAULTS, Job, Registries},
        of_kind, rights,
        rights::{of_the_job, right},
    },
    support::{
        control_plane::{ADMIN, ControlPlane, Namespace, Parts},
        eventually,
        operator::Operator,
    },
};

/// Helm as the administrator of a control plane.
pub(super) struct Helm<'a> {
    plane: &'a ControlPlane,
    pub(super) home: tempfile::TempDir,
    pub(super) kubeconfig: PathBuf,
}

impl<'a> Helm<'a> {
    pub(super) fn new(plane: &'a ControlPlane) -> Self {
        Self { plane, home: tempfile::tempdir().unwrap(), kubeconfig: plane.kubeconfig(ADMIN) }
    }

    pub(super) fn command(&self, args: &[&str]) -> Command {
        let mut command = helm(self.home.path());
        command.args(args).env("KUBECONFIG", &self.kubeconfig);
        command
    }

    pub(super) fn run(&self, args: &[&str]) -> String {
        let output = self.command(args).output().unwrap();
        assert!(output.status.success(), "helm {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The objects of a release, as they were sent.
    pub(super) fn objects(&self, namespace: &str) -> Vec<Value> {
        let text = self.run(&["get", "manifest", "supercargo", "--namespace", namespace]);
        let objects: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        objects.into_iter().filter(|object| !object.is_null()).collect()
    }

    /// Whether each of these objects is there; those that are not.
    fn missing(&self, objects: &[Value]) -> Vec<String> {
        let mut missing = Vec::new();
        for object in objects {
            let (kind, name) = (object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap());
            let mut args = vec!["get", kind, name, "--output=name"];
            if let Some(namespace) = object["metadata"]["namespace"].as_str() {
                args.extend(["--namespace", namespace]);
            }
            if !self.plane.kubectl_as(&self.kubeconfig, &args).status.success() {
                missing.push(format!("{kind} {name}"));
            }
        }
        missing
    }
}

/// A namespace as the page says to make it.
async fn restricted<'a>(plane: &'a ControlPlane, name: &str) -> Namespace<'a> {
    let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
    plane.create(&object.to_string()).await;
    Namespace { plane, name: name.to_owned() }
}

/// A control plane without definitions: they come with the chart.
pub(super) async fn plane() -> ControlPlane {
    ControlPlane::start_without_kinds(Parts::All).await
}

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// The ids of the definitions that are there.
async fn definitions(plane: &ControlPlane) -> Vec<(String, String)> {
    let all = plane.request(Method::GET, DEFINITIONS, None).await.unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let all = all["items"].as_array().unwrap().iter();
    all.map(|object| (text(&object["metadata"]["name"]), text(&object["metadata"]["uid"]))).collect()
}

/// The ids of the records of workloads that are there: those of others go with them, when that is noticed.
async fn records(plane: &ControlPlane) -> BTreeSet<String> {
    let all = plane.request(Method::GET, "/apis/supercargo.dev/v1alpha1/imageupdates", None).await.unwrap();
    let mut ids = BTreeSet::new();
    for record in all["items"].as_array().unwrap() {
        let (metadata, owner) = (&record["metadata"], &record["metadata"]["ownerReferences"][0]);
        let [version, kind, name] =
            ["apiVersion", "kind", "name"].map(|key| owner[key].as_str().unwrap_or_default().to_lowercase());
        let namespace = metadata["namespace"].as_str().unwrap();
        let path = format!("/apis/{version}/namespaces/{namespace}/{kind}s/{name}");
        let found = plane.request(Method::GET, &path, None).await;
        if found.is_ok_and(|object| object["metadata"]["uid"] == owner["uid"]) {
            ids.insert(metadata["uid"].as_str().unwrap().to_owned());
        }
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_does_the_whole_job_and_leaves_records_through_its_life() {
    let (plane, registries) = (&plane().await, Registries::start().await);
    let home = restricted(plane, "supercargo").await;
    let helm = Helm::new(plane);
    helm.run(&["install", "supercargo", "deploy/chart", "--namespace", "supercargo", "--wait", "--timeout=2m"]);
    let objects = helm.objects("supercargo");
    assert_eq!(helm.missing(&objects), [""; 0]);
    assert_eq!(definitions(plane).await.len(), 4);

    // The pod of the release is kwok's; the program runs beside it.
    let operator = Operator::spawn(plane, &as_deployed(plane, &objects).await);
    let namespace = plane.namespace_with("job", json!({})).await;
    Job::new(namespace, &registries, &[DEFAULTS]).await.done(&operator).await;
    let user = account("supercargo");
    let (used, forbidden) = asked(plane, &user);
    assert_eq!(of_the_job(used), of_the_job(rights(&objects)), "what is granted is what is used");
    assert!(forbidden.is_empty(), "{forbidden:?}");
    drop(operator);

    let (defined, recorded) = (definitions(plane).await, records(plane).await);
    assert!(!recorded.is_empty());
    let unchanged = async || {
        assert_eq!(definitions(plane).await, defined);
        assert_eq!(records(plane).await, recorded);
    };
    let secrets = right("", "secrets", "get");
    has_right(&home, &user, &secrets, false).await;
    let upgrade = ["upgrade", "supercargo", "deploy/chart", "--namespace", "supercargo", "--wait", "--timeout=2m"];
    let values = ["--set=pullSecrets=all", "--set=config.privateAddresses=deny"];
    helm.run(&[&upgrade[..], &values].concat());
    has_right(&home, &user, &secrets, true).await;
    let config =
        async || home.get("configmaps", "supercargo").await["data"]["config.yaml"].as_str().unwrap().to_owned();
    assert!(config().await.ends_with("\nprivateAddresses: deny\n"));
    unchanged().await;

    helm.run(&["rollback", "supercargo", "1", "--namespace", "supercargo", "--wait", "--timeout=2m"]);
    has_right(&home, &user, &secrets, false).await;
    assert!(!config().await.contains("deny"));
    unchanged().await;

    // A definition of a newer version comes with the upgrade.
    let folder = tempfile::tempdir().unwrap();
    let newer = newer_chart(folder.path());
    helm.run(&["upgrade", "supercargo", &newer, "--namespace", "supercargo"]);
    let newest = plane.request(Method::GET, &format!("{DEFINITIONS}/imagestates.supercargo.dev"), None).await.unwrap();
    assert_eq!(newest["spec"]["names"]["shortNames"], json!(["newer"]));
    unchanged().await;

    helm.run(&["uninstall", "supercargo", "--namespace", "supercargo", "--wait"]);
    let (kept, gone): (Vec<Value>, Vec<Value>) =
        objects.into_iter().partition(|object| object["kind"] == "CustomResourceDefinition");
    assert_eq!(helm.missing(&kept), [""; 0]);
    assert_eq!(helm.missing(&gone).len(), gone.len(), "nothing else is left");
    unchanged().await;

    // The next release of the name finds what was kept, and takes it with it if that is said.
    helm.run(&["install", "supercargo", "deploy/chart", "--namespace", "supercargo", "--set=crds.keep=false"]);
    unchanged().await;
    helm.run(&["uninstall", "supercargo", "--namespace", "supercargo", "--wait"]);
    eventually("the definitions are gone", async || definitions(plane).await.is_empty().then_some(())).await;
}

/// A copy of the chart in which a definition is another.
fn newer_chart(folder: &Path) -> String {
    let copied = Command::new("cp").arg("-r").arg(chart()).arg(folder).status().unwrap();
    assert!(copied.success());
    let path = folder.join("chart/files/crds/imagestates.yaml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("shortNames: [ims]"));
    fs::write(&path, text.replace("shortNames: [ims]", "shortNames: [newer]")).unwrap();
    folder.join("chart").to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_for_one_namespace_needs_no_right_outside_it() {
    let (plane, registries) = (&plane().await, Registries::start().await);
    plane.define_kinds().await;
    let home = restricted(plane, "apps").await;
    let helm = Helm::new(plane);
    let values = ["--set=scope=namespace", "--set=crds.install=false"];
    helm.run(&[&["install", "supercargo", "deploy/chart", "--namespace", "apps", "--wait"][..], &values].concat());
    let objects = helm.objects("apps");
    assert_eq!(helm.missing(&objects), [""; 0]);
    assert!(objects.iter().all(|object| object["metadata"]["namespace"] == "apps"));
    let of_clusters = ["ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"];
    assert!(of_clusters.into_iter().all(|kind| of_kind(&objects, kind).next().is_none()));

    // Pods of the job are no pods as Pod Security wants them.
    let label = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": null}}});
    plane.request(Method::PATCH, "/api/v1/namespaces/apps", Some(&label)).await.unwrap();
    let operator = Operator::spawn(plane, &as_deployed(plane, &objects).await);
    Job::new(home, &registries, &[]).await.done(&operator).await;
    let (used, forbidden) = asked(plane, &account("apps"));
    assert_eq!(of_the_job(used), of_the_job(rights(&objects)), "what is granted is what is used");
    assert_eq!(forbidden, BTreeSet::from([right("", "namespaces", "list")]), "which it does without");
}

/// With the test in the kubelet's place: it runs the program as the pod says, and tells how that ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_is_named_before_anything_is_installed_or_by_helm_test() {
    let plane = &plane().await;
    let home = restricted(plane, "supercargo").await;
    let helm = Helm::new(plane);
    for (value, named) in [
        ("replicas=0", "replicas"),
        (r#"scope="team""#, "at '/scope'"),
        (r#"affinity={"nodeAffinity":{"wrong":[]}}"#, "at '/affinity/nodeAffinity'"),
    ] {
        let args = ["install", "supercargo", "deploy/chart", "--namespace", "supercargo", "--set-json", value];
        let output = helm.command(&args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(named), "{value}: {said}");
        assert!(definitions(plane).await.is_empty(), "{value}: {said}");
    }

    // No Node has it, so that nothing but this test says what becomes of the pods.
    let release = ["supercargo", "deploy/chart", "--namespace", "supercargo", "--set=nodeSelector.no=node"];
    for (verb, value, good) in [
        ("install", "--set-json=config.guards=[{\"namespaces\":[\"*\"],\"policies\":[\"patch\"]}]", true),
        ("upgrade", "--set-json=config.guards=[{\"namespaces\":[\"*\"],\"policies\":[\"ptach\"]}]", false),
    ] {
        helm.run(&[&[verb][..], &release, &[value]].concat());
        let objects = helm.objects("supercargo");
        let mut test = helm.command(&["test", "supercargo", "--namespace", "supercargo", "--timeout=2m"]);
        let testing = tokio::task::spawn_blocking(move || test.output().unwrap());
        let output = kubelet_of_the_test(plane, &objects).await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.success(), said.contains("ptach")), (good, !good), "{said}");
        let tested = testing.await.unwrap();
        assert_eq!(tested.status.success(), good, "{}", String::from_utf8_lossy(&tested.stderr));
        // What failed can be looked at.
        let pods = plane.request(Method::GET, PODS_OF_TESTS, None).await.unwrap();
        let there =
            pods["items"].as_array().unwrap().iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        assert_eq!(there.count(), usize::from(!good));
        let suites = helm.run(&["status", "supercargo", "--namespace", "supercargo"]);
        let phase = if good { "Succeeded" } else { "Failed" };
        assert!(suites.lines().any(|line| line.starts_with("Phase:") && line.ends_with(phase)), "{suites}");
    }
    // The release has what was refused: the test only tells.
    let config = home.get("configmaps", "supercargo").await["data"]["config.yaml"].as_str().unwrap().to_owned();
    assert!(config.contains("ptach"), "{config}");
}

const PODS_OF_TESTS: &str =
    "/api/v1/namespaces/supercargo/pods?labelSelector=app.kubernetes.io%2Fname%3Dcheck-supercargo";

/// What an upgrade and a rollback may change, on a release that is there.
#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_takes_other_variables_and_names_and_leaves_definitions_alone() {
    let plane = &plane().await;
    let home = restricted(plane, "supercargo").await;
    let helm = Helm::new(plane);
    let release = |verb: &str, values: &[&str]| {
        // Without any Helm would take those of before.
        let reset = if verb == "upgrade" { "--reset-values" } else { "--set=scope=cluster" };
        let values: Vec<&str> = values.iter().flat_map(|value| ["--set-json", value]).chain([reset]).collect();
        helm.command(&[&[verb, "supercargo", "deploy/chart", "--namespace", "supercargo"][..], &values].concat())
    };
    let done = |verb: &str, values: &[&str]| {
        let output = release(verb, values).output().unwrap();
        assert!(output.status.success(), "{verb} {values:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let env = async || {
        let deployment = home.get("deployments", "supercargo").await;
        deployment.pointer("/spec/template/spec/containers/0/env").unwrap().as_array().unwrap().clone()
    };
    done("install", &[]);
    let (defined, plain) = (definitions(plane).await, env().await);
    assert_eq!(defined.len(), 4);

    // A text becomes a reference to a Secret, and another variable goes.
    done("upgrade", &[r#"extraEnv=[{"name":"A","value":"1"},{"name":"B","value":"2"}]"#]);
    let more = [json!({"name": "A", "value": "1"}), json!({"name": "B", "value": "2"})];
    assert_eq!(env().await, [&plain[..], &more].concat());
    let secret = json!({"secretKeyRef": {"name": "b", "key": "b"}});
    done("upgrade", &[&format!(r#"extraEnv=[{{"name":"B","valueFrom":{secret}}}]"#)]);
    assert_eq!(env().await, [&plain[..], &[json!({"name": "B", "valueFrom": secret})]].concat());
    done("upgrade", &[]);
    assert_eq!(env().await, plain);

    // The name is in what selects the pod: where the Deployment stays the same one, that is refused before anything is changed.
    let asked = async || {
        let object = home.get("deployments", "supercargo").await;
        (object["spec"].clone(), object["metadata"]["generation"].clone())
    };
    let before = (helm.run(&["history", "supercargo", "--namespace", "supercargo"]), asked().await);
    let output = release("upgrade", &[r#"nameOverride="cargo""#, r#"pullSecrets="all""#]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("nameOverride: the release was installed with `supercargo`"),
        "{said}"
    );
    let after = (helm.run(&["history", "supercargo", "--namespace", "supercargo"]), asked().await);
    assert_eq!(before, after);
    has_right(&home, &account("supercargo"), &right("", "secrets", "get"), false).await;
    // Where all is called otherwise, all is made anew.
    let old = helm.objects("supercargo");
    done("upgrade", &[r#"nameOverride="ships""#]);
    let new = helm.objects("supercargo");
    assert!(of_kind(&new, "Deployment").all(|object| object["metadata"]["name"] == "supercargo-ships"));
    assert_eq!(helm.missing(&new), [""; 0]);
    let gone: Vec<Value> = old.into_iter().filter(|object| object["kind"] != "CustomResourceDefinition").collect();
    assert_eq!(helm.missing(&gone).len(), gone.len());
    done("upgrade", &[]);

    // Definitions stay where they are taken back, and where a rollback brings them into the release again or out of it.
    let revision = || {
        let history = helm.run(&["history", "supercargo", "--namespace", "supercargo", "--output=json"]);
        let history: Value = serde_json::from_str(&history).unwrap();
        history.as_array().unwrap().last().unwrap()["revision"].to_string()
    };
    let with = revision();
    done("upgrade", &["crds.install=false"]);
    let without = revision();
    assert!(of_kind(&helm.objects("supercargo"), "CustomResourceDefinition").next().is_none());
    assert_eq!(definitions(plane).await, defined);
    // Of what is there and was in no revision before, Helm makes a patch that Kubernetes takes of no definition.
    let back = ["rollback", "supercargo", &with, "--namespace", "supercargo"];
    let output = helm.command(&back).output().unwrap();
    assert!(!output.status.success() && definitions(plane).await == defined);
    for (to, how, held) in [(&with, "--force", 4), (&without, "--wait", 0)] {
        helm.run(&["rollback", "supercargo", to, "--namespace", "supercargo", how]);
        assert_eq!(of_kind(&helm.objects("supercargo"), "CustomResourceDefinition").count(), held);
        assert_eq!(helm.missing(&helm.objects("supercargo")), [""; 0]);
        assert_eq!(definitions(plane).await, defined, "a rollback to {to}");
    }
    done("upgrade", &["crds.install=true"]);
    assert_eq!(definitions(plane).await, defined);
    // Also by one that has them from before.
    helm.run(&["rollback", "supercargo", &without, "--namespace", "supercargo"]);
    helm.run(&["uninstall", "supercargo", "--namespace", "supercargo", "--wait"]);
    assert_eq!(definitions(plane).await, defined);
}

/// Names that YAML reads as numbers and truths.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_may_be_called_as_a_number_or_a_truth() {
    let plane = &plane().await;
    plane.define_kinds().await;
    restricted(plane, "123").await;
    let helm = Helm::new(plane);
    for (release, values) in [
        ("1.0", &[][..]),
        ("123", &[]),
        ("1e3", &["--set=fullnameOverride=on,nameOverride=no"]),
        ("null", &["--set=fullnameOverride=y,serviceAccount.name=0x1f"]),
    ] {
        let args = ["deploy/chart", "--namespace", "123", "--set=scope=namespace,crds.install=false", "--wait"];
        let args = [&args[..], values].concat();
        helm.run(&[&["install", release][..], &args].concat());
        helm.run(&[&["upgrade", release][..], &args, &["--set=config.privateAddresses=deny"]].concat());
        helm.run(&["uninstall", release, "--namespace", "123", "--wait"]);
    }
}
