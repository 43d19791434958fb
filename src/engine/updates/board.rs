//! Every workload's record, the one table of their timers, and who stands in whose way.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use crate::{
    domain::{
        hint::Source,
        reason::{Other, Reason},
        update::{Act, Event, Now, Record, step},
        workload::{Workload, WorkloadId},
    },
    engine::timers::Timers,
};

/// Of as many workloads that are gone something is remembered here, of at most 40 KB each.
const MAX_GONE: usize = 500;
/// As many of those that ask for another image are named on the row of a workload.
const MAX_NAMED: usize = 5;

/// Who stands in the way, and what to say of each.
type Others = Box<[Other]>;

/// What is to be done, and for which workload.
pub(crate) type Acts = Vec<(WorkloadId, Act)>;

/// The records of workloads. Of one without a record nothing is to be remembered.
#[derive(Default)]
pub(crate) struct Board {
    // Boxed: a third of such a table's places is empty.
    records: HashMap<WorkloadId, Box<Record>>,
    timers: Timers<WorkloadId>,
    /// For the end of which look plans wait.
    awaiting: HashMap<Arc<Source>, HashSet<WorkloadId>>,
    /// Workloads that stand in the way of updates, as Git said, and of whose.
    contested: HashMap<WorkloadId, BTreeSet<WorkloadId>>,
    /// How much is held.
    holds: usize,
    /// Those that are gone, the first first: what somebody took away of them counts if they are made again.
    gone: VecDeque<WorkloadId>,
}

impl Board {
    /// What is remembered of a workload.
    pub(crate) fn record(&self, id: &WorkloadId) -> Option<&Record> {
        self.records.get(id).map(|record| &**record)
    }

    /// What a workload says too is kept once.
    pub(crate) fn share(&mut self, workload: &Workload) {
        if let Some(record) = self.records.get_mut(&workload.id) {
            record.share(workload);
        }
    }

    /// Of whom anything is remembered.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &WorkloadId> {
        self.records.keys()
    }

    /// What an event leads to, for the workload and for those whose rows change with it.
    pub(crate) fn step(&mut self, id: &WorkloadId, event: Event, now: Now) -> Acts {
        let old = self.records.remove(id);
        let named = old.as_deref().map(others).unwrap_or_default();
        self.holds -= old.as_deref().map_or(0, holds);
        let is_gone = matches!(event, Event::Gone(_));
        let (record, acts) = step(old.map(|old| *old).unwrap_or_default(), event, now);
        match record.wakes_at() {
            Some(at) => self.timers.set(id.clone(), at),
            None => self.timers.forget(id),
        }
        let names = others(&record);
        self.holds += holds(&record);
        if !record.is_empty() {
            self.records.insert(id.clone(), Box::new(record));
            if is_gone {
                self.gone(id.clone());
            }
        }
        let mut all: Acts = acts.into_iter().map(|act| (id.clone(), act)).collect();
        if named != names {
            for other in self.contest(id, named, names) {
                all.extend(self.step(&other, Event::Asked, now));
            }
        }
        all
    }

    /// How many images and workloads are held.
    pub(crate) fn holds(&self) -> usize {
        self.holds
    }

    /// Of a workload that is gone something is remembered; of too many the first is forgotten here of the namespace that has
    /// the most, so that none has those of another forgotten.
    fn gone(&mut self, id: WorkloadId) {
        self.gone.retain(|gone| *gone != id);
        self.gone.push_back(id);
        if self.gone.len() > MAX_GONE
            && let Some(first) = self.first_of_most()
            && let Some(first) = self.gone.remove(first)
            && self.records.get(&first).is_some_and(|record| record.is_gone())
        {
            self.holds -= self.records.remove(&first).as_deref().map_or(0, holds);
        }
    }

    fn first_of_most(&self) -> Option<usize> {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        self.gone.iter().for_each(|id| *counts.entry(&id.namespace).or_default() += 1);
        let (most, _) = counts.into_iter().max_by_key(|(_, count)| *count)?;
        self.gone.iter().position(|id| *id.namespace == *most)
    }

    /// Takes in who stands in the way of a workload's update; returns those for whom that is new.
    fn contest(&mut self, id: &WorkloadId, before: Others, now: Others) -> BTreeSet<WorkloadId> {
        let mut turned = BTreeSet::new();
        for Other { workload: other, .. } in before {
            if let Some(names) = self.contested.get_mut(&other)
                && names.remove(id)
            {
                if names.is_empty() {
                    self.contested.remove(&other);
                }
                turned.insert(other);
            }
        }
        for Other { workload: other, .. } in now {
            let names = self.contested.entry(other.clone()).or_default();
            if names.len() < MAX_NAMED && names.insert(id.clone()) {
                turned.insert(other);
            }
        }
        turned
    }

    /// What each container of a workload is told of the updates of others that it stands in the way of.
    pub(crate) fn told_by_others(&self, id: &WorkloadId) -> Vec<(Arc<str>, Reason)> {
        let asks = self.contested.get(id).into_iter().flatten();
        let told = asks.filter_map(|asks| self.record(asks)).flat_map(Record::said).flat_map(|said| {
            let own = said.others.iter().filter(|other| other.workload == *id);
            own.map(|other| (other.container.clone(), Reason::new(said.code, other.text.clone())))
        });
        told.collect()
    }

    /// A workload's plan waits for the end of a look, if it does.
    pub(crate) fn await_look(&mut self, id: &WorkloadId, source: &Arc<Source>) {
        if self.record(id).is_some_and(Record::waits_for_looks) {
            self.awaiting.entry(source.clone()).or_default().insert(id.clone());
        }
    }

    /// A look has ended: plans that waited for it are thought of again, also if it brought nothing new.
    pub(crate) fn looked(&mut self, source: &Source, now: Now) -> Acts {
        let waited = self.awaiting.remove(source).unwrap_or_default();
        waited.iter().flat_map(|id| self.step(id, Event::Asked, now)).collect()
    }

    /// When the next workload is to be woken.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.timers.next()
    }

    /// Wakes those whose time has come.
    pub(crate) fn woke(&mut self, now: Now) -> Acts {
        let mut all = Vec::new();
        while let Some(id) = self.timers.due(now.since) {
            all.extend(self.step(&id, Event::Woke, now));
        }
        all
    }
}

/// How many images of it are held, and whether all of it is.
fn holds(record: &Record) -> usize {
    record.holds().len() + usize::from(record.held().is_some())
}

/// The workloads that stand in the way of the current update, as was said.
fn others(record: &Record) -> Others {
    record.said().flat_map(|said| said.others.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::domain::{
        image::ImageRef,
        update::{Hold, WorkloadState},
    };

    #[test]
    fn a_namespace_with_very_many_workloads_that_are_gone_has_none_of_anothers_forgotten() {
        let mut board = Board::default();
        let now = Now { at: Timestamp::UNIX_EPOCH, since: Duration::ZERO };
        let mut gone = |name: String| {
            let id: WorkloadId = name.parse().unwrap();
            let holds = Hold {
                container: "web".into(),
                init: false,
                to: ImageRef::parse("r.io/web:1.0.1").unwrap(),
                back_to: "r.io/web:1.0.0".into(),
                by: "kubectl".into(),
                at: now.at,
                how: crate::domain::update::How::Person,
                in_memory: false,
            };
            let state = WorkloadState { holds: vec![holds], ..WorkloadState::new(id.clone(), "u".into()) };
            board.step(&id, Event::Remembered(state), now);
            board.step(&id, Event::Gone(id.clone()), now);
        };
        gone("shop/Deployment/web".to_owned());
        (0..2 * MAX_GONE).for_each(|n| gone(format!("tenant/Deployment/w{n}")));
        assert_eq!(board.records.len(), MAX_GONE);
        assert!(board.record(&"shop/Deployment/web".parse().unwrap()).is_some());
    }
}
