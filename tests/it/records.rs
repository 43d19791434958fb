//! The operator's records in a real cluster: an object for every update, another for what outlives them.

use http::Method;
use serde_json::{Value, json};

use crate::support::{
    control_plane::{ADMIN, ControlPlane, Namespace, PLAIN, Parts, shared},
    eventually,
    objects::{deployment, event_says, policy, runs, written},
    operator::{Operator, Setup, supercargo},
    registry::{Image, Registry},
};

const API: &str = "/apis/supercargo.dev/v1alpha1";

/// All of a namespace, by name.
async fn all(namespace: &Namespace<'_>, plural: &str) -> Vec<Value> {
    let path = format!("{API}/namespaces/{}/{plural}", namespace.name);
    let list = namespace.plane.request(Method::GET, &path, None).await.unwrap();
    list["items"].as_array().unwrap().clone()
}

/// Waits until there are so many updates, and all of them have come that far.
async fn updates(namespace: &Namespace<'_>, count: usize, phase: &str) -> Vec<Value> {
    eventually(&format!("{count} updates are {phase}"), async || {
        let all = all(namespace, "imageupdates").await;
        (all.len() == count && all.iter().all(|update| update["status"]["phase"] == phase)).then_some(all)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_is_an_object_that_its_workload_owns_and_what_was_set_another() {
    let (plane, registry) = (shared().await, Registry::start().await);
    let namespace = plane.namespace("recorded").await;
    registry.push("web", "1.0.0", &Image::unique()).await;
    let image = |tag: &str| format!("{}/web:{tag}", registry.host);
    let made = namespace.create(&deployment("web", &image("1.0.0"), policy("patch")).to_string()).await;
    let operator = Operator::start(plane, &Setup::in_namespace(&namespace, "1s")).await;
    registry.push("web", "1.0.1", &Image::unique()).await;
    runs(&namespace, "web", &[&image("1.0.1")]).await;
    let all_updates = updates(&namespace, 1, "Succeeded").await;
    let update = &all_updates[0];
    let (spec, status, id) = (&update["spec"], &update["status"], update["spec"]["id"].as_str().unwrap());
    let uid = &made[0]["metadata"]["uid"];
    assert_eq!(update["metadata"]["name"], format!("deployment-web-{id}"));
    assert_eq!(spec["workload"], json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": uid}));
    let change = &spec["changes"][0];
    assert_eq!(
        (&change["container"], &change["from"], &change["to"], &change["policy"], &change["evidence"]["tag"]),
        (&json!("web"), &json!(image("1.0.0")), &json!(image("1.0.1")), &json!("patch"), &json!("1.0.1"))
    );
    assert_eq!((&spec["write"], &spec["policyHash"].as_str().unwrap().len()), (&json!("cluster"), &16));
    let owner = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": uid, "controller": false});
    assert_eq!(update["metadata"]["ownerReferences"], json!([owner]));
    assert_eq!(status["reason"]["code"], "not-proved");
    let phases: Vec<&Value> = status["log"].as_array().unwrap().iter().map(|entry| &entry["phase"]).collect();
    assert_eq!(phases, ["Progressing", "Succeeded"]);
    assert_eq!(
        (&status["conditions"][0]["type"], &status["conditions"][0]["status"]),
        (&json!("Applied"), &json!("True"))
    );

    let state = eventually("what was set is remembered", async || {
        all(&namespace, "imagestates").await.pop().filter(|state| !state["status"].is_null())
    })
    .await;
    assert_eq!(
        (&state["metadata"]["name"], &state["metadata"]["ownerReferences"]),
        (&json!("deployment-web"), &json!(null))
    );
    assert_eq!(state["status"]["workload"], spec["workload"]);
    let applied = &state["status"]["applied"][0];
    assert_eq!((&applied["container"], &applied["to"]), (&json!("web"), &json!(image("1.0.1"))));

    // The patch, the record, its status (when it was written, and when it runs, or both at once) and the state; clearing
    // away aside.
    let count = |from: usize| {
        let requests = plane.audit(&operator.user).split_off(from);
        let is_counted = |verb: &str| ["create", "update", "patch"].contains(&verb);
        let counted = requests.iter().filter(|r| is_counted(&r.verb) && !r.uri.contains("/events"));
        counted.map(|r| format!("{} {}", r.verb, r.uri)).collect::<Vec<_>>()
    };
    assert!((5..=6).contains(&count(0).len()), "the state is created: {:?}", count(0));
    let before = plane.audit(&operator.user).len();
    registry.push("web", "1.0.2", &Image::unique()).await;
    runs(&namespace, "web", &[&image("1.0.2")]).await;
    updates(&namespace, 2, "Succeeded").await;
    eventually("what was set is remembered", async || {
        let state = all(&namespace, "imagestates").await.pop()?;
        (state["status"]["applied"][0]["to"] == image("1.0.2")).then_some(())
    })
    .await;
    assert!((4..=5).contains(&count(before).len()), "{:?}", count(before));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_written_has_a_field_that_the_kinds_do_not_know() {
    let (plane, registry) = (shared().await, Registry::start().await);
    let namespace = plane.namespace("strict").await;
    registry.push_tags("web", ["1.0.0", "1.0.1"]).await;
    let image = |tag: &str| format!("{}/web:{tag}", registry.host);
    namespace.create(&deployment("web", &image("1.0.0"), policy("patch")).to_string()).await;
    let operator = Operator::start(plane, &Setup::in_namespace(&namespace, "1s")).await;
    runs(&namespace, "web", &[&image("1.0.1")]).await;
    updates(&namespace, 1, "Succeeded").await;
    undo(&namespace, "web", &image("1.0.0")).await;
    eventually("what was moved back is remembered", async || {
        let state = all(&namespace, "imagestates").await.pop()?;
        (!state["status"]["holds"].is_null()).then_some(())
    })
    .await;
    let mut sent = 0;
    for request in plane.audit(&operator.user) {
        if !request.uri.contains(API)
            || request.body.is_null()
            || !["create", "update"].contains(&request.verb.as_str())
        {
            continue;
        }
        let (path, mut body) = (request.uri.split('?').next().unwrap(), request.body.clone());
        let method = if request.verb == "create" {
            body["metadata"]["name"] = json!("strict");
            Method::POST
        } else {
            let plural = if path.contains("imageupdates") { "imageupdates" } else { "imagestates" };
            let now = namespace.get(plural, body["metadata"]["name"].as_str().unwrap()).await;
            body["metadata"]["resourceVersion"] = now["metadata"]["resourceVersion"].clone();
            Method::PUT
        };
        let strict = format!("{path}?fieldValidation=Strict&dryRun=All");
        plane.request(method, &strict, Some(&body)).await.unwrap_or_else(|error| panic!("{error}: {body}"));
        sent += 1;
    }
    assert!(sent >= 5, "{sent}");
    // Such a field would be refused.
    let mut odd = all(&namespace, "imageupdates").await.remove(0);
    odd["status"]["odd"] = json!(1);
    let path =
        format!("{API}/namespaces/{}/imageupdates/{}", namespace.name, odd["metadata"]["name"].as_str().unwrap());
    let strict = format!("{path}/status?fieldValidation=Strict&dryRun=All");
    let refused = plane.request(Method::PUT, &strict, Some(&odd)).await.unwrap_err().to_string();
    assert!(refused.contains("unknown field \"status.odd\""), "{refused}");
}

/// Moves an image back, as `kubectl set image` does.
async fn undo(namespace: &Namespace<'_>, name: &str, image: &str) {
    let of = format!("deployment/{name}");
    namespace.plane.kubectl(&["-n", &namespace.name, "set", "image", &of, &format!("web={image}")]);
}

/// Refuses what is created below `supercargo.dev` where that does not hold, until it is taken away.
async fn refuse(namespace: &Namespace<'_>, resource: &str) {
    let name = &namespace.name;
    let rule = json!({
        "apiGroups": ["supercargo.dev"], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"], "resources": [resource],
    });
    let (version, selected) =
        ("admissionregistration.k8s.io/v1", json!({"matchLabels": {"kubernetes.io/metadata.name": name}}));
    let policy = json!({
        "apiVersion": version, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": "false", "message": "not now, says the test"}],
        },
    });
    let binding = json!({
        "apiVersion": version, "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name},
        "spec": {
            "policyName": name, "validationActions": ["Deny"], "matchResources": {"namespaceSelector": selected},
        },
    });
    namespace.plane.create(&policy.to_string()).await;
    namespace.plane.create(&binding.to_string()).await;
    eventually("it is refused", async || is_refused(namespace, resource).await.then_some(())).await;
}

/// Whether that is refused now. Nothing is written.
async fn is_refused(namespace: &Namespace<'_>, resource: &str) -> bool {
    let request = async |method, rest: &str, body: Value| {
        let path = format!("{API}/namespaces/{}/{rest}", namespace.name);
        namespace.plane.request(method, &path, Some(&body)).await
    };
    let (version, metadata) = ("supercargo.dev/v1alpha1", json!({"name": "probe"}));
    let workload = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "probe", "uid": ""});
    let update = json!({
        "apiVersion": version, "kind": "ImageUpdate", "metadata": metadata,
        "spec": {
            "id": "probe", "write": "cluster", "proposedAt": "2026-03-01T12:00:00Z", "workload": workload,
            "changes": [{"container": "web", "from": "a:1", "to": "a:2"}],
        },
    });
    let state = json!({"apiVersion": version, "kind": "ImageState", "metadata": metadata});
    let answer = match resource {
        "imageupdates" => request(Method::POST, "imageupdates?dryRun=All", update).await,
        "imagestates" => request(Method::POST, "imagestates?dryRun=All", state).await,
        _ => {
            request(Method::POST, "imageupdates", update).await.unwrap();
            let body = json!({"status": {"phase": "Applying"}});
            let answer = request(Method::PATCH, "imageupdates/probe/status?dryRun=All", body).await;
            namespace.delete("imageupdates", "probe").await;
            answer
        }
    };
    answer.is_err()
}

/// Until it is refused no more.
async fn allow(namespace: &Namespace<'_>, resource: &str) {
    let api = "/apis/admissionregistration.k8s.io/v1";
    for kind in ["validatingadmissionpolicybindings", "validatingadmissionpolicies"] {
        let path = format!("{api}/{kind}/{}", namespace.name);
        namespace.plane.request(Method::DELETE, &path, None).await.unwrap();
    }
    eventually("it is allowed", async || (!is_refused(namespace, resource).await).then_some(())).await;
}

#[rstest::rstest]
#[case::before_the_record("imageupdates", 0)]
#[case::before_its_status("imageupdates/status", 1)]
#[case::before_the_state("imagestates", 1)]
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_the_image_and_what_is_recorded_of_it_leaves_one_record_that_ends(
    #[case] refused: &str,
    #[case] there: usize,
) {
    let (plane, registry) = (shared().await, Registry::start().await);
    let namespace = plane.namespace("between").await;
    registry.push_tags("web", ["1.0.0", "1.0.1"]).await;
    let image = |tag: &str| format!("{}/web:{tag}", registry.host);
    refuse(&namespace, refused).await;
    namespace.create(&deployment("web", &image("1.0.0"), policy("patch")).to_string()).await;
    let setup = Setup::in_namespace(&namespace, "1s");
    let operator = Operator::start(plane, &setup).await;
    runs(&namespace, "web", &[&image("1.0.1")]).await;
    eventually("that it is not recorded is told", async || {
        operator.process.output().contains("not now, says the test").then_some(())
    })
    .await;
    operator.process.signal("KILL");
    drop(operator);
    assert_eq!(all(&namespace, "imageupdates").await.len(), there);
    allow(&namespace, refused).await;
    let operator = Operator::start(plane, &setup).await;
    let all_updates = updates(&namespace, 1, "Succeeded").await;
    assert_eq!(all_updates[0]["spec"]["changes"][0]["to"], image("1.0.1"));
    eventually("what was set is remembered", async || {
        let state = all(&namespace, "imagestates").await.pop()?;
        (state["status"]["applied"][0]["to"] == image("1.0.1")).then_some(())
    })
    .await;
    // It goes on, and nothing is written twice.
    registry.push("web", "1.0.2", &Image::unique()).await;
    runs(&namespace, "web", &[&image("1.0.2")]).await;
    updates(&namespace, 2, "Succeeded").await;
    assert_eq!(written(plane, &operator.user).len(), 1);
}

/// The workloads that are watched.
const KINDS: &str = "deployments.apps,statefulsets.apps,daemonsets.apps,cronjobs.batch";

/// Waits until `web` was updated to 1.0.1, undoes that, and waits until it is remembered.
async fn updated_and_undone(namespace: &Namespace<'_>, image: impl Fn(&str) -> String) {
    runs(namespace, "web", &[&image("1.0.1")]).await;
    updates(namespace, 1, "Succeeded").await;
    namespace.plane.kubectl(&["-n", &namespace.name, "rollout", "undo", "deployment/web"]);
    runs(namespace, "web", &[&image("1.0.0")]).await;
    eventually("that it was moved back is remembered", async || {
        let state = all(namespace, "imagestates").await.pop()?;
        (state["status"]["holds"][0]["to"] == image("1.0.1")).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_moved_back_stays_so_after_a_restart_and_is_known_to_commands() {
    let (plane, registry) = (shared().await, Registry::start().await);
    let namespace = plane.namespace("undone").await;
    registry.push_tags("web", ["1.0.0", "1.0.1"]).await;
    let image = |tag: &str| format!("{}/web:{tag}", registry.host);
    namespace.create(&deployment("web", &image("1.0.0"), policy("patch")).to_string()).await;
    let setup = Setup::in_namespace(&namespace, "1s");
    let operator = Operator::start(plane, &setup).await;
    updated_and_undone(&namespace, image).await;
    operator.process.signal("KILL");
    drop(operator);

    let explain = |user: &str| {
        let kubeconfig = plane.kubeconfig(user);
        let args = ["explain", "-n", &namespace.name, "--kubeconfig", kubeconfig.to_str().unwrap(), "deploy/web"];
        let output = supercargo(&args, std::path::Path::new("."));
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (text(output.stdout), text(output.stderr))
    };
    let (said, _) = explain(ADMIN);
    assert!(said.contains("held") && said.contains("supercargo resume"), "{said}");
    // Who may not read what was moved back is told that this is not known.
    grant(&namespace, PLAIN[1], "list,watch", KINDS);
    grant(&namespace, PLAIN[1], "get", "deployments.apps");
    eventually("who may read the workload is told that", async || {
        let (said, errors) = explain(PLAIN[1]);
        let note = "note: the right to read imagestates is missing";
        let is_told = errors.starts_with(note) && errors.lines().count() == 1;
        (said.contains(&image("1.0.1")) && is_told).then_some(())
    })
    .await;

    let operator = Operator::start(plane, &setup).await;
    eventually("it is looked at again", async || {
        (operator.metric("supercargo_registry_requests_total", "").await > 3.0).then_some(())
    })
    .await;
    assert_eq!(namespace.images("deployments", "web").await, [image("1.0.0")]);
    // By its name it is known also where the workload is made again.
    namespace.delete("deployments", "web").await;
    eventually("its updates are forgotten", async || all(&namespace, "imageupdates").await.is_empty().then_some(()))
        .await;
    let made = namespace.create(&deployment("web", &image("1.0.0"), policy("patch")).to_string()).await;
    operator.looks().await;
    assert_eq!(namespace.images("deployments", "web").await, [image("1.0.0")]);
    let state = all(&namespace, "imagestates").await.remove(0);
    assert_eq!(state["status"]["holds"][0]["to"], image("1.0.1"));
    registry.push("web", "1.0.2", &Image::unique()).await;
    runs(&namespace, "web", &[&image("1.0.2")]).await;
    let set: Vec<String> = written(plane, &operator.user).into_iter().map(|(_, image)| image).collect();
    assert_eq!(set, [image("1.0.2")]);
    let all_updates = updates(&namespace, 1, "Succeeded").await;
    assert_eq!(all_updates[0]["spec"]["workload"]["uid"], made[0]["metadata"]["uid"]);
}

/// Lets a user do that in a namespace.
fn grant(namespace: &Namespace<'_>, user: &str, verbs: &str, resources: &str) {
    let name = format!("{}-{}", verbs.replace(',', "-"), resources.len());
    let (verbs, resources) = (format!("--verb={verbs}"), format!("--resource={resources}"));
    namespace.plane.kubectl(&["-n", &namespace.name, "create", "role", &name, &verbs, &resources]);
    let (role, user) = (format!("--role={name}"), format!("--user={user}"));
    namespace.plane.kubectl(&["-n", &namespace.name, "create", "rolebinding", &name, &role, &user]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_records_nothing_is_begun_until_it_is_given() {
    let (plane, registry, user) = (shared().await, Registry::start().await, PLAIN[0]);
    let namespace = plane.namespace("no-right").await;
    registry.push_tags("web", ["1.0.0", "1.0.1"]).await;
    let image = |tag: &str| format!("{}/web:{tag}", registry.host);
    namespace.create(&deployment("web", &image("1.0.0"), policy("patch")).to_string()).await;
    let setup = Setup::in_namespace(&namespace, "1s");
    let operator = Operator::start(plane, &setup).await;
    updated_and_undone(&namespace, image).await;
    drop(operator);

    // A new one, with the rights of an older version.
    grant(&namespace, user, "get,list,watch,patch", KINDS);
    let operator = Operator::spawn(plane, &Setup { user: Some(user.to_owned()), ..setup });
    eventually("what is missing is said", async || {
        operator.process.output().contains("gives no right to them").then_some(())
    })
    .await;
    registry.push("web", "1.0.2", &Image::unique()).await;
    grant(&namespace, user, "list,watch,create,delete", "imageupdates.supercargo.dev,imagestates.supercargo.dev");
    grant(&namespace, user, "update", "imageupdates.supercargo.dev/status,imagestates.supercargo.dev/status");
    operator.ready().await;
    runs(&namespace, "web", &[&image("1.0.2")]).await;
    let set: Vec<String> = written(plane, user).into_iter().map(|(_, image)| image).collect();
    assert_eq!(set, [image("1.0.2")], "what was moved back is not set again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_whose_name_somebody_took_gets_another() {
    let (plane, registry) = (shared().await, Registry::start().await);
    let namespace = plane.namespace("name-taken").await;
    registry.push_tags("web", ["1.0.0", "1.0.1"]).await;
    let image = |tag: &str| format!("{}/web:{tag}", registry.host);
    let setup = Setup::in_namespace(&namespace, "1s");
    namespace.create(&deployment("web", &image("1.0.0"), policy("patch")).to_string()).await;
    let operator = Operator::start(plane, &setup).await;
    runs(&namespace, "web", &[&image("1.0.1")]).await;
    let mine = updates(&namespace, 1, "Succeeded").await.remove(0);
    let states = async || all(&namespace, "imagestates").await;
    eventually("what was set is remembered", async || (!states().await.is_empty()).then_some(())).await;
    drop(operator);
    // The same change, made again after its end; the second name is somebody else's.
    let (id, name) = (mine["spec"]["id"].as_str().unwrap(), mine["metadata"]["name"].as_str().unwrap());
    let mut taken = json!({
        "apiVersion": mine["apiVersion"], "kind": mine["kind"], "metadata": {"name": format!("{name}-2")}, "spec": mine["spec"],
    });
    taken["spec"]["id"] = json!("theirs");
    namespace.create(&taken.to_string()).await;
    namespace.delete("imagestates", "deployment-web").await;
    let back = json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": image("1.0.0")}]}}}});
    let annotations = json!({"metadata": {"annotations": {"supercargo.dev/last-update": null}}});
    namespace.merge("deployments", "web", back).await;
    namespace.merge("deployments", "web", annotations).await;
    let operator = Operator::start(plane, &setup).await;
    runs(&namespace, "web", &[&image("1.0.1")]).await;
    eventually("it is recorded by a third name", async || {
        let all = all(&namespace, "imageupdates").await;
        let third = all.iter().find(|update| update["metadata"]["name"] == format!("{name}-3"))?;
        (third["status"]["phase"] == "Succeeded" && third["spec"]["id"] == format!("{id}-3")).then_some(())
    })
    .await;
    let now = namespace.get("imageupdates", name).await;
    assert_eq!((&now["status"], &now["spec"]), (&mine["status"], &mine["spec"]), "what has ended stays as it is");
    drop(operator);
}

#[tokio::test(flavor = "multi_thread")]
async fn kinds_that_are_installed_later_are_used_without_a_restart() {
    let (plane, registry) = (ControlPlane::start_without_kinds(Parts::Api).await, Registry::start().await);
    let namespace = plane.namespace_with("late", json!({})).await;
    registry.push_tags("web", ["1.0.0", "1.0.1"]).await;
    let image = |tag: &str| format!("{}/web:{tag}", registry.host);
    namespace.create(&deployment("web", &image("1.0.0"), policy("patch")).to_string()).await;
    let operator = Operator::start(&plane, &Setup::in_namespace(&namespace, "1s")).await;
    runs(&namespace, "web", &[&image("1.0.1")]).await;
    undo(&namespace, "web", &image("1.0.0")).await;
    let told = event_says(&namespace, "web", "moved container").await;
    let ends = format!("setting {} by hand ends the hold", image("1.0.1"));
    assert!(told.contains(&ends) && told.ends_with("(reverted)"), "{told}");
    plane.define_kinds().await;
    // They are asked for again after a minute.
    let is_seen = async || operator.process.output().contains("recorded in the cluster from now on").then_some(());
    eventually("they are found", is_seen).await;
    // What was remembered until then is remembered there.
    eventually("what was moved back is recorded", async || {
        let state = all(&namespace, "imagestates").await.pop()?;
        (state["status"]["holds"][0]["to"] == image("1.0.1")).then_some(())
    })
    .await;
    registry.push("web", "1.0.2", &Image::unique()).await;
    runs(&namespace, "web", &[&image("1.0.2")]).await;
    // The one from before is recorded too.
    updates(&namespace, 2, "Succeeded").await;
    let log = operator.process.output();
    let warned = log.lines().filter(|line| line.contains("supercargo crds | kubectl apply --server-side -f -"));
    assert_eq!(warned.count(), 1, "{log}");
}
