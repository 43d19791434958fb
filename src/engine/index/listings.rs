//! Listings in place of single tags, where webhooks of a sender name too many: of one source at most one in ten seconds,
//! and at a host ten a second.

use std::{collections::HashMap, sync::Arc, time::Duration};

use crate::{
    domain::hint::Source,
    engine::{index::sender::Sender, timers::Timers},
};

/// Between two of a source.
const QUIET: Duration = Duration::from_secs(10);
/// Between two at a host.
const GAP: Duration = Duration::from_millis(100);
/// From a webhook to the listing: registries tell of a tag before it is there.
const EARLY: Duration = Duration::from_secs(1);

/// A source, and who named tags of it.
type Key = (Arc<Source>, Sender);

/// Listings that are to come, and sources where one was just made.
#[derive(Debug, Default)]
pub(crate) struct Listings {
    of: HashMap<Key, Listing>,
    /// When the listing is to be made, or when the next one may be.
    timers: Timers<Key>,
    /// When the next one may be at each host.
    hosts: HashMap<(Box<str>, Sender), Duration>,
}

#[derive(Debug, Default)]
struct Listing {
    /// One is to be made when the time comes.
    wanted: bool,
    /// One more is to be made after that, as that comes too early.
    again: bool,
    /// It has its turn at the host.
    in_turn: bool,
}

impl Listings {
    /// The source is to be listed, not at once but soon.
    pub(crate) fn want(&mut self, source: &Arc<Source>, sender: Sender, now: Duration) {
        let (key, at) = ((source.clone(), sender), now + EARLY);
        let listing = self.of.entry(key.clone()).or_default();
        let time = self.timers.of(&key);
        if !listing.wanted {
            listing.wanted = true;
            self.timers.set(key, time.map_or(at, |rests_until| at.max(rests_until)));
        } else if time.is_some_and(|time| time < at) {
            listing.again = true;
        }
    }

    /// When something is next to be done.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.timers.next()
    }

    /// The next source that is to be listed now.
    pub(crate) fn due(&mut self, now: Duration) -> Option<Arc<Source>> {
        while let Some(key) = self.timers.due(now) {
            let Some(listing) = self.of.get_mut(&key) else { continue };
            if !listing.wanted {
                self.of.remove(&key);
                continue;
            }
            if !listing.in_turn {
                self.hosts.retain(|_, next| *next > now);
                let next = self.hosts.entry((key.0.repository.host().into(), key.1)).or_insert(now);
                let turn = *next;
                *next += GAP;
                if turn > now {
                    listing.in_turn = true;
                    self.timers.set(key, turn);
                    continue;
                }
            }
            *listing = Listing { wanted: listing.again, ..Listing::default() };
            self.timers.set(key.clone(), now + QUIET);
            return Some(key.0);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{hint::Credentials, image::Repository};

    fn source(name: &str) -> Arc<Source> {
        Arc::new(Source { repository: Repository::parse(name).unwrap(), credentials: Credentials::default() })
    }

    /// When listings are made until then, in milliseconds.
    fn pass(listings: &mut Listings, until: u64) -> Vec<(u64, String)> {
        let mut made = Vec::new();
        while let Some(at) = listings.next().filter(|at| *at <= Duration::from_millis(until)) {
            while let Some(source) = listings.due(at) {
                made.push((at.as_millis() as u64, source.repository.to_string()));
            }
        }
        made
    }

    fn times(made: &[(u64, String)]) -> Vec<u64> {
        made.iter().map(|(at, _)| *at).collect()
    }

    #[test]
    fn a_source_is_listed_at_most_once_in_ten_seconds_and_after_each_wish() {
        let (mut listings, source) = (Listings::default(), source("r.io/a"));
        let mut made = Vec::new();
        for now in (0..25_000).step_by(100) {
            listings.want(&source, Sender::of("generic"), Duration::from_millis(now));
            made.extend(pass(&mut listings, now));
        }
        made.extend(pass(&mut listings, 100_000));
        assert_eq!(times(&made), [1000, 11_000, 21_000, 31_000]);
        assert!(listings.of.is_empty() && listings.next().is_none());
    }

    #[test]
    fn a_wish_shortly_before_a_listing_brings_another_one() {
        let (mut listings, source) = (Listings::default(), source("r.io/a"));
        listings.want(&source, Sender::of("generic"), Duration::ZERO);
        listings.want(&source, Sender::of("generic"), Duration::from_millis(900));
        assert_eq!(times(&pass(&mut listings, 100_000)), [1000, 11_000]);
        listings.want(&source, Sender::of("generic"), Duration::from_secs(200));
        assert_eq!(times(&pass(&mut listings, 300_000)), [201_000]);
    }

    #[test]
    fn those_of_a_host_come_one_after_the_other_and_none_is_left_out() {
        let mut listings = Listings::default();
        for _ in 0..10 {
            for n in 0..500 {
                listings.want(&source(&format!("r.io/{n}")), Sender::of("generic"), Duration::ZERO);
            }
            listings.want(&source("s.io/a"), Sender::of("generic"), Duration::ZERO);
            listings.want(&source("r.io/a"), Sender::of("github"), Duration::ZERO);
        }
        let made = pass(&mut listings, 100_000);
        let (flood, others): (Vec<_>, Vec<_>) =
            made.into_iter().partition(|(_, name)| name.starts_with("r.io/") && name != "r.io/a");
        assert_eq!(times(&others), [1000, 1000]);
        assert_eq!(times(&flood), (0..500).map(|n| 1000 + 100 * n).collect::<Vec<u64>>());
        assert!(listings.of.is_empty());
    }
}
