//! Votes and holds that are written for people of another system: whether they may is asked of the API server, as if they
//! had come themselves.

use std::sync::Arc;

use futures::{FutureExt as _, future::BoxFuture};
use k8s_openapi::api::authorization::v1::{LocalSubjectAccessReview, ResourceAttributes, SubjectAccessReviewSpec};
use kube::{Api, Client, api::PostParams};
use serde_json::Value;

use super::{
    failure, in_time,
    records::{Requests, hold, is_review, name_of_state, named_review, review},
};
use crate::{
    domain::workload::WorkloadId,
    net::foreign,
    ports::{Announced, Clock, ClusterError, Person, ReviewOutcome, Reviewers, Right, Spoken},
};

/// What everybody is in whom the API server knows.
const AUTHENTICATED: &str = "system:authenticated";

const UPDATES: &str = "imageupdates";
const STATES: &str = "imagestates";

const NO_RIGHT: &str = "supercargo has no right to ask who may approve or hold (create localsubjectaccessreviews): an administrator \
                        applies deploy/components/slack (Helm: slack.secretName)";

/// The votes and holds of others.
#[derive(Clone)]
pub struct ReviewWriter {
    client: Client,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for ReviewWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ReviewWriter")
    }
}

impl ReviewWriter {
    /// Makes no request yet.
    pub fn new(client: Client, clock: Arc<dyn Clock>) -> Self {
        Self { client, clock }
    }

    async fn ask(&self, spec: SubjectAccessReviewSpec, namespace: &str) -> kube::Result<bool> {
        let mut asked = LocalSubjectAccessReview { spec, ..LocalSubjectAccessReview::default() };
        asked.metadata.namespace = Some(namespace.to_owned());
        let api: Api<LocalSubjectAccessReview> = Api::namespaced(self.client.clone(), namespace);
        let status = api.create(&PostParams::default(), &asked).await?.status;
        Ok(status.is_some_and(|status| status.allowed && status.denied != Some(true)))
    }
}

impl ReviewWriter {
    async fn write(&self, of: &Announced, said: &Spoken, name: Option<&str>) -> Result<ReviewOutcome, ClusterError> {
        match in_time(&self.clock, self.client.request_text(review(of, said, name)?)).await {
            Some(Ok(_)) => Ok(ReviewOutcome::Written),
            Some(Err(kube::Error::Api(status))) => match status.code {
                409 if status.reason == "AlreadyExists" => Ok(ReviewOutcome::Again),
                400..=404 | 422 => Ok(ReviewOutcome::Refused(foreign(&status.message))),
                _ => Err(ClusterError(failure(&kube::Error::Api(status)))),
            },
            Some(Err(error)) => Err(ClusterError(failure(&error))),
            None => Err(ClusterError("the API server did not answer in time".to_owned())),
        }
    }

    /// Whether what has that name is that review: anybody who may vote could have taken it.
    async fn is_there(&self, of: &Announced, said: &Spoken) -> Result<bool, ClusterError> {
        match in_time(&self.clock, self.client.request::<Value>(named_review(of, said)?)).await {
            Some(Ok(list)) => Ok(is_review(&list["items"][0], of, said)),
            Some(Err(error)) => Err(ClusterError(failure(&error))),
            None => Err(ClusterError("the API server did not answer in time".to_owned())),
        }
    }
}

impl Reviewers for ReviewWriter {
    fn may<'a>(&'a self, who: &'a Person, what: Right<'a>) -> BoxFuture<'a, Result<bool, ClusterError>> {
        async move {
            let (verb, resource, namespace, name) = match what {
                Right::Vote(update) => ("approve", UPDATES, &update.namespace, update.name.to_string()),
                Right::Read(update) => ("get", UPDATES, &update.namespace, update.name.to_string()),
                Right::Hold(workload) => ("hold", STATES, &workload.namespace, name_of_state(workload)),
            };
            let groups = who.groups.iter().map(ToString::to_string).chain([AUTHENTICATED.to_owned()]);
            let attributes = ResourceAttributes {
                group: Some("supercargo.dev".to_owned()),
                resource: Some(resource.to_owned()),
                namespace: Some(namespace.to_string()),
                name: Some(name),
                verb: Some(verb.to_owned()),
                ..ResourceAttributes::default()
            };
            let spec = SubjectAccessReviewSpec {
                user: Some(who.user.to_string()),
                groups: Some(groups.collect()),
                resource_attributes: Some(attributes),
                ..SubjectAccessReviewSpec::default()
            };
            match in_time(&self.clock, self.ask(spec, namespace)).await {
                Some(Err(kube::Error::Api(status))) if status.code == 403 => Err(ClusterError(NO_RIGHT.to_owned())),
                Some(answer) => answer.map_err(|error| ClusterError(failure(&error))),
                None => Err(ClusterError("the API server did not answer in time".to_owned())),
            }
        }
        .boxed()
    }

    fn review<'a>(&'a self, of: &'a Announced, said: &'a Spoken) -> BoxFuture<'a, Result<ReviewOutcome, ClusterError>> {
        async move {
            match self.write(of, said, Some(&said.name)).await? {
                ReviewOutcome::Again if !self.is_there(of, said).await? => self.write(of, said, None).await,
                heard => Ok(heard),
            }
        }
        .boxed()
    }

    fn hold<'a>(
        &'a self,
        workload: &'a WorkloadId,
        by: &'a str,
        on_behalf_of: &'a str,
    ) -> BoxFuture<'a, Result<ReviewOutcome, ClusterError>> {
        async move {
            let requests = Requests { client: self.client.clone(), clock: self.clock.clone() };
            hold(&requests, workload, by, on_behalf_of).await
        }
        .boxed()
    }
}
