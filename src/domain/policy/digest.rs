//! `digest`: the current tag itself, at what it points to now (docs/policy.md §2.5).

use crate::domain::{
    policy::{Asked, Candidate, Decision},
    reason::{Code, Reason},
};

/// Decides without a listing.
pub(in crate::domain) fn decide(asked: &Asked<'_>) -> Decision {
    let Some(tag) = asked.current.tag else {
        let message = "the image has no tag, and `digest` follows what a tag points to: give it one";
        return Decision::problem(Reason::new(Code::CurrentNoTag, message));
    };
    if let Some((code, message)) = asked.filters.refusal(tag.as_str()) {
        return Decision::nothing(Reason::of_tag(tag, code, message));
    }
    let Some(digest) = asked.facts.get(tag).and_then(|facts| facts.digest.as_ref()) else {
        let message = format!("it is not known what `{tag}` points to now");
        return Decision::problem(Reason::new(Code::NotLookedYet, message));
    };
    let reason = match asked.current.digest {
        Some(current) if current == digest => {
            let message = format!("`{tag}` points to {digest}, as the image does");
            return Decision::nothing(Reason::new(Code::UpToDate, message));
        }
        Some(current) => (Code::NewDigest, format!("points to {digest} now, no longer to {current}")),
        None => (Code::NewDigest, format!("points to {digest}, to which the image is pinned at the first look")),
    };
    let target = Candidate { tag: tag.clone(), digest: Some(digest.clone()) };
    Decision {
        eligible: vec![target],
        problem: None,
        reasons: vec![Reason::of_tag(tag, reason.0, reason.1)],
        young: None,
    }
}
