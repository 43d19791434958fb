//! When tags were first seen, by repository, and what of it is still to be remembered: at most once a minute for each.

use std::{collections::HashMap, sync::Arc, time::Duration};

use crate::{
    domain::{
        history::{History, Seen, Sighting},
        image::Repository,
        tags::Tags,
    },
    engine::timers::Timers,
};

/// Writes at once.
pub(crate) const AT_ONCE: usize = 8;
/// Between two writes of one repository.
const QUIET: Duration = Duration::from_secs(60);
/// What is known of all repositories together, in tags with a digest (each takes 24 bytes here, and some 150 in the
/// store). Above it the largest of the namespace with the most is left out, until it is asked for again.
const MOST: usize = 500_000;

/// What is known of all repositories.
pub(crate) struct Histories {
    of: HashMap<Repository, RepositoryHistory>,
    timers: Timers<Repository>,
    total: usize,
    /// What [`MOST`] is, but for tests.
    most: usize,
    /// Why it is not remembered, where it is not.
    missing: Option<Arc<str>>,
}

impl Default for Histories {
    fn default() -> Self {
        Self { of: HashMap::new(), timers: Timers::default(), total: 0, most: MOST, missing: None }
    }
}

#[derive(Default)]
struct RepositoryHistory {
    /// Who asked for it first, as far as is known.
    namespace: Option<Arc<str>>,
    history: Arc<History>,
    /// What is not remembered yet.
    pending: Vec<Sighting>,
    /// What is being written.
    writing: Option<Vec<Sighting>>,
    /// What was listed last.
    listed: Option<Tags>,
}

impl RepositoryHistory {
    fn unsaved(&self) -> impl Iterator<Item = &Sighting> {
        self.writing.iter().flatten().chain(&self.pending)
    }
}

impl Histories {
    /// What is known of a repository.
    pub(crate) fn of(&self, repository: &Repository) -> Arc<History> {
        self.of.get(repository).map(|known| known.history.clone()).unwrap_or_default()
    }

    /// A namespace asks for it.
    pub(crate) fn asked(&mut self, repository: &Repository, namespace: Option<&Arc<str>>) {
        if let Some(known) = self.of.get_mut(repository).filter(|known| known.namespace.is_none()) {
            known.namespace = namespace.cloned();
        }
    }

    /// Why what is seen is not remembered, where it is not.
    pub(crate) fn missing(&self) -> Option<&Arc<str>> {
        self.missing.as_ref()
    }

    /// Whether what is seen is remembered; whether that is news.
    pub(crate) fn set_kept(&mut self, kept: Result<(), Arc<str>>) -> bool {
        let missing = kept.err();
        let is_news = missing != self.missing;
        self.missing = missing;
        is_news
    }

    /// What is remembered of a repository now, nothing if it is not at all; whether something that was known is not so any more.
    pub(crate) fn told(&mut self, repository: Repository, sightings: &[Sighting]) -> bool {
        let known = self.of.entry(repository).or_default();
        let unsaved: Vec<Sighting> = known.unsaved().cloned().collect();
        let history = History::new(sightings.iter().chain(&unsaved));
        let is_other = history.differs(&known.history);
        self.total = self.total + history.len() - known.history.len();
        known.history = Arc::new(history);
        self.make_room();
        is_other
    }

    /// A look saw something for the first time.
    pub(crate) fn seen(
        &mut self,
        repository: &Repository,
        namespace: Option<&Arc<str>>,
        sightings: Vec<Sighting>,
        listed: Option<&Tags>,
        now: Duration,
    ) {
        if sightings.is_empty() {
            return;
        }
        let known = self.of.entry(repository.clone()).or_default();
        known.namespace = known.namespace.take().or_else(|| namespace.cloned());
        let before = known.history.len();
        Arc::make_mut(&mut known.history).extend(&sightings);
        self.total += known.history.len() - before;
        known.pending.extend(sightings);
        known.listed = listed.cloned().or_else(|| known.listed.take());
        if known.writing.is_none() && self.timers.of(repository).is_none() {
            self.timers.set(repository.clone(), now);
        }
        self.make_room();
    }

    /// Leaves out the largest of the namespace with the most, until the rest has room. What it forgets is younger when it
    /// is seen again.
    fn make_room(&mut self) {
        while self.total > self.most {
            let mut sums: HashMap<Option<&Arc<str>>, usize> = HashMap::new();
            for known in self.of.values() {
                *sums.entry(known.namespace.as_ref()).or_default() += known.history.len();
            }
            let rank = |known: &RepositoryHistory| (sums.get(&known.namespace.as_ref()).copied(), known.history.len());
            let Some((largest, _)) = self.of.iter().max_by_key(|(_, known)| rank(known)) else { return };
            let largest = largest.clone();
            tracing::warn!(repository = %largest, "when its tags were first seen is left out: too much is remembered");
            self.total -= self.of.remove(&largest).map_or(0, |known| known.history.len());
            self.timers.forget(&largest);
        }
    }

    /// When something is next to be written.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.timers.next().filter(|_| self.missing.is_none())
    }

    /// What is to be written now.
    pub(crate) fn due(&mut self, now: Duration) -> Option<Seen> {
        while self.missing.is_none()
            && let Some(repository) = self.timers.due(now)
        {
            let Some(known) = self.of.get_mut(&repository).filter(|known| known.writing.is_none()) else { continue };
            if known.pending.is_empty() {
                continue;
            }
            let sightings = std::mem::take(&mut known.pending);
            known.writing = Some(sightings.clone());
            return Some(Seen { repository, sightings, listed: known.listed.take() });
        }
        None
    }

    /// That was written, or not: then it is tried again.
    pub(crate) fn written(&mut self, seen: Seen, written: Option<&[Sighting]>, now: Duration) {
        let Some(known) = self.of.get_mut(&seen.repository) else { return };
        known.writing = None;
        if written.is_none() {
            known.pending.splice(0..0, seen.sightings);
            known.listed = known.listed.take().or(seen.listed);
        }
        self.timers.set(seen.repository.clone(), now + QUIET);
        if let Some(written) = written {
            self.told(seen.repository, written);
        }
    }

    /// The process ends: what waits is to be written now.
    pub(crate) fn hurry(&mut self, now: Duration) {
        for (repository, known) in self.of.iter().filter(|(_, known)| !known.pending.is_empty()) {
            if known.writing.is_none() {
                self.timers.set(repository.clone(), now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::domain::image::{Digest, Tag};

    fn repository(name: &str) -> Repository {
        Repository::parse(name).unwrap()
    }

    fn sighting(tag: &str, second: i64) -> Sighting {
        let digest = Digest::parse(&format!("sha256:{}", "a".repeat(64))).unwrap();
        let first_seen = Timestamp::from_second(second).unwrap();
        Sighting { tag: Tag::parse(tag).unwrap(), digest, first_seen, pushed: None }
    }

    fn since(histories: &Histories, tag: &str) -> Option<i64> {
        histories.of(&repository("r.io/a")).of_tag(tag).map(|since| since.at.as_second())
    }

    const NOW: Duration = Duration::from_secs(1000);

    #[test]
    fn what_is_seen_is_written_at_once_and_then_once_a_minute() {
        let (mut histories, of) = (Histories::default(), repository("r.io/a"));
        histories.seen(&of, None, vec![sighting("1.0", 1)], None, NOW);
        let first = histories.due(NOW).unwrap();
        assert_eq!(first.sightings, [sighting("1.0", 1)]);
        histories.seen(&of, None, vec![sighting("1.1", 2)], None, NOW);
        assert!(histories.next().is_none(), "while one is written no other one is");
        histories.written(first, Some(&[sighting("1.0", 1)]), NOW);
        histories.seen(&of, None, vec![sighting("1.2", 3)], None, NOW);
        assert_eq!(histories.next(), Some(NOW + QUIET));
        assert!(histories.due(NOW).is_none());
        let second = histories.due(NOW + QUIET).unwrap();
        assert_eq!(second.sightings, [sighting("1.1", 2), sighting("1.2", 3)]);
        histories.written(second, Some(&[]), NOW + QUIET);
        assert!(histories.due(NOW + 2 * QUIET).is_none() && histories.next().is_none());
    }

    #[test]
    fn what_was_not_written_is_tried_again_and_counts_meanwhile() {
        let (mut histories, of) = (Histories::default(), repository("r.io/a"));
        histories.seen(&of, None, vec![sighting("1.0", 1)], None, NOW);
        let seen = histories.due(NOW).unwrap();
        assert!(!histories.told(of.clone(), &[]), "what is being written is not in it yet");
        histories.written(seen, None, NOW);
        assert_eq!(since(&histories, "1.0"), Some(1));
        assert_eq!(histories.due(NOW + QUIET).unwrap().sightings, [sighting("1.0", 1)]);
        histories.hurry(NOW);
        assert!(histories.due(NOW).is_none(), "it is being written");
    }

    #[test]
    fn nothing_is_written_where_nothing_is_remembered() {
        let (mut histories, of) = (Histories::default(), repository("r.io/a"));
        assert!(histories.set_kept(Err("no kind".into())) && !histories.set_kept(Err("no kind".into())));
        histories.seen(&of, None, vec![sighting("1.0", 1)], None, NOW);
        assert!(histories.next().is_none() && histories.due(NOW).is_none());
        assert!(histories.set_kept(Ok(())));
        assert_eq!(histories.due(NOW).unwrap().sightings, [sighting("1.0", 1)]);
    }

    #[test]
    fn what_is_taken_away_is_not_known_any_more() {
        let (mut histories, of) = (Histories::default(), repository("r.io/a"));
        assert!(!histories.told(of.clone(), &[sighting("1.0", 1), sighting("1.1", 1)]));
        assert!(!histories.told(of.clone(), &[sighting("1.1", 1), sighting("1.0", 1)]));
        assert_eq!(since(&histories, "1.1"), Some(1));
        assert!(histories.told(of.clone(), &[sighting("1.0", 1)]));
        assert_eq!(since(&histories, "1.1"), None);
        assert!(histories.told(of, &[]));
        assert_eq!((since(&histories, "1.0"), histories.total), (None, 0));
    }

    #[test]
    fn what_is_known_of_all_has_a_bound_and_who_has_least_stays() {
        let mut histories = Histories { most: 1000, ..Histories::default() };
        let sightings = |n: usize| (0..n).map(|tag| sighting(&tag.to_string(), 1)).collect::<Vec<_>>();
        let (small, large): (Arc<str>, Arc<str>) = ("small".into(), "large".into());
        histories.seen(&repository("r.io/small"), Some(&small), sightings(100), None, NOW);
        for n in 0..10 {
            histories.seen(&repository(&format!("r.io/{n}")), Some(&large), sightings(200), None, NOW);
            assert!(histories.total <= 1000);
        }
        histories.told(repository("r.io/other"), &sightings(500));
        assert_eq!(histories.of(&repository("r.io/small")).len(), 100);
        assert_eq!(histories.total, histories.of.values().map(|known| known.history.len()).sum::<usize>());
        assert_eq!(histories.total, 1000);
    }
}
