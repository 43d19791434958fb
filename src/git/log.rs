//! The branch's newest commits without their files, in a repository of their own. In the clone they would be in the way:
//! a server takes it that whoever has a commit has its files too, and neither sends these nor avoids deltas against them.

use std::{fs, io, path::PathBuf, sync::Arc};

use jiff::Timestamp;

use super::{
    command::GitError,
    history::{CHANGE, History, LoggedCommit, Merged},
    mirror::{FETCH, Mirror, TIP},
    own::{Made, WHO},
};
use crate::domain::text::excerpt;

/// How far back our own commits are looked for.
const DEPTH: &str = "500";
/// How many commits since one of ours are looked at for who undid it.
const SINCE: &str = "100";

/// What is known of that repository.
#[derive(Debug, Default)]
pub(super) struct Log {
    is_made: bool,
    /// The newest commit that it has, also one that we put on top of that.
    pub(super) newest: Option<String>,
}

impl Log {
    /// A commit of ours is on the branch.
    pub(super) fn pushed(&mut self, before: Option<&str>, commit: &str) {
        if self.newest.as_deref() == before {
            self.newest = Some(commit.to_owned());
        }
    }
}

/// Who moved something back, as their commit says.
pub(super) struct Mover {
    pub(super) name: Arc<str>,
    pub(super) at: Timestamp,
}

impl Mirror {
    /// Who undid one of our commits: the commit that says it reverts that, or else the only one by somebody else since. Where
    /// there are several nobody is named, and the newest tells when.
    pub(super) async fn mover(&self, commit: &str, head: &str) -> Result<Option<Mover>, GitError> {
        let range = format!("{commit}..{head}");
        let log = self.log(&["-z", "-n", SINCE, "--format=%an%x00%ct%x00%B%x00", &range]).await?;
        let fields: Vec<&str> = log.split('\0').collect();
        let (commits, _) = fields.as_chunks();
        let is_ours = |body: &str| body.lines().any(|line| line.starts_with(CHANGE));
        let others: Vec<&[&str; 4]> = commits.iter().filter(|[_, _, body, _]| !is_ours(body)).collect();
        let says = format!("This reverts commit {commit}");
        let reverts = others.iter().find(|[_, _, body, _]| body.contains(&says));
        let only = match &others[..] {
            [only] => Some(only),
            _ => None,
        };
        let mover = |[name, at, ..]: &[&str; 4], is_named: bool| {
            let at = at.parse().ok().and_then(|second| Timestamp::from_second(second).ok())?;
            Some(Mover { name: if is_named { excerpt(name).into() } else { "somebody".into() }, at })
        };
        Ok(match reverts.or(only) {
            Some(commit) => mover(commit, true),
            None => others.first().and_then(|newest| mover(newest, false)),
        })
    }

    /// What `git log` prints of the branch's commits.
    async fn log(&self, args: &[&str]) -> Result<String, GitError> {
        let folder = self.log_folder();
        let args = [&["--git-dir", &folder, "log"], args].concat();
        // Our own commits are in the clone.
        let objects = self.git.remote.folder.join("objects").display().to_string();
        let more = vec![("GIT_ALTERNATE_OBJECT_DIRECTORIES".to_owned(), objects)];
        let log = self.git.tool("git", &args, b"", more).await.map_err(|error| GitError::Broken(error.to_string()))?;
        Ok(String::from_utf8_lossy(&log).into_owned())
    }

    /// What our own commits set, as far back as is looked for, and those that the forge made of `merged` requests.
    pub(super) async fn history(&mut self, commit: &str, merged: &Merged) -> Result<History, GitError> {
        if self.log.newest.as_deref() != Some(commit) {
            self.make_log().await?;
            self.fetch_log().await?;
            self.log.newest = Some(commit.to_owned());
        }
        let format = format!("--format=%H%x00{WHO}%x00%(trailers:key={CHANGE},valueonly)");
        let log = self.log(&["-z", "-n", DEPTH, &format, commit]).await?;
        let entries = LoggedCommit::read(&log);
        let made: Vec<Made<'_>> = entries.iter().map(|entry| entry.made).collect();
        let own = self.own(&made).await?;
        Ok(History::new(entries.iter().zip(own), merged))
    }

    /// The variable that lets the clone see these commits too.
    pub(super) fn log_objects(&self) -> Vec<(String, String)> {
        let objects = self.git.remote.folder.join("log/objects").display().to_string();
        self.log.is_made.then(|| ("GIT_ALTERNATE_OBJECT_DIRECTORIES".to_owned(), objects)).into_iter().collect()
    }

    /// Brings it up to the branch, if it is there; beside the clone, when the branch has moved.
    pub(super) async fn follow_log(&self) -> Result<Option<String>, GitError> {
        if !self.log.is_made {
            return Ok(None);
        }
        self.fetch_log().await?;
        let folder = self.log_folder();
        let newest = self.git.local(&["--git-dir", &folder, "rev-parse", "--verify", "--quiet", TIP], b"").await?;
        Ok(Some(String::from_utf8_lossy(&newest).trim().to_owned()))
    }

    async fn make_log(&mut self) -> Result<(), GitError> {
        if self.log.is_made {
            return Ok(());
        }
        let folder = self.log_folder();
        self.git.local(&["init", "--quiet", "--bare", &folder], b"").await?;
        let config = |folder: PathBuf| folder.join("config");
        let copied = fs::copy(config(self.git.remote.folder.clone()), config(folder.clone().into()));
        let broken =
            |error: io::Error| GitError::Broken(format!("the repository of commits in {folder} fails: {error}"));
        copied.map_err(broken)?;
        self.log.is_made = true;
        Ok(())
    }

    async fn fetch_log(&self) -> Result<(), GitError> {
        let (folder, refspec) = (self.log_folder(), self.refspec());
        let fetch = ["--git-dir", &folder, "fetch", "--quiet", "--filter=tree:0", "--depth", DEPTH];
        self.git.remote(&[&fetch[..], &FETCH, &["origin", &refspec]].concat(), b"").await?;
        Ok(())
    }

    fn log_folder(&self) -> String {
        self.git.remote.folder.join("log").display().to_string()
    }
}
