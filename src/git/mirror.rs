//! A bare, shallow, partial clone of one branch. It is a cache: when anything is wrong with it, it is made anew.

use std::{collections::HashSet, fs, io, sync::Arc, time::Duration};

use super::{
    command::{Git, GitError},
    log::Log,
    own::Own,
    settings::TargetSettings,
};
use crate::{domain::image::excerpt, net::foreign, ports::Clock};

/// Nothing but what is asked for.
pub(super) const FETCH: [&str; 3] = ["--no-tags", "--no-write-fetch-head", "--recurse-submodules=no"];
/// More packs than this make the clone slow: it is made anew.
const PACKS: usize = 100;
/// So many branches are named where the wanted one is not there.
const NAMED: usize = 10;

/// The branch as it was fetched last.
pub(super) const TIP: &str = "refs/remotes/origin/tip";

/// How often, and after which pause, a lock is asked for that somebody else holds.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// The clone of one target.
pub(super) struct Mirror {
    pub(super) git: Git,
    pub(super) settings: Arc<TargetSettings>,
    clock: Arc<dyn Clock>,
    /// Held while this process lives, so that no other one uses the folder.
    lock: Option<fs::File>,
    /// The branch's commit that was fetched last.
    head: Option<String>,
    /// How many times it was made.
    pub(super) made: usize,
    /// Blobs that are there.
    pub(super) blobs: HashSet<String>,
    /// Whether the server sent everything, as it knows no filters.
    pub(super) whole: bool,
    pub(super) log: Log,
    pub(super) own: Own,
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
    pub(super) fn new(settings: Arc<TargetSettings>, clock: Arc<dyn Clock>, inherited: Vec<(String, String)>) -> Self {
        let git = Git::new(settings.remote.clone(), clock.clone(), inherited);
        let (blobs, log, own) = (HashSet::new(), Log::default(), Own::default());
        Self { git, settings, clock, lock: None, head: None, made: 0, blobs, whole: false, log, own }
    }

    /// Forgets the clone, so that the next use makes it anew.
    pub(super) fn reset(&mut self) {
        (self.head, self.whole, self.log) = (None, false, Log::default());
        self.blobs.clear();
    }

    /// Brings the clone up to the branch and returns its commit. Where nothing changed, the server only
    /// lists the branch.
    pub(super) async fn sync(&mut self) -> Result<String, GitError> {
        if self.packs() > PACKS {
            self.reset();
        }
        match &self.head {
            None => self.make().await?,
            Some(head) => {
                if self.listed(&format!("refs/heads/{}", self.settings.branch)).await?.as_ref() == Some(head) {
                    return Ok(head.clone());
                }
            }
        }
        let refspec = self.refspec();
        // The newest commit alone: with what has been merged since, the history that this began with would come too.
        let args = [&["fetch", "--quiet", "--filter=blob:none", "--depth=1"], &FETCH[..], &["origin", &refspec]];
        let args = args.concat();
        let fetched = futures::try_join!(self.git.remote(&args, b""), self.follow_log());
        let ((_, said), newest) = match fetched {
            Err(GitError::Failed { words, .. }) if words.contains("couldn't find remote ref") => {
                return Err(self.no_branch().await);
            }
            fetched => fetched?,
        };
        self.log.newest = newest;
        self.whole |= said.contains("filtering not recognized");
        let head = self.git.local(&["rev-parse", "--verify", "--quiet", TIP], b"").await?;
        let head = String::from_utf8_lossy(&head).trim().to_owned();
        self.head = Some(head.clone());
        Ok(head)
    }

    /// The error for a branch that is not there, with those that are.
    async fn no_branch(&self) -> GitError {
        let listed = match self.git.remote(&["ls-remote", "--heads", "origin"], b"").await {
            Ok((listed, _)) => listed,
            Err(error) => return error,
        };
        let listed = String::from_utf8_lossy(&listed);
        let names = listed.lines().filter_map(|line| line.split_once("\trefs/heads/").map(|(_, name)| excerpt(name)));
        let mut names: Vec<String> = names.collect();
        let more = names.len().saturating_sub(NAMED);
        names.truncate(NAMED);
        let there = match (names.is_empty(), more) {
            (true, _) => "it has none: push a first commit".to_owned(),
            (false, 0) => format!("available: {}", names.join(", ")),
            (false, more) => format!("available: {} and {more} more", names.join(", ")),
        };
        let words = format!("there is no branch {}; {there}", excerpt(&self.settings.branch));
        GitError::Failed { stdout: String::new(), words }
    }

    /// An empty repository in an empty folder.
    async fn make(&mut self) -> Result<(), GitError> {
        let folder = &self.git.remote.folder;
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
                        let why = format!(
                            "another process uses the clone in {folder}: give this one another (`--git-cache`)"
                        );
                        return Err(GitError::Broken(why));
                    }
                }
            }
            self.lock = Some(lock);
        }
        fs::remove_dir_all(folder).map_err(broken)?;
        fs::create_dir_all(folder).map_err(broken)?;
        self.made += 1;
        self.git.local(&["init", "--quiet", "--bare", "."], b"").await?;
        let url = if self.git.remote.url.starts_with('/') {
            format!("file://{}", self.git.remote.url)
        } else {
            self.git.remote.url.clone()
        };
        let refspec = self.refspec();
        let settings = [
            ("remote.origin.url", &*url),
            // A push moves it too.
            ("remote.origin.fetch", &refspec),
            ("remote.origin.promisor", "true"),
            ("remote.origin.partialclonefilter", "blob:none"),
        ];
        for (key, value) in settings {
            self.git.local(&["config", key, value], b"").await?;
        }
        Ok(())
    }

    pub(super) fn refspec(&self) -> String {
        format!("+refs/heads/{}:{TIP}", self.settings.branch)
    }

    fn packs(&self) -> usize {
        let packs = fs::read_dir(self.git.remote.folder.join("objects/pack")).into_iter().flatten().flatten();
        packs.filter(|entry| entry.path().extension().is_some_and(|e| e == "pack")).count()
    }

    /// Brings a commit to the branch, never by force.
    pub(super) async fn push(&mut self, commit: &str) -> Result<Pushed, GitError> {
        let refspec = format!("{commit}:refs/heads/{}", self.settings.branch);
        let pushed = self.push_as(&[], &refspec).await?;
        if matches!(pushed, Pushed::Done) {
            self.log.pushed(self.head.as_deref(), commit);
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
        false => Rejection::Remote(foreign(summary)),
    })
}
