//! The port: an update is an object of its own, what is remembered by a workload's name another.
//!
//! Nothing is read before it is written: the API server compares the version. An object is created without a status, as
//! the API server has it, and then its status is written; where the process ends between the two, or the second fails,
//! the next one that writes it finds an object of ours of which nothing was said.

use std::sync::Arc;

use futures::future::BoxFuture;
use kube::{Client, api::Preconditions};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    clear::Clearing,
    crowded::Crowded,
    names,
    object::{Custom, Found},
    presence::Presence,
    requests::{Failure, Requests},
    state::{self, ImageState},
    update::{self, ImageUpdate},
};
use crate::{
    domain::{
        update::{Tracked, UpdateId, WorkloadState},
        workload::WorkloadId,
    },
    ports::{Clock, Notify, PutError, RecordError, Records, Version},
};

/// Who keeps what we made.
pub(super) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Whose updates they are: [`names::label`].
pub(super) const WORKLOAD: &str = "supercargo.dev/workload";
/// As many lines of its story an update has whose status is too large.
const SHORT_LOG: usize = 5;

/// Records as custom resources, in the namespaces of their workloads.
#[derive(Clone)]
pub struct CustomResources {
    pub(super) requests: Requests,
    pub(super) presence: Arc<Presence>,
    /// Where the cluster does not have the kinds.
    instead: Arc<dyn Records>,
    clearing: Arc<Clearing>,
    pub(super) crowded: Arc<Crowded>,
    /// Who is told of updates that people are asked about.
    pub(super) notify: Option<Arc<dyn Notify>>,
}

impl std::fmt::Debug for CustomResources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CustomResources")
    }
}

impl CustomResources {
    /// Makes no request yet. `instead` serves where the watch finds that the cluster does not have the kinds.
    pub fn new(client: Client, clock: Arc<dyn Clock>, instead: Arc<dyn Records>) -> Self {
        let requests = Requests { client, clock };
        let clearing = Arc::new(Clearing::new(requests.clone()));
        Self { requests, presence: Arc::default(), instead, clearing, crowded: Arc::default(), notify: None }
    }

    /// Tells these, too, of updates that people are asked about.
    #[must_use]
    pub fn telling(self, notify: Arc<dyn Notify>) -> Self {
        Self { notify: Some(notify), ..self }
    }

    fn instead<T: Custom>(&self, workload: &WorkloadId) -> Option<&dyn Records> {
        self.presence.is_absent(T::PLURAL, &workload.namespace).then_some(&*self.instead)
    }

    pub(super) fn note<T: Custom>(&self, found: &Found<T>, holds_more: bool) {
        self.crowded.note(self.crowded.key::<T>(found.namespace(), found.name()), holds_more);
    }

    async fn put(&self, tracked: &Tracked, seen: Option<&Version>) -> Result<Version, PutError> {
        let workload = &tracked.update.workload;
        let name = names::update(workload, &tracked.update.id);
        let seen = match seen {
            Some(seen) => seen.clone(),
            None => match self.create(tracked, &name).await {
                Ok(version) => version,
                Err(Failure::Taken) => self.unsaid(tracked, &name).await?.ok_or(PutError::Conflict)?,
                // All in it is gone, and so is this.
                Err(Failure::NamespaceGone) => return Ok(Version("".into())),
                Err(failure) => return Err(failure.into()),
            },
        };
        let status = update::Status::new(tracked);
        let over = |status: update::Status, found: &ImageUpdate| match &found.status {
            Some(there) => status.over(there),
            None => status,
        };
        let status = self.beside(workload, &name, &seen, status, over).await?;
        let written = self.requests.put_status::<ImageUpdate>(&workload.namespace, &name, &seen, &value(&status)).await;
        let written = match written {
            Err(Failure::TooLarge(why)) => {
                tracing::debug!(%workload, name, why, "of the story of an update only the end is recorded");
                let status = value(&status.with_log_of(SHORT_LOG));
                self.requests.put_status::<ImageUpdate>(&workload.namespace, &name, &seen, &status).await
            }
            written => written,
        };
        let version = written?;
        if tracked.phase.is_over() {
            self.crowded.note(self.crowded.key::<ImageUpdate>(&workload.namespace, &name), false);
            self.clearing.clear(workload.clone());
        }
        Ok(version)
    }

    async fn create(&self, tracked: &Tracked, name: &str) -> Result<Version, Failure> {
        let update = &tracked.update;
        let workload = &update.workload;
        let spec = update::Spec::new(update);
        let mut metadata = json!({
            "name": name,
            "namespace": workload.namespace,
            "labels": {MANAGED_BY: "supercargo", WORKLOAD: names::label(workload)},
        });
        if !update.uid.is_empty() {
            metadata["ownerReferences"] = json!([{
                "apiVersion": spec.workload.api_version,
                "kind": spec.workload.kind,
                "name": spec.workload.name,
                "uid": spec.workload.uid,
                "controller": false,
            }]);
        }
        self.requests.create::<ImageUpdate>(&workload.namespace, metadata, value(&spec)).await
    }

    /// The version of what has that name already, if it is this update and nothing was said of it yet.
    async fn unsaid(&self, tracked: &Tracked, name: &str) -> Result<Option<Version>, RecordError> {
        let update = &tracked.update;
        let found = self.requests.get::<ImageUpdate>(&update.workload.namespace, name).await?;
        let Some(Found { object: Ok(found), .. }) = found else { return Ok(None) };
        let is_it = found.begun().is_none()
            && found.tracked().is_ok_and(|there| {
                let there = there.update;
                (&there.id, &there.workload, &there.uid) == (&update.id, &update.workload, &update.uid)
            });
        Ok(is_it.then(|| found.metadata.version()))
    }

    /// The status as it is to be written, where more stands there than is ours.
    async fn beside<T: Custom, S>(
        &self,
        workload: &WorkloadId,
        name: &str,
        seen: &Version,
        status: S,
        over: impl FnOnce(S, &T) -> S,
    ) -> Result<S, PutError> {
        if !self.crowded.has(self.crowded.key::<T>(&workload.namespace, name)) {
            return Ok(status);
        }
        match self.requests.get::<T>(&workload.namespace, name).await? {
            Some(found) if found.resource_version() == &*seen.0 => match &found.object {
                Ok(found) => Ok(over(status, found)),
                Err(why) => Err(PutError::Refused(format!("{name} does not decode: {why}"))),
            },
            _ => Err(PutError::Conflict),
        }
    }

    async fn get(&self, workload: &WorkloadId, id: &UpdateId) -> Result<Option<(Tracked, Version)>, RecordError> {
        let found = self.requests.get::<ImageUpdate>(&workload.namespace, &names::update(workload, id)).await?;
        let Some(found) = found else { return Ok(None) };
        let read = read(&found).filter(|(found, _)| found.update.id == *id && found.update.workload == *workload);
        if let (Some(_), Ok(object)) = (&read, &found.object) {
            self.note(&found, object.holds_more());
        }
        Ok(read)
    }

    async fn of(&self, workload: &WorkloadId) -> Result<Vec<(Tracked, Version)>, RecordError> {
        let label = format!("{WORKLOAD}={}", names::label(workload));
        let mut all = Vec::new();
        let each = |found: Found<ImageUpdate>| {
            if let (Some((tracked, version)), Ok(object)) = (read(&found), &found.object)
                && tracked.update.workload == *workload
            {
                all.push((object.age(), tracked, version));
            }
        };
        self.requests.each(&workload.namespace, &label, each).await?;
        all.sort_by(|(one, ..), (other, ..)| other.cmp(one));
        Ok(all.into_iter().map(|(_, tracked, version)| (tracked, version)).collect())
    }

    async fn state(&self, workload: &WorkloadId) -> Result<Option<(WorkloadState, Version)>, RecordError> {
        let found = self.requests.get::<ImageState>(&workload.namespace, &names::state(workload)).await?;
        let Some(found) = found else { return Ok(None) };
        let undecodable = |why| RecordError(format!("{} does not decode: {why}", found.name()));
        let object = found.object.as_ref().map_err(|why| undecodable(why.clone()))?;
        let read = object.state().map_err(undecodable)?;
        // Of what is another workload's nothing is read; the name is ours.
        let nothing = || WorkloadState::new(workload.clone(), "".into());
        let read = read.filter(|read| read.workload == *workload);
        self.note(&found, object.holds_more());
        Ok(Some((read.unwrap_or_else(nothing), Version(found.resource_version().into()))))
    }

    async fn put_state(&self, state: &WorkloadState, seen: Option<&Version>) -> Result<Version, PutError> {
        let (workload, name) = (&state.workload, names::state(&state.workload));
        let namespace = &workload.namespace;
        if state.is_empty() {
            return self.delete_state(namespace, &name, seen).await;
        }
        let seen = match seen {
            Some(seen) => seen.clone(),
            None => {
                let metadata = json!({
                    "name": name, "namespace": namespace, "labels": {MANAGED_BY: "supercargo"},
                });
                match self.requests.create::<ImageState>(namespace, metadata, json!({})).await {
                    Ok(version) => version,
                    Err(Failure::NamespaceGone) => return Ok(Version("".into())),
                    Err(failure) => return Err(failure.into()),
                }
            }
        };
        let over = |status: state::Status, found: &ImageState| match &found.status {
            Some(there) => status.over(there),
            None => status,
        };
        let status = self.beside(workload, &name, &seen, state::Status::new(state), over).await?;
        Ok(self.requests.put_status::<ImageState>(namespace, &name, &seen, &value(&status)).await?)
    }

    /// There is nothing to remember: no object says so.
    async fn delete_state(&self, namespace: &str, name: &str, seen: Option<&Version>) -> Result<Version, PutError> {
        let Some(seen) = seen else {
            let found = self.requests.get::<ImageState>(namespace, name).await?;
            return if found.is_some() { Err(PutError::Conflict) } else { Ok(Version("".into())) };
        };
        let preconditions = Preconditions { resource_version: Some(seen.0.to_string()), uid: None };
        match self.requests.delete::<ImageState>(namespace, name, preconditions).await {
            Ok(()) | Err(Failure::NamespaceGone) => {
                self.crowded.note(self.crowded.key::<ImageState>(namespace, name), false);
                Ok(Version("".into()))
            }
            Err(failure) => Err(failure.into()),
        }
    }
}

impl Records for CustomResources {
    fn is_in_memory(&self, workload: &WorkloadId) -> bool {
        self.instead::<ImageState>(workload).is_some()
    }

    fn put<'a>(&'a self, update: &'a Tracked, seen: Option<&'a Version>) -> BoxFuture<'a, Result<Version, PutError>> {
        match self.instead::<ImageUpdate>(&update.update.workload) {
            Some(instead) => instead.put(update, seen),
            None => Box::pin(self.put(update, seen)),
        }
    }

    fn get<'a>(
        &'a self,
        workload: &'a WorkloadId,
        id: &'a UpdateId,
    ) -> BoxFuture<'a, Result<Option<(Tracked, Version)>, RecordError>> {
        match self.instead::<ImageUpdate>(workload) {
            Some(instead) => instead.get(workload, id),
            None => Box::pin(self.get(workload, id)),
        }
    }

    fn of<'a>(&'a self, workload: &'a WorkloadId) -> BoxFuture<'a, Result<Vec<(Tracked, Version)>, RecordError>> {
        match self.instead::<ImageUpdate>(workload) {
            Some(instead) => instead.of(workload),
            None => Box::pin(self.of(workload)),
        }
    }

    fn state<'a>(
        &'a self,
        workload: &'a WorkloadId,
    ) -> BoxFuture<'a, Result<Option<(WorkloadState, Version)>, RecordError>> {
        match self.instead::<ImageState>(workload) {
            Some(instead) => instead.state(workload),
            None => Box::pin(self.state(workload)),
        }
    }

    fn put_state<'a>(
        &'a self,
        state: &'a WorkloadState,
        seen: Option<&'a Version>,
    ) -> BoxFuture<'a, Result<Version, PutError>> {
        match self.instead::<ImageState>(&state.workload) {
            Some(instead) => instead.put_state(state, seen),
            None => Box::pin(self.put_state(state, seen)),
        }
    }

    /// In the cluster the garbage collector does: its workload owns an update.
    fn forget<'a>(&'a self, workload: &'a WorkloadId) -> BoxFuture<'a, Result<(), RecordError>> {
        self.instead.forget(workload)
    }
}

/// The update that it is, if it is one of ours.
fn read(found: &Found<ImageUpdate>) -> Option<(Tracked, Version)> {
    let object = found.object.as_ref().ok()?;
    let tracked = object.tracked().ok()?;
    let is_ours = found.name() == names::update(&tracked.update.workload, &tracked.update.id);
    is_ours.then(|| (tracked, object.metadata.version()))
}

fn value(of: &impl Serialize) -> Value {
    serde_json::to_value(of).unwrap_or_default()
}
