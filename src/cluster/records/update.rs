//! An `ImageUpdate`: one update, as it stands in the API server.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::object::{Custom, Metadata, Said, WorkloadRef, at_most, exact, image, told};
use crate::domain::{
    image::{Digest, Tag},
    reason::{Code, Reason},
    target::{Route, Write},
    text::excerpt,
    update::{Change, Evidence, Item, LOG, LeftOut, LogEntry, Phase, PhaseName, Tracked, Update, UpdateId},
    votes::{Approval, Vote},
};

/// As many changes may one update have.
const CHANGES: usize = 64;
/// As many better tags that were passed over are told of each change.
const PASSED: usize = 20;
const VOTES: usize = 20;
/// The condition that an update's images are written.
const APPLIED: &str = "Applied";

/// The object.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct ImageUpdate {
    #[serde(default)]
    pub(super) metadata: Metadata,
    pub(super) spec: Spec,
    #[serde(default)]
    pub(super) status: Option<Status>,
}

/// What does not change any more.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec {
    pub(super) id: String,
    pub(super) workload: WorkloadRef,
    changes: Vec<StoredChange>,
    write: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    #[serde(default)]
    policy_hash: String,
    pub(super) proposed_at: Timestamp,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct StoredChange {
    container: String,
    #[serde(default)]
    init: bool,
    from: String,
    to: String,
    #[serde(default)]
    policy: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    evidence: Option<StoredEvidence>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct StoredEvidence {
    tag: Tag,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    seen: Timestamp,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    passed: Vec<Passed>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Passed {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tag: Option<Tag>,
    #[serde(flatten)]
    said: Said,
}

/// How far it has come.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Status {
    pub(super) phase: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Said>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    log: Vec<StoredEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    left_out: Vec<StoredLeftOut>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    conditions: Vec<Condition>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approval: Option<StoredApproval>,
    /// What is not ours: what people were told (`messages`), and what a newer version may have written.
    #[serde(flatten)]
    pub(super) more: Map<String, Value>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredApproval {
    needed: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deadline: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    void_until: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    unsure: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    votes: Vec<Vote>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct StoredEntry {
    at: Timestamp,
    phase: String,
    #[serde(flatten, deserialize_with = "said")]
    said: Option<Said>,
}

/// Where nothing was said there is no code.
fn said<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Said>, D::Error> {
    Said::deserialize(deserializer).map(|said| Some(said).filter(|said| !said.code.is_empty()))
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct StoredLeftOut {
    container: String,
    #[serde(default)]
    init: bool,
    #[serde(flatten)]
    said: Said,
}

/// As every kind of Kubernetes has them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Condition {
    r#type: String,
    status: String,
    reason: String,
    message: String,
    last_transition_time: Option<Timestamp>,
    #[serde(flatten)]
    more: BTreeMap<String, Value>,
}

impl Custom for ImageUpdate {
    const KIND: &str = "ImageUpdate";
    const PLURAL: &str = "imageupdates";
}

impl ImageUpdate {
    /// The update as far as it is known, or why it cannot be read.
    ///
    /// One without a status was being recorded when the process ended: its effect may or may not have been made, so it
    /// is read as being applied.
    pub(super) fn tracked(&self) -> Result<Tracked, String> {
        let update = self.spec.update(&self.metadata.namespace)?;
        let Some(status) = self.begun() else {
            let log = vec![LogEntry { at: update.proposed, phase: PhaseName::Applying, reason: None }];
            return Ok(Tracked::recorded(update, Phase::Applying, log));
        };
        let left = status.left_out()?;
        let log = status.log();
        let update = update.without(&left);
        if update.items.is_empty() {
            return Err("status.leftOut leaves no change".to_owned());
        }
        let approval = status.approval.as_ref().map(StoredApproval::approval).transpose()?;
        Ok(Tracked::recorded(update, status.phase(left)?, log).with_approval(approval))
    }

    /// Its status, where something was said of it.
    pub(super) fn begun(&self) -> Option<&Status> {
        self.status.as_ref().filter(|status| !status.phase.is_empty())
    }

    /// Whether nothing more is done for it.
    pub(super) fn is_over(&self) -> bool {
        self.begun().is_some_and(|status| ENDS.contains(&&*status.phase))
    }

    /// When it came: what orders it among those of its workload.
    pub(super) fn age(&self) -> (Option<Timestamp>, Timestamp) {
        (self.metadata.creation_timestamp, self.spec.proposed_at)
    }

    /// Whether its status holds what a [`Tracked`] does not.
    pub(super) fn holds_more(&self) -> bool {
        let is_more = |status: &Status| {
            !status.more.is_empty() || !status.left_out.is_empty() || status.conditions.iter().any(|c| !c.is_ours())
        };
        self.status.as_ref().is_some_and(is_more)
    }
}

/// The phases that are ends, also those that a newer version may write.
pub(super) const ENDS: [&str; 6] = ["Succeeded", "RolledBack", "Failed", "Superseded", "Rejected", "Expired"];

impl Spec {
    /// The image that was there and the image to run, of the first container.
    pub(super) fn images(&self) -> [&str; 2] {
        self.changes.first().map_or([""; 2], |change| [&change.from, &change.to])
    }

    pub(super) fn new(update: &Update) -> Self {
        Self {
            id: update.id.to_string(),
            workload: WorkloadRef::new(&update.workload, &update.uid),
            changes: update.items.iter().map(StoredChange::new).collect(),
            write: update.route.write().to_string(),
            group: update.route.group().map(ToString::to_string),
            policy_hash: update.policy_hash.to_string(),
            proposed_at: update.proposed,
        }
    }

    fn update(&self, namespace: &str) -> Result<Update, String> {
        at_most(&self.changes, CHANGES, "spec.changes")?;
        let (workload, uid) = self.workload.id(namespace)?;
        let write: Write = self.write.parse().map_err(|why| format!("spec.write: {why}"))?;
        let group = self.group.as_deref().map(|group| exact(group, "spec.group")).transpose()?;
        let items = self.changes.iter().map(StoredChange::item).collect::<Result<Vec<_>, _>>()?;
        if items.is_empty() {
            return Err("spec.changes is empty".to_owned());
        }
        let route = Route::new(&write, group);
        Ok(Update {
            id: UpdateId(exact(&self.id, "spec.id")?),
            uid,
            policy_hash: exact(&self.policy_hash, "spec.policyHash")?,
            ..Update::new(workload, items, route, self.proposed_at)
        })
    }
}

impl StoredChange {
    fn new(item: &Item) -> Self {
        let Item { change: Change { container, init, from, to }, policy, evidence, .. } = item;
        Self {
            container: container.to_string(),
            init: *init,
            from: from.to_string(),
            to: to.to_string(),
            policy: told(policy),
            evidence: evidence.as_ref().map(StoredEvidence::new),
        }
    }

    fn item(&self) -> Result<Item, String> {
        let to = image(&self.to, "to")?;
        let from = image(&self.from, "from")?;
        let change = Change { container: exact(&self.container, "container")?, init: self.init, from, to };
        let evidence = self.evidence.as_ref().map(StoredEvidence::evidence);
        Ok(Item { change, policy: told(&self.policy).into(), evidence, source: None })
    }
}

impl StoredEvidence {
    fn new(Evidence { tag, digest, seen, passed }: &Evidence) -> Self {
        let passed =
            passed.iter().take(PASSED).map(|reason| Passed { tag: reason.tag.clone(), said: Said::new(reason) });
        Self { tag: tag.clone(), digest: digest.clone(), seen: *seen, passed: passed.collect() }
    }

    fn evidence(&self) -> Evidence {
        let passed = |Passed { tag, said }: &Passed| Some(Reason { tag: tag.clone(), ..said.reason()? });
        let passed = self.passed.iter().take(PASSED).filter_map(passed).collect();
        Evidence { tag: self.tag.clone(), digest: self.digest.clone(), seen: self.seen, passed }
    }
}

impl Status {
    /// The code of its reason, or nothing.
    pub(super) fn code(&self) -> &str {
        self.reason.as_ref().map_or("", |said| &said.code)
    }

    pub(super) fn new(tracked: &Tracked) -> Self {
        let left = if let Phase::InGit { left, .. } = &tracked.phase { &left[..] } else { &[] };
        Self {
            phase: tracked.phase.name().as_str().to_owned(),
            reason: tracked.phase.reason().or(tracked.reason()).map(Said::new),
            log: tracked.log.iter().map(StoredEntry::new).collect(),
            left_out: left.iter().map(StoredLeftOut::new).collect(),
            conditions: vec![Condition::new(tracked)],
            approval: tracked.approval.as_deref().map(StoredApproval::new),
            more: Map::new(),
        }
    }

    /// With what stands there already and is not told by a [`Tracked`].
    #[must_use]
    pub(super) fn over(mut self, there: &Self) -> Self {
        self.more = there.more.clone();
        self.conditions.extend(there.conditions.iter().filter(|condition| !condition.is_ours()).cloned());
        if self.phase != PhaseName::InGit.as_str() {
            self.left_out.clone_from(&there.left_out);
        }
        self
    }

    /// With no more than the newest lines of its story.
    #[must_use]
    pub(super) fn with_log_of(mut self, most: usize) -> Self {
        self.log.drain(..self.log.len().saturating_sub(most));
        self
    }

    fn phase(&self, left: Vec<LeftOut>) -> Result<Phase, String> {
        let name = PhaseName::find(&self.phase);
        let name = name.ok_or_else(|| format!("status.phase: `{}` is not known here", excerpt(&self.phase)))?;
        let reason = self.reason.as_ref().and_then(Said::reason);
        let said = || self.reason.as_ref().map_or("", |said| &said.code);
        Phase::recorded(name, reason, left)
            .ok_or_else(|| format!("status.reason.code: `{}` is not known here", excerpt(said())))
    }

    /// What is known here of its story.
    fn log(&self) -> Vec<LogEntry> {
        let newest = self.log.iter().skip(self.log.len().saturating_sub(LOG));
        newest.filter_map(StoredEntry::entry).collect()
    }

    fn left_out(&self) -> Result<Vec<LeftOut>, String> {
        at_most(&self.left_out, CHANGES, "status.leftOut")?;
        self.left_out.iter().map(StoredLeftOut::left_out).collect()
    }
}

impl StoredApproval {
    fn new(Approval { needed, deadline, void, unsure, votes }: &Approval) -> Self {
        let votes = votes.iter().take(VOTES).cloned().collect();
        Self { needed: *needed, deadline: *deadline, void_until: *void, unsure: *unsure, votes }
    }

    fn approval(&self) -> Result<Approval, String> {
        at_most(&self.votes, VOTES, "status.approval.votes")?;
        let texts = self.votes.iter().flat_map(|vote| [Some(&vote.by), vote.on_behalf_of.as_ref(), Some(&vote.reason)]);
        texts.flatten().try_for_each(|text| exact(text, "status.approval.votes").map(|_| ()))?;
        let Self { needed, deadline, void_until, unsure, votes } = self.clone();
        Ok(Approval { needed, deadline, void: void_until, unsure, votes })
    }
}

impl StoredEntry {
    fn new(LogEntry { at, phase, reason }: &LogEntry) -> Self {
        Self { at: *at, phase: phase.as_str().to_owned(), said: reason.as_ref().map(Said::new) }
    }

    fn entry(&self) -> Option<LogEntry> {
        let phase = PhaseName::find(&self.phase)?;
        Some(LogEntry { at: self.at, phase, reason: self.said.as_ref().and_then(Said::reason) })
    }
}

impl StoredLeftOut {
    fn new(LeftOut { container, init, reason }: &LeftOut) -> Self {
        Self { container: container.to_string(), init: *init, said: Said::new(reason) }
    }

    fn left_out(&self) -> Result<LeftOut, String> {
        let unknown = || Reason::new(Code::GitConflict, told(&self.said.message));
        let reason = self.said.reason().unwrap_or_else(unknown);
        Ok(LeftOut { container: exact(&self.container, "container")?, init: self.init, reason })
    }
}

impl Condition {
    /// Whether the cluster runs it, since when, and what was said last.
    fn new(tracked: &Tracked) -> Self {
        let is_applied = |phase: PhaseName| match phase {
            PhaseName::Succeeded => "True",
            end if ENDS.contains(&end.as_str()) => "False",
            _ => "Unknown",
        };
        let phase = tracked.phase.name();
        let same = tracked.log.iter().rev().take_while(|entry| is_applied(entry.phase) == is_applied(phase));
        let reason = tracked.phase.reason().or(tracked.reason());
        Self {
            r#type: APPLIED.to_owned(),
            status: is_applied(phase).to_owned(),
            reason: phase.as_str().to_owned(),
            message: reason.map(|reason| told(&reason.message)).unwrap_or_default(),
            last_transition_time: Some(same.last().map_or(tracked.update.proposed, |entry| entry.at)),
            more: BTreeMap::new(),
        }
    }

    fn is_ours(&self) -> bool {
        self.r#type == APPLIED
    }
}
