//! A hundred workloads of one namespace with all the annotations that may stand on each.

use std::collections::HashSet;

use http::Method;

use super::Street;
use crate::support::{attacks, eventually, objects::event_says};

const MANY: usize = 100;
const KEPT: usize = 4 * 1024 * 1024 / attacks::LONG_ANNOTATIONS;

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_whose_annotations_take_too_much_is_told_and_holds_up_nobody() {
    let street = Street::new("annotations").await;
    let image = street.neighbour.image("1.0.0");
    let long = |n: usize| attacks::long_annotations(&format!("long-{n}"), &image);
    attacks::create(&street.tenant, (0..MANY).map(long)).await;
    let operator = street.operator("1h", &[]).await;
    street.neighbour.is_served("1.0.1").await;

    // One more is too many, whichever they were.
    street.tenant.create(&attacks::long_annotations("last", &image).to_string()).await;
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
