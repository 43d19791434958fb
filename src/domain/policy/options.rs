//! What can be set beside a policy.

use std::{str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use super::PolicyError;
use crate::domain::{image::excerpt, nearest::listed};

/// The options as given: `None` where nothing was said, so that a workload's word comes before a policy file's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Options {
    /// Which pre-releases count.
    pub prerelease: Option<PrereleaseOption>,
    /// Which flavour counts.
    pub flavour: Option<FlavourOption>,
    /// What `glob` and `regex` compare.
    pub order: Option<Order>,
    /// Regexes that a tag must match as a whole, each of them; empty where nothing was said.
    pub allow: Vec<Arc<str>>,
    /// Globs of tags that are left out.
    pub ignore: Option<Vec<Arc<str>>>,
    /// Whether a lower version may be taken.
    pub allow_downgrade: Option<bool>,
}

/// Which pre-releases count (docs/policy.md §2.1), the strictest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrereleaseOption {
    /// None.
    Never,
    /// Only those of the current tag's own core, if that is a pre-release.
    #[default]
    Same,
    /// All.
    Allow,
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
            allow: if self.allow.is_empty() { file.allow.clone() } else { self.allow.clone() },
            ignore: self.ignore.clone().or_else(|| file.ignore.clone()),
            allow_downgrade: self.allow_downgrade.or(file.allow_downgrade),
        }
    }

    /// These where they can only narrow what a policy takes under its own options: its filters stay beside theirs.
    /// An error is the key of an option that could widen it.
    pub fn within(&self, own: &Self) -> Result<Self, &'static str> {
        let widening = [
            ("prerelease", self.prerelease.is_some_and(|asked| asked > own.prerelease.unwrap_or_default())),
            ("flavour", self.flavour.is_some()),
            ("order", self.order.is_some()),
            ("allow-downgrade", self.allow_downgrade.is_some()),
        ];
        if let Some((key, _)) = widening.iter().find(|(_, widens)| *widens) {
            return Err(key);
        }
        let ignore: Vec<Arc<str>> = own.ignore.iter().chain(&self.ignore).flatten().cloned().collect();
        Ok(Self {
            prerelease: self.prerelease.or(own.prerelease),
            allow: own.allow.iter().chain(&self.allow).cloned().collect(),
            ignore: Some(ignore).filter(|globs| !globs.is_empty()),
            ..own.clone()
        })
    }
}

impl FromStr for PrereleaseOption {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        match text {
            "same" => Ok(Self::Same),
            "allow" => Ok(Self::Allow),
            "never" => Ok(Self::Never),
            _ => Err(unlisted("prerelease", text, &["same", "allow", "never"])),
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
            _ => Err(unlisted("order", text, &["natural", "alphabetical", "numeric", "semver"])),
        }
    }
}

fn unlisted(option: &str, text: &str, all: &[&str]) -> PolicyError {
    PolicyError(format!("`{}` is no value of {option}: {}", excerpt(text), listed(text, all)))
}
