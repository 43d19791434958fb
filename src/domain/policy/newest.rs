//! `newest[:<glob>]`: the tag pushed, or else built, last (docs/policy.md §2.5).

use jiff::Timestamp;

use super::{Judge, Policy, Ready, compiled::Matcher, pattern::Pattern};
use crate::domain::{
    decide::Asked,
    image::Tag,
    listing::{EXPLAINED, Entry, Listing, TagId, greatest},
    reason::{Code, Reason},
};

/// Of how many tags the times may be asked.
const MAX_TIMED: usize = 200;

struct Newest<'a> {
    asked: Asked<'a>,
    glob: Option<Matcher>,
    current: Option<Timestamp>,
}

pub(super) fn judge<'a>(glob: Option<&Pattern>, asked: &Asked<'a>) -> Result<Box<dyn Judge + 'a>, Reason> {
    let glob = glob.map(Pattern::matcher).transpose()?;
    // Where the listing brought the times, there may be any number.
    let untimed = |tag: &Tag| time_of(asked, tag).is_none();
    if passing(glob.as_ref(), asked.filters, asked.listing).any(|(_, tag)| untimed(tag)) {
        few(asked.policy, passing(glob.as_ref(), asked.filters, asked.listing))?;
    }
    let current = asked.current.tag.and_then(|tag| time_of(asked, tag));
    Ok(Box::new(Newest { asked: *asked, glob, current }))
}

/// The tags whose times must be known, unless there are too many.
pub(in crate::domain) fn candidates(
    policy: &Policy,
    glob: Option<&Pattern>,
    listing: &Listing,
) -> Result<Vec<Tag>, Reason> {
    let (glob, filters) = (glob.map(Pattern::matcher).transpose()?, policy.filters().ready()?);
    few(policy, passing(glob.as_ref(), &filters, listing))
}

fn few<'a>(policy: &Policy, passing: impl Iterator<Item = (TagId, &'a Tag)>) -> Result<Vec<Tag>, Reason> {
    let mut tags: Vec<Tag> = passing.map(|(_, tag)| tag.clone()).collect();
    tags.sort_unstable();
    tags.dedup();
    if tags.len() > MAX_TIMED {
        let message = format!(
            "{} tags match `{policy}`, and the times of at most {MAX_TIMED} are asked for: narrow it by a glob, for \
             example newest:main-*",
            tags.len()
        );
        return Err(Reason::new(Code::TooManyTags, message));
    }
    Ok(tags)
}

fn passing<'a>(
    glob: Option<&'a Matcher>,
    filters: &'a Ready,
    listing: &'a Listing,
) -> impl Iterator<Item = (TagId, &'a Tag)> {
    let pass = move |tag: &str| glob.is_none_or(|glob| glob.matches(tag)) && filters.pass(tag);
    listing.tags().filter(move |(_, tag)| pass(tag.as_str()))
}

fn time_of(asked: &Asked<'_>, tag: &Tag) -> Option<Timestamp> {
    asked.facts.get(tag).and_then(|facts| facts.pushed.or(facts.created))
}

impl Newest<'_> {
    fn time(&self, tag: &Tag) -> Option<Timestamp> {
        time_of(&self.asked, tag)
    }
}

impl Judge for Newest<'_> {
    fn best(&self) -> Vec<TagId> {
        let later = |(id, tag)| {
            let time = self.time(tag).filter(|time| self.current.is_none_or(|current| *time > current))?;
            (Some(tag) != self.asked.current.tag).then_some(((time, tag), id))
        };
        greatest(EXPLAINED, passing(self.glob.as_ref(), self.asked.filters, self.asked.listing).filter_map(later))
    }

    fn refusal(&self, tag: TagId, _: Option<&Entry>) -> Option<(Code, String)> {
        let tag = self.asked.listing.tag(tag);
        if self.glob.as_ref().is_some_and(|glob| !glob.matches(tag.as_str())) {
            return Some((Code::NoMatch, format!("does not match `{}`", self.asked.policy)));
        }
        match (self.time(tag), self.current) {
            (None, _) => Some((Code::NoTime, "the registry gives no time for it".to_owned())),
            (Some(time), Some(current)) if time <= current => {
                Some((Code::NotNewer, format!("of {time}, not later than the current one of {current}")))
            }
            _ => None,
        }
    }
}
