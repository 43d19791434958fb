//! From the start of the process to ready, against the same lists read by bare GETs one after another.

use std::time::{Duration, Instant};

use crate::{
    Table,
    fleet::Fleet,
    median, milliseconds,
    program::Program,
    support::control_plane::{ControlPlane, audited_user},
};

const ROUNDS: usize = 7;
/// Everything that the program lists.
const LISTS: [&str; 5] = [
    "/apis/apps/v1/deployments",
    "/apis/apps/v1/statefulsets",
    "/apis/apps/v1/daemonsets",
    "/apis/batch/v1/cronjobs",
    "/api/v1/namespaces",
];

pub(crate) async fn run(fleet: &Fleet, table: &mut Table) {
    against(fleet, table, &format!("{} workloads", fleet.size), &[], 1.5).await;
}

/// With more that is listed.
pub(crate) async fn against(fleet: &Fleet, table: &mut Table, what: &str, more: &[&str], bound: f64) {
    let (mut ratios, mut starts, mut lists) = (vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        let list = bare(&fleet.plane, more).await;
        let (program, start) = Program::start(&fleet.plane, "1h").await;
        // Its looks are not to be measured with the next lists.
        drop(program);
        let (start, list) = (milliseconds(start), milliseconds(list));
        eprintln!("start {start:.0} ms, lists {list:.0} ms");
        ratios.push(start / list);
        starts.push(start);
        lists.push(list);
    }
    let what = format!("start → ready, {what}");
    table.noted(format!("{what}: medians"), format!("{:.0} ms; bare lists {:.0} ms", median(starts), median(lists)));
    table.bounded(format!("{what}: ÷ bare GETs of the same lists, median of {ROUNDS}"), median(ratios), bound, "");
}

/// Reads the lists in pages of 500; the bodies are read and thrown away, but for where the next page begins.
async fn bare(plane: &ControlPlane, more: &[&str]) -> Duration {
    let ca = std::fs::read(plane.ca_file()).unwrap();
    let certificates = reqwest::Certificate::from_pem_bundle(&ca).unwrap();
    let client = reqwest::Client::builder().no_proxy().tls_certs_merge(certificates).build().unwrap();
    let token = format!("{}-token", audited_user());
    let began = Instant::now();
    for list in LISTS.iter().chain(more) {
        let mut next = String::new();
        loop {
            let url = format!("{}{list}?limit=500{next}", plane.url());
            let mut answer = client.get(url).bearer_auth(&token).send().await.expect("the API server answers");
            assert_eq!(answer.status(), 200);
            let mut head = Vec::new();
            while let Some(chunk) = answer.chunk().await.expect("the body goes on") {
                if head.len() < 4096 {
                    head.extend_from_slice(&chunk);
                }
            }
            let head = String::from_utf8_lossy(&head);
            let Some((_, rest)) = head.split_once("\"continue\":\"") else { break };
            let Some((token, _)) = rest.split_once('"') else { break };
            next = format!("&continue={token}");
        }
    }
    began.elapsed()
}
