//! Rollouts that fail, many at once: what they take of the program's memory, and how soon each is found to have failed.
//! Then one of very many pods, of which the last alone is broken. Then some that fail and go back: how soon.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures::{Stream, StreamExt, stream};
use http::Method;
use jiff::Timestamp;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{
    Api, Resource,
    runtime::{WatchStreamExt, watcher},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{
    Table,
    fleet::AT_ONCE,
    program::Program,
    support::{
        control_plane::{ADMIN, ControlPlane, Parts, request},
        free_port,
        objects::deployment,
        registry::{Image, Registry},
    },
};

/// Rollouts at once.
const ROLLOUTS: usize = 200;
/// Of so many namespaces, each with as many as have their pods watched at once.
const NAMESPACES: usize = 4;
/// Pods of one rollout.
const PODS: usize = 5_000;
/// Rollouts at once that fail and go back.
const BACK: usize = 20;
/// How long the image's fault has to last, which is the default.
const FAULT: Duration = Duration::from_secs(30);

pub(crate) async fn run(table: &mut Table) {
    let registry = Registry::start().await;
    registry.push("web", "1.0.0", &Image::unique()).await;
    many(&registry, table).await;
    large(&registry, table).await;
    back(&registry, table).await;
}

async fn many(registry: &Registry, table: &mut Table) {
    let plane = ControlPlane::start(Parts::All).await;
    for n in 0..ROLLOUTS {
        let space = format!("team-{}", n % NAMESPACES);
        if n < NAMESPACES {
            create(&plane, "/api/v1/namespaces", &json!({"metadata": {"name": space}})).await;
        }
        create(&plane, &format!("/apis/apps/v1/namespaces/{space}/deployments"), &web(registry, n, 1)).await;
    }
    let (program, _) = Program::start(&plane, "1s").await;
    // Until all have been looked at and nothing is freed any more.
    program.looked(NAMESPACES).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    let before = program.memory("VmRSS");
    let shown = broken_pods(&plane).await;
    registry.push("web", "1.1.0-broken", &Image::unique()).await;
    let (mut memory, mut in_flight) = (before, 0_f64);
    let updates = until(async || {
        memory = memory.max(program.memory("VmRSS"));
        in_flight = in_flight.max(program.metric("supercargo_rollouts_in_flight", "").await);
        let list = read(&plane, "/apis/supercargo.dev/v1alpha1/imageupdates").await;
        let failed = |update: &&Value| update["status"]["phase"] == "Failed";
        let failed: Vec<Value> = list.iter().filter(failed).cloned().collect();
        (failed.len() == ROLLOUTS).then_some(failed)
    })
    .await;
    let shown = shown.lock().expect("a lock").clone();
    let shown = |update: &Value| {
        let [space, name] = [&update["metadata"]["namespace"], &update["spec"]["workload"]["name"]];
        shown[&[space, name].map(|text| text.as_str().expect("a name").to_owned())]
    };
    let failed = |update: &Value| {
        let log = update["status"]["log"].as_array().expect("a log");
        at(&log.iter().find(|entry| entry["phase"] == "Failed").expect("its end")["at"])
    };
    let took = updates.iter().map(|update| failed(update).duration_since(shown(update)).as_secs_f64());
    let latest = took.fold(0.0, f64::max);
    let what = format!("{ROLLOUTS} rollouts that fail");
    table.noted(format!("{what}: under way at once, at most"), format!("{in_flight}"));
    table.bounded(format!("{what}: resident memory, more than before"), memory - before, 10.0, " MB");
    let bound = FAULT.as_secs_f64() + 5.0;
    table.bounded(format!("{what}: the last is found to have failed after its pod shows it"), latest, bound, " s");
    assert!(in_flight > ROLLOUTS as f64 * 0.9, "they were not under way at once: {in_flight}");
}

/// All that is there, and each change, until the API server ends.
fn watched<K>(api: Api<K>) -> impl Stream<Item = K>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let changes = watcher(api, watcher::Config::default()).applied_objects();
    changes.take_while(|change| std::future::ready(change.is_ok())).filter_map(async |change| change.ok())
}

/// When a watch first showed the pod of each namespace and Deployment that is broken: a pod's own times are whole seconds.
async fn broken_pods(plane: &ControlPlane) -> Arc<Mutex<HashMap<[String; 2], Timestamp>>> {
    let shown = Arc::<Mutex<HashMap<_, _>>>::default();
    let pods = Api::<Pod>::all(plane.client(ADMIN).await);
    let told = shown.clone();
    tokio::spawn(watched(pods).for_each(move |pod| {
        let restarts = pod.status.and_then(|status| Some(status.container_statuses?.first()?.restart_count));
        let app = pod.metadata.labels.and_then(|labels| labels.get("app").cloned());
        if let (Some(3), Some(space), Some(app)) = (restarts, pod.metadata.namespace, app) {
            told.lock().expect("a lock").entry([space, app]).or_insert_with(Timestamp::now);
        }
        std::future::ready(())
    }));
    shown
}

/// From when it is recorded that one has failed until a watch shows what ran before.
async fn back(registry: &Registry, table: &mut Table) {
    registry.push("back", "1.0.0", &Image::unique()).await;
    let plane = ControlPlane::start(Parts::All).await;
    create(&plane, "/api/v1/namespaces", &json!({"metadata": {"name": "back"}})).await;
    let path = "/apis/apps/v1/namespaces/back/deployments";
    let old = format!("{}/back:1.0.0", registry.host);
    for n in 0..BACK {
        let mut object = web(registry, n, 1);
        object["metadata"]["annotations"]["supercargo.dev/rollback"] = json!("auto");
        object["spec"]["template"]["spec"]["containers"][0]["image"] = json!(old);
        create(&plane, path, &object).await;
    }
    until(async || {
        let runs = |web: &Value| web["status"]["availableReplicas"] == 1;
        read(&plane, path).await.iter().all(runs).then_some(())
    })
    .await;
    let (program, _) = Program::start_with(&plane, "1s", free_port(), Some("rollout: {settle: 1s}\n")).await;
    program.looked(1).await;
    registry.push("back", "1.1.0-broken", &Image::unique()).await;
    let is_back = |web: &Value| web["spec"]["template"]["spec"]["containers"][0]["image"] == *old;
    until(async || (!read(&plane, path).await.iter().any(is_back)).then_some(())).await;
    let shown = put_back(&plane, old.clone()).await;
    let updates = until(async || {
        let list = read(&plane, "/apis/supercargo.dev/v1alpha1/namespaces/back/imageupdates").await;
        let is_over = |update: &&Value| update["status"]["phase"] == "RolledBack";
        let over: Vec<Value> = list.iter().filter(is_over).cloned().collect();
        (over.len() == BACK).then_some(over)
    })
    .await;
    let shown = shown.lock().expect("a lock").clone();
    let took = updates.iter().map(|update| {
        let log = update["status"]["log"].as_array().expect("a log");
        let failed = at(&log.iter().find(|entry| entry["phase"] == "RollingBack").expect("its way back")["at"]);
        shown[update["spec"]["workload"]["name"].as_str().expect("a name")].duration_since(failed).as_secs_f64()
    });
    let latest = took.fold(0.0, f64::max);
    let what = format!("{BACK} rollouts that fail and go back");
    table.bounded(format!("{what}: the last is patched back after it has failed"), latest, 2.0, " s");
}

/// When a watch first showed each Deployment with that image.
async fn put_back(plane: &ControlPlane, image: String) -> Arc<Mutex<HashMap<String, Timestamp>>> {
    let shown = Arc::<Mutex<HashMap<_, _>>>::default();
    let deployments = Api::<Deployment>::all(plane.client(ADMIN).await);
    let told = shown.clone();
    tokio::spawn(watched(deployments).for_each(move |deployment| {
        let spec = deployment.spec.and_then(|spec| spec.template.spec);
        let is_it = spec.is_some_and(|spec| spec.containers.iter().any(|it| it.image.as_deref() == Some(&*image)));
        if let Some(name) = deployment.metadata.name.filter(|_| is_it) {
            told.lock().expect("a lock").entry(name).or_insert_with(Timestamp::now);
        }
        std::future::ready(())
    }));
    shown
}

/// Without controllers: their part is done here.
async fn large(registry: &Registry, table: &mut Table) {
    let plane = ControlPlane::start(Parts::Api).await;
    create(&plane, "/api/v1/namespaces", &json!({"metadata": {"name": "large"}})).await;
    create(&plane, "/apis/apps/v1/namespaces/large/deployments", &web(registry, 0, PODS)).await;
    let path = "/apis/apps/v1/namespaces/large/deployments/web-0";
    let (program, _) = Program::start(&plane, "1s").await;
    let web = until(async || {
        let web = plane.request(Method::GET, path, None).await.expect("the Deployment");
        web["metadata"]["generation"].as_i64().is_some_and(|generation| generation > 1).then_some(web)
    })
    .await;
    let before = program.memory("VmRSS");
    let labels = json!({"app": "web-0", "pod-template-hash": "new"});
    let owner = |kind: &str, name: &str, uid: &Value| json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid, "controller": true}]);
    let mut set = json!({
        "metadata": {"name": "web-0-new", "labels": labels, "annotations": {"deployment.kubernetes.io/revision": "2"}},
        "spec": {"replicas": PODS, "selector": {"matchLabels": labels}, "template": web["spec"]["template"]},
    });
    set["metadata"]["ownerReferences"] = owner("Deployment", "web-0", &web["metadata"]["uid"]);
    set["spec"]["template"]["metadata"]["labels"] = labels.clone();
    let set = create(&plane, "/apis/apps/v1/namespaces/large/replicasets", &set).await;
    let client = plane.client(ADMIN).await;
    let pod = async |n: usize| {
        let pods = "/api/v1/namespaces/large/pods";
        // The API server lists by name: the broken one is the last of the last page.
        let name = format!("web-0-{n:05}");
        let object = json!({
            "metadata": {
                "name": name, "labels": labels, "ownerReferences": owner("ReplicaSet", "web-0-new", &set["metadata"]["uid"]),
            },
            "spec": web["spec"]["template"]["spec"],
        });
        request(&client, Method::POST, pods, Some(&object)).await.expect("a pod");
        if n == PODS - 1 {
            let waiting =
                json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off restarting failed container"}});
            let status = json!({"status": {"phase": "Running", "containerStatuses": [{
                "name": "web", "image": "web", "imageID": "", "ready": false, "restartCount": 3, "state": waiting,
            }]}});
            request(&client, Method::PATCH, &format!("{pods}/{name}/status"), Some(&status)).await.expect("its status");
        }
    };
    stream::iter((0..PODS).map(pod)).buffer_unordered(AT_ONCE).for_each(async |()| ()).await;
    let status = json!({"status": {
        "observedGeneration": web["metadata"]["generation"], "replicas": PODS, "updatedReplicas": PODS,
        "unavailableReplicas": PODS,
    }});
    request(&client, Method::PATCH, &format!("{path}/status"), Some(&status)).await.expect("its status");
    let mut memory = before;
    let message = until(async || {
        memory = memory.max(program.memory("VmRSS"));
        let list = read(&plane, "/apis/supercargo.dev/v1alpha1/imageupdates").await;
        let failed = list.iter().find(|update| update["status"]["phase"] == "Failed")?;
        Some(failed["status"]["reason"]["message"].as_str().expect("a message").to_owned())
    })
    .await;
    assert!(message.contains(&format!("web-0-{:05}", PODS - 1)), "it is told of the broken pod: {message}");
    let what = format!("a rollout of {PODS} pods, of which the last in name is broken");
    table.noted(format!("{what}: resident memory, more than before"), format!("{:.1} MB", memory - before));
}

/// A Deployment of `web:1.0.0`.
fn web(registry: &Registry, n: usize, replicas: usize) -> Value {
    let annotations = json!({"supercargo.dev/policy": "minor", "supercargo.dev/flavour": "any"});
    let mut object = deployment(&format!("web-{n}"), &format!("{}/web:1.0.0", registry.host), annotations);
    object["spec"]["replicas"] = json!(replicas);
    object
}

async fn create(plane: &ControlPlane, path: &str, object: &Value) -> Value {
    plane.request(Method::POST, path, Some(object)).await.unwrap_or_else(|error| panic!("{path}: {error}"))
}

async fn read(plane: &ControlPlane, path: &str) -> Vec<Value> {
    let list = plane.request(Method::GET, path, None).await.unwrap_or_else(|error| panic!("{path}: {error}"));
    list["items"].as_array().cloned().unwrap_or_default()
}

fn at(time: &Value) -> Timestamp {
    time.as_str().expect("a time").parse().expect("a time")
}

/// Asks until there is an answer.
async fn until<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(began.elapsed() < Duration::from_mins(10), "waited in vain");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
