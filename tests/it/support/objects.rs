//! Workloads to create, and what is said about them. None has a replica, so that nothing but their fields moves.

use serde_json::{Value, json};

use super::{
    control_plane::{ControlPlane, Namespace},
    eventually,
};

/// A workload of any kind with these containers (name, image), which are all named in `spec`'s pod template.
pub(crate) fn workload(kind: &str, name: &str, annotations: Value, containers: &[(&str, &str)]) -> Value {
    let containers: Value = containers.iter().map(|(name, image)| json!({"name": name, "image": image})).collect();
    let template = json!({"metadata": {"labels": {"app": name}}, "spec": {"containers": containers}});
    let selector = json!({"matchLabels": {"app": name}});
    let (version, spec) = match kind {
        "CronJob" => {
            let mut template = template;
            template["spec"]["restartPolicy"] = json!("Never");
            (
                "batch/v1",
                json!({"schedule": "0 0 1 1 *", "suspend": true, "jobTemplate": {"spec": {"template": template}}}),
            )
        }
        "StatefulSet" => {
            ("apps/v1", json!({"replicas": 0, "serviceName": name, "selector": selector, "template": template}))
        }
        "DaemonSet" => {
            let mut template = template;
            template["spec"]["nodeSelector"] = json!({"no": "node"});
            ("apps/v1", json!({"selector": selector, "template": template}))
        }
        _ => ("apps/v1", json!({"replicas": 0, "selector": selector, "template": template})),
    };
    json!({"apiVersion": version, "kind": kind, "metadata": {"name": name, "annotations": annotations}, "spec": spec})
}

/// A Deployment with one container `web`.
pub(crate) fn deployment(name: &str, image: &str, annotations: Value) -> Value {
    workload("Deployment", name, annotations, &[("web", image)])
}

/// `supercargo.dev/policy`
pub(crate) fn policy(policy: &str) -> Value {
    json!({"supercargo.dev/policy": policy})
}

/// Waits until a Deployment runs exactly these images.
pub(crate) async fn runs(namespace: &Namespace<'_>, name: &str, images: &[&str]) {
    eventually(&format!("{name} runs {images:?}"), async || {
        (namespace.images("deployments", name).await == images).then_some(())
    })
    .await;
}

/// Reason and message of each Event on a workload.
pub(crate) async fn events(namespace: &Namespace<'_>, name: &str) -> Vec<(String, String)> {
    let path = format!("/api/v1/namespaces/{}/events", namespace.name);
    let all = namespace.plane.request(http::Method::GET, &path, None).await.unwrap();
    let of = all["items"].as_array().unwrap().iter().filter(|event| event["involvedObject"]["name"] == name);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    of.map(|event| (text(&event["reason"]), text(&event["message"]))).collect()
}

/// Waits for an Event on a workload whose message has these words.
pub(crate) async fn event_says(namespace: &Namespace<'_>, name: &str, words: &str) -> String {
    let what = format!("an Event on {name} says {words}");
    eventually(&what, async || {
        let all = events(namespace, name).await;
        all.into_iter().find(|(_, message)| message.contains(words)).map(|(_, message)| message)
    })
    .await
}

/// Every image that a user has successfully written, oldest first: (`…/deployments/web/spec/…/0/image`, image).
pub(crate) fn written(plane: &ControlPlane, user: &str) -> Vec<(String, String)> {
    let patches = plane.audit(user).into_iter().filter(|request| request.verb == "patch" && request.code == 200);
    let mut written = Vec::new();
    for patch in patches {
        let object = patch.uri.split('?').next().unwrap_or_default().to_owned();
        for operation in patch.body.as_array().into_iter().flatten() {
            let (path, value) = (operation["path"].as_str().unwrap_or_default(), operation["value"].as_str());
            if let ("replace", true, Some(image)) =
                (operation["op"].as_str().unwrap_or_default(), path.ends_with("/image"), value)
            {
                written.push((format!("{object}{path}"), image.to_owned()));
            }
        }
    }
    written
}

/// Waits until the rollout of a Deployment is over: before that `kubectl rollout undo` may find nothing to go back to.
pub(crate) async fn rolled_out(namespace: &Namespace<'_>, name: &str) {
    eventually(&format!("the rollout of {name} is ready"), async || {
        let object = namespace.get("deployments", name).await;
        let (status, count) = (&object["status"], |value: &Value| value.as_i64().unwrap_or_default());
        let wanted = count(&object["spec"]["replicas"]);
        let counts = ["replicas", "updatedReplicas", "availableReplicas"];
        let done = status["observedGeneration"] == object["metadata"]["generation"]
            && counts.into_iter().all(|key| count(&status[key]) == wanted);
        done.then_some(())
    })
    .await;
}
