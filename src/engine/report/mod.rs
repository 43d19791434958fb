//! What people are told: a row for each container (`rows`), and of what is new, Events and lines of the log (`announce`);
//! and who asks, how a workload stands (`view`).

pub(super) mod announce;
mod gates;
mod held;
mod notes;
pub(super) mod rows;
mod said;
pub(super) mod view;
