//! The commits of one push: one for all updates, or one for each.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::objects::TreeEntry;
use crate::manifest::places::{LocationEdit, apply};

/// New texts of files.
pub(super) type Edited = Vec<(TreeEntry, Vec<u8>)>;

/// An edit of a file.
pub(super) type FileEdit = (Arc<str>, LocationEdit);

/// A commit that is to be made.
pub(super) struct Step {
    /// The updates that it brings, by their number.
    pub(super) updates: Vec<usize>,
    /// The files that it changes.
    pub(super) files: Edited,
}

/// One commit for each update, which changes that update's own places and nothing else. A place that several share is
/// changed by the first; an update that has no other place is named in that commit, so that none is empty. None if the
/// commits would not lead to `whole`, which is all edits at once.
pub(super) fn chain(
    updates: &[(usize, &[FileEdit])],
    whole: &Edited,
    entries: &BTreeMap<Arc<str>, TreeEntry>,
    texts: &BTreeMap<String, Vec<u8>>,
) -> Option<Vec<Step>> {
    let mut steps: Vec<Step> = Vec::new();
    let mut step_of: HashMap<&FileEdit, usize> = HashMap::new();
    let mut made: BTreeMap<&str, Vec<&LocationEdit>> = BTreeMap::new();
    let mut now: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    for (update, edits) in updates {
        let own: Vec<&FileEdit> = edits.iter().filter(|edit| !step_of.contains_key(edit)).collect();
        let mut files = Edited::new();
        for edit in &own {
            step_of.insert(edit, steps.len());
            made.entry(&edit.0).or_default().push(&edit.1);
        }
        for path in own.iter().map(|(path, _)| &**path).collect::<BTreeSet<_>>() {
            let entry = entries.get(path)?;
            let before = texts.get(&entry.blob)?;
            // Always from the bytes that were read, as that is where the places are.
            let text = apply(path, before, &made[path]).ok()?;
            if now.get(path).unwrap_or(before) != &text {
                files.push((entry.clone(), text.clone()));
                now.insert(path, text);
            }
        }
        if files.is_empty() {
            let first = edits.iter().filter_map(|edit| step_of.get(edit)).min()?;
            steps.get_mut(*first)?.updates.push(*update);
        } else {
            steps.push(Step { updates: vec![*update], files });
        }
    }
    let is_there = |(entry, text): &(TreeEntry, Vec<u8>)| now.get(&*entry.path) == Some(text);
    (now.len() == whole.len() && whole.iter().all(is_there)).then_some(steps)
}
