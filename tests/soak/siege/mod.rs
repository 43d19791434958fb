//! What one tenant and strangers can do, one after the other and all at once, while a neighbour's pushes are measured.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use http::Method;
use serde_json::json;

use super::support::{
    attacks,
    control_plane::{ControlPlane, Parts, audited_user, request},
    eventually,
    objects::deployment,
    operator::{Operator, Setup},
    registry::{Image, Registry},
    victim::{SECRET, hooked},
};
use arms::Arms;
pub(crate) use attack::{AT_ONCE, ATTACKS, Attack, most, only};

mod arms;
mod attack;
mod keep_up;

/// Between two pushes of the neighbour.
const PUSH_EVERY: Duration = Duration::from_secs(1);

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

/// `$SUPERCARGO_SIEGE` in seconds, else ten minutes.
#[expect(clippy::disallowed_methods, reason = "the test's own environment")]
pub(crate) fn length() -> Duration {
    let given = std::env::var("SUPERCARGO_SIEGE").ok();
    Duration::from_secs(given.map_or(600, |text| text.parse().expect("SUPERCARGO_SIEGE is a number of seconds")))
}

/// Lays siege for that long.
#[expect(clippy::disallowed_methods, reason = "latencies are what is measured")]
pub(crate) async fn lay(attacks: &[Attack], length: Duration, seed: u64) -> Outcome {
    let (plane, registry) = (ControlPlane::start(Parts::Api).await, Arc::new(Registry::start().await));
    let tenants = [plane.namespace_with("tenant", json!({})).await, plane.namespace_with("tenant", json!({})).await];
    let neighbour = plane.namespace_with("neighbour", json!({})).await;
    // It passes on all but what the tenants ask of it, and is found by a name.
    let front = attacks::year_of_rest(&registry).await;
    let host = front.host.replace("127.0.0.1", "localhost");
    let image = |n: usize| format!("{host}/web:1.0.{n}");
    registry.push("web", "1.0.0", &Image::unique()).await;
    neighbour.create(&deployment("web", &image(0), hooked()).to_string()).await;
    let arms = Arms::lay(&tenants, &registry, &host, attacks).await;

    let setup = Setup::in_namespace(&tenants[0], "5s").with(&["-n", &tenants[1].name, "-n", &neighbour.name]);
    let flags: Vec<&str> = arms.flags.iter().map(String::as_str).collect();
    let setup = Setup { hook_secret: Some(SECRET.to_owned()), through: arms.through.clone(), ..setup.with(&flags) };
    let mut operator = Operator::start(&plane, &setup).await;
    let mut running = Vec::new();
    for attack in attacks {
        running.extend(keep_up::keep_up(*attack, &operator, &tenants, &registry, &host, &arms, seed).await);
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
        hook(&http, &operator.hooks, &host, &format!("1.0.{n}")).await;
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
    let peak = operator.status("VmHWM") / 1024;
    latencies.sort_unstable();
    let at = |share: usize| latencies[(latencies.len() * share / 100).min(latencies.len() - 1)];
    Outcome { length, pushes: n, median: at(50), p99: at(99), longest: at(100), peak, probes_missed }
}

async fn hook(http: &reqwest::Client, to: &str, host: &str, tag: &str) {
    let event = json!({"action": "push", "request": {"host": host}, "target": {"repository": "web", "tag": tag}});
    let body = json!({"events": [event]}).to_string();
    eventually("the hook is taken", async || {
        let answer = http.post(format!("{to}/hooks/distribution")).bearer_auth(SECRET).body(body.clone()).send().await;
        answer.ok().filter(|answer| answer.status() == 202)
    })
    .await;
}
