//! Values made of files that may change while we run: secrets and certificates that are rotated.

use std::{
    fmt::{self, Debug},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sha2::{Digest, Sha256};
use tokio::{io::AsyncReadExt, sync::watch};

use crate::ports::Clock;

/// How often the files are read.
pub const EVERY: Duration = Duration::from_secs(10);
/// What is longer is not what is meant.
const MAX_FILE: u64 = 1024 * 1024;

/// A value as its files are now. Clones follow the same files; reading ends with the last of them.
#[derive(Clone)]
pub struct Reread<T>(watch::Receiver<Arc<T>>);

/// A file as it was read.
#[derive(Debug)]
pub struct Content {
    path: PathBuf,
    bytes: Result<Vec<u8>, String>,
}

/// Why files could not be read or make no value.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RereadError(String);

impl<T: Send + Sync + 'static> Reread<T> {
    /// Reads the files now, and from then on every ten seconds, in a task of its own. The value changes only when
    /// the files do and make a good one: `make` gets their contents, in order, or why one cannot be read. It fails only if
    /// they are bad now.
    pub async fn start(
        files: Vec<PathBuf>,
        clock: Arc<dyn Clock>,
        make: impl Fn(&[Content]) -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Self, RereadError> {
        let contents = read(&files).await;
        let value = make(&contents).map_err(RereadError)?;
        let (sender, receiver) = watch::channel(Arc::new(value));
        if !files.is_empty() {
            let seen = fingerprint(&contents);
            tokio::spawn(follow(files, clock, make, seen, sender));
        }
        Ok(Self(receiver))
    }

    /// The value as it is now.
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.borrow())
    }
}

impl<T> Debug for Reread<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reread(…)")
    }
}

async fn follow<T>(
    files: Vec<PathBuf>,
    clock: Arc<dyn Clock>,
    make: impl Fn(&[Content]) -> Result<T, String> + Send,
    mut seen: Vec<u8>,
    value: watch::Sender<Arc<T>>,
) {
    let mut failing = false;
    loop {
        tokio::select! {
            () = value.closed() => return,
            () = clock.sleep_until(clock.monotonic() + EVERY) => {}
        }
        let contents = read(&files).await;
        let print = fingerprint(&contents);
        if print == seen && !failing {
            continue;
        }
        seen = print;
        match make(&contents) {
            Ok(new) => {
                failing = false;
                tracing::info!(files = ?files, "read again");
                value.send_replace(Arc::new(new));
            }
            // Files of one change may come one after the other: what was good stays, and this is tried again.
            Err(error) if !failing => {
                failing = true;
                tracing::warn!(%error, "files that changed could not be used; what they held before stays in use");
            }
            Err(_) => {}
        }
    }
}

async fn read(files: &[PathBuf]) -> Vec<Content> {
    let mut contents = Vec::new();
    for path in files {
        contents.push(Content { path: path.clone(), bytes: read_one(path).await.map_err(|error| error.to_string()) });
    }
    contents
}

async fn read_one(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    tokio::fs::File::open(path).await?.take(MAX_FILE).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

impl Content {
    /// What it holds, or why it cannot be read, with its name.
    pub fn bytes(&self) -> Result<&[u8], String> {
        self.bytes.as_deref().map_err(|why| self.says(why))
    }

    /// Says something of the file.
    pub fn says(&self, what: impl fmt::Display) -> String {
        format!("{}: {what}", self.path.display())
    }
}

/// Tells one state of the files from another without keeping a secret's text.
fn fingerprint(contents: &[Content]) -> Vec<u8> {
    let digest = |content: &Content| match &content.bytes {
        Ok(bytes) => Sha256::digest(bytes).to_vec(),
        Err(_) => Vec::from([0]),
    };
    contents.iter().flat_map(digest).collect()
}
