//! One look at one repository: what its workloads ask, answered from what the registry says now.
//!
//! A look serves every workload that uses the same repository with the same credentials, and a decision is made
//! once for each distinct [`question::Question`]. What stays after it is a compact [`question::Snapshot`].
//!
//! | | |
//! |---|---|
//! | `inbox` | hints of webhooks wait, each once |
//! | `queue` | which look is next |
//! | `question` | what is asked, what is answered, and what is kept |
//! | `beside` | decisions that may take long |
//! | `choose` | which candidate is taken |
//! | `times` | when images came to be |
//! | `ages` | since when tags point to what they do |
//! | `room` | how much memory looks and what is kept of them may take |

mod ages;
pub(super) mod beside;
mod choose;
pub(super) mod inbox;
pub(super) mod question;
pub(super) mod queue;
pub(super) mod room;
mod times;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures::future::{Either, select};

use crate::{
    domain::{
        ages::{Ages, Wait},
        candidate::{HeldImage, Manifest},
        decide::{Candidate, Decision, Listing, decide_within, timed_candidates},
        hint::Source,
        image::{Digest, Tag},
        reason::{Code, Reason},
        tags::Tags,
    },
    engine::look::{
        ages::{AGAIN, NEW, Seen},
        beside::{Beside, MOST},
        choose::{Digests, choose},
        question::{ListingResult, LookResult, Order, Question, Snapshot},
        times::fetch_times,
    },
    ports::{Clock, Pool, Registry, RegistryError, RegistryErrorKind},
};

/// How long one look may take, all its requests together.
const LONGEST: Duration = Duration::from_secs(60);

/// Looks, but not for ever: a slow registry must not keep a place among the looks.
pub(crate) async fn look_in_time(
    registry: Box<dyn Registry>,
    pool: &dyn Pool,
    clock: &dyn Clock,
    order: Order,
) -> LookResult {
    let mut seen = Seen::new(&order);
    let result = {
        let end = clock.sleep_until(clock.monotonic() + LONGEST);
        match select(pin!(answer(&*registry, pool, &order, &mut seen)), end).await {
            Either::Left((result, _)) => result,
            Either::Right(_) => {
                let (kind, seconds) = (RegistryErrorKind::Unavailable, LONGEST.as_secs());
                let message =
                    format!("{}: what was asked of it took longer than {seconds} s in all", order.source.repository);
                Err(RegistryError { kind, message })
            }
        }
    };
    // What was pushed while it went on is not older than that.
    let now = clock.now();
    seen.new.iter_mut().for_each(|sighting| sighting.first_seen = sighting.first_seen.max(now));
    LookResult { source: order.source, result, seen: seen.new }
}

/// Looks. A listing is used whole or not at all.
pub(crate) async fn look(registry: &dyn Registry, pool: &dyn Pool, order: Order) -> LookResult {
    let mut seen = Seen::new(&order);
    let result = answer(registry, pool, &order, &mut seen).await;
    LookResult { source: order.source, result, seen: seen.new }
}

async fn answer(
    registry: &dyn Registry,
    pool: &dyn Pool,
    order: &Order,
    seen: &mut Seen,
) -> Result<ListingResult, RegistryError> {
    let source = &*order.source;
    let previous = order.previous.clone().unwrap_or_default();
    let needs_listing = order.questions.keys().any(|q| q.policy.needs().listing);
    let narrow = !order.hinted.is_empty() && (previous.tags.is_some() || !needs_listing);
    if previous.tags.as_ref().is_some_and(|tags| tags.weight() > order.room) {
        return Err(RegistryError::no_room(&source.repository));
    }

    let mut snapshot = Snapshot { times: previous.times.clone(), ..Snapshot::default() };
    // Tags whose digest was read in this very look: no other digest is ever written.
    let mut fresh: HashSet<Tag> = HashSet::new();
    if narrow {
        snapshot.digests = previous.digests.clone();
        let mut found = Vec::new();
        let asked = |tag: &Tag| order.questions.keys().any(|question| question.tag.as_ref() == Some(tag));
        for tag in order.hinted.iter().filter(|tag| needs_listing || asked(tag)) {
            match registry.digest(source, tag).await {
                Ok(digest) => {
                    fresh.insert(tag.clone());
                    snapshot.digests.insert(tag.clone(), digest);
                    found.push(tag);
                }
                // The hint was wrong, or early: it is asked again (`super::hints`).
                Err(error) if error.kind == RegistryErrorKind::NotFound => _ = snapshot.digests.remove(tag),
                Err(error) => return Err(error),
            }
        }
        if needs_listing {
            snapshot.tags = Some(previous.tags.clone().unwrap_or_default().with(found));
        }
    } else if needs_listing {
        snapshot.tags = Some(registry.tags(source).await?);
    }

    // Digests that `digest` policies compare: one HEAD of each distinct tag.
    let mut heads = BTreeSet::new();
    for question in order.questions.keys() {
        if let (true, Some(tag)) = (question.policy.needs().digest_of_current, &question.tag)
            && !(narrow && snapshot.digests.contains_key(tag))
        {
            heads.insert(tag.clone());
        }
    }
    let mut missing: HashMap<Tag, RegistryError> = HashMap::new();
    for tag in heads {
        match registry.digest(source, &tag).await {
            Ok(digest) => {
                fresh.insert(tag.clone());
                snapshot.digests.insert(tag, digest);
            }
            Err(error) if error.kind == RegistryErrorKind::NotFound => {
                missing.insert(tag, error);
            }
            Err(error) => return Err(error),
        }
    }

    let aged = order.questions.keys().any(|question| question.min_age.is_some());
    // What a tag that is followed points to now may be new.
    let of_digest = |tag: &Tag| {
        let mut asks = order.questions.keys().filter(|question| question.tag.as_ref() == Some(tag));
        asks.any(|question| question.min_age.is_some() && question.policy.needs().digest_of_current)
    };
    for (tag, digest) in fresh.iter().filter_map(|tag| Some((tag, snapshot.digests.get(tag)?))) {
        if aged && (seen.knows(tag.as_str()) || of_digest(tag) || previous.absent.contains(tag)) {
            seen.see(tag, digest);
        }
    }

    let timed = order.questions.keys().any(|q| q.policy.needs().times);
    // A tag that was put in quarantine may have moved.
    let avoids = order.questions.keys().any(|question| question.avoids_digests());
    if !timed && !avoids && !order.ask_all && order.previous.as_deref() == Some(&snapshot) {
        return Ok((previous, Vec::new()));
    }

    let mut beside = Beside::new(pool, Arc::new(snapshot.listing()), &order.questions);
    let broke = |_| {
        let message = format!("{}: deciding about its tags broke; this is a fault of supercargo", source.repository);
        RegistryError { kind: RegistryErrorKind::Unavailable, message }
    };
    if timed {
        let candidates = |question: &Question, listing: &Listing, over: &dyn Fn() -> bool| {
            // Too many are a problem that `decide` reports.
            let mut tags = timed_candidates(&question.policy, question.current(), listing, over).ok()?;
            let held = question.held.iter().filter_map(|held| held.tag.clone());
            tags.extend(held.filter(|tag| listing.contains(tag.as_str())));
            tags.sort_unstable();
            tags.dedup();
            Some(tags)
        };
        let wanted = beside.each(|question| question.policy.needs().times, candidates).await.map_err(broke)?;
        let wanted = wanted.into_iter().filter_map(|(_, tags)| tags).flatten().collect();
        fetch_times(registry, order, wanted, narrow, &mut snapshot).await?;
    }
    let facts = Arc::new(snapshot.facts());
    let read = fresh.into_iter().filter_map(|tag| snapshot.digests.get(&tag).cloned().map(|digest| (tag, digest)));
    let mut digests = Digests::new(registry, source, read.collect());
    if aged {
        let (facts, history) = (facts.clone(), seen.history());
        let absent: Arc<BTreeSet<Tag>> = Arc::new(previous.absent.iter().cloned().collect());
        let new = move |question: &Question, listing: &Listing, over: &dyn Fn() -> bool| {
            let is_known = |tag: &str| history.of_tag(tag).is_some() || absent.contains(tag);
            let known = |tag: &str| is_known(tag).then_some(Wait::Unseen);
            let decided = decide_within(&question.policy, question.current(), listing, &facts, &known, over);
            decided.map(|decision| decision.eligible.into_iter().map(|candidate| candidate.tag).collect())
        };
        let asks = |question: &Question| question.min_age.is_some() && question.policy.needs().listing;
        let new: Vec<(Arc<Question>, Option<Vec<Tag>>)> = beside.each(asks, new).await.map_err(broke)?;
        let new: Vec<_> = new.into_iter().filter_map(|(question, tags)| Some((question, tags?))).collect();
        let ask = seen.to_ask(&new);
        snapshot.unseen = new.iter().any(|(_, tags)| tags.len() >= NEW || tags.iter().any(|tag| !ask.contains(tag)));
        // Those that had no manifest have one later, or not: they are asked for again in turn, and hold up no others.
        let is_listed = |tag: &&Tag| {
            snapshot.tags.as_ref().is_some_and(|tags| tags.contains(tag.as_str())) && !seen.knows(tag.as_str())
        };
        let absent: Vec<Tag> = previous.absent.iter().filter(is_listed).cloned().collect();
        let (again, rest) = absent.split_at(absent.len().min(AGAIN));
        snapshot.absent = rest.to_vec();
        // What is wrong with one of them is nothing to those who do not ask for an age.
        let take = |tag: Tag, read: Result<Digest, RegistryError>| match read {
            Ok(digest) => seen.see(&tag, &digest),
            Err(_) => snapshot.absent.push(tag),
        };
        let is_all = digests.each(ask.into_iter().chain(again.to_vec()).collect(), take).await;
        snapshot.unseen |= !is_all;
    }
    let (history, now, known) = (seen.history(), order.at, facts.clone());
    let decide = move |question: &Question, listing: &Listing, over: &dyn Fn() -> bool| {
        let ages = question.min_age.map(|min_age| Ages { history: &history, min_age, now });
        // What is held is waited for by nobody.
        let is_held = |tag: &str| {
            let candidate = Candidate { tag: Tag::of(tag), digest: None };
            let refuses = |held: &HeldImage| held.refuses(&candidate, &Manifest::NotAsked, &question.policy, &facts);
            question.held.iter().any(refuses)
        };
        let waits = |tag: &str| ages.as_ref()?.of_tag(tag).filter(|_| !is_held(tag));
        decide_within(&question.policy, question.current(), listing, &facts, &waits, over)
    };
    let decided = beside.each(|_| true, decide).await.map_err(broke)?;
    // What was made for deciding is large where there are many tags.
    drop(beside);
    let mut answers = Vec::with_capacity(order.questions.len());
    for (question, decision) in decided {
        let answer = match question.tag.as_ref().and_then(|tag| missing.get(tag)) {
            Some(error) => Err(error.clone()),
            None => {
                let decision = decision.unwrap_or_else(|| too_costly(source, snapshot.tags.as_ref()));
                choose(&question, decision, &known, &mut digests, seen).await
            }
        };
        answers.push((question, answer));
    }
    Ok((Arc::new(snapshot), answers))
}

fn too_costly(source: &Source, tags: Option<&Tags>) -> Decision {
    let message = format!(
        "what this namespace asks of the {} tags of {} took more than {} s of CPU time and was ended: use fewer \
         patterns there (patch, minor, major and semver: cost the least), or a repository with fewer tags",
        tags.map_or(0, Tags::len),
        source.repository,
        MOST.as_secs()
    );
    Decision::problem(Reason::new(Code::TooCostly, message))
}
