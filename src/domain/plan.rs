//! From a proposal to something that may be written: the type says which.
//!
//! [`Plan<Approved>`] can only be made by [`crate::domain::gate`], and only a `Plan<Approved>` is taken by a sink.

use std::{collections::HashMap, marker::PhantomData, sync::Arc};

use super::{
    image::ImageRef,
    reason::Code,
    update::Update,
    workload::{Workload, WorkloadId},
};

/// Decided, not gated.
#[derive(Debug, Clone)]
pub enum Proposed {}

/// Every gate is open.
#[derive(Debug, Clone)]
pub enum Approved {}

/// An [`Update`] and how far it may go.
#[derive(Debug, Clone)]
pub struct Plan<State> {
    update: Update,
    decided_on: Option<Arc<Workload>>,
    wishes: Arc<Wishes>,
    state: PhantomData<State>,
}

/// What is wished for each workload that has an image of one of some repositories: a place in Git may make the images
/// of several.
pub type Wishes = HashMap<WorkloadId, Wish>;

/// What is wished for the images of one workload.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Whether a policy applies to it, or would if its annotations were right.
    pub watched: bool,
    /// Where its images may come from.
    pub origin: Origin,
    /// The label `app.kubernetes.io/instance`.
    pub instance: Option<Arc<str>>,
    /// One for each container.
    pub images: Vec<WishedImage>,
}

/// Where a workload's images may come from, if no manifest tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// From nowhere else: it is patched.
    Cluster,
    /// The Git target that it is written to.
    Target(Arc<str>),
    /// Another tool sets them, and nothing says from where: the Git targets that serve its namespace.
    Unsaid(Vec<Arc<str>>),
}

impl Origin {
    /// Whether it may be that target.
    pub fn may_be(&self, name: &str) -> bool {
        match self {
            Self::Cluster => false,
            Self::Target(target) => **target == *name,
            Self::Unsaid(targets) => targets.iter().any(|target| **target == *name),
        }
    }
}

/// What is wished for the image of one container.
#[derive(Debug, Clone)]
pub struct WishedImage {
    /// The container's name.
    pub container: Arc<str>,
    /// Whether it stands under `initContainers`.
    pub init: bool,
    /// The image that it has, if it is one.
    pub now: Option<ImageRef>,
    /// The image that it is to have: another one, or why it stays as it is.
    pub to: Result<ImageRef, Code>,
}

impl Plan<Proposed> {
    /// What a decision came to.
    pub fn propose(update: Update) -> Self {
        Self { update, decided_on: None, wishes: Arc::default(), state: PhantomData }
    }

    /// Only gates open this door.
    pub(super) fn approve(self) -> Plan<Approved> {
        let Self { update, decided_on, wishes, .. } = self;
        Plan { update, decided_on, wishes, state: PhantomData }
    }
}

impl<State> Plan<State> {
    /// With the workload as it was when that was decided.
    #[must_use]
    pub fn on(self, workload: Arc<Workload>) -> Self {
        Self { decided_on: Some(workload), ..self }
    }

    /// With what is wished for the workloads that may share its places.
    #[must_use]
    pub fn among(self, wishes: Arc<Wishes>) -> Self {
        Self { wishes, ..self }
    }

    /// What is wished for the workloads that may share its places. Empty where that is not known.
    pub fn wishes(&self) -> &Arc<Wishes> {
        &self.wishes
    }

    /// What is to be done.
    pub fn update(&self) -> &Update {
        &self.update
    }

    /// The workload as it was when this was decided, if that is known: what is written is tested against it, so it
    /// need not be read again first.
    pub fn decided_on(&self) -> Option<&Arc<Workload>> {
        self.decided_on.as_ref()
    }

    /// Takes the update out, for the record.
    pub fn into_update(self) -> Update {
        self.update
    }
}
