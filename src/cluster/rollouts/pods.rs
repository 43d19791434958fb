//! The pods of a new revision, as a summary that is told whenever it changes.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{ApiResource, NotUsed, Object},
    runtime::watcher::{self, Event, watcher},
};
use serde::Deserialize;

use super::{Ended, Shared};
use crate::{
    cluster::follow::{MAX_DELAY, delays, is, words},
    domain::{
        rollout::{ContainerView, End, PodView, Pods},
        workload::WorkloadId,
    },
    ports::ClusterChange,
};

/// As many pods are kept of a rollout, the broken ones first.
const MOST: usize = 500;
/// How many are read at once.
const PAGE: u32 = 100;
/// What changes at once is told together.
const TOGETHER: Duration = Duration::from_millis(100);

/// A pod, decoded to what a rollout needs.
type Found = Object<NotUsed, Status>;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    reason: String,
    message: String,
    conditions: Vec<Condition>,
    init_container_statuses: Vec<ContainerStatus>,
    container_statuses: Vec<ContainerStatus>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    reason: String,
    message: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerStatus {
    name: Arc<str>,
    #[serde(rename = "imageID")]
    image_id: String,
    ready: bool,
    restart_count: i64,
    state: ContainerState,
    last_state: ContainerState,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct ContainerState {
    waiting: Option<Waiting>,
    terminated: Option<Terminated>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Waiting {
    reason: String,
    message: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Terminated {
    exit_code: i64,
    reason: String,
    message: String,
}

/// Tells what the pods say, as long as anybody listens. `Err`: they may not be read, and why.
pub(super) async fn tell_pods(shared: &Shared, id: &WorkloadId, selector: &str) -> Result<Result<(), String>, Ended> {
    let resource = ApiResource::erase::<Pod>(&());
    let api: Api<Found> = Api::namespaced_with(shared.client.clone(), &id.namespace, &resource);
    let config = watcher::Config::default().labels(selector).page_size(PAGE);
    let mut events = watcher(api, config).boxed();
    let mut pods: HashMap<String, PodView> = HashMap::new();
    let mut told: Option<Pods> = None;
    let (mut is_whole, mut listed) = (false, Vec::new());
    // When what has changed is told.
    let mut due: Option<Duration> = None;
    let mut delays = delays();
    loop {
        let tell = async {
            match due.filter(|_| is_whole) {
                Some(at) => shared.clock.sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let event = tokio::select! {
            biased;
            () = tell => {
                due = None;
                let now = Pods::of(pods.values());
                if told.as_ref() != Some(&now) {
                    shared.send(ClusterChange::Pods(id.clone(), now.clone())).await?;
                    told = Some(now);
                }
                continue;
            }
            event = events.next() => event,
        };
        match event {
            None => return Err(Ended),
            Some(Err(error)) => {
                if is(&error, 403) {
                    return Ok(Err(format!("its pods: {}", words(&error))));
                }
                let delay = delays.next().unwrap_or(MAX_DELAY);
                tracing::debug!(workload = %id, error = words(&error), ?delay, "the watch of its pods broke off");
                shared.clock.sleep_until(shared.clock.monotonic() + delay).await;
                continue;
            }
            Some(Ok(Event::Init)) => listed.clear(),
            Some(Ok(Event::InitApply(pod))) => {
                let name = pod.metadata.name.clone().unwrap_or_default();
                keep(&mut pods, pod);
                listed.push(name);
            }
            Some(Ok(Event::InitDone)) => {
                pods.retain(|name, _| listed.contains(name));
                is_whole = true;
                due = Some(Duration::ZERO);
                delays = crate::cluster::follow::delays();
            }
            Some(Ok(Event::Apply(pod))) => keep(&mut pods, pod),
            Some(Ok(Event::Delete(pod))) => _ = pods.remove(&pod.metadata.name.unwrap_or_default()),
        }
        due.get_or_insert_with(|| shared.clock.monotonic() + TOGETHER);
    }
}

/// Takes in a pod. One that is being deleted says nothing any more.
fn keep(pods: &mut HashMap<String, PodView>, pod: Found) {
    let name = pod.metadata.name.clone().unwrap_or_default();
    if pod.metadata.deletion_timestamp.is_some() {
        pods.remove(&name);
        return;
    }
    let view = view(&name, pod.status.unwrap_or_default());
    if pods.len() >= MOST && !pods.contains_key(&name) {
        let whole = pods.iter().find(|(_, pod)| !pod.is_broken()).map(|(name, _)| name.clone());
        match whole.filter(|_| view.is_broken()) {
            Some(whole) => _ = pods.remove(&whole),
            None => return,
        }
    }
    pods.insert(name, view);
}

fn view(name: &str, status: Status) -> PodView {
    let is = |kind: &str, value: &str| status.conditions.iter().find(|c| c.kind == kind && c.status == value);
    let unscheduled = is("PodScheduled", "False").filter(|c| c.reason == "Unschedulable");
    let unscheduled = unscheduled.map(|condition| condition.message.clone());
    let is_ready = is("Ready", "True").is_some();
    let inits = status.init_container_statuses.into_iter().map(|status| container(status, true));
    PodView {
        name: name.into(),
        is_ready,
        reason: (!status.reason.is_empty()).then_some((status.reason, status.message)),
        unscheduled,
        containers: inits.chain(status.container_statuses.into_iter().map(|status| container(status, false))).collect(),
    }
}

fn container(status: ContainerStatus, init: bool) -> ContainerView {
    let end = |Terminated { exit_code, reason, message }| End { code: exit_code, reason, message };
    ContainerView {
        name: status.name,
        init,
        image_id: status.image_id,
        is_ready: status.ready,
        restarts: status.restart_count,
        waiting: status.state.waiting.map(|Waiting { reason, message }| (reason, message)),
        // One of init that has ended well is ready.
        ended: status.state.terminated.map(end),
        last: status.last_state.terminated.map(end),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_five_thousand_pods_the_broken_ones_are_kept_and_as_many_others_as_there_is_room_for() {
        let mut pods = HashMap::new();
        for n in 0..5_000 {
            let waiting = match n % 1_000 == 999 {
                true => json!({"waiting": {"reason": "CrashLoopBackOff"}}),
                false => json!({"running": {}}),
            };
            let pod = json!({
                "metadata": {"name": format!("web-{n}")}, "spec": {},
                "status": {"containerStatuses": [{"name": "web", "restartCount": 2, "state": waiting}]},
            });
            keep(&mut pods, serde_json::from_value(pod).unwrap());
        }
        assert_eq!(pods.len(), MOST);
        assert_eq!(pods.values().filter(|pod| pod.is_broken()).count(), 5);
    }
}
