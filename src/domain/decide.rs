//! From a policy, the current tag and the tags of a repository to one tag, or none (docs/policy.md §2 to §4).

use std::{collections::HashMap, fmt};

use jiff::Timestamp;

pub use super::listing::Listing;
use super::{
    image::{Digest, Tag},
    listing::EXPLAINED,
    policy::{Judge, Kind, Policy, decide_digest, newest_candidates},
    reason::{Code, Reason},
};

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
    /// Why nothing can be decided until somebody mends something. It is the first of the reasons too.
    pub problem: Option<Reason>,
    /// For the whole first, then for each of the newest 20 tags that lost.
    pub reasons: Vec<Reason>,
}

/// One question: what a policy is asked about.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) policy: &'a Policy,
    pub(super) current: Current<'a>,
    pub(super) listing: &'a Listing,
    pub(super) facts: &'a HashMap<Tag, TagFacts>,
}

/// Decides. The answer depends on nothing but the arguments, and not on the order of the tags.
pub fn decide(policy: &Policy, current: Current<'_>, listing: &Listing, facts: &HashMap<Tag, TagFacts>) -> Decision {
    let asked = Asked { policy, current, listing, facts };
    match policy.judge(&asked) {
        Some(Ok(judge)) => choose(&asked, &*judge),
        Some(Err(problem)) => Decision::problem(problem),
        None if matches!(policy.kind(), Kind::Never) => {
            Decision::nothing(Reason::new(Code::PolicyNever, format!("`{policy}` takes no tag")))
        }
        None => decide_digest(&asked),
    }
}

/// The tags whose times policy `newest` must know, the current one included: about 200 at most, else a problem. Empty
/// for other policies.
pub fn timed_candidates(policy: &Policy, current: Current<'_>, listing: &Listing) -> Result<Vec<Tag>, Reason> {
    let Kind::Newest(glob) = policy.kind() else { return Ok(Vec::new()) };
    let mut tags = newest_candidates(policy, glob.as_ref(), listing)?;
    tags.extend(current.tag.filter(|tag| tags.binary_search(tag).is_err()).cloned());
    Ok(tags)
}

impl Decision {
    /// The best target.
    pub fn choice(&self) -> Option<&Target> {
        self.eligible.first()
    }

    pub(super) fn problem(reason: Reason) -> Self {
        Self { eligible: Vec::new(), problem: Some(reason.clone()), reasons: vec![reason] }
    }

    pub(super) fn nothing(reason: Reason) -> Self {
        Self { eligible: Vec::new(), problem: None, reasons: vec![reason] }
    }
}

fn choose(asked: &Asked<'_>, judge: &dyn Judge) -> Decision {
    let best = judge.best();
    let choice = best.first().map(|&id| asked.listing.tag(id));
    let mut reasons = vec![whole(asked, judge, choice)];
    reasons.extend(losers(asked, judge, choice));

    let target = |&id| {
        let tag = asked.listing.tag(id);
        Target { tag: tag.clone(), digest: asked.facts.get(tag).and_then(|facts| facts.digest.clone()) }
    };
    Decision { eligible: best.iter().map(target).collect(), problem: None, reasons }
}

/// The reason for the workload as a whole.
fn whole(asked: &Asked<'_>, judge: &dyn Judge, choice: Option<&Tag>) -> Reason {
    let policy = asked.policy;
    match (choice, asked.current.tag) {
        (Some(tag), Some(current)) => {
            Reason::of_tag(tag, Code::Chosen, format!("the best that `{policy}` takes from `{current}`"))
        }
        (Some(tag), None) => Reason::of_tag(tag, Code::Chosen, format!("the best that `{policy}` takes")),
        (None, current) => {
            let message = judge.nothing().unwrap_or_else(|| match current {
                _ if asked.listing.is_empty() => "the repository has no tags".to_owned(),
                Some(current) => format!("no tag that `{policy}` takes is newer than `{current}`"),
                None => format!("there is no tag that `{policy}` takes"),
            });
            Reason::new(Code::UpToDate, message)
        }
    }
}

/// A reason for each of the newest tags that lost.
fn losers(asked: &Asked<'_>, judge: &dyn Judge, choice: Option<&Tag>) -> Vec<Reason> {
    let index = asked.listing.index();
    let filters = asked.policy.filters();
    let mut reasons = Vec::new();
    for &(id, place) in &index.newest {
        let tag = asked.listing.tag(id);
        if Some(tag) == choice || Some(tag) == asked.current.tag {
            continue;
        }
        if reasons.len() == EXPLAINED {
            break;
        }
        let entry = place.map(|place| &index.versions[place as usize]);
        let refusal = filters.refusal(tag.as_str()).or_else(|| judge.refusal(id, entry));
        let (code, message) = refusal.unwrap_or_else(|| {
            let better = match (choice, asked.current.tag) {
                (Some(choice), _) => format!("eligible, but `{choice}` is better"),
                (None, Some(current)) => format!("eligible, but no better than the current `{current}`"),
                (None, None) => "eligible, but not taken".to_owned(),
            };
            (Code::NotBest, better)
        });
        reasons.push(Reason::of_tag(tag, code, message));
    }
    reasons
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.digest {
            Some(digest) => write!(f, "{}@{digest}", self.tag),
            None => write!(f, "{}", self.tag),
        }
    }
}

/// A line for each reason.
impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, reason) in self.reasons.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            match &reason.tag {
                Some(tag) => write!(f, "{tag}: {}: {}", reason.code, reason.message)?,
                None => write!(f, "{}: {}", reason.code, reason.message)?,
            }
        }
        Ok(())
    }
}
