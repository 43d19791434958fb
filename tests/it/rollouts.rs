//! Rollouts on a real API server with its controllers, and kwok as kubelet: an update runs, or does not, and why.

use http::Method;
use serde_json::{Value, json};

use supercargo::domain::image::Digest;

use crate::support::{
    commits, eventually,
    git_server::GitServer,
    objects::{runs, written},
    operator::Operator,
    registry::{Image, Registry},
    shop::{QUICK, Shop},
};

pub(crate) fn code(update: &Value) -> &Value {
    &update["status"]["reason"]["code"]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_runs_has_succeeded_and_nothing_is_followed_any_more() {
    let shop = Shop::open("runs").await;
    shop.create("Deployment", |_| ()).await;
    let operator = shop.operator(QUICK).await;
    shop.push("1.1.0").await;
    let update = shop.update("1.1.0", "Succeeded").await;
    assert_eq!(*code(&update), Value::Null, "{update}");
    assert_eq!(update["status"]["conditions"][0]["status"], "True");
    assert_eq!(operator.metric("supercargo_rollouts_total", "succeeded").await, 1.0);
    assert_eq!(operator.metric("supercargo_rollouts_in_flight", "").await, 0.0);
    // One LIST of revisions, one of pods; no watch is left.
    let asked = || ["/replicasets", "/pods"].map(|what| shop.asked(&operator.user, what));
    eventually("the watch is over", async || (asked() == [1, 2]).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_is_paused_it_has_not_failed_and_a_newer_one_waits() {
    let shop = Shop::open("paused").await;
    shop.create("Deployment", |object| object["spec"]["paused"] = json!(true)).await;
    let operator = shop.operator(QUICK).await;
    shop.push("1.1.0").await;
    shop.update("1.1.0", "Progressing").await;
    shop.push("1.2.0").await;
    let looks = async || operator.metric("supercargo_registry_requests_total", "class=\"tags\"").await;
    let before = looks().await;
    eventually("it is seen", async || (looks().await > before + 2.0).then_some(())).await;
    assert_eq!(shop.namespace.images("deployments", "web").await, [shop.image("1.1.0")]);
    let plan = shop.says("plan", &["-n", &shop.namespace.name]);
    assert!(plan.contains("1.1.0 is being rolled out") && plan.contains("waiting"), "{plan}");
    shop.namespace.merge("deployments", "web", json!({"spec": {"paused": false}})).await;
    shop.update("1.1.0", "Succeeded").await;
    shop.update("1.2.0", "Succeeded").await;
    assert_eq!(shop.told("RolloutFailed").await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_run_by_its_own_fault_is_told_and_not_set_again_and_the_next_goes() {
    let shop = Shop::open("broken").await;
    shop.create("Deployment", |_| ()).await;
    let operator = shop.operator(QUICK).await;
    shop.push("1.2.0-broken").await;
    let update = shop.update("1.2.0-broken", "Failed").await;
    assert_eq!(code(&update), "rollout-failed");
    let message = shop.event("RolloutFailed").await;
    assert!(message.contains("container web: CrashLoopBackOff") && message.contains("pod web-"), "{message}");
    assert_eq!(operator.metric("supercargo_rollouts_total", "failed").await, 1.0);
    let bad = eventually("it is in quarantine", async || shop.quarantined().await.pop()).await;
    assert_eq!((&bad["container"], &bad["to"]), (&json!("web"), &json!(shop.image("1.2.0-broken"))));
    let plan = shop.says("plan", &["-n", &shop.namespace.name]);
    assert!(plan.contains("CrashLoopBackOff"), "{plan}");
    let counted = async || operator.metric("supercargo_problems", "rollout-failed").await == 1.0;
    eventually("it is counted", async || counted().await.then_some(())).await;
    // Put back by hand it stays, until somebody lets it go to what is next best, or there is a newer one.
    shop.push("1.1.0").await;
    shop.namespace.plane.kubectl(&[
        "-n",
        &shop.namespace.name,
        "set",
        "image",
        "deployment/web",
        &format!("web={}", shop.image("1.0.0")),
    ]);
    shop.event("UpdateHeld").await;
    let resumed = shop.says("resume", &[&format!("{}/deployment/web", shop.namespace.name), "--keep-quarantine"]);
    assert!(resumed.contains("lifted: the hold on"), "{resumed}");
    let update = shop.update("1.1.0", "Succeeded").await;
    let passed = &update["spec"]["changes"][0]["evidence"]["passed"][0];
    assert_eq!((&passed["tag"], &passed["code"]), (&json!("1.2.0-broken"), &json!("quarantined")), "{update}");
    let explained = shop.says("explain", &[&format!("{}/deployment/web", shop.namespace.name)]);
    assert!(explained.contains("quarantined"), "{explained}");
    shop.push("1.3.0").await;
    shop.update("1.3.0", "Succeeded").await;
    assert_eq!(shop.quarantined().await.len(), 1);
    assert_eq!(shop.told("RolloutFailed").await.len(), 1, "told once");
}

/// Of a Deployment whose pods no node takes, or a quota refuses.
#[rstest::rstest]
#[case::no_node("no-node", "Unschedulable")]
#[case::quota("quota", "exceeded quota")]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_its_fault_is_told_once_and_is_in_no_quarantine(#[case] name: &str, #[case] why: &str) {
    let shop = Shop::open(name).await;
    shop.create("Deployment", |object| {
        if name == "no-node" {
            object["spec"]["template"]["spec"]["nodeSelector"] = json!({"no": "node"});
        }
    })
    .await;
    if name == "quota" {
        let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}});
        shop.namespace.create(&quota.to_string()).await;
    }
    let operator = shop.operator("rollout: {settle: 1s, fault: 1s, stall: 20s}\n").await;
    shop.push("1.1.0").await;
    let message = shop.event("RolloutStalled").await;
    assert!(message.contains(why), "{message}");
    let update = shop.update("1.1.0", "Failed").await;
    assert_eq!(code(&update), "rollout-failed");
    assert_eq!(shop.quarantined().await, Vec::<Value>::new());
    assert_eq!(shop.told("RolloutStalled").await.len(), 1);
    assert_eq!(operator.metric("supercargo_rollouts_total", "stalled").await, 1.0);
}

#[rstest::rstest]
#[case::stateful_set("StatefulSet", "statefulsets", json!({}), Value::Null)]
#[case::partition("StatefulSet", "statefulsets", json!({"updateStrategy": {"rollingUpdate": {"partition": 2}}}), Value::Null)]
#[case::stateful_set_on_delete("StatefulSet", "statefulsets", json!({"updateStrategy": {"type": "OnDelete"}}), json!("not-followed"))]
#[case::daemon_set("DaemonSet", "daemonsets", json!({}), Value::Null)]
#[case::daemon_set_on_delete("DaemonSet", "daemonsets", json!({"updateStrategy": {"type": "OnDelete"}}), json!("not-followed"))]
#[case::cron_job("CronJob", "cronjobs", json!({}), json!("not-followed"))]
#[case::no_replicas("Deployment", "deployments", json!({"replicas": 0}), json!("not-proved"))]
#[tokio::test(flavor = "multi_thread")]
async fn each_kind_is_followed_as_it_can_be(
    #[case] kind: &str,
    #[case] plural: &str,
    #[case] spec: Value,
    #[case] expected: Value,
) {
    let shop = Shop::open("kinds").await;
    shop.create(kind, |object| {
        for (key, value) in spec.as_object().unwrap() {
            object["spec"][key] = value.clone();
        }
    })
    .await;
    let _operator = shop.operator(QUICK).await;
    shop.push("1.1.0").await;
    let update = shop.update("1.1.0", "Succeeded").await;
    assert_eq!(*code(&update), expected, "{update}");
    if kind != "CronJob" {
        assert_eq!(shop.namespace.images(plural, "web").await, [shop.image("1.1.0")]);
    }
}

/// The registry has the image of a pod that cannot be pulled, or has lost it.
#[rstest::rstest]
#[case::there(true)]
#[case::lost(false)]
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_pulled_is_the_images_fault_where_the_registry_does_not_have_it(#[case] is_there: bool) {
    let shop = Shop::open("pull").await;
    shop.create("Deployment", |object| {
        object["metadata"]["annotations"]["supercargo.dev/pin"] = json!("digest");
    })
    .await;
    let operator = shop.operator("rollout: {settle: 1s, fault: 3s, stall: 20s}\n").await;
    shop.push("1.1.0-unpullable").await;
    eventually("it is being rolled out", async || {
        let images = shop.namespace.images("deployments", "web").await;
        images[0].contains("unpullable@sha256:").then_some(())
    })
    .await;
    if !is_there {
        let image = shop.namespace.images("deployments", "web").await.remove(0);
        shop.registry.lose_manifest("web", &Digest::parse(image.split_once('@').unwrap().1).unwrap());
    }
    let update = eventually(&format!("it has failed; {}", operator.process.output()), async || {
        shop.all("imageupdates").await.into_iter().find(|update| update["status"]["phase"] == "Failed")
    })
    .await;
    assert!(update["status"]["reason"]["message"].as_str().unwrap().contains("ImagePullBackOff"), "{update}");
    assert_eq!(shop.quarantined().await.len(), usize::from(!is_there));
    if !is_there {
        // The tag is pushed anew: it points to another image now, which nobody has tried yet.
        shop.namespace.delete("deployments", "web").await;
        shop.create("Deployment", |_| ()).await;
        shop.push("1.1.0-unpullable").await;
        let image = shop.image("1.1.0-unpullable");
        eventually("it is set", async || {
            (shop.namespace.images("deployments", "web").await == [&*image]).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_old_pods_go_first_those_of_the_new_image_are_watched() {
    let shop = Shop::open("recreate").await;
    shop.create("Deployment", |object| object["spec"]["strategy"] = json!({"type": "Recreate"})).await;
    eventually("it runs", async || {
        let web = shop.namespace.get("deployments", "web").await;
        (web["status"]["availableReplicas"] == 3).then_some(())
    })
    .await;
    let _operator = shop.operator(QUICK).await;
    shop.push("1.1.0-broken").await;
    let update = shop.update("1.1.0-broken", "Failed").await;
    assert!(update["status"]["reason"]["message"].as_str().unwrap().contains("CrashLoopBackOff"), "{update}");
}

/// What has happened when the process is killed.
#[derive(Debug, Clone, Copy)]
enum Point {
    Written,
    Recorded,
    RevisionsRead,
    PodsRead,
    PodsThere,
}

impl Shop<'static> {
    /// How often a user asked for these.
    fn asked(&self, user: &str, what: &str) -> usize {
        self.plane.audit(user).iter().filter(|it| it.uri.contains(what)).count()
    }

    /// Whether the rollout of a tag has come that far, where these many requests had been made before.
    async fn is_at(&self, point: Point, tag: &str, user: &str, before: [usize; 2]) -> bool {
        match point {
            Point::Written => self.namespace.images("deployments", "web").await == [self.image(tag)],
            Point::Recorded => {
                let all = self.all("imageupdates").await;
                let mut all = all.iter().filter(|update| update["spec"]["changes"][0]["to"] == self.image(tag));
                all.any(|update| update["status"]["phase"] == "Progressing")
            }
            Point::RevisionsRead => self.asked(user, "/replicasets") > before[0],
            Point::PodsRead => self.asked(user, "/pods") > before[1],
            Point::PodsThere => {
                let path = format!("/api/v1/namespaces/{}/pods", self.namespace.name);
                let pods = self.plane.request(Method::GET, &path, None).await.unwrap();
                let image = |pod: &Value| pod["spec"]["containers"][0]["image"] == self.image(tag);
                pods["items"].as_array().unwrap().iter().any(image)
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_while_it_rolls_out_goes_on_and_tells_its_end_once() {
    let shop = Shop::open("killed").await;
    shop.create("Deployment", |_| ()).await;
    let start = || shop.operator("rollout: {settle: 1s, fault: 2s, stall: 1h}\n");
    let mut operator = start().await;
    let points = [Point::Written, Point::Recorded, Point::RevisionsRead, Point::PodsRead, Point::PodsThere];
    for (n, point) in (1..).zip(points) {
        for (tag, phase) in [(format!("1.{n}.0-broken"), "Failed"), (format!("1.{n}.1"), "Succeeded")] {
            let before = ["/replicasets", "/pods"].map(|what| shop.asked(&operator.user, what));
            shop.push(&tag).await;
            let is_there = async || shop.is_at(point, &tag, &operator.user, before).await.then_some(());
            eventually(&format!("{tag} is at {point:?}"), is_there).await;
            operator.process.signal("KILL");
            drop(operator);
            operator = start().await;
            shop.update(&tag, phase).await;
            assert_eq!(written(shop.plane, &operator.user).len(), 0, "{tag} is written twice");
        }
    }
    let ends = |update: &Value| {
        let log = update["status"]["log"].as_array().unwrap();
        log.iter().filter(|entry| ["Succeeded", "Failed"].iter().any(|end| entry["phase"] == *end)).count()
    };
    let updates = shop.all("imageupdates").await;
    assert!(updates.len() == 10 && updates.iter().all(|update| ends(update) == 1), "{updates:?}");
    let mut told = shop.told("RolloutFailed").await;
    told.sort();
    let of = |n: usize| told.iter().filter(|message| message.contains(&format!("1.{n}.0-broken"))).count();
    assert!(told.len() == 5 && (1..=5).all(|n| of(n) == 1), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_is_followed_from_when_the_cluster_has_it() {
    let shop = Shop::open("committed").await;
    let server = GitServer::start().await;
    let before = commits::manifest(&shop.namespace, "web", &shop.image("1.0.0"));
    let repo = server.create("deploy", &[("apps/web.yaml", before.as_bytes())]);
    let written = json!("git:prod");
    shop.create("Deployment", |object| object["metadata"]["annotations"]["supercargo.dev/write"] = written).await;
    let setup = commits::setup(&shop.namespace, shop.folder.path(), &server.url("deploy"));
    let path = shop.folder.path().join("config.yaml");
    std::fs::write(&path, std::fs::read_to_string(&path).unwrap() + QUICK).unwrap();
    let operator = Operator::start(shop.plane, &setup).await;
    let deploy = async |tag: &str| {
        shop.update(tag, "InGit").await;
        assert_eq!(String::from_utf8(repo.read("apps/web.yaml")).unwrap(), before.replace("1.0.0", tag));
        assert_eq!(operator.metric("supercargo_rollouts_in_flight", "").await, 0.0, "the cluster does not have it yet");
        let containers = json!([{"name": "web", "image": shop.image(tag)}]);
        let spec = json!({"spec": {"template": {"spec": {"containers": containers}}}});
        shop.namespace.merge("deployments", "web", spec).await;
    };
    shop.push("1.1.0-broken").await;
    deploy("1.1.0-broken").await;
    assert_eq!(*code(&shop.update("1.1.0-broken", "Failed").await), "rollout-failed");
    assert_eq!(shop.quarantined().await.len(), 1);
    shop.push("1.2.0").await;
    deploy("1.2.0").await;
    shop.update("1.2.0", "Succeeded").await;
    let rollouts = async |outcome: &str| operator.metric("supercargo_rollouts_total", outcome).await;
    assert_eq!((rollouts("failed").await, rollouts("succeeded").await), (1.0, 1.0));
    assert_eq!(repo.log().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_an_admission_rewrites_the_image_there_is_one_update_and_nobody_is_said_to_have_moved_it_back() {
    let shop = Shop::open("mirror").await;
    let mirror = Registry::start().await;
    mirror.push_tags("web", ["1.0.0", "1.1.0"]).await;
    let expression = format!(
        "[JSONPatch{{op: \"replace\", path: \"/spec/template/spec/containers/0/image\", \
         value: object.spec.template.spec.containers[0].image.replace(\"{}\", \"{}\")}}]",
        shop.registry.host, mirror.host
    );
    let name = &shop.namespace.name;
    let api = "/apis/admissionregistration.k8s.io/v1";
    let rewriting = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy", "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["deployments"]}]},
            "failurePolicy": "Fail", "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding", "metadata": {"name": name},
        "spec": {"policyName": name, "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}},
    });
    shop.create("Deployment", |_| ()).await;
    for (plural, object) in [("mutatingadmissionpolicies", &rewriting), ("mutatingadmissionpolicybindings", &binding)] {
        shop.plane.request(Method::POST, &format!("{api}/{plural}"), Some(object)).await.unwrap();
    }
    eventually("the policy is in force", async || {
        let path = format!("/apis/apps/v1/namespaces/{name}/deployments/web?dryRun=All");
        let answer = shop.plane.request(Method::PATCH, &path, Some(&json!({"metadata": {"labels": {"a": "b"}}}))).await;
        let image = answer.ok()?["spec"]["template"]["spec"]["containers"][0]["image"].clone();
        image.as_str()?.starts_with(&mirror.host).then_some(())
    })
    .await;
    let operator = shop.operator(QUICK).await;
    shop.push("1.1.0").await;
    let image = format!("{}/web:1.1.0", mirror.host);
    runs(&shop.namespace, "web", &[&image]).await;
    let update = eventually("it has succeeded", async || {
        shop.all("imageupdates").await.into_iter().find(|update| update["status"]["phase"] == "Succeeded")
    })
    .await;
    assert_eq!(update["spec"]["changes"][0]["to"], image);
    mirror.push("web", "1.2.0", &Image::unique()).await;
    runs(&shop.namespace, "web", &[&format!("{}/web:1.2.0", mirror.host)]).await;
    assert_eq!(written(shop.plane, &operator.user).len(), 2);
    assert!(!operator.process.output().contains("moved container"), "{}", operator.process.output());
}
