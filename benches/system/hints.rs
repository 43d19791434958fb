//! Webhooks that come before what they name: the CNCF registry tells of a push before it links the tag.

use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use http::Method;
use serde_json::{Value, json};

use crate::{
    Table, median,
    program::{Program, SECRET},
    support::{
        control_plane::{ControlPlane, Parts},
        free_port,
        objects::deployment,
        registry::{Image, Options, Registry},
    },
};

const NEW: usize = 50;
const MOVED: usize = 10;
const AT_ONCE: usize = 20;
/// In seconds: by then each push is running.
const BOUND: f64 = 3.0;
/// How late a tag is linked.
const LATE: Duration = Duration::from_secs(20);
/// In seconds: the next look at such a tag is 3.7 s later.
const BOUND_LATE: f64 = 6.0;
/// In seconds: the looks at a tag that never comes take 53.7 s, before the listing.
const BOUND_NEVER: f64 = 60.0;

const PATH: &str = "/apis/apps/v1/namespaces/default/deployments";

struct Site {
    plane: ControlPlane,
    registry: Registry,
}

impl Site {
    /// A Deployment that webhooks alone tell of, and its image. One that is to be pinned first is looked at once.
    async fn add(&self, registry: &Registry, name: &str, policy: &str, tag: &str) {
        registry.push(name, tag, &Image::unique()).await;
        let poll = if policy == "digest" { "every 24h" } else { "never" };
        let annotations = json!({"supercargo.dev/policy": policy, "supercargo.dev/poll": poll});
        let object = deployment(name, &format!("{}/{name}:{tag}", registry.host), annotations);
        self.plane.request(Method::POST, PATH, Some(&object)).await.expect("it is created");
    }

    async fn image(&self, name: &str) -> String {
        let object = self.plane.request(Method::GET, &format!("{PATH}/{name}"), None).await.expect("it is there");
        let image = object["spec"]["template"]["spec"]["containers"][0]["image"].as_str();
        image.unwrap_or_default().to_owned()
    }

    /// Seconds until the image ends so.
    async fn runs(&self, name: &str, end: &str) -> f64 {
        let began = Instant::now();
        while !self.image(name).await.ends_with(end) {
            assert!(began.elapsed().as_secs() < 120, "{name} does not run {end}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        began.elapsed().as_secs_f64()
    }

    /// Seconds from the end of a push until it runs.
    async fn pushed(&self, name: &str, tag: &str, is_moved: bool) -> f64 {
        let digest = self.registry.push(name, tag, &Image::unique()).await.to_string();
        self.runs(name, if is_moved { &digest } else { tag }).await
    }
}

pub(crate) async fn run(table: &mut Table) {
    let hooks = free_port();
    let notify = Some((format!("http://127.0.0.1:{hooks}/hooks/distribution"), format!("Bearer {SECRET}")));
    let registry = Registry::start_with(Options { notify, ..Options::default() }).await;
    let site = Site { plane: ControlPlane::start(Parts::Api).await, registry };
    // It tells of nothing: what it is late with is told by hand.
    let silent = Registry::start().await;
    site.add(&site.registry, "new", "patch", "1.0.0").await;
    site.add(&site.registry, "moved", "digest", "latest").await;
    for n in 0..AT_ONCE {
        site.add(&site.registry, &format!("new-{n}"), "patch", "1.0.0").await;
        site.add(&site.registry, &format!("moved-{n}"), "digest", "latest").await;
    }
    for name in ["late", "never"] {
        site.add(&silent, name, "patch", "1.0.0").await;
    }
    let (program, _) = Program::start_on(&site.plane, "1h", hooks).await;
    for name in ["moved".to_owned()].into_iter().chain((0..AT_ONCE).map(|n| format!("moved-{n}"))) {
        while !site.image(&name).await.contains("@sha256:") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    let mut one_by_one = Vec::new();
    for n in 1..=NEW {
        one_by_one.push(site.pushed("new", &format!("1.0.{n}"), false).await);
    }
    for _ in 0..MOVED {
        one_by_one.push(site.pushed("moved", "latest", true).await);
    }
    tell(table, &format!("{NEW} new tags and {MOVED} moved ones, one after the other"), one_by_one);
    for (what, is_moved, tag) in [("new", false, "1.0.1"), ("moved", true, "latest")] {
        let names: Vec<String> = (0..AT_ONCE).map(|n| format!("{what}-{n}")).collect();
        let all = stream::iter(&names).map(|name| site.pushed(name, tag, is_moved)).buffer_unordered(AT_ONCE);
        tell(table, &format!("{AT_ONCE} {what} tags at once"), all.collect().await);
    }

    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let hook = async |name: &str, tag: &str| {
        let event: Value = json!({
            "action": "push", "request": {"host": silent.host}, "target": {"repository": name, "tag": tag},
        });
        let answer = http.post(format!("{}/hooks/distribution", program.hooks)).bearer_auth(SECRET);
        let answer = answer.body(json!({"events": [event]}).to_string()).send().await.expect("the hook answers");
        assert_eq!(answer.status(), 202);
    };
    let began = Instant::now();
    hook("never", "1.0.1").await;
    hook("late", "1.0.1").await;
    tokio::time::sleep(LATE).await;
    silent.push("late", "1.0.1", &Image::unique()).await;
    let late = site.runs("late", ":1.0.1").await;
    table.bounded(
        format!("a tag linked {} s after its webhook: until it runs", LATE.as_secs()),
        late,
        BOUND_LATE,
        " s",
    );
    while program.metric("supercargo_hooks_total", "outcome=\"not-found\"").await < 1.0 {
        assert!(began.elapsed().as_secs() < 300, "never given up");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let given_up = began.elapsed().as_secs_f64();
    assert!(program.process.output().contains("given up waiting for what a webhook named"), "it is said");
    table.bounded("a tag that never comes: until it is given up, said and counted", given_up, BOUND_NEVER, " s");
}

fn tell(table: &mut Table, what: &str, seconds: Vec<f64>) {
    let longest = seconds.iter().copied().fold(0.0, f64::max);
    table.noted(format!("{what}: pushed → patched, median"), format!("{:.3} s", median(seconds)));
    table.bounded(format!("{what}: longest"), longest, BOUND, " s");
}
