//! From a webhook to the patched workload, against a bare PATCH and a bare HEAD of the same kind.

use std::time::{Duration, Instant, SystemTime};

use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    Table,
    fleet::Fleet,
    median, milliseconds,
    program::{Program, SECRET},
    support::{
        control_plane::{audited_user, request},
        registry::OCI_MANIFEST,
    },
};

const ROUNDS: usize = 100;
/// Before the measurement, so that every connection is open.
const WARM_UP: usize = 5;

pub(crate) async fn run(fleet: &Fleet, table: &mut Table) {
    let repository = format!("latency/hooked-{}", fleet.size);
    let hooked = fleet.add("hooked", &repository, "1.0.0").await;
    // Nothing rolls out without controllers, and the next update would wait for that.
    let none = json!({"spec": {"replicas": 0}});
    fleet.plane.request(Method::PATCH, &hooked, Some(&none)).await.expect("no replicas");
    let bare = fleet.add("bare", "latency/bare", "1.0.0").await;
    let (program, _) = Program::start(&fleet.plane, "1h").await;
    program.looked(fleet.repositories() + 2).await;
    let client = fleet.plane.client(&audited_user()).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();

    let (mut ratios, mut latencies, mut patches, mut heads) = (vec![], vec![], vec![], vec![]);
    for round in 1..=WARM_UP + ROUNDS {
        let tag = format!("1.0.{round}");
        let digest = fleet.registry.push_tags(&repository, [&tag]).await;

        let (sent, position) = (SystemTime::now(), program.process.output().len());
        let event = json!({"events": [{
            "id": format!("{round}"), "timestamp": "2026-01-02T03:04:05Z", "action": "push",
            "target": {"mediaType": OCI_MANIFEST, "digest": digest, "repository": repository, "tag": tag,
                       "url": format!("http://{}/v2/{repository}/manifests/{digest}", fleet.registry.host)},
            "request": {"host": fleet.registry.host, "method": "PUT"},
        }]});
        let answer = http.post(format!("{}/hooks/distribution", program.hooks)).bearer_auth(SECRET);
        let answer = answer.header("content-type", "application/vnd.docker.distribution.events.v2+json");
        let answer = answer.body(event.to_string()).send().await.expect("the hook answers");
        assert_eq!(answer.status(), 202);
        let patched = updated(&program, position, &tag).await;
        let latency = Duration::try_from(patched.duration_since(Timestamp::try_from(sent).unwrap())).unwrap();
        // What follows a patch (its Event) is over before the bare requests are measured.
        tokio::time::sleep(Duration::from_millis(60)).await;

        let began = Instant::now();
        let url = format!("http://{}/v2/{repository}/manifests/{tag}", fleet.registry.host);
        let answer = http.head(url).header("accept", OCI_MANIFEST).send().await.expect("the registry answers");
        assert_eq!(answer.status(), 200);
        let head = began.elapsed();
        let image = |tag: usize| format!("{}/latency/bare:1.0.{tag}", fleet.registry.host);
        let container = "/spec/template/spec/containers/0";
        let patch = json!([
            {"op": "test", "path": format!("{container}/name"), "value": "app"},
            {"op": "test", "path": format!("{container}/image"), "value": image(round - 1)},
            {"op": "replace", "path": format!("{container}/image"), "value": image(round)},
            {"op": "add", "path": "/metadata/annotations/supercargo.dev~1last-update", "value": "x".repeat(200)},
        ]);
        let began = Instant::now();
        request(&client, Method::PATCH, &bare, Some(&patch)).await.expect("the bare patch is taken");
        let patch = began.elapsed();
        tokio::time::sleep(Duration::from_millis(20)).await;
        if round > WARM_UP {
            let (latency, patch, head) = (milliseconds(latency), milliseconds(patch), milliseconds(head));
            ratios.push(latency / (patch + head));
            latencies.push(latency);
            patches.push(patch);
            heads.push(head);
        }
    }
    let image = fleet.plane.request(Method::GET, &hooked, None).await.unwrap();
    let image = &image["spec"]["template"]["spec"]["containers"][0]["image"];
    assert_eq!(image, &json!(format!("{}/{repository}:1.0.{}", fleet.registry.host, WARM_UP + ROUNDS)));
    for path in [&hooked, &bare] {
        fleet.plane.request(Method::DELETE, path, None).await.unwrap();
    }
    let what = format!("webhook → patched, {} workloads", fleet.size);
    let (latency, patch, head) = (median(latencies), median(patches), median(heads));
    table.noted(
        format!("{what}: medians"),
        format!("{latency:.1} ms; bare PATCH {patch:.1} ms, bare HEAD {head:.1} ms"),
    );
    table.bounded(format!("{what}: ÷ (bare PATCH + bare HEAD), median of {ROUNDS}"), median(ratios), 2.0, "");
}

/// When the program had the answer to its patch: the time of its line in the log.
pub(crate) async fn updated(program: &Program, position: usize, tag: &str) -> Timestamp {
    for _ in 0..20_000 {
        let log = program.process.output();
        let lines = log[position..].lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut lines = lines.filter(|line| line["message"] == "updated");
        if let Some(line) = lines.find(|line| line["to"].as_str().is_some_and(|to| to.contains(&format!(":{tag}")))) {
            return line["timestamp"].as_str().unwrap().parse().unwrap();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("not updated to {tag}: {}", program.process.output())
}
