//! What a target works with: the clone of its branch, what its files hold, and where updates stand in them. Nothing is
//! sent from here.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use super::{
    asked::Asked,
    chain::Edited,
    command::GitError,
    files::Snapshot,
    find::{Finding, Places, edit, find, paths, told},
    history::Merged,
    limit::Open,
    mirror::Mirror,
    objects::Blob,
    part,
    settings::TargetSettings,
};
use crate::{
    domain::{reason::Reason, update::LeftOut},
    manifest::places::{Rendered, rendered},
    ports::Clock,
};

/// What a target works with.
pub(super) struct Work {
    pub(super) settings: Arc<TargetSettings>,
    pub(super) clock: Arc<dyn Clock>,
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
    pub(super) head: String,
    /// Without what is blocked.
    pub(super) asked: Arc<Vec<Asked>>,
    pub(super) findings: Vec<Finding>,
    /// What of each is left out.
    pub(super) left: Vec<Vec<LeftOut>>,
}

/// What edits make of a commit's files.
pub(super) struct Edits {
    pub(super) findings: Vec<Finding>,
    /// What was read, by blob.
    pub(super) texts: BTreeMap<String, Vec<u8>>,
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

impl Work {
    /// Asks nothing yet. `inherited` are the variables of this process that git gets (`PATH`).
    pub(super) fn new(settings: Arc<TargetSettings>, clock: Arc<dyn Clock>, inherited: Vec<(String, String)>) -> Self {
        Self {
            mirror: Mirror::new(settings.clone(), clock.clone(), inherited),
            snapshot: Snapshot::default(),
            merged: Merged::default(),
            open: Open::new(settings.name.clone(), clock.clone()),
            rendered: None,
            settings,
            clock,
        }
    }

    /// The workloads that the branch renders now.
    pub(super) async fn render(&mut self) -> Result<Arc<Rendered>, GitError> {
        let head = self.read().await?;
        if let Some((_, known)) = self.rendered.as_ref().filter(|(commit, _)| *commit == head) {
            return Ok(known.clone());
        }
        let (files, settings) = (self.snapshot.files.clone(), self.settings.clone());
        let found = tokio::task::spawn_blocking(move || rendered(&files, &settings.scope.options)).await;
        let found = found.map_err(|_| GitError::Broken("the reading of the workloads broke".to_owned()))?;
        let found = Arc::new(found);
        self.rendered = Some((head, found.clone()));
        Ok(found)
    }

    /// The branch's commit, and where what is possible of each plan stands in it.
    pub(super) async fn look(&mut self, asked: &Arc<Vec<Asked>>) -> Result<Look, GitError> {
        let head = self.read().await?;
        let (asked, left) = self.possible(&head, asked).await?;
        let findings = self.locate(&head, &asked).await?;
        Ok(Look { head, asked, findings, left })
    }

    /// The updates without the changes that are blocked where others of the same update are not, and these.
    pub(super) async fn possible(
        &mut self,
        head: &str,
        asked: &Arc<Vec<Asked>>,
    ) -> Result<(Arc<Vec<Asked>>, Vec<Vec<LeftOut>>), GitError> {
        let whole = || (asked.clone(), vec![Vec::new(); asked.len()]);
        if asked.iter().all(|asked| asked.update.items.len() < 2) {
            return Ok(whole());
        }
        let found = self.tried(head, asked).await?;
        let Some(parts) = part::parts(asked, &found) else { return Ok(whole()) };
        let each = Arc::new(parts.iter().map(|(_, part)| part.clone()).collect());
        let found = self.tried(head, &each).await?;
        let (possible, left) = part::possible(asked, &parts, found);
        Ok((Arc::new(possible), left))
    }

    /// What would come of each.
    async fn tried(&mut self, head: &str, asked: &Arc<Vec<Asked>>) -> Result<Vec<Result<Places, Reason>>, GitError> {
        let findings = self.locate(head, asked).await?;
        let Edits { findings, refused, .. } = self.edit(findings).await?;
        Ok(told(findings, &refused, &self.settings.place()))
    }

    /// Where each stands in the commit that was read last.
    pub(super) async fn locate(&mut self, head: &str, asked: &Arc<Vec<Asked>>) -> Result<Vec<Finding>, GitError> {
        let history = Arc::new(self.mirror.history(head, &self.merged).await?);
        let mut forgiven = HashSet::new();
        loop {
            let (asked, past, again) = (asked.clone(), history.clone(), forgiven.clone());
            let (files, settings) = (self.snapshot.files.clone(), self.settings.clone());
            let work = move || (find(&asked, &files, &settings.scope, &past, &again), asked);
            let found = tokio::task::spawn_blocking(work).await;
            let broke = |_| GitError::Broken("the search for the images broke".to_owned());
            let (mut found, asked) = found.map_err(broke)?;
            let before = forgiven.len();
            for (finding, asked) in found.iter_mut().zip(&*asked) {
                let Finding::MovedBack(moved) = finding else { continue };
                let mover = self.mirror.mover(&moved.commit, head).await?;
                // A person has said since that it goes on.
                let is_lifted = |lifted| mover.as_ref().is_none_or(|mover| mover.at <= lifted);
                if asked.update.lifted.is_some_and(is_lifted) {
                    forgiven.insert(moved.commit.clone());
                } else if let Some(mover) = mover {
                    (moved.hold.by, moved.hold.at) = (mover.name, mover.at);
                }
            }
            if forgiven.len() == before {
                return Ok(found);
            }
        }
    }

    /// Makes the edits of the findings, in memory.
    pub(super) async fn edit(&mut self, findings: Vec<Finding>) -> Result<Edits, GitError> {
        let entries = self.snapshot.entries.clone();
        let mut blobs: Vec<String> =
            paths(&findings).filter_map(|path| Some(entries.get(path)?.blob.clone())).collect();
        blobs.sort_unstable();
        blobs.dedup();
        let read = |batch: Vec<Blob>| batch.into_iter().filter_map(|(blob, text)| Some((blob, text.ok()?))).collect();
        let texts: BTreeMap<_, _> = self.mirror.blobs(&blobs, read).await?.into_iter().collect();
        let (files, settings) = (self.snapshot.files.clone(), self.settings.clone());
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
    pub(super) async fn read(&mut self) -> Result<String, GitError> {
        let head = self.mirror.sync().await?;
        self.snapshot.update(&mut self.mirror, &self.settings.scope, &head).await?;
        Ok(head)
    }
}
