//! Tells of what is remembered of repositories. The objects are dropped once they are told.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::{FutureExt, future::BoxFuture};
use kube::{Api, runtime::watcher};

use super::{ImageHistory, no_histories, read};
use crate::{
    cluster::{
        follow::{self, ChangeSender, Closed, Reading, Source, follow, is, words},
        records::{
            object::{Custom, Found},
            requests::PAGE,
            store::CustomResources,
        },
    },
    domain::image::Repository,
    ports::ClusterChange,
};

/// Of as many repositories is told.
const MOST: usize = 10_000;

/// Tells of all in the operator's own namespace, and whether there can be any.
pub(in crate::cluster) async fn histories(records: CustomResources, sender: ChangeSender) {
    let client = records.requests.client.clone();
    let namespace = client.default_namespace().to_owned();
    let presence = HistoriesStatus { namespace: namespace.clone(), told: Mutex::default() };
    let what = format!("{} in namespace {namespace}", ImageHistory::PLURAL);
    let config = watcher::Config::default().page_size(PAGE);
    let source = Source { presence: Some(&presence), ..Source::new(Api::namespaced(client, &namespace), config, what) };
    let told = Told::default();
    let read = |found| told.reading(&found);
    let _: Result<(), Closed> = follow(source, read, |found| told.key(found), |key| told.gone(key), &sender).await;
}

/// What was told of.
#[derive(Default)]
struct Told {
    hashes: RandomState,
    /// By the hash of the object's name.
    repositories: Mutex<HashMap<u64, Repository>>,
    /// Whether it was said that there are too many.
    is_said: AtomicBool,
}

impl Told {
    fn repositories(&self) -> MutexGuard<'_, HashMap<u64, Repository>> {
        self.repositories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(&self, found: &Found<ImageHistory>) -> u64 {
        self.hashes.hash_one(found.name())
    }

    /// Of which repository nothing is known any more.
    fn gone(&self, key: u64) -> Option<ClusterChange> {
        self.repositories().remove(&key).map(ClusterChange::HistoryGone)
    }

    fn reading(&self, found: &Found<ImageHistory>) -> (u64, Reading) {
        let key = self.key(found);
        let reading = match read(found) {
            Ok((repository, there)) if self.take(key, &repository) => {
                let hash = self.hashes.hash_one(found.resource_version());
                Reading::Told(hash, ClusterChange::History(repository, there.sightings))
            }
            Ok(_) => Reading::Dropped(None),
            Err(why) => {
                let (name, namespace) = (found.name(), found.namespace());
                tracing::warn!(name, namespace, why, "an ImageHistory is left alone");
                Reading::Dropped(self.gone(key))
            }
        };
        (key, reading)
    }

    /// Whether there is room for one more.
    fn take(&self, key: u64, repository: &Repository) -> bool {
        let mut repositories = self.repositories();
        if repositories.len() >= MOST && !repositories.contains_key(&key) {
            if !self.is_said.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    most = MOST,
                    "there are more ImageHistories than are read: delete those of repositories that no `min-age` asks about"
                );
            }
            return false;
        }
        repositories.insert(key, repository.clone());
        true
    }
}

/// Whether what is seen is remembered, as it was told last.
struct HistoriesStatus {
    namespace: String,
    told: Mutex<Option<Result<(), Arc<str>>>>,
}

impl HistoriesStatus {
    fn tell(&self, kept: Result<(), Arc<str>>) -> Option<ClusterChange> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.as_ref() == Some(&kept) {
            return None;
        }
        *told = Some(kept.clone());
        Some(ClusterChange::HistoriesKept(kept))
    }
}

impl follow::Presence for HistoriesStatus {
    fn is_there(&self) -> Option<ClusterChange> {
        self.tell(Ok(()))
    }

    fn is_absent(&self, error: &watcher::Error) -> Option<ClusterChange> {
        let (plural, namespace) = (ImageHistory::PLURAL, &self.namespace);
        let said = words(error);
        let why = match is(error, 403) {
            true => format!(
                "there is no right to {plural} in the namespace {namespace}, where they are kept: {said}; an administrator \
                 gives the rights of deploy/base there"
            )
            .into(),
            false => no_histories(),
        };
        let change = self.tell(Err(why));
        if change.is_some() {
            tracing::warn!(
                namespace,
                error = said,
                "when tags were first seen is not remembered; asked again every minute"
            );
        }
        change
    }

    /// Nothing waits for it: what is not known counts from now.
    fn is_kept_from_us(&self) -> BoxFuture<'_, bool> {
        std::future::ready(false).boxed()
    }
}
