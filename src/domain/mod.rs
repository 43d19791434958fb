//! Values and decisions: no I/O, no clock, no async. Nothing here can fail because of the outside world.

pub mod annotations;
pub mod back_off;
pub mod candidate;
pub mod decide;
mod examples;
pub mod gate;
pub mod guard;
pub mod hint;
pub mod image;
pub mod keel;
pub mod later;
pub mod line;
mod listing;
pub(crate) mod nearest;
pub mod plan;
pub mod policy;
pub mod poll;
pub mod reason;
pub mod report;
pub mod seldom;
mod sortkey;
pub mod tags;
pub mod target;
pub mod text;
pub mod update;
pub mod version;
pub mod workload;
