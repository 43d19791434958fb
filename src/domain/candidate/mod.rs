//! Will this candidate do? Each check is one file and one line in [`CHECKS`]; the first candidate, best first, that
//! passes all of them is chosen (docs/policy.md §3).
//!
//! What a check must know is a field of [`Facts`], and found out by whoever walks the candidates
//! (`engine/look/choose.rs`), for one candidate after the other.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    ages::Wait,
    image::{Digest, Tag},
    policy::Candidate,
    reason::Reason,
};

mod age;
mod hold;
mod missing;
mod quarantine;

pub use hold::HeldImage;

/// What was found out about a candidate, beside its tag.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Its manifest.
    pub manifest: Manifest,
    /// What did not run in this container.
    pub avoided: Arc<[Avoided]>,
    /// What holds it, if anything does.
    pub held: Option<HeldImage>,
    /// Why it is too young, if it is.
    pub wait: Option<Wait>,
}

/// An image that did not run.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Avoided {
    /// The tag by which it was set.
    pub tag: Tag,
    /// What that pointed to; `None` where nobody knows: then the tag counts.
    pub digest: Option<Digest>,
    /// When it had failed.
    pub at: Timestamp,
    /// What was seen.
    pub evidence: Arc<str>,
}

/// Whether the registry has a candidate's manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Manifest {
    /// Nobody asked: the image is written by its tag alone.
    #[default]
    NotAsked,
    /// It has, by this digest.
    Is(Digest),
    /// It lists the tag, and has no manifest for it.
    Missing,
}

type Check = fn(&Candidate, &Facts) -> Option<Reason>;

/// Every check, the cheapest first.
const CHECKS: &[Check] = &[missing::check, quarantine::check, hold::check, age::check];

/// Why the candidate is passed over, if it is.
pub fn refusal(candidate: &Candidate, facts: &Facts) -> Option<Reason> {
    CHECKS.iter().find_map(|check| check(candidate, facts))
}
