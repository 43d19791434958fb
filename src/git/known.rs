//! What the forge tells of a group's request before anything is done, and what people have decided by it.

use super::{
    find::{Asked, Finding},
    forges::{Request, RequestState},
    proposal::{Marks, Memo, mark},
};
use crate::domain::{
    reason::{Code, Reason},
    update::{Change, Update},
};

/// What the forge tells of the request before anything is done.
#[derive(Default)]
pub(super) struct Known {
    pub(super) open: Option<Request>,
    /// The newest one, whatever became of it.
    url: String,
    /// The end of its branch when it was merged.
    pub(super) merged_at: Option<String>,
    /// Changes that the newest one holds, if it is open, refuses, if it was closed, or brought, if it was merged.
    holds: Marks,
    closed: Marks,
    merged: Marks,
    /// Changes that people refused by closing one.
    pub(super) refused: Marks,
}

impl Known {
    pub(super) fn new(newest: Option<Request>) -> Self {
        let Some(newest) = newest else { return Self::default() };
        let Memo { holds, refused, .. } = Memo::read(&newest.body);
        let mut known = Self { url: newest.url.clone(), refused, ..Self::default() };
        match newest.state {
            RequestState::Closed => {
                known.refused.extend(holds.iter().cloned());
                known.closed = holds;
            }
            RequestState::Merged => (known.merged, known.merged_at) = (holds, Some(newest.head_commit)),
            RequestState::Open => (known.holds, known.open) = (holds, Some(newest)),
        }
        known
    }

    /// Whether a change of a branch's commit is what we put there: the request says so too, and it changes no more of
    /// an image than we ever do.
    pub(super) fn trusts(&self, held: &Asked) -> bool {
        let Update { workload, changes, .. } = &held.update;
        let is_ours = |change: &Change| {
            self.holds.contains(&mark(workload, change)) && change.from.repository == change.to.repository
        };
        changes.iter().all(is_ours)
    }
}

/// An update without what people refused; as it is where they refused all of it.
pub(super) fn without_refused(asked: &Asked, refused: &Marks) -> Asked {
    let Asked { update, instance, sources, wishes } = asked;
    let is_refused: Vec<bool> =
        update.changes.iter().map(|change| refused.contains(&mark(&update.workload, change))).collect();
    if is_refused.iter().all(|refused| *refused) {
        return asked.clone();
    }
    let mut left = update.clone();
    let keep = |index: usize| !is_refused.get(index).copied().unwrap_or_default();
    left.changes = retained(&update.changes, keep);
    left.policies = retained(&update.policies, keep);
    left.evidence = retained(&update.evidence, keep);
    let (instance, wishes) = (instance.clone(), wishes.clone());
    Asked { update: left, instance, sources: retained(sources, keep), wishes }
}

fn retained<T: Clone>(all: &[T], keep: impl Fn(usize) -> bool) -> Vec<T> {
    all.iter().enumerate().filter(|(index, _)| keep(*index)).map(|(_, one)| one.clone()).collect()
}

/// What people refused, and what they merged and somebody moved back, is not proposed again.
pub(super) fn unless_decided(finding: Finding, asked: &Asked, known: &Known) -> Finding {
    let (update, url) = (&asked.update, &known.url);
    let Finding::Edits(_, places) = &finding else { return finding };
    let first = |marks: &Marks| {
        update.changes.iter().find(|change| marks.contains(&mark(&update.workload, change))).map(|change| &change.to)
    };
    if let Some(image) = first(&known.refused) {
        let which = if first(&known.closed) == Some(image) { format!("the request {url}") } else { "a request".into() };
        let message = format!("{which} was closed unmerged: {image} is not proposed again, only a newer image will be");
        return Finding::Blocked(Reason::new(Code::RequestClosed, message));
    }
    if let Some(image) = first(&known.merged) {
        let message = format!(
            "{image} was merged with {url} and somebody moved it back ({places}); it is not proposed again, only a newer \
             image will be"
        );
        return Finding::Blocked(Reason::new(Code::Reverted, message));
    }
    finding
}
