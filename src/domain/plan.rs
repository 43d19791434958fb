//! From a proposal to something that may be written: the type says which.
//!
//! [`Plan<Approved>`] can only be made by [`crate::domain::gate`], and only a `Plan<Approved>` is taken by a sink.

use std::{marker::PhantomData, sync::Arc};

use super::{hint::Source, update::Update, workload::Workload};

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
    sources: Vec<Arc<Source>>,
    state: PhantomData<State>,
}

impl Plan<Proposed> {
    /// What a decision came to.
    pub fn propose(update: Update) -> Self {
        Self { update, decided_on: None, sources: Vec::new(), state: PhantomData }
    }

    /// With the workload as it was when that was decided.
    pub fn on(self, workload: Arc<Workload>) -> Self {
        Self { decided_on: Some(workload), ..self }
    }

    /// With where each change was found, and as whom.
    pub fn found_at(self, sources: Vec<Arc<Source>>) -> Self {
        Self { sources, ..self }
    }

    /// Only gates open this door.
    pub(super) fn approve(self) -> Plan<Approved> {
        Plan { update: self.update, decided_on: self.decided_on, sources: self.sources, state: PhantomData }
    }
}

impl<State> Plan<State> {
    /// What is to be done.
    pub fn update(&self) -> &Update {
        &self.update
    }

    /// The workload as it was when this was decided, if that is known: what is written is tested against it, so it
    /// need not be read again first.
    pub fn decided_on(&self) -> Option<&Arc<Workload>> {
        self.decided_on.as_ref()
    }

    /// Where each change was found, in their order, and as whom: nobody else's credentials may be used to read more of
    /// these images. Empty where that is not known.
    pub fn sources(&self) -> &[Arc<Source>] {
        &self.sources
    }

    /// Takes the update out, for the record.
    pub fn into_update(self) -> Update {
        self.update
    }
}
