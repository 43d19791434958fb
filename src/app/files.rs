//! How many files, and so connections, the process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit that counts (the soft one) to the one that the process may not pass (the hard one), and says both.
/// Without it a container often has 1,024, which connections to registries alone can take.
pub(super) fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let number = |limit: Option<u64>| limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
    let (soft, hard) = (number(current), number(maximum));
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => {
            tracing::info!(from = soft, to = hard, "the limit of open files is set to the highest that is allowed")
        }
        Err(error) => tracing::warn!(%error, limit = soft, "the limit of open files could not be raised"),
    }
}
