//! A cluster full of workloads as people write them, and a registry full of repositories.

use std::{fs, os::unix::fs::symlink, path::Path};

use futures::{StreamExt, stream};
use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    control_plane::{ADMIN, ControlPlane, Parts, request},
    registry::{Image, Options, Registry},
};

/// How many repositories the registry has, with how many tags each.
pub(crate) const REPOSITORIES: usize = 2_000;
pub(crate) const TAGS: usize = 100;
const NAMESPACES: usize = 20;
/// Requests to the API server under way while the fleet is made.
pub(crate) const AT_ONCE: usize = 32;
/// The newest tag of every repository, which every workload runs.
pub(crate) const NEWEST: &str = "1.5.9";

/// An API server without controllers, a registry, and so many workloads.
pub(crate) struct Fleet {
    pub(crate) plane: ControlPlane,
    pub(crate) registry: Registry,
    pub(crate) size: usize,
    _storage: TempDir,
}

impl Fleet {
    pub(crate) async fn start() -> Self {
        let storage = tempfile::tempdir().unwrap();
        let overrides = json!({
            "storage": {"filesystem": {"rootdirectory": storage.path()}, "delete": {"enabled": true}},
            // Who asks for what, on stdout.
            "log": {"level": "error", "accesslog": {"disabled": false}},
        });
        let registry = Registry::start_with(Options { overrides, ..Options::default() }).await;
        registry.push_tags("fleet/template", tags()).await;
        copies(storage.path());
        let plane = ControlPlane::start(Parts::Api).await;
        for n in 0..NAMESPACES {
            let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace(n)}});
            plane.create(&object.to_string()).await;
        }
        Self { plane, registry, size: 0, _storage: storage }
    }

    /// Creates workloads until there are `size`.
    pub(crate) async fn grow(&mut self, size: usize) {
        eprintln!("creating workloads: {} to {size}", self.size);
        let client = self.plane.client(ADMIN).await;
        let create = |n: usize| {
            let image = format!("{}/{}:{NEWEST}", self.registry.host, self.repository(n));
            let object = deployment(&format!("app-{n:05}"), &image);
            let (client, path) = (client.clone(), collection(&namespace(n)));
            async move { request(&client, Method::POST, &path, Some(&object)).await.expect("a Deployment is created") }
        };
        stream::iter((self.size..size).map(create)).buffer_unordered(AT_ONCE).for_each(async |_| ()).await;
        self.size = size.max(self.size);
    }

    /// Sets or removes an annotation of every Namespace, which is a default for all its workloads.
    pub(crate) async fn default_annotation(&self, key: &str, value: Value) {
        for n in 0..NAMESPACES {
            let patch = json!({"metadata": {"annotations": {key: value}}});
            let path = format!("/api/v1/namespaces/{}", namespace(n));
            self.plane.request(Method::PATCH, &path, Some(&patch)).await.expect("a Namespace is changed");
        }
    }

    /// The repository of a workload's image.
    pub(crate) fn repository(&self, n: usize) -> String {
        format!("fleet/r{:04}", n % REPOSITORIES)
    }

    /// Where a workload is found at the API server.
    pub(crate) fn path(&self, n: usize) -> String {
        format!("{}/app-{n:05}", collection(&namespace(n)))
    }

    /// How many repositories the workloads use.
    pub(crate) fn repositories(&self) -> usize {
        self.size.min(REPOSITORIES)
    }

    /// Creates a Deployment that runs an older tag of the repository of that number.
    pub(crate) async fn behind(&self, n: usize, tag: &str) {
        let image = format!("{}/{}:{tag}", self.registry.host, self.repository(n));
        let object = deployment(&format!("behind-{n:05}"), &image);
        let created = self.plane.request(Method::POST, &collection(&namespace(n)), Some(&object)).await;
        created.expect("a Deployment is created");
    }

    /// Pushes an image of its own and creates a Deployment that runs it.
    pub(crate) async fn add(&self, name: &str, repository: &str, tag: &str) -> String {
        self.registry.push(repository, tag, &Image::unique()).await;
        let image = format!("{}/{repository}:{tag}", self.registry.host);
        let path = collection(&namespace(0));
        self.plane.request(Method::POST, &path, Some(&deployment(name, &image))).await.expect("it is created");
        format!("{path}/{name}")
    }
}

pub(crate) fn namespace(n: usize) -> String {
    format!("team-{:02}", n % NAMESPACES)
}

fn collection(namespace: &str) -> String {
    format!("/apis/apps/v1/namespaces/{namespace}/deployments")
}

/// Releases, candidates and builds of branches.
fn tags() -> Vec<String> {
    let releases = (0..6).flat_map(|minor| (0..10).map(move |patch| format!("1.{minor}.{patch}")));
    let candidates = (0..20).map(|n| format!("1.{}.0-rc.{}", n % 6, n / 6));
    let builds = (0..20).map(|n| format!("main-{:07x}", 0x1a2_b3c4 + n * 7919));
    let tags: Vec<String> = releases.chain(candidates).chain(builds).collect();
    assert_eq!(tags.len(), TAGS);
    tags
}

/// Every repository is a link to one folder: the registry lists each on its own.
fn copies(storage: &Path) {
    let folder = storage.join("docker/registry/v2/repositories/fleet");
    for n in 0..REPOSITORIES {
        symlink(folder.join("template"), folder.join(format!("r{n:04}"))).unwrap();
    }
    assert!(fs::read_dir(folder.join("r0000/_manifests/tags")).unwrap().count() == TAGS);
}

/// About 6 kB as the API server sends it, half of it managedFields, as after `kubectl apply`.
fn deployment(name: &str, image: &str) -> Value {
    let labels = json!({
        "app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "shop", "app.kubernetes.io/version": "1",
        "app.kubernetes.io/component": "backend", "team": "checkout",
    });
    let probe = json!({"httpGet": {"path": "/healthz", "port": "http"}, "initialDelaySeconds": 5, "periodSeconds": 10});
    let mut object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "name": name, "labels": labels,
            "annotations": {"supercargo.dev/policy": "minor", "supercargo.dev/containers": "app", "contact": "team@example.com"},
        },
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app.kubernetes.io/name": name}},
            "template": {
                "metadata": {"labels": labels, "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "8080"}},
                "spec": {
                    "serviceAccountName": "default",
                    "securityContext": {"runAsNonRoot": true, "runAsUser": 65534},
                    "containers": [{
                        "name": "app", "image": image,
                        "ports": [{"name": "http", "containerPort": 8080}],
                        "env": [
                            {"name": "LOG_LEVEL", "value": "info"},
                            {"name": "DATABASE_URL", "valueFrom": {"secretKeyRef": {"name": "database", "key": "url"}}},
                            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                        ],
                        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
                        "livenessProbe": probe, "readinessProbe": probe,
                        "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true},
                        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, {"name": "config", "mountPath": "/etc/app"}],
                    }, {
                        "name": "proxy", "image": "envoyproxy/envoy:v1.31.2",
                        "args": ["-c", "/etc/envoy/envoy.yaml", "--log-level", "warn"],
                        "ports": [{"name": "admin", "containerPort": 9901}],
                        "volumeMounts": [{"name": "config", "mountPath": "/etc/envoy"}],
                    }],
                    "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "config", "configMap": {"name": name}}],
                },
            },
        },
    });
    let applied = object.to_string();
    object["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] = json!(applied);
    object
}
