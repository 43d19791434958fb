//! Approvals: what updates that wait for people take of the program's memory, and how soon a vote is followed by the patch.

use std::{ops::Range, sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use jiff::Timestamp;
use serde_json::{Value, json};
use supercargo::{
    clock::SystemClock,
    cluster::{NewVote, Voter},
    domain::{votes::Verb, workload::WorkloadId},
};

use crate::{
    Table,
    fleet::{AT_ONCE, Fleet, namespace},
    milliseconds,
    program::Program,
    slack,
    support::control_plane::ADMIN,
};

const APPROVALS: &str = "supercargo.dev/approvals";
/// Updates that wait.
const WAITING: usize = 500;
/// A tag of every repository that is not the newest.
pub(crate) const BEFORE: &str = "1.5.8";
const VOTES: usize = 20;

pub(crate) async fn run(fleet: &Fleet, table: &mut Table) {
    guard(fleet).await;
    fleet.default_annotation(APPROVALS, json!("1")).await;
    let without = waiting(fleet, 0).await.0;
    stream::iter((0..WAITING).map(|n| fleet.behind(n, BEFORE))).buffer_unordered(AT_ONCE).for_each(async |()| ()).await;
    let (with, program) = waiting(fleet, WAITING).await;
    let what = format!("{WAITING} updates wait for approval, of {} workloads", fleet.size + WAITING);
    table.noted(format!("{what}: resident memory, without and with them"), format!("{without:.1} MB, {with:.1} MB"));
    table.bounded(format!("{what}: resident memory, more than without"), with - without, 8.0, " MB");
    let all = vote(fleet, &program, 0..VOTES).await;
    table.bounded(format!("vote → patched, longest of {VOTES}"), all[VOTES - 1], 1000.0, " ms");
    table.noted(format!("vote → patched, median of {VOTES}"), format!("{:.0} ms", all[VOTES / 2]));
    drop(program);
    slack::run(fleet, table, VOTES, WAITING, all[VOTES / 2]).await;
}

/// The policies as in deploy/approvals, by which whoever asks is the operator: the program has an administrator's name here.
async fn guard(fleet: &Fleet) {
    let everybody = "'system:serviceaccount:supercargo:supercargo'";
    for yaml in [
        include_str!("../../deploy/approvals/reviews.yaml"),
        include_str!("../../deploy/approvals/records.yaml"),
        include_str!("../../deploy/approvals/approvers.yaml"),
        "{apiVersion: v1, kind: Namespace, metadata: {name: supercargo}}",
    ]
    .into_iter()
    .rev()
    {
        fleet.plane.create(&yaml.replace(everybody, "request.userInfo.username")).await;
    }
}

/// What a program takes while so many updates wait, at its most in ten seconds.
pub(crate) async fn waiting(fleet: &Fleet, count: usize) -> (f64, Program) {
    let (program, _) = Program::start(&fleet.plane, "1h").await;
    program.looked(fleet.repositories()).await;
    while program.metric("supercargo_approvals_waiting", "").await < count as f64 {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    (settled(&program).await, program)
}

/// The resident memory after a while, at its most in ten seconds.
pub(crate) async fn settled(program: &Program) -> f64 {
    tokio::time::sleep(Duration::from_secs(20)).await;
    let mut memory = 0_f64;
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        memory = memory.max(program.memory("VmRSS"));
    }
    memory
}

/// From the answer to the vote to the patched workload, with what is asked of the API server and the registry before that, in
/// milliseconds; the shortest first.
pub(crate) async fn vote(fleet: &Fleet, program: &Program, which: Range<usize>) -> Vec<f64> {
    let voter = Voter::new(fleet.plane.client(ADMIN).await, Arc::new(SystemClock::default()));
    let vote = NewVote { verb: Verb::Approve, approver: ADMIN.to_owned(), overrides: false, reason: None };
    let mut all = Vec::new();
    for n in which {
        let id: WorkloadId = format!("{}/Deployment/behind-{n:05}", namespace(n)).parse().expect("a workload");
        let ballots = voter.ballots(&id).await.expect("the updates");
        let on = ballots.iter().find(|on| on.tracked.asked().is_some()).expect("an update that waits");
        voter.vote(&id, on, &vote).await.expect("a vote");
        let voted = Timestamp::now();
        let patched = loop {
            let line = program.process.output().lines().rev().find_map(|line| {
                let line: Value = serde_json::from_str(line).ok()?;
                let is_it =
                    line["message"] == "updated" && line["workload"].as_str()?.ends_with(&format!("behind-{n:05}"));
                is_it.then(|| line["timestamp"].as_str()?.parse::<Timestamp>().ok()).flatten()
            });
            match line {
                Some(at) => break at,
                None => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        };
        all.push(milliseconds(patched.duration_since(voted).unsigned_abs()));
    }
    all.sort_by(f64::total_cmp);
    all
}
