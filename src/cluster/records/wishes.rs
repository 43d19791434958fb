//! A wish as a person makes it: the spec of an `ImageState`, which the API server judges, and what came of it.

use http::Request;
use kube::api::{GetParams, Patch, PatchParams, PostParams};
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::{
    ballot::Voter,
    names,
    object::{Custom, Found, GROUP, VERSION, WorkloadRef},
    requests::{Failure, Requests, collection},
    state::ImageState,
    store::MANAGED_BY,
};
use crate::{
    cluster::sink::Objects,
    domain::{
        wish::{What, Wish},
        workload::WorkloadId,
    },
    ports::{ClusterError, PutError, ReviewOutcome, Workloads},
};

/// Who writes wishes, in managedFields: each is whole, whoever made the one before.
const FIELD_MANAGER: &str = "supercargo-wish";

/// As often a hold is tried where others write beside it.
const TRIES: usize = 8;

const NO_RIGHT: &str = "supercargo has no right to hold for others (patch imagestates): an administrator applies \
                        deploy/components/slack (Helm: slack.secretName)";

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
        spec["uid"] = json!(decoded(&state)?.metadata.uid);
        let request = applied(workload, spec, None)?;
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

    /// One of which nothing is known yet.
    async fn create_state(&self, workload: &WorkloadId) -> Result<Found<ImageState>, ClusterError> {
        if !workload.is_all() {
            let objects = Objects::new(self.client.clone(), self.clock.clone());
            // Who may not read it is answered by the operator.
            if let Ok(None) = objects.get(workload).await {
                return Err(ClusterError(format!("there is no {workload}")));
            }
        }
        let object = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": ImageState::KIND,
            "metadata": metadata(workload),
        });
        let of = collection::<ImageState>(&workload.namespace).map_err(ClusterError)?;
        let request = of.create(&PostParams::default(), object.to_string().into_bytes());
        let request = request.map_err(|error| ClusterError(error.to_string()))?;
        self.in_time(self.client.request(request)).await
    }
}

/// Has a workload held for somebody of another system, unless it is held, or is to be. Pressed twice at once it is one wish:
/// each is made of what was read just before, and of nothing newer.
pub(in crate::cluster) async fn hold(
    requests: &Requests,
    workload: &WorkloadId,
    by: &str,
    on_behalf_of: &str,
) -> Result<ReviewOutcome, ClusterError> {
    let (namespace, name) = (&workload.namespace, names::state(workload));
    for _ in 0..TRIES {
        let found = requests.get::<ImageState>(namespace, &name).await.map_err(|error| ClusterError(error.0))?;
        let Some(found) = found else {
            match requests.create::<ImageState>(namespace, metadata(workload), json!({})).await {
                Ok(_) | Err(Failure::Taken) => continue,
                Err(failure) => return refused(failure),
            }
        };
        let state = decoded(&found)?;
        if is_held(state) {
            return Ok(ReviewOutcome::Again);
        }
        let at = requests.clock.now();
        let spec = json!({"by": by, "onBehalfOf": on_behalf_of, "at": at, "uid": state.metadata.uid, "hold": true});
        let request = applied(workload, spec, Some(found.resource_version()))?;
        match requests.answered::<IgnoredAny>(request).await {
            Ok(_) => return Ok(ReviewOutcome::Written),
            Err(Failure::NotAsSeen) => {}
            Err(failure) => return refused(failure),
        }
    }
    Err(ClusterError(format!("the ImageState {name} is changed by others all the time")))
}

/// Whether a person has stopped all changes, or wishes that and nothing has come of it yet.
fn is_held(state: &ImageState) -> bool {
    let is_new = |wish: &Wish| state.answer().and_then(|answer| answer.of(wish.generation)).is_none();
    match state.wish().ok().flatten().filter(is_new) {
        Some(wish) => wish.what == What::Hold,
        None => state.state().ok().flatten().is_some_and(|state| state.held.is_some()),
    }
}

/// What that means for who wishes it.
fn refused(failure: Failure) -> Result<ReviewOutcome, ClusterError> {
    match failure {
        Failure::NoRight(why) => Err(ClusterError(format!("{NO_RIGHT}: {why}"))),
        failure => match PutError::from(failure) {
            PutError::Refused(why) => Ok(ReviewOutcome::Refused(why)),
            PutError::Unavailable(why) => Err(ClusterError(why)),
            PutError::Conflict => Err(ClusterError("it was changed meanwhile".to_owned())),
        },
    }
}

/// The request that makes a wish, all of which is given but the workload; where that is given, only of that version.
fn applied(workload: &WorkloadId, mut spec: Value, version: Option<&str>) -> Result<Request<Vec<u8>>, ClusterError> {
    let WorkloadRef { api_version, kind, name, .. } = WorkloadRef::new(workload, "");
    spec["workload"] = json!({"apiVersion": api_version, "kind": kind, "name": name});
    let of = collection::<ImageState>(&workload.namespace).map_err(ClusterError)?;
    let name = names::state(workload);
    let mut object = json!({
        "apiVersion": format!("{GROUP}/{VERSION}"), "kind": ImageState::KIND, "metadata": {"name": name}, "spec": spec,
    });
    if let Some(version) = version {
        object["metadata"]["resourceVersion"] = json!(version);
    }
    let request = of.patch(&name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(object));
    request.map_err(|error| ClusterError(error.to_string()))
}

/// Of one of which nothing is known yet. No workload owns it: what is remembered outlives that.
fn metadata(workload: &WorkloadId) -> Value {
    json!({"name": names::state(workload), "namespace": workload.namespace, "labels": {MANAGED_BY: "supercargo"}})
}

fn decoded(found: &Found<ImageState>) -> Result<&ImageState, ClusterError> {
    found
        .object
        .as_deref()
        .map_err(|why| ClusterError(format!("the ImageState {} does not decode: {why}", found.name())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether it is held with that spec, of its third generation, and that status.
    fn held(mut spec: Value, status: Value) -> bool {
        spec["by"] = json!("alice");
        if spec["uid"].is_null() {
            spec["uid"] = json!("u1");
        }
        let mut object =
            json!({"metadata": {"name": "web", "namespace": "shop", "uid": "u1", "generation": 3}, "spec": spec});
        if !status.is_null() {
            object["status"] = status;
            object["status"]["workload"] =
                json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": ""});
        }
        is_held(&serde_json::from_value(object).unwrap())
    }

    fn answered(uid: &str, generation: i64, is_held: bool) -> Value {
        let wish = json!({"uid": uid, "generation": generation, "at": "2026-12-01T00:00:00Z", "done": true,
            "code": "held", "message": ""});
        let held = json!({"by": "bob", "at": "2026-12-01T00:00:00Z"});
        if is_held { json!({"wish": wish, "held": held}) } else { json!({"wish": wish}) }
    }

    #[rstest::rstest]
    #[case::nothing(json!({}), Value::Null, false)]
    #[case::not_taken_up(json!({"hold": true}), Value::Null, true)]
    #[case::not_taken_up_again(json!({"hold": true}), answered("u1", 2, false), true)]
    #[case::in_force(json!({"hold": true}), answered("u1", 3, true), true)]
    #[case::of_another_wish(json!({"rollback": {}}), answered("u1", 3, true), true)]
    #[case::nothing_came_of_it(json!({"hold": true}), answered("u1", 3, false), false)]
    #[case::to_be_lifted(json!({"resume": {}}), answered("u1", 2, true), false)]
    #[case::lifted(json!({"resume": {}}), answered("u1", 3, false), false)]
    #[case::of_another_object(json!({"hold": true, "uid": "u0"}), answered("u0", 3, false), false)]
    fn it_is_held_where_that_is_in_force_or_wished_last(
        #[case] spec: Value,
        #[case] status: Value,
        #[case] expected: bool,
    ) {
        assert_eq!(held(spec, status), expected);
    }

    #[test]
    fn a_wish_names_its_workload_and_the_version_that_was_read() {
        let workload = "shop/Deployment/web".parse().unwrap();
        let request = applied(&workload, json!({"by": "alice", "hold": true}), Some("7")).unwrap();
        let path = "/apis/supercargo.dev/v1alpha1/namespaces/shop/imagestates/deployment-web?";
        let uri = request.uri().to_string();
        assert!(
            uri.starts_with(path) && uri.contains("fieldManager=supercargo-wish") && uri.contains("force=true"),
            "{uri}"
        );
        let body: Value = serde_json::from_slice(request.body()).unwrap();
        assert_eq!(body["metadata"], json!({"name": "deployment-web", "resourceVersion": "7"}));
        assert_eq!(body["spec"]["workload"], json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}));
        let (_, body) = applied(&workload, json!({}), None).unwrap().into_parts();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            body["metadata"],
            json!({"name": "deployment-web"}),
            "a command's wish is whole, whatever was there"
        );
    }
}
