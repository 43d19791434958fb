//! What people may say of an update that is not what it seems, and how much.

use http::Method;
use serde_json::{Value, json};

use super::{
    ask,
    flow::{Shop, well},
    plane,
};
use crate::support::{
    commits,
    control_plane::ADMIN,
    eventually,
    git_server::{GitServer, Options},
    objects::runs,
    operator::Operator,
};

const REVIEWS: &str = "imageupdatereviews";

#[tokio::test(flavor = "multi_thread")]
async fn a_review_is_of_the_update_whose_uid_it_names_whoever_owns_it() {
    let shop = Shop::open(plane().await, "owner", json!({"supercargo.dev/approvals": "2"})).await;
    let operator = shop.operator().await;
    let digest = shop.push("1.1.0").await;
    let ballot = shop.ballot("1.1.0").await;
    let update = ballot["spec"]["update"].clone();
    let owner = |version: &str, kind: &str, name: &Value, uid: &Value| {
        let reference = json!({"apiVersion": version, "kind": kind, "name": name, "uid": uid});
        json!([reference])
    };
    // It is the update's by its owner, and of another by what it says.
    let mut other = ballot.clone();
    other["metadata"]["ownerReferences"] =
        owner("supercargo.dev/v1alpha1", "ImageUpdate", &update["name"], &update["uid"]);
    other["spec"]["update"]["uid"] = json!("11111111-2222-3333-4444-555555555555");
    shop.raw("alice", &other, "alice").await.unwrap();
    // And the name is of this update, and the uid, but what it says yes to is something else.
    let mut stale = ballot.clone();
    stale["spec"]["target"] = json!("0".repeat(64));
    shop.raw("alice", &stale, "alice").await.unwrap();
    for outcome in ["unknown", "stale"] {
        eventually(&format!("one is {outcome}"), async || {
            let label = format!("outcome=\"{outcome}\"");
            (operator.metric("supercargo_reviews_total", &label).await >= 1.0).then_some(())
        })
        .await;
    }
    shop.stands("1.1.0", "0 of 2").await;

    // It is the workload's by its owner, and of the update by what it says.
    let workload = shop.namespace.get("deployments", "web").await;
    let mut forged = ballot.clone();
    forged["metadata"]["ownerReferences"] = owner("apps/v1", "Deployment", &json!("web"), &workload["metadata"]["uid"]);
    shop.raw("bob", &forged, "bob").await.unwrap();
    shop.stands("1.1.0", "1 of 2 people have approved it (bob)").await;
    assert_eq!(shop.written(), <[&str; 0]>::default());
    shop.raw("alice", &ballot, "alice").await.unwrap();
    runs(&shop.namespace, "web", &[&format!("{}@{digest}", shop.image("1.1.0"))]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_very_many_reviews_a_hundred_are_left_and_the_next_person_counts() {
    let shop = Shop::open(plane().await, "many", json!({"supercargo.dev/approvals": "2"})).await;
    let operator = shop.operator().await;
    let digest = shop.push("1.1.0").await;
    let ballot = shop.ballot("1.1.0").await;
    for _ in 0..150 {
        shop.raw("alice", &ballot, "alice").await.unwrap();
    }
    let admin = shop.plane.client(ADMIN).await;
    let left = async || {
        let list = ask(&shop.namespace, &admin, Method::GET, REVIEWS, "", None).await.unwrap();
        list["items"].as_array().unwrap().len()
    };
    eventually("a hundred are left", async || (left().await == 100).then_some(())).await;
    let many = async || operator.metric("supercargo_reviews_total", "outcome=\"too-many\"").await;
    eventually("the others are counted", async || (many().await >= 50.0).then_some(())).await;
    shop.stands("1.1.0", "1 of 2 people have approved it (alice)").await;
    shop.raw("bob", &ballot, "bob").await.unwrap();
    runs(&shop.namespace, "web", &[&format!("{}@{digest}", shop.image("1.1.0"))]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_approved_goes_to_git_once() {
    let annotations = json!({"supercargo.dev/approvals": "1", "supercargo.dev/write": "git:prod"});
    let shop = Shop::open(plane().await, "git", annotations).await;
    let folder = tempfile::tempdir().unwrap();
    let password = Some(("bot".to_owned(), "geheim-4711".to_owned()));
    let server = GitServer::start_with(Options { password, ..Options::default() }).await;
    let before = commits::manifest(&shop.namespace, "web", &shop.image("1.0.0"));
    let repo = server.create("deploy", &[("apps/web.yaml", before.as_bytes())]);
    let config = commits::config(folder.path(), &shop.namespace.name, &server.url("deploy"));
    let cache = folder.path().join("cache");
    let more = ["--config", config.to_str().unwrap(), "--git-cache", cache.to_str().unwrap()];
    let operator = Operator::start(shop.plane, &shop.setup().await.with(&more)).await;
    shop.push("1.1.0").await;
    shop.stands("1.1.0", "0 of 1").await;
    operator.looks().await;
    assert_eq!(repo.log().len(), 1);

    well(&shop.say("alice", "approve", &[]));
    eventually("a commit", async || (repo.log().len() == 2).then_some(())).await;
    let after = String::from_utf8(repo.read("apps/web.yaml")).unwrap();
    assert!(after.contains(&shop.image("1.1.0")), "{after}");
    let done = shop.update("1.1.0", "InGit").await;
    assert_eq!(done["status"]["approval"]["votes"][0]["by"], "alice");
    operator.looks().await;
    assert_eq!((repo.log().len(), shop.written()), (2, vec![]));
}
