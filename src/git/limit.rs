//! How many requests of groups a namespace has open at a target, so that one with many leaves people, the forge and the
//! requests of others alone.
//!
//! The open requests tell it themselves, by the comments of their bodies, so a process that begins anew counts the same.
//! Each counts for every namespace whose workloads it holds. One that has as many as it may have opens no other and
//! joins no other; what is in a request already is kept up to date there.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{
    asked::Asked,
    find::Finding,
    forges::ForgeError,
    proposal::{MAX_HELD, Marks, Memo, marks, namespace},
    request::{GROUPS, Requests},
};
use crate::{
    domain::{
        reason::{Code, Reason},
        workload::WorkloadId,
    },
    ports::Clock,
};

/// How long a list of the open requests counts; what we do ourselves is seen at once.
const FRESH: Duration = Duration::from_secs(30);
/// Branches that are known to wait at most.
const MAX_WAITING: usize = 10_000;

/// The open requests of groups.
pub(super) struct Open {
    /// The target's name.
    target: Arc<str>,
    clock: Arc<dyn Clock>,
    /// When the forge listed them (monotonic).
    listed: Option<Duration>,
    /// The namespaces of each, by its branch.
    requests: BTreeMap<String, Marks>,
    /// What has to wait at a branch, all of it, since the last of these requests ended.
    waiting: BTreeMap<String, Marks>,
    /// Whether the forge is asked once only.
    is_foreseen: bool,
}

impl Open {
    pub(super) fn new(target: Arc<str>, clock: Arc<dyn Clock>) -> Self {
        let (requests, waiting) = (BTreeMap::new(), BTreeMap::new());
        Self { target, clock, listed: None, requests, waiting, is_foreseen: false }
    }

    /// For a preview: what it would open counts until it ends, though the forge has no such request.
    pub(super) fn foreseen(&self) -> Self {
        Self { is_foreseen: true, ..Self::new(self.target.clone(), self.clock.clone()) }
    }

    /// Takes in the namespaces of a branch's open request; none if there is no such request. Those without a group count
    /// for nobody.
    pub(super) fn saw(&mut self, branch: &str, namespaces: Option<Marks>) {
        if branch.split('/').nth(2) != Some(GROUPS) {
            return;
        }
        let now = namespaces.clone().unwrap_or_default();
        let before = match namespaces {
            Some(namespaces) => self.requests.insert(branch.to_owned(), namespaces),
            None => self.requests.remove(branch),
        };
        if before.is_some_and(|before| !before.is_subset(&now)) {
            self.waiting.clear();
        }
    }

    /// What was said of these updates, if all of them still have to wait. So what waits costs one list, however much it
    /// is.
    pub(super) async fn waits(
        &mut self,
        requests: &Requests,
        branch: &str,
        asked: &[Asked],
    ) -> Result<Option<Vec<Reason>>, ForgeError> {
        let are_same = |open: &Self| open.waiting.get(branch).is_some_and(|waiting| *waiting == marks(asked));
        if !are_same(self) {
            return Ok(None);
        }
        self.list(requests).await?;
        let counts = self.counts();
        let said = |asked: &Asked| full(&self.target, requests, asked, &counts);
        Ok(asked.iter().map(said).collect::<Option<_>>().filter(|_| are_same(self)))
    }

    /// The findings without the edits of namespaces that have as many requests as they may have. `within` are those whose
    /// request this is already.
    pub(super) async fn limited(
        &mut self,
        requests: &Requests,
        branch: &str,
        asked: &[Asked],
        findings: Vec<Finding>,
        within: &Marks,
    ) -> Result<Vec<Finding>, ForgeError> {
        self.waiting.remove(branch);
        let comes = |(finding, asked): (&Finding, &Asked)| {
            matches!(finding, Finding::Edits(..)) && !within.contains(&namespace(asked))
        };
        if !findings.iter().zip(asked).any(comes) {
            return Ok(findings);
        }
        self.list(requests).await?;
        let (counts, mut waiting) = (self.counts(), 0);
        let limited = |(finding, asked): (Finding, &Asked)| {
            let reason = comes((&finding, asked)).then(|| full(&self.target, requests, asked, &counts)).flatten();
            waiting += usize::from(reason.is_some());
            reason.map_or(finding, Finding::Blocked)
        };
        let findings: Vec<Finding> = findings.into_iter().zip(asked).map(limited).collect();
        if waiting == findings.len() && self.waiting.len() < MAX_WAITING {
            self.waiting.insert(branch.to_owned(), marks(asked));
        }
        Ok(findings)
    }

    /// Asks the forge, if that was long ago.
    async fn list(&mut self, requests: &Requests) -> Result<(), ForgeError> {
        let now = self.clock.monotonic();
        if self.listed.is_some_and(|at| self.is_foreseen || now < at + FRESH) {
            return Ok(());
        }
        let open = requests.forge.open_from(&format!("supercargo/{}/{GROUPS}/", self.target)).await?;
        let open: BTreeMap<_, _> = open.into_iter().map(|one| (one.branch, Memo::read(&one.body).namespaces)).collect();
        let is_there =
            |(branch, namespaces): (&String, &Marks)| open.get(branch).is_some_and(|n| namespaces.is_subset(n));
        if !self.requests.iter().all(is_there) {
            self.waiting.clear();
        }
        (self.requests, self.listed) = (open, Some(now));
        Ok(())
    }

    /// How many requests each namespace has.
    fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for namespace in self.requests.values().flat_map(BTreeSet::iter) {
            *counts.entry(namespace.clone()).or_default() += 1;
        }
        counts
    }
}

/// The findings without the edits for which a request has no room. What is in it already (`held`) comes first.
pub(super) fn fitting(place: &str, held: &[Asked], all: &[Asked], mut findings: Vec<Finding>) -> Vec<Finding> {
    let held: BTreeSet<&WorkloadId> = held.iter().map(|held| &held.update.workload).collect();
    let mut room = MAX_HELD;
    for is_held in [true, false] {
        for (finding, Asked { update, .. }) in findings.iter_mut().zip(all) {
            if !matches!(finding, Finding::Edits(..)) || held.contains(&update.workload) != is_held {
                continue;
            }
            match room.checked_sub(update.items.len()) {
                Some(left) => room = left,
                None => {
                    let message = format!(
                        "a request at {place} holds at most {MAX_HELD} changes, and has no room for this: merge or close it, or \
                         make groups"
                    );
                    *finding = Finding::Blocked(Reason::new(Code::RequestLimit, message));
                }
            }
        }
    }
    findings
}

/// Why an update waits, if its namespace has as many requests as it may have.
fn full(target: &str, requests: &Requests, asked: &Asked, counts: &BTreeMap<String, usize>) -> Option<Reason> {
    let (open, most) = (counts.get(&namespace(asked))?, requests.settings.max_open);
    let message = || {
        let namespace = &asked.update.workload.namespace;
        format!(
            "the namespace {namespace} has {open} open requests of groups at the Git target {target}, and may have {most} \
             (`pullRequest.maxOpen`): merge or close one, or raise `maxOpen`"
        )
    };
    (*open >= most).then(|| Reason::new(Code::RequestLimit, message()))
}
