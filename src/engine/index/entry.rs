//! One workload: its rule, and what each of its containers asks.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, LazyLock},
    time::Duration,
};

use crate::{
    domain::{
        annotations::{ContainerRule, Pin, Watch, WorkloadRule},
        candidate::{Avoided, HeldImage},
        decide::Candidate,
        demand::Demand,
        hint::{Credentials, PullSecrets, Source},
        hold::HoldRule,
        image::{ImageRef, Tag},
        update::{Bars, Change, Hold, LAST_UPDATE, QUARANTINED, Quarantined, Written},
        workload::{MAX_PULL_SECRETS, Workload, WorkloadId, version},
    },
    engine::{
        index::{settings::OperatorServes, source::Cause, sources::Sources},
        look::{
            beside::answer_from,
            question::{Answer, Answered, Question, Snapshot, trimmed},
        },
    },
};

/// Questions of a workload at once that are answered by what the last look left.
const AT_ONCE: usize = 8;

/// There once for all workloads that nothing bars, which are most.
static NOTHING: LazyLock<Arc<Bars>> = LazyLock::new(Arc::default);

/// A workload that is known.
pub(crate) struct WorkloadEntry {
    pub(crate) workload: Arc<Workload>,
    pub(crate) rule: WorkloadRule,
    /// Beside `rule.containers`.
    pub(crate) slots: Vec<Slot>,
    /// What its record says of what may be chosen.
    pub(crate) bars: Arc<Bars>,
    /// What somebody has approved already.
    pub(crate) kept: Box<[Change]>,
    /// The newest version that the cluster told of, or answered to our own write.
    version: Option<u64>,
    /// What made us look last.
    pub(crate) detected: Option<Cause>,
}

/// What is asked for one container, and what is known.
#[derive(Default)]
pub(crate) struct Slot {
    pub(crate) source: Option<Arc<Source>>,
    /// Shared by all that ask the same, once they are answered, as the answer is.
    pub(crate) question: Option<Arc<Question>>,
    pub(crate) answer: Option<Arc<Answered>>,
    /// Whether a look that a webhook asked for has found what the answer says.
    pub(crate) hooked: bool,
    /// When the look ended that found what the answer says (monotonic).
    looked: Duration,
}

/// What a look meant for one workload.
#[derive(Default)]
pub(crate) struct AnswersApplied {
    /// There is something to be thought of.
    pub(crate) news: bool,
    /// A question came up while the look was under way, and what it brought does not answer it.
    pub(crate) unasked: bool,
}

impl WorkloadEntry {
    /// A workload that is new, or that is known as `old` and has changed, or what applies to it has.
    pub(crate) fn new(workload: Arc<Workload>, rule: WorkloadRule, old: Option<&Self>) -> Self {
        let mut entry = Self {
            slots: rule.containers.iter().map(|_| Slot::default()).collect(),
            bars: old.map_or_else(|| NOTHING.clone(), |old| old.bars.clone()),
            kept: old.map(|old| old.kept.clone()).unwrap_or_default(),
            version: version(&workload.resource_version),
            detected: None,
            workload,
            rule,
        };
        if let Some(old) = old.filter(|old| old.workload.uid == entry.workload.uid) {
            entry.version = entry.version.max(old.version);
            entry.detected = old.detected;
        }
        entry
    }

    /// Fills the slots: what each container asks, and the answer where the same was asked before.
    pub(crate) fn ask(&mut self, old: Option<&Self>, sources: &mut Sources, serves: &OperatorServes, reasons: bool) {
        if !self.rule.problems.is_empty() {
            return;
        }
        let mut left = AT_ONCE;
        for (container, slot) in self.rule.containers.iter().zip(&mut self.slots) {
            let (Watch::Watched { policy, pin, gates }, Ok(image)) =
                (&container.state, ImageRef::parse(&container.image))
            else {
                continue;
            };
            let min_age = gates.min_age.as_ref().map(|age| age.value);
            let pinned = match pin {
                _ if min_age.is_some() || self.rule.approvals.is_some() => true,
                Pin::Keep => image.digest.is_some(),
                Pin::Tag => false,
                Pin::Digest => true,
            };
            let avoided = avoided(&self.bars.quarantined, container, &image);
            let question = Arc::new(Question {
                policy: policy.clone(),
                tag: image.tag.clone(),
                digest: image.digest.clone(),
                pinned,
                held: held(&self.workload.id, &self.bars.holds, container, gates.hold.as_deref(), &image),
                is_full: !avoided.is_empty() && self.bars.quarantined.len() >= QUARANTINED,
                avoided,
                min_age,
                kept: approved_tag(&self.kept, container),
            });
            let needs = policy.needs();
            if !needs.listing && !needs.digest_of_current {
                // `never` asks nothing of a registry.
                slot.answer = answer_from(&Snapshot::default(), &question).map(|answer| trimmed(answer, reasons));
                slot.question = Some(question);
                continue;
            }
            let source = source(&self.workload, &image, sources, serves);
            let before =
                old.into_iter().flat_map(|old| &old.slots).filter(|slot| slot.source.as_ref() == Some(&source));
            for before in before {
                slot.hooked |=
                    before.hooked && before.answer.as_deref().is_none_or(|answer| is_open(answer, &question));
                if before
                    .question
                    .as_ref()
                    .is_some_and(|asked| asked.is_answered_by(&question, before.answer.as_deref()))
                {
                    slot.answer.clone_from(&before.answer);
                    slot.looked = before.looked;
                } else if before.question.as_ref().is_some_and(|before| before.policy == question.policy) {
                    // Only the image changed, most often by our own hand: what the last look brought will do,
                    // unless there would be something to write.
                    slot.answer = sources.answer(&source, &question, reasons, &mut left);
                }
            }
            slot.source = Some(source);
            slot.question = Some(question);
        }
    }

    /// The sources of all containers.
    pub(crate) fn sources(&self) -> BTreeSet<Arc<Source>> {
        self.slots.iter().filter_map(|slot| slot.source.clone()).collect()
    }

    /// The sources of which something is asked that is not known.
    pub(crate) fn open(&self) -> BTreeSet<Arc<Source>> {
        let open = self.slots.iter().filter(|slot| slot.question.is_some() && slot.answer.is_none());
        open.filter_map(|slot| slot.source.clone()).collect()
    }

    /// Whether what is to be written with its digest was found so long ago.
    pub(crate) fn is_stale(&self, now: Duration, fresh: Duration) -> bool {
        self.slots.iter().any(|slot| {
            let by_digest = |question: &&Arc<Question>| question.pinned || question.policy.needs().digest_of_current;
            let pinned = slot.question.as_ref().filter(by_digest);
            let is_old = slot.looked + fresh < now;
            is_old && pinned.zip(slot.answer.as_deref()).is_some_and(|(question, answer)| is_open(answer, question))
        })
    }

    /// What the containers ask of a source.
    pub(crate) fn questions<'a>(&'a self, source: &'a Arc<Source>) -> impl Iterator<Item = &'a Arc<Question>> {
        let slots = self.slots.iter().filter(move |slot| slot.source.as_ref() == Some(source));
        slots.filter_map(|slot| slot.question.as_ref())
    }

    /// Takes in what a look at a source brought: the answers, and, if it succeeded, what it left in `sources`.
    pub(crate) fn apply_answers(
        &mut self,
        source: &Arc<Source>,
        answers: &HashMap<Arc<Question>, Arc<Answered>>,
        mut sources: Option<&mut Sources>,
        reasons: bool,
        hooked: bool,
        now: Duration,
    ) -> AnswersApplied {
        let (mut applied, mut left) = (AnswersApplied::default(), AT_ONCE);
        for slot in self.slots.iter_mut().filter(|slot| slot.source.as_ref() == Some(source)) {
            let Some(question) = &slot.question else { continue };
            if hooked && !slot.hooked {
                (slot.hooked, applied.news) = (true, true);
            }
            if let Some((question, answer)) = answers.get_key_value(question) {
                applied.news = true;
                // What a webhook told of and was too young needs no other one.
                let waited = matches!(slot.answer.as_deref(), Some(Ok(Answer { young: Some(_), .. })));
                slot.hooked &= hooked || waited || !is_another(slot.answer.as_deref(), answer);
                (slot.question, slot.answer) = (Some(question.clone()), Some(answer.clone()));
                slot.looked = now;
            } else if let Some(sources) = &mut sources
                && (slot.answer.is_none() || !answers.is_empty())
            {
                // The question came up while the look was under way, most often by our own update.
                match sources.answer(source, question, reasons, &mut left) {
                    Some(answer) => (applied.news, slot.answer) = (true, Some(answer)),
                    None => applied.unasked = true,
                }
            }
        }
        applied
    }

    /// Takes in that the cluster told of this version; whether it differs from what is known, and is not older.
    pub(crate) fn is_outdated_by(&mut self, told: &Workload) -> bool {
        let version = version(&told.resource_version);
        if self.workload.uid != told.uid {
            return true;
        }
        if version.is_some() && version < self.version {
            return false;
        }
        self.version = version;
        !self.workload.is_same(told)
    }

    /// The workload as we wrote it; `None` if the cluster has told of a later version.
    pub(crate) fn wrote(&mut self, written: &Written) -> Option<Workload> {
        let at = version(&written.resource_version);
        if at.is_some() && at < self.version {
            return None;
        }
        self.version = at;
        let mut workload = (*self.workload).clone();
        workload.has_annotations = true;
        Arc::make_mut(&mut workload.annotations).insert(LAST_UPDATE.to_owned(), written.note.clone());
        for container in &mut workload.containers {
            if let Some((_, image)) = written.images.iter().find(|(name, _)| *name == container.name) {
                container.image.clone_from(image);
            }
        }
        Some(workload)
    }
}

/// Whether what was chosen is still to be written.
fn is_open(answer: &Answered, question: &Question) -> bool {
    let Ok(Answer { choice, young, .. }) = answer else { return true };
    let current = |choice: &Candidate| Some(&choice.tag) == question.tag.as_ref() && choice.digest == question.digest;
    young.is_some() || choice.as_ref().is_some_and(|choice| !current(choice))
}

/// Whether something else is chosen now.
fn is_another(old: Option<&Answered>, new: &Answered) -> bool {
    matches!((old, new), (Some(Ok(old)), Ok(new)) if old.choice != new.choice)
}

/// What somebody has approved for a container.
fn approved_tag(kept: &[Change], container: &ContainerRule) -> Option<Tag> {
    let is_its = |change: &&Change| (&change.container, change.init) == (&container.container, container.init);
    kept.iter().find(is_its)?.to.tag.clone()
}

/// What did not run in a container, of the repository that it uses.
fn avoided(quarantined: &[Quarantined], container: &ContainerRule, image: &ImageRef) -> Arc<[Avoided]> {
    if quarantined.is_empty() {
        return Arc::default();
    }
    let its = quarantined.iter().filter(|bad| {
        (&bad.container, bad.init) == (&container.container, container.init) && bad.to.repository == image.repository
    });
    let avoided = its.filter_map(|Quarantined { to, digest, at, evidence, .. }| {
        Some(Avoided { tag: to.tag.clone()?, digest: digest.clone(), at: *at, evidence: evidence.clone() })
    });
    avoided.collect()
}

/// What is held in a container, of the repository that it uses: by its record, and by its annotation.
fn held(
    workload: &WorkloadId,
    holds: &[Hold],
    container: &ContainerRule,
    asked: Option<&Demand<HoldRule>>,
    image: &ImageRef,
) -> Arc<[HeldImage]> {
    if holds.is_empty() && asked.is_none() {
        return Arc::default();
    }
    let is_its = |hold: &&Hold| hold.is_in(&container.container, container.init);
    let its = holds.iter().filter(is_its).filter(|hold| hold.to.repository == image.repository);
    let its = its.map(|hold| HeldImage {
        tag: hold.to.tag.clone(),
        digest: hold.to.digest.clone(),
        is_exact: false,
        code: hold.code(),
        why: hold.why(workload).into(),
    });
    its.chain(asked.and_then(|asked| asked.value.held(&asked.by))).collect()
}

/// What an image of a workload is looked up with.
pub(super) fn source(workload: &Workload, image: &ImageRef, sources: &Sources, serves: &OperatorServes) -> Arc<Source> {
    let namespace = &workload.id.namespace;
    let names: Vec<_> = workload.pull_secrets.iter().take(MAX_PULL_SECRETS).cloned().collect();
    let secrets = (!names.is_empty()).then(|| PullSecrets { namespace: namespace.clone(), names });
    let operator = serves(&image.repository, namespace);
    let source = Source { repository: image.repository.clone(), credentials: Credentials { secrets, operator } };
    sources.find(&source).cloned().unwrap_or_else(|| Arc::new(source))
}
