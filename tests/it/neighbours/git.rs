//! What Git is busy with for one namespace.

use serde_json::json;

use super::Street;
use crate::support::{
    commits::{config, manifest},
    eventually,
    front::{Front, Way},
    git_server::GitServer,
    objects::{deployment, event_says},
    operator::RESIDENT,
};

fn written_to_git() -> serde_json::Value {
    json!({"supercargo.dev/policy": "patch", "supercargo.dev/write": "git:prod"})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_git_server_that_never_answers_holds_up_no_patch() {
    let (street, server, folder) =
        (Street::new("git-hangs").await, GitServer::start().await, tempfile::tempdir().unwrap());
    server.create("deploy", &[]);
    let front = Front::before(server.base.strip_prefix("http://").unwrap(), |_| Way::Hang).await;
    let config = config(folder.path(), &street.tenant.name, &format!("http://{}/deploy.git", front.host));
    street.neighbour.registry.push_tags("team", ["1.0.0", "1.0.1"]).await;
    for n in 0..20 {
        let image = format!("{}/team:1.0.0", street.neighbour.registry.host);
        street.tenant.create(&deployment(&format!("n{n}"), &image, written_to_git()).to_string()).await;
    }
    let cache = folder.path().join("cache");
    let flags = ["--config", config.to_str().unwrap(), "--git-cache", cache.to_str().unwrap()];
    let _operator = street.operator("1s", &flags).await;
    eventually("Git waits", async || (!front.came().is_empty()).then_some(())).await;
    for tag in ["1.0.1", "1.0.2"] {
        street.neighbour.is_served(tag).await;
    }
}

/// Each of four files has a million scalars, and others have a thousand markers.
#[tokio::test(flavor = "multi_thread")]
async fn a_repository_of_millions_of_scalars_and_thousands_of_markers_is_read_beside_the_patches() {
    let (street, server, folder) =
        (Street::new("git-large").await, GitServer::start().await, tempfile::tempdir().unwrap());
    let image = format!("{}/team:1.0.0", street.neighbour.registry.host);
    let large = |n: usize| {
        format!("{}list: [{}]\n", manifest(&street.tenant, &format!("n{n}"), &image), "1,".repeat(1_000_000))
    };
    let markers = |n: usize| -> String {
        let line =
            |m: usize| format!("tag{m}: 1.0.0 # supercargo: regex:(?P<order>[0-9]{{1,9}})-x{n}y{m}[a-z]{{1,200}}\n");
        (0..1000).map(line).collect()
    };
    let mut files: Vec<(String, String)> = (0..4).map(|n| (format!("apps/large{n}.yaml"), large(n))).collect();
    files.extend((0..3).map(|n| (format!("apps/markers{n}.yaml"), markers(n))));
    let files: Vec<(&str, &[u8])> = files.iter().map(|(path, text)| (&**path, text.as_bytes())).collect();
    server.create("deploy", &files);
    let config = config(folder.path(), &street.tenant.name, &server.url("deploy"));
    street.neighbour.registry.push_tags("team", ["1.0.0", "1.0.1"]).await;
    for n in 0..4 {
        street.tenant.create(&deployment(&format!("n{n}"), &image, written_to_git()).to_string()).await;
    }
    let cache = folder.path().join("cache");
    let flags = ["--config", config.to_str().unwrap(), "--git-cache", cache.to_str().unwrap()];
    let operator = street.operator("1s", &flags).await;
    eventually("it is read", async || (!server.requests().is_empty()).then_some(())).await;
    street.neighbour.is_served("1.0.1").await;
    for n in 0..4 {
        event_says(&street.tenant, &format!("n{n}"), "more than 200000 scalars").await;
    }
    street.neighbour.is_served("1.0.2").await;
    let resident = operator.resident();
    assert!(resident < RESIDENT, "{resident} MB");
}
