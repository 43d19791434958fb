//! Registries that cannot be read: since when each source fails, and whether that is long enough to tell people.
//!
//! A look that fails now and then concerns nobody but the log. After [`OUTAGE`] without one that did not, the workloads
//! that wait for it are told, until the registry answers again.

use std::{collections::HashMap, sync::Arc, time::Duration};

use crate::{
    domain::{
        hint::Source,
        reason::{Class, Code},
    },
    engine::timers::Timers,
    ports::RegistryError,
};

/// How long a registry may be away before its workloads are told.
const OUTAGE: Duration = Duration::from_secs(15 * 60);

/// The sources whose last look failed for want of an answer.
#[derive(Debug, Default)]
pub(crate) struct Outages {
    of: HashMap<Arc<Source>, Failing>,
    due: Timers<Arc<Source>>,
}

#[derive(Debug)]
struct Failing {
    error: RegistryError,
    /// What is told of it, once it has lasted.
    outage: Option<Outage>,
}

/// A registry that has been away for long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outage {
    /// Which.
    pub(crate) host: Box<str>,
    /// Why its last look had failed by then.
    pub(crate) code: Code,
    /// The same, for people.
    pub(crate) message: String,
}

impl Outages {
    /// A look has ended; whether that ends an outage.
    pub(crate) fn looked(&mut self, source: &Arc<Source>, outcome: Result<&(), &RegistryError>, now: Duration) -> bool {
        match outcome {
            Err(error) if error.kind.code().class() == Class::Away => {
                match self.of.get_mut(source) {
                    Some(failing) => failing.error = error.clone(),
                    None => {
                        self.of.insert(source.clone(), Failing { error: error.clone(), outage: None });
                        self.due.set(source.clone(), now + OUTAGE);
                    }
                }
                false
            }
            _ => self.forget(source),
        }
    }

    /// Nobody uses it any more, or it answers; whether that ends an outage.
    pub(crate) fn forget(&mut self, source: &Arc<Source>) -> bool {
        self.due.forget(source);
        self.of.remove(source).is_some_and(|failing| failing.outage.is_some())
    }

    /// When the next one has lasted.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.due.next()
    }

    /// Takes a source that has been away for so long by now.
    pub(crate) fn due(&mut self, now: Duration) -> Option<Arc<Source>> {
        let source = self.due.due(now)?;
        if let Some(Failing { error, outage }) = self.of.get_mut(&source) {
            let (host, code) = (source.repository.host().into(), error.kind.code());
            let minutes = OUTAGE.as_secs() / 60;
            let message = format!("{host} could not be read for {minutes} minutes: {}", error.message);
            *outage = Some(Outage { host, code, message });
        }
        Some(source)
    }

    /// What is told of a source, where it has been away for so long.
    pub(crate) fn of(&self, source: &Arc<Source>) -> Option<&Outage> {
        self.of.get(source)?.outage.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use jiff::Timestamp;

    use super::*;
    use crate::engine::{
        index::{effect::Effect, settings::Settings, state::State},
        look::question::LookResult,
        model::settings,
        report::{announce::Told, rows::assess},
        updates::board::Board,
    };
    use crate::{
        domain::{
            keel::KeelMode,
            workload::{Container, KINDS, Workload, WorkloadId},
        },
        metrics::Metrics,
        ports::{ClusterChange, Events, Notice, RegistryErrorKind},
    };

    #[derive(Default)]
    struct Heard(Mutex<Vec<(String, String)>>);

    impl Events for Heard {
        fn publish(&self, notice: Notice) {
            assert!(notice.warning && notice.reason == "UpdateBlocked", "{notice:?}");
            self.0.lock().unwrap().push((notice.workload.name.to_string(), notice.message));
        }
    }

    /// The index and what is said of it, at a time that the test moves.
    struct World<'e> {
        state: State,
        told: Told<'e>,
        now: Duration,
        used: Vec<Arc<Source>>,
    }

    impl World<'_> {
        fn new<'e>(events: &'e Heard, metrics: &'e Metrics) -> World<'e> {
            let mut state = State::new(Settings { await_namespaces: false, ..settings(KeelMode::Ignore) });
            state.change(ClusterChange::Synced, Duration::ZERO);
            World { state, told: Told::new(events, metrics), now: Duration::from_secs(5), used: Vec::new() }
        }

        fn write(&mut self, workload: Workload) {
            self.state.change(ClusterChange::Workload(Box::new(workload)), self.now);
            self.come_to_rest();
        }

        fn come_to_rest(&mut self) {
            for effect in self.state.effects() {
                match effect {
                    Effect::Look { source, .. } if !self.used.contains(&source) => self.used.push(source),
                    Effect::Assess(id) | Effect::Changed(id) => {
                        let assessment = assess(&self.state, &Board::default(), &id, "", Timestamp::UNIX_EPOCH);
                        self.told.assessed(&id, &Arc::default(), assessment.as_ref(), self.now);
                    }
                    Effect::Forget(id) => self.told.assessed(&id, &Arc::default(), None, self.now),
                    _ => {}
                }
            }
        }

        /// Lets minutes pass, each with a look at every source that fails so, or at none.
        fn pass(&mut self, minutes: u64, kind: Option<RegistryErrorKind>) {
            for minute in 0..minutes {
                if let Some(kind) = kind {
                    for source in self.used.clone() {
                        let _ = self.state.order(&source, usize::MAX, jiff::Timestamp::UNIX_EPOCH);
                        let message = format!("{}: no answer, try {minute}", source.repository);
                        let looked =
                            LookResult { source, result: Err(RegistryError { kind, message }), seen: Vec::new() };
                        let _ = self.state.looked(looked, self.now);
                    }
                }
                let end = self.now + Duration::from_secs(60);
                while let Some(at) = self.state.next().filter(|at| *at <= end) {
                    self.now = self.now.max(at);
                    self.state.woke(self.now);
                    self.come_to_rest();
                }
                self.now = end;
                self.come_to_rest();
            }
        }
    }

    fn workload(name: &str, policy: &str, images: &[&str]) -> Workload {
        let container = |(index, image): (usize, &&str)| Container {
            name: format!("c{index}").into(),
            image: (**image).into(),
            init: false,
            index,
        };
        let annotations = [("supercargo.dev/policy".to_owned(), policy.to_owned())];
        Workload {
            id: WorkloadId { kind: KINDS[0].kind.clone(), namespace: "shop".into(), name: name.into() },
            uid: "".into(),
            resource_version: "".into(),
            annotations: Arc::new(annotations.into()),
            labels: Default::default(),
            written: None,
            has_annotations: true,
            containers: images.iter().enumerate().map(container).collect(),
            owner: None,
            instance: None,
            pull_secrets: Vec::new(),
        }
    }

    fn image(repository: &str) -> String {
        format!("r.io/{repository}:1.0.0")
    }

    #[test]
    fn a_registry_that_is_away_for_long_is_told_once_a_workload_and_outage() {
        let (heard, metrics) = (Heard::default(), Metrics::default());
        let mut world = World::new(&heard, &metrics);
        let told = || std::mem::take(&mut *heard.0.lock().unwrap());
        world.write(workload("web", "minor", &[&image("a"), &image("b")]));
        world.write(workload("api", "minor", &[&image("a")]));
        let away = Some(RegistryErrorKind::Unavailable);
        world.pass(14, away);
        assert_eq!(told(), []);
        world.pass(1, away);
        let mut first = told();
        first.sort();
        assert_eq!(first.len(), 2, "{first:?}");
        assert_eq!((&*first[0].0, &*first[1].0), ("api", "web"));
        let message = "r.io could not be read for 15 minutes: r.io/a: no answer, try 0 (registry-unavailable)";
        assert_eq!(first[0].1, message);
        world.pass(60, away);
        assert_eq!(told(), []);
        // Who comes later is told too, and who changes is not told again.
        world.write(workload("late", "minor", &[&image("a")]));
        world.write(workload("web", "patch", &[&image("a"), &image("b")]));
        assert_eq!(told().into_iter().map(|(name, _)| name).collect::<Vec<_>>(), ["late"]);
        world.state.change(ClusterChange::WorkloadGone(id("late")), world.now);
        world.come_to_rest();

        // It says something, if only that there is no such repository: that is no outage, and one that follows is new.
        world.pass(1, Some(RegistryErrorKind::NotFound));
        let reached = told();
        assert!(reached.iter().all(|(_, message)| message.ends_with("(registry-not-found)")), "{reached:?}");
        world.pass(14, Some(RegistryErrorKind::Limited(Duration::ZERO)));
        assert_eq!(told(), []);
        world.pass(30, away);
        let again = told();
        assert_eq!(again.len(), 2, "{again:?}");
    }

    #[test]
    fn one_that_nobody_uses_any_more_is_forgotten() {
        let (heard, metrics) = (Heard::default(), Metrics::default());
        let mut world = World::new(&heard, &metrics);
        world.write(workload("web", "minor", &[&image("a")]));
        world.pass(20, Some(RegistryErrorKind::Unavailable));
        assert_eq!(heard.0.lock().unwrap().len(), 1);
        world.state.change(ClusterChange::WorkloadGone(id("web")), world.now);
        world.come_to_rest();
        world.write(workload("web", "minor", &[&image("a")]));
        world.pass(14, Some(RegistryErrorKind::Unavailable));
        assert_eq!(heard.0.lock().unwrap().len(), 1);
        assert!(world.state.next().is_some());
    }

    fn id(name: &str) -> WorkloadId {
        workload(name, "minor", &[]).id
    }
}
