//! What the configuration guards, no editor of a workload or its Namespace gets around; and it is read again.

use std::path::Path;

use serde_json::json;

use crate::support::{
    control_plane::shared,
    eventually,
    front::Front,
    objects::{deployment, event_says, policy, runs, written},
    operator::{Operator, Setup},
    registry::{Image, Registry},
};

fn write(file: &Path, text: &str) {
    // As a mounted ConfigMap changes: at once.
    let beside = file.with_extension("new");
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(beside, file).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_editor_of_a_workload_does_not_get_around_a_guard() {
    let (plane, registry) = (shared().await, Registry::start().await);
    let front = Front::start(&registry).await;
    registry.push_tags("web", ["1.0.0", "1.0.1", "1.1.0"]).await;
    registry.push_tags("rare", ["1.0.0"]).await;
    registry.push_tags("often", ["1.0.0"]).await;
    let image = |path: &str, tag: &str| format!("{}/{path}:{tag}", front.host);
    let policies = plane.namespace_with("g-policy", policy("minor")).await;
    let registries = plane.namespace("g-registry").await;
    let interval = plane.namespace("g-interval").await;
    let free = plane.namespace("g-free").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    write(
        &file,
        &format!(
            "guards:\n\
             - {{namespaces: [{}], policies: [patch, 'named:patch']}}\n\
             - {{namespaces: [{}], registries: [registry.example.com]}}\n\
             - {{namespaces: ['g-int*'], minInterval: 366d}}\n",
            policies.name, registries.name,
        ),
    );
    let old = image("web", "1.0.0");
    for (name, annotations) in [
        ("by-default", json!({})),
        ("by-key", policy("minor")),
        ("by-container", json!({"supercargo.dev/policy": "patch", "supercargo.dev/policy.web": "major"})),
        ("by-name", policy("named:minor")),
        ("by-spelling", policy("semver:>=1")),
        ("by-keel", json!({"keel.sh/policy": "major", "keel.sh/trigger": "poll"})),
    ] {
        policies.create(&deployment(name, &old, annotations).to_string()).await;
    }
    policies.create(&deployment("allowed", &old, policy("patch")).to_string()).await;
    policies.create(&deployment("allowed-name", &old, policy("named:patch")).to_string()).await;
    registries.create(&deployment("elsewhere", &old, policy("patch")).to_string()).await;
    for (name, poll) in [("seconds", "every 1s"), ("cron", "* * * * *")] {
        let annotations = json!({"supercargo.dev/policy": "patch", "supercargo.dev/poll": poll});
        interval.create(&deployment(name, &image("rare", "1.0.0"), annotations).to_string()).await;
    }
    free.create(&deployment("often", &image("often", "1.0.0"), policy("patch")).to_string()).await;
    let setup = Setup::in_namespace(&policies, "1s").with(&[
        "-n",
        &registries.name,
        "-n",
        &interval.name,
        "-n",
        &free.name,
        "--keel",
        "apply",
        "--config",
        file.to_str().unwrap(),
    ]);
    let operator = Operator::start(plane, &setup).await;

    runs(&policies, "allowed", &[&image("web", "1.0.1")]).await;
    runs(&policies, "allowed-name", &[&image("web", "1.0.1")]).await;
    for name in ["by-default", "by-key", "by-container", "by-name", "by-spelling", "by-keel"] {
        let said = event_says(&policies, name, "guard-policy").await;
        assert!(said.contains("`patch`"), "{said}");
    }
    event_says(&registries, "elsewhere", "guard-registry").await;
    for name in ["seconds", "cron"] {
        event_says(&interval, name, "guard-interval").await;
    }
    // What is not guarded is polled each second; what is guarded was looked at once, when it was new.
    eventually("some polls", async || (front.count("often") >= 5).then_some(())).await;
    assert_eq!(front.count("rare"), 1);
    let written = written(plane, &operator.user);
    assert_eq!(written.len(), 2, "{written:?}");
}

/// Stands for the guard in `domain/annotations` (SECURITY.md): beside a policy that a guard lists, options only narrow.
#[tokio::test(flavor = "multi_thread")]
async fn options_beside_a_policy_that_a_guard_lists_do_not_widen_it() {
    let (plane, registry) = (shared().await, Registry::start().await);
    let tags = ["1.4.0", "1.4.5", "1.4.6", "1.4.7", "1.4.8-debug", "1.4.9-rc1"];
    registry.push_tags("web", tags).await;
    let image = |tag: &str| format!("{}/web:{tag}", registry.host);
    let production = plane.namespace("g-options").await;
    let loose = plane.namespace_with("g-loose", json!({"supercargo.dev/prerelease": "allow"})).await;
    let folder = tempfile::tempdir().unwrap();
    let (file, named) = (folder.path().join("config.yaml"), folder.path().join("policies"));
    std::fs::create_dir(&named).unwrap();
    let ours = "name: production\npolicy: patch\nignore: ['1.4.7*']\nprerelease: never\n";
    std::fs::write(named.join("production.yaml"), ours).unwrap();
    let namespaces = format!("[{}, {}]", production.name, loose.name);
    write(&file, &format!("guards:\n- {{namespaces: {namespaces}, policies: ['named:production']}}\n"));
    let with = |key: &str, value: &str| {
        let mut annotations = policy("named:production");
        annotations[format!("supercargo.dev/{key}")] = json!(value);
        annotations
    };
    for (name, tag, annotations) in [
        ("prerelease", "1.4.5", with("prerelease", "allow")),
        ("downgrade", "1.4.5", with("allow-downgrade", "true")),
        ("of-one", "1.4.5", with("flavour.web", "any")),
        ("order", "1.4.5", with("order", "semver")),
        ("ignore", "1.4.5", with("ignore", "nothing")),
        ("allow", "1.4.6", with("allow", "1\\.4\\.[0-9]+")),
        ("narrower", "1.4.5", with("ignore", "1.4.6")),
    ] {
        production.create(&deployment(name, &image(tag), annotations).to_string()).await;
    }
    loose.create(&deployment("by-default", &image("1.4.5"), policy("named:production")).to_string()).await;
    let flags = ["-n", &loose.name, "--config", file.to_str().unwrap(), "--policies", named.to_str().unwrap()];
    let operator = Operator::start(plane, &Setup::in_namespace(&production, "1s").with(&flags)).await;

    for (namespace, name) in [
        (&production, "prerelease"),
        (&production, "downgrade"),
        (&production, "of-one"),
        (&production, "order"),
        (&loose, "by-default"),
    ] {
        let said = event_says(namespace, name, "guard-policy").await;
        assert!(said.contains(&format!("the guard of the namespaces `{}`", production.name)), "{said}");
    }
    // What narrows is read: a neighbour's look at the same list shows that there was time to do wrong.
    runs(&production, "ignore", &[&image("1.4.6")]).await;
    registry.push_tags("web", ["1.4.10"]).await;
    for name in ["ignore", "allow", "narrower"] {
        runs(&production, name, &[&image("1.4.10")]).await;
    }
    let all = eventually("all are in the audit log", async || {
        Some(written(plane, &operator.user)).filter(|written| written.len() >= 4)
    });
    let (written, wrong) = (all.await, ["1.4.0", "1.4.7", "1.4.8-debug", "1.4.9-rc1"]);
    assert_eq!(written.len(), 4, "{written:?}");
    assert!(!wrong.iter().any(|tag| format!("{written:?}").contains(&image(tag))), "{written:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_configuration_takes_effect_and_a_broken_one_leaves_the_old_in_force() {
    let (plane, registry) = (shared().await, Registry::start().await);
    registry.push_tags("web", ["1.0.0", "1.1.0"]).await;
    let image = |tag: &str| format!("{}/web:{tag}", registry.host);
    let (one, two) = (plane.namespace("reload").await, plane.namespace("reload").await);
    let folder = tempfile::tempdir().unwrap();
    let (file, named) = (folder.path().join("config.yaml"), folder.path().join("policies"));
    std::fs::create_dir(&named).unwrap();
    let guard = |namespace: &str| format!("- {{namespaces: [{namespace}], policies: [patch]}}\n");
    write(&file, &format!("guards:\n{}{}", guard(&one.name), guard(&two.name)));
    for namespace in [&one, &two] {
        namespace.create(&deployment("web", &image("1.0.0"), policy("minor")).to_string()).await;
    }
    one.create(&deployment("own", &image("1.0.0"), policy("named:ours")).to_string()).await;
    let setup = Setup::in_namespace(&one, "1s").with(&[
        "-n",
        &two.name,
        "--config",
        file.to_str().unwrap(),
        "--policies",
        named.to_str().unwrap(),
    ]);
    let mut operator = Operator::start(plane, &setup).await;
    event_says(&one, "web", "guard-policy").await;
    event_says(&two, "web", "guard-policy").await;

    // One guard less, a policy more, and a sender that is heard.
    let post = async || {
        let request = reqwest::Client::new().post(format!("{}/hooks/distribution", operator.hooks));
        request.bearer_auth("word").body(r#"{"events": []}"#).send().await.unwrap().status().as_u16()
    };
    assert_eq!(post().await, 404);
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "word").unwrap();
    let hooks = format!("hooks: {{distribution: {{secretFiles: [{}]}}}}\n", secret.display());
    std::fs::write(named.join("ours.yaml"), "name: ours\ndescription: Ours.\npolicy: minor\nexamples: []\n").unwrap();
    write(&file, &format!("{hooks}guards:\n{}", guard(&two.name)));
    runs(&one, "web", &[&image("1.1.0")]).await;
    runs(&one, "own", &[&image("1.1.0")]).await;
    assert_eq!(post().await, 202);

    // Broken: were it read as if it said nothing, the guard would be gone.
    write(&file, "guards:\n- {namespaces: ['*'], polices: [patch]}\n");
    eventually("it is told that the file is broken", async || {
        operator.process.output().contains("the old one stays in force").then_some(())
    })
    .await;
    registry.push("web", "1.2.0", &Image::unique()).await;
    runs(&one, "web", &[&image("1.2.0")]).await;
    runs(&two, "web", &[&image("1.0.0")]).await;

    // Mended, and stricter than at first.
    write(&file, &format!("guards:\n{}{}", guard(&one.name), guard(&two.name)));
    eventually("it is read again", async || {
        (operator.process.output().matches("the configuration was read again").count() >= 2).then_some(())
    })
    .await;
    registry.push_tags("web", ["1.3.0", "1.2.1"]).await;
    one.create(&deployment("patch", &image("1.2.0"), policy("patch")).to_string()).await;
    runs(&one, "patch", &[&image("1.2.1")]).await;
    runs(&one, "web", &[&image("1.2.0")]).await;
    assert!(operator.process.exited().is_none(), "one process all the time");
}
