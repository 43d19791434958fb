//! What makes supercargo look at a repository: its time has come ([`poll`]).

pub mod poll;
