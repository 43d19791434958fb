//! The unit of work: one change of one workload, from the proposal to its end.
//!
//! | | |
//! |---|---|
//! | [`Update`] | what changes, and where it is written |
//! | [`Phase`] | how far it has come |
//! | [`Record`] | what is remembered of a workload's updates |
//! | [`WorkloadState`] | what of that outlives them |
//! | [`step()`] | the only place where any of this goes on |
//! | [`Outcome`], [`Standing`] | what the outside answers |
//! | [`News`] | what people are told |

mod good;
mod hold;
mod holds;
mod message;
mod moved;
mod news;
mod outcome;
mod phase;
mod rare;
mod record;
mod rule;
mod state;
mod step;

pub use hold::{HOLDS, HeldBy, Hold, How};
pub use message::{MESSAGES, Message, StoryLine};
pub use moved::{Judging, OnReapply};
pub use news::{News, Rollout};
pub use outcome::{Outcome, Rehearsal, Standing, Written};
pub use phase::{KEPT, LOG, LogEntry, Phase, PhaseName, Tracked, Way};
pub use record::Record;
pub use rule::{KeptKey, SeenRule, TakenAway};
pub use state::{AGAIN, Applied, Bars, GOOD, Good, QUARANTINED, Quarantined, REFUSED, Refused, WorkloadState};
pub use step::{Act, Aim, Event, Now, Proposal, Proved, step};

use std::{fmt, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    hint::Source,
    image::{Digest, ImageRef, Tag},
    reason::Reason,
    rollout::has_rollout,
    target::Route,
    workload::{Workload, WorkloadId},
};

/// The name of an [`Update`]: the same changes of the same workload have the same id, so an effect that is
/// keyed by it is not done twice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UpdateId(pub Arc<str>);

/// One image of one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The container's name.
    pub container: Arc<str>,
    /// Whether it stands under `initContainers`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub init: bool,
    /// The image that was there.
    pub from: ImageRef,
    /// The image to run.
    pub to: ImageRef,
}

/// What a new image was chosen by and from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The tag that was chosen.
    pub tag: Tag,
    /// The digest it pointed to when looked at, where one was asked for.
    pub digest: Option<Digest>,
    /// When the look was made.
    pub seen: Timestamp,
    /// Why better tags were passed over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passed: Vec<Reason>,
}

/// A change of an [`Update`], and how it came to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// What changes.
    #[serde(flatten)]
    pub change: Change,
    /// The policy that chose, as written; empty where that is not known.
    #[serde(default)]
    pub policy: Arc<str>,
    /// What it was chosen from, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// Where it was found, and as whom: nobody else's credentials may be used to read more of these images. `None` where
    /// nobody asked just now.
    #[serde(skip)]
    pub source: Option<Arc<Source>>,
}

/// One change of one workload: all its approved images go into one patch and one rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    /// See [`UpdateId`].
    pub id: UpdateId,
    /// The workload that changes.
    pub workload: WorkloadId,
    /// Its uid; empty where it has none, as in a Git repository.
    #[serde(default)]
    pub uid: Arc<str>,
    /// One a container; never empty.
    pub items: Vec<Item>,
    /// Where it is written.
    #[serde(flatten)]
    pub route: Route,
    /// When it was proposed.
    pub proposed: Timestamp,
    /// A hash of what decided: policies and their options; empty where that is not known.
    #[serde(default)]
    pub policy_hash: Arc<str>,
    /// What it puts back, if it is the way back of another.
    #[serde(skip)]
    pub puts_back: Option<PutsBack>,
    /// When a person last had holds lifted: what was moved back in Git before does not count.
    #[serde(skip)]
    pub lifted: Option<Timestamp>,
}

/// What the way back of an update puts back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutsBack {
    /// That update.
    pub update: UpdateId,
    /// The pod template but for its images must still have this hash; `None` where a person asked for it.
    pub template: Option<Arc<str>>,
}

/// A change of an update that is not made with the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The container's name.
    pub container: Arc<str>,
    /// Whether it stands under `initContainers`.
    pub init: bool,
    /// Why.
    pub reason: Reason,
}

impl LeftOut {
    /// Whether it is this change.
    pub fn is(&self, change: &Change) -> bool {
        (&self.container, self.init) == (&change.container, change.init)
    }
}

/// The annotation that tells people of the last update. It is not the record: `kubectl rollout undo` puts old
/// annotations back.
pub const LAST_UPDATE: &str = "supercargo.dev/last-update";

/// What [`LAST_UPDATE`] says, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastUpdate {
    /// The update's id.
    pub id: UpdateId,
    /// When it was written.
    pub at: Timestamp,
    /// What it changed.
    pub changes: Vec<Change>,
}

impl LastUpdate {
    /// What a workload says of its last update.
    pub fn of(workload: &Workload) -> Option<Self> {
        serde_json::from_str(workload.annotations.get(LAST_UPDATE)?).ok()
    }

    /// Whether that update was written, as it was proposed now: the same changes may have been made before.
    pub fn proves(&self, update: &Update) -> bool {
        self.id == update.id && self.at.as_second() >= update.proposed.as_second()
    }
}

impl fmt::Display for LastUpdate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Display for UpdateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl UpdateId {
    /// The name of the same changes where they are made once more, after so many times: `<id>-<nth + 1>`.
    #[must_use]
    pub fn nth(&self, nth: u32) -> Self {
        if nth == 0 { self.clone() } else { Self(format!("{self}-{}", nth + 1).into()) }
    }

    /// What [`UpdateId::nth`] was made of.
    pub fn split(&self) -> (Self, u32) {
        let parts = self.0.rsplit_once('-').and_then(|(id, nth)| Some((id, nth.parse::<u32>().ok()?)));
        match parts {
            Some((id, nth @ 2..)) => (Self(id.into()), nth - 1),
            _ => (self.clone(), 0),
        }
    }

    /// The id of these changes of this workload: a hash of both.
    fn of<'a>(workload: &WorkloadId, changes: impl Iterator<Item = &'a Change>) -> Self {
        let text = |change: &Change| format!("{} {} {} {}", change.container, change.init, change.from, change.to);
        Self(hash([workload.to_string()].into_iter().chain(changes.map(text))))
    }
}

/// The first 64 bits of the SHA-256 of these lines, as 16 hexadecimal digits.
pub fn hash(lines: impl Iterator<Item = String>) -> Arc<str> {
    sha256(lines)[..16].into()
}

/// The SHA-256 of these lines, in hexadecimal digits.
fn sha256(lines: impl Iterator<Item = String>) -> String {
    use sha2::{Digest as _, Sha256};
    let mut hash = Sha256::new();
    for (n, line) in lines.enumerate() {
        hash.update(if n == 0 { "" } else { "\n" });
        hash.update(line);
    }
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

impl From<Change> for Item {
    fn from(change: Change) -> Self {
        Self { change, policy: "".into(), evidence: None, source: None }
    }
}

impl Update {
    /// Changes that are proposed for a workload.
    pub fn new(workload: WorkloadId, items: Vec<Item>, route: Route, proposed: Timestamp) -> Self {
        let id = UpdateId::of(&workload, items.iter().map(|item| &item.change));
        Self {
            id,
            workload,
            uid: "".into(),
            items,
            route,
            proposed,
            policy_hash: "".into(),
            puts_back: None,
            lifted: None,
        }
    }

    /// What sets the images again that were there before it, as is known since then.
    #[must_use]
    pub fn back(&self, since: Timestamp) -> Self {
        let swapped = |Change { container, init, from, to }: &Change| {
            let (container, init) = (container.clone(), *init);
            let change = Change { container, init, from: to.clone(), to: from.clone() };
            Item { policy: "rollback".into(), ..Item::from(change) }
        };
        let items = self.changes().map(swapped).collect();
        let update = Self::new(self.workload.clone(), items, self.route.clone(), since);
        let puts_back = Some(PutsBack { update: self.id.clone(), template: None });
        Self { uid: self.uid.clone(), puts_back, ..update }
    }

    /// With the times at which the same update was first proposed, where it was.
    #[must_use]
    pub fn as_first_proposed(mut self, first: &Self) -> Self {
        if self.id == first.id {
            self.proposed = first.proposed;
            for item in &mut self.items {
                let known = first.items.iter().find(|known| known.change == item.change);
                let seen = known.and_then(|known| known.evidence.as_ref()).map(|evidence| evidence.seen);
                if let (Some(evidence), Some(seen)) = (&mut item.evidence, seen) {
                    evidence.seen = seen;
                }
            }
        }
        self
    }

    /// Without the changes that are not made.
    #[must_use]
    pub fn without(mut self, left: &[LeftOut]) -> Self {
        self.items.retain(|item| !left.iter().any(|left| left.is(&item.change)));
        self
    }

    /// What exactly people vote on: a hash of what changes, with digests, of where that is written, and of what decided.
    pub fn target(&self) -> Arc<str> {
        let changes =
            self.changes().map(|Change { container, init, from, to }| format!("{container} {init} {from} {to}"));
        let write = self.route.write().to_string();
        let whole = [self.workload.to_string(), self.uid.to_string(), write, self.policy_hash.to_string()];
        sha256(whole.into_iter().chain(changes)).into()
    }

    /// Whether anybody can tell how its rollout goes: of what is in no cluster nobody can.
    pub fn can_be_followed(&self) -> bool {
        !self.uid.is_empty() && has_rollout(&self.workload.kind)
    }

    /// What changes.
    pub fn changes(&self) -> impl Iterator<Item = &Change> + Clone {
        self.items.iter().map(|item| &item.change)
    }
}
