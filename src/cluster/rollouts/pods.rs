//! The pods of a new revision, as a summary that is told whenever it changes.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    time::Duration,
};

use futures::{StreamExt, stream::BoxStream};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{ApiResource, NotUsed, Object},
    runtime::watcher::{self, Event, watcher},
};
use serde::{Deserialize, Deserializer};
use tokio::sync::SemaphorePermit;

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
/// Of others it is kept that they are ready: of as many.
const MOST_READY: usize = 20_000;
/// How many are read at once.
const PAGE: u32 = 10;
/// As many containers are read of a pod, and as many bytes of each text.
const CONTAINERS: usize = 100;
const TEXT: usize = 512;
/// What changes at once is told together.
const TOGETHER: Duration = Duration::from_millis(100);

/// A pod, decoded to what a rollout needs.
type PodObject = Object<NotUsed, Status>;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    phase: Short,
    reason: Short,
    message: Short,
    conditions: Vec<Condition>,
    init_container_statuses: Vec<ContainerStatus>,
    container_statuses: Vec<ContainerStatus>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Condition {
    #[serde(rename = "type")]
    kind: Short,
    status: Short,
    reason: Short,
    message: Short,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerStatus {
    name: Short,
    #[serde(rename = "imageID")]
    image_id: Short,
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
    reason: Short,
    message: Short,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Terminated {
    exit_code: i64,
    reason: Short,
    message: Short,
}

/// A foreign text, as much of it as is kept.
#[derive(Debug, Clone, Default, PartialEq)]
struct Short(String);

impl<'de> Deserialize<'de> for Short {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        Ok(Self(text[..text.floor_char_boundary(TEXT)].to_owned()))
    }
}

/// The pods of a rollout.
#[derive(Default)]
struct RolloutPods {
    pods: HashMap<String, PodView>,
    /// Those beside them that are ready.
    ready: HashSet<String>,
    /// Those of the list that is being read.
    listed: HashSet<String>,
    is_whole: bool,
}

/// How far a list is.
#[derive(PartialEq, Eq)]
enum List {
    Begins,
    GoesOn,
    Ends,
}

/// Tells what the pods say, as long as anybody listens. Ends where they may not be read, and says why.
pub(super) async fn tell_pods(shared: &Shared, id: &WorkloadId, selector: &str) -> Result<String, Ended> {
    let mut events = watch(shared, id, selector);
    let mut kept = RolloutPods::default();
    let mut told: Option<Pods> = None;
    let mut turn: Option<SemaphorePermit<'_>> = None;
    // When what has changed is told.
    let mut due: Option<Duration> = None;
    let mut delays = delays();
    loop {
        let tell = async {
            match due.filter(|_| kept.is_whole) {
                Some(at) => shared.clock.sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        // What is large is gone before anything is waited for: there are many of these.
        let seen = tokio::select! {
            biased;
            () = tell => None,
            event = events.next() => Some(event.ok_or(Ended)?.map(|event| kept.see(event)).map_err(Broken::from)),
        };
        match seen {
            None => {
                due = None;
                let now = kept.say();
                if told.as_ref() != Some(&now) {
                    shared.send(ClusterChange::Pods(id.clone(), now.clone())).await?;
                    told = Some(now);
                }
            }
            Some(Err(Broken { is_forbidden: true, why })) => return Ok(format!("its pods: {why}")),
            Some(Err(Broken { why, .. })) => {
                drop(turn.take());
                let delay = delays.next().unwrap_or(MAX_DELAY);
                tracing::debug!(workload = %id, error = why, ?delay, "the watch of its pods broke off");
                shared.clock.sleep_until(shared.clock.monotonic() + delay).await;
            }
            Some(Ok(list)) => {
                turn = match list {
                    List::Begins => Some(shared.reads.acquire_many(PAGE).await.map_err(|_| Ended)?),
                    List::GoesOn => turn,
                    List::Ends => None,
                };
                delays = crate::cluster::follow::delays();
                let soon = shared.clock.monotonic() + TOGETHER;
                due = if list == List::Ends { Some(Duration::ZERO) } else { due.or(Some(soon)) };
            }
        }
    }
}

/// The pods of a namespace that the selector meets.
fn watch(shared: &Shared, id: &WorkloadId, selector: &str) -> BoxStream<'static, watcher::Result<Event<PodObject>>> {
    let resource = ApiResource::erase::<Pod>(&());
    let api: Api<PodObject> = Api::namespaced_with(shared.client.clone(), &id.namespace, &resource);
    watcher(api, watcher::Config::default().labels(selector).page_size(PAGE)).boxed()
}

/// Why a watch broke off.
struct Broken {
    /// Whether there is no right to it.
    is_forbidden: bool,
    why: String,
}

impl From<watcher::Error> for Broken {
    fn from(error: watcher::Error) -> Self {
        Self { is_forbidden: is(&error, 403), why: words(&error) }
    }
}

impl RolloutPods {
    /// Takes in what the watch says.
    fn see(&mut self, event: Event<PodObject>) -> List {
        match event {
            Event::Init => {
                self.listed.clear();
                return List::Begins;
            }
            Event::InitApply(pod) => {
                self.listed.insert(pod.metadata.name.clone().unwrap_or_default());
                self.take(pod);
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                self.retain(|name| listed.contains(name));
                self.is_whole = true;
                return List::Ends;
            }
            Event::Apply(pod) => self.take(pod),
            Event::Delete(pod) => self.lose(&pod.metadata.name.unwrap_or_default()),
        }
        List::GoesOn
    }

    /// Takes in a pod. One that is being deleted says nothing any more.
    fn take(&mut self, pod: PodObject) {
        let name = pod.metadata.name.clone().unwrap_or_default();
        self.ready.remove(&name);
        if pod.metadata.deletion_timestamp.is_some() {
            return self.lose(&name);
        }
        let view = view(&name, pod.status.unwrap_or_default());
        if self.pods.len() >= MOST && !self.pods.contains_key(&name) {
            let whole = self.pods.iter().find(|(_, pod)| !pod.is_broken()).map(|(name, _)| name.clone());
            let Some(whole) = whole.filter(|_| view.is_broken()) else { return self.leave_out(name, &view) };
            if let Some(view) = self.pods.remove(&whole) {
                self.leave_out(whole, &view);
            }
        }
        self.pods.insert(name, view);
    }

    fn leave_out(&mut self, name: String, pod: &PodView) {
        if pod.is_ready && self.ready.len() < MOST_READY {
            self.ready.insert(name);
        }
    }

    fn lose(&mut self, name: &str) {
        self.pods.remove(name);
        self.ready.remove(name);
    }

    fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        self.pods.retain(|name, _| is_there(name));
        self.ready.retain(|name| is_there(name));
    }

    fn say(&self) -> Pods {
        let mut all = Pods::of(self.pods.values());
        all.ready += i64::try_from(self.ready.len()).unwrap_or(i64::MAX);
        all
    }
}

fn view(name: &str, status: Status) -> PodView {
    let is = |kind: &str, value: &str| status.conditions.iter().find(|c| c.kind.0 == kind && c.status.0 == value);
    let unscheduled = is("PodScheduled", "False").filter(|c| c.reason.0 == "Unschedulable");
    let unscheduled = unscheduled.map(|condition| condition.message.0.clone());
    let is_ready = is("Ready", "True").is_some();
    let read = |all: Vec<ContainerStatus>, init| all.into_iter().take(CONTAINERS).map(move |one| container(one, init));
    PodView {
        name: name.into(),
        is_ready,
        is_over: ["Failed", "Succeeded"].contains(&status.phase.0.as_str()),
        reason: (!status.reason.0.is_empty()).then_some((status.reason.0, status.message.0)),
        unscheduled,
        containers: read(status.init_container_statuses, true).chain(read(status.container_statuses, false)).collect(),
    }
}

fn container(status: ContainerStatus, init: bool) -> ContainerView {
    let end = |Terminated { exit_code, reason, message }| End { code: exit_code, reason: reason.0, message: message.0 };
    ContainerView {
        name: status.name.0.into(),
        init,
        image_id: status.image_id.0,
        is_ready: status.ready,
        restarts: status.restart_count,
        waiting: status.state.waiting.map(|Waiting { reason, message }| (reason.0, message.0)),
        // One of init that has ended well is ready.
        ended: status.state.terminated.map(end),
        last: status.last_state.terminated.map(end),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(n: usize, is_ready: bool, state: serde_json::Value) -> PodObject {
        let pod = json!({
            "metadata": {"name": format!("web-{n}")}, "spec": {},
            "status": {
                "conditions": [{"type": "Ready", "status": if is_ready { "True" } else { "False" }}],
                "containerStatuses": [{"name": "web", "restartCount": 2, "ready": is_ready, "state": state}],
            },
        });
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn of_five_thousand_pods_the_broken_ones_are_kept_and_all_that_are_ready_are_counted() {
        let mut kept = RolloutPods::default();
        let crashes = || json!({"waiting": {"reason": "CrashLoopBackOff", "message": "x".repeat(1_000_000)}});
        for n in 0..5_000 {
            let is_broken = n % 1_000 == 999;
            kept.take(pod(n, !is_broken, if is_broken { crashes() } else { json!({"running": {}}) }));
        }
        assert_eq!(kept.pods.len(), MOST);
        assert_eq!(kept.pods.values().filter(|pod| pod.is_broken()).count(), 5);
        assert_eq!((kept.say().ready, kept.say().faults.len()), (4_995, 1));
        let longest =
            kept.pods.values().flat_map(|pod| &pod.containers).filter_map(|container| container.waiting.as_ref());
        assert_eq!(longest.map(|(_, message)| message.len()).max(), Some(TEXT));
        kept.retain(|name| name < "web-2");
        assert_eq!(kept.say().ready, 1_111);
    }
}
