//! What one tenant and strangers can do, one after the other and all at once, while a neighbour's pushes are measured.

use std::{
    fmt,
    time::{Duration, Instant},
};

use axum::{Router, body::Body, extract::Path, http::Response};
use futures::{StreamExt, stream};
use http::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::support::{
    control_plane::{ControlPlane, Namespace, Parts, audited_user, request},
    eventually, free_port,
    kills::Random,
    objects::{deployment, policy, workload},
    operator::{Operator, Setup},
    registry::{Image, Registry},
    victim::{SECRET, idle},
};

/// Between two pushes of the neighbour.
const PUSH_EVERY: Duration = Duration::from_secs(1);

/// What a tenant, who may edit Deployments in one namespace, or a stranger does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attack {
    SlowHosts,
    RefusingHosts,
    Patterns,
    Schedules,
    MillionsOfTags,
    PullSecrets,
    Edits,
    IdleConnections,
    Hooks,
}

pub(crate) const ATTACKS: [Attack; 9] = [
    Attack::SlowHosts,
    Attack::RefusingHosts,
    Attack::Patterns,
    Attack::Schedules,
    Attack::MillionsOfTags,
    Attack::PullSecrets,
    Attack::Edits,
    Attack::IdleConnections,
    Attack::Hooks,
];

/// What was measured. `Display` is a row of the table in docs/soak.md.
#[derive(Debug)]
pub(crate) struct Outcome {
    length: Duration,
    pub(crate) pushes: usize,
    /// From the hook to the patched workload.
    median: Duration,
    pub(crate) p99: Duration,
    longest: Duration,
    /// `VmHWM`, in MiB.
    pub(crate) peak: u64,
    /// Probes that were not answered within a second.
    pub(crate) probes_missed: usize,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { length, pushes, median, p99, longest, peak, probes_missed } = self;
        let (median, p99, longest) = (median.as_secs_f64(), p99.as_secs_f64(), longest.as_secs_f64());
        let length = length.as_secs();
        write!(
            f,
            "{length} s | {pushes} | {median:.2} s | {p99:.2} s | {longest:.2} s | {peak} MiB | {probes_missed} |"
        )
    }
}

impl Attack {
    /// In words, with what is used of it.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::SlowHosts => "1,000 containers at hosts that never answer",
            Self::RefusingHosts => "5,000 containers at hosts that refuse, polled every 5 s",
            Self::Patterns => "4,000 patterns over 200,000 tags",
            Self::Schedules => "2,800 cron lines at one repository",
            Self::MillionsOfTags => "eight repositories of 1,000,000 tags",
            Self::PullSecrets => "15,000 `imagePullSecrets`",
            Self::Edits => "an annotation that changes 100 times a second",
            Self::IdleConnections => "300 idle connections at each port",
            Self::Hooks => "50 webhooks a second for tags that are not there",
        }
    }
}

/// `$SUPERCARGO_SIEGE` in seconds, else ten minutes.
#[expect(clippy::disallowed_methods, reason = "the test's own environment")]
pub(crate) fn length() -> Duration {
    let given = std::env::var("SUPERCARGO_SIEGE").ok();
    Duration::from_secs(given.map_or(600, |text| text.parse().expect("SUPERCARGO_SIEGE is a number of seconds")))
}

/// Those that `$SUPERCARGO_ATTACK` names, separated by commas, or `all`, if it is set.
#[expect(clippy::disallowed_methods, reason = "the test's own environment")]
pub(crate) fn only() -> Option<Vec<Attack>> {
    let names = std::env::var("SUPERCARGO_ATTACK").ok()?;
    if names == "all" {
        return Some(ATTACKS.to_vec());
    }
    let find = |name| ATTACKS.into_iter().find(|attack| format!("{attack:?}") == name);
    let found =
        names.split(',').map(|name| find(name).unwrap_or_else(|| panic!("{name} is not `all` or of {ATTACKS:?}")));
    Some(found.collect())
}

/// The memory that may be taken under these, in MiB.
pub(crate) fn most(attacks: &[Attack]) -> u64 {
    if attacks == [Attack::MillionsOfTags] { 200 } else { 220 }
}

/// Lays siege for that long.
#[expect(clippy::disallowed_methods, reason = "latencies are what is measured")]
pub(crate) async fn lay(attacks: &[Attack], length: Duration, seed: u64) -> Outcome {
    let (plane, registry) = (ControlPlane::start(Parts::Api).await, Registry::start().await);
    let (tenant, neighbour) =
        (plane.namespace_with("tenant", json!({})).await, plane.namespace_with("neighbour", json!({})).await);
    let image = |n: usize| format!("{}/web:1.0.{n}", registry.host);
    registry.push("web", "1.0.0", &Image::unique()).await;
    let hooked = json!({"supercargo.dev/policy": "patch", "supercargo.dev/poll": "never"});
    neighbour.create(&deployment("web", &image(0), hooked).to_string()).await;
    arm(&tenant, attacks).await;

    let setup = Setup {
        hook_secret: Some(SECRET.to_owned()),
        ..Setup::in_namespace(&tenant, "5s").with(&["-n", &neighbour.name])
    };
    let mut operator = Operator::start(&plane, &setup).await;
    let mut running = Vec::new();
    for attack in attacks {
        match attack {
            Attack::IdleConnections => {
                running.push(tokio::spawn(idle(operator.private.clone())));
                running.push(tokio::spawn(idle(operator.hooks.clone())));
            }
            Attack::Hooks => running.push(tokio::spawn(hooks(operator.hooks.clone(), registry.host.clone()))),
            Attack::Edits => {
                let client = plane.client(&audited_user()).await;
                let path = format!("/apis/apps/v1/namespaces/{}/deployments/flip", tenant.name);
                running.push(tokio::spawn(edit(client, path, Random::new(seed))));
            }
            _ => {}
        }
    }

    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(1)).build().unwrap();
    let client = plane.client(&audited_user()).await;
    let path = format!("/apis/apps/v1/namespaces/{}/deployments/web", neighbour.name);
    let (began, mut latencies, mut probes_missed) = (Instant::now(), Vec::new(), 0);
    let mut n = 0;
    while began.elapsed() < length {
        n += 1;
        registry.push("web", &format!("1.0.{n}"), &Image::unique()).await;
        let sent = Instant::now();
        hook(&http, &operator.hooks, &registry.host, "web", &format!("1.0.{n}")).await;
        let wanted = image(n);
        while request(&client, Method::GET, &path, None).await.unwrap()["spec"]["template"]["spec"]["containers"][0]["image"]
            != *wanted
        {
            assert!(sent.elapsed() < Duration::from_secs(120), "{wanted} does not run: {}", operator.process.output());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let latency = sent.elapsed();
        if latency > Duration::from_millis(500) {
            println!("push {n}, {:.1} s in: {:.2} s", began.elapsed().as_secs_f64(), latency.as_secs_f64());
        }
        latencies.push(latency);
        let livez = http.get(format!("{}/livez", operator.private)).send().await;
        probes_missed += usize::from(livez.is_err());
        tokio::time::sleep(PUSH_EVERY).await;
    }
    for task in running {
        task.abort();
    }
    assert!(operator.process.exited().is_none(), "{}", operator.process.output());
    let status = std::fs::read_to_string(format!("/proc/{}/status", operator.process.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak = peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024;
    latencies.sort_unstable();
    let at = |share: usize| latencies[(latencies.len() * share / 100).min(latencies.len() - 1)];
    Outcome { length, pushes: n, median: at(50), p99: at(99), longest: at(100), peak, probes_missed }
}

/// What stands in the tenant's namespace.
async fn arm(tenant: &Namespace<'_>, attacks: &[Attack]) {
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
    // A hundred containers each.
    let mut many = |name: &str, annotations: &dyn Fn(usize) -> Value, images: Vec<String>| {
        for (n, images) in images.chunks(100).enumerate() {
            let names: Vec<String> = (0..images.len()).map(|n| format!("c{n}")).collect();
            let containers: Vec<(&str, &str)> =
                names.iter().zip(images).map(|(name, image)| (name.as_str(), image.as_str())).collect();
            objects.push(workload("Deployment", &format!("{name}-{n}"), annotations(n), &containers));
        }
    };
    let patch = |_| policy("patch");
    for attack in attacks {
        match attack {
            Attack::SlowHosts => {
                many("slow", &patch, (0..1000).map(|n| format!("{}:{slow_port}/r:1.0.0", address(n))).collect());
            }
            Attack::RefusingHosts => {
                many("refusing", &patch, (0..5000).map(|n| format!("{}:{refusing}/r:1.0.0", address(n))).collect());
            }
            Attack::Patterns => {
                let patterns = |n| {
                    let regex = |c| format!("regex:(?P<order>[0-9]{{1,9}})-x{n}y{c}-[a-z]{{1,200}}");
                    (0..100).map(|c| (format!("supercargo.dev/policy.c{c}"), json!(regex(c)))).collect()
                };
                many("patterns", &patterns, vec![format!("{large_host}/n200000:1-x"); 4000]);
            }
            Attack::MillionsOfTags => {
                many("large", &patch, (0..8).map(|n| format!("{large_host}/n1000000-{n}:1.0.0")).collect());
            }
            _ => {}
        }
    }
    for attack in attacks {
        match attack {
            Attack::Schedules => objects.extend((0..2800).map(|n| {
                let mut annotations = policy("patch");
                annotations["supercargo.dev/poll"] = json!(format!("{} {} * * *", n % 60, n / 60 % 24));
                deployment(&format!("cron-{n}"), &format!("{large_host}/n10:1.0.0"), annotations)
            })),
            Attack::PullSecrets => {
                let mut secrets = deployment("secrets", &format!("{large_host}/n11:1.0.0"), policy("patch"));
                let names: Value = (0..15_000).map(|n| json!({"name": format!("secret-{n}")})).collect();
                secrets["spec"]["template"]["spec"]["imagePullSecrets"] = names;
                objects.push(secrets);
            }
            Attack::Edits => objects.push(deployment("flip", &format!("{large_host}/n12:1.0.0"), policy("patch"))),
            _ => {}
        }
    }
    let client = tenant.plane.client(&audited_user()).await;
    let path = format!("/apis/apps/v1/namespaces/{}/deployments", tenant.name);
    stream::iter(objects)
        .for_each_concurrent(8, async |object| {
            _ = request(&client, Method::POST, &path, Some(&object)).await.unwrap();
        })
        .await;
}

/// `/v2/n1000-x/tags/list` has 1,000 tags.
async fn tags(Path(name): Path<String>) -> Response<Body> {
    let count = name.trim_start_matches('n').split('-').next();
    let count: usize = count.and_then(|count| count.parse().ok()).unwrap_or(1);
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

/// Hooks with another tag each.
async fn hooks(url: String, host: String) {
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build().unwrap();
    for n in 0.. {
        let event = json!({"action": "push", "request": {"host": host}, "target": {"repository": "web", "tag": format!("no-{n}")}});
        let body = json!({"events": [event]}).to_string();
        let _ = http.post(format!("{url}/hooks/distribution")).bearer_auth(SECRET).body(body).send().await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Another annotation each time.
async fn edit(client: kube::Client, path: String, mut random: Random) {
    loop {
        let allow = format!("1[.]{}[.][0-9]+", random.below(1_000_000));
        let patch = json!({"metadata": {"annotations": {"supercargo.dev/allow": allow}}});
        let _ = request(&client, Method::PATCH, &path, Some(&patch)).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
