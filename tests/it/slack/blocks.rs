//! What a message looks like in each state, and that it is what Slack takes, whatever its record says.

use jiff::Timestamp;
use serde_json::json;
use supercargo::{
    domain::{
        image::ImageRef,
        reason::{Code, Reason},
        target::Route,
        update::{Change, Evidence, Item, LogEntry, Message, Phase, Tracked, Update},
        votes::{Approval, Verb, Vote},
    },
    notify::slack::message::{Rendered, message, story},
    ports::{Announced, UpdateName, Version},
};

use crate::support::slack::check;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + second).unwrap()
}

fn item(container: &str, from: &str, to: &str, policy: &str) -> Item {
    let change = Change {
        container: container.into(),
        init: false,
        from: ImageRef::parse(from).unwrap(),
        to: ImageRef::parse(to).unwrap(),
    };
    let tag = change.to.tag.clone().unwrap();
    let evidence = Evidence { tag, digest: None, seen: at(0), passed: Vec::new() };
    Item { change, policy: policy.into(), evidence: Some(evidence), source: None }
}

fn vote(by: &str, verb: Verb) -> Vote {
    Vote { verb, by: by.into(), on_behalf_of: None, overrides: false, reason: "".into(), at: at(60) }
}

fn announced(items: Vec<Item>, phase: Phase, approval: Approval, log: Vec<LogEntry>) -> Announced {
    let update = Update::new("shop/Deployment/web".parse().unwrap(), items, Route::Cluster, at(0));
    Announced {
        name: UpdateName { namespace: "shop".into(), name: "web-0123456789abcdef".into() },
        uid: "d1b2c3".into(),
        tracked: Tracked::recorded(update, phase, log).with_approval(Some(approval)),
        messages: Vec::new(),
        version: Version("1".into()),
    }
}

fn waiting(code: Code, message: &str) -> Phase {
    Phase::Waiting { reason: Reason::new(code, message) }
}

fn entry(second: i64, phase: &Phase, reason: Option<Reason>) -> LogEntry {
    LogEntry { at: at(second), phase: phase.name(), reason }
}

fn web() -> Vec<Item> {
    let digest = format!("sha256:{}", "ab".repeat(32));
    vec![item("web", "ghcr.io/shop/web:1.0.0", &format!("ghcr.io/shop/web:1.1.0@{digest}"), "minor")]
}

fn asked(votes: Vec<Vote>) -> Approval {
    Approval { needed: 2, deadline: Some(at(86_400)), void: None, unsure: false, votes }
}

/// Each state, by its name.
fn states() -> Vec<(&'static str, Announced)> {
    use Verb::{Approve, Reject};
    let one = || asked(vec![vote("alice", Approve)]);
    let two = || asked(vec![vote("alice", Approve), vote("bob", Approve)]);
    let ended = |phase: Phase, code: Option<Code>, why: &str, approval: Approval| {
        let reason = code.map(|code| Reason::new(code, why));
        let log = vec![entry(100, &phase, reason)];
        announced(web(), phase, approval, log)
    };
    let approval = |approval| announced(web(), waiting(Code::Approval, "1 of 2"), approval, Vec::new());
    let unsure = Approval { unsure: true, ..one() };
    let crashes =
        "pod web-1, container web: CrashLoopBackOff: back-off; ended with exit code 1 (Error), saying: geheim";
    vec![
        ("waiting", approval(asked(Vec::new()))),
        ("one-of-two", approval(one())),
        ("approved", approval(two())),
        (
            "unguarded",
            ended(waiting(Code::ApprovalsUnguarded, ""), Some(Code::ApprovalsUnguarded), "no policy", unsure),
        ),
        (
            "refused",
            ended(waiting(Code::AdmissionRefused, ""), Some(Code::AdmissionRefused), "denied by *kyverno*", two()),
        ),
        ("applying", announced(web(), Phase::Applying, two(), Vec::new())),
        ("rolling-out", announced(web(), Phase::Progressing, two(), Vec::new())),
        ("done", ended(Phase::Succeeded, None, "", two())),
        ("failed", ended(Phase::Failed, Some(Code::RolloutFailed), crashes, two())),
        ("rolled-back", ended(Phase::RolledBack, Some(Code::RolledBack), crashes, two())),
        ("rejected", ended(Phase::Rejected, Some(Code::Rejected), "bob rejected it", asked(vec![vote("bob", Reject)]))),
        ("expired", ended(Phase::Expired, Some(Code::Expired), "1 of 2 people in time", one())),
        ("superseded", ended(Phase::Superseded, Some(Code::Superseded), "another one was chosen", one())),
    ]
}

fn is_taken(rendered: &Rendered) {
    assert_eq!(check(&rendered.text, &rendered.blocks), Ok(()), "{rendered:#?}");
    assert!(rendered.blocks.len() <= 20);
}

#[test]
fn each_state_is_one_message_as_it_was_agreed() {
    for (name, of) in states() {
        let rendered = message(&of);
        is_taken(&rendered);
        let text = json!(rendered).to_string();
        assert!(!text.contains("geheim"), "{text}");
        for button in ["supercargo_approve", "supercargo_hold"] {
            assert_eq!(text.contains(button), of.tracked.asked().is_some(), "{name}: {button}");
        }
        insta::assert_json_snapshot!(name, rendered);
    }
}

/// What anybody may write into a tag, a name of a container or a policy, as far as it is one.
const HOSTILE: [&str; 6] =
    ["<!channel>", "`*_~`", "<@U0ALICE>", "\u{202e}nimda", "&lt;!here&gt;", "http://evil.example"];

#[test]
fn foreign_text_calls_nobody_and_is_never_longer_than_slack_takes() {
    let long = "x".repeat(128);
    let tag = format!("ghcr.io/{}:{long}", "a".repeat(200));
    for text in HOSTILE.iter().map(|text| text.repeat(200)).chain(HOSTILE.map(str::to_owned)) {
        for count in [1_usize, 8, 9, 64] {
            let items: Vec<Item> =
                (0..count).map(|n| item(&format!("{n}{text}"), "r.io/web:1.0.0", &tag, &text)).collect();
            for phase in [Phase::Failed, Phase::Superseded, waiting(Code::Approval, &text)] {
                let approval = asked(vec![vote(&text, Verb::Approve)]);
                let log = vec![entry(1, &phase, Some(Reason::new(Code::RolloutFailed, text.clone())))];
                let of = announced(items.clone(), phase, approval, log);
                let rendered = message(&of);
                is_taken(&rendered);
                let shown = json!(rendered.blocks).to_string() + &rendered.text;
                assert!(!["<!channel", "<@U", "<!here", "\u{202e}"].iter().any(|it| shown.contains(it)), "{shown}");
                let more = count.saturating_sub(8);
                assert_eq!(shown.contains(&format!("and {more} more")), more > 0);
                let (_, line) = story(&of.tracked, &Message::new("C0".into(), at(0))).unwrap();
                assert!(!line.contains("<!") && !line.contains("<@") && line.len() <= 2100, "{line}");
            }
        }
    }
}

#[test]
fn the_story_has_eight_lines_at_most_and_the_last_is_its_end() {
    let phase = Phase::Succeeded;
    let mut log: Vec<LogEntry> = (1..15)
        .map(|n| entry(n, &waiting(Code::Approval, ""), Some(Reason::new(Code::Approval, format!("line {n}")))))
        .collect();
    // Two lines of one moment are two.
    log.extend([entry(20, &Phase::Progressing, None), entry(20, &phase, None)]);
    let of = announced(web(), phase, asked(Vec::new()), log);
    let (mut told, mut lines) = (Message::new("C0".into(), at(0)), Vec::new());
    while let Some((line, words)) = story(&of.tracked, &told) {
        lines.push(words);
        told = Message { replies: told.replies + 1, told: Some(line), ..told };
    }
    assert_eq!(lines.len(), 8);
    assert_eq!((lines[0].as_str(), lines[6].as_str(), lines[7].as_str()), ("line 1", "line 7", "Done"));
}
