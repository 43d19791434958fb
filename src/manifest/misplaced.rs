//! Annotations of ours at places where they cannot count: on a pod template, among labels, on objects of other kinds.

use super::{
    ManifestError,
    read::Object,
    tree::{Id, NodeKind, Tree},
};
use crate::domain::{annotations::PREFIX, image::excerpt, workload::KINDS};

/// Where an object may have metadata of its own or of what it makes.
const METADATA: [(&[&str], &str); 4] = [
    (&["metadata"], ""),
    (&["spec", "template", "metadata"], "the pod template of "),
    (&["spec", "jobTemplate", "metadata"], "the job template of "),
    (&["spec", "jobTemplate", "spec", "template", "metadata"], "the pod template of "),
];

/// Finds those of one object, one of each place.
pub(super) fn find(tree: &Tree, object: &Object, found: &mut Vec<ManifestError>) {
    let is_workload = KINDS.iter().any(|known| known.kind.as_str() == object.kind && known.group == object.group);
    let counts = is_workload || object.kind == "Namespace" && object.group.is_empty();
    let name = at(tree, object.node, &["metadata", "name"]).and_then(|name| tree.scalar(name));
    let name = format!("{}/{}", excerpt(&object.kind), excerpt(name.unwrap_or("?")));
    for (path, of) in METADATA {
        for map in ["annotations", "labels"] {
            if counts && of.is_empty() && map == "annotations" {
                continue;
            }
            let entries =
                at(tree, object.node, &[path, &[map]].concat()).into_iter().flat_map(|map| tree.entries_of(map));
            let own = entries.filter_map(|(key, _)| Some((key, tree.scalar(key)?)));
            let Some((key, text)) = own.into_iter().find(|(_, text)| text.starts_with(PREFIX)) else { continue };
            let what = if map == "labels" { "a label of " } else { "" };
            let way = match is_workload {
                true => "write it among `metadata.annotations` of the workload itself",
                false => {
                    "it counts among `metadata.annotations` of a Deployment, StatefulSet, DaemonSet or CronJob, or \
                          of a Namespace"
                }
            };
            let reason = format!("`{}` does not count on {what}{of}{name}: {way}", excerpt(text));
            found.push(ManifestError::new(tree.line(key), reason));
        }
    }
}

/// The node at a path of keys.
fn at(tree: &Tree, node: Id, path: &[&str]) -> Option<Id> {
    path.iter().try_fold(node, |node, key| {
        let node = tree.resolve(node);
        let is_mapping = tree.node(node).kind == NodeKind::Mapping;
        is_mapping.then(|| tree.get(node, key).ok().flatten()).flatten()
    })
}
