//! How many files, and so connections, the process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

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
