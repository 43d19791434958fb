//! Updates and what outlives them as custom resources of `supercargo.dev`, in the namespaces of their workloads; when tags
//! were first seen, in the operator's own.
//!
//! [`CustomResources`] is the store; its watch tells of what has not ended. Records may be written by whoever has a right
//! to: what is read of them is checked as if nobody of us had written it.

mod ballot;
mod clear;
mod crowded;
mod held;
pub(super) mod history;
mod list;
mod messages;
mod names;
pub(super) mod object;
mod presence;
mod requests;
mod room;
mod state;
mod store;
mod update;
pub(super) mod watch;
mod wishes;

pub use ballot::{NewVote, OnBallot, Voter};
pub(super) use ballot::{is_review, named_review, review};
pub use history::{histories, no_histories};
pub use list::{Of, Recorded, recorded};
pub use messages::MessageStore;
pub(super) use names::{ALL, state as name_of_state};
pub(super) use requests::Requests;
pub use store::CustomResources;
pub use wishes::Made;
pub(super) use wishes::hold;

#[cfg(test)]
mod tests;
