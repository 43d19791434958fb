//! Where the policies of admission are not there, or not what they must be: nothing is approved then, and what was said
//! then never counts. Each test has a control plane of its own, as policies are the whole cluster's.

use serde_json::{Value, json};

use super::{
    flow::{Shop, badly, well},
    guarded, in_force,
};
use crate::{
    deploy::shell,
    support::{
        control_plane::{ControlPlane, Parts},
        eventually,
        objects::{event_says, events, runs},
        operator::Operator,
    },
};

const API: &str = "/apis/admissionregistration.k8s.io/v1";
const TWO: &str = "supercargo.dev/approvals";

#[tokio::test(flavor = "multi_thread")]
async fn without_the_policies_nobody_is_asked_and_it_is_said_what_to_do() {
    let plane = ControlPlane::start(Parts::Api).await;
    shell(&plane, "kubectl apply -k deploy/base");
    let shop = Shop::open(&plane, "unguarded", json!({TWO: "2"})).await;
    let operator = shop.operator().await;
    shop.push("1.1.0").await;
    let said = event_says(&shop.namespace, "web", "approvals-unguarded").await;
    assert!(said.contains("an administrator applies deploy/approvals"), "{said}");
    let all = events(&shop.namespace, "web").await;
    assert!(all.iter().any(|(reason, text)| reason == "PolicyProblem" && *text == said), "{all:?}");
    operator.looks().await;
    assert_eq!(shop.updates().await, Vec::<Value>::new());
    let refused = badly(&shop.say("alice", "approve", &[]));
    assert!(refused.contains("cannot list resource") || refused.contains("waits for approval"), "{refused}");

    shell(&plane, "kubectl apply -k deploy/approvals");
    in_force(&plane, "default").await;
    drop(operator);
    let _operator = shop.operator().await;
    shop.stands("1.1.0", "0 of 2").await;
    assert_eq!(shop.written(), <[&str; 0]>::default());
}

/// How the binding of reviews is while nothing holds people to the truth.
#[derive(Clone, Copy)]
enum Gap {
    Deleted,
    Weaker,
}

async fn open(plane: &ControlPlane, gap: Gap) {
    let path = format!("{API}/validatingadmissionpolicybindings/supercargo-reviews");
    let (method, body) = match gap {
        Gap::Deleted => (http::Method::DELETE, None),
        Gap::Weaker => (http::Method::PATCH, Some(json!({"spec": {"validationActions": ["Audit"]}}))),
    };
    plane.request(method, &path, body.as_ref()).await.unwrap();
}

async fn what_is_said_in_a_gap_never_counts(gap: Gap, words: &str) {
    let plane = guarded(Parts::Api).await;
    let shop = Shop::open(&plane, "gap", json!({TWO: "2"})).await;
    let operator = shop.operator().await;
    let digest = shop.push("1.1.0").await;
    let ballot = shop.ballot("1.1.0").await;
    well(&shop.say("alice", "approve", &[]));
    shop.stands("1.1.0", "1 of 2 people have approved it (alice)").await;

    open(&plane, gap).await;
    // Bob votes for another as soon as the API server lets him, and then for himself.
    eventually("the API server takes a vote in another's name", async || shop.raw("bob", &ballot, "carol").await.ok())
        .await;
    shop.raw("bob", &ballot, "bob").await.unwrap();
    let held = eventually("it is said that nothing is approved", async || {
        let update = shop.update("1.1.0", "Waiting").await;
        (update["status"]["reason"]["code"] == "approvals-unguarded").then_some(update)
    })
    .await;
    let message = held["status"]["reason"]["message"].as_str().unwrap();
    assert!(message.contains(words) && message.contains("deploy/approvals"), "{message}");
    shop.raw("bob", &ballot, "dave").await.unwrap();
    operator.looks().await;
    assert_eq!(shop.written(), <[&str; 0]>::default());

    // Restored, also for the operator's next life: all that was said before is void.
    shell(&plane, "kubectl apply -k deploy/approvals");
    in_force(&plane, &shop.namespace.name).await;
    shop.stands("1.1.0", "0 of 2").await;
    operator.process.signal("KILL");
    drop(operator);
    let operator = shop.operator().await;
    operator.looks().await;
    eventually("it is recorded that all before is void", async || {
        let open = shop.stands("1.1.0", "0 of 2").await;
        open["status"]["approval"]["voidUntil"].is_string().then_some(())
    })
    .await;
    assert_eq!(shop.written(), <[&str; 0]>::default());

    well(&shop.say("alice", "approve", &[]));
    let open = shop.stands("1.1.0", "1 of 2 people have approved it (alice)").await;
    assert_eq!(open["status"]["approval"]["votes"].as_array().unwrap().len(), 1);
    well(&shop.say("bob", "approve", &[]));
    runs(&shop.namespace, "web", &[&format!("{}@{digest}", shop.image("1.1.0"))]).await;
    let approved = eventually("it is recorded who approved", async || {
        let update = shop.updates().await.pop()?;
        (update["status"]["approval"]["votes"].as_array()?.len() == 2).then_some(update)
    })
    .await;
    let by: Vec<&Value> =
        approved["status"]["approval"]["votes"].as_array().unwrap().iter().map(|it| &it["by"]).collect();
    assert_eq!(by, ["alice", "bob"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_binding_deleted_nothing_is_approved_and_what_was_said_then_never_counts() {
    what_is_said_in_a_gap_never_counts(Gap::Deleted, "there is no ValidatingAdmissionPolicyBinding of the reviews")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_binding_that_only_notes_nothing_is_approved_and_what_was_said_then_never_counts() {
    what_is_said_in_a_gap_never_counts(Gap::Weaker, "is another than this version's: validationActions").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_forged_in_a_gap_that_nobody_saw_never_counts() {
    let plane = guarded(Parts::Api).await;
    let shop = Shop::open(&plane, "unseen", json!({TWO: "2"})).await;
    let operator = shop.operator().await;
    shop.push("1.1.0").await;
    let ballot = shop.ballot("1.1.0").await;
    operator.process.signal("KILL");
    drop(operator);

    open(&plane, Gap::Deleted).await;
    eventually("the API server takes a vote in another's name", async || shop.raw("bob", &ballot, "carol").await.ok())
        .await;
    shop.raw("bob", &ballot, "dave").await.unwrap();
    shell(&plane, "kubectl apply -k deploy/approvals");
    in_force(&plane, &shop.namespace.name).await;
    let operator = Operator::start(&plane, &shop.setup().await).await;
    eventually("it is proved", async || {
        let open = shop.stands("1.1.0", "0 of 2").await;
        open["status"]["approval"]["voidUntil"].is_string().then_some(())
    })
    .await;
    operator.looks().await;
    shop.stands("1.1.0", "0 of 2").await;
    assert_eq!(shop.written(), <[&str; 0]>::default());
}
