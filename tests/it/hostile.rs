//! Everything that comes from outside may be nonsense: the process stays up, others are served, nothing leaks.

use std::time::Duration;

use futures::{StreamExt, stream};
use serde_json::{Map, Value, json};

use crate::support::{
    attacks,
    control_plane::shared,
    eventually, free_port,
    front::{Front, Way},
    http,
    objects::{deployment, event_says, events, policy, runs, workload},
    operator::{Operator, RESIDENT, Setup},
    registry::{Image, OCI_MANIFEST, Registry},
    victim::Victim,
};

const SECRET: &str = "the-hooks-own-secret";

/// Annotations that no one means well with, by workload.
fn absurd() -> Vec<(String, Value)> {
    let mut all: Vec<(String, Value)> = Vec::new();
    let unknown: Map<String, Value> = (0..1000).map(|n| (format!("supercargo.dev/key-{n}"), json!("x"))).collect();
    let mut with_policy = unknown.clone();
    with_policy.insert("supercargo.dev/policy".into(), json!("patch"));
    all.push(("keys".into(), Value::Object(with_policy)));
    let long = "1||".repeat(34_000);
    let globs = format!("glob:{}x{}", "{a,".repeat(5_000), "}".repeat(5_000));
    for (n, text) in [
        "x".repeat(100 << 10),
        "\u{0}\u{1b}[2J\u{7}\r\n\u{202e}minor\u{85}".replace('\u{0}', "\u{1}"),
        globs,
        format!("glob:{}", "*a".repeat(20_000)),
        "regex:(a{1000}){1000}".into(),
        "regex:((((a{100}){100}){100}){100}){100}".into(),
        "regex:(a*)*(a*)*(a*)*$".into(),
        format!("regex:{}", "(".repeat(50_000)),
        format!("regex:(?<order>{})", "\\w{1,999}".repeat(500)),
        format!("semver:{long}"),
        format!("semver:>={}", "9".repeat(90_000)),
        format!("named:{}", "../".repeat(1000)),
        "newest:[".into(),
        "digest:".into(),
    ]
    .into_iter()
    .enumerate()
    {
        all.push((format!("policy-{n}"), policy(&text)));
    }
    for (n, (key, text)) in [
        ("poll", "every 99999999999999999999999999s".to_owned()),
        ("poll", format!("{} * * * *", "0,".repeat(20_000))),
        ("poll", "TZ=../../etc/passwd * * * * *".into()),
        ("allow", "(a{1000}){1000}".into()),
        ("ignore", "{".repeat(30_000)),
        ("ignore", "a,".repeat(40_000)),
        ("containers", "[".repeat(30_000)),
        ("last-update", "[".repeat(90_000)),
        (
            "last-update",
            r#"{"id":"x","at":"2026-01-01T00:00:00Z","changes":[{"container":"web","from":"","to":":"}]}"#.into(),
        ),
        ("flavour", "\u{1b}]0;x\u{7}".repeat(1000)),
        ("write", "git:../../x".into()),
        ("policy.*", "major".into()),
    ]
    .into_iter()
    .enumerate()
    {
        let mut annotations = policy("patch");
        annotations[format!("supercargo.dev/{key}")] = json!(text);
        all.push((format!("option-{n}"), annotations));
    }
    // The API server does not take a key such as `policy.*`.
    all.retain(|(_, annotations)| annotations.as_object().unwrap().keys().all(|key| !key.contains('*')));
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_on_a_workload_or_from_a_registry_stops_nobody_else() {
    let (plane, registry) = (shared().await, Registry::start().await);
    let namespace = plane.namespace("hostile").await;
    let front = Front::start_with(&registry, |path| {
        let Some(name) = path.strip_prefix("/v2/bad/").and_then(|rest| rest.split('/').next()) else {
            return Way::Pass;
        };
        let tags = |list: Vec<String>| json!({"name": "x", "tags": list}).to_string().into_bytes();
        match name {
            "html" => Way::Say(200, b"<html>\x1b[2J login</html>".to_vec()),
            "bytes" => Way::Say(200, (0..=255).cycle().take(1 << 20).collect()),
            "deep" => Way::Say(200, "[".repeat(1 << 20).into_bytes()),
            "number" => Way::Say(200, br#"{"tags": 5}"#.to_vec()),
            "half" => Way::Say(200, br#"{"tags": ["1.0.0", "1.0.1""#.to_vec()),
            "null" => Way::Say(200, br#"{"tags": null}"#.to_vec()),
            "control" => Way::Say(200, tags((0..100_000).map(|n| format!("1.0.{n}\u{1b}[2J")).collect())),
            "long" => {
                Way::Say(200, tags(vec!["1.".repeat(1 << 20), format!("1.0.{}", "9".repeat(120)), "1.0.0".into()]))
            }
            "huge" => Way::Say(200, vec![b' '; 65 << 20]),
            "teapot" => Way::Say(418, b"secret of the registry".to_vec()),
            _ => Way::Say(500, Vec::new()),
        }
    })
    .await;
    let image = |path: &str, tag: &str| format!("{}/{path}:{tag}", front.host);
    registry.push("good", "1.0.0", &Image::unique()).await;
    namespace.create(&deployment("good", &image("good", "1.0.0"), policy("patch")).to_string()).await;
    let setup = Setup::in_namespace(&namespace, "1s");
    let mut operator = Operator::start(plane, &setup).await;
    let before = operator.resident();

    let absurd = absurd();
    for (name, annotations) in &absurd {
        let object = deployment(name, &image("good", "1.0.0"), annotations.clone());
        namespace.create(&object.to_string()).await;
    }
    let garbage = [
        "::::",
        "@",
        "a@sha256:zz",
        "\u{7}\u{1b}[2J",
        "UPPER/Case:1",
        "//",
        "host:99999999/x:1",
        "[::1]:80/x:1",
        "x:1@y:2",
        "../../etc:1",
        "http://127.0.0.1/x:1",
        "a b",
    ];
    let long = [format!("r/{}:1", "a".repeat(100_000)), format!("r/a:{}", "1".repeat(200))];
    for (n, text) in garbage.into_iter().chain(long.iter().map(String::as_str)).enumerate() {
        namespace.create(&deployment(&format!("image-{n}"), text, policy("patch")).to_string()).await;
    }
    for name in ["html", "bytes", "deep", "number", "half", "null", "control", "long", "huge", "teapot", "other"] {
        let object = deployment(&format!("bad-{name}"), &image(&format!("bad/{name}"), "1.0.0"), policy("patch"));
        namespace.create(&object.to_string()).await;
    }
    // One of each hundred containers may be wrong without harm to the others.
    let images: Vec<(String, String)> =
        (0..100).map(|n| (format!("c{n}"), if n == 50 { "::".into() } else { image("good", "1.0.0") })).collect();
    let containers: Vec<(&str, &str)> = images.iter().map(|(name, image)| (&**name, &**image)).collect();
    namespace.create(&workload("Deployment", "many", policy("patch"), &containers).to_string()).await;

    for n in 1..=3 {
        let tag = format!("1.0.{n}");
        registry.push("good", &tag, &Image::unique()).await;
        runs(&namespace, "good", &[&image("good", &tag)]).await;
    }
    eventually("99 of 100 containers are updated", async || {
        let images = namespace.images("deployments", "many").await;
        (images.iter().filter(|text| **text == image("good", "1.0.3")).count() == 99).then_some(())
    })
    .await;
    event_says(&namespace, "keys", "annotation-unknown").await;
    for (name, annotations) in absurd.iter().filter(|(name, _)| name.starts_with("policy-")) {
        // This one is a regular expression like another, and matches no tag.
        if annotations["supercargo.dev/policy"] == "regex:(a*)*(a*)*(a*)*$" {
            continue;
        }
        let all = ["policy-invalid", "annotation-invalid", "undecodable"];
        eventually(&format!("an Event tells what is wrong with {name}"), async || {
            let told = events(&namespace, name).await;
            told.iter().any(|(_, message)| all.iter().any(|code| message.contains(code))).then_some(())
        })
        .await;
    }
    // What could be read once and cannot be any more is left alone too.
    let too_long = json!({"metadata": {"annotations": {"supercargo.dev/ignore": "x".repeat(20_000)}}});
    namespace.merge("deployments", "good", too_long).await;
    event_says(&namespace, "good", "undecodable").await;
    registry.push("good", "1.0.4", &Image::unique()).await;
    eventually("the others are updated", async || {
        let images = namespace.images("deployments", "many").await;
        (images.iter().filter(|text| **text == image("good", "1.0.4")).count() == 99).then_some(())
    })
    .await;
    runs(&namespace, "good", &[&image("good", "1.0.3")]).await;
    for n in 0..garbage.len() + long.len() {
        let name = format!("image-{n}");
        // Some do read as images of hosts that are not there.
        if events(&namespace, &name).await.iter().any(|(_, message)| message.contains("image-invalid")) {
            continue;
        }
        runs(&namespace, &name, &[garbage.into_iter().chain(long.iter().map(String::as_str)).nth(n).unwrap()]).await;
    }
    let path = format!("/api/v1/namespaces/{}/events", namespace.name);
    let all = plane.request(http::Method::GET, &path, None).await.unwrap();
    for event in all["items"].as_array().unwrap() {
        let message = event["message"].as_str().unwrap();
        assert!(message.len() <= 1024 && !message.contains(char::is_control), "{message:?}");
        assert!(!message.contains("secret of the registry"), "a registry's body is not passed on: {message}");
    }
    assert!(operator.process.exited().is_none());
    let after = operator.resident();
    println!("resident: {before} MB, then {after} MB");
    assert!(after < RESIDENT, "{before} MB, then {after} MB");
    let log = operator.process.output();
    assert!(!log.contains("panicked"), "{log}");
    assert!(!log.contains("secret of the registry"), "a registry's body is not logged");
    let longest = log.lines().map(str::len).max().unwrap_or_default();
    assert!(longest < 16 << 10, "a line of {longest} bytes is logged");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_forged_webhooks_are_refused_and_a_true_one_gets_through() {
    let (plane, registry) = (shared().await, Registry::start().await);
    let namespace = plane.namespace("forged").await;
    registry.push("web", "1.0.0", &Image::unique()).await;
    let image = |tag: &str| format!("{}/web:{tag}", registry.host);
    let annotations = json!({"supercargo.dev/policy": "patch", "supercargo.dev/poll": "never"});
    namespace.create(&deployment("web", &image("1.0.0"), annotations).to_string()).await;
    let setup = Setup {
        hook_secret: Some(SECRET.into()),
        hooks_port: Some(free_port()),
        ..Setup::in_namespace(&namespace, "1h")
    };
    let mut operator = Operator::start(plane, &setup).await;
    let requests = async || operator.metric("supercargo_registry_requests_total", "").await;
    eventually("the first look", async || (requests().await >= 1.0).then_some(())).await;
    let (before, looks) = (operator.resident(), requests().await);
    registry.push("web", "1.0.1", &Image::unique()).await;
    let event = |repository: &str, tag: &str| {
        json!({"events": [{
            "action": "push", "target": {"mediaType": OCI_MANIFEST, "repository": repository, "tag": tag},
            "request": {"host": registry.host},
        }]})
        .to_string()
    };
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().unwrap();
    let url = format!("{}/hooks/distribution", operator.hooks);
    let send = async |authorization: String, body: String| {
        let request = http.post(&url).header("authorization", authorization).body(body);
        request.send().await.unwrap().status().as_u16()
    };

    let refused = stream::iter(0..10_000)
        .map(|n| send(format!("Bearer {}{n}", &SECRET[..SECRET.len() - 1]), event("web", "1.0.1")))
        .buffer_unordered(32)
        .filter(|status| std::future::ready(*status == 401))
        .count()
        .await;
    assert_eq!(refused, 10_000);
    assert_eq!(requests().await, looks, "none of them caused a look");
    runs(&namespace, "web", &[&image("1.0.0")]).await;

    // Who knows the secret may still talk nonsense.
    let nonsense: Vec<String> = (0..500)
        .map(|n| event(&format!("other-{n}"), "1.0.1"))
        .chain((0..500).map(|n| event("web", &format!("9.9.{n}"))))
        .chain([
            "".into(),
            "[".repeat(100_000),
            "\u{0}".into(),
            "{\"events\": [5, null, {}]}".into(),
            "x".repeat(2 << 20),
        ])
        .collect();
    let answers: Vec<u16> =
        stream::iter(nonsense).map(|body| send(format!("Bearer {SECRET}"), body)).buffer_unordered(32).collect().await;
    assert!(answers.iter().all(|status| matches!(status, 202 | 400 | 413)), "{answers:?}");

    assert_eq!(send(format!("Bearer {SECRET}"), event("web", "1.0.1")).await, 202);
    runs(&namespace, "web", &[&image("1.0.1")]).await;
    assert!(operator.process.exited().is_none());
    let after = operator.resident();
    println!("resident: {before} MB, then {after} MB");
    assert!(after < RESIDENT, "{before} MB, then {after} MB");
    let log = operator.process.output();
    assert!(!log.contains(&SECRET[..SECRET.len() - 1]), "the secret is in the log");
    let warnings = log.lines().filter(|line| line.contains("a webhook was refused") && line.contains("WARN")).count();
    assert!(warnings < 20, "{warnings} lines of warning");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_hosts_than_files_hold_up_neither_probes_nor_others() {
    const HOSTS: usize = 300;
    let plane = shared().await;
    let (namespace, victim) = (plane.namespace("many-hosts").await, Victim::new("many-hosts").await);
    let (objects, asked) = attacks::keeping_hosts(HOSTS).await;
    attacks::create(&namespace, objects).await;
    let mut setup = victim.beside(Setup::in_namespace(&namespace, "5s"));
    setup.through = attacks::with_files(256);
    let mut operator = Operator::start(plane, &setup).await;
    eventually("all are looked at twice", async || {
        let asked = asked.lock().unwrap();
        (asked.len() == HOSTS && asked.values().all(|count| *count >= 2)).then_some(())
    })
    .await;
    let sockets = || {
        let fds = std::fs::read_dir(format!("/proc/{}/fd", operator.process.pid())).unwrap();
        let links = fds.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok());
        links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
    };
    // Half of the files for registries, and some for the API server, probes and the like.
    assert!(sockets() < 128 + 40, "{} sockets", sockets());
    victim.is_served("1.0.1").await;
    assert_eq!(http().get(format!("{}/livez", operator.private)).send().await.unwrap().status(), 200);
    assert!(operator.process.exited().is_none());
    let log = operator.process.output();
    assert!(!log.contains("Too many open files"), "{log}");
}
