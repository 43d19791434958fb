//! What webhooks named and has not been seen yet.
//!
//! Registries tell of a push before all of it is to be had: the CNCF registry sends its notification before it links the
//! tag. So a tag that is not there yet, or does not point to what the sender named, is asked for again after growing
//! delays, then by a listing, and then given up in words. What a sender names is only a reason to be patient; what is
//! written is always what the registry says.
//!
//! A tag that was seen is not asked for again within ten seconds, unless the sender names another digest.

use std::{collections::HashMap, sync::Arc, time::Duration};

use crate::{
    domain::{
        hint::{Hint, Source},
        image::{Digest, Repository, Tag},
    },
    engine::timers::Timers,
};

/// The delays before each further look at the tag.
const DELAYS: [Duration; 7] = {
    const fn millis(n: u64) -> Duration {
        Duration::from_millis(n)
    }
    [millis(200), millis(500), millis(1000), millis(2000), millis(5000), millis(15_000), millis(30_000)]
};
/// How long what was seen is not asked for again.
const QUIET: Duration = Duration::from_secs(10);
/// Tags that are remembered. Further ones are asked for once.
const MOST: usize = 1000;

/// The hints of each source by tag; without one it is about the whole repository.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    of: HashMap<Arc<Source>, HashMap<Option<Tag>, Chain>>,
    count: usize,
    timers: Timers<(Arc<Source>, Option<Tag>)>,
}

#[derive(Debug)]
struct Chain {
    /// What the newest hint said the tag points to.
    digest: Option<Digest>,
    sender: &'static str,
    /// Looks in a row that did not show it.
    tries: usize,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Its time comes.
    Waits,
    /// A look is wanted.
    Wanted,
    /// A look is under way; whether another hint came meanwhile.
    Looking { again: bool },
    /// Seen, or else given up, and when.
    Done { seen: bool, at: Duration },
}

/// Whether a tag is there and points to that digest, if one is named.
type Seen<'a> = dyn Fn(&Tag, Option<&Digest>) -> bool + 'a;

/// A hint that was given up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) tag: Tag,
    pub(crate) sender: &'static str,
    /// The digest that the tag does not point to; without one the tag is not there.
    pub(crate) digest: Option<Digest>,
}

impl Hints {
    /// A hint has come; whether to look now.
    pub(crate) fn offer(&mut self, source: &Arc<Source>, hint: &Hint, now: Duration) -> bool {
        let chains = self.of.entry(source.clone()).or_default();
        let key = (source.clone(), hint.tag.clone());
        let Some(chain) = chains.get_mut(&hint.tag) else {
            if self.count < MOST {
                self.count += 1;
                let (digest, sender) = (hint.digest.clone(), hint.sender);
                chains.insert(hint.tag.clone(), Chain { digest, sender, tries: 0, stage: Stage::Wanted });
            }
            return true;
        };
        let is_known = chain.digest.is_some() && chain.digest == hint.digest;
        chain.digest.clone_from(&hint.digest);
        chain.sender = hint.sender;
        match chain.stage {
            Stage::Waits | Stage::Wanted => false,
            Stage::Looking { .. } => {
                chain.stage = Stage::Looking { again: true };
                false
            }
            Stage::Done { seen: true, .. } if is_known => false,
            Stage::Done { seen, at } => {
                let due = at + if seen && hint.digest.is_some() { DELAYS[0] } else { QUIET };
                if due <= now {
                    chain.stage = Stage::Wanted;
                    self.timers.forget(&key);
                } else {
                    chain.stage = Stage::Waits;
                    self.timers.set(key, due);
                }
                due <= now
            }
        }
    }

    /// When something is next to be done.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.timers.next()
    }

    /// The next source to look at, for the tag or else for all tags.
    pub(crate) fn due(&mut self, now: Duration) -> Option<(Arc<Source>, Option<Tag>)> {
        while let Some(key) = self.timers.due(now) {
            let Some(chain) = self.of.get_mut(&key.0).and_then(|chains| chains.get_mut(&key.1)) else { continue };
            if matches!(chain.stage, Stage::Done { .. }) {
                self.forget(&key.0, &key.1);
                continue;
            }
            chain.stage = Stage::Wanted;
            let listing = chain.tries > DELAYS.len();
            return Some((key.0, key.1.filter(|_| !listing)));
        }
        None
    }

    /// A look at the source starts.
    pub(crate) fn looking(&mut self, source: &Arc<Source>) {
        for chain in self.of.get_mut(source).into_iter().flat_map(HashMap::values_mut) {
            if chain.stage == Stage::Wanted {
                chain.stage = Stage::Looking { again: false };
            }
        }
    }

    /// A look at the source has ended. `seen` tells whether the tag is there and points to that digest, if one was
    /// named; it is `None` where the look failed. Returns what is given up.
    pub(crate) fn looked(&mut self, source: &Arc<Source>, now: Duration, seen: Option<&Seen<'_>>) -> Vec<Lost> {
        let mut lost = Vec::new();
        for (tag, chain) in self.of.get_mut(source).into_iter().flatten() {
            let Stage::Looking { again } = chain.stage else { continue };
            let key = (source.clone(), tag.clone());
            let is_there = match (tag, seen) {
                (None, _) => true,
                (Some(tag), Some(seen)) => seen(tag, chain.digest.as_ref()),
                (Some(_), None) => false,
            };
            if is_there {
                chain.tries = 0;
                // What the look saw may be from before the second hint, unless that names it.
                let unsure = again && chain.digest.is_none();
                chain.stage = if unsure { Stage::Waits } else { Stage::Done { seen: true, at: now } };
                self.timers.set(key, now + QUIET);
                continue;
            }
            chain.tries += 1;
            if chain.tries <= DELAYS.len() + 1 {
                self.timers.set(key, now + chain.delay());
                chain.stage = Stage::Waits;
                continue;
            }
            chain.tries = 0;
            chain.stage = Stage::Done { seen: false, at: now };
            self.timers.set(key, now + QUIET);
            // Where the registry cannot be read, that is what is said.
            if let (Some(tag), Some(seen)) = (tag, seen) {
                let digest = chain.digest.clone().filter(|_| seen(tag, None));
                lost.push(Lost { tag: tag.clone(), sender: chain.sender, digest });
            }
        }
        lost
    }

    /// Nobody uses the source any more.
    pub(crate) fn leave(&mut self, source: &Arc<Source>) {
        for tag in self.of.remove(source).into_iter().flat_map(HashMap::into_keys) {
            self.count -= 1;
            self.timers.forget(&(source.clone(), tag));
        }
    }

    fn forget(&mut self, source: &Arc<Source>, tag: &Option<Tag>) {
        let Some(chains) = self.of.get_mut(source) else { return };
        self.count -= usize::from(chains.remove(tag).is_some());
        if chains.is_empty() {
            self.of.remove(source);
        }
    }
}

impl Lost {
    /// For people.
    pub(crate) fn describe(&self, repository: &Repository) -> String {
        let Self { tag, sender, digest } = self;
        match digest {
            Some(digest) => format!("a webhook of {sender} said that {repository}:{tag} is {digest}, but it is not"),
            None => format!("a webhook of {sender} named {repository}:{tag}, but there is no such tag"),
        }
    }
}

impl Chain {
    /// Before the next look at it; the listing that is the last one comes at once.
    fn delay(&self) -> Duration {
        DELAYS.get(self.tries - 1).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::hint::Credentials;

    const START: Duration = Duration::from_secs(100);

    struct World {
        hints: Hints,
        source: Arc<Source>,
        now: Duration,
        /// When looks were made, and whether each was a listing.
        looks: Vec<(u64, bool)>,
        lost: Vec<Lost>,
    }

    impl World {
        fn new() -> Self {
            let repository = Repository::parse("r.io/a").unwrap();
            let source = Arc::new(Source { repository, credentials: Credentials::default() });
            Self { hints: Hints::default(), source, now: START, looks: Vec::new(), lost: Vec::new() }
        }

        fn hint(&self, digest: Option<char>) -> Hint {
            let (repository, tag) = (self.source.repository.clone(), Some(Tag::parse("1.0").unwrap()));
            Hint { repository, tag, digest: digest.map(digest_of), sender: "distribution" }
        }

        fn offer(&mut self, digest: Option<char>, there: impl Fn(u64) -> Option<char>) {
            if self.hints.offer(&self.source.clone(), &self.hint(digest), self.now) {
                self.look(false, &there);
            }
        }

        fn look(&mut self, listing: bool, there: &impl Fn(u64) -> Option<char>) {
            let millis = (self.now - START).as_millis() as u64;
            self.looks.push((millis, listing));
            let found = there(millis).map(digest_of);
            let seen =
                |_: &Tag, named: Option<&Digest>| found.is_some() && (named.is_none() || named == found.as_ref());
            self.hints.looking(&self.source);
            self.lost.extend(self.hints.looked(&self.source, self.now, Some(&seen)));
        }

        /// Until then.
        fn pass(&mut self, seconds: u64, there: impl Fn(u64) -> Option<char>) {
            let end = self.now + Duration::from_secs(seconds);
            while let Some(at) = self.hints.next().filter(|at| *at <= end) {
                self.now = self.now.max(at);
                while let Some((_, tag)) = self.hints.due(self.now) {
                    self.look(tag.is_none(), &there);
                }
            }
            self.now = end;
        }
    }

    fn digest_of(letter: char) -> Digest {
        Digest::parse(&format!("sha256:{}", letter.to_string().repeat(64))).unwrap()
    }

    #[test]
    fn a_tag_that_comes_late_is_asked_for_until_it_is_there() {
        let there = |millis| (millis >= 3000).then_some('a');
        let mut world = World::new();
        world.offer(Some('a'), there);
        world.pass(100, there);
        assert_eq!(world.looks, [0, 200, 700, 1700, 3700].map(|at| (at, false)));
        assert!(world.lost.is_empty() && world.hints.of.is_empty() && world.hints.count == 0);
    }

    #[test]
    fn a_tag_that_never_comes_is_given_up_after_a_listing() {
        let mut world = World::new();
        world.offer(None, |_| None);
        world.pass(100, |_| None);
        let looks = [0, 200, 700, 1700, 3700, 8700, 23_700, 53_700].map(|at| (at, false));
        assert_eq!(world.looks, [&looks[..], &[(53_700, true)]].concat());
        let tag = Tag::parse("1.0").unwrap();
        assert_eq!(world.lost, [Lost { tag, sender: "distribution", digest: None }]);
        assert!(world.hints.of.is_empty());
    }

    #[test]
    fn a_tag_that_still_points_elsewhere_is_waited_for_and_the_newest_hint_counts() {
        let there = |millis| Some(if millis < 1000 { 'a' } else { 'c' });
        let mut world = World::new();
        world.offer(Some('b'), there);
        world.offer(Some('c'), there);
        world.pass(100, there);
        assert_eq!(world.looks, [0, 200, 700, 1700].map(|at| (at, false)));
        assert!(world.lost.is_empty());
    }

    #[test]
    fn what_was_seen_is_asked_for_once_in_ten_seconds() {
        let there = |_| Some('a');
        let mut world = World::new();
        for _ in 0..100 {
            world.offer(None, there);
            world.pass(1, there);
        }
        assert_eq!(world.looks.len(), 11, "{:?}", world.looks);
    }

    #[test]
    fn a_tag_that_moves_again_and_again_is_seen_each_time() {
        let mut world = World::new();
        for letter in ['a', 'b', 'c', 'd'] {
            world.offer(Some(letter), |_| Some(letter));
            world.pass(1, |_| Some(letter));
        }
        assert_eq!(world.looks, [0, 1000, 2000, 3000].map(|at| (at, false)));
    }

    #[test]
    fn digests_that_are_made_up_bring_few_looks() {
        let there = |_| Some('a');
        let mut world = World::new();
        for n in 0..600_u64 {
            let letter = char::from_digit((n % 5 + 11) as u32, 16).unwrap();
            world.offer(Some(letter), there);
            world.pass(1, there);
        }
        assert!(world.looks.len() <= 100, "{}", world.looks.len());
    }

    #[test]
    fn a_hint_while_a_look_is_under_way_is_not_taken_for_seen() {
        let mut world = World::new();
        let (source, hint) = (world.source.clone(), world.hint(None));
        assert!(world.hints.offer(&source, &hint, START));
        world.hints.looking(&source);
        assert!(!world.hints.offer(&source, &hint, START));
        assert!(world.hints.looked(&source, START, Some(&|_, _| true)).is_empty());
        world.pass(100, |_| Some('a'));
        assert_eq!(world.looks, [(10_000, false)]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut world = World::new();
        let source = world.source.clone();
        for n in 0..3 * MOST {
            let tag = Some(Tag::parse(&n.to_string()).unwrap());
            assert!(world.hints.offer(&source, &Hint { tag, ..world.hint(None) }, START));
        }
        assert_eq!(world.hints.count, MOST);
        world.hints.leave(&source);
        assert_eq!((world.hints.count, world.hints.next()), (0, None));
    }
}
