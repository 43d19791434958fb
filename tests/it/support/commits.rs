//! The operator beside a Git server: what it is given, and its kills at random points while it commits, after which the
//! history tells what it did in all its lives.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::json;

use super::{
    control_plane::{Namespace, shared},
    eventually,
    git_server::GitServer,
    kills::Random,
    objects::deployment,
    operator::{Operator, Setup},
    registry::Registry,
};

const WORKLOADS: usize = 5;

/// A manifest as people write it, with things that must stay.
pub(crate) fn manifest(namespace: &Namespace<'_>, name: &str, image: &str) -> String {
    format!(
        "# the shop's front\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}, namespace: {}}}\nspec:\n  \
         template:\n    spec:\n      containers:\n      - name: web\n        image: \"{image}\"   # kept\n",
        namespace.name
    )
}

/// The configuration of `prod` at that address for these namespaces.
pub(crate) fn config(folder: &Path, namespaces: &str, url: &str) -> PathBuf {
    config_with(folder, namespaces, url, ("bot", "geheim-4711"), "")
}

/// The same with that user and token, and more settings.
pub(crate) fn config_with(folder: &Path, namespaces: &str, url: &str, user: (&str, &str), more: &str) -> PathBuf {
    let path = folder.join("config.yaml");
    std::fs::write(&path, format!("git:\n{}", target(folder, "prod", namespaces, url, user, more))).unwrap();
    path
}

/// An item of `git`.
pub(crate) fn target(
    folder: &Path,
    name: &str,
    namespaces: &str,
    url: &str,
    (user, token): (&str, &str),
    more: &str,
) -> String {
    let file = folder.join(format!("{name}-token"));
    std::fs::write(&file, format!("{token}\n")).unwrap();
    format!(
        "- name: {name}\n  url: {url}\n  branch: main\n  paths: [apps]\n  namespaces: [{namespaces}]\n  batchWindow: 0s\n  \
         credentials: {{username: {user}, tokenFile: {}}}\n{more}",
        file.display()
    )
}

/// An operator for one namespace that writes to `prod` at that address, with its clone in `folder`.
pub(crate) fn setup(namespace: &Namespace<'_>, folder: &Path, url: &str) -> Setup {
    let config = config(folder, &namespace.name, url);
    setup_with(namespace, folder, &config)
}

/// An operator for one namespace with that configuration.
pub(crate) fn setup_with(namespace: &Namespace<'_>, folder: &Path, config: &Path) -> Setup {
    let cache = folder.join("cache");
    Setup::in_namespace(namespace, "1s").with(&[
        "--config",
        config.to_str().unwrap(),
        "--git-cache",
        cache.to_str().unwrap(),
    ])
}

/// What happened.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Images that were pushed.
    pub(crate) pushes: usize,
    pub(crate) commits: usize,
    /// Commits that the server took and whose operator was killed before it could say so.
    pub(crate) untold: usize,
}

/// Kills the operator that often. Panics unless Git then has the newest tag of each workload, and each tag that it ever
/// had was set by one commit, none after a newer one.
pub(crate) async fn kill(kills: usize, seed: u64) -> Outcome {
    println!("SUPERCARGO_SEED={seed}, {kills} kills");
    let mut random = Random::new(seed);
    let (plane, registry, folder) = (shared().await, Registry::start().await, tempfile::tempdir().unwrap());
    let (server, namespace) = (GitServer::start().await, plane.namespace("git-killed").await);
    let image = |n: usize, tag: usize| format!("{}/w{n}:1.0.{tag}", registry.host);
    let mut files = Vec::new();
    for n in 0..WORKLOADS {
        registry.push_tags(&format!("w{n}"), ["1.0.0"]).await;
        files.push((format!("apps/w{n}.yaml"), manifest(&namespace, &format!("w{n}"), &image(n, 0))));
        let annotations = json!({"supercargo.dev/policy": "patch", "supercargo.dev/write": "git:prod"});
        namespace.create(&deployment(&format!("w{n}"), &image(n, 0), annotations).to_string()).await;
    }
    let files: Vec<(&str, &[u8])> = files.iter().map(|(path, text)| (path.as_str(), text.as_bytes())).collect();
    let repo = server.create("deploy", &files);
    let setup = setup(&namespace, folder.path(), &server.url("deploy"));
    let (mut newest, mut told) = ([0; WORKLOADS], String::new());
    for _ in 0..kills {
        let mut operator = Operator::start(plane, &setup).await;
        for _ in 0..=random.below(2) {
            let n = usize::try_from(random.below(WORKLOADS as u64)).unwrap();
            newest[n] += 1;
            registry.push_tags(&format!("w{n}"), [format!("1.0.{}", newest[n])]).await;
        }
        // It is killed at any moment of its work: the time is the fault.
        tokio::time::sleep(Duration::from_millis(random.below(2000))).await;
        operator.process.signal("KILL");
        operator.process.wait().await;
        told += &operator.process.output();
    }
    let last = Operator::start(plane, &setup).await;
    for (n, tag) in newest.into_iter().enumerate() {
        let expected = manifest(&namespace, &format!("w{n}"), &image(n, tag));
        let path = format!("apps/w{n}.yaml");
        eventually(&format!("{path} has {tag} (seed {seed})"), async || {
            (repo.read(&path) == expected.as_bytes()).then_some(())
        })
        .await;
        let is_told =
            |line: &str| line.contains(r#""message":"committed""#) && line.contains(&format!("\"{}\"", image(n, tag)));
        eventually(&format!("{path} is said to have {tag} (seed {seed})"), async || {
            // A process before it may have said so: what is recorded is not told again.
            (tag == 0 || told.lines().any(is_told) || last.process.output().lines().any(is_told)).then_some(())
        })
        .await;
    }
    told += &last.process.output();
    let log = repo.log();
    for (n, newest) in newest.into_iter().enumerate() {
        let begin = format!("Supercargo-Change: {}/Deployment/w{n} web ", namespace.name);
        let lines = log.iter().rev().flat_map(|commit| commit.message.lines()).filter(|line| line.starts_with(&begin));
        let tags: Vec<usize> = lines.map(|line| line.rsplit('.').next().unwrap().parse().unwrap()).collect();
        assert!(tags.is_sorted_by(|a, b| a < b), "w{n}: {tags:?} (seed {seed})");
        assert_eq!(tags.last().copied().unwrap_or_default(), newest, "w{n} (seed {seed})");
    }
    let ours = &log[..log.len() - 1];
    let untold = ours.iter().filter(|commit| !told.contains(&commit.id[..12])).count();
    Outcome { pushes: newest.iter().sum(), commits: ours.len(), untold }
}
