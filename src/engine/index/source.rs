//! One source: by whom and how often it is looked at, what its next look is for, and what the last one left.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use crate::{
    domain::{
        hint::{Source, Trigger},
        image::Tag,
        poll::Schedule,
        tags::Tags,
        workload::WorkloadId,
    },
    engine::{
        index::{effect::Effect, hints::Lost, schedules::Schedules},
        look::{
            question::{Answered, Question, Snapshot},
            room::Size,
        },
    },
    ports::RegistryError,
};

/// What made us look, and when (monotonic).
pub(crate) type Cause = (Trigger, Duration);

/// What is known of a source.
#[derive(Default)]
pub(crate) struct SourceEntry {
    pub(crate) users: HashMap<WorkloadId, Schedule>,
    /// How many users each namespace has, by name. Mostly there is one.
    pub(crate) namespaces: Vec<(Arc<str>, usize)>,
    pub(crate) schedules: Schedules,
    pub(crate) snapshot: Option<Arc<Snapshot>>,
    /// How many tags there are.
    pub(crate) size: Size,
    /// What its tags took when there was last no room to keep them until the next look.
    pub(crate) left_out: Option<usize>,
    /// What the snapshot answered since the last look: many workloads ask the same after an update.
    pub(crate) answered: HashMap<Arc<Question>, Option<Arc<Answered>>>,
    pub(crate) hinted: BTreeSet<Tag>,
    pub(crate) listing_wanted: bool,
    /// A question was not answered yet, or a look failed.
    pub(crate) ask_all: bool,
    /// Of the next look, and of the one under way.
    pub(crate) wanted: Option<Cause>,
    pub(crate) running: Option<Cause>,
    /// Whether a webhook asked for the next look, and for the one under way.
    pub(crate) hook_waits: bool,
    pub(crate) hook_served: bool,
    pub(crate) failure: Option<RegistryError>,
    /// Looks in a row that failed.
    pub(crate) failures: u32,
    /// What a webhook named that was not found, and when that was said (monotonic).
    pub(crate) lost: Option<(Lost, Duration)>,
}

impl SourceEntry {
    /// What its tags take here, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.snapshot.as_deref().and_then(Snapshot::tags).map_or(0, Tags::bytes)
    }

    /// Who takes how much of so many bytes.
    pub(crate) fn shares(&self, bytes: usize) -> impl Iterator<Item = (&Arc<str>, usize)> + Clone {
        self.namespaces.iter().map(move |(namespace, _)| (namespace, bytes.div_ceil(self.namespaces.len())))
    }

    /// One user more of a namespace.
    pub(crate) fn enters(&mut self, namespace: &Arc<str>) {
        match self.place(namespace) {
            Ok(at) => self.namespaces[at].1 += 1,
            Err(at) => self.namespaces.insert(at, (namespace.clone(), 1)),
        }
    }

    /// One user less of a namespace.
    pub(crate) fn leaves(&mut self, namespace: &str) {
        let Ok(at) = self.place(namespace) else { return };
        self.namespaces[at].1 -= 1;
        if self.namespaces[at].1 == 0 {
            self.namespaces.remove(at);
        }
    }

    fn place(&self, namespace: &str) -> Result<usize, usize> {
        self.namespaces.binary_search_by(|(name, _)| (**name).cmp(namespace))
    }

    pub(crate) fn scheduled(&self, source: &Arc<Source>) -> Effect {
        Effect::Schedule { source: source.clone(), schedules: self.schedules.followed() }
    }
}
