//! What has not been there for as long as `min-age` says is passed over. A tag that has moved begins anew.

use super::Facts;
use crate::domain::{
    policy::Candidate,
    reason::{Code, Reason},
};

pub(super) fn check(candidate: &Candidate, facts: &Facts) -> Option<Reason> {
    let wait = facts.wait.as_ref()?;
    Some(Reason::of_tag(&candidate.tag, Code::TooYoung, wait.to_string()))
}
