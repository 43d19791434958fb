//! Everything that one tenant and strangers can do, at once, while a neighbour's pushes are measured.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Router, body::Body, extract::Path, http::Response};
use futures::{StreamExt, stream};
use http::Method;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use super::support::{
    control_plane::{ControlPlane, Namespace, Parts, audited_user, request},
    eventually, free_port,
    kills::Random,
    objects::{deployment, policy, runs, workload},
    operator::{Operator, Setup},
    registry::{Image, Registry},
};

const SECRET: &str = "the-hooks-own-secret";
/// Between two pushes of the neighbour.
const PUSH_EVERY: Duration = Duration::from_secs(2);

/// What was measured.
#[derive(Debug)]
#[expect(dead_code, reason = "some of it is only printed")]
pub(crate) struct Outcome {
    pub(crate) pushes: usize,
    /// From the hook to the patched workload.
    pub(crate) median: Duration,
    pub(crate) p99: Duration,
    pub(crate) longest: Duration,
    /// `VmHWM`, in MB.
    pub(crate) peak: u64,
    /// Probes that were not answered within a second.
    pub(crate) probes_missed: usize,
}

/// `$SUPERCARGO_SIEGE` in seconds, else ten minutes.
#[expect(clippy::disallowed_methods, reason = "the test's own environment")]
pub(crate) fn length() -> Duration {
    let given = std::env::var("SUPERCARGO_SIEGE").ok();
    Duration::from_secs(given.map_or(600, |text| text.parse().expect("SUPERCARGO_SIEGE is a number of seconds")))
}

/// Lays siege for that long.
#[expect(clippy::disallowed_methods, reason = "latencies are what is measured")]
pub(crate) async fn lay(length: Duration, seed: u64) -> Outcome {
    println!("SUPERCARGO_SEED={seed}");
    let (plane, registry) = (ControlPlane::start(Parts::Api).await, Registry::start().await);
    let (tenant, neighbour) =
        (plane.namespace_with("tenant", json!({})).await, plane.namespace_with("neighbour", json!({})).await);
    let image = |n: usize| format!("{}/web:1.0.{n}", registry.host);
    registry.push("web", "1.0.0", &Image::unique()).await;
    let hooked = json!({"supercargo.dev/policy": "patch", "supercargo.dev/poll": "never"});
    neighbour.create(&deployment("web", &image(0), hooked).to_string()).await;
    arm(&tenant).await;

    let setup = Setup {
        hook_secret: Some(SECRET.to_owned()),
        ..Setup::in_namespace(&tenant, "30s").with(&["-n", &neighbour.name])
    };
    let mut operator = Operator::start(&plane, &setup).await;
    let over = Arc::new(AtomicBool::new(false));
    let strangers = [
        tokio::spawn(idle(operator.private.clone(), over.clone())),
        tokio::spawn(idle(operator.hooks.clone(), over.clone())),
        tokio::spawn(hooks(operator.hooks.clone(), registry.host.clone(), over.clone())),
    ];
    let client = plane.client(&audited_user()).await;
    let path = format!("/apis/apps/v1/namespaces/{}/deployments/flip", tenant.name);
    let edits = tokio::spawn(edit(client, path, Random::new(seed), over.clone()));

    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(1)).build().unwrap();
    let (began, mut latencies, mut probes_missed) = (Instant::now(), Vec::new(), 0);
    let mut n = 0;
    while began.elapsed() < length {
        n += 1;
        registry.push("web", &format!("1.0.{n}"), &Image::unique()).await;
        let sent = Instant::now();
        hook(&http, &operator.hooks, &registry.host, "web", &format!("1.0.{n}")).await;
        runs(&neighbour, "web", &[&image(n)]).await;
        latencies.push(sent.elapsed());
        let livez = http.get(format!("{}/livez", operator.private)).send().await;
        probes_missed += usize::from(livez.is_err());
        tokio::time::sleep(PUSH_EVERY).await;
    }
    over.store(true, Ordering::Relaxed);
    for task in strangers {
        task.abort();
    }
    edits.abort();
    assert!(operator.process.exited().is_none(), "{}", operator.process.output());
    let status = std::fs::read_to_string(format!("/proc/{}/status", operator.process.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak = peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024;
    latencies.sort_unstable();
    let at = |share: usize| latencies[(latencies.len() * share / 100).min(latencies.len() - 1)];
    Outcome { pushes: n, median: at(50), p99: at(99), longest: at(100), peak, probes_missed }
}

/// What stands in the tenant's namespace.
async fn arm(tenant: &Namespace<'_>) {
    let slow = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let slow_port = slow.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = slow.accept().await {
            kept.push(stream);
        }
    });
    let large = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let large_host = large.local_addr().unwrap().to_string();
    let app = Router::new().route("/v2/{name}/tags/list", axum::routing::get(tags));
    tokio::spawn(async move { axum::serve(large, app).await });

    let refusing = free_port();
    let address = |n: usize| format!("127.1.{}.{}", n / 250, n % 250 + 1);
    let mut objects: Vec<Value> = Vec::new();
    let mut many = |name: &str, annotations: Value, images: Vec<String>| {
        for (n, images) in images.chunks(100).enumerate() {
            let names: Vec<String> = (0..images.len()).map(|n| format!("c{n}")).collect();
            let containers: Vec<(&str, &str)> =
                names.iter().zip(images).map(|(name, image)| (name.as_str(), image.as_str())).collect();
            let mut annotations = annotations.clone();
            if name == "patterns" {
                for c in 0..100 {
                    let regex = format!("regex:(?P<order>[0-9]{{1,9}})-x{n}y{c}-[a-z]{{1,200}}");
                    annotations[format!("supercargo.dev/policy.c{c}")] = json!(regex);
                }
            }
            objects.push(workload("Deployment", &format!("{name}-{n}"), annotations, &containers));
        }
    };
    many("slow", policy("patch"), (0..1000).map(|n| format!("{}:{slow_port}/r:1.0.0", address(n))).collect());
    many("refusing", policy("patch"), (0..5000).map(|n| format!("{}:{refusing}/r:1.0.0", address(n))).collect());
    many("patterns", json!({}), (0..4000).map(|_| format!("{large_host}/n200000:1-x")).collect());
    many("large", policy("patch"), (0..8).map(|n| format!("{large_host}/n{}:1.0.0", 999_000 + n)).collect());
    for n in 0..2800 {
        let mut annotations = policy("patch");
        annotations["supercargo.dev/poll"] = json!(format!("{} {} * * *", n % 60, n / 60 % 24));
        objects.push(deployment(&format!("cron-{n}"), &format!("{large_host}/n10:1.0.0"), annotations));
    }
    let mut secrets = deployment("secrets", &format!("{large_host}/n11:1.0.0"), policy("patch"));
    let names: Value = (0..15_000).map(|n| json!({"name": format!("secret-{n}")})).collect();
    secrets["spec"]["template"]["spec"]["imagePullSecrets"] = names;
    objects.push(secrets);
    objects.push(deployment("flip", &format!("{large_host}/n12:1.0.0"), policy("patch")));
    stream::iter(objects).for_each_concurrent(8, async |object| _ = tenant.create(&object.to_string()).await).await;
}

/// `/v2/n1000/tags/list` has 1,000 tags.
async fn tags(Path(name): Path<String>) -> Response<Body> {
    let count: usize = name.trim_start_matches('n').parse().unwrap_or(1);
    let chunks = (0..count).step_by(10_000).map(move |start| {
        let tags: Vec<String> =
            (start..(start + 10_000).min(count)).map(|n| format!("\"1.{}.{}\"", n / 1000, n)).collect();
        let lead = if start == 0 { "{\"name\":\"n\",\"tags\":[" } else { "," };
        let end = if start + 10_000 >= count { "]}" } else { "" };
        Ok::<_, std::io::Error>(format!("{lead}{}{end}", tags.join(",")))
    });
    Response::builder()
        .header("content-type", "application/json")
        .body(Body::from_stream(stream::iter(chunks)))
        .unwrap()
}

async fn hook(http: &reqwest::Client, to: &str, host: &str, repository: &str, tag: &str) {
    let event = json!({"action": "push", "request": {"host": host}, "target": {"repository": repository, "tag": tag}});
    let body = json!({"events": [event]}).to_string();
    eventually("the hook is taken", async || {
        let answer = http.post(format!("{to}/hooks/distribution")).bearer_auth(SECRET).body(body.clone()).send().await;
        answer.ok().filter(|answer| answer.status() == 202)
    })
    .await;
}

/// Three hundred connections that say nothing, again and again.
async fn idle(url: String, over: Arc<AtomicBool>) {
    let address = url.trim_start_matches("http://").to_owned();
    let mut kept = Vec::new();
    while !over.load(Ordering::Relaxed) {
        if let Ok(stream) = TcpStream::connect(&address).await {
            kept.push(stream);
        }
        if kept.len() > 300 {
            kept.remove(0);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Hooks with another tag each.
async fn hooks(url: String, host: String, over: Arc<AtomicBool>) {
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build().unwrap();
    for n in 0.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let event = json!({"action": "push", "request": {"host": host}, "target": {"repository": "web", "tag": format!("no-{n}")}});
        let body = json!({"events": [event]}).to_string();
        let _ = http.post(format!("{url}/hooks/distribution")).bearer_auth(SECRET).body(body).send().await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Another annotation each time.
async fn edit(client: kube::Client, path: String, mut random: Random, over: Arc<AtomicBool>) {
    while !over.load(Ordering::Relaxed) {
        let allow = format!("1[.]{}[.][0-9]+", random.below(1_000_000));
        let patch = json!({"metadata": {"annotations": {"supercargo.dev/allow": allow}}});
        let _ = request(&client, Method::PATCH, &path, Some(&patch)).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
