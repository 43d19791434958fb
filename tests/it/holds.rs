//! People win: what they move back with real kubectl stays, whatever comes, until there is a newer one or they say so.

use std::process::{Command, Stdio};

use http::Method;
use serde_json::{Value, json};

use crate::{
    approvals,
    support::{
        bin, commits,
        control_plane::{ADMIN, audited_user},
        eventually,
        git_server::{GitServer, PERSON},
        objects::{deployment, runs, written},
        operator::{Operator, Setup},
        registry::{Image, Registry},
        shop::{QUICK, Shop},
        within_minutes, write_below,
    },
};

impl Shop<'static> {
    /// What a command that makes a wish says, and whether it ends well.
    fn wish(&self, user: &str, args: &[&str]) -> (bool, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_supercargo"));
        command.args(args).arg("--kubeconfig").arg(self.plane.kubeconfig(user));
        let output = command.output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.success(), text)
    }

    fn web(&self) -> String {
        format!("{}/deployment/web", self.namespace.name)
    }

    fn kubectl(&self, args: &[&str]) -> String {
        self.plane.kubectl(&[&["-n", &self.namespace.name], args].concat())
    }

    async fn holds(&self) -> Vec<Value> {
        let states = self.all("imagestates").await;
        states.iter().flat_map(|state| state["status"]["holds"].as_array().cloned().unwrap_or_default()).collect()
    }

    /// The hold when it is remembered.
    async fn held(&self, to: &str) -> Value {
        let to = self.image(to);
        eventually(&format!("{to} is held"), async || self.holds().await.into_iter().find(|hold| hold["to"] == to))
            .await
    }

    async fn runs(&self, tag: &str) {
        runs(&self.namespace, "web", &[&self.image(tag)]).await;
    }

    /// Runs 1.1.0 by an update.
    async fn updated(name: &str) -> (Self, Operator) {
        let shop = Self::open(name).await;
        shop.create("Deployment", |_| ()).await;
        let operator = shop.operator(QUICK).await;
        shop.push("1.1.0").await;
        shop.update("1.1.0", "Succeeded").await;
        (shop, operator)
    }

    /// Nothing was written for some looks.
    async fn stays(&self, operator: &Operator, tag: &str) {
        operator.looks().await;
        operator.looks().await;
        assert_eq!(self.namespace.images("deployments", "web").await, [self.image(tag)]);
    }

    /// What is applied again: the workload as it was created.
    fn manifest(&self, tag: &str, annotations: &Value) -> std::path::PathBuf {
        let mut object = deployment("web", &self.image(tag), annotations.clone());
        object["spec"]["replicas"] = json!(3);
        object["metadata"]["namespace"] = json!(self.namespace.name);
        let path = self.folder.path().join(format!("web-{tag}.json"));
        std::fs::write(&path, object.to_string()).unwrap();
        path
    }
}

const MINOR: &str = "supercargo.dev/policy";

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_stays_through_poll_push_and_kill_until_there_is_a_newer_one() {
    let (shop, operator) = Shop::updated("undo").await;
    let reads = |user: &str| shop.asked_exactly(user, "GET", "/deployments/web");
    let before = reads(&operator.user);
    shop.kubectl(&["rollout", "undo", "deployment/web"]);
    let hold = shop.held("1.1.0").await;
    assert_eq!(hold["how"], "person", "{hold}");
    assert!(hold["by"].as_str().unwrap().starts_with("kubectl"), "{hold}");
    assert_eq!(hold["backTo"], shop.image("1.0.0"));
    let told = shop.event("UpdateHeld").await;
    assert!(told.contains("moved container web from") && told.contains("supercargo resume"), "{told}");
    assert_eq!(operator.metric("supercargo_holds", "").await, 1.0);
    // Neither it nor what lies between is taken, and it is said why.
    shop.push("1.0.5").await;
    shop.stays(&operator, "1.0.0").await;
    let explained = shop.says("explain", &[&shop.web()]);
    assert!(explained.contains("held") && explained.contains("moved container web from"), "{explained}");
    assert!(explained.contains("1.0.5"), "{explained}");
    let user = operator.user.clone();
    operator.process.signal("KILL");
    drop(operator);
    let operator = shop.operator(QUICK).await;
    shop.stays(&operator, "1.0.0").await;
    assert_eq!((reads(&user), reads(&operator.user)), (before + 1, 0), "it is read once who moved it");
    assert_eq!(shop.told("UpdateHeld").await.len(), 1, "told once");
    shop.push("1.1.1").await;
    shop.update("1.1.1", "Succeeded").await;
    assert_eq!(shop.holds().await, Vec::<Value>::new(), "what is newer lifts it");
    assert_eq!(operator.metric("supercargo_holds", "").await, 0.0);
}

impl Shop<'static> {
    fn asked_exactly(&self, user: &str, verb: &str, end: &str) -> usize {
        let is_it = |uri: &str| uri.split('?').next().is_some_and(|path| path.ends_with(end));
        let all = self.plane.audit(user);
        all.iter().filter(|asked| asked.verb.eq_ignore_ascii_case(verb) && is_it(&asked.uri)).count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_of_people_is_known_and_a_restart_is_none() {
    let (shop, operator) = Shop::updated("ways").await;
    // A restart of the pods moves nothing.
    shop.kubectl(&["rollout", "restart", "deployment/web"]);
    shop.stays(&operator, "1.1.0").await;
    assert_eq!(shop.holds().await, Vec::<Value>::new());
    let set = format!("web={}", shop.image("1.0.0"));
    shop.kubectl(&["set", "image", "deployment/web", &set]);
    assert_eq!(shop.held("1.1.0").await["by"], "kubectl-set");
    let said = shop.wish(ADMIN, &["resume", &shop.web()]);
    assert!(said.0 && said.1.contains("lifted: the hold on"), "{said:?}");
    shop.runs("1.1.0").await;
    // Another process need not wait for a minute.
    drop(operator);
    let _operator = shop.operator(QUICK).await;
    // A person sets the very image again: then it is not held any more.
    shop.kubectl(&["set", "image", "deployment/web", &set]);
    shop.held("1.1.0").await;
    shop.kubectl(&["set", "image", "deployment/web", &format!("web={}", shop.image("1.1.0"))]);
    eventually("nothing is held", async || shop.holds().await.is_empty().then_some(())).await;
    // A newer one by hand is the new current.
    shop.push("1.2.0").await;
    shop.update("1.2.0", "Succeeded").await;
    shop.push("2.0.0").await;
    shop.kubectl(&["set", "image", "deployment/web", &format!("web={}", shop.image("2.0.0"))]);
    shop.push("2.0.1").await;
    shop.update("2.0.1", "Succeeded").await;
    assert_eq!(shop.holds().await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_is_applied_again_is_held_until_somebody_resumes_it() {
    let (shop, operator) = Shop::updated("applied").await;
    let annotations = json!({MINOR: "minor"});
    let path = shop.manifest("1.0.0", &annotations);
    let path = path.to_str().unwrap();
    shop.kubectl(&["apply", "-f", path]);
    let hold = shop.held("1.1.0").await;
    assert_eq!((&hold["by"], &hold["how"]), (&json!("kubectl-client-side-apply"), &json!("manifest")));
    let told = shop.event("UpdateHeld").await;
    assert!(told.contains("`kubectl apply` (kubectl-client-side-apply) set container web"), "{told}");
    shop.stays(&operator, "1.0.0").await;
    assert!(shop.wish(ADMIN, &["resume", &shop.web()]).0);
    shop.runs("1.1.0").await;
    // Another process need not wait for a minute.
    drop(operator);
    let _operator = shop.operator(QUICK).await;
    shop.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", path]);
    let hold = shop.held("1.1.0").await;
    assert_eq!((&hold["by"], &hold["how"]), (&json!("kubectl"), &json!("manifest")));
    assert!(shop.wish(ADMIN, &["resume", &shop.web()]).0);
    shop.runs("1.1.0").await;
    eventually("nothing is held", async || shop.holds().await.is_empty().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_to_be_set_again_is_and_a_loop_ends_in_a_hold() {
    let (shop, mut operator) = Shop::updated("again").await;
    let annotations = json!({MINOR: "minor", "supercargo.dev/on-reapply": "again"});
    let path = shop.manifest("1.0.0", &annotations);
    let path = path.to_str().unwrap();
    shop.kubectl(&["annotate", "deployment/web", "supercargo.dev/on-reapply=again"]);
    for n in 1..=3 {
        shop.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", path]);
        let is_done = within_minutes(5, async || {
            let again = shop.all("imagestates").await.remove(0)["status"]["setAgain"].as_array().map(Vec::len);
            let is_back = shop.namespace.images("deployments", "web").await == [shop.image("1.1.0")];
            (again == Some(n) && is_back).then_some(())
        });
        if is_done.await.is_none() {
            let known = [shop.all("imagestates").await, shop.all("imageupdates").await];
            panic!("it is not set again for the {n}th time: {known:?}");
        }
        assert_eq!(shop.holds().await, Vec::<Value>::new());
        // Another process counts on, and need not wait for a minute.
        drop(operator);
        operator = shop.operator(QUICK).await;
    }
    shop.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", path]);
    shop.held("1.1.0").await;
    shop.stays(&operator, "1.0.0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_an_undo_takes_away_holds_all_the_same() {
    let shop = Shop::open("gate").await;
    shop.create("Deployment", |_| ()).await;
    let operator = shop.operator(QUICK).await;
    shop.available("deployments").await;
    shop.push("1.1.0").await;
    shop.update("1.1.0", "Succeeded").await;
    // Written after the image it holds for was set, and in no revision.
    shop.kubectl(&["annotate", "deployment/web", "supercargo.dev/suspend=true"]);
    eventually("it is remembered", async || {
        let state = shop.all("imagestates").await.pop()?;
        (state["status"]["rule"]["values"]["supercargo.dev/suspend"] == "true").then_some(())
    })
    .await;
    shop.kubectl(&["rollout", "undo", "deployment/web"]);
    shop.held("1.1.0").await;
    let web = shop.namespace.get("deployments", "web").await;
    assert_eq!(web["metadata"]["annotations"]["supercargo.dev/suspend"], Value::Null, "kubectl took it away");
    shop.push("1.2.0").await;
    shop.stays(&operator, "1.0.0").await;
    let explained = shop.says("explain", &[&shop.web()]);
    assert!(
        explained.contains("suspended") && explained.contains("`supercargo.dev/suspend: true` was taken away"),
        "{explained}"
    );
    // Also for the next process.
    drop(operator);
    let operator = shop.operator(QUICK).await;
    shop.stays(&operator, "1.0.0").await;
    // Written again, it counts as it is written.
    shop.kubectl(&["annotate", "deployment/web", "supercargo.dev/suspend=false"]);
    shop.update("1.2.0", "Succeeded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_an_undo_brings_back_opens_no_gate() {
    let shop = Shop::open("brought").await;
    let own = format!("{MINOR}.web");
    shop.create("Deployment", |object| object["metadata"]["annotations"][&own] = json!("minor")).await;
    let _operator = shop.operator(QUICK).await;
    shop.available("deployments").await;
    shop.push("1.1.0").await;
    shop.update("1.1.0", "Succeeded").await;
    shop.kubectl(&["annotate", "--overwrite", "deployment/web", &format!("{own}-"), "supercargo.dev/policy=never"]);
    eventually("it is remembered", async || {
        let state = shop.all("imagestates").await.pop()?;
        let values = &state["status"]["rule"]["values"];
        (values[MINOR] == "never" && values[&own] == Value::Null).then_some(())
    })
    .await;
    shop.kubectl(&["rollout", "undo", "deployment/web"]);
    shop.held("1.1.0").await;
    let web = shop.namespace.get("deployments", "web").await;
    assert_eq!(web["metadata"]["annotations"][&own], "minor", "kubectl brought it back");
    shop.push("1.2.0").await;
    let explained = shop.says("explain", &[&shop.web()]);
    assert!(explained.contains(&format!("`{own}: minor` came back with the image")), "{explained}");
    assert_eq!(shop.namespace.images("deployments", "web").await, [shop.image("1.0.0")]);
    assert!(shop.wish(ADMIN, &["resume", &shop.web()]).0);
    shop.update("1.2.0", "Succeeded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_to_before_the_policy_changes_nothing_until_it_is_resumed() {
    let shop = Shop::open("before").await;
    shop.create("Deployment", |object| object["metadata"]["annotations"] = json!({})).await;
    shop.available("deployments").await;
    let operator = shop.operator(QUICK).await;
    // An image by hand makes a revision, and the first one keeps that there was no policy.
    shop.push("1.0.1").await;
    shop.kubectl(&["set", "image", "deployment/web", &format!("web={}", shop.image("1.0.1"))]);
    eventually("the second has", async || {
        let web = shop.namespace.get("deployments", "web").await;
        let status = &web["status"];
        (status["updatedReplicas"] == 3 && status["replicas"] == 3 && status["availableReplicas"] == 3).then_some(())
    })
    .await;
    shop.kubectl(&["annotate", "deployment/web", "supercargo.dev/policy=minor"]);
    shop.push("1.1.0").await;
    shop.update("1.1.0", "Succeeded").await;
    shop.kubectl(&["rollout", "undo", "deployment/web", "--to-revision=1"]);
    shop.held("1.1.0").await;
    let web = shop.namespace.get("deployments", "web").await;
    assert_eq!(web["metadata"]["annotations"][MINOR], Value::Null, "kubectl took it away");
    shop.push("1.2.0").await;
    shop.stays(&operator, "1.0.0").await;
    let told = eventually("it is told", async || {
        shop.told("UpdateHeld").await.into_iter().find(|message| message.contains("the policy was taken away"))
    })
    .await;
    assert!(told.contains("kubectl annotate") && told.contains("supercargo.dev/policy=minor"), "{told}");
    let explained = shop.says("explain", &[&shop.web()]);
    assert!(explained.contains("undone"), "{explained}");
    let said = shop.wish(ADMIN, &["resume", &shop.web()]);
    assert!(said.0 && said.1.contains("in force again, as before: `supercargo.dev/policy: minor`"), "{said:?}");
    shop.update("1.2.0", "Succeeded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_deployer_sets_is_a_problem_and_no_hold() {
    let (shop, operator) = Shop::updated("fought").await;
    // Else who applies is known to set it, and nothing is changed at all.
    let path = shop.manifest("1.0.0", &json!({MINOR: "minor", "supercargo.dev/write": "cluster"}));
    let argo = ["apply", "--server-side", "--force-conflicts", "--field-manager=argocd-controller", "-f"];
    shop.kubectl(&[&argo[..], &[path.to_str().unwrap()]].concat());
    let told = eventually("it is told", async || {
        shop.told("PolicyProblem").await.into_iter().find(|message| message.contains("fought-over"))
    })
    .await;
    assert!(told.contains("argocd-controller sets container web") && told.contains("write to Git"), "{told}");
    assert_eq!(shop.told("UpdateHeld").await, Vec::<String>::new());
    shop.push("1.2.0").await;
    shop.stays(&operator, "1.0.0").await;
    assert_eq!(operator.metric("supercargo_problems", "fought-over").await, 1.0);
    assert!(shop.wish(ADMIN, &["resume", &shop.web()]).0);
    shop.update("1.2.0", "Succeeded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_is_held_by_annotation_is_neither_left_nor_taken() {
    let shop = Shop::open("annotated").await;
    shop.create("Deployment", |object| object["metadata"]["annotations"]["supercargo.dev/hold"] = json!("1.0.0")).await;
    let operator = shop.operator(QUICK).await;
    shop.push("1.1.0").await;
    shop.stays(&operator, "1.0.0").await;
    let explained = shop.says("explain", &[&shop.web()]);
    assert!(explained.contains("held") && explained.contains("`supercargo.dev/hold: 1.0.0`"), "{explained}");
    shop.kubectl(&["annotate", "--overwrite", "deployment/web", "supercargo.dev/hold=1.1.0"]);
    shop.stays(&operator, "1.0.0").await;
    shop.push("1.0.9").await;
    shop.update("1.0.9", "Succeeded").await;
    shop.kubectl(&["annotate", "--overwrite", "deployment/web", "supercargo.dev/hold=all"]);
    shop.push("1.2.0").await;
    shop.stays(&operator, "1.0.9").await;
    shop.kubectl(&["annotate", "--overwrite", "deployment/web", "supercargo.dev/hold=1.3*"]);
    let told = eventually("it is a problem", async || shop.told("PolicyProblem").await.pop()).await;
    assert!(told.contains("patterns are not taken here"), "{told}");
    shop.kubectl(&["annotate", "deployment/web", "supercargo.dev/hold-"]);
    shop.update("1.2.0", "Succeeded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_holds_a_workload_and_lets_it_go_on() {
    let shop = Shop::open_on(approvals::plane().await, "who-holds").await;
    shop.create("Deployment", |_| ()).await;
    let operator = shop.as_deployed(QUICK).await;
    approvals::bind(&shop.namespace, "supercargo-editor", "User", "alice").await;
    let rules = json!([{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]}]);
    approvals::allow(&shop.namespace, "alice", rules.clone()).await;
    let hold = ["hold", &shop.web(), "--reason", "a sale"];
    let said = eventually("alice may", async || {
        let said = shop.wish("alice", &hold);
        said.0.then_some(said.1)
    })
    .await;
    assert!(said.starts_with(&format!("holding {}", shop.namespace.name)), "{said}");
    let told = shop.event("UpdateHeld").await;
    assert!(told.contains("held by alice") && told.contains("a sale"), "{told}");
    shop.push("1.1.0").await;
    shop.stays(&operator, "1.0.0").await;
    // A rollback waits too, and says so.
    let (_, text) = shop.wish("alice", &["rollback", &shop.web()]);
    assert!(text.contains("supercargo has set no image of it"), "{text}");
    // Who may only roll back may not hold.
    let rollback = json!([
        {"apiGroups": ["supercargo.dev"], "resources": ["imagestates"], "verbs": ["get", "create", "patch", "rollback"]},
        {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]}
    ]);
    approvals::allow(&shop.namespace, "bob", rollback).await;
    let text = eventually("bob may patch", async || {
        let (well, text) = shop.wish("bob", &["resume", &shop.web()]);
        assert!(!well, "{text}");
        (!text.contains(" cannot ")).then_some(text)
    })
    .await;
    assert!(text.contains("you may not roll back, hold or resume this workload"), "{text}");
    shop.stays(&operator, "1.0.0").await;
    let (well, text) = shop.wish("alice", &["resume", &shop.web()]);
    assert!(well && text.contains("lifted: the hold of alice"), "{text}");
    shop.update("1.1.0", "Succeeded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_another_wish_replaces_before_it_is_taken_up_is_not_said_to_hold() {
    let shop = Shop::open("replaced").await;
    shop.create("Deployment", |_| ()).await;
    let wish = |what: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_supercargo"));
        command.args([what, &shop.web(), "--kubeconfig"]).arg(shop.plane.kubeconfig(ADMIN));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let wished = async |what: &str| {
        eventually("the wish is made", async || {
            let state = shop.all("imagestates").await.pop()?;
            state["spec"].get(what).map(|_| ())
        })
        .await;
    };
    let held = wish("hold");
    wished("hold").await;
    let resumed = wish("resume");
    wished("resume").await;
    let _operator = shop.operator(QUICK).await;
    let [held, resumed] = [held, resumed].map(|child| child.wait_with_output().unwrap());
    let text = String::from_utf8(held.stderr).unwrap();
    assert!(!held.status.success() && text.contains("another wish came right after it"), "{text}");
    assert!(resumed.status.success());
}

/// Writes into the status of an ImageState, as an operator of another version might.
async fn write(shop: &Shop<'static>, namespace: &str, name: &str, status: Value) {
    let all = format!("/apis/supercargo.dev/v1alpha1/namespaces/{namespace}/imagestates");
    let object = json!({"apiVersion": "supercargo.dev/v1alpha1", "kind": "ImageState", "metadata": {"name": name}});
    // It may be there.
    _ = shop.plane.request(Method::POST, &all, Some(&object)).await;
    let path = format!("{all}/{name}/status");
    shop.plane.request(Method::PATCH, &path, Some(&json!({"status": status}))).await.unwrap();
}

/// A hold as this version does not write it.
fn odd_hold() -> Value {
    json!([{"container": "web", "to": "no image at all", "backTo": "x", "by": "kubectl", "at": "2026-03-01T12:00:00Z"}])
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_of_holds_holds_until_it_can_be_or_is_gone() {
    let (shop, operator) = Shop::updated("unreadable").await;
    let (namespace, state) = (shop.namespace.name.clone(), "deployment-web");
    write(&shop, &namespace, state, json!({"holds": odd_hold()})).await;
    let told = shop.event("PolicyProblem").await;
    assert!(told.contains("cannot be read") && told.contains("`no image at all`"), "{told}");
    shop.push("1.2.0").await;
    shop.stays(&operator, "1.1.0").await;
    let explained = shop.says("explain", &[&shop.web()]);
    assert!(
        explained.contains("somebody may have held it") && explained.contains("ImageState deployment-web"),
        "{explained}"
    );
    operator.process.signal("KILL");
    drop(operator);
    let operator = shop.operator(QUICK).await;
    shop.stays(&operator, "1.1.0").await;
    assert_eq!(json!(shop.holds().await), odd_hold(), "it is not written over");
    // Somebody corrects it.
    write(&shop, &namespace, state, json!({"holds": null})).await;
    shop.update("1.2.0", "Succeeded").await;
    // Another is deleted.
    let unread = || operator.process.output().matches("what is remembered of it does not decode").count();
    let before = unread();
    write(&shop, &namespace, state, json!({"holds": odd_hold()})).await;
    eventually("the operator has read it", async || (unread() > before).then_some(())).await;
    shop.push("1.3.0").await;
    shop.stays(&operator, "1.2.0").await;
    shop.kubectl(&["delete", "imagestate", state]);
    shop.update("1.3.0", "Succeeded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_of_a_hold_of_all_holds_all() {
    let shop = Shop::open("unreadable-all").await;
    let own = shop.plane.namespace("own").await;
    shop.create("Deployment", |_| ()).await;
    let odd =
        json!({"workload": {"apiVersion": "apps/v1", "kind": "Nonsense", "name": "", "uid": ""}, "holds": odd_hold()});
    write(&shop, &own.name, "supercargo-all", odd).await;
    let user = audited_user();
    let kubeconfig = shop.plane.kubeconfig_with_token(&format!("{user}-token"), &own.name);
    let in_shop = Setup::in_namespace(&shop.namespace, "1s");
    let operator =
        Operator::start(shop.plane, &Setup { kubeconfig: Some(kubeconfig), user: Some(user), ..in_shop }).await;
    shop.push("1.1.0").await;
    shop.stays(&operator, "1.0.0").await;
    let explained = shop.says("explain", &[&shop.web(), "--operator-namespace", &own.name]);
    assert!(explained.contains("what is remembered of all workloads cannot be read"), "{explained}");
    shop.plane.kubectl(&["-n", &own.name, "delete", "imagestate", "supercargo-all"]);
    shop.runs("1.1.0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_is_held_and_nothing_is_patched_after_that_is_seen() {
    let shop = Shop::open("held-all").await;
    let (own, registry) = (shop.plane.namespace("own").await, Registry::start().await);
    let names: Vec<String> = (0..50).map(|n| format!("web-{n}")).collect();
    registry.push("web", "1.0.0", &Image::unique()).await;
    let all: Vec<String> = names
        .iter()
        .map(|name| {
            let mut object = deployment(name, &format!("{}/web:1.0.0", registry.host), json!({MINOR: "minor"}));
            object["spec"]["replicas"] = json!(0);
            object.to_string()
        })
        .collect();
    shop.namespace.create(&all.join("\n---\n")).await;
    let user = audited_user();
    let kubeconfig = shop.plane.kubeconfig_with_token(&format!("{user}-token"), &own.name);
    let in_shop = Setup::in_namespace(&shop.namespace, "1s");
    let setup = Setup { kubeconfig: Some(kubeconfig), user: Some(user), ..in_shop };
    let operator = Operator::start(shop.plane, &setup).await;
    operator.looks().await;
    let wish = |args: &[&str]| shop.wish(ADMIN, &[args, &["--all", "--operator-namespace", &own.name]].concat());
    // Who names another namespace than the operator's holds nothing, and is told so.
    let elsewhere = ["hold", "--all", "--reason", "r", "--operator-namespace", &shop.namespace.name];
    let (well, text) = shop.wish(ADMIN, &elsewhere);
    assert!(!well && text.contains("nothing has taken up the wish"), "{text}");
    // Without a reason nobody holds all.
    assert!(!wish(&["hold"]).0);
    registry.push("web", "1.1.0", &Image::unique()).await;
    eventually("the first are updated", async || (!written(shop.plane, &operator.user).is_empty()).then_some(())).await;
    let (well, text) = wish(&["hold", "--reason", "an incident"]);
    assert!(well && text.starts_with("holding all: everything is left as it is"), "{text}");
    let path = format!("/apis/supercargo.dev/v1alpha1/namespaces/{}/imagestates/supercargo-all", own.name);
    let state = shop.plane.request(Method::GET, &path, None).await.unwrap();
    assert_eq!(state["status"]["held"]["reason"], "an incident");
    // What is under way when it is seen may end.
    operator.looks().await;
    let before = written(shop.plane, &operator.user).len();
    operator.looks().await;
    operator.looks().await;
    assert_eq!(written(shop.plane, &operator.user).len(), before);
    drop(operator);
    let operator = Operator::start(shop.plane, &setup).await;
    operator.looks().await;
    assert_eq!(written(shop.plane, &operator.user).len(), before);
    let plan = shop.says("plan", &["-n", &shop.namespace.name, "--operator-namespace", &own.name]);
    assert!(before == 50 || plan.contains("everything is held by"), "{plan}");
    // One in a tenant's namespace is nobody's word for all.
    let (well, _) = wish(&["resume"]);
    assert!(well);
    eventually("all are updated", async || {
        let mut all = Vec::new();
        for name in &names {
            all.extend(shop.namespace.images("deployments", name).await);
        }
        all.iter().all(|image| image.ends_with(":1.1.0")).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revert_in_git_is_held_by_its_author_until_it_is_resumed() {
    let shop = Shop::open("revert").await;
    let server = GitServer::start().await;
    let before = commits::manifest(&shop.namespace, "web", &shop.image("1.0.0"));
    let repo = server.create("deploy", &[("apps/web.yaml", before.as_bytes())]);
    shop.create("Deployment", |object| {
        object["metadata"]["annotations"]["supercargo.dev/write"] = json!("git:prod");
    })
    .await;
    let setup = commits::setup(&shop.namespace, shop.folder.path(), &server.url("deploy"));
    let operator = Operator::start(shop.plane, &setup).await;
    let in_git = async |tag: &str| shop.in_git(&repo, &before, tag).await;
    let deploy = async |tag: &str| shop.deploy(tag).await;
    shop.push("1.1.0").await;
    in_git("1.1.0").await;
    deploy("1.1.0").await;
    shop.update("1.1.0", "Succeeded").await;
    // Beside what is of others.
    repo.commit(&[("README", Some(b"about"))], "Say what this is", "Bob <bob@example.test>");
    let says = format!("1.1.0 loses orders\n\nThis reverts commit {}.", repo.log()[1].id);
    repo.commit(&[("apps/web.yaml", Some(before.as_bytes()))], &says, PERSON);
    deploy("1.0.0").await;
    let hold = shop.held("1.1.0").await;
    assert_eq!((&hold["by"], &hold["backTo"]), (&json!("Ada"), &json!(shop.image("1.0.0"))), "{hold}");
    shop.push("1.0.5").await;
    operator.looks().await;
    operator.looks().await;
    in_git("1.0.0").await;
    let (well, text) = shop.wish(ADMIN, &["resume", &shop.web()]);
    assert!(well && text.contains("lifted: the hold on"), "{text}");
    in_git("1.1.0").await;
    // And once more.
    repo.commit(&[("apps/web.yaml", Some(before.as_bytes()))], "No", PERSON);
    deploy("1.1.0").await;
    shop.update("1.1.0", "Succeeded").await;
    deploy("1.0.0").await;
    shop.held("1.1.0").await;
    shop.push("1.1.1").await;
    in_git("1.1.1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_is_installed_again_with_its_old_values_is_held() {
    let shop = Shop::open("released").await;
    let mut object = deployment("web", &shop.image("1.0.0"), json!({MINOR: "minor"}));
    object["spec"]["replicas"] = json!(3);
    let chart = shop.folder.path().join("chart");
    let files = [
        ("Chart.yaml", "apiVersion: v2\nname: web\nversion: 0.1.0\n".to_owned()),
        ("templates/web.yaml", object.to_string()),
    ];
    write_below(&chart, files);
    let kubeconfig = shop.plane.kubeconfig(ADMIN);
    let helm = || {
        let mut helm = Command::new(bin("helm"));
        helm.env("KUBECONFIG", &kubeconfig).env("HOME", shop.folder.path());
        let output =
            helm.args(["upgrade", "--install", "-n", &shop.namespace.name, "web"]).arg(&chart).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    helm();
    let operator = shop.operator(QUICK).await;
    shop.push("1.1.0").await;
    shop.update("1.1.0", "Succeeded").await;
    // Helm sets again what differs from its values.
    helm();
    if shop.namespace.images("deployments", "web").await == [shop.image("1.1.0")] {
        // It compares with the release before only where that is all it looks at: then the values must change.
        let again = std::fs::read_to_string(chart.join("templates/web.yaml")).unwrap();
        std::fs::write(chart.join("templates/web.yaml"), again.replace("\"replicas\":3", "\"replicas\":2")).unwrap();
        helm();
    }
    let hold = shop.held("1.1.0").await;
    assert_eq!((&hold["by"], &hold["how"]), (&json!("helm"), &json!("release")), "{hold}");
    let told = shop.event("UpdateHeld").await;
    assert!(told.contains("Helm set container web") && told.contains("(reverted)"), "{told}");
    shop.stays(&operator, "1.0.0").await;
    assert!(shop.wish(ADMIN, &["resume", &shop.web()]).0);
    shop.runs("1.1.0").await;
}
