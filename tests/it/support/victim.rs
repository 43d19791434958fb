//! Somebody in another namespace who is served whatever a tenant does: a push is told by a webhook, and runs.

use std::{collections::VecDeque, time::Duration};

use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::{
    control_plane::{Namespace, shared},
    eventually, free_port, http,
    objects::{deployment, runs},
    operator::{Operator, Setup},
    registry::{Image, Options, Registry},
};

/// What webhooks must bring.
pub(crate) const SECRET: &str = "the-hooks-own-secret";

/// Runs `web:1.0.0` of a registry that tells of pushes; nothing polls it.
#[derive(Debug)]
pub(crate) struct Victim {
    pub(crate) namespace: Namespace<'static>,
    pub(crate) registry: Registry,
    hooks_port: u16,
}

impl Victim {
    pub(crate) async fn new(name: &str) -> Self {
        let namespace = shared().await.namespace(&format!("{name}-neighbour")).await;
        let hooks_port = free_port();
        let notify = Some((format!("http://127.0.0.1:{hooks_port}/hooks/distribution"), format!("Bearer {SECRET}")));
        let registry = Registry::start_with(Options { notify, ..Options::default() }).await;
        registry.push("web", "1.0.0", &Image::unique()).await;
        let victim = Self { namespace, registry, hooks_port };
        victim.namespace.create(&deployment("web", &victim.image("1.0.0"), hooked()).to_string()).await;
        victim
    }

    /// The same operator for this namespace too.
    pub(crate) fn beside(&self, setup: Setup) -> Setup {
        let setup = setup.with(&["-n", &self.namespace.name]);
        Setup { hook_secret: Some(SECRET.to_owned()), hooks_port: Some(self.hooks_port), ..setup }
    }

    pub(crate) fn image(&self, tag: &str) -> String {
        format!("{}/web:{tag}", self.registry.host)
    }

    /// Pushes a version and waits until it runs.
    pub(crate) async fn is_served(&self, tag: &str) {
        self.registry.push("web", tag, &Image::unique()).await;
        runs(&self.namespace, "web", &[&self.image(tag)]).await;
    }
}

/// The policy `patch`, and only webhooks tell.
pub(crate) fn hooked() -> Value {
    json!({"supercargo.dev/policy": "patch", "supercargo.dev/poll": "never"})
}

/// A webhook that names a tag, sent until the operator knows a workload that wants it: what comes before that is heard by
/// nobody.
pub(crate) async fn tell(operator: &Operator, host: &str, repository: &str, tag: &str) {
    let event = json!({"action": "push", "request": {"host": host}, "target": {"repository": repository, "tag": tag}});
    let body = json!({"events": [event]}).to_string();
    eventually("a webhook is queued", async || {
        let request = http().post(format!("{}/hooks/distribution", operator.hooks)).bearer_auth(SECRET);
        let answer = request.body(body.clone()).send().await.unwrap();
        assert_eq!(answer.status(), 202);
        (answer.json::<Value>().await.unwrap()["outcome"] == "queued").then_some(())
    })
    .await;
}

/// Keeps three hundred connections that say nothing, always new ones.
pub(crate) async fn idle(url: String) {
    let address = url.trim_start_matches("http://").to_owned();
    let mut kept = VecDeque::new();
    loop {
        if let Ok(stream) = TcpStream::connect(&address).await {
            kept.push_back(stream);
        }
        if kept.len() > 300 {
            kept.pop_front();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
