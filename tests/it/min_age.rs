//! `min-age` on a real API server and a real registry.

use std::{path::Path, process::Command, time::Duration};

use http::Method;
use jiff::{RoundMode, SignedDuration, Timestamp, TimestampRound, Unit};
use serde_json::{Value, json};

use supercargo::{clock::SystemClock, domain::image::Digest, ports::Clock as _};

use crate::support::{
    control_plane::{ControlPlane, Namespace, Parts, audited_user, shared},
    eventually,
    objects::{deployment, event_says, events, runs},
    operator::{Operator, Setup},
    registry::{Image, Registry},
};

/// A registry with `web:1.0.0`, a namespace that is the operator's own too, and how it is started there.
struct Shop<'p> {
    plane: &'p ControlPlane,
    namespace: Namespace<'p>,
    registry: Registry,
    setup: Setup,
}

impl Shop<'static> {
    async fn open(name: &str) -> Self {
        let (plane, registry) = (shared().await, Registry::start().await);
        let namespace = plane.namespace(name).await;
        Self::on(plane, namespace, registry).await
    }
}

impl<'p> Shop<'p> {
    async fn on(plane: &'p ControlPlane, namespace: Namespace<'p>, registry: Registry) -> Self {
        registry.push("web", "1.0.0", &Image::unique()).await;
        let user = audited_user();
        let kubeconfig = plane.kubeconfig_with_token(&format!("{user}-token"), &namespace.name);
        let setup = Setup { user: Some(user), kubeconfig: Some(kubeconfig), ..Setup::in_namespace(&namespace, "1s") };
        Self { plane, namespace, registry, setup }
    }

    fn image(&self, tag: &str) -> String {
        format!("{}/web:{tag}", self.registry.host)
    }

    async fn push(&self, tag: &str) -> String {
        let digest: Digest = self.registry.push("web", tag, &Image::unique()).await;
        format!("{}@{digest}", self.image(tag))
    }

    async fn create(&self, more: Value) {
        let mut annotations = json!({"supercargo.dev/policy": "minor"});
        annotations.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.namespace.create(&deployment("web", &self.image("1.0.0"), annotations).to_string()).await;
    }

    async fn histories(&self) -> Vec<Value> {
        let path = format!("/apis/supercargo.dev/v1alpha1/namespaces/{}/imagehistories", self.namespace.name);
        let list = self.plane.request(Method::GET, &path, None).await.unwrap();
        list["items"].as_array().unwrap().clone()
    }

    /// When the tag was first seen, as it is remembered.
    async fn first_seen(&self, tag: &str) -> Timestamp {
        eventually(&format!("{tag} is remembered"), async || {
            let histories = self.histories().await;
            let mut tags = histories.iter().flat_map(|history| history["status"]["tags"].as_array().cloned()).flatten();
            tags.find(|seen| seen["tag"] == tag)?["firstSeen"].as_str()?.parse().ok()
        })
        .await
    }

    fn supercargo(&self, args: &[&str]) -> (String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_supercargo"))
            .args(args)
            .args(["--kubeconfig".as_ref(), self.setup.kubeconfig.as_ref().unwrap().as_os_str()])
            .env_remove("KUBERNETES_SERVICE_HOST")
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (text(output.stdout), text(output.stderr))
    }

    fn row(&self) -> Value {
        let (out, err) = self.supercargo(&["plan", "-n", &self.namespace.name, "-o", "json"]);
        let rows: Vec<Value> = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out} {err}"));
        rows[0].clone()
    }
}

fn now() -> Timestamp {
    SystemClock::default().now()
}

fn config(folder: &Path, text: &str) -> String {
    let file = folder.join("config.yaml");
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_waits_is_announced_and_goes_with_its_digest_when_it_is_old_enough() {
    let shop = Shop::open("min-age").await;
    shop.create(json!({"supercargo.dev/min-age": "6s"})).await;
    let operator = Operator::start(shop.plane, &shop.setup).await;
    let pushed = shop.push("1.1.0").await;
    let said = event_says(&shop.namespace, "web", "1.1.0 by policy minor waits until").await;
    assert!(said.ends_with(": at least 6s by `supercargo.dev/min-age: 6s` (too-young)"), "{said}");
    let first_seen = shop.first_seen("1.1.0").await;
    let row = shop.row();
    if now() < first_seen + SignedDuration::from_secs(5) {
        assert_eq!((&row["decision"], &row["to"]), (&json!("waiting"), &json!("1.1.0")), "{row}");
        let opens: Timestamp = row["opens"].as_str().unwrap().parse().unwrap();
        assert_eq!(opens.as_second(), (first_seen + SignedDuration::from_secs(6)).as_second());
        assert_eq!(row["reasons"][0]["code"], "too-young");
    }
    runs(&shop.namespace, "web", &[&pushed]).await;
    let at = now();
    assert!(at >= first_seen + SignedDuration::from_secs(6), "{at} {first_seen}");
    let waits = events(&shop.namespace, "web").await.into_iter().filter(|(reason, _)| reason == "UpdateWaiting");
    assert_eq!(waits.count(), 1, "once");
    let log = operator.process.output();
    assert_eq!(log.lines().filter(|line| line.contains(r#""message":"waits""#)).count(), 1, "{log}");
    let [history] = &shop.histories().await[..] else { panic!("one object a repository") };
    assert_eq!(history["spec"]["repository"], format!("{}/web", shop.registry.host));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_does_not_make_a_version_younger_and_one_who_deletes_what_is_remembered_does() {
    let shop = Shop::open("min-age-kill").await;
    shop.create(json!({"supercargo.dev/min-age": "1h"})).await;
    let operator = Operator::start(shop.plane, &shop.setup).await;
    shop.push("1.1.0").await;
    let first_seen = shop.first_seen("1.1.0").await;
    operator.process.signal("KILL");
    drop(operator);
    let operator = Operator::start(shop.plane, &shop.setup).await;
    event_says(&shop.namespace, "web", "1.1.0 by policy minor waits until").await;
    assert_eq!(shop.first_seen("1.1.0").await, first_seen);
    assert_eq!(
        shop.row()["opens"].as_str().unwrap()[..19],
        (first_seen + SignedDuration::from_hours(1)).to_string()[..19]
    );
    // An hour ago, says somebody who may write there: it is their word that counts.
    let [history] = &shop.histories().await[..] else { panic!("one object") };
    let name = history["metadata"]["name"].as_str().unwrap();
    shop.namespace.delete("imagehistories", name).await;
    let again = eventually("it is seen again", async || {
        let histories = shop.histories().await;
        let seen = histories.first()?["status"]["tags"][0]["firstSeen"].as_str()?.parse::<Timestamp>().ok()?;
        (seen > first_seen).then_some(seen)
    })
    .await;
    assert!(again > first_seen);
    drop(operator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_sets_a_floor_that_no_annotation_takes_away() {
    let mut shop = Shop::open("min-age-guard").await;
    let folder = tempfile::tempdir().unwrap();
    let guards = format!("guards: [{{namespaces: ['{}'], minAge: 72h}}]\n", shop.namespace.name);
    let file = config(folder.path(), &guards);
    shop.setup = shop.setup.clone().with(&["--config", &file]);
    shop.create(json!({"supercargo.dev/min-age": "0s"})).await;
    let _operator = Operator::start(shop.plane, &shop.setup).await;
    shop.push("1.1.0").await;
    let said = event_says(&shop.namespace, "web", "1.1.0 by policy minor waits until").await;
    let guard = format!("at least 3d by the guard of the namespaces `{}`", shop.namespace.name);
    assert!(said.contains(&guard), "{said}");
    shop.first_seen("1.1.0").await;
    let workload = format!("{}/deployment/web", shop.namespace.name);
    let (out, err) = shop.supercargo(&["explain", &workload, "--config", &file]);
    assert!(out.contains(&guard) && out.contains("too-young"), "{out} {err}");
    shop.namespace
        .merge("deployments", "web", json!({"metadata": {"annotations": {"supercargo.dev/min-aeg": "0s"}}}))
        .await;
    event_says(&shop.namespace, "web", "is `supercargo.dev/min-age` meant?").await;
    assert_eq!(shop.namespace.images("deployments", "web").await, [shop.image("1.0.0")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_kinds_an_age_is_a_problem_until_they_are_there() {
    let plane = ControlPlane::start_without_kinds(Parts::Api).await;
    let namespace = plane.namespace_with("min-age-kinds", json!({})).await;
    let shop = Shop::on(&plane, namespace, Registry::start().await).await;
    shop.create(json!({"supercargo.dev/min-age": "1s"})).await;
    let _operator = Operator::start(shop.plane, &shop.setup).await;
    let pushed = shop.push("1.1.0").await;
    event_says(&shop.namespace, "web", "(records-missing)").await;
    assert_eq!(shop.namespace.images("deployments", "web").await, [shop.image("1.0.0")]);
    plane.define_kinds().await;
    runs(&shop.namespace, "web", &[&pushed]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plan_and_explain_show_when_it_opens() {
    let shop = Shop::open("min-age-shown").await;
    shop.create(json!({"supercargo.dev/min-age": "3d"})).await;
    for tag in ["1.1.0", "1.2.0"] {
        shop.push(tag).await;
    }
    let operator = Operator::start(shop.plane, &shop.setup).await;
    shop.first_seen("1.2.0").await;
    operator.process.signal("KILL");
    // What is remembered is made to be of a known time: as old as one day and four hours, and as nothing.
    let [history] = &shop.histories().await[..] else { panic!("one object") };
    let now = now();
    let ago = |hours: i64| (now - SignedDuration::from_hours(hours)).to_string();
    let mut tags = history["status"]["tags"].clone();
    for seen in tags.as_array_mut().unwrap() {
        let hours = if seen["tag"] == "1.1.0" { 28 } else { 1 };
        seen["firstSeen"] = json!(ago(hours));
    }
    let name = history["metadata"]["name"].as_str().unwrap();
    let path = format!("/apis/supercargo.dev/v1alpha1/namespaces/{}/imagehistories/{name}/status", shop.namespace.name);
    let patch = json!({"status": {"tags": tags}});
    shop.plane.request(Method::PATCH, &path, Some(&patch)).await.unwrap();

    let fixed = |text: String| {
        let mut text = text.replace(&shop.registry.host, "HOST").replace(&shop.namespace.name, "shop");
        for (hours, shown) in [(28, "1.1.0's TIME"), (1, "1.2.0's TIME"), (-44, "1.1.0 OPENS"), (-71, "1.2.0 OPENS")] {
            let at = now - SignedDuration::from_hours(hours);
            // What opens is said to open not before it does.
            let mode = if hours < 0 { RoundMode::Ceil } else { RoundMode::Trunc };
            let at = at.round(TimestampRound::new().smallest(Unit::Minute).mode(mode)).unwrap();
            text = text.replace(&at.strftime("%Y-%m-%dT%H:%MZ").to_string(), shown);
        }
        let at = now + SignedDuration::from_hours(44);
        text = text.replace(&at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(), "1.1.0 OPENS");
        // How wide columns are depends on the port and the namespace.
        while text.contains("   ") {
            text = text.replace("   ", "  ");
        }
        text
    };
    let (plan, err) = shop.supercargo(&["plan", "-n", &shop.namespace.name]);
    assert_eq!(err, "");
    insta::assert_snapshot!("min_age_plan", fixed(plan));
    let workload = format!("{}/deployment/web", shop.namespace.name);
    let (explain, err) = shop.supercargo(&["explain", &workload]);
    assert_eq!(err, "");
    insta::assert_snapshot!("min_age_explain", fixed(explain));
    let opens: Timestamp = shop.row()["opens"].as_str().unwrap().parse().unwrap();
    assert_eq!(opens.as_second(), (now + SignedDuration::from_hours(44)).as_second());
    assert!(opens.duration_since(now) > SignedDuration::try_from(Duration::from_secs(43 * 3600)).unwrap());
}
