//! The cluster: watches that say what runs, the guarded patch, pull secrets, Events.
//!
//! [`connect`] makes the client; [`watch()`] tells the engine of workloads and Namespaces; [`Objects`] reads and
//! patches single workloads; [`CustomResources`] remembers updates; [`Followed`] follows rollouts; [`Ballots`] finds out
//! whether it is sure who votes; [`ReviewWriter`] votes and holds for people of another system; [`Applications`] has Argo CD look at Git; [`PullSecrets`] reads Secrets by name;
//! [`EventWriter`] tells people.

mod ahead;
mod applications;
pub mod connect;
mod events;
mod follow;
mod long;
mod managed;
mod object;
mod owner;
mod patch;
mod policies;
mod proof;
mod records;
mod reviewers;
mod reviews;
mod rollouts;
mod secrets;
mod shared;
mod sink;
mod status;
mod turns;
mod watch;

pub use applications::Applications;
pub use connect::{connect, reach};
pub use events::EventWriter;
pub use proof::Ballots;
pub use records::{
    CustomResources, Made, MessageStore, NewVote, Of, OnBallot, Recorded, Voter, histories, no_histories, recorded,
};
pub use reviewers::ReviewWriter;
pub use rollouts::Followed;
pub use secrets::PullSecrets;
pub use sink::Objects;
pub use watch::{Scope, watch};

use std::{sync::Arc, time::Duration};

use crate::{
    net::{cause, foreign},
    ports::Clock,
};

/// Nothing asked of the API server may take longer (watches aside).
const TIMEOUT: Duration = Duration::from_secs(30);

/// The answer, or `None` when it has not come after [`TIMEOUT`].
async fn in_time<T>(clock: &Arc<dyn Clock>, request: impl Future<Output = T>) -> Option<T> {
    let deadline = clock.sleep_until(clock.monotonic() + TIMEOUT);
    match futures::future::select(Box::pin(request), deadline).await {
        futures::future::Either::Left((answer, _)) => Some(answer),
        futures::future::Either::Right(_) => None,
    }
}

/// What went wrong with a request, for people.
fn failure(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => foreign(&format!("{} ({} {})", status.message, status.code, status.reason)),
        other => format!("the API server did not answer: {}", cause(other)),
    }
}
