//! What Git said of updates, and of the workloads that stand in the way of one because their images come from the same
//! place.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::{effect::Effect, entry::InGit, sources::Cause, state::State};
use crate::domain::{
    reason::Reason,
    report::Verdict,
    update::{LeftOut, Update, UpdateId},
    workload::WorkloadId,
};

/// As many of those that ask for another image are named on the row of a workload.
const MAX_NAMED: usize = 5;

/// Workloads that stand in the way, and of whose updates.
pub(super) type Contested = HashMap<WorkloadId, BTreeSet<WorkloadId>>;

impl State {
    /// What Git said of this very update.
    pub(super) fn in_git_as(&self, update: &UpdateId, id: &WorkloadId) -> Option<&InGit> {
        self.entry(id)?.in_git.as_deref().filter(|in_git| in_git.update.id == *update)
    }

    /// Takes in what Git said of an update; says what made us look for it.
    pub(super) fn in_git(
        &mut self,
        update: &Update,
        said: &Reason,
        left: Vec<LeftOut>,
        verdict: Verdict,
    ) -> Option<Cause> {
        let asks = &update.workload;
        let new = InGit { update: update.clone(), said: said.clone(), left, verdict };
        let entry = self.entry_mut(asks)?;
        let (old, detected) = (entry.in_git.replace(Box::new(new)), entry.detected);
        let others: Vec<WorkloadId> = self.entry(asks).and_then(|entry| entry.in_git.as_deref()).map(InGit::others)?;
        if old.as_deref().map(InGit::others).as_ref() != Some(&others) {
            self.uncontested(asks, old.as_deref());
            for other in others {
                let names = self.contested.entry(other.clone()).or_default();
                if names.len() < MAX_NAMED && names.insert(asks.clone()) {
                    self.effects.push(Effect::Assess(other));
                }
            }
        }
        detected
    }

    /// The update that a workload is to have now, or none: nobody stands in the way of another one any more.
    pub(super) fn wants(&mut self, id: &WorkloadId, update: Option<&UpdateId>) {
        let is_other = |in_git: &&mut Box<InGit>| {
            in_git.verdict == Verdict::Blocked && Some(&in_git.update.id) != update && !in_git.others().is_empty()
        };
        let Some(entry) = self.entry_mut(id) else { return };
        if entry.in_git.as_mut().filter(is_other).is_some() {
            let old = entry.in_git.take();
            self.uncontested(id, old.as_deref());
        }
    }

    /// What each container of a workload is told of the updates of others that it stands in the way of.
    pub(super) fn told_by_others(&self, id: &WorkloadId) -> Vec<(Arc<str>, Reason)> {
        let asks = self.contested.get(id).into_iter().flatten();
        let reasons = asks.filter_map(|asks| self.entry(asks)?.in_git.as_deref()).flat_map(InGit::reasons);
        let told = reasons.flat_map(|said| {
            let own = said.others.iter().filter(|other| other.workload == *id);
            own.map(|other| (other.container.clone(), Reason::new(said.code, other.text.clone())))
        });
        told.collect()
    }

    /// What Git said of an update of that workload does not hold any more.
    pub(super) fn uncontested(&mut self, asks: &WorkloadId, old: Option<&InGit>) {
        for other in old.iter().flat_map(|old| old.others()) {
            if let Some(names) = self.contested.get_mut(&other)
                && names.remove(asks)
            {
                if names.is_empty() {
                    self.contested.remove(&other);
                }
                self.effects.push(Effect::Assess(other));
            }
        }
    }
}

impl InGit {
    /// What was said of it, and of what is left out.
    fn reasons(&self) -> impl Iterator<Item = &Reason> {
        std::iter::once(&self.said).chain(self.left.iter().map(|left| &left.reason))
    }

    /// The workloads that stand in its way.
    fn others(&self) -> Vec<WorkloadId> {
        self.reasons().flat_map(|said| &said.others).map(|other| other.workload.clone()).collect()
    }
}
