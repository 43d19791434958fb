//! What happens, and what is to be done about it.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use crate::domain::{
    reason::Reason,
    rollback::Rollback,
    rollout::{Pods, RolloutView, Times},
    target::Route,
    update::{
        Bars, Change, Item, Judging, News, Outcome, Rehearsal, Standing, Tracked, Update, UpdateId, WorkloadState,
    },
    votes::{Approval, Review},
    wish::Wish,
    workload::{Observed, Workload, WorkloadId},
};

/// A moment by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// The time of day, for what is remembered.
    pub at: Timestamp,
    /// The monotonic clock, for what is waited for.
    pub since: Duration,
}

/// What happens to a workload, or what the outside answered.
#[derive(Debug, Clone)]
pub enum Event {
    /// What was remembered by its name.
    Remembered(WorkloadState),
    /// Why what was remembered by its name cannot be read; `None` if it can again, or is gone.
    Undecodable(Option<Arc<str>>),
    /// What is remembered is kept elsewhere from now on.
    KeptElsewhere(WorkloadId),
    /// An update that had not ended was remembered; and the workload as it is.
    Recorded(Box<Tracked>, Arc<Workload>),
    /// All is known that was remembered; and the workload as it is.
    Known(Arc<Workload>),
    /// It is there, new or changed, or what applies to it has changed.
    Seen(Arc<Workload>),
    /// It is gone, or was not there when all were known.
    Gone(WorkloadId),
    /// A look or somebody else's update may have brought something for it.
    Asked,
    /// What was decided about it, as was asked by [`Act::Decide`].
    Proposed(Proposal),
    /// Its turn to be written has come, by that route, and this was decided again.
    Turn(Route, Proposal),
    /// What came of writing that update.
    Written(UpdateId, Outcome),
    /// How that update stands in Git.
    Checked(UpdateId, Standing),
    /// Whether that update would be taken.
    Rehearsed(UpdateId, Rehearsal),
    /// All that people have said of the current update.
    Reviewed(Vec<Review>),
    /// It is sure who votes, or why it is not.
    Voting(Result<Proved, Arc<str>>),
    /// It was read; `None` if it is gone. And by what it is judged who moved what we had set.
    Observed(Result<Option<Observed>, String>, Judging),
    /// What it says of its rollout, how long is waited for what, and whether what fails is put back.
    Rollout(RolloutView, Times, Rollback),
    /// Whether what fails is put back, as its annotations say now.
    Ruled(Rollback),
    /// What the pods of its new revision say.
    Pods(Pods, Times),
    /// Whether the registry refuses the new image of that change, as was asked by [`Act::AskPull`].
    Pulled(Box<Change>, bool),
    /// What came of [`Act::Free`]: why nothing can be deleted, and what a person can do.
    Stuck(Arc<str>),
    /// A person wishes something, and what that is about, or why it cannot be done.
    Wished(Box<Wish>, WorkloadId, Result<Option<Aim>, String>),
    /// The time has come that [`Record::wakes_at`] said.
    Woke,
}

/// That it is sure who votes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proved {
    /// Since when, by the clock of the API server, if it was not before.
    pub at: Timestamp,
    /// What was said up to then does not count in any case.
    pub void: Option<Timestamp>,
}

/// What a wish is about, as far as the wish does not say it.
#[derive(Debug, Clone)]
pub struct Aim {
    /// The workload as it is.
    pub workload: Arc<Workload>,
    /// Where its images are written.
    pub route: Route,
    /// What is to run again, where the wish names an update.
    pub to: Option<Vec<Change>>,
    /// What keeps it for now, if anything does.
    pub kept: Option<Reason>,
}

/// What is decided about a workload.
#[derive(Debug, Clone)]
pub enum Proposal {
    /// There is nothing that may be written now.
    Nothing,
    /// There is nothing to write to the workload as it is, or no rule for it.
    Unwanted(Arc<Workload>),
    /// What is to be written was written before and is not there: whoever took it away must be known first.
    Unsure,
    /// This is to be written; whether another look of the workload is still under way.
    Update(Update, bool),
    /// The same, and people are to be asked before.
    Ask(Update, Approval, bool),
    /// What is being put back may be written, or seen to, by that route.
    Back(Route),
    /// It may not, and why.
    Kept(Reason),
}

/// What is to be done about it.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// Decide about it, and say what came of that.
    Decide,
    /// Let it have its turn to be written.
    Queue(Route),
    /// Have it said whether what was decided on now would be taken.
    Rehearse,
    /// Write what was decided on now.
    Write,
    /// See how that stands in Git.
    Check,
    /// Read the workload with the managers of its images.
    Read,
    /// Look at its repositories again.
    Look,
    /// Tell what it and its pods say of its rollout, from now on, or no more.
    Follow(bool),
    /// Ask the registry whether that container's image can be pulled.
    AskPull(Box<Item>),
    /// Delete the next pod that keeps what ran before from coming back: one with these images that was never ready.
    Free(Vec<Change>),
    /// Find out what that wish is about, and say it.
    Aim(Box<Wish>),
    /// From now on these images are not to be chosen, and these annotations are in force.
    Bar(Box<Bars>),
    /// From now on these changes are to be chosen, as long as they may be.
    Keep(Vec<Change>),
    /// Remember this, also after a restart.
    Save(Box<Tracked>),
    /// Remember this by the workload's name.
    SaveState(WorkloadState),
    /// Tell people.
    Announce(News),
    /// Say that this came and was not waited for: nothing else follows from it.
    Unexpected(&'static str),
}
