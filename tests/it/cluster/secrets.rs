//! Pull secrets by name.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use futures::future::BoxFuture;
use secrecy::ExposeSecret;
use serde_json::json;
use supercargo::{
    cluster::PullSecrets,
    ports::{Clock, Secrets},
};

use super::clock;
use crate::support::control_plane::{self, Namespace, audited_user};

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
    crate::support::eventually("the right is there", async || {
        secrets.docker_config(&ns.name, "pull", true).await.ok().flatten()
    })
    .await;
}
