//! The whole job of one namespace, in parts: what each needs, and which are not done.

use std::collections::BTreeSet;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::Method;
use kube::Client;
use serde_json::{Value, json};

use super::said;
use crate::support::{
    control_plane::{ADMIN, Namespace, request},
    eventually, http,
    objects::{deployment, event_says, policy, workload},
    operator::Operator,
    records::{self, update},
    registry::{Access, Options, PASSWORD, Registry, USER, docker_config},
    within_minutes,
};

/// A part of the job, or a kind: the workload of that kind is updated.
pub(crate) type Part = &'static str;

pub(crate) const KINDS: [(Part, &str); 4] = [
    ("Deployment", "deployments"),
    ("StatefulSet", "statefulsets"),
    ("DaemonSet", "daemonsets"),
    ("CronJob", "cronjobs"),
];
/// The operator says that it is ready.
pub(crate) const READY: Part = "ready";
/// Each update is told by an Event.
pub(crate) const EVENTS: Part = "events";
/// What is told twice becomes a series of one Event.
pub(crate) const SERIES: Part = "series";
/// An annotation of the Namespace, changed meanwhile, counts for a workload without any.
pub(crate) const DEFAULTS: Part = "defaults";
/// An image of a registry that wants the workload's pull secret is found.
pub(crate) const PRIVATE: Part = "private";
/// Each update is recorded, to its end.
pub(crate) const RECORDED: Part = "recorded";
/// What was set is remembered by the workload's name.
pub(crate) const REMEMBERED: Part = "remembered";
/// Of a workload of which eleven updates have ended ten are kept.
pub(crate) const CLEARED: Part = "cleared";
/// Of a workload that is gone, from which nothing was taken away again, nothing is remembered.
pub(crate) const FORGOTTEN: Part = "forgotten";
/// Of a Deployment and a DaemonSet whose new pods crash that is recorded, in the words of the pods.
pub(crate) const CRASHED: Part = "crashed";
/// Of each kind, as [`KINDS`]: a workload whose image another field manager moved back is left alone, and told whose.
pub(crate) const MOVED_BACK: [Part; 4] =
    ["Deployment moved back", "StatefulSet moved back", "DaemonSet moved back", "CronJob moved back"];

/// Where records are.
const RECORDS: &str = "/apis/supercargo.dev/v1alpha1";

/// The registries that the job is about.
pub(crate) struct Registries {
    open: Registry,
    private: Registry,
}

impl Registries {
    pub(crate) async fn start() -> Self {
        let open = Registry::start().await;
        let private = Registry::start_with(Options { access: Access::Password, ..Options::default() }).await;
        for registry in [&open, &private] {
            registry.push_tags("web", ["1.0.0", "1.1.0"]).await;
        }
        open.push_tags("broken", ["1.0.0", "1.1.0"]).await;
        Self { open, private }
    }
}

/// The job in one namespace.
pub(crate) struct Job<'a> {
    pub(crate) namespace: Namespace<'a>,
    registries: &'a Registries,
    /// What belongs to it.
    pub(crate) parts: BTreeSet<Part>,
    client: Client,
}

impl<'a> Job<'a> {
    /// With or without the parts that not every installation can do.
    pub(crate) async fn new(namespace: Namespace<'a>, registries: &'a Registries, more: &[Part]) -> Self {
        let kinds = KINDS.iter().map(|(kind, _)| *kind);
        let always = [READY, EVENTS, SERIES, RECORDED, REMEMBERED, CLEARED, FORGOTTEN, CRASHED];
        let parts = kinds.chain(MOVED_BACK).chain(always).chain(more.iter().copied()).collect();
        let client = namespace.plane.client(ADMIN).await;
        Self { namespace, registries, parts, client }
    }

    /// Gives the operator, which is ready or never will be, all there is to do, and does not end.
    pub(crate) async fn give(&self, operator: &Operator) -> std::convert::Infallible {
        for n in 0..10 {
            let id = format!("{n:016x}");
            let mut ended = update(&format!("deployment-web-{id}"), "web");
            ended["spec"]["id"] = json!(id);
            ended["metadata"]["labels"] = json!({"supercargo.dev/workload": "deployment-web"});
            records::create(&self.namespace, "imageupdates", &ended, &records::status("Succeeded")).await;
        }
        for (kind, _) in KINDS {
            for (name, annotations) in [("web", policy("minor")), ("back", self.set_before())] {
                self.create(workload(kind, name, annotations, &[("web", &self.image("1.0.0"))])).await;
            }
        }
        for kind in ["Deployment", "DaemonSet"] {
            let image = format!("{}/broken:1.0.0", self.registries.open.host);
            let mut object = workload(kind, "crash", policy("minor"), &[("web", &image)]);
            match kind {
                "Deployment" => object["spec"]["replicas"] = json!(1),
                _ => _ = object["spec"]["template"]["spec"].as_object_mut().unwrap().remove("nodeSelector"),
            }
            self.create(object).await;
        }
        self.create(deployment("brief", &self.image("1.0.0"), policy("minor"))).await;
        if self.parts.contains(DEFAULTS) {
            self.create(deployment("bare", &self.image("1.0.0"), Value::Null)).await;
            let path = format!("/api/v1/namespaces/{}", self.namespace.name);
            let defaults = json!({"metadata": {"annotations": policy("minor")}});
            request(&self.client, Method::PATCH, &path, Some(&defaults)).await.unwrap();
        }
        if self.parts.contains(PRIVATE) {
            self.create_private().await;
        }
        // One mistake, another, and the first again.
        let mistake = |key: &str, other: &str| json!({"metadata": {"annotations": {key: "minor", other: null}}});
        let (one, two) = ("supercargo.dev/polcy", "supercargo.dev/pollicy");
        let annotations = json!({"supercargo.dev/policy": "minor", one: "minor"});
        self.create(deployment("odd", &self.image("1.1.0"), annotations)).await;
        for (told, next) in [(one, mistake(two, one)), (two, mistake(one, two))] {
            let id = format!("{}/Deployment/odd", self.namespace.name);
            let is_told = |line: &str| line.contains(&id) && line.contains(told);
            eventually("the mistake is told", async || said(operator).lines().any(is_told).then_some(())).await;
            self.namespace.merge("deployments", "odd", next).await;
        }
        within_minutes(60, async || self.state_of("Deployment", "brief").await).await;
        if self.state_of("Deployment", "brief").await.is_some() {
            self.namespace.delete("deployments", "brief").await;
        }
        std::future::pending().await
    }

    /// What was set in a workload, where that is remembered.
    async fn state_of(&self, kind: &str, name: &str) -> Option<Value> {
        let states = self.read(RECORDS, "imagestates").await;
        let is_it = |state: &&Value| {
            let workload = &state["status"]["workload"];
            workload["kind"] == kind && workload["name"] == name && state["status"]["applied"].is_array()
        };
        states["items"].as_array().unwrap().iter().find(is_it).cloned()
    }

    /// A workload of the registry that wants a password, and its pull secret.
    pub(crate) async fn create_private(&self) {
        let host = &self.registries.private.host;
        let data = BASE64_STANDARD.encode(docker_config(host, USER, PASSWORD));
        self.create(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "pull"},
            "type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": data},
        }))
        .await;
        let mut object = deployment("private", &format!("{host}/web:1.0.0"), policy("minor"));
        object["spec"]["template"]["spec"]["imagePullSecrets"] = json!([{"name": "pull"}]);
        self.create(object).await;
    }

    /// The parts that are not done.
    pub(crate) async fn missing(&self, operator: &Operator) -> BTreeSet<Part> {
        let mut missing = self.parts.clone();
        if http().get(format!("{}/readyz", operator.private)).send().await.is_ok_and(|answer| answer.status() == 200) {
            missing.remove(READY);
        }
        let events = self.read("/apis/events.k8s.io/v1", "events").await;
        let events = events["items"].as_array().unwrap();
        let told = |kind: &str| {
            events.iter().any(|e| {
                e["reason"] == "ImageUpdated" && e["regarding"]["kind"] == kind && e["regarding"]["name"] == "web"
            })
        };
        let back = |kind: &str| {
            events.iter().any(|e| {
                e["regarding"]["kind"] == kind
                    && e["regarding"]["name"] == "back"
                    && e["note"]
                        .as_str()
                        .is_some_and(|note| ["(held)", "(reverted)"].iter().any(|code| note.contains(code)))
            })
        };
        let mut updated = BTreeSet::new();
        for ((kind, plural), moved_back) in KINDS.into_iter().zip(MOVED_BACK) {
            if back(kind) {
                missing.remove(moved_back);
            }
            let api = if kind == "CronJob" { "/apis/batch/v1" } else { "/apis/apps/v1" };
            let workloads = self.read(api, plural).await;
            let runs = |name: &str, image: &str| {
                workloads["items"].as_array().unwrap().iter().any(|object| {
                    let pod = object.pointer("/spec/jobTemplate/spec/template/spec/containers/0/image");
                    let pod = pod.or(object.pointer("/spec/template/spec/containers/0/image"));
                    object["metadata"]["name"] == name && pod.is_some_and(|found| found == image)
                })
            };
            if runs("web", &self.image("1.1.0")) {
                missing.remove(kind);
                updated.insert(kind);
            }
            if kind == "Deployment" && runs("bare", &self.image("1.1.0")) {
                missing.remove(DEFAULTS);
            }
            if kind == "Deployment" && runs("private", &format!("{}/web:1.1.0", self.registries.private.host)) {
                missing.remove(PRIVATE);
            }
        }
        if !updated.is_empty() && updated.iter().all(|kind| told(kind)) {
            missing.remove(EVENTS);
        }
        self.records(&updated, &mut missing).await;
        let twice = |e: &Value| e["regarding"]["name"] == "odd" && e["series"]["count"].as_u64() >= Some(2);
        if events.iter().any(twice) {
            missing.remove(SERIES);
        }
        missing
    }

    /// Takes away what is done about the records of those that were updated.
    async fn records(&self, updated: &BTreeSet<&str>, missing: &mut BTreeSet<Part>) {
        let updates = self.read(RECORDS, "imageupdates").await;
        let updates = updates["items"].as_array().unwrap();
        let is_of = |update: &Value, kind: &str| {
            let workload = &update["spec"]["workload"];
            workload["kind"] == kind && workload["name"] == "web"
        };
        // Those that were there before have another id.
        let is_recorded = |kind: &str| {
            updates.iter().any(|update| {
                is_of(update, kind) && update["spec"]["write"] == "cluster" && update["status"]["phase"] == "Succeeded"
            })
        };
        if !updated.is_empty() && updated.iter().all(|kind| is_recorded(kind)) {
            missing.remove(RECORDED);
        }
        let crashed = updates.iter().filter(|update| {
            let message = update["status"]["reason"]["message"].as_str().unwrap_or_default();
            update["spec"]["workload"]["name"] == "crash" && message.contains("CrashLoopBackOff")
        });
        if crashed.count() == 2 {
            missing.remove(CRASHED);
        }
        let kept = updates.iter().filter(|update| is_of(update, "Deployment")).count();
        if kept == 10 && is_recorded("Deployment") {
            missing.remove(CLEARED);
        }
        let mut is_remembered = !updated.is_empty();
        for kind in updated {
            is_remembered &= self.state_of(kind, "web").await.is_some();
        }
        if is_remembered {
            missing.remove(REMEMBERED);
        }
        let is_there = |objects: Value| {
            let named =
                |object: &Value| ["brief", "deployment-brief"].iter().any(|name| object["metadata"]["name"] == *name);
            objects["items"].as_array().unwrap().iter().any(named)
        };
        let of = [("/apis/apps/v1", "deployments"), (RECORDS, "imagestates")];
        let [workload, state] = of.map(|(api, plural)| async move { is_there(self.read(api, plural).await) });
        // It was there once: the workload is taken away only then.
        if !workload.await && !state.await {
            missing.remove(FORGOTTEN);
        }
    }

    /// Waits until the parts that are not done are as expected.
    pub(crate) async fn comes_to(&self, operator: &Operator, is_expected: impl Fn(&BTreeSet<Part>) -> bool) {
        let mut missing = self.parts.clone();
        let ended = within_minutes(5, async || {
            missing = self.missing(operator).await;
            is_expected(&missing).then_some(())
        });
        if ended.await.is_some() {
            return;
        }
        let (said, metrics) = (said(operator), operator.metrics().await);
        panic!("of {:?} {missing:?} are not done; it said:\n{said}\n{metrics}", self.parts);
    }

    /// Takes away what goes on for ever.
    pub(crate) async fn end(&self) {
        for plural in ["deployments", "daemonsets"] {
            self.namespace.delete(plural, "crash").await;
        }
    }

    /// The whole job, to its end.
    pub(crate) async fn done(&self, operator: &Operator) {
        operator.ready().await;
        tokio::select! {
            never = self.give(operator) => match never {},
            () = self.comes_to(operator, BTreeSet::is_empty) => {}
        }
    }

    /// Waits for the Event that says why the private one is not updated.
    pub(crate) async fn why_not_private(&self) -> String {
        event_says(&self.namespace, "private", "(secret-unreadable)").await
    }

    /// The annotations of a workload that was updated, before its image was moved back.
    fn set_before(&self) -> Value {
        let change = json!({"container": "web", "from": self.image("1.0.0"), "to": self.image("1.1.0")});
        let note = json!({"id": "0123456789abcdef", "at": "2026-01-02T03:04:05Z", "changes": [change]});
        json!({"supercargo.dev/policy": "minor", "supercargo.dev/last-update": note.to_string()})
    }

    fn image(&self, tag: &str) -> String {
        format!("{}/web:{tag}", self.registries.open.host)
    }

    async fn read(&self, api: &str, plural: &str) -> Value {
        let path = format!("{api}/namespaces/{}/{plural}", self.namespace.name);
        request(&self.client, Method::GET, &path, None).await.unwrap()
    }

    async fn create(&self, mut object: Value) {
        object["metadata"]["namespace"] = json!(self.namespace.name);
        self.namespace.plane.create(&object.to_string()).await;
    }
}
