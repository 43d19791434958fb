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
async fn restricted(plane: &'static ControlPlane, name: &str) -> Namespace<'static> {
    let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
    plane.create(&object.to_string()).await;
    Namespace { plane, name: name.to_owned() }
}

/// A control plane without definitions: they come with the chart. It ends with the process.
pub(super) async fn plane() -> &'static ControlPlane {
    Box::leak(Box::new(ControlPlane::start_without_kinds(Parts::All).await))
}

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// The ids of the definitions that are there.
async fn definitions(plane: &ControlPlane) -> Vec<(String, String)> {
    let all = plane.request(Method::GET, DEFINITIONS, None).await.unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let all = all["items"].as_array().unwrap().iter();
    all.map(|object| (text(&object["metadata"]["name"]), text(&object["metadata"]["uid"]))).collect()
}

async fn records(plane: &ControlPlane) -> usize {
    let all = plane.request(Method::GET, "/apis/supercargo.dev/v1alpha1/imageupdates", None).await.unwrap();
    all["items"].as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_does_the_whole_job_and_leaves_records_through_its_life() {
    let (plane, registries) = (plane().await, Registries::start().await);
    let home = restricted(plane, "supercargo").await;
    let helm = Helm::new(plane);
    helm.run(&["install", "supercargo", "deploy/chart", "--namespace", "supercargo", "--wait", "--timeout=2m"]);
    let objects = helm.objects("supercargo");
    assert_eq!(helm.missing(&objects), [""; 0]);
    assert_eq!(definitions(plane).await.len(), 3);

    // The pod of the release is kwok's; the program runs beside it.
    let operator = Operator::spawn(plane, &as_deployed(plane, &objects).await);
    let namespace = plane.namespace("job").await;
    Job::new(namespace, &registries, &[DEFAULTS]).await.done(&operator).await;
    let user = account("supercargo");
    let (used, forbidden) = asked(plane, &user);
    assert_eq!(of_the_job(used), of_the_job(rights(&objects)), "what is granted is what is used");
    assert!(forbidden.is_empty(), "{forbidden:?}");
    drop(operator);

    let (defined, recorded) = (definitions(plane).await, records(plane).await);
    assert!(recorded > 0);
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
    let (plane, registries) = (plane().await, Registries::start().await);
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
    let plane = plane().await;
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
        assert_eq!(kubelet_of_the_test(plane, &objects).await, good);
        let tested = testing.await.unwrap();
        assert_eq!(tested.status.success(), good, "{}", String::from_utf8_lossy(&tested.stderr));
    }
    assert!(home.get("deployments", "supercargo").await["spec"].is_object());
}
