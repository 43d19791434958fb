//! The rights: enough for the whole job, and not one too many.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::StreamExt;
use serde_json::{Value, json};
use supercargo::{
    clock::SystemClock,
    cluster::{self, CustomResources, Scope},
    domain::history::Seen,
    ports::{Clock, ClusterChange, Histories},
    store::Memory,
};
use tokio::sync::mpsc;

use super::{
    EVERYWHERE, QUICK, Right, account, as_deployed, asked, has_right,
    job::{
        CLEARED, CRASHED, DEFAULTS, EVENTS, FORGOTTEN, Job, KINDS, MOVED_BACK, PRIVATE, Part, READY, RECORDED,
        REMEMBERED, Registries, SERIES,
    },
    of_kind, plane, rendered, rights, said, shell,
};
use crate::support::{
    control_plane::{ControlPlane, Namespace},
    eventually,
    histories::{repository, sighting},
    operator::{Operator, Setup},
};

/// What only `min-age` asks for: a test of their own shows what needs these.
fn is_of_histories((_, resource, _): &Right) -> bool {
    resource.starts_with("imagehistories")
}

/// The others.
pub(crate) fn of_the_job(rights: BTreeSet<Right>) -> BTreeSet<Right> {
    rights.into_iter().filter(|right| !is_of_histories(right)).collect()
}

pub(crate) fn right(group: &str, resource: &str, verb: &str) -> Right {
    (group.to_owned(), resource.to_owned(), verb.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_base_does_the_whole_job_and_tells_by_which_command_a_pull_secret_may_be_read() {
    let _alone = EVERYWHERE.write().await;
    let (plane, registries) = (plane().await, Registries::start().await);
    let objects = rendered("base");
    let granted = of_the_job(rights(&objects));
    assert!(granted.iter().all(|(_, resource, _)| resource != "secrets"));
    shell(plane, "kubectl apply -k deploy/base");
    // The other installation may have been here before.
    shell(plane, "kubectl delete clusterrolebinding supercargo-pull-secrets --ignore-not-found");
    let namespace = plane.namespace("base").await;
    let account = account("supercargo");
    has_right(&namespace, &account, &right("", "secrets", "get"), false).await;
    has_right(&namespace, &account, &right("events.k8s.io", "events", "patch"), true).await;
    let before = asked(plane, &account).0.contains(&right("", "secrets", "get"));

    let operator = Operator::spawn(plane, &as_deployed(plane, &objects).await);
    let job = Job::new(namespace, &registries, &[DEFAULTS]).await;
    job.done(&operator).await;
    let (used, forbidden) = asked(plane, &account);
    let mut used = of_the_job(used);
    if before {
        used.remove(&right("", "secrets", "get"));
    }
    assert_eq!(used, granted, "what is granted is what is used");
    assert!(forbidden.is_empty(), "{forbidden:?}");

    job.create_private().await;
    let command = command_of(&job.why_not_private().await);
    assert!(command.contains("--serviceaccount=supercargo:supercargo"), "{command}");
    shell(plane, &command);
    private_is_updated(&job).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_component_pull_secrets_are_read_everywhere() {
    let _alone = EVERYWHERE.write().await;
    let (plane, registries) = (plane().await, Registries::start().await);
    let objects = rendered("overlays/pull-secrets");
    let secrets = right("", "secrets", "get");
    let difference: Vec<Right> = rights(&objects).difference(&rights(&rendered("base"))).cloned().collect();
    assert!(difference.iter().eq([&secrets]), "{difference:?}");
    shell(plane, "kubectl apply -k deploy/overlays/pull-secrets");
    let namespace = plane.namespace("component").await;
    has_right(&namespace, &account("supercargo"), &secrets, true).await;

    let operator = Operator::spawn(plane, &as_deployed(plane, &objects).await);
    Job::new(namespace, &registries, &[DEFAULTS, PRIVATE]).await.done(&operator).await;
    assert!(asked(plane, &account("supercargo")).0.contains(&secrets));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_namespace_needs_no_right_outside_it() {
    let _others = EVERYWHERE.read().await;
    let (plane, registries) = (plane().await, Registries::start().await);
    let objects = rendered("overlays/namespaced");
    assert!(objects.iter().all(|object| object["metadata"]["namespace"] == "apps"));
    let all = ["ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"];
    let all: Vec<&Value> = all.into_iter().flat_map(|kind| of_kind(&objects, kind)).collect();
    assert!(all.is_empty(), "{all:?}");
    shell(plane, "kubectl create namespace apps");
    shell(plane, "kubectl apply -k deploy/overlays/namespaced");
    let namespace = Namespace { plane, name: "apps".to_owned() };
    has_right(&namespace, &account("apps"), &right("events.k8s.io", "events", "patch"), true).await;

    let operator = Operator::spawn(plane, &as_deployed(plane, &objects).await);
    let job = Job::new(namespace, &registries, &[]).await;
    job.done(&operator).await;
    let (used, forbidden) = asked(plane, &account("apps"));
    assert_eq!(of_the_job(used), of_the_job(rights(&objects)), "what is granted is what is used");
    assert_eq!(forbidden, BTreeSet::from([right("", "namespaces", "list")]), "which it does without");
    let said = operator.process.output();
    assert!(said.contains("its annotations are no defaults") && !said.contains("Api(Status"), "{said}");

    job.create_private().await;
    let command = command_of(&job.why_not_private().await);
    assert!(command.contains("--serviceaccount=apps:supercargo"), "{command}");
    shell(plane, &command);
    private_is_updated(&job).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_one_right_of_the_cluster_wide_installation_a_part_of_the_job_fails() {
    let (plane, registries) = (plane().await, Registries::start().await);
    let all = rights(&rendered("overlays/pull-secrets"));
    assert!(rights(&rendered("base")).is_subset(&all));
    let less = |taken: Right| Less { all: all.clone(), taken, cluster_wide: true, parts: &[DEFAULTS, PRIVATE] };
    // Namespaces matter where none is named, and then the operator acts everywhere.
    let (everywhere, within): (Vec<Right>, Vec<Right>) =
        of_the_job(all.clone()).into_iter().partition(|(_, resource, _)| resource == "namespaces");
    {
        let _others = EVERYWHERE.read().await;
        let runs = within.into_iter().map(|taken| less(taken).fails(plane, &registries, true));
        futures::stream::iter(runs).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
    }
    let _alone = EVERYWHERE.write().await;
    for taken in everywhere {
        less(taken).fails(plane, &registries, false).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_one_right_of_the_installation_in_one_namespace_a_part_of_the_job_fails() {
    let _others = EVERYWHERE.read().await;
    let (plane, registries) = (plane().await, Registries::start().await);
    let all = rights(&rendered("overlays/namespaced"));
    let less = |taken: &Right| Less { all: all.clone(), taken: taken.clone(), cluster_wide: false, parts: &[] };
    let each = of_the_job(all.clone());
    let runs = each.iter().map(|taken| less(taken).fails(plane, &registries, true));
    futures::stream::iter(runs).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn histories_need_each_right_of_their_role_in_the_own_namespace_and_no_other() {
    let plane = plane().await;
    for installation in ["base", "overlays/namespaced"] {
        let objects = rendered(installation);
        let (role, others): (Vec<Value>, Vec<Value>) =
            objects.into_iter().partition(|object| object["metadata"]["name"] == "supercargo-histories");
        let all = rights(&role);
        assert!(all.iter().all(is_of_histories) && !rights(&others).iter().any(is_of_histories));
        assert!(of_kind(&role, "Role").eq(role.iter().filter(|object| object.get("rules").is_some())));
        let other = right("", "secrets", "get");
        for taken in all.iter().chain([&other]) {
            let namespace = plane.namespace("histories").await;
            let less = Less { all: all.clone(), taken: taken.clone(), cluster_wide: false, parts: &[] };
            less.grant(&namespace).await;
            let user = account(&namespace.name);
            let kept = all.iter().rfind(|right| *right != taken).unwrap();
            has_right(&namespace, &user, kept, true).await;
            let remembered = remembered(&namespace).await;
            let (_, resource, verb) = taken;
            let resource = resource.split('/').next().unwrap();
            match remembered {
                Ok(()) => assert_eq!(taken, &other),
                Err(why) => assert!(why.contains(&format!("cannot {verb} resource \"{resource}")), "{why}"),
            }
            let (used, forbidden) = asked(plane, &user);
            let [used, forbidden] = [used, forbidden].map(|all| all.into_iter().filter(is_of_histories).collect());
            let expected =
                |all: BTreeSet<Right>| all.into_iter().filter(|right| right != taken).collect::<BTreeSet<_>>();
            assert!(expected(all.clone()).is_superset(&used) && (taken != &other || used == all), "{used:?}");
            assert_eq!(forbidden, all.iter().filter(|right| *right == taken).cloned().collect::<BTreeSet<_>>());
        }
    }
}

/// Adds to a history, by the ServiceAccount of a namespace, and waits until that is told.
async fn remembered(namespace: &Namespace<'_>) -> Result<(), String> {
    let token = namespace.token("supercargo").await;
    let kubeconfig = namespace.plane.kubeconfig_with_token(&token, &namespace.name);
    let options = cluster::connect::Options { kubeconfig: Some(kubeconfig), context: None };
    let client = cluster::connect(&options).await.unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let records = CustomResources::new(client.clone(), clock.clone(), Arc::new(Memory::new(clock.clone())));
    let (sender, mut changes) = mpsc::channel(100);
    let watching = {
        let (records, clock) = (records.clone(), clock.clone());
        let scope = Scope::Namespaces(vec![namespace.name.clone()]);
        tokio::spawn(async move { cluster::watch(client, scope, None, Some(&records), None, clock, sender).await })
    };
    let mut next = async || tokio::time::timeout(Duration::from_secs(30), changes.recv()).await.unwrap().unwrap();
    let kept = loop {
        if let ClusterChange::HistoriesKept(kept) = next().await {
            break kept;
        }
    };
    let sightings = vec![sighting("1.0", 'a', clock.now())];
    let seen = Seen { repository: repository("web"), sightings, listed: None };
    records.add(&seen).await.map_err(|error| error.to_string())?;
    kept.map_err(|why| why.to_string())?;
    let told = loop {
        match next().await {
            ClusterChange::HistoriesKept(Err(why)) => break Err(why.to_string()),
            ClusterChange::History(_, all) if !all.is_empty() => break Ok(()),
            _ => {}
        }
    };
    watching.abort();
    told
}

/// How many operators run at a time.
const AT_ONCE: usize = 6;

/// An installation that lacks one right.
struct Less {
    all: BTreeSet<Right>,
    taken: Right,
    cluster_wide: bool,
    /// Beside what every installation can do.
    parts: &'static [Part],
}

impl Less {
    /// Runs the operator with what is left, and waits until all is done but what needs the right, and the operator has
    /// said which right that is.
    async fn fails(self, plane: &'static ControlPlane, registries: &Registries, named: bool) {
        let (_, resource, verb) = &self.taken;
        let namespace = plane.namespace("less").await;
        let user = account(&namespace.name);
        self.grant(&namespace).await;
        let kept = self.all.iter().rfind(|right| **right != self.taken).unwrap();
        has_right(&namespace, &user, kept, true).await;
        has_right(&namespace, &user, &self.taken, false).await;

        let token = namespace.token("supercargo").await;
        let mut setup = Setup::in_namespace(&namespace, "1s");
        if !named {
            setup.args.drain(..2);
        }
        let config = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
        std::fs::write(&config, QUICK).unwrap();
        let mut setup = setup.with(&["--config", config.path().to_str().unwrap()]);
        setup.kubeconfig = Some(plane.kubeconfig_with_token(&token, &namespace.name));
        let job = Job::new(namespace, registries, self.parts).await;
        let operator = Operator::spawn(plane, &setup);
        let says = match resource.as_str() {
            "secrets" => "supercargo has no right to read the Secret".to_owned(),
            _ => format!("cannot {verb} resource \"{resource}\""),
        };
        let told = || said(&operator).contains(&says);
        eventually("it is ready, or says why not", async || {
            (told() || !job.missing(&operator).await.contains(READY)).then_some(())
        })
        .await;
        let expected = self.expected();
        // A watch that is refused again and again is followed by a list, and what that shows is done late.
        let is_late = verb == "watch";
        let is_expected = |missing: &BTreeSet<Part>| *missing == expected || is_late && missing.is_subset(&expected);
        tokio::select! {
            never = job.give(&operator) => match never {},
            () = async {
                eventually(&format!("it says `{says}`"), async || told().then_some(())).await;
                job.comes_to(&operator, is_expected).await;
            } => {}
        }
        let (_, mut forbidden) = asked(plane, &user);
        if !self.cluster_wide {
            forbidden.remove(&right("", "namespaces", "list"));
        }
        assert_eq!(forbidden, BTreeSet::from([self.taken.clone()]), "nothing else is refused");
        job.end().await;
    }

    /// The parts that cannot be done.
    fn expected(&self) -> BTreeSet<Part> {
        let (_, resource, verb) = &self.taken;
        let kinds = KINDS.into_iter().zip(MOVED_BACK);
        let kind_and_back =
            kinds.clone().find(|((_, plural), _)| plural == resource).map(|((kind, _), back)| (kind, back));
        let records = [RECORDED, REMEMBERED, CLEARED, FORGOTTEN];
        let all = || {
            let others = [READY, EVENTS, SERIES, DEFAULTS, PRIVATE, CRASHED];
            kinds.clone().flat_map(|((kind, _), back)| [kind, back]).chain(others).chain(records)
        };
        let mut expected: BTreeSet<Part> = match (verb.as_str(), resource.as_str()) {
            ("delete", "imageupdates") => BTreeSet::from([CLEARED]),
            (_, "pods" | "replicasets" | "controllerrevisions") => BTreeSet::from([CRASHED]),
            ("list", _) => all().collect(),
            // What was set is remembered once its update is recorded.
            ("create" | "update", "imageupdates" | "imageupdates/status") => {
                records.into_iter().chain([CRASHED]).collect()
            }
            (_, "imageupdates") => BTreeSet::from([RECORDED, CLEARED, CRASHED]),
            ("delete", "imagestates") => BTreeSet::from([FORGOTTEN]),
            (_, "imagestates" | "imagestates/status") => BTreeSet::from([REMEMBERED, FORGOTTEN]),
            ("create", "events") => MOVED_BACK.into_iter().chain([EVENTS, SERIES]).collect(),
            ("patch", "events") => BTreeSet::from([SERIES]),
            ("watch", "namespaces") => BTreeSet::from([DEFAULTS]),
            ("get", "secrets") => BTreeSet::from([PRIVATE]),
            ("get", _) => kind_and_back.into_iter().map(|(_, back)| back).collect(),
            ("watch", _) => kind_and_back.into_iter().flat_map(|(kind, back)| [kind, back]).collect(),
            (_, _) => kind_and_back.into_iter().map(|(kind, _)| kind).collect(),
        };
        // Deployments are more than one.
        match (verb.as_str(), resource.as_str()) {
            ("watch", "deployments") => expected.extend([DEFAULTS, PRIVATE, SERIES, CLEARED, FORGOTTEN, CRASHED]),
            ("patch", "deployments") => expected.extend([DEFAULTS, PRIVATE, CLEARED, FORGOTTEN, CRASHED]),
            ("get" | "watch" | "patch", "daemonsets") => expected.extend([CRASHED]),
            ("get", "deployments") => expected.extend([CRASHED]),
            _ => {}
        }
        assert!(!expected.is_empty(), "no part of the job is known to need {:?}", self.taken);
        let has = |part: &Part| ![DEFAULTS, PRIVATE].contains(part) || self.parts.contains(part);
        expected.into_iter().filter(has).collect()
    }

    /// A ServiceAccount `supercargo` with what is left.
    async fn grant(&self, namespace: &Namespace<'_>) {
        let name = &namespace.name;
        let left = self.all.iter().filter(|right| **right != self.taken);
        let rules: Vec<Value> = left
            .map(|(group, resource, verb)| json!({"apiGroups": [group], "resources": [resource], "verbs": [verb]}))
            .collect();
        let (role, binding) =
            if self.cluster_wide { ("ClusterRole", "ClusterRoleBinding") } else { ("Role", "RoleBinding") };
        let api = "rbac.authorization.k8s.io";
        let mut objects = [
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "supercargo", "namespace": name}}),
            json!({"apiVersion": format!("{api}/v1"), "kind": role, "metadata": {"name": name}, "rules": rules}),
            json!({
                "apiVersion": format!("{api}/v1"), "kind": binding, "metadata": {"name": name},
                "roleRef": {"apiGroup": api, "kind": role, "name": name},
                "subjects": [{"kind": "ServiceAccount", "name": "supercargo", "namespace": name}],
            }),
        ];
        for object in &mut objects {
            if !self.cluster_wide {
                object["metadata"]["namespace"] = json!(name);
            }
            namespace.plane.create(&object.to_string()).await;
        }
    }
}

/// The command line in a text that ends in a remark in brackets.
fn command_of(text: &str) -> String {
    let (_, rest) = text.split_once("grant it with: ").unwrap_or_else(|| panic!("{text}"));
    rest.split_once(" (").unwrap_or_else(|| panic!("{text}")).0.to_owned()
}

async fn private_is_updated(job: &Job<'_>) {
    eventually("the private one is updated", async || {
        job.namespace.images("deployments", "private").await[0].ends_with(":1.1.0").then_some(())
    })
    .await;
}
