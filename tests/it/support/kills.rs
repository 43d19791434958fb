//! The operator is killed at random points while images are pushed; the audit log tells what it did in all its lives.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::Method;
use serde_json::{Value, json};

use super::{
    control_plane::{ControlPlane, Namespace, Parts, audited_user},
    eventually, free_port,
    objects::{policy, runs, workload, written},
    operator::{Operator, Setup},
    registry::{OCI_MANIFEST, Registry},
    shop::{QUICK, Shop, story},
    within_minutes,
};

/// Numbers that look random and are the same for the same seed (SplitMix64).
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// From a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// One that is below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

/// `$SUPERCARGO_SEED`, if it is set.
#[expect(clippy::disallowed_methods, reason = "the tests' own environment")]
pub(crate) fn given_seed() -> Option<u64> {
    std::env::var("SUPERCARGO_SEED").ok().map(|text| text.parse().expect("SUPERCARGO_SEED is a number"))
}

/// `$SUPERCARGO_KILLS`, else so few.
#[expect(clippy::disallowed_methods, reason = "the tests' own environment")]
pub(crate) fn how_many(few: u64) -> u64 {
    std::env::var("SUPERCARGO_KILLS").ok().map_or(few, |text| text.parse().expect("SUPERCARGO_KILLS is a number"))
}

/// `$SUPERCARGO_SEED`, else another one each time.
#[expect(clippy::disallowed_methods, reason = "the tests' own clock")]
pub(crate) fn seed() -> u64 {
    given_seed().unwrap_or_else(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap();
        u64::from(since.subsec_nanos())
    })
}

/// What happened.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) pushes: usize,
    pub(crate) updates: usize,
    /// Images that the API server took and whose operator was killed before it could say so.
    pub(crate) untold: usize,
}

const REPOSITORIES: u64 = 4;
/// Kind, plural, name and the repositories of its containers.
const WORKLOADS: [(&str, &str, &str, &[u64]); 7] = [
    ("Deployment", "deployments", "one", &[0]),
    ("Deployment", "deployments", "same", &[0]),
    ("Deployment", "deployments", "two", &[1, 2]),
    ("Deployment", "deployments", "all", &[0, 1, 2, 3]),
    ("StatefulSet", "statefulsets", "set", &[1]),
    ("DaemonSet", "daemonsets", "daemon", &[2]),
    ("CronJob", "cronjobs", "cron", &[3]),
];
const SECRET: &str = "said-by-the-registry";

/// Kills the operator (`kill -9`) that often. Panics unless every container then runs the newest tag, and each image
/// was written to each container at most once and never an older one after a newer one.
pub(crate) async fn kill(kills: usize, seed: u64) -> Outcome {
    println!("SUPERCARGO_SEED={seed}, {kills} kills");
    let mut random = Random::new(seed);
    let (plane, registry) = (ControlPlane::start(Parts::All).await, Arc::new(Registry::start().await));
    let namespace = plane.namespace_with("killed", json!({})).await;
    let image = |repository: u64, n: usize| format!("{}/r{repository}:1.0.{n}", registry.host);
    for repository in 0..REPOSITORIES {
        registry.push_tags(&format!("r{repository}"), ["1.0.0"]).await;
    }
    let names = ["c0", "c1", "c2", "c3"];
    for (kind, _, name, repositories) in WORKLOADS {
        let images: Vec<String> = repositories.iter().map(|&repository| image(repository, 0)).collect();
        let containers: Vec<(&str, &str)> = names.into_iter().zip(images.iter().map(String::as_str)).collect();
        namespace.create(&workload(kind, name, policy("patch"), &containers).to_string()).await;
    }

    let setup = Setup {
        hook_secret: Some(SECRET.to_owned()),
        hooks_port: Some(free_port()),
        user: Some(audited_user()),
        ..Setup::in_namespace(&namespace, "1s")
    };
    let user = setup.user.clone().unwrap();
    let newest = Arc::new(Mutex::new(BTreeMap::<u64, usize>::new()));
    let stop = Arc::new(AtomicBool::new(false));
    let hooks = format!("http://127.0.0.1:{}/hooks/distribution", setup.hooks_port.unwrap());
    let pushing = tokio::spawn(push(registry.clone(), hooks, Random(seed ^ 1), newest.clone(), stop.clone()));

    let mut told = 0;
    for _ in 0..kills {
        let operator = Operator::spawn(&plane, &setup);
        // Some die young, most at work; the time is the fault.
        let life = if random.below(4) == 0 {
            random.below(600)
        } else {
            operator.ready().await;
            random.below(1500)
        };
        tokio::time::sleep(Duration::from_millis(life)).await;
        operator.process.signal("KILL");
        let log = operator.process.output();
        told += log.lines().filter(|line| line.contains(r#""message":"updated""#)).count();
    }
    stop.store(true, Ordering::Relaxed);
    let pushes = pushing.await.unwrap();
    let operator = Operator::start(&plane, &setup).await;
    let newest = newest.lock().unwrap().clone();
    let mut wanted = Vec::new();
    for (_, plural, name, repositories) in WORKLOADS {
        let images: Vec<String> =
            repositories.iter().map(|r| image(*r, newest.get(r).copied().unwrap_or_default())).collect();
        eventually(&format!("{name} runs {images:?} (seed {seed})"), async || {
            (namespace.images(plural, name).await == images).then_some(())
        })
        .await;
        wanted.push((name, images));
    }
    let log = operator.process.output();
    told += log.lines().filter(|line| line.contains(r#""message":"updated""#)).count();

    let written = written(&plane, &user);
    let mut seen = HashSet::new();
    let mut last: HashMap<&str, usize> = HashMap::new();
    for (container, image) in &written {
        assert!(seen.insert((container, image)), "{image} was written to {container} twice (seed {seed})");
        let n: usize = image.rsplit_once(":1.0.").unwrap().1.parse().unwrap();
        let before = last.insert(container, n);
        assert!(before < Some(n), "{container} went back to {image} (seed {seed})");
    }
    let containers: usize = WORKLOADS.iter().map(|(.., repositories)| repositories.len()).sum();
    assert_eq!(last.len(), containers, "every container was updated");
    records(&namespace, &wanted, seed).await;
    Outcome { pushes, updates: written.len(), untold: written.len().saturating_sub(told) }
}

/// An image that the workload runs now has a record (of each workload ten are kept, so that those of all its containers may
/// not be there any more), no image has two, and of no update more is to be done. What the workloads run tells which
/// image was the last, not the order of the audit log: a patch whose sender was killed is noted there when its time is out.
async fn records(namespace: &Namespace<'_>, runs: &[(&str, Vec<String>)], seed: u64) {
    let path = format!("/apis/supercargo.dev/v1alpha1/namespaces/{}/imageupdates", namespace.name);
    let ended = ["Succeeded", "Superseded"].map(|phase| json!(phase));
    // Workload, container and image of each change that was made.
    let made = |all: &[Value]| -> Vec<(String, String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let of = |update: &Value| {
            let changes = update["spec"]["changes"].as_array().unwrap().clone();
            let name = text(&update["spec"]["workload"]["name"]);
            changes.into_iter().map(move |change| (name.clone(), text(&change["container"]), text(&change["to"])))
        };
        all.iter().filter(|update| update["status"]["phase"] == "Succeeded").flat_map(of).collect()
    };
    let has_last = |all: &[Value], name: &str, images: &[String]| {
        made(all).iter().any(|(of, _, to)| of == name && images.contains(to))
    };
    let is_ended = |update: &Value| ended.contains(&update["status"]["phase"]);
    let mut all = Vec::new();
    let in_time = within_minutes(5, async || {
        let list = namespace.plane.request(Method::GET, &path, None).await.ok()?;
        all = list["items"].as_array()?.clone();
        let is_over = all.iter().all(is_ended);
        (is_over && runs.iter().all(|(name, images)| has_last(&all, name, images))).then_some(())
    });
    let is_done = in_time.await.is_some();
    let open: Vec<String> = all.iter().filter(|update| !is_ended(update)).map(|update| format!("{update}")).collect();
    let lost: Vec<_> = runs.iter().filter(|(name, images)| !has_last(&all, name, images)).collect();
    let of_lost = |update: &&Value| lost.iter().any(|(name, _)| update["spec"]["workload"]["name"] == *name);
    let theirs: Vec<String> = all.iter().filter(of_lost).map(|update| format!("{update}")).collect();
    assert!(
        is_done,
        "no record of the last image of {lost:?}, or not at its end (seed {seed}): {open:#?}; theirs: {theirs:#?}"
    );
    let mut recorded = HashSet::new();
    for change in made(&all) {
        assert!(recorded.insert(change.clone()), "{change:?} has two records (seed {seed})");
    }
}

/// Pushes to one repository after the other, and tells the operator, if it is there to hear it.
async fn push(
    registry: Arc<Registry>,
    hooks: String,
    mut random: Random,
    newest: Arc<Mutex<BTreeMap<u64, usize>>>,
    stop: Arc<AtomicBool>,
) -> usize {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut pushes = 0;
    while !stop.load(Ordering::Relaxed) || pushes < 40 {
        // Every repository has its turn at first.
        let repository = if pushes < 4 { pushes as u64 } else { random.below(REPOSITORIES) };
        let n = newest.lock().unwrap().get(&repository).copied().unwrap_or_default() + 1;
        let (path, tag) = (format!("r{repository}"), format!("1.0.{n}"));
        registry.push_tags(&path, [&tag]).await;
        newest.lock().unwrap().insert(repository, n);
        pushes += 1;
        let event = json!({"events": [{
            "action": "push", "target": {"mediaType": OCI_MANIFEST, "repository": path, "tag": tag},
            "request": {"host": registry.host},
        }]});
        let request = http.post(&hooks).bearer_auth(SECRET).timeout(Duration::from_millis(500));
        // Nobody may be there.
        let _ = request.body(event.to_string()).send().await;
        tokio::time::sleep(Duration::from_millis(random.below(150))).await;
    }
    pushes
}

/// Kills the operator that often, each time while another update crashes and goes back. Panics unless each is written once,
/// put back once, in quarantine, and ends once.
pub(crate) async fn go_back(kills: u64, seed: u64) {
    println!("SUPERCARGO_SEED={seed}, {kills} kills");
    let mut random = Random::new(seed);
    let shop = Shop::open("back-killed").await;
    shop.create_auto("Deployment", |_| ()).await;
    let mut operator = shop.operator(QUICK).await;
    // Of a patch whose client was killed the audit log may tell no success.
    let generation =
        async || shop.namespace.get("deployments", "web").await["metadata"]["generation"].as_u64().unwrap();
    let before = generation().await;
    for n in 1..=kills {
        let tag = format!("1.{n}.0-broken");
        let to = shop.image(&tag);
        shop.push(&tag).await;
        shop.remembered(&tag).await;
        // The time is the fault.
        tokio::time::sleep(Duration::from_millis(random.below(4000))).await;
        operator.process.signal("KILL");
        drop(operator);
        operator = shop.operator(QUICK).await;
        let update = shop.update(&tag, "RolledBack").await;
        let ends = story(&update).into_iter().filter(|phase| *phase == "RolledBack").count();
        assert_eq!(ends, 1, "{update}");
        runs(&shop.namespace, "web", &[&shop.image("1.0.0")]).await;
        assert_eq!(generation().await, before + 2 * n, "{tag} (seed {seed})");
        assert!(shop.quarantined().await.iter().any(|bad| bad["to"] == to), "{tag} (seed {seed})");
        let all = shop.all("imageupdates").await;
        let of_it = all.iter().filter(|it| it["spec"]["changes"][0]["to"] == to).count();
        assert_eq!(of_it, 1, "{tag} (seed {seed})");
    }
}
