//! A hundred workloads of one namespace with all the annotations that may stand on each.

use std::collections::HashSet;

use futures::{StreamExt as _, stream};
use http::Method;
use serde_json::json;

use super::Street;
use crate::support::{
    eventually,
    objects::{deployment, event_says},
};

const MANY: usize = 100;
/// Of 60,086 bytes each.
const KEPT: usize = 4 * 1024 * 1024 / 60_086;

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_whose_annotations_take_too_much_is_told_and_holds_up_nobody() {
    let street = Street::new("annotations").await;
    let image = street.neighbour.image("1.0.0");
    let long = json!({
        "supercargo.dev/policy": "patch", "supercargo.dev/poll": "never",
        "keel.sh/a": "a".repeat(15_000), "keel.sh/b": "b".repeat(15_000),
        "keel.sh/c": "c".repeat(15_000), "keel.sh/d": "d".repeat(15_000),
    });
    let create = async |n: usize| {
        let object = deployment(&format!("long-{n}"), &image, long.clone());
        _ = street.tenant.create(&object.to_string()).await;
    };
    stream::iter(0..MANY).for_each_concurrent(4, create).await;
    let operator = street.operator("1h", &[]).await;
    street.neighbour.is_served("1.0.1").await;

    // One more is too many, whichever they were.
    street.tenant.create(&deployment("last", &image, long.clone()).to_string()).await;
    event_says(&street.tenant, "last", "those of all workloads of its namespace").await;
    let path = format!("/api/v1/namespaces/{}/events", street.tenant.name);
    eventually("4 MiB of annotations are kept, and not more", async || {
        let all = street.tenant.plane.request(Method::GET, &path, None).await.unwrap();
        let all = all["items"].as_array().unwrap();
        let left = all.iter().filter(|event| event["message"].as_str().unwrap().contains("workloads of its namespace"));
        let left: HashSet<&str> = left.map(|event| event["involvedObject"]["name"].as_str().unwrap()).collect();
        (left.len() == MANY + 1 - KEPT).then_some(())
    })
    .await;
    street.neighbour.is_served("1.0.2").await;
    drop(operator);
}
