//! An `ImageHistory`: when it was first seen what the tags of a repository point to, as it stands in the API server.
//!
//! All of them are in the operator's own namespace, where no tenant writes. People may all the same: what cannot be read
//! of a status is passed over, and so counts from now.

mod add;
mod list;
pub(in crate::cluster) mod watch;

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

use super::object::{Custom, Found};
use crate::domain::{
    history::{MOST, Sighting},
    image::{Digest, Repository, Tag},
    update::hash,
};

pub use list::histories;

/// What an administrator does where the cluster does not have the kind.
const INSTALL: &str = "an administrator runs `supercargo crds | kubectl apply --server-side -f -` and gives the rights of \
                       deploy/base";

/// Why nothing is remembered where the cluster does not have the kind.
pub fn no_histories() -> Arc<str> {
    format!("the cluster does not have the kind {}: {INSTALL}", ImageHistory::KIND).into()
}

/// The object.
#[derive(Debug, Clone, Deserialize)]
struct ImageHistory {
    #[serde(default)]
    spec: Spec,
    /// `None` where it was created and nothing more was said of it.
    #[serde(default)]
    status: Option<Status>,
}

/// Of what it is.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Spec {
    repository: String,
}

/// What was seen.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Status {
    #[serde(deserialize_with = "readable")]
    tags: Vec<StoredTag>,
    /// What is not ours.
    #[serde(flatten)]
    more: Map<String, Value>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredTag {
    tag: Tag,
    digest: Digest,
    first_seen: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pushed: Option<Timestamp>,
}

impl Custom for ImageHistory {
    const KIND: &str = "ImageHistory";
    const PLURAL: &str = "imagehistories";
}

/// The name of a repository's object.
fn name(repository: &Repository) -> String {
    hash([repository.to_string()].into_iter()).to_string()
}

/// What stands in a status already.
#[derive(Default)]
struct There {
    sightings: Vec<Sighting>,
    more: Map<String, Value>,
}

/// Of which repository an object is, if it has the name for that, and what it says.
fn read(found: &Found<ImageHistory>) -> Result<(Repository, There), String> {
    let object = found.object.as_ref().map_err(Clone::clone)?;
    let repository = Repository::parse(&object.spec.repository).map_err(|error| format!("spec.repository: {error}"))?;
    if found.name() != name(&repository) {
        return Err(format!("the one of {repository} would have the name {}", name(&repository)));
    }
    let Some(status) = &object.status else { return Ok((repository, There::default())) };
    let sightings = status.tags.iter().map(StoredTag::sighting).collect();
    Ok((repository, There { sightings, more: status.more.clone() }))
}

/// A status that says this, beside what is not ours.
fn status(sightings: &[Sighting], mut more: Map<String, Value>) -> Value {
    more.insert("tags".to_owned(), json!(sightings.iter().map(StoredTag::new).collect::<Vec<_>>()));
    Value::Object(more)
}

impl StoredTag {
    fn new(Sighting { tag, digest, first_seen, pushed }: &Sighting) -> Self {
        Self { tag: tag.clone(), digest: digest.clone(), first_seen: *first_seen, pushed: *pushed }
    }

    fn sighting(&self) -> Sighting {
        let Self { tag, digest, first_seen, pushed } = self.clone();
        Sighting { tag, digest, first_seen, pushed }
    }
}

/// Those of a list that can be read.
fn readable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<StoredTag>, D::Error> {
    let Value::Array(all) = Value::deserialize(deserializer)? else { return Ok(Vec::new()) };
    Ok(all.into_iter().take(MOST).filter_map(|entry| serde_json::from_value(entry).ok()).collect())
}

#[cfg(test)]
mod tests;
