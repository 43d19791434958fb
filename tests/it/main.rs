//! The integration tests, in one binary: each module is one area.

mod support;

mod architecture;
mod cluster;
mod commands;
mod control_plane;
mod edits;
mod migrate;
mod operator;
mod policy;
mod poll;
mod process;
mod registry;
mod webhook;
