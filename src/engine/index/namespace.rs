//! One namespace: its workloads, the defaults for them, and what it may have watched.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use crate::{
    domain::{
        annotations::{RuleSettings, WorkloadRule, rules},
        poll::Schedule,
        reason::{Code, Reason},
        rollback::Rollback,
        target::Write,
        update::{OnReapply, SeenRule},
        workload::{Workload, WorkloadId},
    },
    engine::index::{entry::WorkloadEntry, settings::Settings},
};

/// A namespace and its workloads, of which either may be told of first.
#[derive(Default)]
pub(crate) struct Namespace {
    /// Defaults for its workloads; `None` until the cluster has told of it.
    pub(crate) annotations: Option<Arc<BTreeMap<String, String>>>,
    // Boxed: a third of such a table's places is empty.
    pub(crate) workloads: HashMap<WorkloadId, Box<WorkloadEntry>>,
    /// Containers that are watched.
    pub(crate) watched: usize,
    /// Workloads that are left alone as there are too many of those.
    pub(crate) over: BTreeSet<WorkloadId>,
}

/// As many keys that are kept in force are named on a row.
const NAMED: usize = 32;
/// How many containers of one namespace are watched.
const MAX_WATCHED: usize = 10_000;

impl Namespace {
    /// Counts what a workload has watched, in place of what it had; leaves it alone if that is too many.
    pub(crate) fn count(&mut self, old: Option<&WorkloadEntry>, id: &WorkloadId, rule: &mut WorkloadRule) {
        self.watched -= old.map_or(0, |old| old.rule.watches());
        self.over.remove(id);
        let all = self.watched + rule.watches();
        if all > MAX_WATCHED {
            let message = format!(
                "with this workload {all} containers of the namespace are watched, and at most {MAX_WATCHED} are: take \
                 `supercargo.dev/policy` off some, or move them to another namespace"
            );
            rule.problems.push(Reason::new(Code::OverLimit, message));
            self.over.insert(id.clone());
        }
        self.watched += rule.watches();
    }

    /// A workload that was left alone and for which there may be room.
    pub(crate) fn next_over(&self) -> Option<Arc<Workload>> {
        let next = self.over.first().filter(|_| self.watched < MAX_WATCHED)?;
        self.workloads.get(next).map(|entry| entry.workload.clone())
    }
}

/// The rule of a workload, with those annotations in force that its record keeps.
pub(crate) fn rule(
    workload: &Workload,
    kept: Option<&SeenRule>,
    namespace: Option<&BTreeMap<String, String>>,
    settings: &Settings,
) -> WorkloadRule {
    if settings.await_namespaces && namespace.is_none() {
        return unwatched();
    }
    let settings = RuleSettings {
        default_poll: settings.poll_interval,
        named: &settings.named,
        keel: settings.keel,
        guards: &settings.guards,
        targets: &settings.targets,
    };
    let Some(kept) = kept else { return rules(workload, namespace, &settings) };
    let mut rule = rules(&Workload { annotations: kept.over(workload), ..workload.clone() }, namespace, &settings);
    rule.notes.extend(kept.whys(&workload.id).take(NAMED).map(|why| Reason::new(Code::Undone, why)));
    rule
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
        write: Write::Cluster,
        group: None,
        hours: None,
        approvals: None,
        rollback: Rollback::Never,
        on_reapply: OnReapply::Hold,
        containers: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{keel::KeelMode, workload::Container},
        engine::{index::state::State, model::settings},
        ports::ClusterChange,
    };
    use std::time::Duration;

    fn workload(n: usize, containers: usize) -> Box<Workload> {
        let container = |index| Container {
            name: format!("c{index}").into(),
            image: "registry.example.com/web:1.0.0".into(),
            init: false,
            index,
        };
        Box::new(Workload {
            id: format!("shop/Deployment/w{n:03}").parse().unwrap(),
            uid: "u".into(),
            resource_version: "1".into(),
            annotations: BTreeMap::from([("supercargo.dev/policy".to_owned(), "patch".to_owned())]).into(),
            labels: BTreeMap::new(),
            written: None,
            has_annotations: true,
            containers: (0..containers).map(container).collect(),
            owner: None,
            instance: None,
            pull_secrets: Vec::new(),
        })
    }

    #[test]
    fn all_for_whom_there_is_room_get_it() {
        let mut state = State::new(Settings { await_namespaces: false, ..settings(KeelMode::Ignore) });
        let mut tell = |change| {
            state.change(change, Duration::ZERO);
            state.effects();
            let namespace = &state.namespaces["shop"];
            (namespace.watched, namespace.over.len())
        };
        for n in 0..100 {
            tell(ClusterChange::Workload(workload(n, 100)));
        }
        for n in 100..150 {
            tell(ClusterChange::Workload(workload(n, 1)));
        }
        assert_eq!(tell(ClusterChange::Workload(workload(150, 100))), (10_000, 51));
        assert_eq!(tell(ClusterChange::WorkloadGone(workload(0, 1).id)), (9_950, 1));
        assert_eq!(tell(ClusterChange::Workload(workload(1, 50))), (10_000, 0));
    }
}
