//! The cluster adapter on a real API server: patches, watches, Secrets, Events.

use std::sync::Arc;

use serde_json::{Value, json};
use supercargo::{
    clock::SystemClock,
    domain::workload::{KindSpec, WorkloadId},
    ports::Clock,
};

use crate::support::control_plane::Namespace;

mod events;
mod histories;
mod records;
mod secrets;
mod watch;
mod write;

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::default())
}

fn id(kind: &str, namespace: &str, name: &str) -> WorkloadId {
    WorkloadId { kind: KindSpec::find(kind).unwrap().kind.clone(), namespace: namespace.into(), name: name.into() }
}

/// A workload that starts no pods, with these containers (`init/NAME` for init ones).
fn manifest(kind: &str, name: &str, containers: &[(&str, &str)]) -> Value {
    let list = |init: bool| -> Vec<Value> {
        let chosen = containers.iter().filter(|(name, _)| name.starts_with("init/") == init);
        chosen.map(|(name, image)| json!({"name": name.trim_start_matches("init/"), "image": image})).collect()
    };
    let spec = KindSpec::find(kind).unwrap();
    let labels = json!({"app": name});
    let mut pod = json!({"containers": list(false), "initContainers": list(true)});
    let template = json!({"metadata": {"labels": labels}, "spec": pod});
    let body = match kind {
        "Deployment" => {
            json!({"replicas": 0, "paused": true, "selector": {"matchLabels": labels}, "template": template})
        }
        "StatefulSet" => json!({"replicas": 0, "selector": {"matchLabels": labels}, "template": template}),
        "DaemonSet" => {
            let mut template = template;
            template["spec"]["nodeSelector"] = json!({"no": "node"});
            json!({"selector": {"matchLabels": labels}, "template": template})
        }
        _ => {
            pod["restartPolicy"] = json!("Never");
            json!({"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": {"spec": pod}}}})
        }
    };
    json!({"apiVersion": spec.api_version(), "kind": kind, "metadata": {"name": name}, "spec": body})
}

/// Creates one and returns its id.
async fn create(ns: &Namespace<'_>, kind: &str, name: &str, containers: &[(&str, &str)]) -> WorkloadId {
    ns.create(&manifest(kind, name, containers).to_string()).await;
    id(kind, &ns.name, name)
}
