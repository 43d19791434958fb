//! The main job on real parts: annotate a workload, push an image, see it updated.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{
    audit::Audited,
    control_plane::{ADMIN, ControlPlane, Namespace, shared},
    eventually, free_port,
    objects::rolled_out,
    operator::{Operator, Setup, supercargo},
    registry::{Image, Options, Registry},
};

/// A Deployment `web` with one container `web`.
fn deployment(image: &str, annotations: Value) -> String {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "annotations": annotations},
        "spec": {
            "replicas": 2, "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": image}]},
            },
        },
    })
    .to_string()
}

fn policy(policy: &str) -> Value {
    json!({"supercargo.dev/policy": policy})
}

async fn image_becomes(namespace: &Namespace<'_>, plural: &str, name: &str, image: &str) {
    eventually(&format!("{plural}/{name} runs {image}"), async || {
        namespace.images(plural, name).await.contains(&image.to_owned()).then_some(())
    })
    .await;
}

async fn event(namespace: &Namespace<'_>, reason: &str) -> String {
    eventually(&format!("an Event {reason}"), async || {
        let path = format!("/api/v1/namespaces/{}/events", namespace.name);
        let events = namespace.plane.request(http::Method::GET, &path, None).await.ok()?;
        let all = events["items"].as_array()?;
        all.iter().find(|event| event["reason"] == reason).map(|event| event["message"].as_str().unwrap().to_owned())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pushed_image_is_found_by_the_poll_and_rolled_out() {
    let (plane, registry) = (shared().await, Registry::start().await);
    let namespace = plane.namespace("by-poll").await;
    registry.push("team/web", "1.0.0", &Image::unique()).await;
    let image = |tag: &str| format!("{}/team/web:{tag}", registry.host);
    namespace.create(&deployment(&image("1.0.0"), policy("minor"))).await;
    let misspelt = deployment(&image("1.0.0"), json!({"supercargo.dev/polcy": "minor"}));
    namespace.create(&misspelt.replace("\"web\"", "\"typo\"")).await;
    let operator = Operator::start(plane, &Setup::in_namespace(&namespace, "1s")).await;

    for tag in ["1.1.0-rc.1", "1.0.2-alpine", "2024.1.1", "2.0.0", "1.1.0"] {
        registry.push("team/web", tag, &Image::unique()).await;
    }

    image_becomes(&namespace, "deployments", "web", &image("1.1.0")).await;
    rolled_out(&namespace, "web").await;
    let message = event(&namespace, "ImageUpdated").await;
    assert!(message.contains(&image("1.1.0")) && message.contains("policy minor"), "{message}");
    let message = event(&namespace, "PolicyProblem").await;
    assert!(message.contains("polcy") && message.contains("policy"), "{message}");
    let object = namespace.get("deployments", "web").await;
    let last: Value =
        serde_json::from_str(object["metadata"]["annotations"]["supercargo.dev/last-update"].as_str().unwrap())
            .unwrap();
    assert_eq!(last["changes"][0]["to"], image("1.1.0"));
    assert_eq!(operator.metric("supercargo_updates_total", "applied").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pushed_image_is_found_by_the_webhook_at_once() {
    let plane = shared().await;
    let namespace = plane.namespace("by-hook").await;
    let port = free_port();
    let notify = Some((format!("http://127.0.0.1:{port}/hooks/distribution"), "Bearer geheim".to_owned()));
    let registry = Registry::start_with(Options { notify, ..Options::default() }).await;
    registry.push("team/web", "1.0.0", &Image::unique()).await;
    let image = |tag: &str| format!("{}/team/web:{tag}", registry.host);
    namespace
        .create(&deployment(&image("1.0.0"), json!({"supercargo.dev/policy": "patch", "supercargo.dev/poll": "never"})))
        .await;
    let setup = Setup {
        hook_secret: Some("geheim".to_owned()),
        hooks_port: Some(port),
        ..Setup::in_namespace(&namespace, "1h")
    };
    let operator = Operator::start(plane, &setup).await;
    eventually("the first look", async || {
        (operator.metric("supercargo_registry_requests_total", "tags").await >= 1.0).then_some(())
    })
    .await;

    registry.push("team/web", "1.0.1", &Image::unique()).await;

    image_becomes(&namespace, "deployments", "web", &image("1.0.1")).await;
    let lists = operator.metric("supercargo_registry_requests_total", "class=\"tags\"").await;
    assert_eq!(lists, 1.0, "{}", operator.process.output());
    // One HEAD for what was pushed now; the registry may tell of the first push again, as nobody heard it then, and it tells
    // of a push before it has it: then it is asked again.
    let heads = operator.metric("supercargo_registry_requests_total", "class=\"manifest\"").await;
    assert!((1.0..=20.0).contains(&heads), "{heads}: {}", operator.process.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_whose_manifest_is_gone_is_passed_over_for_the_next_best() {
    let (plane, options) = (shared().await, Options { in_files: true, ..Options::default() });
    let registry = Registry::start_with(options).await;
    let namespace = plane.namespace("gone").await;
    registry.push("team/web", "1.0.0", &Image::unique()).await;
    let next_best = registry.push("team/web", "1.0.1", &Image::unique()).await;
    let gone = registry.push("team/web", "1.0.2", &Image::unique()).await;
    registry.lose_manifest("team/web", &gone);
    let image = format!("{}/team/web", registry.host);
    let pinned = json!({"supercargo.dev/policy": "patch", "supercargo.dev/pin": "digest"});
    namespace.create(&deployment(&format!("{image}:1.0.0"), pinned)).await;

    let (kubeconfig, workload) = (plane.kubeconfig(ADMIN), format!("{}/deploy/web", namespace.name));
    let args = ["explain", "--kubeconfig", kubeconfig.to_str().unwrap(), &workload];
    let text = String::from_utf8(supercargo(&args, Path::new(".")).stdout).unwrap();
    let said = |tag: &str| text.lines().find(|line| line.starts_with(tag)).unwrap_or(&text).to_owned();
    assert!(said("1.0.1").contains("chosen"), "{text}");
    assert!(said("1.0.2").contains("passed over: the registry lists the tag, but has no manifest for it"), "{text}");

    let _operator = Operator::start(plane, &Setup::in_namespace(&namespace, "1h")).await;
    image_becomes(&namespace, "deployments", "web", &format!("{image}:1.0.1@{next_best}")).await;
    let message = event(&namespace, "UpdateBlocked").await;
    assert!(message.contains("/team/web:1.0.2 ") && message.ends_with("(registry-not-found)"), "{message}");
}

/// A pod template and the rest of a workload of any kind.
fn workload(kind: &str, name: &str, annotations: Value, labels: Value, pod: Value) -> String {
    let template = json!({"metadata": {"labels": {"app": name}}, "spec": pod});
    let selector = json!({"matchLabels": {"app": name}});
    let spec = match kind {
        "CronJob" => {
            let mut template = template;
            template["spec"]["restartPolicy"] = json!("Never");
            json!({"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": template}}})
        }
        "StatefulSet" => json!({"serviceName": name, "selector": selector, "template": template}),
        _ => json!({"selector": selector, "template": template}),
    };
    let version = if kind == "CronJob" { "batch/v1" } else { "apps/v1" };
    let mut metadata = json!({"name": name, "labels": labels});
    if annotations != Value::Null {
        metadata["annotations"] = annotations;
    }
    json!({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}).to_string()
}

fn containers(list: &[(&str, &str)]) -> Value {
    list.iter().map(|(name, image)| json!({"name": name, "image": image})).collect()
}

fn patches(plane: &ControlPlane, user: &str, workload: &str) -> Vec<Audited> {
    let all = plane.audit(user).into_iter();
    all.filter(|request| request.verb == "patch" && request.uri.contains(&format!("/{workload}?"))).collect()
}

/// Those that were taken: of one that is changed at the same moment it is tried again.
fn taken(plane: &ControlPlane, user: &str, workload: &str) -> usize {
    patches(plane, user, workload).iter().filter(|patch| patch.code == 200).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_shape_of_workload_is_updated_as_its_annotations_say() {
    let (plane, registry) = (shared().await, Registry::start().await);
    let namespace = plane.namespace_with("shapes", json!({"supercargo.dev/policy": "minor"})).await;
    registry.push_tags("a", ["1.0.0", "1.0.1", "1.1.0", "2.0.0"]).await;
    registry.push_tags("b", ["3.0.0", "3.0.5", "3.1.0"]).await;
    let pinned = registry.push("a", "1.1.0", &Image::unique()).await;
    let latest = registry.push("a", "latest", &Image::unique()).await;
    let image = |path: &str, tag: &str| format!("{}/{path}:{tag}", registry.host);
    let one = |image: &str| json!({"containers": containers(&[("web", image)])});
    let none = Value::Null;
    let (a, b) = (image("a", "1.0.0"), image("b", "3.0.0"));

    for object in [
        workload("StatefulSet", "set", none.clone(), json!({}), one(&a)),
        workload("DaemonSet", "daemon", policy("patch"), json!({}), one(&a)),
        workload("CronJob", "cron", policy("major"), json!({}), one(&a)),
        workload(
            "Deployment",
            "two",
            json!({"supercargo.dev/policy": "patch", "supercargo.dev/policy.side": "minor"}),
            json!({}),
            json!({"containers": containers(&[("web", &a), ("side", &b)])}),
        ),
        workload(
            "Deployment",
            "init",
            none.clone(),
            json!({}),
            json!({"containers": containers(&[("web", &a)]),
                   "initContainers": containers(&[("migrate", &a), ("other", &b)])}),
        ),
        workload(
            "Deployment",
            "opted-out",
            json!({"supercargo.dev/policy.side": "never"}),
            json!({}),
            json!({"containers": containers(&[("web", &a), ("side", &b)])}),
        ),
        workload(
            "Deployment",
            "twice",
            json!({"supercargo.dev/policy.two": "never"}),
            json!({}),
            json!({"containers": containers(&[("one", &a), ("two", &image("a", "1.0.1"))])}),
        ),
        workload("Deployment", "pinned", none.clone(), json!({}), one(&format!("{a}@sha256:{}", "0".repeat(64)))),
        workload("Deployment", "moving", policy("digest"), json!({}), one(&image("a", "latest"))),
        workload("Deployment", "suspended", json!({"supercargo.dev/suspend": "true"}), json!({}), one(&a)),
        workload("Deployment", "mistaken", json!({"supercargo.dev/polcy": "minor"}), json!({}), one(&a)),
        workload("Deployment", "opted", policy("never"), json!({}), one(&a)),
        workload(
            "Deployment",
            "flux",
            none.clone(),
            json!({"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux"}),
            one(&a),
        ),
        workload("Deployment", "helm", none.clone(), json!({"app.kubernetes.io/managed-by": "Helm"}), one(&a)),
        workload("Deployment", "bare", policy("minor"), json!({}), one(&image("a", "latest"))),
    ] {
        let made = namespace.create(&object).await.remove(0);
        // What its controller writes meanwhile would be met by our patch.
        if made["kind"] == "Deployment" {
            rolled_out(&namespace, made["metadata"]["name"].as_str().unwrap()).await;
        }
    }
    // No poll has its place in the time that this takes.
    let operator = Operator::start(plane, &Setup::in_namespace(&namespace, "366d")).await;

    let newest = image("a", "1.1.0");
    for (plural, name, images) in [
        ("statefulsets", "set", vec![newest.clone()]),
        ("daemonsets", "daemon", vec![image("a", "1.0.1")]),
        ("cronjobs", "cron", vec![image("a", "2.0.0")]),
        ("deployments", "two", vec![image("a", "1.0.1"), image("b", "3.1.0")]),
        ("deployments", "init", vec![newest.clone(), newest.clone(), b.clone()]),
        ("deployments", "opted-out", vec![newest.clone(), b.clone()]),
        ("deployments", "twice", vec![newest.clone(), image("a", "1.0.1")]),
        ("deployments", "pinned", vec![format!("{newest}@{pinned}")]),
        ("deployments", "moving", vec![format!("{}@{latest}", image("a", "latest"))]),
        ("deployments", "helm", vec![newest.clone()]),
    ] {
        eventually(&format!("{name} runs {images:?}"), async || {
            (namespace.images(plural, name).await == images).then_some(())
        })
        .await;
        // The object shows the change a moment before the patch is answered, and only then is it in the audit log.
        let what = format!("a patch of {name} in the audit log");
        let taken = eventually(&what, async || Some(taken(plane, &operator.user, name)).filter(|taken| *taken > 0));
        assert_eq!(taken.await, 1, "one patch of {name}");
    }
    for name in ["suspended", "mistaken", "opted", "flux"] {
        assert_eq!(namespace.images("deployments", name).await, [a.as_str()], "{name}");
        assert!(patches(plane, &operator.user, name).is_empty(), "{name} was left alone");
    }
    let path = format!("/api/v1/namespaces/{}/events", namespace.name);
    for (name, says) in
        [("flux", "owned-elsewhere"), ("mistaken", "annotation-unknown"), ("bare", "current-not-a-version")]
    {
        eventually(&format!("an Event on {name} says {says}"), async || {
            let events = plane.request(http::Method::GET, &path, None).await.ok()?;
            let mut all = events["items"].as_array()?.iter();
            all.find(|event| {
                event["involvedObject"]["name"] == name
                    && event["reason"] == "PolicyProblem"
                    && event["message"].as_str().is_some_and(|message| message.contains(says))
            })?;
            Some(())
        })
        .await;
    }
    // Everything was looked at once: listings of two repositories, and the digests that pins need. Where a write met a change
    // it was looked at again.
    let listings = operator.metric("supercargo_registry_requests_total", "class=\"tags\"").await;
    assert!((2.0..=4.0).contains(&listings), "{listings}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_moved_back_by_another_hand_is_not_set_again_but_a_newer_one_is() {
    let (plane, registry) = (shared().await, Registry::start().await);
    let namespace = plane.namespace("reverted").await;
    registry.push_tags("web", ["1.0.0", "1.0.1"]).await;
    let image = |tag: &str| format!("{}/web:{tag}", registry.host);
    namespace.create(&deployment(&image("1.0.0"), policy("patch"))).await;
    rolled_out(&namespace, "web").await;
    let operator = Operator::start(plane, &Setup::in_namespace(&namespace, "1s")).await;
    image_becomes(&namespace, "deployments", "web", &image("1.0.1")).await;

    rolled_out(&namespace, "web").await;
    let out = plane.kubectl(&["-n", &namespace.name, "rollout", "undo", "deployment/web"]);
    assert!(out.contains("rolled back"), "{out}");

    let message = event(&namespace, "UpdateHeld").await;
    assert!(message.contains("kubectl") && message.contains("(held)"), "{message}");
    let looks = operator.metric("supercargo_registry_requests_total", "class=\"tags\"").await;
    eventually("two more looks", async || {
        let now = operator.metric("supercargo_registry_requests_total", "class=\"tags\"").await;
        (now >= looks + 2.0).then_some(())
    })
    .await;
    assert_eq!(namespace.images("deployments", "web").await, [image("1.0.0")]);
    assert_eq!(taken(plane, &operator.user, "web"), 1);

    registry.push("web", "1.0.2", &Image::unique()).await;
    image_becomes(&namespace, "deployments", "web", &image("1.0.2")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undone_update_is_not_made_again_by_the_next_process_but_a_newer_one_is() {
    let (plane, registry) = (shared().await, Registry::start().await);
    let namespace = plane.namespace("undone").await;
    registry.push_tags("web", ["1.0.0", "1.0.1"]).await;
    let image = |tag: &str| format!("{}/web:{tag}", registry.host);
    namespace.create(&deployment(&image("1.0.0"), policy("patch"))).await;
    rolled_out(&namespace, "web").await;
    let setup = Setup::in_namespace(&namespace, "1s");
    let operator = Operator::start(plane, &setup).await;
    image_becomes(&namespace, "deployments", "web", &image("1.0.1")).await;
    rolled_out(&namespace, "web").await;
    let out = plane.kubectl(&["-n", &namespace.name, "rollout", "undo", "deployment/web"]);
    assert!(out.contains("rolled back"), "{out}");
    let path = format!("/apis/supercargo.dev/v1alpha1/namespaces/{}/imagestates/deployment-web", namespace.name);
    let holds = eventually("it is remembered who moved it back", async || {
        let state = plane.request(http::Method::GET, &path, None).await.ok()?;
        state["status"]["holds"].get(0).cloned()
    })
    .await;
    assert_eq!((&holds["to"], &holds["backTo"]), (&json!(image("1.0.1")), &json!(image("1.0.0"))));
    assert!(holds["by"].as_str().unwrap().contains("kubectl"), "{holds}");
    operator.process.signal("KILL");

    // Nothing of it is in the workload any more.
    let setup = Setup { user: Some(operator.user.clone()), ..setup };
    namespace
        .merge("deployments", "web", json!({"metadata": {"annotations": {"supercargo.dev/last-update": null}}}))
        .await;
    let operator = Operator::start(plane, &setup).await;
    eventually("three looks", async || {
        let now = operator.metric("supercargo_registry_requests_total", "class=\"tags\"").await;
        (now >= 3.0).then_some(())
    })
    .await;
    assert_eq!(namespace.images("deployments", "web").await, [image("1.0.0")]);
    assert_eq!(operator.metric("supercargo_holds", "").await, 1.0);
    registry.push("web", "1.0.2", &Image::unique()).await;
    image_becomes(&namespace, "deployments", "web", &image("1.0.2")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_by_admission_is_told_in_its_own_words_and_retried_when_something_changes() {
    let (plane, registry) = (shared().await, Registry::start().await);
    let namespace = plane.namespace("refused").await;
    registry.push_tags("web", ["1.0.0"]).await;
    let image = |tag: &str| format!("{}/web:{tag}", registry.host);
    plane
        .create(
            &include_str!("../data/refuse-image.yaml").replace("NAMESPACE", &namespace.name).replace("TAG", "1.0.1"),
        )
        .await;
    namespace.create(&deployment(&image("1.0.0"), policy("patch"))).await;
    let deployment = format!("/apis/apps/v1/namespaces/{}/deployments/web", namespace.name);
    eventually("the policy is in force", async || {
        let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": image("1.0.1")}]}}}});
        let path = format!("{deployment}?dryRun=All");
        plane.request(http::Method::PATCH, &path, Some(&patch)).await.err()
    })
    .await;
    let operator = Operator::start(plane, &Setup::in_namespace(&namespace, "1s")).await;
    registry.push_tags("web", ["1.0.1"]).await;

    let message = event(&namespace, "UpdateBlocked").await;
    assert!(message.contains("release 1.0.1 is withdrawn"), "{message}");
    let looks = operator.metric("supercargo_registry_requests_total", "class=\"tags\"").await;
    eventually("two more looks", async || {
        let now = operator.metric("supercargo_registry_requests_total", "class=\"tags\"").await;
        (now >= looks + 2.0).then_some(())
    })
    .await;
    assert_eq!(patches(plane, &operator.user, "web").len(), 1, "polls do not try a refused patch again");

    registry.push_tags("web", ["1.0.2"]).await;
    image_becomes(&namespace, "deployments", "web", &image("1.0.2")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_away_is_never_up_to_date_and_all_is_caught_up() {
    let plane = shared().await;
    let namespace = plane.namespace("away").await;
    let mut registry = Registry::start().await;
    registry.push_tags("web", ["1.0.0"]).await;
    let image = format!("{}/web", registry.host);
    namespace.create(&deployment(&format!("{image}:1.0.0"), policy("patch"))).await;
    let operator = Operator::start(plane, &Setup::in_namespace(&namespace, "1s")).await;
    eventually("the first look", async || {
        (operator.metric("supercargo_registry_requests_total", "tags").await >= 1.0).then_some(())
    })
    .await;

    registry.stop().await;
    eventually("the problem is counted", async || {
        (operator.metric("supercargo_problems", "registry-unavailable").await >= 1.0).then_some(())
    })
    .await;
    registry.restart().await;
    registry.push_tags("web", ["1.0.0", "1.0.1"]).await;

    image_becomes(&namespace, "deployments", "web", &format!("{image}:1.0.1")).await;
    eventually("no problem is left", async || {
        (operator.metric("supercargo_problems", "registry-unavailable").await == 0.0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_to_be_changed_is_still_reported() {
    let (plane, registry) = (shared().await, Registry::start().await);
    registry.push_tags("web", ["1.0.0", "1.1.0"]).await;
    let image = |tag: &str| format!("{}/web:{tag}", registry.host);
    let (suspended, dry) = (plane.namespace("suspended").await, plane.namespace("dry-run").await);
    let annotations = json!({"supercargo.dev/policy": "minor", "supercargo.dev/suspend": "true"});
    suspended.create(&deployment(&image("1.0.0"), annotations)).await;
    dry.create(&deployment(&image("1.0.0"), policy("minor"))).await;

    let one = Operator::start(plane, &Setup::in_namespace(&suspended, "1s")).await;
    let two = Operator::start(plane, &Setup::in_namespace(&dry, "1s").with(&["--dry-run"])).await;

    for (namespace, operator, code) in [(&suspended, &one, "(suspended)"), (&dry, &two, "(dry-run)")] {
        let message = event(namespace, "UpdateBlocked").await;
        assert!(message.contains(&image("1.1.0")) && message.contains(code), "{message}");
        assert_eq!(namespace.images("deployments", "web").await, [image("1.0.0")]);
        let log = operator.process.output();
        assert!(log.contains("would be updated"), "{log}");
        // One key of a name in each line.
        assert!(log.lines().all(|line| line.matches("\"message\":").count() == 1), "{log}");
    }

    suspended
        .merge("deployments", "web", json!({"metadata": {"annotations": {"supercargo.dev/suspend": "false"}}}))
        .await;
    image_becomes(&suspended, "deployments", "web", &image("1.1.0")).await;
}
