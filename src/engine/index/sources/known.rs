//! What is known of a source.

use std::{sync::Arc, time::Duration};

use super::Sources;
use crate::{
    domain::hint::Source,
    engine::{
        index::hints::Lost,
        look::{question::Snapshot, room::Size},
    },
    ports::RegistryError,
};

impl Sources {
    /// Why it could not be read, if it could not.
    pub(crate) fn failure(&self, source: &Source) -> Option<&RegistryError> {
        self.known.get(source)?.failure.as_ref()
    }

    /// The interval at which it is looked at, where its users have more schedules than are followed.
    pub(crate) fn replaced(&self, source: &Source) -> Option<Duration> {
        self.known.get(source)?.schedules.replaced()
    }

    /// What the last look left.
    pub(crate) fn snapshot(&self, source: &Source) -> Option<Arc<Snapshot>> {
        self.known.get(source)?.snapshot.clone()
    }

    /// How many tags it has, as far as is known.
    pub(crate) fn size(&self, source: &Source) -> Size {
        self.known.get(source).map(|known| known.size).unwrap_or_default()
    }

    /// What its tags take, where they are not kept between looks.
    pub(crate) fn left_out(&self, source: &Source) -> Option<usize> {
        self.known.get(source)?.left_out
    }

    /// What a webhook named that was not found.
    pub(crate) fn lost(&self, source: &Source) -> Option<&Lost> {
        self.known.get(source)?.lost.as_ref().map(|(lost, _)| lost)
    }

    /// Whether a look at it is still to come.
    pub(crate) fn is_wanted(&self, source: &Source) -> bool {
        self.known.get(source).is_some_and(|known| known.wanted.is_some())
    }

    /// The namespaces whose workloads use it.
    pub(crate) fn namespaces(&self, source: &Source) -> impl Iterator<Item = &Arc<str>> {
        self.known.get(source).into_iter().flat_map(|known| &known.namespaces).map(|(namespace, _)| namespace)
    }
}
