//! The integration tests, in one binary: each module is one area.

mod support;

mod cluster;
mod edits;
mod poll;
mod process;
mod registry;
