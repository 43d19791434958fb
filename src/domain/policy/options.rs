//! What can be set beside a policy.

use std::{str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use super::PolicyError;
use crate::domain::image::excerpt;

/// The options as given: `None` where nothing was said, so that a workload's word comes before a policy file's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Options {
    /// Which pre-releases count.
    pub prerelease: Option<PrereleaseOption>,
    /// Which flavour counts.
    pub flavour: Option<FlavourOption>,
    /// What `glob` and `regex` compare.
    pub order: Option<Order>,
    /// A regex that a tag must match as a whole.
    pub allow: Option<Arc<str>>,
    /// Globs of tags that are left out.
    pub ignore: Option<Vec<Arc<str>>>,
    /// Whether a lower version may be taken.
    pub allow_downgrade: Option<bool>,
}

/// Which pre-releases count (docs/policy.md §2.1).
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

impl Options {
    /// These, and where they say nothing, those of a policy file.
    #[must_use]
    pub fn over(&self, file: &Self) -> Self {
        Self {
            prerelease: self.prerelease.or(file.prerelease),
            flavour: self.flavour.clone().or_else(|| file.flavour.clone()),
            order: self.order.or(file.order),
            allow: self.allow.clone().or_else(|| file.allow.clone()),
            ignore: self.ignore.clone().or_else(|| file.ignore.clone()),
            allow_downgrade: self.allow_downgrade.or(file.allow_downgrade),
        }
    }
}

impl FromStr for PrereleaseOption {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        match text {
            "same" => Ok(Self::Same),
            "allow" => Ok(Self::Allow),
            "never" => Ok(Self::Never),
            _ => Err(unlisted("prerelease", text, "same, allow or never")),
        }
    }
}

impl FromStr for FlavourOption {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        Ok(if text == "any" { Self::Any } else { Self::Named(text.into()) })
    }
}

impl FromStr for Order {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        match text {
            "natural" => Ok(Self::Natural),
            "alphabetical" => Ok(Self::Alphabetical),
            "numeric" => Ok(Self::Numeric),
            "semver" => Ok(Self::Semver),
            _ => Err(unlisted("order", text, "natural, alphabetical, numeric or semver")),
        }
    }
}

fn unlisted(option: &str, text: &str, listed: &str) -> PolicyError {
    PolicyError(format!("`{}` is no value of {option}: write {listed}", excerpt(text)))
}
