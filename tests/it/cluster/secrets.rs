//! Pull secrets by name.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use secrecy::ExposeSecret;
use serde_json::json;
use supercargo::{
    cluster::PullSecrets,
    ports::{Clock, Secrets},
};

use super::clock;
use crate::support::{
    clock::SimClock,
    control_plane::{self, Namespace, audited_user},
    eventually,
};

/// A clock that stands still until it is moved.
#[derive(Default)]
struct Standing(Mutex<Duration>);

impl Clock for Standing {
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::UNIX_EPOCH
    }

    fn monotonic(&self) -> Duration {
        *self.0.lock().unwrap()
    }

    fn sleep_until(&self, _: Duration) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }
}

const CONFIG: &str = r#"{"auths":{"r.test":{"auth":"dTpw"}}}"#;

async fn create(ns: &Namespace<'_>) {
    let data = BASE64_STANDARD.encode(CONFIG);
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "pull"},
        "type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": data},
    });
    ns.create(&secret.to_string()).await;
}

#[tokio::test]
async fn a_secret_is_read_once_in_ten_minutes_and_anew_when_asked() {
    let plane = control_plane::shared().await;
    let ns = plane.namespace("secrets").await;
    create(&ns).await;
    let user = audited_user();
    let clock = Arc::new(Standing::default());
    let secrets = PullSecrets::new(plane.client(&user).await, clock.clone());
    let reads = || plane.audit(&user).len();

    let all = (0..50).map(|_| secrets.docker_config(&ns.name, "pull", false));
    for text in futures::future::join_all(all).await {
        assert_eq!(text.unwrap().unwrap().expose_secret(), CONFIG);
    }
    assert_eq!(reads(), 1);
    assert!(secrets.docker_config(&ns.name, "none", false).await.unwrap().is_none());
    assert!(secrets.docker_config(&ns.name, "none", false).await.unwrap().is_none());
    assert_eq!(reads(), 2);

    *clock.0.lock().unwrap() += Duration::from_secs(1);
    secrets.docker_config(&ns.name, "pull", true).await.unwrap();
    assert_eq!(reads(), 3, "fresh");
    *clock.0.lock().unwrap() += Duration::from_secs(599);
    secrets.docker_config(&ns.name, "pull", false).await.unwrap();
    assert_eq!(reads(), 3);
    *clock.0.lock().unwrap() += Duration::from_secs(1);
    secrets.docker_config(&ns.name, "pull", false).await.unwrap();
    assert_eq!(reads(), 4);
    assert!(plane.audit(&user).iter().all(|a| a.verb == "get"), "never a list");
}

#[tokio::test]
async fn the_command_that_an_error_prints_grants_the_right() {
    let plane = control_plane::shared().await;
    let ns = plane.namespace("grant").await;
    create(&ns).await;
    ns.create("{apiVersion: v1, kind: ServiceAccount, metadata: {name: robot}}").await;
    let client = plane.client_with_token(&ns.token("robot").await).await;
    let secrets = PullSecrets::new(client, clock());
    let error = secrets.docker_config(&ns.name, "pull", false).await.unwrap_err().0;

    let (_, commands) = error.split_once("kubectl ").unwrap();
    let (commands, _) = commands.split_once(" (").unwrap();
    for command in commands.split(" && kubectl ") {
        plane.kubectl(&command.split(' ').collect::<Vec<_>>());
    }
    // RBAC takes a moment to be seen.
    eventually("the right is there", async || secrets.docker_config(&ns.name, "pull", true).await.ok().flatten()).await;
}

#[tokio::test]
async fn reads_take_turns_and_a_namespace_waits_for_itself() {
    let plane = control_plane::shared().await;
    let (many, one) = (plane.namespace("secrets-many").await, plane.namespace("secrets-one").await);
    create(&one).await;
    let user = audited_user();
    let clock = SimClock::at("2026-03-01T12:00:00Z");
    let secrets = Arc::new(PullSecrets::new(plane.client(&user).await, Arc::new(clock.clone())));
    let (namespace, asked) = (many.name.clone(), secrets.clone());
    let mut crowd = FuturesUnordered::new();
    for n in 0..150 {
        let (namespace, asked) = (namespace.clone(), asked.clone());
        let read =
            async move { asked.docker_config(&namespace, &format!("s{n}"), false).await.map(|text| text.is_some()) };
        crowd.push(tokio::spawn(read));
    }
    // Ten at once, forty in the line; the others are told at once.
    for n in 0..110 {
        match crowd.next().await.unwrap().unwrap() {
            Ok(found) => assert!(!found),
            Err(error) => {
                assert!(error.0.contains("40 reads of Secrets of that namespace are waiting"), "{n}: {error}")
            }
        }
    }
    assert_eq!(plane.audit(&user).len(), 10);
    assert!(crowd.next().now_or_never().is_none());

    let (name, asked) = (one.name.clone(), secrets.clone());
    let victim = tokio::spawn(async move { asked.docker_config(&name, "pull", false).await });
    clock.advance(Duration::from_millis(200)).await;
    assert_eq!(victim.await.unwrap().unwrap().unwrap().expose_secret(), CONFIG);
    eventually("its turn was the second one", async || (plane.audit(&user).len() == 12).then_some(())).await;

    clock.advance(Duration::from_secs(1)).await;
    eventually("ten more in a second", async || (plane.audit(&user).len() == 22).then_some(())).await;
    // Those who go away take no turn.
    drop(secrets);
    for task in &crowd {
        task.abort();
    }
    clock.advance(Duration::from_secs(20)).await;
    assert_eq!(plane.audit(&user).len(), 22);
}
