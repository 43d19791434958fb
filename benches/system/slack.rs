//! Slack: what telling all that wait there takes of the program's memory, how soon a message and a click's answer come, and
//! whether anything waits for a Slack that does not answer.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::Message;

use crate::{
    Table,
    approvals::{settled, vote},
    fleet::{Fleet, namespace},
    milliseconds,
    program::Program,
    support::{
        control_plane::ADMIN,
        free_port,
        slack::{Fault, Slack, TEAM},
    },
};

const CLICKS: usize = 20;
/// As many channels as there are namespaces: each takes one message a second.
const CHANNELS: usize = 20;

/// Of the updates `from..to`, which wait for one person each. A vote is followed by the patch in `median` milliseconds without
/// Slack.
pub(crate) async fn run(fleet: &Fleet, table: &mut Table, from: usize, to: usize, median: f64) {
    let identities = json!({"data": {"identities": format!("slack:{TEAM}/U0ADMIN {ADMIN}")}}).to_string();
    fleet.plane.kubectl(&["-n", "supercargo", "patch", "configmap", "supercargo-approvers", "-p", &identities]);
    let names: Vec<String> = (0..CHANNELS).map(|n| format!("C0{n:03}")).collect();
    let channels: Vec<(&str, String)> = names.iter().enumerate().map(|(n, id)| (id.as_str(), namespaces(n))).collect();
    let channels: Vec<(&str, &str)> = channels.iter().map(|(id, globs)| (*id, globs.as_str())).collect();
    let ids: Vec<&str> = names.iter().map(String::as_str).collect();

    let slack = Slack::start(&ids).await;
    let configuration = configuration(&slack, &channels);
    let (_go, held) = watch::channel(false);
    for method in ["chat.postMessage", "chat.update", "conversations.history"] {
        slack.fail(method, std::iter::repeat_n(Fault::Held(held.clone()), 100_000));
    }
    let program = start(fleet, &configuration).await;
    let dead = vote(fleet, &program, from..from + CLICKS).await;
    drop(program);
    let ratio = dead[CLICKS / 2] / median;
    table.bounded("vote → patched, Slack does not answer ÷ without Slack, medians", ratio, 1.5, "");

    let (from, waiting) = (from + CLICKS, to - from - CLICKS);
    // What one takes that finds the same records and tells nobody.
    let without = crate::approvals::waiting(fleet, waiting).await.0;
    let slack = Slack::start(&ids).await;
    let program = start(fleet, &self::configuration(&slack, &channels)).await;
    let began = Instant::now();
    let told = || ids.iter().map(|id| slack.messages(id).len()).sum::<usize>();
    while told() < waiting {
        assert!(began.elapsed().as_secs() < 300, "{} of {waiting} are told", told());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let with = settled(&program).await;
    let what = format!("{waiting} updates that wait, told in Slack");
    table.noted(format!("{what}: resident memory, without and with Slack"), format!("{without:.1} MB, {with:.1} MB"));
    table.bounded(format!("{what}: resident memory, more than without Slack"), with - without, 5.0, " MB");

    let mut answered = Vec::new();
    for n in from..from + CLICKS {
        let workload = format!("behind-{n:05}");
        let all = ids.iter().flat_map(|id| slack.messages(id));
        let message = all.into_iter().find(|it| it.text.contains(&workload)).expect("its message");
        let (envelope, id) = slack.click("U0ADMIN", &message, "Approve");
        let began = Instant::now();
        slack.send(None, Message::text(envelope.to_string()));
        while !slack.is_heard(&id) {
            assert!(began.elapsed().as_secs() < 10, "{}", program.process.output());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        answered.push(milliseconds(began.elapsed()));
    }
    answered.sort_by(f64::total_cmp);
    let what = format!("click → its review is written and Slack is answered, longest of {CLICKS}");
    table.bounded(what, answered[CLICKS - 1], 300.0, " ms");

    let mut soon = Vec::new();
    for n in 0..CLICKS {
        let workload = format!("behind-{:05}", to + n);
        fleet.behind(to + n, crate::approvals::BEFORE).await;
        let asked = asked(&program, &workload).await;
        let posted = loop {
            let all = ids.iter().flat_map(|id| slack.messages(id));
            match all.into_iter().find(|it| it.text.contains(&workload)) {
                Some(_) => break Instant::now(),
                None => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        };
        soon.push(milliseconds(posted.saturating_duration_since(asked)));
    }
    soon.sort_by(f64::total_cmp);
    table.bounded(format!("people are asked → the message, longest of {CLICKS}"), soon[CLICKS - 1], 2000.0, " ms");
}

/// When the log said that people are asked.
async fn asked(program: &Program, workload: &str) -> Instant {
    loop {
        let is_it = |line: &str| {
            let line: Value = serde_json::from_str(line).unwrap_or_default();
            line["message"] == "waits for approval"
                && line["workload"].as_str().is_some_and(|it| it.ends_with(workload))
        };
        if program.process.output().lines().rev().any(is_it) {
            return Instant::now();
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn start(fleet: &Fleet, configuration: &str) -> Program {
    let (program, _) = Program::start_with(&fleet.plane, "1h", free_port(), Some(configuration)).await;
    program.looked(fleet.repositories()).await;
    program
}

/// With the administrator as somebody in Slack.
fn configuration(slack: &Slack, channels: &[(&str, &str)]) -> String {
    let mut all: Value = serde_json::from_str(&slack.configuration(channels, &[])).expect("JSON");
    all["approvers"] = json!([{"user": ADMIN, "groups": ["system:masters"], "slack": [format!("{TEAM}/U0ADMIN")]}]);
    all.to_string()
}

/// One glob for the namespaces whose turn is that channel's.
fn namespaces(channel: usize) -> String {
    namespace(channel)
}
