//! Whether the tests' own control plane does what other tests take for granted.

use serde_json::json;

use crate::support::{
    control_plane::{self, ADMIN, PLAIN, audited_user, request},
    eventually,
};

const WEB: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: 'registry.test/web:1.0.0'}]}
";

#[tokio::test]
async fn the_control_plane_rolls_out_and_shows_a_broken_image() {
    let plane = control_plane::shared().await;
    let ns = plane.namespace("rollout").await;
    ns.create(WEB).await;
    eventually("both pods are ready", async || {
        (ns.get("deployments", "web").await["status"]["readyReplicas"] == 2).then_some(())
    })
    .await;

    ns.merge("deployments", "web", json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "registry.test/web:2-broken"}]}}}})).await;
    eventually("a pod of the broken image crashes", async || {
        let pods = plane.kubectl(&["-n", &ns.name, "get", "pods", "-o", "json"]);
        pods.contains("CrashLoopBackOff").then_some(())
    })
    .await;
    assert_eq!(ns.images("deployments", "web").await, ["registry.test/web:2-broken"]);
}

#[tokio::test]
async fn the_audit_log_tells_users_apart() {
    let plane = control_plane::shared().await;
    let ns = plane.namespace("audit").await;
    let (one, other) = (audited_user(), audited_user());
    let path = format!("/api/v1/namespaces/{}/configmaps", ns.name);
    request(&plane.client(&one).await, http::Method::GET, &path, None).await.unwrap();
    let seen: Vec<_> = plane.audit(&one).into_iter().map(|a| (a.verb, a.uri, a.code)).collect();
    assert_eq!(seen, [("list".to_owned(), path.clone(), 200)]);
    assert!(plane.audit(&other).is_empty());

    let denied = plane.kubectl_as(&plane.kubeconfig(PLAIN[0]), &["-n", &ns.name, "get", "secrets"]);
    assert!(!denied.status.success());
    assert!(plane.audit(PLAIN[0]).iter().any(|a| a.code == 403 && a.uri.contains(&ns.name)));
    assert!(plane.audit(ADMIN).is_empty());

    ns.create("{apiVersion: v1, kind: ServiceAccount, metadata: {name: robot}}").await;
    let client = plane.client_with_token(&ns.token("robot").await).await;
    request(&client, http::Method::GET, &path, None).await.unwrap_err();
    assert_eq!(plane.audit(&format!("system:serviceaccount:{}:robot", ns.name)).len(), 1);
}
