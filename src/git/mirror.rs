//! A bare, shallow, partial clone of one branch. It is a cache: when anything is wrong with it, it is made anew.

use std::{collections::HashSet, fs, io, sync::Arc, time::Duration};

use super::{
    command::{Git, GitError},
    history::{CHANGE, History},
    settings::Settings,
    signing::sign,
};
use crate::{manifest::MAX_BYTES, ports::Clock};

/// How far back our own commits are looked for.
const HISTORY: &str = "500";
/// Blobs are read in batches of about so many bytes.
const BATCH: u64 = 16 << 20;
/// Nothing but what is asked for.
pub(super) const FETCH: [&str; 3] = ["--no-tags", "--no-write-fetch-head", "--recurse-submodules=no"];
/// More packs than this make the clone slow: it is made anew.
const PACKS: usize = 100;

/// How often, and after which pause, a lock is asked for that somebody else holds.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// A file of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TreeEntry {
    /// `100644` or `100755`.
    pub(super) mode: String,
    /// The blob's id.
    pub(super) blob: String,
    /// From the root.
    pub(super) path: Arc<str>,
}

/// The clone of one target.
pub(super) struct Mirror {
    pub(super) git: Git,
    settings: Arc<Settings>,
    clock: Arc<dyn Clock>,
    /// Held while this process lives, so that no other one uses the folder.
    lock: Option<fs::File>,
    /// The branch's commit that was fetched last.
    head: Option<String>,
    /// Blobs that are there.
    blobs: HashSet<String>,
    /// Whether the server sent everything, as it knows no filters.
    whole: bool,
    deepened: bool,
}

/// What came of a push.
#[derive(Debug)]
pub(super) enum Pushed {
    /// The branch is at our commit.
    Done,
    /// Somebody was quicker: fetch, and do it again.
    Overtaken,
    /// The server's rules forbid it, in its words.
    Refused(String),
}

impl Mirror {
    pub(super) fn new(settings: Arc<Settings>, clock: Arc<dyn Clock>, inherited: Vec<(String, String)>) -> Self {
        let git = Git::new(settings.clone(), clock.clone(), inherited);
        Self { git, settings, clock, lock: None, head: None, blobs: HashSet::new(), whole: false, deepened: false }
    }

    /// Forgets the clone, so that the next use makes it anew.
    pub(super) fn reset(&mut self) {
        (self.head, self.whole, self.deepened) = (None, false, false);
        self.blobs.clear();
    }

    /// Brings the clone up to the branch and returns its commit. Where nothing changed it costs one `ls-remote`.
    pub(super) async fn sync(&mut self) -> Result<String, GitError> {
        if self.packs() > PACKS {
            self.reset();
        }
        if self.head.is_none() {
            self.make().await?;
        }
        let branch = format!("refs/heads/{}", self.settings.branch);
        if let Some(head) = &self.head {
            let (listed, _) = self.git.remote(&["ls-remote", "origin", &branch], b"").await?;
            let is_there = |line: &str| line.split_once('\t') == Some((head, &branch));
            if String::from_utf8_lossy(&listed).lines().any(is_there) {
                return Ok(head.clone());
            }
        }
        let refspec = format!("+{branch}:refs/remotes/origin/tip");
        let depth: &[&str] = if self.head.is_none() { &["--depth=1"] } else { &[] };
        let args = [&["fetch", "--quiet", "--filter=blob:none"], &FETCH[..], depth, &["origin", &refspec]].concat();
        let (_, said) = self.git.remote(&args, b"").await?;
        self.whole |= said.contains("filtering not recognized");
        let head = self.git.local(&["rev-parse", "--verify", "--quiet", "refs/remotes/origin/tip"], b"").await?;
        let head = String::from_utf8_lossy(&head).trim().to_owned();
        self.head = Some(head.clone());
        Ok(head)
    }

    /// An empty repository in an empty folder.
    async fn make(&mut self) -> Result<(), GitError> {
        let folder = &self.settings.folder;
        let broken =
            |error: io::Error| GitError::Broken(format!("the clone's folder {} fails: {error}", folder.display()));
        fs::create_dir_all(folder).map_err(broken)?;
        if self.lock.is_none() {
            let path = folder.with_extension("lock");
            let lock = fs::File::options().create(true).truncate(false).write(true).open(path).map_err(broken)?;
            // A process that is being started holds what we hold for a moment; and a target that the configuration
            // replaced may still have to end a write.
            let clock = self.clock.clone();
            for tries in 0.. {
                match lock.try_lock() {
                    Ok(()) => break,
                    Err(_) if tries < LOCK_TRIES => clock.sleep_until(clock.monotonic() + LOCK_PAUSE).await,
                    Err(_) => {
                        let folder = folder.display();
                        let why = format!("another process uses the clone in {folder}: give it a folder of its own");
                        return Err(GitError::Broken(why));
                    }
                }
            }
            self.lock = Some(lock);
        }
        fs::remove_dir_all(folder).map_err(broken)?;
        fs::create_dir_all(folder).map_err(broken)?;
        self.git.local(&["init", "--quiet", "--bare", "."], b"").await?;
        let url = if self.settings.url.starts_with('/') {
            format!("file://{}", self.settings.url)
        } else {
            self.settings.url.clone()
        };
        let settings = [
            ("remote.origin.url", &*url),
            ("remote.origin.promisor", "true"),
            ("remote.origin.partialclonefilter", "blob:none"),
        ];
        for (key, value) in settings {
            self.git.local(&["config", key, value], b"").await?;
        }
        Ok(())
    }

    fn packs(&self) -> usize {
        let packs = fs::read_dir(self.settings.folder.join("objects/pack")).into_iter().flatten().flatten();
        packs.filter(|entry| entry.path().extension().is_some_and(|e| e == "pack")).count()
    }

    /// The regular files of a commit. Links and submodules are left alone, and names that are no UTF-8.
    pub(super) async fn tree(&self, commit: &str) -> Result<Vec<TreeEntry>, GitError> {
        let listed = self.git.local(&["ls-tree", "-r", "-z", "--full-tree", commit], b"").await?;
        let entry = |line: &[u8]| {
            let line = std::str::from_utf8(line).ok()?;
            let (meta, path) = line.split_once('\t')?;
            let mut meta = meta.split(' ');
            let (mode, kind, blob) = (meta.next()?, meta.next()?, meta.next()?);
            let regular = kind == "blob" && mode.starts_with("100");
            regular.then(|| TreeEntry { mode: mode.to_owned(), blob: blob.to_owned(), path: path.into() })
        };
        Ok(listed.split(|b| *b == 0).filter_map(entry).collect())
    }

    /// Makes blobs ready to be read: what is missing is fetched in one request. Returns them in batches that fit into
    /// memory, without those that are too large.
    pub(super) async fn batches(&mut self, blobs: &[String]) -> Result<Vec<Vec<String>>, GitError> {
        let missing: Vec<&String> = blobs.iter().filter(|blob| !self.whole && !self.blobs.contains(*blob)).collect();
        if !missing.is_empty() {
            let ids: String = missing.iter().flat_map(|id| [id.as_str(), "\n"]).collect();
            let noop = ["-c", "fetch.negotiationAlgorithm=noop", "fetch", "--quiet", "origin", "--stdin"];
            self.git.remote(&[&noop[..], &FETCH, &["--filter=blob:none"]].concat(), ids.as_bytes()).await?;
        }
        self.blobs.extend(blobs.iter().cloned());
        let ids: String = blobs.iter().flat_map(|id| [id.as_str(), "\n"]).collect();
        let sizes = self.git.local(&["cat-file", "--batch-check=%(objectname) %(objectsize)"], ids.as_bytes()).await?;
        let (mut batches, mut batch, mut bytes) = (Vec::new(), Vec::new(), 0);
        for line in String::from_utf8_lossy(&sizes).lines() {
            let (id, size) = line.split_once(' ').unwrap_or((line, "0"));
            let size: u64 = size.parse().map_err(|_| GitError::Broken(format!("a blob is not there: {line}")))?;
            if size > MAX_BYTES as u64 {
                continue;
            }
            if bytes + size > BATCH {
                batches.push(std::mem::take(&mut batch));
                bytes = 0;
            }
            bytes += size;
            batch.push(id.to_owned());
        }
        batches.push(batch);
        Ok(batches)
    }

    /// Reads the blobs of one batch.
    pub(super) async fn contents(&self, ids: &[String]) -> Result<Vec<(String, Vec<u8>)>, GitError> {
        let input: String = ids.iter().flat_map(|id| [id.as_str(), "\n"]).collect();
        let output = self.git.local(&["cat-file", "--batch"], input.as_bytes()).await?;
        let mut rest = output.as_slice();
        let mut contents = Vec::with_capacity(ids.len());
        for id in ids {
            // `<id> blob <size>`, a line feed, the bytes, a line feed.
            let cut = rest.iter().position(|b| *b == b'\n').and_then(|end| {
                let size = std::str::from_utf8(&rest[..end]).ok()?.rsplit(' ').next()?.parse::<usize>().ok()?;
                let body = rest.get(end + 1..end + 1 + size)?;
                Some((body.to_vec(), rest.get(end + 2 + size..)?))
            });
            let Some((body, after)) = cut else {
                return Err(GitError::Broken(format!("git cat-file: the blob {id} cannot be read")));
            };
            contents.push((id.clone(), body));
            rest = after;
        }
        Ok(contents)
    }

    /// What our own commits set, as far back as is looked for.
    pub(super) async fn history(&mut self, commit: &str) -> Result<History, GitError> {
        if !self.deepened {
            let branch = format!("refs/heads/{}", self.settings.branch);
            let depth = ["--filter=tree:0", "--depth", HISTORY, "origin", &branch];
            self.git.remote(&[&["fetch", "--quiet"], &FETCH[..], &depth].concat(), b"").await?;
            self.deepened = true;
        }
        let format = format!("--format=%H%x00%(trailers:key={CHANGE},valueonly)%x01");
        let log = self.git.local(&["log", "-n", HISTORY, &format, commit], b"").await?;
        Ok(History::parse(&String::from_utf8_lossy(&log)))
    }

    /// Keeps new texts; their blobs, in the same order.
    pub(super) async fn hash(&self, files: &[(TreeEntry, Vec<u8>)]) -> Result<Vec<String>, GitError> {
        let broken = |error: io::Error| GitError::Broken(format!("a new text cannot be written: {error}"));
        let staged = tempfile::tempdir_in(&self.settings.folder).map_err(broken)?;
        let mut paths = String::new();
        for (index, (_, bytes)) in files.iter().enumerate() {
            let path = staged.path().join(index.to_string());
            fs::write(&path, bytes).map_err(broken)?;
            paths.push_str(&format!("{}\n", path.display()));
        }
        let hashed = self.git.local(&["hash-object", "-w", "--no-filters", "--stdin-paths"], paths.as_bytes()).await?;
        Ok(String::from_utf8_lossy(&hashed).lines().map(str::to_owned).collect())
    }

    /// A commit on top of `parent` with these files in place of what was there. Nothing is checked out.
    pub(super) async fn commit(
        &mut self,
        parent: &str,
        files: &[(TreeEntry, Vec<u8>)],
        message: &str,
    ) -> Result<String, GitError> {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim().to_owned();
        let hashed = self.hash(files).await?;
        self.blobs.extend(hashed.iter().cloned());
        self.git.local(&["read-tree", parent], b"").await?;
        let mut index = String::new();
        for ((entry, _), blob) in files.iter().zip(&hashed) {
            index.push_str(&format!("{} {blob}\t{}\0", entry.mode, entry.path));
        }
        self.git.local(&["update-index", "-z", "--index-info"], index.as_bytes()).await?;
        let tree = text(self.git.local(&["write-tree", "--missing-ok"], b"").await?);
        let (name, email) = &self.settings.author;
        let (name, email) = (format!("user.name={name}"), format!("user.email={email}"));
        let args = ["-c", &name, "-c", &email, "commit-tree", &tree, "-p", parent, "-F", "-"];
        let commit = match &self.settings.signing {
            None => self.git.local(&args, message.as_bytes()).await?,
            Some(signing) => sign(&self.git, signing, &self.settings.folder, &args, message.as_bytes()).await?,
        };
        Ok(text(commit))
    }

    /// Brings a commit to the branch, never by force.
    pub(super) async fn push(&mut self, commit: &str) -> Result<Pushed, GitError> {
        let refspec = format!("{commit}:refs/heads/{}", self.settings.branch);
        let pushed = self.push_as(&[], &refspec).await?;
        if matches!(pushed, Pushed::Done) {
            self.git.local(&["update-ref", "refs/remotes/origin/tip", commit], b"").await?;
            self.head = Some(commit.to_owned());
        }
        Ok(pushed)
    }

    /// Pushes, and tells a race from a refusal.
    pub(super) async fn push_as(&self, options: &[&str], refspec: &str) -> Result<Pushed, GitError> {
        // Deltas would be made against all that the server has, also against files that were never fetched.
        let no_deltas = ["-c", "pack.window=0"];
        let args = [&no_deltas[..], &["push", "--porcelain", "--no-verify"], options, &["origin", refspec]].concat();
        match self.git.remote(&args, b"").await {
            Ok(_) => Ok(Pushed::Done),
            Err(GitError::Failed { stdout, words }) => match rejection(&stdout) {
                Some(Rejection::Overtaken) => Ok(Pushed::Overtaken),
                Some(Rejection::Remote(summary)) if words.starts_with("failed to push") => Ok(Pushed::Refused(summary)),
                Some(Rejection::Remote(_)) => Ok(Pushed::Refused(words)),
                None => Err(GitError::Failed { stdout, words }),
            },
            Err(error) => Err(error),
        }
    }

    /// How long to wait before trying again after somebody was quicker: longer each time, and not alike for two.
    pub(super) fn jitter(attempt: u32, seed: &str) -> Duration {
        use std::hash::{BuildHasher as _, RandomState};
        let random = RandomState::new().hash_one(seed) % 100;
        Duration::from_millis((50 << attempt.min(6)) * (50 + random) / 100)
    }
}

enum Rejection {
    Overtaken,
    Remote(String),
}

/// Reads `git push --porcelain`: `!`, the refs, and `[rejected] (fetch first)` or `[remote rejected] (why)`.
fn rejection(porcelain: &str) -> Option<Rejection> {
    let line = porcelain.lines().find(|line| line.starts_with('!'))?;
    let summary = line.rsplit('\t').next().unwrap_or_default();
    let race = [
        "fetch first",
        "non-fast-forward",
        "stale info",
        "cannot lock ref",
        "failed to update ref",
        "incorrect old value",
    ];
    Some(match race.iter().any(|why| summary.contains(why)) {
        true => Rejection::Overtaken,
        false => Rejection::Remote(summary.escape_debug().take(1024).collect()),
    })
}
