//! Records as other versions, or people, write them: by requests of the tests' own.

use http::Method;
use serde_json::{Value, json};
use supercargo::{clock::SystemClock, ports::Clock as _};

use super::control_plane::Namespace;

/// An update of two containers.
pub(crate) fn update(name: &str, workload: &str) -> Value {
    let at = "2026-03-01T08:00:00Z";
    let image = |name: &str, tag: &str| format!("registry.example.com/{name}:{tag}");
    let evidence = json!({"tag": "1.5.0", "seen": at, "passed": [
        {"tag": "1.6.0", "code": "registry-not-found", "message": "the registry has no manifest 1.6.0"},
    ]});
    json!({
        "apiVersion": "supercargo.dev/v1alpha1", "kind": "ImageUpdate", "metadata": {"name": name},
        "spec": {
            "id": "0123456789abcdef",
            "workload": {"apiVersion": "apps/v1", "kind": "Deployment", "name": workload, "uid": "u-1"},
            "changes": [
                {"container": "web", "from": image("web", "1.4.2"), "to": image("web", "1.5.0"), "policy": "minor",
                 "evidence": evidence},
                {"container": "init", "init": true, "from": image("init", "1"), "to": image("init", "2")},
            ],
            "write": "pr:infra", "group": "shop", "policyHash": "fedcba9876543210", "proposedAt": at,
        },
    })
}

/// A yes to an update.
pub(crate) fn review(name: &str, update: &str, approver: &str) -> Value {
    json!({
        "apiVersion": "supercargo.dev/v1alpha1", "kind": "ImageUpdateReview", "metadata": {"name": name},
        "spec": {
            "verb": "approve", "update": {"name": update, "uid": "u-1"}, "target": "0123456789abcdef".repeat(4),
            "approver": approver,
        },
    })
}

/// How far it has come.
pub(crate) fn status(phase: &str) -> Value {
    let at = "2026-03-01T08:00:00Z";
    let said = json!({"code": "request-open", "message": "https://git.example.com/pulls/7 waits to be merged"});
    json!({"status": {
        "phase": phase, "reason": said,
        "log": [{"at": at, "phase": "Proposed"}, {"at": at, "phase": phase, "code": said["code"], "message": said["message"]}],
        "leftOut": [{"container": "init", "init": true, "code": "git-no-place", "message": "no file names it"}],
        "conditions": [
            {"type": "Applied", "status": "False", "lastTransitionTime": at, "reason": phase, "message": "not yet"},
        ],
    }})
}

pub(crate) fn state(name: &str) -> Value {
    json!({"apiVersion": "supercargo.dev/v1alpha1", "kind": "ImageState", "metadata": {"name": name}, "spec": {}})
}

pub(crate) fn state_status() -> Value {
    let (at, image) = ("2026-03-01T08:00:00Z", |tag: &str| format!("registry.example.com/web:{tag}"));
    json!({"status": {
        "workload": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "u-1"},
        "applied": [{"container": "web", "from": image("1.4.2"), "to": image("1.5.0"), "at": at}],
        "holds": [{"container": "web", "to": image("1.4.3"), "backTo": image("1.4.2"), "by": "kubectl-set", "at": at}],
    }})
}

/// The history of a repository, by the name that it has.
pub(crate) fn history() -> Value {
    json!({
        "apiVersion": "supercargo.dev/v1alpha1", "kind": "ImageHistory", "metadata": {"name": "5d09fad9bcac7727"},
        "spec": {"repository": "registry.example.com/web"},
    })
}

pub(crate) fn history_status() -> Value {
    let at = SystemClock::default().now();
    let entry = |tag: &str, digest: &str| json!({"tag": tag, "digest": format!("sha256:{}", digest.repeat(32)), "firstSeen": at});
    json!({"status": {"tags": [entry("1.5.0", "0b"), entry("1.4.2", "0a")]}})
}

fn path(namespace: &Namespace<'_>, plural: &str, rest: &str) -> String {
    format!("/apis/supercargo.dev/v1alpha1/namespaces/{}/{plural}{rest}", namespace.name)
}

/// Sends an object or a merge patch, in which nothing may be unknown.
pub(crate) async fn send(
    namespace: &Namespace<'_>,
    method: Method,
    plural: &str,
    rest: &str,
    body: &Value,
) -> Result<Value, String> {
    let strict = format!("{}?fieldValidation=Strict", path(namespace, plural, rest));
    namespace.plane.request(method, &strict, Some(body)).await.map_err(|error| error.to_string())
}

pub(crate) async fn create(namespace: &Namespace<'_>, plural: &str, object: &Value, status: &Value) {
    send(namespace, Method::POST, plural, "", object).await.unwrap();
    let name = object["metadata"]["name"].as_str().unwrap();
    send(namespace, Method::PATCH, plural, &format!("/{name}/status"), status).await.unwrap();
}
