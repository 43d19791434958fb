//! The whole story of an update in one message.

use serde_json::json;

use super::{CHANNEL, Told};
use crate::{
    approvals::flow::well,
    support::{eventually, objects::runs},
};

#[tokio::test(flavor = "multi_thread")]
async fn two_people_press_and_what_they_saw_is_patched_and_the_message_tells_it_to_the_end() {
    let told = Told::open("slack-story", json!({"supercargo.dev/approvals": "2"})).await;
    let _operator = told.operator().await;
    let digest = told.shop.push("1.1.0").await;
    let slack = &told.slack;
    let message = slack.says(CHANNEL, "Waiting for approval").await;
    let image = told.shop.image("1.0.0");
    assert!(message.text.contains(&format!("`{image}` → `1.1.0`")), "{}", message.text);
    assert!(json!(message.blocks).to_string().contains(&digest), "the whole digest stands in the message");

    let id = slack.press("U0ALICE", &message, "Approve").await;
    let shows = async |words: &str| {
        eventually(&format!("the message shows `{words}`"), async || {
            let message = slack.messages(CHANNEL).pop().unwrap();
            json!(message.blocks).to_string().contains(words).then_some(())
        })
        .await
    };
    shows("1 of 2 people have approved it (alice)").await;
    runs(&told.shop.namespace, "web", &[&image]).await;
    let again = slack.press("U0ALICE", &message, "Approve").await;
    let said = slack.told(&again).await;
    assert!(said.contains("already counted") && id != again, "{said}");

    slack.press("U0BOB", &message, "Approve").await;
    runs(&told.shop.namespace, "web", &[&format!("{}@{digest}", told.shop.image("1.1.0"))]).await;
    let done = slack.says(CHANNEL, "Done").await;
    assert!(!json!(done.blocks).to_string().contains("actions"), "buttons are there only while people are asked");
    eventually("its record says that it is told", async || {
        let update = told.shop.update("1.1.0", "Succeeded").await;
        (update["status"]["messages"][0]["done"] == true && update["status"]["messaging"].is_null()).then_some(())
    })
    .await;
    assert_eq!(slack.messages(CHANNEL).len(), 1, "one message for one update");
    let replies = slack.replies(&done);
    assert!(replies.len() <= 8 && replies.iter().any(|it| it.contains("alice")), "{replies:?}");
    assert!(replies.last().unwrap().contains("Done"), "{replies:?}");
    let votes = told.shop.update("1.1.0", "Succeeded").await["status"]["approval"]["votes"].clone();
    assert_eq!((&votes[0]["by"], &votes[0]["onBehalfOf"]), (&json!("alice"), &json!("slack:T0SHOP/U0ALICE")));
    assert_eq!(told.shop.written().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_does_not_run_is_told_with_pod_and_reason_and_none_of_its_own_words() {
    let told =
        Told::open("slack-broken", json!({"supercargo.dev/approvals": "1", "supercargo.dev/flavour": "any"})).await;
    let namespace = &told.shop.namespace.name;
    told.shop.plane.kubectl(&["-n", namespace, "scale", "deployment/web", "--replicas=1"]);
    let _operator = told.operator().await;
    told.shop.push("1.1.0-broken").await;
    let message = told.slack.says(CHANNEL, "Waiting for approval").await;
    told.slack.press("U0BOB", &message, "Approve").await;
    let failed = told.slack.says(CHANNEL, "Failed").await;
    let shown = json!(failed.blocks).to_string();
    assert!(shown.contains("pod web-") && shown.contains("CrashLoopBackOff"), "{shown}");
    let record = told.shop.update("1.1.0-broken", "Failed").await.to_string();
    assert!(record.contains("geheim") && !shown.contains("geheim"), "{record}\n{shown}");
    let replies = told.slack.replies(&failed);
    assert!(replies.iter().all(|it| !it.contains("geheim")), "{replies:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_rejects_ends_it_and_by_the_command_line_it_shows_in_slack_too() {
    let told = Told::open("slack-no", json!({"supercargo.dev/approvals": "2"})).await;
    let _operator = told.operator().await;
    told.shop.push("1.1.0").await;
    let message = told.slack.says(CHANNEL, "Waiting for approval").await;
    well(&told.shop.say("alice", "approve", &[]));
    told.shop.stands("1.1.0", "1 of 2").await;
    // One person has one vote, wherever.
    let id = told.slack.press("U0ALICE", &message, "Approve").await;
    assert!(told.slack.told(&id).await.contains("already counted"));
    told.slack.press("U0BOB", &message, "Reject").await;
    let rejected = told.slack.says(CHANNEL, "Rejected").await;
    assert!(json!(rejected.blocks).to_string().contains("bob rejected it"));
    let late = told.slack.press("U0ALICE", &message, "Approve").await;
    let said = told.slack.told(&late).await;
    assert!(said.contains("it is rejected: bob rejected it"), "{said}");
    runs(&told.shop.namespace, "web", &[&told.shop.image("1.0.0")]).await;
    // A newer one is asked for in a message of its own.
    told.shop.push("1.2.0").await;
    told.slack.says(CHANNEL, "1.2.0").await;
    assert_eq!(told.slack.messages(CHANNEL).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_one_takes_its_place_and_details_are_for_those_who_may_read() {
    let told = Told::open("slack-newer", json!({"supercargo.dev/approvals": "2"})).await;
    let _operator = told.operator().await;
    told.shop.push("1.1.0").await;
    let first = told.slack.says(CHANNEL, "1.1.0").await;
    let id = told.slack.press("U0ALICE", &first, "Details").await;
    let details = told.slack.told(&id).await;
    assert!(
        details.contains("Deployment/web") && details.contains("waiting") && details.contains("(approval)"),
        "{details}"
    );
    let id = told.slack.press("U0MAL", &first, "Details").await;
    let refused = told.slack.told(&id).await;
    assert!(refused.contains("may not read") && !refused.contains("web:"), "{refused}");

    told.shop.push("1.2.0").await;
    let second = told.slack.says(CHANNEL, "1.2.0").await;
    told.slack.says(CHANNEL, "Superseded").await;
    let id = told.slack.press("U0ALICE", &first, "Approve").await;
    let said = told.slack.told(&id).await;
    assert!(said.contains("superseded"), "{said}");
    assert_ne!(first.ts, second.ts);
}
