//! The button Hold: who may has a workload held, and nothing is changed until somebody resumes it.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use super::{CHANNEL, PEOPLE, Told, clicks::set, speaking};
use crate::{
    approvals::{
        bind,
        flow::{Shop, well},
        operator as operators_client,
    },
    deploy::{has_right, shell},
    support::{
        control_plane::request,
        eventually,
        objects::{event_says, runs},
        operator::supercargo,
        slack::Slack,
    },
};

const ALICE: &str = "U0ALICE";
const EDITOR: &str = "supercargo-editor";

impl Told<'_> {
    /// What is remembered of its workload, if anything is.
    async fn state(&self) -> Option<Value> {
        let path = format!("/apis/supercargo.dev/v1alpha1/namespaces/{}/imagestates", self.shop.namespace.name);
        let list = request(&operators_client(self.shop.plane).await, Method::GET, &path, None).await.unwrap();
        list["items"].as_array().unwrap().first().cloned()
    }

    /// The same, once it is held.
    async fn held(&self) -> Value {
        eventually("it is held", async || self.state().await.filter(|state| state["status"]["held"].is_object())).await
    }

    /// As often the operator has written a wish.
    fn wishes(&self) -> usize {
        let here = format!("/namespaces/{}/imagestates/", self.shop.namespace.name);
        let all = self.shop.plane.audit("system:serviceaccount:supercargo:supercargo");
        all.iter().filter(|it| it.verb == "patch" && it.code == 200 && it.uri.contains(&here)).count()
    }

    fn resume(&self, user: &str) -> String {
        let kubeconfig = self.shop.plane.kubeconfig(user);
        let args = ["resume", &self.shop.workload(), "--kubeconfig", kubeconfig.to_str().unwrap()];
        well(&supercargo(&args, std::path::Path::new(".")))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_has_it_held_and_what_people_approve_then_is_written_when_somebody_resumes() {
    let told = Told::open("slack-hold", json!({"supercargo.dev/approvals": "1"})).await;
    bind(&told.shop.namespace, EDITOR, "User", "alice").await;
    let operator = told.operator().await;
    let digest = told.shop.push("1.1.0").await;
    let (slack, image) = (&told.slack, told.shop.image("1.0.0"));
    let message = slack.says(CHANNEL, "Waiting for approval").await;
    assert_eq!(told.state().await, None, "nothing is remembered of it yet");

    let id = slack.press(ALICE, &message, "Hold").await;
    let state = told.state().await.expect("it is written before Slack is told that it was heard");
    let said = slack.told(&id).await;
    let resume = format!("`supercargo resume {}` lets it go on", told.shop.workload());
    assert!(said.starts_with("held: nothing of ") && said.ends_with(&resume), "{said}");
    let spec = &state["spec"];
    assert!(spec["at"].is_string(), "{spec}");
    let expected = json!({
        "by": "alice", "onBehalfOf": "slack:T0SHOP/U0ALICE", "at": spec["at"], "uid": state["metadata"]["uid"],
        "workload": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "hold": true,
    });
    assert_eq!(*spec, expected);
    assert_eq!(state["metadata"]["ownerReferences"], Value::Null);
    assert_eq!(state["metadata"]["name"], "deployment-web");
    let held = told.held().await;
    let by = &held["status"]["held"];
    assert_eq!((&by["by"], &by["onBehalfOf"]), (&json!("alice"), &json!("slack:T0SHOP/U0ALICE")));
    assert_eq!(held["status"]["wish"]["done"], true);
    event_says(&told.shop.namespace, "web", "held by alice (slack:T0SHOP/U0ALICE)").await;

    // The update goes on waiting, and people may vote.
    slack.press("U0BOB", &message, "Approve").await;
    let approved = slack.says(CHANNEL, "Approved").await;
    operator.looks().await;
    operator.looks().await;
    runs(&told.shop.namespace, "web", &[&image]).await;
    assert_eq!(told.shop.written(), Vec::<String>::new());
    let id = slack.press("U0BOB", &approved, "Details").await;
    let details = slack.told(&id).await;
    assert!(details.contains("(held)") && details.contains("held by alice"), "{details}");
    let id = slack.press(ALICE, &approved, "Hold").await;
    let said = slack.told(&id).await;
    assert!(said.starts_with("already held") && said.ends_with(&resume), "{said}");
    assert_eq!(told.state().await.unwrap()["metadata"]["generation"], held["metadata"]["generation"]);

    let said = told.resume("alice");
    assert!(said.contains("lifted: the hold of alice"), "{said}");
    runs(&told.shop.namespace, "web", &[&format!("{}@{digest}", told.shop.image("1.1.0"))]).await;
    slack.says(CHANNEL, "Done").await;
    assert_eq!(told.wishes(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_or_by_a_click_that_is_not_what_it_says_nothing_is_held() {
    let told = Told::open("slack-no-hold", json!({"supercargo.dev/approvals": "2"})).await;
    let _operator = told.operator().await;
    told.shop.push("1.1.0").await;
    let (slack, message) = (&told.slack, told.slack.says(CHANNEL, "Waiting for approval").await);
    // Who may vote may not hold.
    for (who, user) in [(ALICE, "alice"), ("U0MAL", "mallory")] {
        let id = slack.press(who, &message, "Hold").await;
        let said = slack.told(&id).await;
        let words = format!("you (`{user}`) may not hold workloads in namespace `{}`", told.shop.namespace.name);
        assert!(said.starts_with(&words) && said.contains(EDITOR), "{said}");
    }
    bind(&told.shop.namespace, EDITOR, "User", "alice").await;
    let forge = async |user: &str, words: &str, change: &dyn Fn(&mut Value)| {
        let change = |payload: &mut Value| {
            payload["actions"][0]["action_id"] = json!("supercargo_hold");
            change(payload);
        };
        let id = told.forge(&message, user, change).await;
        let said = slack.told(&id).await;
        assert!(said.contains(words), "{words}: {said}");
    };
    eventually("alice may", async || {
        let id = told.forge(&message, ALICE, |payload| {
            payload["actions"][0]["action_id"] = json!("supercargo_hold");
            set(payload, "target", "x");
        });
        slack.told(&id.await).await.contains("it has changed since").then_some(())
    })
    .await;
    forge("U0EVE", "does not know who you are", &|_| ()).await;
    forge(ALICE, "does not know who you are", &|payload| payload["user"]["team_id"] = json!("T0OTHER")).await;
    forge(ALICE, "not there any more", &|payload| set(payload, "uid", "x")).await;
    forge(ALICE, "not told of namespace", &|payload| set(payload, "namespace", "default")).await;
    forge(ALICE, "not the one of that update", &|payload| payload["container"]["message_ts"] = json!("1.1")).await;
    // When nobody is asked any more, nobody holds by that message.
    slack.press(ALICE, &message, "Reject").await;
    slack.says(CHANNEL, "Rejected").await;
    forge(ALICE, "it is rejected", &|_| ()).await;
    assert_eq!(told.wishes(), 0);
    let state = told.state().await.unwrap_or_default();
    assert!(state["spec"]["by"].is_null() && state["status"]["held"].is_null(), "{state}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pressed_at_once_and_again_it_is_one_wish() {
    let told = Told::open("slack-hold-twice", json!({"supercargo.dev/approvals": "1"})).await;
    bind(&told.shop.namespace, EDITOR, "User", "alice").await;
    bind(&told.shop.namespace, EDITOR, "User", "bob").await;
    let _operator = told.operator().await;
    told.shop.push("1.1.0").await;
    let message = told.slack.says(CHANNEL, "Waiting for approval").await;
    let clicks: Vec<_> =
        [ALICE, "U0BOB"].iter().cycle().take(6).map(|who| told.slack.click(who, &message, "Hold")).collect();
    told.slack.insist(&clicks).await;
    let mut said = Vec::new();
    for (_, id) in &clicks {
        said.push(told.slack.told(id).await);
    }
    assert_eq!(said.iter().filter(|it| it.starts_with("held: ")).count(), 1, "{said:?}");
    assert_eq!(said.iter().filter(|it| it.starts_with("already held: ")).count(), 5, "{said:?}");
    let held = told.held().await;
    assert_eq!(told.wishes(), 1);
    // A person goes on, and holds it again: that is another wish.
    told.resume("bob");
    eventually("it is held no longer", async || told.state().await.unwrap()["status"]["held"].is_null().then_some(()))
        .await;
    let id = told.slack.press(ALICE, &message, "Hold").await;
    assert!(told.slack.told(&id).await.starts_with("held: "));
    let again = told.held().await;
    assert_eq!(again["spec"]["by"], "alice");
    let generation = |state: &Value| state["metadata"]["generation"].as_i64().unwrap();
    assert_eq!(generation(&again), generation(&held) + 2, "one to resume, one to hold");
    assert_eq!(told.wishes(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_right_of_the_component_is_needed_and_the_log_says_which_is_missing() {
    let plane = &speaking().await;
    let shop = Shop::open(plane, "slack-rights", json!({"supercargo.dev/approvals": "1"})).await;
    bind(&shop.namespace, EDITOR, "User", "alice").await;
    let slack = Slack::start(&[CHANNEL]).await;
    let configuration = slack.configuration(&[(CHANNEL, &shop.namespace.name)], PEOPLE);
    let told = Told::with(shop, slack.clone(), &configuration).await;
    let operator = told.operator().await;
    told.shop.push("1.1.0").await;
    let message = slack.says(CHANNEL, "Waiting for approval").await;
    let without = |rule: usize| {
        let patch = json!([{"op": "remove", "path": format!("/rules/{rule}")}]).to_string();
        plane.kubectl(&["patch", "clusterrole", "supercargo-slack", "--type=json", "-p", &patch]);
    };
    let again =
        || shell(plane, "kubectl apply --server-side --force-conflicts -f deploy/components/slack/clusterrole.yaml");
    let fails = async |button: &str, words: &str| {
        for _ in 0..30 {
            let (envelope, _) = slack.click(ALICE, &message, button);
            slack.send(None, Message::text(envelope.to_string()));
            let said = eventually("it is said", async || operator.process.output().contains(words).then_some(()));
            if timeout(Duration::from_secs(10), said).await.is_ok() {
                return;
            }
        }
        panic!("{button} is not said to fail: {words}");
    };
    // The API server takes in what is patched a little later.
    let operators = "system:serviceaccount:supercargo:supercargo";
    let is_without = async |verb: &str, group: &str, resource: &str| {
        let right = (group.to_owned(), resource.to_owned(), verb.to_owned());
        has_right(&told.shop.namespace, operators, &right, false).await;
    };
    without(1);
    is_without("patch", "supercargo.dev", "imagestates").await;
    fails("Hold", "no right to hold for others (patch imagestates)").await;
    again();
    without(0);
    is_without("create", "authorization.k8s.io", "localsubjectaccessreviews").await;
    fails("Approve", "no right to ask who may approve or hold (create localsubjectaccessreviews)").await;
    again();
    slack.press(ALICE, &message, "Hold").await;
    told.held().await;
}
