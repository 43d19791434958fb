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
    pub(super) new: Vec<Sighting>,
}

impl Seen {
    pub(super) fn new(order: &Order) -> Self {
        Self { history: order.history.clone(), now: order.now, new: Vec::new() }
    }

    /// That a tag points to a digest.
    pub(super) fn see(&mut self, tag: &Tag, digest: &Digest) {
        if self.history.of(tag, digest).is_none() {
            let sighting = Sighting { tag: tag.clone(), digest: digest.clone(), first_seen: self.now, pushed: None };
            Arc::make_mut(&mut self.history).extend([&sighting]);
            self.new.push(sighting);
        }
    }

    /// Whether something was known or seen of the tag.
    pub(super) fn knows(&self, tag: &str) -> bool {
        self.history.of_tag(tag).is_some()
    }

    /// Of the tags that are new those whose digests are asked for now; the best of each question first.
    pub(super) fn to_ask(&self, wanted: &[(Question, Vec<Tag>)]) -> Vec<Tag> {
        let longest = wanted.iter().filter_map(|(question, _)| question.min_age).max().unwrap_or_default();
        let most = NEW.min(self.history.room(longest, self.now));
        let ranks = wanted.iter().map(|(_, tags)| tags.len()).max().unwrap_or_default();
        let mut ask: Vec<Tag> = Vec::new();
        for tag in (0..ranks).flat_map(|rank| wanted.iter().filter_map(move |(_, tags)| tags.get(rank))) {
            if ask.len() < most && !ask.contains(tag) {
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
        Ages { history: &self.history, min_age, now: self.now }.of(tag, digest)
    }
}
