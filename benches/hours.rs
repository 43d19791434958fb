//! When workloads open next: of 10,000 with 50 distinct hours, and of those that take longest.
//!
//! `cargo bench --bench hours` prints the times that docs/benchmarks.md records, and fails if one is out of bounds.
//! `cargo test --all-targets` runs it too, without optimisation: then once, and no bound is checked.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::{hint::black_box, sync::Arc, time::Instant};

use jiff::Timestamp;
use supercargo::domain::{
    demand::Demand,
    hours::{Calendar, Hours},
    window::Window,
};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const WORKLOADS: usize = 10_000;
const DISTINCT: usize = 50;
/// Milliseconds for all of them, and for a single one.
const BOUNDS: [f64; 2] = [50.0, 5.0];

fn main() {
    let measured = std::env::args().any(|argument| argument == "--bench");
    let rounds = if measured { 31 } else { 1 };
    let now: Timestamp = "2026-11-28T20:00:00Z".parse().unwrap();
    let zones = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"];
    let office = |n: usize| {
        let (hour, zone) = (n / zones.len(), zones[n % zones.len()]);
        let window = format!("Mon-Fri {hour:02}:00-17:00 {zone}; Sat {hour:02}:30-12:00 {zone}");
        hours(&[&window], &["2026-12-20..2027-01-05", "Fri 12:00-24:00 Europe/Berlin"])
    };
    let distinct: Vec<Arc<Hours>> = (0..DISTINCT).map(office).collect();
    let all = median(rounds, || {
        let calendar = Calendar::default();
        (0..WORKLOADS).filter_map(|n| calendar.next_open(&distinct[n % DISTINCT], now)).count()
    });
    println!("{WORKLOADS} workloads with {DISTINCT} distinct hours: {all:.2} ms (at most {} ms)", BOUNDS[0]);

    // As many parts as may be, each in a zone of its own, that never open together.
    let parts = |minute: usize| {
        let part = |n: usize| format!("{:02}:{minute:02}-{:02}:{:02} {}", n, n, minute + 1, ZONES[n]);
        (0..ZONES.len()).map(part).collect::<Vec<_>>().join("; ")
    };
    let apart = hours(&[&parts(0), &parts(1), &parts(2)], &[]);
    let frozen = hours(&[&parts(0)], &[&parts(0)]);
    let [apart, frozen] = [apart, frozen].map(|hours| median(rounds, || usize::from(hours.next_open(now).is_none())));
    println!(
        "three windows of 16 parts in 16 zones that never open together: {apart:.2} ms (at most {} ms)",
        BOUNDS[1]
    );
    println!("one of them that is frozen whenever it is open: {frozen:.2} ms (at most {} ms)", BOUNDS[1]);
    let one = apart.max(frozen);
    assert!(!measured || all <= BOUNDS[0] && one <= BOUNDS[1], "out of bounds");
}

/// Zones whose clocks are changed at different times.
const ZONES: [&str; 16] = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Jerusalem",
    "Africa/Cairo",
    "America/Santiago",
    "Pacific/Auckland",
    "Asia/Beirut",
    "Africa/Casablanca",
    "America/Havana",
    "Australia/Sydney",
    "Europe/Chisinau",
    "Atlantic/Azores",
    "America/Nuuk",
    "Pacific/Easter",
    "Pacific/Norfolk",
];

fn hours(windows: &[&str], freezes: &[&str]) -> Arc<Hours> {
    let demand = |text: &&str| Demand::new(text.parse::<Window>().unwrap(), *text);
    Arc::new(Hours { windows: windows.iter().map(demand).collect(), freezes: freezes.iter().map(demand).collect() })
}

/// Milliseconds.
fn median(rounds: usize, mut work: impl FnMut() -> usize) -> f64 {
    let mut times: Vec<f64> = (0..rounds)
        .map(|_| {
            let start = Instant::now();
            black_box(work());
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_unstable_by(f64::total_cmp);
    times[times.len() / 2]
}
