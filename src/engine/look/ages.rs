//! What a look learns of the age of tags: what is seen for the first time counts from now.

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    domain::{
        ages::{Ages, Wait},
        history::{History, Sighting},
        image::{Digest, Tag},
    },
    engine::look::question::{Order, Question},
};

/// New tags whose digests one look asks for; not more are proposed for one question.
pub(super) const NEW: usize = 20;

/// Tags without a manifest that one look asks for again.
pub(super) const AGAIN: usize = 2;

/// What is known of ages, and what this look has seen for the first time.
pub(super) struct Seen {
    history: Arc<History>,
    now: Timestamp,
    /// The time that ages are judged by.
    at: Timestamp,
    pub(super) new: Vec<Sighting>,
}

impl Seen {
    pub(super) fn new(order: &Order) -> Self {
        Self { history: order.history.clone(), now: order.now, at: order.at, new: Vec::new() }
    }

    /// That a tag points to a digest. A time that is still to come was taken from a wrong clock.
    pub(super) fn see(&mut self, tag: &Tag, digest: &Digest) {
        if self.history.of(tag, digest).is_none_or(|since| !since.pushed && since.at > self.now) {
            let sighting = Sighting { tag: tag.clone(), digest: digest.clone(), first_seen: self.now, pushed: None };
            Arc::make_mut(&mut self.history).extend([&sighting]);
            self.new.push(sighting);
        }
    }

    /// Whether something was known or seen of the tag.
    pub(super) fn knows(&self, tag: &str) -> bool {
        self.history.of_tag(tag).is_some()
    }

    /// Of the tags that are new those whose digests are asked for now; the best of each question first, and of none more
    /// than may wait for it.
    pub(super) fn to_ask(&self, wanted: &[(Arc<Question>, Vec<Tag>)]) -> Vec<Tag> {
        let room = |question: &Question| self.history.room(question.min_age.unwrap_or_default(), self.now);
        let wanted: Vec<&[Tag]> = wanted.iter().map(|(of, tags)| &tags[..tags.len().min(room(of))]).collect();
        let ranks = wanted.iter().map(|tags| tags.len()).max().unwrap_or_default();
        let mut ask: Vec<Tag> = Vec::new();
        for tag in (0..ranks).flat_map(|rank| wanted.iter().filter_map(move |tags| tags.get(rank))) {
            if ask.len() < NEW && !ask.contains(tag) {
                ask.push(tag.clone());
            }
        }
        ask
    }

    pub(super) fn history(&self) -> Arc<History> {
        self.history.clone()
    }

    /// Why what the tag points to is too young for a question.
    pub(super) fn wait(&self, question: &Question, tag: &Tag, digest: &Digest) -> Option<Wait> {
        let min_age = question.min_age?;
        Ages { history: &self.history, min_age, now: self.at }.of(tag, digest)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::{
        history::MOST,
        policy::{NamedPolicies, Options, Policy},
    };

    fn tag(text: &str) -> Tag {
        Tag::parse(text).unwrap()
    }

    fn digest() -> Digest {
        Digest::parse(&format!("sha256:{}", "a".repeat(64))).unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn seen(sightings: &[Sighting], now: i64) -> Seen {
        Seen { history: Arc::new(History::new(sightings)), now: at(now), at: at(now), new: Vec::new() }
    }

    fn sighting(name: &str, second: i64) -> Sighting {
        Sighting { tag: tag(name), digest: digest(), first_seen: at(second), pushed: None }
    }

    fn question(days: u64) -> Arc<Question> {
        let policy = Policy::parse("patch", &Options::default(), &NamedPolicies::default()).unwrap();
        let min_age = Some(Duration::from_secs(days * 86_400));
        Arc::new(Question {
            policy,
            tag: None,
            digest: None,
            pinned: true,
            avoided: Arc::default(),
            held: Arc::default(),
            is_full: false,
            min_age,
            kept: None,
        })
    }

    #[test]
    fn who_waits_for_very_much_takes_no_room_of_others() {
        let waiting: Vec<Sighting> = (0..MOST).map(|n| sighting(&format!("x{n}"), 0)).collect();
        let seen = seen(&waiting, 2 * 86_400);
        let wanted = [(question(366), vec![tag("x500"), tag("x501")]), (question(1), vec![tag("1.0.1")])];
        assert_eq!(seen.to_ask(&wanted), [tag("1.0.1")]);
        assert_eq!(seen.to_ask(&wanted[..1]), []);
    }

    #[test]
    fn a_time_that_is_still_to_come_is_taken_anew() {
        let mut seen = seen(&[sighting("1.0", 500), sighting("1.1", 50)], 100);
        seen.see(&tag("1.0"), &digest());
        seen.see(&tag("1.1"), &digest());
        assert_eq!(seen.new, [sighting("1.0", 100)]);
        assert_eq!(seen.history().of_tag("1.0").unwrap().at, at(100));
    }
}
