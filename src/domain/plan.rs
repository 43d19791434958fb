//! From a proposal to something that may be written: the type says which.
//!
//! [`Plan<Approved>`] can only be made by [`crate::domain::gate`], and only a `Plan<Approved>` is taken by a sink.

use std::{marker::PhantomData, sync::Arc};

use super::{update::Update, workload::Workload};

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
    state: PhantomData<State>,
}

impl Plan<Proposed> {
    /// What a decision came to.
    pub fn propose(update: Update) -> Self {
        Self { update, decided_on: None, state: PhantomData }
    }

    /// With the workload as it was when that was decided.
    pub fn on(self, workload: Arc<Workload>) -> Self {
        Self { decided_on: Some(workload), ..self }
    }

    /// Only gates open this door.
    pub(super) fn approve(self) -> Plan<Approved> {
        Plan { update: self.update, decided_on: self.decided_on, state: PhantomData }
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

    /// Takes the update out, for the record.
    pub fn into_update(self) -> Update {
        self.update
    }
}
