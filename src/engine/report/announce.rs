//! What people are told, each thing once: Events on the workload, lines in the log, the gauge of problems.

use std::{collections::HashMap, sync::Arc, time::Duration};

use crate::{
    domain::{
        hours,
        image::Repository,
        reason::{Code, Reason},
        seldom::{LeftOut, Seldom},
        target::Route,
        update::{Change, Item, News, Rollout, Update},
        votes::Approval,
        workload::WorkloadId,
    },
    engine::report::{
        rows::Assessment,
        said::{Line, Said, Tone, worth_saying},
    },
    metrics::{Metrics, ProblemLabels, RolloutLabels},
    ports::{Events, Notice, PutError},
};

/// What was last said of each workload.
pub(crate) struct Told<'p> {
    events: &'p dyn Events,
    metrics: &'p Metrics,
    said: HashMap<WorkloadId, Said>,
    /// How much was said of each namespace lately.
    talk: HashMap<Arc<str>, Talk>,
    /// Of what each sender of webhooks named in vain.
    lost: HashMap<&'static str, Seldom>,
    unseen: Seldom,
}

/// What may be said of one namespace at once, and how often something more.
const TALK: (u32, Duration) = (500, Duration::from_secs(1));
/// That a tag of a sender's webhook was given up is told at most once in this time; all are counted.
const LOST_EVERY: Duration = Duration::from_secs(10);
/// What is said of one workload at once.
const LINES: usize = 20;

#[derive(Default)]
struct Talk {
    /// When all of it may be said again.
    whole: Duration,
    left_out: usize,
}

impl<'p> Told<'p> {
    /// Nothing has been said.
    pub(crate) fn new(events: &'p dyn Events, metrics: &'p Metrics) -> Self {
        Self {
            events,
            metrics,
            said: HashMap::new(),
            talk: HashMap::new(),
            lost: HashMap::new(),
            unseen: Seldom::default(),
        }
    }

    /// Says what an assessment brought that has not been said before, and keeps the gauge.
    ///
    /// What is left out because too much is said of a namespace is said when the workload is next assessed.
    pub(crate) fn assessed(&mut self, id: &WorkloadId, uid: &Arc<str>, assessment: Option<&Assessment>, now: Duration) {
        let mut said = assessment.map(worth_saying).unwrap_or_default();
        let old = self.said.remove(id).unwrap_or_default();
        let gauge = |code: Code| self.metrics.problems.get_or_create(&ProblemLabels { category: code.as_str() });
        for &code in &old.codes {
            gauge(code).dec();
        }
        for &code in &said.codes {
            gauge(code).inc();
        }
        let mut more = said.lines.len().saturating_sub(LINES);
        said.lines.truncate(LINES);
        said.lines.retain(|line| old.lines.contains(line) || self.may_say(&id.namespace, now));
        for Line { event, tone, text, .. } in said.lines.iter().filter(|line| !old.lines.contains(line)) {
            match tone {
                Tone::Problem => tracing::warn!(workload = %id, reason = event, why = text, "not updated"),
                Tone::Held => tracing::info!(workload = %id, why = text, "would be updated"),
                Tone::Waits => tracing::info!(workload = %id, why = text, "waits"),
                Tone::Note => tracing::info!(workload = %id, why = text, "noted"),
            }
            let others = match std::mem::take(&mut more) {
                0 => String::new(),
                more => format!("; and {more} more of this workload: `supercargo explain` shows them"),
            };
            self.notice(id, uid, event, *tone == Tone::Problem, format!("{text}{others}"));
        }
        if said != Said::default() {
            self.said.insert(id.clone(), said);
        }
    }

    /// Whether one line more may be said of a namespace, so that none fills the log or the queue of Events.
    fn may_say(&mut self, namespace: &Arc<str>, now: Duration) -> bool {
        if !self.talk.contains_key(namespace) {
            self.talk.retain(|_, talk| talk.whole > now);
        }
        let talk = self.talk.entry(namespace.clone()).or_default();
        let (burst, interval) = TALK;
        let whole = talk.whole.max(now) + interval;
        if whole > now + interval * burst {
            talk.left_out += 1;
            return false;
        }
        talk.whole = whole;
        if talk.left_out > 0 {
            let left_out = std::mem::take(&mut talk.left_out);
            tracing::warn!(%namespace, left_out, "more was to be said of this namespace than is logged");
        }
        true
    }

    /// Says that what a webhook named was given up.
    pub(crate) fn lost(&mut self, repository: &Repository, sender: &'static str, why: &str, now: Duration) {
        let code = Code::HintNotFound.as_str();
        match self.lost.entry(sender).or_default().tell(LOST_EVERY, now) {
            Some(LeftOut(left_out)) => {
                tracing::warn!(%repository, sender, code, why, left_out, "given up waiting for what a webhook named");
            }
            None => tracing::debug!(%repository, sender, code, why, "given up waiting"),
        }
    }

    /// Says that it is not remembered when tags were first seen.
    pub(crate) fn unseen(&mut self, repository: &Repository, why: &PutError, now: Duration) {
        if let Some(LeftOut(left_out)) = self.unseen.tell(LOST_EVERY, now) {
            let what = "when tags were first seen is not remembered; tried again in a minute";
            tracing::warn!(%repository, %why, left_out, "{what}");
        }
    }

    /// Says what is new of an update.
    pub(crate) fn news(&mut self, news: &News, uid: &Arc<str>) {
        match news {
            News::Updated(update) => self.updated(update, uid),
            News::Committed(update, said) => self.committed(update, uid, said),
            News::Refused(update, why) => self.refused(update, uid, why),
            News::Failed(update, _) => self.count(&update.workload, Code::WriteFailed),
            News::Rollout(update, rollout) => self.rollout(update, uid, rollout),
            News::ApprovalNeeded(update, approval, untried) => {
                self.approval_needed(update, uid, approval, untried.as_deref());
            }
            News::Refusal(update, reason) => {
                let (workload, update) = (&update.workload, &update.id);
                tracing::info!(%workload, %update, code = %reason.code, why = reason.message, "not approved");
            }
            News::Held(workload, hold) => self.held(workload, uid, hold.code(), &hold.why(workload)),
            News::TakenAway(workload, rule) => self.held(workload, uid, Code::Undone, &rule.why(workload)),
            News::Stopped(workload, held) if workload.is_all() => {
                tracing::warn!(by = %held.by, why = %held.reason, "everything is held: nothing is changed");
            }
            News::Stopped(workload, held) => self.held(workload, uid, Code::Held, &held.why(&workload.to_string())),
        }
    }

    /// Says that people are respected.
    fn held(&self, workload: &WorkloadId, uid: &Arc<str>, code: Code, why: &str) {
        tracing::info!(%workload, %code, why, "held");
        // What another deployer sets is told as the problem that it is.
        if code != Code::FoughtOver {
            self.notice(workload, uid, "UpdateHeld", false, format!("{why} ({code})"));
        }
    }

    /// Says that an update was written.
    fn updated(&self, update: &Update, uid: &Arc<str>) {
        for Item { change, policy, .. } in &update.items {
            tracing::info!(
                workload = %update.workload, container = %change.container, from = %change.from, to = %change.to,
                policy = %policy, update = %update.id, "updated"
            );
        }
        self.notice(&update.workload, uid, "ImageUpdated", false, describe(update));
    }

    /// Says that an update is in Git, or in a request.
    fn committed(&self, update: &Update, uid: &Arc<str>, said: &Reason) {
        let (event, what) = match said.code {
            Code::RequestOpen => ("UpdateProposed", "proposed"),
            _ => ("UpdateCommitted", "committed"),
        };
        for Item { change, policy, .. } in &update.items {
            tracing::info!(
                workload = %update.workload, container = %change.container, from = %change.from, to = %change.to,
                policy = %policy, update = %update.id, write = %update.route.write(), why = said.message, "{what}"
            );
        }
        let message = format!("{}: {} ({})", describe(update), said.message, said.code);
        self.notice(&update.workload, uid, event, false, message);
    }

    /// Says that people are to look at an update.
    fn approval_needed(&self, update: &Update, uid: &Arc<str>, approval: &Approval, untried: Option<&str>) {
        let (workload, id) = (&update.workload, &update.id);
        let until = approval.deadline.map(|at| format!(" until {}", hours::shown(at))).unwrap_or_default();
        let untried = untried.map(|why| format!("; whether the API server would take it could not be tried: {why}"));
        let people = if approval.needed == 1 { "person" } else { "people" };
        let message = format!(
            "{}: {} {people} must approve it{until}: `supercargo approve {workload}`{} ({})",
            describe(update),
            approval.needed,
            untried.unwrap_or_default(),
            Code::Approval
        );
        tracing::info!(%workload, update = %id, why = message, "waits for approval");
        self.notice(workload, uid, "ApprovalNeeded", false, message);
    }

    /// Says that an admission refused an update, in its words.
    fn refused(&mut self, update: &Update, uid: &Arc<str>, why: &str) {
        let (who, code) = match update.route {
            Route::Cluster => ("the API server", Code::AdmissionRefused),
            _ => ("the Git server", Code::GitRefused),
        };
        let message = format!("{who} refused {}: {why}", describe(update));
        self.notice(&update.workload, uid, "UpdateBlocked", true, message);
        self.count(&update.workload, code);
    }

    /// Says how the rollout of an update goes, where that is news for people.
    fn rollout(&self, update: &Update, uid: &Arc<str>, rollout: &Rollout) {
        let (workload, id) = (&update.workload, &update.id);
        let labels = RolloutLabels { kind: workload.kind.as_str().to_owned(), outcome: rollout.label() };
        self.metrics.rollouts.get_or_create(&labels).inc();
        let (event, reason) = match rollout {
            Rollout::Succeeded => return tracing::info!(%workload, update = %id, "runs"),
            Rollout::NotFollowed(_) | Rollout::NotProved(_) | Rollout::Superseded => return,
            Rollout::Stalled(reason) => ("RolloutStalled", reason),
            Rollout::Failed(reason) => ("RolloutFailed", reason),
            Rollout::RolledBack(reason) => {
                tracing::info!(%workload, update = %id, why = reason.message, "rolled back");
                let message = format!("{}: {} ({})", describe(update), reason.message, reason.code);
                return self.notice(workload, uid, "RolledBack", false, message);
            }
        };
        tracing::warn!(%workload, update = %id, reason = event, why = reason.message, "does not run");
        let message = format!("{}: {} ({})", describe(update), reason.message, reason.code);
        self.notice(workload, uid, event, true, message);
    }

    /// Says that a workload is left alone because it does not decode.
    pub(crate) fn undecodable(&mut self, id: &WorkloadId, uid: &Arc<str>, why: &str, now: Duration) {
        if self.may_say(&id.namespace, now) {
            tracing::warn!(workload = %id, why, "left out: it does not decode");
            self.unread(id, uid, &format!("left alone, as it cannot be read: {why}"));
        }
    }

    /// Says that a record of a workload's updates is left alone.
    pub(crate) fn record_undecodable(&mut self, id: &WorkloadId, uid: &Arc<str>, why: &str, now: Duration) {
        if self.may_say(&id.namespace, now) {
            tracing::warn!(workload = %id, why, "a record of its updates is left out");
            self.unread(id, uid, &format!("a record of its updates is left alone: {why}"));
        }
    }

    /// Says that nothing is changed as it is not known what was remembered.
    pub(crate) fn state_undecodable(&mut self, id: &WorkloadId, uid: &Arc<str>, why: &str, now: Duration) {
        if self.may_say(&id.namespace, now) {
            tracing::warn!(workload = %id, why, "left as it is: what is remembered of it does not decode");
            self.unread(id, uid, &format!("left as it is, as what is remembered of it cannot be read: {why}"));
        }
    }

    /// What became of an update is not recorded, or not yet.
    pub(crate) fn unrecorded(&mut self, workload: &WorkloadId, why: &str, again: bool, now: Duration) {
        if !self.may_say(&workload.namespace, now) {
            return;
        }
        match again {
            true => tracing::warn!(%workload, why, "what became of an update is not recorded yet; tried again later"),
            false => tracing::error!(%workload, why, "what became of an update is not recorded"),
        }
    }

    fn unread(&self, id: &WorkloadId, uid: &Arc<str>, what: &str) {
        self.notice(id, uid, "PolicyProblem", true, format!("{what} ({})", Code::Undecodable));
    }

    /// Counts a problem until the workload is assessed again.
    fn count(&mut self, id: &WorkloadId, code: Code) {
        self.metrics.problems.get_or_create(&ProblemLabels { category: code.as_str() }).inc();
        self.said.entry(id.clone()).or_default().codes.push(code);
    }

    fn notice(&self, id: &WorkloadId, uid: &Arc<str>, reason: &'static str, warning: bool, message: String) {
        self.events.publish(Notice { workload: id.clone(), uid: uid.clone(), reason, warning, message });
    }
}

fn describe(update: &Update) -> String {
    let line = |Item { change: Change { container, from, to, .. }, policy, .. }: &Item| {
        format!("{container}: {from} to {to} (policy {policy})")
    };
    let lines: Vec<String> = update.items.iter().map(line).collect();
    lines.join(", ")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl Events for Counted {
        fn publish(&self, _: Notice) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_workload_that_does_not_decode_again_and_again_fills_neither_log_nor_events() {
        let (events, metrics) = (Counted::default(), Metrics::default());
        let (mut told, id) = (Told::new(&events, &metrics), "a/Deployment/web".parse().unwrap());
        let mut say = |n: usize, now: u64| {
            told.undecodable(&id, &"".into(), &format!("it has {n} containers"), Duration::from_secs(now));
        };
        (0..2000).for_each(|n| say(n, 1));
        assert_eq!(events.0.load(Ordering::Relaxed), TALK.0 as usize);
        (0..10).for_each(|n| say(n, 4));
        assert_eq!(events.0.load(Ordering::Relaxed), TALK.0 as usize + 3);
    }
}
