//! `deploy/chart`: what `deploy/` gives, by Helm.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use http::Method;
use serde_json::{Value, json};

use crate::support::{bin, control_plane::ControlPlane, eventually};

mod first_update;
mod install;
mod one_truth;
mod release;
mod values;

/// The version of Kubernetes that is meant where none is asked.
const KUBERNETES: &str = "--kube-version=1.36.3";

fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/chart")
}

/// Helm, without anything of the user's.
fn helm(home: &Path) -> Command {
    let mut command = Command::new(bin("helm"));
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", home).current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

/// `helm template`, of a release `supercargo` in a namespace, with these values (`path=JSON`).
fn template(release: &str, namespace: &str, values: &[&str]) -> Output {
    let home = tempfile::tempdir().unwrap();
    let mut command = helm(home.path());
    command.args(["template", release, "deploy/chart", "--namespace", namespace, KUBERNETES]);
    for value in values {
        command.args(["--set-json", value]);
    }
    command.output().unwrap()
}

/// The text of what these values make.
fn rendered_text(release: &str, namespace: &str, values: &[&str]) -> String {
    let output = template(release, namespace, values);
    assert!(output.status.success(), "{values:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The objects that these values make, and the pod of `helm test`.
fn rendered(release: &str, namespace: &str, values: &[&str]) -> (Vec<Value>, Value) {
    let all: Vec<Value> = serde_saphyr::from_multiple(&rendered_text(release, namespace, values)).unwrap();
    let is_test = |object: &Value| object["metadata"]["annotations"]["helm.sh/hook"] == "test";
    let (mut tests, objects): (Vec<Value>, _) = all.into_iter().filter(|object| !object.is_null()).partition(is_test);
    assert_eq!(tests.len(), 1, "one pod of a test");
    (objects, tests.remove(0))
}

fn parsed(path: &str) -> Value {
    let text = fs::read_to_string(chart().join(path)).unwrap();
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Files that a pod would have: what its ConfigMaps and these Secrets hold, and empty folders for the rest.
struct Mounts {
    _folder: tempfile::TempDir,
    /// From where it is in the pod to where it is here.
    places: BTreeMap<String, String>,
}

impl Mounts {
    fn of(pod: &Value, objects: &[Value], secrets: &BTreeMap<String, BTreeMap<String, Vec<u8>>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut places = BTreeMap::new();
        for mount in pod["containers"][0]["volumeMounts"].as_array().unwrap() {
            let volume =
                pod["volumes"].as_array().unwrap().iter().find(|volume| volume["name"] == mount["name"]).unwrap();
            let place = folder.path().join(volume["name"].as_str().unwrap());
            fs::create_dir(&place).unwrap();
            let name = &volume["configMap"]["name"];
            let map =
                objects.iter().find(|object| object["kind"] == "ConfigMap" && object["metadata"]["name"] == *name);
            for (key, text) in map.and_then(|map| map["data"].as_object()).into_iter().flatten() {
                fs::write(place.join(key), text.as_str().unwrap()).unwrap();
            }
            for (key, bytes) in volume["secret"]["secretName"].as_str().map(|name| &secrets[name]).into_iter().flatten()
            {
                fs::write(place.join(key), bytes).unwrap();
            }
            places.insert(mount["mountPath"].as_str().unwrap().to_owned(), place.to_str().unwrap().to_owned());
        }
        Self { _folder: folder, places }
    }

    /// A flag or a text, with the paths of here.
    fn here(&self, text: &str) -> String {
        // Those within others come first.
        self.places.iter().rev().fold(text.to_owned(), |text, (path, place)| text.replace(path, place))
    }
}

/// Runs a container of the program as its pod would: the arguments, the variables with a value, and the files.
fn as_in_the_pod(pod: &Value, objects: &[Value]) -> Output {
    let container = &pod["containers"][0];
    let tokens = ["bot-token", "app-token"].map(|key| (key.to_owned(), b"token".to_vec()));
    let secrets = [("supercargo-git", BTreeMap::new()), ("supercargo-slack", tokens.into())];
    let mounts = Mounts::of(pod, objects, &secrets.map(|(name, files)| (name.to_owned(), files)).into());
    // Where the configuration says that files are, too.
    for file in mounts.places.values().map(|place| Path::new(place).join("config.yaml")).filter(|file| file.exists()) {
        fs::write(&file, mounts.here(&fs::read_to_string(&file).unwrap())).unwrap();
    }
    let args: Vec<String> = serde_json::from_value(container["args"].clone()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_supercargo"));
    command.args(args.iter().map(|arg| mounts.here(arg))).env_clear();
    for variable in container["env"].as_array().unwrap() {
        if let Some(value) = variable["value"].as_str() {
            command.env(variable["name"].as_str().unwrap(), value);
        }
    }
    command.output().unwrap()
}

/// Stands in for the kubelet of a release's test: runs the program as the pod says, and tells how that ended.
async fn kubelet_of_the_test(plane: &ControlPlane, objects: &[Value]) -> Output {
    let path = "/api/v1/namespaces/supercargo/pods/supercargo-check";
    let pod = eventually("the pod of the test", async || {
        let pod = plane.request(Method::GET, path, None).await.ok()?;
        // Not that of the test before; and where kwok says what becomes of it, after that.
        let expected = if pod["spec"]["nodeName"].is_string() { "Running" } else { "Pending" };
        let is_scheduled_soon = pod["spec"]["nodeSelector"].is_null() && pod["spec"]["nodeName"].is_null();
        (pod["status"]["phase"] == expected && !is_scheduled_soon).then_some(pod)
    })
    .await;
    let output = as_in_the_pod(&pod["spec"], objects);
    let phase = if output.status.success() { "Succeeded" } else { "Failed" };
    plane.request(Method::PATCH, &format!("{path}/status"), Some(&json!({"status": {"phase": phase}}))).await.unwrap();
    output
}

/// Where pods run, and what is written on them.
const PLACEMENT: &[&str] = &[
    r#"nodeSelector={"kubernetes.io/os":"linux"}"#,
    r#"tolerations=[{"key":"infra","operator":"Exists","effect":"NoSchedule"}]"#,
    r#"affinity={"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"a","operator":"Exists"}]}]}}}"#,
    r#"priorityClassName="system-cluster-critical""#,
    r#"podLabels={"example.com/team":"ships"}"#,
    r#"podAnnotations={"example.com/inject":"false"}"#,
];

#[test]
fn lint_is_content() {
    let home = tempfile::tempdir().unwrap();
    for values in one_truth::CHOICES.iter().map(|choice| choice.values).chain([values::EVERYTHING]) {
        let mut command = helm(home.path());
        command.args(["lint", "--strict", "deploy/chart", KUBERNETES]);
        for value in values {
            command.args(["--set-json", value]);
        }
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && !said.contains("[WARNING]"), "{values:?}: {said}");
    }
}

/// `helm test`, but for the kubelet.
#[test]
fn the_pod_of_the_test_takes_what_the_program_takes_and_no_other() {
    let good = [
        &[][..],
        values::EVERYTHING,
        PLACEMENT,
        &[
            r#"config={"registries":[{"host":"registry.local:5000","insecure":true}],"guards":[{"namespaces":["prod-*"],"policies":["patch"]}]}"#,
        ],
    ];
    let bad: [(&[&str], &str); 6] = [
        (&[r#"config.rollout={"setle":"1s"}"#], "setle"),
        (&[r#"config.guards=[{"namespaces":["*"],"policies":["ptach"]}]"#], "ptach"),
        (&[r#"config.hooks={"gitae":{}}"#], "gitae"),
        (&[r#"policies={"calm":"name: calm\npolcy: minor\n"}"#], "calm.yaml"),
        (&[r#"extraArgs=["--poll-interval=often"]"#], "--poll-interval"),
        // A secret has no place in it.
        (
            &[
                r#"config.git=[{"name":"prod","url":"https://git.example.com/deploy.git","branch":"main","credentials":{"token":"geheim"}}]"#,
                "git.enabled=true",
            ],
            "token",
        ),
    ];
    let cases = good.into_iter().map(|values| (values, None));
    for (values, problem) in cases.chain(bad.map(|(values, problem)| (values, Some(problem)))) {
        let (objects, test) = rendered("supercargo", "supercargo", values);
        let output = as_in_the_pod(&test["spec"], &objects);
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        match problem {
            None => assert_eq!((output.status.code(), &*said), (Some(0), "ok\n"), "{values:?}"),
            Some(problem) => {
                assert_eq!(output.status.code(), Some(2), "{values:?}: {said}");
                assert!(said.contains(problem) && !said.contains("geheim"), "{said}");
            }
        }
        // It differs from the operator in nothing that it says of flags and files.
        let operator =
            &objects.iter().find(|object| object["kind"] == "Deployment").unwrap()["spec"]["template"]["spec"];
        let (container, tested) = (&operator["containers"][0], &test["spec"]["containers"][0]);
        let args = |container: &Value| container["args"].as_array().unwrap().clone();
        assert_eq!(args(tested), [args(container), vec![json!("--check")]].concat());
        for key in ["image", "env", "volumeMounts", "securityContext", "resources"] {
            assert_eq!(tested[key], container[key], "{key}");
        }
        // Nor where it runs, and as whom its image is pulled.
        for key in [
            "volumes",
            "securityContext",
            "imagePullSecrets",
            "serviceAccountName",
            "nodeSelector",
            "tolerations",
            "affinity",
            "priorityClassName",
        ] {
            assert_eq!(test["spec"][key], operator[key], "{key}");
            assert!(values != PLACEMENT || !operator[key].is_null() || key == "imagePullSecrets", "{key} is set");
        }
        assert_eq!(test["spec"]["automountServiceAccountToken"], false);
        let annotations = &test["metadata"]["annotations"];
        assert_eq!(annotations["helm.sh/hook-delete-policy"], "before-hook-creation,hook-succeeded");
        if values == PLACEMENT {
            let pod = &objects.iter().find(|object| object["kind"] == "Deployment").unwrap()["spec"]["template"];
            for metadata in [&pod["metadata"], &test["metadata"]] {
                assert_eq!(metadata["labels"]["example.com/team"], "ships");
                assert_eq!(metadata["annotations"]["example.com/inject"], "false");
            }
        }
    }
}
