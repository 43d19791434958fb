//! One request for each target and group: opened, kept up to date in place, and heard when people close it.
//!
//! The end of its branch names what it brings (trailers), and its body what was refused ([`super::proposal`]), so that
//! a process that knows nothing of it goes on where another stopped. Its branch is one commit on top of the base.

use std::{sync::Arc, time::Duration};

use super::{
    asked::Asked,
    branch::Tip,
    command::GitError,
    find::{Finding, Places},
    forges::{Forge, ForgeError, NewRequest, RequestState, text},
    history::{INSTANCE, word},
    known::{ForgeState, GroupState, read_group},
    mirror::Pushed,
    origin,
    part::{partly, without},
    proposal::{Memo, body, marks},
    settings::RequestSettings,
    work::{Edits, Work},
};
use crate::{
    domain::{
        reason::{Code, Reason},
        update::{LeftOut, Update},
    },
    ports::{Outcome, Registry, Standing},
};

/// How often a forge that is not ready yet is asked for the merge, and how long is waited in between.
const MERGE_TRIES: u32 = 5;
const MERGE_PAUSE: Duration = Duration::from_secs(2);

/// What requests are made with.
pub struct Requests {
    /// Where they are made.
    pub forge: Arc<dyn Forge>,
    /// What they are given.
    pub settings: RequestSettings,
    /// Where images tell what they were built from, if that is to be told.
    pub registry: Option<Arc<dyn Registry>>,
}

/// Why a round could not end.
#[derive(Debug, thiserror::Error)]
pub(super) enum RoundError {
    #[error(transparent)]
    Git(#[from] GitError),
    #[error(transparent)]
    Forge(#[from] ForgeError),
}

/// The folder of their branches, within that of the target.
pub(super) const GROUPS: &str = "group";

/// The branch of a group's request.
pub(super) fn branch_of(target: &str, group: Option<&Arc<str>>) -> String {
    match group {
        // A name of git's cannot be a folder of others too.
        None => format!("supercargo/{target}/updates"),
        Some(group) => format!("supercargo/{target}/{GROUPS}/{group}"),
    }
}

/// What happens to each update of one group; none if somebody moved the branch meanwhile.
pub(super) async fn round(
    requests: &Requests,
    work: &mut Work,
    asked: &[Asked],
) -> Result<Option<Vec<Outcome>>, RoundError> {
    let Some(first) = asked.first() else { return Ok(Some(Vec::new())) };
    let branch = branch_of(&work.settings.name, first.update.route.group());
    if let Some(reasons) = work.open.waits(requests, &branch, asked).await? {
        return Ok(Some(reasons.into_iter().map(Outcome::Blocked).collect()));
    }
    let GroupState { head, known, tip, held, all, findings, left } = read_group(requests, work, asked).await?;
    let edits = work.edit(findings).await?;
    let wanted: Vec<Asked> = edits.made().map(|(at, _)| all[at].clone()).collect();
    let place = |(_, found): (_, &Places)| found.all().into_iter().map(str::to_owned).collect();
    let places: Vec<Vec<String>> = edits.made().map(place).collect();
    let Edits { findings, edited, refused: wrong, .. } = edits;
    let brought = if wanted.is_empty() {
        if let Some(open) = &known.open
            && findings.iter().all(|finding| matches!(finding, Finding::There(_)))
        {
            // The base branch has all of it. What we close ourselves refuses nothing.
            let memo = Memo::of(&[], known.refused.clone());
            requests.forge.update(open, &open.title, &memo.written_over(&open.body)).await?;
            requests.forge.close(open.number).await?;
            work.open.saw(&branch, None);
        }
        PushResult::Nothing
    } else {
        let proposed = Proposed { branch: &branch, head: &head, wanted: &wanted, places: &places, edited: &edited };
        propose(requests, work, &known, tip.as_ref(), &held, proposed).await?
    };
    let mut outcomes = Vec::new();
    for (at, finding) in findings.into_iter().enumerate().take(asked.len()) {
        let outcome = match (finding, wrong.get(&at), &brought) {
            (_, _, PushResult::Overtaken) => return Ok(None),
            (_, Some(why), _) => Outcome::Blocked(work.settings.misfit(why)),
            (Finding::Blocked(reason), ..) => Outcome::Blocked(reason),
            (Finding::MovedBack(moved), ..) => moved.outcome(),
            (Finding::There(places), ..) => Outcome::Committed(work.settings.has(&places)),
            (Finding::Edits(_, places), _, PushResult::Request(url)) => Outcome::Committed(is_open(url, &places)),
            (Finding::Edits(..), _, PushResult::Refused(words)) => Outcome::Refused(words.clone()),
            (Finding::Edits(..), _, PushResult::InTheWay(reason)) => Outcome::Blocked(reason.clone()),
            (Finding::Edits(..), _, PushResult::Nothing) => Outcome::Stale,
        };
        outcomes.push(without(outcome, left.get(at).cloned().unwrap_or_default()));
    }
    Ok(Some(outcomes))
}

fn is_open(url: &str, places: &Places) -> Reason {
    Reason::new(Code::RequestOpen, format!("request {url} ({places})"))
}

/// How each update of one group stands.
pub(super) async fn standings(
    requests: &Requests,
    work: &mut Work,
    asked: &[Asked],
) -> Result<Vec<Standing>, RoundError> {
    let Some(first) = asked.first() else { return Ok(Vec::new()) };
    let branch = branch_of(&work.settings.name, first.update.route.group());
    if let Some(reasons) = work.open.waits(requests, &branch, asked).await? {
        return Ok(reasons.into_iter().map(Standing::Blocked).collect());
    }
    let GroupState { known, tip, held, all, findings, left, .. } = read_group(requests, work, asked).await?;
    let edits = work.edit(findings).await?;
    let wanted: Vec<Asked> = edits.made().map(|(at, _)| all[at].clone()).collect();
    let Edits { findings, edited, refused: wrong, .. } = edits;
    let memo = Memo::of(&wanted, known.refused.clone());
    let is_there = holds(work, &known, tip.as_ref(), &held, &memo, &edited).await?;
    let open = known.open.as_ref().filter(|open| is_there && Memo::read(&open.body) == memo);
    // It is to be closed then.
    let is_idle = known.open.is_some() && findings.iter().all(|finding| matches!(finding, Finding::There(_)));
    let in_git = |said: Reason, left: Vec<LeftOut>| Standing::InGit(partly(said, &left), left);
    let standing = |((at, finding), left)| match (finding, wrong.get(&at)) {
        (_, Some(why)) => Standing::Blocked(work.settings.misfit(why)),
        (Finding::Blocked(reason), _) => Standing::Blocked(reason),
        (Finding::MovedBack(moved), _) => moved.standing(),
        (Finding::There(places), _) if !is_idle => in_git(work.settings.has(&places), left),
        (Finding::Edits(_, places), _) => open.map_or(Standing::Due, |open| in_git(is_open(&open.url, &places), left)),
        _ => Standing::Due,
    };
    Ok(findings.into_iter().enumerate().zip(left).take(asked.len()).map(standing).collect())
}

/// Whether the request's branch is as it is to be.
async fn holds(
    work: &mut Work,
    known: &ForgeState,
    tip: Option<&Tip>,
    held: &[Asked],
    memo: &Memo,
    edited: &super::chain::Edited,
) -> Result<bool, RoundError> {
    match tip.filter(|_| known.open.is_some() && marks(held) == memo.holds) {
        Some(tip) => Ok(work.mirror.holds(&tip.commit, edited).await?),
        None => Ok(false),
    }
}

/// What came of a proposal.
enum PushResult {
    /// There was nothing to propose.
    Nothing,
    /// The request at this address has it.
    Request(String),
    /// The Git server said no.
    Refused(String),
    /// Somebody else uses the branch.
    InTheWay(Reason),
    /// The branch has moved meanwhile.
    Overtaken,
}

struct Proposed<'a> {
    branch: &'a str,
    head: &'a str,
    wanted: &'a [Asked],
    places: &'a [Vec<String>],
    edited: &'a super::chain::Edited,
}

/// Brings the branch and the request to what is wanted; nothing is sent where they are there.
async fn propose(
    requests: &Requests,
    work: &mut Work,
    known: &ForgeState,
    tip: Option<&Tip>,
    held: &[Asked],
    proposed: Proposed<'_>,
) -> Result<PushResult, RoundError> {
    let Proposed { branch, head, wanted, places, edited } = proposed;
    let memo = Memo::of(wanted, known.refused.clone());
    let is_there = holds(work, known, tip, held, &memo, edited).await?;
    let updates: Vec<&Update> = wanted.iter().map(|one| &one.update).collect();
    let mut message = work.settings.message.message(&updates);
    let mut pushed = None;
    if !is_there {
        for one in wanted {
            if let Some(instance) = &one.instance {
                let workload = one.update.workload.to_string();
                message.push_str(&format!("{INSTANCE}: {} {}\n", word(&workload), word(instance)));
            }
        }
        let commit = work.mirror.commit(head, edited, &message).await?;
        match work.mirror.replace(branch, tip.map(|tip| &*tip.commit), &commit).await? {
            Pushed::Done => {}
            Pushed::Overtaken => return Ok(PushResult::Overtaken),
            Pushed::Refused(words) => return Ok(PushResult::Refused(words)),
        }
        pushed = Some(commit);
    }
    let open = known.open.as_ref();
    if let Some(open) = open.filter(|open| is_there && Memo::read(&open.body) == memo) {
        return Ok(PushResult::Request(open.url.clone()));
    }
    let title = text::plain(message.lines().next().unwrap_or_default());
    let before = open.map(|open| &*open.body).unwrap_or_default();
    let origins = origin::links(requests.registry.as_deref(), &*work.clock, wanted, before).await;
    let body = body(wanted, &origins, places, &work.settings.branch, &memo);
    let request = match open {
        Some(open) => {
            requests.forge.update(open, &title, &body).await?;
            open.clone()
        }
        None => {
            let RequestSettings { labels, reviewers, assignees, draft, .. } = requests.settings.clone();
            let new = NewRequest { title, body, head: branch.to_owned(), labels, reviewers, assignees, draft };
            let opened = requests.forge.open(&new).await?;
            for note in &opened.notes {
                tracing::warn!(target_name = %work.settings.name, request = opened.request.url, note, "not as asked");
            }
            opened.request
        }
    };
    work.open.saw(branch, Some(memo.namespaces));
    if let Some(commit) = pushed.filter(|_| requests.settings.auto_merge)
        && let Some(reason) = auto_merge(requests, work, branch, &commit).await?
    {
        return Ok(PushResult::InTheWay(reason));
    }
    Ok(PushResult::Request(request.url))
}

/// Asks for the merge of the commit that we pushed; a forge that will not is told of, as people can merge too. Why not,
/// if somebody has moved the branch: our rights are no reason to merge a commit that is not ours.
async fn auto_merge(requests: &Requests, work: &Work, branch: &str, commit: &str) -> Result<Option<Reason>, GitError> {
    for tries in 1.. {
        let asked = match requests.forge.find(branch).await {
            Ok(Some(request)) if request.state != RequestState::Open => return Ok(None),
            Ok(Some(request)) if request.head_commit == commit => requests.forge.auto_merge(&request).await,
            Ok(Some(_)) => Err(ForgeError::Unavailable("it does not show the commit that was pushed yet".to_owned())),
            Ok(None) => return Ok(None),
            Err(error) => Err(error),
        };
        let Err(error) = asked else { return Ok(None) };
        // Forges learn of a push a moment later; Git itself knows whether somebody has moved the branch.
        let now = work.mirror.listed(&format!("refs/heads/{branch}")).await?;
        if let Some(other) = now.filter(|now| now != commit) {
            let short: String = other.chars().take(12).collect();
            let why = format!(
                "somebody moved the branch {branch} to commit {short}, which is not merged by itself: merge the request \
                 by hand, or delete the branch (a request that is closed by that refuses what it holds)"
            );
            return Ok(Some(Reason::new(Code::GitConflict, why)));
        }
        if !matches!(error, ForgeError::Unavailable(_)) || tries >= MERGE_TRIES {
            let name = &work.settings.name;
            tracing::warn!(target_name = %name, branch, error = %error, "the request is not merged by itself");
            return Ok(None);
        }
        work.clock.sleep_until(work.clock.monotonic() + MERGE_PAUSE).await;
    }
    Ok(None)
}

/// What became of updates that a forge stood in the way of.
pub(super) fn failed(error: &ForgeError, place: &str) -> Outcome {
    match error {
        ForgeError::Limited { .. } | ForgeError::Unavailable(_) => Outcome::Failed(format!("{place}: {error}")),
        ForgeError::Refused(_) | ForgeError::Auth(_) | ForgeError::NotFound(_) => Outcome::Refused(error.to_string()),
    }
}
