//! From a policy, the current tag and the tags of a repository to one tag, or none (docs/policy.md §2 to §4).

use std::collections::HashMap;

use jiff::Timestamp;

use super::{
    image::{Digest, Tag},
    policy::Policy,
    reason::Reason,
};

/// The tags of one look, parsed once and shared by every decision about it.
#[derive(Debug)]
pub struct Listing {
    tags: Vec<Tag>,
}

/// What is known of a tag beside its name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TagFacts {
    /// What it points to.
    pub digest: Option<Digest>,
    /// When it was pushed, as the registry records it.
    pub pushed: Option<Timestamp>,
    /// `created` of the image's configuration.
    pub created: Option<Timestamp>,
}

/// What runs now.
#[derive(Debug, Clone, Copy)]
pub struct Current<'a> {
    /// The tag as written.
    pub tag: Option<&'a Tag>,
    /// The digest as written.
    pub digest: Option<&'a Digest>,
}

/// What to run instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The tag.
    pub tag: Tag,
    /// What it points to, where that is known; always under policy `digest`.
    pub digest: Option<Digest>,
}

/// What a policy came to, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Best first, at most 20: where a gate refuses one, the next is tried.
    pub eligible: Vec<Target>,
    /// Why nothing can be decided until somebody mends something.
    pub problem: Option<Reason>,
    /// For the whole first, then for each of the newest tags that lost.
    pub reasons: Vec<Reason>,
}

impl Listing {
    /// Takes the tags in any order.
    pub fn new(tags: &[Tag]) -> Self {
        Self { tags: tags.to_vec() }
    }
}

impl Decision {
    /// The best target.
    pub fn choice(&self) -> Option<&Target> {
        self.eligible.first()
    }
}

/// Decides. The answer depends on nothing but the arguments, and not on the order of the tags.
pub fn decide(_policy: &Policy, _current: Current<'_>, listing: &Listing, _facts: &HashMap<Tag, TagFacts>) -> Decision {
    let _ = &listing.tags;
    Decision { eligible: Vec::new(), problem: None, reasons: Vec::new() }
}

/// The tags whose times policy `newest` must know, the current one included: at most 200, else a problem.
pub fn timed_candidates(_policy: &Policy, _current: Current<'_>, _listing: &Listing) -> Result<Vec<Tag>, Reason> {
    Ok(Vec::new())
}
