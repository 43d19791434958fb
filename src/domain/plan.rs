//! From a proposal to something that may be written: the type says which.
//!
//! [`Plan<Approved>`] can only be made by [`crate::domain::gate`], and only a `Plan<Approved>` is taken by a sink.

use std::marker::PhantomData;

use super::update::Update;

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
    state: PhantomData<State>,
}

impl Plan<Proposed> {
    /// What a decision came to.
    pub fn propose(update: Update) -> Self {
        Self { update, state: PhantomData }
    }

    /// Only gates open this door.
    pub(super) fn approve(self) -> Plan<Approved> {
        Plan { update: self.update, state: PhantomData }
    }
}

impl<State> Plan<State> {
    /// What is to be done.
    pub fn update(&self) -> &Update {
        &self.update
    }

    /// Takes the update out, for the record.
    pub fn into_update(self) -> Update {
        self.update
    }
}
