//! `newest[:<glob>]`: the tag pushed, or else built, last (docs/policy.md §2.5).

use jiff::Timestamp;

use super::{Judge, Policy, Ready, compiled::Matcher, pattern::Pattern};
use crate::domain::{
    image::Tag,
    listing::{EXPLAINED, ListedVersion, Listing, TagId, greatest},
    policy::{Asked, Limit},
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
    let passing = || passing(glob.as_ref(), asked.filters, asked.listing, asked.limit);
    let is_timed = |tag: &str| time_of(asked, tag).is_some();
    let (all, timed) = passing().fold((0, 0), |(all, timed), (_, tag)| (all + 1, timed + usize::from(is_timed(tag))));
    // Where the listing brought the times, there may be any number.
    if timed < all {
        few(asked.policy, passing())?;
    }
    // What cannot be compared with the current tag might be a way back.
    let matches = |tag: &str| glob.as_ref().is_none_or(|glob| glob.matches(tag));
    let is_bare = |tag: &str| matches(tag) && asked.listing.contains(tag) && !is_timed(tag);
    if let Some(tag) = asked.current.tag.filter(|tag| is_bare(tag.as_str())) {
        return Err(no_time(&format!("`{tag}` has"), asked.policy));
    }
    if timed == 0 && all > 0 {
        return Err(no_time("the tags have", asked.policy));
    }
    let current = asked.current.tag.and_then(|tag| time_of(asked, tag.as_str()));
    Ok(Box::new(Newest { asked: *asked, glob, current }))
}

/// The tags whose times must be known, unless there are too many.
pub(in crate::domain) fn candidates(
    policy: &Policy,
    glob: Option<&Pattern>,
    listing: &Listing,
    limit: &Limit<'_>,
) -> Result<Vec<Tag>, Reason> {
    let (glob, filters) = (glob.map(Pattern::matcher).transpose()?, policy.filters().ready()?);
    few(policy, passing(glob.as_ref(), &filters, listing, limit))
}

fn few<'a>(policy: &Policy, passing: impl Iterator<Item = (TagId, &'a str)>) -> Result<Vec<Tag>, Reason> {
    let (mut tags, mut count) = (Vec::new(), 0);
    for (_, tag) in passing {
        count += 1;
        if count <= MAX_TIMED {
            tags.push(Tag::of(tag));
        }
    }
    if count > MAX_TIMED {
        let message = format!(
            "{count} tags match `{policy}`, and the times of at most {MAX_TIMED} are asked for: narrow it by a glob, for \
             example newest:main-*"
        );
        return Err(Reason::new(Code::TooManyTags, message));
    }
    Ok(tags)
}

fn passing<'a>(
    glob: Option<&'a Matcher>,
    filters: &'a Ready,
    listing: &'a Listing,
    limit: &'a Limit<'a>,
) -> impl Iterator<Item = (TagId, &'a str)> {
    let pass = move |tag: &str| glob.is_none_or(|glob| glob.matches(tag)) && filters.pass(tag);
    listing.tags().take_while(|_| limit.goes_on()).filter(move |(_, tag)| pass(tag))
}

fn no_time(what: &str, policy: &Policy) -> Reason {
    let message = format!(
        "{what} no time of a push or a build (builders that can repeat a build write 1970 or 1980 in its place), and \
         `{policy}` compares times: use glob:, regex: or a level"
    );
    Reason::new(Code::NoTime, message)
}

fn time_of(asked: &Asked<'_>, tag: &str) -> Option<Timestamp> {
    let facts = asked.facts.get(tag)?;
    [facts.pushed, facts.created].into_iter().flatten().find(|time| is_time(*time))
}

/// Builders that can repeat a build write the epoch in place of its time, or the first time that a ZIP file can hold.
fn is_time(time: Timestamp) -> bool {
    const FIRST_DAY_ENDS: i64 = 86_400;
    const OF_ZIP: std::ops::Range<i64> = 315_532_800..315_532_803;
    let second = time.as_second();
    second >= FIRST_DAY_ENDS && !OF_ZIP.contains(&second)
}

impl Newest<'_> {
    fn time(&self, tag: &str) -> Option<Timestamp> {
        time_of(&self.asked, tag)
    }
}

impl Judge for Newest<'_> {
    fn best(&self) -> Vec<TagId> {
        let later = |(id, tag)| {
            let time = self.time(tag).filter(|time| self.current.is_none_or(|current| *time > current))?;
            let is_current = Some(tag) == self.asked.current.tag.map(Tag::as_str);
            (!is_current && (self.asked.waits)(tag).is_none()).then_some(((time, tag), id))
        };
        greatest(
            EXPLAINED,
            passing(self.glob.as_ref(), self.asked.filters, self.asked.listing, self.asked.limit).filter_map(later),
        )
    }

    fn refusal(&self, tag: TagId, _: Option<&ListedVersion>) -> Option<(Code, String)> {
        let tag = self.asked.listing.tag(tag);
        if self.glob.as_ref().is_some_and(|glob| !glob.matches(tag)) {
            return Some((Code::NoMatch, format!("does not match `{}`", self.asked.policy)));
        }
        match (self.time(tag), self.current) {
            (None, _) => Some((Code::NoTime, "nothing says when it was pushed or built".to_owned())),
            (Some(time), Some(current)) if time <= current => {
                Some((Code::NotNewer, format!("of {time}, not later than the current one of {current}")))
            }
            _ => None,
        }
    }
}
