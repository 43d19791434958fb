//! One namespace does its worst, and another is served as ever: its push is told by a webhook and runs.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures::{StreamExt, stream};
use reqwest::Client;
use serde_json::json;

use crate::support::{
    attacks,
    control_plane::{Namespace, shared},
    eventually,
    front::{Front, Way},
    objects::{deployment, event_says, policy, runs, workload},
    operator::{Operator, Setup},
    registry::{Image, Registry},
    victim::{SECRET, Victim, hooked, tell},
};

mod annotations;
mod credentials;
mod git;
mod images;
mod names;
mod patches;
mod ports;
mod records;
mod registries;
mod webhooks;

/// A tenant, a neighbour whose registry tells of pushes, and an operator for both.
struct Street {
    tenant: Namespace<'static>,
    neighbour: Victim,
}

impl Street {
    async fn new(name: &str) -> Self {
        let tenant = shared().await.namespace(&format!("{name}-tenant")).await;
        Self { tenant, neighbour: Victim::new(name).await }
    }

    async fn operator(&self, interval: &str, more: &[&str]) -> Operator {
        let setup = self.neighbour.beside(Setup::in_namespace(&self.tenant, interval).with(more));
        Operator::start(self.tenant.plane, &setup).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_containers_on_slow_hosts_leave_places_for_others() {
    let street = Street::new("slow").await;
    attacks::create(&street.tenant, attacks::slow_hosts(1000).await).await;
    let operator = street.operator("1h", &[]).await;
    for tag in ["1.0.1", "1.0.2", "1.0.3"] {
        street.neighbour.is_served(tag).await;
    }
    let waiting = operator.metric("supercargo_registry_queue_seconds", "").await;
    assert!(waiting > 0.0, "the tenant's own looks wait for one another");
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_containers_on_hosts_that_refuse_leave_the_engine_free() {
    let street = Street::new("refusing").await;
    attacks::create(&street.tenant, attacks::refusing_hosts(5000)).await;
    let operator = street.operator("5s", &[]).await;
    eventually("the hosts are asked", async || {
        (operator.metric("supercargo_registry_requests_total", "error").await > 100.0).then_some(())
    })
    .await;
    for tag in ["1.0.1", "1.0.2", "1.0.3"] {
        street.neighbour.is_served(tag).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_of_annotations_bring_a_few_looks_and_no_more() {
    let street = Street::new("flipping").await;
    let front = Front::start(&street.neighbour.registry).await;
    let image = format!("{}/web:1.0.0", front.host);
    street.tenant.create(&deployment("flip", &image, policy("patch")).to_string()).await;
    let operator = street.operator("1h", &[]).await;
    let flips = 100;
    for n in 0..flips {
        let annotations = json!({"metadata": {"annotations": {"supercargo.dev/allow": format!("1[.]0[.]{n}")}}});
        street.tenant.merge("deployments", "flip", annotations).await;
    }
    // A look of the neighbour comes after them in every line.
    street.neighbour.is_served("1.0.1").await;
    let lists = front.came().iter().filter(|came| came.line.contains("tags/list")).count();
    assert!((1..=8).contains(&lists), "{lists} listings for {flips} edits; {}", operator.process.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_webhooks_for_one_tag_bring_one_look() {
    let street = Street::new("hooks").await;
    let front = Front::start(&street.neighbour.registry).await;
    street.neighbour.registry.push("other", "1.0.0", &Image::unique()).await;
    let image = format!("{}/other:1.0.0", front.host);
    street.tenant.create(&deployment("other", &image, hooked()).to_string()).await;
    let operator = street.operator("1h", &[]).await;
    eventually("the first look", async || (!front.came().is_empty()).then_some(())).await;
    street.neighbour.registry.push("other", "1.0.1", &Image::unique()).await;
    let before = front.came().len();
    let event =
        json!({"action": "push", "request": {"host": front.host}, "target": {"repository": "other", "tag": "1.0.1"}});
    let body = json!({"events": [event]}).to_string();
    let (http, url) = (Client::builder().no_proxy().build().unwrap(), format!("{}/hooks/distribution", operator.hooks));
    let posts = stream::iter(0..2000).map(|_| http.post(&url).bearer_auth(SECRET).body(body.clone()).send());
    let codes: Vec<u16> = posts.buffer_unordered(16).map(|answer| answer.unwrap().status().as_u16()).collect().await;
    assert!(codes.iter().all(|code| *code == 202), "{codes:?}");
    runs(&street.tenant, "other", &[&format!("{}/other:1.0.1", front.host)]).await;
    street.neighbour.is_served("1.0.1").await;
    let looks = front.came().len() - before;
    assert!(looks <= 4, "{looks} requests for 2,000 webhooks of one tag");
}

/// Each of a hundred patterns would be tried on each of 200,000 tags.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_patterns_over_a_long_list_are_ended_and_told_and_hold_up_neither_others_nor_a_stop() {
    let street = Street::new("costly").await;
    let lists = AtomicUsize::new(0);
    let front = Front::start_with(&street.neighbour.registry, move |path| {
        if !path.starts_with("/v2/long/tags/list") {
            return Way::Pass;
        }
        // Another list each time, so that each time there is something to decide.
        let list = lists.fetch_add(1, Ordering::Relaxed);
        let tags: Vec<String> = (0..200_000 + list).map(|n| format!("1.{}.{}-build", n / 1000, n % 1000)).collect();
        Way::Say(200, json!({"name": "long", "tags": tags}).to_string().into_bytes())
    })
    .await;
    let names: Vec<String> = (0..100).map(|n| format!("c{n}")).collect();
    let image = format!("{}/long:1.0.0-build", front.host);
    let containers: Vec<(&str, &str)> = names.iter().map(|name| (&**name, &*image)).collect();
    let mut annotations = json!({"supercargo.dev/poll": "every 1s"});
    for (n, name) in names.iter().enumerate() {
        let pattern = format!("regex:1[.](?P<order>[0-9]+[.][0-9]+)-(?:[a-z]+|x{n})*");
        annotations[format!("supercargo.dev/policy.{name}")] = json!(pattern);
    }
    let object = workload("Deployment", "costly", annotations, &containers);
    let mut operator = street.operator("1s", &[]).await;
    street.tenant.create(&object.to_string()).await;
    eventually("the long list is read", async || (front.count("long") > 0).then_some(())).await;
    for tag in ["1.0.1", "1.0.2", "1.0.3"] {
        street.neighbour.is_served(tag).await;
    }
    event_says(&street.tenant, "costly", "too-costly").await;

    let read = front.count("long");
    eventually("it is read again", async || (front.count("long") > read).then_some(())).await;
    operator.process.signal("TERM");
    let status = tokio::time::timeout(Duration::from_secs(12), operator.process.wait()).await;
    assert_eq!(status.expect("it ends").code(), Some(0), "{}", operator.process.output());
}

/// A hook of a registry that tells of a push before the tag is to be had.
#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_comes_before_its_tag_is_not_lost() {
    let street = Street::new("early").await;
    let image = |tag: &str| format!("{}/web:{tag}", street.neighbour.registry.host);
    let operator = street.operator("1h", &[]).await;
    tell(&operator, &street.neighbour.registry.host, "web", "1.0.7").await;
    eventually("the tag is asked for in vain", async || {
        (operator.metric("supercargo_registry_requests_total", "404").await >= 2.0).then_some(())
    })
    .await;
    street.neighbour.registry.push("web", "1.0.7", &Image::unique()).await;
    runs(&street.neighbour.namespace, "web", &[&image("1.0.7")]).await;

    // One after the other, and many at once: `crane` is as quick as a registry is early.
    for n in 10..30 {
        street.neighbour.is_served(&format!("1.0.{n}")).await;
    }
    let objects: Vec<String> = (0..20)
        .map(|n| {
            let annotations = json!({"supercargo.dev/policy": "digest", "supercargo.dev/poll": "every 24h"});
            deployment(&format!("moved-{n}"), &image(&format!("moved-{n}")), annotations).to_string()
        })
        .collect();
    for n in 0..20 {
        street.neighbour.registry.push("web", &format!("moved-{n}"), &Image::unique()).await;
    }
    for object in &objects {
        street.tenant.create(object).await;
    }
    let digest_of = async |n: usize| {
        let images = street.tenant.images("deployments", &format!("moved-{n}")).await;
        images.first().and_then(|image| image.split_once('@')).map(|(_, digest)| digest.to_owned())
    };
    for n in 0..20 {
        eventually("it is pinned", async || digest_of(n).await).await;
    }
    let pushed: Vec<String> = stream::iter(0..20)
        .map(|n| {
            let registry = &street.neighbour.registry;
            async move { registry.push("web", &format!("moved-{n}"), &Image::unique()).await.to_string() }
        })
        .buffered(20)
        .collect()
        .await;
    for (n, digest) in pushed.iter().enumerate() {
        eventually(&format!("moved-{n} runs {digest}"), async || digest_of(n).await.filter(|now| now == digest)).await;
    }
}

/// A hook whose tag is linked long after it, and one whose tag never is.
#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_comes_late_is_found_and_one_that_never_comes_is_given_up() {
    let street = Street::new("late").await;
    // It tells of nothing, so that only these hooks count.
    let silent = Registry::start().await;
    for name in ["late", "never"] {
        silent.push(name, "1.0.0", &Image::unique()).await;
        let object = deployment(name, &format!("{}/{name}:1.0.0", silent.host), hooked());
        street.tenant.create(&object.to_string()).await;
    }
    let operator = street.operator("1h", &[]).await;
    let event = |name: &str| json!({"action": "push", "request": {"host": silent.host}, "target": {"repository": name, "tag": "1.0.1"}});
    let body = json!({"events": [event("late"), event("never")]}).to_string();
    let http = Client::builder().no_proxy().build().unwrap();
    let answer = http.post(format!("{}/hooks/distribution", operator.hooks)).bearer_auth(SECRET).body(body);
    assert_eq!(answer.send().await.unwrap().status(), 202);

    // By HEAD and GET, six times each: the next look comes 23.7 s after the hook.
    eventually("both are asked for in vain", async || {
        (operator.metric("supercargo_registry_requests_total", "404").await >= 24.0).then_some(())
    })
    .await;
    silent.push("late", "1.0.1", &Image::unique()).await;
    runs(&street.tenant, "late", &[&format!("{}/late:1.0.1", silent.host)]).await;
    eventually("the other is given up", async || {
        (operator.metric("supercargo_hooks_total", "not-found").await >= 1.0).then_some(())
    })
    .await;
    let output = operator.process.output();
    let lines: Vec<&str> = output.lines().filter(|line| line.contains("given up waiting")).collect();
    let says = ["/never", "1.0.1"];
    assert!(lines.len() == 1 && says.iter().all(|word| lines[0].contains(word)), "{lines:?}");
    runs(&street.tenant, "never", &[&format!("{}/never:1.0.0", silent.host)]).await;
}
