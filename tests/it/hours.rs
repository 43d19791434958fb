//! `window` and `freeze` on a real API server and a real registry, with a wall clock that is set.

use std::{process::Command, sync::LazyLock};

use http::Method;
use jiff::{
    civil::{Date, Weekday},
    tz::TimeZone,
};
use serde_json::{Value, json};

use supercargo::{clock::SystemClock, ports::Clock as _};

use crate::support::{
    control_plane::{ADMIN, ControlPlane, Namespace, shared},
    eventually,
    objects::{deployment, event_says, events, runs, workload, written},
    operator::{Operator, Setup},
    registry::{Image, Registry},
    shop::QUICK,
    wall_clock::WallClock,
};

/// A Monday that comes soon.
static MONDAY: LazyLock<Date> = LazyLock::new(|| {
    let today = TimeZone::UTC.to_datetime(SystemClock::default().now()).date();
    today.nth_weekday(1, Weekday::Monday).unwrap()
});

/// A day by its place after that.
fn day(after: i64) -> String {
    (*MONDAY + jiff::Span::new().days(after)).to_string()
}

/// A registry with `web:1.0.0`, a namespace with defaults, and a clock.
struct Shop<'p> {
    plane: &'p ControlPlane,
    namespace: Namespace<'p>,
    registry: Registry,
    clock: WallClock,
    setup: Setup,
}

impl Shop<'static> {
    async fn open(name: &str, defaults: Value, time: &str) -> Self {
        let time = &format!("{}T{time}Z", day(0));
        let (plane, registry) = (shared().await, Registry::start().await);
        let namespace = plane.namespace_with(name, defaults).await;
        registry.push("web", "1.0.0", &Image::unique()).await;
        let clock = WallClock::at(time);
        let setup = Setup { through: clock.through(), ..Setup::in_namespace(&namespace, "1s") };
        Self { plane, namespace, registry, clock, setup }
    }

    fn image(&self, tag: &str) -> String {
        format!("{}/web:{tag}", self.registry.host)
    }

    async fn push(&self, tag: &str) {
        self.registry.push("web", tag, &Image::unique()).await;
    }

    async fn create(&self, more: Value) {
        let mut annotations = json!({"supercargo.dev/policy": "minor"});
        annotations.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.namespace.create(&deployment("web", &self.image("1.0.0"), annotations).to_string()).await;
    }

    async fn operator(&self) -> Operator {
        Operator::start(self.plane, &self.setup).await
    }

    /// Waits until it was told that 1.1.0 waits, once.
    async fn waits(&self, says: &str) {
        let said = event_says(&self.namespace, "web", "1.1.0 by policy minor waits").await;
        assert_eq!(said, format!("container web: 1.1.0 by policy minor waits: {says}"));
    }

    async fn updates(&self) -> Vec<Value> {
        let path = format!("/apis/supercargo.dev/v1alpha1/namespaces/{}/imageupdates", self.namespace.name);
        let list = self.plane.request(Method::GET, &path, None).await.unwrap();
        list["items"].as_array().unwrap().clone()
    }

    /// Waits for the phase of the update to a tag.
    async fn update(&self, tag: &str, phase: &str) {
        let to = self.image(tag);
        eventually(&format!("the update to {tag} is {phase}"), async || {
            let is_it =
                |update: &Value| update["spec"]["changes"][0]["to"] == *to && update["status"]["phase"] == phase;
            self.updates().await.iter().any(is_it).then_some(())
        })
        .await;
    }

    /// What a command prints, and what it says beside that.
    fn says(&self, args: &[&str]) -> (String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_supercargo"));
        let output = command.args(args).arg("--kubeconfig").arg(self.plane.kubeconfig(ADMIN)).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(&self.registry.host, "registry");
        (text(output.stdout), text(output.stderr).replace(&self.namespace.name, "namespace"))
    }

    fn plan_at(&self, at: &str) -> (Value, String) {
        let (out, err) = self.says(&["plan", "-n", &self.namespace.name, "--at", at, "-o", "json"]);
        let rows: Vec<Value> = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out} {err}"));
        (rows[0].clone(), err)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_waits_for_its_window_and_starts_when_it_opens() {
    let (monday, tuesday) = (day(0), day(1));
    let shop = Shop::open("window", json!({}), "03:28:00").await;
    shop.create(json!({"supercargo.dev/window": "Mon-Fri 09:00-17:00 Asia/Kolkata"})).await;
    let operator = shop.operator().await;
    shop.push("1.1.0").await;
    let window = "`supercargo.dev/window: Mon-Fri 09:00-17:00 Asia/Kolkata`";
    shop.waits(&format!("outside {window}, opens {monday}T03:30Z (outside-window)")).await;
    let looks = async || operator.metric("supercargo_registry_requests_total", "class=\"tags\"").await;
    let before = looks().await;
    eventually("it is looked at again", async || (looks().await > before + 2.0).then_some(())).await;
    assert_eq!(written(shop.plane, &operator.user), []);
    assert_eq!(shop.updates().await, [] as [Value; 0]);

    // What a person is told of it, also of another time.
    let (row, err) = shop.plan_at(&format!("{monday}T08:58 Asia/Kolkata"));
    assert_eq!((&row["decision"], &row["to"]), (&json!("waiting"), &json!("1.1.0")), "{row}");
    assert_eq!(
        (&row["opens"], &row["reasons"][0]["code"]),
        (&json!(format!("{monday}T03:30:00Z")), &json!("outside-window"))
    );
    let judged =
        format!("ages, windows and freezes are judged as of {monday}T03:28:00Z, on what is in the registry now");
    assert_eq!(err, format!("note: {judged}\n"));
    assert_eq!(shop.plan_at(&format!("{monday}T03:30:00Z")).0["decision"], "update");
    assert_eq!(shop.plan_at(&format!("{monday}T17:00+05:30")).0["opens"], format!("{tuesday}T03:30:00Z"));

    shop.clock.set(&format!("{monday}T03:31:00Z"));
    runs(&shop.namespace, "web", &[&shop.image("1.1.0")]).await;
    let waits = events(&shop.namespace, "web").await.into_iter().filter(|(reason, _)| reason == "UpdateWaiting");
    assert_eq!(waits.count(), 1, "once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_outlives_a_kill_and_ends() {
    let (freeze, end) = (format!("{}..{}", day(-1), day(2)), day(3));
    let shop = Shop::open("freeze", json!({"supercargo.dev/freeze": freeze}), "18:00:00").await;
    shop.create(json!({"supercargo.dev/freeze": "never"})).await;
    let operator = shop.operator().await;
    shop.push("1.1.0").await;
    shop.waits(&format!("frozen by `supercargo.dev/freeze: {freeze}` on the Namespace, opens {end}T00:00Z (frozen)"))
        .await;
    operator.process.signal("KILL");
    let again = shop.operator().await;
    eventually("it waits again", async || again.process.output().contains("(frozen)").then_some(())).await;
    for user in [&operator.user, &again.user] {
        assert_eq!(written(shop.plane, user), []);
    }
    shop.clock.set(&format!("{end}T00:01:00Z"));
    runs(&shop.namespace, "web", &[&shop.image("1.1.0")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_does_not_open_what_its_namespace_closes() {
    let defaults = json!({"supercargo.dev/window": "Sat,Sun 00:00-24:00", "supercargo.dev/freeze": "Mon 10:00-12:00"});
    let shop = Shop::open("layers", defaults, "11:00:00").await;
    shop.create(json!({"supercargo.dev/window": "always", "supercargo.dev/freeze": "never"})).await;
    let operator = shop.operator().await;
    shop.push("1.1.0").await;
    let said = event_says(&shop.namespace, "web", "1.1.0 by policy minor waits").await;
    let saturday = day(5);
    let closed = format!("`supercargo.dev/freeze: Mon 10:00-12:00` on the Namespace, opens {saturday}T00:00Z");
    assert!(said.contains(&closed), "{said}");
    assert_eq!(written(shop.plane, &operator.user), []);
    let (row, _) = shop.plan_at(&format!("{}T13:00:00Z", day(0)));
    assert_eq!(row["reasons"][0]["code"], "outside-window", "{row}");
    let message = row["reasons"][0]["message"].as_str().unwrap();
    assert!(message.contains("`supercargo.dev/window: Sat,Sun 00:00-24:00` on the Namespace"), "{message}");
    assert_eq!(shop.plan_at(&format!("{saturday}T13:00:00Z")).0["decision"], "update");

    // Together they may leave nothing: that is told at once.
    shop.namespace
        .merge("deployments", "web", json!({"metadata": {"annotations": {"supercargo.dev/window": "Mon 09:00-17:00"}}}))
        .await;
    let said = event_says(&shop.namespace, "web", "never-opens").await;
    assert!(
        said.contains("no time in the next 400 days is left by `supercargo.dev/window: Mon 09:00-17:00` and"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_lists_each_gate() {
    let shop = Shop::open("gates", json!({}), "11:00:00").await;
    shop.push("1.1.0").await;
    shop.create(json!({
        "supercargo.dev/suspend": "true",
        "supercargo.dev/window": "2099-01-01..2100-01-01; 00:00-24:00",
        "supercargo.dev/freeze": "2099-01-01",
    }))
    .await;
    let (text, _) = shop.says(&["explain", "-n", &shop.namespace.name, "deployment/web"]);
    insta::assert_snapshot!(text.replace(&shop.namespace.name, "namespace"));
    let (json, _) = shop.says(&["explain", "-n", &shop.namespace.name, "deployment/web", "-o", "json"]);
    let rows: Value = serde_json::from_str(&json).unwrap();
    let by = json!(["`supercargo.dev/suspend`"]);
    assert_eq!(rows[0]["gates"][2], json!({"gate": "suspend", "open": false, "by": by}), "{rows}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_that_began_inside_the_window_goes_on_outside() {
    let mut shop = Shop::open("begun", json!({}), "16:00:00").await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, QUICK).unwrap();
    shop.setup = shop.setup.with(&["--config", file.path().to_str().unwrap()]);
    let annotations = json!({"supercargo.dev/policy": "minor", "supercargo.dev/window": "Mon-Fri 09:00-17:00"});
    let mut object = workload("Deployment", "web", annotations, &[("web", &shop.image("1.0.0"))]);
    object["spec"]["replicas"] = json!(1);
    object["spec"]["paused"] = json!(true);
    shop.namespace.create(&object.to_string()).await;
    let operator = shop.operator().await;
    shop.push("1.1.0").await;
    shop.update("1.1.0", "Progressing").await;
    shop.clock.set(&format!("{}T17:00:00Z", day(0)));
    shop.push("1.2.0").await;
    shop.namespace.merge("deployments", "web", json!({"spec": {"paused": false}})).await;
    shop.update("1.1.0", "Succeeded").await;
    event_says(&shop.namespace, "web", "1.2.0 by policy minor waits: outside").await;
    let images: Vec<String> = written(shop.plane, &operator.user).into_iter().map(|(_, image)| image).collect();
    assert_eq!(images, [shop.image("1.1.0")]);
}
