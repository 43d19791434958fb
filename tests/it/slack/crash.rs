//! The operator is killed between the claim, the post and the record of a message, or Slack's answer is lost: one message
//! for each update.

use serde_json::json;
use tokio::sync::watch;

use super::{CHANNEL, Told};
use crate::support::{
    eventually,
    kills::{Random, how_many, seed},
    operator::Operator,
    slack::Fault,
};

#[tokio::test(flavor = "multi_thread")]
async fn there_is_one_message_for_each_update_whenever_the_operator_is_killed() {
    let (kills, seed) = (how_many(4), seed());
    println!("SUPERCARGO_SEED={seed}, {kills} kills");
    let mut random = Random::new(seed);
    let told = Told::open("slack-kills", json!({"supercargo.dev/approvals": "2"})).await;
    let mut operator = told.operator().await;
    for n in 1..=kills {
        let tag = format!("1.{n}.0");
        let posts = told.slack.calls("chat.postMessage").len();
        // Before it is posted, after it and before its answer, or some time after.
        let (go, held) = watch::channel(false);
        match random.below(3) {
            0 => told.slack.fail("chat.postMessage", [Fault::Held(held)]),
            1 => told.slack.fail("chat.postMessage", [Fault::Lost]),
            _ => {}
        }
        told.shop.push(&tag).await;
        eventually("it is being posted", async || (told.slack.calls("chat.postMessage").len() > posts).then_some(()))
            .await;
        tokio::time::sleep(std::time::Duration::from_millis(random.below(30))).await;
        operator.process.signal("KILL");
        operator = Operator::start(told.shop.plane, &told.setup).await;
        told.slack.says(CHANNEL, &format!("`{tag}`")).await;
        drop(go);
        told.shop.recorded(&tag).await;
        let of_it = told.slack.texts(CHANNEL).into_iter().filter(|text| text.contains(&format!("`{tag}`"))).count();
        assert_eq!(of_it, 1, "{tag} (seed {seed})");
    }
    drop(operator);
    let messages = told.slack.messages(CHANNEL);
    assert_eq!(messages.len() as u64, kills, "{:?} (seed {seed})", told.slack.texts(CHANNEL));
    for message in &messages {
        let mut replies = told.slack.replies(message);
        let all = replies.len();
        replies.sort();
        replies.dedup();
        assert_eq!(replies.len(), all, "each line is told once: {replies:?} (seed {seed})");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_ended_while_nobody_ran_is_shown_as_it_ended() {
    let told = Told::open("slack-ended", json!({"supercargo.dev/approvals": "1"})).await;
    let operator = told.operator().await;
    told.shop.push("1.1.0").await;
    let message = told.slack.says(CHANNEL, "Waiting for approval").await;
    // No edit is made any more in its first life.
    let (go, held) = watch::channel(false);
    told.slack.fail("chat.update", std::iter::repeat_n(Fault::Held(held), 20));
    told.slack.press("U0ALICE", &message, "Approve").await;
    told.shop.update("1.1.0", "Succeeded").await;
    operator.process.signal("KILL");
    go.send_replace(true);
    let _operator = Operator::start(told.shop.plane, &told.setup).await;
    told.slack.says(CHANNEL, "Done").await;
    assert_eq!(told.slack.messages(CHANNEL).len(), 1);
}
