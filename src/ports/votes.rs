//! Who votes on updates.

use std::sync::Arc;

use futures::future::BoxFuture;
use jiff::Timestamp;

use crate::domain::votes::Review;

/// The object of an update, as people name it who vote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectName {
    /// Its name.
    pub name: Arc<str>,
    /// Its uid, which no other one has.
    pub uid: Arc<str>,
}

/// Finds out whether it is sure who votes.
pub trait Votes: Send + Sync {
    /// Asks for what must be refused: a vote in another's name.
    fn prove<'a>(&'a self, namespace: &'a str) -> BoxFuture<'a, Proof>;

    /// Deletes a vote of which there are too many. Whether it could is nobody's concern.
    fn discard<'a>(&'a self, review: &'a Review) -> BoxFuture<'a, ()>;
}

/// What was found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// Nobody can vote for another; when the API server said so, by its clock.
    Guarded(Timestamp),
    /// Somebody could, or nobody can vote at all: in words for people.
    Unguarded(String),
    /// It could not be found out now.
    Unknown(String),
}
