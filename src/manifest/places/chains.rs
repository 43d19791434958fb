//! Each way from a manifest to a kustomization that nothing includes.

use std::{cell::Cell, sync::Arc};

use super::{
    super::FoundWorkload,
    names::folder,
    render::{Kustomizations, One},
    subject::Subject,
};
use crate::domain::workload::WorkloadId;

/// More ways than this through the kustomizations, of one file or of all objects together, are not followed.
pub(super) const MAX_CHAINS: usize = 200_000;

/// Nor ways with more steps in all. A kustomization is one for each object that it renders, and as many more as it has
/// patches, what is in these, entries of `images`, and replacements.
pub(super) const MAX_STEPS: usize = 2_000_000;

/// A way through more kustomizations is not followed.
const MAX_DEPTH: usize = 50;

/// Values of releases that are compared, copied or set on all ways together.
const MAX_VALUES: usize = 2_000_000;

/// Images of releases that are kept of all ways together.
pub(super) const MAX_RELEASED: usize = 50_000;

/// How many ways there are.
#[derive(Debug, Default)]
pub(super) struct Count {
    chains: usize,
    steps: usize,
    values: Cell<usize>,
}

/// One way from a file to an outer kustomization: the layers that act on it, the inner ones first.
#[derive(Debug, Clone)]
pub(super) struct Chain {
    pub(super) layers: Arc<[usize]>,
    /// Whether nothing includes the last one.
    pub(super) is_root: bool,
    /// What renders the last one.
    pub(super) outer: Option<usize>,
}

impl Chain {
    /// The way of a file that is in no kustomization.
    pub(super) fn plain() -> Self {
        Self { layers: [].into(), is_root: true, outer: None }
    }
}

/// A workload as it is rendered.
pub(super) struct Rendering<'f> {
    pub(super) path: &'f Arc<str>,
    pub(super) found: &'f FoundWorkload,
    pub(super) chain: Chain,
    pub(super) id: WorkloadId,
}

impl<'f> Rendering<'f> {
    /// The workload at the start of its way.
    pub(super) fn subject(&self) -> Subject<'f> {
        let id = &self.found.workload.id;
        let group = id.kind.spec().map_or("", |spec| spec.group);
        Subject::new(id.kind.as_str(), group, &self.found.meta, &id.namespace, &id.name)
    }
}

impl<'f> Kustomizations<'f> {
    /// Whether so many more values may be read or set on the ways of releases.
    pub(super) fn takes(&self, values: usize) -> bool {
        let Count { values: all, .. } = &self.count;
        all.set(all.get().saturating_add(values));
        all.get() <= MAX_VALUES
    }

    /// Every way from a file outwards, of so many objects. A file that is in no kustomization has one way, without a
    /// layer; one that is a patch only has none.
    pub(super) fn chains(&mut self, path: &str, objects: usize) -> Vec<Chain> {
        let mut found = Ways { path, objects, all: Vec::new() };
        let Some(outer) = self.of_file.get(path).cloned() else {
            if !self.patches.contains(path) {
                self.rendered_by(Chain::plain(), &mut found);
            }
            return found.all;
        };
        self.rendered_by(Chain { is_root: false, ..Chain::plain() }, &mut found);
        let mut open: Vec<(usize, Vec<usize>, Vec<usize>)> = Vec::new();
        // What the ways that are not at their ends yet take.
        let mut waiting = 0;
        for one in outer {
            let layers = self.layers(one, None);
            waiting += 1 + layers.len();
            open.push((one, vec![one], layers));
        }
        while let Some((one, way, layers)) = open.pop() {
            waiting -= way.len() + layers.len();
            if self.too_many.is_some() {
                break;
            }
            let One { parents, facts, .. } = &self.all[one];
            let mut is_root = !facts.is_component;
            for &(parent, as_component) in parents.iter().filter(|(parent, _)| !way.contains(parent)) {
                is_root = false;
                let is_deep = way.len() >= MAX_DEPTH || layers.len() > 4 * MAX_DEPTH;
                if is_deep || open.len() + self.count.chains > MAX_CHAINS || waiting > MAX_STEPS {
                    self.too_many = Some(path.to_owned());
                    break;
                }
                let (mut way, mut layers) = (way.clone(), layers.clone());
                layers.extend(self.layers(parent, as_component.then_some(one)));
                way.push(parent);
                waiting += way.len() + layers.len();
                open.push((parent, way, layers));
            }
            self.rendered_by(Chain { layers: layers.into(), is_root, outer: None }, &mut found);
        }
        found.all
    }

    /// Keeps a way, as often as something renders its end with images or names of its own.
    fn rendered_by(&mut self, chain: Chain, found: &mut Ways<'_>) {
        let last = chain.layers.last().copied();
        let end = last.map_or(found.path, |last| &**self.all[last].path);
        let mut outers = last.map_or(Vec::new(), |_| self.outers.of_folder(folder(end)).to_vec());
        if outers.is_empty() && chain.is_root {
            outers = self.outers.around(end, |folder| self.by_folder.contains_key(folder));
        }
        if outers.is_empty() || !chain.is_root {
            self.keep(chain.clone(), found);
        }
        for outer in outers {
            let layers = self.with_components(&chain.layers, outer, None);
            self.keep(Chain { layers, is_root: true, outer: Some(outer) }, found);
        }
        let of_component = last.map_or(Vec::new(), |_| self.outers.with_component(folder(end)).to_vec());
        for outer in of_component {
            let layers = self.with_components(&chain.layers, outer, last);
            self.keep(Chain { layers, is_root: true, outer: Some(outer) }, found);
        }
    }

    /// Layers with the (further) components of what renders them: they come before its kustomization, if it has one.
    fn with_components(&self, layers: &[usize], outer: usize, after: Option<usize>) -> Arc<[usize]> {
        let outer = self.outers.get(outer);
        let own = self.by_folder.get(outer.folder()).copied();
        let components = outer.component_folders().filter_map(|folder| self.by_folder.get(&*folder?).copied());
        let components: Vec<usize> = components.collect();
        let skipped = after.and_then(|after| components.iter().position(|c| *c == after)).map_or(0, |at| at + 1);
        let (mut found, end) = match layers.split_last() {
            Some((last, before)) if Some(*last) == own => (before.to_vec(), own),
            _ => (layers.to_vec(), own.filter(|_| after.is_some())),
        };
        for &component in &components[skipped..] {
            if found.len() < 4 * MAX_DEPTH {
                found.extend(self.layers(component, None));
            }
        }
        found.extend(end);
        found.into()
    }

    fn keep(&mut self, chain: Chain, found: &mut Ways<'_>) {
        let steps: usize = 1 + chain.layers.iter().map(|layer| self.all[*layer].steps).sum::<usize>();
        let Count { chains, steps: all, .. } = &mut self.count;
        *chains += 1;
        *all += steps.saturating_mul(found.objects);
        if *chains > MAX_CHAINS || *all > MAX_STEPS {
            self.too_many.get_or_insert_with(|| found.path.to_owned());
            return;
        }
        found.all.push(chain);
    }

    /// What acts in a kustomization on what comes from one of its resources, or from its component `after`: the (further)
    /// components in their order, and itself.
    fn layers(&self, one: usize, after: Option<usize>) -> Vec<usize> {
        let mut found = Vec::new();
        let mut way = vec![one];
        self.own_layers(one, after, &mut way, &mut found);
        found
    }

    fn own_layers(&self, one: usize, after: Option<usize>, way: &mut Vec<usize>, found: &mut Vec<usize>) {
        let components = &self.all[one].components;
        let skipped = after.and_then(|after| components.iter().position(|c| *c == after)).map_or(0, |at| at + 1);
        for &component in &components[skipped..] {
            if !way.contains(&component) && way.len() < MAX_DEPTH && found.len() < 4 * MAX_DEPTH {
                way.push(component);
                self.own_layers(component, None, way, found);
                way.pop();
            }
        }
        found.push(one);
    }
}

/// The ways of a file.
struct Ways<'p> {
    path: &'p str,
    /// How many objects take them.
    objects: usize,
    all: Vec<Chain>,
}
