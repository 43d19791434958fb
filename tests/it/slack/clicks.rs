//! Clicks that are not to count: none has an effect, and who pressed is told why.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{CHANNEL, PEOPLE, Told, plane};
use crate::{
    approvals::flow::Shop,
    support::{
        eventually,
        objects::runs,
        slack::{Posted, Slack, TEAM},
    },
};

impl Told<'_> {
    async fn reviews(&self) -> usize {
        let path = format!("/apis/supercargo.dev/v1alpha1/namespaces/{}/imageupdatereviews", self.shop.namespace.name);
        let client = crate::approvals::operator(self.shop.plane).await;
        let list = crate::support::control_plane::request(&client, http::Method::GET, &path, None).await.unwrap();
        list["items"].as_array().unwrap().len()
    }

    /// Sends a click that was changed, and waits until it was heard.
    pub(super) async fn forge(&self, message: &Posted, user: &str, change: impl FnOnce(&mut Value)) -> String {
        let mut click = self.slack.click(user, message, "Approve");
        change(&mut click.0["payload"]);
        self.slack.insist(std::slice::from_ref(&click)).await;
        click.1
    }
}

fn subject(payload: &Value) -> Value {
    serde_json::from_str(payload["actions"][0]["value"].as_str().unwrap()).unwrap()
}

pub(super) fn set(payload: &mut Value, key: &str, value: &str) {
    let mut subject = subject(payload);
    subject[key] = json!(value);
    payload["actions"][0]["value"] = json!(subject.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_click_that_is_not_what_the_message_asked_for_or_not_by_whom_it_says_has_no_effect() {
    let told = Told::open("slack-forged", json!({"supercargo.dev/approvals": "1"})).await;
    let operator = told.operator().await;
    told.shop.push("1.1.0").await;
    let message = told.slack.says(CHANNEL, "Waiting for approval").await;
    let (slack, alice) = (&told.slack, "U0ALICE");

    // Not known here, and not by the name.
    for who in ["U0EVE", "alice"] {
        let id = told.forge(&message, who, |payload| payload["user"]["name"] = json!("alice")).await;
        let said = slack.told(&id).await;
        assert!(said.contains("does not know who you are") && said.contains(&format!("{TEAM}/{who}")), "{said}");
    }
    // The same id in another workspace, of a shared channel.
    let id = told.forge(&message, alice, |payload| payload["user"]["team_id"] = json!("T0OTHER")).await;
    assert!(slack.told(&id).await.contains("does not know who you are"));
    // Known, without the right.
    let id = slack.press("U0MAL", &message, "Approve").await;
    let said = slack.told(&id).await;
    assert!(said.contains("`mallory`") && said.contains("may not approve or reject"), "{said}");
    // Of something else than what is shown.
    for (key, words) in [("uid", "not there any more"), ("update", "not there any more"), ("target", "it has changed")]
    {
        let id = told.forge(&message, alice, |payload| set(payload, key, "x")).await;
        let said = slack.told(&id).await;
        assert!(said.contains(words), "{key}: {said}");
    }
    // Of another namespace.
    let id = told.forge(&message, alice, |payload| set(payload, "namespace", "default")).await;
    assert!(slack.told(&id).await.contains("not told of namespace"));
    // At another message.
    for (key, value, words) in
        [("message_ts", "1.1", "not the one of that update"), ("channel_id", "C0OTHER", "not told of namespace")]
    {
        let id = told.forge(&message, alice, |payload| payload["container"][key] = json!(value)).await;
        assert!(slack.told(&id).await.contains(words), "{key}");
    }
    // By another app, and what is no button of ours: nobody is told anything.
    let invalid = async |outcome: &str| {
        operator.metric("supercargo_slack_requests_total", &format!("method=\"click\",outcome=\"{outcome}\"")).await
    };
    let (ignored, broken) = (invalid("ignored").await, invalid("invalid").await);
    told.forge(&message, alice, |payload| payload["api_app_id"] = json!("A0OTHER")).await;
    told.forge(&message, alice, |payload| payload["actions"][0]["action_id"] = json!("approve")).await;
    told.forge(&message, alice, |payload| payload["actions"][0]["value"] = json!("{}")).await;
    told.forge(&message, alice, |payload| payload["actions"] = json!("none")).await;
    told.forge(&message, alice, |payload| set(payload, "namespace", "../../../x")).await;
    assert_eq!((invalid("ignored").await, invalid("invalid").await), (ignored + 2.0, broken + 3.0));
    // An answer would be sent to somebody else.
    told.forge(&message, "U0EVE", |payload| payload["response_url"] = json!("http://127.0.0.2:9/x")).await;

    assert_eq!(told.reviews().await, 0);
    runs(&told.shop.namespace, "web", &[&told.shop.image("1.0.0")]).await;
    // And it goes all the same.
    let id = slack.press(alice, &message, "Approve").await;
    slack.says(CHANNEL, "Done").await;
    assert_eq!(told.reviews().await, 1, "{id}");
    let log = operator.process.output();
    for secret in ["geheim", "12466734323", "actions/e", "seekrit"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pressed_twice_at_once_it_counts_once() {
    let told = Told::open("slack-twice", json!({"supercargo.dev/approvals": "2"})).await;
    let _operator = told.operator().await;
    told.shop.push("1.1.0").await;
    let message = told.slack.says(CHANNEL, "Waiting for approval").await;
    let clicks: Vec<_> = (0..5).map(|_| told.slack.click("U0ALICE", &message, "Approve")).collect();
    told.slack.insist(&clicks).await;
    told.shop.stands("1.1.0", "1 of 2").await;
    assert_eq!(told.reviews().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_spoken_for_any_more_does_not_count_any_more() {
    let shop = Shop::open(plane().await, "slack-mapped", json!({"supercargo.dev/approvals": "2"})).await;
    let slack = Slack::start(&[CHANNEL]).await;
    let here = shop.namespace.name.clone();
    let told = Told::with(shop, slack.clone(), &slack.configuration(&[(CHANNEL, &here)], PEOPLE)).await;
    let _operator = told.operator().await;
    told.shop.push("1.1.0").await;
    let message = slack.says(CHANNEL, "Waiting for approval").await;
    slack.press("U0ALICE", &message, "Approve").await;
    told.shop.stands("1.1.0", "1 of 2").await;
    let shows = async |votes: &str| {
        eventually(&format!("the message shows {votes}"), async || {
            json!(slack.messages(CHANNEL)[0].blocks).to_string().contains(votes).then_some(())
        })
        .await;
    };
    shows("1 of 2").await;
    // The configuration is read again when it changes.
    let without = slack.configuration(&[(CHANNEL, &here)], &PEOPLE[1..]);
    std::fs::write(told._folder.path().join("config.yaml"), without).unwrap();
    told.shop.stands("1.1.0", "0 of 2").await;
    shows("0 of 2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_are_nonsense_or_too_long_change_nothing() {
    let told = Told::open("slack-frames", json!({"supercargo.dev/approvals": "1"})).await;
    let operator = told.operator().await;
    told.shop.push("1.1.0").await;
    let message = told.slack.says(CHANNEL, "Waiting for approval").await;
    let (whole, _) = told.slack.click("U0ALICE", &message, "Approve");
    let whole = whole.to_string();
    let cut = |at: usize| whole.chars().take(whole.chars().count() * at / 10).collect::<String>();
    for frame in
        ["", "null", "[]", "{", "\u{0}", r#"{"type":"interactive"}"#, r#"{"type":"interactive","envelope_id":"x"}"#]
    {
        told.slack.send(None, Message::text(frame.to_owned()));
    }
    (1..10).for_each(|at| told.slack.send(None, Message::text(cut(at))));
    told.slack.send(None, Message::binary(whole.clone().into_bytes()));
    told.slack.send(None, Message::text(r#"{"type":"later","envelope_id":"unknown"}"#.to_owned()));
    told.slack.heard("unknown").await;
    let before = told.slack.sockets();
    told.slack.send(None, Message::text("x".repeat(1 << 20)));
    let after = eventually("another socket is opened", async || {
        Some(told.slack.sockets()).filter(|now| now.len() == 1 && *now != before)
    })
    .await;
    assert_ne!(after, before);
    assert_eq!(told.reviews().await, 0);
    let output = operator.process.output();
    let lines = output.lines().filter(|line| line.contains("left alone")).count();
    assert!((1..=2).contains(&lines), "told seldom: {lines}");
    told.slack.press("U0ALICE", &message, "Approve").await;
    told.slack.says(CHANNEL, "Done").await;
}

/// Whoever may vote could guess it.
#[tokio::test(flavor = "multi_thread")]
async fn a_review_that_has_taken_the_name_of_anothers_vote_keeps_nobody_from_voting() {
    let told = Told::open("slack-name", json!({"supercargo.dev/approvals": "2"})).await;
    let _operator = told.operator().await;
    told.shop.push("1.1.0").await;
    let message = told.slack.says(CHANNEL, "Waiting for approval").await;
    // What alice's no would be called is found out by pressing, and taking her vote away again.
    told.slack.press("U0ALICE", &message, "Approve").await;
    told.shop.stands("1.1.0", "1 of 2").await;
    let admin = crate::support::control_plane::ADMIN;
    let path = format!("/apis/supercargo.dev/v1alpha1/namespaces/{}/imageupdatereviews", told.shop.namespace.name);
    let client = told.shop.plane.client(admin).await;
    let list = crate::support::control_plane::request(&client, http::Method::GET, &path, None).await.unwrap();
    let name = list["items"][0]["metadata"]["name"].as_str().unwrap().to_owned();
    told.shop.plane.kubectl(&["-n", &told.shop.namespace.name, "delete", "imageupdatereview", &name]);
    told.shop.stands("1.1.0", "0 of 2").await;
    let mut ballot = told.shop.ballot("1.1.0").await;
    ballot["metadata"] = json!({"name": name});
    told.shop.raw("bob", &ballot, "bob").await.unwrap();
    told.shop.stands("1.1.0", "1 of 2").await;
    told.slack.press("U0ALICE", &message, "Approve").await;
    told.slack.says(CHANNEL, "Done").await;
    assert_eq!(told.reviews().await, 2);
}
