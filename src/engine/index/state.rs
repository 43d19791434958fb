//! The index: every workload with its rule, every source with the workloads that use it.
//!
//! No await and no I/O: changes go in, and what is to be done comes out as [`Effect`]s. `run` carries them out as
//! the operator does, `survey` once for a command.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;

use crate::{
    domain::{
        guard::min_interval,
        hint::{Source, Trigger},
        hours::Calendar,
        update::{Update, Written},
        workload::{Application, Workload, WorkloadId},
    },
    engine::{
        index::{
            ballots::Ballots,
            effect::Effect,
            entry::WorkloadEntry,
            hints::Hints,
            histories::Histories,
            namespace::{Namespace, rule},
            openings::Openings,
            proofs::Proofs,
            settings::Settings,
            sources::Sources,
        },
        look::question::{Answered, LookResult, Order, Question, Questions, trimmed},
    },
    ports::{ClusterChange, NamespaceDefaults, RegistryError, RegistryErrorKind},
};

/// Everything the engine knows.
pub(crate) struct State {
    pub(crate) settings: Settings,
    pub(crate) namespaces: HashMap<Arc<str>, Namespace>,
    /// Instance labels, and the Applications of Argo CD that each may mean.
    pub(super) claims: HashMap<String, Vec<Application>>,
    /// Whether the cluster has told of everything.
    pub(super) synced: bool,
    pub(crate) sources: Sources,
    pub(super) hints: Hints,
    pub(crate) histories: Histories,
    /// What is too young.
    pub(crate) ages: Openings<Arc<Source>>,
    /// What is outside its hours.
    pub(crate) hours: Openings<WorkloadId>,
    pub(crate) calendar: Calendar,
    /// Until when people are waited for.
    pub(crate) deadlines: Openings<WorkloadId>,
    pub(crate) proofs: Proofs,
    pub(crate) ballots: Ballots,
    /// Workloads that a policy applies to.
    watched: usize,
    pub(crate) effects: Vec<Effect>,
}

impl State {
    /// Knows nothing yet.
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            namespaces: HashMap::new(),
            claims: HashMap::new(),
            synced: false,
            sources: Sources::default(),
            hints: Hints::default(),
            histories: Histories::default(),
            ages: Openings::default(),
            hours: Openings::default(),
            calendar: Calendar::default(),
            deadlines: Openings::default(),
            proofs: Proofs::default(),
            ballots: Ballots::default(),
            watched: 0,
            effects: Vec::new(),
        }
    }

    /// What is to be done since this was last called.
    pub(crate) fn effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Every workload that is known.
    pub(crate) fn workloads(&self) -> impl Iterator<Item = &WorkloadId> {
        self.namespaces.values().flat_map(|namespace| namespace.workloads.keys())
    }

    /// How many workloads a policy applies to.
    pub(crate) fn watched(&self) -> usize {
        self.watched
    }

    /// A workload's uid; empty if it is not known.
    pub(crate) fn uid(&self, id: &WorkloadId) -> Arc<str> {
        self.entry(id).map(|entry| entry.workload.uid.clone()).unwrap_or_default()
    }

    pub(crate) fn entry(&self, id: &WorkloadId) -> Option<&WorkloadEntry> {
        self.namespaces.get(&id.namespace)?.workloads.get(id).map(|entry| &**entry)
    }

    pub(crate) fn entry_mut(&mut self, id: &WorkloadId) -> Option<&mut WorkloadEntry> {
        self.namespaces.get_mut(&id.namespace)?.workloads.get_mut(id).map(|entry| &mut **entry)
    }

    /// Takes in what the cluster (or a folder) says. `now` is monotonic.
    pub(crate) fn change(&mut self, change: ClusterChange, now: Duration) {
        match change {
            ClusterChange::Workload(workload) => self.told(*workload, now),
            // What cannot be read any more must not be judged by what it said before.
            ClusterChange::WorkloadGone(id) | ClusterChange::Undecodable(id, _) => self.gone(&id, now),
            ClusterChange::Namespace(NamespaceDefaults { name, annotations }) => {
                let namespace = self.namespaces.entry(name.as_str().into()).or_default();
                if namespace.annotations.as_deref() != Some(&annotations) {
                    namespace.annotations = Some(Arc::new(annotations));
                    self.rule_again(&name, now);
                }
            }
            ClusterChange::NamespaceGone(name) => {
                let known = self.namespaces.get_mut(name.as_str());
                if known.is_some_and(|namespace| namespace.annotations.take().is_some()) {
                    self.rule_again(&name, now);
                    self.forget_namespace(&name);
                }
            }
            ClusterChange::Application(application) => self.claim(&application.id, Some(&application)),
            ClusterChange::ApplicationGone(id) => self.claim(&id, None),
            ClusterChange::Record(..) | ClusterChange::State(..) => {}
            ClusterChange::RecordUndecodable(..) | ClusterChange::StateUndecodable(..) => {}
            ClusterChange::History(repository, sightings) => self.remembered(repository, &sightings, now),
            ClusterChange::HistoryGone(repository) => self.remembered(repository, &[], now),
            ClusterChange::HistoriesKept(kept) => self.histories_kept(kept),
            ClusterChange::RecordsElsewhere | ClusterChange::Partial => {}
            ClusterChange::Forbidden(_) | ClusterChange::StatesUnread => {}
            ClusterChange::Rollout(..) | ClusterChange::Pods(..) | ClusterChange::Stuck(..) => {}
            ClusterChange::Review(..) | ClusterChange::ReviewGone(_) | ClusterChange::Policies(..) => {}
            ClusterChange::Synced => {
                self.synced = true;
                self.assess_all();
            }
        }
    }

    /// The cluster tells of a workload.
    fn told(&mut self, workload: Workload, now: Duration) {
        if self.entry_mut(&workload.id).is_none_or(|entry| entry.is_outdated_by(&workload)) {
            self.workload(Arc::new(workload), now);
        }
    }

    /// Takes in a workload that was read. That one comes or goes only the watch tells: a reading may be older.
    pub(crate) fn read(&mut self, workload: Workload, now: Duration) {
        if self.entry(&workload.id).is_some_and(|entry| entry.workload.uid == workload.uid) {
            self.change(ClusterChange::Workload(Box::new(workload)), now);
        }
    }

    /// Reads the rules of every workload again, after the settings changed.
    pub(crate) fn settings_changed(&mut self, settings: Settings, now: Duration) {
        self.settings = settings;
        let names: Vec<Arc<str>> = self.namespaces.keys().cloned().collect();
        for name in names {
            self.rule_again(&name, now);
        }
    }

    /// When something is next to be done that was put off.
    pub(crate) fn next(&self) -> Option<Duration> {
        [self.hints.next(), self.sources.next(), self.sources.outages.next()].into_iter().flatten().min()
    }

    /// Does what was put off until now.
    pub(crate) fn woke(&mut self, now: Duration) {
        while let Some((source, tag)) = self.hints.due(now) {
            self.sources.want(&source, Trigger::Webhook, tag, now, &mut self.effects);
        }
        self.sources.woke(now, &mut self.effects);
        while let Some(source) = self.sources.outages.due(now) {
            self.effects.extend(self.sources.users(&source).cloned().map(Effect::Assess));
        }
    }

    /// It is time to look.
    pub(crate) fn due(&mut self, source: &Source, now: Duration) {
        if let Some(source) = self.sources.find(source).cloned() {
            self.sources.want(&source, Trigger::Poll, None, now, &mut self.effects);
        }
    }

    /// Look again although nothing new is known, because something could not be done before.
    pub(crate) fn again(&mut self, id: &WorkloadId, now: Duration) {
        for source in self.sources_of(id) {
            self.sources.want_all(&source, now, &mut self.effects);
        }
    }

    /// Whether what is to be written with its digest was found so long ago.
    pub(crate) fn is_stale(&self, id: &WorkloadId, now: Duration, fresh: Duration) -> bool {
        self.entry(id).is_some_and(|entry| entry.is_stale(now, fresh))
    }

    /// Asks for an assessment of every workload.
    pub(crate) fn assess_all(&mut self) {
        let all = self.namespaces.values().flat_map(|namespace| namespace.workloads.keys());
        self.effects.extend(all.cloned().map(Effect::Assess));
    }

    /// What the look that starts now is to find out; `None` if nobody uses the source any more.
    pub(crate) fn order(&mut self, source: &Arc<Source>, room: usize, now: Timestamp) -> Option<Order> {
        let users = self.sources.users(source).filter_map(|id| self.entry(id));
        let mut questions = Questions::new();
        for entry in users {
            for question in entry.questions(source) {
                questions.entry(question.clone()).or_default().insert(entry.workload.id.namespace.clone());
            }
        }
        self.histories.asked(&source.repository, self.sources.namespaces(source).next());
        let history = self.histories.of(&source.repository);
        let order = self.sources.order(source, questions, room, history, now)?;
        self.hints.looking(source, order.hinted.is_empty());
        Some(order)
    }

    /// Takes in that an update was written, without waiting for the watch.
    pub(crate) fn applied(&mut self, update: &Update, written: &Written, now: Duration) {
        if let Some(workload) = self.entry_mut(&update.workload).and_then(|entry| entry.wrote(written)) {
            self.workload(Arc::new(workload), now);
        }
    }

    /// Takes in what a look brought.
    pub(crate) fn looked(&mut self, looked: LookResult, now: Duration) -> Result<(), RegistryError> {
        let source = looked.source;
        if matches!(&looked.result, Err(error) if error.kind == RegistryErrorKind::NoRoom) {
            self.sources.has_more(&source, &mut self.effects);
            return Ok(());
        }
        let was_left_out = self.sources.left_out(&source).is_some();
        let before = self.sources.snapshot(&source).unwrap_or_default();
        let Some(heard) = self.sources.looked(&source, looked.result) else { return Ok(()) };
        self.aged(&source, looked.seen, &heard.answers, now);
        self.seen(&source, &before, heard.outcome.is_ok(), now);
        self.sources.retry(&source, heard.outcome.as_ref().map(|_| ()), now);
        let back = self.sources.outages.looked(&source, heard.outcome.as_ref(), now);
        let reasons = self.settings.keep_reasons;
        let answers: HashMap<Arc<Question>, Arc<Answered>> =
            heard.answers.into_iter().map(|(question, answer)| (question, trimmed(answer, reasons))).collect();
        let mut unasked = false;
        let users: Vec<WorkloadId> = self.sources.users(&source).cloned().collect();
        for id in users {
            let namespace = self.namespaces.get_mut(&id.namespace);
            let Some(entry) = namespace.and_then(|namespace| namespace.workloads.get_mut(&id)) else { continue };
            let sources = heard.outcome.is_ok().then_some(&mut self.sources);
            let applied = entry.apply_answers(&source, &answers, sources, reasons, heard.hooked, now);
            unasked |= applied.unasked;
            if applied.news || heard.turned || back {
                entry.detected = heard.cause.or(entry.detected);
                self.effects.push(Effect::Assess(id));
            }
        }
        if unasked {
            let since = heard.cause.map_or(Duration::ZERO, |(_, at)| at);
            self.sources.answer_all(&source, heard.hooked, since, &mut self.effects);
        }
        // Not before what has been brought was compared with what is asked and what was hinted at.
        self.sources.make_room();
        let mut turned = std::mem::take(&mut self.sources.dropped);
        if was_left_out && self.sources.left_out(&source).is_none() {
            turned.push(source);
        }
        for id in turned.iter().flat_map(|source| self.sources.users(source)) {
            self.effects.push(Effect::Assess(id.clone()));
        }
        heard.outcome
    }

    /// The sources that a workload uses.
    pub(crate) fn sources_of(&self, id: &WorkloadId) -> BTreeSet<Arc<Source>> {
        self.entry(id).map(WorkloadEntry::sources).unwrap_or_default()
    }

    fn rule_again(&mut self, namespace: &str, now: Duration) {
        let Some(namespace) = self.namespaces.get(namespace) else { return };
        let workloads: Vec<Arc<Workload>> = namespace.workloads.values().map(|entry| entry.workload.clone()).collect();
        for workload in workloads {
            self.workload(workload, now);
        }
    }

    /// A workload is new or has changed, or what applies to it has.
    pub(crate) fn workload(&mut self, workload: Arc<Workload>, now: Duration) {
        let id = workload.id.clone();
        let namespace = self.namespaces.entry(id.namespace.clone()).or_default();
        let old = namespace.workloads.remove(&id);
        let kept = old.as_deref().and_then(|old| old.bars.rule.as_ref());
        let mut rule = rule(&workload, kept, namespace.annotations.as_deref(), &self.settings);
        let before = namespace.watched;
        namespace.count(old.as_deref(), &id, &mut rule);
        let room = if namespace.watched < before { namespace.next_over() } else { None };
        let mut entry = Box::new(WorkloadEntry::new(workload, rule, old.as_deref()));
        entry.ask(old.as_deref(), &mut self.sources, &self.settings.operator_serves, self.settings.keep_reasons);

        let (before, after) = (old.as_deref().map(WorkloadEntry::sources).unwrap_or_default(), entry.sources());
        for source in before.difference(&after) {
            if self.sources.leave(source, &id, &mut self.effects) {
                self.ages.set(source, None);
                self.hints.leave(source);
            }
        }
        for source in &after {
            self.sources.join(source, &id, &entry.rule.schedule, &mut self.effects);
        }
        let interval = min_interval(&self.settings.guards, &id.namespace, self.settings.poll_interval).0;
        for source in entry.open() {
            self.sources.want_anew(&source, &id.namespace, interval, now, &mut self.effects);
        }
        self.watched += usize::from(entry.rule.watched);
        self.watched -= usize::from(old.is_some_and(|old| old.rule.watched));
        namespace.workloads.insert(id.clone(), entry);
        self.effects.push(Effect::Changed(id));
        if let Some(next) = room {
            self.admit(next, now);
        }
    }

    /// Takes in what was left alone, one after the other, until the next has no room.
    fn admit(&mut self, mut next: Arc<Workload>, now: Duration) {
        loop {
            let id = next.id.clone();
            self.workload(next, now);
            let Some(namespace) = self.namespaces.get(&id.namespace) else { return };
            let Some(more) = namespace.next_over().filter(|_| !namespace.over.contains(&id)) else { return };
            next = more;
        }
    }

    fn gone(&mut self, id: &WorkloadId, now: Duration) {
        let Some(namespace) = self.namespaces.get_mut(&id.namespace) else { return };
        let Some(entry) = namespace.workloads.remove(id) else { return };
        self.watched -= usize::from(entry.rule.watched);
        namespace.watched -= entry.rule.watches();
        namespace.over.remove(id);
        let room = namespace.next_over();
        for source in entry.sources() {
            if self.sources.leave(&source, id, &mut self.effects) {
                self.ages.set(&source, None);
                self.hints.leave(&source);
            }
        }
        self.hours.set(id, None);
        self.forget_namespace(&id.namespace);
        self.effects.push(Effect::Forget(id.clone()));
        if let Some(next) = room {
            self.admit(next, now);
        }
    }

    /// If the cluster has not told of it and nothing is in it.
    fn forget_namespace(&mut self, name: &str) {
        if self.namespaces.get(name).is_some_and(|n| n.annotations.is_none() && n.workloads.is_empty()) {
            self.namespaces.remove(name);
        }
    }
}
