//! One target: plans in, one push out.
//!
//! Every round reads the branch anew, finds the places, edits, commits and pushes; a round that somebody overtook is
//! done again on what is there then. Nothing is remembered between rounds that cannot be read again.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc};

use futures::{FutureExt as _, future::BoxFuture};
use tokio::sync::{Mutex, Notify};

use super::{
    asked::Asked,
    chain::{Edited, FileEdit, Step, chain},
    command::GitError,
    deployer::{self, Push},
    find::Finding,
    mirror::{Mirror, Pushed},
    objects::TreeEntry,
    part::without,
    request::{self, Requests, RoundError},
    settings::TargetSettings,
    work::{Edits, Look, Work},
};
use crate::{
    domain::{
        plan::{Approved, Plan},
        reason::{Code, Reason},
        update::{LeftOut, Update},
    },
    manifest::places::Rendered,
    ports::{Clock, Outcome, Sink, Standing},
};

/// Rounds for one commit before it is given back.
const ROUNDS: u32 = 10;

/// A Git target of the configuration.
pub struct Target {
    pub(super) settings: Arc<TargetSettings>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) requests: Option<Requests>,
    pushed: Notify,
    pub(super) work: Mutex<Work>,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target").field("name", &self.settings.name).finish_non_exhaustive()
    }
}

impl Target {
    /// Asks nothing yet. `inherited` are the variables of this process that git gets (`PATH`).
    pub fn new(settings: TargetSettings, clock: Arc<dyn Clock>, inherited: Vec<(String, String)>) -> Self {
        let settings = Arc::new(settings);
        let work = Work::new(settings.clone(), clock.clone(), inherited);
        Self { settings, clock, requests: None, pushed: Notify::new(), work: Mutex::new(work) }
    }

    /// A target that makes requests too.
    #[must_use]
    pub fn with_requests(self, requests: Requests) -> Self {
        Self { requests: Some(requests), ..self }
    }

    /// The workloads that the branch renders now.
    pub async fn workloads(&self) -> Result<Arc<Rendered>, String> {
        let mut work = self.work.lock().await;
        let found = work.render().await;
        found.map_err(|error| {
            work.mirror.reset();
            format!("{}: {error}", self.settings.place())
        })
    }

    /// Ready when a push has gone through since this was last awaited.
    pub async fn pushed(&self) {
        self.pushed.notified().await;
    }

    async fn write(&self, plans: Vec<Plan<Approved>>) -> Vec<Outcome> {
        let mut work = self.work.lock().await;
        let written = self.each_way(&mut work, &plans, |target, work, asked, by_request| {
            async move { Ok::<_, Infallible>(target.write_way(work, &asked, by_request).await) }.boxed()
        });
        written.await.unwrap_or_else(|never| match never {})
    }

    /// Writes what goes to the branch, or what goes into one request, and again where somebody was quicker.
    async fn write_way(&self, work: &mut Work, asked: &Arc<Vec<Asked>>, by_request: bool) -> Vec<Outcome> {
        let mut again = true;
        let mut round = 0;
        loop {
            let ended = match (by_request, &self.requests) {
                (false, _) => self.round(work, asked).await.map_err(RoundError::from),
                (true, Some(requests)) => request::round(requests, work, asked).await,
                (true, None) => return vec![Outcome::Failed(self.no_requests()); asked.len()],
            };
            match ended {
                Ok(Some(outcomes)) => return outcomes,
                Ok(None) if round < ROUNDS => {
                    let wait = Mirror::jitter(round, &self.settings.name);
                    self.clock.sleep_until(self.clock.monotonic() + wait).await;
                    round += 1;
                }
                Ok(None) => {
                    let why = format!("{}: others pushed {ROUNDS} times meanwhile", self.settings.place());
                    return vec![Outcome::Failed(why); asked.len()];
                }
                // The clone itself may be at fault: it is made anew once.
                Err(RoundError::Git(GitError::Broken(why))) if again => {
                    tracing::warn!(target_name = %self.settings.name, why, "the clone is made anew");
                    work.mirror.reset();
                    again = false;
                }
                Err(RoundError::Git(error)) => {
                    work.mirror.reset();
                    return vec![Outcome::Failed(format!("{}: {error}", self.settings.place())); asked.len()];
                }
                Err(RoundError::Forge(error)) => {
                    return vec![request::failed(&error, &self.settings.place()); asked.len()];
                }
            }
        }
    }

    /// What happens to each plan; none if somebody pushed meanwhile.
    async fn round(&self, work: &mut Work, asked: &Arc<Vec<Asked>>) -> Result<Option<Vec<Outcome>>, GitError> {
        let Look { head, asked, findings, left } = work.look(asked).await?;
        let edits = work.edit(findings).await?;
        let committed: Vec<usize> = edits.made().map(|(index, _)| index).collect();
        let Edits { findings, texts, edited, refused } = edits;
        let entries = work.snapshot.entries.clone();
        let mut commits = BTreeMap::new();
        if !edited.is_empty() {
            let steps = self.steps(&findings, &committed, edited, &entries, &texts);
            let mut tip = head.clone();
            let TargetSettings { name, remote, branch, deployers, message, .. } = &*self.settings;
            let mut push = Push { url: &remote.url, branch, before: head, commits: Vec::new() };
            for step in &steps {
                let updates: Vec<&Update> = step.updates.iter().map(|index| &asked[*index].update).collect();
                tip = work.mirror.commit(&tip, &step.files, &message.message(&updates)).await?;
                push.commits.push((tip.clone(), step.files.iter().map(|(entry, _)| entry.path.clone()).collect()));
                commits.extend(step.updates.iter().map(|index| (*index, tip.clone())));
            }
            match work.mirror.push(&tip).await? {
                Pushed::Done => {
                    self.pushed.notify_one();
                    deployer::tell(deployers, name, &self.clock, &push);
                }
                Pushed::Overtaken => return Ok(None),
                Pushed::Refused(words) => {
                    let mut outcomes = self.outcomes(findings, refused, &commits, left);
                    for index in committed {
                        outcomes[index] = Outcome::Refused(words.clone());
                    }
                    return Ok(Some(outcomes));
                }
            }
        }
        Ok(Some(self.outcomes(findings, refused, &commits, left)))
    }

    /// The commits of a push, in their order.
    fn steps(
        &self,
        findings: &[Finding],
        committed: &[usize],
        edited: Edited,
        entries: &BTreeMap<Arc<str>, TreeEntry>,
        texts: &BTreeMap<String, Vec<u8>>,
    ) -> Vec<Step> {
        let edits = |index: &usize| match &findings[*index] {
            Finding::Edits(edits, _) => Some((*index, &edits[..])),
            _ => None,
        };
        let updates: Vec<(usize, &[FileEdit])> = committed.iter().filter_map(edits).collect();
        let each = self.settings.one_each.then(|| chain(&updates, &edited, entries, texts)).flatten();
        each.unwrap_or_else(|| vec![Step { updates: committed.to_vec(), files: edited }])
    }

    fn outcomes(
        &self,
        findings: Vec<Finding>,
        mut refused: BTreeMap<usize, String>,
        commits: &BTreeMap<usize, String>,
        left: Vec<Vec<LeftOut>>,
    ) -> Vec<Outcome> {
        let short =
            |index| commits.get(&index).map(|commit| commit.chars().take(12).collect::<String>()).unwrap_or_default();
        let outcome = |(index, finding)| match (finding, refused.remove(&index)) {
            (_, Some(why)) => Outcome::Blocked(self.settings.misfit(&why)),
            (Finding::Blocked(reason), _) => Outcome::Blocked(reason),
            (Finding::MovedBack(moved), _) => moved.outcome(),
            (Finding::There(places), _) => Outcome::Committed(self.settings.has(&places)),
            (Finding::Edits(_, places), _) => {
                let besides: String = places.besides(None).map(|note| format!("; {note}")).collect();
                let message = format!("commit {} to {} ({places}){besides}", short(index), self.settings.place());
                Outcome::Committed(Reason::new(Code::Committed, message))
            }
        };
        findings.into_iter().enumerate().map(outcome).zip(left).map(|(outcome, left)| without(outcome, left)).collect()
    }

    pub(super) fn no_requests(&self) -> String {
        format!("the Git target {} makes no requests: give it a forge", self.settings.name)
    }
}

impl Sink for Target {
    fn apply<'a>(&'a self, plans: Vec<Plan<Approved>>) -> BoxFuture<'a, Vec<Outcome>> {
        Box::pin(self.write(plans))
    }

    fn check<'a>(&'a self, plans: Vec<Plan<Approved>>) -> BoxFuture<'a, Vec<Standing>> {
        Box::pin(self.standings(plans))
    }
}
