//! A tag that is listed without a manifest cannot be pulled: it was deleted by digest, or its upload was not finished.

use super::{Facts, Manifest};
use crate::domain::{
    policy::Candidate,
    reason::{Code, Reason},
};

pub(super) fn check(candidate: &Candidate, facts: &Facts) -> Option<Reason> {
    let is_missing = facts.manifest == Manifest::Missing;
    is_missing.then(|| {
        let message = "passed over: the registry lists the tag, but has no manifest for it";
        Reason::of_tag(&candidate.tag, Code::RegistryNotFound, message)
    })
}
