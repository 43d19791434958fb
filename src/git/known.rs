//! What the forge tells of a group's request before anything is done, what people have decided by it, and what that
//! leaves to do.

use std::sync::Arc;

use super::{
    asked::Asked,
    branch::Tip,
    find::{Finding, MovedBack},
    forges::{Request, RequestState},
    history::changes_of,
    limit,
    proposal::{Marks, Memo, mark, namespace},
    request::{Requests, RoundError, branch_of},
    work::Work,
};
use crate::domain::{
    reason::{Code, Reason},
    update::{Change, Hold, LeftOut},
};

/// What the forge tells of the request before anything is done.
#[derive(Default)]
pub(super) struct ForgeState {
    pub(super) open: Option<Request>,
    /// The newest one, whatever became of it.
    url: String,
    /// The end of its branch when it was merged.
    merged_at: Option<String>,
    /// Changes that the newest one holds, if it is open, refuses, if it was closed, or brought, if it was merged.
    holds: Marks,
    closed: Marks,
    merged: Marks,
    /// Changes that people refused by closing one.
    pub(super) refused: Marks,
}

impl ForgeState {
    fn new(newest: Option<Request>) -> Self {
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
    fn trusts(&self, held: &Asked) -> bool {
        let workload = &held.update.workload;
        let is_ours = |change: &Change| {
            self.holds.contains(&mark(workload, change)) && change.from.repository == change.to.repository
        };
        held.update.changes().all(is_ours)
    }
}

/// What is known of a group's request, and where its updates stand, before anything is done.
pub(super) struct GroupState {
    /// The base branch's commit.
    pub(super) head: String,
    pub(super) known: ForgeState,
    /// The end of the request's branch.
    pub(super) tip: Option<Tip>,
    /// What that commit brings, if it is ours.
    pub(super) held: Vec<Asked>,
    /// What was asked for, then the rest of what the open request holds.
    pub(super) all: Arc<Vec<Asked>>,
    /// Where each of these stands.
    pub(super) findings: Vec<Finding>,
    /// What of each is left out.
    pub(super) left: Vec<Vec<LeftOut>>,
}

/// Asks the forge and Git about the updates of one group. Nothing is changed there.
pub(super) async fn read_group(
    requests: &Requests,
    work: &mut Work,
    asked: &[Asked],
) -> Result<GroupState, RoundError> {
    let route = asked.first().map(|one| one.update.route.clone()).unwrap_or_default();
    let branch = branch_of(&work.settings.name, route.group());
    // Before the base branch is read, so that what was merged is there.
    let newest = requests.forge.find(&branch).await?;
    if let Some(newest) = &newest {
        if !work.merged.listed.contains(&branch) {
            requests.forge.merged(&branch).await?.iter().for_each(|merged| work.merged.note(merged));
            work.merged.listed.insert(branch.clone());
        }
        work.merged.note(newest);
    }
    let known = ForgeState::new(newest);
    let namespaces = known.open.as_ref().map(|open| Memo::read(&open.body).namespaces);
    let mut within = namespaces.clone().unwrap_or_default();
    work.open.saw(&branch, namespaces);
    let head = work.read().await?;
    let tip = work.mirror.tip(&branch).await?;
    // What somebody has amended is no longer ours.
    let held = tip.as_ref().filter(|tip| tip.is_own).map(|tip| changes_of(&tip.message, &route, work.clock.now()));
    let held = held.unwrap_or_default();

    let mut all: Vec<Asked> = asked.iter().map(|one| without_refused(one, &known.refused)).collect();
    if known.open.is_some() {
        let is_asked = |held: &Asked| asked.iter().any(|asked| asked.update.workload == held.update.workload);
        let ours: Vec<&Asked> = held.iter().filter(|held| known.trusts(held)).collect();
        within.extend(ours.iter().map(|held| namespace(held)));
        all.extend(ours.into_iter().filter(|held| !is_asked(held)).cloned());
    }
    let (all, left) = work.possible(&head, &Arc::new(all)).await?;
    let found = work.locate(&head, &all).await?;
    let mut findings: Vec<Finding> =
        found.into_iter().zip(&*all).map(|(finding, one)| unless_decided(finding, one, &known)).collect();
    if route.group().is_some() {
        findings = work.open.limited(requests, &branch, &all, findings, &within).await?;
    }
    findings = limit::fitting(&work.settings.place(), &held, &all, findings);
    if let Some(reason) = in_the_way(&branch, tip.as_ref(), &held, &known) {
        for finding in findings.iter_mut().filter(|finding| matches!(finding, Finding::Edits(..))) {
            *finding = Finding::Blocked(reason.clone());
        }
    }
    Ok(GroupState { head, known, tip, held, all, findings, left })
}

/// Why the branch is left alone, if somebody else uses it.
fn in_the_way(branch: &str, tip: Option<&Tip>, held: &[Asked], known: &ForgeState) -> Option<Reason> {
    let tip = tip.filter(|tip| held.is_empty() && known.merged_at.as_ref() != Some(&tip.commit))?;
    let short: String = tip.commit.chars().take(12).collect();
    let why = format!(
        "the branch {branch} ends in commit {short}, which is left alone, as by its author, its committer or its \
         signature it is of somebody else: merge it, or delete the branch (a request that is closed by that refuses \
         what it holds)"
    );
    Some(Reason::new(Code::GitConflict, why))
}

/// An update without what people refused; as it is where they refused all of it.
fn without_refused(asked: &Asked, refused: &Marks) -> Asked {
    let is_refused = |change: &Change| refused.contains(&mark(&asked.update.workload, change));
    if asked.update.changes().all(is_refused) { asked.clone() } else { asked.only(|change| !is_refused(change)) }
}

/// What people refused, and what they merged and somebody moved back, is not proposed again.
fn unless_decided(finding: Finding, asked: &Asked, known: &ForgeState) -> Finding {
    let (update, url) = (&asked.update, &known.url);
    let Finding::Edits(_, places) = &finding else { return finding };
    let first = |marks: &Marks| {
        update.changes().find(|change| marks.contains(&mark(&update.workload, change))).map(|change| &change.to)
    };
    if let Some(image) = first(&known.refused) {
        let which = if first(&known.closed) == Some(image) { format!("the request {url}") } else { "a request".into() };
        let message = format!("{which} was closed unmerged: {image} is not proposed again, only a newer image will be");
        return Finding::Blocked(Reason::new(Code::RequestClosed, message));
    }
    let is_merged = |change: &&Change| known.merged.contains(&mark(&update.workload, change));
    if let Some(change) = update.changes().find(is_merged).filter(|_| update.lifted.is_none()) {
        let image = &change.to;
        let message = format!(
            "{image} was merged with {url} and somebody moved it back ({places}); it is not proposed again, only a newer \
             image will be"
        );
        let hold = Hold::on(change, change.from.to_string(), "somebody", update.proposed);
        let reason = Reason::new(Code::Reverted, message);
        return Finding::MovedBack(Box::new(MovedBack { reason, hold, commit: String::new() }));
    }
    finding
}
