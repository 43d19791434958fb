//! What outlives a workload's updates.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Change, HeldBy, Hold, SeenRule, hold::merged};
use crate::domain::{
    image::{Digest, ImageRef},
    reason::Reason,
    wish::WishAnswer,
    workload::WorkloadId,
};

/// What a manifest or a release took away is set again as often in an hour, where that is asked for.
pub const AGAIN: usize = 3;
/// Images that did not run that are remembered of each workload.
pub const QUARANTINED: usize = 20;
/// Images that people did not want that are remembered of each workload.
pub const REFUSED: usize = 20;
/// Images that ran that are remembered of each container: the one that runs, and the one before.
pub const GOOD: usize = 2;
/// How long they are remembered of a workload that is not there.
pub(super) const KEPT: SignedDuration = SignedDuration::from_hours(90 * 24);

/// What outlives a workload's updates, by its name: also what a workload is to know that is deleted and made again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadState {
    /// Whose it is.
    pub workload: WorkloadId,
    /// The workload that the images were set in.
    #[serde(default)]
    pub uid: Arc<str>,
    /// What was set last in each container of it.
    #[serde(default)]
    pub applied: Vec<Applied>,
    /// What is not set again as somebody moved it back, the oldest first; at most [`HOLDS`].
    #[serde(default)]
    pub holds: Vec<Hold>,
    /// Who has stopped all changes of it, if somebody has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Box<HeldBy>>,
    /// When a person last had all holds lifted: those of before count no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifted: Option<Timestamp>,
    /// The same of what did not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freed: Option<Timestamp>,
    /// When what a manifest or a release took away was set again, in the last hour; at most [`AGAIN`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set_again: Vec<Timestamp>,
    /// Its annotations as they were last in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Box<SeenRule>>,
    /// What did not run, the oldest first; at most [`QUARANTINED`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quarantined: Vec<Quarantined>,
    /// What people did not want, the oldest first; at most [`REFUSED`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<Refused>,
    /// What is known to have run in each container, the oldest first; at most [`GOOD`] of each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_good: Vec<Good>,
    /// What came of a person's last wish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wish: Option<Box<WishAnswer>>,
}

/// An image that all pods of a container ran with, and were available.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Good {
    /// The container's name.
    pub container: Arc<str>,
    /// Whether it stands under `initContainers`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub init: bool,
    /// The image.
    pub image: ImageRef,
    /// A hash of the pod template without its images, as it ran with that. `None` where that is not known, or where it did
    /// not run any more when another image was set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<Arc<str>>,
    /// When that was known.
    pub at: Timestamp,
}

/// An image that was set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Where, and in place of what.
    #[serde(flatten)]
    pub change: Change,
    /// When.
    pub at: Timestamp,
    /// What was seen in its place since, and by whom it was put there is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Arc<str>>,
}

/// An image that did not run by its own fault, and is not set again by itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Quarantined {
    /// The container's name.
    pub container: Arc<str>,
    /// Whether it stands under `initContainers`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub init: bool,
    /// The image.
    pub to: ImageRef,
    /// What it was: the image's own digest, that of its tag when it was chosen, or that of what the pod pulled. `None` where
    /// nobody knows: then the tag counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// When it had failed.
    pub at: Timestamp,
    /// What was seen.
    pub evidence: Arc<str>,
}

/// An image that was asked for and not approved: it is not asked for again before a newer one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The container's name.
    pub container: Arc<str>,
    /// Whether it stands under `initContainers`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub init: bool,
    /// The image.
    pub to: ImageRef,
    /// When.
    pub at: Timestamp,
    /// That somebody said no, or too few yes in time.
    #[serde(flatten)]
    pub reason: Reason,
}

impl WorkloadState {
    /// Of a workload of which nothing is remembered.
    pub fn new(workload: WorkloadId, uid: Arc<str>) -> Self {
        let (holds, quarantined, refused) = (Vec::new(), Vec::new(), Vec::new());
        let (applied, last_good, set_again) = (Vec::new(), Vec::new(), Vec::new());
        let (held, lifted, freed, rule, wish) = (None, None, None, None, None);
        Self {
            workload,
            uid,
            applied,
            holds,
            held,
            lifted,
            freed,
            set_again,
            rule,
            quarantined,
            refused,
            last_good,
            wish,
        }
    }

    /// Whether there is nothing to remember.
    pub fn is_empty(&self) -> bool {
        let Self { applied, holds, held, quarantined, refused, last_good, wish, .. } = self;
        let is_bare = applied.is_empty() && last_good.is_empty() && wish.is_none() && held.is_none();
        is_bare && holds.is_empty() && quarantined.is_empty() && refused.is_empty()
    }

    /// With what another process remembered besides: of each container what was set last, and all that was taken away.
    #[must_use]
    pub fn with(mut self, other: Self) -> Self {
        (self.lifted, self.freed) = (self.lifted.max(other.lifted), self.freed.max(other.freed));
        self.holds = merged(self.holds, other.holds);
        self.holds.retain(|hold| self.lifted.is_none_or(|lifted| hold.at >= lifted));
        self.quarantined = both(self.quarantined, other.quarantined);
        self.quarantined.retain(|bad| self.freed.is_none_or(|freed| bad.at >= freed));
        self.refused = all_refused(self.refused, other.refused);
        // Whose answer is the newer one knows whether it is held.
        let theirs = WishAnswer::is_newer(other.wish.as_deref(), self.wish.as_deref());
        (self.wish, self.held) = if theirs { (other.wish, other.held) } else { (self.wish, self.held) };
        if self.uid == other.uid {
            self.last_good = other.last_good.into_iter().chain(self.last_good).fold(Vec::new(), with_good);
            for theirs in other.applied {
                match self.applied.iter_mut().find(|ours| ours.is_in(&theirs.change)) {
                    Some(ours) if ours.at < theirs.at => *ours = theirs,
                    Some(_) => {}
                    None => self.applied.push(theirs),
                }
            }
        }
        self
    }
}

impl Good {
    /// Whether it is of the container of that change.
    pub(super) fn is_in(&self, change: &Change) -> bool {
        (&self.container, self.init) == (&change.container, change.init)
    }
}

/// With one more; of a container the oldest go.
pub(super) fn with_good(mut all: Vec<Good>, one: Good) -> Vec<Good> {
    let is_of = |good: &Good| (&good.container, good.init) == (&one.container, one.init);
    all.retain(|good| !is_of(good) || good.image != one.image);
    if all.iter().filter(|good| is_of(good)).count() >= GOOD
        && let Some(oldest) = all.iter().position(is_of)
    {
        all.remove(oldest);
    }
    all.push(one);
    all
}

impl Applied {
    /// Whether it is the container of that change.
    pub(super) fn is_in(&self, change: &Change) -> bool {
        (&self.change.container, self.change.init) == (&change.container, change.init)
    }
}

/// What of a workload's record bears on what is chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bars {
    /// What did not run.
    pub quarantined: Vec<Quarantined>,
    /// What is held.
    pub holds: Vec<Hold>,
    /// Annotations that are in force although they are not there.
    pub rule: Option<SeenRule>,
}

impl Quarantined {
    /// Whether it is of the same container and image.
    pub fn is(&self, other: &Self) -> bool {
        let key = |of: &Self| (of.container.clone(), of.init, of.to.clone(), of.digest.clone());
        key(self) == key(other)
    }
}

/// Both, each once; where there are too many, the oldest go.
pub(super) fn both(mut ours: Vec<Quarantined>, theirs: Vec<Quarantined>) -> Vec<Quarantined> {
    for theirs in theirs {
        if !ours.iter().any(|ours| ours.is(&theirs)) {
            ours.push(theirs);
        }
    }
    ours.sort_by_key(|quarantined| quarantined.at);
    ours.drain(..ours.len().saturating_sub(QUARANTINED));
    ours
}

impl Refused {
    /// Whether it is of the same container and image.
    pub fn is(&self, container: &str, init: bool, image: &ImageRef) -> bool {
        (&*self.container, self.init, &self.to) == (container, init, image)
    }
}

/// Both, each once; where there are too many, the oldest go.
pub(super) fn all_refused(mut ours: Vec<Refused>, theirs: Vec<Refused>) -> Vec<Refused> {
    for theirs in theirs {
        if !ours.iter().any(|ours| ours.is(&theirs.container, theirs.init, &theirs.to)) {
            ours.push(theirs);
        }
    }
    ours.sort_by_key(|refused| refused.at);
    ours.drain(..ours.len().saturating_sub(REFUSED));
    ours
}
