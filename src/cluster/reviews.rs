//! An `ImageUpdateReview`: somebody's vote, as it stands in the API server, and the watch of all of them.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use jiff::Timestamp;
use kube::{Api, Client, runtime::watcher};
use serde::Deserialize;

use super::{
    follow::{ChangeSender, Closed, Reading, Source, Without, follow, may_be_read},
    policies::Installed,
    records::object::{Custom, Found, Metadata, exact, told},
};
use crate::{
    domain::votes::{Review, Verb, Vote},
    ports::ClusterChange,
};

/// How many are read at once.
const PAGE: u32 = 500;

/// The object.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct ImageUpdateReview {
    #[serde(default)]
    metadata: Metadata,
    spec: Spec,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    verb: Verb,
    update: UpdateRef,
    target: String,
    approver: String,
    #[serde(default)]
    on_behalf_of: Option<String>,
    #[serde(default, rename = "override")]
    overrides: Option<String>,
    #[serde(default)]
    reason: String,
}

#[derive(Debug, Clone, Deserialize)]
struct UpdateRef {
    name: String,
    uid: String,
}

impl Custom for ImageUpdateReview {
    const KIND: &str = "ImageUpdateReview";
    const PLURAL: &str = "imageupdatereviews";
}

impl ImageUpdateReview {
    fn review(&self) -> Result<Review, String> {
        let Self { metadata, spec } = self;
        let vote = Vote {
            verb: spec.verb,
            by: exact(&spec.approver, "spec.approver")?,
            on_behalf_of: spec.on_behalf_of.as_deref().map(|who| exact(who, "spec.onBehalfOf")).transpose()?,
            overrides: spec.overrides.as_deref() == Some("window"),
            reason: told(&spec.reason).into(),
            // Without a time it is older than any other.
            at: metadata.creation_timestamp.unwrap_or(Timestamp::UNIX_EPOCH),
        };
        Ok(Review {
            namespace: metadata.namespace.as_str().into(),
            name: exact(&metadata.name, "metadata.name")?,
            update: exact(&spec.update.name, "spec.update.name")?,
            uid: exact(&spec.update.uid, "spec.update.uid")?,
            target: exact(&spec.target, "spec.target")?,
            vote,
            is_mapped: false,
        })
    }
}

/// Tells of votes. Without a right to read them nothing is approved, which is said, until there is one.
pub(super) async fn watch(client: Client, namespace: Option<String>, installed: Arc<Installed>, sender: ChangeSender) {
    let (api, what) = match &namespace {
        Some(name) => (Api::namespaced(client, name), format!("{} in namespace {name}", ImageUpdateReview::PLURAL)),
        None => (Api::all(client), ImageUpdateReview::PLURAL.to_owned()),
    };
    let mut sender = sender;
    while tell(&api, &what, &sender).await.is_ok() {
        // Nobody listens any more: the next watch ends at once, too.
        _ = sender.send(installed.can_read(Err(NO_RIGHT))).await;
        may_be_read(&api, &sender).await;
        _ = sender.send(installed.can_read(Ok(()))).await;
        sender = sender.again();
    }
}

async fn tell(api: &Api<Found<ImageUpdateReview>>, what: &str, sender: &ChangeSender) -> Result<(), Closed> {
    let hashes = RandomState::new();
    let number = |found: &Found<ImageUpdateReview>| hashes.hash_one((found.namespace(), found.name()));
    let read = |found: Found<ImageUpdateReview>| {
        let key = number(&found);
        let review = found.object.as_ref().map_err(String::clone).and_then(|object| object.review());
        match review {
            // It stays as it was made, but another may be made under its name.
            Ok(review) => {
                let uid = found.object.as_ref().map(|object| hashes.hash_one(&object.metadata.uid)).unwrap_or_default();
                (key, Reading::Told(uid, ClusterChange::Review(key, Box::new(review))))
            }
            Err(why) => {
                tracing::debug!(namespace = found.namespace(), name = found.name(), why, "a vote that cannot be read");
                (key, Reading::Dropped(None))
            }
        }
    };
    let without = Without { note: "nothing is approved", change: None };
    let config = watcher::Config::default().page_size(PAGE);
    let source = Source { without: Some(without), ..Source::new(api.clone(), config, what.to_owned()) };
    follow(source, read, number, |key| Some(ClusterChange::ReviewGone(key)), sender).await
}

const NO_RIGHT: &str = "supercargo has no right to read votes (imageupdatereviews), so nothing is approved: an \
                        administrator applies deploy/approvals";
