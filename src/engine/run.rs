//! The operator's loop.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::sync::{mpsc, watch};

use super::{
    assess::{assess, confirm_reverted},
    inbox::Inbox,
    look::{Looked, look},
    queue::Queue,
    retry::Retries,
    state::{Effect, Settings, State},
    tell::Told,
};
use crate::{
    domain::{
        hint::Source,
        plan::{Approved, Plan},
        reason::Code,
        update::{Phase, Update, UpdateId},
        workload::WorkloadId,
    },
    metrics::{Metrics, TriggerLabels, UpdateLabels},
    ports::{
        Clock, ClusterChange, ClusterError, Events, Leadership, Observed, Outcome, Polling, Records, Registry,
        RegistryErrorKind, Sink, Workloads,
    },
};

/// Patches under way at once.
const WRITES: usize = 16;
/// How long a plan waits for the other looks of its workload: a repository that hangs must not hold up the rest.
const HELD: Duration = Duration::from_secs(10);
/// Changes of the cluster that are taken in before anything else gets its turn.
const BURST: usize = 256;

/// The outside world.
#[derive(Clone)]
#[expect(missing_docs, reason = "each field is the port of its name")]
pub struct Ports {
    pub registry: Arc<dyn Registry>,
    pub workloads: Arc<dyn Workloads>,
    pub sink: Arc<dyn Sink>,
    pub records: Arc<dyn Records>,
    pub events: Arc<dyn Events>,
    pub polling: Arc<dyn Polling>,
    pub leadership: Arc<dyn Leadership>,
    pub clock: Arc<dyn Clock>,
    pub metrics: Arc<Metrics>,
}

/// What comes in.
pub struct Inputs {
    /// The cluster's changes, in order.
    pub changes: mpsc::Receiver<ClusterChange>,
    /// Sources whose time has come.
    pub due: mpsc::Receiver<Source>,
    /// Hints of webhooks.
    pub inbox: Inbox,
    /// Settings, whenever the configuration is read anew.
    pub settings: watch::Receiver<Settings>,
    /// Told when the cluster has told of everything.
    pub ready: watch::Sender<bool>,
}

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
        waiting: VecDeque::new(),
        busy: HashMap::new(),
        look_retries: Retries::default(),
        write_retries: Retries::default(),
        not_written: HashMap::new(),
        held: Retries::default(),
        held_by: HashMap::new(),
        told: Told::new(&*ports.events, &ports.metrics),
        synced: false,
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
            Some(written) = engine.writes.next(), if !engine.writes.is_empty() => engine.written(written).await,
            Some((id, read)) = engine.reads.next(), if !engine.reads.is_empty() => engine.read(id, read),
            hint = inputs.inbox.next() => engine.state.hint(hint, ports.clock.monotonic()),
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
    let left = engine.waiting.len();
    engine.waiting.clear();
    tracing::info!(writes = engine.writes.len(), left, "stopping: writes under way are ended first");
    while let Some(written) = engine.writes.next().await {
        engine.written(written).await;
    }
}

type Written = (Update, Outcome);
type Read = (WorkloadId, Result<Option<Observed>, ClusterError>);

struct Engine<'p> {
    ports: &'p Ports,
    state: State,
    queue: Queue,
    looks: FuturesUnordered<BoxFuture<'p, Looked>>,
    reads: FuturesUnordered<BoxFuture<'p, Read>>,
    writes: FuturesUnordered<BoxFuture<'p, Written>>,
    /// Plans that wait for their turn: at most one a workload.
    waiting: VecDeque<Plan<Approved>>,
    /// Workloads with a plan or a reading under way, and whether they are to be assessed again after it.
    busy: HashMap<WorkloadId, bool>,
    look_retries: Retries<Arc<Source>>,
    /// Updates that were not written are tried again later; another update of that workload does not wait for it.
    write_retries: Retries<WorkloadId>,
    not_written: HashMap<WorkloadId, UpdateId>,
    /// Workloads whose plan waits for another look, and until when.
    held: Retries<WorkloadId>,
    /// For the end of which look each of them waits.
    held_by: HashMap<Arc<Source>, HashSet<WorkloadId>>,
    told: Told<'p>,
    synced: bool,
    inbox: Inbox,
    ready: watch::Sender<bool>,
}

impl<'p> Engine<'p> {
    fn now(&self) -> Duration {
        self.ports.clock.monotonic()
    }

    fn change(&mut self, change: ClusterChange) {
        match &change {
            ClusterChange::Synced => {
                self.synced = true;
                self.ready.send_replace(true);
                self.state.assess_all();
            }
            ClusterChange::Undecodable(id, why) => {
                self.told.undecodable(id, &self.state.uid(id), why);
            }
            _ => {}
        }
        self.state.change(change, self.now());
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
                    Effect::Look { source, urgent } => self.queue.push(&source, urgent, self.now()),
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
        while let Some(source) = self.queue.start() {
            match self.state.order(&source) {
                Some(order) => {
                    let Ports { registry, clock, .. } = self.ports;
                    self.looks.push(look(&**registry, &**clock, order).boxed());
                }
                None => self.ended(&source),
            }
        }
        while self.writes.len() < WRITES && self.ports.leadership.is_leader() {
            let Some(plan) = self.waiting.pop_front() else { break };
            let sink = self.ports.sink.clone();
            let update = plan.update().clone();
            let write = async move { (update, sink.apply(vec![plan]).await.pop().unwrap_or(Outcome::Gone)) };
            self.writes.push(write.boxed());
        }
        let metrics = &self.ports.metrics;
        metrics.workloads.set(i64::try_from(self.state.watched()).unwrap_or(i64::MAX));
        metrics.repositories.set(i64::try_from(self.state.source_count()).unwrap_or(i64::MAX));
        metrics.look_wait.set(self.queue.longest_wait(self.now()).as_secs_f64());
    }

    fn timer(&self) -> BoxFuture<'static, ()> {
        match [self.look_retries.next(), self.write_retries.next(), self.held.next()].into_iter().flatten().min() {
            Some(at) => self.ports.clock.sleep_until(at),
            None => futures::future::pending().boxed(),
        }
    }

    fn retry(&mut self) {
        let now = self.now();
        while let Some(source) = self.look_retries.due(now) {
            self.state.again_source(&source, now);
        }
        while let Some(id) = self.write_retries.due(now) {
            self.state.again(&id, now);
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
        let known = self.state.failure(&source).map(|error| error.kind);
        self.ended(&source);
        match self.state.looked(looked) {
            Ok(()) => self.look_retries.forget(&source),
            Err(error) => {
                let least = if let RegistryErrorKind::Limited(wait) = error.kind { wait } else { Duration::ZERO };
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
        self.write_retries.forget(id);
        self.not_written.remove(id);
        self.told.assessed(id, &Arc::default(), None);
        // A memory or a cluster forgets on its own; nothing waits for it.
        let _ = self.ports.records.forget(id).now_or_never();
    }

    /// Says what is to be said of a workload, and plans what is to be written.
    fn assess(&mut self, id: &WorkloadId) {
        if let Some(again) = self.busy.get_mut(id) {
            *again = true;
            return;
        }
        let Some(assessment) = assess(&self.state, id, "cluster", self.ports.clock.now()) else {
            self.told.assessed(id, &Arc::default(), None);
            return;
        };
        self.told.assessed(id, &self.state.uid(id), Some(&assessment));
        if assessment.must_read {
            if !self.write_retries.waits(id, self.now()) {
                self.read_again(id);
            }
        } else if let Some(plan) = assessment.plan {
            // All changes of a workload go into one patch: its other looks are waited for.
            let looking = self.state.sources_of(id).into_iter().find(|source| self.queue.holds(source));
            if let Some(source) = looking {
                if !self.held.knows(id) {
                    self.held.failed(id.clone(), self.now(), HELD, HELD, Duration::ZERO);
                }
                if self.held.waits(id, self.now()) {
                    self.held_by.entry(source).or_default().insert(id.clone());
                    return;
                }
            }
            self.held.forget(id);
            let waits = self.write_retries.waits(id, self.now()) && self.not_written.get(id) == Some(&plan.update().id);
            if !waits {
                self.busy.insert(id.clone(), false);
                self.waiting.push_back(plan);
            }
        } else {
            self.held.forget(id);
        }
    }

    fn read_again(&mut self, id: &WorkloadId) {
        self.busy.insert(id.clone(), false);
        let (workloads, id) = (self.ports.workloads.clone(), id.clone());
        self.reads.push(
            async move {
                let read = workloads.get(&id).await;
                (id, read)
            }
            .boxed(),
        );
    }

    fn read(&mut self, id: WorkloadId, read: Result<Option<Observed>, ClusterError>) {
        self.busy.remove(&id);
        match read {
            Ok(Some(observed)) => {
                confirm_reverted(&mut self.state, &id, &observed);
                self.state.change(ClusterChange::Workload(Box::new(observed.workload)), self.now());
                self.state.assess_later(&id);
            }
            Ok(None) => self.state.change(ClusterChange::WorkloadGone(id), self.now()),
            Err(error) => self.write_failed(&id, &error.to_string(), false),
        }
    }

    fn write_failed(&mut self, id: &WorkloadId, why: &str, refused: bool) {
        let seconds = Duration::from_secs;
        let (first, longest) = if refused { (seconds(60), seconds(3600)) } else { (seconds(2), seconds(300)) };
        self.write_retries.failed(id.clone(), self.now(), first, longest, Duration::ZERO);
        tracing::warn!(workload = %id, why, "not written; tried again later");
    }

    /// What came of a write: record it, tell people, or try again.
    async fn written(&mut self, (mut update, outcome): Written) {
        let id = update.workload.clone();
        let again = self.busy.remove(&id).unwrap_or_default();
        let label = match &outcome {
            Outcome::Applied { .. } => "applied",
            Outcome::Stale => "stale",
            Outcome::Gone => "gone",
            Outcome::Refused(_) => "refused",
            Outcome::Failed(_) => "failed",
        };
        let labels = UpdateLabels { kind: id.kind.as_str().to_owned(), outcome: label };
        self.ports.metrics.updates.get_or_create(&labels).inc();
        self.not_written.insert(id.clone(), update.id.clone());
        match outcome {
            Outcome::Applied { resource_version } => {
                self.write_retries.forget(&id);
                self.not_written.remove(&id);
                if let Some((trigger, at)) = self.state.applied(&update, &resource_version, self.now()) {
                    let seconds = self.now().saturating_sub(at).as_secs_f64();
                    let labels = TriggerLabels { trigger: trigger.as_str() };
                    self.ports.metrics.detect_to_apply.get_or_create(&labels).observe(seconds);
                }
                update.phase = Phase::Progressing;
                self.told.updated(&update, &self.state.uid(&id));
                if let Err(error) = self.ports.records.put(update).await {
                    tracing::error!(workload = %id, %error, "updated, but not recorded");
                }
            }
            Outcome::Stale => {
                let (first, longest) = (Duration::from_millis(100), Duration::from_secs(60));
                self.write_retries.failed(id.clone(), self.now(), first, longest, Duration::ZERO);
                self.read_again(&id);
            }
            Outcome::Gone => _ = self.not_written.remove(&id),
            Outcome::Refused(why) => {
                self.write_failed(&id, &why, true);
                self.told.refused(&update, &self.state.uid(&id), &why);
            }
            Outcome::Failed(why) => {
                self.write_failed(&id, &why, false);
                self.told.count(&id, Code::WriteFailed);
            }
        }
        if again {
            self.state.assess_later(&id);
        }
    }
}
