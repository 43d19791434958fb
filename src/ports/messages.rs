//! What people are told elsewhere of updates that wait for them, and what they answer there.

use std::sync::Arc;

use futures::future::BoxFuture;

use super::{ClusterError, PutError, RecordError, Version};
use crate::domain::{
    report::Report,
    update::{Message, Tracked},
    votes::Verb,
    workload::WorkloadId,
};

/// Where an update's object is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UpdateName {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name there.
    pub name: Arc<str>,
}

/// An update as it is recorded, and what people were told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    /// Where.
    pub name: UpdateName,
    /// The object's uid, which no other one has.
    pub uid: Arc<str>,
    /// The update.
    pub tracked: Tracked,
    /// The messages.
    pub messages: Vec<Message>,
    /// What was read.
    pub version: Version,
}

/// Is told of updates that people are asked about.
pub trait Notify: Send + Sync {
    /// One may have changed, or come to its end. Never waits.
    fn changed(&self, update: UpdateName);
}

/// What is told of updates, beside their records.
pub trait Messages: Send + Sync {
    /// An update and its messages, if it is there and people were asked about it.
    fn get<'a>(&'a self, update: &'a UpdateName) -> BoxFuture<'a, Result<Option<Announced>, RecordError>>;

    /// Keeps these messages of an update that is as it was seen; the update as it is then.
    fn keep<'a>(&'a self, of: &'a Announced, messages: &'a [Message]) -> BoxFuture<'a, Result<Announced, PutError>>;

    /// Updates that people are asked about, and those whose messages do not show their end.
    fn open(&self) -> BoxFuture<'_, Result<Vec<UpdateName>, RecordError>>;
}

/// Somebody, as the API server knows people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The username.
    pub user: Arc<str>,
    /// The groups.
    pub groups: Vec<Arc<str>>,
}

/// What somebody may do or not.
#[derive(Debug, Clone, Copy)]
pub enum Right<'a> {
    /// Say yes or no to an update.
    Vote(&'a UpdateName),
    /// Read it.
    Read(&'a UpdateName),
    /// Stop all changes of a workload, until somebody resumes it.
    Hold(&'a WorkloadId),
}

/// A review that is written for somebody of another system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spoken {
    /// Its own name: the same for the same.
    pub name: String,
    /// Yes or no.
    pub verb: Verb,
    /// Who, as the API server knows people.
    pub approver: Arc<str>,
    /// Who, in the other system.
    pub on_behalf_of: String,
}

/// What came of a review, or of a hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReviewOutcome {
    /// It is written.
    Written,
    /// It was there already; a hold also where another person's is.
    Again,
    /// It was refused, in the API server's words.
    Refused(String),
}

/// Lets people of another system vote, and hold what they are asked about.
pub trait Reviewers: Send + Sync {
    /// Whether they have that right.
    fn may<'a>(&'a self, who: &'a Person, what: Right<'a>) -> BoxFuture<'a, Result<bool, ClusterError>>;

    /// Writes a review of an update as it was read.
    fn review<'a>(
        &'a self,
        of: &'a Announced,
        review: &'a Spoken,
    ) -> BoxFuture<'a, Result<ReviewOutcome, ClusterError>>;

    /// Writes the wish that nothing of a workload is changed, unless that is so: by whom, as the API server and as the other
    /// system knows them.
    fn hold<'a>(
        &'a self,
        workload: &'a WorkloadId,
        by: &'a str,
        on_behalf_of: &'a str,
    ) -> BoxFuture<'a, Result<ReviewOutcome, ClusterError>>;
}

/// Says how a workload stands.
pub trait Explain: Send + Sync {
    /// Its rows, with the gates; `None` where it cannot be said now.
    fn explain<'a>(&'a self, workload: &'a WorkloadId) -> BoxFuture<'a, Option<Vec<Report>>>;
}
