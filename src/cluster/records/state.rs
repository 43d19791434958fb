//! An `ImageState`: what is remembered by a workload's name, as it stands in the API server.

use std::cmp::Ordering;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    held::{StoredHeld, StoredHold, StoredRule},
    object::{Custom, Metadata, Said, WorkloadRef, at_most, exact, image, shown, told},
};
use crate::domain::{
    image::Digest,
    reason::{Code, Reason},
    update::{AGAIN, Applied, Change, GOOD, Good, HOLDS, QUARANTINED, Quarantined, REFUSED, Refused, WorkloadState},
    wish::{What, Wish, WishAnswer},
    workload::WorkloadId,
};

/// Of as many containers what was set is kept.
const APPLIED: usize = 64;

/// The object. Its spec is people's.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct ImageState {
    #[serde(default)]
    pub(super) metadata: Metadata,
    #[serde(default)]
    spec: Spec,
    /// `None` where it was created and nothing more was said of it.
    #[serde(default)]
    pub(super) status: Option<Status>,
}

/// A person's last wish.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    by: String,
    on_behalf_of: Option<String>,
    reason: String,
    /// That of the object: in another one, as of a backup, it is nobody's wish.
    uid: String,
    /// Whose state it is, where nothing was said of it yet.
    workload: Option<WorkloadRef>,
    rollback: Option<StoredRollback>,
    hold: Option<bool>,
    resume: Option<StoredResume>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct StoredResume {
    keep_quarantine: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct StoredRollback {
    to: Option<String>,
}

/// What is remembered.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Status {
    pub(super) workload: WorkloadRef,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    applied: Vec<StoredApplied>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    holds: Vec<StoredHold>,
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<StoredHeld>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lifted: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    freed: Option<Timestamp>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    set_again: Vec<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<StoredRule>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    quarantined: Vec<StoredQuarantined>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refused: Vec<StoredRefused>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    last_good: Vec<StoredGood>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wish: Option<StoredAnswer>,
    /// What is not ours.
    #[serde(flatten)]
    more: Map<String, Value>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct StoredApplied {
    container: String,
    #[serde(default)]
    init: bool,
    from: String,
    to: String,
    at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct StoredQuarantined {
    container: String,
    #[serde(default)]
    init: bool,
    to: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    at: Timestamp,
    #[serde(default)]
    evidence: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct StoredRefused {
    container: String,
    #[serde(default)]
    init: bool,
    to: String,
    at: Timestamp,
    #[serde(flatten)]
    said: Said,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct StoredGood {
    container: String,
    #[serde(default)]
    init: bool,
    image: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    template: Option<String>,
    at: Timestamp,
}

/// What came of a wish.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct StoredAnswer {
    uid: String,
    generation: i64,
    at: Timestamp,
    done: bool,
    #[serde(flatten)]
    said: Said,
}

impl Custom for ImageState {
    const KIND: &str = "ImageState";
    const PLURAL: &str = "imagestates";
}

impl ImageState {
    /// What is remembered; `None` where nothing was said yet.
    pub(super) fn state(&self) -> Result<Option<WorkloadState>, String> {
        self.status.as_ref().map(|status| status.state(&self.metadata.namespace)).transpose()
    }

    /// Of whom nothing is remembered, but a person wishes something: the one that the wish names.
    pub(super) fn named(&self) -> Result<Option<WorkloadState>, String> {
        let Some(workload) = &self.spec.workload else { return Ok(None) };
        let (workload, _) = workload.id(&self.metadata.namespace)?;
        Ok(Some(WorkloadState::new(workload, "".into())))
    }

    /// A person's last wish, if there is any. One that was made of another object is none.
    pub(super) fn wish(&self) -> Result<Option<Wish>, String> {
        let (Metadata { uid, generation, .. }, Spec { by, on_behalf_of, reason, rollback, hold, resume, .. }) =
            (&self.metadata, &self.spec);
        let some = |text: &Option<String>, field| text.as_deref().map(|text| exact(text, field)).transpose();
        let what = match (rollback, hold.filter(|hold| *hold), resume) {
            (None, None, None) => return Ok(None),
            _ if self.spec.uid != *uid => return Ok(None),
            (Some(StoredRollback { to }), None, None) => {
                What::Rollback(some(to, "spec.rollback.to")?.filter(|to| !to.is_empty()))
            }
            (None, Some(_), None) => What::Hold,
            (None, None, Some(StoredResume { keep_quarantine })) => What::Resume { keep_quarantine: *keep_quarantine },
            _ => return Err("spec: only one of rollback, hold and resume can be wished".to_owned()),
        };
        Ok(Some(Wish {
            object: exact(uid, "metadata.uid")?,
            generation: *generation,
            by: exact(by, "spec.by")?,
            on_behalf_of: some(on_behalf_of, "spec.onBehalfOf")?,
            reason: told(reason).into(),
            what,
        }))
    }

    /// What came of that, if anything did.
    pub(super) fn answer(&self) -> Option<&StoredAnswer> {
        self.status.as_ref()?.wish.as_ref().filter(|answer| answer.uid == self.metadata.uid)
    }

    /// Whether its status holds what a [`WorkloadState`] does not.
    pub(super) fn holds_more(&self) -> bool {
        self.status.as_ref().is_some_and(|status| !status.more.is_empty())
    }
}

impl Status {
    pub(super) fn new(state: &WorkloadState) -> Self {
        // What was set last stands last.
        let newest = state.applied.iter().skip(state.applied.len().saturating_sub(APPLIED));
        Self {
            workload: WorkloadRef::new(&state.workload, &state.uid),
            applied: newest.map(StoredApplied::new).collect(),
            holds: state.holds.iter().map(StoredHold::new).collect(),
            held: state.held.as_deref().map(StoredHeld::new),
            lifted: state.lifted,
            freed: state.freed,
            set_again: state.set_again.clone(),
            rule: state.rule.as_deref().map(StoredRule::new),
            quarantined: state.quarantined.iter().map(StoredQuarantined::new).collect(),
            refused: state.refused.iter().map(StoredRefused::new).collect(),
            last_good: state.last_good.iter().map(StoredGood::new).collect(),
            wish: state.wish.as_deref().map(StoredAnswer::new),
            more: Map::new(),
        }
    }

    /// With what stands there already and is not told by a [`WorkloadState`].
    #[must_use]
    pub(super) fn over(mut self, there: &Self) -> Self {
        self.more = there.more.clone();
        self
    }

    fn state(&self, namespace: &str) -> Result<WorkloadState, String> {
        at_most(&self.applied, APPLIED, "status.applied")?;
        at_most(&self.holds, HOLDS, "status.holds")?;
        at_most(&self.set_again, AGAIN, "status.setAgain")?;
        at_most(&self.quarantined, QUARANTINED, "status.quarantined")?;
        at_most(&self.refused, REFUSED, "status.refused")?;
        at_most(&self.last_good, GOOD * APPLIED, "status.lastGood")?;
        let (workload, uid): (WorkloadId, _) = self.workload.id(namespace)?;
        Ok(WorkloadState {
            workload,
            uid,
            applied: self.applied.iter().map(StoredApplied::applied).collect::<Result<_, _>>()?,
            holds: self.holds.iter().map(StoredHold::hold).collect::<Result<_, _>>()?,
            held: self.held.as_ref().map(|held| held.held().map(Box::new)).transpose()?,
            lifted: self.lifted,
            freed: self.freed,
            set_again: self.set_again.clone(),
            rule: self.rule.as_ref().map(|rule| rule.rule().map(Box::new)).transpose()?,
            quarantined: self.quarantined.iter().map(StoredQuarantined::quarantined).collect::<Result<_, _>>()?,
            refused: self.refused.iter().map(StoredRefused::refused).collect::<Result<_, _>>()?,
            last_good: self.last_good.iter().map(StoredGood::good).collect::<Result<_, _>>()?,
            wish: self.wish.as_ref().map(|answer| answer.answer().map(Box::new)).transpose()?,
        })
    }
}

impl StoredApplied {
    fn new(Applied { change: Change { container, init, from, to }, at, since }: &Applied) -> Self {
        let (container, from, to) = (container.to_string(), from.to_string(), to.to_string());
        Self { container, init: *init, from, to, at: *at, since: since.as_deref().map(shown) }
    }

    fn applied(&self) -> Result<Applied, String> {
        let (from, to) = (image(&self.from, "from")?, image(&self.to, "to")?);
        let change = Change { container: exact(&self.container, "container")?, init: self.init, from, to };
        let since = self.since.as_deref().map(|since| exact(since, "since")).transpose()?;
        Ok(Applied { change, at: self.at, since })
    }
}

impl StoredRefused {
    fn new(Refused { container, init, to, at, reason }: &Refused) -> Self {
        let (container, to) = (container.to_string(), to.to_string());
        Self { container, init: *init, to, at: *at, said: Said::new(reason) }
    }

    fn refused(&self) -> Result<Refused, String> {
        let unknown = || Reason::new(Code::Rejected, told(&self.said.message));
        Ok(Refused {
            container: exact(&self.container, "container")?,
            init: self.init,
            to: image(&self.to, "to")?,
            at: self.at,
            reason: self.said.reason().unwrap_or_else(unknown),
        })
    }
}

impl StoredGood {
    fn new(Good { container, init, image, template, at }: &Good) -> Self {
        let (container, image) = (container.to_string(), image.to_string());
        Self { container, init: *init, image, template: template.as_ref().map(ToString::to_string), at: *at }
    }

    fn good(&self) -> Result<Good, String> {
        let template = self.template.as_deref().map(|template| exact(template, "template")).transpose()?;
        let (container, image) = (exact(&self.container, "container")?, image(&self.image, "image")?);
        Ok(Good { container, init: self.init, image, template, at: self.at })
    }
}

impl StoredAnswer {
    fn new(WishAnswer { object, generation, at, done, reason }: &WishAnswer) -> Self {
        Self { uid: object.to_string(), generation: *generation, at: *at, done: *done, said: Said::new(reason) }
    }

    fn answer(&self) -> Result<WishAnswer, String> {
        let unknown = || Reason::new(Code::RollbackNotPossible, told(&self.said.message));
        let (object, reason) = (exact(&self.uid, "status.wish.uid")?, self.said.reason().unwrap_or_else(unknown));
        Ok(WishAnswer { object, generation: self.generation, at: self.at, done: self.done, reason })
    }

    /// Whether that wish is carried out, or refused; and what is said of it. What became of one that a newer one followed is
    /// not known.
    pub(super) fn of(&self, generation: i64) -> Option<(bool, String)> {
        let what = told(&self.said.message);
        match self.generation.cmp(&generation) {
            Ordering::Less => None,
            Ordering::Equal => Some((self.done, what)),
            Ordering::Greater => {
                Some((false, format!("another wish came right after it ({what}): see how it is now, and wish again")))
            }
        }
    }
}

impl StoredQuarantined {
    fn new(Quarantined { container, init, to, digest, at, evidence }: &Quarantined) -> Self {
        Self {
            container: container.to_string(),
            init: *init,
            to: to.to_string(),
            digest: digest.as_ref().map(ToString::to_string),
            at: *at,
            evidence: told(evidence),
        }
    }

    fn quarantined(&self) -> Result<Quarantined, String> {
        let digest = self.digest.as_deref().map(Digest::parse).transpose();
        Ok(Quarantined {
            container: exact(&self.container, "container")?,
            init: self.init,
            to: image(&self.to, "to")?,
            digest: digest.map_err(|error| format!("digest: {error}"))?,
            at: self.at,
            evidence: told(&self.evidence).into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wish(mut spec: Value) -> Result<Option<What>, String> {
        (spec["uid"], spec["by"]) = (json!("u"), json!("alice"));
        let metadata = json!({
            "name": "deployment-web", "namespace": "shop", "uid": "u", "generation": 1, "resourceVersion": "1",
        });
        let object: ImageState = serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap();
        object.wish().map(|wish| wish.map(|wish| wish.what))
    }

    /// The API server lets through what is not held beside something else.
    #[rstest::rstest]
    #[case(json!({}), None)]
    #[case(json!({"hold": false}), None)]
    #[case(json!({"hold": true}), Some(What::Hold))]
    #[case(json!({"hold": false, "rollback": {}}), Some(What::Rollback(None)))]
    #[case(json!({"hold": false, "resume": {"keepQuarantine": true}}), Some(What::Resume { keep_quarantine: true }))]
    fn what_is_not_held_is_no_wish(#[case] spec: Value, #[case] expected: Option<What>) {
        assert_eq!(wish(spec), Ok(expected));
    }

    #[test]
    fn two_wishes_at_once_are_none() {
        assert!(wish(json!({"hold": true, "resume": {}})).is_err());
        assert!(wish(json!({"rollback": {}, "resume": {}})).is_err());
    }
}
