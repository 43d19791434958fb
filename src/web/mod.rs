//! The listeners: webhooks from outside, probes and metrics from within.
//!
//! A handler checks, hands on and answers; it does no work.

pub mod health;
pub mod hooks;
pub mod reread;
pub mod serve;
pub mod tls;
