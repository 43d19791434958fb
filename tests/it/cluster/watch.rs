//! What the watches tell.

use std::{collections::BTreeSet, sync::Arc};

use http::Method;
use serde_json::json;
use supercargo::{
    cluster::{CustomResources, Scope, watch},
    domain::workload::{Owner, Workload},
    ports::{ClusterChange, NamespaceDefaults},
    store::Memory,
};
use tokio::{sync::mpsc, task::JoinHandle};

use super::{clock, create, id, manifest};
use crate::support::{
    control_plane::{self, ControlPlane, Parts, audited_user, request},
    eventually,
};

/// A running watch, and what it has told.
struct Watching {
    changes: mpsc::Receiver<ClusterChange>,
    task: JoinHandle<()>,
}

impl Watching {
    async fn start(client: kube::Client, scope: Scope) -> Self {
        let (sender, changes) = mpsc::channel(16);
        let records = CustomResources::new(client.clone(), clock(), Arc::new(Memory::new(clock())));
        let watching = async move { watch(client, scope, None, Some(&records), None, clock(), sender).await };
        Self { changes, task: tokio::spawn(watching) }
    }

    /// The next change that `pick` wants; others are passed over.
    async fn next<T>(&mut self, what: &str, mut pick: impl FnMut(ClusterChange) -> Option<T>) -> T {
        let wait = async {
            loop {
                let change = self.changes.recv().await.expect("the watch goes on");
                if let Some(found) = pick(change) {
                    return found;
                }
            }
        };
        match tokio::time::timeout(std::time::Duration::from_mins(5), wait).await {
            Ok(found) => found,
            Err(_) => panic!("waited 5 min in vain: {what}"),
        }
    }

    async fn workload(&mut self, namespace: &str, name: &str) -> Workload {
        self.next(&format!("{namespace}/{name}"), |change| match change {
            ClusterChange::Workload(w) if &*w.id.namespace == namespace && &*w.id.name == name => Some(*w),
            _ => None,
        })
        .await
    }

    /// Everything up to `Synced`.
    async fn synced(&mut self) -> Vec<ClusterChange> {
        let mut before = Vec::new();
        self.next("synced", |change| match change {
            ClusterChange::Synced => Some(()),
            other => {
                before.push(other);
                None
            }
        })
        .await;
        before
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn scoped(plane: &ControlPlane, user: &str, namespace: &str) -> Watching {
    Watching::start(plane.client(user).await, Scope::Namespaces(vec![namespace.to_owned()])).await
}

#[tokio::test]
async fn every_kind_and_the_namespace_are_told_before_synced() {
    let plane = control_plane::shared().await;
    let ns = plane.namespace_with("watch", json!({"supercargo.dev/policy": "minor", "other": "x"})).await;
    let kinds = ["Deployment", "StatefulSet", "DaemonSet", "CronJob"];
    for kind in kinds {
        create(&ns, kind, "web", &[("web", "r.test/web:1")]).await;
    }
    for scope in [Scope::Cluster, Scope::Namespaces(vec![ns.name.clone()])] {
        let mut watching = Watching::start(plane.client(&audited_user()).await, scope).await;
        let before = watching.synced().await;
        for kind in kinds {
            let wanted = id(kind, &ns.name, "web");
            let told = before.iter().filter(|c| matches!(c, ClusterChange::Workload(w) if w.id == wanted)).count();
            assert_eq!(told, 1, "{kind}");
        }
        let defaults = before.iter().find_map(|c| match c {
            ClusterChange::Namespace(n) if n.name == ns.name => Some(&n.annotations),
            _ => None,
        });
        assert_eq!(defaults.unwrap().keys().collect::<Vec<_>>(), ["supercargo.dev/policy"]);
    }
}

#[tokio::test]
async fn changes_and_deletions_are_told_and_what_does_not_matter_is_not() {
    let plane = control_plane::shared().await;
    let ns = plane.namespace("changes").await;
    let mut watching = scoped(plane, &audited_user(), &ns.name).await;
    watching.synced().await;

    let web = create(&ns, "Deployment", "web", &[("web", "r.test/web:1")]).await;
    watching.workload(&ns.name, "web").await;
    // The controller writes the status and an annotation of its own meanwhile.
    ns.merge("deployments", "web", json!({"spec": {"minReadySeconds": 5}})).await;
    ns.merge("deployments", "web", json!({"metadata": {"labels": {"irrelevant": "1"}}})).await;
    ns.merge("deployments", "web", json!({"metadata": {"annotations": {"supercargo.dev/policy": "patch"}}})).await;
    let next = watching.next("the policy", Some).await;
    let ClusterChange::Workload(told) = &next else { panic!("{next:?}") };
    // At most the first annotation of the controller came between: that the map is there matters to a patch.
    let told = if told.annotations.is_empty() { &watching.workload(&ns.name, "web").await } else { told };
    assert_eq!(told.annotations["supercargo.dev/policy"], "patch");

    ns.delete("deployments", "web").await;
    let gone = watching.next("gone", |change| match change {
        ClusterChange::WorkloadGone(id) => Some(id),
        _ => None,
    });
    assert_eq!(gone.await, web);

    let path = format!("/api/v1/namespaces/{}", ns.name);
    let edit = json!({"metadata": {"annotations": {"supercargo.dev/policy": "major"}}});
    plane.request(http::Method::PATCH, &path, Some(&edit)).await.unwrap();
    watching
        .next("the Namespace's default", |change| match change {
            ClusterChange::Namespace(n) => n.annotations.contains_key("supercargo.dev/policy").then_some(()),
            _ => None,
        })
        .await;
}

#[tokio::test]
async fn without_the_right_to_read_a_namespace_there_are_no_defaults_and_no_failure() {
    let plane = control_plane::shared().await;
    let ns = plane.namespace_with("no-namespace", json!({"supercargo.dev/policy": "minor"})).await;
    ns.create(
        r#"
apiVersion: v1
kind: ServiceAccount
metadata: {name: supercargo}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: watcher}
rules:
- {apiGroups: [apps], resources: [deployments, statefulsets, daemonsets], verbs: [list, watch]}
- {apiGroups: [batch], resources: [cronjobs], verbs: [list, watch]}
- {apiGroups: [supercargo.dev], resources: [imageupdates, imagestates], verbs: [list, watch]}
"#,
    )
    .await;
    plane.kubectl(&[
        "-n",
        &ns.name,
        "create",
        "rolebinding",
        "watcher",
        "--role=watcher",
        &format!("--serviceaccount={}:supercargo", ns.name),
    ]);
    create(&ns, "Deployment", "web", &[("web", "r.test/web:1")]).await;
    let user = format!("system:serviceaccount:{}:supercargo", ns.name);
    crate::deploy::has_right(&ns, &user, &("apps".into(), "deployments".into(), "list".into()), true).await;
    let client = plane.client_with_token(&ns.token("supercargo").await).await;
    let mut watching = Watching::start(client, Scope::Namespaces(vec![ns.name.clone()])).await;
    let mut before = watching.synced().await;
    before.retain(|change| !matches!(change, ClusterChange::Policies(..)));
    // And that histories are not remembered.
    assert_eq!(before.len(), 3, "{before:?}");
    assert!(before.iter().any(|change| matches!(change, ClusterChange::Workload(_))));
    // Workloads wait for their Namespace: it counts as one without annotations.
    let bare = |n: &NamespaceDefaults| n.name == ns.name && n.annotations.is_empty();
    assert!(before.iter().any(|change| matches!(change, ClusterChange::Namespace(n) if bare(n))), "{before:?}");
}

#[tokio::test]
async fn an_image_set_by_server_side_apply_is_owned_elsewhere() {
    let plane = control_plane::shared().await;
    let ns = plane.namespace("owned").await;
    let file = std::env::temp_dir().join(format!("{}.json", ns.name));
    let mut object = manifest("Deployment", "web", &[("web", "r.test/web:1")]);
    let mut apply = |name: &str, manager: &str| {
        object["metadata"]["name"] = json!(name);
        std::fs::write(&file, object.to_string()).unwrap();
        let manager = format!("--field-manager={manager}");
        plane.kubectl(&["-n", &ns.name, "apply", "--server-side", &manager, "-f", file.to_str().unwrap()]);
    };
    apply("by-ci", "ci");
    apply("by-kubectl", "kubectl");
    std::fs::remove_file(&file).unwrap();
    let mut watching = scoped(plane, &audited_user(), &ns.name).await;
    let mut owners = std::collections::BTreeMap::new();
    for change in watching.synced().await {
        if let ClusterChange::Workload(w) = change {
            owners.insert(w.id.name.to_string(), w.owner);
        }
    }
    let ci = Some(Owner::Elsewhere("server-side apply by \"ci\"".to_owned()));
    assert_eq!(owners, [("by-ci".to_owned(), ci), ("by-kubectl".to_owned(), None)].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_many_pages_is_told_whole_and_each_page_asked_for_once() {
    let plane = control_plane::shared().await;
    let ns = plane.namespace("pages").await;
    let names: BTreeSet<String> = (0..330).map(|n| format!("web-{n}")).collect();
    for name in &names {
        create(&ns, "Deployment", name, &[("web", "r.test/web:1")]).await;
    }
    let user = audited_user();
    let mut watching = scoped(plane, &user, &ns.name).await;
    let told = watching.synced().await.into_iter().filter_map(|change| match change {
        ClusterChange::Workload(workload) => Some(workload.id.name.to_string()),
        _ => None,
    });
    let told: Vec<String> = told.collect();
    assert_eq!((told.len(), told.into_iter().collect::<BTreeSet<_>>()), (330, names));
    let pages =
        plane.audit(&user).into_iter().filter(|asked| asked.verb == "list" && asked.uri.contains("/deployments?"));
    let pages: Vec<String> = pages.map(|asked| asked.uri).collect();
    assert_eq!((pages.len(), pages.iter().collect::<BTreeSet<_>>().len()), (4, 4), "{pages:?}");
    // The watch goes on where the list ended.
    create(&ns, "Deployment", "late", &[("web", "r.test/web:1")]).await;
    watching.workload(&ns.name, "late").await;
}

#[tokio::test]
async fn a_restart_of_the_api_server_is_survived_with_few_lists() {
    let plane = ControlPlane::start(Parts::Api).await;
    let ns = plane.namespace_with("restart", json!({})).await;
    create(&ns, "Deployment", "kept", &[("web", "r.test/web:1")]).await;
    create(&ns, "Deployment", "dropped", &[("web", "r.test/web:1")]).await;
    let user = audited_user();
    let mut watching = Watching::start(plane.client(&user).await, Scope::Cluster).await;
    watching.synced().await;
    let lists = || plane.audit(&user).iter().filter(|a| a.verb == "list").count();
    assert_eq!(lists(), 11);
    eventually("all watches are open", async || {
        (plane.audit(&user).iter().filter(|a| a.verb == "watch").count() == 11).then_some(())
    })
    .await;

    for round in 0..2 {
        plane.stop_api();
        plane.start_api();
        plane.ready().await;
        let name = format!("new-{round}");
        if round == 0 {
            ns.delete("deployments", "dropped").await;
        }
        create(&ns, "Deployment", &name, &[("web", "r.test/web:1")]).await;
        let mut told = Vec::new();
        watching
            .next(&name, |change| {
                let is_new = matches!(&change, ClusterChange::Workload(w) if *w.id.name == name);
                told.push(change);
                is_new.then_some(())
            })
            .await;
        let again = told.iter().any(|c| matches!(c, ClusterChange::Workload(w) if &*w.id.name == "kept"));
        assert!(!again, "what did not change is not told again: {told:?}");
        assert!(!told.iter().any(|c| matches!(c, ClusterChange::Synced)), "synced once only");
        if round == 0 {
            let gone = told.iter().any(|c| matches!(c, ClusterChange::WorkloadGone(id) if &*id.name == "dropped"));
            assert!(gone, "{told:?}");
        }
    }
    assert!(lists() <= 8 + 2 * 8, "{} lists", lists());
    let requests = plane.audit(&user).len();
    assert!(requests <= 96, "{requests} requests");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_that_the_cluster_does_not_have_is_no_more_than_empty() {
    let plane = ControlPlane::start(Parts::Api).await;
    plane.stop_api();
    plane.start_api_with(&["--runtime-config=batch/v1=false"]);
    plane.ready().await;
    let client = plane.client(&audited_user()).await;
    let path = "/apis/apps/v1/namespaces/default/deployments";
    request(&client, Method::POST, path, Some(&manifest("Deployment", "web", &[("web", "nginx:1.26")]))).await.unwrap();
    let user = audited_user();
    let mut watching = scoped(&plane, &user, "default").await;
    let before = watching.synced().await;
    assert!(before.iter().any(|change| matches!(change, ClusterChange::Workload(w) if &*w.id.name == "web")));
    let asked = plane.audit(&user).into_iter().filter(|request| request.uri.contains("/cronjobs"));
    assert!(asked.count() <= 1, "not asked again at once");
}
