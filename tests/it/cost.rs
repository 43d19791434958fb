//! What it costs when nothing happens, counted where it arrives.

use std::{collections::BTreeMap, time::Duration};

use futures::{StreamExt, stream};
use serde_json::json;

use crate::support::{
    control_plane::{ControlPlane, Parts, shared},
    eventually,
    front::Front,
    objects::{deployment, policy, runs},
    operator::{Operator, Setup},
    registry::{Access, Image, Options, Registry},
    token_server::{Rules, TokenServer},
};

#[tokio::test(flavor = "multi_thread")]
async fn fifty_repositories_of_500_workloads_cost_fifty_requests_a_cycle_and_no_list() {
    const REPOSITORIES: usize = 50;
    const INTERVAL: f64 = 5.0;
    const CYCLES: usize = 3;
    let (plane, registry) = (ControlPlane::start(Parts::Api).await, Registry::start().await);
    let front = Front::start(&registry).await;
    let namespace = plane.namespace_with("cost", json!({"supercargo.dev/policy": "minor"})).await;
    for n in 0..REPOSITORIES {
        registry.push_tags(&format!("r{n}"), ["1.0.0", "1.0.1-rc1", "2.0.0"]).await;
    }
    let objects: Vec<String> = (0..10 * REPOSITORIES)
        .map(|n| deployment(&format!("web-{n}"), &format!("{}/r{}:1.0.0", front.host, n % REPOSITORIES), json!({})))
        .map(|object| object.to_string())
        .collect();
    stream::iter(&objects).for_each_concurrent(16, async |object| _ = namespace.create(object).await).await;

    let operator = Operator::start(&plane, &Setup::in_namespace(&namespace, "5s")).await;
    eventually("all are known", async || (operator.metric("supercargo_workloads", "").await == 500.0).then_some(()))
        .await;
    eventually("every repository was looked at", async || {
        (0..REPOSITORIES).all(|n| front.count(&format!("r{n}")) > 0).then_some(())
    })
    .await;
    // The first looks, because the rules are new, are over; from now on there is nothing but the poll.
    let settled = front.came().len();
    eventually("polling has begun", async || (front.came().len() >= settled + REPOSITORIES).then_some(())).await;
    let (start, kubernetes) = (front.came().len(), plane.audit(&operator.user).len());
    eventually("some cycles have passed", async || {
        (front.came().len() >= start + (CYCLES + 1) * REPOSITORIES).then_some(())
    })
    .await;

    let came = front.came().split_off(start);
    let mut of: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, request) in came.iter().enumerate() {
        assert!(request.line.starts_with("GET /v2/r") && request.line.contains("/tags/list"), "{}", request.line);
        of.entry(&request.line).or_default().push(at);
    }
    assert_eq!(of.len(), REPOSITORIES, "one address for each repository");
    for (line, places) in &of {
        // Each cycle has a request of each repository; that it has no more is seen by their number.
        assert!(places.len() >= CYCLES, "{line}: {places:?}");
    }
    // What comes late makes the span shorter, by less than a cycle.
    let span = came[came.len() - 1].at - came[0].at;
    let most = REPOSITORIES as f64 * (span.as_secs_f64() / INTERVAL + 1.0);
    assert!(came.len() as f64 <= most, "{} requests in {span:?}", came.len());

    let requests = plane.audit(&operator.user).split_off(kubernetes);
    let other: Vec<String> =
        requests.iter().filter(|r| r.verb != "watch").map(|r| format!("{} {}", r.verb, r.uri)).collect();
    assert!(other.is_empty(), "nothing but watches: {other:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_asked_for_once_in_its_lifetime_for_each_repository() {
    const POLLS: usize = 4;
    let server = TokenServer::start_with(Rules { lifetime: Duration::from_secs(3600), ..Rules::default() }).await;
    let registry = Registry::start_with(Options { access: Access::Token(server.clone()), ..Options::default() }).await;
    let (plane, front) = (shared().await, Front::start(&registry).await);
    let namespace = plane.namespace("tokens").await;
    for path in ["public/a", "public/b", "public/c"] {
        registry.push(path, "1.0.0", &Image::unique()).await;
        for n in 0..4 {
            let name = format!("{}-{n}", path.replace('/', "-"));
            let object = deployment(&name, &format!("{}/{path}:1.0.0", front.host), policy("minor"));
            namespace.create(&object.to_string()).await;
        }
    }
    let _operator = Operator::start(plane, &Setup::in_namespace(&namespace, "2s")).await;
    eventually("some polls", async || {
        ["public/a", "public/b", "public/c"].iter().all(|path| front.count(path) > POLLS).then_some(())
    })
    .await;
    // An update still gets through.
    registry.push("public/a", "1.1.0", &Image::unique()).await;
    runs(&namespace, "public-a-0", &[&format!("{}/public/a:1.1.0", front.host)]).await;

    let mut scopes: Vec<String> = server.asked().into_iter().map(|asked| asked.query).collect();
    scopes.sort();
    let asked = scopes.len();
    scopes.dedup();
    assert_eq!((asked, scopes.len()), (3, 3), "{scopes:?}");
}
