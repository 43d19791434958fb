//! The Namespaces of a repository as they are rendered, and what they ask of the workloads in them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::{
    super::NamespaceFound,
    Files, LocateError,
    chains::Chain,
    patch::Ambiguity,
    render::Kustomizations,
    subject::{NAMESPACE, NO_NAMESPACE, Subject},
    walk::Step,
};
use crate::domain::image::excerpt;

/// A Namespace, and a way that it is rendered.
pub(super) struct Named<'f> {
    pub(super) path: &'f Arc<str>,
    pub(super) found: &'f NamespaceFound,
    /// To what nothing includes.
    pub(super) chain: Chain,
}

/// What the Namespaces of one name ask for.
#[derive(Debug, Default)]
pub(super) struct Asks {
    pub(super) annotations: BTreeMap<String, String>,
    /// Where each of these stands first.
    at: BTreeMap<String, String>,
    /// Why that is not all that they ask for.
    pub(super) lost: Option<LocateError>,
}

/// Every Namespace by its name. What several of one name say counts together, as what is applied one after the other.
pub(super) fn namespaces<'f>(
    files: &'f Files,
    kustomizations: &Kustomizations<'f>,
    all: Vec<Named<'f>>,
) -> HashMap<Arc<str>, Asks> {
    let mut found: HashMap<Arc<str>, Asks> = HashMap::new();
    for Named { path, found: own, chain } in all {
        if own.name.is_empty() {
            continue;
        }
        let mut subject = Subject::new(NAMESPACE, "", &own.meta, NO_NAMESPACE, &own.name);
        let mut is_deleted = false;
        let ambiguity = kustomizations.walk(files, &mut subject, &chain, |step| {
            is_deleted |= matches!(step, Step::Part { part, is_sure: true, .. } if part.is_deleting());
        });
        let ambiguity = kustomizations.blocked(path).or(ambiguity);
        let names: BTreeSet<Arc<str>> = subject.each_end().map(|(_, name)| name.into()).collect();
        for name in names.into_iter().filter(|_| ambiguity.is_some()) {
            let lost = ambiguity.as_ref().map(|ambiguity| lost(&name, ambiguity));
            let asks = found.entry(name).or_default();
            asks.lost = asks.lost.take().or(lost);
        }
        if is_deleted {
            continue;
        }
        let annotations = subject.ours();
        let (_, name) = subject.id();
        found.entry(name.clone()).or_default().add((path, own.line), &name, annotations);
    }
    // Argo CD writes these to the Namespace itself.
    for (path, facts) in files.iter().filter(|(path, _)| !kustomizations.is_patch(path)) {
        for release in facts.releases.iter().filter(|release| !release.asks.is_empty()) {
            if let Some(name) = &release.target {
                found.entry((&**name).into()).or_default().add((path, release.line), name, release.asks.clone());
            }
        }
    }
    found
}

impl Asks {
    /// With what one more says.
    fn add(&mut self, (path, line): (&Arc<str>, usize), name: &str, annotations: BTreeMap<String, String>) {
        for (key, value) in annotations {
            match self.annotations.get(&key) {
                Some(other) if *other != value => {
                    let at = self.at.get(&key).map_or("", |at| at);
                    let [name, key, value, other] = [name, &key, &value, other].map(excerpt);
                    let reason = format!(
                        "the Namespace {name} has `{key}: {value}` here and `{key}: {other}` at {at}: write the same, or read \
                         only one of them (`paths` of the target)"
                    );
                    self.lost.get_or_insert(LocateError::Refused { path: path.clone(), line, reason });
                }
                Some(_) => {}
                None => {
                    self.at.insert(key.clone(), format!("{}:{line}", excerpt(path)));
                    self.annotations.insert(key, value);
                }
            }
        }
    }
}

fn lost(name: &str, ambiguity: &Ambiguity) -> LocateError {
    let reason = format!("what the Namespace {} asks for is not known: {}", excerpt(name), ambiguity.reason);
    LocateError::Refused { path: ambiguity.path.clone(), line: ambiguity.line, reason }
}
