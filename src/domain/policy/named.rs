//! The policies that `named:` can mean, and the policies already parsed.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use super::{Inner, Options, Policy, PolicyError, PolicyFile, PolicyGates};
use crate::domain::image::excerpt;

/// The policy files by name. Cloning is cheap.
///
/// Policies that are parsed against it are remembered while somebody uses them, so that many workloads with one
/// pattern hold it once.
#[derive(Clone, Default)]
pub struct NamedPolicies(Arc<Shared>);

#[derive(Default)]
struct Shared {
    files: BTreeMap<Arc<str>, Named>,
    parsed: Mutex<Parsed>,
}

/// Policies in use, by text and options.
type Parsed = HashMap<(Arc<str>, Options), Weak<Inner>>;

/// What a name stands for.
pub(super) struct Named {
    pub(super) policy: Arc<str>,
    pub(super) options: Options,
    gates: PolicyGates,
}

impl NamedPolicies {
    /// Checks each file; two of one name are an error.
    pub fn new<'a>(files: impl IntoIterator<Item = &'a PolicyFile>) -> Result<Self, PolicyError> {
        let mut by_name = BTreeMap::new();
        for file in files {
            let named =
                file.check().map_err(|error| PolicyError(format!("policy `{}`: {error}", excerpt(&file.name))))?;
            if by_name.insert(file.name.clone(), named).is_some() {
                return Err(PolicyError(format!("two policy files are named `{}`: rename one", excerpt(&file.name))));
            }
        }
        Ok(Self(Arc::new(Shared { files: by_name, ..Shared::default() })))
    }

    /// The names there are.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.files.keys().map(AsRef::as_ref)
    }

    /// The options that a policy brings itself: those of its file, if it is a named one.
    pub fn options(&self, policy: &str) -> Options {
        let file = policy.strip_prefix("named:").and_then(|name| self.0.files.get(name));
        file.map(|file| file.options.clone()).unwrap_or_default()
    }

    /// What a policy's file asks for before an update, if it is a named one.
    pub fn gates(&self, policy: &str) -> Option<&PolicyGates> {
        Some(&self.0.files.get(policy.strip_prefix("named:")?)?.gates)
    }

    pub(super) fn get(&self, name: &str) -> Result<&Named, PolicyError> {
        self.0.files.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.names().collect();
            let there = if names.is_empty() {
                "there are no policy files: see --policies".to_owned()
            } else {
                format!("available: {}", excerpt(&names.join(", ")))
            };
            PolicyError(format!("no policy file is named `{}`; {there}", excerpt(name)))
        })
    }

    /// What was parsed before, or else what `compile` makes.
    pub(super) fn parsed(
        &self,
        text: &str,
        options: &Options,
        compile: impl FnOnce() -> Result<Inner, PolicyError>,
    ) -> Result<Arc<Inner>, PolicyError> {
        let key = (Arc::from(text), options.clone());
        let lock = || self.0.parsed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().get(&key).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let inner = Arc::new(compile()?);
        let mut parsed = lock();
        if parsed.len() == parsed.capacity() {
            parsed.retain(|_, policy| policy.strong_count() > 0);
        }
        parsed.insert(key, Arc::downgrade(&inner));
        Ok(inner)
    }
}

impl PolicyFile {
    /// What the file stands for, if it is right in itself.
    fn check(&self) -> Result<Named, PolicyError> {
        let name_fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if self.name.is_empty() || self.name.len() > 63 || !self.name.bytes().all(name_fits) {
            return Err(PolicyError("a name has 1 to 63 letters, digits, `-`, `_` or `.`".to_owned()));
        }
        let options = self.options()?;
        // A file cannot name another one: there are no others here.
        if self.policy.starts_with("named:") {
            return Err(PolicyError("a policy file cannot stand for another one: write its policy here".to_owned()));
        }
        Policy::parse(&self.policy, &options, &NamedPolicies::default())?.compiles()?;
        Ok(Named { policy: self.policy.clone(), options, gates: self.gates()? })
    }
}

impl fmt::Debug for NamedPolicies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}
