//! Who, other than people, sets a workload's images: what we write there would be changed back.
//!
//! Argo CD's tracking annotation is a proof; its instance label counts only where an Application of that name exists
//! (see [`super::applications`]).

use std::collections::BTreeMap;

use serde::Deserialize;

use super::managed::FieldsEntry;
use crate::domain::{image::excerpt, workload::Owner};

/// What of an object's metadata tells its owner.
#[derive(Debug, Clone, Copy)]
pub(super) struct Evidence<'a> {
    pub(super) annotations: &'a BTreeMap<String, String>,
    pub(super) labels: &'a BTreeMap<String, String>,
    pub(super) references: &'a [Reference],
    pub(super) managed: &'a [FieldsEntry],
}

/// One entry of `metadata.ownerReferences`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Reference {
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) controller: bool,
}

/// A mark that a tool leaves on what it manages.
struct Marker {
    /// The key, or its beginning if it ends with `/`.
    key: &'static str,
    /// Who leaves it.
    tool: &'static str,
}

const MARKERS: &[Marker] = &[
    Marker { key: "argocd.argoproj.io/tracking-id", tool: "Argo CD" },
    Marker { key: "kustomize.toolkit.fluxcd.io/", tool: "Flux (Kustomization)" },
    Marker { key: "helm.toolkit.fluxcd.io/", tool: "Flux (HelmRelease)" },
    Marker { key: "olm.owner", tool: "the Operator Lifecycle Manager" },
    Marker { key: "objectset.rio.cattle.io/", tool: "Fleet" },
    Marker { key: "kapp.k14s.io/app", tool: "kapp" },
    Marker { key: "configsync.gke.io/", tool: "Config Sync" },
    Marker { key: "configmanagement.gke.io/managed", tool: "Config Sync" },
];

const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// What Argo CD tracks by, where it does not by its annotation. Helm charts set it too, so it is no proof by itself.
pub(super) const INSTANCE: &str = "app.kubernetes.io/instance";

/// Whether [`owner`] wants to see the annotation or label of that key.
pub(super) fn is_marker(key: &str) -> bool {
    key == MANAGED_BY || key == INSTANCE || MARKERS.iter().any(|m| m.is(key))
}

/// Who sets the images, where it is not people (or supercargo).
pub(super) fn owner(evidence: Evidence<'_>) -> Option<Owner> {
    let reference = evidence.references.iter().find(|r| r.controller);
    if let Some(reference) = reference {
        return Some(Owner::Elsewhere(format!(
            "its controller, {} \"{}\"",
            excerpt(&reference.kind),
            excerpt(&reference.name)
        )));
    }
    let mut keys = evidence.annotations.iter().chain(evidence.labels);
    if let Some(owner) = keys.find_map(|(key, value)| marked(key, value)) {
        return Some(owner);
    }
    let helm = evidence.labels.get(MANAGED_BY).is_some_and(|v| v == "Helm");
    let applier = evidence.managed.iter().find(|e| sets_images(e) && !(helm && e.manager == "helm"));
    match applier {
        Some(entry) => Some(Owner::Elsewhere(format!("server-side apply by \"{}\"", excerpt(&entry.manager)))),
        None => helm.then_some(Owner::Helm),
    }
}

impl Marker {
    fn is(&self, key: &str) -> bool {
        if self.key.ends_with('/') { key.starts_with(self.key) } else { key == self.key }
    }
}

fn marked(key: &str, value: &str) -> Option<Owner> {
    let marker = MARKERS.iter().find(|m| m.is(key))?;
    // Config Sync writes `disabled` on what it leaves alone.
    if value == "disabled" {
        return None;
    }
    // The tracking id is `APPLICATION:GROUP/KIND:NAMESPACE/NAME`.
    if marker.tool == "Argo CD"
        && let Some((application, _)) = value.split_once(':')
    {
        return Some(Owner::Elsewhere(format!("Argo CD application \"{}\"", excerpt(application))));
    }
    Some(Owner::Elsewhere(format!("{} ({key})", marker.tool)))
}

fn sets_images(entry: &FieldsEntry) -> bool {
    let person = entry.manager == "kubectl" || entry.manager.starts_with("kubectl-") || entry.manager == "supercargo";
    entry.operation == "Apply" && entry.subresource.is_empty() && !entry.images.0.is_empty() && !person
}

#[cfg(test)]
mod tests {
    use super::{super::managed::Images, *};

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn of(annotations: &[(&str, &str)], labels: &[(&str, &str)]) -> Option<Owner> {
        let (annotations, labels) = (map(annotations), map(labels));
        owner(Evidence { annotations: &annotations, labels: &labels, references: &[], managed: &[] })
    }

    fn managed(manager: &str, operation: &str, subresource: &str, images: &[&str]) -> FieldsEntry {
        FieldsEntry {
            manager: manager.to_owned(),
            operation: operation.to_owned(),
            subresource: subresource.to_owned(),
            time: None,
            images: Images(images.iter().map(|&i| i.to_owned()).collect()),
        }
    }

    fn by(managed: &[FieldsEntry], labels: &[(&str, &str)]) -> Option<Owner> {
        owner(Evidence { annotations: &map(&[]), labels: &map(labels), references: &[], managed })
    }

    #[rstest::rstest]
    #[case("argocd.argoproj.io/tracking-id", "shop:apps/Deployment:prod/web", "Argo CD application \"shop\"")]
    #[case("kapp.k14s.io/app", "17", "kapp (kapp.k14s.io/app)")]
    #[case("configmanagement.gke.io/managed", "enabled", "Config Sync (configmanagement.gke.io/managed)")]
    #[case("configsync.gke.io/resource-id", "x", "Config Sync (configsync.gke.io/resource-id)")]
    #[case("objectset.rio.cattle.io/id", "x", "Fleet (objectset.rio.cattle.io/id)")]
    #[case("olm.owner", "csv", "the Operator Lifecycle Manager (olm.owner)")]
    #[case("kustomize.toolkit.fluxcd.io/name", "apps", "Flux (Kustomization) (kustomize.toolkit.fluxcd.io/name)")]
    #[case("helm.toolkit.fluxcd.io/name", "web", "Flux (HelmRelease) (helm.toolkit.fluxcd.io/name)")]
    fn the_marks_of_tools_are_known_on_annotations_and_labels(
        #[case] key: &str,
        #[case] value: &str,
        #[case] text: &str,
    ) {
        assert!(is_marker(key));
        assert_eq!(of(&[(key, value)], &[]), Some(Owner::Elsewhere(text.to_owned())));
        assert_eq!(of(&[], &[(key, value)]), Some(Owner::Elsewhere(text.to_owned())));
    }

    #[test]
    fn what_only_looks_like_a_mark_is_none() {
        assert_eq!(of(&[("configmanagement.gke.io/managed", "disabled")], &[]), None);
        assert_eq!(of(&[], &[("app.kubernetes.io/instance", "shop")]), None);
        assert_eq!(of(&[("argocd.argoproj.io/sync-wave", "1")], &[]), None);
    }

    #[test]
    fn plain_helm_is_told_from_a_release_of_flux() {
        assert_eq!(of(&[], &[(MANAGED_BY, "Helm")]), Some(Owner::Helm));
        let flux = of(&[], &[(MANAGED_BY, "Helm"), ("helm.toolkit.fluxcd.io/name", "web")]);
        assert!(matches!(flux, Some(Owner::Elsewhere(_))));
    }

    #[test]
    fn only_a_controller_reference_owns() {
        let reference = |controller| [Reference { kind: "App".into(), name: "shop".into(), controller }];
        let of = |references: &[Reference]| {
            owner(Evidence { annotations: &map(&[]), labels: &map(&[]), references, managed: &[] })
        };
        assert_eq!(of(&reference(true)), Some(Owner::Elsewhere("its controller, App \"shop\"".to_owned())));
        assert_eq!(of(&reference(false)), None);
    }

    #[test]
    fn a_server_side_apply_of_an_image_owns_unless_it_is_kubectl_or_ours() {
        let elsewhere = Some(Owner::Elsewhere("server-side apply by \"ci\"".to_owned()));
        assert_eq!(by(&[managed("ci", "Apply", "", &["web"])], &[]), elsewhere);
        assert_eq!(by(&[managed("ci", "Apply", "", &[])], &[]), None);
        assert_eq!(by(&[managed("ci", "Apply", "status", &["web"])], &[]), None);
        assert_eq!(by(&[managed("ci", "Update", "", &["web"])], &[]), None);
        for person in ["kubectl", "kubectl-edit", "supercargo"] {
            assert_eq!(by(&[managed(person, "Apply", "", &["web"])], &[]), None);
        }
    }

    #[test]
    fn helm_that_applies_on_the_server_is_still_helm() {
        let helm = [managed("helm", "Apply", "", &["web"])];
        assert_eq!(by(&helm, &[(MANAGED_BY, "Helm")]), Some(Owner::Helm));
        assert!(matches!(by(&helm, &[]), Some(Owner::Elsewhere(_))));
    }
}
