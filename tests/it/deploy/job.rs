//! The whole job of one namespace, in parts: what each needs, and which are not done.

use std::collections::BTreeSet;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::Method;
use kube::Client;
use serde_json::{Value, json};

use super::said;
use crate::support::{
    control_plane::{ADMIN, Namespace, request},
    eventually,
    objects::{deployment, event_says, policy, workload},
    operator::Operator,
    registry::{Access, Options, PASSWORD, Registry, USER, docker_config},
    within_a_minute,
};

/// A part of the job, or a kind: the workload of that kind is updated.
pub(super) type Part = &'static str;

pub(super) const KINDS: [(Part, &str); 4] = [
    ("Deployment", "deployments"),
    ("StatefulSet", "statefulsets"),
    ("DaemonSet", "daemonsets"),
    ("CronJob", "cronjobs"),
];
/// The operator says that it is ready.
pub(super) const READY: Part = "ready";
/// Each update is told by an Event.
pub(super) const EVENTS: Part = "events";
/// What is told twice becomes a series of one Event.
pub(super) const SERIES: Part = "series";
/// An annotation of the Namespace, changed meanwhile, counts for a workload without any.
pub(super) const DEFAULTS: Part = "defaults";
/// An image of a registry that wants the workload's pull secret is found.
pub(super) const PRIVATE: Part = "private";
/// Of each kind, as [`KINDS`]: a workload whose image another field manager moved back is left alone, and told whose.
pub(super) const MOVED_BACK: [Part; 4] =
    ["Deployment moved back", "StatefulSet moved back", "DaemonSet moved back", "CronJob moved back"];

/// The registries that the job is about.
pub(super) struct Registries {
    open: Registry,
    private: Registry,
}

impl Registries {
    pub(super) async fn start() -> Self {
        let open = Registry::start().await;
        let private = Registry::start_with(Options { access: Access::Password, ..Options::default() }).await;
        for registry in [&open, &private] {
            registry.push_tags("web", ["1.0.0", "1.1.0"]).await;
        }
        Self { open, private }
    }
}

/// The job in one namespace.
pub(super) struct Job<'a> {
    pub(super) namespace: Namespace<'a>,
    registries: &'a Registries,
    /// What belongs to it.
    pub(super) parts: BTreeSet<Part>,
    client: Client,
}

impl<'a> Job<'a> {
    /// With or without the parts that not every installation can do.
    pub(super) async fn new(namespace: Namespace<'a>, registries: &'a Registries, more: &[Part]) -> Self {
        let kinds = KINDS.iter().map(|(kind, _)| *kind);
        let parts = kinds.chain(MOVED_BACK).chain([READY, EVENTS, SERIES]).chain(more.iter().copied()).collect();
        let client = namespace.plane.client(ADMIN).await;
        Self { namespace, registries, parts, client }
    }

    /// Gives the operator, which is ready or never will be, all there is to do, and does not end.
    pub(super) async fn give(&self, operator: &Operator) -> std::convert::Infallible {
        for (kind, _) in KINDS {
            for (name, annotations) in [("web", policy("minor")), ("back", self.set_before())] {
                self.create(workload(kind, name, annotations, &[("web", &self.image("1.0.0"))])).await;
            }
        }
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
        std::future::pending().await
    }

    /// A workload of the registry that wants a password, and its pull secret.
    pub(super) async fn create_private(&self) {
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
    pub(super) async fn missing(&self, operator: &Operator) -> BTreeSet<Part> {
        let mut missing = self.parts.clone();
        if reqwest::get(format!("{}/readyz", operator.private)).await.is_ok_and(|answer| answer.status() == 200) {
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
                    && e["note"].as_str().is_some_and(|note| note.contains("(reverted)"))
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
        let twice = |e: &Value| e["regarding"]["name"] == "odd" && e["series"]["count"].as_u64() >= Some(2);
        if events.iter().any(twice) {
            missing.remove(SERIES);
        }
        missing
    }

    /// Waits until exactly these parts are not done.
    pub(super) async fn comes_to(&self, operator: &Operator, expected: &BTreeSet<Part>) {
        let mut missing = self.parts.clone();
        let ended = within_a_minute(async || {
            missing = self.missing(operator).await;
            (missing == *expected).then_some(())
        });
        if ended.await.is_some() {
            return;
        }
        let (said, metrics) = (said(operator), operator.metrics().await);
        panic!("of {:?} {missing:?} are not done, not {expected:?}; it said:\n{said}\n{metrics}", self.parts);
    }

    /// The whole job, to its end.
    pub(super) async fn done(&self, operator: &Operator) {
        operator.ready().await;
        let nothing = BTreeSet::new();
        tokio::select! {
            never = self.give(operator) => match never {},
            () = self.comes_to(operator, &nothing) => {}
        }
    }

    /// Waits for the Event that says why the private one is not updated.
    pub(super) async fn why_not_private(&self) -> String {
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
