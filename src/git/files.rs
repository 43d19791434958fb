//! What the files of a commit hold. A blob that is known is neither fetched nor parsed again.

use std::{
    collections::{BTreeMap, HashMap, HashSet, hash_map::Entry},
    sync::Arc,
};

use super::{
    command::GitError,
    mirror::{Mirror, TreeEntry},
    settings::Settings,
};
use crate::manifest::places::{Facts, FileKind, Files};

/// A blob, and how it is read: a values file is read otherwise than a manifest.
type Key = (String, Way);
/// The kind of a file, and whether the configuration names values of it.
type Way = (FileKind, bool);

/// The files of the commit that was looked at last.
#[derive(Default)]
pub(super) struct Snapshot {
    pub(super) commit: String,
    pub(super) files: Arc<Files>,
    pub(super) entries: Arc<BTreeMap<Arc<str>, TreeEntry>>,
    facts: HashMap<Key, Arc<Facts>>,
}

impl Snapshot {
    /// Reads what is new in a commit.
    pub(super) async fn update(
        &mut self,
        mirror: &mut Mirror,
        settings: &Settings,
        commit: &str,
    ) -> Result<(), GitError> {
        if self.commit == commit {
            return Ok(());
        }
        let within = |path: &str| settings.paths.as_ref().is_none_or(|globs| globs.is_match(path));
        let entries: BTreeMap<Arc<str>, TreeEntry> = mirror
            .tree(commit)
            .await?
            .into_iter()
            .filter(|entry| within(&entry.path) && Facts::is_wanted(&entry.path))
            .map(|entry| (entry.path.clone(), entry))
            .collect();
        let key = |entry: &TreeEntry| key(entry, settings);
        let mut known = HashMap::with_capacity(entries.len());
        let mut unread: HashMap<String, HashSet<Way>> = HashMap::new();
        for entry in entries.values() {
            let key = key(entry);
            match self.facts.get(&key) {
                Some(facts) => _ = known.insert(key, facts.clone()),
                None => _ = unread.entry(key.0).or_default().insert(key.1),
            }
        }
        let blobs: Vec<String> = unread.keys().cloned().collect();
        if !blobs.is_empty() {
            let unread = Arc::new(unread);
            for batch in mirror.batches(&blobs).await? {
                let (unread, contents) = (unread.clone(), mirror.contents(&batch).await?);
                let parsed = tokio::task::spawn_blocking(move || parse(contents, &unread)).await;
                known.extend(parsed.map_err(|_| GitError::Broken("the reading of the files broke".to_owned()))?);
            }
        }
        // What was not given is too large.
        for entry in entries.values() {
            if let Entry::Vacant(vacant) = known.entry(key(entry)) {
                let size = mirror.git.local(&["cat-file", "-s", &entry.blob], b"").await?;
                let size = String::from_utf8_lossy(&size).trim().parse().unwrap_or_default();
                let facts = Facts::too_large(vacant.key().1.0, size);
                vacant.insert(Arc::new(facts));
            }
        }
        let facts = |entry: &TreeEntry| known.get(&key(entry)).cloned();
        let files = entries.values().filter_map(|entry| Some((entry.path.clone(), facts(entry)?)));
        self.files = Arc::new(files.filter(|(_, facts)| !facts.is_empty() || !facts.problems().is_empty()).collect());
        (self.facts, self.entries, self.commit) = (known, Arc::new(entries), commit.to_owned());
        Ok(())
    }
}

fn key(entry: &TreeEntry, settings: &Settings) -> Key {
    let is_named = settings.options.values.iter().any(|rule| rule.files.is_match(&*entry.path));
    (entry.blob.clone(), (FileKind::of(&entry.path), is_named))
}

type Parsed = Vec<(Key, Arc<Facts>)>;

fn parse(batch: Vec<(String, Vec<u8>)>, unread: &HashMap<String, HashSet<Way>>) -> Parsed {
    let mut parsed = Vec::new();
    // A file that holds nothing costs one facts for all.
    let nothing = Arc::new(Facts::default());
    for (blob, bytes) in batch {
        for way in unread.get(&blob).into_iter().flatten() {
            let facts = Facts::of(way.0, &bytes, way.1);
            let kept = if facts.is_empty() { nothing.clone() } else { Arc::new(facts) };
            parsed.push(((blob.clone(), *way), kept));
        }
    }
    parsed
}
