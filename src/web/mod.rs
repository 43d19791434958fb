//! The listeners: webhooks from outside, probes and metrics from within.
//!
//! A handler checks, hands on and answers; it does no work.

mod answer;
mod body;
mod connection;
pub mod health;
pub mod hooks;
mod peer;
mod places;
pub mod reread;
mod room;
pub mod serve;
pub mod tls;
