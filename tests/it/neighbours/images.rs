//! A hundred workloads whose images and pull secrets are as long as an object may be, and have no policy.

use futures::{StreamExt as _, stream};
use serde_json::json;

use super::Street;
use crate::support::objects::deployment;

#[tokio::test(flavor = "multi_thread")]
async fn images_and_pull_secrets_of_a_megabyte_are_not_kept() {
    let street = Street::new("images").await;
    let operator = street.operator("1h", &[]).await;
    street.neighbour.is_served("1.0.1").await;
    let before = operator.resident();
    let create = async |n: usize| {
        let mut object = deployment(&format!("long-{n}"), &format!("r.io/a:{n}{}", "1".repeat(700_000)), json!({}));
        object["spec"]["replicas"] = json!(0);
        object["spec"]["template"]["spec"]["imagePullSecrets"] =
            json!([{"name": format!("{n}{}", "s".repeat(500_000))}]);
        street.tenant.create(&object.to_string()).await;
    };
    stream::iter(0..100).for_each_concurrent(2, create).await;
    street.neighbour.is_served("1.0.2").await;
    let after = operator.resident();
    assert!(after < before + 60, "{before} MB, then {after} MB");
}
