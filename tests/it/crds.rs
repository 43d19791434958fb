//! The definitions of the records on a real API server: what it takes, what it refuses, and how kubectl shows it.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use http::Method;
use serde_json::{Value, json};
use supercargo::domain::{
    history::MOST,
    update::{HOLDS, LOG, PhaseName},
};
use tokio::sync::OnceCell;

use crate::support::{
    bin,
    control_plane::{ADMIN, ControlPlane, Parts},
    eventually,
    operator::supercargo,
    records::{create, history, history_status, review, send, state, state_status, status, update},
};

const KINDS: [&str; 4] = ["imageupdates", "imageupdatereviews", "imagestates", "imagehistories"];

/// A control plane of this module alone, with the definitions as `supercargo crds` prints them.
async fn plane() -> &'static ControlPlane {
    static PLANE: OnceCell<ControlPlane> = OnceCell::const_new();
    let start = async || {
        let plane = ControlPlane::start_without_kinds(Parts::Api).await;
        assert_eq!(
            apply(&plane),
            "customresourcedefinition.apiextensions.k8s.io/imageupdates.supercargo.dev serverside-applied\n\
             customresourcedefinition.apiextensions.k8s.io/imageupdatereviews.supercargo.dev serverside-applied\n\
             customresourcedefinition.apiextensions.k8s.io/imagestates.supercargo.dev serverside-applied\n\
             customresourcedefinition.apiextensions.k8s.io/imagehistories.supercargo.dev serverside-applied\n"
        );
        for plural in KINDS {
            served(&plane, plural).await;
        }
        plane
    };
    PLANE.get_or_init(start).await
}

/// Applies them as the pages say.
fn apply(plane: &ControlPlane) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_supercargo")).parent().unwrap();
    let path = format!("{}:{}:/usr/bin:/bin", program.display(), bin("kubectl").parent().unwrap().display());
    let mut command = Command::new("sh");
    command.args(["-c", "supercargo crds | kubectl apply --server-side -f -"]);
    let output = command.env("PATH", path).env("KUBECONFIG", plane.kubeconfig(ADMIN)).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Waits until objects of that kind can be listed, and how they look is known.
async fn served(plane: &ControlPlane, plural: &str) {
    eventually(&format!("{plural} are served"), async || {
        let list = format!("/apis/supercargo.dev/v1alpha1/{plural}");
        plane.request(Method::GET, &list, None).await.ok()?;
        let openapi = plane.request(Method::GET, "/openapi/v3/apis/supercargo.dev/v1alpha1", None).await.ok()?;
        openapi["paths"].get(&list).map(|_| ())
    })
    .await;
}

fn printed() -> Vec<Value> {
    let output = supercargo(&["crds"], Path::new("."));
    assert!(output.status.success());
    serde_saphyr::from_multiple(&String::from_utf8(output.stdout).unwrap()).unwrap()
}

#[tokio::test]
async fn what_is_printed_can_be_applied_again_and_is_what_deploy_holds() {
    let plane = plane().await;
    apply(plane);
    for plural in KINDS {
        let crd = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{plural}.supercargo.dev");
        let crd = plane.request(Method::GET, &crd, None).await.unwrap();
        let conditions = crd["status"]["conditions"].as_array().unwrap();
        let held: Vec<&Value> = conditions.iter().map(|c| &c["type"]).collect();
        assert_eq!(held, ["NamesAccepted", "Established"], "no schema that is not structural: {conditions:?}");
        assert!(conditions.iter().all(|condition| condition["status"] == "True"), "{conditions:?}");
    }
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/crds");
    let output = Command::new(bin("kubectl")).arg("kustomize").arg(folder).output().unwrap();
    let mut deployed: Vec<Value> = serde_saphyr::from_multiple(&String::from_utf8(output.stdout).unwrap()).unwrap();
    deployed.reverse();
    assert_eq!(deployed, printed());
}

#[test]
fn each_field_is_described_and_bounded() {
    fn walk(schema: &Value, path: &str, seen: &mut usize) {
        *seen += 1;
        let is_item = path.ends_with("[]");
        assert!(is_item || schema["description"].as_str().is_some_and(|text| text.ends_with('.')), "{path}");
        match schema["type"].as_str().unwrap() {
            "string" => {
                let is_bounded =
                    schema["maxLength"].is_u64() || schema["enum"].is_array() || schema["format"] == "date-time";
                assert!(is_bounded, "{path} may be of any length");
            }
            "array" => {
                assert!(schema["maxItems"].is_u64(), "{path} may hold any number");
                walk(&schema["items"], &format!("{path}[]"), seen);
            }
            "object" => {
                assert!(schema.get("x-kubernetes-preserve-unknown-fields").is_none(), "{path}");
                for (name, field) in schema["properties"].as_object().into_iter().flatten() {
                    walk(field, &format!("{path}.{name}"), seen);
                }
            }
            kind => assert!(["boolean", "integer"].contains(&kind), "{path} is {kind}"),
        }
    }
    let mut seen = 0;
    for crd in printed() {
        walk(&crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"], "", &mut seen);
    }
    assert!(seen > 60, "{seen}");
}

#[test]
fn the_phases_and_lengths_of_the_program_fit() {
    let [updates, _, states, histories] = &printed()[..] else { panic!("four") };
    let status = |crd: &Value| {
        crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"].clone()
    };
    let (updates, states, histories) = (status(updates), status(states), status(histories));
    let phases: Vec<&str> =
        updates["phase"]["enum"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(phases.len(), 12);
    assert!(PhaseName::ALL.iter().all(|phase| phases.contains(&phase.as_str())), "{phases:?}");
    assert_eq!(updates["log"]["items"]["properties"]["phase"]["enum"], updates["phase"]["enum"]);
    assert_eq!(updates["log"]["maxItems"], LOG);
    assert_eq!(states["holds"]["maxItems"], HOLDS);
    assert_eq!(histories["tags"]["maxItems"], MOST);
}

#[tokio::test]
async fn an_update_stays_as_it_was_written_while_its_status_goes_on() {
    let namespace = plane().await.namespace("immutable").await;
    create(&namespace, "imageupdates", &update("one", "web"), &status("InGit")).await;
    for spec in [
        json!({"id": "other"}),
        json!({"group": null}),
        json!({"changes": [{"container": "web", "from": "a:1", "to": "evil:1"}]}),
        json!({"workload": {"uid": "u-2"}}),
        json!(null),
    ] {
        let refused =
            send(&namespace, Method::PATCH, "imageupdates", "/one", &json!({"spec": spec})).await.unwrap_err();
        let why = if spec.is_null() { "spec: Required value" } else { "the spec of an update stays as it was written" };
        assert!(refused.contains(why), "{spec}: {refused}");
    }
    let labels = json!({"metadata": {"labels": {"team": "shop"}}});
    send(&namespace, Method::PATCH, "imageupdates", "/one", &labels).await.unwrap();
    send(&namespace, Method::PATCH, "imageupdates", "/one/status", &status("Succeeded")).await.unwrap();
    let now = namespace.get("imageupdates", "one").await;
    assert_eq!((&now["spec"], &now["status"]), (&update("one", "web")["spec"], &status("Succeeded")["status"]));
}

#[tokio::test]
async fn what_is_too_long_too_much_or_unknown_is_refused() {
    let namespace = plane().await.namespace("too-long").await;
    let bad_specs = [
        ("/spec/id", json!("x".repeat(254)), "Too long: may not be more than 253"),
        ("/spec/changes/0/to", json!("x".repeat(1025)), "Too long"),
        ("/spec/changes/0/evidence/tag", json!("x".repeat(129)), "Too long"),
        ("/spec/changes/0/evidence/passed/0/message", json!("ä".repeat(2049)), "Too long"),
        ("/spec/changes/0/evidence/passed", json!(vec![json!({"code": "c", "message": "m"}); 21]), "Too many: 21"),
        ("/spec/changes", json!(vec![json!({"container": "c", "from": "a", "to": "b"}); 65]), "Too many: 65"),
        ("/spec/changes", json!([]), "should have at least 1 items"),
        ("/spec/proposedAt", json!("yesterday"), "must be of type date-time"),
        ("/spec/workload", json!({"kind": "Deployment", "name": "web"}), "Required value"),
        ("/spec/more", json!(1), "unknown field \"spec.more\""),
    ];
    for (pointer, value, why) in bad_specs {
        let refused =
            send(&namespace, Method::POST, "imageupdates", "", &with(update("bad", "web"), pointer, value)).await;
        let refused = refused.unwrap_err();
        assert!(refused.contains(why), "{pointer}: {refused}");
    }
    create(&namespace, "imageupdates", &update("good", "web"), &status("Waiting")).await;
    let entry = json!({"at": "2026-03-01T08:00:00Z", "phase": "Waiting"});
    let bad_statuses = [
        ("/status/phase", json!("Done"), "Unsupported value: \"Done\""),
        ("/status/reason/message", json!("x".repeat(2049)), "Too long"),
        ("/status/log", json!(vec![entry; 21]), "Too many: 21"),
        ("/status/leftOut/0/code", json!("x".repeat(64)), "Too long"),
        ("/status/leftOut", json!(vec![json!({"container": "c", "code": "c", "message": "m"}); 65]), "Too many: 65"),
        ("/status/conditions/0/status", json!("Maybe"), "Unsupported value: \"Maybe\""),
        ("/status/more", json!(1), "unknown field \"status.more\""),
    ];
    for (pointer, value, why) in bad_statuses {
        let bad = with(status("Waiting"), pointer, value);
        let refused = send(&namespace, Method::PATCH, "imageupdates", "/good/status", &bad).await.unwrap_err();
        assert!(refused.contains(why), "{pointer}: {refused}");
    }
    create(&namespace, "imagestates", &state("web"), &state_status()).await;
    let holds = state_status()["status"]["holds"][0].clone();
    let bad_states = [
        ("/status/holds", json!(vec![holds; 21]), "Too many: 21"),
        ("/status/holds/0/backTo", json!("x".repeat(1026)), "Too long"),
        ("/status/applied", json!(vec![state_status()["status"]["applied"][0].clone(); 65]), "Too many: 65"),
        ("/status/workload/name", json!("x".repeat(254)), "Too long"),
    ];
    for (pointer, value, why) in bad_states {
        let bad = with(state_status(), pointer, value);
        let refused = send(&namespace, Method::PATCH, "imagestates", "/web/status", &bad).await.unwrap_err();
        assert!(refused.contains(why), "{pointer}: {refused}");
    }
}

/// With another value there.
fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match object.pointer_mut(parent).unwrap() {
        Value::Array(list) => list[key.parse::<usize>().unwrap()] = value,
        parent => parent[key] = value,
    }
    object
}

#[tokio::test]
async fn the_longest_update_is_within_what_the_rule_on_it_may_cost() {
    let namespace = plane().await.namespace("longest").await;
    let mut longest = update("longest", &"w".repeat(253));
    let passed = json!({"tag": "t".repeat(128), "code": "c".repeat(63), "message": "m".repeat(700)});
    let change = json!({
        "container": "c".repeat(253), "init": true, "from": "f".repeat(1024), "to": "t".repeat(1024),
        "policy": "p".repeat(1024), "evidence": {
            "tag": "t".repeat(128), "digest": "d".repeat(135), "seen": "2026-03-01T08:00:00Z", "passed": vec![passed; 20],
        },
    });
    longest["spec"]["changes"] = json!(vec![change; 64]);
    // As much as the API server takes of one object, nearly.
    assert!(longest.to_string().len() > 1_300_000);
    create(&namespace, "imageupdates", &longest, &status("Waiting")).await;
}

#[tokio::test]
async fn updates_are_selected_by_phase_and_workload() {
    let namespace = plane().await.namespace("selected").await;
    for (name, workload, phase) in [("a", "web", "Succeeded"), ("b", "web", "Waiting"), ("c", "api", "InGit")] {
        create(&namespace, "imageupdates", &update(name, workload), &status(phase)).await;
    }
    for (selector, expected) in [
        ("status.phase=Waiting", "imageupdate.supercargo.dev/b\n"),
        ("status.phase!=Succeeded,status.phase!=InGit", "imageupdate.supercargo.dev/b\n"),
        ("spec.workload.name=web", "imageupdate.supercargo.dev/a\nimageupdate.supercargo.dev/b\n"),
        ("spec.workload.name=web,status.phase=InGit", ""),
    ] {
        let args = ["-n", &namespace.name, "get", "iu", "-o", "name", "--field-selector", selector];
        assert_eq!(namespace.plane.kubectl(&args), expected, "{selector}");
    }
}

#[tokio::test]
async fn kubectl_shows_them_so() {
    let namespace = plane().await.namespace("shown").await;
    create(&namespace, "imageupdates", &update("deployment-web-0123456789abcdef", "web"), &status("InGit")).await;
    send(&namespace, Method::POST, "imageupdatereviews", "", &review("alice", "web", "alice")).await.unwrap();
    create(&namespace, "imagestates", &state("deployment-web"), &state_status()).await;
    create(&namespace, "imagehistories", &history(), &history_status()).await;
    let kubectl = |args: &[&str]| {
        let text = namespace.plane.kubectl(&[&["-n", &namespace.name], args].concat());
        let masks = [
            // A part of it may look like an age.
            (r"(UID: +)[0-9a-f-]{36}", "${1}UID"),
            (r"(Resource Version: +)\d+", "${1}VERSION"),
            (r"(Creation Timestamp: +)\S+", "${1}TIME"),
            // However wide it is.
            (r"\b(\d+[smhd]){1,2}\b *", "AGE   "),
        ];
        let masked = masks.iter().fold(text.replace(&namespace.name, "NAMESPACE"), |text, (mask, name)| {
            regex::Regex::new(mask).unwrap().replace_all(&text, *name).into_owned()
        });
        let lines = masked.lines().map(|line| format!("{}\n", line.trim_end())).collect::<String>();
        format!("$ kubectl {}\n{lines}\n", args.join(" "))
    };
    // What kubectl knew before there were definitions it forgets when it asks for kinds that it does not know.
    let listed = ["iu", "iur", "ims", "imh", "supercargo"].map(|of| kubectl(&["get", of])).concat();
    insta::assert_snapshot!("kubectl_get", listed);
    insta::assert_snapshot!("kubectl_describe", kubectl(&["describe", "iu"]));
    let explained =
        ["iu.spec", "iu.spec.changes", "iu.status", "iur.spec", "ims.status", "imh.spec", "imh.status.tags"]
            .map(|of| kubectl(&["explain", of]));
    insta::assert_snapshot!("kubectl_explain", explained.concat());
}
