//! What is said about each container: the decision and the reasons, for `plan`, `explain`, logs and Events.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use super::{image::Tag, reason::Reason, workload::WorkloadId};

/// The outcome for one container in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// A newer image is chosen and may be written.
    Update,
    /// Nothing newer is eligible.
    UpToDate,
    /// A newer image is chosen; a gate opens later.
    Waiting,
    /// A newer image is chosen; something forbids it.
    Blocked,
    /// Nothing can be decided until somebody fixes what the reasons name.
    Problem,
}

impl Verdict {
    /// In one word, as it is shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Update => "update",
            Self::UpToDate => "up-to-date",
            Self::Waiting => "waiting",
            Self::Blocked => "blocked",
            Self::Problem => "problem",
        }
    }
}

/// One row of `plan`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Which workload.
    pub workload: ReportWorkload,
    /// Which container; empty when the workload as a whole has a problem.
    pub container: Arc<str>,
    /// The image as written now.
    pub image: Arc<str>,
    /// The policy as written.
    pub policy: Arc<str>,
    /// In one word.
    pub decision: Verdict,
    /// The tag to run.
    pub to: Option<Tag>,
    /// The full reference to write.
    pub to_image: Option<String>,
    /// When what waits opens, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opens: Option<Timestamp>,
    /// How each gate stands; left out by the operator.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<GateRow>,
    /// Why, and why not.
    pub reasons: Vec<Reason>,
}

/// How a gate stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GateRow {
    /// Its name.
    pub gate: &'static str,
    /// Whether an update may pass it.
    pub open: bool,
    /// What set it, if anything did.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub by: Vec<Arc<str>>,
    /// When it opens, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opens: Option<Timestamp>,
}

/// A workload as it is shown: its id, and the file and line where it came from a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReportWorkload {
    /// Kind, namespace and name.
    #[serde(flatten)]
    pub id: WorkloadId,
    /// `cluster`, or `path/to/file.yaml:12`.
    pub source: Arc<str>,
}
