//! From raw annotations to rules, or to every mistake in them.
//!
//! Mistakes close, never open: a key that does not exist or a value that does not parse is a problem, and nothing of the
//! workload is changed until somebody fixes it. Only a bad `poll` falls back, and says so. For one container the order
//! is: the workload's `key.container`, its `key`, the Namespace's `key.container`, its `key`.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashSet},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use super::{
    demand::{Approvals, Demand, Gates},
    guard::{
        self, Guard, floor_interval, freezes, holds_policies, min_ages, refuse_policy, refuse_registry, refuse_target,
    },
    hours::Hours,
    image::{ImageRef, excerpt},
    keel::{self, KeelMode},
    nearest::listed,
    policy::{NamedPolicies, Options, Policy, PolicyGates},
    poll::Schedule,
    reason::{Code, Reason},
    rollback::Rollback,
    target::{Targets, Write},
    update::OnReapply,
    window::Window,
    workload::{Container, MAX_PULL_SECRETS, Owner, Workload},
};

mod globs;
mod keys;
#[cfg(test)]
mod tests;

pub use super::workload::PREFIX;
pub(crate) use globs::list as globs;
use keys::{AnnotatedOn, Given, Layer, Said, of};

/// More reasons than this of one workload are counted only.
const MAX_REASONS: usize = 20;
/// How many containers of one workload may be watched.
const MAX_WATCHED: usize = 100;
/// How many patterns (`glob:`, `regex:`, `allow`, each glob of `ignore`) the policies of one workload may hold.
const MAX_PATTERNS: usize = 100;

/// How long people are waited for where nothing says so.
const APPROVAL_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// What rules depend on besides annotations.
#[derive(Debug, Clone, Copy)]
pub struct RuleSettings<'a> {
    /// The interval where nothing is asked for.
    pub default_poll: Duration,
    /// What `named:` can mean.
    pub named: &'a NamedPolicies,
    /// What is done with Keel's keys.
    pub keel: KeelMode,
    /// What no annotation can weaken.
    pub guards: &'a [Guard],
    /// Where `write` may lead besides the cluster.
    pub targets: &'a Targets,
}

/// What is to be done about a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadRule {
    /// Whether a policy, also `never`, applies to any container. If not, only an unknown key is a problem.
    pub watched: bool,
    /// Mistakes of the annotations. If there are any, nothing is changed.
    pub problems: Vec<Reason>,
    /// What is good to know and blocks nothing: a `poll` that fell back, Helm, Keel's keys, a longer interval.
    pub notes: Vec<Reason>,
    /// When to look.
    pub schedule: Schedule,
    /// Nothing is changed, all is reported.
    pub suspend: bool,
    /// `write: cluster` stands on the workload itself, so that it does not matter who else sets its images.
    pub overrides_owner: bool,
    /// Where updates are written.
    pub write: Write,
    /// Whose pull request they share.
    pub group: Option<Arc<str>>,
    /// When they may start, if not always.
    pub hours: Option<Arc<Hours>>,
    /// How many people must approve them, if any must. Boxed: few workloads ask for that.
    pub approvals: Option<Box<Approvals>>,
    /// Whether what failed is put back by itself.
    pub rollback: Rollback,
    /// What is done where a manifest or a release sets an older image again.
    pub on_reapply: OnReapply,
    /// One for each of the workload's containers, in the same order.
    pub containers: Vec<ContainerRule>,
}

/// What is to be done about one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerRule {
    /// Its name.
    pub container: Arc<str>,
    /// Whether it stands under `initContainers`.
    pub init: bool,
    /// The image as written.
    pub image: Arc<str>,
    /// What to do.
    pub state: Watch,
}

/// Whether and how one container is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watch {
    /// By this policy. Its image parses.
    Watched {
        /// What decides.
        policy: Policy,
        /// How the new image is written.
        pin: Pin,
        /// What is asked for before.
        gates: Gates,
    },
    /// An init container that runs exactly the image of this watched container, and moves with it.
    Follows(Arc<str>),
    /// Not watched, and why. Mostly in words that are there once, as there is a rule for each container of the cluster.
    Skipped(Code, Cow<'static, str>),
    /// Left alone until somebody fixes these.
    Problem(Vec<Reason>),
}

/// How a new image is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Pin {
    /// With a digest if the image has one now.
    #[default]
    Keep,
    /// By its tag alone.
    Tag,
    /// `repo:tag@sha256:…`
    Digest,
}

/// Which init containers are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum InitContainers {
    #[default]
    Same,
    All,
    None,
}

impl WorkloadRule {
    /// How many containers are watched: none where nothing is changed.
    pub fn watches(&self) -> usize {
        let watched = |rule: &&ContainerRule| matches!(rule.state, Watch::Watched { .. });
        if self.problems.is_empty() { self.containers.iter().filter(watched).count() } else { 0 }
    }
}

/// The rules of a workload under its Namespace's defaults.
pub fn rules(
    workload: &Workload,
    namespace: Option<&BTreeMap<String, String>>,
    settings: &RuleSettings,
) -> WorkloadRule {
    let mut own = Layer::read(&workload.annotations, AnnotatedOn::Workload, workload, settings.named);
    let none = BTreeMap::new();
    let defaults = Layer::read(namespace.unwrap_or(&none), AnnotatedOn::Namespace, workload, settings.named);
    let mut rule = WorkloadRule {
        watched: false,
        problems: Vec::new(),
        notes: Vec::new(),
        schedule: Schedule::Every(settings.default_poll),
        suspend: false,
        overrides_owner: false,
        write: Write::Cluster,
        group: None,
        hours: None,
        approvals: None,
        rollback: Rollback::Never,
        on_reapply: OnReapply::Hold,
        containers: Vec::new(),
    };
    read_keel(&mut own, &mut rule, workload, settings);
    let mut reader = Reader { layers: [&own, &defaults], settings, workload, parsed: Vec::new(), wrong: Vec::new() };

    rule.containers = reader.containers();
    rule.watched = workload.containers.iter().any(|c| reader.find(|layer| &layer.policy, &c.name).is_some());
    if !rule.watched {
        unwatched(&mut rule, &own, &defaults);
        return rule;
    }
    rule.suspend = reader.general(|layer| &layer.suspend).is_some_and(|given| given.value != Ok(false));
    rule.overrides_owner = of(&own.write, None).is_some_and(|given| given.value == Ok(Write::Cluster));
    rule.problems.splice(0..0, own.problems.iter().chain(&defaults.problems).cloned());
    // Only the workload's own word overrides, but a wrong one of the Namespace is one too.
    let write = reader.general(|layer| &layer.write);
    rule.write = settings.targets.route(write.and_then(|given| given.value.clone().ok()).unwrap_or_default());
    rule.group = reader.group(&rule.write);
    rule.hours = reader.hours(&rule.containers);
    rule.approvals = reader.approvals(&rule.containers);
    rule.rollback = reader.rollback(&rule.containers);
    rule.on_reapply = reader.on_reapply();
    // Keys of later parts are gates or promises, which a workload cannot take back: those of the Namespace count.
    reader.wrong.extend(defaults.later.iter().flatten().cloned());
    reader.within_limits(&rule.containers);
    let namespace = &workload.id.namespace;
    let refused = settings.targets.refuse(&rule.write, namespace);
    let refused = refused.or_else(|| refuse_target(settings.guards, namespace, &rule.write));
    let shown = write.map(|given| given.shown.as_str()).unwrap_or_default();
    rule.problems.extend(refused.map(|Reason { code, message, .. }| Reason::new(code, format!("{shown}: {message}"))));
    for reason in std::mem::take(&mut reader.wrong) {
        if !rule.problems.contains(&reason) {
            rule.problems.push(reason);
        }
    }
    match of(&own.poll, None).or(of(&defaults.poll, None)).map(|given| &given.value) {
        Some(Ok(asked)) => {
            let (schedule, raised) = floor_interval(settings.guards, namespace, asked.clone(), settings.default_poll);
            rule.schedule = schedule;
            rule.notes.extend(raised);
        }
        Some(Err(wrong)) => rule.notes.push(wrong.clone()),
        None => {}
    }
    if workload.owner == Some(Owner::Helm) && !rule.overrides_owner && rule.write == Write::Cluster {
        let message = "installed by Helm: the next `helm upgrade` sets the chart's image again; set the tag in the \
                       chart's values too";
        rule.notes.push(Reason::new(Code::HelmManaged, message));
    }
    if workload.pull_secrets.len() > MAX_PULL_SECRETS {
        let message = format!(
            "only the first {MAX_PULL_SECRETS} `imagePullSecrets` are used; take out those that are not needed"
        );
        rule.notes.push(Reason::new(Code::SecretsLeftOut, message));
    }
    cap(&mut rule.problems);
    cap(&mut rule.notes);
    rule
}

/// Keel's keys, as `--keel` says.
fn read_keel(own: &mut Layer, rule: &mut WorkloadRule, workload: &Workload, settings: &RuleSettings) {
    let has_keys = workload.annotations.keys().chain(workload.labels.keys()).any(|key| keel::is_keels(key));
    if settings.keel == KeelMode::Ignore || !has_keys {
        return;
    }
    let translation = keel::translate(workload);
    if !translation.watched {
        return;
    }
    let blocks: Vec<&Reason> = translation.items.iter().filter_map(|item| item.blocks.as_ref()).collect();
    if !own.policy.is_empty() {
        let message = "`keel.sh/policy` is not read, as `supercargo.dev/policy` is here: take it out, or Keel, while it \
                       runs, acts too";
        rule.notes.push(Reason::new(Code::KeelReported, message));
        return;
    }
    if settings.keel == KeelMode::Report {
        let would = match blocks.first() {
            Some(reason) => format!("they would be a problem: {}", reason.message),
            None => format!("they would be read as {}", translation.summary()),
        };
        let message = format!("Keel's keys are only reported; with `--keel apply` {would}");
        rule.notes.push(Reason::new(Code::KeelReported, message));
        return;
    }
    let policy = translation.items.iter().any(|item| item.becomes.iter().any(|(key, _)| *key == "policy"));
    for item in &translation.items {
        rule.notes.extend(item.note.clone());
        for (key, value) in &item.becomes {
            let shown = format!("`{}: {}`", excerpt(&item.key), excerpt(&item.value));
            own.add_below(key, value, shown, settings.named);
        }
    }
    if !policy {
        // A policy that cannot be read closes: it must not leave the Namespace's default in force.
        own.add_below("policy", "never", "`keel.sh/policy`".to_owned(), settings.named);
    }
    rule.problems.extend(blocks.into_iter().cloned());
}

/// What is said where no policy applies.
fn unwatched(rule: &mut WorkloadRule, own: &Layer, defaults: &Layer) {
    if own.any {
        let message =
            "there are `supercargo.dev/` annotations here, but no `supercargo.dev/policy`: nothing is watched";
        rule.notes.push(Reason::new(Code::NotWatched, message));
    }
    // The key that was meant may be the policy's.
    let misspelt = own.problems.iter().chain(&defaults.problems);
    rule.problems.extend(misspelt.filter(|reason| reason.code == Code::AnnotationUnknown).cloned());
    cap(&mut rule.problems);
}

/// One key's field of a layer.
type Key<T> = fn(&Layer) -> &Said<T>;

/// Looks values up for one workload.
struct Reader<'a> {
    /// In the order of precedence.
    layers: [&'a Layer; 2],
    settings: &'a RuleSettings<'a>,
    workload: &'a Workload,
    /// Policies that were read already: containers mostly share one.
    parsed: Vec<(Policy, Options, Result<Policy, String>)>,
    /// Values that apply and are wrong.
    wrong: Vec<Reason>,
}

impl<'a> Reader<'a> {
    /// The value for a container that counts.
    fn find<T>(&self, key: Key<T>, container: &Arc<str>) -> Option<&'a Given<T>> {
        self.layers.iter().find_map(|layer| of(key(layer), Some(container)))
    }

    /// The value for the whole workload that counts. A wrong one is remembered.
    fn general<T>(&mut self, key: Key<T>) -> Option<&'a Given<T>> {
        let given = self.layers.iter().find_map(|layer| of(key(layer), None))?;
        self.wrong.extend(given.value.as_ref().err().cloned());
        Some(given)
    }

    /// Whose pull request updates share; a promise about rollouts, which is a later part, where there is none.
    fn group(&mut self, write: &Write) -> Option<Arc<str>> {
        let given = self.general(|layer| &layer.group)?;
        let group = given.value.as_ref().ok()?;
        if !matches!(write, Write::Request(_)) {
            let message = format!(
                "{}: a group shares a pull request, so it needs `write: pr:<target>`; groups of rollouts are not \
                 built yet",
                given.shown
            );
            self.wrong.push(Reason::new(Code::NotBuilt, message));
        }
        Some(group.clone())
    }

    /// What one workload may ask for.
    fn within_limits(&mut self, containers: &[ContainerRule]) {
        let watched = containers.iter().filter(|rule| matches!(rule.state, Watch::Watched { .. })).count();
        let policies = self.parsed.iter().filter_map(|(.., read)| read.as_ref().ok());
        let patterns = policies.flat_map(Policy::patterns).collect::<HashSet<_>>().len();
        let mut limit = |what: &str, there: usize, most: usize, instead: &str| {
            if there > most {
                let message = format!("{there} {what}, and at most {most} of one workload are taken: {instead}");
                self.wrong.push(Reason::new(Code::OverLimit, message));
            }
        };
        limit("containers are watched", watched, MAX_WATCHED, "name fewer in `supercargo.dev/containers`");
        limit("patterns are given", patterns, MAX_PATTERNS, "let containers share them, or join some with `{a,b}`");
    }

    fn containers(&mut self) -> Vec<ContainerRule> {
        let init = self.general(|layer| &layer.init_containers);
        let init = init.and_then(|given| given.value.clone().ok()).unwrap_or_default();
        // A list that does not parse selects nothing; its problem is noted.
        let only = self.general(|layer| &layer.containers).map(|given| given.value.as_deref().unwrap_or_default());
        let selected = |name: &str| only.is_none_or(|globs| globs.iter().any(|glob| glob.is_match(name)));
        let mut rules: Vec<ContainerRule> = Vec::with_capacity(self.workload.containers.len());
        let mut own_policy = Vec::new();
        for container in &self.workload.containers {
            let by_name = self.layers.iter().any(|layer| layer.policy.contains_key(&Some(container.name.clone())));
            let state = match self.find(|layer| &layer.policy, &container.name) {
                None => skip(Code::NotWatched, "no policy applies to this container"),
                Some(policy) if policy.text == "never" => skip(Code::PolicyNever, policy.shown.clone()),
                Some(_) if container.init && !by_name && init == InitContainers::None => {
                    skip(Code::NotSelected, "`init-containers: none`")
                }
                Some(_) if container.init && !by_name && init == InitContainers::Same => {
                    skip(Code::NotSelected, "an init container that runs no watched container's image")
                }
                Some(_) if !selected(&container.name) => {
                    skip(Code::NotSelected, "`containers` does not name this container")
                }
                Some(policy) => self.watch(policy, container),
            };
            own_policy.push(by_name);
            rules.push(ContainerRule {
                container: container.name.clone(),
                init: container.init,
                image: container.image.clone(),
                state,
            });
        }
        if init == InitContainers::Same {
            follow(&mut rules, &own_policy);
        }
        rules
    }

    fn watch(&mut self, policy: &Given<Policy>, container: &Container) -> Watch {
        let name = &container.name;
        let mut problems = Vec::new();
        let mut options = self.options(name, &mut problems);
        let widened = self.narrow(&policy.text, name, &mut options);
        let pin = self.value(|layer| &layer.pin, name, &mut problems).unwrap_or_default();
        let with_options = |read: &Policy| {
            let read = self.with(read, options);
            read.map_err(|error| Reason::new(Code::PolicyInvalid, format!("{}: {error}", policy.shown)))
        };
        let read = policy.value.as_ref().map_err(Reason::clone).and_then(with_options);
        let read = read.map_err(|wrong| problems.push(wrong)).ok();
        // Only `digest` asks for the current tag's digest.
        if pin == Pin::Tag && read.as_ref().is_some_and(|policy| policy.needs().digest_of_current) {
            let message = format!("{} writes digests, and `pin: tag` forbids them: take one of them out", policy.shown);
            problems.push(Reason::new(Code::PolicyInvalid, message));
        }
        let gates = self.gates(&policy.text, name, &mut problems);
        if let Some(age) = gates.min_age.as_ref().filter(|_| pin == Pin::Tag) {
            let message = format!(
                "what is old enough is written with its digest ({age}), and `pin: tag` forbids that: take one of them out"
            );
            problems.push(Reason::new(Code::PolicyInvalid, message));
        }
        // So far the annotations are at fault: the whole workload is blocked.
        self.wrong.extend(problems.iter().cloned());

        let (guards, namespace) = (self.settings.guards, &self.workload.id.namespace);
        problems.extend(refuse_policy(guards, namespace, &policy.text).or(widened));
        match ImageRef::parse(&container.image) {
            Ok(image) => problems.extend(refuse_registry(guards, namespace, &image.repository)),
            Err(error) => problems.push(Reason::new(Code::ImageInvalid, error.to_string())),
        }
        match read {
            Some(policy) if problems.is_empty() => Watch::Watched { policy, pin, gates },
            _ => Watch::Problem(problems),
        }
    }

    /// What is asked for before an update of the container: whichever place asks for most counts.
    fn gates(&self, policy: &str, container: &Arc<str>, problems: &mut Vec<Reason>) -> Gates {
        let mut ages = Vec::new();
        for given in self.layers.iter().filter_map(|layer| of(&layer.min_age, Some(container))) {
            match &given.value {
                Ok(value) => ages.push(Demand::new(*value, given.shown.as_str())),
                Err(wrong) => problems.push(wrong.clone()),
            }
        }
        let of_file = self.settings.named.gates(policy).and_then(|gates| gates.min_age);
        ages.extend(of_file.map(|value| Demand::new(value, by_file(policy))));
        let of_guards = min_ages(self.settings.guards, &self.workload.id.namespace);
        ages.extend(of_guards.map(|(value, guard)| Demand::floor(value, guard.to_string())));
        let hold = self.find(|layer| &layer.hold, container).and_then(|given| match &given.value {
            Ok(value) => Some(Box::new(Demand::new(value.clone(), given.shown.as_str()))),
            Err(wrong) => {
                problems.push(wrong.clone());
                None
            }
        });
        Gates { hold, ..Gates::with_min_age(ages) }
    }

    /// When updates of the workload may start: every place counts. A workload is updated at once, so what the file of any of
    /// its policies asks for counts for all of its containers.
    fn hours(&mut self, containers: &[ContainerRule]) -> Option<Arc<Hours>> {
        let mut asked = |key: Key<Window>| -> Vec<Demand<Window>> {
            let mut demands = Vec::new();
            for given in self.layers.iter().filter_map(|layer| of(key(layer), None)) {
                match &given.value {
                    Ok(window) => demands.push(Demand::new(window.clone(), given.shown.as_str())),
                    Err(wrong) => self.wrong.push(wrong.clone()),
                }
            }
            demands
        };
        let (mut windows, mut closed) = (asked(|layer| &layer.window), asked(|layer| &layer.freeze));
        for policy in policies(containers) {
            let Some(PolicyGates { window, freeze, .. }) = self.settings.named.gates(policy) else { continue };
            let demand = |key: &str, window: &Window| {
                Demand::new(window.clone(), format!("`{key}: {window}` of {}", by_file(policy)))
            };
            windows.extend(window.as_ref().map(|window| demand("window", window)));
            closed.extend(freeze.as_ref().map(|freeze| demand("freeze", freeze)));
        }
        let of_guards = freezes(self.settings.guards, &self.workload.id.namespace);
        closed.extend(
            of_guards.map(|(freeze, guard)| Demand::floor(freeze.clone(), format!("`freeze: {freeze}` of {guard}"))),
        );
        windows.retain(|demand| !demand.value.is_always());
        closed.retain(|demand| !demand.value.is_never());
        let any = !windows.is_empty() || !closed.is_empty();
        any.then(|| Arc::new(Hours { windows, freezes: closed }))
    }

    /// How many people must approve: whichever place asks for most counts, also of the files of its policies, as a workload is
    /// updated at once. How long they are waited for: the first that says so.
    fn approvals(&mut self, containers: &[ContainerRule]) -> Option<Box<Approvals>> {
        let mut asked = Vec::new();
        for given in self.layers.iter().filter_map(|layer| of(&layer.approvals, None)) {
            match &given.value {
                Ok(needed) => asked.push(Demand::new(needed.0, given.shown.as_str())),
                Err(wrong) => self.wrong.push(wrong.clone()),
            }
        }
        let timeout = self.general(|layer| &layer.approval_timeout).and_then(|given| given.value.clone().ok());
        let mut timeouts = Vec::from_iter(timeout);
        for policy in policies(containers) {
            let Some(gates) = self.settings.named.gates(policy) else { continue };
            let by = |needed: u8| format!("`approvals: {needed}` of {}", by_file(policy));
            asked.extend(gates.approvals.map(|needed| Demand::new(needed, by(needed))));
            timeouts.extend(gates.approval_timeout);
        }
        let of_guards = guard::approvals(self.settings.guards, &self.workload.id.namespace);
        asked.extend(
            of_guards.map(|(needed, guard)| Demand::floor(needed, format!("`approvals: {needed}` of {guard}"))),
        );
        let more = |one: Demand<u8>, other: Demand<u8>| if other.value > one.value { other } else { one };
        let needed = asked.into_iter().reduce(more).filter(|needed| needed.value > 0)?;
        let by_tag = |rule: &&ContainerRule| matches!(rule.state, Watch::Watched { pin: Pin::Tag, .. });
        if let Some(rule) = containers.iter().find(by_tag) {
            let message = format!(
                "what is approved is written with its digest ({}), and `pin: tag` of container {} forbids that: take one of \
                 them out",
                needed.by, rule.container
            );
            self.wrong.push(Reason::new(Code::PolicyInvalid, message));
        }
        let timeout = timeouts.into_iter().next().unwrap_or(APPROVAL_TIMEOUT);
        Some(Box::new(Approvals { needed, timeout }))
    }

    /// Whether what failed is put back: the first that says so, the files of its policies last.
    fn rollback(&mut self, containers: &[ContainerRule]) -> Rollback {
        if let Some(given) = self.general(|layer| &layer.rollback) {
            return given.value.clone().unwrap_or_default();
        }
        let mut files = policies(containers).into_iter().filter_map(|policy| self.settings.named.gates(policy));
        files.find_map(|file| file.rollback).unwrap_or_default()
    }

    /// What is done where an older image is applied again: Keel sets it again.
    fn on_reapply(&mut self) -> OnReapply {
        match self.general(|layer| &layer.on_reapply) {
            Some(given) => given.value.clone().unwrap_or_default(),
            None if self.settings.keel == KeelMode::Apply => OnReapply::Again,
            None => OnReapply::Hold,
        }
    }

    fn options(&self, container: &Arc<str>, problems: &mut Vec<Reason>) -> Options {
        Options {
            allow: self.value(|layer| &layer.allow, container, problems).into_iter().collect(),
            ignore: self.value(|layer| &layer.ignore, container, problems),
            allow_downgrade: self.value(|layer| &layer.allow_downgrade, container, problems),
            prerelease: self.value(|layer| &layer.prerelease, container, problems),
            flavour: self.value(|layer| &layer.flavour, container, problems),
            order: self.value(|layer| &layer.order, container, problems),
        }
    }

    /// Where a guard lists policies, options beside one may only narrow it; else what is wrong with them.
    fn narrow(&self, policy: &str, container: &Arc<str>, options: &mut Options) -> Option<Reason> {
        let guard = holds_policies(self.settings.guards, &self.workload.id.namespace)?;
        match options.within(&self.settings.named.options(policy)) {
            Ok(narrowed) => {
                *options = narrowed;
                None
            }
            Err(key) => {
                let shown = self.layers.iter().find_map(|layer| layer.shown(key, Some(container))).unwrap_or_default();
                let message = format!(
                    "{guard} lists the policies that may be used here, so what stands beside `{}` may only narrow it \
                     (`ignore`, `allow`, a stricter `prerelease`): take out {shown}",
                    excerpt(policy),
                );
                Some(Reason::new(Code::GuardPolicy, message))
            }
        }
    }

    /// A value that may be used; the problem of one that may not be is noted.
    fn value<T: Clone>(&self, key: Key<T>, container: &Arc<str>, problems: &mut Vec<Reason>) -> Option<T> {
        let value = &self.find(key, container)?.value;
        problems.extend(value.as_ref().err().cloned());
        value.as_ref().ok().cloned()
    }

    fn with(&mut self, policy: &Policy, options: Options) -> Result<Policy, String> {
        if let Some((.., read)) = self.parsed.iter().find(|(p, o, _)| p == policy && *o == options) {
            return read.clone();
        }
        let read = Policy::parse(policy.as_str(), &options, self.settings.named).map_err(|error| error.to_string());
        self.parsed.push((policy.clone(), options, read.clone()));
        read
    }
}

/// The policies that apply, each once.
fn policies(containers: &[ContainerRule]) -> BTreeSet<&str> {
    let policies = containers.iter().filter_map(|rule| match &rule.state {
        Watch::Watched { policy, .. } => Some(policy.as_str()),
        _ => None,
    });
    policies.collect()
}

fn by_file(policy: &str) -> Arc<str> {
    format!("policy `{}`", excerpt(policy)).into()
}

fn skip(code: Code, why: impl Into<Cow<'static, str>>) -> Watch {
    Watch::Skipped(code, why.into())
}

/// Init containers without a policy of their own that run exactly a watched container's image move with it.
fn follow(rules: &mut [ContainerRule], own_policy: &[bool]) {
    let watched: Vec<(Arc<str>, Arc<str>)> = rules
        .iter()
        .filter(|rule| !rule.init && matches!(rule.state, Watch::Watched { .. }))
        .map(|rule| (rule.image.clone(), rule.container.clone()))
        .collect();
    for (rule, _) in rules.iter_mut().zip(own_policy).filter(|(rule, own)| rule.init && !**own) {
        if let Some((_, leader)) = watched.iter().find(|(image, _)| *image == rule.image) {
            rule.state = Watch::Follows(leader.clone());
        }
    }
}

fn cap(reasons: &mut Vec<Reason>) {
    let more = reasons.len().saturating_sub(MAX_REASONS);
    if more > 0 {
        reasons.truncate(MAX_REASONS);
        let code = reasons[MAX_REASONS - 1].code;
        reasons.push(Reason::new(code, format!("and {more} more")));
    }
}

impl FromStr for Pin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "keep" => Ok(Self::Keep),
            "tag" => Ok(Self::Tag),
            "digest" => Ok(Self::Digest),
            _ => Err(listed(text, &["keep", "tag", "digest"])),
        }
    }
}

impl FromStr for InitContainers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "same" => Ok(Self::Same),
            "all" => Ok(Self::All),
            "none" => Ok(Self::None),
            _ => Err(listed(text, &["same", "all", "none"])),
        }
    }
}
