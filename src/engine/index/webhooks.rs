//! What webhooks name, and what came of it.

use std::{collections::HashSet, sync::Arc, time::Duration};

use crate::{
    domain::{
        decide::may_take,
        hint::{Hint, Source, Trigger},
        image::Tag,
    },
    engine::{
        index::{
            effect::Effect,
            entry::WorkloadEntry,
            hints::{LookFindings, Lost},
            state::State,
        },
        look::question::{Question, Snapshot},
    },
};

impl State {
    /// A webhook says: look.
    pub(crate) fn hint(&mut self, hint: &Hint, now: Duration) {
        for source in self.sources.of(&hint.repository) {
            let fits = hint.tag.as_ref().is_none_or(|tag| self.fits(&source, tag));
            if self.hints.offer(&source, hint, fits, now) {
                self.sources.want(&source, Trigger::Webhook, hint.tag.clone(), now, &mut self.effects);
            }
        }
    }

    /// Whether somebody could take the tag. Where many ask of the source, or many different things, that is taken for
    /// granted.
    fn fits(&self, source: &Arc<Source>, tag: &Tag) -> bool {
        const MOST: usize = 256;
        const DISTINCT: usize = 16;
        let users = self.sources.users(source).filter_map(|id| self.entry(id));
        let mut questions = users.flat_map(|entry| entry.questions(source));
        let distinct: HashSet<&Arc<Question>> = questions.by_ref().take(MOST).collect();
        let takes = |question: &&Arc<Question>| may_take(&question.policy, question.current(), tag);
        questions.next().is_some() || distinct.len() > DISTINCT || distinct.iter().any(takes)
    }

    /// Compares what webhooks named with what a look brought, and that with what was there before.
    pub(super) fn seen(&mut self, source: &Arc<Source>, before: &Snapshot, read: bool, now: Duration) {
        let mut hints = std::mem::take(&mut self.hints);
        let users: Vec<&WorkloadEntry> = self.sources.users(source).filter_map(|id| self.entry(id)).collect();
        // What nobody asks for is not looked at.
        let matters = |tag: &Tag| {
            let mut questions = users.iter().flat_map(|entry| entry.questions(source));
            questions.any(|question| question.policy.needs().listing || question.tag.as_ref() == Some(tag))
        };
        let snapshot = self.sources.snapshot(source).unwrap_or_default();
        let brought = LookFindings {
            saw: &|tag, digest| !matters(tag) || snapshot.shows(tag, digest),
            listed: &|tag, digest| !matters(tag) || snapshot.may_show(tag, digest),
            is_new: &|tag| snapshot.is_news(tag, before),
        };
        let lost = hints.looked(source, now, read.then_some(&brought));
        self.hints = hints;
        let is_there = |lost: &Lost| snapshot.shows(&lost.tag, lost.digest.as_ref());
        let mut said = self.sources.lost(source).is_some_and(is_there) && self.sources.set_lost(source, None, now);
        for lost in lost {
            let (repository, sender, why) = (source.repository.clone(), lost.sender, lost.describe(&source.repository));
            self.effects.push(Effect::Lost { repository, sender, why });
            said |= self.sources.set_lost(source, Some(lost), now);
        }
        if said {
            self.effects.extend(self.sources.users(source).cloned().map(Effect::Assess));
        }
    }
}
