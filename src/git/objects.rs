//! What is in the clone: the files of a commit, their texts, and new commits. Nothing is checked out.

use std::{
    collections::{HashSet, VecDeque},
    fmt::Write as _,
    sync::Arc,
};

use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    process::ChildStdout,
    task::JoinHandle,
};

use super::{
    command::GitError,
    mirror::{FETCH, Mirror},
    signing::sign,
};
use crate::manifest::MAX_BYTES;

/// Blobs are handed over in batches of about so many bytes.
const BATCH: usize = 1 << 20;
/// Blobs of more bytes are worked on one after the other, so that a few large ones are not held at once.
const AT_ONCE: usize = 4 * BATCH;
/// Where more files than this are, or are to be read, nothing is: a small tree can name another any number of times.
const MAX_FILES: usize = 5_000_000;
const MAX_WANTED: usize = 400_000;
/// Paths that one command is given.
const MAX_ARGUMENTS: usize = 500;
/// So many blobs are fetched in one request; where there are more, these are read while the next ones come.
const LOT: usize = 16_384;
/// Where a tree is kept until its commit is made.
const SCRATCH: &str = "refs/supercargo/tree";

/// A file of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TreeEntry {
    /// `100644` or `100755`; `120000` of a link, `160000` of a submodule.
    pub(super) mode: String,
    /// The blob's id.
    pub(super) blob: String,
    /// From the root.
    pub(super) path: Arc<str>,
}

impl TreeEntry {
    /// A file that is in no commit.
    pub(super) fn at(path: &str) -> Self {
        Self { mode: "100644".to_owned(), blob: String::new(), path: path.into() }
    }

    /// Why it is not read, if it is no regular file.
    pub(super) fn left_alone(&self) -> Option<&'static str> {
        match &*self.mode {
            "120000" => Some("a link, which is not followed"),
            "160000" => Some("a submodule, which is not read"),
            _ => self.path.contains('\u{fffd}').then_some("a name that is no UTF-8: the file is left alone"),
        }
    }
}

/// A blob's id and bytes; if these are more than are read, their number.
pub(super) type Blob = (String, Result<Vec<u8>, usize>);

impl Mirror {
    /// The paths at which one commit has another file than another (or than none has), and the file that it has there;
    /// of those that are asked for.
    pub(super) async fn changes(
        &self,
        from: Option<&str>,
        to: &str,
        wanted: impl Fn(&str, Option<&TreeEntry>) -> bool,
    ) -> Result<Vec<(Arc<str>, Option<TreeEntry>)>, GitError> {
        match from {
            // In a list of what a tree holds nothing is kept, however often a tree names another.
            None => {
                self.git.stream(&["ls-tree", "-r", "-z", to], b"", async |out| changes(out, false, wanted).await).await
            }
            Some(from) => {
                let args = ["diff-tree", "-r", "-z", "--raw", "--no-abbrev", from, to];
                self.git.stream(&args, b"", async |out| changes(out, true, wanted).await).await
            }
        }
    }

    /// The files at these paths, where there are such.
    pub(super) async fn entries(&self, commit: &str, paths: &[String]) -> Result<Vec<TreeEntry>, GitError> {
        let mut found = Vec::new();
        for paths in paths.chunks(MAX_ARGUMENTS) {
            let mut args = vec!["--literal-pathspecs", "ls-tree", "-z", commit, "--"];
            args.extend(paths.iter().map(String::as_str));
            // Git lists all of a folder that is named beside something in it.
            let asked: HashSet<&str> = paths.iter().map(String::as_str).collect();
            let is_asked = |path: &str, _: Option<&TreeEntry>| asked.contains(path);
            let listed = self.git.stream(&args, b"", async |out| changes(out, false, is_asked).await).await?;
            let files = listed.into_iter().filter_map(|(_, entry)| entry);
            found.extend(files.filter(|entry| entry.mode.starts_with("100")));
        }
        Ok(found)
    }

    /// Reads blobs, after fetching those that are missing. They are worked on while others are read and fetched.
    pub(super) async fn blobs<T: Send + 'static>(
        &mut self,
        ids: &[String],
        work: impl Fn(Vec<Blob>) -> Vec<T> + Clone + Send + 'static,
    ) -> Result<Vec<T>, GitError> {
        let (mut done, mut fetched) = (Vec::new(), &[][..]);
        for lot in ids.chunks(LOT).chain([&[][..]]) {
            let read = self.read(fetched, work.clone());
            let ((), read) = futures::try_join!(self.prefetch(lot), read)?;
            done.extend(read);
            fetched = lot;
        }
        self.blobs.extend(ids.iter().cloned());
        Ok(done)
    }

    /// Fetches in one request what is missing of these blobs.
    async fn prefetch(&self, ids: &[String]) -> Result<(), GitError> {
        let missing = ids.iter().filter(|id| !self.whole && !self.blobs.contains(*id));
        let missing: String = missing.flat_map(|id| [id, "\n"]).collect();
        if !missing.is_empty() {
            let noop = ["-c", "fetch.negotiationAlgorithm=noop", "fetch", "--quiet", "origin", "--stdin"];
            let args = [&noop[..], &FETCH, &["--filter=blob:none"]].concat();
            self.git.remote(&args, missing.as_bytes()).await?;
        }
        Ok(())
    }

    async fn read<T: Send + 'static>(
        &self,
        ids: &[String],
        work: impl Fn(Vec<Blob>) -> Vec<T> + Clone + Send + 'static,
    ) -> Result<Vec<T>, GitError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let lines: String = ids.iter().flat_map(|id| [id, "\n"]).collect();
        let read = async |stdout| read(stdout, ids.len(), work).await;
        self.git.stream(&["cat-file", "--batch"], lines.as_bytes(), read).await
    }

    /// A commit on top of `parent` with these files in place of what was there.
    pub(super) async fn commit(
        &mut self,
        parent: &str,
        files: &[(TreeEntry, Vec<u8>)],
        message: &str,
    ) -> Result<String, GitError> {
        let tree = self.with(parent, files).await?;
        let (name, email) = self.identity();
        let args = ["-c", &name, "-c", &email, "commit-tree", &tree, "-p", parent, "-F", "-"];
        let commit = match &self.settings.signing {
            None => self.git.local(&args, message.as_bytes()).await?,
            Some(signing) => sign(&self.git, signing, &self.git.remote.folder, &args, message.as_bytes()).await?,
        };
        Ok(String::from_utf8_lossy(&commit).trim().to_owned())
    }

    /// Whether the files of a commit are these.
    pub(super) async fn holds(&mut self, commit: &str, files: &[(TreeEntry, Vec<u8>)]) -> Result<bool, GitError> {
        let own = self.git.local(&["rev-parse", "--verify", "--quiet", &format!("{commit}^{{tree}}")], b"").await?;
        Ok(self.with(commit, files).await? == String::from_utf8_lossy(&own).trim())
    }

    /// The tree of a commit with these files in place of what was there. Only the folders that change are read.
    async fn with(&mut self, commit: &str, files: &[(TreeEntry, Vec<u8>)]) -> Result<String, GitError> {
        let mut stream = Vec::new();
        for (index, (_, text)) in files.iter().enumerate() {
            let mark = index + 1;
            stream.extend(format!("blob\nmark :{mark}\ndata {}\n", text.len()).into_bytes());
            stream.extend(text);
            stream.extend(format!("\nget-mark :{mark}\n").into_bytes());
        }
        let mut tree = format!("commit {SCRATCH}\ncommitter <> 0 +0000\ndata 0\nfrom {commit}\n");
        for (index, (entry, _)) in files.iter().enumerate() {
            let _ = writeln!(tree, "M {} :{} {}", entry.mode, index + 1, quoted(&entry.path));
        }
        tree.push_str("ls \"\"\n");
        stream.extend(tree.into_bytes());
        let made = self.git.local(&["fast-import", "--quiet", "--force", "--depth=0"], &stream).await?;
        let made = String::from_utf8_lossy(&made);
        let mut lines = made.lines();
        self.blobs.extend(lines.by_ref().take(files.len()).map(str::to_owned));
        // `040000 tree <id>`, a tab, the path.
        let tree = lines.next().and_then(|line| line.split(['\t', ' ']).nth(2));
        tree.map(str::to_owned).ok_or_else(|| GitError::Broken("git fast-import: it makes no tree".to_owned()))
    }
}

/// Reads what `diff-tree -z` prints, `:<mode> <mode> <blob> <blob> <status>` (before and after) and the path; or
/// `ls-tree -z`, `<mode> <type> <blob>`, a tab and the path.
async fn changes(
    mut listed: impl AsyncBufRead + Unpin,
    is_diff: bool,
    wanted: impl Fn(&str, Option<&TreeEntry>) -> bool,
) -> Result<Vec<(Arc<str>, Option<TreeEntry>)>, String> {
    let end = if is_diff { b'\0' } else { b'\t' };
    let (mut changes, mut meta, mut path) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..MAX_FILES {
        for (end, field) in [(end, &mut meta), (b'\0', &mut path)] {
            field.clear();
            listed.read_until(end, field).await.map_err(|error| error.to_string())?;
            field.pop();
        }
        if path.is_empty() {
            return Ok(changes);
        }
        let path: Arc<str> = String::from_utf8_lossy(&path).into();
        let mut parts = str::from_utf8(&meta).unwrap_or_default().split(' ').skip(is_diff.into());
        let (Some(mode), Some(blob)) = (parts.next(), parts.nth(1)) else { continue };
        let is_there = mode != "000000";
        let entry = is_there.then(|| TreeEntry { mode: mode.to_owned(), blob: blob.to_owned(), path: path.clone() });
        if wanted(&path, entry.as_ref()) {
            changes.push((path, entry));
        }
        if changes.len() > MAX_WANTED {
            return Err(format!("more than {MAX_WANTED} files would be read: say by `paths` which ones to read"));
        }
    }
    Err(format!("the commit has more than {MAX_FILES} files: that is too many"))
}

/// Reads `<id> blob <size>`, a line feed, the bytes, a line feed, so many times.
async fn read<T: Send + 'static>(
    mut stdout: BufReader<ChildStdout>,
    count: usize,
    work: impl Fn(Vec<Blob>) -> Vec<T> + Clone + Send + 'static,
) -> Result<Vec<T>, String> {
    let at_once = std::thread::available_parallelism().map_or(1, Into::into);
    let mut working = VecDeque::<(usize, JoinHandle<Vec<T>>)>::new();
    let mut done = Vec::new();
    let (mut batch, mut bytes) = (Vec::new(), 0);
    let ended = |_| "the work on the files broke".to_owned();
    for left in (0..count).rev() {
        let mut header = String::new();
        stdout.read_line(&mut header).await.map_err(|error| error.to_string())?;
        let mut words = header.trim_end().split(' ');
        let (Some(id), Some("blob"), Some(Ok(size))) =
            (words.next(), words.next(), words.next().map(str::parse::<usize>))
        else {
            return Err(format!("a blob cannot be read: {}", header.trim_end()));
        };
        let held: usize = working.iter().map(|(bytes, _)| bytes).sum();
        if held + size > AT_ONCE {
            for (_, work) in working.drain(..) {
                done.extend(work.await.map_err(ended)?);
            }
        }
        let mut text = Vec::new();
        let mut body = (&mut stdout).take(size as u64 + 1);
        let read = match size > MAX_BYTES {
            true => tokio::io::copy_buf(&mut body, &mut tokio::io::sink()).await,
            false => {
                text.reserve_exact(size + 1);
                body.read_to_end(&mut text).await.map(|read| read as u64)
            }
        };
        if read.map_err(|error| error.to_string())? != size as u64 + 1 {
            return Err(format!("the blob {id} ends early"));
        }
        text.pop();
        bytes += text.len();
        batch.push((id.to_owned(), if size > MAX_BYTES { Err(size) } else { Ok(text) }));
        if bytes > BATCH || left == 0 {
            if working.len() == at_once
                && let Some((_, first)) = working.pop_front()
            {
                done.extend(first.await.map_err(ended)?);
            }
            let (batch, work) = (std::mem::take(&mut batch), work.clone());
            working.push_back((bytes, tokio::task::spawn_blocking(move || work(batch))));
            bytes = 0;
        }
    }
    for (_, last) in working {
        done.extend(last.await.map_err(ended)?);
    }
    Ok(done)
}

/// As `git fast-import` reads a path.
fn quoted(path: &str) -> String {
    format!("\"{}\"", path.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
