//! What may break around the operator, and the operator itself: nothing is lost, nothing is done twice.

use serde_json::json;

use crate::support::{
    control_plane::{ControlPlane, Parts, shared},
    eventually,
    front::{Front, Way, now},
    kills,
    objects::{deployment, policy, runs, workload, written},
    operator::{Operator, Setup},
    registry::{Image, Registry},
};

#[tokio::test(flavor = "multi_thread")]
async fn twenty_kills_at_random_points_lose_no_update_and_make_none_twice() {
    let outcome = kills::kill(20, kills::seed()).await;
    println!("{outcome:?}, {} images written just before a kill", outcome.untold);
    assert!(outcome.pushes >= 40 && outcome.updates > 11, "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_is_killed_and_comes_back_is_followed_without_a_storm_of_lists() {
    /// Restarts of the API server.
    const RESTARTS: usize = 2;
    let (plane, registry) = (ControlPlane::start(Parts::Api).await, Registry::start().await);
    let namespace = plane.namespace_with("restarted", json!({})).await;
    registry.push("web", "1.0.0", &Image::unique()).await;
    let image = |n: usize| format!("{}/web:1.0.{n}", registry.host);
    for name in ["web", "other"] {
        namespace.create(&deployment(name, &image(0), policy("patch")).to_string()).await;
    }
    let mut operator = Operator::start(&plane, &Setup::in_namespace(&namespace, "1s")).await;
    for n in 1..=RESTARTS {
        plane.stop_api();
        registry.push("web", &format!("1.0.{n}"), &Image::unique()).await;
        // It is found while nothing can be written.
        eventually("a write fails", async || {
            let failed = operator.metric("supercargo_updates_total", "failed").await;
            let log = operator.process.output();
            (failed >= 1.0 && log.contains("the watch broke off")).then_some(())
        })
        .await;
        plane.start_api();
        plane.ready().await;
        for name in ["web", "other"] {
            runs(&namespace, name, &[&image(n)]).await;
        }
        // Before it is stopped again.
        eventually("both are in the audit log", async || {
            (written(&plane, &operator.user).len() >= 2 * n).then_some(())
        })
        .await;
    }
    // What changes by another field manager is seen too.
    namespace
        .merge("deployments", "other", json!({"metadata": {"annotations": {"supercargo.dev/policy": null}}}))
        .await;
    eventually("the change is seen", async || (operator.metric("supercargo_workloads", "").await == 1.0).then_some(()))
        .await;
    registry.push("web", "1.0.9", &Image::unique()).await;
    runs(&namespace, "web", &[&image(9)]).await;
    runs(&namespace, "other", &[&image(RESTARTS)]).await;

    assert!(operator.process.exited().is_none(), "it never ended");
    let requests = plane.audit(&operator.user);
    for kind in ["deployments", "statefulsets", "daemonsets", "cronjobs", "namespaces"] {
        let lists = requests.iter().filter(|request| {
            request.verb == "list" && request.uri.split('?').next().is_some_and(|path| path.ends_with(kind))
        });
        let lists = lists.count();
        assert!((1..=1 + 2 * RESTARTS).contains(&lists), "{lists} lists of {kind}");
    }
    let images = eventually("the last one is in the audit log", async || {
        let images: Vec<String> = written(&plane, &operator.user).into_iter().map(|(_, image)| image).collect();
        (images.len() > 2 * RESTARTS).then_some(images)
    })
    .await;
    assert_eq!(images.len(), 2 * RESTARTS + 1, "each once: {images:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_hangs_and_a_host_that_is_dead_delay_no_other() {
    let (plane, registry) = (shared().await, Registry::start().await);
    let namespace = plane.namespace("hanging").await;
    registry.push("good", "1.0.0", &Image::unique()).await;
    let half =
        Front::start_with(&registry, |path| if path.starts_with("/v2/slow") { Way::Hang } else { Way::Pass }).await;
    let dead = Front::start_with(&registry, |_| Way::Hang).await;
    let good = |tag: &str| format!("{}/good:{tag}", half.host);
    namespace.create(&deployment("good", &good("1.0.0"), policy("patch")).to_string()).await;
    namespace.create(&deployment("slow", &format!("{}/slow:1.0.0", half.host), policy("patch")).to_string()).await;
    // 200 workloads with three repositories each, none of which answers.
    for n in 0..200 {
        let images = ["a", "b", "c"].map(|part| format!("{}/{part}{n}:1.0.0", dead.host));
        let containers: Vec<(&str, &str)> =
            ["a", "b", "c"].into_iter().zip(images.iter().map(String::as_str)).collect();
        namespace.create(&workload("Deployment", &format!("dead-{n}"), policy("patch"), &containers).to_string()).await;
    }
    let begun = now();
    let operator = Operator::start(plane, &Setup::in_namespace(&namespace, "1s")).await;
    eventually("the hanging ones are asked", async || {
        (!dead.came().is_empty() && half.count("slow") > 0).then_some(())
    })
    .await;

    for n in 1..=3 {
        let (tag, pushed) = (format!("1.0.{n}"), now());
        registry.push("good", &tag, &Image::unique()).await;
        runs(&namespace, "good", &[&good(&tag)]).await;
        // The 600 others, one after the other, would take ten minutes.
        let took = pushed.elapsed();
        assert!(took.as_secs() < 120, "update {n} took {took:?}");
    }
    // A look at one that hangs is given up after 15 s, and then there is another.
    let (slow, dead) = (half.count("slow"), dead.came().len());
    let rounds = 1 + usize::try_from(begun.elapsed().as_secs() / 15).unwrap();
    assert!(slow <= rounds, "one look at a time: {slow} in {rounds} rounds");
    assert!(dead <= 16 * rounds, "a few at a time at one host: {dead} in {rounds} rounds");
    assert!(operator.metric("supercargo_registry_queue_seconds", "").await > 0.0, "that others wait is told");
}
