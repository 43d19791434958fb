//! What rollouts have to do with what is known of workloads.

use std::{sync::Arc, time::Duration};

use crate::{
    domain::{
        hint::Source,
        image::ImageRef,
        update::{Bars, Change},
        workload::WorkloadId,
    },
    engine::index::{entry::source, state::State},
};

impl State {
    /// From now on that bears on what is chosen for a workload.
    pub(crate) fn bar(&mut self, id: &WorkloadId, bars: Bars, now: Duration) {
        let Some(entry) = self.entry_mut(id).filter(|entry| *entry.bars != bars) else { return };
        entry.bars = Arc::new(bars);
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
