//! The sources that workloads use: by whom and how often each is looked at, what its next look is for, and what the
//! last one left.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use super::{
    effect::Effect,
    entry::kept,
    look::{Answered, Brought, Order, Question, Snapshot, answer_from},
};
use crate::{
    domain::{
        hint::{Source, Trigger},
        image::{Repository, Tag},
        poll::Schedule,
        workload::WorkloadId,
    },
    ports::RegistryError,
};

/// What made us look, and when (monotonic).
pub(super) type Cause = (Trigger, Duration);

/// Every source that somebody uses.
#[derive(Default)]
pub(super) struct Sources {
    known: HashMap<Arc<Source>, Known>,
    by_repository: HashMap<Repository, Vec<Arc<Source>>>,
}

#[derive(Default)]
struct Known {
    users: HashMap<WorkloadId, Schedule>,
    /// The schedules of the users, each once, and how many of them have it. Mostly there is one.
    schedules: Vec<(Schedule, usize)>,
    snapshot: Option<Arc<Snapshot>>,
    /// What the snapshot answered since the last look: many workloads ask the same after an update.
    answered: HashMap<Question, Option<Arc<Answered>>>,
    hinted: BTreeSet<Tag>,
    listing_wanted: bool,
    /// A question was not answered yet, or a look failed.
    ask_all: bool,
    /// Of the next look, and of the one under way.
    wanted: Option<Cause>,
    running: Option<Cause>,
    failure: Option<RegistryError>,
}

/// What a look has brought.
pub(super) struct Heard {
    pub(super) cause: Option<Cause>,
    /// The look before this one had failed.
    pub(super) had_failed: bool,
    pub(super) answers: Vec<(Question, Answered)>,
    /// Why it failed, or left a question without an answer.
    pub(super) outcome: Result<(), RegistryError>,
}

impl Sources {
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// The one that is known and equal.
    pub(super) fn find(&self, source: &Source) -> Option<&Arc<Source>> {
        self.known.get_key_value(source).map(|(known, _)| known)
    }

    pub(super) fn of(&self, repository: &Repository) -> Vec<Arc<Source>> {
        self.by_repository.get(repository).cloned().unwrap_or_default()
    }

    pub(super) fn users(&self, source: &Source) -> impl Iterator<Item = &WorkloadId> {
        self.known.get(source).into_iter().flat_map(|known| known.users.keys())
    }

    /// The answer that what the last look left gives, if it is that there is nothing to write.
    pub(super) fn answer(&mut self, source: &Source, question: &Question, reasons: bool) -> Option<Arc<Answered>> {
        /// More distinct questions than this between two looks are not remembered.
        const MANY: usize = 64;
        let known = self.known.get_mut(source)?;
        let snapshot = known.snapshot.as_deref()?;
        if let Some(answer) = known.answered.get(question) {
            return answer.clone();
        }
        let answer = answer_from(snapshot, question).map(|answer| kept(answer, reasons));
        if known.answered.len() >= MANY {
            known.answered.clear();
        }
        known.answered.insert(question.clone(), answer.clone());
        answer
    }

    /// Why it could not be read, if it could not.
    pub(super) fn failure(&self, source: &Source) -> Option<&RegistryError> {
        self.known.get(source)?.failure.as_ref()
    }

    /// A workload uses the source, and wants it looked at so often.
    pub(super) fn join(
        &mut self,
        source: &Arc<Source>,
        id: &WorkloadId,
        schedule: &Schedule,
        effects: &mut Vec<Effect>,
    ) {
        let known = self.known.entry(source.clone()).or_default();
        let before = known.users.insert(id.clone(), schedule.clone());
        if before.as_ref() != Some(schedule) {
            let more = known.count(schedule);
            let less = before.is_some_and(|before| known.discount(&before));
            if more || less {
                effects.push(known.scheduled(source));
            }
        }
        let same_repository = self.by_repository.entry(source.repository.clone()).or_default();
        if !same_repository.contains(source) {
            if same_repository.is_empty() {
                effects.push(Effect::Watched { repository: source.repository.clone(), watched: true });
            }
            same_repository.push(source.clone());
        }
    }

    /// A workload does not use the source any more. One that nobody uses is forgotten.
    pub(super) fn leave(&mut self, source: &Arc<Source>, id: &WorkloadId, effects: &mut Vec<Effect>) {
        let Some(known) = self.known.get_mut(source) else { return };
        let Some(schedule) = known.users.remove(id) else { return };
        if known.discount(&schedule) {
            effects.push(known.scheduled(source));
        }
        if !known.users.is_empty() {
            return;
        }
        self.known.remove(source);
        if let Some(same_repository) = self.by_repository.get_mut(&source.repository) {
            same_repository.retain(|other| other != source);
            if same_repository.is_empty() {
                self.by_repository.remove(&source.repository);
                effects.push(Effect::Watched { repository: source.repository.clone(), watched: false });
            }
        }
    }

    /// It is to be looked at: for the tag, or else for all tags.
    pub(super) fn want(
        &mut self,
        source: &Arc<Source>,
        trigger: Trigger,
        tag: Option<Tag>,
        now: Duration,
        effects: &mut Vec<Effect>,
    ) {
        /// More tags than this in waiting are cheaper as a listing.
        const HINTED: usize = 16;
        let Some(known) = self.known.get_mut(source) else { return };
        match tag {
            Some(tag) if known.hinted.len() < HINTED => _ = known.hinted.insert(tag),
            _ => known.listing_wanted = true,
        }
        known.wanted.get_or_insert((trigger, now));
        effects.push(Effect::Look { source: source.clone(), urgent: trigger != Trigger::Poll });
    }

    /// It is to be looked at, and every question answered, also if nothing has changed there.
    pub(super) fn want_all(&mut self, source: &Arc<Source>, now: Duration, effects: &mut Vec<Effect>) {
        self.want(source, Trigger::Change, None, now, effects);
        if let Some(known) = self.known.get_mut(source) {
            known.ask_all = true;
        }
    }

    /// What the look that starts now is to find out; `None` if nobody uses the source any more.
    pub(super) fn order(&mut self, source: &Arc<Source>, questions: HashSet<Question>) -> Option<Order> {
        let known = self.known.get_mut(source)?;
        let hinted = std::mem::take(&mut known.hinted);
        let listing = std::mem::take(&mut known.listing_wanted);
        known.running = known.wanted.take();
        Some(Order {
            source: source.clone(),
            hinted: if listing { BTreeSet::new() } else { hinted },
            questions,
            previous: known.snapshot.clone(),
            ask_all: std::mem::take(&mut known.ask_all),
        })
    }

    /// Takes in what a look brought; `None` if nobody uses the source any more.
    pub(super) fn looked(&mut self, source: &Source, result: Result<Brought, RegistryError>) -> Option<Heard> {
        let known = self.known.get_mut(source)?;
        let (cause, had_failed) = (known.running.take(), known.failure.is_some());
        let (answers, outcome) = match result {
            Ok((snapshot, answers)) => {
                known.snapshot = Some(snapshot);
                known.answered = HashMap::new();
                known.failure = None;
                let unanswered = answers.iter().find_map(|(_, answer)| answer.as_ref().err().cloned());
                (answers, unanswered.map_or(Ok(()), Err))
            }
            Err(error) => {
                known.failure = Some(error.clone());
                (Vec::new(), Err(error))
            }
        };
        known.ask_all |= outcome.is_err();
        Some(Heard { cause, had_failed, answers, outcome })
    }
}

impl Known {
    /// Whether the schedule is a new one.
    fn count(&mut self, schedule: &Schedule) -> bool {
        if let Some((_, count)) = self.schedules.iter_mut().find(|(known, _)| known == schedule) {
            *count += 1;
            return false;
        }
        self.schedules.push((schedule.clone(), 1));
        true
    }

    /// Whether nobody has the schedule any more.
    fn discount(&mut self, schedule: &Schedule) -> bool {
        let before = self.schedules.len();
        self.schedules.retain_mut(|(known, count)| {
            *count -= usize::from(known == schedule);
            *count > 0
        });
        self.schedules.len() < before
    }

    fn scheduled(&self, source: &Arc<Source>) -> Effect {
        let schedules = self.schedules.iter().map(|(schedule, _)| schedule.clone()).collect();
        Effect::Schedule { source: source.clone(), schedules }
    }
}
