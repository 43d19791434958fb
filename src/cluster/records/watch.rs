//! Tells of the updates that have not ended, and of what is remembered by the names of workloads.
//!
//! Where the API server does not know the selector of phases (before Kubernetes 1.31), all are read, and what has ended is
//! dropped at once.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kube::{Api, Client, runtime::watcher};

use super::{
    crowded::Crowded,
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
    ports::{ClusterChange, Notify, ObjectName, UpdateName},
};

/// Tells of updates.
pub(in crate::cluster) async fn updates(
    client: Client,
    namespace: Option<String>,
    records: Option<CustomResources>,
    sender: ChangeSender,
) {
    let unended: Vec<String> = ENDS.iter().map(|end| format!("status.phase!={end}")).collect();
    let config = watcher::Config::default().page_size(PAGE);
    let kept = RecordWatch {
        configs: (config.clone().fields(&unended.join(",")), Some(config)),
        is_beside: false,
        without: Without { note: "which updates are under way is not known", change: None },
        room: Room::of_updates(),
        read: update,
        whose: |_| None,
    };
    tell::<ImageUpdate>(client, namespace, records, sender, kept).await;
}

/// Tells of what is remembered by the names of workloads, or only of the one of that name.
pub(in crate::cluster) async fn states(
    client: Client,
    namespace: Option<String>,
    only: Option<&str>,
    records: Option<CustomResources>,
    sender: ChangeSender,
) {
    let config = watcher::Config::default().page_size(PAGE);
    let (config, without) = match only {
        Some(name) => (config.fields(&format!("metadata.name={name}")), None),
        None => (config, Some(ClusterChange::StatesUnread)),
    };
    let kept = RecordWatch {
        configs: (config, None),
        is_beside: only.is_some(),
        without: Without { note: "what is held is not known", change: without },
        room: Room::of_states(),
        read: state,
        whose: |found| names::workload(found.namespace(), found.name()),
    };
    tell::<ImageState>(client, namespace, records, sender, kept).await;
}

/// What is kept as objects of one kind.
struct RecordWatch<T> {
    /// What is asked for, and what where the server does not know that selector.
    configs: (watcher::Config, Option<watcher::Config>),
    without: Without,
    /// Whether all goes on without it.
    is_beside: bool,
    room: Room,
    read: fn(&Found<T>) -> Result<Option<Tells>, Unread>,
    /// Whose hold an object may be, whatever stands in it.
    whose: fn(&Found<T>) -> Option<WorkloadId>,
}

/// Tells of all objects of a kind. Without the store nothing is said where there is no right to them.
async fn tell<T: Custom>(
    client: Client,
    namespace: Option<String>,
    records: Option<CustomResources>,
    sender: ChangeSender,
    kept: RecordWatch<T>,
) {
    let needed = records.as_ref().filter(|_| !kept.is_beside);
    let presence = needed.map(|records| records.presence.of(T::PLURAL, namespace.clone(), &records.requests.client));
    let (config, unselected) = kept.configs;
    let source = Source {
        unselected,
        presence: presence.as_ref().map(|presence| presence as &(dyn Presence + Sync)),
        without: needed.is_none().then_some(kept.without),
        ..source::<T>(&client, namespace, config)
    };
    let crowded = records.as_ref().map(|records| records.crowded.clone()).unwrap_or_default();
    let asked =
        AskedUpdates { notify: records.as_ref().and_then(|records| records.notify.clone()), names: Mutex::default() };
    let told = Told::new(kept.room, crowded, asked);
    let read = |found: Found<T>| told.reading(&found, (kept.read)(&found), (kept.whose)(&found));
    let _: Result<(), Closed> = follow(source, read, |found| told.key(found), |key| told.gone(key), &sender).await;
}

fn source<T: Custom>(client: &Client, namespace: Option<String>, config: watcher::Config) -> Source<'_, Found<T>> {
    let client = client.clone();
    let (api, what) = match namespace {
        Some(namespace) => (Api::namespaced(client, &namespace), format!("{} in namespace {namespace}", T::PLURAL)),
        None => (Api::all(client), T::PLURAL.to_owned()),
    };
    Source::new(api, config, what)
}

/// What an object tells.
struct Tells {
    workload: WorkloadId,
    /// Whether its status holds what is not ours.
    holds_more: bool,
    change: ClusterChange,
}

/// Why an object tells nothing, and of which workload.
type Unread = (Option<WorkloadId>, String);

/// What an update tells that has not ended.
fn update(found: &Found<ImageUpdate>) -> Result<Option<Tells>, Unread> {
    let object = found.object.as_ref().map_err(|why| (None, why.clone()))?;
    if object.is_over() {
        return Ok(None);
    }
    let workload = object.spec.workload.id(found.namespace()).map_err(|why| (None, why))?.0;
    let unread = |why| (Some(workload.clone()), why);
    let tracked = object.tracked().map_err(unread)?;
    is_named(found, &names::update(&workload, &tracked.update.id)).map_err(unread)?;
    let name = ObjectName { name: found.name().into(), uid: object.metadata.uid.as_str().into() };
    let name = tracked.approval.as_ref().map(|_| name);
    let change = ClusterChange::Record(Box::new(tracked), object.metadata.version(), name);
    Ok(Some(Tells { workload, holds_more: object.holds_more(), change }))
}

/// What a state tells of which something was said.
fn state(found: &Found<ImageState>) -> Result<Option<Tells>, Unread> {
    let unread = |why| (None, why);
    let object = found.object.as_ref().map_err(|why| unread(why.clone()))?;
    let wish = object.wish();
    if let (Err(why), Some(_)) = (&wish, &object.status) {
        // What is remembered counts all the same.
        tracing::warn!(
            name = found.name(),
            namespace = found.namespace(),
            why,
            "the wish in this ImageState does not decode"
        );
    }
    let wish = if object.status.is_some() { wish.ok().flatten() } else { wish.map_err(unread)? }.map(Box::new);
    let named = || object.named().map_err(unread).transpose();
    let state =
        object.state().map_err(unread).transpose().or_else(|| wish.as_ref().and_then(|_| named())).transpose()?;
    let Some(state) = state else { return Ok(None) };
    is_named(found, &names::state(&state.workload)).map_err(unread)?;
    let workload = state.workload.clone();
    let change = ClusterChange::State(state, object.metadata.version(), wish);
    Ok(Some(Tells { workload, holds_more: object.holds_more(), change }))
}

/// By another name we would not find it again.
fn is_named<T: Custom>(found: &Found<T>, name: &str) -> Result<(), String> {
    if found.name() == name { Ok(()) } else { Err(format!("what it tells of would have the name {name}")) }
}

/// What one watch has told of.
struct Told {
    hashes: RandomState,
    room: Mutex<Room>,
    crowded: Arc<Crowded>,
    asked: AskedUpdates,
    /// States that do not decode.
    undecodable: Mutex<HashMap<u64, WorkloadId>>,
}

/// Updates that people are asked about, for those who tell them.
struct AskedUpdates {
    notify: Option<Arc<dyn Notify>>,
    names: Mutex<HashMap<u64, UpdateName>>,
}

impl AskedUpdates {
    /// One is as it was found now, or gone from those that have not ended; then how it ended is told too.
    fn see(&self, key: u64, name: Option<UpdateName>) {
        let Some(notify) = &self.notify else { return };
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = match name {
            Some(name) => {
                names.insert(key, name.clone());
                Some(name)
            }
            None => names.remove(&key),
        };
        drop(names);
        changed.into_iter().for_each(|name| notify.changed(name));
    }
}

impl Told {
    fn new(room: Room, crowded: Arc<Crowded>, asked: AskedUpdates) -> Self {
        Self { hashes: RandomState::new(), room: Mutex::new(room), crowded, asked, undecodable: Mutex::default() }
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key<T: Custom>(&self, found: &Found<T>) -> u64 {
        self.crowded.key::<T>(found.namespace(), found.name())
    }

    fn gone(&self, key: u64) -> Option<ClusterChange> {
        self.room().leave(key);
        self.crowded.note(key, false);
        self.asked.see(key, None);
        self.decodes(key)
    }

    /// What is told of an object that does not decode no more, as it does now or is gone.
    fn decodes(&self, key: u64) -> Option<ClusterChange> {
        let workload = self.undecodable.lock().unwrap_or_else(PoisonError::into_inner).remove(&key)?;
        Some(ClusterChange::StateUndecodable(workload, None))
    }

    fn reading<T: Custom>(
        &self,
        found: &Found<T>,
        read: Result<Option<Tells>, Unread>,
        whose: Option<WorkloadId>,
    ) -> (u64, Reading) {
        let key = self.key(found);
        let taken = match &read {
            Ok(Some(tells)) => self.room().take(key, &tells.workload, found.bytes),
            Ok(None) | Err(_) => {
                self.room().leave(key);
                Err(None)
            }
        };
        let holds_more = matches!(&read, Ok(Some(tells)) if tells.holds_more && taken.is_ok());
        self.crowded.note(key, holds_more);
        let is_asked = matches!(&read, Ok(Some(Tells { change: ClusterChange::Record(_, _, Some(_)), .. })));
        let name = || UpdateName { namespace: found.namespace().into(), name: found.name().into() };
        self.asked.see(key, (is_asked && taken.is_ok()).then(name));
        let reading = match (read, taken) {
            (Ok(Some(tells)), Ok(())) => {
                // What it tells says that it decodes.
                self.decodes(key);
                Reading::Told(self.hashes.hash_one(found.resource_version()), tells.change)
            }
            (Ok(Some(tells)), Err(full)) => {
                let full = || full.map(|why| ClusterChange::RecordUndecodable(tells.workload, why));
                Reading::Dropped(self.decodes(key).or_else(full))
            }
            (Ok(None), _) => Reading::Dropped(self.decodes(key)),
            (Err((workload, why)), _) => {
                let why = format!("the {} {}: {why}", T::KIND, found.name());
                let hash = self.hashes.hash_one(&why);
                let change = match whose {
                    Some(whose) => {
                        let mut all = self.undecodable.lock().unwrap_or_else(PoisonError::into_inner);
                        all.insert(key, whose.clone());
                        ClusterChange::StateUndecodable(whose, Some(why.into()))
                    }
                    None => ClusterChange::RecordUndecodable(workload.unwrap_or_else(|| itself(found)), why),
                };
                Reading::Told(hash, change)
            }
        };
        (key, reading)
    }
}

/// Of whom is told what no workload is known of.
fn itself<T: Custom>(found: &Found<T>) -> WorkloadId {
    let (namespace, name) = (Arc::from(found.namespace()), Arc::from(found.name()));
    WorkloadId { kind: Kind(T::KIND.into()), namespace, name }
}
