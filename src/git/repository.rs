//! A repository as the place where workloads are defined, for running without a cluster.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures::future::BoxFuture;
use tokio::sync::mpsc;

use super::Target;
use crate::{
    domain::{
        text::escape,
        workload::{Workload, WorkloadId},
    },
    manifest::{ManifestError, places::Rendered},
    ports::{Clock, ClusterChange, ClusterError, NamespaceDefaults, Observed, Workloads},
};

/// Tells of the workloads of a target's branch.
pub struct Repository {
    /// The target, as the configuration has it now.
    target: Box<dyn Fn() -> Result<Arc<Target>, String> + Send + Sync>,
    clock: Arc<dyn Clock>,
}

impl Repository {
    /// Asks nothing yet.
    pub fn new(
        target: impl Fn() -> Result<Arc<Target>, String> + Send + Sync + 'static,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { target: Box::new(target), clock }
    }

    /// Tells of every workload, and then of what changes: after each push of ours, and where others may have pushed
    /// whenever `interval` is over. That costs one `ls-remote` if nobody has.
    pub async fn watch(self: Arc<Self>, interval: Duration, changes: mpsc::Sender<ClusterChange>) {
        let (mut known, mut synced) = (BTreeMap::new(), false);
        let [mut trouble, mut unplaced, mut misplaced] = [(); 3].map(|()| HashSet::new());
        loop {
            let pushed = match self.look().await {
                Ok((target, rendered)) => {
                    report(&mut trouble, shown(&rendered.problems), "left alone in the repository");
                    report(&mut unplaced, entries(&rendered), "an entry of supercargo.yaml that updates nothing");
                    report(&mut misplaced, shown(&rendered.misplaced), "what does not count in the repository");
                    for change in differences(&mut known, &rendered) {
                        if changes.send(change).await.is_err() {
                            return;
                        }
                    }
                    if !std::mem::replace(&mut synced, true) {
                        tracing::info!(workloads = known.len(), "the repository is read");
                        let is_partial = !rendered.problems.is_empty() || !rendered.unplaced.is_empty();
                        if is_partial && changes.send(ClusterChange::Partial).await.is_err() {
                            return;
                        }
                        if changes.send(ClusterChange::Synced).await.is_err() {
                            return;
                        }
                    }
                    Some(target)
                }
                Err(why) => {
                    report(&mut trouble, HashSet::from([why]), "the repository is not read");
                    None
                }
            };
            let over = self.clock.sleep_until(self.clock.monotonic() + interval);
            match pushed {
                Some(target) => tokio::select! { () = over => {}, () = target.pushed() => {} },
                None => over.await,
            }
        }
    }

    async fn look(&self) -> Result<(Arc<Target>, Arc<Rendered>), String> {
        let target = (self.target)()?;
        let rendered = target.workloads().await?;
        Ok((target, rendered))
    }
}

impl Workloads for Repository {
    fn get<'a>(&'a self, id: &'a WorkloadId) -> BoxFuture<'a, Result<Option<Observed>, ClusterError>> {
        Box::pin(async move {
            let (_, rendered) = self.look().await.map_err(ClusterError)?;
            let found = rendered.workloads.iter().find(|(workload, ..)| workload.id == *id);
            Ok(found.map(|(workload, ..)| Observed {
                workload: workload.clone(),
                image_managers: Vec::new(),
                template: "".into(),
            }))
        })
    }
}

/// Everything of a repository, once.
pub fn changes(rendered: &Rendered) -> Vec<ClusterChange> {
    differences(&mut BTreeMap::new(), rendered)
}

/// What has changed since `known`, which is brought up to date.
fn differences(known: &mut BTreeMap<WorkloadId, Workload>, rendered: &Rendered) -> Vec<ClusterChange> {
    let found: BTreeMap<&WorkloadId, &Workload> = rendered.workloads.iter().map(|(w, ..)| (&w.id, w)).collect();
    let mut changes = Vec::new();
    let empty: HashSet<_> = known.keys().map(|id| id.namespace.clone()).collect();
    for name in empty.into_iter().filter(|name| !rendered.namespaces.contains_key(&**name)) {
        changes.push(ClusterChange::NamespaceGone(name.to_string()));
    }
    for (name, annotations) in rendered.namespaces.clone() {
        changes.push(ClusterChange::Namespace(NamespaceDefaults { name, annotations }));
    }
    known.retain(|id, _| {
        let stays = found.contains_key(id);
        if !stays {
            changes.push(ClusterChange::WorkloadGone(id.clone()));
        }
        stays
    });
    for (id, workload) in found {
        if known.get(id) != Some(workload) {
            known.insert(id.clone(), workload.clone());
            changes.push(ClusterChange::Workload(Box::new(workload.clone())));
        }
    }
    changes
}

/// The entries that have no place.
fn entries(rendered: &Rendered) -> HashSet<String> {
    rendered
        .unplaced
        .iter()
        .map(|each| format!("{}: line {}: {}", escape(&each.id.name), each.line, each.why))
        .collect()
}

fn shown(all: &[(Arc<str>, ManifestError)]) -> HashSet<String> {
    all.iter().map(|(path, each)| format!("{}: {each}", escape(path))).collect()
}

/// Says what has not been said before.
fn report(said: &mut HashSet<String>, trouble: HashSet<String>, what: &'static str) {
    for why in trouble.difference(said) {
        tracing::warn!(why = why.chars().take(1024).collect::<String>(), "{what}");
    }
    *said = trouble;
}
