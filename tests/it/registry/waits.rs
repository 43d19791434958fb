//! How long a command waits for a registry that asks to be left alone.

use std::{sync::Arc, time::Duration};

use supercargo::{
    domain::{keel::KeelMode, policy::NamedPolicies, reason::Code, report::Verdict, rollout::Times, target::Targets},
    engine::{self, Assessment, Outside},
    pool::Threads,
    ports::ClusterChange,
    registry::RegistrySettings,
};
use tokio::sync::mpsc::unbounded_channel;

use super::{
    Bench,
    fault_server::{FaultServer, answer, page},
};

const WEB: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, annotations: {supercargo.dev/policy: minor}}
spec: {template: {spec: {containers: [{name: app, image: 'HOST/web:1.0.0'}]}}}
";

/// What is said of the one workload, and the waits.
async fn survey(server: &FaultServer) -> (Assessment, Vec<u64>) {
    let bench = Bench::new(RegistrySettings::default());
    let found = supercargo::manifest::read(&WEB.replace("HOST", &server.host)).unwrap().workloads.remove(0);
    let settings = engine::Settings {
        poll_interval: Duration::from_secs(300),
        named: Arc::new(NamedPolicies::default()),
        keel: KeelMode::Ignore,
        rollout: Times::default(),
        guards: [].into(),
        targets: Arc::new(Targets::default()),
        dry_run: false,
        all: None,
        operator_serves: Arc::new(|_, _| true),
        argocd_namespaces: Arc::new(|_| false),
        speaks_for: Arc::new(|_, _| false),
        await_namespaces: false,
        await_webhooks: false,
        keep_reasons: true,
        show_gates: false,
        at: None,
    };
    let changes = vec![ClusterChange::Workload(Box::new(found.workload))];
    let (told, mut waits) = unbounded_channel();
    let waiting = move |wait: Duration| told.send(wait).unwrap();
    let source = |_: &_| String::new();
    let client = &*bench.client;
    let passing = async {
        let mut all = Vec::new();
        while let Some(wait) = waits.recv().await {
            all.push(wait.as_secs());
            bench.clock.advance(wait).await;
        }
        all
    };
    let pool = Threads::new(Arc::new(bench.clock.clone()));
    let outside = Outside { registry: client, pool: &pool, workloads: None, histories: None, clock: &bench.clock };
    let looking = engine::survey(settings, changes, outside, source, waiting);
    let (mut surveyed, waits) = tokio::join!(looking, passing);
    (surveyed.remove(0).1, waits)
}

#[rstest::rstest]
#[tokio::test]
async fn a_registry_that_asks_for_a_short_pause_is_waited_for(#[values(429, 503)] status: u16) {
    let server = FaultServer::start(move |_, before| match before {
        0 => answer(status, &[("retry-after", "40")], ""),
        1 => answer(status, &[("retry-after", "20")], ""),
        _ => page(&["1.0.0", "1.1.0"], None),
    })
    .await;
    let (assessment, waits) = survey(&server).await;
    assert_eq!((assessment.reports[0].decision, waits), (Verdict::Update, vec![40, 20]));
}

#[rstest::rstest]
#[case(429, "25", &[25, 25], Code::RegistryLimited, "asked for fewer requests")]
#[case(503, "25", &[25, 25], Code::RegistryUnavailable, "unavailable (503)")]
#[case(503, "61", &[], Code::RegistryUnavailable, "unavailable (503)")]
#[tokio::test]
async fn a_registry_is_waited_for_a_minute_in_all(
    #[case] status: u16,
    #[case] asked: &'static str,
    #[case] waits: &[u64],
    #[case] code: Code,
    #[case] says: &str,
) {
    let server = FaultServer::start(move |_, _| answer(status, &[("retry-after", asked)], "")).await;
    let (assessment, waited) = survey(&server).await;
    let row = &assessment.reports[0];
    assert_eq!((waited.as_slice(), row.decision, row.reasons[0].code), (waits, Verdict::Blocked, code));
    assert!(row.reasons[0].message.contains(says), "{}", row.reasons[0].message);
    assert_eq!(server.lines().len(), waits.len() + 1);
}
