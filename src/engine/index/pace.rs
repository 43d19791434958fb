//! How many tags a sender of webhooks may have asked for, of one source and of all sources at a host together. Whoever
//! knows its secret could else make up tags without end, until the registry refuses everybody.
//!
//! What is counted are requests: a tag that is not there takes two. What a tag took that was there and new is given back,
//! so honest senders do not run out.

use std::{collections::HashMap, sync::Arc, time::Duration};

use crate::{domain::hint::Source, engine::index::sender::Sender};

/// So many at once, and one more each time so much has passed.
type Rate = (u32, Duration);
/// One tag that never comes, asked for to the end, takes 18.
const OF_A_SOURCE: Rate = (20, Duration::from_secs(10));
const AT_A_HOST: Rate = (24, Duration::from_millis(500));
/// What a tag takes.
pub(crate) const TAG: u32 = 2;
/// How often what is full again is forgotten.
const SWEEP: Duration = Duration::from_secs(60);

/// What each sender has left.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// When each is full again. What is not here is full.
    full_at: HashMap<Bucket, Duration>,
    swept: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Bucket {
    Source(Arc<Source>, Sender),
    Host(Box<str>, Sender),
}

impl Pace {
    /// Takes what a tag takes, if it is there.
    pub(crate) fn take(&mut self, source: &Arc<Source>, sender: Sender, now: Duration) -> bool {
        if now >= self.swept + SWEEP {
            self.full_at.retain(|_, full| *full > now);
            self.swept = now;
        }
        let buckets = buckets(source, sender);
        let has_room = |(bucket, (burst, every)): &(Bucket, Rate)| {
            let full = self.full_at.get(bucket).map_or(now, |full| now.max(*full));
            full + *every * TAG <= now + *every * *burst
        };
        if !buckets.iter().all(has_room) {
            return false;
        }
        for (bucket, (_, every)) in buckets {
            let full = self.full_at.entry(bucket).or_insert(now);
            *full = now.max(*full) + every * TAG;
        }
        true
    }

    /// Gives so many requests back.
    pub(crate) fn give_back(&mut self, source: &Arc<Source>, sender: Sender, count: u32) {
        for (bucket, (_, every)) in buckets(source, sender) {
            self.full_at.entry(bucket).and_modify(|full| *full = full.saturating_sub(every * count));
        }
    }
}

fn buckets(source: &Arc<Source>, sender: Sender) -> [(Bucket, Rate); 2] {
    let host = source.repository.host().into();
    [(Bucket::Source(source.clone(), sender), OF_A_SOURCE), (Bucket::Host(host, sender), AT_A_HOST)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{hint::Credentials, image::Repository};

    const START: Duration = Duration::from_secs(100);

    fn source(name: &str) -> Arc<Source> {
        Arc::new(Source { repository: Repository::parse(name).unwrap(), credentials: Credentials::default() })
    }

    /// How many there are, at once or in the seconds after that.
    fn taken(pace: &mut Pace, sources: &[&str], sender: &'static str, seconds: u32) -> usize {
        let asked = (0..=seconds * 10).flat_map(|tenth| sources.iter().map(move |source| (tenth, source)));
        let takes =
            asked.flat_map(|(tenth, name)| (0..50).map(move |_| (START + Duration::from_millis(100) * tenth, name)));
        takes.filter(|(now, name)| pace.take(&source(name), Sender::of(sender), *now)).count()
    }

    #[test]
    fn a_source_has_ten_and_one_more_each_twenty_seconds() {
        let mut pace = Pace::default();
        assert_eq!(taken(&mut pace, &["r.io/a"], "generic", 60), 13);
        assert_eq!(taken(&mut pace, &["s.io/a"], "generic", 0), 10, "another host");
        assert_eq!(taken(&mut pace, &["r.io/a"], "github", 0), 10, "another sender");
    }

    #[test]
    fn a_host_has_twelve_and_one_more_each_second() {
        let mut pace = Pace::default();
        let sources: Vec<String> = (0..40).map(|n| format!("r.io/{n}")).collect();
        let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
        assert_eq!(taken(&mut pace, &sources, "generic", 60), 72);
    }

    #[test]
    fn what_is_given_back_can_be_taken_again_and_no_more_than_that() {
        let (mut pace, source) = (Pace::default(), source("r.io/a"));
        for _ in 0..1000 {
            assert!(pace.take(&source, Sender::of("github"), START));
            pace.give_back(&source, Sender::of("github"), TAG);
        }
        pace.give_back(&source, Sender::of("github"), 1000);
        assert_eq!(taken(&mut pace, &["r.io/a"], "github", 0), 10);
    }

    #[test]
    fn what_is_full_again_is_forgotten() {
        let mut pace = Pace::default();
        for n in 0..1000 {
            pace.take(&source(&format!("r{n}.io/a")), Sender::of("github"), START);
        }
        pace.take(&source("r.io/a"), Sender::of("github"), START + SWEEP);
        assert_eq!(pace.full_at.len(), 2);
    }
}
