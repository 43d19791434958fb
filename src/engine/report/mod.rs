//! What people are told: a row for each container (`rows`), and of what is new, Events and lines of the log (`announce`).

pub(super) mod announce;
mod gates;
pub(super) mod rows;
