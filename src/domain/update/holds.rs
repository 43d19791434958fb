//! What is held of a workload: what somebody moved back, or wants left as it is.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{
    AGAIN, Bars, Change, Good, HeldBy, Hold, How, Judging, KeptKey, OnReapply, Quarantined, Record, SeenRule,
    TakenAway, Update,
    hold::merged,
    moved::{Move, is, is_higher, moved, undone},
    rare::Why,
    record::{Set, UnderWay, container},
};
use crate::domain::{
    image::ImageRef,
    workload::{Observed, Workload},
};

impl Record {
    /// What bears on what is chosen.
    pub fn bars(&self) -> Bars {
        let rule = self.rule().filter(|rule| !rule.kept.is_empty() || rule.undone.is_some()).cloned();
        Bars { quarantined: self.rare.quarantined.clone(), holds: self.rare.holds.clone(), rule }
    }

    /// Whether an image that we set is not there any more, and nobody has looked yet who moved it.
    pub fn is_moved(&self, workload: &Workload) -> bool {
        self.applied.iter().any(|set| set.is_moved_in(workload) || self.is_undone(set, workload))
    }

    /// Whether ours is there again where somebody had set another image, which we did not take for moved back.
    pub(super) fn is_undone(&self, set: &Set, workload: &Workload) -> bool {
        set.is_back_in(workload) && !self.is_held_in(set)
    }

    fn is_held_in(&self, set: &Set) -> bool {
        self.rare.holds.iter().any(|hold| hold.is_in(&set.container, set.init))
    }

    /// What is not set again as somebody moved it back.
    pub fn holds(&self) -> &[Hold] {
        &self.rare.holds
    }

    /// Why that very image is not set, if it is held.
    pub fn hold(&self, change: &Change) -> Option<&Hold> {
        self.rare.holds.iter().find(|hold| hold.is(&change.container, change.init, &change.to))
    }

    /// Who has stopped all changes, if somebody has.
    pub fn held(&self) -> Option<&HeldBy> {
        self.rare.held.as_deref()
    }

    /// Why what was remembered of it cannot be read: it may be a hold.
    pub fn undecodable(&self) -> Option<&Arc<str>> {
        self.rare.undecodable.as_ref()
    }

    /// Its annotations as they were last in force.
    pub fn rule(&self) -> Option<&SeenRule> {
        self.rule.as_deref()
    }

    /// When a person last had all holds lifted.
    pub fn lifted(&self) -> Option<Timestamp> {
        self.rare.lifted
    }

    /// Remembers that somebody left an image.
    pub(super) fn keep_from(&mut self, one: Hold) {
        let at = self.rare.lifted.map_or(one.at, |lifted| one.at.max(lifted));
        self.rare.holds.retain(|other| !other.is(&one.container, one.init, &one.to));
        self.rare.holds = merged(std::mem::take(&mut self.rare.holds), vec![Hold { at, ..one }]);
    }

    /// What is newer than what is held was set.
    pub(super) fn moves_on(&mut self, update: &Update) {
        let is_in = |hold: &Hold| update.changes().any(|it| hold.is_in(&it.container, it.init));
        self.rare.holds.retain(|hold| !is_in(hold));
    }

    /// A person says that it goes on: nothing of before holds it up. The annotations that are in force from now on although
    /// they are not there, and those that are not any more.
    pub(super) fn resume(&mut self, keep_quarantine: bool, now: Timestamp) -> (Vec<KeptKey>, Vec<KeptKey>) {
        // Who moved an image is being found out.
        let is_asked = self.under_way == Some(UnderWay::Reading);
        self.rare.pardoned = is_asked || self.rare.wait.as_ref().is_some_and(|wait| wait.why == Why::Read);
        // Others' clocks may be ahead.
        let after = |at: Timestamp| at.checked_add(SignedDuration::from_nanos(1)).unwrap_or(at);
        let rare = &mut *self.rare;
        rare.lifted = rare.holds.iter().map(|hold| after(hold.at)).chain([now]).max();
        (rare.held, rare.holds, rare.set_again) = Default::default();
        if !keep_quarantine {
            rare.freed = rare.quarantined.iter().map(|bad| after(bad.at)).chain([now]).max();
            rare.quarantined = Vec::new();
        }
        self.rule.as_mut().map(|rule| rule.resume()).unwrap_or_default()
    }

    /// Says that a person has stopped all changes.
    pub(super) fn stop(&mut self, by: HeldBy) {
        self.rare.held = Some(Box::new(by));
    }

    /// Takes in the annotations of a workload, where nobody has moved an image of it; whether any of that is to be remembered.
    pub(super) fn see_rule(&mut self, workload: &Workload) -> bool {
        if self.is_hearsay || self.applied.is_empty() || self.is_moved(workload) {
            return false;
        }
        self.rule.get_or_insert_default().see(workload)
    }

    /// Takes in that an image is there again that was moved away, by whomever; whether that is so.
    pub(super) fn returns(&mut self, workload: &Workload) -> bool {
        let mut applied = std::mem::take(&mut self.applied);
        let mut any = false;
        for set in &mut applied {
            if set.is_back_in(workload) && self.is_held_in(set) {
                (set.since, any) = (None, true);
                self.rare.holds.retain(|hold| !hold.is_in(&set.container, set.init));
            }
        }
        self.applied = applied;
        any
    }

    /// Remembers what became of what we set, by a fresh reading; what is held by that, and whether any of it is new.
    pub(super) fn note_moves(&mut self, observed: &Observed, judging: &Judging, now: Timestamp) -> (Vec<Hold>, bool) {
        let mut is_new = self.returns(&observed.workload);
        let is_pardoned = std::mem::take(&mut self.rare.pardoned);
        let mut applied = std::mem::take(&mut self.applied);
        let (mut held, mut back, mut again) = (Vec::new(), None, false);
        for set in &mut applied {
            let Some(known) = set.applied() else { continue };
            if self.is_undone(set, &observed.workload) {
                // What somebody had set, newer than ours, was moved back to ours.
                let left = set.since.take();
                held.extend(
                    left.filter(|_| !is_pardoned).and_then(|left| undone(&known, &left, observed, judging, now)),
                );
                is_new = true;
                continue;
            }
            if !set.is_moved_in(&observed.workload) {
                continue;
            }
            let is_good = |good: &Good, image: &ImageRef| good.is_in(&known.change) && good.image == *image;
            let ran = |image: &ImageRef| *image != known.change.to && self.good.iter().any(|good| is_good(good, image));
            let there = container(&observed.workload, &set.container, set.init).map(|there| there.image.clone());
            let is_left = |there: &str| self.was_left(&known.change, there, judging);
            let moved = match is_pardoned || there.as_deref().is_some_and(is_left) {
                true => Some(Move::On),
                false => moved(&known, ran, observed, judging, now),
            };
            set.since = there;
            is_new = true;
            match moved {
                Some(Move::Back(hold)) => {
                    if hold.how != How::Deployer {
                        back.get_or_insert_with(|| TakenAway { by: hold.by.clone(), at: hold.at });
                    }
                    match self.is_set_again(&hold, judging, now) {
                        true => again = true,
                        false => held.push(hold),
                    }
                }
                Some(Move::On) => {
                    self.rare.holds.retain(|hold| !hold.is_in(&set.container, set.init));
                }
                None => {}
            }
        }
        self.applied = applied;
        if again {
            self.rare.set_again.push(now);
        }
        held.iter().cloned().for_each(|hold| self.keep_from(hold));
        if let Some((taken, rule)) = back.zip(self.rule.as_mut()) {
            rule.keep(&observed.workload, taken);
        }
        (held, is_new)
    }

    /// Whether an image was left in the container of that change, by a person's wish or as it did not run: who sets it all the
    /// same moves it on.
    fn was_left(&self, change: &Change, image: &str, judging: &Judging) -> bool {
        let is_held =
            |hold: &Hold| hold.is_in(&change.container, change.init) && hold.to != change.to && is(image, &hold.to);
        // What did not run may be older than what was set since.
        let is_bad = |bad: &Quarantined| {
            (&bad.container, bad.init) == (&change.container, change.init)
                && is(image, &bad.to)
                && is_higher(judging, change, &bad.to)
        };
        self.rare.holds.iter().any(is_held) || self.rare.quarantined.iter().any(is_bad)
    }

    /// Whether what a manifest or a release took away is set again.
    fn is_set_again(&mut self, hold: &Hold, judging: &Judging, now: Timestamp) -> bool {
        let hour = SignedDuration::from_hours(1);
        self.rare.set_again.retain(|at| now.duration_since(*at) < hour);
        let is_asked = judging.on_reapply == OnReapply::Again && matches!(hold.how, How::Manifest | How::Release);
        is_asked && self.rare.set_again.len() < AGAIN
    }
}
