//! What Git said of updates, and of the workloads that stand in the way of one because their images come from the same
//! place.

use std::collections::{BTreeSet, HashMap};

use super::{effect::Effect, entry::InGit, sources::Cause, state::State};
use crate::domain::{
    reason::Reason,
    report::Verdict,
    update::{Update, UpdateId},
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
    pub(super) fn in_git(&mut self, update: &Update, said: &Reason, verdict: Verdict) -> Option<Cause> {
        let asks = &update.workload;
        let new = InGit { update: update.clone(), said: said.clone(), verdict };
        let entry = self.entry_mut(asks)?;
        let (old, detected) = (entry.in_git.replace(Box::new(new)), entry.detected);
        if old.as_deref().is_none_or(|old| old.said.others != said.others) {
            self.uncontested(asks, old.as_deref());
            for (other, _) in &said.others {
                let names = self.contested.entry(other.clone()).or_default();
                if names.len() < MAX_NAMED && names.insert(asks.clone()) {
                    self.effects.push(Effect::Assess(other.clone()));
                }
            }
        }
        detected
    }

    /// The update that a workload is to have now, or none: nobody stands in the way of another one any more.
    pub(super) fn wants(&mut self, id: &WorkloadId, update: Option<&UpdateId>) {
        let is_other = |in_git: &&mut Box<InGit>| {
            in_git.verdict == Verdict::Blocked && Some(&in_git.update.id) != update && !in_git.said.others.is_empty()
        };
        let Some(entry) = self.entry_mut(id) else { return };
        if entry.in_git.as_mut().filter(is_other).is_some() {
            let old = entry.in_git.take();
            self.uncontested(id, old.as_deref());
        }
    }

    /// What a workload is told of the updates of others that it stands in the way of.
    pub(super) fn told_by_others(&self, id: &WorkloadId) -> impl Iterator<Item = Reason> {
        let others =
            self.contested.get(id).into_iter().flatten().filter_map(|asks| self.entry(asks)?.in_git.as_deref());
        others.flat_map(move |InGit { said, .. }| {
            let texts = said.others.iter().filter(move |(other, _)| other == id);
            texts.map(|(_, text)| Reason::new(said.code, text.clone()))
        })
    }

    /// What Git said of an update of that workload does not hold any more.
    pub(super) fn uncontested(&mut self, asks: &WorkloadId, old: Option<&InGit>) {
        for (other, _) in old.iter().flat_map(|old| &old.said.others) {
            if let Some(names) = self.contested.get_mut(other)
                && names.remove(asks)
            {
                if names.is_empty() {
                    self.contested.remove(other);
                }
                self.effects.push(Effect::Assess(other.clone()));
            }
        }
    }
}
