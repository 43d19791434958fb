//! What is to be written in Git, as each file of this folder asks for it.

use std::sync::Arc;

use crate::domain::{
    plan::{Approved, Plan, Wishes},
    update::Update,
};

/// An update, and what of its workload tells where it is defined.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) update: Update,
    /// The label `app.kubernetes.io/instance`.
    pub(super) instance: Option<Arc<str>>,
    /// What is wished for those that may share its places.
    pub(super) wishes: Arc<Wishes>,
}

impl From<&Plan<Approved>> for Asked {
    fn from(plan: &Plan<Approved>) -> Self {
        let instance = plan.decided_on().and_then(|workload| workload.instance.clone());
        Self { update: plan.update().clone(), instance, wishes: plan.wishes().clone() }
    }
}
