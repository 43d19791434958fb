//! Updates that people approve in Slack: a real API server and registry, the operator with the rights of `deploy/`, and a
//! server that speaks Slack's documented protocol.

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::{
    approvals::{flow::Shop, guarded},
    deploy::shell,
    support::{
        control_plane::{ControlPlane, Parts},
        eventually,
        operator::{Operator, Setup},
        slack::{APP_TOKEN, BOT_TOKEN, Slack, TEAM},
    },
};

mod blocks;
mod clicks;
mod crash;
mod holds;
mod socket;
mod story;
mod trouble;

/// Who is whom: as the API server knows them, and in Slack. Mallory may not approve.
const PEOPLE: &[(&str, &str)] = &[("alice", "U0ALICE"), ("bob", "U0BOB"), ("mallory", "U0MAL")];
const CHANNEL: &str = "C0DEPLOYS";

/// A control plane whose operator may speak for these people.
async fn plane() -> &'static ControlPlane {
    static PLANE: OnceCell<ControlPlane> = OnceCell::const_new();
    PLANE.get_or_init(speaking).await
}

/// One of the calling test's own.
async fn speaking() -> ControlPlane {
    let plane = guarded(Parts::All).await;
    shell(&plane, "kubectl apply -f deploy/components/slack/clusterrole.yaml");
    plane.kubectl(&[
        "create",
        "clusterrolebinding",
        "supercargo-slack",
        "--clusterrole=supercargo-slack",
        "--serviceaccount=supercargo:supercargo",
    ]);
    let line = |(user, id): &(&str, &str)| format!("slack:{TEAM}/{id} {user}");
    let lines: Vec<String> = PEOPLE.iter().map(line).collect();
    let patch = json!({"data": {"identities": lines.join("\n")}}).to_string();
    plane.kubectl(&["-n", "supercargo", "patch", "configmap", "supercargo-approvers", "-p", &patch]);
    plane
}

/// A shop whose updates people approve in Slack.
struct Told<'p> {
    shop: Shop<'p>,
    slack: Slack,
    setup: Setup,
    _folder: TempDir,
}

impl Told<'static> {
    /// With these annotations of its workload, and the operator not started yet.
    async fn open(hint: &str, annotations: Value) -> Self {
        let shop = Shop::open(plane().await, hint, annotations).await;
        let slack = Slack::start(&[CHANNEL]).await;
        let configuration = slack.configuration(&[(CHANNEL, &shop.namespace.name)], PEOPLE);
        Self::with(shop, slack, &configuration).await
    }
}

impl<'p> Told<'p> {
    async fn with(shop: Shop<'p>, slack: Slack, configuration: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.yaml");
        std::fs::write(&file, configuration).unwrap();
        let mut setup = shop.setup().await.with(&["--config", file.to_str().unwrap()]);
        setup.variables.extend(
            [("BOT_TOKEN", BOT_TOKEN), ("APP_TOKEN", APP_TOKEN)]
                .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        Self { shop, slack, setup, _folder: folder }
    }

    /// The operator, once it hears clicks.
    async fn operator(&self) -> Operator {
        let operator = Operator::start(self.shop.plane, &self.setup).await;
        self.slack.open_sockets(1).await;
        operator
    }
}

impl Shop<'_> {
    /// Waits until the record of the update to that tag names its message.
    async fn recorded(&self, tag: &str) {
        eventually(&format!("the message of {tag} is recorded"), async || {
            let update = self.update(tag, "Waiting").await;
            update["status"]["messages"][0]["ts"].is_string().then_some(())
        })
        .await;
    }
}
