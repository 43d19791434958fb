//! What people have said of updates, by the object that each names: by whom it ever is written, so of limited size.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use jiff::SignedDuration;

use crate::{
    domain::{
        update::UpdateId,
        votes::{READ, Review},
        workload::WorkloadId,
    },
    ports::ObjectName,
};

/// As many reviews are kept of updates that are not known yet: a watch may be ahead of another.
const EARLY: usize = 500;
/// The same, of one person in one namespace.
const EARLY_OF_EACH: usize = 10;
/// How much older than the newest one may be that is of no update yet.
const LATELY: SignedDuration = SignedDuration::from_secs(60);

/// A review, and the number of its object.
type Numbered = (u64, Review);

/// Updates that people are asked about, and their reviews.
#[derive(Debug, Default)]
pub(crate) struct Ballots {
    workloads: HashMap<WorkloadId, Vec<OpenVote>>,
    /// Whose update has an object of that uid.
    uids: HashMap<Arc<str>, WorkloadId>,
    /// The uid that a review names, by the number of its object.
    reviews: HashMap<u64, Arc<str>>,
    early: VecDeque<Numbered>,
}

#[derive(Debug)]
struct OpenVote {
    id: UpdateId,
    /// Its object, by whose name the API server judged.
    object: ObjectName,
    /// The oldest first.
    reviews: Vec<Numbered>,
}

/// What became of a review.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is one of an update of that workload.
    Of(WorkloadId),
    /// There are too many of its update: this one is to be deleted.
    TooMany(Box<Review>),
    /// It is of no update that is known, or not of the one that it names.
    Unknown,
}

impl Ballots {
    /// People are asked about an update of a workload; the reviews that came before that was known.
    pub(crate) fn open(&mut self, workload: &WorkloadId, id: &UpdateId, object: ObjectName) -> Vec<Numbered> {
        if self.uids.contains_key(&object.uid) {
            return Vec::new();
        }
        self.uids.insert(object.uid.clone(), workload.clone());
        let early = std::mem::take(&mut self.early).into_iter().partition(|(_, review)| review.uid == object.uid);
        let asked = OpenVote { id: id.split().0, object, reviews: Vec::new() };
        self.workloads.entry(workload.clone()).or_default().push(asked);
        self.early = early.1;
        let early: VecDeque<Numbered> = early.0;
        early.into()
    }

    /// That update of the workload has ended, or all of them.
    pub(crate) fn close(&mut self, workload: &WorkloadId, id: Option<&UpdateId>) {
        let Some(all) = self.workloads.get_mut(workload) else { return };
        for asked in all.extract_if(.., |asked| id.is_none_or(|id| asked.id == *id)) {
            self.uids.remove(&asked.object.uid);
            for (number, _) in asked.reviews {
                self.reviews.remove(&number);
            }
        }
        if all.is_empty() {
            self.workloads.remove(workload);
        }
    }

    /// Takes in a review. It counts if name, uid and namespace are those of one update. Of too many those go first that do not
    /// count, by `counts`.
    pub(crate) fn take(&mut self, number: u64, review: Review, counts: impl Fn(&Review) -> bool) -> Taken {
        let Some(workload) = self.uids.get(&review.uid) else {
            self.keep_early(number, review);
            return Taken::Unknown;
        };
        let is_it = |asked: &&mut OpenVote| asked.object.uid == review.uid && asked.object.name == review.update;
        let all = self.workloads.get_mut(workload).filter(|_| workload.namespace == review.namespace);
        let Some(OpenVote { reviews, .. }) = all.and_then(|all| all.iter_mut().find(is_it)) else {
            return Taken::Unknown;
        };
        let order = |review: &Review| (review.vote.at, review.name.clone());
        reviews.retain(|(other, _)| *other != number);
        let place = reviews.partition_point(|(_, other)| order(other) < order(&review));
        self.reviews.insert(number, review.uid.clone());
        reviews.insert(place, (number, review));
        if reviews.len() <= READ {
            return Taken::Of(workload.clone());
        }
        // Then, as of each person one of each kind is enough, those that say so again.
        let void = reviews.iter().rposition(|(_, review)| !counts(review));
        let said = |at: usize| {
            let vote = &reviews[at].1.vote;
            (vote.by.clone(), vote.verb, vote.overrides)
        };
        let again = || (0..reviews.len()).rev().find(|at| (0..*at).any(|before| said(before) == said(*at)));
        let goes = void.or_else(again).unwrap_or(reviews.len() - 1);
        let (number, surplus) = reviews.remove(goes);
        self.reviews.remove(&number);
        Taken::TooMany(Box::new(surplus))
    }

    /// Whose update has an object of that uid.
    pub(crate) fn workload(&self, uid: &str) -> Option<&WorkloadId> {
        self.uids.get(uid)
    }

    fn keep_early(&mut self, number: u64, review: Review) {
        // Nobody drives out what another has said.
        let by = (&review.namespace, &review.vote.by);
        let is_by = |(_, other): &Numbered| (&other.namespace, &other.vote.by) == by;
        if self.early.iter().filter(|other| is_by(other)).count() >= EARLY_OF_EACH {
            self.early.iter().position(is_by).map(|first| self.early.remove(first));
        } else if self.early.len() >= EARLY {
            self.early.pop_front();
        }
        self.early.push_back((number, review));
    }

    /// All are known that were there at first: what is older and of none of these updates is of one that has ended.
    pub(crate) fn synced(&mut self) {
        let newest = self.early.iter().map(|(_, review)| review.vote.at).max();
        let since = newest.and_then(|newest| newest.checked_sub(LATELY).ok());
        self.early.retain(|(_, review)| since.is_some_and(|since| review.vote.at >= since));
    }

    /// Of a workload only that update is open, or none.
    pub(crate) fn keep(&mut self, is_open: impl Fn(&WorkloadId, &UpdateId) -> bool) {
        let all = self.workloads.iter().flat_map(|(workload, all)| all.iter().map(move |asked| (workload, &asked.id)));
        let ended =
            all.filter(|(workload, id)| !is_open(workload, id)).map(|(workload, id)| (workload.clone(), id.clone()));
        for (workload, id) in ended.collect::<Vec<_>>() {
            self.close(&workload, Some(&id));
        }
    }

    /// A review is gone; of which workload's update it was.
    pub(crate) fn gone(&mut self, number: u64) -> Option<WorkloadId> {
        self.early.retain(|(other, _)| *other != number);
        let workload = self.uids.get(&self.reviews.remove(&number)?)?;
        let all = self.workloads.get_mut(workload)?;
        all.iter_mut().for_each(|asked| asked.reviews.retain(|(other, _)| *other != number));
        Some(workload.clone())
    }

    /// What is known of an update.
    pub(crate) fn of(&self, workload: &WorkloadId, id: &UpdateId) -> Vec<Review> {
        // The same may have been asked before, by another object.
        let last = self.workloads.get(workload).into_iter().flatten().rfind(|asked| asked.id == *id);
        last.into_iter().flat_map(|asked| asked.reviews.iter().map(|(_, review)| review.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::domain::votes::{Verb, Vote};

    fn review(by: &str, name: usize, uid: &str) -> Review {
        let at = Timestamp::from_second(i64::try_from(name).unwrap()).unwrap();
        let vote =
            Vote { verb: Verb::Approve, by: by.into(), on_behalf_of: None, overrides: false, reason: "".into(), at };
        Review {
            namespace: "shop".into(),
            name: format!("r{name}").into(),
            update: "web-1".into(),
            uid: uid.into(),
            target: "t".into(),
            vote,
            is_mapped: false,
        }
    }

    fn web() -> WorkloadId {
        "shop/Deployment/web".parse().unwrap()
    }

    fn id(text: &str) -> UpdateId {
        UpdateId(text.into())
    }

    fn open(ballots: &mut Ballots, name: &str, uid: &str) -> Vec<Review> {
        let early = ballots.open(&web(), &id(uid), ObjectName { name: name.into(), uid: uid.into() });
        early.into_iter().map(|(_, review)| review).collect()
    }

    fn take(ballots: &mut Ballots, review: Review) -> Taken {
        let number = review.name[1..].parse().unwrap();
        ballots.take(number, review, |_| true)
    }

    #[test]
    fn a_review_is_of_the_update_whose_name_uid_and_namespace_it_has() {
        let mut ballots = Ballots::default();
        assert_eq!(open(&mut ballots, "web-1", "1"), []);
        assert_eq!(take(&mut ballots, review("alice", 1, "1")), Taken::Of(web()));
        for wrong in [
            Review { update: "other".into(), ..review("bob", 2, "1") },
            Review { namespace: "other".into(), ..review("bob", 2, "1") },
            review("bob", 2, "2"),
        ] {
            assert_eq!(take(&mut ballots, wrong), Taken::Unknown);
        }
        assert_eq!(ballots.of(&web(), &id("1")).len(), 1);
        assert_eq!(ballots.gone(1), Some(web()));
        assert_eq!((ballots.of(&web(), &id("1")), ballots.gone(1)), (vec![], None));
    }

    #[test]
    fn a_review_may_be_seen_before_its_update() {
        let mut ballots = Ballots::default();
        assert_eq!(take(&mut ballots, review("alice", 1, "1")), Taken::Unknown);
        assert_eq!(open(&mut ballots, "web-1", "1"), [review("alice", 1, "1")]);
        open(&mut ballots, "web-2", "2");
        assert_eq!(ballots.of(&web(), &id("2")), [], "another update has its own");
        take(&mut ballots, review("alice", 1, "1"));
        ballots.close(&web(), Some(&id("1")));
        assert_eq!(take(&mut ballots, review("bob", 2, "1")), Taken::Unknown);
        ballots.close(&web(), None);
        assert!(ballots.workloads.is_empty() && ballots.uids.is_empty() && ballots.reviews.is_empty());
    }

    #[test]
    fn of_very_many_the_first_of_each_person_are_kept() {
        let mut ballots = Ballots::default();
        open(&mut ballots, "web-1", "1");
        let taken: Vec<Taken> = (0..1000).map(|n| take(&mut ballots, review("alice", n, "1"))).collect();
        assert_eq!(taken.iter().filter(|taken| matches!(taken, Taken::TooMany(_))).count(), 900);
        let Taken::TooMany(surplus) = take(&mut ballots, review("bob", 5000, "1")) else { panic!() };
        assert_eq!(surplus.vote.by, "alice".into());
        assert!(ballots.of(&web(), &id("1")).iter().any(|review| *review.vote.by == *"bob"));
        let others: Vec<Taken> =
            (0..200).map(|n| take(&mut ballots, review(&format!("u{n}"), 6000 + n, "1"))).collect();
        assert!(matches!(others.last(), Some(Taken::TooMany(_))));
        assert_eq!((ballots.of(&web(), &id("1")).len(), ballots.reviews.len()), (READ, READ));
    }

    #[test]
    fn what_does_not_count_keeps_nobody_out() {
        let mut ballots = Ballots::default();
        open(&mut ballots, "web-1", "1");
        let counts = |review: &Review| &*review.target == "t";
        for n in 0..100 {
            let forged = Review { target: "other".into(), ..review(&format!("u{n}"), n, "1") };
            assert_eq!(ballots.take(n as u64, forged, counts), Taken::Of(web()));
        }
        let Taken::TooMany(surplus) = ballots.take(5000, review("bob", 5000, "1"), counts) else { panic!() };
        assert_eq!(&*surplus.target, "other");
        assert!(ballots.of(&web(), &id("1")).iter().any(|review| *review.vote.by == *"bob"));
    }

    #[test]
    fn what_is_of_no_update_takes_little_and_leaves_room_for_other_namespaces() {
        let mut ballots = Ballots::default();
        let other = Review { namespace: "other".into(), ..review("alice", 1, "9") };
        take(&mut ballots, other.clone());
        (0..5000).for_each(|n| _ = take(&mut ballots, review("alice", n, "1")));
        assert_eq!(ballots.early.len(), EARLY_OF_EACH + 1);
        assert_eq!(ballots.early[0].1, other);
        (0..5000).for_each(|n| _ = take(&mut ballots, review(&format!("u{n}"), 10_000 + n, "1")));
        assert_eq!(ballots.early.len(), EARLY);
        ballots.synced();
        assert_eq!(ballots.early.len(), 61, "those of the last minute");
    }
}
