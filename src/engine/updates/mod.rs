//! The life of updates: what is remembered of each workload (`board`), its one plan (`propose`), its turn to be written
//! (`write_queue`, of the cluster `patches`), and what comes of that (`turn`).

pub(super) mod board;
mod patches;
pub(super) mod propose;
pub(super) mod turn;
pub(super) mod write_queue;
