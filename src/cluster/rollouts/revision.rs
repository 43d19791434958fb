//! Which pods are those of the new revision.

use futures::{FutureExt, future::BoxFuture};
use k8s_openapi::{
    api::apps::v1::{ControllerRevision, ReplicaSet},
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
};
use kube::{
    Api,
    api::{ListParams, ObjectList, PartialObjectMeta},
    core::Selector,
};
use serde::Deserialize;

use super::Shared;
use crate::{
    cluster::{failure, in_time},
    domain::{rollout::RolloutView, workload::WorkloadId},
};

/// The label of a Deployment's pods, and that of a StatefulSet's and a DaemonSet's.
const TEMPLATE: &str = "pod-template-hash";
const CONTROLLER: &str = "controller-revision-hash";
/// As a Deployment's controller counts its ReplicaSets: one that is used again gets a new number.
const NUMBER: &str = "deployment.kubernetes.io/revision";
/// As many revisions are read at once: a workload keeps ten, beside the one that it has.
const PAGE: u32 = 12;

/// The new revision: a label that its pods have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Revision {
    label: &'static str,
    value: String,
}

/// Why revisions could not be read.
#[derive(Debug)]
pub(super) struct Unread {
    /// Whether there is no right to them.
    pub(super) is_forbidden: bool,
    pub(super) why: String,
}

/// Which pods are a workload's: `spec.selector`.
#[derive(Debug, Default)]
pub(super) struct Selected(Option<Selector>);

impl Selected {
    /// Of a workload as the API server answered it.
    pub(super) fn read(object: &str) -> Self {
        #[derive(Deserialize)]
        struct Object {
            spec: Spec,
        }
        #[derive(Deserialize)]
        struct Spec {
            selector: LabelSelector,
        }
        let selector = serde_json::from_str::<Object>(object).ok().map(|object| object.spec.selector);
        // An empty one would select the pods of everybody.
        let says_any = |selector: &LabelSelector| {
            let labels = selector.match_labels.as_ref().is_some_and(|labels| !labels.is_empty());
            labels || selector.match_expressions.as_ref().is_some_and(|all| !all.is_empty())
        };
        Self(selector.filter(says_any).and_then(|selector| Selector::try_from(selector).ok()))
    }

    /// All of them.
    pub(super) fn all(&self) -> Option<String> {
        self.0.as_ref().map(ToString::to_string)
    }

    /// Those of a revision.
    pub(super) fn of(&self, revision: &Revision) -> String {
        let own = format!("{}={}", revision.label, revision.value);
        match &self.0 {
            Some(selector) => format!("{selector},{own}"),
            None => own,
        }
    }
}

/// The newest revision of a workload. `None`: it has none, or does not say which pods are its own. `Err`: it could not be
/// read.
pub(super) async fn newest(
    shared: &Shared,
    id: &WorkloadId,
    selected: &Selected,
    view: &RolloutView,
) -> Result<Option<Revision>, Unread> {
    let Some(selector) = &selected.0 else { return Ok(None) };
    let revision = |label, value: Option<String>| Ok(value.map(|value| Revision { label, value }));
    let params = ListParams::default().labels_from(selector).limit(PAGE);
    let label = |meta: &ObjectMeta, label: &str| meta.labels.as_ref().and_then(|labels| labels.get(label)).cloned();
    let its = |meta: &ObjectMeta, of: &str| {
        let is_its = meta.owner_references.iter().flatten().any(|owner| *owner.uid == *view.uid);
        is_its.then(|| label(meta, of))
    };
    match id.kind.as_str() {
        "Deployment" => {
            let api: Api<ReplicaSet> = Api::namespaced(shared.client.clone(), &id.namespace);
            let number = |meta: &ObjectMeta| meta.annotations.as_ref()?.get(NUMBER)?.parse::<u64>().ok();
            let rank = |set: &PartialObjectMeta<ReplicaSet>| {
                let meta = &set.metadata;
                its(meta, TEMPLATE).map(|label| ((number(meta), meta.creation_timestamp.clone()), label))
            };
            let list = move |params: ListParams| {
                let api = api.clone();
                async move { api.list_metadata(&params).await }.boxed()
            };
            revision(TEMPLATE, highest(shared, params, list, rank).await?)
        }
        "StatefulSet" => {
            let [_, update] = &view.revisions;
            revision(CONTROLLER, (!update.is_empty()).then(|| update.to_string()))
        }
        _ => {
            let api: Api<ControllerRevision> = Api::namespaced(shared.client.clone(), &id.namespace);
            let rank = |one: &ControllerRevision| its(&one.metadata, CONTROLLER).map(|label| (one.revision, label));
            let list = move |params: ListParams| {
                let api = api.clone();
                async move { api.list(&params).await }.boxed()
            };
            revision(CONTROLLER, highest(shared, params, list, rank).await?)
        }
    }
}

/// The label of the one of the highest rank.
async fn highest<T: Clone, R: PartialOrd>(
    shared: &Shared,
    mut params: ListParams,
    list: impl Fn(ListParams) -> BoxFuture<'static, kube::Result<ObjectList<T>>>,
    rank: impl Fn(&T) -> Option<(R, Option<String>)>,
) -> Result<Option<String>, Unread> {
    let _turn = shared.reads.acquire_many(PAGE).await;
    let mut highest: Option<(R, Option<String>)> = None;
    loop {
        let page = answered(in_time(&shared.clock, list(params.clone())).await)?;
        for found in page.items.iter().filter_map(&rank) {
            if highest.as_ref().is_none_or(|(rank, _)| *rank < found.0) {
                highest = Some(found);
            }
        }
        params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
        if params.continue_token.is_none() {
            return Ok(highest.and_then(|(_, label)| label));
        }
    }
}

fn answered<T>(answer: Option<kube::Result<T>>) -> Result<T, Unread> {
    match answer {
        Some(answer) => answer.map_err(|error| Unread {
            is_forbidden: matches!(&error, kube::Error::Api(status) if status.code == 403),
            why: format!("its revisions: {}", failure(&error)),
        }),
        None => Err(Unread { is_forbidden: false, why: "its revisions: no answer in time".to_owned() }),
    }
}
