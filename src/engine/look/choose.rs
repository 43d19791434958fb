//! From a decision to the image that is written: the first candidate, best first, that passes every check of
//! [`candidate`] (docs/policy.md §3).

use std::{collections::HashMap, pin::pin};

use futures::{StreamExt, stream};

use crate::{
    domain::{
        ages::Wait,
        candidate::{self, Facts, HeldImage, Manifest},
        decide::{Candidate, Decision, TagFacts, Young},
        hint::Source,
        image::{Digest, Tag},
        reason::{Code, Reason},
    },
    engine::look::{
        ages::Seen,
        question::{Answer, Answered, Question},
    },
    ports::{Registry, RegistryError, RegistryErrorKind},
};

/// Else images that do not run would be set in turns for ever, each forgotten when it is tried again.
const FULL: &str = "as many images of the workload are in quarantine as are kept, and what is no better than one of them may \
                    have been there too: only a better one is chosen";

/// The digests of tags at one source. Each is asked for once in a look, however many questions choose the tag; what an
/// earlier look read is never written.
pub(super) struct Digests<'r> {
    registry: &'r dyn Registry,
    source: &'r Source,
    read: HashMap<Tag, Result<Digest, RegistryError>>,
}

impl<'r> Digests<'r> {
    /// With those that this look has read.
    pub(super) fn new(registry: &'r dyn Registry, source: &'r Source, read: HashMap<Tag, Digest>) -> Self {
        let read = read.into_iter().map(|(tag, digest)| (tag, Ok(digest))).collect();
        Self { registry, source, read }
    }

    /// Those of several tags, as they come; ends where the registry wants to be asked no more, or does not answer again
    /// and again. Returns whether that is all of them.
    pub(super) async fn each(
        &mut self,
        tags: Vec<Tag>,
        mut take: impl FnMut(Tag, Result<Digest, RegistryError>),
    ) -> bool {
        /// Requests at once.
        const AT_ONCE: usize = 4;
        const FAILURES: usize = 3;
        let (registry, source) = (self.registry, self.source);
        let (known, unknown): (Vec<Tag>, Vec<Tag>) = tags.into_iter().partition(|tag| self.read.contains_key(tag));
        for tag in known {
            let read = self.of(&tag).await;
            take(tag, read);
        }
        let ask = async |tag: Tag| (registry.digest(source, &tag).await, tag);
        let mut answers = pin!(stream::iter(unknown).map(ask).buffer_unordered(AT_ONCE));
        let mut failures = 0;
        while let Some((read, tag)) = answers.next().await {
            let error = read.as_ref().err().map(|error| error.kind);
            self.read.insert(tag.clone(), read.clone());
            take(tag, read);
            failures += usize::from(error == Some(RegistryErrorKind::Unavailable));
            if failures == FAILURES || error.is_some_and(|kind| kind.wait().is_some()) {
                return false;
            }
        }
        true
    }

    async fn of(&mut self, tag: &Tag) -> Result<Digest, RegistryError> {
        if let Some(read) = self.read.get(tag) {
            return read.clone();
        }
        let read = self.registry.digest(self.source, tag).await;
        self.read.insert(tag.clone(), read.clone());
        read
    }
}

/// Walks the candidates of a decision. If none of them will do, what is wrong with the best is why.
pub(super) async fn choose(
    question: &Question,
    mut decision: Decision,
    known: &HashMap<Tag, TagFacts>,
    digests: &mut Digests<'_>,
    seen: &mut Seen,
) -> Answered {
    let by_digest = question.pinned || question.policy.needs().digest_of_current;
    let mut missing = None;
    let mut passed = Vec::new();
    let mut young = decision.young.take();
    let is_kept = |candidate: &Candidate| question.kept.as_ref() == Some(&candidate.tag);
    let kept = decision.eligible.iter().position(is_kept);
    let others = (0..decision.eligible.len()).filter(|index| Some(*index) != kept);
    for index in kept.into_iter().chain(others) {
        let mut chosen = decision.eligible[index].clone();
        // Of what is not newer than what is held the digest does not matter.
        let outranks = |held: &&HeldImage| held.outranks(&chosen, &question.policy, known);
        let outranked = question.held.iter().find(outranks).cloned();
        // A tag that has moved since is free, and one that points to the same is not.
        let manifest = match outranked.is_none() && (by_digest || question.avoids_digests()) {
            false => Manifest::NotAsked,
            true => match digests.of(&chosen.tag).await {
                Ok(digest) => Manifest::Is(digest),
                Err(error) if error.kind == RegistryErrorKind::NotFound => {
                    missing.get_or_insert(error);
                    Manifest::Missing
                }
                Err(error) => return Err(error),
            },
        };
        // What it points to now may not be what is known to be old enough.
        let wait = match (&manifest, question.min_age) {
            (Manifest::Is(digest), Some(_)) => {
                seen.see(&chosen.tag, digest);
                seen.wait(question, &chosen.tag, digest)
            }
            _ => None,
        };
        let holds = |held: &&HeldImage| held.refuses(&chosen, &manifest, &question.policy, known);
        let held = outranked.or_else(|| question.held.iter().find(holds).cloned());
        // What is held is waited for by nobody.
        let is_first = |wait: &&Wait| young.as_ref().is_none_or(|young| wait.ends_before(&young.wait));
        if let Some(wait) = wait.as_ref().filter(|_| held.is_none()).filter(is_first) {
            young = Some(Young { tag: chosen.tag.clone(), wait: wait.clone() });
        }
        let facts = Facts { manifest, avoided: question.avoided.clone(), held, wait };
        if let Some(reason) = candidate::refusal(&chosen, &facts) {
            let is_last = question.is_full && reason.code == Code::Quarantined && Some(index) != kept;
            passed.push(reason);
            if is_last {
                passed.push(Reason::new(Code::Quarantined, FULL));
                decision.eligible.clear();
                break;
            }
            continue;
        }
        chosen.digest = match facts.manifest {
            Manifest::Is(digest) if by_digest => Some(digest),
            Manifest::Is(_) | Manifest::NotAsked | Manifest::Missing => None,
        };
        decision.pass_over(&passed);
        return Ok(Answer { decision, choice: Some(chosen), passed, young });
    }
    match missing {
        Some(error) => Err(error),
        None => {
            decision.pass_over(&passed);
            Ok(Answer { decision, choice: None, passed, young })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet},
        sync::Arc,
    };

    use futures::{FutureExt, future::BoxFuture};
    use jiff::Timestamp;

    use super::*;
    use crate::{
        domain::{
            candidate::Avoided,
            decide::{Current, Listing, decide},
            hint::Credentials,
            image::{ImageRef, Repository},
            policy::{NamedPolicies, Options, Policy},
            tags::Tags,
        },
        engine::{look::question::Order, model::Pushed},
        ports::{ImageTimes, Origin},
    };

    #[rstest::rstest]
    #[case::room(false, &["1.2.0", "1.1.0"], None, Some("1.1.0"))]
    #[case::full(true, &["1.2.0", "1.1.0"], None, None)]
    #[case::a_better_one(true, &["1.3.0", "1.2.0", "1.1.0"], None, Some("1.3.0"))]
    #[case::one_that_was_approved(true, &["1.3.0", "1.2.0"], Some("1.2.0"), Some("1.3.0"))]
    fn while_quarantine_is_full_nothing_is_chosen_that_is_no_better_than_what_is_in_it(
        #[case] is_full: bool,
        #[case] eligible: &[&str],
        #[case] kept: Option<&str>,
        #[case] expected: Option<&str>,
    ) {
        let tag = |text: &str| Tag::parse(text).unwrap();
        let bad = Avoided { tag: tag("1.2.0"), digest: None, at: Timestamp::UNIX_EPOCH, evidence: "it crashes".into() };
        let question = Question {
            policy: Policy::parse("minor", &Options::default(), &NamedPolicies::default()).unwrap(),
            tag: Some(tag("1.0.0")),
            digest: None,
            pinned: false,
            avoided: [bad].into(),
            held: Arc::default(),
            is_full,
            min_age: None,
            kept: kept.map(tag),
        };
        let candidate = |text: &&str| Candidate { tag: tag(text), digest: None };
        let eligible = eligible.iter().map(candidate).collect();
        let decision = Decision { eligible, problem: None, reasons: Vec::new(), young: None };
        let source = Source {
            repository: Repository::parse("r.io/web").unwrap(),
            credentials: Credentials { secrets: None, operator: false },
        };
        let order = Order {
            source: Arc::new(source.clone()),
            hinted: BTreeSet::new(),
            questions: HashMap::new(),
            previous: None,
            ask_all: false,
            room: 0,
            history: Arc::default(),
            now: Timestamp::UNIX_EPOCH,
            at: Timestamp::UNIX_EPOCH,
        };
        let registry = Pushed(BTreeMap::new(), 0);
        let mut digests = Digests::new(&registry, &source, HashMap::new());
        let answer = choose(&question, decision, &HashMap::new(), &mut digests, &mut Seen::new(&order))
            .now_or_never()
            .unwrap()
            .unwrap();
        let choice = answer.choice.map(|choice| choice.tag);
        assert_eq!(choice.as_ref().map(Tag::as_str), expected);
        assert_eq!(answer.decision.choice().is_some(), choice.is_some());
        let is_told = answer.decision.reasons.iter().any(|reason| reason.message == FULL);
        assert_eq!(is_told, expected.is_none());
    }

    /// Has a digest for every tag, and is to be asked for no other than this one.
    struct Only(&'static str);

    fn away<T: Send + 'static>() -> BoxFuture<'static, Result<T, RegistryError>> {
        async { Err(RegistryError { kind: RegistryErrorKind::Unavailable, message: "away".into() }) }.boxed()
    }

    impl Registry for Only {
        fn within(&self, _: &Arc<str>, _: usize) -> Box<dyn Registry> {
            Box::new(Self(self.0))
        }

        fn tags<'a>(&'a self, _: &'a Source) -> BoxFuture<'a, Result<Tags, RegistryError>> {
            away()
        }

        fn digest<'a>(&'a self, _: &'a Source, tag: &'a Tag) -> BoxFuture<'a, Result<Digest, RegistryError>> {
            assert_eq!(tag.as_str(), self.0);
            async { Ok(Digest::parse(&format!("sha256:{}", "0".repeat(64))).unwrap()) }.boxed()
        }

        fn has<'a>(&'a self, _: &'a Source, _: &'a ImageRef) -> BoxFuture<'a, Result<(), RegistryError>> {
            away()
        }

        fn image<'a>(&'a self, _: &'a Source, _: &'a Tag) -> BoxFuture<'a, Result<ImageTimes, RegistryError>> {
            away()
        }

        fn origin<'a>(&'a self, _: &'a Source, _: &'a ImageRef) -> BoxFuture<'a, Result<Origin, RegistryError>> {
            away()
        }
    }

    #[test]
    fn of_what_is_not_newer_than_what_is_held_no_digest_is_asked_for() {
        let policy = Policy::parse("minor", &Options::default(), &NamedPolicies::default()).unwrap();
        let tag = |text: &str| Tag::parse(text).unwrap();
        let held =
            HeldImage { tag: Some(tag("1.20.0")), digest: None, is_exact: false, code: Code::Held, why: "a".into() };
        let question = Question {
            policy,
            tag: Some(tag("1.0.0")),
            digest: None,
            pinned: true,
            avoided: Arc::default(),
            is_full: false,
            held: [held].into(),
            min_age: None,
            kept: None,
        };
        let tags: Vec<Tag> = (0..=20).map(|n| tag(&format!("1.{n}.0"))).collect();
        let known = HashMap::new();
        let current = Current { tag: question.tag.as_ref(), digest: None };
        let decision = decide(&question.policy, current, &Listing::new(tags.iter().collect()), &known);
        assert_eq!(decision.eligible.len(), 20);
        let repository = ImageRef::parse("r.io/web:1").unwrap().repository;
        let source = Source { repository, credentials: Credentials::default() };
        let mut digests = Digests::new(&Only("1.20.0"), &source, HashMap::new());
        let (now, questions) = (Timestamp::UNIX_EPOCH, HashMap::new());
        let mut seen = Seen::new(&Order {
            source: Arc::new(source.clone()),
            hinted: BTreeSet::new(),
            questions,
            previous: None,
            ask_all: true,
            room: 0,
            history: Arc::default(),
            now,
            at: now,
        });
        let answer = choose(&question, decision, &known, &mut digests, &mut seen).now_or_never().unwrap().unwrap();
        assert_eq!((answer.choice, answer.passed.len()), (None, 20));
    }
}
