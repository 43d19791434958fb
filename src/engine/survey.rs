//! One pass over everything, for a command: look once, say what would be done, write nothing.

use std::sync::Arc;

use futures::{StreamExt, stream};

use super::{
    assess::{Assessment, assess},
    effect::Effect,
    look::look,
    settings::Settings,
    state::State,
    wishes::among,
};
use crate::{
    domain::workload::WorkloadId,
    ports::{Clock, ClusterChange, Registry, Workloads},
};

/// Repositories that are read at once.
const CONCURRENT: usize = 16;

/// Looks at every repository that the workloads use, once, and assesses each workload, in the order of their ids.
///
/// `source` says where a workload stands; `workloads` is asked who moved an image back, where there is a cluster.
pub async fn survey(
    settings: Settings,
    changes: Vec<ClusterChange>,
    registry: &dyn Registry,
    workloads: Option<&dyn Workloads>,
    clock: &dyn Clock,
    source: impl Fn(&WorkloadId) -> String,
) -> Vec<(WorkloadId, Assessment)> {
    let mut state = State::new(settings);
    // Namespaces first, so that no workload is read without its defaults.
    let (namespaces, others): (Vec<_>, Vec<_>) =
        changes.into_iter().partition(|change| matches!(change, ClusterChange::Namespace(_)));
    for change in namespaces.into_iter().chain(others) {
        state.change(change, clock.monotonic());
    }
    let wanted: std::collections::BTreeSet<_> = state
        .effects()
        .into_iter()
        .filter_map(|effect| if let Effect::Look { source, .. } = effect { Some(source) } else { None })
        .collect();
    let orders: Vec<_> = wanted.iter().filter_map(|source: &Arc<_>| state.order(source)).collect();
    let looks: Vec<_> =
        stream::iter(orders).map(|order| look(registry, None, order)).buffer_unordered(CONCURRENT).collect().await;
    for looked in looks {
        // A failure is kept in the state and shown in the rows.
        let _ = state.looked(looked, clock.monotonic());
    }
    let mut ids: Vec<WorkloadId> = state.workloads().cloned().collect();
    ids.sort_unstable();
    let mut all = Vec::new();
    for id in ids {
        let Some(mut assessment) = assess(&state, &id, &source(&id), clock.now()) else { continue };
        if assessment.must_read
            && let Some(workloads) = workloads
            && let Ok(Some(observed)) = workloads.get(&id).await
        {
            state.moved_back(&observed);
            if let Some(again) = assess(&state, &id, &source(&id), clock.now()) {
                assessment = again;
            }
        }
        all.push((id, assessment));
    }
    let in_git = |assessment: &mut Assessment| assessment.plan.take_if(|plan| plan.update().write.target().is_some());
    let (rows, plans): (Vec<usize>, Vec<_>) =
        all.iter_mut().enumerate().filter_map(|(row, (_, assessment))| Some((row, in_git(assessment)?))).unzip();
    for (row, plan) in rows.into_iter().zip(among(&state, plans, clock.now())) {
        all[row].1.plan = Some(plan);
    }
    all
}
