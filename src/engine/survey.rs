//! One pass over everything, for a command: look once, say what would be done, write nothing.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, stream};

use crate::{
    domain::{
        update::{Event, Now, Phase, Record},
        workload::WorkloadId,
    },
    engine::{
        deciding::judging,
        index::{effect::Effect, proofs::Proofs, settings::Settings, state::State},
        look::{
            look,
            question::{LookResult, Order},
        },
        report::rows::{Assessment, assess},
        updates::board::Board,
        wishes::among,
    },
    ports::{Clock, ClusterChange, Histories, Pool, Registry, Workloads},
};

/// Why nothing is approved in a folder.
const NO_VOTES: &str = "approvals are asked for, and without a cluster nobody can give them: with `write: pr:<target>` the \
                        reviews of the forge decide instead";

/// Repositories that are read at once.
const CONCURRENT: usize = 16;
/// How long registries that ask to wait are waited for, in all.
const MOST_WAIT: Duration = Duration::from_secs(60);

/// What a survey has of the outside world.
pub struct Outside<'a> {
    /// Where images are looked for.
    pub registry: &'a dyn Registry,
    /// Decides what takes long.
    pub pool: &'a dyn Pool,
    /// Says who moved an image back, where there is a cluster.
    pub workloads: Option<&'a dyn Workloads>,
    /// Remembers when tags were first seen, if it is to be remembered.
    pub histories: Option<&'a dyn Histories>,
    /// Tells the time.
    pub clock: &'a dyn Clock,
}

/// Looks at every repository that the workloads use, once, and assesses each workload, in the order of their ids.
///
/// A registry that asks to wait a little is waited for, and `waiting` is told how long.
/// `source` says where a workload stands.
pub async fn survey(
    settings: Settings,
    changes: Vec<ClusterChange>,
    outside: Outside<'_>,
    source: impl Fn(&WorkloadId) -> String,
    waiting: impl Fn(Duration),
) -> Vec<(WorkloadId, Assessment)> {
    let Outside { registry, pool, workloads, histories, clock } = outside;
    let asked = settings.at;
    let at = || asked.unwrap_or_else(|| clock.now());
    let mut state = State::new(settings);
    // Of a folder nobody can approve anything.
    state.proofs = match workloads {
        Some(_) => Proofs::taken_for_granted(),
        None => Proofs::closed(NO_VOTES),
    };
    // Namespaces first, so that no workload is read without its defaults.
    let (namespaces, others): (Vec<_>, Vec<_>) =
        changes.into_iter().partition(|change| matches!(change, ClusterChange::Namespace(_)));
    let (mut board, mut under_way) = (Board::default(), Vec::new());
    let moment = || Now { at: clock.now(), since: clock.monotonic() };
    for change in namespaces.into_iter().chain(others) {
        match change {
            ClusterChange::State(remembered, ..) => {
                _ = board.step(&remembered.workload.clone(), Event::Remembered(remembered), moment());
            }
            ClusterChange::StateUndecodable(id, why) => {
                _ = board.step(&id.clone(), Event::Undecodable(why), moment());
            }
            // How one stands in Git is seen there.
            ClusterChange::Record(tracked, ..)
                if matches!(tracked.phase, Phase::Progressing | Phase::RollingBack { .. })
                    || tracked.asked().is_some() =>
            {
                under_way.push(tracked);
            }
            change => state.change(change, clock.monotonic()),
        }
    }
    for id in board.ids() {
        let bars = board.record(id).map(Record::bars).unwrap_or_default();
        state.bar(id, bars, clock.monotonic());
    }
    let wanted: std::collections::BTreeSet<_> = state
        .effects()
        .into_iter()
        .filter_map(|effect| if let Effect::Look { source, .. } = effect { Some(source) } else { None })
        .collect();
    let mut wanted: Vec<Arc<_>> = wanted.into_iter().collect();
    let mut left = MOST_WAIT;
    while !wanted.is_empty() {
        let orders: Vec<_> = wanted.iter().filter_map(|source| state.order(source, usize::MAX, clock.now())).collect();
        let looks: Vec<_> = stream::iter(orders)
            .map(|order| look(registry, pool, Order { at: at(), ..order }))
            .buffer_unordered(CONCURRENT)
            .collect()
            .await;
        wanted.clear();
        let mut wait = Duration::ZERO;
        for looked in looks {
            if let Some(asked) = asked_to_wait(&looked).filter(|asked| *asked <= left) {
                wait = wait.max(asked);
                wanted.push(looked.source.clone());
            }
            // A failure is kept in the state and shown in the rows.
            let _ = state.looked(looked, clock.monotonic());
        }
        if !wanted.is_empty() {
            waiting(wait);
            clock.sleep_until(clock.monotonic() + wait).await;
            left -= wait;
        }
    }
    while let (Some(histories), Some(seen)) = (histories, state.histories.due(clock.monotonic())) {
        if let Err(error) = histories.add(&seen).await {
            tracing::warn!(repository = %seen.repository, why = %error, "when tags were first seen is not remembered");
        }
    }
    for id in state.workloads() {
        if let Some(entry) = state.entry(id) {
            board.step(id, Event::Seen(entry.workload.clone()), moment());
        }
    }
    for tracked in under_way {
        let id = tracked.update.workload.clone();
        if let Some(entry) = state.entry(&id) {
            board.step(&id, Event::Recorded(tracked, entry.workload.clone()), moment());
        }
    }
    let mut ids: Vec<WorkloadId> = state.workloads().cloned().collect();
    ids.sort_unstable();
    let mut all = Vec::new();
    for id in ids {
        let Some(mut assessment) = assess(&state, &board, &id, &source(&id), at()) else { continue };
        if assessment.must_read
            && let Some(workloads) = workloads
            && let Ok(Some(observed)) = workloads.get(&id).await
        {
            board.step(&id, Event::Observed(Ok(Some(observed)), judging(&state, &id)), moment());
            if let Some(again) = assess(&state, &board, &id, &source(&id), at()) {
                assessment = again;
            }
        }
        all.push((id, assessment));
    }
    let in_git = |assessment: &mut Assessment| assessment.plan.take_if(|plan| plan.update().route.target().is_some());
    let (rows, plans): (Vec<usize>, Vec<_>) =
        all.iter_mut().enumerate().filter_map(|(row, (_, assessment))| Some((row, in_git(assessment)?))).unzip();
    for (row, plan) in rows.into_iter().zip(among(&state, &board, plans, at())) {
        all[row].1.plan = Some(plan);
    }
    all
}

/// How long the registry asked to wait before it is asked again, if it did.
fn asked_to_wait(looked: &LookResult) -> Option<Duration> {
    let failures = match &looked.result {
        Err(error) => vec![error],
        Ok((_, answers)) => answers.iter().filter_map(|(_, answer)| answer.as_ref().err()).collect(),
    };
    let asked = failures.into_iter().filter_map(|error| Some(error.kind.wait()?.max(Duration::from_secs(1))));
    asked.max()
}
