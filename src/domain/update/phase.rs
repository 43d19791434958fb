//! How far an update has come.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{LeftOut, Update, UpdateId};
use crate::domain::{
    reason::{Code, Reason},
    votes::Approval,
};

/// How far an update has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase")]
pub enum Phase {
    /// Decided, every gate is open; it waits for its turn to be written.
    Proposed,
    /// Something keeps it from being written until that changes.
    Waiting {
        /// What.
        reason: Reason,
    },
    /// Being written, or tried again later.
    Applying,
    /// In Git, from where a deployer brings it to the cluster.
    InGit {
        /// The commit or the request.
        reason: Reason,
        /// What is not brought with the others.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        left: Vec<LeftOut>,
    },
    /// Written; the rollout goes on.
    Progressing,
    /// What was there before is to be there again.
    RollingBack {
        /// How far that is: found out anew from the images after a restart.
        #[serde(skip)]
        way: Way,
    },
    /// It runs, as far as that is followed.
    Succeeded,
    /// What was there before runs again.
    RolledBack,
    /// It does not run.
    Failed,
    /// Another one took its place before it was written, or before it ran.
    Superseded,
    /// A person said no.
    Rejected,
    /// Not enough people said yes in time.
    Expired,
}

/// How far an update is on its way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Way {
    /// To be written.
    #[default]
    Due,
    /// In Git, or in a request.
    InGit,
    /// The images are there; the rollout goes on.
    Written,
}

/// A [`Phase`] without what is said of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "they are those of `Phase`")]
pub enum PhaseName {
    Proposed,
    Waiting,
    Applying,
    InGit,
    Progressing,
    RollingBack,
    Succeeded,
    RolledBack,
    Failed,
    Superseded,
    Rejected,
    Expired,
}

/// An update, its phase, and how it came there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tracked {
    /// Which.
    #[serde(flatten)]
    pub update: Update,
    /// How far it has come.
    #[serde(flatten)]
    pub phase: Phase,
    /// Who must approve it, and did, where somebody must.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Box<Approval>>,
    /// What was remembered of it, the oldest first: at most [`LOG`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<LogEntry>,
}

/// As much of an update's story is kept.
pub const LOG: usize = 20;
/// As many updates that have ended are kept of each workload.
pub const KEPT: usize = 10;

/// One step of an update's story.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    /// When.
    pub at: Timestamp,
    /// How far it had come then.
    pub phase: PhaseName,
    /// Why, where something was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

impl Tracked {
    /// As it was recorded.
    pub fn recorded(update: Update, phase: Phase, log: Vec<LogEntry>) -> Self {
        Self { update, phase, approval: None, log }
    }

    /// With who had to approve it, and did.
    #[must_use]
    pub fn with_approval(self, approval: Option<Approval>) -> Self {
        Self { approval: approval.map(Box::new), ..self }
    }

    /// Whether it is that update; where people had to approve it, also decided by the same, until it is in Git.
    pub fn is(&self, update: &Update) -> bool {
        let is_exactly = || self.approval.is_none() || self.update.target() == update.target();
        self.update.id == update.id && (matches!(self.phase, Phase::InGit { .. }) || is_exactly())
    }

    /// Whether how it stands in Git is seen to before it is written.
    pub(super) fn is_seen_to(&self) -> bool {
        match &self.phase {
            Phase::InGit { .. } => true,
            Phase::Waiting { reason } => reason.code != Code::AdmissionRefused && self.asked().is_none(),
            _ => false,
        }
    }

    /// Who must approve it, while it waits for that.
    pub fn asked(&self) -> Option<&Approval> {
        let Phase::Waiting { reason } = &self.phase else { return None };
        let is_asked = matches!(reason.code, Code::Approval | Code::ApprovalsUnguarded);
        self.approval.as_deref().filter(|_| is_asked)
    }

    /// What was said of it last.
    pub fn reason(&self) -> Option<&Reason> {
        self.log.last().filter(|last| last.phase == self.phase.name()).and_then(|last| last.reason.as_ref())
    }

    /// Whether it is what another one of its id was, or has come from there. Its images may differ since: an admission
    /// rewrites them.
    pub fn continues(&self, other: &Self) -> bool {
        let is_it = |last: &LogEntry| self.log.iter().any(|entry| (entry.at, entry.phase) == (last.at, last.phase));
        self != other && self.update.uid == other.update.uid && other.log.last().is_some_and(is_it)
    }

    /// Whether anything of it was remembered.
    pub fn is_recorded(&self) -> bool {
        !self.log.is_empty()
    }

    /// When it was said that its rollout stands still, if that was.
    pub(super) fn stalled(&self) -> Option<Timestamp> {
        let phase = self.phase.name();
        let is_it = |entry: &&LogEntry| {
            entry.phase == phase && entry.reason.as_ref().is_some_and(|reason| reason.code == Code::RolloutStalled)
        };
        self.log.iter().find(is_it).map(|entry| entry.at)
    }

    /// How far it is on its way back, if it is.
    pub fn way(&self) -> Option<Way> {
        if let Phase::RollingBack { way } = self.phase { Some(way) } else { None }
    }

    /// Why it goes back, and since when.
    pub(super) fn why_back(&self) -> Option<(&Reason, Timestamp)> {
        let entry = self.log.iter().find(|entry| entry.phase == PhaseName::RollingBack)?;
        Some((entry.reason.as_ref()?, entry.at))
    }

    /// What brings the images back that were there before it, while it goes back.
    pub fn back(&self) -> Option<Update> {
        self.way()?;
        Some(self.update.back(self.why_back().map_or(self.update.proposed, |(_, since)| since)))
    }

    /// Whether it is written under that id, there or back.
    pub(super) fn is_written_as(&self, id: &UpdateId) -> bool {
        match self.back() {
            Some(back) => back.id == *id,
            None => self.update.id == *id,
        }
    }

    /// When it came to its end, if it did.
    pub fn ended(&self) -> Option<Timestamp> {
        self.log.last().filter(|_| self.phase.is_over()).map(|last| last.at)
    }

    /// One more step of its story; `false` where nothing is new.
    pub(super) fn tell(&mut self, at: Timestamp, reason: Option<Reason>) -> bool {
        let phase = self.phase.name();
        if self.log.last().is_some_and(|last| last.phase == phase && last.reason == reason) {
            return false;
        }
        if self.log.len() >= LOG {
            // Why it goes back stays.
            let is_why = self.log.first().is_some_and(|first| first.phase == PhaseName::RollingBack);
            self.log.remove(usize::from(is_why));
        }
        self.log.push(LogEntry { at, phase, reason });
        true
    }
}

impl PhaseName {
    /// All there are.
    pub const ALL: &[Self] = &[
        Self::Proposed,
        Self::Waiting,
        Self::Applying,
        Self::InGit,
        Self::Progressing,
        Self::RollingBack,
        Self::Succeeded,
        Self::RolledBack,
        Self::Failed,
        Self::Superseded,
        Self::Rejected,
        Self::Expired,
    ];

    /// What [`PhaseName::as_str`] says.
    pub fn find(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|name| name.as_str() == text).copied()
    }

    /// As people see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Proposed => "Proposed",
            Self::Waiting => "Waiting",
            Self::Applying => "Applying",
            Self::InGit => "InGit",
            Self::Progressing => "Progressing",
            Self::RollingBack => "RollingBack",
            Self::Succeeded => "Succeeded",
            Self::RolledBack => "RolledBack",
            Self::Failed => "Failed",
            Self::Superseded => "Superseded",
            Self::Rejected => "Rejected",
            Self::Expired => "Expired",
        }
    }
}

impl Phase {
    /// As it was recorded; `None` where its reason is missing.
    pub fn recorded(name: PhaseName, reason: Option<Reason>, left: Vec<LeftOut>) -> Option<Self> {
        Some(match name {
            PhaseName::Proposed => Self::Proposed,
            PhaseName::Waiting => Self::Waiting { reason: reason? },
            PhaseName::Applying => Self::Applying,
            PhaseName::InGit => Self::InGit { reason: reason?, left },
            PhaseName::Progressing => Self::Progressing,
            PhaseName::RollingBack => Self::RollingBack { way: Way::Due },
            PhaseName::Succeeded => Self::Succeeded,
            PhaseName::RolledBack => Self::RolledBack,
            PhaseName::Failed => Self::Failed,
            PhaseName::Superseded => Self::Superseded,
            PhaseName::Rejected => Self::Rejected,
            PhaseName::Expired => Self::Expired,
        })
    }

    /// What was said of it, where something was.
    pub fn reason(&self) -> Option<&Reason> {
        match self {
            Self::Waiting { reason } | Self::InGit { reason, .. } => Some(reason),
            Self::Proposed | Self::Applying | Self::Progressing | Self::RollingBack { .. } => None,
            Self::Succeeded | Self::RolledBack | Self::Failed | Self::Superseded | Self::Rejected | Self::Expired => {
                None
            }
        }
    }

    /// What was said of it, and of what is left out.
    pub fn reasons(&self) -> impl Iterator<Item = &Reason> {
        let left = if let Self::InGit { left, .. } = self { &left[..] } else { &[] };
        self.reason().into_iter().chain(left.iter().map(|left| &left.reason))
    }

    /// Whether nothing more is done for it.
    pub fn is_over(&self) -> bool {
        matches!(
            self,
            Self::Succeeded | Self::RolledBack | Self::Failed | Self::Superseded | Self::Rejected | Self::Expired
        )
    }

    /// Which.
    pub fn name(&self) -> PhaseName {
        match self {
            Self::Proposed => PhaseName::Proposed,
            Self::Waiting { .. } => PhaseName::Waiting,
            Self::Applying => PhaseName::Applying,
            Self::InGit { .. } => PhaseName::InGit,
            Self::Progressing => PhaseName::Progressing,
            Self::RollingBack { .. } => PhaseName::RollingBack,
            Self::Succeeded => PhaseName::Succeeded,
            Self::RolledBack => PhaseName::RolledBack,
            Self::Failed => PhaseName::Failed,
            Self::Superseded => PhaseName::Superseded,
            Self::Rejected => PhaseName::Rejected,
            Self::Expired => PhaseName::Expired,
        }
    }
}
