//! What Git is busy with for one namespace.

use super::Street;
use crate::support::{
    attacks, commits::config, eventually, git_server::GitServer, objects::event_says, operator::RESIDENT,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_git_server_that_never_answers_holds_up_no_patch() {
    let (street, folder) = (Street::new("git-hangs").await, tempfile::tempdir().unwrap());
    let front = attacks::git::silent_server().await;
    let config = config(folder.path(), &street.tenant.name, &format!("http://{}/deploy.git", front.host));
    street.neighbour.registry.push_tags("team", ["1.0.0", "1.0.1"]).await;
    let image = format!("{}/team:1.0.0", street.neighbour.registry.host);
    attacks::create(&street.tenant, attacks::git::written_to("prod", "silent", 20, &image)).await;
    let cache = folder.path().join("cache");
    let flags = ["--config", config.to_str().unwrap(), "--git-cache", cache.to_str().unwrap()];
    let _operator = street.operator("1s", &flags).await;
    eventually("Git waits", async || (!front.came().is_empty()).then_some(())).await;
    for tag in ["1.0.1", "1.0.2"] {
        street.neighbour.is_served(tag).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_of_millions_of_scalars_and_thousands_of_markers_is_read_beside_the_patches() {
    let (street, server, folder) =
        (Street::new("git-large").await, GitServer::start().await, tempfile::tempdir().unwrap());
    let image = format!("{}/team:1.0.0", street.neighbour.registry.host);
    server.create("deploy", &attacks::git::bytes(&attacks::git::large(&street.tenant, &image)));
    let config = config(folder.path(), &street.tenant.name, &server.url("deploy"));
    street.neighbour.registry.push_tags("team", ["1.0.0", "1.0.1"]).await;
    attacks::create(&street.tenant, attacks::git::written_to("prod", "large", 4, &image)).await;
    let cache = folder.path().join("cache");
    let flags = ["--config", config.to_str().unwrap(), "--git-cache", cache.to_str().unwrap()];
    let operator = street.operator("1s", &flags).await;
    eventually("it is read", async || (!server.requests().is_empty()).then_some(())).await;
    street.neighbour.is_served("1.0.1").await;
    for n in 0..4 {
        event_says(&street.tenant, &format!("large-{n}"), "more than 200000 scalars").await;
    }
    street.neighbour.is_served("1.0.2").await;
    let resident = operator.resident();
    assert!(resident < RESIDENT, "{resident} MB");
}
