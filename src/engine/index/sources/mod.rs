//! The sources that workloads use: by whom and how often each is looked at, what its next look is for, and what the
//! last one left.

mod keep;
mod known;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;

use crate::{
    domain::{
        back_off::BackOff,
        hint::{Source, Trigger},
        history::History,
        image::{Repository, Tag},
        poll::Schedule,
        tags::Tags,
        workload::WorkloadId,
    },
    engine::{
        index::{
            bursts::Bursts,
            effect::Effect,
            hints::Lost,
            outages::Outages,
            source::{Cause, SourceEntry},
        },
        look::{
            beside::answer_from,
            question::{Answered, ListingResult, Order, Question, Questions, trimmed},
            room::{self, Size},
        },
        timers::Timers,
    },
    ports::RegistryError,
};

/// A look that failed is made again.
const RETRY: BackOff = BackOff::millis(5_000, 300_000);

/// Every source that somebody uses.
pub(crate) struct Sources {
    // Boxed: a third of such a table's places is empty.
    known: HashMap<Arc<Source>, Box<SourceEntry>>,
    /// What the tags of all take between looks, in bytes.
    kept: usize,
    /// What they may take with that of a look under way.
    pub(crate) most: usize,
    /// The one with the most tags that is looked at: there is one such look at a time.
    in_use: Option<Arc<Source>>,
    /// Those that had no room, which their users are to be told.
    pub(crate) dropped: Vec<Arc<Source>>,
    by_repository: HashMap<Repository, Vec<Arc<Source>>>,
    bursts: Bursts,
    /// Looks that were asked for too often, and are made later.
    later: Timers<Arc<Source>>,
    /// Looks that failed, and are made again.
    retries: Timers<Arc<Source>>,
    pub(crate) outages: Outages,
}

/// What a look has brought.
pub(crate) struct LookNews {
    pub(crate) cause: Option<Cause>,
    /// Whether a webhook asked for it, and it has read the repository.
    pub(crate) hooked: bool,
    /// Whether it can be read or not, or why not, is not as before.
    pub(crate) turned: bool,
    pub(crate) answers: Vec<(Arc<Question>, Answered)>,
    /// Why it failed, or left a question without an answer.
    pub(crate) outcome: Result<(), RegistryError>,
}

impl Sources {
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    /// The one that is known and equal.
    pub(crate) fn find(&self, source: &Source) -> Option<&Arc<Source>> {
        self.known.get_key_value(source).map(|(known, _)| known)
    }

    pub(crate) fn of(&self, repository: &Repository) -> Vec<Arc<Source>> {
        self.by_repository.get(repository).cloned().unwrap_or_default()
    }

    pub(crate) fn users(&self, source: &Source) -> impl Iterator<Item = &WorkloadId> {
        self.known.get(source).into_iter().flat_map(|known| known.users.keys())
    }

    /// The answer that what the last look left gives, if it is that there is nothing to write. Not more than `left` are
    /// found anew: each reads all tags, and in the engine's loop.
    pub(crate) fn answer(
        &mut self,
        source: &Source,
        question: &Arc<Question>,
        reasons: bool,
        left: &mut usize,
    ) -> Option<Arc<Answered>> {
        /// More distinct questions than this between two looks are left to the next one.
        const MANY: usize = 64;
        let known = self.known.get_mut(source)?;
        let snapshot = known.snapshot.as_deref()?;
        if let Some(answer) = known.answered.get(question) {
            return answer.clone();
        }
        if known.answered.len() >= MANY || *left == 0 {
            return None;
        }
        *left -= 1;
        let answer = answer_from(snapshot, question).map(|answer| trimmed(answer, reasons));
        known.answered.insert(question.clone(), answer.clone());
        answer
    }

    /// A workload uses the source, and wants it looked at so often.
    pub(crate) fn join(
        &mut self,
        source: &Arc<Source>,
        id: &WorkloadId,
        schedule: &Schedule,
        effects: &mut Vec<Effect>,
    ) {
        let known = self.known.entry(source.clone()).or_default();
        let before = known.users.insert(id.clone(), schedule.clone());
        if before.is_none() {
            known.enters(&id.namespace);
        }
        if before.as_ref() != Some(schedule) {
            let more = known.schedules.join(schedule);
            let less = before.is_some_and(|before| known.schedules.leave(&before));
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

    /// A workload does not use the source any more. One that nobody uses is forgotten; whether it is.
    pub(crate) fn leave(&mut self, source: &Arc<Source>, id: &WorkloadId, effects: &mut Vec<Effect>) -> bool {
        let Some(known) = self.known.get_mut(source) else { return false };
        let Some(schedule) = known.users.remove(id) else { return false };
        known.leaves(&id.namespace);
        if known.schedules.leave(&schedule) {
            effects.push(known.scheduled(source));
        }
        if !known.users.is_empty() {
            return false;
        }
        self.kept -= known.bytes();
        self.known.remove(source);
        self.later.forget(source);
        self.retries.forget(source);
        self.outages.forget(source);
        if let Some(same_repository) = self.by_repository.get_mut(&source.repository) {
            same_repository.retain(|other| other != source);
            if same_repository.is_empty() {
                self.by_repository.remove(&source.repository);
                effects.push(Effect::Watched { repository: source.repository.clone(), watched: false });
            }
        }
        true
    }

    /// It is to be looked at: for the tag, or else for all tags.
    pub(crate) fn want(
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
        known.hook_waits |= trigger == Trigger::Webhook;
        effects.push(Effect::Look { source: source.clone(), urgent: trigger != Trigger::Poll });
    }

    /// Somebody asks something new of it: it is to be looked at, soon if that was not done too often.
    pub(crate) fn want_anew(
        &mut self,
        source: &Arc<Source>,
        namespace: &Arc<str>,
        interval: Duration,
        now: Duration,
        effects: &mut Vec<Effect>,
    ) {
        let Some(known) = self.known.get_mut(source) else { return };
        if known.wanted.is_none() {
            let at = self.bursts.take(source, namespace, interval, now);
            if at > now {
                self.later.set(source.clone(), at);
            }
        }
        if self.later.of(source).is_none() {
            return self.want_all(source, now, effects);
        }
        (known.ask_all, known.listing_wanted) = (true, true);
        known.wanted.get_or_insert((Trigger::Change, now));
    }

    /// When a look that was put off is next due.
    pub(crate) fn next(&self) -> Option<Duration> {
        [self.later.next(), self.retries.next()].into_iter().flatten().min()
    }

    /// Asks for the looks that were put off until now.
    pub(crate) fn woke(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        while let Some(source) = self.retries.due(now) {
            self.want_all(&source, now, effects);
        }
        while let Some(source) = self.later.due(now) {
            if self.is_wanted(&source) {
                effects.push(Effect::Look { source, urgent: true });
            }
        }
    }

    /// A look has failed, and is made again after a growing delay, or one has not.
    pub(crate) fn retry(&mut self, source: &Arc<Source>, outcome: Result<(), &RegistryError>, now: Duration) {
        let Some(known) = self.known.get_mut(source) else { return };
        match outcome {
            Ok(()) => {
                known.failures = 0;
                self.retries.forget(source);
            }
            Err(error) => {
                let delay = RETRY.after(known.failures).max(error.kind.wait().unwrap_or_default());
                known.failures = known.failures.saturating_add(1);
                self.retries.set(source.clone(), now + delay);
            }
        }
    }

    /// Until when its next look is put off, if it is.
    pub(crate) fn put_off(&self, source: &Arc<Source>) -> Option<Duration> {
        self.later.of(source).filter(|_| self.is_wanted(source))
    }

    /// A webhook named what was not found, or what it named was; whether that is to be said. One thing at a time is said
    /// of a source, so that made-up tags are no flood of notes.
    pub(crate) fn set_lost(&mut self, source: &Source, lost: Option<Lost>, now: Duration) -> bool {
        /// How long something is said before another thing is.
        const SAID: Duration = Duration::from_secs(60);
        let Some(known) = self.known.get_mut(source) else { return false };
        let stays = lost.is_some() && known.lost.as_ref().is_some_and(|(_, since)| now < *since + SAID);
        if !stays {
            known.lost = lost.map(|lost| (lost, now));
        }
        !stays
    }

    /// Every question is to be answered by the next look, which is made if none is to come anyway. It does what is left to
    /// do for a webhook, if the last one was `hooked`.
    pub(crate) fn answer_all(&mut self, source: &Arc<Source>, hooked: bool, now: Duration, effects: &mut Vec<Effect>) {
        let Some(known) = self.known.get_mut(source) else { return };
        known.hook_waits |= hooked;
        match known.wanted {
            Some(_) => known.ask_all = true,
            None => self.want_all(source, now, effects),
        }
    }

    /// It is to be looked at, and every question answered, also if nothing has changed there.
    pub(crate) fn want_all(&mut self, source: &Arc<Source>, now: Duration, effects: &mut Vec<Effect>) {
        self.want(source, Trigger::Change, None, now, effects);
        if let Some(known) = self.known.get_mut(source) {
            known.ask_all = true;
        }
    }

    /// What the look that starts now is to find out; `None` if nobody uses the source any more.
    pub(crate) fn order(
        &mut self,
        source: &Arc<Source>,
        questions: Questions,
        room: usize,
        history: Arc<History>,
        now: Timestamp,
    ) -> Option<Order> {
        if self.size(source) == Size::Most {
            self.in_use = Some(source.clone());
            self.make_room();
        }
        let known = self.known.get_mut(source)?;
        let hinted = std::mem::take(&mut known.hinted);
        let listing = std::mem::take(&mut known.listing_wanted);
        known.running = known.wanted.take();
        known.hook_served = std::mem::take(&mut known.hook_waits);
        Some(Order {
            source: source.clone(),
            hinted: if listing { BTreeSet::new() } else { hinted },
            questions,
            previous: known.snapshot.clone(),
            ask_all: std::mem::take(&mut known.ask_all),
            room,
            history,
            now,
            at: now,
        })
    }

    /// A look found more tags than it had room for: it is made again with more.
    pub(crate) fn has_more(&mut self, source: &Arc<Source>, effects: &mut Vec<Effect>) {
        let Some(known) = self.known.get_mut(source) else { return };
        known.size = known.size.more();
        (known.listing_wanted, known.ask_all) = (true, true);
        known.wanted = known.running.take().or(known.wanted);
        known.hook_waits |= std::mem::take(&mut known.hook_served);
        let urgent = known.wanted.is_some_and(|(trigger, _)| trigger != Trigger::Poll);
        effects.push(Effect::Look { source: source.clone(), urgent });
    }

    /// Takes in what a look brought; `None` if nobody uses the source any more.
    pub(crate) fn looked(&mut self, source: &Source, result: Result<ListingResult, RegistryError>) -> Option<LookNews> {
        self.in_use.take_if(|in_use| **in_use == *source);
        let known = self.known.get_mut(source)?;
        let cause = known.running.take();
        let text = |error: &RegistryError| error.message.clone();
        let before = known.failure.as_ref().map(text);
        let (answers, outcome) = match result {
            Ok((snapshot, answers)) => {
                let bytes = snapshot.tags().map_or(0, Tags::bytes);
                self.kept = self.kept + bytes - known.bytes();
                known.size = Size::of(snapshot.tags().map_or(0, Tags::weight));
                // What was kept from look to look is no longer left out.
                known.left_out = known.left_out.filter(|_| known.bytes() == 0);
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
        let (hooked, is_read) = (std::mem::take(&mut known.hook_served), known.failure.is_none());
        known.hook_waits |= hooked && !is_read;
        let turned = before != known.failure.as_ref().map(text);
        Some(LookNews { cause, hooked: hooked && is_read, turned, answers, outcome })
    }
}

impl Default for Sources {
    fn default() -> Self {
        Self {
            known: HashMap::new(),
            kept: 0,
            most: room::TOTAL,
            in_use: None,
            dropped: Vec::new(),
            by_repository: HashMap::new(),
            bursts: Bursts::default(),
            outages: Outages::default(),
            later: Timers::default(),
            retries: Timers::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        hint::Credentials,
        policy::{NamedPolicies, Options, Policy},
        tags::Collector,
    };
    use crate::engine::look::question::Snapshot;

    #[test]
    fn not_more_than_a_few_questions_are_answered_in_the_loop() {
        let source = Source { repository: Repository::parse("r.io/a").unwrap(), credentials: Credentials::default() };
        let (source, id) = (Arc::new(source), "a/Deployment/web".parse().unwrap());
        let mut sources = Sources::default();
        sources.join(&source, &id, &Schedule::Never, &mut Vec::new());
        let mut tags = Collector::default();
        assert!(tags.push("1.0.0"));
        let snapshot = Snapshot { tags: Some(tags.finish()), ..Snapshot::default() };
        assert!(sources.looked(&source, Ok((Arc::new(snapshot), Vec::new()))).is_some());
        let policy = Policy::parse("minor", &Options::default(), &NamedPolicies::default()).unwrap();
        let mut answered = |tags: std::ops::Range<usize>, mut left: usize| {
            let questions = tags.map(|n| {
                Arc::new(Question {
                    policy: policy.clone(),
                    tag: Some(Tag::parse(&format!("1.1.{n}")).unwrap()),
                    digest: None,
                    pinned: false,
                    avoided: Arc::default(),
                    held: Arc::default(),
                    is_full: false,
                    min_age: None,
                    kept: None,
                })
            });
            questions.filter(|question| sources.answer(&source, question, false, &mut left).is_some()).count()
        };
        assert_eq!(answered(0..10, 4), 4);
        assert_eq!(answered(0..4, 0), 4, "they are remembered");
        assert_eq!(answered(0..1000, 1000), 64);
    }
}
