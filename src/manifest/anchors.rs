//! Values that several places share by anchors, aliases and merge keys.

use super::{
    EditError,
    edit::Targets,
    tree::{Id, Kind, Tree},
};
use crate::domain::image::excerpt;

/// Refuses a value that stands elsewhere too, by an alias or a merge key, unless all those places are edited alike, or
/// are the same image by all that they hold.
pub(super) fn refuse_shared(tree: &Tree, targets: &Targets) -> Result<(), EditError> {
    let parents = tree.parents();
    for (index, node) in tree.nodes.iter().enumerate() {
        let Kind::Alias(anchored) = node.kind else { continue };
        let alias = index as Id;
        let name = excerpt(tree.anchor(anchored).unwrap_or_default());
        if tree.node(anchored).is_collection() {
            for (&id, _) in targets.range(anchored..tree.node(anchored).next()) {
                let Err(why) = same_image(tree, &parents, id, anchored, alias) else { continue };
                let reason = format!(
                    "the value stands in what the anchor `&{name}` (line {}) names, which is used again on line {}{why}: \
                     write it out in one of the places",
                    tree.line(anchored),
                    node.line()
                );
                return Err(EditError::new(tree.line(id), reason));
            }
        } else if let Some(target) = targets.get(&anchored) {
            // The anchor is a place of its own, besides its aliases.
            let missing = [alias, anchored].into_iter().find(|id| !target.users.contains(id));
            if let Some(missing) = missing {
                let reason = format!(
                    "the value of the anchor `&{name}` (line {}) is used on line {} by an alias, and line {} is not to \
                     change: write it out in one of the places",
                    tree.line(anchored),
                    node.line(),
                    tree.line(missing)
                );
                let line = tree.line(target.users.iter().copied().min().unwrap_or(anchored));
                return Err(EditError::new(line, reason));
            }
        }
    }
    Ok(())
}

/// The keys under which the name of an image stands.
const NAMES: [&str; 4] = ["registry", "repository", "name", "image"];

/// Whether a scalar within an anchored collection belongs to the same image, or to none, where an alias uses that.
fn same_image(tree: &Tree, parents: &[Option<Id>], id: Id, anchored: Id, alias: Id) -> Result<(), &'static str> {
    let parent = |id: Id| parents[id as usize];
    let key = |id: Id| id.checked_sub(1).filter(|_| tree.node(id).is_value).and_then(|key| tree.scalar(key));
    // The image's own mapping, which must hold its name, too.
    let mapping = parent(id).filter(|mapping| tree.node(*mapping).kind == Kind::Mapping).ok_or("")?;
    let has = |mapping: Id, name: &str| tree.entries_of(mapping).any(|(key, _)| tree.scalar(key) == Some(name));
    let own = key(id).unwrap_or_default();
    // A container has a name, and its image is not for whoever uses it again to share.
    let is_named = match own.to_ascii_lowercase().ends_with("image") {
        true => !has(mapping, "name"),
        false => NAMES[1..].iter().any(|name| *name != own && has(mapping, name)),
    };
    if !is_named {
        return Err("");
    }
    // What merges it: `<<: *x`, `<<: [*x, *y]`.
    let user = match parent(alias) {
        Some(user) if key(alias) == Some("<<") => user,
        Some(list) if tree.node(list).kind == Kind::Sequence && key(list) == Some("<<") => parent(list).ok_or("")?,
        _ => return Ok(()),
    };
    let mut top = id;
    while let Some(above) = parent(top).filter(|above| *above != anchored) {
        top = above;
    }
    if key(top).is_some_and(|key| has(user, key)) {
        // It has a value of its own there.
        return Ok(());
    }
    match top == id && NAMES.iter().any(|name| *name != own && has(user, name)) {
        true => Err(" with another name"),
        false => Ok(()),
    }
}
