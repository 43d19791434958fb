//! One workload whose rollouts are followed, with its registry.

use std::{path::Path, process::Command};

use http::Method;
use serde_json::{Value, json};

use super::{
    control_plane::{ADMIN, ControlPlane, Namespace, shared},
    eventually,
    git_server::BareRepo,
    objects::{events, workload},
    operator::{Operator, Setup},
    registry::{Image, Options, Registry},
    within_minutes,
};

/// A short life: what is waited for is one or two seconds. That a rollout stands still a loaded machine would bring about.
pub(crate) const QUICK: &str = "rollout: {settle: 1s, fault: 1s, stall: 1h}\n";

/// A registry with `web:1.0.0`, a namespace, and a folder for the configuration.
pub(crate) struct Shop<'p> {
    pub(crate) plane: &'p ControlPlane,
    pub(crate) namespace: Namespace<'p>,
    pub(crate) registry: Registry,
    pub(crate) folder: tempfile::TempDir,
}

impl Shop<'static> {
    pub(crate) async fn open(name: &str) -> Self {
        Self::open_on(shared().await, name).await
    }

    pub(crate) async fn open_on(plane: &'static ControlPlane, name: &str) -> Self {
        let registry = Registry::start_with(Options { in_files: true, ..Options::default() });
        let registry = registry.await;
        let namespace = plane.namespace(name).await;
        registry.push("web", "1.0.0", &Image::unique()).await;
        Self { plane, namespace, registry, folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn image(&self, tag: &str) -> String {
        format!("{}/web:{tag}", self.registry.host)
    }

    pub(crate) async fn push(&self, tag: &str) {
        self.registry.push("web", tag, &Image::unique()).await;
    }

    /// A workload that runs 1.0.0 in so many pods, if it has any.
    pub(crate) async fn create(&self, kind: &str, change: impl FnOnce(&mut Value)) {
        let annotations = json!({"supercargo.dev/policy": "minor", "supercargo.dev/flavour": "any"});
        let mut object = workload(kind, "web", annotations, &[("web", &self.image("1.0.0"))]);
        match kind {
            "DaemonSet" => _ = object["spec"]["template"]["spec"].as_object_mut().unwrap().remove("nodeSelector"),
            "CronJob" => {}
            _ => object["spec"]["replicas"] = json!(3),
        }
        change(&mut object);
        self.namespace.create(&object.to_string()).await;
    }

    pub(crate) async fn operator(&self, configuration: &str) -> Operator {
        let path = self.folder.path().join("config.yaml");
        std::fs::write(&path, configuration).unwrap();
        Operator::start(self.plane, &self.setup(&path)).await
    }

    pub(crate) fn setup(&self, path: &Path) -> Setup {
        Setup::in_namespace(&self.namespace, "1s").with(&["--config", path.to_str().unwrap()])
    }

    pub(crate) async fn all(&self, plural: &str) -> Vec<Value> {
        let path = format!("/apis/supercargo.dev/v1alpha1/namespaces/{}/{plural}", self.namespace.name);
        let list = self.plane.request(Method::GET, &path, None).await.unwrap();
        list["items"].as_array().unwrap().clone()
    }

    /// The update to a tag when it has come that far.
    pub(crate) async fn update(&self, tag: &str, phase: &str) -> Value {
        let to = self.image(tag);
        let mut all = Vec::new();
        let found = within_minutes(5, async || {
            all = self.all("imageupdates").await;
            all.retain(|update| update["spec"]["changes"][0]["to"] == to);
            all.iter().rfind(|update| update["status"]["phase"] == phase).cloned()
        });
        let found = found.await;
        found.unwrap_or_else(|| panic!("waited 5 min in vain: the update to {tag} is {phase}; there is {all:?}"))
    }

    /// Waits until it is remembered that a tag was set, and with that what ran before: who is killed earlier does not know the
    /// way back.
    pub(crate) async fn remembered(&self, tag: &str) {
        let to = self.image(tag);
        eventually(&format!("it is remembered that {tag} was set"), async || {
            let state = self.all("imagestates").await.pop()?;
            // It may have gone back since.
            let is_it = |one: &Value| one["to"] == to;
            let of = |key: &str| state["status"][key].as_array().is_some_and(|all| all.iter().any(is_it));
            (of("applied") || of("quarantined")).then_some(())
        })
        .await;
    }

    pub(crate) async fn quarantined(&self) -> Vec<Value> {
        let states = self.all("imagestates").await;
        states.iter().flat_map(|state| state["status"]["quarantined"].as_array().cloned().unwrap_or_default()).collect()
    }

    /// How often an Event of that reason was made of `web`.
    pub(crate) async fn told(&self, reason: &str) -> Vec<String> {
        let all = events(&self.namespace, "web").await;
        all.into_iter().filter(|(of, _)| of == reason).map(|(_, message)| message).collect()
    }

    /// What a command says of the cluster.
    pub(crate) fn says(&self, command: &str, args: &[&str]) -> String {
        let mut says = Command::new(env!("CARGO_BIN_EXE_supercargo"));
        says.arg(command).arg("--kubeconfig").arg(self.plane.kubeconfig(ADMIN)).args(args);
        String::from_utf8(says.output().unwrap().stdout).unwrap()
    }

    pub(crate) async fn event(&self, reason: &str) -> String {
        eventually(&format!("an Event {reason}"), async || self.told(reason).await.pop()).await
    }

    /// A workload that goes back by itself, with so much changed, which runs.
    pub(crate) async fn create_auto(&self, kind: &str, change: impl FnOnce(&mut Value)) {
        self.create(kind, |object| {
            object["metadata"]["annotations"]["supercargo.dev/rollback"] = json!("auto");
            change(object);
        })
        .await;
        self.available(&format!("{}s", kind.to_lowercase())).await;
    }

    /// Waits until all its pods are.
    pub(crate) async fn available(&self, plural: &str) {
        eventually("it runs", async || {
            let web = self.namespace.get(plural, "web").await;
            let available = web["status"]["availableReplicas"].as_i64().or(web["status"]["numberAvailable"].as_i64());
            (available == Some(3)).then_some(())
        })
        .await;
    }

    /// Sets a tag and changes the Deployment so, before anybody says that the tag does not run; returns who set it.
    pub(crate) async fn set_and_change(&self, tag: &str, change: &Value) -> String {
        let patient = self.operator("rollout: {fault: 1h, stall: 1h}\n").await;
        self.push(tag).await;
        self.remembered(tag).await;
        self.namespace.merge("deployments", "web", change.clone()).await;
        patient.user.clone()
    }

    /// What deploys from Git brings a tag.
    pub(crate) async fn deploy(&self, tag: &str) {
        let containers = json!([{"name": "web", "image": self.image(tag)}]);
        let spec = json!({"spec": {"template": {"spec": {"containers": containers}}}});
        self.namespace.merge("deployments", "web", spec).await;
    }

    /// Waits until the manifest in Git has a tag, which had 1.0.0 `before`.
    pub(crate) async fn in_git(&self, repo: &BareRepo, before: &str, tag: &str) {
        eventually(&format!("Git has {tag}"), async || {
            (String::from_utf8(repo.read("apps/web.yaml")).unwrap() == before.replace("1.0.0", tag)).then_some(())
        })
        .await;
    }
}

/// How an update came to its end.
pub(crate) fn story(update: &Value) -> Vec<&str> {
    update["status"]["log"].as_array().unwrap().iter().map(|entry| entry["phase"].as_str().unwrap()).collect()
}
