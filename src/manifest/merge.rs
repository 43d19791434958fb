//! What aliases and merge keys (`<<`) bring to a mapping, and by which of them a scalar is used.

use std::collections::{HashMap, HashSet, VecDeque};

use super::{
    ManifestError,
    tree::{Id, NodeKind, Tree},
};

/// Merge keys in what merge keys bring are not followed further.
const MAX_MERGES: usize = 8;

/// An entry of a mapping, its own or a merged one.
pub(super) struct Member<'t> {
    pub(super) name: &'t str,
    pub(super) value: Id,
    /// The aliases that it comes by, the outer ones first.
    pub(super) via: Vec<Id>,
}

impl Tree<'_> {
    /// The entries of a mapping with those that merge keys bring: its own come first, then those of the first one that
    /// has the key. Besides, whether there are more.
    pub(super) fn all_entries(&self, mapping: Id) -> (Vec<Member<'_>>, bool) {
        let (mut found, mut seen, mut is_cut) = (Vec::new(), HashSet::new(), false);
        let mut open = vec![(mapping, Vec::new(), 0)];
        while let Some((mapping, via, depth)) = open.pop() {
            let mut merged = Vec::new();
            for (key, value) in self.entries_of(mapping) {
                let Some(name) = self.scalar(key) else { continue };
                if name != "<<" {
                    if seen.insert(name) {
                        found.push(Member { name, value, via: via.clone() });
                    }
                } else if depth == MAX_MERGES {
                    is_cut = true;
                } else {
                    let (value, via) = self.through(value, &via);
                    match self.node(value).kind {
                        NodeKind::Sequence => merged.extend(self.children(value).map(|item| self.through(item, &via))),
                        _ => merged.push((value, via)),
                    }
                }
            }
            open.extend(merged.into_iter().rev().map(|(mapping, via)| (mapping, via, depth + 1)));
        }
        (found, is_cut)
    }

    /// The value of a key of a mapping, and the aliases that a merge key brings it by.
    pub(super) fn find(&self, mapping: Id, key: &str) -> Result<Option<(Id, Vec<Id>)>, ManifestError> {
        let mut merge = None;
        for (own, value) in self.entries_of(mapping) {
            match self.scalar(own) {
                Some(name) if name == key => return Ok(Some((value, Vec::new()))),
                Some("<<") => merge = Some(own),
                _ => {}
            }
        }
        let Some(merge) = merge else { return Ok(None) };
        let (all, is_cut) = self.all_entries(mapping);
        match all.into_iter().find(|entry| entry.name == key) {
            Some(Member { value, via, .. }) => Ok(Some((value, via))),
            None if is_cut => {
                let reason = format!("`{key}` may come through more merge keys (`<<`) than are followed: write it out");
                Err(ManifestError::new(self.line(merge), reason))
            }
            None => Ok(None),
        }
    }

    /// The value of a key of a mapping.
    pub(super) fn get(&self, mapping: Id, key: &str) -> Result<Option<Id>, ManifestError> {
        Ok(self.find(mapping, key)?.map(|(value, _)| value))
    }

    /// What a node stands for, and the aliases by which it is reached.
    pub(super) fn through(&self, id: Id, via: &[Id]) -> (Id, Vec<Id>) {
        let is_alias = self.resolve(id) != id;
        (self.resolve(id), via.iter().copied().chain(is_alias.then_some(id)).collect())
    }
}

/// The aliases of a text, to know by which of them a scalar is used.
pub(super) struct Uses<'t> {
    tree: &'t Tree<'t>,
    parents: Vec<Option<Id>>,
    /// By what they stand for.
    aliases: HashMap<Id, Vec<Id>>,
}

/// A key that a merge key brings to a mapping.
type Carried<'t> = Option<(Id, &'t str)>;

impl<'t> Uses<'t> {
    pub(super) fn of(tree: &'t Tree<'t>) -> Self {
        let mut aliases: HashMap<Id, Vec<Id>> = HashMap::new();
        for (index, node) in tree.nodes.iter().enumerate() {
            if let NodeKind::Alias(anchored) = node.kind {
                aliases.entry(anchored).or_default().push(index as Id);
            }
        }
        let parents = if aliases.is_empty() { Vec::new() } else { tree.parents() };
        Self { tree, parents, aliases }
    }

    pub(super) fn parent(&self, id: Id) -> Option<Id> {
        self.parents.get(id as usize).copied().flatten()
    }

    /// The key of a value.
    pub(super) fn key(&self, id: Id) -> Option<&'t str> {
        id.checked_sub(1).filter(|_| self.tree.node(id).is_value).and_then(|key| self.tree.scalar(key))
    }

    /// The mapping that an alias is merged into: `<<: *x`, `<<: [*x, *y]`.
    pub(super) fn merges_into(&self, alias: Id) -> Option<Id> {
        let parent = self.parent(alias)?;
        match self.key(alias) {
            Some("<<") => Some(parent),
            _ if self.tree.node(parent).kind == NodeKind::Sequence && self.key(parent) == Some("<<") => {
                self.parent(parent)
            }
            _ => None,
        }
    }

    /// The first use of a scalar, as the aliases that lead to it, that `is_fine` refuses; its own place is one without
    /// an alias. With aliases written out there are no more uses than a text may have scalars.
    pub(super) fn refused(&self, id: Id, is_fine: impl Fn(&[Id]) -> bool) -> Option<Vec<Id>> {
        if self.aliases.is_empty() {
            return None;
        }
        let mut open: VecDeque<(Id, Carried<'t>, Vec<Id>)> = [(id, None, Vec::new())].into();
        while let Some((node, carried, path)) = open.pop_front() {
            if !is_fine(&path) {
                return Some(path);
            }
            let (mut at, mut below) = (Some(node), None);
            while let Some(own) = at {
                let key = match carried {
                    Some((mapping, key)) if mapping == own => Some(key),
                    _ => below.and_then(|below| self.key(below)),
                };
                for &alias in self.aliases.get(&own).into_iter().flatten() {
                    let carried = match (self.merges_into(alias), key) {
                        (Some(mapping), Some(key)) => {
                            let found = self.tree.find(mapping, key).ok().flatten();
                            // It has another value there.
                            if found.is_none_or(|(_, via)| via.first() != Some(&alias)) {
                                continue;
                            }
                            Some((mapping, key))
                        }
                        _ => None,
                    };
                    open.push_back((alias, carried, [&[alias], &*path].concat()));
                }
                (at, below) = (self.parent(own), Some(own));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_use_of_a_scalar_is_found() {
        let text = "a: &a\n  x: &x 1\nb: &b\n  <<: *a\n  y: *x\nc:\n  <<: [*b]\nd: {<<: *b, x: 2}\ne: [*b, {<<: [{x: 3}, *a]}]\n";
        let tree = Tree::parse(text).unwrap();
        let uses = Uses::of(&tree);
        let seen = std::cell::RefCell::new(Vec::new());
        let id = tree
            .nodes
            .iter()
            .position(|node| node.kind == NodeKind::Scalar("1".into(), granit_parser::ScalarStyle::Plain));
        let lines = |path: &[Id]| path.iter().map(|alias| tree.line(*alias).to_string()).collect::<Vec<_>>().join(">");
        uses.refused(id.unwrap() as Id, |path| {
            seen.borrow_mut().push(lines(path));
            true
        });
        let mut seen = seen.into_inner();
        seen.sort();
        // By `x` and by `a`: itself, in `b`, merged into `c`, and as an item; `d` and the last item have others.
        assert_eq!(seen, ["", "4", "5", "7>4", "7>5", "8>5", "9>4", "9>5"]);
    }
}
