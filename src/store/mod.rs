//! Where updates are remembered: in memory, or in a file of SQLite. (Custom resources follow the same port.)

mod memory;
mod sqlite;

pub use memory::Memory;
pub use sqlite::Sqlite;
