//! Who else sets a workload's images: what it says itself, and Applications of Argo CD that claim it.

use std::sync::Arc;

use crate::{
    domain::workload::{Application, ApplicationId, Owner, Workload},
    engine::index::{effect::Effect, state::State},
};

impl State {
    /// Who sets a workload's images, where it is somebody else.
    pub(crate) fn owner(&self, workload: &Workload) -> Option<Owner> {
        let elsewhere = matches!(workload.owner, Some(Owner::Elsewhere(_)));
        let claims = workload.instance.as_deref().and_then(|instance| self.claims.get(instance));
        // Whoever may make an Application somewhere must not hold up the workloads of others.
        let counts = |application: &Application| {
            *application.destination == *workload.id.namespace
                && (self.settings.argocd_namespaces)(&application.id.namespace)
        };
        let claimed = claims.is_some_and(|applications| applications.iter().any(counts));
        if claimed && !elsewhere { workload.claimed() } else { workload.owner.clone() }
    }

    /// An Application of Argo CD comes, changes or goes. Before the cluster has told of everything nothing is assessed.
    pub(super) fn claim(&mut self, id: &ApplicationId, application: Option<&Application>) {
        let labels = id.labels();
        for label in &labels {
            let named = self.claims.entry(label.clone()).or_default();
            named.retain(|other| other.id != *id);
            named.extend(application.cloned());
            if named.is_empty() {
                self.claims.remove(label);
            }
        }
        if self.synced {
            let all = self.namespaces.values().flat_map(|namespace| namespace.workloads.values());
            let workloads = all.map(|entry| &entry.workload);
            let named = |workload: &&Arc<Workload>| labels.iter().any(|l| workload.instance.as_deref() == Some(l));
            self.effects.extend(workloads.filter(named).map(|workload| Effect::Changed(workload.id.clone())));
        }
    }
}
