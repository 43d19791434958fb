//! Votes as a person makes them: what there is to vote on, and the vote itself, which the API server judges.

use std::sync::Arc;

use http::Request;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
    core::ObjectList,
};
use serde_json::{Value, json};

use super::{
    names,
    object::{Custom, Found, GROUP, VERSION},
    requests::collection,
    store::{MANAGED_BY, WORKLOAD},
    update::ImageUpdate,
};
use crate::{
    cluster::{failure, in_time, reviews::ImageUpdateReview},
    domain::{update::Tracked, votes::Verb, workload::WorkloadId},
    net::foreign,
    ports::{Announced, Clock, ClusterError, Spoken},
};

/// An update.
#[derive(Debug, Clone)]
pub struct OnBallot {
    /// The name of its object.
    pub name: String,
    /// The uid of its object.
    pub uid: String,
    /// What changes, and how far it is.
    pub tracked: Tracked,
}

/// What a person says.
#[derive(Debug, Clone)]
pub struct NewVote {
    /// Yes or no.
    pub verb: Verb,
    /// The person, as the API server calls it.
    pub approver: String,
    /// Whether windows and freezes are overridden.
    pub overrides: bool,
    /// Why.
    pub reason: Option<String>,
}

/// Votes as whoever the kubeconfig says.
#[derive(Clone)]
pub struct Voter {
    pub(super) client: Client,
    pub(super) clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Voter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Voter")
    }
}

impl Voter {
    /// Makes no request yet.
    pub fn new(client: Client, clock: Arc<dyn Clock>) -> Self {
        Self { client, clock }
    }

    /// As whom the API server knows us.
    pub async fn name(&self) -> Result<String, ClusterError> {
        let api: Api<SelfSubjectReview> = Api::all(self.client.clone());
        let asked = self.in_time(api.create(&PostParams::default(), &SelfSubjectReview::default())).await?;
        let name = asked.status.and_then(|status| status.user_info).and_then(|user| user.username);
        name.ok_or_else(|| ClusterError("the API server does not say who is asking".to_owned()))
    }

    /// The updates of a workload that can be read.
    pub async fn ballots(&self, workload: &WorkloadId) -> Result<Vec<OnBallot>, ClusterError> {
        let of = collection::<ImageUpdate>(&workload.namespace).map_err(ClusterError)?;
        let params = ListParams::default().labels(&format!("{WORKLOAD}={}", names::label(workload)));
        let request = of.list(&params).map_err(|error| ClusterError(error.to_string()))?;
        let list: ObjectList<Found<ImageUpdate>> = self.in_time(self.client.request(request)).await?;
        let mut all = Vec::new();
        for found in list.items {
            let Ok(object) = &found.object else { continue };
            if let Some(tracked) = object.tracked().ok().filter(|tracked| tracked.update.workload == *workload) {
                all.push(OnBallot { name: found.name().to_owned(), uid: object.metadata.uid.clone(), tracked });
            }
        }
        Ok(all)
    }

    /// Votes; the API server says no where that person may not.
    pub async fn vote(&self, workload: &WorkloadId, on: &OnBallot, vote: &NewVote) -> Result<(), ClusterError> {
        let NewVote { verb, approver, overrides, reason } = vote;
        let mut spec = spec(&on.name, &on.uid, &on.tracked, *verb, approver);
        if *overrides {
            spec["override"] = json!("window");
        }
        if let Some(reason) = reason {
            spec["reason"] = json!(reason);
        }
        let update = (&*workload.namespace, &*on.name, &*on.uid, workload);
        let request = create(update, json!({"generateName": format!("{}-", on.name)}), &spec)?;
        self.in_time(self.client.request::<Value>(request)).await.map(|_| ())
    }

    pub(super) async fn in_time<T>(&self, request: impl Future<Output = kube::Result<T>>) -> Result<T, ClusterError> {
        match in_time(&self.clock, request).await {
            Some(Ok(answer)) => Ok(answer),
            // The words of the policy are enough.
            Some(Err(kube::Error::Api(status))) if status.code == 403 => Err(ClusterError(foreign(&status.message))),
            Some(Err(error)) => Err(ClusterError(failure(&error))),
            None => Err(ClusterError("the API server did not answer in time".to_owned())),
        }
    }
}

/// The request that writes a review for somebody of another system: by that name, or by one that nobody can know before.
pub(in crate::cluster) fn review(
    of: &Announced,
    said: &Spoken,
    name: Option<&str>,
) -> Result<Request<Vec<u8>>, ClusterError> {
    let update = (&*of.name.namespace, &*of.name.name, &*of.uid, &of.tracked.update.workload);
    let metadata = name.map_or_else(|| json!({"generateName": "slack-"}), |name| json!({"name": name}));
    create(update, metadata, &spoken(of, said))
}

/// The request for what has the review's name.
pub(in crate::cluster) fn named_review(of: &Announced, said: &Spoken) -> Result<Request<Vec<u8>>, ClusterError> {
    let reviews = collection::<ImageUpdateReview>(&of.name.namespace).map_err(ClusterError)?;
    let params = ListParams::default().fields(&format!("metadata.name={}", said.name)).limit(1);
    reviews.list(&params).map_err(|error| ClusterError(error.to_string()))
}

/// Whether that is the review.
pub(in crate::cluster) fn is_review(object: &Value, of: &Announced, said: &Spoken) -> bool {
    let spec = spoken(of, said);
    spec.as_object().is_some_and(|spec| spec.iter().all(|(key, value)| object["spec"][key] == *value))
}

fn spoken(of: &Announced, said: &Spoken) -> Value {
    let mut spec = spec(&of.name.name, &of.uid, &of.tracked, said.verb, &said.approver);
    spec["onBehalfOf"] = json!(said.on_behalf_of);
    spec
}

fn spec(name: &str, uid: &str, tracked: &Tracked, verb: Verb, approver: &str) -> Value {
    json!({
        "verb": verb,
        "update": {"name": name, "uid": uid},
        "target": tracked.update.target(),
        "approver": approver,
    })
}

fn create(
    (namespace, name, uid, workload): (&str, &str, &str, &WorkloadId),
    mut metadata: Value,
    spec: &Value,
) -> Result<Request<Vec<u8>>, ClusterError> {
    let of = collection::<ImageUpdateReview>(namespace).map_err(ClusterError)?;
    let version = format!("{GROUP}/{VERSION}");
    metadata["namespace"] = json!(namespace);
    metadata["labels"] = json!({MANAGED_BY: "supercargo", WORKLOAD: names::label(workload)});
    metadata["ownerReferences"] = json!([{
        "apiVersion": version, "kind": ImageUpdate::KIND, "name": name, "uid": uid,
    }]);
    let review = json!({"apiVersion": version, "kind": ImageUpdateReview::KIND, "metadata": metadata, "spec": spec});
    let request = of.create(&PostParams::default(), review.to_string().into_bytes());
    request.map_err(|error| ClusterError(error.to_string()))
}
