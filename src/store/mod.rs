//! Where updates are remembered: in memory. (Custom resources and SQLite follow the same port.)

mod memory;

pub use memory::Memory;
