//! One guarded patch per update, and what becomes of it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use http::Method;
use serde_json::{Value, json};
use supercargo::{
    cluster::Objects,
    domain::{
        gate,
        image::ImageRef,
        plan::{Approved, Plan, Proposed},
        target::Route,
        update::{Change, Item, LastUpdate, Update},
        workload::WorkloadId,
    },
    ports::{Outcome, Rehearsal, Sink, Workloads},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{clock, create, id, manifest};
use crate::support::{
    control_plane::{self, ADMIN, ControlPlane, PLAIN, Parts, audited_user, request},
    eventually,
};

const NOTE: &str = "supercargo.dev/last-update";

/// An approved plan of these changes: `("web", "web:1", "web:2")`; a container written `init/setup` is an init one.
fn propose(workload: &WorkloadId, changes: &[(&str, &str, &str)]) -> Plan<Proposed> {
    let image = |text: &str| ImageRef::parse(text).unwrap();
    let change = |&(container, from, to): &(&str, &str, &str)| Change {
        init: container.starts_with("init/"),
        container: container.trim_start_matches("init/").into(),
        from: image(from),
        to: image(to),
    };
    let items = changes.iter().map(change).map(Item::from).collect();
    let proposed = "2026-01-01T00:00:00Z".parse().unwrap();
    Plan::propose(Update::new(workload.clone(), items, Route::Cluster, proposed))
}

fn approve(plan: Plan<Proposed>) -> Plan<Approved> {
    gate::pass(plan, &gate::Context::default()).expect("every gate is open")
}

fn plan(workload: &WorkloadId, changes: &[(&str, &str, &str)]) -> Plan<Approved> {
    approve(propose(workload, changes))
}

/// Applies one plan as this user.
async fn apply(plane: &ControlPlane, user: &str, plan: Plan<Approved>) -> Outcome {
    let objects = Objects::new(plane.client(user).await, clock());
    objects.apply(vec![plan]).await.remove(0)
}

fn is_applied(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Applied(written) if !written.resource_version.is_empty())
}

/// A user of the test's own: what it asks is counted.
async fn user_and_objects(plane: &ControlPlane) -> (String, Objects) {
    let user = audited_user();
    let objects = Objects::new(plane.client(&user).await, clock());
    (user, objects)
}

/// Four editors change 100 fields, ten times each. An edit tests that the one before it on the same field is still
/// there.
#[tokio::test]
async fn a_thousand_racing_edits_of_other_fields_survive_a_hundred_updates() {
    // Without controllers: each edit would keep them busy.
    let plane = ControlPlane::start(Parts::Api).await;
    let ns = plane.namespace_with("race", json!({})).await;
    let fields = ["/metadata/annotations", "/metadata/labels", "/spec/template/spec/nodeSelector"];
    let field = |n: usize| format!("{}/edit-{n}", fields[n % fields.len()]);
    let mut object = manifest("Deployment", "web", &[("web", "r.test/web:1.0.0")]);
    for (at, path) in fields.iter().enumerate() {
        let keys = (0..100).filter(|n| n % fields.len() == at).map(|n| (format!("edit-{n}"), json!("0")));
        let parent = path.rsplit_once('/').unwrap();
        object.pointer_mut(parent.0).unwrap()[parent.1] = keys.collect();
    }
    ns.create(&object.to_string()).await;
    let web = id("Deployment", &ns.name, "web");
    let path = format!("/apis/apps/v1/namespaces/{}/deployments/web", ns.name);
    let (_, objects) = user_and_objects(&plane).await;

    let editors = (0..4).map(async |editor| {
        let client = plane.client(ADMIN).await;
        for (round, n) in (0..10).flat_map(|round| (editor..100).step_by(4).map(move |n| (round, n))) {
            let (before, after) = (round.to_string(), (round + 1).to_string());
            let edit = json!([
                {"op": "test", "path": field(n), "value": before},
                {"op": "replace", "path": field(n), "value": after},
            ]);
            let answer = request(&client, Method::PATCH, &path, Some(&edit)).await;
            answer.unwrap_or_else(|e| panic!("edit {round} of {} was undone: {e}", field(n)));
        }
    });
    let updates = async {
        for n in 0..100 {
            let change = ("web", &*format!("r.test/web:1.0.{n}"), &*format!("r.test/web:1.0.{}", n + 1));
            let outcome = objects.apply(vec![plan(&web, &[change])]).await.remove(0);
            assert!(is_applied(&outcome), "update {n}: {outcome:?}");
        }
    };
    futures::future::join(futures::future::join_all(editors), updates).await;

    let after = ns.get("deployments", "web").await;
    for n in 0..100 {
        assert_eq!(after.pointer(&field(n)), Some(&json!("10")), "{}", field(n));
    }
    assert_eq!(ns.images("deployments", "web").await, ["r.test/web:1.0.100"]);
}

#[tokio::test]
async fn what_was_decided_on_is_patched_without_reading_it_and_read_again_only_if_it_has_changed() {
    let plane = control_plane::shared().await;
    let ns = plane.namespace("decided-on").await;
    let (a, b) = (("a", "r.test/web:1"), ("b", "r.test/web:1"));
    ns.create(&manifest("Deployment", "web", &[a, b]).to_string()).await;
    let web = id("Deployment", &ns.name, "web");
    let decided_on =
        Arc::new(Objects::new(plane.client(ADMIN).await, clock()).get(&web).await.unwrap().unwrap().workload);
    let change = |container, to| approve(propose(&web, &[(container, "r.test/web:1", to)]).on(decided_on.clone()));
    let (user, objects) = user_and_objects(plane).await;

    assert!(is_applied(&objects.apply(vec![change("b", "r.test/web:2")]).await[0]));
    assert_eq!(ns.images("deployments", "web").await, ["r.test/web:1", "r.test/web:2"]);
    let verbs = || plane.audit(&user).into_iter().map(|request| request.verb).collect::<Vec<_>>();
    assert_eq!(verbs(), ["patch"]);

    assert_eq!(objects.apply(vec![change("b", "r.test/web:3")]).await, [Outcome::Stale]);
    assert_eq!(verbs(), ["patch", "patch", "get"]);

    // A container in front of it: its place is found again.
    let path = format!("/apis/apps/v1/namespaces/{}/deployments/web", ns.name);
    let first = json!([{"op": "add", "path": "/spec/template/spec/containers/0", "value": {"name": "c", "image": "r.test/c:1"}}]);
    plane.request(Method::PATCH, &path, Some(&first)).await.unwrap();
    assert!(is_applied(&objects.apply(vec![change("a", "r.test/web:4")]).await[0]));
    assert_eq!(ns.images("deployments", "web").await, ["r.test/c:1", "r.test/web:4", "r.test/web:2"]);
    assert_eq!(verbs()[3..], ["patch", "get", "patch"]);
}

#[tokio::test]
async fn what_was_deleted_and_made_again_is_not_written() {
    let plane = control_plane::shared().await;
    let ns = plane.namespace("made-again").await;
    let object = manifest("Deployment", "web", &[("web", "r.test/web:1")]).to_string();
    ns.create(&object).await;
    let web = id("Deployment", &ns.name, "web");
    let (user, objects) = user_and_objects(plane).await;
    let old = Objects::new(plane.client(ADMIN).await, clock()).get(&web).await.unwrap().unwrap().workload;
    let update = propose(&web, &[("web", "r.test/web:1", "r.test/web:2")]).update().clone();
    let plan = || approve(Plan::propose(Update { uid: old.uid.clone(), ..update.clone() }).on(Arc::new(old.clone())));
    plane.kubectl(&["-n", &ns.name, "delete", "deployment", "web"]);
    ns.create(&object).await;
    // Whether it was decided on or is read: the same images, in another object.
    assert_eq!(objects.apply(vec![plan()]).await, [Outcome::Stale]);
    let verbs: Vec<_> = plane.audit(&user).into_iter().map(|request| request.verb).collect();
    assert_eq!(verbs, ["patch", "get"]);
    assert_eq!(ns.images("deployments", "web").await, ["r.test/web:1"]);
    assert_eq!(ns.get("deployments", "web").await["metadata"]["annotations"][NOTE], json!(null));
}

#[tokio::test]
async fn what_was_written_without_an_answer_and_moved_back_since_is_not_written_again() {
    let plane = control_plane::shared().await;
    let ns = plane.namespace("unanswered").await;
    ns.create(&manifest("Deployment", "web", &[("web", "r.test/web:1")]).to_string()).await;
    let web = id("Deployment", &ns.name, "web");
    let (_, objects) = user_and_objects(plane).await;
    // As it was known before the answer was lost.
    let known = Arc::new(objects.get(&web).await.unwrap().unwrap().workload);
    let change = || approve(propose(&web, &[("web", "r.test/web:1", "r.test/web:2")]).on(known.clone()));
    assert!(is_applied(&objects.apply(vec![change()]).await[0]));
    let path = format!("/apis/apps/v1/namespaces/{}/deployments/web", ns.name);
    let back = json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "r.test/web:1"}]);
    plane.request(Method::PATCH, &path, Some(&back)).await.unwrap();

    assert_eq!(objects.apply(vec![change()]).await, [Outcome::Stale]);
    assert_eq!(ns.images("deployments", "web").await, ["r.test/web:1"]);
}

#[tokio::test]
async fn nothing_but_the_image_and_the_note_changes() {
    let plane = control_plane::shared().await;
    let ns = plane.namespace("only").await;
    let mut object = manifest("Deployment", "web", &[("web", "r.test/web:1"), ("log", "r.test/log:1")]);
    object["metadata"]["annotations"] = json!({"other.test/note": "kept"});
    object["spec"]["template"]["spec"]["containers"][0]["env"] = json!([{"name": "A", "value": "1"}]);
    ns.create(&object.to_string()).await;
    let web = id("Deployment", &ns.name, "web");
    let before = ns.get("deployments", "web").await;
    let outcome = apply(plane, &audited_user(), plan(&web, &[("web", "r.test/web:1", "r.test/web:2")])).await;
    let after = ns.get("deployments", "web").await;
    assert!(is_applied(&outcome), "{outcome:?}");

    let note: LastUpdate = serde_json::from_str(after["metadata"]["annotations"][NOTE].as_str().unwrap()).unwrap();
    assert_eq!(note.changes[0].to.to_string(), "r.test/web:2");

    let mut expected = before;
    expected["spec"]["template"]["spec"]["containers"][0]["image"] = json!("r.test/web:2");
    expected["metadata"]["annotations"][NOTE] = after["metadata"]["annotations"][NOTE].clone();
    for server_made in ["resourceVersion", "generation", "managedFields"] {
        expected["metadata"][server_made] = after["metadata"][server_made].clone();
    }
    expected["status"] = after["status"].clone();
    assert_eq!(after, expected);

    let manager = after["metadata"]["managedFields"].as_array().unwrap().iter().find(|m| m["manager"] == "supercargo");
    assert_eq!(manager.unwrap()["operation"], "Update");
}

#[tokio::test]
async fn workloads_of_every_kind_without_annotations_get_the_note_in_a_new_map() {
    let plane = control_plane::shared().await;
    let ns = plane.namespace("kinds").await;
    for (kind, plural) in [
        ("StatefulSet", "statefulsets"),
        ("DaemonSet", "daemonsets"),
        ("CronJob", "cronjobs"),
        ("Deployment", "deployments"),
    ] {
        let web = create(&ns, kind, "web", &[("web", "r.test/web:1")]).await;
        let outcome = apply(plane, &audited_user(), plan(&web, &[("web", "r.test/web:1", "r.test/web:2")])).await;
        assert!(is_applied(&outcome), "{kind}: {outcome:?}");
        assert_eq!(ns.images(plural, "web").await, ["r.test/web:2"], "{kind}");
        assert!(ns.get(plural, "web").await["metadata"]["annotations"][NOTE].is_string(), "{kind}");
    }
}

#[tokio::test]
async fn an_annotation_that_comes_at_the_same_moment_is_not_lost() {
    let plane = control_plane::shared().await;
    let ns = plane.namespace("first-annotation").await;
    let (user, objects) = user_and_objects(plane).await;
    let admin = plane.client(ADMIN).await;
    for n in 0..20 {
        let name = format!("web-{n}");
        let web = create(&ns, "StatefulSet", &name, &[("web", "r.test/web:1")]).await;
        let path = format!("/apis/apps/v1/namespaces/{}/statefulsets/{name}", ns.name);
        let edit = json!({"metadata": {"annotations": {"edit.test/mine": "1"}}});
        let (edited, outcome) = tokio::join!(
            request(&admin, Method::PATCH, &path, Some(&edit)),
            objects.apply(vec![plan(&web, &[("web", "r.test/web:1", "r.test/web:2")])]),
        );
        edited.unwrap();
        assert!(is_applied(&outcome[0]), "{outcome:?}");
        let annotations = ns.get("statefulsets", &name).await["metadata"]["annotations"].clone();
        assert!(annotations["edit.test/mine"] == "1" && annotations[NOTE].is_string(), "{annotations}");
    }
    assert!(plane.audit(&user).iter().filter(|a| a.verb == "patch").count() >= 20);
}

#[tokio::test]
async fn all_containers_of_an_update_go_in_one_patch() {
    let plane = control_plane::shared().await;
    let ns = plane.namespace("one-patch").await;
    let containers = [("log", "r.test/log:1"), ("web", "r.test/web:1"), ("init/setup", "r.test/web:1")];
    let web = create(&ns, "Deployment", "web", &containers).await;
    let user = audited_user();
    let changes = [
        ("web", "r.test/web:1", "r.test/web:2"),
        ("log", "r.test/log:1", "r.test/log:3"),
        ("init/setup", "r.test/web:1", "r.test/web:2"),
    ];
    let outcome = apply(plane, &user, plan(&web, &changes)).await;
    assert!(is_applied(&outcome), "{outcome:?}");
    assert_eq!(ns.images("deployments", "web").await, ["r.test/log:3", "r.test/web:2", "r.test/web:2"]);
    let verbs: Vec<String> = plane.audit(&user).into_iter().map(|a| a.verb).collect();
    assert_eq!(verbs, ["get", "patch"]);
    let patch = plane.audit(&user).remove(1);
    assert!(patch.uri.contains("fieldManager=supercargo"), "{}", patch.uri);
    let operations = patch.body.as_array().unwrap();
    let on_spec = |op: &&Value| op["path"].as_str().unwrap().starts_with("/spec/");
    assert_eq!(operations.iter().filter(on_spec).filter(|op| op["op"] == "test").count(), 6, "{operations:?}");
}

#[tokio::test]
async fn a_refusal_by_an_admission_is_told_in_its_own_words() {
    let plane = control_plane::shared().await;
    let ns = plane.namespace("refusal").await;
    let web = create(&ns, "Deployment", "web", &[("web", "r.test/web:1")]).await;
    plane
        .create(&format!(
            r#"
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{name: {0}}}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules: [{{apiGroups: [apps], apiVersions: [v1], operations: [UPDATE], resources: [deployments]}}]
  validations:
  - expression: "!object.spec.template.spec.containers.exists(c, c.image.endsWith(':2'))"
    message: nobody ships two
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {{name: {0}}}
spec:
  policyName: {0}
  validationActions: [Deny]
  matchResources: {{namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {0}}}}}}}
"#,
            ns.name
        ))
        .await;
    let dry = format!("/apis/apps/v1/namespaces/{}/deployments/web?dryRun=All", ns.name);
    let forbidden =
        json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "r.test/web:2"}]);
    eventually("the policy is active", async || plane.request(Method::PATCH, &dry, Some(&forbidden)).await.err()).await;

    // What is asked before anybody approves changes nothing.
    let (user, objects) = user_and_objects(plane).await;
    let two = || propose(&web, &[("web", "r.test/web:1", "r.test/web:2")]);
    let Rehearsal::Refused(words) = objects.rehearse(&two()).await else { panic!("it is refused") };
    assert!(words.contains("nobody ships two"), "{words}");
    let three = propose(&web, &[("web", "r.test/web:1", "r.test/web:3")]);
    assert_eq!(objects.rehearse(&three).await, Rehearsal::Accepted);
    assert_eq!(ns.images("deployments", "web").await, ["r.test/web:1"]);
    assert!(plane.audit(&user).iter().all(|a| a.verb != "patch" || a.uri.contains("dryRun=All")));
    let elsewhere = propose(&web, &[("web", "r.test/web:9", "r.test/web:10")]);
    assert!(matches!(objects.rehearse(&elsewhere).await, Rehearsal::Unknown(_)), "it was decided on something else");

    let user = audited_user();
    let outcome = apply(plane, &user, approve(two())).await;
    let Outcome::Refused(words) = outcome else { panic!("{outcome:?}") };
    assert!(words.contains("nobody ships two"), "{words}");
    assert_eq!(plane.audit(&user).iter().filter(|a| a.verb == "patch").count(), 1, "a refusal is not tried again");
    assert_eq!(ns.images("deployments", "web").await, ["r.test/web:1"]);

    let allowed = apply(plane, &user, plan(&web, &[("web", "r.test/web:1", "r.test/web:3")])).await;
    assert!(is_applied(&allowed), "{allowed:?}");
}

#[tokio::test]
async fn a_refusal_by_validation_is_told_and_is_no_failed_test() {
    let plane = control_plane::shared().await;
    let ns = plane.namespace("too-long").await;
    // An annotation map that is nearly full: the note is one too many.
    let mut object = manifest("Deployment", "web", &[("web", "r.test/web:1")]);
    object["metadata"]["annotations"] = json!({"big.test/a": "x".repeat(256 * 1024 - 50)});
    ns.create(&object.to_string()).await;
    let web = id("Deployment", &ns.name, "web");
    let outcome = apply(plane, &audited_user(), plan(&web, &[("web", "r.test/web:1", "r.test/web:2")])).await;
    let Outcome::Refused(words) = outcome else { panic!("{outcome:?}") };
    assert!(words.contains("annotations") && words.contains("Too long"), "{words}");
}

#[tokio::test]
async fn of_two_updates_at_the_same_moment_one_is_stale() {
    let plane = control_plane::shared().await;
    let ns = plane.namespace("stale").await;
    let (user, objects) = user_and_objects(plane).await;
    for n in 0..20 {
        let web = create(&ns, "Deployment", &format!("web-{n}"), &[("web", "r.test/web:1")]).await;
        let (a, b) = tokio::join!(
            objects.apply(vec![plan(&web, &[("web", "r.test/web:1", "r.test/web:2")])]),
            objects.apply(vec![plan(&web, &[("web", "r.test/web:1", "r.test/web:3")])]),
        );
        let stale = [&a[0], &b[0]].into_iter().filter(|o| **o == Outcome::Stale).count();
        assert!(stale == 1 && (is_applied(&a[0]) || is_applied(&b[0])), "{a:?} {b:?}");
    }
    assert!(plane.audit(&user).iter().any(|a| a.code == 422), "a failed test was among them");
}

#[tokio::test]
async fn what_has_changed_or_gone_is_not_written() {
    let plane = control_plane::shared().await;
    let ns = plane.namespace("gone").await;
    let web = create(&ns, "Deployment", "web", &[("web", "r.test/web:9")]).await;
    let user = audited_user();
    let old = || plan(&web, &[("web", "r.test/web:1", "r.test/web:2")]);
    assert_eq!(apply(plane, &user, old()).await, Outcome::Stale);
    ns.delete("deployments", "web").await;
    assert_eq!(apply(plane, &user, old()).await, Outcome::Gone);
    assert!(plane.audit(&user).iter().all(|a| a.verb == "get"));
}

#[tokio::test]
async fn the_same_update_twice_is_written_once() {
    let plane = control_plane::shared().await;
    let ns = plane.namespace("twice").await;
    let web = create(&ns, "Deployment", "web", &[("web", "r.test/web:1")]).await;
    let user = audited_user();
    let one = || plan(&web, &[("web", "r.test/web:1", "r.test/web:2")]);
    for _ in 0..2 {
        let outcome = apply(plane, &user, one()).await;
        assert!(is_applied(&outcome), "{outcome:?}");
    }
    assert_eq!(plane.audit(&user).iter().filter(|a| a.verb == "patch").count(), 1);
}

#[tokio::test]
async fn a_lost_answer_is_found_out_and_nothing_is_written_twice() {
    let plane = control_plane::shared().await;
    let ns = plane.namespace("lost").await;
    let web = create(&ns, "Deployment", "web", &[("web", "r.test/web:1")]).await;
    let user = audited_user();
    let is_patched = {
        let user = user.clone();
        move || plane.audit(&user).iter().any(|a| a.verb == "patch")
    };
    let (port, cut) = lossy_proxy(plane.url().rsplit_once(':').unwrap().1.parse().unwrap(), is_patched).await;
    let objects = Objects::new(plane.client_at(&user, &format!("https://127.0.0.1:{port}")).await, clock());
    let outcome = objects.apply(vec![plan(&web, &[("web", "r.test/web:1", "r.test/web:2")])]).await.remove(0);
    assert!(is_applied(&outcome), "{outcome:?}");
    assert!(cut.load(Ordering::SeqCst), "an answer was lost");
    assert_eq!(plane.audit(&user).iter().filter(|a| a.verb == "patch").count(), 1);
}

/// Passes everything on, until `when` holds as an answer comes: that one is lost with its connection, the first time.
async fn lossy_proxy(to: u16, when: impl Fn() -> bool + Send + Sync + 'static) -> (u16, Arc<AtomicBool>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let cut = Arc::new(AtomicBool::new(false));
    let (when, done) = (Arc::new(when), cut.clone());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (when, done) = (when.clone(), done.clone());
            tokio::spawn(async move {
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = TcpStream::connect(("127.0.0.1", to)).await?.into_split();
                let up = tokio::io::copy(&mut from_client, &mut to_server);
                let down = async {
                    let mut buffer = vec![0; 64 * 1024];
                    loop {
                        let n = from_server.read(&mut buffer).await?;
                        let lose = when() && !done.swap(when(), Ordering::SeqCst);
                        if n == 0 || lose {
                            return Ok::<_, std::io::Error>(());
                        }
                        to_client.write_all(&buffer[..n]).await?;
                    }
                };
                tokio::select! { _ = up => {}, _ = down => {} }
                Ok::<_, std::io::Error>(())
            });
        }
    });
    (port, cut)
}

#[tokio::test]
async fn a_missing_right_is_said_plainly() {
    let plane = control_plane::shared().await;
    let ns = plane.namespace("no-right").await;
    let web = create(&ns, "Deployment", "web", &[("web", "r.test/web:1")]).await;
    ns.create(&format!(
        r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: reader}}
rules: [{{apiGroups: [apps], resources: [deployments], verbs: [get]}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: reader}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}}
subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: User, name: {}}}]
"#,
        PLAIN[1]
    ))
    .await;
    let outcome = apply(plane, PLAIN[1], plan(&web, &[("web", "r.test/web:1", "r.test/web:2")])).await;
    let Outcome::Failed(words) = outcome else { panic!("{outcome:?}") };
    assert!(words.contains("no right to change") && words.contains("grant `patch`"), "{words}");
}

#[tokio::test]
async fn who_set_an_image_is_read_from_managed_fields() {
    let plane = control_plane::shared().await;
    let ns = plane.namespace("managers").await;
    let web = create(&ns, "Deployment", "web", &[("web", "r.test/web:1"), ("log", "r.test/log:1")]).await;
    let (_, objects) = user_and_objects(plane).await;
    assert!(is_applied(&objects.apply(vec![plan(&web, &[("web", "r.test/web:1", "r.test/web:2")])]).await[0]));
    let manager = async |container: &str| {
        let observed = objects.get(&web).await.unwrap().unwrap();
        let mut of: Vec<_> = observed.image_managers.into_iter().filter(|m| m.container == container).collect();
        assert_eq!(of.len(), 1, "{of:?}");
        of.remove(0)
    };
    let ours = manager("web").await;
    assert_eq!((ours.manager.as_str(), ours.operation.as_str(), ours.time.is_some()), ("supercargo", "Update", true));
    assert_ne!(manager("log").await.manager, "supercargo");

    plane.kubectl(&["-n", &ns.name, "set", "image", "deployment/web", "web=r.test/web:1"]);
    assert_eq!(manager("web").await.manager, "kubectl-set");
    let gone = objects.get(&id("Deployment", &ns.name, "nothing")).await.unwrap();
    assert!(gone.is_none());
}
