//! What rollouts have to do with what is known of workloads.

use std::{sync::Arc, time::Duration};

use crate::{
    domain::{
        hint::Source,
        image::ImageRef,
        update::{Change, Quarantined},
        workload::WorkloadId,
    },
    engine::index::{entry::source, state::State},
};

impl State {
    /// From now on these images of a workload are not to be chosen.
    pub(crate) fn avoid(&mut self, id: &WorkloadId, quarantined: &[Quarantined], now: Duration) {
        let Some(entry) = self.entry_mut(id).filter(|entry| *entry.quarantined != *quarantined) else { return };
        entry.quarantined = quarantined.into();
        let workload = entry.workload.clone();
        self.workload(workload, now);
    }

    /// From now on these changes are chosen for the workload, as long as they may be.
    pub(crate) fn keep(&mut self, id: &WorkloadId, kept: Vec<Change>, now: Duration) {
        let Some(entry) = self.entry_mut(id).filter(|entry| *entry.kept != *kept) else { return };
        entry.kept = kept.into();
        let workload = entry.workload.clone();
        self.workload(workload, now);
    }

    /// Where an image of a workload is found, and as whom.
    pub(crate) fn source_for(&self, id: &WorkloadId, image: &ImageRef) -> Option<Arc<Source>> {
        let entry = self.entry(id)?;
        Some(source(&entry.workload, image, &self.sources, &self.settings.operator_serves))
    }
}
