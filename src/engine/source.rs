//! One source: by whom and how often it is looked at, what its next look is for, and what the last one left.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::{
    effect::Effect,
    hints::Lost,
    look::{Answered, Question, Snapshot},
    room::Size,
    schedules::Schedules,
    sources::Cause,
};
use crate::{
    domain::{hint::Source, image::Tag, poll::Schedule, tags::Tags, workload::WorkloadId},
    ports::RegistryError,
};

/// What is known of a source.
#[derive(Default)]
pub(super) struct Known {
    pub(super) users: HashMap<WorkloadId, Schedule>,
    /// How many users each namespace has.
    pub(super) namespaces: BTreeMap<Arc<str>, usize>,
    pub(super) schedules: Schedules,
    pub(super) snapshot: Option<Arc<Snapshot>>,
    /// How many tags there are.
    pub(super) size: Size,
    /// What its tags took when there was last no room to keep them until the next look.
    pub(super) left_out: Option<usize>,
    /// What the snapshot answered since the last look: many workloads ask the same after an update.
    pub(super) answered: HashMap<Question, Option<Arc<Answered>>>,
    pub(super) hinted: BTreeSet<Tag>,
    pub(super) listing_wanted: bool,
    /// A question was not answered yet, or a look failed.
    pub(super) ask_all: bool,
    /// Of the next look, and of the one under way.
    pub(super) wanted: Option<Cause>,
    pub(super) running: Option<Cause>,
    pub(super) failure: Option<RegistryError>,
    /// What a webhook named last that was not found.
    pub(super) lost: Option<Lost>,
}

impl Known {
    /// What its tags take here, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.snapshot.as_deref().and_then(Snapshot::tags).map_or(0, Tags::bytes)
    }

    /// Who takes how much of so many bytes.
    pub(super) fn shares(&self, bytes: usize) -> impl Iterator<Item = (&Arc<str>, usize)> + Clone {
        self.namespaces.keys().map(move |namespace| (namespace, bytes.div_ceil(self.namespaces.len())))
    }

    pub(super) fn scheduled(&self, source: &Arc<Source>) -> Effect {
        Effect::Schedule { source: source.clone(), schedules: self.schedules.followed() }
    }
}
