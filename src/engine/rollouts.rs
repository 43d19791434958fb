//! What the loop does about rollouts: it asks registries about images that cannot be pulled.

use futures::FutureExt;

use crate::{
    domain::{
        update::{Event, Item},
        workload::WorkloadId,
    },
    engine::driver::{Engine, Pulled},
    ports::RegistryErrorKind,
};

impl Engine<'_> {
    pub(super) fn follow(&self, id: &WorkloadId, is_followed: bool) {
        match is_followed {
            true => self.ports.rollouts.follow(id),
            false => self.ports.rollouts.unfollow(id),
        }
        self.ports.metrics.rollouts_in_flight.inc_by(if is_followed { 1 } else { -1 });
    }

    /// Asks the registry, as the workload, whether that image can be pulled.
    pub(super) fn ask_pull(&mut self, id: WorkloadId, item: Item) {
        let Some(source) = self.state.source_for(&id, &item.change.to) else { return };
        let registry = self.ports.registry.within(&id.namespace, 0);
        let asked = async move {
            let answer = registry.has(&source, &item.change.to).await;
            let is_refused =
                answer.is_err_and(|error| matches!(error.kind, RegistryErrorKind::Auth | RegistryErrorKind::NotFound));
            (id, Box::new(item.change), is_refused)
        };
        self.pulls.push(asked.boxed());
    }

    pub(super) fn pulled(&mut self, (id, change, is_refused): Pulled) {
        self.step(&id, Event::Pulled(change, is_refused));
    }
}
