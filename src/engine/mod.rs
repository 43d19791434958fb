//! The flow: hint → look → decide → gate → write → what came of it.
//!
//! | stage | where |
//! |---|---|
//! | what is known of workloads, rules and sources, and what follows from a change | `index` |
//! | hints wait, each once; a look is made: refresh and decide | `look` |
//! | one plan a workload, its turn to be written, and its life | `updates` |
//! | what people are told | `report` |
//! | what all wish for the places in Git that they share | `wishes` |
//! | the operator's loop: events in, acts out; what it is given | `run`, `driver`, `deciding`, `remember`, `inputs` |
//! | the same once, for a command | `survey` |
//!
//! What an update goes through is decided by [`crate::domain::update::step()`] alone; `updates::board` keeps the records
//! and the timers, and the loop carries out what follows.
//!
//! The engine knows ports and no adapter. It is one future: looks, writes and reads are polled by it, so nothing
//! outlives it and no lock is held across an await.

mod approvals;
mod deciding;
mod driver;
mod index;
mod inputs;
mod look;
#[cfg(test)]
mod model;
mod remember;
mod report;
mod rollbacks;
mod rollouts;
mod run;
mod survey;
mod timers;
mod updates;
mod waking;
mod wishes;

pub use index::settings::{ArgoCdNamespaces, OperatorServes, Settings, SpeaksFor};
pub use inputs::{Inputs, Ports};
pub use look::inbox::Inbox;
pub use report::rows::Assessment;
pub use report::view::{Ask, View, view};
pub use run::run;
pub use survey::{Outside, survey};
pub use updates::remember::remember;
