//! The two policies of admission: who may make a review, and who may write records.

use http::{Method, Request};
use kube::Client;
use serde_json::{Value, json};

use super::{IN_ONES_OWN_NAME, RECORDS, Refused, ask, bind, dry_run, guarded, in_force, make, operator, plane};
use crate::{
    deploy::{of_kind, rendered, shell},
    docs::{blocks, built, page},
    support::{
        control_plane::{ADMIN, ControlPlane, Namespace, OF_A_GROUP, PLAIN, Parts, request},
        eventually,
        objects::deployment,
        records::{history, history_status, review, state, state_status, status, update},
    },
};

pub(super) const REVIEWS: &str = "imageupdatereviews";
const APPROVER: &str = "supercargo-approver";
const OWN: &str = "a review is made in one's own name: set approver to the Username that `kubectl auth whoami` shows";
const NO_PERSON: &str = "a review is made by a person, and this is a ServiceAccount; log in as yourself";
pub(super) const NO_RIGHT: &str = "you may not approve or reject this update; ask for the ClusterRole \
                                   supercargo-approver in its namespace (verb approve on imageupdates)";
pub(super) const NO_OVERRIDE: &str = "you may not override for this update; leave override out, or ask for the verb \
                                      override on imageupdates in its namespace";
const SPEAKS: &str = "only supercargo speaks for others; leave onBehalfOf out";
const NOT_FOR_THEM: &str = "supercargo may not speak for this approver; an administrator adds a line with onBehalfOf, a \
                            space and approver to the key identities of the ConfigMap supercargo-approvers";

/// That it was refused, with 403 and by these words.
fn assert_forbidden(answer: Result<Value, Refused>, words: &str) {
    let refused = answer.unwrap_err();
    assert_eq!((refused.code, &*refused.reason), (403, "Forbidden"), "{refused:?}");
    assert!(refused.message.ends_with(&format!(" denied request: {words}")), "{words}: {}", refused.message);
}

fn with(mut review: Value, fields: Value) -> Value {
    review["spec"].as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    review
}

/// A Role with these rules, for one user.
pub(crate) async fn allow(namespace: &Namespace<'_>, user: &str, rules: Value) {
    let api = "rbac.authorization.k8s.io";
    let name = format!("of-{user}");
    let role = json!({"apiVersion": format!("{api}/v1"), "kind": "Role", "metadata": {"name": name}, "rules": rules});
    let binding = json!({
        "apiVersion": format!("{api}/v1"), "kind": "RoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": api, "kind": "Role", "name": name},
        "subjects": [{"apiGroup": api, "kind": "User", "name": user}],
    });
    for object in [role, binding] {
        namespace.create(&object.to_string()).await;
    }
}

pub(super) fn rule(resource: &str, verbs: &[&str]) -> Value {
    json!({"apiGroups": ["supercargo.dev"], "resources": [resource], "verbs": verbs})
}

#[test]
fn each_validation_says_forbidden_and_the_name_is_asked_first() {
    let objects = rendered("approvals");
    let policies: Vec<&Value> = of_kind(&objects, "ValidatingAdmissionPolicy").collect();
    assert_eq!(policies.len(), 2);
    for policy in &policies {
        assert_eq!(policy["spec"]["failurePolicy"], "Fail");
        assert_eq!(policy["spec"]["variables"][0]["name"], "operator");
        for validation in policy["spec"]["validations"].as_array().unwrap() {
            assert!(validation["reason"] == "Forbidden" && validation["message"].is_string(), "{validation}");
        }
    }
    let reviews = policies.iter().find(|policy| policy["metadata"]["name"] == "supercargo-reviews").unwrap();
    assert!(reviews["spec"]["validations"][0]["message"].as_str().unwrap().starts_with(IN_ONES_OWN_NAME));
    let bindings: Vec<&Value> = of_kind(&objects, "ValidatingAdmissionPolicyBinding").collect();
    assert!(
        bindings.len() == 2 && bindings.iter().all(|binding| binding["spec"]["validationActions"] == json!(["Deny"]))
    );
}

#[tokio::test]
async fn a_review_in_ones_own_name_is_taken_and_stays_as_it_was_written() {
    let plane = plane().await;
    let namespace = plane.namespace("own").await;
    bind(&namespace, APPROVER, "User", PLAIN[0]).await;
    let alice = plane.client(PLAIN[0]).await;
    let made = with(review("own", "web", PLAIN[0]), json!({"reason": "seen on staging"}));
    let taken = make(&namespace, &alice, &made).await.unwrap();
    assert_eq!(taken["spec"], made["spec"]);

    let admin = plane.client(ADMIN).await;
    for spec in [
        json!({"verb": "reject"}),
        json!({"approver": ADMIN}),
        json!({"update": {"uid": "u-2"}}),
        json!({"target": "0".repeat(64)}),
        json!({"reason": null}),
        json!(null),
    ] {
        let patch = json!({"spec": spec});
        let refused = ask(&namespace, &admin, Method::PATCH, REVIEWS, "/own", Some(&patch)).await.unwrap_err();
        let why = if spec.is_null() { "spec: Required value" } else { "the spec of a review stays as it was written" };
        assert!(refused.code == 422 && refused.message.contains(why), "{spec}: {refused:?}");
    }
    // Whose it is may be said later.
    let labels = json!({"metadata": {"labels": {"team": "shop"}}});
    ask(&namespace, &admin, Method::PATCH, REVIEWS, "/own", Some(&labels)).await.unwrap();
}

#[tokio::test]
async fn nobody_makes_a_review_in_the_name_of_another() {
    let plane = plane().await;
    let namespace = plane.namespace("another").await;
    bind(&namespace, APPROVER, "User", PLAIN[1]).await;
    let bob = plane.client(PLAIN[1]).await;
    make(&namespace, &bob, &review("bob", "web", PLAIN[1])).await.unwrap();
    let of_alice = review("alice", "web", PLAIN[0]);
    assert_eq!(
        make(&namespace, &bob, &of_alice).await.unwrap_err(),
        Refused {
            code: 403,
            reason: "Forbidden".to_owned(),
            message: "imageupdatereviews.supercargo.dev \"alice\" is forbidden: ValidatingAdmissionPolicy \
                      'supercargo-reviews' with binding 'supercargo-reviews' denied request: a review is made in one's own \
                      name: set approver to the Username that `kubectl auth whoami` shows"
                .to_owned(),
        }
    );
    // Nor does who has every right, whichever way it comes; nor the operator, whose question this is.
    let admin = plane.client(ADMIN).await;
    assert_forbidden(make(&namespace, &admin, &of_alice).await, OWN);
    let path = format!("/apis/supercargo.dev/v1alpha1/namespaces/{}/{REVIEWS}/alice?fieldManager=test", namespace.name);
    let apply = Request::patch(path).header("content-type", "application/apply-patch+yaml");
    let apply = admin.request::<Value>(apply.body(of_alice.to_string().into_bytes()).unwrap()).await.unwrap_err();
    assert!(apply.to_string().contains(OWN), "{apply}");
    assert_forbidden(dry_run(&namespace, &operator(plane).await, REVIEWS, &of_alice).await, OWN);
}

#[tokio::test]
async fn a_service_account_makes_no_review_whatever_its_rights() {
    let plane = plane().await;
    let namespace = plane.namespace("robot").await;
    namespace.create("{apiVersion: v1, kind: ServiceAccount, metadata: {name: robot}}").await;
    let robot = format!("system:serviceaccount:{}:robot", namespace.name);
    let account = format!("--serviceaccount={}:robot", namespace.name);
    plane.kubectl(&["-n", &namespace.name, "create", "rolebinding", "robot", "--clusterrole=cluster-admin", &account]);
    let client = plane.client_with_token(&namespace.token("robot").await).await;
    assert_forbidden(make(&namespace, &client, &review("robot", "web", &robot)).await, NO_PERSON);
    let operator = operator(plane).await;
    let itself = review("itself", "web", "system:serviceaccount:supercargo:supercargo");
    assert_forbidden(make(&namespace, &operator, &itself).await, NO_PERSON);
}

#[tokio::test]
async fn who_may_not_approve_an_update_makes_no_review_of_it() {
    let plane = plane().await;
    let namespace = plane.namespace("no-right").await;
    let bob = plane.client(PLAIN[1]).await;
    allow(&namespace, PLAIN[1], json!([rule(REVIEWS, &["create"]), rule("imageupdates", &["get", "update"])])).await;
    for verb in ["approve", "reject"] {
        let made = with(review("bob", "web", PLAIN[1]), json!({"verb": verb}));
        assert_forbidden(make(&namespace, &bob, &made).await, NO_RIGHT);
    }
}

#[tokio::test]
async fn a_right_to_one_update_is_no_right_to_another() {
    let plane = plane().await;
    let [namespace, other] = [plane.namespace("one").await, plane.namespace("other").await];
    let alice = plane.client(PLAIN[0]).await;
    let mut one = rule("imageupdates", &["approve"]);
    one["resourceNames"] = json!(["web"]);
    allow(&namespace, PLAIN[0], json!([rule(REVIEWS, &["create"]), one])).await;
    allow(&other, PLAIN[0], json!([rule(REVIEWS, &["create"])])).await;
    make(&namespace, &alice, &review("web", "web", PLAIN[0])).await.unwrap();
    assert_forbidden(make(&namespace, &alice, &review("api", "api", PLAIN[0])).await, NO_RIGHT);
    assert_forbidden(make(&other, &alice, &review("web", "web", PLAIN[0])).await, NO_RIGHT);
}

#[tokio::test]
async fn a_right_that_comes_from_a_group_counts() {
    let plane = plane().await;
    let namespace = plane.namespace("group").await;
    let (carol, group) = OF_A_GROUP;
    bind(&namespace, APPROVER, "Group", group).await;
    make(&namespace, &plane.client(carol).await, &review("carol", "web", carol)).await.unwrap();
    // Also to read what is asked, and no more.
    let carol = plane.client(carol).await;
    ask(&namespace, &carol, Method::GET, "imageupdates", "", None).await.unwrap();
    for (method, plural, rest) in [
        (Method::GET, REVIEWS, ""),
        (Method::DELETE, REVIEWS, "/carol"),
        (Method::POST, "imageupdates", ""),
        (Method::DELETE, "imageupdates", "/web"),
        (Method::GET, "imagestates", ""),
    ] {
        let body = json!({});
        let refused = ask(&namespace, &carol, method, plural, rest, Some(&body)).await.unwrap_err();
        assert!(refused.code == 403 && refused.message.contains("User \"carol\" cannot"), "{refused:?}");
    }
}

#[tokio::test]
async fn an_override_needs_a_right_of_its_own_and_a_reason() {
    let plane = plane().await;
    let namespace = plane.namespace("override").await;
    let (alice, bob) = (plane.client(PLAIN[0]).await, plane.client(PLAIN[1]).await);
    bind(&namespace, APPROVER, "User", PLAIN[0]).await;
    let both = rule("imageupdates", &["approve", "override"]);
    allow(&namespace, PLAIN[1], json!([rule(REVIEWS, &["create"]), both])).await;
    let of = |user: &str, fields: Value| with(review(user, "web", user), fields);
    let why = json!({"override": "window", "reason": "the site is down"});
    assert_forbidden(make(&namespace, &alice, &of(PLAIN[0], why.clone())).await, NO_OVERRIDE);
    for fields in [json!({"override": "window"}), json!({"override": "window", "reason": " \n"})] {
        let refused = make(&namespace, &bob, &of(PLAIN[1], fields)).await.unwrap_err();
        assert!(refused.code == 422 && refused.message.contains("an override needs a reason"), "{refused:?}");
    }
    make(&namespace, &bob, &of(PLAIN[1], why.clone())).await.unwrap();
    // The right to override is not one to approve.
    let other = plane.namespace("override").await;
    allow(&other, PLAIN[1], json!([rule(REVIEWS, &["create"]), rule("imageupdates", &["override"])])).await;
    assert_forbidden(make(&other, &bob, &of(PLAIN[1], why)).await, NO_RIGHT);
}

#[tokio::test]
async fn supercargo_alone_speaks_for_others_and_only_for_those_that_are_listed() {
    let plane = plane().await;
    let namespace = plane.namespace("for-others").await;
    let operator = operator(plane).await;
    let of = |name: &str, approver: &str, identity: &str| {
        with(review(name, "web", approver), json!({"onBehalfOf": identity}))
    };
    let of_alice = of("alice", PLAIN[0], "slack:T1/U1");
    assert_forbidden(make(&namespace, &operator, &of_alice).await, NOT_FOR_THEM);

    let lines = "slack:T1/U1 alice\nslack:T1/U2 Alice Smith\n";
    let home = Namespace { plane, name: "supercargo".to_owned() };
    home.merge("configmaps", "supercargo-approvers", json!({"data": {"identities": lines}})).await;
    eventually("the list is known", async || dry_run(&namespace, &operator, REVIEWS, &of_alice).await.ok()).await;
    make(&namespace, &operator, &of_alice).await.unwrap();
    make(&namespace, &operator, &of("smith", "Alice Smith", "slack:T1/U2")).await.unwrap();
    for (identity, approver) in [
        ("slack:T1/U2", "alice"),
        ("slack:T1/U1", "bob"),
        ("slack:T1/U1", "alic"),
        ("slack:T1/U1", "alice\nslack:T1/U2 Alice Smith"),
        ("T1/U1", "alice"),
        ("slack:T1/U1", "Alice Smith"),
    ] {
        assert_forbidden(make(&namespace, &operator, &of("no", approver, identity)).await, NOT_FOR_THEM);
    }
    // It opens no window for others, as it may not itself.
    let opens = with(of("opens", PLAIN[0], "slack:T1/U1"), json!({"override": "window", "reason": "the site is down"}));
    assert_forbidden(make(&namespace, &operator, &opens).await, NO_OVERRIDE);

    // A person does not, nor another ServiceAccount, nor the administrator.
    bind(&namespace, APPROVER, "User", PLAIN[0]).await;
    let alice = plane.client(PLAIN[0]).await;
    assert_forbidden(make(&namespace, &alice, &of("own", PLAIN[0], "slack:T1/U1")).await, SPEAKS);
    assert_forbidden(make(&namespace, &alice, &of("bob", PLAIN[1], "slack:T1/U1")).await, OWN);
    assert_forbidden(make(&namespace, &plane.client(ADMIN).await, &of_alice).await, OWN);

    // What was listed stays when the policies are applied once more.
    shell(plane, "kubectl apply -k deploy/approvals");
    assert_eq!(home.get("configmaps", "supercargo-approvers").await["data"]["identities"], lines);
}

#[tokio::test]
async fn without_the_list_of_those_it_may_speak_for_no_review_is_taken() {
    let plane = guarded(Parts::Api).await;
    let namespace = plane.namespace_with("no-list", json!({})).await;
    let admin = plane.client(ADMIN).await;
    make(&namespace, &admin, &review("before", "web", ADMIN)).await.unwrap();
    Namespace { plane: &plane, name: "supercargo".to_owned() }.delete("configmaps", "supercargo-approvers").await;
    eventually("nothing is taken", async || {
        let refused = dry_run(&namespace, &admin, REVIEWS, &review("after", "web", ADMIN)).await.err()?;
        refused.message.contains("no params found for policy binding").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_review_of_another_form_is_refused() {
    let plane = plane().await;
    let namespace = plane.namespace("form").await;
    let admin = plane.client(ADMIN).await;
    let long = |length: usize| json!("x".repeat(length));
    for (pointer, value, why) in [
        ("/verb", json!("maybe"), "Unsupported value: \"maybe\""),
        ("/verb", json!(null), "spec.verb"),
        ("/update", json!({"name": "web"}), "spec.update.uid: Required value"),
        ("/update/name", long(254), "Too long: may not be more than 253"),
        ("/update/name", json!("../web"), "spec.update.name in body should match"),
        ("/update/uid", long(129), "Too long: may not be more than 128"),
        ("/target", json!("0".repeat(63)), "spec.target in body should match"),
        ("/target", json!("0".repeat(65)), "Too long: may not be more than 64"),
        ("/target", json!("A".repeat(64)), "spec.target in body should match"),
        ("/approver", json!(""), "spec.approver in body should be at least 1 chars long"),
        ("/approver", long(257), "Too long: may not be more than 256"),
        ("/onBehalfOf", long(257), "Too long: may not be more than 256"),
        ("/onBehalfOf", json!("slack:T1/U1 alice"), "spec.onBehalfOf in body should match"),
        ("/override", json!("freeze"), "Unsupported value: \"freeze\""),
        ("/reason", long(1025), "Too long: may not be more than 1024"),
        ("/more", json!(1), "unknown field \"spec.more\""),
    ] {
        let mut bad = review("bad", "web", ADMIN);
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        bad["spec"].pointer_mut(parent).unwrap()[key] = value;
        let refused = dry_run(&namespace, &admin, REVIEWS, &bad).await.unwrap_err();
        assert!(refused.message.contains(why), "{pointer}: {refused:?}");
    }
    let longest = json!({
        "update": {"name": "w".repeat(253), "uid": "u".repeat(128)}, "reason": "ä".repeat(1024), "override": "window",
    });
    dry_run(&namespace, &admin, REVIEWS, &with(review("longest", "web", ADMIN), longest)).await.unwrap();
}

#[tokio::test]
async fn records_are_written_by_the_operator_alone() {
    let plane = plane().await;
    let namespace = plane.namespace("records").await;
    let home = Namespace { plane, name: "supercargo".to_owned() };
    let operator = operator(plane).await;
    written(&namespace, &operator, "imageupdates", &update("web", "web"), &status("Waiting")).await;
    written(&namespace, &operator, "imagestates", &state("web"), &state_status()).await;
    written(&home, &operator, "imagehistories", &history(), &history_status()).await;

    let everything = rule("*", &["*"]);
    allow(&namespace, PLAIN[1], json!([everything])).await;
    allow(&home, PLAIN[1], json!([everything])).await;
    let (bob, admin) = (plane.client(PLAIN[1]).await, plane.client(ADMIN).await);
    let listed = async || ask(&home, &bob, Method::GET, "imagehistories", "", None).await.ok();
    eventually("bob may do everything with records", listed).await;
    let label = json!({"metadata": {"labels": {"by": "hand"}}});
    let known = history()["metadata"]["name"].as_str().unwrap().to_owned();
    for client in [&bob, &admin] {
        for (namespace, method, plural, rest, body) in [
            (&namespace, Method::POST, "imageupdates", "".to_owned(), update("forged", "web")),
            (&namespace, Method::PATCH, "imageupdates", "/web".to_owned(), label.clone()),
            (&namespace, Method::PATCH, "imageupdates", "/web/status".to_owned(), status("Succeeded")),
            (&namespace, Method::PATCH, "imagestates", "/web/status".to_owned(), json!({"status": {"holds": []}})),
            (&home, Method::POST, "imagehistories", "".to_owned(), history()),
            (&home, Method::PATCH, "imagehistories", format!("/{known}"), label.clone()),
            (&home, Method::PATCH, "imagehistories", format!("/{known}/status"), json!({"status": {"tags": []}})),
        ] {
            let answer = ask(namespace, client, method, plural, &rest, Some(&body)).await;
            assert_forbidden(answer, &format!("{RECORDS}; to say yes or no to an update, make a review"));
        }
    }
    // What a state holds beside its status is for people, and a wish for who may (`rollbacks`).
    ask(&namespace, &bob, Method::POST, "imagestates", "", Some(&state("api"))).await.unwrap();
    ask(&namespace, &bob, Method::PATCH, "imagestates", "/web", Some(&label)).await.unwrap();
}

/// Writes a record as the operator does.
async fn written(namespace: &Namespace<'_>, operator: &Client, plural: &str, object: &Value, status: &Value) {
    let mut created = ask(namespace, operator, Method::POST, plural, "", Some(object)).await.unwrap();
    created["status"] = status["status"].clone();
    let rest = format!("/{}/status", object["metadata"]["name"].as_str().unwrap());
    ask(namespace, operator, Method::PUT, plural, &rest, Some(&created)).await.unwrap();
}

fn owned(mut object: Value, owner: &Value) -> Value {
    let of = |key: &str| owner[key].clone();
    let (name, uid) = (owner["metadata"]["name"].clone(), owner["metadata"]["uid"].clone());
    let reference = json!({"apiVersion": of("apiVersion"), "kind": of("kind"), "name": name, "uid": uid});
    object["metadata"]["ownerReferences"] = json!([reference]);
    object
}

#[tokio::test]
async fn a_workload_that_is_deleted_takes_its_updates_and_their_reviews_with_it() {
    let plane = plane().await;
    let namespace = plane.namespace("owner").await;
    let (operator, alice) = (operator(plane).await, plane.client(PLAIN[0]).await);
    bind(&namespace, APPROVER, "User", PLAIN[0]).await;
    for name in ["web", "api"] {
        let image = format!("registry.example.com/{name}:1.4.2");
        let workload = namespace.create(&deployment(name, &image, Value::Null).to_string()).await.remove(0);
        let update = owned(update(name, name), &workload);
        let update = ask(&namespace, &operator, Method::POST, "imageupdates", "", Some(&update)).await.unwrap();
        make(&namespace, &alice, &owned(review(name, name, PLAIN[0]), &update)).await.unwrap();
    }
    namespace.delete("deployments", "web").await;
    let gone = async |plural: &str, name: &str| {
        let answer = ask(&namespace, &operator, Method::GET, plural, "", None).await.unwrap();
        let there = answer["items"].as_array().unwrap().iter().any(|object| object["metadata"]["name"] == name);
        (!there).then_some(())
    };
    for plural in ["imageupdates", REVIEWS] {
        eventually(&format!("{plural} are gone"), async || gone(plural, "web").await).await;
    }
    // One that is deleted alone leaves them: then the garbage collector writes into the update.
    plane.kubectl(&["-n", &namespace.name, "delete", "deployment", "api", "--cascade=orphan"]);
    let left = eventually("it has no owner", async || {
        let update = namespace.get("imageupdates", "api").await;
        update["metadata"]["ownerReferences"].is_null().then_some(update)
    })
    .await;
    assert_eq!(left["metadata"]["name"], "api");
    // By its name where each controller has one.
    let as_it = "--as=system:serviceaccount:kube-system:generic-garbage-collector";
    plane.kubectl(&["-n", &namespace.name, as_it, "annotate", "imageupdate", "api", "by=it"]);
    let namespaces = plane.kubectl(&["delete", "namespace", &namespace.name, "--wait=true", "--timeout=60s"]);
    assert!(namespaces.contains("deleted"), "{namespaces}");
}

#[tokio::test]
async fn the_commands_of_the_install_page_give_the_rights_that_it_says() {
    let plane = plane().await;
    let namespace = plane.namespace("page").await;
    let page = page("docs/install.md");
    let section = page.split("\n## Approvals\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let commands = blocks(section, "sh").concat();
    assert_eq!(commands.lines().count(), 4);
    shell(plane, &commands.replace("-n shop", &format!("-n {}", namespace.name)));
    let (carol, _) = OF_A_GROUP;
    make(&namespace, &plane.client(carol).await, &review("carol", "web", carol)).await.unwrap();
    let alice = plane.client(PLAIN[0]).await;
    let opens = with(review("alice", "web", PLAIN[0]), json!({"override": "window", "reason": "the site is down"}));
    bind(&namespace, APPROVER, "User", PLAIN[0]).await;
    eventually("alice may override", async || dry_run(&namespace, &alice, REVIEWS, &opens).await.ok()).await;
}

#[tokio::test]
async fn the_policies_of_one_namespace_hold_there_and_nowhere_else() {
    let plane = ControlPlane::start(Parts::Api).await;
    let [shop, other] = ["shop", "other"].map(|name| Namespace { plane: &plane, name: name.to_owned() });
    shell(&plane, "kubectl create namespace shop; kubectl create namespace other");
    shop.create("{apiVersion: v1, kind: ServiceAccount, metadata: {name: supercargo}}").await;
    let page = page("docs/install.md");
    let shown = blocks(&page, "yaml").into_iter().find(|block| block.starts_with("# my-approvals/")).unwrap();
    for object in built(shown).unwrap() {
        plane.create(&object.to_string()).await;
    }
    in_force(&plane, "shop").await;

    let operator = plane.client_with_token(&shop.token("supercargo").await).await;
    let of_alice = with(review("alice", "web", PLAIN[0]), json!({"onBehalfOf": "slack:T1/U1"}));
    assert_forbidden(make(&shop, &operator, &of_alice).await, NOT_FOR_THEM);
    ask(&shop, &operator, Method::GET, REVIEWS, "", None).await.unwrap();
    let refused = ask(&other, &operator, Method::GET, REVIEWS, "", None).await.unwrap_err();
    assert!(refused.message.contains("cannot list resource"), "{refused:?}");
    for kind in ["validatingadmissionpolicies", "validatingadmissionpolicybindings"] {
        let path = format!("/apis/admissionregistration.k8s.io/v1/{kind}");
        assert_eq!(request(&operator, Method::GET, &path, None).await.unwrap()["items"].as_array().unwrap().len(), 2);
    }
    // Another installation may have its own there.
    let admin = plane.client(ADMIN).await;
    make(&other, &admin, &review("alice", "web", PLAIN[0])).await.unwrap();
    ask(&other, &admin, Method::POST, "imageupdates", "", Some(&update("web", "web"))).await.unwrap();
}
