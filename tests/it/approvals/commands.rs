//! What `approve` and `reject` say, and how they end.

use std::path::Path;

use serde_json::json;

use super::{
    flow::{Shop, badly, well},
    plane,
    policies::{NO_OVERRIDE, NO_RIGHT, REVIEWS, allow, rule},
};
use crate::support::{control_plane::OF_A_GROUP, eventually, objects::runs, operator::supercargo};

/// The window of one hour that is farthest from now.
fn closed_now() -> String {
    use supercargo::ports::Clock as _;
    let hour = supercargo::clock::SystemClock::default().now().to_zoned(jiff::tz::TimeZone::UTC).hour();
    format!("{:02}:00-{:02}:00", (hour + 12) % 24, (hour + 13) % 24)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vote_needs_a_yes_something_that_waits_and_the_right_to_it() {
    let shop = Shop::open(plane().await, "commands", json!({"supercargo.dev/approvals": "2"})).await;
    let _operator = shop.operator().await;
    let nothing = badly(&shop.say("alice", "approve", &[]));
    let workload = shop.workload();
    assert!(nothing.contains(&format!("no update of {workload} waits for approval")), "{nothing}");
    assert!(nothing.contains("none is recorded"), "{nothing}");

    shop.push("1.1.0").await;
    shop.stands("1.1.0", "0 of 2").await;
    let kubeconfig = shop.plane.kubeconfig("alice");
    for verb in ["approve", "reject"] {
        // There is no terminal here.
        let args = [verb, &workload, "--kubeconfig", kubeconfig.to_str().unwrap()];
        let output = supercargo(&args, Path::new("."));
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && text.contains(&format!("say --yes to {verb}")), "{text}");
    }
    let output = shop.say("alice", "approve", &["--override", "window"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && text.contains("--reason"), "{text}");
    let output = shop.say("alice", "reject", &["--override", "window", "--reason", "it burns"]);
    assert_eq!(output.status.code(), Some(2), "who rejects opens nothing: {output:?}");

    // Who may read, and make reviews, but not approve; and who may nothing at all.
    let (carol, _) = OF_A_GROUP;
    let none = badly(&shop.say(carol, "approve", &[]));
    assert!(none.contains("User \"carol\" cannot list resource \"imageupdates\""), "{none}");
    allow(&shop.namespace, carol, json!([rule(REVIEWS, &["create"]), rule("imageupdates", &["get", "list"])])).await;
    let refused = eventually("carol may read", async || {
        let said = badly(&shop.say(carol, "approve", &[]));
        (!said.contains(" cannot ")).then_some(said)
    })
    .await;
    assert!(refused.contains(NO_RIGHT), "{refused}");

    let text = well(&shop.say("alice", "approve", &[]));
    assert!(text.ends_with("1 of 2 people have approved it (alice)\n"), "{text}");
    let text = well(&shop.say("alice", "approve", &["--reason", "once more"]));
    assert!(text.contains("alice has said so already: 1 of 2 people have approved it (alice)"), "{text}");
    let text = well(&shop.say("alice", "reject", &["--reason", "I was wrong"]));
    assert!(text.contains("rejected"), "{text}");
    let over = badly(&shop.say("bob", "approve", &[]));
    assert!(over.contains("waits for approval"), "{over}");
    assert_eq!(shop.written(), <[&str; 0]>::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_is_opened_by_who_may_with_a_reason_and_by_nobody_else() {
    let window = closed_now();
    let annotations = json!({"supercargo.dev/approvals": "1", "supercargo.dev/window": window});
    let shop = Shop::open(plane().await, "overrides", annotations).await;
    let operator = shop.operator().await;
    let digest = shop.push("1.1.0").await;
    shop.stands("1.1.0", "0 of 1").await;
    let overriding = ["--override", "window", "--reason", "the site is down"];
    let refused = badly(&shop.say("alice", "approve", &overriding));
    assert!(refused.contains(NO_OVERRIDE), "{refused}");
    well(&shop.say("alice", "approve", &[]));
    operator.looks().await;
    runs(&shop.namespace, "web", &[&shop.image("1.0.0")]).await;

    allow(&shop.namespace, "alice", json!([rule("imageupdates", &["override"])])).await;
    let text = eventually("alice may override", async || {
        let output = shop.say("alice", "approve", &overriding);
        output.status.success().then(|| well(&output))
    })
    .await;
    assert!(text.contains("1 of 1 people have approved it (alice)") || text.contains("it waits no more"), "{text}");
    runs(&shop.namespace, "web", &[&format!("{}@{digest}", shop.image("1.1.0"))]).await;
    let done = shop.update("1.1.0", "Succeeded").await;
    let vote = &done["status"]["approval"]["votes"][0];
    assert!(vote["overrides"] == true && vote["reason"] == "the site is down", "{done}");
}
