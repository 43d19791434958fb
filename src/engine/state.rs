//! The index: every workload with its rule, every source with the workloads that use it.
//!
//! No await and no I/O: changes go in, and what is to be done comes out as [`Effect`]s. `run` carries them out as
//! the operator does, `survey` once for a command.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use super::look::{Answer, Answered, Looked, Order, Question, Snapshot, answer_from};
use crate::{
    domain::{
        annotations::{Pin, RuleSettings, Watch, WorkloadRule, rules},
        guard::Guard,
        hint::{Credentials, Hint, PullSecrets, Source, Trigger},
        image::{ImageRef, Repository, Tag},
        keel::KeelMode,
        policy::NamedPolicies,
        poll::Schedule,
        update::{Change, LastUpdate, Update},
        workload::{Container, Workload, WorkloadId},
    },
    ports::{ClusterChange, RegistryError},
};

/// Whether the operator's own credentials for a repository's host may serve a namespace.
pub type OperatorServes = Arc<dyn Fn(&Repository, &str) -> bool + Send + Sync>;

/// What the engine is told at the start, and whenever the configuration is read anew.
#[derive(Clone)]
pub struct Settings {
    /// How often to look where an annotation does not say.
    pub poll_interval: Duration,
    /// The policy files.
    pub named: Arc<NamedPolicies>,
    /// What to do with Keel's annotations.
    pub keel: KeelMode,
    /// Floors under all annotations.
    pub guards: Arc<[Guard]>,
    /// Nothing is changed.
    pub dry_run: bool,
    /// See [`OperatorServes`].
    pub operator_serves: OperatorServes,
    /// Whether a workload is left alone until its Namespace's defaults are known.
    pub await_namespaces: bool,
    /// Whether the reasons for single tags are kept (a command shows them, the operator does not).
    pub keep_reasons: bool,
}

/// What is to be done about a change.
#[derive(Debug)]
pub enum Effect {
    /// Look at this source, soon if urgent.
    Look {
        /// Which.
        source: Arc<Source>,
        /// Before what is only due.
        urgent: bool,
    },
    /// The source's schedules are these now.
    Schedule {
        /// Which.
        source: Arc<Source>,
        /// None if nobody uses it any more.
        schedules: Vec<Schedule>,
    },
    /// This repository is watched from now on, or is not.
    Watched {
        /// Which.
        repository: Repository,
        /// Whether it is.
        watched: bool,
    },
    /// A look or a reading brought something for this workload: assess it.
    Assess(WorkloadId),
    /// The workload itself or its rule has changed: assess it, and do not wait for what was refused before.
    Changed(WorkloadId),
    /// A workload is gone.
    Forget(WorkloadId),
}

/// Everything the engine knows.
pub struct State {
    pub(super) settings: Settings,
    namespaces: HashMap<String, Arc<BTreeMap<String, String>>>,
    // Boxed: a third of such a table's places is empty.
    pub(super) entries: HashMap<WorkloadId, Box<Entry>>,
    watched: usize,
    sources: HashMap<Arc<Source>, Known>,
    by_repository: HashMap<Repository, Vec<Arc<Source>>>,
    effects: Vec<Effect>,
}

/// A workload that has a rule.
pub(super) struct Entry {
    pub(super) workload: Arc<Workload>,
    pub(super) rule: WorkloadRule,
    /// Beside `rule.containers`.
    pub(super) slots: Vec<Slot>,
    /// What we set last, so that what another hand moved back is not set again.
    pub(super) applied: Vec<Change>,
    /// Targets that were moved back, and what is said about each.
    pub(super) reverted: Vec<(String, String)>,
    /// The version of our own last write.
    written: Arc<str>,
    /// What made us look last, and when (monotonic).
    pub(super) detected: Option<(Trigger, Duration)>,
}

/// What is asked for one container, and what is known.
#[derive(Default)]
pub(super) struct Slot {
    pub(super) source: Option<Arc<Source>>,
    pub(super) question: Option<Question>,
    /// Shared by all that ask the same.
    pub(super) answer: Option<Arc<Answered>>,
}

/// A source that somebody uses.
#[derive(Default)]
struct Known {
    users: HashSet<WorkloadId>,
    snapshot: Option<Arc<Snapshot>>,
    hinted: BTreeSet<Tag>,
    listing_wanted: bool,
    /// A question was not answered yet, or a look failed.
    ask_all: bool,
    /// What made us want the next look, and the one under way.
    wanted: Option<(Trigger, Duration)>,
    running: Option<(Trigger, Duration)>,
    failure: Option<RegistryError>,
}

impl State {
    /// Knows nothing yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            namespaces: HashMap::new(),
            entries: HashMap::new(),
            watched: 0,
            sources: HashMap::new(),
            by_repository: HashMap::new(),
            effects: Vec::new(),
        }
    }

    /// What is to be done since this was last called.
    pub fn effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Every workload that has a rule.
    pub fn workloads(&self) -> impl Iterator<Item = &WorkloadId> {
        self.entries.keys()
    }

    /// How many workloads a policy applies to.
    pub fn watched(&self) -> usize {
        self.watched
    }

    /// A workload's uid; empty if it is not known.
    pub fn uid(&self, id: &WorkloadId) -> Arc<str> {
        self.entries.get(id).map(|entry| entry.workload.uid.clone()).unwrap_or_default()
    }

    /// How many sources are in use.
    pub fn source_count(&self) -> usize {
        self.sources.len()
    }

    /// Takes in what the cluster (or a folder) says. `now` is monotonic.
    pub fn change(&mut self, change: ClusterChange, now: Duration) {
        match change {
            ClusterChange::Workload(workload) => {
                if self.is_news(&workload) {
                    self.workload(Arc::new(*workload), now);
                }
            }
            // What cannot be read any more must not be judged by what it said before.
            ClusterChange::WorkloadGone(id) | ClusterChange::Undecodable(id, _) => self.gone(&id),
            ClusterChange::Namespace(namespace) => {
                let changed = self.namespaces.get(&namespace.name).is_none_or(|old| **old != namespace.annotations);
                if changed {
                    self.namespaces.insert(namespace.name.clone(), Arc::new(namespace.annotations));
                    self.rule_again(&namespace.name, now);
                }
            }
            ClusterChange::NamespaceGone(name) => {
                if self.namespaces.remove(&name).is_some() {
                    self.rule_again(&name, now);
                }
            }
            ClusterChange::Synced => {}
        }
    }

    /// Reads the rules of every workload again, after the settings changed.
    pub fn settings_changed(&mut self, settings: Settings, now: Duration) {
        self.settings = settings;
        let workloads: Vec<Arc<Workload>> = self.entries.values().map(|entry| entry.workload.clone()).collect();
        for workload in workloads {
            self.workload(workload, now);
        }
    }

    /// A webhook says: look.
    pub fn hint(&mut self, hint: Hint, now: Duration) {
        for source in self.by_repository.get(&hint.repository).cloned().unwrap_or_default() {
            self.want(&source, Trigger::Webhook, hint.tag.clone(), now);
        }
    }

    /// It is time to look.
    pub fn due(&mut self, source: &Source, now: Duration) {
        let known = self.sources.get_key_value(source).map(|(source, _)| source.clone());
        if let Some(source) = known {
            self.want(&source, Trigger::Poll, None, now);
        }
    }

    /// Look again although nothing new is known, because something could not be done before.
    pub fn again(&mut self, id: &WorkloadId, now: Duration) {
        for source in self.sources_of(id) {
            self.want(&source, Trigger::Change, None, now);
            if let Some(known) = self.sources.get_mut(&source) {
                known.ask_all = true;
            }
        }
    }

    /// Looks again at a source that could not be read.
    pub fn again_source(&mut self, source: &Arc<Source>, now: Duration) {
        if let Some(known) = self.sources.get_mut(source) {
            known.ask_all = true;
            self.want(source, Trigger::Change, None, now);
        }
    }

    /// Asks for one more assessment.
    pub fn assess_later(&mut self, id: &WorkloadId) {
        self.effects.push(Effect::Assess(id.clone()));
    }

    /// Asks for an assessment of every workload.
    pub fn assess_all(&mut self) {
        self.effects.extend(self.entries.keys().cloned().map(Effect::Assess));
    }

    /// What the look that starts now is to find out; `None` if nobody uses the source any more.
    pub fn order(&mut self, source: &Arc<Source>) -> Option<Order> {
        let questions = self.questions(source);
        let known = self.sources.get_mut(source)?;
        let hinted = std::mem::take(&mut known.hinted);
        let listing = std::mem::take(&mut known.listing_wanted);
        known.running = known.wanted.take();
        Some(Order {
            source: source.clone(),
            hinted: if listing { BTreeSet::new() } else { hinted },
            questions,
            previous: known.snapshot.clone(),
            ask_all: std::mem::take(&mut known.ask_all),
        })
    }

    /// Takes in that an update was written, without waiting for the watch; says what made us look for it.
    pub fn applied(&mut self, update: &Update, version: &Arc<str>, now: Duration) -> Option<(Trigger, Duration)> {
        let entry = self.entries.get_mut(&update.workload)?;
        let detected = entry.detected;
        let mut workload = (*entry.workload).clone();
        workload.has_annotations = true;
        for change in &update.changes {
            let same = |c: &&mut Container| c.name == change.container && c.init == change.init;
            if let Some(container) = workload.containers.iter_mut().find(same) {
                container.image = change.to.to_string().into();
            }
            entry.applied.retain(|old| old.container != change.container || old.init != change.init);
            entry.applied.push(change.clone());
        }
        entry.written.clone_from(version);
        self.workload(Arc::new(workload), now);
        detected
    }

    /// Takes in what a look brought.
    pub fn looked(&mut self, looked: Looked) -> Result<(), RegistryError> {
        let Some(known) = self.sources.get_mut(&looked.source) else { return Ok(()) };
        let detected = known.running.take();
        let had_failed = known.failure.is_some();
        let (answers, outcome) = match looked.result {
            Ok((snapshot, answers)) => {
                known.snapshot = Some(snapshot);
                known.failure = None;
                known.ask_all |= answers.iter().any(|(_, answer)| answer.is_err());
                let unanswered = answers.iter().find_map(|(_, answer)| answer.as_ref().err().cloned());
                (answers, unanswered.map_or(Ok(()), Err))
            }
            Err(error) => {
                known.failure = Some(error.clone());
                known.ask_all = true;
                (Vec::new(), Err(error))
            }
        };
        let users: Vec<WorkloadId> = known.users.iter().cloned().collect();
        let keep_reasons = self.settings.keep_reasons;
        let answers: HashMap<Question, Arc<Answered>> =
            answers.into_iter().map(|(question, answer)| (question, kept(answer, keep_reasons))).collect();
        let mut unasked = false;
        for id in users {
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            let mut news = had_failed || outcome.is_err();
            for slot in entry.slots.iter_mut().filter(|slot| slot.source.as_ref() == Some(&looked.source)) {
                let Some(question) = &slot.question else { continue };
                if let Some(answer) = answers.get(question) {
                    news = true;
                    slot.answer = Some(answer.clone());
                } else if outcome.is_ok() && (slot.answer.is_none() || !answers.is_empty()) {
                    // The question came up while the look was under way, most often by our own update.
                    let snapshot = self.sources.get(&looked.source).and_then(|known| known.snapshot.as_ref());
                    match snapshot.and_then(|snapshot| answer_from(snapshot, question)) {
                        Some(answer) => (news, slot.answer) = (true, Some(kept(answer, keep_reasons))),
                        None => unasked = true,
                    }
                }
            }
            if news {
                entry.detected = detected.or(entry.detected);
                self.effects.push(Effect::Assess(id));
            }
        }
        if unasked {
            let source = looked.source;
            self.want(&source, Trigger::Change, None, detected.map_or(Duration::ZERO, |(_, at)| at));
            if let Some(known) = self.sources.get_mut(&source) {
                known.ask_all = true;
            }
        }
        outcome
    }

    /// Why the source of a container could not be read, if it could not.
    pub(super) fn failure(&self, source: &Arc<Source>) -> Option<&RegistryError> {
        self.sources.get(source)?.failure.as_ref()
    }

    /// The sources that a workload uses.
    pub fn sources_of(&self, id: &WorkloadId) -> BTreeSet<Arc<Source>> {
        let slots = self.entries.get(id).map(|entry| entry.slots.as_slice()).unwrap_or_default();
        slots.iter().filter_map(|slot| slot.source.clone()).collect()
    }

    fn rule_again(&mut self, namespace: &str, now: Duration) {
        let all = self.entries.values().map(|entry| &entry.workload);
        let workloads: Vec<Arc<Workload>> = all.filter(|one| *one.id.namespace == *namespace).cloned().collect();
        for workload in workloads {
            self.workload(workload, now);
        }
    }

    /// A workload is new or has changed, or what applies to it has.
    fn workload(&mut self, workload: Arc<Workload>, now: Duration) {
        let id = workload.id.clone();
        let old = self.entries.remove(&id);
        let same_object = old.as_ref().is_some_and(|old| old.workload.uid == workload.uid);
        let rule = self.rule(&workload);
        let mut entry = Box::new(Entry {
            slots: rule.containers.iter().map(|_| Slot::default()).collect(),
            applied: last_update(&workload),
            reverted: Vec::new(),
            written: "".into(),
            detected: None,
            workload,
            rule,
        });
        if let Some(old) = &old
            && same_object
        {
            // An undo of the rollout restores an old annotation, so what we remember counts first.
            if !old.applied.is_empty() {
                entry.applied.clone_from(&old.applied);
            }
            entry.reverted.clone_from(&old.reverted);
            entry.written.clone_from(&old.written);
            entry.detected = old.detected;
        }
        self.ask(&mut entry, old.as_deref());
        let before = old.as_deref().map(sources).unwrap_or_default();
        let after = sources(&entry);
        let schedule_changed = old.as_ref().map(|old| &old.rule.schedule) != Some(&entry.rule.schedule);
        let open: BTreeSet<Arc<Source>> = entry
            .slots
            .iter()
            .filter(|slot| slot.question.is_some() && slot.answer.is_none())
            .filter_map(|slot| slot.source.clone())
            .collect();
        self.watched += usize::from(entry.rule.watched);
        self.watched -= usize::from(old.as_ref().is_some_and(|old| old.rule.watched));
        self.entries.insert(id.clone(), entry);
        for source in before.difference(&after) {
            self.leave(source, &id);
        }
        for source in &after {
            self.join(source, &id);
            if schedule_changed || !before.contains(source) {
                self.reschedule(source);
            }
        }
        for source in &open {
            self.want(source, Trigger::Change, None, now);
            if let Some(known) = self.sources.get_mut(source) {
                known.ask_all = true;
            }
        }
        self.effects.push(Effect::Changed(id));
    }

    /// Whether a workload differs from what is known, and is not older than our own last write of it.
    fn is_news(&self, workload: &Workload) -> bool {
        let Some(entry) = self.entries.get(&workload.id) else { return true };
        let known = &entry.workload;
        // Resource versions of one kind compare as numbers (Kubernetes API concepts, "Resource versions").
        let version = |text: &str| text.parse::<u64>().ok();
        let read = version(&workload.resource_version);
        let older = known.uid == workload.uid && read.is_some() && read < version(&entry.written);
        let same = known.uid == workload.uid
            && known.annotations == workload.annotations
            && known.labels == workload.labels
            && known.has_annotations == workload.has_annotations
            && known.containers == workload.containers
            && known.owner == workload.owner
            && known.pull_secrets == workload.pull_secrets;
        !same && !older
    }

    fn rule(&self, workload: &Workload) -> WorkloadRule {
        let namespace = self.namespaces.get(&*workload.id.namespace);
        if self.settings.await_namespaces && namespace.is_none() {
            return unwatched();
        }
        let settings = RuleSettings {
            default_poll: self.settings.poll_interval,
            named: &self.settings.named,
            keel: self.settings.keel,
            guards: &self.settings.guards,
        };
        rules(workload, namespace.map(|annotations| &**annotations), &settings)
    }

    /// Fills the slots: what each container asks, and the answer where the same was asked before.
    fn ask(&self, entry: &mut Entry, old: Option<&Entry>) {
        if !entry.rule.problems.is_empty() {
            return;
        }
        let keep = |answer| kept(answer, self.settings.keep_reasons);
        for (container, slot) in entry.rule.containers.iter().zip(&mut entry.slots) {
            let (Watch::Watched { policy, pin }, Some(image)) = (&container.state, &container.parsed) else { continue };
            let pinned = match pin {
                Pin::Keep => image.digest.is_some(),
                Pin::Tag => false,
                Pin::Digest => true,
            };
            let question =
                Question { policy: policy.clone(), tag: image.tag.clone(), digest: image.digest.clone(), pinned };
            let needs = policy.needs();
            if !needs.listing && !needs.digest_of_current {
                // `never` asks nothing of a registry.
                slot.answer = answer_from(&Snapshot::default(), &question).map(keep);
                slot.question = Some(question);
                continue;
            }
            let source = self.source(&entry.workload, image);
            let before =
                old.into_iter().flat_map(|old| &old.slots).filter(|slot| slot.source.as_ref() == Some(&source));
            for before in before {
                if before.question.as_ref() == Some(&question) {
                    slot.answer.clone_from(&before.answer);
                } else if before.question.as_ref().is_some_and(|before| before.policy == question.policy) {
                    // Only the image changed, most often by our own hand: what the last look brought will do,
                    // unless there would be something to write.
                    let snapshot = self.sources.get(&source).and_then(|known| known.snapshot.as_ref());
                    slot.answer = snapshot.and_then(|snapshot| answer_from(snapshot, &question)).map(keep);
                }
            }
            slot.source = Some(source);
            slot.question = Some(question);
        }
    }

    fn source(&self, workload: &Workload, image: &ImageRef) -> Arc<Source> {
        let namespace = &workload.id.namespace;
        let secrets = (!workload.pull_secrets.is_empty())
            .then(|| PullSecrets { namespace: namespace.clone(), names: workload.pull_secrets.clone() });
        let operator = (self.settings.operator_serves)(&image.repository, namespace);
        let source = Source { repository: image.repository.clone(), credentials: Credentials { secrets, operator } };
        match self.sources.get_key_value(&source) {
            Some((known, _)) => known.clone(),
            None => Arc::new(source),
        }
    }

    fn gone(&mut self, id: &WorkloadId) {
        if let Some(entry) = self.entries.remove(id) {
            self.watched -= usize::from(entry.rule.watched);
            for source in sources(&entry) {
                self.leave(&source, id);
            }
            self.effects.push(Effect::Forget(id.clone()));
        }
    }

    fn join(&mut self, source: &Arc<Source>, id: &WorkloadId) {
        let known = self.sources.entry(source.clone()).or_default();
        known.users.insert(id.clone());
        let same_repository = self.by_repository.entry(source.repository.clone()).or_default();
        if !same_repository.contains(source) {
            if same_repository.is_empty() {
                self.effects.push(Effect::Watched { repository: source.repository.clone(), watched: true });
            }
            same_repository.push(source.clone());
        }
    }

    fn leave(&mut self, source: &Arc<Source>, id: &WorkloadId) {
        let Some(known) = self.sources.get_mut(source) else { return };
        known.users.remove(id);
        if known.users.is_empty() {
            self.sources.remove(source);
            self.effects.push(Effect::Schedule { source: source.clone(), schedules: Vec::new() });
            if let Some(same_repository) = self.by_repository.get_mut(&source.repository) {
                same_repository.retain(|other| other != source);
                if same_repository.is_empty() {
                    self.by_repository.remove(&source.repository);
                    self.effects.push(Effect::Watched { repository: source.repository.clone(), watched: false });
                }
            }
        } else {
            self.reschedule(source);
        }
    }

    fn reschedule(&mut self, source: &Arc<Source>) {
        let Some(known) = self.sources.get(source) else { return };
        let users = known.users.iter().filter_map(|id| self.entries.get(id));
        let distinct: HashSet<&Schedule> = users.map(|entry| &entry.rule.schedule).collect();
        let schedules = distinct.into_iter().cloned().collect();
        self.effects.push(Effect::Schedule { source: source.clone(), schedules });
    }

    fn want(&mut self, source: &Arc<Source>, trigger: Trigger, tag: Option<Tag>, now: Duration) {
        /// More tags than this in waiting are cheaper as a listing.
        const HINTED: usize = 16;
        let Some(known) = self.sources.get_mut(source) else { return };
        match tag {
            Some(tag) if known.hinted.len() < HINTED => _ = known.hinted.insert(tag),
            _ => known.listing_wanted = true,
        }
        known.wanted.get_or_insert((trigger, now));
        self.effects.push(Effect::Look { source: source.clone(), urgent: trigger != Trigger::Poll });
    }

    fn questions(&self, source: &Arc<Source>) -> HashSet<Question> {
        let users = self.sources.get(source).into_iter().flat_map(|known| &known.users);
        users
            .filter_map(|id| self.entries.get(id))
            .flat_map(|entry| &entry.slots)
            .filter(|slot| slot.source.as_ref() == Some(source))
            .filter_map(|slot| slot.question.clone())
            .collect()
    }
}

/// What holds for a workload until its Namespace is known.
fn unwatched() -> WorkloadRule {
    WorkloadRule {
        watched: false,
        problems: Vec::new(),
        notes: Vec::new(),
        schedule: Schedule::Never,
        suspend: false,
        overrides_owner: false,
        containers: Vec::new(),
    }
}

fn sources(entry: &Entry) -> BTreeSet<Arc<Source>> {
    entry.slots.iter().filter_map(|slot| slot.source.clone()).collect()
}

/// The answer as it is kept: without the reasons for single tags, unless a command shows them.
fn kept(mut answer: Answered, reasons: bool) -> Arc<Answered> {
    if let Ok(Answer { decision, .. }) = &mut answer
        && !reasons
    {
        decision.reasons.retain(|reason| reason.tag.is_none());
        decision.reasons.shrink_to_fit();
        decision.eligible.truncate(1);
        decision.eligible.shrink_to_fit();
    }
    Arc::new(answer)
}

/// What the annotation `last-update` says we set, if it reads.
fn last_update(workload: &Workload) -> Vec<Change> {
    let text = workload.annotations.get("supercargo.dev/last-update");
    let parsed = text.and_then(|text| serde_json::from_str::<LastUpdate>(text).ok());
    parsed.map(|update| update.changes).unwrap_or_default()
}
