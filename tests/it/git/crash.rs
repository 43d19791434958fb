//! The operator is killed at random points while it commits: the history tells what it did in all its lives.

use std::time::Duration;

use serde_json::json;

use super::operator::{manifest, setup};
use crate::support::{
    control_plane::shared,
    eventually,
    git_server::GitServer,
    kills::{Random, seed},
    objects::deployment,
    operator::Operator,
    registry::Registry,
};

const WORKLOADS: usize = 5;

#[tokio::test(flavor = "multi_thread")]
async fn twenty_kills_during_commits_leave_each_edit_in_the_history_once() {
    kill(20, seed()).await;
}

/// Kills the operator that often. Panics unless Git then has the newest tag of each workload, and each tag that it ever
/// had was set by one commit, none after a newer one.
pub(crate) async fn kill(kills: usize, seed: u64) {
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
    let mut newest = [0; WORKLOADS];
    for _ in 0..kills {
        let operator = Operator::start(plane, &setup).await;
        for _ in 0..=random.below(2) {
            let n = usize::try_from(random.below(WORKLOADS as u64)).unwrap();
            newest[n] += 1;
            registry.push_tags(&format!("w{n}"), [format!("1.0.{}", newest[n])]).await;
        }
        tokio::time::sleep(Duration::from_millis(random.below(2000))).await;
        operator.process.signal("KILL");
    }
    let _last = Operator::start(plane, &setup).await;
    for (n, tag) in newest.into_iter().enumerate() {
        let expected = manifest(&namespace, &format!("w{n}"), &image(n, tag));
        let path = format!("apps/w{n}.yaml");
        eventually(&format!("{path} has {tag}"), async || (repo.read(&path) == expected.as_bytes()).then_some(()))
            .await;
    }
    let log = repo.log();
    for (n, newest) in newest.into_iter().enumerate() {
        let begin = format!("Supercargo-Change: {}/Deployment/w{n} web ", namespace.name);
        let lines = log.iter().rev().flat_map(|commit| commit.message.lines()).filter(|line| line.starts_with(&begin));
        let tags: Vec<usize> = lines.map(|line| line.rsplit('.').next().unwrap().parse().unwrap()).collect();
        assert!(tags.is_sorted_by(|a, b| a < b), "w{n}: {tags:?}");
        assert_eq!(tags.last().copied().unwrap_or_default(), newest, "w{n}");
    }
}
