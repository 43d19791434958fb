//! `deploy/` on a real API server: applied by kubectl, and the program beside it with the rights that it gives.

use std::{collections::BTreeSet, path::PathBuf, process::Command};

use http::Method;
use serde_json::{Value, json};
use tokio::sync::{OnceCell, RwLock};

use crate::support::{
    bin,
    control_plane::{ADMIN, ControlPlane, Namespace, Parts},
    eventually,
    operator::{Operator, Setup},
};

pub(crate) mod job;
mod pod;
pub(crate) mod rights;
mod stop;

/// What a person applies.
const WHOLE: [&str; 4] = ["base", "overlays/pull-secrets", "overlays/namespaced", "overlays/git"];

/// Held for writing by a test whose operator acts on every namespace, for reading by one that minds its own.
static EVERYWHERE: RwLock<()> = RwLock::const_new(());

/// A control plane of this module alone: the base has objects that belong to no namespace.
async fn plane() -> &'static ControlPlane {
    static PLANE: OnceCell<ControlPlane> = OnceCell::const_new();
    PLANE.get_or_init(|| ControlPlane::start(Parts::All)).await
}

pub(crate) fn folder(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path)
}

/// The objects that `kubectl apply -k` would send.
pub(crate) fn rendered(path: &str) -> Vec<Value> {
    let output = Command::new(bin("kubectl")).arg("kustomize").arg(folder(path)).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_saphyr::from_multiple(&String::from_utf8(output.stdout).unwrap()).unwrap()
}

pub(crate) fn of_kind<'a>(objects: &'a [Value], kind: &str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(move |object| object["kind"] == kind)
}

/// One right: (API group, resource, verb).
pub(crate) type Right = (String, String, String);

pub(crate) fn rights(objects: &[Value]) -> BTreeSet<Right> {
    let mut all = BTreeSet::new();
    let roles = of_kind(objects, "ClusterRole").chain(of_kind(objects, "Role"));
    for rule in roles.flat_map(|role| role["rules"].as_array().unwrap()) {
        let words = |key: &str| -> Vec<String> { serde_json::from_value(rule[key].clone()).unwrap() };
        assert_eq!(rule.as_object().unwrap().len(), 3, "a rule has groups, resources and verbs only: {rule}");
        for group in words("apiGroups") {
            for resource in words("resources") {
                for verb in words("verbs") {
                    assert!(![&group, &resource, &verb].contains(&&"*".to_owned()), "{rule}");
                    all.insert((group.clone(), resource.clone(), verb));
                }
            }
        }
    }
    all
}

/// What is asked for in any case, and is given with `deploy/approvals`.
const OF_APPROVALS: [(&str, &str); 3] = [
    ("supercargo.dev", "imageupdatereviews"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicybindings"),
];

/// What a ServiceAccount has asked for, and what of it was forbidden.
pub(crate) fn asked(plane: &ControlPlane, user: &str) -> (BTreeSet<Right>, BTreeSet<Right>) {
    let (mut allowed, mut forbidden) = (BTreeSet::new(), BTreeSet::new());
    for request in plane.audit(user) {
        let path = request.uri.split('?').next().unwrap();
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let (group, rest) = match parts[..] {
            ["api", _, ref rest @ ..] => ("", rest),
            ["apis", group, _, ref rest @ ..] => (group, rest),
            _ => panic!("{path} is no resource"),
        };
        let resource = match *rest {
            ["namespaces", _, resource, _, part] => format!("{resource}/{part}"),
            ["namespaces", _, resource, ..] | [resource, ..] => resource.to_owned(),
            // Which resources there are may be asked by anybody.
            [] => continue,
        };
        let right = (group.to_owned(), resource, request.verb);
        let is_of_approvals = || OF_APPROVALS.contains(&(&*right.0, &*right.1));
        if request.code != 403 {
            allowed.insert(right);
        } else if !is_of_approvals() {
            forbidden.insert(right);
        }
    }
    (allowed, forbidden)
}

/// Waits until the API server knows that a ServiceAccount has this right, or has it no more.
pub(crate) async fn has_right(namespace: &Namespace<'_>, account: &str, right: &Right, allowed: bool) {
    let (group, resource, verb) = right;
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {"user": account, "resourceAttributes": {
            "group": group, "resource": resource, "verb": verb, "namespace": namespace.name,
        }},
    });
    eventually(&format!("{account} may {verb} {resource}: {allowed}"), async || {
        let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        let answer = namespace.plane.request(Method::POST, path, Some(&review)).await.unwrap();
        (answer["status"]["allowed"] == allowed).then_some(())
    })
    .await;
}

/// The name of a namespace's ServiceAccount `supercargo` as a user.
pub(crate) fn account(namespace: &str) -> String {
    format!("system:serviceaccount:{namespace}:supercargo")
}

/// As the Deployment starts it, with the token of its ServiceAccount; only the addresses, the kubeconfig, the place of
/// the configuration file and the poll interval differ.
pub(crate) async fn as_deployed(plane: &ControlPlane, objects: &[Value]) -> Setup {
    let deployment = of_kind(objects, "Deployment").next().unwrap();
    let home = deployment["metadata"]["namespace"].as_str().unwrap();
    let config = of_kind(objects, "ConfigMap").next().unwrap()["data"]["config.yaml"].as_str().unwrap();
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap().into_temp_path().keep().unwrap();
    std::fs::write(&file, format!("{config}\n{QUICK}")).unwrap();
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let args: Vec<String> = serde_json::from_value(container["args"].clone()).unwrap();
    assert_eq!(args[0], "run");
    let written =
        |arg: &String| arg.replace("/etc/supercargo/config.yaml", file.to_str().unwrap()).replace("$(NAMESPACE)", home);
    // The helper gives this one itself.
    let args = args[1..].iter().filter(|arg| *arg != "--log-format=json").map(written);
    let token = Namespace { plane, name: home.to_owned() }.token("supercargo").await;
    Setup {
        args: args.chain(["--poll-interval=1s".to_owned()]).collect(),
        kubeconfig: Some(plane.kubeconfig_with_token(&token, home)),
        hook_secret: None,
        variables: Vec::new(),
        hooks_port: None,
        user: None,
        through: Vec::new(),
        text_log: false,
    }
}

/// How long is waited for what of a rollout.
const QUICK: &str = "rollout: {settle: 1s, fault: 1s}\n";

/// What the operator has said, without the escapes of JSON.
fn said(operator: &Operator) -> String {
    operator.process.output().replace('\\', "")
}

/// Runs a command line as the administrator, with kubectl at hand.
pub(crate) fn shell(plane: &ControlPlane, line: &str) {
    let path = format!("{}:/usr/bin:/bin", bin("kubectl").parent().unwrap().display());
    let mut command = Command::new("sh");
    command.args(["-euc", line]).env("PATH", path).env("KUBECONFIG", plane.kubeconfig(ADMIN));
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}
