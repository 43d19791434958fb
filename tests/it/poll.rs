//! The queue of due times, in simulated time.

use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use supercargo::{
    domain::{
        hint::{Credentials, Source},
        image::Repository,
        poll::Schedule,
    },
    ingest::poll::{self, Poll},
    metrics::Metrics,
    ports::{Clock, Polling},
};
use tokio::sync::mpsc;

use crate::support::clock::SimClock;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

fn source(name: impl std::fmt::Display) -> Source {
    let repository = Repository::parse(&format!("registry.example.com/team/{name}")).unwrap();
    Source { repository, credentials: Credentials::default() }
}

fn schedule(text: &str) -> Schedule {
    text.parse().unwrap()
}

/// A queue, and a consumer that notes when each source came.
struct Bench {
    clock: SimClock,
    poll: Poll,
    metrics: Arc<Metrics>,
    due: mpsc::Receiver<Source>,
}

impl Bench {
    fn start(room: usize) -> Self {
        Self::start_at("2026-03-01T12:00:00Z", room)
    }

    fn start_at(time: &str, room: usize) -> Self {
        let clock = SimClock::at(time);
        let metrics = Arc::new(Metrics::default());
        let (sender, due) = mpsc::channel(room);
        let (poll, task) = poll::start(Arc::new(clock.clone()), Arc::clone(&metrics), sender);
        tokio::spawn(task);
        Self { clock, poll, metrics, due }
    }

    fn set(&self, name: impl std::fmt::Display, schedules: &[&str]) {
        self.poll.set(source(name), schedules.iter().map(|text| schedule(text)).collect());
    }

    fn received(&mut self) -> Vec<Source> {
        std::iter::from_fn(|| self.due.try_recv().ok()).collect()
    }

    /// Lets time pass in steps, and gives each source's looks with the wall-clock time at the end of the step.
    async fn looks(&mut self, steps: u32, step: Duration) -> Vec<(Timestamp, Source)> {
        let mut looks = Vec::new();
        for _ in 0..steps {
            self.clock.advance(step).await;
            let now = self.clock.now();
            looks.extend(self.received().into_iter().map(|source| (now, source)));
        }
        looks
    }
}

#[tokio::test]
async fn two_thousand_repositories_with_one_interval_never_fire_together() {
    let mut bench = Bench::start(4096);
    for n in 0..2000 {
        bench.set(n, &["every 5m"]);
    }
    let step = 5 * MINUTE / 400;
    let looks = bench.looks(800, step).await;
    assert_eq!(looks.len(), 4000, "each once in every interval");
    let mut at: HashMap<Timestamp, usize> = HashMap::new();
    let mut of: HashMap<Source, usize> = HashMap::new();
    for (time, source) in looks {
        *at.entry(time).or_default() += 1;
        *of.entry(source).or_default() += 1;
    }
    assert!(of.values().all(|count| *count == 2), "no source twice in one interval");
    // The mean is 5; that a fair hash puts more than 20 into one of 400 places has a chance below 1e-4.
    let most = at.values().max().copied().unwrap_or(0);
    assert!(most <= 20, "{most} of 2,000 sources in a four-hundredth of the interval");
}

#[tokio::test]
async fn a_source_comes_back_at_its_own_place_in_the_interval() {
    let mut bench = Bench::start(16);
    bench.set("web", &["every 10m"]);
    let looks = bench.looks(3600, Duration::from_secs(1)).await;
    assert_eq!(looks.len(), 6);
    for pair in looks.windows(2) {
        assert_eq!(pair[1].0.duration_since(pair[0].0), SignedDuration::from_mins(10));
    }
}

#[tokio::test]
async fn a_changed_rule_takes_effect_at_once() {
    let mut bench = Bench::start(16);
    bench.set("web", &["every 1d"]);
    assert_eq!(bench.looks(6, MINUTE).await, []);
    bench.set("web", &["every 1m"]);
    assert_eq!(bench.looks(10, MINUTE).await.len(), 10);
    bench.set("web", &["every 1h"]);
    assert!(bench.looks(10, MINUTE).await.len() <= 1);
}

#[tokio::test]
async fn the_same_rule_again_keeps_its_time() {
    let mut bench = Bench::start(16);
    bench.set("web", &["every 10m"]);
    let mut count = 0;
    for _ in 0..60 {
        count += bench.looks(1, MINUTE).await.len();
        bench.set("web", &["every 10m", "every 10m"]);
    }
    assert_eq!(count, 6);
}

#[tokio::test]
async fn the_rule_that_comes_first_counts() {
    let mut bench = Bench::start(16);
    bench.set("web", &["every 1d", "never", "every 10m"]);
    assert_eq!(bench.looks(60, MINUTE).await.len(), 6);
}

#[tokio::test]
async fn never_is_never_and_no_rule_ends_it() {
    let mut bench = Bench::start(16);
    bench.set("web", &["never"]);
    bench.set("api", &["every 1m"]);
    bench.set("api", &[]);
    bench.set("unknown", &[]);
    assert_eq!(bench.looks(48, HOUR).await, []);
    bench.set("api", &["every 1m"]);
    assert_eq!(bench.looks(3, MINUTE).await.len(), 3);
}

#[tokio::test]
async fn cron_names_the_hour_in_its_own_zone() {
    // In the night to 29 March Berlin goes from +01:00 to +02:00.
    let mut bench = Bench::start_at("2026-03-27T12:00:00Z", 16);
    bench.set("web", &["TZ=Europe/Berlin 30 9 * * *"]);
    let looks = bench.looks(60 * 24 * 4, MINUTE).await;
    let times: Vec<_> = looks.iter().map(|(time, _)| time.strftime("%d at %H").to_string()).collect();
    assert_eq!(times, ["28 at 08", "29 at 07", "30 at 07", "31 at 07"]);
}

#[tokio::test]
async fn a_slow_consumer_misses_looks_and_nothing_piles_up() {
    let mut bench = Bench::start(1);
    for n in 0..10 {
        bench.set(n, &["every 1m"]);
    }
    bench.clock.advance(HOUR).await;
    let late = bench.metrics.poll_overdue.get();
    assert!(late > 3400.0 && late < 3600.0, "{late}");
    // Nobody took anything for an hour but the channel its one. Now each is there once: no look is made up for.
    bench.due.recv().await.unwrap();
    let mut came = Vec::new();
    while came.len() < 10 {
        came.push(bench.due.recv().await.unwrap());
    }
    bench.clock.advance(Duration::from_millis(1)).await;
    assert_eq!(bench.received(), []);
    assert_eq!(bench.metrics.poll_overdue.get(), 0.0);
    came.sort();
    came.dedup();
    assert_eq!(came.len(), 10);
}

#[tokio::test]
async fn a_source_that_goes_while_it_waits_is_not_looked_at() {
    let mut bench = Bench::start(1);
    bench.set("web", &["every 1m"]);
    bench.set("api", &["every 1m"]);
    bench.clock.advance(HOUR).await;
    let first = bench.due.try_recv().unwrap();
    bench.set("web", &[]);
    bench.set("api", &[]);
    bench.clock.advance(HOUR).await;
    // At most the one that stood in the channel already.
    let rest = bench.received();
    assert!(rest.len() <= 1 && !rest.contains(&first), "{rest:?}");
    assert_eq!(bench.metrics.poll_overdue.get(), 0.0);
}

#[rstest::rstest]
#[case::back(SignedDuration::from_hours(-3))]
#[case::forward(SignedDuration::from_hours(3))]
#[case::years(SignedDuration::from_hours(24 * 400))]
#[tokio::test]
async fn a_clock_that_is_set_neither_floods_nor_silences(#[case] jump: SignedDuration) {
    let mut bench = Bench::start(4096);
    for n in 0..400 {
        bench.set(n, &["every 10m"]);
    }
    bench.clock.advance(10 * MINUTE).await;
    assert_eq!(bench.received().len(), 400);
    bench.clock.jump(jump);
    let looks = bench.looks(600, Duration::from_secs(1)).await;
    let mut at: HashMap<Timestamp, usize> = HashMap::new();
    let mut sources: Vec<_> =
        looks.into_iter().map(|(time, source)| (*at.entry(time).or_default() += 1, source).1).collect();
    assert!(sources.len() < 900, "{} looks in one interval after the jump", sources.len());
    assert!(*at.values().max().unwrap() < 25, "a burst after the jump");
    sources.sort();
    sources.dedup();
    assert_eq!(sources.len(), 400, "each is looked at within one interval");
}

#[tokio::test]
async fn cron_follows_the_wall_clock_when_it_is_set() {
    let mut bench = Bench::start(16);
    bench.set("web", &["0 18 * * *"]);
    bench.clock.advance(HOUR).await;
    bench.clock.jump(SignedDuration::from_mins(4 * 60 + 58));
    // It is 17:58 now.
    assert_eq!(bench.looks(4, MINUTE).await.len(), 1);
}

#[tokio::test]
async fn the_task_ends_with_its_consumer() {
    let clock = SimClock::at("2026-03-01T12:00:00Z");
    let (sender, due) = mpsc::channel(1);
    let (poll, task) = poll::start(Arc::new(clock.clone()), Arc::default(), sender);
    poll.set(source("web"), vec![schedule("every 1m")]);
    let task = tokio::spawn(task);
    clock.advance(HOUR).await;
    drop(due);
    task.await.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is set and unset: what is watched at the end is looked at once an interval, and nothing else is.
    #[test]
    fn only_what_is_watched_is_looked_at(changes in proptest::collection::vec((0..8_u8, 0..4_u8), 0..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut bench = Bench::start(64);
            let mut watched: HashMap<Source, usize> = HashMap::new();
            for (name, rule) in changes {
                let (rules, looks): (&[&str], _) = match rule {
                    0 => (&[], 0),
                    1 => (&["never"], 0),
                    2 => (&["every 1h"], 1),
                    _ => (&["every 20m", "every 1h"], 3),
                };
                bench.set(name, rules);
                watched.insert(source(name), looks);
                bench.clock.advance(Duration::from_secs(7)).await;
            }
            bench.received();
            let mut seen: HashMap<Source, usize> = HashMap::new();
            for (_, source) in bench.looks(60, MINUTE).await {
                *seen.entry(source).or_default() += 1;
            }
            watched.retain(|_, looks| *looks > 0);
            // 20 minutes go into an hour, and a source has one place in both: three looks, not four.
            assert_eq!(seen, watched);
        });
    }
}
