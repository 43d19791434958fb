//! One workload: its rule, what each of its containers asks, and what is remembered of our own writes.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::{
    look::{Answer, Answered, Question, Snapshot, answer_from},
    settings::OperatorServes,
    sources::{Cause, Sources},
};
use crate::{
    domain::{
        annotations::{Pin, Watch, WorkloadRule},
        hint::{Credentials, PullSecrets, Source},
        image::ImageRef,
        reason::Reason,
        report::Verdict,
        update::{Change, LastUpdate, LeftOut, Update},
        workload::{Container, MAX_PULL_SECRETS, Workload},
    },
    ports::{ImageManager, Observed},
};

/// Questions of a workload at once that are answered by what the last look left.
const AT_ONCE: usize = 8;
/// Moved-back targets that are remembered for each workload.
const KEPT: usize = 20;

/// A workload that is known.
pub(super) struct Entry {
    pub(super) workload: Arc<Workload>,
    pub(super) rule: WorkloadRule,
    /// Beside `rule.containers`.
    pub(super) slots: Vec<Slot>,
    /// What we set last, so that what another hand moved back is not set again.
    applied: Vec<Change>,
    /// Targets that were moved back, and what is said about each.
    reverted: Vec<(String, String)>,
    /// The version of our own last write.
    written: Arc<str>,
    /// What was asked of Git last.
    pub(super) in_git: Option<Box<InGit>>,
    /// What made us look last.
    pub(super) detected: Option<Cause>,
}

/// An update that was brought to Git, and what came of it.
pub(super) struct InGit {
    pub(super) update: Update,
    pub(super) said: Reason,
    /// What is not brought with the others.
    pub(super) left: Vec<LeftOut>,
    /// Waiting for the cluster to run it, or blocked.
    pub(super) verdict: Verdict,
}

/// What is asked for one container, and what is known.
#[derive(Default)]
pub(super) struct Slot {
    pub(super) source: Option<Arc<Source>>,
    pub(super) question: Option<Question>,
    /// Shared by all that ask the same.
    pub(super) answer: Option<Arc<Answered>>,
}

/// What a look meant for one workload.
#[derive(Default)]
pub(super) struct Heed {
    /// There is something to be thought of.
    pub(super) news: bool,
    /// A question came up while the look was under way, and what it brought does not answer it.
    pub(super) unasked: bool,
}

impl InGit {
    /// What is said of it to people.
    pub(super) fn said(&self) -> Reason {
        let mut said = self.said.clone();
        if self.verdict == Verdict::Waiting {
            said.message.push_str("; it does not run yet");
        }
        said
    }
}

impl Entry {
    /// The update in Git that the workload runs now, once.
    pub(super) fn arrived(&mut self) -> Option<Update> {
        let runs = |change: &Change| {
            let image = change.to.to_string();
            self.workload
                .containers
                .iter()
                .any(|c| c.name == change.container && c.init == change.init && *c.image == *image)
        };
        let arrived = self.in_git.as_ref()?.update.changes.iter().all(runs);
        let InGit { update, verdict, .. } = *self.in_git.take_if(|_| arrived)?;
        (verdict == Verdict::Waiting).then_some(update)
    }

    /// A workload that is new, or that is known as `old` and has changed, or what applies to it has.
    pub(super) fn new(workload: Arc<Workload>, rule: WorkloadRule, old: Option<&mut Self>) -> Self {
        let mut entry = Self {
            slots: rule.containers.iter().map(|_| Slot::default()).collect(),
            applied: last_update(&workload),
            reverted: Vec::new(),
            written: "".into(),
            in_git: None,
            detected: None,
            workload,
            rule,
        };
        if let Some(old) = old.filter(|old| old.workload.uid == entry.workload.uid) {
            // An undo of the rollout restores an old annotation, so what we remember counts first.
            if !old.applied.is_empty() {
                entry.applied.clone_from(&old.applied);
            }
            entry.reverted.clone_from(&old.reverted);
            entry.written.clone_from(&old.written);
            entry.detected = old.detected;
            entry.in_git = old.in_git.take();
        }
        entry
    }

    /// Fills the slots: what each container asks, and the answer where the same was asked before.
    pub(super) fn ask(&mut self, old: Option<&Self>, sources: &mut Sources, serves: &OperatorServes, reasons: bool) {
        if !self.rule.problems.is_empty() {
            return;
        }
        let mut left = AT_ONCE;
        for (container, slot) in self.rule.containers.iter().zip(&mut self.slots) {
            let (Watch::Watched { policy, pin }, Some(image)) = (&container.state, &container.parsed) else { continue };
            let pinned = match pin {
                Pin::Keep => image.digest.is_some(),
                Pin::Tag => false,
                Pin::Digest => true,
            };
            let question =
                Question { policy: policy.clone(), tag: image.tag.clone(), digest: image.digest.clone(), pinned };
            let needs = policy.needs();
            if !needs.listing && !needs.digest_of_current {
                // `never` asks nothing of a registry.
                slot.answer = answer_from(&Snapshot::default(), &question).map(|answer| kept(answer, reasons));
                slot.question = Some(question);
                continue;
            }
            let source = source(&self.workload, image, sources, serves);
            let before =
                old.into_iter().flat_map(|old| &old.slots).filter(|slot| slot.source.as_ref() == Some(&source));
            for before in before {
                if before.question.as_ref() == Some(&question) {
                    slot.answer.clone_from(&before.answer);
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
    pub(super) fn sources(&self) -> BTreeSet<Arc<Source>> {
        self.slots.iter().filter_map(|slot| slot.source.clone()).collect()
    }

    /// The sources of which something is asked that is not known.
    pub(super) fn open(&self) -> BTreeSet<Arc<Source>> {
        let open = self.slots.iter().filter(|slot| slot.question.is_some() && slot.answer.is_none());
        open.filter_map(|slot| slot.source.clone()).collect()
    }

    /// What the containers ask of a source.
    pub(super) fn questions<'a>(&'a self, source: &'a Arc<Source>) -> impl Iterator<Item = &'a Question> {
        let slots = self.slots.iter().filter(move |slot| slot.source.as_ref() == Some(source));
        slots.filter_map(|slot| slot.question.as_ref())
    }

    /// Takes in what a look at a source brought: the answers, and, if it succeeded, what it left in `sources`.
    pub(super) fn heed(
        &mut self,
        source: &Arc<Source>,
        answers: &HashMap<Question, Arc<Answered>>,
        mut sources: Option<&mut Sources>,
        reasons: bool,
    ) -> Heed {
        let (mut heed, mut left) = (Heed::default(), AT_ONCE);
        for slot in self.slots.iter_mut().filter(|slot| slot.source.as_ref() == Some(source)) {
            let Some(question) = &slot.question else { continue };
            if let Some(answer) = answers.get(question) {
                heed.news = true;
                slot.answer = Some(answer.clone());
            } else if let Some(sources) = &mut sources
                && (slot.answer.is_none() || !answers.is_empty())
            {
                // The question came up while the look was under way, most often by our own update.
                match sources.answer(source, question, reasons, &mut left) {
                    Some(answer) => (heed.news, slot.answer) = (true, Some(answer)),
                    None => heed.unasked = true,
                }
            }
        }
        heed
    }

    /// Whether a workload just read differs from what is known, and is not older than our own last write of it.
    pub(super) fn is_outdated_by(&self, read: &Workload) -> bool {
        let known = &self.workload;
        // Resource versions of one kind compare as numbers (Kubernetes API concepts, "Resource versions").
        let version = |text: &str| text.parse::<u64>().ok();
        let found = version(&read.resource_version);
        let older = known.uid == read.uid && found.is_some() && found < version(&self.written);
        let same = known.uid == read.uid
            && known.annotations == read.annotations
            && known.labels == read.labels
            && known.has_annotations == read.has_annotations
            && known.containers == read.containers
            && known.owner == read.owner
            && known.instance == read.instance
            && known.pull_secrets == read.pull_secrets;
        !same && !older
    }

    /// Remembers that we wrote an update; returns the workload as it is now.
    pub(super) fn wrote(&mut self, update: &Update, version: &Arc<str>) -> Workload {
        let mut workload = (*self.workload).clone();
        workload.has_annotations = true;
        for change in &update.changes {
            let same = |c: &&mut Container| c.name == change.container && c.init == change.init;
            if let Some(container) = workload.containers.iter_mut().find(same) {
                container.image = change.to.to_string().into();
            }
            self.applied.retain(|old| old.container != change.container || old.init != change.init);
            self.applied.push(change.clone());
        }
        self.written.clone_from(version);
        workload
    }

    /// Whether we set this image before, it is not there now, and nobody has looked yet who moved it.
    pub(super) fn is_unconfirmed(&self, change: &Change) -> bool {
        let to = change.to.to_string();
        let set = self.applied.iter().any(|applied| {
            applied.container == change.container && applied.init == change.init && applied.to.to_string() == to
        });
        set && self.why_not_again(&to).is_none()
    }

    /// Who moved that image back, if somebody did.
    pub(super) fn why_not_again(&self, image: &str) -> Option<&str> {
        self.reverted.iter().find(|(moved, _)| moved == image).map(|(_, text)| text.as_str())
    }

    /// Remembers who moved back what we set, by a fresh reading.
    pub(super) fn moved_back(&mut self, observed: &Observed) {
        for change in &self.applied {
            let now = observed.workload.containers.iter().find(|c| c.name == change.container && c.init == change.init);
            let to = change.to.to_string();
            let Some(now) = now.filter(|now| *now.image != *to) else { continue };
            let manager = observed.image_managers.iter().find(|manager| manager.container == *change.container);
            let text = format!(
                "{} moved container {} from {to} back to {}; {to} is not set again, only a newer image will be",
                manager.map_or_else(|| "another hand".to_owned(), describe),
                change.container,
                now.image,
            );
            self.reverted.retain(|(image, _)| *image != to);
            self.reverted.push((to, text));
            if self.reverted.len() > KEPT {
                self.reverted.remove(0);
            }
        }
    }
}

/// The answer as it is kept: without the reasons for single tags, unless a command shows them.
pub(super) fn kept(mut answer: Answered, reasons: bool) -> Arc<Answered> {
    if let Ok(Answer { decision, .. }) = &mut answer
        && !reasons
    {
        decision.reasons.retain(|reason| reason.tag.is_none());
        decision.reasons.shrink_to_fit();
        decision.eligible.truncate(1);
        decision.eligible.shrink_to_fit();
    }
    Arc::new(answer)
}

/// What an image of a workload is looked up with.
fn source(workload: &Workload, image: &ImageRef, sources: &Sources, serves: &OperatorServes) -> Arc<Source> {
    let namespace = &workload.id.namespace;
    let names: Vec<_> = workload.pull_secrets.iter().take(MAX_PULL_SECRETS).cloned().collect();
    let secrets = (!names.is_empty()).then(|| PullSecrets { namespace: namespace.clone(), names });
    let operator = serves(&image.repository, namespace);
    let source = Source { repository: image.repository.clone(), credentials: Credentials { secrets, operator } };
    sources.find(&source).cloned().unwrap_or_else(|| Arc::new(source))
}

/// What the annotation `last-update` says we set, if it reads.
fn last_update(workload: &Workload) -> Vec<Change> {
    let text = workload.annotations.get("supercargo.dev/last-update");
    let parsed = text.and_then(|text| serde_json::from_str::<LastUpdate>(text).ok());
    parsed.map(|update| update.changes).unwrap_or_default()
}

fn describe(manager: &ImageManager) -> String {
    match manager.time {
        Some(time) => format!("{} (at {time})", manager.manager),
        None => manager.manager.clone(),
    }
}
