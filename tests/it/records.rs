//! The operator's records in a real cluster: an object for every update, another for what outlives them.

use http::Method;
use serde_json::{Value, json};

use crate::support::{
    control_plane::{Namespace, shared},
    eventually,
    objects::{deployment, policy, runs},
    operator::{Operator, Setup},
    registry::{Image, Registry},
};

const API: &str = "/apis/supercargo.dev/v1alpha1";

/// All of a namespace, by name.
async fn all(namespace: &Namespace<'_>, plural: &str) -> Vec<Value> {
    let path = format!("{API}/namespaces/{}/{plural}", namespace.name);
    let list = namespace.plane.request(Method::GET, &path, None).await.unwrap();
    list["items"].as_array().unwrap().clone()
}

/// Waits until there are so many updates, and all of them have come that far.
async fn updates(namespace: &Namespace<'_>, count: usize, phase: &str) -> Vec<Value> {
    eventually(&format!("{count} updates are {phase}"), async || {
        let all = all(namespace, "imageupdates").await;
        (all.len() == count && all.iter().all(|update| update["status"]["phase"] == phase)).then_some(all)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_is_an_object_that_its_workload_owns_and_what_was_set_another() {
    let (plane, registry) = (shared().await, Registry::start().await);
    let namespace = plane.namespace("recorded").await;
    registry.push("web", "1.0.0", &Image::unique()).await;
    let image = |tag: &str| format!("{}/web:{tag}", registry.host);
    let made = namespace.create(&deployment("web", &image("1.0.0"), policy("patch")).to_string()).await;
    let operator = Operator::start(plane, &Setup::in_namespace(&namespace, "1s")).await;
    registry.push("web", "1.0.1", &Image::unique()).await;
    runs(&namespace, "web", &[&image("1.0.1")]).await;
    let all_updates = updates(&namespace, 1, "Succeeded").await;
    let update = &all_updates[0];
    let (spec, status, id) = (&update["spec"], &update["status"], update["spec"]["id"].as_str().unwrap());
    let uid = &made[0]["metadata"]["uid"];
    assert_eq!(update["metadata"]["name"], format!("deployment-web-{id}"));
    assert_eq!(spec["workload"], json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": uid}));
    let change = &spec["changes"][0];
    assert_eq!(
        (&change["container"], &change["from"], &change["to"], &change["policy"], &change["evidence"]["tag"]),
        (&json!("web"), &json!(image("1.0.0")), &json!(image("1.0.1")), &json!("patch"), &json!("1.0.1"))
    );
    assert_eq!((&spec["write"], &spec["policyHash"].as_str().unwrap().len()), (&json!("cluster"), &16));
    let owner = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": uid, "controller": false});
    assert_eq!(update["metadata"]["ownerReferences"], json!([owner]));
    assert_eq!(status["reason"]["code"], "not-followed");
    let phases: Vec<&Value> = status["log"].as_array().unwrap().iter().map(|entry| &entry["phase"]).collect();
    assert_eq!(phases, ["Progressing", "Succeeded"]);
    assert_eq!(
        (&status["conditions"][0]["type"], &status["conditions"][0]["status"]),
        (&json!("Applied"), &json!("True"))
    );

    let state = eventually("what was set is remembered", async || {
        all(&namespace, "imagestates").await.pop().filter(|state| !state["status"].is_null())
    })
    .await;
    assert_eq!(
        (&state["metadata"]["name"], &state["metadata"]["ownerReferences"]),
        (&json!("deployment-web"), &json!(null))
    );
    assert_eq!(state["status"]["workload"], spec["workload"]);
    let applied = &state["status"]["applied"][0];
    assert_eq!((&applied["container"], &applied["to"]), (&json!("web"), &json!(image("1.0.1"))));

    // The patch, the record, its status and the state; clearing away aside.
    let count = |from: usize| {
        let requests = plane.audit(&operator.user).split_off(from);
        let is_counted = |verb: &str| ["create", "update", "patch"].contains(&verb);
        let counted = requests.iter().filter(|r| is_counted(&r.verb) && !r.uri.contains("/events"));
        counted.map(|r| format!("{} {}", r.verb, r.uri)).collect::<Vec<_>>()
    };
    assert_eq!(count(0).len(), 5, "the state is created: {:?}", count(0));
    let before = plane.audit(&operator.user).len();
    registry.push("web", "1.0.2", &Image::unique()).await;
    runs(&namespace, "web", &[&image("1.0.2")]).await;
    updates(&namespace, 2, "Succeeded").await;
    eventually("what was set is remembered", async || {
        let state = all(&namespace, "imagestates").await.pop()?;
        (state["status"]["applied"][0]["to"] == image("1.0.2")).then_some(())
    })
    .await;
    assert_eq!(count(before).len(), 4, "{:?}", count(before));
}
