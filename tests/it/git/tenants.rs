//! Two tenants of a cluster whose images come from one place in Git: what one wants to keep is not moved for the other.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::support::{
    commits::{config_with, setup_with},
    control_plane::{Namespace, shared},
    eventually,
    git_server::GitServer,
    objects::{deployment, event_says},
    operator::Operator,
    registry::Registry,
};

/// The ways to stay, the annotations that ask for them, and what the other's row says of it.
const STAYS: [(&str, &str, &str, &str); 9] = [
    ("suspend", "supercargo.dev/suspend", "true", "suspended"),
    ("never", "supercargo.dev/policy", "never", "policy-never"),
    ("level", "supercargo.dev/policy", "patch", "up-to-date"),
    ("ignore", "supercargo.dev/ignore", "2.*", "up-to-date"),
    ("misspelt", "supercargo.dev/polcy", "minor", "annotation-unknown"),
    ("none", "supercargo.dev/policy", "mnior", "policy-invalid"),
    ("guard", "supercargo.dev/note", "", "guard-policy"),
    ("gate", "argocd.argoproj.io/tracking-id", "shop:apps/Deployment:shop/gate", "owned-elsewhere"),
    // Both are moved: what the others are not for.
    ("alike", "supercargo.dev/poll", "1s", ""),
];

/// How the image of both is defined: by a line of a base, by an entry of `images` in it, or by values of a chart.
const PLACES: [&str; 3] = ["line", "entry", "values"];

fn annotations(stay: &str, key: &str, value: &str) -> Value {
    let mut annotations = json!({"supercargo.dev/policy": "major", "supercargo.dev/write": "git:prod"});
    match stay {
        "guard" => return annotations,
        // The gate is for those that are written in the cluster.
        "gate" => _ = annotations.as_object_mut().unwrap().remove("supercargo.dev/write"),
        _ => {}
    }
    annotations[key] = json!(value);
    annotations
}

/// The file that defines the image.
fn file(stay: &str, place: &str) -> String {
    let path = match place {
        "line" => "base/web.yaml",
        "entry" => "base/kustomization.yaml",
        _ => "values.yaml",
    };
    format!("apps/{stay}-{place}/{path}")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_tenant_wants_to_keep_is_not_moved_for_another_that_shares_its_place() {
    let (plane, registry, folder) = (shared().await, Registry::start().await, tempfile::tempdir().unwrap());
    let server = GitServer::start().await;
    let (moves, stays, guarded) =
        (plane.namespace("moves").await, plane.namespace("stays").await, plane.namespace("guarded").await);
    // Those of values are told apart by their repositories alone.
    let image = |name: &str| match name.ends_with("-values") {
        true => format!("{}/team/{name}", registry.host),
        false => format!("{}/team/web", registry.host),
    };
    registry.push_tags("team/web", ["1.0.0", "2.0.0"]).await;
    for (stay, ..) in STAYS {
        registry.push_tags(&format!("team/{stay}-values"), ["1.0.0", "2.0.0"]).await;
    }
    let mut files = Vec::new();
    let keeper = |stay: &str| -> &Namespace<'_> { if stay == "guard" { &guarded } else { &stays } };
    for (stay, key, value, _) in STAYS {
        for place in PLACES {
            let name = format!("{stay}-{place}");
            let image = image(&name);
            let now = format!("{image}:1.0.0");
            let own = annotations(stay, key, value);
            keeper(stay).create(&deployment(&name, &now, own).to_string()).await;
            let own = json!({"supercargo.dev/policy": "major", "supercargo.dev/write": "git:prod"});
            moves.create(&deployment(&name, &now, own).to_string()).await;
            if place == "values" {
                let values = format!("image: {{repository: '{image}', tag: 1.0.0}}\n");
                files.push((file(stay, place), values));
                continue;
            }
            let (tag, mut base) =
                (if place == "line" { "1.0.0" } else { "0.1.0" }, "resources: [web.yaml]\n".to_owned());
            if place == "entry" {
                writeln!(base, "images: [{{name: '{image}', newTag: 1.0.0}}]").unwrap();
            }
            let web = format!(
                "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}}}\nspec: {{template: {{spec: {{containers: \
                 [{{name: web, image: '{image}:{tag}'}}]}}}}}}\n"
            );
            let folder = format!("apps/{name}");
            files.push((format!("{folder}/base/web.yaml"), web));
            files.push((format!("{folder}/base/kustomization.yaml"), base));
            for (overlay, namespace) in [("moves", &moves), ("stays", keeper(stay))] {
                let text = format!("namespace: {}\nresources: [../base]\n", namespace.name);
                files.push((format!("{folder}/{overlay}/kustomization.yaml"), text));
            }
        }
    }
    let files: Vec<(&str, &[u8])> = files.iter().map(|(path, text)| (&**path, text.as_bytes())).collect();
    let repo = server.create("deploy", &files);
    let namespaces = [&moves, &stays, &guarded].map(|namespace| &*namespace.name).join(", ");
    let more = format!("guards:\n- {{namespaces: [{}], policies: [patch]}}\n", guarded.name);
    let config = config_with(folder.path(), &namespaces, &server.url("deploy"), ("bot", "geheim-4711"), &more);
    let setup = setup_with(&moves, folder.path(), &config).with(&["-n", &stays.name, "-n", &guarded.name]);
    let _operator = Operator::start(plane, &setup).await;
    for (stay, _, _, why) in STAYS.into_iter().filter(|(stay, ..)| *stay != "alike") {
        for place in PLACES {
            let name = format!("{stay}-{place}");
            let (mover, keeper) = (&moves, keeper(stay));
            let said = event_says(mover, &name, "git-conflict").await;
            let names = format!("{}/Deployment/{name} (container web), which is to stay ({why})", keeper.name);
            let way = if place == "values" { "in a place of its own" } else { "an entry of `images` in its overlay" };
            assert!(said.contains(&names) && said.contains(way), "{name}: {said}");
            let names = format!("{}/Deployment/{name} is to have {}:2.0.0 from it", mover.name, image(&name));
            event_says(keeper, &name, &names).await;
        }
    }
    eventually("what both wish is written", async || {
        let has = |path: &str| repo.read(path).windows(5).any(|text| text == b"2.0.0");
        PLACES.iter().all(|place| has(&file("alike", place))).then_some(())
    })
    .await;
    for (stay, ..) in STAYS.into_iter().filter(|(stay, ..)| *stay != "alike") {
        for path in PLACES.map(|place| file(stay, place)) {
            assert!(String::from_utf8(repo.read(&path)).unwrap().contains("1.0.0"), "{path}");
        }
    }

    // Who wants to stay no longer moves with the other.
    let lifted = json!({"metadata": {"annotations": {"supercargo.dev/suspend": null}}});
    stays.merge("deployments", "suspend-line", lifted).await;
    eventually("both are moved", async || {
        let text = String::from_utf8(repo.read("apps/suspend-line/base/web.yaml")).unwrap();
        text.contains("2.0.0").then_some(())
    })
    .await;
}

/// No manifest tells whether values are a workload's: where its own annotations, or its namespace, say that they are not, it
/// holds nobody up.
#[tokio::test(flavor = "multi_thread")]
async fn values_are_held_by_none_whose_image_they_cannot_be() {
    let (plane, registry, folder) = (shared().await, Registry::start().await, tempfile::tempdir().unwrap());
    let server = GitServer::start().await;
    let (own, beyond) = (plane.namespace("own").await, plane.namespace("beyond").await);
    registry.push_tags("team/web", ["1.0.0", "2.0.0"]).await;
    let image = |tag: &str| format!("{}/team/web:{tag}", registry.host);
    let of_argocd = |name: &str, ours: &[(&str, &str)]| {
        let mut all = json!({"argocd.argoproj.io/tracking-id": format!("shop:apps/Deployment:shop/{name}")});
        for (key, value) in ours {
            all[format!("supercargo.dev/{key}")] = json!(value);
        }
        deployment(name, &image("1.0.0"), all).to_string()
    };
    let patch = ("policy", "patch");
    own.create(&of_argocd("patched", &[patch, ("write", "cluster")])).await;
    own.create(&of_argocd("other-target", &[patch, ("write", "git:other")])).await;
    own.create(&of_argocd("unwatched", &[])).await;
    beyond.create(&of_argocd("not-served", &[patch])).await;
    own.create(&deployment("by-people", &image("1.0.0"), json!({"supercargo.dev/policy": "patch"})).to_string()).await;
    let moves = json!({"supercargo.dev/policy": "major", "supercargo.dev/write": "git:prod"});
    own.create(&deployment("moves", &image("1.0.0"), moves).to_string()).await;
    let values = format!("image: {{repository: '{}/team/web', tag: 1.0.0}}\n", registry.host);
    let repo = server.create("deploy", &[("apps/values.yaml", values.as_bytes())]);
    let config = config_with(folder.path(), &own.name, &server.url("deploy"), ("bot", "geheim-4711"), "");
    let setup = setup_with(&own, folder.path(), &config).with(&["-n", &beyond.name]);
    let _operator = Operator::start(plane, &setup).await;
    eventually("it is written", async || (repo.log().len() == 2).then_some(())).await;
    assert_eq!(String::from_utf8(repo.read("apps/values.yaml")).unwrap(), values.replace("1.0.0", "2.0.0"));
}
