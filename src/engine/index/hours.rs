//! When workloads that are outside their hours are decided again.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use crate::{
    domain::workload::WorkloadId,
    engine::index::{effect::Effect, state::State},
};

/// Workloads that open at one time are decided again spread over this.
const SPREAD: SignedDuration = SignedDuration::from_secs(60);

impl State {
    /// What the workload waits for opens then, or it waits for nothing that does.
    pub(crate) fn waits_until(&mut self, id: &WorkloadId, opens: Option<Timestamp>) {
        let at = opens.map(|opens| self.spread(id, opens));
        self.hours.set(id, at);
    }

    /// Whether a workload that waited has its place in the minute still before it.
    pub(crate) fn has_place(&self, id: &WorkloadId, now: Timestamp) -> bool {
        self.hours.of(id).is_some_and(|at| now < at && at.duration_since(now) <= SPREAD)
    }

    /// A time soon after the opening that is always the same for a workload; the opening itself if it is not open that long.
    fn spread(&self, id: &WorkloadId, opens: Timestamp) -> Timestamp {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        let millis = SPREAD.as_millis().unsigned_abs();
        let place = u64::try_from(u128::from(hasher.finish()) % millis).unwrap_or_default();
        let later = opens.saturating_add(Duration::from_millis(place)).unwrap_or(opens);
        let hours = self.entry(id).and_then(|entry| entry.rule.hours.as_ref());
        if hours.is_none_or(|hours| hours.is_open(later)) { later } else { opens }
    }

    /// Looks again where something opens now: what is old enough, and for what is within its hours.
    pub(crate) fn opened(&mut self, at: Timestamp, now: Duration) {
        self.grown(at, now);
        while let Some(id) = self.hours.due(at) {
            self.again(&id, now);
        }
        while let Some(id) = self.deadlines.due(at) {
            self.effects.push(Effect::Assess(id));
        }
    }
}
