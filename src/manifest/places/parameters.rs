//! `helm.parameters` of an Application, whose names are paths, over the values that it gives besides.

use std::collections::{HashMap, HashSet};

use super::{
    super::tree::{Id, NodeKind, Tree},
    cell::{Cell, ImageExpr, Source},
    kustomization::mappings,
    values::{by_base, entries, images, last, of_keys},
};

/// Values by their paths.
pub(super) type Named<'t> = Vec<(&'t str, Cell)>;

pub(super) fn named<'t>(source: &Source<'t>, list: Id) -> Named<'t> {
    let tree = source.tree;
    let each = mappings(tree, list).filter_map(|item| {
        let name = tree.get(item, "name").ok()??;
        Some((tree.scalar(name)?, source.cell(tree.get(item, "value").ok()??)?))
    });
    each.collect()
}

/// The images of values with parameters over them, as Helm has them: those of one image share what stands before the last
/// dot of their names, and may be some of its parts only.
pub(super) fn over(values: Option<(&Source, Id)>, parameters: &Named) -> Vec<ImageExpr> {
    let mut found = values.map(|(source, root)| images(source, root)).unwrap_or_default();
    let (mut replaced, mut set) = (HashSet::new(), Vec::new());
    let mut seen = HashMap::new();
    for (base, own) in by_base(parameters.iter().map(|(name, cell)| (*name, cell))) {
        let below = values.map(|(source, root)| beside(source, root, base, &mut seen)).unwrap_or_default();
        replaced.extend(below.iter().map(|(_, cell)| cell.at.clone()));
        let is_over = |key: &str| own.iter().any(|(own, _)| *own == key);
        let kept = below.iter().filter(|(key, _)| !is_over(key)).map(|(key, cell)| (*key, cell.clone()));
        let all: Vec<(&str, Cell)> = kept.chain(own.iter().map(|(key, cell)| (*key, (*cell).clone()))).collect();
        set.extend(of_keys(last(base), &all));
    }
    found.retain(|expr| !expr.cells().any(|cell| replaced.contains(&cell.at)));
    found.extend(set);
    found.sort_by_key(|expr| expr.main().map(|cell| cell.line));
    found
}

/// What is at each key of the mappings that were looked into: thousands of parameters may ask for it.
type Seen<'t> = HashMap<Id, HashMap<&'t str, Id>>;

/// The scalars of the mapping at a path.
fn beside<'t>(source: &Source<'t>, root: Id, base: &str, seen: &mut Seen<'t>) -> Vec<(&'t str, Cell)> {
    let tree: &Tree = source.tree;
    let mut keys = base.split('.').filter(|key| !key.is_empty());
    let mapping = keys.try_fold(root, |at, key| {
        let entries = seen.entry(at).or_insert_with(|| entries(source.tree, at).collect());
        Some(tree.resolve(*entries.get(key)?))
    });
    let mapping = mapping.filter(|mapping| tree.node(*mapping).kind == NodeKind::Mapping);
    let all = mapping.into_iter().flat_map(|mapping| entries(source.tree, mapping));
    all.filter_map(|(key, value)| Some((key, source.cell(value)?))).collect()
}
