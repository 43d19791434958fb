//! The integration tests, in one binary: each module is one area.

mod support;

mod cluster;
mod poll;
mod edits;
mod process;
mod registry;
