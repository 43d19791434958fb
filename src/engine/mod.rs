//! The flow: hint → refresh → decide → gate → write → settle.
//!
//! | stage | where |
//! |---|---|
//! | hints wait, each once; what they name is waited for | `inbox`, `hints` |
//! | every workload by `namespace`, and what is to be done (`effect`) about a change | `state` |
//! | one workload: what it asks, what was answered, what we wrote | `entry` |
//! | which workloads use which source, how often (`schedules`), what for | `sources`, `source` |
//! | which look is next, and how often somebody may ask for one | `queue`, `bursts` |
//! | how much memory looks and what is kept of them may take | `room` |
//! | which sources cannot be read, for how long | `outages` |
//! | who is written next, and where | `lines`, `patches` |
//! | one look: refresh and decide, which may take long (`beside`) | `look` |
//! | what is said, gate, plan | `assess` |
//! | the operator's loop, and what it is given (`inputs`) | `run` |
//! | write and settle | `settle` |
//! | what people are told | `tell` |
//! | the same once, for a command | `survey` |
//!
//! The engine knows ports and no adapter. It is one future: looks, writes and reads are polled by it, so nothing
//! outlives it and no lock is held across an await.

mod assess;
mod beside;
mod bursts;
mod effect;
mod entry;
mod hints;
mod in_git;
mod inbox;
mod inputs;
mod lines;
mod look;
#[cfg(test)]
mod model;
mod namespace;
mod outages;
mod patches;
mod queue;
mod retry;
mod room;
mod run;
mod schedules;
mod settings;
mod settle;
mod source;
mod sources;
mod state;
mod survey;
mod tell;
mod timers;
mod wishes;

pub use assess::Assessment;
pub use inbox::Inbox;
pub use inputs::{Inputs, Ports};
pub use run::run;
pub use settings::{ArgoCdNamespaces, OperatorServes, Settings};
pub use survey::{Outside, survey};
