//! What every store of sightings must do: one suite for all.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use supercargo::{
    domain::{
        history::{MOST, Seen, Sighting},
        image::{Digest, Repository, Tag},
        tags::Collector,
    },
    ports::Histories,
};

/// Handles of one store, whose clock says `now`, and how to read what it remembers of a repository. It may remember
/// others.
pub(crate) struct Store<'a, R> {
    pub(crate) handles: &'a [Arc<dyn Histories>],
    pub(crate) now: Timestamp,
    pub(crate) read: R,
}

impl<R: AsyncFn(&Repository) -> Vec<Sighting>> Store<'_, R> {
    /// All of it, each in repositories of its own.
    pub(crate) async fn holds(&self) {
        self.keeps_the_earliest().await;
        self.keeps_when_it_was_pushed().await;
        self.keeps_repositories_apart().await;
        self.loses_nothing_of_many_at_once().await;
        self.keeps_the_newest_of_too_many().await;
        self.forgets_what_is_gone_for_long().await;
    }

    async fn keeps_the_earliest(&self) {
        let of = repository("earliest");
        assert_eq!(self.of(&of).await, []);
        let (early, late) = (self.ago(2), self.ago(1));
        for at in [late, early, late] {
            self.add(&of, vec![sighting("1.0", 'a', at)], None).await;
        }
        for at in [early, late] {
            self.add(&of, vec![sighting("1.1", 'a', at)], None).await;
        }
        // The tag has moved.
        self.add(&of, vec![sighting("1.0", 'b', late)], None).await;
        let wanted = [sighting("1.0", 'a', early), sighting("1.0", 'b', late), sighting("1.1", 'a', early)];
        assert_eq!(self.of(&of).await, wanted);
    }

    async fn keeps_when_it_was_pushed(&self) {
        let of = repository("pushed");
        let pushed = Sighting { pushed: Some(self.ago(3)), ..sighting("1.0", 'a', self.ago(1)) };
        let later = Sighting { pushed: Some(self.ago(2)), ..pushed.clone() };
        for seen in [&sighting("1.0", 'a', self.ago(1)), &later, &pushed, &later, &sighting("1.0", 'a', self.ago(1))] {
            self.add(&of, vec![seen.clone()], None).await;
        }
        assert_eq!(self.of(&of).await, [pushed]);
    }

    async fn keeps_repositories_apart(&self) {
        let names = ["apart", "apart/a", "apart-a", "apart.a", "apart_a"];
        for (name, days) in names.iter().zip(1..) {
            let listed = Some(&["1.0"][..]);
            self.add(&repository(name), vec![sighting("1.0", 'a', self.ago(days))], listed).await;
        }
        // What is not listed in one may be in another.
        self.add(&repository("apart"), vec![], Some(&[])).await;
        for (name, days) in names.iter().zip(1..) {
            assert_eq!(self.of(&repository(name)).await, [sighting("1.0", 'a', self.ago(days))], "{name}");
        }
    }

    async fn loses_nothing_of_many_at_once(&self) {
        let (of, at) = (repository("at-once"), self.ago(1));
        let adding = (0..8).map(|writer| {
            let (histories, of) = (self.handles[writer % self.handles.len()].clone(), of.clone());
            tokio::spawn(async move {
                for n in 0..15 {
                    let sightings = vec![sighting(&format!("{writer}.{n:02}"), 'a', at)];
                    histories.add(&Seen { repository: of.clone(), sightings, listed: None }).await.unwrap();
                }
            })
        });
        for adding in adding.collect::<Vec<_>>() {
            adding.await.unwrap();
        }
        let all = (0..8).flat_map(|writer| (0..15).map(move |n| format!("{writer}.{n:02}")));
        let found = self.of(&of).await.into_iter().map(|found| found.tag.to_string());
        assert_eq!(found.collect::<Vec<_>>(), all.collect::<Vec<_>>());
    }

    async fn keeps_the_newest_of_too_many(&self) {
        let of = repository("many");
        let all: Vec<Sighting> = (0..MOST + 100)
            .map(|n| sighting(&format!("1.{n:03}"), 'a', self.ago(1) + SignedDuration::from_secs(n as i64)))
            .collect();
        // The old ones come last, too.
        for some in [&all[300..], &all[..300]] {
            self.add(&of, some.to_vec(), None).await;
        }
        let found = self.of(&of).await;
        assert!(found == all[100..], "{} from {:?}", found.len(), found.first());
    }

    async fn forgets_what_is_gone_for_long(&self) {
        let of = repository("gone");
        let days = [("gone", 91), ("late", 89), ("listed", 200)];
        let all = days.map(|(tag, days)| sighting(tag, 'a', self.ago(days)));
        self.add(&of, all.to_vec(), None).await;
        assert_eq!(self.of(&of).await, all, "nobody knows what is there");
        self.add(&of, vec![], Some(&["listed"])).await;
        assert_eq!(self.of(&of).await, all[1..]);
    }

    async fn add(&self, of: &Repository, sightings: Vec<Sighting>, listed: Option<&[&str]>) {
        let listed = listed.map(|listed| {
            let mut tags = Collector::default();
            assert!(listed.iter().all(|tag| tags.push(tag)));
            tags.finish()
        });
        let seen = Seen { repository: of.clone(), sightings, listed };
        self.handles[0].add(&seen).await.unwrap();
    }

    /// By tag and digest: a store may keep them in any order.
    async fn of(&self, repository: &Repository) -> Vec<Sighting> {
        let mut found = (self.read)(repository).await;
        found.sort_by(|a, b| (a.tag.as_str(), &a.digest).cmp(&(b.tag.as_str(), &b.digest)));
        found
    }

    /// So many days ago, on a whole second: a store may keep no more of a time.
    fn ago(&self, days: i64) -> Timestamp {
        let now = Timestamp::from_second(self.now.as_second()).unwrap();
        now - SignedDuration::from_hours(24 * days)
    }
}

pub(crate) fn repository(name: &str) -> Repository {
    Repository::parse(&format!("registry.test/shop/{name}")).unwrap()
}

/// Of a digest of that digit.
pub(crate) fn sighting(tag: &str, digest: char, first_seen: Timestamp) -> Sighting {
    let digest = Digest::parse(&format!("sha256:{}", String::from(digest).repeat(64))).unwrap();
    Sighting { tag: Tag::parse(tag).unwrap(), digest, first_seen, pushed: None }
}
