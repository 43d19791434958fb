//! Policies (policy.md §2): one file a kind.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// Which pre-releases count (policy.md §2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrereleaseOption {
    /// Only those of the current tag's own core, if that is a pre-release.
    #[default]
    Same,
    /// All.
    Allow,
    /// None.
    Never,
}

/// Which flavour counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum FlavourOption {
    /// The current tag's.
    #[default]
    Current,
    /// This one; empty for none.
    Named(Arc<str>),
    /// Any.
    Any,
}

/// What is compared under `glob` and `regex`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Digit runs as integers.
    #[default]
    Natural,
    /// Bytes.
    Alphabetical,
    /// Digits alone.
    Numeric,
    /// Versions.
    Semver,
}

/// A policy and its options, parsed and compiled: equal texts make equal policies, so that a decision can be
/// shared by all workloads that ask the same.
#[derive(Debug, Clone)]
pub struct Policy {
    /// As written: `minor`, `semver:>=1.2`, `named:production`.
    pub text: Arc<str>,
}

/// Why a policy does not parse. The text names the value and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PolicyError(pub String);

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
