//! What is asked of a repository, what is answered, and what is kept of it between looks.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;

use crate::{
    domain::{
        candidate::{Avoided, HeldImage},
        decide::{Candidate, Current, Decision, Listing, TagFacts, Young},
        hint::Source,
        history::{History, Sighting},
        image::{Digest, Tag},
        policy::Policy,
        reason::Reason,
        tags::Tags,
    },
    ports::RegistryError,
};

/// What is asked of a repository, and by which namespaces.
pub(crate) type Questions = HashMap<Arc<Question>, BTreeSet<Arc<str>>>;

/// What a container asks of its repository. Containers that ask the same share the answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    /// What may be chosen.
    pub(crate) policy: Policy,
    /// The tag that is written now.
    pub(crate) tag: Option<Tag>,
    /// The digest that is written now.
    pub(crate) digest: Option<Digest>,
    /// Whether the chosen tag is written with its digest.
    pub(crate) pinned: bool,
    /// What did not run in the container, and is not to be chosen.
    pub(crate) avoided: Arc<[Avoided]>,
    /// What is held in the container.
    pub(crate) held: Arc<[HeldImage]>,
    /// Whether as much of the workload is in quarantine as is kept: more may have been, which nobody knows any more.
    pub(crate) is_full: bool,
    /// How old it must be.
    pub(crate) min_age: Option<Duration>,
    /// What is chosen before any better one, if it may be: somebody has approved it already.
    pub(crate) kept: Option<Tag>,
}

impl Question {
    /// Whether what was answered to this one answers that: they are equal, or differ only in what is chosen before any better
    /// one, which is chosen.
    pub(crate) fn is_answered_by(&self, other: &Self, answer: Option<&Answered>) -> bool {
        if self == other {
            return true;
        }
        let Some(Ok(Answer { decision, choice: Some(choice), .. })) = answer else { return false };
        let best = decision.eligible.first().map(|best| &best.tag);
        *self == Self { kept: self.kept.clone(), ..other.clone() } && Some(&choice.tag) == other.kept.as_ref().or(best)
    }

    /// Whether there are images that are not to be chosen whatever tag points to them.
    pub(crate) fn avoids_digests(&self) -> bool {
        let held = self.held.iter().any(|held| held.digest.is_some());
        held || self.avoided.iter().any(|avoided| avoided.digest.is_some())
    }
}

/// What came of a question.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// The decision with its reasons.
    pub(crate) decision: Decision,
    /// The best candidate that will do, with its digest exactly if it is to be written with it.
    pub(crate) choice: Option<Candidate>,
    /// Why better ones were passed over.
    pub(crate) passed: Vec<Reason>,
    /// The one that is old enough next, of those that are too young.
    pub(crate) young: Option<Young>,
}

/// An answer, or why there is none for this question although the listing came.
pub(crate) type Answered = Result<Answer, RegistryError>;

/// What is kept of a repository between looks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// `None` while nobody needed a listing.
    pub(crate) tags: Option<Tags>,
    /// Digests of tags that were asked for.
    pub(crate) digests: HashMap<Tag, Digest>,
    /// Times by digest, which never change.
    pub(crate) times: HashMap<Digest, (Option<Timestamp>, Option<Timestamp>)>,
    /// Whether there are tags of which it was not asked yet since when they are there.
    pub(crate) unseen: bool,
    /// New tags that are listed and had no manifest.
    pub(crate) absent: Vec<Tag>,
}

/// What a look is to find out.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    /// Where, as whom.
    pub(crate) source: Arc<Source>,
    /// Tags that a webhook named. If there are any and a listing is known, they are all that is asked for.
    pub(crate) hinted: BTreeSet<Tag>,
    /// What is asked, and by whom.
    pub(crate) questions: Questions,
    /// What the last look left.
    pub(crate) previous: Option<Arc<Snapshot>>,
    /// Whether questions must be answered even if nothing changed in the repository.
    pub(crate) ask_all: bool,
    /// What the tags may weigh. It is the registry that keeps to it, where it is asked for them.
    pub(crate) room: usize,
    /// When its tags were first seen.
    pub(crate) history: Arc<History>,
    /// The time.
    pub(crate) now: Timestamp,
    /// The time that ages are judged by.
    pub(crate) at: Timestamp,
}

/// The new snapshot, and the answers, which are none if nothing changed.
pub(crate) type ListingResult = (Arc<Snapshot>, Vec<(Arc<Question>, Answered)>);

/// What a look brought.
#[derive(Debug)]
pub(crate) struct LookResult {
    /// Where.
    pub(crate) source: Arc<Source>,
    /// Or why nothing is known.
    pub(crate) result: Result<ListingResult, RegistryError>,
    /// What its tags were seen with for the first time.
    pub(crate) seen: Vec<Sighting>,
}

impl Question {
    pub(crate) fn current(&self) -> Current<'_> {
        Current { tag: self.tag.as_ref(), digest: self.digest.as_ref() }
    }
}

impl Snapshot {
    pub(crate) fn listing(&self) -> Listing {
        Listing::new(self.tags.clone().unwrap_or_default())
    }

    /// Its tags, if they are kept.
    pub(crate) fn tags(&self) -> Option<&Tags> {
        self.tags.as_ref()
    }

    /// The same without its tags.
    pub(crate) fn without_tags(&self) -> Self {
        Self { tags: None, ..self.clone() }
    }

    /// Whether it has the tag, pointing to that digest if one is named.
    pub(crate) fn shows(&self, tag: &Tag, digest: Option<&Digest>) -> bool {
        match digest {
            Some(digest) => self.digests.get(tag) == Some(digest),
            None => {
                self.digests.contains_key(tag) || self.tags.as_ref().is_some_and(|tags| tags.contains(tag.as_str()))
            }
        }
    }

    /// Whether it has the tag, and does not know that it points to another digest than the one that is named.
    pub(crate) fn may_show(&self, tag: &Tag, digest: Option<&Digest>) -> bool {
        let known = digest.filter(|_| self.digests.contains_key(tag));
        self.shows(tag, known)
    }

    /// Whether it has the tag, and it was not there before or pointed elsewhere. Where that is not known it is no news.
    pub(crate) fn is_news(&self, tag: &Tag, before: &Self) -> bool {
        match (before.digests.get(tag), self.digests.get(tag)) {
            (Some(old), new) => new.is_some_and(|new| new != old),
            (None, _) => {
                let was_missing = before.tags.as_ref().is_some_and(|tags| !tags.contains(tag.as_str()));
                was_missing && self.shows(tag, None)
            }
        }
    }

    pub(crate) fn facts(&self) -> HashMap<Tag, TagFacts> {
        let fact = |(tag, digest): (&Tag, &Digest)| {
            let (pushed, created) = self.times.get(digest).copied().unwrap_or_default();
            (tag.clone(), TagFacts { digest: Some(digest.clone()), pushed, created })
        };
        self.digests.iter().map(fact).collect()
    }
}

/// The answer as it is kept: of the reasons for single tags only why better ones were passed over, unless a command shows
/// all of them.
pub(crate) fn trimmed(mut answer: Answered, reasons: bool) -> Arc<Answered> {
    if let Ok(Answer { decision, passed, .. }) = &mut answer
        && !reasons
    {
        decision.reasons.retain(|reason| reason.tag.is_none() || passed.contains(reason));
        decision.reasons.shrink_to_fit();
        decision.eligible.truncate(1);
        decision.eligible.shrink_to_fit();
    }
    Arc::new(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::reason::Code;

    #[test]
    fn why_better_ones_were_passed_over_is_kept() {
        let tag = |text: &str| Tag::parse(text).unwrap();
        let reason = |text: &str, code: Code| Reason::of_tag(&tag(text), code, "why");
        let candidate = |text: &str| Candidate { tag: tag(text), digest: None };
        let mut decision = Decision {
            young: None,
            eligible: vec![candidate("1.0.2"), candidate("1.0.1")],
            problem: None,
            reasons: vec![
                reason("1.0.2", Code::Chosen),
                reason("1.0.1", Code::NotBest),
                reason("0.9.0", Code::NotNewer),
            ],
        };
        let passed = vec![reason("1.0.2", Code::RegistryNotFound)];
        decision.pass_over(&passed);
        let codes = |decision: &Decision| -> Vec<String> {
            decision.reasons.iter().map(|reason| format!("{} {}", reason.tag.as_ref().unwrap(), reason.code)).collect()
        };
        assert_eq!(codes(&decision), ["1.0.1 chosen", "1.0.2 registry-not-found", "0.9.0 not-newer"]);
        let answer = Ok(Answer { choice: decision.choice().cloned(), decision, passed, young: None });
        let Ok(Answer { decision, .. }) = &*trimmed(answer, false) else { panic!("it is an answer") };
        assert_eq!(codes(decision), ["1.0.2 registry-not-found"]);
    }
}
