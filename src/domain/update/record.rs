//! What is remembered of one workload's updates.

use std::{cmp::Ordering, sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{
    Applied, Change, Good, LastUpdate, Phase, Quarantined, Refused, SeenRule, Tracked, Update, UpdateId, Way,
    WorkloadState,
    moved::is,
    rare::{Few, Rare, Wait, Why},
    state::{KEPT, all_refused, both, with_good},
};
use crate::domain::{
    back_off::BackOff,
    image::ImageRef,
    reason::Reason,
    votes::Approval,
    workload::{Container, Workload, WorkloadId},
};

/// What is remembered of one workload's updates. Durations are times of the monotonic clock.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Record {
    /// Whose they are: a workload that is made again under the same name is another one.
    pub(super) uid: Arc<str>,
    /// The update that is thought of, under way, or was written last.
    pub(super) current: Option<Box<Tracked>>,
    /// What we set last in each container.
    pub(super) applied: Box<[Set]>,
    /// What is known to have run.
    pub(super) good: Box<[Good]>,
    /// Its annotations as they were last in force, where we have set an image of it.
    pub(super) rule: Option<Box<SeenRule>>,
    /// Whether what we set is only what the workload says of itself.
    pub(super) is_hearsay: bool,
    pub(super) rare: Rare,
    /// What is being done for it.
    pub(super) under_way: Option<UnderWay>,
    /// Something came up meanwhile.
    pub(super) again: bool,
}

/// An [`Applied`] as texts, as there may be one of each container in the cluster.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Set {
    pub(super) container: Arc<str>,
    pub(super) init: bool,
    /// Of what was there before no more is kept than it differs in: `from` begins with as many bytes of `to`.
    common: u16,
    rest: Box<str>,
    to: Arc<str>,
    /// When, in nanoseconds since 1970.
    at: i64,
    /// What was seen in its place since.
    pub(super) since: Option<Arc<str>>,
}

/// In nanoseconds.
const SECOND: i64 = 1_000_000_000;

/// What is being done for a workload. Until it has ended nothing else is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UnderWay {
    /// It stands in the queue of writes.
    Queued,
    /// It is tried whether it would be taken.
    Rehearsing,
    Writing,
    Checking,
    Reading,
}

impl Record {
    /// Takes in who the workload is. Where nothing is remembered, what it says itself of our last update is believed:
    /// an undo of its rollout restores an old annotation.
    pub(super) fn belongs_to(&mut self, workload: &Workload) {
        if self.uid != workload.uid && !self.uid.is_empty() {
            self.forget();
        }
        self.uid.clone_from(&workload.uid);
        if self.applied.is_empty()
            && let Some(LastUpdate { changes, at, .. }) = LastUpdate::of(workload)
        {
            self.applied = changes.iter().map(|change| Set::new(change, at)).collect();
            self.is_hearsay = true;
        }
        self.share(workload);
    }

    /// What the workload says too is kept once.
    pub fn share(&mut self, workload: &Workload) {
        self.applied.iter_mut().for_each(|set| set.share(workload));
    }

    /// The workload is gone: nothing is remembered but what somebody took away, which counts for one that is made under
    /// its name again. What is under way will end.
    pub(super) fn forget(&mut self) {
        let (under_way, again, mut rare) = (self.under_way, self.again, std::mem::take(&mut self.rare));
        (rare.following, rare.missed, rare.wait, rare.together, rare.wish) = Default::default();
        rare.reviews = Vec::new();
        *self = Self { under_way, again, rare, ..Self::default() };
    }

    /// Nobody has made a workload under its name for that long: what was taken away of it is forgotten too.
    pub(super) fn forget_old(&mut self, now: Timestamp) {
        self.rare.holds.retain(|holds| now.duration_since(holds.at) < KEPT);
        self.rare.quarantined.retain(|quarantined| now.duration_since(quarantined.at) < KEPT);
        self.rare.refused.retain(|refused| now.duration_since(refused.at) < KEPT);
        // A wish stands in the object that holds these, and goes with it.
        let Few { holds, held, quarantined, refused, .. } = &*self.rare;
        if holds.is_empty() && held.is_none() && quarantined.is_empty() && refused.is_empty() {
            self.rare.answer = None;
        }
    }

    /// Takes in what was remembered by its name.
    pub(super) fn remember(&mut self, state: WorkloadState) {
        let ours = self.state(state.workload.clone());
        let WorkloadState { holds, quarantined, lifted, freed, held, wish, .. } = ours.with(state.clone());
        (self.rare.holds, self.rare.quarantined) = (holds, quarantined);
        (self.rare.lifted, self.rare.freed, self.rare.held) = (lifted, freed, held);
        self.rare.refused = all_refused(std::mem::take(&mut self.rare.refused), state.refused);
        self.rare.answer = wish;
        self.rare.set_again = state.set_again;
        let is_its = self.uid.is_empty() || self.uid == state.uid;
        if is_its {
            let known = std::mem::take(&mut self.good);
            self.good = state.last_good.into_iter().chain(known).fold(Vec::new(), with_good).into();
        }
        if is_its && (self.applied.is_empty() || self.is_hearsay) && !state.applied.is_empty() {
            let applied =
                state.applied.into_iter().map(|Applied { change, at, since }| Set { since, ..Set::new(&change, at) });
            (self.applied, self.is_hearsay, self.uid) = (applied.collect(), false, state.uid);
            self.rule = state.rule;
        }
    }

    /// What is to be remembered by its name.
    pub(super) fn state(&self, workload: WorkloadId) -> WorkloadState {
        let applied = self.applied.iter().filter_map(Set::applied).collect();
        let Few { holds, held, lifted, freed, set_again, quarantined, refused, answer, .. } = (*self.rare).clone();
        let (uid, last_good, rule) = (self.uid.clone(), self.good.to_vec(), self.rule.clone());
        let base = WorkloadState { applied, holds, held, lifted, freed, ..WorkloadState::new(workload, uid) };
        WorkloadState { set_again, rule, quarantined, refused, last_good, wish: answer, ..base }
    }

    /// Whether anything is remembered by its name but what it says itself.
    pub(super) fn knows_more_than_hearsay(&self) -> bool {
        let Few { holds, held, quarantined, refused, answer, .. } = &*self.rare;
        let has_any = !holds.is_empty() || !quarantined.is_empty() || !refused.is_empty();
        has_any
            || held.is_some()
            || answer.is_some()
            || !self.good.is_empty()
            || !self.is_hearsay && !self.applied.is_empty()
    }

    /// Whether it is remembered that these images were set, at that time or later.
    pub(super) fn knows(&self, note: &LastUpdate, workload: &Workload) -> bool {
        !self.is_hearsay && note.changes.iter().all(|change| self.was_set_by(change, note.at, workload))
    }

    fn was_set_by(&self, change: &Change, at: Timestamp, workload: &Workload) -> bool {
        let from = change.from.to_string();
        let by = |set: &Set| match set.at.div_euclid(SECOND).cmp(&at.as_second()) {
            Ordering::Greater => true,
            // A note says when to the second: of the same one it is the newer if it goes on from what was set, or sets that again.
            Ordering::Equal => {
                *set.to != *from && !(self.is_undone(set, workload) && set.since.as_deref() == Some(&*from))
            }
            Ordering::Less => false,
        };
        self.applied.iter().any(|set| set.is_in(change) && by(set))
    }

    /// The update that is thought of, under way, or was written last.
    pub fn current(&self) -> Option<&Tracked> {
        self.current.as_deref()
    }

    /// What was said of that very update, if it is the current one.
    pub fn phase_of(&self, update: &UpdateId) -> Option<&Phase> {
        self.current.as_ref().filter(|current| current.update.id == *update).map(|current| &current.phase)
    }

    /// What was said of the current update, and of what is left out.
    pub fn said(&self) -> impl Iterator<Item = &Reason> {
        self.current.iter().flat_map(|current| current.phase.reasons())
    }

    /// Whether its plan waits for the other looks of its workload.
    pub fn waits_for_looks(&self) -> bool {
        self.rare.together.is_some()
    }

    /// The update whose rollout goes on, there or back.
    pub fn rolling_out(&self) -> Option<&Tracked> {
        self.current().filter(|current| matches!(current.phase, Phase::Progressing | Phase::RollingBack { .. }))
    }

    /// The same, where its images are in the cluster.
    pub fn followed(&self) -> Option<&Update> {
        let is_there = |current: &&Tracked| current.way().is_none_or(|way| way == Way::Written);
        self.rolling_out().filter(is_there).map(|current| &current.update)
    }

    /// What did not run.
    pub fn quarantined(&self) -> &[Quarantined] {
        &self.rare.quarantined
    }

    /// Remembers what did not run.
    pub(super) fn quarantine(&mut self, one: Quarantined) {
        self.rare.quarantined.retain(|other| !other.is(&one));
        self.rare.quarantined = both(std::mem::take(&mut self.rare.quarantined), vec![one]);
    }

    /// That people did not want that image, if they did not.
    pub fn refused(&self, change: &Change) -> Option<&Refused> {
        self.rare.refused.iter().find(|refused| refused.is(&change.container, change.init, &change.to))
    }

    /// Remembers what people did not want.
    pub(super) fn refuse(&mut self, one: Refused) {
        self.rare.refused.retain(|other| !other.is(&one.container, one.init, &one.to));
        self.rare.refused = all_refused(std::mem::take(&mut self.rare.refused), vec![one]);
    }

    /// What somebody has approved already and is not written yet: no newer one takes its place.
    pub fn approved_changes(&self) -> Vec<Change> {
        let is_kept = |current: &&Tracked| {
            let is_open = current.asked().is_some() || matches!(current.phase, Phase::Proposed | Phase::Applying);
            is_open && current.approval.as_ref().is_some_and(|approval| approval.approvers().next().is_some())
        };
        self.current().filter(is_kept).map(|current| current.update.changes().cloned().collect()).unwrap_or_default()
    }

    /// What was said of exactly that update.
    pub fn approval_of(&self, update: &Update) -> Option<&Approval> {
        let current = self.current().filter(|current| current.approval.is_some() && current.is(update))?;
        current.approval.as_deref()
    }

    /// Whether there is nothing to remember, nor anything under way.
    pub fn is_empty(&self) -> bool {
        self.current.is_none()
            && self.applied.is_empty()
            && self.good.is_empty()
            && self.rare.answer.is_none()
            && self.rare.wish.is_none()
            && self.rare.holds.is_empty()
            && self.rare.held.is_none()
            && self.rare.undecodable.is_none()
            && self.rare.quarantined.is_empty()
            && self.rare.refused.is_empty()
            && self.under_way.is_none()
            && self.rare.wait.is_none()
            && self.rare.together.is_none()
    }

    /// Whether the workload is not there, and nothing is done for it.
    pub fn is_gone(&self) -> bool {
        self.uid.is_empty() && self.current.is_none() && self.under_way.is_none()
    }

    /// When it is next to be woken.
    pub fn wakes_at(&self) -> Option<Duration> {
        let wait = self.rare.wait.as_ref().filter(|wait| !wait.is_over).map(|wait| wait.until);
        let together = self.rare.together.as_ref().filter(|together| !together.1).map(|together| together.0);
        let rollout = self.rare.following.as_ref().and_then(|following| following.wakes_at);
        together.into_iter().chain(wait).chain(rollout).min()
    }

    /// Whether nothing is to be tried now.
    pub(super) fn waits(&self, now: Duration) -> bool {
        self.rare.wait.as_ref().is_some_and(|wait| wait.until > now)
    }

    /// Nothing is tried before a delay, which grows.
    pub(super) fn wait(&mut self, why: Why, back_off: BackOff, now: Duration) {
        let before = self.rare.wait.take().filter(|wait| wait.why == why);
        let failures = before.map_or(0, |wait| wait.failures.saturating_add(1));
        self.rare.wait = Some(Wait { why, failures, until: now + back_off.after(failures), is_over: false });
    }

    /// Whether every image of an update runs.
    pub(super) fn runs(update: &Update, workload: &Workload) -> bool {
        let runs = |change: &Change| {
            let image = change.to.to_string();
            container(workload, &change.container, change.init).is_some_and(|container| *container.image == *image)
        };
        update.changes().all(runs)
    }

    /// Whether each image is the one that was there before an update, or its own.
    pub(super) fn may_run(update: &Update, workload: &Workload) -> bool {
        let is = |image: &str, one: &ImageRef| {
            *image == *one.to_string() || ImageRef::parse(image).ok().as_ref() == Some(one)
        };
        let may = |change: &Change| {
            container(workload, &change.container, change.init)
                .is_some_and(|there| is(&there.image, &change.from) || is(&there.image, &change.to))
        };
        update.changes().all(may)
    }

    /// Remembers that we set these images.
    pub(super) fn set<'c>(&mut self, changes: impl Iterator<Item = &'c Change>, at: Timestamp) {
        self.is_hearsay = false;
        let mut applied = std::mem::take(&mut self.applied).into_vec();
        for change in changes {
            applied.retain(|old| !old.is_in(change));
            applied.push(Set::new(change, at));
        }
        self.applied = applied.into();
    }

    /// Remembers that we had set these images by then, but for those that we set since.
    pub(super) fn set_by_then(&mut self, note: &LastUpdate, workload: &Workload) {
        let unknown: Vec<_> =
            note.changes.iter().filter(|change| !self.was_set_by(change, note.at, workload)).collect();
        self.set(unknown.into_iter(), note.at);
    }

    /// The containers whose images were set last.
    pub(super) fn set_last(&self) -> Vec<(Arc<str>, bool)> {
        let last = self.applied.iter().map(|set| set.at).max();
        let newest = self.applied.iter().filter(|set| Some(set.at) == last);
        newest.map(|set| (set.container.clone(), set.init)).collect()
    }
}

impl Set {
    fn new(Change { container, init, from, to }: &Change, at: Timestamp) -> Self {
        let (from, to) = (from.to_string(), to.to_string());
        let same = from.char_indices().zip(to.chars()).take_while(|((_, one), other)| one == other);
        let end = same.last().map_or(0, |((at, char), _)| at + char.len_utf8());
        // A reference is not that long.
        let (common, rest) = u16::try_from(end).map_or((0, &*from), |common| (common, &from[end..]));
        Self {
            container: container.clone(),
            init: *init,
            common,
            rest: rest.into(),
            to: to.into(),
            at: nanoseconds(at),
            since: None,
        }
    }

    /// Whether it is there again where another image was seen since.
    pub(super) fn is_back_in(&self, workload: &Workload) -> bool {
        self.since.is_some()
            && container(workload, &self.container, self.init).is_some_and(|there| self.is_there(there))
    }

    fn is_there(&self, container: &Container) -> bool {
        container.image == self.to || ImageRef::parse(&self.to).is_ok_and(|to| is(&container.image, &to))
    }

    pub(super) fn is_moved_in(&self, workload: &Workload) -> bool {
        let there = container(workload, &self.container, self.init);
        there.is_some_and(|there| Some(&there.image) != self.since.as_ref() && !self.is_there(there))
    }

    pub(super) fn applied(&self) -> Option<Applied> {
        let from = format!("{}{}", self.to.get(..self.common.into())?, self.rest);
        let (from, to) = (ImageRef::parse(&from).ok()?, ImageRef::parse(&self.to).ok()?);
        let change = Change { container: self.container.clone(), init: self.init, from, to };
        let at = Timestamp::from_nanosecond(self.at.into()).ok()?;
        Some(Applied { change, at, since: self.since.clone() })
    }

    fn is_in(&self, change: &Change) -> bool {
        (&self.container, self.init) == (&change.container, change.init)
    }

    fn share(&mut self, workload: &Workload) {
        if let Some(there) = container(workload, &self.container, self.init) {
            self.container.clone_from(&there.name);
            if self.to == there.image {
                self.to.clone_from(&there.image);
            }
            if self.since.as_ref() == Some(&there.image) {
                self.since = Some(there.image.clone());
            }
        }
    }
}

/// What is beyond the year 2262 counts as then.
fn nanoseconds(at: Timestamp) -> i64 {
    let nanoseconds = at.as_nanosecond();
    i64::try_from(nanoseconds).unwrap_or(if nanoseconds < 0 { i64::MIN } else { i64::MAX })
}

pub(super) fn container<'w>(workload: &'w Workload, name: &str, init: bool) -> Option<&'w Container> {
    workload.containers.iter().find(|c| *c.name == *name && c.init == init)
}
