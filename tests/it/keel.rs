//! `keel.sh/*` on real workloads, with each value of `--keel`.

use serde_json::{Value, json};

use crate::support::{
    control_plane::{Namespace, shared},
    eventually, free_port,
    objects::{deployment, event_says, events, policy, runs},
    operator::{Operator, Setup, supercargo},
    registry::{Image, Options, Registry},
};

/// What Keel's users have, beside one workload of our own, on `image`.
async fn create(namespace: &Namespace<'_>, image: &str) {
    let label = |name: &str, labels: Value| {
        let mut object = deployment(name, image, json!({}));
        object["metadata"]["labels"] = labels;
        object
    };
    let mut init = deployment("init", image, json!({"keel.sh/policy": "minor", "keel.sh/trigger": "poll"}));
    init["spec"]["template"]["spec"]["initContainers"] = json!([{"name": "first", "image": image}]);
    let mut init_too = init.clone();
    init_too["metadata"]["name"] = json!("init-too");
    init_too["metadata"]["annotations"]["keel.sh/initContainers"] = json!("true");
    for object in [
        deployment("polled", image, json!({"keel.sh/policy": "patch", "keel.sh/trigger": "poll"})),
        deployment("old-key", image, json!({"keel.observer/policy": "minor", "keel.sh/trigger": "poll"})),
        label("labelled", json!({"keel.sh/policy": "minor", "keel.sh/trigger": "poll"})),
        init,
        init_too,
        deployment("never", image, json!({"keel.sh/policy": "never", "supercargo.dev/poll": "every 1m"})),
        deployment(
            "approved",
            image,
            json!({"keel.sh/policy": "minor", "keel.sh/trigger": "poll", "keel.sh/approvals": "1"}),
        ),
        deployment(
            "strange",
            image,
            json!({"keel.sh/policy": "minor", "keel.sh/trigger": "poll", "keel.sh/polcy": "x"}),
        ),
        deployment(
            "both",
            image,
            json!({"keel.sh/policy": "major", "keel.sh/trigger": "poll", "supercargo.dev/policy": "patch"}),
        ),
        deployment("ours", image, policy("patch")),
    ] {
        namespace.create(&object.to_string()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_apply_keels_keys_are_followed_and_what_cannot_be_is_blocked() {
    let (plane, registry) = (shared().await, Registry::start().await);
    // `never` of Keel is above this default.
    let namespace = plane.namespace("keel-apply").await;
    let guarded = plane.namespace_with("keel-default", policy("minor")).await;
    registry.push_tags("web", ["1.0.0", "1.0.1", "1.1.0", "1.2.0-rc1", "2.0.0"]).await;
    let image = |tag: &str| format!("{}/web:{tag}", registry.host);
    create(&namespace, &image("1.0.0")).await;
    guarded.create(&deployment("never", &image("1.0.0"), json!({"keel.sh/policy": "never"})).to_string()).await;
    guarded.create(&deployment("default", &image("1.0.0"), json!({})).to_string()).await;
    let setup = Setup::in_namespace(&namespace, "1s").with(&["-n", &guarded.name, "--keel", "apply"]);
    let _operator = Operator::start(plane, &setup).await;

    let (patch, minor, old) = (image("1.0.1"), image("1.1.0"), image("1.0.0"));
    for (name, images) in [
        ("polled", vec![&*patch]),
        ("old-key", vec![&*minor]),
        ("labelled", vec![&*minor]),
        ("init", vec![&*minor, &*old]),
        ("init-too", vec![&*minor, &*minor]),
        ("both", vec![&*patch]),
        ("ours", vec![&*patch]),
    ] {
        runs(&namespace, name, &images).await;
    }
    runs(&guarded, "default", &[&minor]).await;
    event_says(&namespace, "approved", "approvals").await;
    event_says(&namespace, "strange", "keel.sh/polcy").await;
    event_says(&namespace, "both", "keel-reported").await;
    for name in ["never", "approved", "strange"] {
        runs(&namespace, name, &[&old]).await;
    }
    runs(&guarded, "never", &[&old]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_trigger_poll_only_a_webhook_updates() {
    let plane = shared().await;
    let namespace = plane.namespace("keel-hooks").await;
    let port = free_port();
    let notify = Some((format!("http://127.0.0.1:{port}/hooks/distribution"), "Bearer geheim".to_owned()));
    let (hooked, polled) =
        (Registry::start_with(Options { notify, ..Options::default() }).await, Registry::start().await);
    hooked.push("web", "1.0.0", &Image::unique()).await;
    polled.push("web", "1.0.0", &Image::unique()).await;
    let image = |registry: &Registry, tag: &str| format!("{}/web:{tag}", registry.host);
    let keel = || json!({"keel.sh/policy": "minor"});
    for (name, registry) in [("hooked", &hooked), ("silent", &polled)] {
        namespace.create(&deployment(name, &image(registry, "1.0.0"), keel()).to_string()).await;
    }
    let setup = Setup {
        hook_secret: Some("geheim".to_owned()),
        hooks_port: Some(port),
        ..Setup::in_namespace(&namespace, "1s").with(&["--keel", "apply"])
    };
    let operator = Operator::start(plane, &setup).await;
    let looks = async |of: &str| {
        let labels = format!("registry=\"{of}\",class=\"tags\"");
        operator.metric("supercargo_registry_requests_total", &labels).await
    };
    // Of each: the notice of the first push may come late, and bring `hooked` two looks before `silent` has one.
    for registry in [&hooked, &polled] {
        eventually("the first look", async || (looks(&registry.host).await >= 1.0).then_some(())).await;
    }

    polled.push("web", "1.1.0", &Image::unique()).await;
    hooked.push("web", "1.1.0", &Image::unique()).await;
    runs(&namespace, "hooked", &[&image(&hooked, "1.1.0")]).await;
    // Beside it a workload that is polled, to see polls pass.
    namespace.create(&deployment("other", &image(&hooked, "1.1.0"), policy("minor")).to_string()).await;
    let before = looks(&hooked.host).await;
    eventually("polls pass", async || (looks(&hooked.host).await >= before + 3.0).then_some(())).await;
    runs(&namespace, "silent", &[&image(&polled, "1.0.0")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_report_it_is_only_said_and_with_ignore_not_even_that() {
    let (plane, registry) = (shared().await, Registry::start().await);
    for mode in ["report", "ignore"] {
        registry.push_tags(mode, ["1.0.0", "1.0.1", "1.1.0"]).await;
        let image = |tag: &str| format!("{}/{mode}:{tag}", registry.host);
        let (old, patch) = (image("1.0.0"), image("1.0.2"));
        let namespace = plane.namespace(mode).await;
        create(&namespace, &old).await;
        let _operator = Operator::start(plane, &Setup::in_namespace(&namespace, "1s").with(&["--keel", mode])).await;
        runs(&namespace, "ours", &[&image("1.0.1")]).await;
        // Later looks change nothing more of the others either.
        registry.push(mode, "1.0.2", &Image::unique()).await;
        runs(&namespace, "ours", &[&patch]).await;
        runs(&namespace, "both", &[&patch]).await;
        if mode == "report" {
            let said = event_says(&namespace, "polled", "keel-reported").await;
            assert!(said.contains("--keel apply") && said.contains("policy: patch"), "{said}");
            let said = event_says(&namespace, "approved", "keel-reported").await;
            assert!(said.contains("would be read as approvals: 1"), "{said}");
        }
        for name in ["polled", "old-key", "labelled", "never", "approved", "strange"] {
            runs(&namespace, name, &[&old]).await;
            if mode == "ignore" {
                assert_eq!(events(&namespace, name).await, [], "{name}");
            }
        }
        let kubeconfig = plane.kubeconfig("admin");
        let args =
            ["plan", "--kubeconfig", kubeconfig.to_str().unwrap(), "-n", &namespace.name, "-o", "json", "--keel", mode];
        let output = supercargo(&args, std::path::Path::new("."));
        let text = String::from_utf8(output.stdout).unwrap();
        let rows: Vec<Value> = serde_json::from_str(&text)
            .unwrap_or_else(|e| panic!("{e}: {text}{}", String::from_utf8_lossy(&output.stderr)));
        let says = |name: &str| {
            let mut of = rows.iter().filter(|row| row["workload"]["name"] == name);
            of.any(|row| row["reasons"].as_array().unwrap().iter().any(|reason| reason["code"] == "keel-reported"))
        };
        assert_eq!(says("polled"), mode == "report", "{text}");
        assert!(rows.iter().all(|row| row["decision"] != "update"), "{text}");
    }
}
