//! When it was first seen what tags point to: the evidence for `min-age`.
//!
//! What is lost makes a version younger, never older, as what is not known counts from now.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher, RandomState},
    sync::LazyLock,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use super::{
    image::{Digest, Repository, Tag},
    tags::Tags,
};

/// As many are remembered of one repository: those that are seen last.
pub const MOST: usize = 500;
/// As many may wait at once: the rest is for those that are old enough, which are to be chosen.
const WAITING: usize = 400;
/// As many digests of one tag are remembered: one that is pushed all the time drives out no others.
const OF_TAG: usize = 4;
/// After so long what is not listed any more is forgotten.
const GONE: SignedDuration = SignedDuration::from_hours(90 * 24);

/// That a tag pointed to a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// The tag.
    pub tag: Tag,
    /// What it pointed to.
    pub digest: Digest,
    /// When we first saw that.
    pub first_seen: Timestamp,
    /// When it was pushed, where the registry says so.
    pub pushed: Option<Timestamp>,
}

/// What was seen of a repository, to be remembered.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Where.
    pub repository: Repository,
    /// What.
    pub sightings: Vec<Sighting>,
    /// The tags that are there now, where that is known.
    pub listed: Option<Tags>,
}

impl Seen {
    /// What is to be remembered from now on in place of what was: the earliest of each tag and digest, of tags that are
    /// still there or were until lately, and of those the newest.
    pub fn merged(&self, before: impl IntoIterator<Item = Sighting>, now: Timestamp) -> Vec<Sighting> {
        let mut all: BTreeMap<(String, String), Sighting> = BTreeMap::new();
        for sighting in before.into_iter().chain(self.sightings.iter().cloned()) {
            let key = (sighting.tag.as_str().to_owned(), sighting.digest.to_string());
            match all.get_mut(&key) {
                Some(known) => {
                    known.first_seen = known.first_seen.min(sighting.first_seen);
                    known.pushed = known.pushed.into_iter().chain(sighting.pushed).min();
                }
                None => _ = all.insert(key, sighting),
            }
        }
        let is_listed = |tag: &Tag| self.listed.as_ref().is_none_or(|listed| listed.contains(tag.as_str()));
        let mut kept: Vec<Sighting> = all
            .into_values()
            .filter(|sighting| is_listed(&sighting.tag) || now.duration_since(sighting.first_seen) < GONE)
            .collect();
        kept.sort_by_key(|sighting| std::cmp::Reverse(sighting.first_seen));
        let mut of_tag: HashMap<String, usize> = HashMap::new();
        kept.retain(|sighting| {
            let count = of_tag.entry(sighting.tag.as_str().to_owned()).or_default();
            *count += 1;
            *count <= OF_TAG
        });
        kept.truncate(MOST);
        kept
    }
}

/// Since when, and who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Since {
    /// The time.
    pub at: Timestamp,
    /// Whether the registry says so; else it is when we saw it first.
    pub pushed: bool,
}

/// What is known of one repository, small: of tags and digests only hashes are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// By the tag's hash.
    known: Vec<PackedSighting>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PackedSighting {
    tag: u64,
    digest: u64,
    /// In milliseconds since 1970; that the registry says so is kept in the lowest bit.
    since: i64,
}

/// Whoever makes up tags cannot make two of them one.
static HASHES: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl History {
    /// Of all that was seen.
    pub fn new<'a>(sightings: impl IntoIterator<Item = &'a Sighting>) -> Self {
        let mut history = Self::default();
        history.extend(sightings);
        history
    }

    /// Takes in what was seen; of the same tag and digest the earlier counts.
    pub fn extend<'a>(&mut self, sightings: impl IntoIterator<Item = &'a Sighting>) {
        self.known.extend(sightings.into_iter().map(PackedSighting::of));
        self.known.sort_unstable_by_key(|known| (known.tag, known.digest, known.since >> 1));
        self.known.dedup_by_key(|known| (known.tag, known.digest));
        self.known.shrink_to_fit();
    }

    /// Since when the tag has what it was last seen with.
    pub fn of_tag(&self, tag: &str) -> Option<Since> {
        self.entries(tag).map(PackedSighting::since).max_by_key(|since| since.at)
    }

    /// Since when the tag has that digest.
    pub fn of(&self, tag: &Tag, digest: &Digest) -> Option<Since> {
        let digest = hash(digest.to_string().as_str());
        self.entries(tag.as_str()).find(|known| known.digest == digest).map(PackedSighting::since)
    }

    /// How many more may be seen for the first time, as so few wait to be that old.
    pub fn room(&self, min_age: Duration, now: Timestamp) -> usize {
        let waits = |known: &&PackedSighting| opens(PackedSighting::since(known).at, min_age) > now;
        WAITING.saturating_sub(self.known.iter().filter(waits).count())
    }

    /// Whether something is not known here, or not so, that was known before, and not for want of room.
    pub fn differs(&self, before: &Self) -> bool {
        let oldest = self.known.iter().map(|known| known.since >> 1).min().unwrap_or(i64::MAX);
        let is_full = self.known.len() >= MOST;
        let is_lost = |of: &PackedSighting| match self
            .known
            .binary_search_by_key(&(of.tag, of.digest), |known| (known.tag, known.digest))
        {
            Ok(at) => self.known[at].since != of.since,
            Err(_) => !(is_full && of.since >> 1 <= oldest),
        };
        before.known.iter().any(is_lost)
    }

    /// How many tags and digests are known.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    fn entries(&self, tag: &str) -> impl Iterator<Item = &PackedSighting> {
        let tag = hash(tag);
        let start = self.known.partition_point(|known| known.tag < tag);
        self.known[start..].iter().take_while(move |known| known.tag == tag)
    }
}

impl PackedSighting {
    fn of(sighting: &Sighting) -> Self {
        let at = sighting.pushed.unwrap_or(sighting.first_seen).as_millisecond();
        Self {
            tag: hash(sighting.tag.as_str()),
            digest: hash(sighting.digest.to_string().as_str()),
            since: at << 1 | i64::from(sighting.pushed.is_some()),
        }
    }

    fn since(&self) -> Since {
        let at = Timestamp::from_millisecond(self.since >> 1).unwrap_or(Timestamp::MAX);
        Since { at, pushed: self.since & 1 == 1 }
    }
}

fn hash(text: &str) -> u64 {
    HASHES.hash_one(text)
}

/// When something is that old.
pub fn opens(since: Timestamp, min_age: Duration) -> Timestamp {
    SignedDuration::try_from(min_age).ok().and_then(|age| since.checked_add(age).ok()).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::tags::Collector;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn sighting(tag: &str, digest: char, first_seen: &str) -> Sighting {
        let digest = Digest::parse(&format!("sha256:{}", String::from(digest).repeat(64))).unwrap();
        Sighting { tag: Tag::parse(tag).unwrap(), digest, first_seen: at(first_seen), pushed: None }
    }

    fn seen(sightings: Vec<Sighting>, listed: Option<&[&str]>) -> Seen {
        let listed = listed.map(|listed| {
            let mut tags = Collector::default();
            assert!(listed.iter().all(|tag| tags.push(tag)));
            tags.finish()
        });
        Seen { repository: Repository::parse("r.io/a").unwrap(), sightings, listed }
    }

    const FIRST: &str = "2026-03-01T08:00:00Z";
    const LATER: &str = "2026-03-02T08:00:00Z";

    #[test]
    fn the_earliest_of_a_tag_and_digest_is_kept_in_whatever_order_it_comes() {
        for (one, other) in [(FIRST, LATER), (LATER, FIRST)] {
            let merged = seen(vec![sighting("1.0", 'a', one)], None).merged([sighting("1.0", 'a', other)], at(LATER));
            assert_eq!(merged, [sighting("1.0", 'a', FIRST)]);
            let history = History::new(&[sighting("1.0", 'a', one), sighting("1.0", 'a', other)]);
            assert_eq!(history.of_tag("1.0"), Some(Since { at: at(FIRST), pushed: false }));
        }
    }

    #[test]
    fn a_tag_that_has_moved_is_as_old_as_what_it_was_last_seen_with() {
        let (old, new) = (sighting("1.0", 'a', FIRST), sighting("1.0", 'b', LATER));
        let history = History::new([&new, &old, &sighting("1.1", 'a', FIRST)]);
        assert_eq!(history.of_tag("1.0").unwrap().at, at(LATER));
        assert_eq!(history.of(&old.tag, &old.digest).unwrap().at, at(FIRST));
        assert_eq!(history.of(&new.tag, &new.digest).unwrap().at, at(LATER));
        assert_eq!(history.of(&new.tag, &sighting("x", 'c', FIRST).digest), None);
        assert_eq!(history.of_tag("1.2"), None);
    }

    #[test]
    fn what_the_registry_says_counts_before_what_we_saw() {
        let sighting = Sighting { pushed: Some(at(FIRST)), ..sighting("1.0", 'a', LATER) };
        assert_eq!(History::new([&sighting]).of_tag("1.0"), Some(Since { at: at(FIRST), pushed: true }));
    }

    #[test]
    fn what_is_gone_for_long_is_forgotten_and_what_is_there_is_not() {
        let before = || [sighting("1.0", 'a', FIRST), sighting("1.1", 'a', LATER), sighting("1.2", 'a', FIRST)];
        let tags = |seen: Seen, now| -> Vec<String> {
            let mut tags: Vec<_> = seen.merged(before(), at(now)).iter().map(|known| known.tag.to_string()).collect();
            tags.sort();
            tags
        };
        assert_eq!(tags(seen(vec![], Some(&["1.2"])), "2026-05-30T12:00:00Z"), ["1.1", "1.2"]);
        assert_eq!(tags(seen(vec![], None), "2027-01-01T00:00:00Z").len(), 3, "nobody knows what is there");
        assert_eq!(tags(seen(vec![], Some(&[])), LATER).len(), 3);
    }

    #[test]
    fn a_tag_that_moves_all_the_time_drives_out_no_other() {
        let letters = ['a', 'b', 'c', 'd', 'e', 'f'];
        let moves = (0..6).map(|n| Sighting {
            first_seen: at(LATER) + SignedDuration::from_secs(n),
            ..sighting("latest", letters[n as usize], LATER)
        });
        let merged = seen(moves.collect(), None).merged([sighting("1.0", 'a', FIRST)], at(LATER));
        assert_eq!(merged.len(), 1 + OF_TAG);
        assert_eq!((merged[0].digest.clone(), merged[4].tag.as_str()), (sighting("x", 'f', FIRST).digest, "1.0"));
    }

    #[test]
    fn what_is_lost_is_told_from_what_had_no_room() {
        let minutes = |n: i64| at(FIRST) + SignedDuration::from_mins(n);
        let all: Vec<Sighting> =
            (0..600).map(|n| Sighting { first_seen: minutes(n), ..sighting(&format!("1.{n}"), 'a', FIRST) }).collect();
        let (all, kept) = (History::new(&all), History::new(&all[100..]));
        assert!(!kept.differs(&all) && !all.differs(&kept));
        let other = [sighting("1.0", 'a', FIRST), sighting("1.1", 'a', FIRST)];
        assert!(History::new(&other[1..]).differs(&History::new(&other)));
        assert!(History::new([&sighting("1.0", 'a', LATER)]).differs(&History::new(&other[..1])));
    }

    #[test]
    fn of_too_many_the_newest_are_kept_and_those_that_wait_have_room_among_them() {
        let minutes = |n: usize| at(FIRST) + SignedDuration::from_mins(n as i64);
        let all: Vec<Sighting> = (0..2 * MOST)
            .map(|n| Sighting { first_seen: minutes(n), ..sighting(&format!("1.{n}"), 'a', FIRST) })
            .collect();
        let merged = seen(all, None).merged([], at(LATER));
        assert_eq!(merged.len(), MOST);
        assert_eq!(merged.last().unwrap().first_seen, minutes(MOST));
        let history = History::new(&merged);
        let hour = Duration::from_secs(3600);
        assert_eq!(history.room(hour, minutes(2 * MOST)), WAITING - 59);
        assert_eq!(history.room(24 * hour, minutes(2 * MOST)), 0);
        assert_eq!(history.room(Duration::ZERO, minutes(2 * MOST)), WAITING);
    }
}
