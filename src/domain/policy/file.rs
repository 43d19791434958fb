//! Policy files (docs/policy.md §6): a policy with its options, a name, and examples that a test runs.

use std::sync::Arc;

use serde::{Deserialize, de::IgnoredAny};

use super::{Example, Options, PolicyError};

/// A policy file as written. An unknown key is an error.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyFile {
    /// What stands after `named:`.
    pub name: Arc<str>,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// `<kind>[:<argument>]`
    pub policy: Arc<str>,
    /// See [`RawOptions`]; flattened by hand, as unknown keys are errors.
    #[serde(default)]
    prerelease: Option<String>,
    #[serde(default, alias = "flavor")]
    flavour: Option<String>,
    #[serde(default)]
    order: Option<String>,
    #[serde(default)]
    allow: Option<String>,
    #[serde(default)]
    ignore: Option<Vec<String>>,
    #[serde(default)]
    allow_downgrade: Option<bool>,
    // Keys of gates that are not built yet: known, so that they are refused by name.
    #[serde(default)]
    min_age: Option<IgnoredAny>,
    #[serde(default)]
    approvals: Option<IgnoredAny>,
    #[serde(default)]
    approval_timeout: Option<IgnoredAny>,
    #[serde(default)]
    window: Option<IgnoredAny>,
    #[serde(default)]
    freeze: Option<IgnoredAny>,
    #[serde(default)]
    verify: Option<IgnoredAny>,
    #[serde(default)]
    rollback: Option<IgnoredAny>,
    #[serde(default)]
    platforms: Option<IgnoredAny>,
    /// Cases that show what it does.
    #[serde(default)]
    pub examples: Vec<Example>,
}

/// Options as people write them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawOptions {
    /// `same`, `allow`, `never`
    #[serde(default)]
    pub prerelease: Option<String>,
    /// A name, or `any`.
    #[serde(default, alias = "flavor")]
    pub flavour: Option<String>,
    /// `natural`, `alphabetical`, `numeric`, `semver`
    #[serde(default)]
    pub order: Option<String>,
    /// A regex.
    #[serde(default)]
    pub allow: Option<String>,
    /// Globs.
    #[serde(default)]
    pub ignore: Option<Vec<String>>,
    /// `true` or `false`
    #[serde(default)]
    pub allow_downgrade: Option<bool>,
}

impl RawOptions {
    /// Reads each value.
    pub fn parse(&self) -> Result<Options, PolicyError> {
        Ok(Options {
            prerelease: self.prerelease.as_deref().map(str::parse).transpose()?,
            flavour: self.flavour.as_deref().map(str::parse).transpose()?,
            order: self.order.as_deref().map(str::parse).transpose()?,
            allow: self.allow.iter().map(|regex| Arc::from(regex.as_str())).collect(),
            ignore: self.ignore.as_ref().map(|globs| globs.iter().map(|glob| Arc::from(glob.as_str())).collect()),
            allow_downgrade: self.allow_downgrade,
        })
    }
}

impl PolicyFile {
    /// The options it gives. A key whose part is not built yet is refused, never ignored.
    pub fn options(&self) -> Result<Options, PolicyError> {
        let later = [
            ("minAge", &self.min_age),
            ("approvals", &self.approvals),
            ("approvalTimeout", &self.approval_timeout),
            ("window", &self.window),
            ("freeze", &self.freeze),
            ("verify", &self.verify),
            ("rollback", &self.rollback),
            ("platforms", &self.platforms),
        ];
        if let Some((key, _)) = later.iter().find(|(_, value)| value.is_some()) {
            return Err(PolicyError(format!("`{key}` is not built yet in this version: remove it")));
        }
        let raw = RawOptions {
            prerelease: self.prerelease.clone(),
            flavour: self.flavour.clone(),
            order: self.order.clone(),
            allow: self.allow.clone(),
            ignore: self.ignore.clone(),
            allow_downgrade: self.allow_downgrade,
        };
        raw.parse()
    }
}
