//! One look at one repository: what its workloads ask, answered from what the registry says now.
//!
//! A look serves every workload that uses the same repository with the same credentials, and a decision is made
//! once for each distinct [`Question`]. What stays after it is a compact [`Snapshot`].

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures::{
    StreamExt, TryStreamExt,
    future::{Either, select},
    stream,
};
use jiff::Timestamp;

use super::beside::{Beside, MOST, Questions, is_small};
use crate::{
    domain::{
        decide::{Current, Decision, Listing, TagFacts, Target, decide, decide_within, timed_candidates},
        hint::Source,
        image::{Digest, Tag},
        policy::Policy,
        reason::{Code, Reason},
        tags::Tags,
    },
    ports::{Clock, Pool, Registry, RegistryError, RegistryErrorKind},
};

/// Requests of one look that may be under way at once (for `newest`, which asks for each tag's time).
const CONCURRENT: usize = 4;
/// How long one look may take, all its requests together.
const LONGEST: Duration = Duration::from_secs(60);

/// What a container asks of its repository. Containers that ask the same share the answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Question {
    /// What may be chosen.
    pub(super) policy: Policy,
    /// The tag that is written now.
    pub(super) tag: Option<Tag>,
    /// The digest that is written now.
    pub(super) digest: Option<Digest>,
    /// Whether the chosen tag is written with its digest.
    pub(super) pinned: bool,
}

/// What came of a question.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    /// The decision with its reasons.
    pub(super) decision: Decision,
    /// The best target, with its digest exactly if it is to be written with it.
    pub(super) choice: Option<Target>,
}

/// An answer, or why there is none for this question although the listing came.
pub(super) type Answered = Result<Answer, RegistryError>;

/// What is kept of a repository between looks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// `None` while nobody needed a listing.
    pub(super) tags: Option<Tags>,
    /// Digests of tags that were asked for.
    pub(super) digests: HashMap<Tag, Digest>,
    /// Times by digest, which never change.
    pub(super) times: HashMap<Digest, (Option<Timestamp>, Option<Timestamp>)>,
}

/// What a look is to find out.
#[derive(Debug, Clone)]
pub(super) struct Order {
    /// Where, as whom.
    pub(super) source: Arc<Source>,
    /// Tags that a webhook named. If there are any and a listing is known, they are all that is asked for.
    pub(super) hinted: BTreeSet<Tag>,
    /// What is asked, and by whom.
    pub(super) questions: Questions,
    /// What the last look left.
    pub(super) previous: Option<Arc<Snapshot>>,
    /// Whether questions must be answered even if nothing changed in the repository.
    pub(super) ask_all: bool,
    /// What the tags may weigh. It is the registry that keeps to it, where it is asked for them.
    pub(super) room: usize,
}

/// The new snapshot, and the answers, which are none if nothing changed.
pub(super) type Brought = (Arc<Snapshot>, Vec<(Question, Answered)>);

/// What a look brought.
#[derive(Debug)]
pub(super) struct Looked {
    /// Where.
    pub(super) source: Arc<Source>,
    /// Or why nothing is known.
    pub(super) result: Result<Brought, RegistryError>,
}

/// Looks, but not for ever: a slow registry must not keep a place among the looks.
pub(super) async fn look_in_time(
    registry: Box<dyn Registry>,
    pool: &dyn Pool,
    clock: &dyn Clock,
    order: Order,
) -> Looked {
    let source = order.source.clone();
    let end = clock.sleep_until(clock.monotonic() + LONGEST);
    match select(pin!(look(&*registry, pool, order)), end).await {
        Either::Left((looked, _)) => looked,
        Either::Right(_) => {
            let (kind, seconds) = (RegistryErrorKind::Unavailable, LONGEST.as_secs());
            let message = format!("{}: what was asked of it took longer than {seconds} s in all", source.repository);
            Looked { source, result: Err(RegistryError { kind, message }) }
        }
    }
}

/// Looks. A listing is used whole or not at all.
pub(super) async fn look(registry: &dyn Registry, pool: &dyn Pool, order: Order) -> Looked {
    let result = answer(registry, pool, &order).await;
    Looked { source: order.source, result }
}

async fn answer(registry: &dyn Registry, pool: &dyn Pool, order: &Order) -> Result<Brought, RegistryError> {
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

    let timed = order.questions.keys().any(|q| q.policy.needs().times);
    if !timed && !order.ask_all && order.previous.as_deref() == Some(&snapshot) {
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
            timed_candidates(&question.policy, question.current(), listing, over).ok()
        };
        let wanted = beside.each(|question| question.policy.needs().times, candidates).await.map_err(broke)?;
        let wanted = wanted.into_iter().filter_map(|(_, tags)| tags).flatten().collect();
        fetch_times(registry, order, wanted, narrow, &mut snapshot).await?;
    }
    let facts = snapshot.facts();
    let decide = move |question: &Question, listing: &Listing, over: &dyn Fn() -> bool| {
        decide_within(&question.policy, question.current(), listing, &facts, over)
    };
    let decided = beside.each(|_| true, decide).await.map_err(broke)?;
    // What was made for deciding is large where there are many tags.
    drop(beside);
    let mut answers = Vec::with_capacity(order.questions.len());
    // The digest of a chosen tag is asked for once, however many questions choose it.
    let mut chosen: HashMap<Tag, Result<Digest, RegistryError>> = HashMap::new();
    for (question, decision) in decided {
        if let Some(error) = question.tag.as_ref().and_then(|tag| missing.get(tag)) {
            answers.push((question, Err(error.clone())));
            continue;
        }
        let decision = decision.unwrap_or_else(|| too_costly(source, snapshot.tags.as_ref()));
        let mut choice = decision.choice().cloned();
        if let Some(target) = &mut choice
            && !question.pinned
            && !question.policy.needs().digest_of_current
        {
            target.digest = None;
        } else if let Some(target) = &mut choice
            && (target.digest.is_none() || !fresh.contains(&target.tag))
        {
            if !chosen.contains_key(&target.tag) {
                chosen.insert(target.tag.clone(), registry.digest(source, &target.tag).await);
            }
            match &chosen[&target.tag] {
                Ok(digest) => target.digest = Some(digest.clone()),
                Err(error) => {
                    answers.push((question, Err(error.clone())));
                    continue;
                }
            }
        }
        answers.push((question, Ok(Answer { decision, choice })));
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

/// The answer that the last look's snapshot gives, if it is quickly found, and that there is nothing to write. What is
/// written is always looked at first.
pub(super) fn answer_from(snapshot: &Snapshot, question: &Question) -> Option<Answered> {
    if question.policy.needs().listing {
        snapshot.tags.as_ref().filter(|tags| tags.is_empty() || is_small(tags.len(), std::iter::once(question)))?;
    }
    let decision = decide(&question.policy, question.current(), &snapshot.listing(), &snapshot.facts());
    decision.choice().is_none().then_some(Ok(Answer { decision, choice: None }))
}

/// Asks for the digest of every tag that `newest` policies must compare, and for the times of digests not yet known.
async fn fetch_times(
    registry: &dyn Registry,
    order: &Order,
    mut wanted: BTreeSet<Tag>,
    narrow: bool,
    snapshot: &mut Snapshot,
) -> Result<(), RegistryError> {
    if narrow {
        wanted.retain(|tag| !snapshot.digests.contains_key(tag) || order.hinted.contains(tag));
    }
    let known = &snapshot.times;
    let source = &*order.source;
    let found: Vec<_> = stream::iter(wanted)
        .map(|tag| async move {
            let digest = match registry.digest(source, &tag).await {
                Ok(digest) => digest,
                // Deleted since the listing.
                Err(error) if error.kind == RegistryErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            };
            if known.contains_key(&digest) {
                return Ok(Some((tag, digest, None)));
            }
            let image = registry.image(source, &tag).await?;
            Ok(Some((tag, image.digest, Some((image.pushed, image.created)))))
        })
        .buffer_unordered(CONCURRENT)
        .try_collect()
        .await?;
    for (tag, digest, times) in found.into_iter().flatten() {
        if let Some(times) = times {
            snapshot.times.insert(digest.clone(), times);
        }
        snapshot.digests.insert(tag, digest);
    }
    // Times of images that no tag points to any more are not kept.
    let live: HashSet<&Digest> = snapshot.digests.values().collect();
    snapshot.times.retain(|digest, _| live.contains(digest));
    Ok(())
}

impl Question {
    fn current(&self) -> Current<'_> {
        Current { tag: self.tag.as_ref(), digest: self.digest.as_ref() }
    }
}

impl Snapshot {
    fn listing(&self) -> Listing {
        Listing::new(self.tags.clone().unwrap_or_default())
    }

    /// Its tags, if they are kept.
    pub(super) fn tags(&self) -> Option<&Tags> {
        self.tags.as_ref()
    }

    /// The same without its tags.
    pub(super) fn without_tags(&self) -> Self {
        Self { tags: None, digests: self.digests.clone(), times: self.times.clone() }
    }

    /// Whether it has the tag, pointing to that digest if one is named.
    pub(super) fn shows(&self, tag: &Tag, digest: Option<&Digest>) -> bool {
        match digest {
            Some(digest) => self.digests.get(tag) == Some(digest),
            None => {
                self.digests.contains_key(tag) || self.tags.as_ref().is_some_and(|tags| tags.contains(tag.as_str()))
            }
        }
    }

    fn facts(&self) -> HashMap<Tag, TagFacts> {
        let fact = |(tag, digest): (&Tag, &Digest)| {
            let (pushed, created) = self.times.get(digest).copied().unwrap_or_default();
            (tag.clone(), TagFacts { digest: Some(digest.clone()), pushed, created })
        };
        self.digests.iter().map(fact).collect()
    }
}
