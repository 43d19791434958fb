//! The system benchmark: the program itself beside a real API server and a real registry.
//!
//!     cargo bench --bench system -- latency | scale | start | records | ages | approvals | hints | rollouts | git      (all without an argument)
//!
//! Every figure with a bound is a ratio of two things measured in turn in the same run, or a size, so that it
//! means the same on any machine. The bounds and the last results stand in docs/benchmarks.md.

#![expect(clippy::disallowed_methods, reason = "a benchmark measures time")]

mod ages;
mod approvals;
mod fleet;
mod git;
mod hints;
mod latency;
mod program;
mod records;
mod repository;
mod rollouts;
mod scale;
mod slack;
mod start;
#[expect(dead_code, reason = "the tests use the rest")]
#[path = "../../tests/it/support/mod.rs"]
mod support;

use std::{process::ExitCode, time::Duration};

use fleet::Fleet;

/// As the program's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How many workloads there are where there are many.
const MANY: usize = 10_000;
/// How many where there are few.
const FEW: usize = 100;

#[tokio::main]
async fn main() -> ExitCode {
    let (flags, wanted): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|arg| arg.starts_with("--"));
    // `cargo bench` says --bench; `cargo test --all-targets` starts every bench without it.
    if !flags.iter().any(|flag| flag == "--bench") {
        println!("nothing is measured: run `cargo bench --bench system`");
        return ExitCode::SUCCESS;
    }
    if let [process, url, folder] = &wanted[..]
        && process == git::WRITER
    {
        git::write(url, folder.as_ref()).await;
        return ExitCode::SUCCESS;
    }
    let all = ["latency", "scale", "start", "records", "ages", "approvals", "hints", "rollouts", "git"];
    if let Some(unknown) = wanted.iter().find(|name| !all.contains(&name.as_str())) {
        eprintln!("error: there is no part `{unknown}`: write {}, or nothing for all", all.join(", "));
        return ExitCode::from(2);
    }
    let runs = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    let mut table = Table::default();
    if ["latency", "scale", "start", "records", "ages", "approvals"].into_iter().any(&runs) {
        cluster(&runs, &mut table).await;
    }
    if runs("hints") {
        hints::run(&mut table).await;
    }
    if runs("rollouts") {
        rollouts::run(&mut table).await;
    }
    // The last, as it moves the temporary folder.
    if runs("git") {
        git::run(&mut table).await;
    }
    table.print();
    if table.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What is measured in a cluster.
async fn cluster(runs: impl Fn(&str) -> bool, table: &mut Table) {
    let mut fleet = Fleet::start().await;
    if runs("latency") {
        fleet.grow(FEW).await;
        latency::run(&fleet, table).await;
    }
    fleet.grow(MANY).await;
    if runs("latency") {
        latency::run(&fleet, table).await;
    }
    if runs("scale") {
        scale::run(&fleet, table).await;
    }
    if runs("start") {
        start::run(&fleet, table).await;
    }
    if runs("records") {
        records::run(&fleet, table).await;
    }
    if runs("ages") {
        ages::run(&fleet, table).await;
    }
    // The last, as its policies stay.
    if runs("approvals") {
        approvals::run(&fleet, table).await;
    }
}

/// What was measured, and how it stands to its bound.
#[derive(Default)]
struct Table(Vec<Row>);

struct Row {
    what: String,
    measured: String,
    bound: String,
    holds: Option<bool>,
}

impl Table {
    /// A figure at most as large as its bound.
    fn bounded(&mut self, what: impl Into<String>, value: f64, bound: f64, unit: &str) {
        let (measured, limit) = (format!("{value:.2}{unit}"), format!("at most {bound}{unit}"));
        self.push(what.into(), measured, limit, Some(value <= bound));
    }

    /// A figure without a bound.
    fn noted(&mut self, what: impl Into<String>, measured: impl Into<String>) {
        self.push(what.into(), measured.into(), String::new(), None);
    }

    fn push(&mut self, what: String, measured: String, bound: String, holds: Option<bool>) {
        eprintln!("{what}: {measured} {bound}");
        self.0.push(Row { what, measured, bound, holds });
    }

    fn print(&self) {
        println!("| what | measured | bound | holds |\n|---|---|---|---|");
        for Row { what, measured, bound, holds } in &self.0 {
            let holds = holds.map_or("", |holds| if holds { "yes" } else { "NO" });
            println!("| {what} | {measured} | {bound} | {holds} |");
        }
    }

    fn holds(&self) -> bool {
        self.0.iter().all(|row| row.holds != Some(false))
    }
}

/// The middle one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
