//! What registries answer, and what is asked of them.

use serde_json::json;

use super::Street;
use crate::support::{
    attacks, eventually,
    front::{Front, Way},
    objects::{deployment, event_says, policy, runs},
    operator::RESIDENT,
    registry::Image,
    victim::{hooked, tell},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_asks_to_be_left_alone_for_a_year_holds_up_no_other_of_its_host() {
    let street = Street::new("year").await;
    let front = attacks::year_of_rest(&street.neighbour.registry).await;
    let image = |tag: &str| format!("{}/web:{tag}", front.host);
    attacks::create(&street.tenant, [attacks::greedy(&front.host)]).await;
    street.neighbour.namespace.create(&deployment("same-host", &image("1.0.0"), hooked()).to_string()).await;
    let operator = street.operator("1s", &[]).await;
    eventually("it asks to wait", async || (front.count("greedy") > 0).then_some(())).await;
    for tag in ["1.0.1", "1.0.2"] {
        street.neighbour.registry.push("web", tag, &Image::unique()).await;
        tell(&operator, &front.host, "web", tag).await;
        runs(&street.neighbour.namespace, "same-host", &[&image(tag)]).await;
    }
    assert_eq!(front.count("greedy"), 1, "it is left alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_cron_lines_at_one_repository_are_one_interval_and_hold_up_nobody() {
    let street = Street::new("cron").await;
    let image = format!("{}/many:1.0.0", street.neighbour.registry.host);
    street.neighbour.registry.push("many", "1.0.0", &Image::unique()).await;
    let operator = street.operator("1h", &[]).await;
    for n in 0..300 {
        street.tenant.create(&attacks::cron_line(n, &image).to_string()).await;
        if n % 100 == 50 {
            street.neighbour.is_served(&format!("1.0.{n}")).await;
        }
    }
    event_says(&street.tenant, "cron-299", "more than 16 different `poll` values ask for").await;
    street.neighbour.is_served("1.0.300").await;
    assert_eq!(operator.metric("supercargo_repositories", "").await, 2.0);
}

/// Counted repetition makes much of a short pattern.
#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_patterns_that_compile_to_much_hold_up_nobody_and_take_little() {
    let street = Street::new("compiled").await;
    let front = Front::start_with(&street.neighbour.registry, |path| {
        if !path.starts_with("/v2/many/tags/list") {
            return Way::Pass;
        }
        let tags: Vec<String> = (0..10_000).map(|n| format!("{n}-x")).collect();
        Way::Say(200, json!({"name": "many", "tags": tags}).to_string().into_bytes())
    })
    .await;
    let image = format!("{}/many:1-x", front.host);
    let operator = street.operator("1s", &[]).await;
    for n in 0..5 {
        street.tenant.create(&attacks::patterns(n, &image).to_string()).await;
        eventually("it is asked for", async || (front.count("many") > n).then_some(())).await;
        street.neighbour.is_served(&format!("1.0.{}", n + 1)).await;
    }
    let resident = operator.resident();
    assert!(resident < RESIDENT, "{resident} MB");
}

/// Eight lists of 13 MB.
#[tokio::test(flavor = "multi_thread")]
async fn lists_that_take_more_than_is_kept_are_told_of_and_leave_others_served() {
    let street = Street::new("lists").await;
    let front = Front::start_with(&street.neighbour.registry, |path| {
        if !path.starts_with("/v2/long-") || !path.contains("/tags/list") {
            return Way::Pass;
        }
        let tail = "x".repeat(116);
        let tags: Vec<String> = (0..110_000).map(|n| format!("\"1.0.{n}-{tail}\"")).collect();
        Way::Say(200, format!("{{\"tags\":[{}]}}", tags.join(",")).into_bytes())
    })
    .await;
    for n in 0..8 {
        let image = format!("{}/long-{n}:1.0.0", front.host);
        street.tenant.create(&deployment(&format!("long-{n}"), &image, policy("patch")).to_string()).await;
    }
    let _operator = street.operator("1h", &[]).await;
    eventually("a list is asked for", async || (!front.came().is_empty()).then_some(())).await;
    street.neighbour.is_served("1.0.1").await;
    let said = eventually("a row says that its tags are not kept", async || {
        let path = format!("/api/v1/namespaces/{}/events", street.tenant.name);
        let all = street.tenant.plane.request(http::Method::GET, &path, None).await.unwrap();
        let said = all["items"].as_array().unwrap().iter().filter_map(|event| event["message"].as_str());
        said.filter(|said| said.contains("are not kept")).map(str::to_owned).next()
    })
    .await;
    assert!(said.contains("the tags of 127.0.0.1:") && said.ends_with("(over-limit)"), "{said}");
    street.neighbour.is_served("1.0.2").await;
}
