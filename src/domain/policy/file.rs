//! Policy files (docs/policy.md §6): a policy with its options, a name, and examples that a test runs.

use std::{fmt, sync::Arc, time::Duration};

use serde::Deserialize;

use super::{Example, Options, PolicyError};
use crate::domain::{
    later::{self, Keyed, WithLater},
    poll::parse_duration,
    rollback::Rollback,
    votes::Needed,
    window::{Window, WindowError},
};

/// A policy file. An unknown key is an error.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "WithLater<RawPolicy>")]
pub struct PolicyFile {
    /// What stands after `named:`.
    pub name: Arc<str>,
    /// For people.
    pub description: String,
    /// `<kind>[:<argument>]`
    pub policy: Arc<str>,
    options: RawOptions,
    gates: RawGates,
    /// Keys that are not built yet.
    later: Vec<&'static str>,
    /// Cases that show what it does.
    pub examples: Vec<Example>,
}

/// The file as written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawPolicy {
    name: Arc<str>,
    #[serde(default)]
    description: String,
    policy: Arc<str>,
    // See [`RawOptions`]; flattened by hand, as unknown keys are errors.
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
    #[serde(default)]
    min_age: Option<String>,
    #[serde(default)]
    window: Option<String>,
    #[serde(default)]
    freeze: Option<String>,
    #[serde(default)]
    approvals: Option<Needed>,
    #[serde(default)]
    approval_timeout: Option<String>,
    #[serde(default)]
    rollback: Option<Rollback>,
    #[serde(default)]
    examples: Vec<Example>,
}

impl Keyed for RawPolicy {
    const LATER: &'static [&'static str] = later::POLICY_FILE;
}

impl From<WithLater<RawPolicy>> for PolicyFile {
    fn from(WithLater { value, later }: WithLater<RawPolicy>) -> Self {
        let RawPolicy { name, description, policy, examples, .. } = value;
        let RawPolicy { prerelease, flavour, order, allow, ignore, allow_downgrade, .. } = value;
        let options = RawOptions { prerelease, flavour, order, allow, ignore, allow_downgrade };
        let RawPolicy { min_age, window, freeze, approvals, approval_timeout, rollback, .. } = value;
        let gates = RawGates { min_age, window, freeze, approvals, approval_timeout, rollback };
        Self { name, description, policy, options, gates, later, examples }
    }
}

/// What a policy file asks for before an update, as written.
#[derive(Debug, Clone)]
struct RawGates {
    min_age: Option<String>,
    window: Option<String>,
    freeze: Option<String>,
    approvals: Option<Needed>,
    approval_timeout: Option<String>,
    rollback: Option<Rollback>,
}

/// What a policy file asks for before an update, and after one that failed.
#[derive(Debug, Clone, Default)]
pub struct PolicyGates {
    /// How old a version must be.
    pub min_age: Option<Duration>,
    /// When updates may start.
    pub window: Option<Window>,
    /// When they may not.
    pub freeze: Option<Window>,
    /// How many people must approve.
    pub approvals: Option<u8>,
    /// How long they are waited for.
    pub approval_timeout: Option<Duration>,
    /// Whether what failed is put back.
    pub rollback: Option<Rollback>,
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
        match self.later.first() {
            Some(key) => Err(PolicyError(later::refusal(key))),
            None => self.options.parse(),
        }
    }

    /// What it asks for before an update.
    pub fn gates(&self) -> Result<PolicyGates, PolicyError> {
        let RawGates { min_age, window, freeze, approvals, approval_timeout, rollback } = &self.gates;
        let wrong = |key: &str, error: &dyn fmt::Display| PolicyError(format!("`{key}`: {error}"));
        let read = |key: &str, text: &Option<String>| -> Result<Option<Window>, PolicyError> {
            text.as_deref().map(str::parse).transpose().map_err(|error: WindowError| wrong(key, &error))
        };
        let duration = |key: &str, text: &Option<String>| {
            text.as_deref().map(parse_duration).transpose().map_err(|error| wrong(key, &error))
        };
        Ok(PolicyGates {
            min_age: duration("minAge", min_age)?,
            window: read("window", window)?,
            freeze: read("freeze", freeze)?,
            approvals: approvals.map(|needed| needed.0),
            approval_timeout: duration("approvalTimeout", approval_timeout)?,
            rollback: *rollback,
        })
    }
}
