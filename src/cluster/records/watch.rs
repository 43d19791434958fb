//! Tells of the updates that have not ended, and of what is remembered by the names of workloads.
//!
//! Where the API server does not know the selector of phases (before Kubernetes 1.31), all are read, and what has ended is
//! dropped at once.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, PoisonError},
};

use kube::{Api, Client, runtime::watcher};

use super::{
    names,
    object::{Custom, Found},
    requests::PAGE,
    room::Room,
    state::ImageState,
    store::CustomResources,
    update::{ENDS, ImageUpdate},
};
use crate::{
    cluster::follow::{ChangeSender, Closed, Presence, Reading, Source, Without, follow},
    domain::workload::{Kind, WorkloadId},
    ports::ClusterChange,
};

/// Tells of updates.
pub(in crate::cluster) async fn updates(namespace: Option<String>, records: CustomResources, sender: ChangeSender) {
    let presence = records.presence.of(ImageUpdate::PLURAL, namespace.clone());
    let config = watcher::Config::default().page_size(PAGE);
    let unended: Vec<String> = ENDS.iter().map(|end| format!("status.phase!={end}")).collect();
    let source = Source {
        unselected: Some(config.clone()),
        presence: Some(&presence),
        ..source::<ImageUpdate>(&records.requests.client, namespace, config.fields(&unended.join(",")))
    };
    let (hashes, room) = (RandomState::new(), Mutex::new(Room::of_updates()));
    let room = || room.lock().unwrap_or_else(PoisonError::into_inner);
    let key = |found: &Found<ImageUpdate>| hashes.hash_one((found.namespace(), found.name()));
    let read = |found: Found<ImageUpdate>| {
        let key = key(&found);
        let reading = match &found.object {
            Ok(object) if object.is_over() => {
                room().leave(key);
                records.crowded.forget(found.namespace(), found.name());
                Reading::Dropped(None)
            }
            Ok(object) => match object.tracked().map(Box::new).and_then(|tracked| {
                let workload = &tracked.update.workload;
                is_named(&found, &names::update(workload, &tracked.update.id)).map(|()| tracked)
            }) {
                Ok(tracked) => match room().take(key, &tracked.update.workload, found.bytes) {
                    Ok(()) => {
                        records.crowded.note(&found, object.holds_more());
                        let change = ClusterChange::Record(tracked, object.metadata.version());
                        Reading::Told(hashes.hash_one(found.resource_version()), change)
                    }
                    Err(why) => {
                        let workload = tracked.update.workload.clone();
                        Reading::Dropped(why.map(|why| ClusterChange::RecordUndecodable(workload, why)))
                    }
                },
                Err(why) => {
                    room().leave(key);
                    let workload = object.spec.workload.id(found.namespace()).ok().map(|(workload, _)| workload);
                    undecodable(&hashes, &found, workload, &why)
                }
            },
            Err(why) => {
                room().leave(key);
                undecodable(&hashes, &found, None, why)
            }
        };
        (key, reading)
    };
    let gone = |key| {
        room().leave(key);
        None
    };
    let _: Result<(), Closed> = follow(source, read, key, gone, &sender).await;
}

/// Tells of what is remembered by the names of workloads. Without the store nothing is said where there is no right to it.
pub(in crate::cluster) async fn states(
    client: Client,
    namespace: Option<String>,
    records: Option<CustomResources>,
    sender: ChangeSender,
) {
    let presence = records.as_ref().map(|records| records.presence.of(ImageState::PLURAL, namespace.clone()));
    let config = watcher::Config::default().page_size(PAGE);
    let source = Source {
        presence: presence.as_ref().map(|presence| presence as &(dyn Presence + Sync)),
        without: Some(Without { note: "what was moved back is not known", change: None }).filter(|_| records.is_none()),
        ..source::<ImageState>(&client, namespace, config)
    };
    let (hashes, room) = (RandomState::new(), Mutex::new(Room::of_states()));
    let room = || room.lock().unwrap_or_else(PoisonError::into_inner);
    let key = |found: &Found<ImageState>| hashes.hash_one((found.namespace(), found.name()));
    let read = |found: Found<ImageState>| {
        let key = key(&found);
        let read = found.object.as_ref().map_err(Clone::clone).and_then(|object| object.state());
        let named = read.and_then(|state| match state {
            Some(state) => is_named(&found, &names::state(&state.workload)).map(|()| Some(state)),
            None => Ok(None),
        });
        let reading = match named {
            Ok(Some(state)) => match room().take(key, &state.workload, found.bytes) {
                Ok(()) => {
                    if let (Some(records), Ok(object)) = (&records, &found.object) {
                        records.crowded.note(&found, object.holds_more());
                    }
                    let hash = hashes.hash_one(found.resource_version());
                    let version = crate::ports::Version(found.resource_version().into());
                    Reading::Told(hash, ClusterChange::State(state, version))
                }
                Err(why) => {
                    Reading::Dropped(why.map(|why| ClusterChange::RecordUndecodable(state.workload.clone(), why)))
                }
            },
            Ok(None) => {
                room().leave(key);
                Reading::Dropped(None)
            }
            Err(why) => {
                room().leave(key);
                undecodable(&hashes, &found, None, &why)
            }
        };
        (key, reading)
    };
    let gone = |key| {
        room().leave(key);
        None
    };
    let _: Result<(), Closed> = follow(source, read, key, gone, &sender).await;
}

fn source<T: Custom>(client: &Client, namespace: Option<String>, config: watcher::Config) -> Source<'_, Found<T>> {
    let (api, what) = match &namespace {
        Some(namespace) => {
            (Api::namespaced(client.clone(), namespace), format!("{} in namespace {namespace}", T::PLURAL))
        }
        None => (Api::all(client.clone()), T::PLURAL.to_owned()),
    };
    Source::new(api, config, what)
}

/// Whoever else made it, we would not find it again.
fn is_named<T: Custom>(found: &Found<T>, name: &str) -> Result<(), String> {
    match found.name() == name {
        true => Ok(()),
        false => Err(format!("what it tells of would have the name {name}")),
    }
}

/// It is left alone; said of its workload, or of itself where that is not known.
fn undecodable<T: Custom>(hashes: &RandomState, found: &Found<T>, workload: Option<WorkloadId>, why: &str) -> Reading {
    let itself = || WorkloadId {
        kind: Kind(T::KIND.into()),
        namespace: Arc::from(found.namespace()),
        name: Arc::from(found.name()),
    };
    let why = format!("the {} {}: {why}", T::KIND, found.name());
    let hash = hashes.hash_one(&why);
    Reading::Told(hash, ClusterChange::RecordUndecodable(workload.unwrap_or_else(itself), why))
}
