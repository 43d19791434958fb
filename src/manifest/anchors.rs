//! Values that several places share by anchors, aliases and merge keys.

use super::{
    EditError,
    edit::{NewValue, Targets},
    merge::Uses,
    tree::{Id, NodeKind, Tree},
};
use crate::domain::image::{ImageRef, excerpt};

/// Refuses a value that is used elsewhere too, by an alias or a merge key, unless all those places are edited alike, or
/// are the same image by all that they hold.
pub(super) fn refuse_shared(tree: &Tree, targets: &Targets) -> Result<(), EditError> {
    let uses = Uses::of(tree);
    for (&id, target) in targets {
        let refused = uses.refused(id, |path| {
            let outermost = path.first().copied().unwrap_or(id);
            target.users.contains(path) || is_definition(tree, &uses, outermost) || is_same(tree, &uses, id, path)
        });
        if let Some(path) = refused {
            return Err(shared(tree, &uses, id, target, &path));
        }
    }
    Ok(())
}

/// Whether the mapping that a scalar is in is used nowhere else, too.
pub(super) fn is_used_once(tree: &Tree, id: Id) -> bool {
    let uses = Uses::of(tree);
    uses.parent(id).is_none_or(|mapping| uses.refused(mapping, <[Id]>::is_empty).is_none())
}

/// Whether a value stands under a key of a document that is for nothing but anchors: `x-image: &image …`.
fn is_definition(tree: &Tree, uses: &Uses, id: Id) -> bool {
    let mut at = id;
    while let Some(above) = uses.parent(at).filter(|above| uses.parent(*above).is_some()) {
        at = above;
    }
    let is_in_object = tree.documents.iter().any(|document| Some(document.root) == uses.parent(at));
    is_in_object && uses.key(at).is_some_and(|key| key.starts_with("x-"))
}

/// Whether a use is the same image by all that it holds.
fn is_same(tree: &Tree, uses: &Uses, id: Id, path: &[Id]) -> bool {
    let Some(&alias) = path.last() else { return is_whole(tree, id) && is_in_values(tree, uses, id) };
    let anchored = tree.resolve(alias);
    match tree.node(anchored).is_collection() {
        true => same_image(tree, uses, id, anchored, alias).is_ok(),
        false => is_whole(tree, id) && is_in_values(tree, uses, path.first().copied().unwrap_or(id)),
    }
}

/// Whether a scalar is an image with its tag: the same one wherever it is used.
fn is_whole(tree: &Tree, id: Id) -> bool {
    let image = tree.scalar(id).and_then(|value| ImageRef::parse(value).ok());
    image.is_some_and(|image| image.tag.is_some() || image.digest.is_some())
}

/// Whether a value stands in no object, or in one that hands values on: whoever uses an anchor there asks for what it is.
fn is_in_values(tree: &Tree, uses: &Uses, id: Id) -> bool {
    let word = |mapping: Id, name: &str| {
        let mut entries = tree.entries_of(mapping);
        entries.find(|(key, _)| tree.scalar(*key) == Some(name)).and_then(|(_, value)| tree.scalar(value))
    };
    let above = std::iter::successors(Some(id), |id| uses.parent(*id));
    let object = above.filter(|mapping| word(*mapping, "apiVersion").is_some()).find_map(|object| word(object, "kind"));
    object.is_none_or(|kind| matches!(kind, "HelmRelease" | "Application" | "ApplicationSet"))
}

/// The error for a use that is not to change.
fn shared(tree: &Tree, uses: &Uses, id: Id, target: &NewValue, path: &[Id]) -> EditError {
    let alias = path.last().or_else(|| target.users.iter().filter_map(|user| user.last()).min()).copied().unwrap_or(id);
    let anchored = tree.resolve(alias);
    let (name, line) = (excerpt(tree.anchor(anchored).unwrap_or_default()), tree.line(anchored));
    let missing = tree.line(path.first().copied().unwrap_or(id));
    if tree.node(anchored).is_collection() {
        let why = same_image(tree, uses, id, anchored, alias).err().unwrap_or_default();
        let reason = format!(
            "the value stands in what the anchor `&{name}` (line {line}) names, which is used again on line {}{why}, and \
             line {missing} is not to change: write it out in one of the places",
            tree.line(alias)
        );
        return EditError::new(tree.line(id), reason);
    }
    let reason = format!(
        "the value of the anchor `&{name}` (line {line}) is used on line {} by an alias, and line {missing} is not to \
         change: write it out in one of the places",
        tree.line(alias)
    );
    let users = target.users.iter().map(|user| user.first().copied().unwrap_or(anchored));
    EditError::new(tree.line(users.min().unwrap_or(anchored)), reason)
}

/// The keys under which the name of an image stands.
const NAMES: [&str; 4] = ["registry", "repository", "name", "image"];

/// Whether a scalar within an anchored collection belongs to the same image, or to none, where an alias uses that.
fn same_image(tree: &Tree, uses: &Uses, id: Id, anchored: Id, alias: Id) -> Result<(), &'static str> {
    // The image's own mapping, which must hold its name, too.
    let mapping = uses.parent(id).filter(|mapping| tree.node(*mapping).kind == NodeKind::Mapping).ok_or("")?;
    let has = |mapping: Id, name: &str| tree.entries_of(mapping).any(|(key, _)| tree.scalar(key) == Some(name));
    let own = uses.key(id).unwrap_or_default();
    // A container has a name, and its image is not for whoever uses it again to share.
    let is_named = match own.to_ascii_lowercase().ends_with("image") {
        true => !has(mapping, "name"),
        false => NAMES[1..].iter().any(|name| *name != own && has(mapping, name)),
    };
    if !is_named {
        return Err("");
    }
    let Some(user) = uses.merges_into(alias) else { return Ok(()) };
    let mut top = id;
    while let Some(above) = uses.parent(top).filter(|above| *above != anchored) {
        top = above;
    }
    if uses.key(top).is_some_and(|key| has(user, key)) {
        // It has a value of its own there.
        return Ok(());
    }
    match top == id && NAMES.iter().any(|name| *name != own && has(user, name)) {
        true => Err(" with another name"),
        false => Ok(()),
    }
}
