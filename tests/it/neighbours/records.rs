//! Records that somebody makes up.

use futures::{StreamExt as _, stream};
use http::Method;
use serde_json::{Value, json};

use super::Street;
use crate::support::{
    control_plane::{ADMIN, request},
    objects::{deployment, event_says, policy},
    operator::RESIDENT,
};

/// An update that has not ended, of a megabyte where it is `large`.
fn update(n: usize, large: bool) -> Value {
    let id = format!("{n:016x}");
    let message = "x".repeat(1000);
    let passed: Vec<Value> =
        (0..if large { 20 } else { 0 }).map(|_| json!({"code": "no-match", "message": message})).collect();
    let evidence = json!({"tag": "2", "seen": "2026-03-01T12:00:00Z", "passed": passed});
    let change = |c: usize| json!({"container": format!("c{c}"), "from": "a:1", "to": "a:2", "evidence": evidence});
    let changes: Vec<Value> = (0..if large { 50 } else { 1 }).map(change).collect();
    let workload = if large { format!("x{n}") } else { "web".to_owned() };
    json!({
        "apiVersion": "supercargo.dev/v1alpha1", "kind": "ImageUpdate",
        "metadata": {"name": format!("deployment-{workload}-{id}")},
        "spec": {
            "id": id, "write": "cluster", "proposedAt": "2026-03-01T12:00:00Z", "changes": changes,
            "workload": {"apiVersion": "apps/v1", "kind": "Deployment", "name": workload, "uid": "u"},
        },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_nobody_of_us_wrote_take_little_and_hold_up_no_other() {
    let street = Street::new("made-up").await;
    street.tenant.create(&deployment("web", "r.test/web:1.0.0", policy("patch")).to_string()).await;
    let client = street.tenant.plane.client(ADMIN).await;
    let path = format!("/apis/supercargo.dev/v1alpha1/namespaces/{}/imageupdates", street.tenant.name);
    let all = (0..100).map(|n| update(n, false)).chain((100..125).map(|n| update(n, true)));
    let created = stream::iter(all).map(|object| {
        let (client, path) = (client.clone(), path.clone());
        async move { request(&client, Method::POST, &path, Some(&object)).await.unwrap() }
    });
    created.buffer_unordered(4).for_each(async |_| ()).await;
    let operator = street.operator("1h", &[]).await;
    for tag in ["1.0.1", "1.0.2"] {
        street.neighbour.is_served(tag).await;
    }
    event_says(&street.tenant, "web", "more updates that have not ended than are read: at most 50").await;
    let log = operator.process.output();
    assert!(
        log.contains(
            "its namespace has more updates that have not ended than are read: at most 2000, of 8 MiB together"
        ),
        "{log}"
    );
    assert!(operator.resident() < RESIDENT, "{} MB", operator.resident());
}
