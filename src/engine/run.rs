//! The operator's loop: what comes in, what is started, and when; [`super::settle`] takes in what came of it.

use std::{
    collections::{HashMap, HashSet},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::sync::watch;

use super::{
    assess::assess,
    effect::Effect,
    inbox::Inbox,
    inputs::{Inputs, Ports},
    lines::{Lines, Way},
    look::{Looked, look_in_time},
    queue::{Queue, Start},
    retry::Retries,
    settle::{Read, Written, write},
    state::State,
    tell::Told,
};
use crate::{
    domain::{
        hint::Source,
        plan::{Approved, Plan},
        update::UpdateId,
        workload::WorkloadId,
    },
    metrics::HookLabels,
    ports::ClusterChange,
};

/// How long a plan waits for the other looks of its workload: a repository that hangs must not hold up the rest.
const HELD: Duration = Duration::from_secs(10);
/// Changes of the cluster that are taken in before anything else gets its turn.
const BURST: usize = 256;

/// Runs until `stop` is ready, and then until the writes under way have ended.
///
/// Nothing is looked at or written before the cluster has told of all its workloads and namespaces.
pub async fn run(ports: Ports, mut inputs: Inputs, stop: impl Future<Output = ()>) {
    let settings = inputs.settings.borrow_and_update().clone();
    let mut engine = Engine {
        ports: &ports,
        state: State::new(settings),
        queue: Queue::default(),
        looks: FuturesUnordered::new(),
        reads: FuturesUnordered::new(),
        writes: FuturesUnordered::new(),
        records: FuturesUnordered::new(),
        lines: Lines::default(),
        busy: HashMap::new(),
        look_retries: Retries::default(),
        write_retries: Retries::default(),
        not_written: HashMap::new(),
        held: Retries::default(),
        held_by: HashMap::new(),
        checks: Retries::default(),
        told: Told::new(&*ports.events, &ports.metrics),
        synced: false,
        is_partial: false,
        inbox: inputs.inbox.clone(),
        ready: inputs.ready,
    };
    let mut stop = pin!(stop);
    loop {
        engine.advance();
        let timer = engine.timer();
        tokio::select! {
            biased;
            () = &mut stop => break,
            Some(written) = engine.writes.next(), if !engine.writes.is_empty() => engine.written(written),
            Some(()) = engine.records.next(), if !engine.records.is_empty() => {}
            Some(read) = engine.reads.next(), if !engine.reads.is_empty() => engine.read(read),
            hint = inputs.inbox.next() => engine.state.hint(&hint, ports.clock.monotonic()),
            Some(looked) = engine.looks.next(), if !engine.looks.is_empty() => engine.looked(looked),
            change = inputs.changes.recv() => {
                let Some(change) = change else { break };
                engine.change(change);
                for _ in 0..BURST {
                    let Ok(change) = inputs.changes.try_recv() else { break };
                    engine.change(change);
                }
            }
            Some(source) = inputs.due.recv(), if engine.queue.has_room() => engine.state.due(&source, ports.clock.monotonic()),
            Ok(()) = inputs.settings.changed() => {
                let settings = inputs.settings.borrow_and_update().clone();
                engine.state.settings_changed(settings, ports.clock.monotonic());
            }
            () = timer => engine.retry(),
        }
    }
    inputs.inbox.close();
    let left = engine.lines.clear();
    tracing::info!(writes = engine.writes.len(), left, "stopping: writes under way are ended first");
    while let Some(written) = engine.writes.next().await {
        engine.written(written);
    }
    while let Some(()) = engine.records.next().await {}
}

pub(super) struct Engine<'p> {
    pub(super) ports: &'p Ports,
    pub(super) state: State,
    queue: Queue,
    looks: FuturesUnordered<BoxFuture<'p, Looked>>,
    pub(super) reads: FuturesUnordered<BoxFuture<'p, Read>>,
    writes: FuturesUnordered<BoxFuture<'p, Written>>,
    /// Records that are being written besides.
    pub(super) records: FuturesUnordered<BoxFuture<'p, ()>>,
    /// Workloads that wait for their turn to be written.
    pub(super) lines: Lines,
    /// Workloads that wait, or with a write or a reading under way, and whether they are to be assessed again after it.
    pub(super) busy: HashMap<WorkloadId, bool>,
    look_retries: Retries<Arc<Source>>,
    /// Updates that were not written are tried again later; another update of that workload does not wait for it.
    pub(super) write_retries: Retries<WorkloadId>,
    pub(super) not_written: HashMap<WorkloadId, UpdateId>,
    /// Workloads whose plan waits for another look, and until when.
    held: Retries<WorkloadId>,
    /// For the end of which look each of them waits.
    held_by: HashMap<Arc<Source>, HashSet<WorkloadId>>,
    /// Workloads whose update stands in Git: when it is next seen to.
    pub(super) checks: Retries<WorkloadId>,
    pub(super) told: Told<'p>,
    synced: bool,
    /// Whether something could not be read that may hold policies.
    is_partial: bool,
    inbox: Inbox,
    ready: watch::Sender<bool>,
}

impl<'p> Engine<'p> {
    pub(super) fn now(&self) -> Duration {
        self.ports.clock.monotonic()
    }

    fn change(&mut self, change: ClusterChange) {
        let is_synced = matches!(change, ClusterChange::Synced);
        match &change {
            ClusterChange::Synced => {
                self.synced = true;
                self.ready.send_replace(true);
            }
            ClusterChange::Partial => self.is_partial = true,
            ClusterChange::Undecodable(id, why) => {
                self.is_partial = true;
                self.told.undecodable(id, &self.state.uid(id), why, self.now());
            }
            _ => {}
        }
        self.state.change(change, self.now());
        if is_synced && self.state.watched() == 0 && !self.is_partial {
            tracing::warn!(
                "nothing has a policy, so nothing is watched: annotate a workload with supercargo.dev/policy"
            );
        }
    }

    /// Carries out effects until there are none, then starts what may start.
    fn advance(&mut self) {
        let mut assess = Vec::new();
        loop {
            let effects = self.state.effects();
            if effects.is_empty() {
                break;
            }
            for effect in effects {
                match effect {
                    Effect::Look { source, urgent } => {
                        let (sources, now) = (&self.state.sources, self.now());
                        self.queue.push(&source, sources.namespaces(&source), sources.size(&source), urgent, now);
                    }
                    Effect::Schedule { source, schedules } => {
                        if schedules.is_empty() {
                            self.look_retries.forget(&source);
                        }
                        self.ports.polling.set((*source).clone(), schedules);
                    }
                    Effect::Watched { repository, watched } => self.inbox.watch(&repository, watched),
                    Effect::Changed(id) => {
                        self.write_retries.forget(&id);
                        assess.push(id);
                    }
                    Effect::Assess(id) => assess.push(id),
                    Effect::Arrived(update) => self.arrived(update),
                    Effect::Lost { repository, sender, why } => {
                        tracing::warn!(%repository, sender, why, "given up waiting for what a webhook named");
                        let labels = HookLabels { sender, outcome: "not-found" };
                        self.ports.metrics.hooks.get_or_create(&labels).inc();
                    }
                    Effect::Forget(id) => self.forget(&id),
                }
            }
        }
        if !self.synced {
            return;
        }
        let mut done = HashSet::new();
        for id in assess {
            if done.insert(id.clone()) {
                self.assess(&id);
            }
        }
        while let Some(Start { source, namespace, size }) = self.queue.start() {
            match self.state.order(&source, size.room()) {
                Some(order) => {
                    let Ports { registry, pool, clock, .. } = self.ports;
                    let registry = registry.within(&namespace, order.room);
                    self.looks.push(look_in_time(registry, &**pool, &**clock, order).boxed());
                }
                None => self.ended(&source),
            }
        }
        if self.ports.leadership.is_leader() {
            self.write();
        }
        let metrics = &self.ports.metrics;
        metrics.workloads.set(i64::try_from(self.state.watched()).unwrap_or(i64::MAX));
        metrics.repositories.set(i64::try_from(self.state.sources.len()).unwrap_or(i64::MAX));
        metrics.registry_queue.set(self.queue.longest_wait(self.now()).as_secs_f64());
    }

    /// Starts the writes whose turn it is. Each is decided again: what was asked for may have changed while it waited.
    fn write(&mut self) {
        while let Some(id) = self.lines.cluster.next() {
            match self.ready(&id, &Way::Cluster) {
                Some(plan) => self.writes.push(write(self.ports, None, vec![plan]).boxed()),
                None => self.lines.cluster.ended(&id.namespace),
            }
        }
        let targets = self.state.settings.targets.clone();
        while let Some((way, ids)) = self.lines.ready(self.now(), |name| targets.batch_window(name)) {
            let plans: Vec<_> = ids.iter().filter_map(|id| self.ready(id, &way)).collect();
            if plans.is_empty() {
                way.target().into_iter().for_each(|target| self.lines.ended(target));
            } else {
                let plans = super::wishes::among(&self.state, plans, self.ports.clock.now());
                self.writes.push(write(self.ports, way.target().cloned(), plans).boxed());
            }
        }
    }

    /// The plan of a workload whose turn has come, if it still goes that way.
    fn ready(&mut self, id: &WorkloadId, way: &Way) -> Option<Plan<Approved>> {
        self.busy.remove(id);
        let plan = self.plan(id)?;
        self.busy.insert(id.clone(), false);
        let goes = Way::of(plan.update());
        if goes == *way {
            return Some(plan);
        }
        self.lines.push(goes, id.clone(), self.ports.clock.monotonic());
        None
    }

    fn timer(&self) -> BoxFuture<'static, ()> {
        let targets = &self.state.settings.targets;
        let window = self.lines.opens(|name| targets.batch_window(name));
        let retries = [self.look_retries.next(), self.write_retries.next(), self.held.next(), self.checks.next()];
        match retries.into_iter().chain([window, self.state.next()]).flatten().min() {
            Some(at) => self.ports.clock.sleep_until(at),
            None => futures::future::pending().boxed(),
        }
    }

    fn retry(&mut self) {
        let now = self.now();
        self.state.woke(now);
        while let Some(source) = self.look_retries.due(now) {
            self.state.again_source(&source, now);
        }
        while let Some(id) = self.write_retries.due(now) {
            self.state.again(&id, now);
        }
        while let Some(id) = self.checks.due(now) {
            self.state.assess_later(&id);
        }
        while let Some(id) = self.held.due(now) {
            self.state.assess_later(&id);
        }
    }

    /// A look has ended: plans that waited for it are thought of again, also if it brought nothing new.
    fn ended(&mut self, source: &Arc<Source>) {
        self.queue.ended(source);
        for id in self.held_by.remove(source).unwrap_or_default() {
            self.state.assess_later(&id);
        }
    }

    fn looked(&mut self, looked: Looked) {
        let (now, source) = (self.now(), looked.source.clone());
        let known = self.state.sources.failure(&source).map(|error| error.kind);
        self.ended(&source);
        match self.state.looked(looked, now) {
            Ok(()) => self.look_retries.forget(&source),
            Err(error) => {
                let least = error.kind.wait().unwrap_or_default();
                let (first, longest) = (Duration::from_secs(5), Duration::from_secs(300));
                self.look_retries.failed(source.clone(), now, first, longest, least);
                let (repository, code) = (&source.repository, error.kind.code().as_str());
                if known.is_some_and(|kind| kind.code() == error.kind.code()) {
                    tracing::debug!(%repository, code, %error, "look failed again");
                } else {
                    tracing::warn!(%repository, code, %error, "look failed");
                }
            }
        }
    }

    fn forget(&mut self, id: &WorkloadId) {
        self.held.forget(id);
        self.checks.forget(id);
        self.write_retries.forget(id);
        self.not_written.remove(id);
        self.told.assessed(id, &Arc::default(), None, self.now());
        // A memory or a cluster forgets on its own; nothing waits for it.
        let _ = self.ports.records.forget(id).now_or_never();
    }

    /// Says what is to be said of a workload, and lines it up if something is to be written.
    fn assess(&mut self, id: &WorkloadId) {
        if let Some(again) = self.busy.get_mut(id) {
            *again = true;
            return;
        }
        let Some(plan) = self.plan(id) else { return self.held.forget(id) };
        if !self.is_held(id) {
            self.busy.insert(id.clone(), false);
            self.lines.push(Way::of(plan.update()), id.clone(), self.now());
        }
    }

    /// Says what is to be said of a workload; its plan, if it may be written now.
    fn plan(&mut self, id: &WorkloadId) -> Option<Plan<Approved>> {
        let assessment = assess(&self.state, id, "cluster", self.ports.clock.now());
        self.told.assessed(id, &self.state.uid(id), assessment.as_ref(), self.now());
        let wanted = assessment.as_ref().and_then(|assessment| Some(assessment.plan.as_ref()?.update().id.clone()));
        self.state.wants(id, wanted.as_ref());
        let assessment = assessment?;
        let waits = self.write_retries.waits(id, self.now()) || self.checks.waits(id, self.now());
        if assessment.must_read && !waits {
            self.read_again(id);
        }
        // Another update than the one that failed need not wait.
        assessment.plan.filter(|plan| !waits || self.not_written.get(id) != Some(&plan.update().id))
    }

    /// Whether a workload's plan waits for its other looks: all changes of a workload go into one patch.
    fn is_held(&mut self, id: &WorkloadId) -> bool {
        if let Some(source) = self.state.sources_of(id).into_iter().find(|source| self.queue.holds(source)) {
            if !self.held.knows(id) {
                self.held.failed(id.clone(), self.now(), HELD, HELD, Duration::ZERO);
            }
            if self.held.waits(id, self.now()) {
                self.held_by.entry(source).or_default().insert(id.clone());
                return true;
            }
        }
        self.held.forget(id);
        false
    }
}
