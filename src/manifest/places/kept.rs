//! What is kept of one file: its share of memory, and no more.

use super::{Facts, broken::Broken};
use crate::manifest::ManifestError;

/// More of one kind than this are not kept from one file.
pub(super) const MAX_KEPT: usize = 10_000;

/// Cuts a list, and says by how much.
fn limit<T>(list: &mut Vec<T>) -> usize {
    let more = list.len().saturating_sub(MAX_KEPT);
    list.truncate(MAX_KEPT);
    list.shrink_to_fit();
    more
}

impl Facts {
    /// Cuts each list; a kustomization of which something is left out is not read.
    pub(super) fn limit(&mut self) {
        let names = self.kustomization.as_ref().map(|kustomization| kustomization.included().map(Box::from).collect());
        let of_kustomization = self.kustomization.as_mut().map_or(0, |kustomization| {
            let included = limit(&mut kustomization.resources) + limit(&mut kustomization.components);
            let more = limit(&mut kustomization.replacements)
                + limit(&mut kustomization.transformers)
                + limit(&mut kustomization.inflations);
            included + more + limit(&mut kustomization.images) + limit(&mut kustomization.patches)
        });
        if of_kustomization > 0 && self.broken.is_none() {
            self.broken = names.map(|names| Box::new(Broken::of(names)));
        }
        let releases = self.releases.iter_mut().map(|release| limit(&mut release.values) + limit(&mut release.images));
        let more = of_kustomization + releases.sum::<usize>() + limit(&mut self.values) + limit(&mut self.markers);
        let objects = limit(&mut self.manifests.workloads)
            + limit(&mut self.manifests.foreign)
            + limit(&mut self.partial)
            + limit(&mut self.releases)
            + limit(&mut self.outer)
            + limit(&mut self.transformers)
            + limit(&mut self.inflations)
            + limit(&mut self.given)
            + limit(&mut self.fields);
        let more = more + objects + limit(&mut self.manifests.namespaces) + limit(&mut self.manifests.misplaced);
        let more = more + self.broken.as_mut().map_or(0, |broken| limit(&mut broken.names));
        let more = more
            + limit(&mut self.replacements)
            + limit(&mut self.listed)
            + limit(&mut self.operations)
            + limit(&mut self.problems);
        if more > 0 {
            let reason =
                format!("{more} or more values here are left out: {MAX_KEPT} of a kind are kept; split the file");
            self.problems.push(ManifestError::new(1, reason));
        }
    }
}
