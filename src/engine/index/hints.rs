//! What webhooks named and has not been seen yet.
//!
//! Registries tell of a push before all of it is to be had: the CNCF registry sends its notification before it links the
//! tag. So a tag that is not there yet, or does not point to what the sender named, is asked for again after growing
//! delays, then by a listing, and then given up in words. What a sender names is only a reason to be patient; what is
//! written is always what the registry says.
//!
//! A tag that was seen is not asked for again within ten seconds, unless the sender names another digest. What one sender
//! named keeps nothing of another's waiting. Where a sender names more tags than it may have asked for (`pace`), or than
//! are remembered, a listing now and then takes the place of them (`listings`).

use std::{collections::HashMap, sync::Arc, time::Duration};

use crate::{
    domain::{
        hint::{Hint, Source},
        image::{Digest, Repository, Tag},
    },
    engine::{
        index::{
            listings::Listings,
            pace::{Pace, TAG},
            sender::Sender,
        },
        timers::Timers,
    },
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
/// How long after a look in vain another hint brings one.
const AGAIN: Duration = Duration::from_secs(2);
/// Tags that are remembered.
const MOST: usize = 1000;

/// A tag and who named it; without a tag it is about the whole repository.
type Key = (Option<Tag>, Sender);
/// Where who named tags.
type SourceSender = (Arc<Source>, Sender);

/// The hints of each source.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    of: HashMap<Arc<Source>, HashMap<Key, Chain>>,
    counts: HashMap<SourceSender, usize>,
    timers: Timers<(Arc<Source>, Key)>,
    pace: Pace,
    listings: Listings,
}

#[derive(Debug)]
struct Chain {
    /// What the newest hint said the tag points to.
    digest: Option<Digest>,
    /// Looks in a row that did not show it.
    tries: usize,
    /// When the last of them ended.
    looked: Duration,
    /// Requests that were taken for them.
    taken: u32,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Its time comes.
    Waits,
    /// A look is wanted, or else a listing.
    Wanted { listing: bool },
    /// One is under way; whether another hint came meanwhile.
    Looking { listing: bool, again: bool },
    /// Seen, or else given up, and when.
    Done { seen: bool, at: Duration },
}

/// What a look has brought of tags.
pub(crate) struct LookFindings<'a> {
    /// Whether it is there and points to that digest, if one is named.
    pub(crate) saw: &'a dyn Fn(&Tag, Option<&Digest>) -> bool,
    /// Whether it is there, and as far as is known points to that digest: a listing tells digests of few tags.
    pub(crate) listed: &'a dyn Fn(&Tag, Option<&Digest>) -> bool,
    /// Whether it was not there before, or pointed elsewhere.
    pub(crate) is_new: &'a dyn Fn(&Tag) -> bool,
}

/// A hint that was given up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) tag: Tag,
    pub(crate) sender: &'static str,
    /// The digest that the tag does not point to; without one the tag is not there.
    pub(crate) digest: Option<Digest>,
}

impl Hints {
    /// A hint has come, and somebody could take its tag or nobody; whether to look at it now.
    pub(crate) fn offer(&mut self, source: &Arc<Source>, hint: &Hint, fits: bool, now: Duration) -> bool {
        let sender = Sender { name: hint.sender, fits };
        let key = (hint.tag.clone(), sender);
        let Some(chain) = self.of.get_mut(source).and_then(|chains| chains.get_mut(&key)) else {
            if !self.make_room(source, sender, now) {
                self.listings.want(source, sender, now);
                return false;
            }
            *self.counts.entry((source.clone(), sender)).or_default() += 1;
            let chain = Chain { digest: hint.digest.clone(), tries: 0, looked: now, taken: 0, stage: Stage::Waits };
            self.of.entry(source.clone()).or_default().insert(key.clone(), chain);
            return self.ask(source, &key, now);
        };
        let is_known = chain.digest.is_some() && chain.digest == hint.digest;
        chain.digest.clone_from(&hint.digest);
        let due = match &mut chain.stage {
            Stage::Waits if chain.tries == 0 => return false,
            // It may have been named too early before.
            Stage::Waits => chain.looked + AGAIN,
            Stage::Wanted { .. } => {
                chain.tries = 0;
                return false;
            }
            Stage::Looking { again, .. } => {
                *again = true;
                return false;
            }
            Stage::Done { seen: true, .. } if is_known => return false,
            Stage::Done { seen, at } => *at + if *seen && hint.digest.is_some() { DELAYS[0] } else { QUIET },
        };
        chain.tries = 0;
        if due <= now {
            return self.ask(source, &key, now);
        }
        chain.stage = Stage::Waits;
        let timer = (source.clone(), key);
        let due = self.timers.of(&timer).map_or(due, |at| at.min(due));
        self.timers.set(timer, due);
        false
    }

    /// When something is next to be done.
    pub(crate) fn next(&self) -> Option<Duration> {
        [self.timers.next(), self.listings.next()].into_iter().flatten().min()
    }

    /// The next source to look at, for the tag or else for all tags.
    pub(crate) fn due(&mut self, now: Duration) -> Option<(Arc<Source>, Option<Tag>)> {
        while let Some((source, key)) = self.timers.due(now) {
            let Some(chain) = self.of.get(&source).and_then(|chains| chains.get(&key)) else { continue };
            let is_last = chain.tries > DELAYS.len();
            if matches!(chain.stage, Stage::Done { .. }) {
                self.forget(&source, &key);
            } else if self.ask(&source, &key, now) {
                return Some((source, key.0.filter(|_| !is_last)));
            }
        }
        self.listings.due(now).map(|source| (source, None))
    }

    /// A look at the source starts, for tags or for all of them.
    pub(crate) fn looking(&mut self, source: &Arc<Source>, is_listing: bool) {
        for chain in self.of.get_mut(source).into_iter().flat_map(HashMap::values_mut) {
            match chain.stage {
                Stage::Wanted { listing } if is_listing || !listing => {
                    chain.stage = Stage::Looking { listing, again: false };
                }
                _ => {}
            }
        }
    }

    /// A look at the source has ended; `None` where it failed. Returns what is given up.
    pub(crate) fn looked(
        &mut self,
        source: &Arc<Source>,
        now: Duration,
        brought: Option<&LookFindings<'_>>,
    ) -> Vec<Lost> {
        let mut lost = Vec::new();
        for (key, chain) in self.of.get_mut(source).into_iter().flatten() {
            let Stage::Looking { listing, again } = chain.stage else { continue };
            let (tag, sender) = (&key.0, key.1);
            let is_there = match (tag, brought) {
                (None, _) => true,
                (Some(tag), Some(LookFindings { saw, listed, .. })) => {
                    if listing {
                        listed(tag, chain.digest.as_ref())
                    } else {
                        saw(tag, chain.digest.as_ref())
                    }
                }
                (Some(_), None) => false,
            };
            let timer = (source.clone(), key.clone());
            if is_there {
                let taken = std::mem::take(&mut chain.taken);
                let is_new = tag.as_ref().zip(brought).is_some_and(|(tag, brought)| (brought.is_new)(tag));
                // What is there was found by one request.
                self.pace.give_back(source, sender, if is_new { taken } else { taken.min(1) });
                chain.tries = 0;
                // What the look saw may be from before the second hint, unless that names it.
                let unsure = again && chain.digest.is_none();
                chain.stage = if unsure { Stage::Waits } else { Stage::Done { seen: true, at: now } };
                self.timers.set(timer, now + QUIET);
                continue;
            }
            chain.looked = now;
            chain.tries = if again { 1 } else { chain.tries + 1 };
            if chain.tries <= DELAYS.len() + 1 {
                self.timers.set(timer, now + chain.delay());
                chain.stage = Stage::Waits;
                continue;
            }
            (chain.tries, chain.taken) = (0, 0);
            chain.stage = Stage::Done { seen: false, at: now };
            self.timers.set(timer, now + QUIET);
            // Where the registry cannot be read, that is what is said.
            if let (Some(tag), Some(LookFindings { saw, .. })) = (tag, brought) {
                let digest = chain.digest.clone().filter(|_| saw(tag, None));
                lost.push(Lost { tag: tag.clone(), sender: sender.name, digest });
            }
        }
        lost
    }

    /// Nobody uses the source any more.
    pub(crate) fn leave(&mut self, source: &Arc<Source>) {
        for key in self.of.remove(source).into_iter().flat_map(HashMap::into_keys) {
            self.counts.remove(&(source.clone(), key.1));
            self.timers.forget(&(source.clone(), key));
        }
    }

    /// Whether a look for what was named may be made; if not, a listing will be.
    fn ask(&mut self, source: &Arc<Source>, key: &Key, now: Duration) -> bool {
        let may = self.pace.take(source, key.1, now);
        if !may {
            self.listings.want(source, key.1, now);
        }
        self.timers.forget(&(source.clone(), key.clone()));
        if let Some(chain) = self.of.get_mut(source).and_then(|chains| chains.get_mut(key)) {
            chain.stage = Stage::Wanted { listing: !may };
            chain.taken += if may { TAG } else { 0 };
        }
        may
    }

    /// Whether one more of that sender may be remembered of that source. Where all are taken, one is given up, which a
    /// listing finds, of what the sender with the most has named most of; unless that is what asks.
    fn make_room(&mut self, source: &Arc<Source>, sender: Sender, now: Duration) -> bool {
        if self.counts.values().sum::<usize>() < MOST {
            return true;
        }
        let mut sums = HashMap::from([(sender, 1)]);
        for ((_, sender), count) in &self.counts {
            *sums.entry(*sender).or_default() += count;
        }
        let own = (source.clone(), sender);
        let rank = |(_, sender): &SourceSender, count: usize| (sums.get(sender).copied(), count);
        let largest = self.counts.iter().max_by_key(|(place, count)| rank(place, **count));
        let Some((largest, _)) = largest.filter(|(place, count)| {
            rank(place, **count) > rank(&own, self.counts.get(&own).map_or(1, |count| count + 1))
        }) else {
            return false;
        };
        let (source, sender) = largest.clone();
        let of_sender = self.of.get(&source).into_iter().flatten().filter(|((_, by), _)| *by == sender);
        let is_done = |chain: &Chain| matches!(chain.stage, Stage::Done { .. });
        let Some((key, chain)) = of_sender.max_by_key(|(_, chain)| (is_done(chain), chain.tries)) else { return false };
        if !is_done(chain) {
            self.listings.want(&source, sender, now);
        }
        let key = key.clone();
        self.timers.forget(&(source.clone(), key.clone()));
        self.forget(&source, &key);
        true
    }

    fn forget(&mut self, source: &Arc<Source>, key: &Key) {
        let Some(chains) = self.of.get_mut(source) else { return };
        if chains.remove(key).is_none() {
            return;
        }
        if chains.is_empty() {
            self.of.remove(source);
        }
        let place = (source.clone(), key.1);
        if let Some(count) = self.counts.get_mut(&place) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&place);
            }
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
            if self.hints.offer(&self.source.clone(), &self.hint(digest), true, self.now) {
                self.look(false, &there);
            }
        }

        fn look(&mut self, listing: bool, there: &impl Fn(u64) -> Option<char>) {
            let millis = (self.now - START).as_millis() as u64;
            self.looks.push((millis, listing));
            let found = there(millis).map(digest_of);
            let seen =
                |_: &Tag, named: Option<&Digest>| found.is_some() && (named.is_none() || named == found.as_ref());
            self.hints.looking(&self.source, listing);
            let brought = LookFindings { saw: &seen, listed: &seen, is_new: &|_| false };
            self.lost.extend(self.hints.looked(&self.source, self.now, Some(&brought)));
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
        assert!(world.lost.is_empty() && world.hints.of.is_empty() && world.hints.counts.is_empty());
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
        assert_eq!(world.looks, [0, 200, 400, 900, 1900].map(|at| (at, false)));
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
        assert!(world.hints.offer(&source, &hint, true, START));
        world.hints.looking(&source, false);
        assert!(!world.hints.offer(&source, &hint, true, START));
        assert!(world.hints.looked(&source, START, Some(&ALL)).is_empty());
        world.pass(100, |_| Some('a'));
        assert_eq!(world.looks, [(10_000, false)]);
    }

    #[test]
    fn a_second_hint_while_a_tag_is_waited_for_brings_a_look_soon() {
        // The first one names what is pushed later.
        let there = |millis| (millis >= 25_000).then_some('a');
        let mut world = World::new();
        world.offer(None, there);
        world.pass(24, there);
        world.offer(None, there);
        world.pass(100, there);
        assert_eq!(world.looks[7..], [25_700].map(|at| (at, false)), "two seconds after the look at 23.7 s");

        let mut world = World::new();
        world.offer(None, there);
        world.pass(20, there);
        world.offer(None, there);
        world.pass(5, there);
        let looks: Vec<u64> = world.looks[6..].iter().map(|(at, _)| *at).collect();
        assert_eq!(looks, [20_000, 20_200, 20_700, 21_700, 23_700], "the delays begin anew");
    }

    #[test]
    fn a_hint_that_comes_while_a_look_is_in_vain_begins_the_delays_anew() {
        let mut world = World::new();
        let (source, hint) = (world.source.clone(), world.hint(None));
        world.offer(None, |_| None);
        world.pass(23, |_| None);
        world.now = START + Duration::from_millis(23_700);
        assert!(world.hints.due(world.now).is_some());
        world.hints.looking(&source, false);
        assert!(!world.hints.offer(&source, &hint, true, world.now));
        assert!(world.hints.looked(&source, world.now, Some(&NONE)).is_empty());
        assert_eq!(world.hints.next(), Some(world.now + DELAYS[0]));
    }

    /// Nothing is there, or everything.
    const NONE: LookFindings<'_> = LookFindings { saw: &|_, _| false, listed: &|_, _| false, is_new: &|_| false };
    const ALL: LookFindings<'_> = LookFindings { saw: &|_, _| true, listed: &|_, _| true, is_new: &|_| true };

    fn source(name: &str) -> Arc<Source> {
        Arc::new(Source { repository: Repository::parse(name).unwrap(), credentials: Credentials::default() })
    }

    fn named(source: &Source, tag: &str, sender: &'static str) -> Hint {
        Hint { repository: source.repository.clone(), tag: Some(Tag::parse(tag).unwrap()), digest: None, sender }
    }

    #[derive(Default)]
    struct Flood {
        hints: Hints,
        heads: usize,
        listings: usize,
    }

    impl Flood {
        /// One hint; what it brings is looked at, and nothing is there.
        fn hint(&mut self, source: &Arc<Source>, tag: &str, sender: &'static str, now: Duration) -> bool {
            let head = self.hints.offer(source, &named(source, tag, sender), true, now);
            if head {
                self.look(source, false, now);
            }
            head
        }

        fn look(&mut self, source: &Arc<Source>, listing: bool, now: Duration) {
            *(if listing { &mut self.listings } else { &mut self.heads }) += 1;
            self.hints.looking(source, listing);
            self.hints.looked(source, now, Some(&NONE));
        }

        fn pass(&mut self, now: Duration) {
            while let Some((source, tag)) = self.hints.due(now) {
                self.look(&source, tag.is_none(), now);
            }
        }
    }

    #[test]
    fn tags_that_are_made_up_bring_few_looks_however_many_they_are() {
        let (one, mut flood) = (source("r.io/a"), Flood::default());
        for n in 0..6000_u32 {
            let now = START + Duration::from_millis(10) * n;
            flood.hint(&one, &format!("x{n}"), "generic", now);
            flood.pass(now);
        }
        assert!(flood.heads <= 13 && flood.listings <= 7, "{} and {} in a minute", flood.heads, flood.listings);
        assert!(flood.listings >= 6, "they go on: {}", flood.listings);

        let (many, mut flood) = ([(); 50].map(|()| ()), Flood::default());
        let sources: Vec<_> = (0..many.len()).map(|n| source(&format!("r.io/{n}"))).collect();
        for n in 0..6000_u32 {
            let now = START + Duration::from_millis(10) * n;
            flood.hint(&sources[n as usize % sources.len()], &format!("x{n}"), "generic", now);
            flood.pass(now);
        }
        assert!(flood.heads <= 72, "of the host: {}", flood.heads);
        assert!(flood.listings <= 7 * sources.len(), "{}", flood.listings);
    }

    #[test]
    fn tags_that_are_there_and_new_are_all_asked_for() {
        let (one, mut hints) = (source("r.io/a"), Hints::default());
        for n in 0..500_u32 {
            let now = START + Duration::from_secs(1) * n;
            assert!(hints.offer(&one, &named(&one, &format!("1.0.{n}"), "github"), true, now), "{n}");
            hints.looking(&one, false);
            hints.looked(&one, now, Some(if n % 2 == 0 { &ALL } else { &NONE }));
            while hints.due(now + DELAYS[0]).is_some() {
                hints.looking(&one, false);
                hints.looked(&one, now + DELAYS[0], Some(&ALL));
            }
        }
    }

    #[test]
    fn what_may_not_be_asked_for_is_found_by_a_listing() {
        let (one, mut flood) = (source("r.io/a"), Flood::default());
        while flood.hint(&one, &format!("x{}", flood.heads), "generic", START) {}
        assert!(!flood.hint(&one, "1.0", "generic", START));
        let next = std::iter::from_fn(|| {
            let at = flood.hints.next()?;
            Some((at, flood.hints.due(at)))
        });
        let listed = next.into_iter().find_map(|(at, due)| due.filter(|(_, tag)| tag.is_none()).map(|_| at));
        assert_eq!(listed, Some(START + Duration::from_secs(1)));
        // A look for a tag does not stand for it.
        flood.hints.looking(&one, false);
        flood.hints.looked(&one, START, Some(&ALL));
        let key = (Some(Tag::parse("1.0").unwrap()), Sender::of("generic"));
        assert_eq!(flood.hints.of[&one][&key].stage, Stage::Wanted { listing: true });
        flood.hints.looking(&one, true);
        let only_listed = LookFindings { saw: &|_, _| false, ..ALL };
        assert!(flood.hints.looked(&one, START, Some(&only_listed)).is_empty());
        assert!(matches!(flood.hints.of[&one][&key].stage, Stage::Done { seen: true, .. }));
    }

    #[test]
    fn what_fits_nobody_uses_up_nothing_of_what_fits() {
        let (one, mut flood) = (source("r.io/a"), Flood::default());
        for n in 0..3 * MOST {
            let hint = named(&one, &format!("x{n}"), "github");
            if flood.hints.offer(&one, &hint, false, START) {
                flood.look(&one, false, START);
            }
        }
        assert_eq!(flood.heads, 10);
        assert!(flood.hint(&one, "1.0", "github", START), "it is asked for at once");
    }

    /// What others can do with a sender's secret, before a hook of another one that comes before its tag.
    #[rstest::rstest]
    #[case::of_one_repository(1, "generic", "distribution")]
    #[case::of_many(100, "generic", "distribution")]
    #[case::of_one_by_the_same_sender(1, "distribution", "distribution")]
    fn names_that_are_made_up_lose_no_hook_of_others(
        #[case] repositories: usize,
        #[case] foe: &'static str,
        #[case] friend: &'static str,
    ) {
        let (honest, mut flood) = (source("s.io/web"), Flood::default());
        let others: Vec<_> = (0..repositories).map(|n| source(&format!("r.io/{n}"))).collect();
        for n in 0..3 * MOST {
            flood.hint(&others[n % repositories], &format!("x{n}"), foe, START);
        }
        assert!(flood.hint(&honest, "1.0", friend, START), "it is asked for");
        let key = (Some(Tag::parse("1.0").unwrap()), Sender::of(friend));
        assert_eq!(flood.hints.of[&honest][&key].tries, 1, "and waited for");
        for n in 0..3 * MOST {
            flood.hint(&others[n % repositories], &format!("y{n}"), foe, START);
        }
        assert!(flood.hints.of[&honest].contains_key(&key), "and stays");
        assert_eq!(flood.hints.counts.values().sum::<usize>(), MOST);
    }

    #[test]
    fn a_tag_that_another_sender_named_too_early_or_was_seen_is_asked_for_at_once() {
        let (one, mut flood) = (source("r.io/a"), Flood::default());
        assert!(flood.hint(&one, "1.0", "generic", START));
        let later = START + Duration::from_millis(100);
        assert!(flood.hint(&one, "1.0", "distribution", later));
        assert!(flood.hints.offer(&one, &named(&one, "2.0", "generic"), true, START));
        flood.hints.looking(&one, false);
        flood.hints.looked(&one, START, Some(&ALL));
        assert!(flood.hint(&one, "2.0", "distribution", later));
    }

    #[test]
    fn beyond_what_is_remembered_nothing_is_asked_for_but_a_listing() {
        let (one, mut flood) = (source("r.io/a"), Flood::default());
        for n in 0..3 * MOST {
            let seconds = 20 * n as u64;
            let head = flood.hint(&one, &format!("x{n}"), "generic", START + Duration::from_secs(seconds));
            assert_eq!(head, n < MOST, "{n}");
        }
        assert_eq!(flood.hints.counts.values().sum::<usize>(), MOST);
        let end = START + Duration::from_secs(60 * MOST as u64);
        assert!(flood.hints.listings.due(end).is_some());
        flood.hints.leave(&one);
        assert!(flood.hints.of.is_empty() && flood.hints.counts.is_empty() && flood.hints.timers.next().is_none());
    }
}
