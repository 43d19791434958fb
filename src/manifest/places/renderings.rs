//! The workloads of a repository, each in every way that it is rendered.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Files,
    chains::{Chain, MAX_CHAINS, Rendering},
    namespace::Named,
    render::Kustomizations,
    walk::{Layer, Step},
};
use crate::domain::workload::WorkloadId;

impl<'f> Kustomizations<'f> {
    /// The files that a workload is rendered from.
    pub(super) fn files_of(&self, files: &'f Files, rendering: &Rendering<'f>) -> Vec<Arc<str>> {
        let mut found = vec![rendering.path.clone()];
        let layers: Vec<Layer<'f>> = self.layers_of(&rendering.chain);
        for (path, facts) in layers.iter().filter_map(|layer| layer.own) {
            found.push(path.clone());
            let patches = facts.patches.iter().filter_map(|patch| patch.read_file(files, path));
            found.extend(patches.map(|(path, _)| path.clone()));
        }
        found
    }

    /// Whether a patch takes an object away, and nobody renders it then.
    fn is_deleted(&self, files: &'f Files, rendering: &Rendering<'f>) -> bool {
        let mut deletes = false;
        if rendering.chain.layers.iter().any(|layer| self.deleting[*layer]) {
            self.walk(files, &mut rendering.subject(), &rendering.chain, |step| {
                deletes |= matches!(step, Step::Part { part, is_sure: true, .. } if part.is_deleting());
            });
        }
        deletes
    }
}

/// The objects of every file as they are rendered.
#[derive(Default)]
pub(super) struct Renderings<'f> {
    pub(super) workloads: Vec<Rendering<'f>>,
    pub(super) namespaces: Vec<Named<'f>>,
    /// The ways of files with releases.
    pub(super) of_releases: BTreeMap<&'f Arc<str>, Vec<Chain>>,
}

/// Takes the objects of every file all ways outwards.
pub(super) fn renderings<'f>(
    files: &'f Files,
    kustomizations: &mut Kustomizations<'f>,
    is_template: impl Fn(&str) -> bool,
) -> Renderings<'f> {
    let (mut all, mut count) = (Renderings::default(), 0);
    for (path, facts) in files {
        // Their images may come from patches, if they are no patches themselves.
        let partial = kustomizations.of_file.get(&**path).map_or(&[][..], |_| &facts.partial);
        let workloads = || facts.manifests.workloads.iter().chain(partial);
        // Each container is walked with on its own.
        let count_of_workloads: usize = workloads().map(|found| found.workload.containers.len().max(1)).sum();
        let namespaces = &facts.manifests.namespaces;
        // What is literal in a template of a chart is rendered as it is.
        if is_template(path) {
            all.namespaces.extend(namespaces.iter().map(|found| Named { path, found, chain: Chain::plain() }));
            continue;
        }
        if count_of_workloads + namespaces.len() + facts.releases.len() == 0 {
            continue;
        }
        // Each image of a release is kept for each way, too.
        let of_release = facts.releases.iter().map(|release| 1 + release.values.len() + release.images.len());
        let objects = count_of_workloads + namespaces.len() + of_release.sum::<usize>();
        let chains = kustomizations.chains(path, objects);
        count += chains.len() * objects;
        if count > MAX_CHAINS || kustomizations.too_many.is_some() {
            kustomizations.too_many.get_or_insert_with(|| path.to_string());
            return Renderings::default();
        }
        for workload in workloads() {
            for chain in &chains {
                let own = &workload.workload.id;
                let (namespace, name) = kustomizations.renamed(chain, &own.namespace, &own.name);
                let id = WorkloadId { kind: own.kind.clone(), namespace, name };
                let rendering = Rendering { path, found: workload, chain: chain.clone(), id };
                if !kustomizations.is_deleted(files, &rendering) {
                    all.workloads.push(rendering);
                }
            }
        }
        for chain in chains.iter().filter(|chain| chain.is_root) {
            all.namespaces.extend(namespaces.iter().map(|found| Named { path, found, chain: chain.clone() }));
        }
        if !facts.releases.is_empty() {
            all.of_releases.insert(path, chains);
        }
    }
    all
}
