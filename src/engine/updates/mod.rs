//! The life of updates: what is remembered of each workload (`board`), its one plan (`propose`), its turn to be written
//! (`write_queue`, of the cluster `patches`), what comes of that (`turn`), and how it is remembered (`ledger`, by
//! one `writing` after the other; `remember` for a command).

pub(super) mod board;
pub(super) mod ledger;
mod patches;
pub(super) mod propose;
pub(super) mod remember;
pub(super) mod turn;
mod versions;
pub(super) mod write_queue;
pub(super) mod writing;
