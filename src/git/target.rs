//! One target: plans in, one push out.
//!
//! Every round reads the branch anew, finds the places, edits, commits and pushes; a round that somebody overtook is
//! done again on what is there then. Nothing is remembered between rounds that cannot be read again.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc};

use futures::{FutureExt as _, future::BoxFuture};
use tokio::sync::{Mutex, Notify};

use super::{
    chain::{Edited, FileEdit, Step, chain},
    command::GitError,
    deployer::{self, Push},
    files::Snapshot,
    find::{Asked, Finding, Places, edit, find, paths, told},
    history::Merged,
    limit::Open,
    mirror::{Mirror, Pushed},
    objects::{Blob, TreeEntry},
    part,
    request::{self, Requests, RoundError},
    settings::Settings,
};
use crate::{
    domain::{
        plan::{Approved, Plan},
        reason::{Code, Reason},
        update::{LeftOut, Update},
    },
    manifest::places::{Rendered, rendered},
    ports::{Clock, Outcome, Sink, Standing},
};

/// Rounds for one commit before it is given back.
const ROUNDS: u32 = 10;

/// A Git target of the configuration.
pub struct Target {
    pub(super) settings: Arc<Settings>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) requests: Option<Requests>,
    pushed: Notify,
    pub(super) work: Mutex<Work>,
}

pub(super) struct Work {
    pub(super) mirror: Mirror,
    pub(super) snapshot: Snapshot,
    /// What the forge has told of requests that were merged.
    pub(super) merged: Merged,
    /// The requests of groups that are open there.
    pub(super) open: Open,
    /// What a commit renders, where somebody has asked.
    rendered: Option<(String, Arc<Rendered>)>,
}

/// Where updates stand in a commit.
pub(super) struct Look {
    head: String,
    /// Without what is blocked.
    asked: Arc<Vec<Asked>>,
    pub(super) findings: Vec<Finding>,
    /// What of each is left out.
    pub(super) left: Vec<Vec<LeftOut>>,
}

/// What edits make of a commit's files.
pub(super) struct Edits {
    pub(super) findings: Vec<Finding>,
    /// What was read, by blob.
    texts: BTreeMap<String, Vec<u8>>,
    /// What is new.
    pub(super) edited: Edited,
    /// Why an update's files are left alone.
    pub(super) refused: BTreeMap<usize, String>,
}

impl Edits {
    /// The updates whose edits are made, and where.
    pub(super) fn made(&self) -> impl Iterator<Item = (usize, &Places)> {
        self.findings.iter().enumerate().filter_map(|(index, finding)| match finding {
            Finding::Edits(_, places) if !self.refused.contains_key(&index) => Some((index, places)),
            _ => None,
        })
    }
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target").field("name", &self.settings.name).finish_non_exhaustive()
    }
}

impl Target {
    /// Asks nothing yet. `inherited` are the variables of this process that git gets (`PATH`).
    pub fn new(settings: Settings, clock: Arc<dyn Clock>, inherited: Vec<(String, String)>) -> Self {
        let settings = Arc::new(settings);
        let mirror = Mirror::new(settings.clone(), clock.clone(), inherited);
        let (snapshot, merged, open) = (Snapshot::default(), Merged::default(), Open::default());
        let work = Work { mirror, snapshot, merged, open, rendered: None };
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
        let found = self.render(&mut work).await;
        found.map_err(|error| {
            work.mirror.reset();
            format!("{}: {error}", self.place())
        })
    }

    async fn render(&self, work: &mut Work) -> Result<Arc<Rendered>, GitError> {
        let head = self.read(work).await?;
        if let Some((_, known)) = work.rendered.as_ref().filter(|(commit, _)| *commit == head) {
            return Ok(known.clone());
        }
        let (files, settings) = (work.snapshot.files.clone(), self.settings.clone());
        let found = tokio::task::spawn_blocking(move || rendered(&files, &settings.scope.options)).await;
        let found = found.map_err(|_| GitError::Broken("the reading of the workloads broke".to_owned()))?;
        let found = Arc::new(found);
        work.rendered = Some((head, found.clone()));
        Ok(found)
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
                (true, Some(requests)) => request::round(self, requests, work, asked).await,
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
                    let why = format!("{}: others pushed {ROUNDS} times meanwhile", self.place());
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
                    return vec![Outcome::Failed(format!("{}: {error}", self.place())); asked.len()];
                }
                Err(RoundError::Forge(error)) => return vec![request::failed(&error, &self.place()); asked.len()],
            }
        }
    }

    /// The branch's commit, and where what is possible of each plan stands in it.
    pub(super) async fn look(&self, work: &mut Work, asked: &Arc<Vec<Asked>>) -> Result<Look, GitError> {
        let head = self.read(work).await?;
        let (asked, left) = self.possible(work, &head, asked).await?;
        let findings = self.locate(work, &head, &asked).await?;
        Ok(Look { head, asked, findings, left })
    }

    /// The updates without the changes that are blocked where others of the same update are not, and these.
    pub(super) async fn possible(
        &self,
        work: &mut Work,
        head: &str,
        asked: &Arc<Vec<Asked>>,
    ) -> Result<(Arc<Vec<Asked>>, Vec<Vec<LeftOut>>), GitError> {
        let whole = || (asked.clone(), vec![Vec::new(); asked.len()]);
        if asked.iter().all(|asked| asked.update.items.len() < 2) {
            return Ok(whole());
        }
        let found = self.tried(work, head, asked).await?;
        let Some(parts) = part::parts(asked, &found) else { return Ok(whole()) };
        let each = Arc::new(parts.iter().map(|(_, part)| part.clone()).collect());
        let found = self.tried(work, head, &each).await?;
        let (possible, left) = part::possible(asked, &parts, found);
        Ok((Arc::new(possible), left))
    }

    /// What would come of each.
    async fn tried(
        &self,
        work: &mut Work,
        head: &str,
        asked: &Arc<Vec<Asked>>,
    ) -> Result<Vec<Result<Places, Reason>>, GitError> {
        let findings = self.locate(work, head, asked).await?;
        let Edits { findings, refused, .. } = self.edit(work, findings).await?;
        Ok(told(findings, &refused, &self.place()))
    }

    /// Where each stands in the commit that was read last.
    pub(super) async fn locate(
        &self,
        work: &mut Work,
        head: &str,
        asked: &Arc<Vec<Asked>>,
    ) -> Result<Vec<Finding>, GitError> {
        let history = Arc::new(work.mirror.history(head, &work.merged).await?);
        let (asked, files, settings) = (asked.clone(), work.snapshot.files.clone(), self.settings.clone());
        let found = tokio::task::spawn_blocking(move || find(&asked, &files, &settings.scope, &history)).await;
        found.map_err(|_| GitError::Broken("the search for the images broke".to_owned()))
    }

    /// Makes the edits of the findings, in memory.
    pub(super) async fn edit(&self, work: &mut Work, findings: Vec<Finding>) -> Result<Edits, GitError> {
        let entries = work.snapshot.entries.clone();
        let mut blobs: Vec<String> =
            paths(&findings).filter_map(|path| Some(entries.get(path)?.blob.clone())).collect();
        blobs.sort_unstable();
        blobs.dedup();
        let read = |batch: Vec<Blob>| batch.into_iter().filter_map(|(blob, text)| Some((blob, text.ok()?))).collect();
        let texts: BTreeMap<_, _> = work.mirror.blobs(&blobs, read).await?.into_iter().collect();
        let (files, settings) = (work.snapshot.files.clone(), self.settings.clone());
        let made = tokio::task::spawn_blocking(move || {
            let file = |path: &str| {
                let entry = entries.get(path)?;
                Some((entry.clone(), &**texts.get(&entry.blob)?))
            };
            let (edited, refused) = edit(&findings, file, &files, &settings.scope);
            Edits { findings, texts, edited, refused }
        });
        made.await.map_err(|_| GitError::Broken("the edit of the files broke".to_owned()))
    }

    /// The branch's commit; its files are in the snapshot.
    pub(super) async fn read(&self, work: &mut Work) -> Result<String, GitError> {
        let head = work.mirror.sync().await?;
        work.snapshot.update(&mut work.mirror, &self.settings.scope, &head).await?;
        Ok(head)
    }

    /// What happens to each plan; none if somebody pushed meanwhile.
    async fn round(&self, work: &mut Work, asked: &Arc<Vec<Asked>>) -> Result<Option<Vec<Outcome>>, GitError> {
        let Look { head, asked, findings, left } = self.look(work, asked).await?;
        let edits = self.edit(work, findings).await?;
        let committed: Vec<usize> = edits.made().map(|(index, _)| index).collect();
        let Edits { findings, texts, edited, refused } = edits;
        let entries = work.snapshot.entries.clone();
        let mut commits = BTreeMap::new();
        if !edited.is_empty() {
            let steps = self.steps(&findings, &committed, edited, &entries, &texts);
            let mut tip = head.clone();
            let Settings { name, url, branch, deployers, message, .. } = &*self.settings;
            let mut push = Push { url, branch, before: head, commits: Vec::new() };
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
            (_, Some(why)) => Outcome::Blocked(self.misfit(&why)),
            (Finding::Blocked(reason), _) => Outcome::Blocked(reason),
            (Finding::There(places), _) => Outcome::Committed(self.has(&places)),
            (Finding::Edits(_, places), _) => {
                let besides: String = places.besides(None).map(|note| format!("; {note}")).collect();
                let message = format!("commit {} to {} ({places}){besides}", short(index), self.place());
                Outcome::Committed(Reason::new(Code::Committed, message))
            }
        };
        findings.into_iter().enumerate().map(outcome).zip(left).map(|(outcome, left)| without(outcome, left)).collect()
    }

    /// What is said of an update that the branch has.
    pub(super) fn has(&self, places: &Places) -> Reason {
        Reason::new(Code::Committed, format!("{} has it ({places})", self.place()))
    }

    /// Why files are left alone whose edit went wrong.
    pub(super) fn misfit(&self, why: &str) -> Reason {
        Reason::new(Code::GitConflict, format!("{}: {why}", self.place()))
    }

    pub(super) fn no_requests(&self) -> String {
        format!("the Git target {} makes no requests: give it a forge", self.settings.name)
    }

    pub(super) fn place(&self) -> String {
        format!("the branch {} of the Git target {}", self.settings.branch, self.settings.name)
    }
}

/// What is said of an update of which something is left out.
pub(super) fn partly(mut said: Reason, left: &[LeftOut]) -> Reason {
    said.message.push_str(&part::shown(left));
    said
}

/// An outcome of which something is left out.
pub(super) fn without(outcome: Outcome, left: Vec<LeftOut>) -> Outcome {
    match outcome {
        Outcome::Committed(said) if !left.is_empty() => Outcome::Partly(partly(said, &left), left),
        other => other,
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
