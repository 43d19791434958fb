//! What is known of the age of tags, and what follows from it.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use crate::{
    domain::{decide::Young, guard::min_interval, hint::Source, history::Sighting, image::Repository},
    engine::{
        index::state::State,
        look::question::{Answer, Answered, Question},
    },
};

impl State {
    /// What is remembered of a repository is this now.
    pub(super) fn remembered(&mut self, repository: Repository, sightings: &[Sighting], now: Duration) {
        let sources = self.sources.of(&repository);
        // What is not known any more is seen anew.
        if self.histories.told(repository, sightings) {
            for source in sources {
                self.sources.want_all(&source, now, &mut self.effects);
            }
        }
    }

    /// Whether what is seen is remembered.
    pub(super) fn histories_kept(&mut self, kept: Result<(), Arc<str>>) {
        if self.histories.set_kept(kept) {
            self.assess_all();
        }
    }

    /// A look saw tags for the first time, and answered this.
    pub(super) fn aged(
        &mut self,
        source: &Arc<Source>,
        seen: Vec<Sighting>,
        answers: &[(Arc<Question>, Answered)],
        now: Duration,
    ) {
        let snapshot = self.sources.snapshot(source);
        let listed = snapshot.as_ref().and_then(|snapshot| snapshot.tags());
        let namespace = self.sources.namespaces(source).next();
        self.histories.seen(&source.repository, namespace, seen, listed, now);
        let young = |answer: &Answered| match answer {
            Ok(Answer { young: Some(Young { wait, .. }), .. }) => wait.opens(),
            _ => None,
        };
        if !answers.is_empty() {
            self.ages.set(source, answers.iter().filter_map(|(_, answer)| young(answer)).min());
        }
    }

    /// Looks again where something is old enough now.
    pub(super) fn grown(&mut self, at: Timestamp, now: Duration) {
        while let Some(source) = self.ages.due(at) {
            let Some(namespace) = self.sources.namespaces(&source).next().cloned() else { continue };
            // Of ages of seconds that is more often than may be asked.
            let interval = min_interval(&self.settings.guards, &namespace, self.settings.poll_interval).0;
            self.sources.want_anew(&source, &namespace, interval, now, &mut self.effects);
        }
    }
}
