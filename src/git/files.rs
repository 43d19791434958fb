//! What the files of a commit hold. A blob that is known is neither fetched nor parsed again.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    command::GitError,
    mirror::Mirror,
    objects::{Blob, TreeEntry},
    settings::Scope,
};
use crate::manifest::places::{Facts, FileKind, Files, MAX_SCALARS_IN_ALL, Room};

/// A blob, and how it is read: a values file is read otherwise than a manifest.
type Key = (String, Way);
/// The kind of a file, and whether the configuration names values of it.
type Way = (FileKind, bool);

/// The files of the commit that was looked at last.
#[derive(Default)]
pub(super) struct Snapshot {
    pub(super) commit: String,
    /// Of which clone the commit is.
    made: usize,
    pub(super) files: Arc<Files>,
    pub(super) entries: Arc<BTreeMap<Arc<str>, TreeEntry>>,
    facts: HashMap<Key, Arc<Facts>>,
    /// The commit whose kustomizations were followed out of the target's paths, and the files to which that led.
    followed: String,
    beyond: Vec<Arc<str>>,
    /// The commit whose files were held against the room that there is for all.
    fitted: String,
}

/// How often a kustomization beyond the target's paths may lead to further ones.
pub(super) const MAX_STEPS: usize = 32;

impl Snapshot {
    /// Reads what is new in a commit.
    pub(super) async fn update(&mut self, mirror: &mut Mirror, scope: &Scope, commit: &str) -> Result<(), GitError> {
        if self.commit != commit {
            self.read(mirror, scope, commit).await?;
        }
        if self.followed != commit {
            self.follow(mirror, scope, commit).await?;
            self.followed = commit.to_owned();
        }
        if self.fitted != commit {
            self.fit(mirror, scope).await?;
            self.fitted = commit.to_owned();
        }
        Ok(())
    }

    async fn read(&mut self, mirror: &mut Mirror, scope: &Scope, commit: &str) -> Result<(), GitError> {
        let is_known = self.made == mirror.made;
        let within = |path: &str| scope.is_within(path);
        let is_wanted = |path: &str, entry: Option<&TreeEntry>| {
            let is_known = self.files.contains_key(path) || self.entries.contains_key(path);
            let is_odd = entry.is_some_and(|entry| entry.left_alone().is_some());
            within(path) && (is_known || is_odd || Facts::is_wanted(path))
        };
        let changes = mirror.changes(is_known.then_some(&self.commit), commit, is_wanted).await?;
        let entries = changes.iter().filter_map(|(_, entry)| entry.as_ref());
        self.parse(mirror, scope, entries.filter(|entry| is_read(entry))).await?;

        // From here on nothing can fail, so that what is known fits to one commit.
        let (files, entries) = (Arc::make_mut(&mut self.files), Arc::make_mut(&mut self.entries));
        if !is_known {
            files.clear();
            entries.clear();
        }
        for path in self.beyond.drain(..) {
            files.remove(&path);
            entries.remove(&path);
        }
        for (path, entry) in changes {
            files.remove(&path);
            entries.remove(&path);
            let Some(entry) = entry else { continue };
            match entry.left_alone() {
                Some(why) => _ = files.insert(path, Arc::new(Facts::left_alone(why))),
                None if is_read(&entry) => {
                    files.extend(facts_of(&self.facts, &entry, scope).map(|facts| (path.clone(), facts)));
                    entries.insert(path, entry);
                }
                None => {}
            }
        }
        if self.facts.len() > 2 * entries.len() {
            let used: HashSet<Key> = entries.values().map(|entry| key(entry, scope)).collect();
            self.facts.retain(|key, _| used.contains(key));
        }
        (self.commit, self.made) = (commit.to_owned(), mirror.made);
        self.followed.clear();
        self.fitted.clear();
        Ok(())
    }

    /// Reads what kustomizations within the target's paths take from beyond these, to know what they render.
    async fn follow(&mut self, mirror: &mut Mirror, scope: &Scope, commit: &str) -> Result<(), GitError> {
        let mut asked = BTreeSet::new();
        for _ in 0..MAX_STEPS {
            let new = scope.beyond(&self.files, &mut asked);
            if new.is_empty() {
                return Ok(());
            }
            let found = mirror.entries(commit, &new).await?;
            let found: Vec<TreeEntry> = found.into_iter().filter(is_read).collect();
            self.parse(mirror, scope, found.iter()).await?;
            let (files, entries) = (Arc::make_mut(&mut self.files), Arc::make_mut(&mut self.entries));
            for entry in found {
                let path = entry.path.clone();
                files.extend(facts_of(&self.facts, &entry, scope).map(|facts| (path.clone(), facts)));
                entries.insert(path.clone(), entry);
                self.beyond.push(path);
            }
        }
        Ok(())
    }

    /// Leaves out the largest files where all are too many, and reads those for which there is room again.
    async fn fit(&mut self, mirror: &mut Mirror, scope: &Scope) -> Result<(), GitError> {
        let Room { crowded, fitting } = Room::of(&self.files);
        if crowded.is_empty() && fitting.is_empty() {
            return Ok(());
        }
        let used: HashSet<Key> = self.entries.values().map(|entry| key(entry, scope)).collect();
        self.facts.retain(|key, facts| used.contains(key) && !facts.is_left_out());
        let files = Arc::make_mut(&mut self.files);
        for path in crowded {
            if let Some(entry) = self.entries.get(&path) {
                self.facts.remove(&key(entry, scope));
            }
            files.entry(path).and_modify(|facts| *facts = Arc::new(facts.left_out()));
        }
        let entries: Vec<TreeEntry> = fitting.iter().filter_map(|path| self.entries.get(path).cloned()).collect();
        self.parse(mirror, scope, entries.iter()).await?;
        let files = Arc::make_mut(&mut self.files);
        for entry in entries {
            files.extend(facts_of(&self.facts, &entry, scope).map(|facts| (entry.path.clone(), facts)));
        }
        Ok(())
    }

    /// Fetches and reads what is not known of these files.
    async fn parse<'a>(
        &mut self,
        mirror: &mut Mirror,
        scope: &Scope,
        entries: impl Iterator<Item = &'a TreeEntry>,
    ) -> Result<(), GitError> {
        let mut unread: HashMap<String, HashSet<Way>> = HashMap::new();
        // In the order of the paths: the server has deltas between neighbours, and need not make others.
        let mut blobs = Vec::new();
        for entry in entries {
            let key = key(entry, scope);
            if self.facts.contains_key(&key) {
                continue;
            }
            let ways = unread.entry(key.0).or_insert_with_key(|blob| {
                blobs.push(blob.clone());
                HashSet::new()
            });
            ways.insert(key.1);
        }
        let known = self.facts.values().filter(|facts| !facts.is_left_out()).map(|facts| facts.scalars()).sum();
        let reading = Arc::new(Mutex::new(Reading { scalars: known, ..Reading::default() }));
        let (unread, work) = (Arc::new(unread), reading.clone());
        mirror.blobs(&blobs, move |batch| parse::<()>(batch, &unread, &work)).await?;
        self.facts.extend(std::mem::take(&mut lock(&reading).facts));
        Ok(())
    }
}

/// What has been read of files, without the largest as soon as all are too many.
#[derive(Default)]
struct Reading {
    facts: HashMap<Key, Arc<Facts>>,
    by_size: BTreeSet<(usize, Key)>,
    /// How many there are in all.
    scalars: usize,
}

impl Reading {
    fn add(&mut self, key: Key, facts: Arc<Facts>) {
        let scalars = facts.scalars();
        if scalars > 0 {
            self.by_size.insert((scalars, key.clone()));
        }
        self.scalars += scalars;
        self.facts.insert(key, facts);
        while self.scalars > MAX_SCALARS_IN_ALL
            && let Some((scalars, key)) = self.by_size.pop_last()
        {
            self.facts.entry(key).and_modify(|facts| *facts = Arc::new(facts.left_out()));
            self.scalars -= scalars;
        }
    }
}

fn lock(reading: &Mutex<Reading>) -> MutexGuard<'_, Reading> {
    reading.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_read(entry: &TreeEntry) -> bool {
    entry.left_alone().is_none() && Facts::is_wanted(&entry.path)
}

fn facts_of(known: &HashMap<Key, Arc<Facts>>, entry: &TreeEntry, scope: &Scope) -> Option<Arc<Facts>> {
    known.get(&key(entry, scope)).filter(|facts| !facts.is_empty()).cloned()
}

fn key(entry: &TreeEntry, scope: &Scope) -> Key {
    (entry.blob.clone(), scope.way(&entry.path))
}

fn parse<T>(batch: Vec<Blob>, unread: &HashMap<String, HashSet<Way>>, reading: &Mutex<Reading>) -> Vec<T> {
    // A file that holds nothing costs one facts for all.
    let nothing = Arc::new(Facts::default());
    for (blob, bytes) in batch {
        for way in unread.get(&blob).into_iter().flatten() {
            let facts = match &bytes {
                Ok(bytes) => Facts::of(way.0, bytes, way.1),
                Err(size) => Facts::too_large(way.0, *size),
            };
            let kept = if facts.is_empty() { nothing.clone() } else { Arc::new(facts) };
            lock(reading).add((blob.clone(), *way), kept);
        }
    }
    Vec::new()
}
