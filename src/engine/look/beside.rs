//! Deciding beside the engine's loop: what takes long runs on the pool, each namespace's questions on their own, and
//! ends when they have used too much. What takes next to nothing is decided at once.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use futures::future::join_all;
use tokio::sync::oneshot;

use super::question::{Answer, Answered, Question, Questions, Snapshot};
use crate::{
    domain::decide::{Listing, decide},
    ports::Pool,
};

/// What the questions of one namespace may use of the CPU in one look.
pub(crate) const MOST: Duration = Duration::from_secs(2);
/// Tags, and those of every question, up to which there is nothing to be gained by a thread.
const SMALL: usize = 100_000;

/// The questions of one look, over one listing.
pub(crate) struct Beside<'a> {
    pool: &'a dyn Pool,
    listing: Arc<Listing>,
    shares: BTreeMap<Arc<str>, Share>,
}

/// The questions of one namespace, those that cost least first.
#[derive(Default)]
struct Share {
    questions: Vec<Arc<Question>>,
    used: Duration,
}

/// A question, and what came of it unless the namespace's share was used up before.
pub(crate) type Outcome<T> = (Arc<Question>, Option<T>);

/// Something that was to be decided broke.
#[derive(Debug)]
pub(crate) struct Broken;

impl<'a> Beside<'a> {
    /// A question that several namespaces ask counts for that which asks least.
    pub(crate) fn new(pool: &'a dyn Pool, listing: Arc<Listing>, questions: &Questions) -> Self {
        let mut asks: HashMap<&Arc<str>, usize> = HashMap::new();
        for namespace in questions.values().flatten() {
            *asks.entry(namespace).or_default() += 1;
        }
        let mut shares: BTreeMap<Arc<str>, Share> = BTreeMap::new();
        for (question, namespaces) in questions {
            let least = namespaces.iter().min_by_key(|namespace| asks[namespace]).cloned().unwrap_or_default();
            shares.entry(least).or_default().questions.push(question.clone());
        }
        for share in shares.values_mut() {
            share.questions.sort_by_key(|question| question.policy.patterns_tried());
        }
        Self { pool, listing, shares }
    }

    /// Asks `what` of each question that is `wanted`. It is to end early once it is over.
    pub(crate) async fn each<T: Send + 'static>(
        &mut self,
        wanted: impl Fn(&Question) -> bool,
        what: impl Fn(&Question, &Listing, &dyn Fn() -> bool) -> Option<T> + Clone + Send + 'static,
    ) -> Result<Vec<Outcome<T>>, Broken> {
        let all = self.shares.values().flat_map(|share| &share.questions).map(|question| &**question);
        let pool = (!is_small(self.listing.len(), all)).then_some(self.pool);
        let mut answers = Vec::new();
        let mut running = Vec::new();
        for (namespace, share) in &mut self.shares {
            let questions: Vec<Arc<Question>> =
                share.questions.iter().filter(|question| wanted(question)).cloned().collect();
            let (listing, what) = (self.listing.clone(), what.clone());
            let Some(pool) = pool else {
                let answer = |question: Arc<Question>| (what(&question, &listing, &|| false), question);
                answers.extend(questions.into_iter().map(answer).map(|(answer, question)| (question, answer)));
                continue;
            };
            let (sender, receiver) = oneshot::channel();
            let left = MOST.saturating_sub(share.used);
            let work = move |used: &dyn Fn() -> Duration| {
                // Nobody waits any more where the look was given up.
                let over = || used() >= left || sender.is_closed();
                let mut answers = Vec::with_capacity(questions.len());
                for question in questions {
                    let answer = if over() { None } else { what(&question, &listing, &over) };
                    answers.push((question, answer));
                }
                let used = used();
                let _ = sender.send((answers, used));
            };
            pool.run(namespace, Box::new(work));
            running.push(async move {
                let (answers, used) = receiver.await.map_err(|_| Broken)?;
                share.used += used;
                Ok(answers)
            });
        }
        for part in join_all(running).await {
            answers.extend(part?);
        }
        Ok(answers)
    }
}

/// Whether it takes next to nothing to answer the questions. Patterns may have to be compiled.
pub(crate) fn is_small<'q>(tags: usize, questions: impl Iterator<Item = &'q Question>) -> bool {
    /// Reading the tags costs what so many questions do.
    const READING: usize = 20;
    let mut count = 0;
    let mut counted = questions.inspect(|_| count += 1);
    counted.all(|question| question.policy.patterns_tried() == 0) && tags * (READING + count) <= SMALL
}

/// The answer that the last look's snapshot gives, if it is quickly found, and that there is nothing to write. What is
/// written is always looked at first.
pub(crate) fn answer_from(snapshot: &Snapshot, question: &Question) -> Option<Answered> {
    if question.policy.needs().listing {
        snapshot.tags.as_ref().filter(|tags| tags.is_empty() || is_small(tags.len(), std::iter::once(question)))?;
    }
    let decision = decide(&question.policy, question.current(), &snapshot.listing(), &snapshot.facts());
    decision.choice().is_none().then_some(Ok(Answer { decision, choice: None, passed: Vec::new(), young: None }))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures::FutureExt;

    use std::collections::BTreeSet;

    use super::*;
    use crate::{
        domain::{
            image::Tag,
            policy::{NamedPolicies, Options, Policy},
        },
        ports::Work,
    };

    /// Runs all at once, and counts half a second for each look at what was used.
    struct Slow;

    impl Pool for Slow {
        fn run(&self, _: &Arc<str>, work: Work) {
            let used = Cell::new(Duration::ZERO);
            work(&|| used.replace(used.get() + Duration::from_millis(500)));
        }
    }

    fn question(policy: &str) -> Arc<Question> {
        let policy = Policy::parse(policy, &Options::default(), &NamedPolicies::default()).unwrap();
        let min_age = None;
        Arc::new(Question {
            policy,
            tag: None,
            digest: None,
            pinned: false,
            avoided: Arc::default(),
            held: Arc::default(),
            is_full: false,
            min_age,
            kept: None,
        })
    }

    fn listing(tags: usize) -> Arc<Listing> {
        let tags: Vec<Tag> = (0..tags).map(|n| Tag::parse(&format!("1.0.{n}")).unwrap()).collect();
        Arc::new(Listing::new(tags.iter().collect()))
    }

    #[test]
    fn a_namespace_that_has_used_its_share_loses_its_own_questions_only() {
        let names = |names: &[&str]| names.iter().map(|&name| name.into()).collect::<BTreeSet<Arc<str>>>();
        let mut questions: Questions = (0..20).map(|n| (question(&format!("regex:{n}")), names(&["many"]))).collect();
        questions.insert(question("glob:few"), names(&["few"]));
        questions.insert(question("glob:both"), names(&["few", "many"]));
        let mut beside = Beside::new(&Slow, listing(1), &questions);
        let answers = beside.each(|_| true, |_, _, _| Some(())).now_or_never().unwrap().unwrap();
        assert_eq!(answers.len(), 22);
        let lost: Vec<&str> = answers
            .iter()
            .filter(|(_, answer)| answer.is_none())
            .map(|(question, _)| question.policy.as_str())
            .collect();
        assert_eq!(lost.len(), 16, "{lost:?}");
        assert!(lost.iter().all(|policy| policy.starts_with("regex:")), "{lost:?}");
        // What was used counts for what is asked next in the same look.
        let answers = beside.each(|_| true, |_, _, _| Some(())).now_or_never().unwrap().unwrap();
        assert_eq!(answers.iter().filter(|(_, answer)| answer.is_none()).count(), 20);
    }

    #[rstest::rstest]
    #[case("minor", 1000, true)]
    #[case("minor", 10_000, false)]
    #[case("glob:*", 1, false)]
    fn what_takes_next_to_nothing_is_decided_at_once(#[case] policy: &str, #[case] tags: usize, #[case] small: bool) {
        assert_eq!(is_small(tags, std::iter::once(&*question(policy))), small);
    }
}
