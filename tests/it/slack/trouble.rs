//! Slack is slow, says no, or is not there: nothing else waits for it, and what there is to tell is told afterwards.

use serde_json::json;
use tokio::sync::watch;

use super::{CHANNEL, Told};
use crate::support::{
    eventually,
    objects::{deployment, runs},
    slack::{BOT_TOKEN, Fault},
};

#[tokio::test(flavor = "multi_thread")]
async fn while_slack_does_not_answer_others_are_updated_and_votes_by_the_command_line_count() {
    let told = Told::open("slack-slow", json!({"supercargo.dev/approvals": "1"})).await;
    let other = deployment("other", &told.shop.image("1.0.0"), json!({"supercargo.dev/policy": "minor"}));
    told.shop.namespace.create(&other.to_string()).await;
    let _operator = told.operator().await;
    let (go, held) = watch::channel(false);
    for method in ["chat.postMessage", "chat.update", "conversations.history"] {
        told.slack.fail(method, std::iter::repeat_n(Fault::Held(held.clone()), 10));
    }
    told.shop.push("1.1.0").await;
    runs(&told.shop.namespace, "other", &[&told.shop.image("1.1.0")]).await;
    crate::approvals::flow::well(&told.shop.say("alice", "approve", &[]));
    told.shop.update("1.1.0", "Succeeded").await;
    assert_eq!(told.slack.messages(CHANNEL).len(), 0, "Slack has not answered yet");
    go.send_replace(true);
    told.slack.says(CHANNEL, "Done").await;
    assert_eq!(told.slack.messages(CHANNEL).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_slack_refuses_is_a_problem_with_what_to_do_and_no_storm() {
    let told = Told::open("slack-refuses", json!({"supercargo.dev/approvals": "1"})).await;
    let operator = told.operator().await;
    told.slack.fail("chat.postMessage", [Fault::Says("not_in_channel")]);
    told.shop.push("1.1.0").await;
    eventually("it is a problem", async || {
        (operator.metric("supercargo_problems", "slack").await == 1.0).then_some(())
    })
    .await;
    let says = || operator.process.output().contains("invite the app to the channel");
    eventually("it says what to do", async || says().then_some(())).await;
    let asked = told.slack.calls("chat.postMessage").len() + told.slack.calls("conversations.history").len();
    told.shop.push("1.2.0").await;
    told.shop.update("1.2.0", "Waiting").await;
    let now = told.slack.calls("chat.postMessage").len() + told.slack.calls("conversations.history").len();
    assert_eq!(now, asked, "it is left alone for a while");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_obeyed_a_deleted_message_is_posted_anew_and_trouble_passes() {
    let told = Told::open("slack-limits", json!({"supercargo.dev/approvals": "2"})).await;
    let operator = told.operator().await;
    told.slack.fail("chat.postMessage", [Fault::Later(1), Fault::Status(500), Fault::Says("internal_error")]);
    told.shop.push("1.1.0").await;
    let first = told.slack.says(CHANNEL, "Waiting for approval").await;
    assert_eq!(told.slack.faults_left(), 0);
    told.slack.fail("chat.update", [Fault::Later(1)]);
    told.slack.delete(&first);
    told.slack.press("U0ALICE", &first, "Approve").await;
    let second = told.slack.says(CHANNEL, "Waiting for approval").await;
    assert_ne!(first.ts, second.ts);
    assert!(json!(second.blocks).to_string().contains("1 of 2"));
    // The old one's buttons do nothing.
    let id = told.slack.press("U0BOB", &first, "Approve").await;
    assert!(told.slack.told(&id).await.contains("use the newest"));
    assert_eq!(operator.metric("supercargo_problems", "slack").await, 0.0);
    told.slack.press("U0BOB", &second, "Approve").await;
    told.slack.says(CHANNEL, "Done").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_crowd_a_channel_gets_one_message_a_second_and_another_namespace_waits_for_one_only() {
    let told = Told::open("slack-crowd", json!({"supercargo.dev/approvals": "1"})).await;
    for n in 0..6 {
        let annotations = json!({"supercargo.dev/policy": "minor", "supercargo.dev/approvals": "1"});
        let one = deployment(&format!("w{n}"), &told.shop.image("1.0.0"), annotations);
        told.shop.namespace.create(&one.to_string()).await;
    }
    let _operator = told.operator().await;
    told.shop.push("1.1.0").await;
    eventually("all are told", async || (told.slack.messages(CHANNEL).len() == 7).then_some(())).await;
    let mut times: Vec<f64> = told.slack.messages(CHANNEL).iter().map(|it| it.ts.parse().unwrap()).collect();
    times.sort_by(f64::total_cmp);
    // The name of a message is its second.
    assert!(times[6] - times[0] >= 5.0, "{times:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_is_tried_by_a_command_that_says_what_to_do() {
    let told = Told::open("slack-try", json!({})).await;
    let run = |channel: &str, bot: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_supercargo"));
        let file = told._folder.path().join("config.yaml");
        command.args(["notify", "test", channel, "--config"]).arg(file);
        command.env("BOT_TOKEN", bot).env("APP_TOKEN", crate::support::slack::APP_TOKEN);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said, errors) = tokio::task::block_in_place(|| run(CHANNEL, BOT_TOKEN));
    assert_eq!(code, Some(0), "{said}{errors}");
    assert!(
        said.starts_with(
            "the bot: supercargo in workspace Shop (T0SHOP)\nthe message: posted to C0DEPLOYS as message "
        )
    );
    assert!(said.ends_with("\nthe socket: could be opened\n"), "{said}");
    assert_eq!(told.slack.messages(CHANNEL).len(), 1);
    let (code, said, errors) = tokio::task::block_in_place(|| run(CHANNEL, "xoxb-wrong"));
    assert_eq!(code, Some(1), "{said}{errors}");
    assert!(said.contains("the bot: Slack says `invalid_auth`: install the app again"), "{said}");
    assert!(!said.contains("xoxb-wrong") && !errors.contains("xoxb-wrong"));
    let (code, _, errors) = tokio::task::block_in_place(|| run("nosuch", BOT_TOKEN));
    assert!(code != Some(0) && errors.contains("available: C0DEPLOYS"), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_without_end_is_cut_and_a_channel_that_is_refused_keeps_no_other_from_being_told() {
    let shop =
        crate::approvals::flow::Shop::open(super::plane().await, "slack-two", json!({"supercargo.dev/approvals": "1"}));
    let (shop, slack) = (shop.await, crate::support::slack::Slack::start(&[CHANNEL, "C0OTHER"]).await);
    let here = shop.namespace.name.clone();
    let configuration = slack.configuration(&[(CHANNEL, &here), ("C0OTHER", &here)], super::PEOPLE);
    let told = Told::with(shop, slack, &configuration).await;
    let operator = told.operator().await;
    told.slack.fail("chat.postMessage", [Fault::Wait("18446744073709551615")]);
    told.shop.push("1.1.0").await;
    eventually("the other channel is told", async || {
        let all = [CHANNEL, "C0OTHER"].map(|channel| told.slack.messages(channel).len());
        (all.iter().sum::<usize>() == 1).then_some(())
    })
    .await;
    eventually("the wait is told", async || {
        operator.process.output().contains("Slack asks to wait so many seconds").then_some(())
    })
    .await;
    assert!(operator.process.output().contains("\"wait\":900"), "{}", operator.process.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_message_is_posted_the_configuration_may_change_and_it_is_posted_once() {
    let told = Told::open("slack-reload", json!({"supercargo.dev/approvals": "1"})).await;
    let operator = told.operator().await;
    let (go, held) = watch::channel(false);
    told.slack.fail("chat.postMessage", [Fault::Held(held)]);
    told.shop.push("1.1.0").await;
    eventually("it is being posted", async || (!told.slack.calls("chat.postMessage").is_empty()).then_some(())).await;
    let here = told.shop.namespace.name.clone();
    let other = told.slack.configuration(&[(CHANNEL, &here)], &super::PEOPLE[..1]);
    let before = told.slack.calls("apps.connections.open").len();
    std::fs::write(told._folder.path().join("config.yaml"), other).unwrap();
    // The new one has opened a socket of its own.
    eventually("it is read again", async || (told.slack.calls("apps.connections.open").len() > before).then_some(()))
        .await;
    go.send_replace(true);
    told.shop.recorded("1.1.0").await;
    told.shop.push("1.2.0").await;
    told.slack.says(CHANNEL, "1.2.0").await;
    assert_eq!(told.slack.messages(CHANNEL).len(), 2, "{:?}", told.slack.texts(CHANNEL));
    eventually("it is connected: what ended late takes nothing back", async || {
        (operator.metric("supercargo_slack_connected", "").await == 1.0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_whose_record_is_deleted_is_told_to_be_gone_without_buttons() {
    let told = Told::open("slack-gone", json!({"supercargo.dev/approvals": "1"})).await;
    let _operator = told.operator().await;
    told.shop.push("1.1.0").await;
    told.slack.says(CHANNEL, "Waiting for approval").await;
    told.shop.recorded("1.1.0").await;
    told.shop.plane.kubectl(&["-n", &told.shop.namespace.name, "delete", "deployment", "web"]);
    told.shop.plane.kubectl(&["-n", &told.shop.namespace.name, "delete", "imageupdates", "--all"]);
    let gone = told.slack.says(CHANNEL, "Gone: the record").await;
    assert!(!json!(gone.blocks).to_string().contains("actions"));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_another_app_are_a_problem_before_anybody_presses_a_button() {
    let told = Told::open("slack-app", json!({})).await;
    let path = told._folder.path().join("config.yaml");
    let other = std::fs::read_to_string(&path).unwrap().replace(crate::support::slack::APP, "A0WRONG");
    std::fs::write(&path, other).unwrap();
    let operator = crate::support::operator::Operator::start(told.shop.plane, &told.setup).await;
    eventually("it is a problem", async || {
        (operator.metric("supercargo_problems", "slack").await == 1.0).then_some(())
    })
    .await;
    let says = || operator.process.output().contains("take both tokens and `appId` from the same app");
    eventually("it says what to do", async || says().then_some(())).await;
}
