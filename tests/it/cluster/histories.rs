//! What is remembered of repositories as custom resources, in the operator's own namespace.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use futures::{StreamExt as _, stream};
use http::Method;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use supercargo::{
    cluster::{self, CustomResources, Scope, watch},
    domain::{
        history::{Seen, Sighting},
        image::{Digest, Repository, Tag},
        tags::Collector,
    },
    ports::{Clock, ClusterChange, Histories, PutError},
    store::Memory,
};
use tokio::sync::mpsc;

use super::clock;
use crate::support::{
    clock::SimClock,
    control_plane::{self, ADMIN, ControlPlane, Namespace, PLAIN, Parts},
    eventually,
    histories::{self, Store, repository},
    operator::{Operator, RESIDENT, Setup, supercargo},
    records::send,
};

const PLURAL: &str = "imagehistories";

/// On a whole second.
static NOW: LazyLock<Timestamp> = LazyLock::new(|| Timestamp::from_second(clock().now().as_second()).unwrap());

/// That a tag was first seen with that digest so many minutes ago.
fn sighting(tag: &str, digest: char, minutes: i64) -> Sighting {
    histories::sighting(tag, digest, *NOW - SignedDuration::from_mins(minutes))
}

fn seen(of: &str, sightings: &[Sighting]) -> Seen {
    Seen { repository: repository(of), sightings: sightings.to_vec(), listed: None }
}

/// The store of an operator of that user, whose own namespace that is.
async fn store(namespace: &Namespace<'_>, user: &str, clock: Arc<dyn Clock>) -> CustomResources {
    let kubeconfig = namespace.plane.kubeconfig_with_token(&format!("{user}-token"), &namespace.name);
    let options = cluster::connect::Options { kubeconfig: Some(kubeconfig), context: None };
    let client = cluster::connect(&options).await.unwrap();
    assert_eq!(client.default_namespace(), namespace.name);
    CustomResources::new(client, clock.clone(), Arc::new(Memory::new(clock)))
}

/// The name of a repository's object: that of one that the operator has made.
async fn object(namespace: &Namespace<'_>, of: &Repository) -> Option<Value> {
    let path = format!("/apis/supercargo.dev/v1alpha1/namespaces/{}/{PLURAL}", namespace.name);
    let all = namespace.plane.request(Method::GET, &path, None).await.unwrap();
    let all = all["items"].as_array().unwrap().clone();
    all.into_iter().find(|object| object["spec"]["repository"] == of.to_string())
}

async fn name(namespace: &Namespace<'_>, of: &Repository) -> String {
    object(namespace, of).await.unwrap()["metadata"]["name"].as_str().unwrap().to_owned()
}

fn sightings(object: &Value) -> Vec<Sighting> {
    let text = |of: &Value| of.as_str().unwrap().to_owned();
    let entry = |entry: &Value| Sighting {
        tag: Tag::parse(&text(&entry["tag"])).unwrap(),
        digest: Digest::parse(&text(&entry["digest"])).unwrap(),
        first_seen: text(&entry["firstSeen"]).parse().unwrap(),
        pushed: entry.get("pushed").map(|pushed| text(pushed).parse().unwrap()),
    };
    object["status"]["tags"].as_array().into_iter().flatten().map(entry).collect()
}

/// Changes a status as a person would.
async fn edit(namespace: &Namespace<'_>, name: &str, status: Value) -> Result<Value, String> {
    send(namespace, Method::PATCH, PLURAL, &format!("/{name}/status"), &json!({"status": status})).await
}

/// What is told of histories.
struct Watching {
    changes: mpsc::Receiver<ClusterChange>,
    task: tokio::task::JoinHandle<()>,
}

impl Watching {
    /// Of an operator that watches the workloads of its own namespace.
    async fn start(namespace: &Namespace<'_>, user: &str, clock: Arc<dyn Clock>) -> Self {
        let (sender, changes) = mpsc::channel(10_000);
        let records = store(namespace, user, clock.clone()).await;
        let (client, scope) = (namespace.plane.client(user).await, Scope::Namespaces(vec![namespace.name.clone()]));
        let watching = async move { watch(client, scope, None, Some(&records), None, clock, sender).await };
        Self { changes, task: tokio::spawn(watching) }
    }

    /// The next of it, and `Synced`.
    async fn next(&mut self) -> ClusterChange {
        loop {
            let next = tokio::time::timeout(Duration::from_secs(30), self.changes.recv());
            let next = next.await.expect("waited 30 s in vain").expect("the watch goes on");
            let is_of_histories = matches!(
                &next,
                ClusterChange::History(..)
                    | ClusterChange::HistoryGone(_)
                    | ClusterChange::HistoriesKept(_)
                    | ClusterChange::Synced
            );
            if is_of_histories {
                return next;
            }
        }
    }

    /// All of it before `Synced`.
    async fn synced(&mut self) -> Vec<ClusterChange> {
        let mut all = Vec::new();
        loop {
            match self.next().await {
                ClusterChange::Synced => return all,
                change => all.push(change),
            }
        }
    }

    async fn history(&mut self) -> (Repository, Vec<Sighting>) {
        match self.next().await {
            ClusterChange::History(of, sightings) => (of, sightings),
            other => panic!("{other:?}"),
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_a_store_of_histories() {
    let namespace = control_plane::shared().await.namespace("histories").await;
    let store = async || Arc::new(store(&namespace, ADMIN, clock()).await);
    let handles: [Arc<dyn Histories>; 2] = [store().await, store().await];
    let read =
        async |of: &Repository| object(&namespace, of).await.map(|object| sightings(&object)).unwrap_or_default();
    Store { handles: &handles, now: clock().now(), read }.holds().await;
}

#[tokio::test]
async fn what_is_known_already_is_not_written_again() {
    let namespace = control_plane::shared().await.namespace("known").await;
    let histories = store(&namespace, ADMIN, clock()).await;
    let of = repository("web");
    histories.add(&seen("web", &[sighting("1.0", 'a', 9), sighting("1.1", 'a', 9)])).await.unwrap();
    let before = object(&namespace, &of).await.unwrap();
    assert_eq!(before["metadata"]["labels"], json!({"app.kubernetes.io/managed-by": "supercargo"}));
    let mut listed = Collector::default();
    assert!(["1.0", "1.1"].iter().all(|tag| listed.push(tag)));
    let later = Seen { listed: Some(listed.finish()), ..seen("web", &[sighting("1.0", 'a', 1)]) };
    histories.add(&later).await.unwrap();
    assert_eq!(object(&namespace, &of).await.unwrap(), before);
}

#[tokio::test]
async fn all_in_the_own_namespace_is_told_before_synced_and_what_changes_afterwards() {
    let plane = control_plane::shared().await;
    let (namespace, elsewhere) = (plane.namespace("own").await, plane.namespace("elsewhere").await);
    let own = store(&namespace, ADMIN, clock()).await;
    let first = [sighting("1.0", 'a', 9)];
    own.add(&seen("web", &first)).await.unwrap();
    store(&elsewhere, ADMIN, clock()).await.add(&seen("forged", &first)).await.unwrap();
    let mut watching = Watching::start(&namespace, ADMIN, clock()).await;
    let told = watching.synced().await;
    let [ClusterChange::HistoriesKept(Ok(())), ClusterChange::History(of, sightings)] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!((of, &sightings[..]), (&repository("web"), &first[..]));

    own.add(&seen("web", &[sighting("1.1", 'b', 3)])).await.unwrap();
    let (of, sightings) = watching.history().await;
    assert_eq!((of, sightings), (repository("web"), vec![sighting("1.1", 'b', 3), first[0].clone()]));
    // Created first, and then said.
    own.add(&seen("api", &first)).await.unwrap();
    assert_eq!(watching.history().await, (repository("api"), vec![]));
    assert_eq!(watching.history().await, (repository("api"), first.to_vec()));

    namespace.delete(PLURAL, &name(&namespace, &repository("web")).await).await;
    let gone = watching.next().await;
    assert!(matches!(&gone, ClusterChange::HistoryGone(of) if *of == repository("web")), "{gone:?}");
    // What is seen then counts from then.
    own.add(&seen("web", &[sighting("1.0", 'a', 0)])).await.unwrap();
    assert_eq!(watching.history().await.1, []);
    assert_eq!(watching.history().await.1, [sighting("1.0", 'a', 0)]);
}

#[tokio::test]
async fn whatever_a_person_writes_stops_nothing() {
    let namespace = control_plane::shared().await.namespace("edited").await;
    let histories = store(&namespace, ADMIN, clock()).await;
    let good = sighting("1.0", 'a', 9);
    histories.add(&seen("web", std::slice::from_ref(&good))).await.unwrap();
    let name = name(&namespace, &repository("web")).await;
    let mut watching = Watching::start(&namespace, ADMIN, clock()).await;
    watching.synced().await;
    let entry = json!({"tag": "1.0", "digest": good.digest, "firstSeen": good.first_seen});
    let with = |key: &str, value: &str| {
        let mut entry = entry.clone();
        entry[key] = json!(value);
        entry
    };
    let odd = json!({"tags": [with("tag", "no tag"), with("digest", "none"), entry, with("firstSeen", "2999-01-01T00:00:00Z")]});
    edit(&namespace, &name, odd).await.unwrap();
    assert_eq!(watching.history().await.1.len(), 2);
    histories.add(&seen("web", &[sighting("1.1", 'a', 5)])).await.unwrap();
    let kept = vec![sighting("1.1", 'a', 5), good];
    assert_eq!(watching.history().await.1, kept);
    assert_eq!(sightings(&object(&namespace, &repository("web")).await.unwrap()), kept);
    edit(&namespace, &name, Value::Null).await.unwrap();
    assert_eq!(watching.history().await.1, []);

    // By another name it is nobody's.
    let copy = |name: &str, of: &str| {
        json!({
            "apiVersion": "supercargo.dev/v1alpha1", "kind": "ImageHistory", "metadata": {"name": name},
            "spec": {"repository": of},
        })
    };
    for (name, of) in [("copy", "registry.test/shop/web"), ("odd", "No Repository")] {
        send(&namespace, Method::POST, PLURAL, "", &copy(name, of)).await.unwrap();
        namespace.delete(PLURAL, name).await;
    }
    // Under the name of another, what is seen is not written into it.
    namespace.delete(PLURAL, &name).await;
    send(&namespace, Method::POST, PLURAL, "", &copy(&name, "registry.test/shop/api")).await.unwrap();
    let why = histories.add(&seen("web", &[sighting("1.0", 'a', 5)])).await.unwrap_err();
    let PutError::Refused(why) = why else { panic!("{why:?}") };
    assert!(
        why.contains(&format!(
            "the ImageHistory {name} in the namespace {} is no record of ours, delete it",
            namespace.name
        )),
        "{why}"
    );
    namespace.delete(PLURAL, &name).await;
    histories.add(&seen("web", &[sighting("1.2", 'a', 5)])).await.unwrap();
    let next = watching.next().await;
    assert!(matches!(&next, ClusterChange::HistoryGone(of) if *of == repository("web")), "{next:?}");
    assert_eq!(watching.history().await.1, []);
    assert_eq!(watching.history().await.1, [sighting("1.2", 'a', 5)]);
}

#[tokio::test]
async fn more_than_five_hundred_and_another_repository_are_refused_by_the_definition() {
    let namespace = control_plane::shared().await.namespace("refused-histories").await;
    let histories = store(&namespace, ADMIN, clock()).await;
    histories.add(&seen("web", &[])).await.unwrap();
    let name = name(&namespace, &repository("web")).await;
    let entry = json!({"tag": "t".repeat(128), "digest": format!("sha512:{}", "a".repeat(128)), "firstSeen": "2026-03-01T08:00:00Z", "pushed": "2026-03-01T08:00:00Z"});
    edit(&namespace, &name, json!({"tags": vec![&entry; 500]})).await.unwrap();
    let with = |key: &str, value: &str| {
        let mut entry = entry.clone();
        entry[key] = json!(value);
        json!({"tags": [entry]})
    };
    for (status, why) in [
        (json!({"tags": vec![&entry; 501]}), "Too many: 501"),
        (with("tag", &"t".repeat(129)), "Too long"),
        (with("digest", &"d".repeat(136)), "Too long"),
        (with("firstSeen", "yesterday"), "must be of type date-time"),
        (json!({"more": 1}), "unknown field \"status.more\""),
    ] {
        let refused = edit(&namespace, &name, status).await.unwrap_err();
        assert!(refused.contains(why), "{refused}");
    }
    let spec = json!({"spec": {"repository": "registry.test/shop/api"}});
    let refused = send(&namespace, Method::PATCH, PLURAL, &format!("/{name}"), &spec).await.unwrap_err();
    assert!(refused.contains("the spec of a history stays as it was written"), "{refused}");
}

#[tokio::test]
async fn a_kind_that_is_not_there_stops_nothing_and_is_found_when_it_is_installed() {
    let plane = ControlPlane::start_without_kinds(Parts::Api).await;
    let namespace = plane.namespace_with("no-kind", json!({})).await;
    let sim = SimClock::at("2026-03-01T12:00:00Z");
    let mut watching = Watching::start(&namespace, ADMIN, Arc::new(sim.clone())).await;
    let told = watching.synced().await;
    let [ClusterChange::HistoriesKept(Err(why))] = &told[..] else { panic!("{told:?}") };
    let install = "an administrator runs `supercargo crds | kubectl apply --server-side -f -` and gives the rights of \
                   deploy/base";
    assert_eq!(&**why, format!("the cluster does not have the kind ImageHistory: {install}"));
    let own = store(&namespace, ADMIN, clock()).await;
    let why = own.add(&seen("web", &[])).await.unwrap_err();
    assert!(matches!(&why, PutError::Unavailable(why) if why.ends_with(install)), "{why:?}");
    let client = plane.client(ADMIN).await;
    assert_eq!(cluster::histories(client.clone(), clock()).await.unwrap(), None);

    // As a newer version defines it.
    let more = |crd: &mut Value| {
        if crd["spec"]["names"]["plural"] == PLURAL {
            let status = "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties";
            crd.pointer_mut(status).unwrap()["votes"] = json!({"type": "integer"});
        }
    };
    plane.define_kinds_with(more).await;
    let kept = eventually("the kind is found", async || {
        sim.advance(Duration::from_secs(61)).await;
        let told = std::iter::from_fn(|| watching.changes.try_recv().ok());
        told.filter(|change| matches!(change, ClusterChange::HistoriesKept(_))).last()
    });
    assert!(matches!(kept.await, ClusterChange::HistoriesKept(Ok(()))));
    own.add(&seen("web", &[sighting("1.0", 'a', 5)])).await.unwrap();
    let name = name(&namespace, &repository("web")).await;
    edit(&namespace, &name, json!({"votes": 3})).await.unwrap();
    own.add(&seen("web", &[sighting("1.1", 'a', 1)])).await.unwrap();
    let object = object(&namespace, &repository("web")).await.unwrap();
    assert_eq!((&object["status"]["votes"], sightings(&object).len()), (&json!(3), 2));
}

#[tokio::test]
async fn without_the_right_that_is_said_and_it_is_asked_again() {
    let plane = control_plane::shared().await;
    let namespace = plane.namespace("no-histories").await;
    let user = PLAIN[1];
    let grant = |name: &str, verbs: &str, resources: &str| {
        let (verbs, resources) = (format!("--verb={verbs}"), format!("--resource={resources}"));
        plane.kubectl(&["-n", &namespace.name, "create", "role", name, &verbs, &resources]);
        let (role, user) = (format!("--role={name}"), format!("--user={user}"));
        plane.kubectl(&["-n", &namespace.name, "create", "rolebinding", name, &role, &user]);
    };
    let others = "deployments.apps,statefulsets.apps,daemonsets.apps,cronjobs.batch,imageupdates.supercargo.dev,\
                  imagestates.supercargo.dev";
    grant("others", "list,watch", others);
    let sim = SimClock::at("2026-03-01T12:00:00Z");
    let mut watching = Watching::start(&namespace, user, Arc::new(sim.clone())).await;
    let told = watching.synced().await;
    let [ClusterChange::HistoriesKept(Err(why))] = &told[..] else { panic!("{told:?}") };
    for words in [
        format!("there is no right to imagehistories in the namespace {}, where they are kept: ", namespace.name),
        "cannot list resource \"imagehistories\"".to_owned(),
        "; an administrator gives the rights of deploy/base there".to_owned(),
    ] {
        assert!(why.contains(&words), "{why}");
    }
    let own = store(&namespace, user, clock()).await;
    let add = async || own.add(&seen("web", &[sighting("1.0", 'a', 5)])).await;
    for (verb, resource) in [
        ("get", "imagehistories.supercargo.dev"),
        ("create", "imagehistories.supercargo.dev"),
        ("update", "imagehistories.supercargo.dev/status"),
    ] {
        let cannot = format!("cannot {verb} resource \"imagehistories");
        let why = eventually(&cannot, async || match add().await {
            Err(PutError::Refused(why)) if why.contains(&cannot) => Some(why),
            _ => None,
        });
        let role = format!("; an administrator gives the rights of deploy/base in the namespace {}", namespace.name);
        assert!(why.await.ends_with(&role));
        grant(verb, verb, resource);
    }
    eventually("it is added", async || add().await.ok()).await;
    grant("read", "list,watch", "imagehistories.supercargo.dev");
    let told = eventually("it is told", async || {
        sim.advance(Duration::from_secs(61)).await;
        let told = std::iter::from_fn(|| watching.changes.try_recv().ok());
        // There is no right to votes either, which is told at its own time.
        let told: Vec<ClusterChange> = told.filter(|change| !matches!(change, ClusterChange::Policies(..))).collect();
        (!told.is_empty()).then_some(told)
    });
    let told = told.await;
    assert!(matches!(&told[0], ClusterChange::HistoriesKept(Ok(()))), "{told:?}");
    let history = match told.into_iter().nth(1) {
        Some(history) => history,
        None => watching.next().await,
    };
    assert!(matches!(&history, ClusterChange::History(of, all) if *of == repository("web") && all.len() == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_reads_those_of_all_namespaces_and_the_youngest_of_several_counts() {
    let plane = control_plane::shared().await;
    let (one, two) = (plane.namespace("one").await, plane.namespace("two").await);
    // A repository that no other test has.
    let mut first = seen(&one.name, &[sighting("1.0", 'a', 9), sighting("1.1", 'a', 9)]);
    first.sightings[1].pushed = Some(sighting("1.1", 'a', 90).first_seen);
    store(&one, ADMIN, clock()).await.add(&first).await.unwrap();
    let second = [sighting("1.0", 'a', 4), sighting("1.0", 'b', 3), sighting("1.1", 'a', 50)];
    store(&two, ADMIN, clock()).await.add(&seen(&one.name, &second)).await.unwrap();
    let found = cluster::histories(plane.client(ADMIN).await, clock()).await.unwrap().unwrap();
    let mut found: Vec<_> = found.into_iter().filter(|(of, _)| *of == first.repository).collect();
    let (_, mut sightings) = found.pop().unwrap();
    assert!(found.is_empty(), "each repository once");
    sightings.sort_by_key(|sighting| std::cmp::Reverse((sighting.first_seen, sighting.digest.clone())));
    assert_eq!(sightings, [second[1].clone(), second[0].clone(), second[2].clone()]);

    let why = cluster::histories(plane.client(PLAIN[0]).await, clock()).await.unwrap_err();
    assert_eq!(why.to_string(), "the right to list imagehistories in all namespaces is missing");
    // It matters to who asks for it.
    let manifest = super::manifest("Deployment", "web", &[("web", "registry.test/web:1")]);
    let grant = "deployments.apps,statefulsets.apps,daemonsets.apps,cronjobs.batch,imagestates.supercargo.dev,\
                 imageupdates.supercargo.dev";
    plane.kubectl(&["-n", &one.name, "create", "role", "all", "--verb=list,watch", &format!("--resource={grant}")]);
    plane.kubectl(&["-n", &one.name, "create", "rolebinding", "all", "--role=all", &format!("--user={}", PLAIN[0])]);
    one.create(&manifest.to_string()).await;
    let kubeconfig = plane.kubeconfig_with_token(&format!("{}-token", PLAIN[0]), &one.name);
    let plan = || {
        let output = supercargo(&["plan", "--kubeconfig", kubeconfig.to_str().unwrap()], std::path::Path::new("."));
        let said = String::from_utf8(output.stderr).unwrap();
        said.lines().filter(|line| line.starts_with("note: ")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(plan(), [""; 0]);
    one.merge("deployments", "web", json!({"metadata": {"annotations": {"supercargo.dev/min-age": "3d"}}})).await;
    let note = "note: the right to list imagehistories in all namespaces is missing: what `min-age` counts is shown as if \
                it was seen now for the first time";
    assert_eq!(plan(), [note]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_repositories_of_a_hundred_tags_take_little() {
    let plane = ControlPlane::start(Parts::Api).await;
    let namespace = plane.namespace_with("many-histories", json!({})).await;
    let start = async || {
        let kubeconfig = plane.kubeconfig_with_token(&format!("{ADMIN}-token"), &namespace.name);
        let setup = Setup { kubeconfig: Some(kubeconfig), ..Setup::in_namespace(&namespace, "1h") };
        Operator::start(&plane, &setup).await
    };
    let before = start().await.status("VmHWM");
    let histories = store(&namespace, ADMIN, clock()).await;
    let tags: Vec<Sighting> = (0..100).map(|n| sighting(&format!("1.0.{n}"), 'a', n)).collect();
    let adding = stream::iter(0..2_000).map(|n| {
        let (histories, seen) = (histories.clone(), seen(&format!("web-{n}"), &tags));
        async move { histories.add(&seen).await.unwrap() }
    });
    adding.buffer_unordered(8).for_each(async |_| ()).await;
    let after = start().await.status("VmHWM");
    assert!(after < RESIDENT * 1000, "at most {before} KB, then {after} KB");
}
