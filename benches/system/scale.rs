//! Ten thousand workloads, two thousand repositories polled every ten seconds: on time, in how much memory, and what
//! the program takes when nothing is to be done.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use jiff::{Timestamp, fmt::strtime};
use serde_json::{Value, json};

use crate::{
    Table,
    fleet::{Fleet, REPOSITORIES, TAGS},
    program::Program,
};

const INTERVAL: Duration = Duration::from_secs(10);
/// How long polls are watched, and how long the program rests.
const WATCHED: Duration = Duration::from_secs(120);
const REST: Duration = Duration::from_secs(60);

pub(crate) async fn run(fleet: &Fleet, table: &mut Table) {
    polls(fleet, table).await;
    rests(fleet, table).await;
}

async fn polls(fleet: &Fleet, table: &mut Table) {
    let (program, _) = Program::start(&fleet.plane, "10s").await;
    program.looked(fleet.repositories()).await;
    // Two cycles, so that all is settled.
    tokio::time::sleep(2 * INTERVAL).await;
    let (from, cpu, asked) = (Timestamp::now(), program.cpu(), kubernetes_requests(fleet, &program));
    let (began, mut overdue, mut memory) = (Instant::now(), 0_f64, 0_f64);
    while began.elapsed() < WATCHED {
        tokio::time::sleep(Duration::from_secs(1)).await;
        overdue = overdue.max(program.metric("supercargo_poll_overdue_seconds", "").await);
        memory = memory.max(program.memory("VmRSS"));
    }
    let cpu = (program.cpu() - cpu).as_secs_f64() / began.elapsed().as_secs_f64() * 100.0;
    let asked = kubernetes_requests(fleet, &program) - asked;

    let what =
        format!("{} workloads, {REPOSITORIES} repositories of {TAGS} tags, every {} s", fleet.size, INTERVAL.as_secs());
    let times = listings(fleet, from, from + WATCHED);
    assert_eq!(times.len(), fleet.repositories(), "every repository was listed");
    let cycles = WATCHED.as_secs_f64() / INTERVAL.as_secs_f64();
    let per_cycle = times.values().map(Vec::len).sum::<usize>() as f64 / cycles;
    let gaps = times.values().flat_map(|times| times.windows(2).map(|pair| pair[1].duration_since(pair[0]).as_secs()));
    table.bounded(
        format!("{what}: requests at the registry per cycle and repository"),
        per_cycle / REPOSITORIES as f64,
        1.01,
        "",
    );
    table.bounded(
        format!("{what}: longest time between two looks at a repository"),
        gaps.max().unwrap_or(0) as f64,
        11.0,
        " s",
    );
    table.bounded(format!("{what}: supercargo_poll_overdue_seconds, highest"), overdue, 1.0, " s");
    table.bounded(format!("{what}: requests to the API server in {} s", WATCHED.as_secs()), asked as f64, 0.0, "");
    table.bounded(format!("{what}: resident memory, settled (VmRSS, highest)"), memory, 60.0, " MB");
    table.bounded(format!("{what}: resident memory, peak (VmHWM)"), program.memory("VmHWM"), 120.0, " MB");
    table.noted(format!("{what}: CPU"), format!("{cpu:.1} % of a core"));
}

async fn rests(fleet: &Fleet, table: &mut Table) {
    fleet.default_annotation("supercargo.dev/poll", json!("never")).await;
    let (program, _) = Program::start(&fleet.plane, "10s").await;
    program.looked(fleet.repositories()).await;
    tokio::time::sleep(INTERVAL).await;
    let (cpu, asked, began) = (program.cpu(), kubernetes_requests(fleet, &program), Instant::now());
    tokio::time::sleep(REST).await;
    let share = (program.cpu() - cpu).as_secs_f64() / began.elapsed().as_secs_f64() * 100.0;
    let asked = kubernetes_requests(fleet, &program) - asked;
    let what = format!("{} workloads, webhooks only, over {} s", fleet.size, REST.as_secs());
    table.bounded(format!("{what}: CPU, share of a core"), share, 1.0, " %");
    table.bounded(format!("{what}: requests to the API server"), asked as f64, 0.0, "");
    table.noted(format!("{what}: resident memory"), format!("{:.1} MB", program.memory("VmRSS")));
    fleet.default_annotation("supercargo.dev/poll", Value::Null).await;
}

/// What the program asked of the API server beside its watches, which the audit log shows when they start.
fn kubernetes_requests(fleet: &Fleet, program: &Program) -> usize {
    fleet.plane.audit(&program.user).iter().filter(|request| request.verb != "watch").count()
}

/// When each repository was listed, by the registry's access log, to the second.
fn listings(fleet: &Fleet, from: Timestamp, to: Timestamp) -> HashMap<String, Vec<Timestamp>> {
    let mut times: HashMap<String, Vec<Timestamp>> = HashMap::new();
    for line in fleet.registry.process.output().lines() {
        let Some((time, rest)) = line.split_once('[').and_then(|(_, rest)| rest.split_once(']')) else { continue };
        let path = rest.split_whitespace().nth(1).and_then(|path| path.split("/tags/list").next());
        let Some(path) = path.filter(|_| rest.contains("/tags/list") && rest.contains("supercargo/")) else { continue };
        let time = strtime::parse("%d/%b/%Y:%H:%M:%S %z", time).and_then(|time| time.to_timestamp()).expect("a time");
        if (from..to).contains(&time) {
            times.entry(path.to_owned()).or_default().push(time);
        }
    }
    times
}
