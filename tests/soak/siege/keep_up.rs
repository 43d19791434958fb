//! What goes on while the siege lasts.

use std::{sync::Arc, time::Duration};

use http::Method;
use serde_json::json;
use tokio::task::JoinHandle;

use super::{
    super::support::{
        control_plane::{Namespace, audited_user, request},
        git_server::{BareRepo, PERSON},
        kills::Random,
        operator::Operator,
        registry::Registry,
        victim::{SECRET, idle},
    },
    Attack,
    arms::Arms,
};

/// Between two images, or commits, that Git is to follow.
const EVERY: Duration = Duration::from_secs(5);

/// The tasks of an attack.
pub(super) async fn keep_up(
    attack: Attack,
    operator: &Operator,
    tenants: &[Namespace<'_>; 2],
    registry: &Arc<Registry>,
    host: &str,
    arms: &Arms,
    seed: u64,
) -> Vec<JoinHandle<()>> {
    match attack {
        Attack::IdleConnections => {
            [&operator.private, &operator.hooks].map(|url| tokio::spawn(idle(url.clone()))).into()
        }
        Attack::Hooks => vec![tokio::spawn(hooks(operator.hooks.clone(), host.to_owned()))],
        Attack::Edits => {
            let tenant = &tenants[attack.tenant()];
            let client = tenant.plane.client(&audited_user()).await;
            let path = format!("/apis/apps/v1/namespaces/{}/deployments/flip", tenant.name);
            vec![tokio::spawn(edit(client, path, Random::new(seed)))]
        }
        Attack::LargeGit => arms.large.iter().map(|repo| tokio::spawn(commit(repo.clone()))).collect(),
        Attack::Groups => vec![tokio::spawn(push(registry.clone()))],
        _ => Vec::new(),
    }
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

/// Other contents each time.
async fn commit(repo: BareRepo) {
    for n in 0.. {
        tokio::time::sleep(EVERY).await;
        let (repo, text) = (repo.clone(), format!("n: {n}\n"));
        let commit = move || repo.commit(&[("apps/more.yaml", Some(text.as_bytes()))], "More", PERSON);
        let _ = tokio::task::spawn_blocking(commit).await;
    }
}

/// A newer image each time.
async fn push(registry: Arc<Registry>) {
    for n in 1.. {
        tokio::time::sleep(EVERY).await;
        registry.push_tags("many", [format!("1.1.{n}")]).await;
    }
}
