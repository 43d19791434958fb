//! A folder on this machine: read as the files of a commit are, and edited as they are. Nothing is asked of Git.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use super::{
    asked::Asked,
    files::MAX_STEPS,
    find::{Finding, Places, edit, find, told},
    history::History,
    objects::TreeEntry,
    part,
    settings::Scope,
};
use crate::{
    domain::{
        plan::{Approved, Plan},
        reason::Reason,
    },
    manifest::places::{Facts, Files, Rendered, Room, apart, rendered},
};

/// The bytes of a file; if these are more than are read, their number.
pub type Text = Result<Vec<u8>, usize>;

/// Files by their paths, and their new bytes.
pub type NewTexts = Vec<(Arc<str>, Vec<u8>)>;

/// Files that render each workload once.
#[derive(Debug)]
pub struct Folder {
    scope: Scope,
    files: Files,
    texts: Arc<BTreeMap<Arc<str>, Text>>,
}

impl Folder {
    /// Reads files by their paths; `beyond` has those to which kustomizations lead out of the scope. Where nothing says
    /// which manifests belong together, those of one workload are in several folders.
    pub fn read(
        scope: &Scope,
        mut texts: BTreeMap<Arc<str>, Text>,
        mut beyond: impl FnMut(&str) -> Option<Text>,
    ) -> Vec<Self> {
        let facts = |path: &str, text: &Text| match text {
            Ok(bytes) => scope.facts(path, bytes),
            Err(size) => Facts::too_large(scope.way(path).0, *size),
        };
        let mut files = Files::new();
        let add = |files: &mut Files, path: &Arc<str>, text: &Text| {
            let facts = facts(path, text);
            if !facts.is_empty() {
                files.insert(path.clone(), Arc::new(facts));
            }
        };
        texts.iter().for_each(|(path, text)| add(&mut files, path, text));
        let mut asked = BTreeSet::new();
        for _ in 0..MAX_STEPS {
            let new = scope.beyond(&files, &mut asked);
            if new.is_empty() {
                break;
            }
            for path in new.into_iter().filter(|path| Facts::is_wanted(path)) {
                let (Some(text), path) = (beyond(&path), Arc::from(path)) else { continue };
                add(&mut files, &path, &text);
                texts.insert(path, text);
            }
        }
        for path in Room::of(&files).crowded {
            files.entry(path).and_modify(|facts| *facts = Arc::new(facts.left_out()));
        }
        let texts = Arc::new(texts);
        let folder = |files| Self { scope: scope.clone(), files, texts: texts.clone() };
        apart(files).into_iter().map(folder).collect()
    }

    /// The workloads that the files render.
    pub fn workloads(&self) -> Rendered {
        rendered(&self.files, &self.scope.options)
    }

    /// The bytes of a file that was read.
    pub fn text(&self, path: &str) -> Option<&[u8]> {
        self.texts.get(path)?.as_deref().ok()
    }

    /// Where each plan would be written, or why it would not be; and the files that change.
    pub fn edit(&self, plans: &[Plan<Approved>]) -> (Vec<Result<Places, Reason>>, NewTexts) {
        let asked: Vec<Asked> = plans.iter().map(Asked::from).collect();
        let (mut found, mut edited) = self.tried(&asked);
        if let Some(parts) = part::parts(&asked, &found) {
            let each: Vec<Asked> = parts.iter().map(|(_, part)| part.clone()).collect();
            let (possible, left) = part::possible(&asked, &parts, self.tried(&each).0);
            (found, edited) = self.tried(&possible);
            found = found.into_iter().zip(left).map(|(found, left)| found.map(|places| places.without(left))).collect();
        }
        (found, edited)
    }

    fn tried(&self, asked: &[Asked]) -> (Vec<Result<Places, Reason>>, NewTexts) {
        let findings: Vec<Finding> = find(asked, &self.files, &self.scope, &History::default(), &HashSet::new());
        let file = |path: &str| Some((TreeEntry::at(path), self.text(path)?));
        let (edited, refused) = edit(&findings, file, &self.files, &self.scope);
        let edited = edited.into_iter().map(|(entry, text)| (entry.path, text)).collect();
        (told(findings, &refused, &self.scope.shown), edited)
    }
}
