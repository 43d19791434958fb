//! A repository in which nothing is watched looks like one in which all is well: that is said.

use std::collections::{BTreeMap, HashMap};

use tokio::sync::mpsc;

use crate::{
    domain::{
        annotations::{RuleSettings, rules},
        workload::{Workload, WorkloadId},
    },
    engine::Settings,
    ports::{ClusterChange, NamespaceDefaults},
};

/// Where policies are written, for somebody who has written none.
pub const HOW: &str = "a policy is the annotation `supercargo.dev/policy` of a workload (a label is none), a comment \
                       like `# supercargo: minor` at a value, or an entry of `supercargo.yaml`, which stands at the root \
                       and within the paths: see docs/git.md";

/// Passes changes on, and warns when the repository has been read for the first time and has no policy for anything.
pub(super) async fn warn(
    place: String,
    settings: Settings,
    mut found: mpsc::Receiver<ClusterChange>,
    changes: mpsc::Sender<ClusterChange>,
) {
    let (mut workloads, mut namespaces) = (HashMap::<WorkloadId, Workload>::new(), BTreeMap::new());
    let mut synced = false;
    while let Some(change) = found.recv().await {
        match &change {
            _ if synced => {}
            ClusterChange::Workload(workload) => {
                workloads.insert(workload.id.clone(), (**workload).clone());
            }
            ClusterChange::WorkloadGone(id) => {
                workloads.remove(id);
            }
            ClusterChange::Namespace(NamespaceDefaults { name, annotations }) => {
                namespaces.insert(name.clone(), annotations.clone());
            }
            ClusterChange::Synced => {
                synced = true;
                let settings = RuleSettings {
                    default_poll: settings.poll_interval,
                    named: &settings.named,
                    keel: settings.keel,
                    guards: &settings.guards,
                    targets: &settings.targets,
                };
                let is_watched = |w: &Workload| rules(w, namespaces.get(&*w.id.namespace), &settings).watched;
                if !workloads.values().any(is_watched) {
                    tracing::warn!(
                        workloads = workloads.len(),
                        "nothing in {place} has a policy, so nothing is watched: {HOW}"
                    );
                }
                (workloads, namespaces) = Default::default();
            }
            _ => {}
        }
        if changes.send(change).await.is_err() {
            return;
        }
    }
}
