//! The flow: hint → refresh → decide → gate → write → settle.
//!
//! | stage | where |
//! |---|---|
//! | hints wait, each once | [`inbox`] |
//! | who uses what, and what is to be done about a change | [`state`] |
//! | which look is next | `queue` |
//! | one look: refresh and decide | [`look`] |
//! | what is said, gate, plan | [`assess`] |
//! | the operator's loop, write and settle | [`run`](mod@run) |
//! | what people are told | `tell` |
//! | the same once, for a command | [`survey`](mod@survey) |
//!
//! The engine knows ports and no adapter. It is one future: looks, writes and reads are polled by it, so nothing
//! outlives it and no lock is held across an await.

pub mod assess;
pub mod inbox;
pub mod look;
#[cfg(test)]
mod model;
mod queue;
mod retry;
pub mod run;
pub mod state;
pub mod survey;
mod tell;

pub use inbox::Inbox;
pub use run::{Inputs, Ports, run};
pub use state::Settings;
pub use survey::survey;
