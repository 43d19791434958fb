//! One target: plans in, one push out.
//!
//! Every round reads the branch anew, finds the places, edits, commits and pushes; a round that somebody overtook is
//! done again on what is there then. Nothing is remembered between rounds that cannot be read again.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use futures::future::BoxFuture;
use tokio::sync::{Mutex, Notify};

use super::{
    chain::{Edited, FileEdit, Step, chain},
    command::GitError,
    files::Snapshot,
    history::History,
    mirror::{Mirror, Pushed, TreeEntry},
    poke::{self, Push},
    settings::Settings,
};
use crate::{
    domain::{
        image::ImageRef,
        plan::{Approved, Plan},
        reason::{Code, Reason},
        update::Update,
        version::Version,
    },
    manifest::places::{Index, Misfit, Rendered, SpotEdit, Wanted, apply, rendered},
    ports::{Clock, Outcome, Sink},
};

/// Rounds for one commit before it is given back.
const ROUNDS: u32 = 10;

/// A Git target of the configuration.
pub struct Target {
    settings: Arc<Settings>,
    clock: Arc<dyn Clock>,
    pushed: Notify,
    work: Mutex<Work>,
}

struct Work {
    mirror: Mirror,
    snapshot: Snapshot,
    /// What a commit renders, where somebody has asked.
    rendered: Option<(String, Arc<Rendered>)>,
}

/// Where an update stands in the files.
enum Finding {
    /// Every place has it.
    There(Vec<String>),
    /// These edits bring it.
    Edits(Vec<FileEdit>, Vec<String>),
    /// It cannot or must not be brought.
    Blocked(Reason),
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
        let work = Work { mirror, snapshot: Snapshot::default(), rendered: None };
        Self { settings, clock, pushed: Notify::new(), work: Mutex::new(work) }
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
        let found = tokio::task::spawn_blocking(move || rendered(&files, &settings.options)).await;
        let mut found = found.map_err(|_| GitError::Broken("the reading of the workloads broke".to_owned()))?;
        for (workload, ..) in &mut found.workloads {
            // There is no cluster to read them from; the user's own credentials are used.
            workload.pull_secrets.clear();
        }
        let found = Arc::new(found);
        work.rendered = Some((head, found.clone()));
        Ok(found)
    }

    /// Ready when a push has gone through since this was last awaited.
    pub async fn pushed(&self) {
        self.pushed.notified().await;
    }

    /// Where each plan would be written, as `file:line`, or why it would not be. Nothing is changed.
    pub async fn preview(&self, plans: Vec<Plan<Approved>>) -> Result<Vec<Result<Vec<String>, Reason>>, String> {
        let mut work = self.work.lock().await;
        let found = self.look(&mut work, &Arc::new(plans)).await;
        let (_, findings) = found.map_err(|error| format!("{}: {error}", self.place()))?;
        let shown = |finding| match finding {
            Finding::There(places) | Finding::Edits(_, places) => Ok(places),
            Finding::Blocked(reason) => Err(reason),
        };
        Ok(findings.into_iter().map(shown).collect())
    }

    async fn write(&self, plans: Vec<Plan<Approved>>) -> Vec<Outcome> {
        let mut work = self.work.lock().await;
        let plans = Arc::new(plans);
        let mut again = true;
        let mut round = 0;
        loop {
            match self.round(&mut work, &plans).await {
                Ok(Some(outcomes)) => return outcomes,
                Ok(None) if round < ROUNDS => {
                    let wait = Mirror::jitter(round, &self.settings.name);
                    self.clock.sleep_until(self.clock.monotonic() + wait).await;
                    round += 1;
                }
                Ok(None) => {
                    let why = format!("{}: others pushed {ROUNDS} times meanwhile", self.place());
                    return vec![Outcome::Failed(why); plans.len()];
                }
                // The clone itself may be at fault: it is made anew once.
                Err(GitError::Broken(why)) if again => {
                    tracing::warn!(target_name = %self.settings.name, why, "the clone is made anew");
                    work.mirror.reset();
                    again = false;
                }
                Err(error) => {
                    work.mirror.reset();
                    return vec![Outcome::Failed(format!("{}: {error}", self.place())); plans.len()];
                }
            }
        }
    }

    /// The branch's commit, and where each plan stands in it.
    async fn look(
        &self,
        work: &mut Work,
        plans: &Arc<Vec<Plan<Approved>>>,
    ) -> Result<(String, Vec<Finding>), GitError> {
        let head = self.read(work).await?;
        let history = Arc::new(work.mirror.history(&head).await?);
        let findings = {
            let (plans, files, settings) = (plans.clone(), work.snapshot.files.clone(), self.settings.clone());
            let found = tokio::task::spawn_blocking(move || find(&plans, &files, &settings, &history)).await;
            found.map_err(|_| GitError::Broken("the search for the images broke".to_owned()))?
        };
        Ok((head, findings))
    }

    /// The branch's commit; its files are in the snapshot.
    async fn read(&self, work: &mut Work) -> Result<String, GitError> {
        let head = work.mirror.sync().await?;
        work.snapshot.update(&mut work.mirror, &self.settings, &head).await?;
        Ok(head)
    }

    /// What happens to each plan; none if somebody pushed meanwhile.
    async fn round(&self, work: &mut Work, plans: &Arc<Vec<Plan<Approved>>>) -> Result<Option<Vec<Outcome>>, GitError> {
        let (head, findings) = self.look(work, plans).await?;
        let entries = work.snapshot.entries.clone();
        let mut blobs: Vec<String> =
            paths(&findings).filter_map(|path| Some(entries.get(path)?.blob.clone())).collect();
        blobs.sort_unstable();
        blobs.dedup();
        let mut texts: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        if !blobs.is_empty() {
            for batch in work.mirror.batches(&blobs).await? {
                texts.extend(work.mirror.contents(&batch).await?);
            }
        }
        let (edited, refused) = edit(&findings, &entries, &texts);
        let committed: Vec<usize> = (0..findings.len())
            .filter(|index| matches!(findings[*index], Finding::Edits(..)) && !refused.contains_key(index))
            .collect();
        let mut commits = BTreeMap::new();
        if !edited.is_empty() {
            let steps = self.steps(&findings, &committed, edited, &entries, &texts);
            let mut tip = head.clone();
            let mut push = Push { before: head, commits: Vec::new() };
            for step in &steps {
                let updates: Vec<&Update> = step.updates.iter().map(|index| plans[*index].update()).collect();
                tip = work.mirror.commit(&tip, &step.files, &self.settings.message.message(&updates)).await?;
                push.commits.push((tip.clone(), step.files.iter().map(|(entry, _)| entry.path.clone()).collect()));
                commits.extend(step.updates.iter().map(|index| (*index, tip.clone())));
            }
            match work.mirror.push(&tip).await? {
                Pushed::Done => {
                    self.pushed.notify_one();
                    poke::tell(&self.settings, &self.clock, &push);
                }
                Pushed::Overtaken => return Ok(None),
                Pushed::Refused(words) => {
                    let mut outcomes = self.outcomes(findings, refused, &commits);
                    for index in committed {
                        outcomes[index] = Outcome::Refused(words.clone());
                    }
                    return Ok(Some(outcomes));
                }
            }
        }
        Ok(Some(self.outcomes(findings, refused, &commits)))
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
    ) -> Vec<Outcome> {
        let short =
            |index| commits.get(&index).map(|commit| commit.chars().take(12).collect::<String>()).unwrap_or_default();
        let outcome = |(index, finding)| match (finding, refused.remove(&index)) {
            (_, Some(why)) => Outcome::Blocked(Reason::new(Code::GitConflict, format!("{}: {why}", self.place()))),
            (Finding::Blocked(reason), _) => Outcome::Blocked(reason),
            (Finding::There(places), _) => {
                let message = format!("{} has it ({})", self.place(), places.join(", "));
                Outcome::Committed(Reason::new(Code::Committed, message))
            }
            (Finding::Edits(_, places), _) => {
                let message = format!("commit {} to {} ({})", short(index), self.place(), places.join(", "));
                Outcome::Committed(Reason::new(Code::Committed, message))
            }
        };
        findings.into_iter().enumerate().map(outcome).collect()
    }

    fn place(&self) -> String {
        format!("the branch {} of the Git target {}", self.settings.branch, self.settings.name)
    }
}

impl Sink for Target {
    fn apply<'a>(&'a self, plans: Vec<Plan<Approved>>) -> BoxFuture<'a, Vec<Outcome>> {
        Box::pin(self.write(plans))
    }
}

fn paths(findings: &[Finding]) -> impl Iterator<Item = &str> {
    let edits = findings.iter().filter_map(|finding| match finding {
        Finding::Edits(edits, _) => Some(edits),
        _ => None,
    });
    edits.flatten().map(|(path, _)| &**path)
}

fn find(
    plans: &[Plan<Approved>],
    files: &crate::manifest::places::Files,
    settings: &Settings,
    history: &History,
) -> Vec<Finding> {
    let index = Index::new(files, &settings.options);
    plans.iter().map(|plan| finding(plan, &index, settings, history)).collect()
}

/// All changes of an update, or none.
fn finding(plan: &Plan<Approved>, index: &Index<'_>, settings: &Settings, history: &History) -> Finding {
    let update = plan.update();
    let instance = plan.decided_on().and_then(|workload| workload.instance.clone());
    let (mut edits, mut places) = (Vec::new(), Vec::new());
    for change in &update.changes {
        let wanted = Wanted {
            workload: update.workload.clone(),
            instance: instance.clone(),
            container: change.container.clone(),
            init: change.init,
            from: change.from.clone(),
            to: change.to.clone(),
        };
        let spots = match index.locate(&wanted) {
            Ok(spots) => spots,
            Err(misfit) => {
                let code = if matches!(misfit, Misfit::Nowhere(_)) { Code::GitNoPlace } else { Code::GitConflict };
                return Finding::Blocked(Reason::new(code, format!("Git target {}: {misfit}", settings.name)));
            }
        };
        for spot in spots {
            let place = format!("{}:{}", spot.path.escape_debug(), spot.line);
            if !spot.edits.is_empty() {
                let last = history.last(&update.workload, change);
                if let Some(last) = last.filter(|last| same(&last.to, &change.to)) {
                    let commit: String = last.commit.chars().take(12).collect();
                    let message = format!(
                        "commit {commit} set {} and somebody moved it back ({place} has {}); it is not set again, only \
                         a newer image will be",
                        change.to, spot.holds
                    );
                    return Finding::Blocked(Reason::new(Code::Reverted, message));
                }
                let ours = last.is_some_and(|last| same(&last.to, &spot.holds)) && !is_lower(&change.to, &spot.holds);
                if !same(&spot.holds, &change.from) && !ours {
                    let message = format!(
                        "{place} of the Git target {} has {}, and the workload runs {}: nothing is changed until they \
                         agree",
                        settings.name, spot.holds, change.from
                    );
                    return Finding::Blocked(Reason::new(Code::GitDiffers, message));
                }
            }
            places.push(place);
            edits.extend(spot.edits.into_iter().map(|edit| (spot.path.clone(), edit)));
        }
    }
    places.dedup();
    if edits.is_empty() { Finding::There(places) } else { Finding::Edits(edits, places) }
}

/// Tags and digests alike; the repository may be spelt otherwise.
fn same(a: &ImageRef, b: &ImageRef) -> bool {
    (&a.repository, &a.tag, &a.digest) == (&b.repository, &b.tag, &b.digest)
}

fn is_lower(a: &ImageRef, b: &ImageRef) -> bool {
    fn read(image: &ImageRef) -> Option<Version<'_>> {
        image.tag.as_ref().and_then(|tag| Version::parse(tag.as_str()))
    }
    read(a).zip(read(b)).is_some_and(|(a, b)| a < b)
}

/// The new texts, and the updates whose files cannot be edited exactly: an update is made in all its files or in none.
fn edit(
    findings: &[Finding],
    entries: &BTreeMap<Arc<str>, TreeEntry>,
    texts: &BTreeMap<String, Vec<u8>>,
) -> (Edited, BTreeMap<usize, String>) {
    let mut refused: BTreeMap<usize, String> = BTreeMap::new();
    loop {
        let mut by_file: BTreeMap<&Arc<str>, (Vec<&SpotEdit>, HashSet<usize>)> = BTreeMap::new();
        for (index, finding) in findings.iter().enumerate().filter(|(index, _)| !refused.contains_key(index)) {
            let Finding::Edits(edits, _) = finding else { continue };
            for (path, edit) in edits {
                let (of_file, users) = by_file.entry(path).or_default();
                of_file.push(edit);
                users.insert(index);
            }
        }
        let (mut edited, mut wrong) = (Vec::new(), Vec::new());
        for (path, (edits, users)) in by_file {
            let found = entries.get(path).and_then(|entry| Some((entry, texts.get(&entry.blob)?)));
            let made = match found {
                Some((entry, bytes)) => match apply(path, bytes, &edits) {
                    Ok(new) if new != *bytes => {
                        edited.push((entry.clone(), new));
                        Ok(())
                    }
                    Ok(_) => Ok(()),
                    Err(error) => Err(error.to_string()),
                },
                None => Err("the file cannot be read".to_owned()),
            };
            if let Err(why) = made {
                wrong.extend(users.into_iter().map(|user| (user, format!("{}: {why}", path.escape_debug()))));
            }
        }
        if wrong.is_empty() {
            return (edited, refused);
        }
        refused.extend(wrong);
    }
}
