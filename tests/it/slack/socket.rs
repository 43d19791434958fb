//! The socket breaks off in every way that is documented, and in some that are not: no click is lost, and none counts twice.

use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::{CHANNEL, Told};
use crate::support::{eventually, slack::Fault};

fn disconnect(reason: &str) -> Message {
    Message::text(json!({"type": "disconnect", "reason": reason, "debug_info": {"host": "applink-1"}}).to_string())
}

#[rstest::rstest]
#[case("warning")]
#[case("refresh_requested")]
#[tokio::test(flavor = "multi_thread")]
async fn the_next_socket_is_open_before_the_old_one_goes_and_both_are_heard(#[case] reason: &str) {
    let told = Told::open("slack-refresh", json!({"supercargo.dev/approvals": "2"})).await;
    let operator = told.operator().await;
    told.shop.push("1.1.0").await;
    let message = told.slack.says(CHANNEL, "Waiting for approval").await;
    let [old] = told.slack.sockets()[..] else { panic!() };
    // Pressed while both are there, and told on the old one.
    let (envelope, id) = told.slack.click("U0EVE", &message, "Approve");
    told.slack.send_beside_the_next(old, Message::text(envelope.to_string()));
    told.slack.send(Some(old), disconnect(reason));
    told.slack.heard(&id).await;
    assert!(told.slack.told(&id).await.contains("does not know who you are"));
    for user in ["U0ALICE", "U0BOB"] {
        told.slack.press(user, &message, "Approve").await;
    }
    told.slack.says(CHANNEL, "Done").await;
    let left = told.slack.open_sockets(1).await;
    assert_ne!(left, [old], "the old one is closed");
    assert_eq!(operator.metric("supercargo_slack_connected", "").await, 1.0);
    assert_eq!(told.shop.written().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_breaks_off_or_is_closed_is_opened_again_and_a_limit_is_obeyed() {
    let told = Told::open("slack-breaks", json!({"supercargo.dev/approvals": "1"})).await;
    let operator = told.operator().await;
    told.shop.push("1.1.0").await;
    let message = told.slack.says(CHANNEL, "Waiting for approval").await;
    // The first is a close frame, the second the end of the connection.
    told.slack.fail("apps.connections.open", [Fault::Later(1), Fault::Status(503), Fault::Says("internal_error")]);
    for frame in [Message::Close(None), Message::Frame(empty())] {
        let before = told.slack.sockets();
        told.slack.send(None, frame);
        eventually("another one is open", async || {
            let now = told.slack.sockets();
            (!now.is_empty() && now != before).then_some(())
        })
        .await;
        assert_eq!(told.slack.faults_left(), 0);
    }
    assert_eq!(
        operator.metric("supercargo_slack_requests_total", "apps.connections.open\",outcome=\"rate-limited").await,
        1.0
    );
    told.slack.press("U0ALICE", &message, "Approve").await;
    told.slack.says(CHANNEL, "Done").await;
}

fn empty() -> tokio_tungstenite::tungstenite::protocol::frame::Frame {
    use tokio_tungstenite::tungstenite::protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    };
    Frame::message("", OpCode::Data(Data::Text), true)
}

#[tokio::test(flavor = "multi_thread")]
async fn switched_off_is_told_with_what_to_do_and_not_asked_again_and_again() {
    let told = Told::open("slack-off", json!({"supercargo.dev/approvals": "1"})).await;
    let operator = told.operator().await;
    told.slack.send(None, disconnect("link_disabled"));
    eventually("it is a problem", async || {
        (operator.metric("supercargo_problems", "slack").await == 1.0).then_some(())
    })
    .await;
    eventually("it says what to do", async || {
        let says = operator.process.output().contains("switch Socket Mode on again");
        (says && operator.metric("supercargo_slack_connected", "").await == 0.0).then_some(())
    })
    .await;
    let opened = told.slack.calls("apps.connections.open").len();
    // A message is posted all the same.
    told.shop.push("1.1.0").await;
    told.slack.says(CHANNEL, "Waiting for approval").await;
    assert_eq!(told.slack.calls("apps.connections.open").len(), opened);
}

/// A silence is found after 45 s, which this test waits for.
#[tokio::test(flavor = "multi_thread")]
async fn a_socket_on_which_nothing_is_heard_is_left() {
    let told = Told::open("slack-silent", json!({"supercargo.dev/approvals": "1"})).await;
    let _operator = told.operator().await;
    told.shop.push("1.1.0").await;
    let message = told.slack.says(CHANNEL, "Waiting for approval").await;
    told.slack.be_silent(true);
    let before = told.slack.sockets();
    eventually("it is left", async || told.slack.sockets().iter().any(|socket| !before.contains(socket)).then_some(()))
        .await;
    told.slack.be_silent(false);
    told.slack.press("U0ALICE", &message, "Approve").await;
    told.slack.says(CHANNEL, "Done").await;
}
