//! What failed is put back on a real API server with its controllers, and kwok as kubelet.

use http::Method;
use serde_json::{Value, json};

use crate::{
    approvals,
    rollouts::code,
    support::{
        commits,
        control_plane::{ADMIN, Namespace},
        eventually,
        git_server::GitServer,
        gitea, kills,
        objects::{runs, written},
        operator::{Operator, Setup},
        shop::{QUICK, Shop, story},
    },
};

/// How many images these have set together.
fn patches(shop: &Shop<'_>, users: &[impl AsRef<str>]) -> usize {
    users.iter().map(|user| written(shop.plane, user.as_ref()).len()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_run_goes_back_once_and_the_next_goes() {
    let shop = Shop::open("back").await;
    shop.create_auto("Deployment", |_| ()).await;
    let operator = shop.operator(QUICK).await;
    shop.push("1.1.0").await;
    shop.update("1.1.0", "Succeeded").await;
    shop.push("1.2.0-broken").await;
    let update = shop.update("1.2.0-broken", "RolledBack").await;
    assert_eq!(story(&update), ["Progressing", "RollingBack", "RolledBack"], "{update}");
    assert_eq!(code(&update), "rolled-back");
    let image = shop.image("1.1.0");
    assert_eq!(shop.namespace.images("deployments", "web").await, [&*image]);
    assert_eq!(shop.quarantined().await.len(), 1);
    let message = shop.event("RolledBack").await;
    assert!(message.contains(&image) && message.contains("CrashLoopBackOff"), "{message}");
    let failed = shop.told("RolloutFailed").await;
    assert!(failed.len() == 1 && shop.told("RolledBack").await.len() == 1, "{failed:?}");
    assert_eq!(operator.metric("supercargo_rollouts_total", "rolled-back").await, 1.0);
    assert_eq!(operator.metric("supercargo_rollouts_in_flight", "").await, 0.0);
    // There, and there and back.
    assert_eq!(written(shop.plane, &operator.user).len(), 3);
    shop.push("1.3.0").await;
    shop.update("1.3.0", "Succeeded").await;
    runs(&shop.namespace, "web", &[&shop.image("1.3.0")]).await;
}

/// Both containers are updated, and one of them crashes, or both do.
#[rstest::rstest]
#[case::one_of_them(&["web"], ["1.2.0-broken", "1.1.0"], "pod web-")]
#[case::both(&["side", "web"], ["1.2.0-broken", "1.2.0-broken"], "containers side, web do not run: pod web-")]
#[tokio::test(flavor = "multi_thread")]
async fn two_containers_go_back_by_one_patch_and_each_that_crashes_is_in_quarantine(
    #[case] broken: &[&str],
    #[case] set: [&str; 2],
    #[case] said: &str,
) {
    let shop = Shop::open("two").await;
    shop.create_auto("Deployment", |object| {
        let side = json!({"name": "side", "image": shop.image("1.0.0")});
        object["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap().push(side);
        if !broken.contains(&"side") {
            object["metadata"]["annotations"]["supercargo.dev/flavour.side"] = json!("");
        }
    })
    .await;
    // There before the first look, so that one update takes them.
    shop.push("1.1.0").await;
    shop.push("1.2.0-broken").await;
    let operator = shop.operator(QUICK).await;
    let update = shop.update("1.2.0-broken", "RolledBack").await;
    assert_eq!(story(&update), ["Progressing", "RollingBack", "RolledBack"], "{update}");
    let failed = shop.event("RolloutFailed").await;
    let names_side = failed.contains("container side: CrashLoopBackOff");
    assert!(failed.contains(said) && names_side == broken.contains(&"side"), "{failed}");
    // What is next best goes, to which nothing has happened yet: of one that did not crash that is the same again.
    shop.update("1.1.0", "Succeeded").await;
    assert_eq!(shop.namespace.images("deployments", "web").await, [shop.image("1.1.0"), shop.image("1.1.0")]);
    let mut quarantined = shop.quarantined().await;
    quarantined.sort_by_key(|bad| bad["container"].to_string());
    let bad: Vec<_> = quarantined.iter().map(|bad| (&bad["container"], &bad["to"])).collect();
    let to = json!(shop.image("1.2.0-broken"));
    let expected: Vec<_> = broken.iter().map(|name| (json!(name), &to)).collect();
    assert_eq!(bad, expected.iter().map(|(name, to)| (name, *to)).collect::<Vec<_>>());
    let images: Vec<_> = written(shop.plane, &operator.user).into_iter().map(|(_, image)| image).collect();
    let all = set.into_iter().chain(["1.0.0", "1.0.0", "1.1.0", "1.1.0"]).map(|tag| shop.image(tag));
    assert_eq!(images, all.collect::<Vec<_>>());
    let patches = shop.plane.audit(&operator.user);
    let patches = patches.iter().filter(|it| it.verb == "patch" && it.code == 200);
    let patches = patches.filter(|it| it.uri.contains("/deployments/web"));
    assert_eq!(patches.count(), 3, "there, back, and to the next");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_update_of_all_goes_back_too_and_costs_no_more_requests() {
    let shop = Shop::open("first").await;
    shop.create_auto("Deployment", |_| ()).await;
    let operator = shop.operator(QUICK).await;
    shop.push("1.1.0-broken").await;
    let update = shop.update("1.1.0-broken", "RolledBack").await;
    let at = |phase: &str| {
        let log = update["status"]["log"].as_array().unwrap();
        log.iter().find(|entry| entry["phase"] == phase).unwrap()["at"]
            .as_str()
            .unwrap()
            .parse::<jiff::Timestamp>()
            .unwrap()
    };
    let image = shop.image("1.0.0");
    assert_eq!(shop.namespace.images("deployments", "web").await, [&*image]);
    // The patch is made when that it goes back is recorded.
    let note =
        shop.namespace.get("deployments", "web").await["metadata"]["annotations"]["supercargo.dev/last-update"].clone();
    let note: Value = serde_json::from_str(note.as_str().unwrap()).unwrap();
    let patched: jiff::Timestamp = note["at"].as_str().unwrap().parse().unwrap();
    let took = patched.as_second() - at("RollingBack").as_second();
    assert!((0..=60).contains(&took), "{took} s");
    assert_eq!(written(shop.plane, &operator.user).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_more_has_changed_than_images_or_what_ran_before_did_not_run_it_stays() {
    let shop = Shop::open("env").await;
    shop.create_auto("Deployment", |_| ()).await;
    let image = shop.image("1.1.0-broken");
    let env = json!([{"name": "web", "image": image, "env": [{"name": "A", "value": "b"}]}]);
    let env = json!({"spec": {"template": {"spec": {"containers": env}}}});
    let before = shop.set_and_change("1.1.0-broken", &env).await;
    let operator = shop.operator(QUICK).await;
    let update = shop.update("1.1.0-broken", "Failed").await;
    assert_eq!(code(&update), "rollback-not-possible", "{update}");
    let told = shop.told("RolloutFailed").await;
    assert!(told.iter().any(|message| message.contains("more of its pod template has changed")), "{told:?}");
    assert_eq!(shop.namespace.images("deployments", "web").await, [image]);
    assert_eq!(patches(&shop, &[&before, &operator.user]), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_what_ran_before_does_not_run_either_there_is_no_second_patch() {
    let shop = Shop::open("twice").await;
    shop.push("1.0.0-broken").await;
    shop.create("Deployment", |object| {
        object["metadata"]["annotations"]["supercargo.dev/rollback"] = json!("auto");
        object["spec"]["template"]["spec"]["containers"][0]["image"] = json!(shop.image("1.0.0-broken"));
    })
    .await;
    eventually("its pods are there", async || {
        let web = shop.namespace.get("deployments", "web").await;
        (web["status"]["unavailableReplicas"] == 3).then_some(())
    })
    .await;
    let operator = shop.operator(QUICK).await;
    shop.push("1.1.0-broken").await;
    let update = shop.update("1.1.0-broken", "Failed").await;
    assert_eq!(code(&update), "rollback-not-possible", "{update}");
    let message = update["status"]["reason"]["message"].as_str().unwrap();
    assert!(message.contains("it is not rolled back, as that its image is at fault is not sure"), "{message}");
    assert_eq!(written(shop.plane, &operator.user).len(), 1);
    assert_eq!(shop.quarantined().await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_suspended_goes_back_when_that_is_taken_away() {
    let shop = Shop::open("suspended").await;
    shop.create_auto("Deployment", |_| ()).await;
    let suspend = |value: Value| json!({"metadata": {"annotations": {"supercargo.dev/suspend": value}}});
    let before = shop.set_and_change("1.1.0-broken", &suspend(json!("true"))).await;
    let operator = shop.operator(QUICK).await;
    let users = [&*before, &operator.user];
    eventually("it waits", async || {
        let update = shop.update("1.1.0-broken", "RollingBack").await;
        (code(&update) == "suspended").then_some(())
    })
    .await;
    assert_eq!(patches(&shop, &users), 1);
    shop.namespace.merge("deployments", "web", suspend(Value::Null)).await;
    shop.update("1.1.0-broken", "RolledBack").await;
    assert_eq!(patches(&shop, &users), 2);
}

/// While it is suspended one goes back; what takes the place of that keeps it too.
#[rstest::rstest]
#[case::dry_run("dry-run")]
#[case::another_owner("owned-elsewhere")]
#[case::a_problem("annotation-invalid")]
#[case::no_policy("not-watched")]
#[tokio::test(flavor = "multi_thread")]
async fn what_nothing_is_changed_of_is_not_put_back_and_is_when_that_is_gone(#[case] why: &str) {
    let shop = Shop::open("kept").await;
    shop.create_auto("Deployment", |_| ()).await;
    let annotate = async |annotations: Value| {
        shop.namespace.merge("deployments", "web", json!({"metadata": {"annotations": annotations}})).await;
    };
    let kept = async |why: &str| {
        eventually(&format!("{why} keeps it"), async || {
            let update = shop.update("1.1.0-broken", "RollingBack").await;
            (code(&update) == why).then_some(())
        })
        .await;
    };
    let suspend = json!({"metadata": {"annotations": {"supercargo.dev/suspend": "true"}}});
    let before = shop.set_and_change("1.1.0-broken", &suspend).await;
    let mut operator = shop.operator(QUICK).await;
    let mut users = vec![before, operator.user.clone()];
    kept("suspended").await;
    let tracked = format!("shop:apps/Deployment:{}/web", shop.namespace.name);
    let (kept_by, free) = match why {
        "dry-run" => {
            drop(operator);
            let path = shop.folder.path().join("config.yaml");
            operator = Operator::start(shop.plane, &shop.setup(&path).with(&["--dry-run"])).await;
            users.push(operator.user.clone());
            (json!({"supercargo.dev/suspend": null}), json!({}))
        }
        "owned-elsewhere" => (
            json!({"supercargo.dev/suspend": null, "argocd.argoproj.io/tracking-id": tracked}),
            json!({"argocd.argoproj.io/tracking-id": null}),
        ),
        "annotation-invalid" => (json!({"supercargo.dev/suspend": "perhaps"}), json!({"supercargo.dev/suspend": null})),
        _ => (
            json!({"supercargo.dev/suspend": null, "supercargo.dev/policy": null, "supercargo.dev/flavour": null}),
            json!({"supercargo.dev/policy": "minor", "supercargo.dev/flavour": "any"}),
        ),
    };
    annotate(kept_by).await;
    kept(why).await;
    // What has no policy that can be read is not looked at.
    if matches!(why, "dry-run" | "owned-elsewhere") {
        operator.looks().await;
    }
    assert_eq!(shop.namespace.images("deployments", "web").await, [shop.image("1.1.0-broken")]);
    assert_eq!(patches(&shop, &users), 1);
    if why == "dry-run" {
        drop(operator);
        operator = shop.operator(QUICK).await;
        users.push(operator.user.clone());
    } else {
        annotate(free).await;
    }
    shop.update("1.1.0-broken", "RolledBack").await;
    assert_eq!(patches(&shop, &users), 2);
    drop(operator);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_sets_while_it_waits_is_not_overwritten() {
    let shop = Shop::open("moved").await;
    shop.create_auto("Deployment", |_| ()).await;
    let suspend = |value: Value| json!({"metadata": {"annotations": {"supercargo.dev/suspend": value}}});
    let first = shop.set_and_change("1.1.0-broken", &suspend(json!("true"))).await;
    let operator = shop.operator(QUICK).await;
    shop.update("1.1.0-broken", "RollingBack").await;
    let image = shop.image("1.0.7");
    let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": image}]}}}});
    shop.namespace.merge("deployments", "web", patch).await;
    shop.namespace.merge("deployments", "web", suspend(Value::Null)).await;
    shop.update("1.1.0-broken", "Superseded").await;
    let looks = async || operator.metric("supercargo_registry_requests_total", "class=\"tags\"").await;
    let before = looks().await;
    eventually("it is looked at again", async || (looks().await > before + 2.0).then_some(())).await;
    assert_eq!(shop.namespace.images("deployments", "web").await, [image]);
    assert_eq!(patches(&shop, &[&first, &operator.user]), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_admission_refuses_is_told_in_its_words_and_goes_when_it_may_and_nothing_else_does() {
    let shop = Shop::open("back-refused").await;
    shop.create_auto("Deployment", |_| ()).await;
    let name = &shop.namespace.name;
    let (version, resources) = ("admissionregistration.k8s.io/v1", ["deployments"]);
    let rule = json!({"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": resources});
    let is_back = "object.spec.template.spec.containers.exists(c, c.image.endsWith(':1.0.0'))";
    let policy = json!({
        "apiVersion": version, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": format!("!{is_back}"), "message": "nobody goes back, says the test"}],
        },
    });
    let selected = json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}});
    let binding = json!({
        "apiVersion": version, "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"], "matchResources": selected},
    });
    shop.plane.create(&policy.to_string()).await;
    shop.plane.create(&binding.to_string()).await;
    let dry = format!("/apis/apps/v1/namespaces/{name}/deployments/web?dryRun=All");
    let nothing = json!({"metadata": {"labels": {"a": "b"}}});
    eventually("the policy is active", async || shop.plane.request(Method::PATCH, &dry, Some(&nothing)).await.err())
        .await;

    let operator = shop.operator(QUICK).await;
    shop.push("1.1.0-broken").await;
    let refused = eventually("it is refused", async || {
        let update = shop.update("1.1.0-broken", "RollingBack").await;
        (code(&update) == "admission-refused").then_some(update)
    })
    .await;
    let message = refused["status"]["reason"]["message"].as_str().unwrap();
    assert!(message.contains("nobody goes back, says the test"), "{message}");
    // Nor does anything newer go meanwhile.
    shop.push("1.2.0").await;
    let looks = async || operator.metric("supercargo_registry_requests_total", "class=\"tags\"").await;
    let before = looks().await;
    eventually("it is looked at again", async || (looks().await > before + 3.0).then_some(())).await;
    assert_eq!(shop.namespace.images("deployments", "web").await, [shop.image("1.1.0-broken")]);
    let tries = || {
        let all = shop.plane.audit(&operator.user);
        all.into_iter().filter(|it| it.verb == "patch" && it.uri.contains("/deployments/web")).count()
    };
    assert_eq!(tries(), 2, "there, and refused once");

    let api = "/apis/admissionregistration.k8s.io/v1";
    for kind in ["validatingadmissionpolicybindings", "validatingadmissionpolicies"] {
        shop.plane.request(Method::DELETE, &format!("{api}/{kind}/{name}"), None).await.unwrap();
    }
    eventually("the policy is gone", async || shop.plane.request(Method::PATCH, &dry, Some(&nothing)).await.ok()).await;
    // It is tried again after about a minute.
    eventually("it is tried again", async || (tries() > 2).then_some(())).await;
    shop.update("1.1.0-broken", "RolledBack").await;
    shop.update("1.2.0", "Succeeded").await;
    assert_eq!(written(shop.plane, &operator.user).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_proposed_goes_back_by_one_request_which_stays_as_it_is() {
    let shop = Shop::open("back-by-request").await;
    let gitea = gitea::shared().await;
    let before = commits::manifest(&shop.namespace, "web", &shop.image("1.0.0"));
    let repo = gitea.repository("back", &[("apps/web.yaml", before.as_bytes())]).await;
    let bot = gitea.bot().await;
    repo.invite(&bot).await;
    shop.create_auto("Deployment", |object| {
        object["metadata"]["annotations"]["supercargo.dev/write"] = json!("pr:prod");
    })
    .await;
    let user = (&*bot.name, &*bot.token);
    let path = commits::config_with(shop.folder.path(), &shop.namespace.name, &repo.url(), user, "  forge: gitea\n");
    std::fs::write(&path, std::fs::read_to_string(&path).unwrap() + QUICK).unwrap();
    let setup = commits::setup_with(&shop.namespace, shop.folder.path(), &path);
    let mut operator = Operator::start(shop.plane, &setup).await;
    let open = async |tag: &str| {
        eventually(&format!("a request for {tag} is open"), async || {
            let mut all = repo.pulls().await;
            all.retain(|pull| pull["state"] == "open" && pull["body"].as_str().unwrap().contains(&shop.image(tag)));
            all.pop()
        })
        .await
    };
    let deploy = async |request: &Value, tag: &str| {
        repo.merge(request["number"].as_u64().unwrap(), "merge").await;
        assert_eq!(String::from_utf8(repo.bare("main").read("apps/web.yaml")).unwrap(), before.replace("1.0.0", tag));
        let containers = json!([{"name": "web", "image": shop.image(tag)}]);
        let patch = json!({"spec": {"template": {"spec": {"containers": containers}}}});
        shop.namespace.merge("deployments", "web", patch).await;
    };
    shop.push("1.1.0").await;
    deploy(&open("1.1.0").await, "1.1.0").await;
    shop.update("1.1.0", "Succeeded").await;
    shop.push("1.2.0-broken").await;
    deploy(&open("1.2.0-broken").await, "1.2.0-broken").await;
    let update = shop.update("1.2.0-broken", "RollingBack").await;
    let id = update["spec"]["id"].as_str().unwrap();
    let request = open("1.1.0").await;
    assert!(request["title"].as_str().unwrap().starts_with("Roll back "), "{request}");
    let branch = repo.bare(request["head"]["ref"].as_str().unwrap());
    let message = branch.log()[0].message.clone();
    assert!(message.contains(&format!("Supercargo-Rollback: {id}\n")), "{message}");
    // Neither the next looks nor one that begins anew make another of it.
    for _ in 0..2 {
        let looks = async || operator.metric("supercargo_registry_requests_total", "class=\"tags\"").await;
        let looked = looks().await;
        eventually("it is looked at again", async || (looks().await > looked + 3.0).then_some(())).await;
        let again = repo.pull(request["number"].as_u64().unwrap()).await;
        assert_eq!((&again["title"], &again["head"]["sha"]), (&request["title"], &request["head"]["sha"]));
        assert_eq!(repo.pulls().await.len(), 3);
        operator.process.signal("KILL");
        drop(operator);
        operator = Operator::start(shop.plane, &setup).await;
    }
    deploy(&request, "1.1.0").await;
    let update = shop.update("1.2.0-broken", "RolledBack").await;
    assert_eq!(code(&update), "rolled-back");
    assert_eq!(repo.pulls().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_back_once_and_ends_once_whenever_the_operator_is_killed() {
    kills::go_back(kills::how_many(6), kills::seed()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_stateful_set_the_pods_that_were_never_ready_are_deleted_where_they_may_be() {
    let shop = Shop::open("ordered").await;
    shop.create_auto("StatefulSet", |_| ()).await;
    let operator = shop.operator(QUICK).await;
    shop.push("1.1.0-broken").await;
    let update = shop.update("1.1.0-broken", "RolledBack").await;
    assert_eq!(code(&update), "rolled-back");
    assert_eq!(shop.namespace.images("statefulsets", "web").await, [shop.image("1.0.0")]);
    let deleted = shop.plane.audit(&operator.user);
    let deleted: Vec<_> = deleted.iter().filter(|it| it.verb == "delete" && it.uri.contains("/pods/")).collect();
    // Its controller may make it some times more as it was, before it takes in that the template has gone back.
    assert!(
        (1..=10).contains(&deleted.len()) && deleted.iter().all(|it| it.uri.contains("/pods/web-2")),
        "{deleted:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn where_they_may_not_be_the_command_that_is_told_helps() {
    let shop = Shop::open_on(approvals::plane().await, "ordered-alone").await;
    shop.create_auto("StatefulSet", |_| ()).await;
    let _operator = shop.as_deployed(QUICK).await;
    shop.push("1.1.0-broken").await;
    let command = eventually("a command is told", async || {
        shop.told("RolloutStalled").await.iter().find_map(|message| Some(message.split('`').nth(1)?.to_owned()))
    })
    .await;
    shop.plane.kubectl(&command.split(' ').skip(1).collect::<Vec<_>>());
    shop.update("1.1.0-broken", "RolledBack").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_goes_back_by_one_commit_and_is_not_committed_again() {
    let shop = Shop::open("back-in-git").await;
    let server = GitServer::start().await;
    let before = commits::manifest(&shop.namespace, "web", &shop.image("1.0.0"));
    let repo = server.create("deploy", &[("apps/web.yaml", before.as_bytes())]);
    shop.create_auto("Deployment", |object| {
        object["metadata"]["annotations"]["supercargo.dev/write"] = json!("git:prod");
    })
    .await;
    let setup = commits::setup(&shop.namespace, shop.folder.path(), &server.url("deploy"));
    let path = shop.folder.path().join("config.yaml");
    std::fs::write(&path, std::fs::read_to_string(&path).unwrap() + QUICK).unwrap();
    let operator = Operator::start(shop.plane, &setup).await;
    let deploy = async |tag: &str| {
        shop.in_git(&repo, &before, tag).await;
        shop.deploy(tag).await;
    };
    shop.push("1.1.0").await;
    deploy("1.1.0").await;
    shop.update("1.1.0", "Succeeded").await;
    shop.push("1.2.0-broken").await;
    deploy("1.2.0-broken").await;
    deploy("1.1.0").await;
    let update = shop.update("1.2.0-broken", "RolledBack").await;
    let log = repo.log();
    let id = update["spec"]["id"].as_str().unwrap();
    assert!(
        log[0].message.starts_with("Roll back ") && log[0].message.contains(&format!("Supercargo-Rollback: {id}\n")),
        "{log:?}"
    );
    // The same again is nothing new.
    let looks = async || operator.metric("supercargo_registry_requests_total", "class=\"tags\"").await;
    let before = looks().await;
    eventually("it is looked at again", async || (looks().await > before + 2.0).then_some(())).await;
    assert_eq!(repo.log().len(), 4);
    shop.push("1.3.0").await;
    deploy("1.3.0").await;
    shop.update("1.3.0", "Succeeded").await;
}

impl Shop<'static> {
    /// With the rights and the user that `deploy/base` gives.
    pub(crate) async fn as_deployed(&self, configuration: &str) -> Operator {
        let path = self.folder.path().join("config.yaml");
        std::fs::write(&path, configuration).unwrap();
        let home = Namespace { plane: self.plane, name: "supercargo".to_owned() };
        let kubeconfig = self.plane.kubeconfig_with_token(&home.token("supercargo").await, &home.name);
        let setup = Setup { kubeconfig: Some(kubeconfig), ..self.setup(&path) };
        Operator::start(self.plane, &setup).await
    }

    /// What `supercargo rollback` of a user says, and whether it ends well.
    fn wishes(&self, user: &str, more: &[&str]) -> (bool, String) {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_supercargo"));
        command.args(["rollback", &format!("{}/deployment/web", self.namespace.name), "--kubeconfig"]);
        let output = command.arg(self.plane.kubeconfig(user)).args(more).output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.success(), text)
    }
}

const STATE: &str = "/deployment-web";

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_may_puts_it_back_and_what_is_left_is_not_set_again() {
    let shop = Shop::open_on(approvals::plane().await, "wish").await;
    shop.create("Deployment", |_| ()).await;
    shop.available("deployments").await;
    let operator = shop.as_deployed(QUICK).await;
    approvals::bind(&shop.namespace, "supercargo-editor", "User", "alice").await;
    let rules = json!([{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]}]);
    approvals::allow(&shop.namespace, "alice", rules).await;
    // There is nothing yet to go back from; that is said where the wish stands.
    let (well, text) = eventually("alice may", async || {
        let said = shop.wishes("alice", &[]);
        (!said.1.contains(" cannot ")).then_some(said)
    })
    .await;
    assert!(!well && text.contains("supercargo has set no image of it"), "{text}");
    shop.push("1.1.0").await;
    shop.update("1.1.0", "Succeeded").await;

    let (well, text) = shop.wishes("bob", &[]);
    assert!(!well && text.contains("User \"bob\" cannot get resource \"imagestates\""), "{text}");
    let (well, text) = shop.wishes("alice", &["--to", "nothing-like-this"]);
    assert!(!well && text.contains("no update nothing-like-this of it is recorded"), "{text}");

    let (well, text) = shop.wishes("alice", &["--reason", "it is slow"]);
    assert!(well && text.contains("1.1.0 to ") && text.contains("1.0.0"), "{text}");
    let update = shop.update("1.1.0", "RolledBack").await;
    assert!(
        update["status"]["reason"]["message"].as_str().unwrap().contains("alice asks for it: it is slow"),
        "{update}"
    );
    runs(&shop.namespace, "web", &[&shop.image("1.0.0")]).await;
    let looks = async || operator.metric("supercargo_registry_requests_total", "class=\"tags\"").await;
    let before = looks().await;
    eventually("it is looked at again", async || (looks().await > before + 2.0).then_some(())).await;
    runs(&shop.namespace, "web", &[&shop.image("1.0.0")]).await;
    let plan = shop.says("plan", &["-n", &shop.namespace.name]);
    assert!(plan.contains("alice"), "{plan}");

    // Nobody wishes in another's name, or without the right; nor gives a state to another owner.
    let alice = shop.plane.client("alice").await;
    let patch = async |client: &kube::Client, body: Value| {
        approvals::ask(&shop.namespace, client, Method::PATCH, "imagestates", STATE, Some(&body)).await
    };
    let metadata = shop.all("imagestates").await[0]["metadata"].clone();
    assert_eq!(metadata["ownerReferences"], Value::Null, "what is remembered outlives the workload");
    let uid = metadata["uid"].clone();
    let wish = |by: &str| json!({"spec": {"by": by, "uid": uid, "at": "2026-01-01T00:00:00Z", "rollback": {}}});
    let refused = patch(&alice, wish("bob")).await.unwrap_err();
    assert!(refused.message.contains("a wish is made in one's own name"), "{refused:?}");
    let refused = patch(&alice, json!({"metadata": {"finalizers": ["a.example/b"]}})).await.unwrap_err();
    assert!(refused.message.contains("supercargo alone writes the finalizers"), "{refused:?}");
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "u"});
    let refused = patch(&alice, json!({"metadata": {"ownerReferences": [owner]}})).await.unwrap_err();
    assert!(refused.message.contains("supercargo alone writes the owners"), "{refused:?}");
    let rules =
        json!([{"apiGroups": ["supercargo.dev"], "resources": ["imagestates"], "verbs": ["get", "create", "patch"]}]);
    approvals::allow(&shop.namespace, "carol", rules).await;
    let text = eventually("carol may patch", async || {
        let (well, text) = shop.wishes("carol", &[]);
        assert!(!well, "{text}");
        (!text.contains(" cannot ")).then_some(text)
    })
    .await;
    assert!(text.contains("you may not roll back, hold or resume this workload"), "{text}");

    // What is newer goes, and a state that is there again as from a backup is no new wish.
    shop.push("1.2.0").await;
    shop.update("1.2.0", "Succeeded").await;
    let mut state = eventually("all is remembered of it", async || {
        let mut all = shop.all("imagestates").await;
        all.retain(|state| state["status"]["lastGood"].to_string().contains(&shop.image("1.2.0")));
        all.pop()
    })
    .await;
    assert_eq!(state["spec"]["by"], "alice");
    let admin = shop.plane.client(ADMIN).await;
    let delete = approvals::ask(&shop.namespace, &admin, Method::DELETE, "imagestates", STATE, None).await;
    delete.unwrap();
    let metadata = state["metadata"].as_object_mut().unwrap();
    metadata.retain(|key, _| ["name", "namespace", "labels"].contains(&key.as_str()));
    let mut mine = state.clone();
    mine["spec"]["by"] = json!("admin");
    eventually("it is there again", async || {
        approvals::ask(&shop.namespace, &admin, Method::POST, "imagestates", "", Some(&mine)).await.ok()
    })
    .await;
    shop.push("1.3.0").await;
    shop.update("1.3.0", "Succeeded").await;
    assert_eq!(shop.namespace.images("deployments", "web").await, [shop.image("1.3.0")]);
}

impl Shop<'static> {
    /// Has somebody wish in that name, without `deploy/approvals`.
    async fn wish_as(&self, by: &str, rollback: Value) {
        let path =
            format!("/apis/supercargo.dev/v1alpha1/namespaces/{}/imagestates/deployment-web", self.namespace.name);
        let uid = self.all("imagestates").await[0]["metadata"]["uid"].clone();
        let wish = json!({"spec": {"by": by, "uid": uid, "at": "2026-01-01T00:00:00Z", "rollback": rollback}});
        self.plane.request(Method::PATCH, &path, Some(&wish)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_name_does_not_keep_what_is_remembered_from_being_written_or_read() {
    let shop = Shop::open("long-names").await;
    shop.create_auto("Deployment", |_| ()).await;
    let operator = shop.operator(QUICK).await;
    shop.push("1.1.0").await;
    shop.update("1.1.0", "Succeeded").await;
    let by = "a".repeat(1024);
    shop.wish_as(&by, json!({"to": ""})).await;
    shop.update("1.1.0", "RolledBack").await;
    let state = eventually("it is remembered", async || {
        shop.all("imagestates").await.pop().filter(|state| state["status"]["wish"]["done"] == true)
    })
    .await;
    assert_eq!(state["status"]["holds"][0]["by"], by);
    // One that is too long for us is no wish, and hides nothing.
    shop.wish_as(&"ä".repeat(1024), json!({"to": ""})).await;
    drop(operator);
    let operator = shop.operator(QUICK).await;
    let looks = async || operator.metric("supercargo_registry_requests_total", "class=\"tags\"").await;
    eventually("it is looked at", async || (looks().await > 3.0).then_some(())).await;
    runs(&shop.namespace, "web", &[&shop.image("1.0.0")]).await;
}
