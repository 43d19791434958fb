//! Records as custom resources: what only a cluster has to show. The rest is the suite of `store`.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};
use supercargo::{
    cluster::{CustomResources, Scope, watch},
    domain::{
        image::{ImageRef, Tag},
        reason::{Code, Reason},
        target::Route,
        update::{Applied, Change, Evidence, Item, LeftOut, LogEntry, Phase, Tracked, Update, WorkloadState},
    },
    ports::{Clock, ClusterChange, PutError, Records, Version},
    store::Memory,
};
use tokio::sync::mpsc;

use super::{clock, create, id};
use crate::support::{
    clock::SimClock,
    control_plane::{self, ADMIN, ControlPlane, Namespace, PLAIN, Parts, audited_user, request},
    eventually,
};

const API: &str = "/apis/supercargo.dev/v1alpha1";

async fn records(plane: &ControlPlane, user: &str) -> CustomResources {
    CustomResources::new(plane.client(user).await, clock(), Arc::new(Memory::new(clock())))
}

fn image(tag: &str) -> ImageRef {
    ImageRef::parse(&format!("registry.test/web:{tag}")).unwrap()
}

fn change(container: &str, to: usize) -> Change {
    Change { container: container.into(), init: false, from: image("1.0.0"), to: image(&format!("1.0.{to}")) }
}

/// An update of `web` to version `1.0.N`.
fn update(namespace: &Namespace<'_>, to: usize, phase: Phase) -> Tracked {
    let workload = id("Deployment", &namespace.name, "web");
    let items = vec![Item::from(change("web", to)), Item::from(change("side", to))];
    let proposed = Timestamp::from_second(1_772_366_400 + to as i64).unwrap();
    let update = Update::new(workload, items, Route::Commit("prod".into()), proposed);
    let log = vec![LogEntry { at: proposed, phase: phase.name(), reason: phase.reason().cloned() }];
    Tracked::recorded(update, phase, log)
}

fn name(tracked: &Tracked) -> String {
    format!("deployment-web-{}", tracked.update.id)
}

fn path(namespace: &Namespace<'_>, plural: &str, rest: &str) -> String {
    format!("{API}/namespaces/{}/{plural}{rest}", namespace.name)
}

/// Changes a status, as the administrator.
async fn edit_status(namespace: &Namespace<'_>, plural: &str, name: &str, status: Value) {
    let path = path(namespace, plural, &format!("/{name}/status"));
    namespace.plane.request(Method::PATCH, &path, Some(&json!({"status": status}))).await.unwrap();
}

async fn get(records: &CustomResources, like: &Tracked) -> Option<Tracked> {
    let found = Records::get(records, &like.update.workload, &like.update.id).await.unwrap();
    found.map(|(tracked, _)| tracked)
}

async fn version(records: &CustomResources, of: &Tracked) -> Version {
    Records::get(records, &of.update.workload, &of.update.id).await.unwrap().unwrap().1
}

async fn put(records: &CustomResources, tracked: &Tracked) {
    Records::put(records, tracked, None).await.unwrap();
}

#[tokio::test]
async fn an_update_of_which_nothing_was_said_is_gone_on_with_and_healed() {
    let plane = control_plane::shared().await;
    let namespace = plane.namespace("unsaid").await;
    let records = records(plane, ADMIN).await;
    let ended = update(&namespace, 1, Phase::Succeeded);
    put(&records, &ended).await;
    edit_status(&namespace, "imageupdates", &name(&ended), Value::Null).await;
    assert_eq!(get(&records, &ended).await.unwrap().phase, Phase::Applying);
    // It is another workload's under the same name.
    let mut remade = ended.clone();
    remade.update.uid = "another".into();
    assert_eq!(Records::put(&records, &remade, None).await, Err(PutError::Conflict));
    put(&records, &ended).await;
    assert_eq!(get(&records, &ended).await, Some(ended.clone()));
    assert_eq!(Records::put(&records, &ended, None).await, Err(PutError::Conflict), "it was said");

    let state = |tag: usize| WorkloadState {
        applied: vec![Applied { change: change("web", tag), at: Timestamp::UNIX_EPOCH, since: None }],
        ..WorkloadState::new(ended.update.workload.clone(), "".into())
    };
    records.put_state(&state(1), None).await.unwrap();
    for status in [Value::Null, json!({"workload": {"name": "other", "kind": "Deployment", "apiVersion": "apps/v1"}})] {
        edit_status(&namespace, "imagestates", "deployment-web", status).await;
        assert_eq!(records.put_state(&state(2), None).await, Err(PutError::Conflict));
        let (found, version) = records.state(&ended.update.workload).await.unwrap().unwrap();
        assert!(found.is_empty() && found.workload == ended.update.workload, "{found:?}");
        let version = records.put_state(&state(2), Some(&version)).await.unwrap();
        assert_eq!(records.state(&ended.update.workload).await.unwrap(), Some((state(2), version)));
    }
}

/// As the engine had begun to write before it was told that it cannot be read.
#[tokio::test]
async fn a_state_that_does_not_decode_is_not_written_over() {
    let plane = control_plane::shared().await;
    let namespace = plane.namespace("odd").await;
    let records = records(plane, ADMIN).await;
    let workload = update(&namespace, 1, Phase::Succeeded).update.workload;
    let applied = vec![Applied { change: change("web", 1), at: Timestamp::UNIX_EPOCH, since: None }];
    let state = WorkloadState { applied, ..WorkloadState::new(workload.clone(), "".into()) };
    let seen = records.put_state(&state, None).await.unwrap();
    let odd = json!([{"container": "web", "to": "no image at all", "backTo": "x", "by": "kubectl", "at": "2026-03-01T12:00:00Z"}]);
    edit_status(&namespace, "imagestates", "deployment-web", json!({"holds": odd})).await;
    assert_eq!(records.put_state(&state, Some(&seen)).await, Err(PutError::Conflict));
    let why = records.state(&workload).await.unwrap_err().to_string();
    assert!(why.contains("deployment-web does not decode") && why.contains("`no image at all`"), "{why}");
    edit_status(&namespace, "imagestates", "deployment-web", json!({"holds": null})).await;
    assert_eq!(records.state(&workload).await.unwrap().unwrap().0, state);
}

#[tokio::test]
async fn an_object_of_somebody_else_is_no_update_of_ours() {
    let plane = control_plane::shared().await;
    let namespace = plane.namespace("taken").await;
    let records = records(plane, ADMIN).await;
    let ours = update(&namespace, 1, Phase::Succeeded);
    let foreign = json!({
        "apiVersion": "supercargo.dev/v1alpha1", "kind": "ImageUpdate", "metadata": {"name": name(&ours)},
        "spec": {
            "id": "feedfeedfeedfeed", "write": "cluster", "proposedAt": "2026-03-01T12:00:00Z",
            "workload": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": ""},
            "changes": [{"container": "web", "from": "a:1", "to": "a:2"}],
        },
    });
    namespace.create(&foreign.to_string()).await;
    assert_eq!(Records::put(&records, &ours, None).await, Err(PutError::Conflict));
    assert_eq!(get(&records, &ours).await, None);
    assert_eq!(Records::of(&records, &ours.update.workload).await.unwrap(), []);
}

#[tokio::test]
async fn what_somebody_else_wrote_into_a_status_stays_there() {
    let plane = control_plane::shared().await;
    let namespace = plane.namespace("crowded").await;
    let records = records(plane, ADMIN).await;
    let left = LeftOut { container: "side".into(), init: false, reason: Reason::new(Code::GitNoPlace, "no file") };
    let in_git = Phase::InGit { reason: Reason::new(Code::Committed, "abc"), left: vec![left] };
    let open = update(&namespace, 1, in_git);
    put(&records, &open).await;
    let condition = json!({
        "type": "Reviewed", "status": "True", "reason": "ByAnn", "message": "", "lastTransitionTime": "2026-03-01T12:00:00Z",
    });
    let there = namespace.get("imageupdates", &name(&open)).await["status"]["conditions"][0].clone();
    edit_status(&namespace, "imageupdates", &name(&open), json!({"conditions": [there, condition]})).await;
    let (found, version) = Records::get(&records, &open.update.workload, &open.update.id).await.unwrap().unwrap();
    assert_eq!(found.update.items.len(), 1, "one is left out");
    // Meanwhile somebody writes again.
    edit_status(&namespace, "imageupdates", &name(&open), json!({"reason": {"code": "committed", "message": "def"}}))
        .await;
    let ended = Tracked::recorded(found.update, Phase::Succeeded, found.log);
    assert_eq!(Records::put(&records, &ended, Some(&version)).await, Err(PutError::Conflict));
    let (_, version) = Records::get(&records, &open.update.workload, &open.update.id).await.unwrap().unwrap();
    Records::put(&records, &ended, Some(&version)).await.unwrap();
    let status = namespace.get("imageupdates", &name(&open)).await["status"].clone();
    let types: Vec<&Value> = status["conditions"].as_array().unwrap().iter().map(|c| &c["type"]).collect();
    assert_eq!((&status["phase"], &status["leftOut"][0]["container"]), (&json!("Succeeded"), &json!("side")));
    assert_eq!(types, ["Applied", "Reviewed"]);
}

#[tokio::test]
async fn a_quota_and_a_policy_refuse_in_their_own_words() {
    let plane = control_plane::shared().await;
    let namespace = plane.namespace("refused").await;
    let records = records(plane, ADMIN).await;
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"},
        "spec": {"hard": {"count/imageupdates.supercargo.dev": "0"}},
    });
    namespace.create(&quota.to_string()).await;
    let tracked = update(&namespace, 1, Phase::Succeeded);
    let why = eventually("the quota counts", async || match Records::put(&records, &tracked, None).await {
        Err(PutError::Refused(why)) if why.contains("exceeded quota: none") => Some(why),
        // Until it has been counted for the first time.
        Err(PutError::Refused(_)) => None,
        Ok(_) => {
            namespace.delete("imageupdates", &name(&tracked)).await;
            None
        }
        other => panic!("{other:?}"),
    })
    .await;
    assert!(why.contains("used: count/imageupdates.supercargo.dev=0"), "{why}");
    namespace.delete("resourcequotas", "none").await;
    // A status that is not taken: what was created is healed later.
    refuse_statuses(&namespace).await;
    let why = eventually("the policy is in force", async || match Records::put(&records, &tracked, None).await {
        Err(PutError::Refused(why)) if why.contains("by the test") => Some(why),
        Err(PutError::Refused(_)) => None,
        Ok(_) => {
            namespace.delete("imageupdates", &name(&tracked)).await;
            None
        }
        other => panic!("{other:?}"),
    });
    assert!(why.await.contains("not taken"));
    let path = format!("{POLICIES}bindings/{}", namespace.name);
    plane.request(Method::DELETE, &path, None).await.unwrap();
    eventually("the policy is gone", async || Records::put(&records, &tracked, None).await.ok()).await;
    assert_eq!(get(&records, &tracked).await, Some(tracked));
}

const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicy";

/// Refuses statuses of updates of a namespace.
async fn refuse_statuses(namespace: &Namespace<'_>) {
    let rule = json!({
        "apiGroups": ["supercargo.dev"], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"],
        "resources": ["imageupdates/status"],
    });
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": namespace.name},
        "spec": {
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": "false", "message": "not taken, by the test"}],
        },
    });
    let selected = json!({"matchLabels": {"kubernetes.io/metadata.name": namespace.name}});
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": namespace.name},
        "spec": {
            "policyName": namespace.name, "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": selected},
        },
    });
    for (plural, object) in [("policies", policy), ("policybindings", binding)] {
        let path = POLICIES.replace("policy", plural);
        namespace.plane.request(Method::POST, &path, Some(&object)).await.unwrap();
    }
}

#[tokio::test]
async fn of_a_status_that_is_too_large_the_end_of_the_story_is_recorded() {
    let plane = control_plane::shared().await;
    let namespace = plane.namespace("large").await;
    let records = records(plane, ADMIN).await;
    // Near the 1.5 MiB that etcd takes.
    let tag = Tag::parse("1.1.0").unwrap();
    let passed = vec![Reason::of_tag(&tag, Code::NoMatch, "x".repeat(1000)); 20];
    let evidence = Evidence { tag, digest: None, seen: Timestamp::UNIX_EPOCH, passed };
    let item = |n: usize| Item { evidence: Some(evidence.clone()), ..Item::from(change(&format!("c{n}"), 1)) };
    let mut tracked = update(&namespace, 1, Phase::Applying);
    tracked.update.items = (0..64).map(item).collect();
    let entry = |n: usize| LogEntry {
        reason: Some(Reason::new(Code::WriteFailed, format!("the {n}th time {}", "x".repeat(1000)))),
        ..tracked.log[0].clone()
    };
    tracked.log = (0..20).map(entry).collect();
    let short = Tracked::recorded(tracked.update.clone(), Phase::Applying, tracked.log[..1].to_vec());
    put(&records, &short).await;
    for kilobytes in (0..256).step_by(8) {
        let annotations = json!({"ballast": "x".repeat(kilobytes * 1024)});
        namespace.merge("imageupdates", &name(&tracked), json!({"metadata": {"annotations": annotations}})).await;
        let version = version(&records, &tracked).await;
        Records::put(&records, &tracked, Some(&version)).await.unwrap();
        let (found, version) =
            Records::get(&records, &tracked.update.workload, &tracked.update.id).await.unwrap().unwrap();
        if found.log.len() < 20 {
            assert_eq!(found.log, tracked.log[15..]);
            return;
        }
        Records::put(&records, &short, Some(&version)).await.unwrap();
    }
    panic!("it was never too large");
}

#[tokio::test]
async fn what_a_finalizer_holds_is_asked_to_go_once() {
    let plane = control_plane::shared().await;
    let namespace = plane.namespace("held").await;
    let user = audited_user();
    let records = records(plane, &user).await;
    let first = update(&namespace, 1, Phase::Succeeded);
    put(&records, &first).await;
    let held = json!({"metadata": {"finalizers": ["test.example/held"]}});
    namespace.merge("imageupdates", &name(&first), held).await;
    for to in 2..=13 {
        put(&records, &update(&namespace, to, Phase::Succeeded)).await;
    }
    let of = async || Records::of(&records, &first.update.workload).await.unwrap().len();
    eventually("ten and the one that is held are left", async || (of().await == 11).then_some(())).await;
    let deleted = || {
        let all = plane.audit(&user).into_iter().filter(|request| request.verb == "delete");
        all.map(|request| request.uri.rsplit('/').next().unwrap().split('?').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    eventually("they are in the audit log", async || (deleted().len() >= 3).then_some(())).await;
    let held = deleted().into_iter().filter(|deleted| *deleted == name(&first)).count();
    assert_eq!((held, deleted().len()), (1, 3), "{:?}", deleted());
    // It goes on all the same.
    put(&records, &update(&namespace, 14, Phase::Succeeded)).await;
    eventually("one more goes", async || (deleted().len() == 4).then_some(())).await;
}

#[tokio::test]
async fn in_a_namespace_that_is_gone_nothing_is_left_to_record() {
    let plane = control_plane::shared().await;
    let namespace = plane.namespace("leaving").await;
    let records = records(plane, ADMIN).await;
    let tracked = update(&namespace, 1, Phase::Succeeded);
    // It cannot go before that.
    let held = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "held", "finalizers": ["test.example/held"]}});
    namespace.create(&held.to_string()).await;
    let path = format!("/api/v1/namespaces/{}", namespace.name);
    plane.request(Method::DELETE, &path, None).await.unwrap();
    put(&records, &tracked).await;
    assert_eq!(get(&records, &tracked).await, None, "it is terminating");
    namespace.merge("configmaps", "held", json!({"metadata": {"finalizers": []}})).await;
    eventually("it is gone", async || plane.request(Method::GET, &path, None).await.err()).await;
    put(&records, &tracked).await;
    assert_eq!(get(&records, &tracked).await, None);
}

#[tokio::test]
async fn the_garbage_collector_forgets_the_updates_of_a_workload_and_not_what_is_known_by_its_name() {
    let plane = control_plane::shared().await;
    let namespace = plane.namespace("collected").await;
    let records = records(plane, ADMIN).await;
    let workload = create(&namespace, "Deployment", "web", &[("web", "r.test/web:1")]).await;
    let mut tracked = update(&namespace, 1, Phase::Succeeded);
    tracked.update.uid = namespace.get("deployments", "web").await["metadata"]["uid"].as_str().unwrap().into();
    put(&records, &tracked).await;
    let applied = vec![Applied { change: change("web", 1), at: Timestamp::UNIX_EPOCH, since: None }];
    let state = WorkloadState { applied, ..WorkloadState::new(workload.clone(), tracked.update.uid.clone()) };
    records.put_state(&state, None).await.unwrap();
    namespace.delete("deployments", "web").await;
    records.forget(&workload).await.unwrap();
    eventually("its updates are forgotten", async || get(&records, &tracked).await.is_none().then_some(())).await;
    let (found, version) = records.state(&workload).await.unwrap().unwrap();
    assert_eq!(found, state);
    // What is empty is there no more.
    let empty = WorkloadState { applied: Vec::new(), ..state };
    assert_eq!(records.put_state(&empty, None).await, Err(PutError::Conflict));
    records.put_state(&empty, Some(&version)).await.unwrap();
    assert_eq!(records.state(&workload).await.unwrap(), None);
    records.put_state(&empty, None).await.unwrap();
}

/// Everything that a watch tells up to `Synced`, and what follows.
struct Watching {
    changes: mpsc::Receiver<ClusterChange>,
    task: tokio::task::JoinHandle<()>,
}

impl Watching {
    async fn start(
        plane: &ControlPlane,
        user: &str,
        namespace: &str,
        records: &CustomResources,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (sender, changes) = mpsc::channel(10_000);
        let (client, records) = (plane.client(user).await, records.clone());
        let scope = Scope::Namespaces(vec![namespace.to_owned()]);
        let watching = async move { watch(client, scope, None, Some(&records), None, clock, sender).await };
        Self { changes, task: tokio::spawn(watching) }
    }

    async fn next(&mut self) -> ClusterChange {
        let next = tokio::time::timeout(Duration::from_secs(30), self.changes.recv());
        next.await.expect("waited 30 s in vain").expect("the watch goes on")
    }

    /// What is told of records before `Synced`.
    async fn synced(&mut self) -> Vec<ClusterChange> {
        let mut all = Vec::new();
        loop {
            match self.next().await {
                ClusterChange::Synced => return all,
                change @ (ClusterChange::Record(..)
                | ClusterChange::State(..)
                | ClusterChange::RecordUndecodable(..)) => {
                    all.push(change);
                }
                _ => {}
            }
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn phases(changes: &[ClusterChange]) -> Vec<&str> {
    let phase = |change: &'_ ClusterChange| match change {
        ClusterChange::Record(tracked, _, _) => Some(tracked.phase.name().as_str()),
        _ => None,
    };
    let mut phases: Vec<&str> = changes.iter().filter_map(phase).collect();
    phases.sort_unstable();
    phases
}

#[tokio::test]
async fn what_has_not_ended_is_told_before_synced_with_its_version() {
    let plane = control_plane::shared().await;
    let namespace = plane.namespace("told").await;
    let user = audited_user();
    let records = records(plane, &user).await;
    let waiting = Phase::Waiting { reason: Reason::new(Code::RequestLimit, "two are open") };
    for (to, phase) in [Phase::Succeeded, waiting, Phase::Superseded, Phase::Applying].into_iter().enumerate() {
        put(&records, &update(&namespace, to, phase)).await;
    }
    let mut watching = Watching::start(plane, &user, &namespace.name, &records, clock()).await;
    let told = watching.synced().await;
    assert_eq!(phases(&told), ["Applying", "Waiting"]);
    let requests = plane.audit(&user).into_iter().filter(|request| request.verb == "list");
    let lists: Vec<String> =
        requests.map(|r| r.uri).filter(|uri| uri.contains("/imageupdates?") && uri.contains("phase")).collect();
    assert!(lists.len() == 1 && lists[0].contains("fieldSelector=status.phase"), "{lists:?}");
    // What is told may be written over as it was told.
    for change in told {
        let ClusterChange::Record(tracked, version, _) = change else { panic!("{change:?}") };
        Records::put(&records, &Tracked::recorded(tracked.update, Phase::Succeeded, tracked.log), Some(&version))
            .await
            .unwrap();
    }
    let next = update(&namespace, 9, Phase::Applying);
    put(&records, &next).await;
    let told = watching.next().await;
    let ClusterChange::Record(told, _, _) = told else { panic!("{told:?}") };
    assert_eq!(told.update.id, next.update.id, "of an end nothing is told");
}

#[tokio::test]
async fn without_selectable_fields_all_are_read_and_what_has_ended_is_dropped() {
    let plane = ControlPlane::start_without_kinds(Parts::Api).await;
    // As a server before Kubernetes 1.31 keeps it.
    plane
        .define_kinds_with(|crd| _ = crd["spec"]["versions"][0].as_object_mut().unwrap().remove("selectableFields"))
        .await;
    let namespace = plane.namespace_with("old", json!({})).await;
    let records = records(&plane, ADMIN).await;
    for (to, phase) in [Phase::Succeeded, Phase::Applying, Phase::Superseded].into_iter().enumerate() {
        put(&records, &update(&namespace, to, phase)).await;
    }
    let mut watching = Watching::start(&plane, ADMIN, &namespace.name, &records, clock()).await;
    let told = watching.synced().await;
    assert_eq!(phases(&told), ["Applying"]);
    let ClusterChange::Record(tracked, version, _) = told.into_iter().next().unwrap() else { unreachable!() };
    Records::put(&records, &Tracked::recorded(tracked.update, Phase::Succeeded, tracked.log), Some(&version))
        .await
        .unwrap();
    put(&records, &update(&namespace, 9, Phase::Applying)).await;
    assert_eq!(phases(&[watching.next().await]), ["Applying"]);
}

#[tokio::test]
async fn hostile_records_are_left_alone_and_told_and_others_go_on() {
    let plane = control_plane::shared().await;
    let namespace = plane.namespace("hostile-records").await;
    let records = records(plane, ADMIN).await;
    put(&records, &update(&namespace, 1, Phase::Applying)).await;
    let object = |name: &str, workload: &str, to: &str| {
        json!({
            "apiVersion": "supercargo.dev/v1alpha1", "kind": "ImageUpdate", "metadata": {"name": name},
            "spec": {
                "id": "0123456789abcdef", "write": "cluster", "proposedAt": "2026-03-01T12:00:00Z",
                "workload": {"apiVersion": "apps/v1", "kind": "Deployment", "name": workload, "uid": "u"},
                "changes": [{"container": "web", "from": "a:1", "to": to}],
            },
        })
    };
    namespace.create(&object("odd-image", "api", "no image at all").to_string()).await;
    namespace.create(&object("odd-name", "api", "a:2").to_string()).await;
    let state = json!({"apiVersion": "supercargo.dev/v1alpha1", "kind": "ImageState", "metadata": {"name": "odd-state"}, "spec": {}});
    namespace.create(&state.to_string()).await;
    let of_api = json!({"workload": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"}});
    edit_status(&namespace, "imagestates", "odd-state", of_api).await;
    // One workload with more than are read.
    let client = plane.client(ADMIN).await;
    let many = stream::iter(0..60).map(|n| {
        let id = format!("{n:016x}");
        let mut many = object(&format!("deployment-many-{id}"), "many", "a:2");
        many["spec"]["id"] = json!(id);
        let (client, path) = (client.clone(), path(&namespace, "imageupdates", ""));
        async move { request(&client, Method::POST, &path, Some(&many)).await.unwrap() }
    });
    many.buffer_unordered(8).collect::<Vec<_>>().await;
    let mut watching = Watching::start(plane, ADMIN, &namespace.name, &records, clock()).await;
    let told = watching.synced().await;
    let of = |workload: &str| {
        let is_of = |change: &&ClusterChange| matches!(change, ClusterChange::Record(tracked, _, _) if &*tracked.update.workload.name == workload);
        told.iter().filter(is_of).count()
    };
    assert_eq!((of("web"), of("many"), of("api")), (1, 50, 0));
    let mut problems: Vec<String> = told
        .iter()
        .filter_map(|change| match change {
            ClusterChange::RecordUndecodable(workload, why) => {
                Some(format!("{}: {why}", workload.to_string().split_once('/').unwrap().1))
            }
            _ => None,
        })
        .collect();
    problems.sort();
    assert_eq!(
        problems,
        [
            "Deployment/api: the ImageUpdate odd-image: to: `no image at all` is no repository: write [host[:port]/]path in lower case",
            "Deployment/api: the ImageUpdate odd-name: what it tells of would have the name deployment-api-0123456789abcdef",
            "Deployment/many: it has more updates that have not ended than are read: at most 50",
            "ImageState/odd-state: the ImageState odd-state: what it tells of would have the name deployment-api",
        ]
    );
}

/// Looks until records are kept in the cluster, or in memory.
async fn kept(plane: &ControlPlane, namespace: &Namespace<'_>, records: &CustomResources, to: usize) -> bool {
    let tracked = update(namespace, to, Phase::Succeeded);
    put(records, &tracked).await;
    assert_eq!(get(records, &tracked).await, Some(tracked.clone()));
    let path = path(namespace, "imageupdates", &format!("/{}", name(&tracked)));
    plane.request(Method::GET, &path, None).await.is_ok()
}

#[tokio::test]
async fn without_the_kinds_memory_serves_until_they_are_installed() {
    let plane = ControlPlane::start_without_kinds(Parts::Api).await;
    let namespace = plane.namespace_with("later", json!({})).await;
    let sim = SimClock::at("2026-03-01T12:00:00Z");
    let clock: Arc<dyn Clock> = Arc::new(sim.clone());
    let records = CustomResources::new(plane.client(ADMIN).await, clock.clone(), Arc::new(Memory::new(clock.clone())));
    let mut watching = Watching::start(&plane, ADMIN, &namespace.name, &records, clock).await;
    assert_eq!(watching.synced().await.len(), 0);
    assert!(!kept(&plane, &namespace, &records, 1).await);
    let old = update(&namespace, 1, Phase::Succeeded);
    let (_, version) = Records::get(&records, &old.update.workload, &old.update.id).await.unwrap().unwrap();
    plane.define_kinds().await;
    sim.advance(Duration::from_secs(30)).await;
    assert!(!kept(&plane, &namespace, &records, 2).await, "not asked again yet");
    sim.advance(Duration::from_secs(31)).await;
    let mut to = 2;
    eventually("they are kept in the cluster", async || {
        to += 1;
        kept(&plane, &namespace, &records, to).await.then_some(())
    })
    .await;
    // What memory gave is none of the cluster's.
    assert_eq!(Records::put(&records, &old, Some(&version)).await, Err(PutError::Conflict));
    assert_eq!(get(&records, &old).await, None);
}

#[tokio::test]
async fn records_go_to_memory_only_as_long_as_the_right_to_watch_them_is_away() {
    let plane = ControlPlane::start(Parts::Api).await;
    let namespace = plane.namespace_with("away", json!({})).await;
    let kubectl = |arguments: &[&str]| plane.kubectl(&[&["-n", &namespace.name], arguments].concat());
    let roles = [
        ("all", "*", "imageupdates.supercargo.dev,imageupdates.supercargo.dev/status,imagestates.supercargo.dev"),
        ("others", "list,watch", "deployments.apps,statefulsets.apps,daemonsets.apps,cronjobs.batch"),
    ];
    let bind = |role: &str| {
        kubectl(&["create", "rolebinding", role, &format!("--role={role}"), &format!("--user={}", PLAIN[0])]);
    };
    for (role, verbs, resources) in roles {
        kubectl(&["create", "role", role, &format!("--verb={verbs}"), &format!("--resource={resources}")]);
        bind(role);
    }
    let sim = SimClock::at("2026-03-01T12:00:00Z");
    let clock: Arc<dyn Clock> = Arc::new(sim.clone());
    let client = plane.client(PLAIN[0]).await;
    let records = CustomResources::new(client, clock.clone(), Arc::new(Memory::new(clock.clone())));
    let mut watching = Watching::start(&plane, PLAIN[0], &namespace.name, &records, clock).await;
    watching.synced().await;
    let workload = update(&namespace, 1, Phase::Succeeded).update.workload;
    assert!(!records.is_in_memory(&workload) && kept(&plane, &namespace, &records, 1).await);

    kubectl(&["delete", "rolebinding", "all"]);
    // Watches that are open go on; after a restart they are refused.
    plane.stop_api();
    plane.start_api();
    plane.ready().await;
    eventually("memory serves", async || {
        sim.advance(Duration::from_secs(31)).await;
        while watching.changes.try_recv().is_ok() {}
        records.is_in_memory(&workload).then_some(())
    })
    .await;
    bind("all");
    eventually("the cluster serves again", async || {
        sim.advance(Duration::from_secs(31)).await;
        while watching.changes.try_recv().is_ok() {}
        (!records.is_in_memory(&workload)).then_some(())
    })
    .await;
    let mut to = 1;
    eventually("updates are recorded", async || {
        sim.advance(Duration::from_secs(31)).await;
        while watching.changes.try_recv().is_ok() {}
        to += 1;
        kept(&plane, &namespace, &records, to).await.then_some(())
    })
    .await;
}

#[tokio::test]
async fn without_the_right_to_read_them_not_all_is_told_until_there_is_one() {
    let plane = control_plane::shared().await;
    let namespace = plane.namespace("rightless").await;
    let role = |verb: &str| {
        let resources =
            "--resource=imageupdates.supercargo.dev,imagestates.supercargo.dev,imageupdates.supercargo.dev/status";
        plane.kubectl(&["-n", &namespace.name, "create", "role", verb, &format!("--verb={verb}"), resources]);
        let (role, user) = (format!("--role={verb}"), format!("--user={}", PLAIN[0]));
        plane.kubectl(&["-n", &namespace.name, "create", "rolebinding", verb, &role, &user]);
    };
    plane.kubectl(&[
        "-n",
        &namespace.name,
        "create",
        "role",
        "others",
        "--verb=list,watch",
        "--resource=deployments.apps,statefulsets.apps,daemonsets.apps,cronjobs.batch",
    ]);
    let user = format!("--user={}", PLAIN[0]);
    plane.kubectl(&["-n", &namespace.name, "create", "rolebinding", "others", "--role=others", &user]);
    let sim = SimClock::at("2026-03-01T12:00:00Z");
    let clock: Arc<dyn Clock> = Arc::new(sim.clone());
    let records =
        CustomResources::new(plane.client(PLAIN[0]).await, clock.clone(), Arc::new(Memory::new(clock.clone())));
    let mut watching = Watching::start(plane, PLAIN[0], &namespace.name, &records, clock).await;
    let why = loop {
        match watching.next().await {
            ClusterChange::Forbidden(why) if why.contains("cannot list resource \"image") => break why,
            ClusterChange::Synced => panic!("what was remembered is not known"),
            _ => {}
        }
    };
    assert!(why.contains("cannot list resource \"image"), "{why}");
    for verb in ["list", "watch"] {
        role(verb);
    }
    eventually("all is told", async || {
        sim.advance(Duration::from_secs(31)).await;
        std::iter::from_fn(|| watching.changes.try_recv().ok()).find(|told| matches!(told, ClusterChange::Synced))
    })
    .await;
    // There is no right to write yet: that is told.
    let why = Records::put(&records, &update(&namespace, 1, Phase::Succeeded), None).await.unwrap_err();
    let PutError::Refused(why) = why else { panic!("{why:?}") };
    assert!(why.contains("cannot create resource \"imageupdates\""), "{why}");
    for verb in ["create", "update", "delete"] {
        role(verb);
    }
    assert!(kept(plane, &namespace, &records, 0).await);
}
