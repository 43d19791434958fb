//! What people say, from the new tag to the patch: the operator with the rights of `deploy/`, and people who vote by the
//! command line.

use std::{path::Path, process::Output, sync::Arc};

use http::Method;
use serde_json::{Value, json};
use supercargo::{clock::SystemClock, cluster::Voter};

use super::{Refused, bind, make, operator as operators_client, plane};
use crate::support::{
    control_plane::{ADMIN, ControlPlane, Namespace, OF_A_GROUP, request},
    eventually,
    objects::{deployment, event_says, events, runs},
    operator::{Operator, Setup, supercargo},
    registry::{Image, Registry},
};

pub(crate) const APPROVER: &str = "supercargo-approver";

/// A namespace with a workload `web`, a registry, and who may approve there.
pub(crate) struct Shop<'p> {
    pub(crate) namespace: Namespace<'p>,
    pub(crate) registry: Registry,
    pub(crate) plane: &'p ControlPlane,
}

impl<'p> Shop<'p> {
    /// With these annotations of the workload beside its policy, `minor`.
    pub(crate) async fn open(plane: &'p ControlPlane, hint: &str, annotations: Value) -> Self {
        let (namespace, registry) = (plane.namespace_with(hint, json!({})).await, Registry::start().await);
        for user in ["alice", "bob"] {
            bind(&namespace, APPROVER, "User", user).await;
        }
        let shop = Self { namespace, registry, plane };
        shop.registry.push("web", "1.0.0", &Image::unique()).await;
        let mut all = json!({"supercargo.dev/policy": "minor"});
        all.as_object_mut().unwrap().extend(annotations.as_object().unwrap().clone());
        shop.namespace.create(&deployment("web", &shop.image("1.0.0"), all).to_string()).await;
        shop
    }

    pub(crate) fn image(&self, tag: &str) -> String {
        format!("{}/web:{tag}", self.registry.host)
    }

    /// Pushes a tag; its digest.
    pub(crate) async fn push(&self, tag: &str) -> String {
        self.registry.push("web", tag, &Image::unique()).await.to_string()
    }

    /// How the operator is started: as its ServiceAccount, for this namespace.
    pub(crate) async fn setup(&self) -> Setup {
        let home = Namespace { plane: self.plane, name: "supercargo".to_owned() };
        let kubeconfig = self.plane.kubeconfig_with_token(&home.token("supercargo").await, &home.name);
        Setup { kubeconfig: Some(kubeconfig), ..Setup::in_namespace(&self.namespace, "1s") }
    }

    pub(crate) async fn operator(&self) -> Operator {
        Operator::start(self.plane, &self.setup().await).await
    }

    /// Every update that is recorded.
    pub(crate) async fn updates(&self) -> Vec<Value> {
        let path = format!("/apis/supercargo.dev/v1alpha1/namespaces/{}/imageupdates", self.namespace.name);
        let client = operators_client(self.plane).await;
        let list = request(&client, Method::GET, &path, None).await.unwrap();
        list["items"].as_array().unwrap().clone()
    }

    /// The update to that tag, once it is there and in that phase.
    pub(crate) async fn update(&self, tag: &str, phase: &str) -> Value {
        let is_it = |update: &Value| {
            let to = update["spec"]["changes"][0]["to"].as_str().unwrap();
            to.starts_with(&self.image(tag)) && update["status"]["phase"] == phase
        };
        eventually(&format!("an update to {tag} is {phase}"), async || {
            self.updates().await.into_iter().find(|update| is_it(update))
        })
        .await
    }

    /// A yes to the update to that tag, which waits for it, by nobody yet.
    pub(crate) async fn ballot(&self, tag: &str) -> Value {
        self.update(tag, "Waiting").await;
        let voter = Voter::new(self.plane.client(ADMIN).await, Arc::new(SystemClock::default()));
        let all = voter.ballots(&self.workload().parse().unwrap()).await.unwrap();
        let image = self.image(tag);
        let is_it = |to: String| to.starts_with(&image);
        let on =
            all.into_iter().find(|on| on.tracked.update.changes().any(|change| is_it(change.to.to_string()))).unwrap();
        json!({
            "apiVersion": "supercargo.dev/v1alpha1", "kind": "ImageUpdateReview", "metadata": {"generateName": "by-hand-"},
            "spec": {
                "verb": "approve", "update": {"name": on.name, "uid": on.uid}, "target": *on.tracked.update.target(),
            },
        })
    }

    /// That a user makes it in that name, by a request of one's own.
    pub(crate) async fn raw(&self, user: &str, ballot: &Value, approver: &str) -> Result<Value, Refused> {
        let mut review = ballot.clone();
        review["spec"]["approver"] = json!(approver);
        make(&self.namespace, &self.plane.client(user).await, &review).await
    }

    /// `NAMESPACE/Deployment/web`
    pub(crate) fn workload(&self) -> String {
        format!("{}/Deployment/web", self.namespace.name)
    }

    /// The images that the operator has written here, in all its lives.
    pub(crate) fn written(&self) -> Vec<String> {
        let here = format!("/namespaces/{}/deployments/", self.namespace.name);
        let is_here = |uri: &str| uri.contains(&here) && !uri.contains("dryRun");
        let all = self.plane.audit("system:serviceaccount:supercargo:supercargo");
        let written = all.into_iter().filter(|it| it.verb == "patch" && it.code == 200 && is_here(&it.uri));
        let image = |operation: &Value| {
            let is_it = operation["op"] == "replace" && operation["path"].as_str().unwrap().ends_with("/image");
            is_it.then(|| operation["value"].as_str().unwrap().to_owned())
        };
        written.flat_map(|it| it.body.as_array().unwrap().iter().filter_map(image).collect::<Vec<_>>()).collect()
    }

    /// How far the update is to that tag, which waits for people.
    pub(crate) async fn stands(&self, tag: &str, far: &str) -> Value {
        eventually(&format!("{tag} has {far}"), async || {
            let update = self.update(tag, "Waiting").await;
            update["status"]["reason"]["message"].as_str()?.starts_with(far).then_some(update)
        })
        .await
    }

    /// `supercargo VERB … --yes` as that user.
    pub(crate) fn say(&self, user: &str, verb: &str, more: &[&str]) -> Output {
        let kubeconfig = self.plane.kubeconfig(user);
        let workload = self.workload();
        let args = [verb, &workload, "--yes", "--kubeconfig", kubeconfig.to_str().unwrap()];
        supercargo(&[&args[..], more].concat(), Path::new("."))
    }
}

/// That a command ended well, and what it said.
pub(crate) fn well(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// That a command was refused, and why.
pub(crate) fn badly(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_approve_and_exactly_what_they_saw_is_written_by_digest() {
    let shop = Shop::open(plane().await, "two-people", json!({"supercargo.dev/approvals": "2"})).await;
    let _operator = shop.operator().await;
    let digest = shop.push("1.1.0").await;
    let waits = shop.update("1.1.0", "Waiting").await;
    assert_eq!(waits["status"]["reason"]["code"], "approval");
    let said = event_says(&shop.namespace, "web", "must approve").await;
    assert!(said.contains("2 people must approve it until ") && said.contains("`supercargo approve "), "{said}");

    let text = well(&shop.say("alice", "approve", &[]));
    assert!(text.contains(&format!("web:1.1.0@{digest} (policy minor")), "{text}");
    assert!(text.ends_with("1 of 2 people have approved it (alice)\n"), "{text}");
    let text = well(&shop.say("alice", "approve", &[]));
    assert!(text.contains("alice has said so already"), "{text}");
    runs(&shop.namespace, "web", &[&shop.image("1.0.0")]).await;

    let text = well(&shop.say("bob", "approve", &["--reason", "looks good"]));
    // Both may have said so in one second.
    assert!(text.contains("2 of 2 people have approved it ("), "{text}");
    runs(&shop.namespace, "web", &[&format!("{}@{digest}", shop.image("1.1.0"))]).await;
    let done = shop.update("1.1.0", "Succeeded").await;
    let votes = done["status"]["approval"]["votes"].as_array().unwrap();
    let bobs = votes.iter().find(|vote| vote["by"] == "bob").unwrap();
    assert_eq!((votes.len(), &bobs["reason"]), (2, &json!("looks good")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_person_counts_once_and_who_has_the_right_by_a_group_counts_too() {
    let shop = Shop::open(plane().await, "group", json!({"supercargo.dev/approvals": "2"})).await;
    let (carol, group) = OF_A_GROUP;
    bind(&shop.namespace, APPROVER, "Group", group).await;
    let operator = shop.operator().await;
    let digest = shop.push("1.1.0").await;
    let ballot = shop.ballot("1.1.0").await;
    for _ in 0..2 {
        shop.raw(carol, &ballot, carol).await.unwrap();
    }
    // Which of them is the first is not sure: times are whole seconds.
    eventually("both were read", async || {
        (operator.metric("supercargo_reviews_total", "outcome").await >= 2.0).then_some(())
    })
    .await;
    shop.stands("1.1.0", "1 of 2 people have approved it (carol)").await;
    assert_eq!(shop.written(), <[&str; 0]>::default());

    let refused = shop.raw("bob", &ballot, "alice").await.unwrap_err();
    assert!(refused.code == 403 && refused.message.contains("in one's own name"), "{refused:?}");
    shop.stands("1.1.0", "1 of 2 people have approved it (carol)").await;
    shop.raw("bob", &ballot, "bob").await.unwrap();
    runs(&shop.namespace, "web", &[&format!("{}@{digest}", shop.image("1.1.0"))]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_rejects_ends_it_also_for_the_next_life_of_the_operator_and_a_newer_one_is_asked_for() {
    let shop = Shop::open(plane().await, "reject", json!({"supercargo.dev/approvals": "2"})).await;
    let operator = shop.operator().await;
    shop.push("1.1.0").await;
    shop.update("1.1.0", "Waiting").await;
    well(&shop.say("alice", "approve", &[]));
    let text = well(&shop.say("bob", "reject", &["--reason", "it is too slow"]));
    assert!(text.contains("rejected: it is not asked for again"), "{text}");

    let said = shop.update("1.1.0", "Rejected").await["status"]["reason"].clone();
    let message = said["message"].as_str().unwrap();
    assert_eq!(said["code"], "rejected");
    assert!(message.starts_with("bob rejected it at ") && message.ends_with(": it is too slow"), "{message}");
    let told = event_says(&shop.namespace, "web", message).await;
    assert!(told.contains("rejected"), "{told}");
    let path = format!("/apis/supercargo.dev/v1alpha1/namespaces/{}/imagestates", shop.namespace.name);
    let state = eventually("it is remembered", async || {
        let list = request(&operators_client(shop.plane).await, Method::GET, &path, None).await.unwrap();
        let refused = list["items"][0]["status"]["refused"].clone();
        refused.is_array().then_some(refused)
    })
    .await;
    assert!(state[0]["container"] == "web" && state[0]["code"] == "rejected", "{state}");
    assert!(state[0]["to"].as_str().unwrap().starts_with(&shop.image("1.1.0")), "{state}");

    operator.process.signal("KILL");
    drop(operator);
    let operator = shop.operator().await;
    operator.looks().await;
    assert!(shop.updates().await.iter().all(|update| update["status"]["phase"] == "Rejected"));
    let refused = badly(&shop.say("alice", "approve", &[]));
    assert!(refused.contains("no update of") && refused.contains("waits for approval"), "{refused}");
    shop.push("1.2.0").await;
    shop.stands("1.2.0", "0 of 2").await;
    assert_eq!(shop.written(), <[&str; 0]>::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_moves_after_the_first_vote_is_asked_for_anew_with_what_it_points_to_then() {
    let shop = Shop::open(plane().await, "stale", json!({"supercargo.dev/approvals": "2"})).await;
    let _operator = shop.operator().await;
    let (first, ballot) = (shop.push("1.1.0").await, shop.ballot("1.1.0").await);
    shop.raw("alice", &ballot, "alice").await.unwrap();
    shop.stands("1.1.0", "1 of 2 people have approved it (alice)").await;
    let second = shop.push("1.1.0").await;
    shop.raw("bob", &ballot, "bob").await.unwrap();

    let [first, second] = [first, second].map(|digest| format!("1.1.0@{digest}"));
    shop.update(&first, "Superseded").await;
    shop.stands(&second, "0 of 2").await;
    assert_eq!(shop.written(), <[&str; 0]>::default());
    let anew = shop.ballot(&second).await;
    for user in ["alice", "bob"] {
        shop.raw(user, &anew, user).await.unwrap();
    }
    runs(&shop.namespace, "web", &[&shop.image(&second)]).await;
    assert_eq!(shop.written(), [shop.image(&second)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_tag_takes_the_place_of_one_without_votes_and_waits_behind_one_with_a_vote() {
    let shop = Shop::open(plane().await, "newer", json!({"supercargo.dev/approvals": "2"})).await;
    let operator = shop.operator().await;
    shop.push("1.1.0").await;
    shop.stands("1.1.0", "0 of 2").await;
    shop.push("1.2.0").await;
    shop.update("1.1.0", "Superseded").await;
    shop.stands("1.2.0", "0 of 2").await;

    well(&shop.say("alice", "approve", &[]));
    shop.push("1.3.0").await;
    operator.looks().await;
    shop.stands("1.2.0", "1 of 2 people have approved it (alice)").await;
    assert!(shop.updates().await.iter().all(|it| !it.to_string().contains(&shop.image("1.3.0"))));
    well(&shop.say("bob", "reject", &[]));
    shop.stands("1.3.0", "0 of 2").await;
    shop.update("1.2.0", "Rejected").await;
    assert_eq!(shop.written(), <[&str; 0]>::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_asks_for_two_whatever_the_workload_says() {
    let shop = Shop::open(plane().await, "floor", json!({"supercargo.dev/approvals": "0"})).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    let guard = format!("guards:\n- {{namespaces: [{}], approvals: 2}}\n", shop.namespace.name);
    std::fs::write(&file, guard).unwrap();
    let setup = shop.setup().await.with(&["--config", file.to_str().unwrap()]);
    let _operator = Operator::start(shop.plane, &setup).await;
    let digest = shop.push("1.1.0").await;
    shop.stands("1.1.0", "0 of 2").await;
    well(&shop.say("alice", "approve", &[]));
    shop.stands("1.1.0", "1 of 2 people have approved it (alice)").await;
    assert_eq!(shop.written(), <[&str; 0]>::default());
    well(&shop.say("bob", "approve", &[]));
    runs(&shop.namespace, "web", &[&format!("{}@{digest}", shop.image("1.1.0"))]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_admission_refuses_is_told_before_anybody_is_asked() {
    let shop = Shop::open(plane().await, "refused", json!({"supercargo.dev/approvals": "1"})).await;
    let refusing = include_str!("../../data/refuse-image.yaml");
    let tag = format!("1.1.0@{}", shop.push("1.1.0").await);
    shop.plane.create(&refusing.replace("NAMESPACE", &shop.namespace.name).replace("TAG", &tag)).await;
    eventually("the policy is in force", async || {
        let containers = json!([{"name": "web", "image": shop.image(&tag)}]);
        let patch = json!({"spec": {"template": {"spec": {"containers": containers}}}});
        let path = format!("/apis/apps/v1/namespaces/{}/deployments/web?dryRun=All", shop.namespace.name);
        shop.plane.request(Method::PATCH, &path, Some(&patch)).await.err()
    })
    .await;
    let operator = shop.operator().await;
    let words = format!("release {tag} is withdrawn");
    let said = event_says(&shop.namespace, "web", &words).await;
    assert!(said.contains("refused"), "{said}");
    let held = shop.update("1.1.0", "Waiting").await;
    assert_eq!(held["status"]["reason"]["code"], "admission-refused");
    operator.looks().await;
    let all = events(&shop.namespace, "web").await;
    assert!(all.iter().all(|(reason, _)| reason != "ApprovalNeeded"), "{all:?}");
    let refused = badly(&shop.say("alice", "approve", &[]));
    assert!(refused.contains(&words), "{refused}");

    let digest = shop.push("1.2.0").await;
    shop.stands("1.2.0", "0 of 1").await;
    well(&shop.say("alice", "approve", &[]));
    runs(&shop.namespace, "web", &[&format!("{}@{digest}", shop.image("1.2.0"))]).await;
}
