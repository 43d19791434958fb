//! How many files, and so connections, the process may have open; and whether a file could be written.

use std::path::Path;

use rustix::{
    fs::{Access, access},
    process::{Resource, Rlimit, getrlimit, setrlimit},
};

/// What came of raising the limit.
pub(super) struct Raised {
    before: Rlimit,
    result: rustix::io::Result<()>,
}

/// Raises the limit that counts (the soft one) to the one that the process may not pass (the hard one). Without it a
/// container often has 1,024, which connections to registries alone can take.
pub(super) fn raise_limit() -> Raised {
    let before = getrlimit(Resource::Nofile);
    let Rlimit { maximum, .. } = before;
    Raised { before, result: setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) }
}

impl Raised {
    /// Says it in the log.
    pub(super) fn say(&self) {
        let number = |limit: Option<u64>| limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
        let (soft, hard) = (number(self.before.current), number(self.before.maximum));
        match &self.result {
            Ok(()) => tracing::info!(from = soft, to = hard, "the limit of open files is the highest that is allowed"),
            Err(error) => tracing::warn!(%error, limit = soft, "the limit of open files could not be raised"),
        }
    }
}

/// Why this file, which is made with its folder where it is not there, could not be written. Nothing is made.
pub(super) fn unwritable(path: &Path) -> Option<String> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let there = path.ancestors().find(|place| place.exists())?;
    let wrong = |why: &str| Some(format!("{}: {why}", there.display()));
    if there == path && !there.is_file() {
        return wrong("this is no file");
    }
    if there != path && !there.is_dir() {
        return wrong("this is no folder");
    }
    // Beside the file others are made, while it is written.
    let folder = if there == path { there.parent().unwrap_or(there) } else { there };
    let denied = |place: &Path, how| {
        access(place, how).err().map(|error| format!("{}: {}", place.display(), std::io::Error::from(error)))
    };
    denied(folder, Access::WRITE_OK | Access::EXEC_OK).or_else(|| denied(there, Access::WRITE_OK))
}
