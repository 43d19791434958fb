//! Policies (docs/policy.md §2): one file a kind.

mod options;

pub use options::{FlavourOption, Options, Order, PrereleaseOption};

use std::{
    collections::BTreeMap,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

/// A policy and its options, parsed and compiled. Equal texts make equal policies, so that a decision can be shared
/// by all workloads that ask the same. Cloning is cheap.
#[derive(Clone)]
pub struct Policy(Arc<Inner>);

struct Inner {
    /// As written: `minor`, `semver:>=1.2`, `named:production`.
    text: Arc<str>,
    /// What the text stands for: the policy of the file for `named:`, else the text itself.
    resolved: Arc<str>,
    /// In force, those of the file included.
    options: Options,
}

/// What must be known before a policy can decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Needs {
    /// The tags of the repository.
    pub listing: bool,
    /// What the current tag points to now.
    pub digest_of_current: bool,
    /// When the candidates were pushed or built (see [`crate::domain::decide::timed_candidates`]).
    pub times: bool,
}

/// The policies that `named:` can mean.
#[derive(Debug, Clone, Default)]
pub struct NamedPolicies(BTreeMap<Arc<str>, ()>);

/// Why a policy does not parse. The text names the value and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PolicyError(pub String);

impl Policy {
    /// Reads `<kind>[:<argument>]`.
    pub fn parse(text: &str, options: &Options, named: &NamedPolicies) -> Result<Self, PolicyError> {
        let _ = &named.0;
        Ok(Self(Arc::new(Inner { text: text.into(), resolved: text.into(), options: options.clone() })))
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// What must be known before it can decide.
    pub fn needs(&self) -> Needs {
        Needs { listing: true, ..Needs::default() }
    }
}

impl PartialEq for Policy {
    fn eq(&self, other: &Self) -> bool {
        let same = |a: &Inner, b: &Inner| a.text == b.text && a.resolved == b.resolved && a.options == b.options;
        Arc::ptr_eq(&self.0, &other.0) || same(&self.0, &other.0)
    }
}

impl Eq for Policy {}

impl Hash for Policy {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.text.hash(state);
        self.0.resolved.hash(state);
        self.0.options.hash(state);
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Policy").field(&self.0.text).field(&self.0.options).finish()
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}
