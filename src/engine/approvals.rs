//! What the loop does about people's votes: it takes them in, keeps an eye on when it is sure who votes, and lets nothing
//! go that they approved before that and what the tag points to were found out anew.

use std::{sync::Arc, time::Duration};

use futures::FutureExt;
use jiff::Timestamp;

use crate::{
    domain::{
        update::{Event, Tracked, UpdateId},
        votes::{self, Ignored, Review},
        workload::WorkloadId,
    },
    engine::{
        driver::{Engine, Proved},
        index::ballots::Taken,
    },
    metrics::ReviewLabels,
    ports::{ClusterChange, ObjectName, Proof},
};

/// As long counts what was found out when what people approved may go: its turn may take a while to come.
const FRESH: Duration = Duration::from_secs(90);
/// As many requests of each kind at once.
const AT_ONCE: usize = 8;
/// As many votes wait to be deleted.
const SURPLUS: usize = 10_000;

impl Engine<'_> {
    /// Takes in what is said of votes; what the change is, if it is none of that.
    pub(super) fn voted(&mut self, change: ClusterChange) -> Option<ClusterChange> {
        match change {
            ClusterChange::Review(number, review) => self.review(number, *review),
            ClusterChange::ReviewGone(number) => {
                if let Some(id) = self.state.ballots.gone(number) {
                    self.recount(&id);
                }
            }
            ClusterChange::Policies(number, policies) => {
                // Two watches tell of them, and each knows what the other does.
                if number < self.state.proofs.number {
                    return None;
                }
                self.state.proofs.number = number;
                if let (Err(why), true) = (&policies, self.synced) {
                    tracing::warn!(why = &**why, "approvals are closed");
                }
                let why = policies.as_ref().err().cloned();
                for id in self.state.proofs.changed(policies, self.synced, self.now()) {
                    match &why {
                        Some(why) => self.step(&id, Event::Voting(Err(why.clone()))),
                        None => self.step(&id, Event::Asked),
                    }
                }
            }
            other => return Some(other),
        }
        None
    }

    /// People are asked about an update, by that object.
    pub(super) fn opened(&mut self, id: &WorkloadId, update: &UpdateId, object: ObjectName) {
        // The watch may tell late of what has ended.
        if self.synced && !self.is_open(id, &update.split().0) {
            return;
        }
        let early = self.state.ballots.open(id, update, object);
        let is_any = !early.is_empty();
        early.into_iter().for_each(|(number, review)| self.review(number, review));
        if is_any {
            self.recount(id);
        }
    }

    /// Somebody has voted.
    fn review(&mut self, number: u64, review: Review) {
        let known = review.clone();
        let counts = self.state.ballots.workload(&review.uid).and_then(|id| self.counted(id));
        let counts = |review: &Review| {
            counts
                .as_ref()
                .is_none_or(|(target, void)| review.target == *target && void.is_none_or(|void| review.vote.at > void))
        };
        match self.state.ballots.take(number, review, counts) {
            Taken::Of(id) if self.synced => {
                self.recount(&id);
                self.tell(&id, &known);
            }
            // It is counted when all is known.
            Taken::Of(_) => {}
            Taken::TooMany(surplus) => {
                self.count("too-many");
                if self.surplus.len() < SURPLUS {
                    self.surplus.push_back(*surplus);
                }
                if let Some(id) = self.state.ballots.workload(&known.uid).cloned().filter(|_| self.synced) {
                    self.recount(&id);
                }
            }
            Taken::Unknown if self.synced => {
                self.count("unknown");
                tracing::debug!(namespace = &*known.namespace, review = &*known.name, "a vote on no update that waits");
            }
            Taken::Unknown => {}
        }
    }

    /// Says what became of a review.
    fn tell(&self, id: &WorkloadId, review: &Review) {
        let Some(current) = self.board.record(id).and_then(|record| record.current()) else { return };
        let void = current.approval.as_ref().and_then(|approval| approval.void);
        let reviews = self.reviews(id, &current.update.id);
        let (_, ignored) = votes::count(&reviews, &current.update.target(), void);
        let why = ignored.into_iter().find(|(other, _)| other.name == review.name).map(|(_, why)| why);
        let outcome = why.map_or("counted", Ignored::label);
        self.count(outcome);
        let (name, by, verb) = (&*review.name, &*review.vote.by, review.vote.verb.as_str());
        tracing::info!(workload = %id, update = %current.update.id, review = name, by, verb, outcome, "voted");
    }

    /// What a review of a workload's update must be about, and made after, to count.
    fn counted(&self, id: &WorkloadId) -> Option<(Arc<str>, Option<Timestamp>)> {
        let current = self.board.record(id)?.current()?;
        Some((current.update.target(), current.approval.as_ref().and_then(|approval| approval.void)))
    }

    /// Whether that update of the workload is gone on with.
    fn is_open(&self, id: &WorkloadId, update: &UpdateId) -> bool {
        let phase = self.board.record(id).and_then(|record| record.phase_of(update));
        phase.is_some_and(|phase| !phase.is_over())
    }

    fn count(&self, outcome: &'static str) {
        self.ports.metrics.reviews.get_or_create(&ReviewLabels { outcome }).inc();
    }

    /// What people have said of an update, and of whom the configuration knows who they are.
    fn reviews(&self, id: &WorkloadId, update: &UpdateId) -> Vec<Review> {
        let speaks_for = &self.state.settings.speaks_for;
        let mapped = |mut review: Review| {
            let whom = review.vote.on_behalf_of.as_deref();
            review.is_mapped = whom.is_some_and(|whom| speaks_for(whom, &review.vote.by));
            review
        };
        self.state.ballots.of(id, update).into_iter().map(mapped).collect()
    }

    /// All that people have said of a workload's update is counted.
    pub(super) fn recount(&mut self, id: &WorkloadId) {
        let current = self.board.record(id).and_then(|record| record.current());
        if let Some(update) = current.map(|current| current.update.id.clone()) {
            let reviews = self.reviews(id, &update);
            self.step(id, Event::Reviewed(reviews));
        }
    }

    /// All workloads and reviews are known.
    pub(super) fn recount_all(&mut self) {
        let mut ballots = std::mem::take(&mut self.state.ballots);
        ballots.synced();
        ballots.keep(|id, update| self.is_open(id, update));
        self.state.ballots = ballots;
        self.recount_open();
    }

    /// All that is open is counted anew.
    pub(super) fn recount_open(&mut self) {
        // What was recorded says who voted; only what is there says it for sure.
        let is_open = |id: &&WorkloadId| {
            let current = self.board.record(id).and_then(|record| record.current());
            current.is_some_and(|current| current.approval.is_some() && !current.phase.is_over())
        };
        let open: Vec<WorkloadId> = self.board.ids().filter(is_open).cloned().collect();
        for id in open {
            self.recount(&id);
        }
    }

    /// Starts to find out, where that is due, whether it is sure who votes; and deletes votes of which there are too many.
    pub(super) fn prove(&mut self) {
        while self.discards.len() < AT_ONCE
            && let Some(surplus) = self.surplus.pop_front()
        {
            let votes = self.ports.votes.clone();
            self.discards.push(async move { votes.discard(&surplus).await }.boxed());
        }
        while self.has_room()
            && let Some(namespace) = self.state.proofs.due(self.now())
        {
            let (votes, began) = (self.ports.votes.clone(), self.now());
            self.proofs.push(
                async move {
                    let proof = votes.prove(&namespace).await;
                    (namespace, began, proof)
                }
                .boxed(),
            );
        }
    }

    /// Whether one more may be started.
    pub(super) fn has_room(&self) -> bool {
        self.proofs.len() < AT_ONCE
    }

    pub(super) fn proved(&mut self, (namespace, began, proof): Proved) {
        if let Proof::Unguarded(why) = &proof {
            tracing::warn!(%namespace, why, "nothing is approved");
        }
        let (ids, said) = self.state.proofs.proved(&namespace, began, proof, self.now());
        for id in ids {
            if let Some(said) = &said {
                self.step(&id, Event::Voting(said.clone()));
            }
            self.step(&id, Event::Asked);
        }
    }

    /// Whether what people approved may go now. If not, it is found out anew what it takes to know that, and it is thought
    /// of again then.
    pub(super) fn is_sure(&mut self, id: &WorkloadId) -> bool {
        let now = self.now();
        let since = self.reached.get(id).copied().filter(|since| *since + FRESH >= now);
        if let Some(since) = since {
            return self.state.proofs.is_fresh(&id.namespace, since) && !self.state.is_stale(id, since, Duration::ZERO);
        }
        self.reached.insert(id.clone(), now);
        self.state.proofs.hurry(&id.namespace, now);
        self.state.again(id, now);
        self.effects();
        false
    }

    /// Keeps what follows from whether people are asked about the workload, and until when.
    pub(super) fn attend(&mut self, id: &WorkloadId, votes: bool) {
        let current = self.board.record(id).and_then(|record| record.current());
        // Whatever keeps it from being written: what happens meanwhile to who may vote is to be known of it.
        let is_open = current.is_some_and(|current| current.approval.is_some() && !current.phase.is_over());
        let asked = current.and_then(Tracked::asked);
        let is_asked = asked.is_some();
        // What is approved has no deadline.
        let deadline = asked.filter(|asked| !asked.is_reached() && !asked.unsure).and_then(|asked| asked.deadline);
        self.state.proofs.ask(id, votes || is_open, self.now());
        self.state.deadlines.set(id, deadline);
        if !votes {
            self.reached.remove(id);
        }
        let is_new = if is_asked { self.asked.insert(id.clone()) } else { self.asked.remove(id) };
        if is_new {
            self.ports.metrics.approvals_waiting.set(i64::try_from(self.asked.len()).unwrap_or(i64::MAX));
        }
    }
}
