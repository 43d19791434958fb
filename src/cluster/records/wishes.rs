//! A wish as a person makes it: the spec of an `ImageState`, which the API server judges, and what came of it.

use kube::api::{GetParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::{
    ballot::Voter,
    names,
    object::{Custom, Found, GROUP, VERSION, WorkloadRef},
    requests::collection,
    state::ImageState,
    store::MANAGED_BY,
};
use crate::{
    cluster::sink::Objects,
    domain::workload::WorkloadId,
    ports::{ClusterError, Workloads},
};

/// Who writes wishes, in managedFields: each is whole, whoever made the one before.
const FIELD_MANAGER: &str = "supercargo-wish";

/// A wish that was made.
#[derive(Debug, Clone)]
pub struct Made {
    uid: String,
    generation: i64,
}

impl Voter {
    /// Makes a wish, of which the rest is given; the API server says no where that person may not.
    pub async fn wish(&self, workload: &WorkloadId, mut spec: Value) -> Result<Made, ClusterError> {
        let state = match self.found(workload).await? {
            Some(found) => found,
            None => self.create_state(workload).await?,
        };
        let WorkloadRef { api_version, kind, name, .. } = WorkloadRef::new(workload, "");
        spec["uid"] = json!(decoded(&state)?.metadata.uid);
        spec["workload"] = json!({"apiVersion": api_version, "kind": kind, "name": name});
        let of = collection::<ImageState>(&workload.namespace).map_err(ClusterError)?;
        let name = names::state(workload);
        let object = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"), "kind": ImageState::KIND, "metadata": {"name": name}, "spec": spec,
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let request = of.patch(&name, &params, &Patch::Apply(object));
        let request = request.map_err(|error| ClusterError(error.to_string()))?;
        let made: Found<ImageState> = self.in_time(self.client.request(request)).await?;
        let metadata = &decoded(&made)?.metadata;
        Ok(Made { uid: metadata.uid.clone(), generation: metadata.generation })
    }

    /// Whether a wish is carried out, or refused, and what is said of that; `None` where nothing has come of it yet.
    pub async fn answer(&self, workload: &WorkloadId, made: &Made) -> Result<Option<(bool, String)>, ClusterError> {
        let Some(found) = self.found(workload).await? else {
            return Err(ClusterError("the object of the wish is gone".to_owned()));
        };
        let state = decoded(&found)?;
        Ok(state.answer().filter(|_| state.metadata.uid == made.uid).and_then(|answer| answer.of(made.generation)))
    }

    async fn found(&self, workload: &WorkloadId) -> Result<Option<Found<ImageState>>, ClusterError> {
        let of = collection::<ImageState>(&workload.namespace).map_err(ClusterError)?;
        let request = of.get(&names::state(workload), &GetParams::default());
        let request = request.map_err(|error| ClusterError(error.to_string()))?;
        self.in_time(async {
            match self.client.request::<Found<ImageState>>(request).await {
                Ok(found) => Ok(Some(found)),
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
                Err(error) => Err(error),
            }
        })
        .await
    }

    /// One of which nothing is known yet. No workload owns it: what is remembered outlives that.
    async fn create_state(&self, workload: &WorkloadId) -> Result<Found<ImageState>, ClusterError> {
        if !workload.is_all() {
            let objects = Objects::new(self.client.clone(), self.clock.clone());
            objects.get(workload).await?.ok_or_else(|| ClusterError(format!("there is no {workload}")))?;
        }
        let object = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": ImageState::KIND,
            "metadata": {
                "name": names::state(workload), "namespace": workload.namespace, "labels": {MANAGED_BY: "supercargo"},
            },
        });
        let of = collection::<ImageState>(&workload.namespace).map_err(ClusterError)?;
        let request = of.create(&PostParams::default(), object.to_string().into_bytes());
        let request = request.map_err(|error| ClusterError(error.to_string()))?;
        self.in_time(self.client.request(request)).await
    }
}

fn decoded(found: &Found<ImageState>) -> Result<&ImageState, ClusterError> {
    found
        .object
        .as_deref()
        .map_err(|why| ClusterError(format!("the ImageState {} does not decode: {why}", found.name())))
}
