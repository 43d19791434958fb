//! Which workloads a place makes the image of: one line may be rendered for many.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use super::{
    FILE_KIND, Index, LocationEdit, Wanted,
    cell::{At, Cell},
    chains::Rendering,
};
use crate::domain::workload::WorkloadId;

/// A container whose image a place makes.
#[derive(Debug, Clone)]
pub struct Sharer {
    /// The workload.
    pub workload: WorkloadId,
    /// The container's name.
    pub container: Arc<str>,
    /// Whether it stands under `initContainers`.
    pub init: bool,
    /// The annotations that concern us as the repository renders them, and as `Namespace/…` those of the Namespace; none if
    /// it does not render the workload.
    pub annotations: Option<Arc<BTreeMap<String, String>>>,
}

/// The containers of each place.
#[derive(Debug, Default)]
pub struct Sharers(HashMap<(Arc<str>, At), Shared>);

#[derive(Debug, Default)]
struct Shared {
    sharers: Vec<Sharer>,
    /// By which aliases they reach it.
    uses: HashSet<At>,
}

impl Sharers {
    /// Those whose image an edit changes.
    pub fn of(&self, path: &Arc<str>, edit: &LocationEdit) -> &[Sharer] {
        self.shared(path, edit).map_or(&[], |shared| &shared.sharers)
    }

    /// The same edit, as the others reach its place: where all of them agree they have to be asked for, too.
    pub fn others<'s>(&'s self, path: &Arc<str>, edit: &'s LocationEdit) -> impl Iterator<Item = LocationEdit> {
        let uses = self.shared(path, edit).into_iter().flat_map(|shared| &shared.uses);
        uses.filter(|at| **at != edit.at).map(|at| LocationEdit { at: at.clone(), ..edit.clone() })
    }

    fn shared(&self, path: &Arc<str>, edit: &LocationEdit) -> Option<&Shared> {
        self.0.get(&(path.clone(), edit.at.bare().into_owned()))
    }

    fn add(&mut self, path: &Arc<str>, cell: &Cell, sharer: &Sharer) {
        let shared = self.0.entry((path.clone(), cell.at.bare().into_owned())).or_default();
        shared.sharers.push(sharer.clone());
        shared.uses.insert(cell.at.clone());
    }
}

/// The ways out where a place makes images that are to differ.
const IN_OVERLAYS: &str = "give each its own place: an entry of `images` in its overlay";
const IN_CONTAINERS: &str =
    "an entry of `images` is for every container of that image: take it out, and write the tag in each container";
const BY_PATCH: &str = "this patch is for both: write one for each, by its name";
const BESIDE_EACH: &str = "an anchor brings it to both images: write the tag beside each name";
const BY_ONE: &str = "write one policy for both, or take the entry or the marker out";
const WRITTEN_OUT: &str = "write the image out for each of them, in a place of its own";

impl Index<'_> {
    /// How a workload gets a place of its own, where an edit in a file makes the images of others, too; they may be of
    /// other repositories.
    pub fn way_out<'w>(
        &self,
        (path, edit): (&str, &LocationEdit),
        own: &WorkloadId,
        others: impl IntoIterator<Item = &'w WorkloadId>,
        are_others: bool,
    ) -> &'static str {
        let outer = |workload: &WorkloadId| {
            let own = self.rendered_as(workload).filter(|rendering| rendering.chain.is_root);
            own.filter_map(|rendering| rendering.chain.layers.last().copied()).next()
        };
        let mut others = others.into_iter();
        match outer(own) {
            _ if own.kind.as_str() == FILE_KIND && are_others => BESIDE_EACH,
            _ if own.kind.as_str() == FILE_KIND => BY_ONE,
            Some(overlay) if others.all(|other| outer(other).is_some_and(|other| other != overlay)) => IN_OVERLAYS,
            _ if self.is_entry(path, edit) => IN_CONTAINERS,
            _ if self.kustomizations.is_patch(path) || self.is_kustomization(path) => BY_PATCH,
            _ => WRITTEN_OUT,
        }
    }

    fn is_kustomization(&self, path: &str) -> bool {
        self.files.get(path).is_some_and(|facts| facts.is_kustomization())
    }

    /// Whether an edit is of an entry of `images`.
    fn is_entry(&self, path: &str, edit: &LocationEdit) -> bool {
        let kustomization = self.files.get(path).and_then(|facts| facts.kustomization.as_deref());
        let mut entries = kustomization.into_iter().flat_map(|kustomization| &kustomization.images);
        entries.any(|entry| {
            let cells = [Some(&entry.new_tag), Some(&entry.digest), entry.new_name.as_ref()];
            cells.into_iter().flatten().any(|cell| cell.at == edit.at)
        })
    }

    fn rendered_as<'i>(&'i self, workload: &'i WorkloadId) -> impl Iterator<Item = &'i Rendering<'i>> {
        self.renderings.iter().filter(move |rendering| {
            let namespace = self.namespace(&rendering.id.namespace);
            let own = (&rendering.id.kind, namespace, &rendering.id.name);
            own == (&workload.kind, &*workload.namespace, &workload.name)
        })
    }

    /// The files that a workload is rendered from.
    pub fn files_of(&self, workload: &WorkloadId) -> BTreeSet<Arc<str>> {
        let own = self.rendered_as(workload);
        own.flat_map(|rendering| self.kustomizations.files_of(self.files, rendering)).collect()
    }

    /// The containers of all places: of the workloads that the repository renders, and of those that are known to have
    /// their images from it otherwise.
    pub fn sharers<'w>(&self, known: impl IntoIterator<Item = &'w Wanted>) -> Sharers {
        let mut all = Sharers::default();
        let mut rendered = HashSet::new();
        for rendering in self.renderings.iter().filter(|rendering| rendering.chain.is_root) {
            let namespace = self.namespace(&rendering.id.namespace).into();
            let workload = WorkloadId { namespace, ..rendering.id.clone() };
            let mut subject = rendering.subject();
            self.kustomizations.walk(self.files, &mut subject, &rendering.chain, |_| {});
            let mut annotations = subject.ours();
            let of_namespace = self.namespaces.get(&workload.namespace).into_iter().flat_map(|asks| &asks.annotations);
            annotations.extend(of_namespace.map(|(key, value)| (format!("Namespace/{key}"), value.clone())));
            let annotations = Some(Arc::new(annotations));
            rendered.insert(workload.clone());
            // What a replacement sets hangs on no place below it.
            let own = self.all_made(rendering).into_iter().filter(|(.., made)| made.replaced.is_none());
            for (container, init, made) in own {
                let (workload, annotations) = (workload.clone(), annotations.clone());
                let sharer = Sharer { workload, container, init, annotations };
                let own = made.maker.cells().map(|cell| (made.path, cell));
                for (path, cell) in own.chain(made.below.iter().map(|(path, cell)| (*path, cell))) {
                    all.add(path, cell, &sharer);
                }
            }
        }
        for wanted in known.into_iter().filter(|wanted| !rendered.contains(&wanted.workload)) {
            let Wanted { workload, container, init, .. } = wanted.clone();
            let sharer = Sharer { workload, container, init, annotations: None };
            for draft in self.drafts(wanted).unwrap_or_default() {
                for cell in draft.maker.cells() {
                    all.add(draft.path, cell, &sharer);
                }
            }
        }
        all
    }
}
