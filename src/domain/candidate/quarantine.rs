//! What was set before and did not run is not set again by itself, under whatever tag. A tag that points elsewhere now is
//! another image.

use super::{Facts, Manifest};
use crate::domain::{
    policy::Candidate,
    reason::{Code, Reason},
};

pub(super) fn check(candidate: &Candidate, facts: &Facts) -> Option<Reason> {
    let bad = facts.avoided.iter().find(|avoided| match (&avoided.digest, &facts.manifest) {
        (Some(bad), Manifest::Is(now)) => bad == now,
        _ => avoided.tag == candidate.tag,
    })?;
    let message = format!("passed over: it was set before and did not run ({}: {})", bad.at, bad.evidence);
    Some(Reason::of_tag(&candidate.tag, Code::Quarantined, message))
}
