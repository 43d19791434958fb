//! Where updates, and when tags were first seen, are remembered without a cluster: in memory, or in a file of SQLite. (In
//! one it is `cluster::records`.)

mod memory;
mod sqlite;

pub use memory::Memory;
pub use sqlite::Sqlite;
