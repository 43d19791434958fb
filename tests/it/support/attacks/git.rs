//! What a tenant, who may push to a repository and write to it, keeps Git and a forge busy with.

use serde_json::{Value, json};

use super::super::{
    commits::manifest,
    control_plane::Namespace,
    front::{Front, Way},
    objects::deployment,
};

/// Files of a repository.
pub(crate) type Files = Vec<(String, String)>;

/// For what wants bytes.
pub(crate) fn bytes(files: &Files) -> Vec<(&str, &[u8])> {
    files.iter().map(|(path, text)| (&**path, text.as_bytes())).collect()
}

/// A Git server that takes requests and never answers.
pub(crate) async fn silent_server() -> Front {
    Front::before("", |_| Way::Hang).await
}

/// Workloads that are written to a target: `NAME-0`, ….
pub(crate) fn written_to(target: &str, name: &str, count: usize, image: &str) -> Vec<Value> {
    let annotations = json!({"supercargo.dev/policy": "patch", "supercargo.dev/write": format!("git:{target}")});
    (0..count).map(|n| deployment(&format!("{name}-{n}"), image, annotations.clone())).collect()
}

/// The manifests of the workloads `large-0` to `large-3`, each in a file of 3.9 million scalars, and three files of a
/// thousand markers, each with a pattern of its own.
pub(crate) fn large(namespace: &Namespace<'_>, image: &str) -> Files {
    let manifest = |n: usize| {
        let text = manifest(namespace, &format!("large-{n}"), image);
        (format!("apps/large-{n}.yaml"), format!("{text}list: [{}]\n", "1,".repeat(3_900_000)))
    };
    let markers = |n: usize| {
        let line =
            |m: usize| format!("tag{m}: 1.0.0 # supercargo: regex:(?P<order>[0-9]{{1,9}})-x{n}y{m}[a-z]{{1,200}}\n");
        (format!("apps/markers-{n}.yaml"), (0..1000).map(line).collect())
    };
    (0..4).map(manifest).chain((0..3).map(markers)).collect()
}

/// Workloads `w0`, … that each are to have a pull request of their own at a target, and their manifests.
pub(crate) fn groups(namespace: &Namespace<'_>, target: &str, count: usize, image: &str) -> (Vec<Value>, Files) {
    let one = |n: usize| {
        let name = format!("w{n}");
        let annotations = json!({
            "supercargo.dev/policy": "minor", "supercargo.dev/write": format!("pr:{target}"),
            "supercargo.dev/group": name,
        });
        let file = (format!("apps/{name}.yaml"), manifest(namespace, &name, image));
        (deployment(&name, image, annotations), file)
    };
    (0..count).map(one).unzip()
}
