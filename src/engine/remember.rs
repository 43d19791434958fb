//! What the loop does about what is remembered: it takes in what was before, and lets what is new be written.

use std::{collections::BTreeSet, sync::Arc};

use futures::FutureExt;

use crate::{
    domain::{
        update::{Bars, Event, Record, Tracked},
        workload::WorkloadId,
    },
    engine::{
        driver::{Engine, Remembered},
        index::histories::AT_ONCE,
        updates::{
            ledger,
            writing::{Entry, StoreAnswer, Writing},
        },
    },
    ports::{ClusterChange, Version},
};

impl Engine<'_> {
    /// Takes in what was remembered; what the change is, if it is none of that.
    pub(super) fn remembered_before(&mut self, change: ClusterChange) -> Option<ClusterChange> {
        match change {
            ClusterChange::Record(tracked, version, object) => {
                if let Some(object) = object {
                    self.opened(&tracked.update.workload, &tracked.update.id, object);
                }
                self.found(tracked, version);
            }
            ClusterChange::State(state, version, wish) => {
                let id = state.workload.clone();
                // Whoever makes one for all in another namespace holds nothing.
                if id.is_all() && self.state.settings.all.as_ref() != Some(&id) {
                    return None;
                }
                self.undecodable(&id, None);
                let of = id.clone();
                // What we write ourselves is told by the watch too.
                let is_there = !self.synced || id.is_all() || self.state.entry(&id).is_some();
                if !self.synced || !self.ledger.knows_state(&id) {
                    if is_there {
                        self.ledger.has_state(&id, version);
                    }
                    let known = self.state.entry(&id).map(|entry| entry.workload.clone());
                    let id = known.as_ref().map_or(id, |workload| workload.id.clone());
                    self.step(&id, Event::Remembered(state));
                    match known {
                        Some(workload) => self.board.share(&workload),
                        None if is_there => {}
                        None => self.step(&id, Event::Gone(id.clone())),
                    }
                }
                if let Some(wish) = wish {
                    self.wished(of, wish);
                }
            }
            ClusterChange::RecordUndecodable(id, why) => {
                self.told.record_undecodable(&id, &self.state.uid(&id), &why, self.now());
            }
            ClusterChange::StateUndecodable(id, why) => self.undecodable(&id, why),
            ClusterChange::RecordsElsewhere => {
                let ids: Vec<WorkloadId> = self.board.ids().cloned().collect();
                for id in ids {
                    self.step(&id, Event::KeptElsewhere(id.clone()));
                    let bars = self.board.record(&id).map(Record::bars).unwrap_or_default();
                    self.bar(&id, bars);
                }
            }
            ClusterChange::Rollout(id, view) => {
                let times = self.state.settings.rollout;
                let rollback = self.state.entry(&id).map(|entry| entry.rule.rollback).unwrap_or_default();
                self.step(&id, Event::Rollout(view, times, rollback));
            }
            ClusterChange::Pods(id, pods) => {
                let times = self.state.settings.rollout;
                self.step(&id, Event::Pods(pods, times));
            }
            ClusterChange::Stuck(id, why) => self.step(&id, Event::Stuck(why)),
            other => return Some(other),
        }
        None
    }

    /// From now on that bears on what is chosen for a workload, as long as it is remembered.
    pub(super) fn bar(&mut self, id: &WorkloadId, mut bars: Bars) {
        let in_memory = self.ports.records.is_in_memory(id);
        bars.holds.iter_mut().for_each(|hold| hold.in_memory = in_memory);
        self.state.bar(id, bars, self.now());
    }

    /// What is remembered of a workload cannot be read, or can again.
    fn undecodable(&mut self, id: &WorkloadId, why: Option<Arc<str>>) {
        let known = self.board.record(id).and_then(Record::undecodable);
        if known == why.as_ref() || id.is_all() && self.state.settings.all.as_ref() != Some(id) {
            return;
        }
        if let Some(why) = &why {
            self.told.state_undecodable(id, &self.state.uid(id), why, self.now());
        }
        self.step(id, Event::Undecodable(why));
        if id.is_all() {
            self.state.assess_all();
        }
    }

    /// An update that has not ended is remembered.
    fn found(&mut self, tracked: Box<Tracked>, version: Version) {
        let id = &tracked.update.workload;
        if !self.synced {
            return self.found.push((tracked, version));
        }
        // What we write ourselves is told by the watch too.
        let is_ended = self.board.record(id).and_then(|record| record.phase_of(&tracked.update.id.split().0));
        if !self.ledger.knows(id, &tracked.update.id) && !is_ended.is_some_and(|phase| phase.is_over()) {
            self.go_on(tracked, version);
        }
    }

    /// Goes on with an update that was remembered, or ends it where another workload has come in place of its own.
    fn go_on(&mut self, mut tracked: Box<Tracked>, version: Version) {
        if self.state.entry(&tracked.update.workload).is_some() {
            self.ledger.has(&mut tracked, version);
            self.recorded(tracked);
        }
    }

    fn recorded(&mut self, tracked: Box<Tracked>) {
        let id = tracked.update.workload.clone();
        if let Some(workload) = self.state.entry(&id).map(|entry| entry.workload.clone()) {
            self.step(&id, Event::Recorded(tracked, workload));
            if self.synced {
                self.recount(&id);
            }
        }
    }

    /// All workloads are known, and all that was remembered: that is brought together.
    pub(super) fn recover(&mut self) {
        let mut found = std::mem::take(&mut self.found);
        found.sort_by_key(|(tracked, _)| tracked.update.proposed);
        for (tracked, version) in found {
            self.go_on(tracked, version);
        }
        let ids: BTreeSet<WorkloadId> = self.state.workloads().chain(self.board.ids()).cloned().collect();
        for id in ids {
            match self.state.entry(&id).map(|entry| entry.workload.clone()) {
                Some(workload) => self.step(&id, Event::Known(workload)),
                None if id.is_all() => {}
                None => {
                    self.ledger.lose_state(&id);
                    self.step(&id, Event::Gone(id.clone()));
                }
            }
        }
    }

    pub(super) fn save(&mut self, entry: Entry) {
        let news = self.ledger.write(entry);
        self.tell_of_record(news);
    }

    /// Starts what may be written to the store.
    pub(super) fn remember(&mut self) {
        while let Some(writing) = self.ledger.next() {
            self.records.push(writing.end(self.ports.records.clone()).boxed());
        }
    }

    /// Something was remembered, or not.
    pub(super) fn remembered(&mut self, (writing, answer): (Writing, StoreAnswer)) {
        let id = writing.entry.workload().clone();
        let news = self.ledger.answered(writing, answer, self.now());
        self.tell_of_record(news);
        self.go_back(&id);
    }

    /// Starts to remember when tags were first seen, where that is due.
    pub(super) fn remember_histories(&mut self) {
        while self.histories.len() < AT_ONCE
            && let Some(seen) = self.state.histories.due(self.now())
        {
            let histories = self.ports.histories.clone();
            self.histories.push(
                async move {
                    let written = histories.add(&seen).await;
                    (seen, written)
                }
                .boxed(),
            );
        }
    }

    /// That was remembered, or not: then it is tried again.
    pub(super) fn history_written(&mut self, (seen, written): Remembered) {
        if let Err(error) = &written {
            self.told.unseen(&seen.repository, error, self.now());
        }
        self.state.histories.written(seen, written.as_deref().ok(), self.now());
    }

    /// The process ends: what waits to be remembered is tried once more.
    pub(super) fn remember_the_rest(&mut self) {
        self.state.histories.hurry(self.now());
        self.remember_histories();
        self.ledger.hurry();
        self.remember();
    }

    fn tell_of_record(&mut self, news: ledger::News) {
        match news {
            ledger::News::Nothing => {}
            ledger::News::Recorded(tracked) => self.recorded(tracked),
            ledger::News::Failed(workload, why) => self.told.unrecorded(&workload, &why, true, self.now()),
            ledger::News::Lost(workload, why) => self.told.unrecorded(&workload, why, false, self.now()),
        }
    }

    pub(super) fn forget(&mut self, id: WorkloadId) {
        self.step(&id, Event::Gone(id.clone()));
        self.state.ballots.close(&id, None);
        self.attend(&id, false);
        self.told.assessed(&id, &Arc::default(), None, self.now());
        self.save(Entry::Forget(id));
    }
}
