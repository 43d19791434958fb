//! ApplicationSets of Argo CD: what their template says counts as an Application, as far as no generator has a part in it.

use std::collections::{HashMap, HashSet};

use super::{
    super::{
        ManifestError,
        read::get,
        tree::{Id, NodeKind, Tree},
    },
    cell::{Cell, ImageExpr},
    uneditable,
};

/// The template of an ApplicationSet.
pub(super) struct Template {
    /// Its mapping, with `metadata` and `spec`.
    pub(super) of: Option<Id>,
    /// What may put something else in its place: `templatePatch`, or a template of a generator.
    pub(super) patch: Option<Id>,
}

/// What a generator fills in, or patches.
pub(super) const GENERATED: &str = "generators of this ApplicationSet have a part in this, and may set the image: write it out in the \
     template, or set the image where no template does";

/// Reads the template of an object that is an ApplicationSet.
pub(super) fn template(tree: &Tree, node: Id) -> Result<Template, ManifestError> {
    let Some(spec) = get(tree, node, "spec", NodeKind::Mapping)? else { return Ok(Template { of: None, patch: None }) };
    let of = get(tree, spec, "template", NodeKind::Mapping)?;
    let patch = tree
        .get(spec, "templatePatch")?
        .filter(|patch| tree.scalar(*patch).is_some_and(|text| text.contains("source")));
    let patch = match patch {
        Some(patch) => Some(patch),
        None => {
            get(tree, spec, "generators", NodeKind::Sequence)?.and_then(|generators| of_generators(tree, generators))
        }
    };
    Ok(Template { of, patch })
}

/// The first template of a generator that names a source.
fn of_generators(tree: &Tree, generators: Id) -> Option<Id> {
    let mut open = vec![generators];
    while let Some(node) = open.pop() {
        let node = tree.resolve(node);
        match tree.node(node).kind {
            NodeKind::Mapping => {
                for (key, value) in tree.entries_of(node) {
                    if tree.scalar(key) == Some("template") && names_source(tree, value) {
                        return Some(value);
                    }
                    open.push(value);
                }
            }
            NodeKind::Sequence => open.extend(tree.children(node)),
            _ => {}
        }
    }
    None
}

fn names_source(tree: &Tree, template: Id) -> bool {
    let child = |node: Id, key| {
        let node = Some(tree.resolve(node)).filter(|node| tree.node(*node).kind == NodeKind::Mapping)?;
        tree.get(node, key).ok()?
    };
    child(template, "spec").is_some_and(|spec| child(spec, "source").or(child(spec, "sources")).is_some())
}

/// Whether a generator fills a value in.
pub(super) fn is_filled(value: &str) -> bool {
    value.contains("{{")
}

/// The line of a value that is filled in, and may be a part of an image that is not named beside it.
pub(super) fn filled(flat: &[(Box<str>, Cell)], exprs: &[ImageExpr]) -> Option<usize> {
    if !flat.iter().any(|(_, cell)| is_filled(&cell.value)) {
        return None;
    }
    let of: HashMap<&str, &str> = flat.iter().map(|(key, cell)| (&**key, &*cell.value)).collect();
    let name = |key: &str| of.get(&*format!("{}.name", key.strip_suffix(".value")?)).copied();
    let named = exprs.iter().filter(|expr| uneditable::open(expr).is_some()).flat_map(ImageExpr::cells);
    let named: HashSet<usize> = named.map(|cell| cell.line).collect();
    let mut filled = flat.iter().filter(|(key, cell)| is_filled(&cell.value) && is_of_image(name(key).unwrap_or(key)));
    filled.find(|(_, cell)| !named.contains(&cell.line)).map(|(_, cell)| cell.line)
}

/// Whether a value may be a part of an image by the end of its path.
pub(super) fn is_of_image(path: &str) -> bool {
    let last = path.rsplit('.').next().unwrap_or_default().to_lowercase();
    ["image", "tag", "digest", "sha", "repository", "registry"].iter().any(|end| last.ends_with(end))
}
