//! What the loop does: it carries out what the state and the board want done, and takes in what came of it.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::sync::watch;

use crate::{
    domain::{
        hint::Source,
        history::{Seen, Sighting},
        target::Route,
        update::{Act, Change, Event, News, Now, Tracked},
        votes::Review,
        wish::Wish,
        workload::{Observed, WorkloadId},
    },
    engine::{
        index::{effect::Effect, settings::Settings, state::State},
        inputs::{Inputs, Ports},
        look::{
            inbox::Inbox,
            look_in_time,
            question::LookResult,
            queue::{Queue, Start},
        },
        report::announce::Told,
        updates::{
            board::{Acts, Board},
            ledger::Ledger,
            turn::{Batch, Ended, SinkAnswer},
            write_queue::WriteQueue,
            writing::{Entry, StoreAnswer, Writing},
        },
        wishes::among,
    },
    metrics::{HookLabels, TriggerLabels, UpdateLabels},
    ports::{ClusterChange, ClusterError, Proof, PutError, Version},
};

/// A workload, a change of its images, and whether the registry refuses the new one.
pub(super) type Pulled = (WorkloadId, Box<Change>, bool);

/// A namespace, when it was asked whether it is sure who votes there (monotonic), and what was found out.
pub(super) type Proved = (Arc<str>, Duration, Proof);

/// A wish for a workload, and what an update had set that it names.
pub(super) type Aimed = (WorkloadId, Box<Wish>, Result<Option<Vec<Change>>, String>);

/// What was to be remembered of a repository, and all that is.
pub(super) type Remembered = (Seen, Result<Vec<Sighting>, PutError>);

/// A workload, and what a reading of it brought.
type Read = (WorkloadId, Result<Option<Observed>, ClusterError>);

pub(super) struct Engine<'p> {
    pub(super) ports: &'p Ports,
    pub(super) state: State,
    pub(super) board: Board,
    pub(super) queue: Queue,
    pub(super) looks: FuturesUnordered<BoxFuture<'p, LookResult>>,
    pub(super) reads: FuturesUnordered<BoxFuture<'p, Read>>,
    pub(super) writes: FuturesUnordered<BoxFuture<'p, Ended>>,
    /// What is asked of images that cannot be pulled.
    pub(super) pulls: FuturesUnordered<BoxFuture<'p, Pulled>>,
    /// What people wish for, which is being found out, or waits until all is known.
    pub(super) aims: FuturesUnordered<BoxFuture<'p, Aimed>>,
    pub(super) wishes: Vec<(WorkloadId, Box<Wish>)>,
    /// Whether it is sure who votes, which is being found out.
    pub(super) proofs: FuturesUnordered<BoxFuture<'p, Proved>>,
    /// Votes that are being deleted.
    pub(super) discards: FuturesUnordered<BoxFuture<'p, ()>>,
    /// Votes that are to be deleted.
    pub(super) surplus: VecDeque<Review>,
    /// Workloads of which people are asked about an update.
    pub(super) asked: HashSet<WorkloadId>,
    /// Since when what people approved might go, if all else is sure (monotonic).
    pub(super) reached: HashMap<WorkloadId, Duration>,
    /// What is being remembered.
    pub(super) records: FuturesUnordered<BoxFuture<'p, (Writing, StoreAnswer)>>,
    /// What is being remembered of when tags were first seen.
    pub(super) histories: FuturesUnordered<BoxFuture<'p, Remembered>>,
    pub(super) ledger: Ledger,
    /// What was remembered of updates that have not ended, until all workloads are known.
    pub(super) found: Vec<(Box<Tracked>, Version)>,
    /// Workloads that wait for their turn to be written.
    pub(super) write_queue: WriteQueue,
    /// Workloads that are to be decided about.
    undecided: Vec<WorkloadId>,
    pub(super) told: Told<'p>,
    pub(super) synced: bool,
    /// Whether something could not be read that may hold policies.
    is_partial: bool,
    inbox: Inbox,
    pub(super) leader: watch::Receiver<bool>,
    ready: watch::Sender<bool>,
}

impl<'p> Engine<'p> {
    pub(super) fn new(ports: &'p Ports, settings: Settings, inputs: &Inputs) -> Self {
        Self {
            ports,
            state: State::new(settings),
            board: Board::default(),
            queue: Queue::default(),
            looks: FuturesUnordered::new(),
            reads: FuturesUnordered::new(),
            writes: FuturesUnordered::new(),
            pulls: FuturesUnordered::new(),
            aims: FuturesUnordered::new(),
            wishes: Vec::new(),
            proofs: FuturesUnordered::new(),
            discards: FuturesUnordered::new(),
            surplus: VecDeque::new(),
            asked: HashSet::new(),
            reached: HashMap::new(),
            records: FuturesUnordered::new(),
            histories: FuturesUnordered::new(),
            ledger: Ledger::default(),
            found: Vec::new(),
            write_queue: WriteQueue::default(),
            undecided: Vec::new(),
            told: Told::new(&*ports.events, &ports.metrics),
            synced: false,
            is_partial: false,
            inbox: inputs.inbox.clone(),
            leader: inputs.leader.clone(),
            ready: inputs.ready.clone(),
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.ports.clock.monotonic()
    }

    pub(super) fn moment(&self) -> Now {
        Now { at: self.ports.clock.now(), since: self.now() }
    }

    pub(super) fn change(&mut self, change: ClusterChange) {
        let is_synced = matches!(change, ClusterChange::Synced);
        let Some(change) = self.remembered_before(change).and_then(|change| self.voted(change)) else { return };
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
        if is_synced {
            self.recover();
            self.recount_all();
            self.wish_all();
        }
        if is_synced && self.state.watched() == 0 && !self.is_partial {
            tracing::warn!(
                "nothing has a policy, so nothing is watched: annotate a workload with supercargo.dev/policy"
            );
        }
    }

    /// Carries out effects and decides until nothing more follows, then starts what may start.
    pub(super) fn advance(&mut self) {
        loop {
            self.effects();
            if !self.synced {
                self.undecided.clear();
                return;
            }
            let undecided = std::mem::take(&mut self.undecided);
            if undecided.is_empty() {
                break;
            }
            let mut decided = HashSet::new();
            for id in undecided {
                if !decided.contains(&id) {
                    self.decide(&id);
                    decided.insert(id);
                }
            }
        }
        while let Some(Start { source, namespace, size }) = self.queue.start() {
            match self.state.order(&source, size.room(), self.ports.clock.now()) {
                Some(order) => {
                    let Ports { registry, pool, clock, .. } = self.ports;
                    let registry = registry.within(&namespace, order.room);
                    self.looks.push(look_in_time(registry, &**pool, &**clock, order).boxed());
                }
                None => self.look_ended(&source),
            }
        }
        if *self.leader.borrow_and_update() {
            self.write();
            self.remember_histories();
            self.prove();
        }
        self.remember();
        let metrics = &self.ports.metrics;
        metrics.workloads.set(i64::try_from(self.state.watched()).unwrap_or(i64::MAX));
        metrics.repositories.set(i64::try_from(self.state.sources.len()).unwrap_or(i64::MAX));
        metrics.holds.set(i64::try_from(self.board.holds()).unwrap_or(i64::MAX));
        metrics.registry_queue.set(self.queue.longest_wait(self.now()).as_secs_f64());
    }

    /// Carries out what the state wants done.
    pub(super) fn effects(&mut self) {
        loop {
            let effects = self.state.effects();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                match effect {
                    Effect::Look { source, urgent } => {
                        let (sources, now) = (&self.state.sources, self.now());
                        self.queue.push(&source, sources.namespaces(&source), sources.size(&source), urgent, now);
                    }
                    Effect::Schedule { source, schedules } => self.ports.polling.set((*source).clone(), schedules),
                    Effect::Watched { repository, watched } => self.inbox.watch(&repository, watched),
                    Effect::Changed(id) => {
                        if let Some(workload) = self.state.entry(&id).map(|entry| entry.workload.clone()) {
                            self.step(&id, Event::Seen(workload));
                            self.ruled(&id);
                        }
                    }
                    Effect::Assess(id) => self.step(&id, Event::Asked),
                    Effect::Lost { repository, sender, why } => {
                        self.told.lost(&repository, sender, &why, self.now());
                        let labels = HookLabels { sender, outcome: "not-found" };
                        self.ports.metrics.hooks.get_or_create(&labels).inc();
                    }
                    Effect::Forget(id) => self.forget(id),
                }
            }
        }
    }

    /// Lets something happen to a workload, and does what follows.
    pub(super) fn step(&mut self, id: &WorkloadId, event: Event) {
        let acts = self.board.step(id, event, self.moment());
        self.perform(acts);
    }

    pub(super) fn perform(&mut self, acts: Acts) {
        for (id, act) in acts {
            match act {
                Act::Decide => self.undecided.push(id),
                Act::Queue(route) => self.write_queue.push(route, id, self.now()),
                Act::Look => self.state.again(&id, self.now()),
                Act::Follow(is_followed) => self.follow(&id, is_followed),
                Act::Free(failed) => self.ports.rollouts.free(&id, failed),
                Act::Aim(wish) => self.aim(id, wish),
                Act::AskPull(item) => self.ask_pull(id, *item),
                Act::Keep(changes) => self.state.keep(&id, changes, self.now()),
                Act::Bar(bars) => self.bar(&id, *bars),
                Act::Read => self.read(id),
                Act::Save(tracked) => {
                    if tracked.phase.is_over() {
                        self.state.ballots.close(&id, Some(&tracked.update.id));
                    }
                    self.save(Entry::Update(tracked));
                }
                Act::SaveState(state) => self.save(Entry::State(Box::new(state))),
                Act::Announce(news) => self.announce(&id, news),
                Act::Unexpected(what) => tracing::error!(workload = %id, what, "this is a fault of supercargo"),
                // Only a turn leads to these, which has the plan (`turn`).
                Act::Write | Act::Check | Act::Rehearse => {}
            }
        }
    }

    /// Starts the writes whose turn it is.
    fn write(&mut self) {
        while let Some(id) = self.write_queue.cluster.next() {
            if !self.turn(Route::Cluster, std::slice::from_ref(&id)) {
                self.write_queue.cluster.ended(&id.namespace);
            }
        }
        let targets = self.state.settings.targets.clone();
        while let Some((route, ids)) = self.write_queue.ready(self.now(), |name| targets.batch_window(name)) {
            if !self.turn(route.clone(), &ids) {
                route.target().into_iter().for_each(|target| self.write_queue.ended(target));
            }
        }
    }

    /// Starts what of these is still to be written or checked; whether there is anything. Each is decided again: what was
    /// asked for may have changed while it waited.
    fn turn(&mut self, route: Route, ids: &[WorkloadId]) -> bool {
        let mut batch = Batch::default();
        for id in ids {
            let (proposal, plan, _) = self.proposal(id);
            let acts = self.board.step(id, Event::Turn(route.clone(), proposal), self.moment());
            batch.take(id, plan, &acts);
            self.perform(acts);
        }
        if batch.is_empty() {
            return false;
        }
        if route.target().is_some() {
            let now = self.ports.clock.now();
            batch = batch.with(|plans| among(&self.state, &self.board, plans, now));
        }
        self.writes.push(batch.end(route, self.ports.sink.clone(), self.ports.workloads.clone()).boxed());
        true
    }

    /// A batch has ended.
    pub(super) fn written(&mut self, (route, ended): Ended) {
        if let Some(target) = route.target() {
            self.write_queue.ended(target);
        }
        for (update, answer) in ended {
            let id = &update.workload;
            let mut written = None;
            if let SinkAnswer::Written(outcome) = &answer {
                if route == Route::Cluster {
                    self.write_queue.cluster.ended(&id.namespace);
                }
                let labels = UpdateLabels { kind: id.kind.as_str().to_owned(), outcome: outcome.label() };
                self.ports.metrics.updates.get_or_create(&labels).inc();
                written = outcome.written().cloned();
            } else if matches!(answer, SinkAnswer::Rehearsed(_)) && route == Route::Cluster {
                self.write_queue.cluster.ended(&id.namespace);
            }
            self.step(id, answer.event(&update));
            if let Some(written) = written {
                if update.puts_back.is_none() {
                    self.observe(id);
                }
                self.state.applied(&update, &written, self.now());
            }
        }
    }

    fn announce(&mut self, id: &WorkloadId, mut news: News) {
        match &mut news {
            News::Committed(..) => self.observe(id),
            News::Refused(_, why) | News::Failed(_, why) => {
                tracing::warn!(workload = %id, why, "not written; tried again later");
            }
            News::Updated(_) | News::Rollout(..) | News::ApprovalNeeded(..) | News::Refusal(..) => {}
            News::Held(_, hold) => hold.in_memory = self.ports.records.is_in_memory(id),
            News::TakenAway(..) | News::Stopped(..) => {}
        }
        self.told.news(&news, &self.state.uid(id));
    }

    /// Measures the time since what made us look.
    fn observe(&self, id: &WorkloadId) {
        if let Some((trigger, at)) = self.state.entry(id).and_then(|entry| entry.detected) {
            let seconds = self.now().saturating_sub(at).as_secs_f64();
            let labels = TriggerLabels { trigger: trigger.as_str() };
            self.ports.metrics.detect_to_apply.get_or_create(&labels).observe(seconds);
        }
    }

    fn look_ended(&mut self, source: &Arc<Source>) {
        self.queue.ended(source);
        let acts = self.board.looked(source, self.moment());
        self.perform(acts);
    }

    pub(super) fn looked(&mut self, looked: LookResult) {
        let source = looked.source.clone();
        let known = self.state.sources.failure(&source).map(|error| error.kind);
        self.look_ended(&source);
        if let Err(error) = self.state.looked(looked, self.now()) {
            let (repository, code) = (&source.repository, error.kind.code().as_str());
            if known.is_some_and(|kind| kind.code() == error.kind.code()) {
                tracing::debug!(%repository, code, %error, "look failed again");
            } else {
                tracing::warn!(%repository, code, %error, "look failed");
            }
        }
    }
}
