//! What makes supercargo look at a repository: its time has come ([`poll`]), or a sender says so ([`webhook`]).

pub mod poll;
pub mod webhook;
