//! What a decision costs, compared with sorting the same tags as strings in the same run.
//!
//! `cargo bench --bench decide` prints the ratios that docs/benchmarks.md records, and fails if one is out of bounds.
//! `cargo test --all-targets` runs it too, without optimisation: then once, and no bound is checked.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::{
    collections::HashMap,
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{BatchSize, Criterion};
use supercargo::domain::{
    decide::{Current, Decision, Listing, decide},
    image::Tag,
    policy::{NamedPolicies, Options, Policy},
    tags::Tags,
};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TAGS: usize = 100_000;

/// Parsing and the first decision, over sorting the strings.
const FIRST: f64 = 4.0;
/// A further decision about the same listing.
const FURTHER: f64 = FIRST / 10.0;

fn main() {
    let measured = std::env::args().any(|argument| argument == "--bench");
    let rounds = if measured { 31 } else { 1 };
    let tags = tags();
    let current = Tag::parse("1.27.3").expect("a tag");
    let kinds = [
        "patch",
        "minor",
        "major",
        "all",
        "semver:>=1.2 <40.1",
        "semver:^1.27 || ~30.2 || >=90.0.0-0 !=95.1",
        "semver:<0.0.1",
    ];
    let policies: Vec<Policy> = kinds
        .iter()
        .map(|text| Policy::parse(text, &Options::default(), &NamedPolicies::default()).expect("a policy"))
        .collect();

    let sort = || {
        let mut strings: Vec<&str> = tags.iter().map(Tag::as_str).collect();
        timed(|| strings.sort_unstable())
    };
    // As a look has them: sorted.
    let list: Tags = tags.iter().collect();
    println!("{TAGS} tags in random order; medians of {rounds} rounds, each sorting and deciding in turn");
    let listing = Listing::new(list.clone());
    ask(&policies[0], &current, &listing);
    let mut worst = (0.0_f64, 0.0_f64);
    for policy in &policies {
        let rounds = (0..rounds).map(|_| {
            let sorting = sort();
            let first = timed(|| ask(policy, &current, &Listing::new(list.clone())));
            let further = timed(|| ask(policy, &current, &listing));
            [sorting, first, further].map(|time| time.as_secs_f64())
        });
        let rounds: Vec<[f64; 3]> = rounds.collect();
        let of = |what: fn(&[f64; 3]) -> f64| median(rounds.iter().map(what).collect());
        let (first, further) =
            (of(|[sorting, first, _]| first / sorting), of(|[sorting, _, further]| further / sorting));
        worst = (worst.0.max(first), worst.1.max(further));
        println!(
            "{:44} sort {:5.1} ms, parse and decide {:5.1} ms: ratio {first:.2}; a further decision {:6.3} ms: ratio {further:.4}",
            policy.as_str(),
            of(|[sorting, ..]| sorting * 1e3),
            of(|[_, first, _]| first * 1e3),
            of(|[.., further]| further * 1e3),
        );
    }
    if !measured {
        return;
    }
    println!("RATIO parse and decide {:.2} (at most {FIRST}), further {:.4} (at most {FURTHER})", worst.0, worst.1);
    assert!(worst.0 <= FIRST && worst.1 <= FURTHER, "out of bounds");

    let mut criterion = Criterion::default().sample_size(20).configure_from_args();
    criterion.bench_function("sort 100,000 strings", |b| {
        let strings = || tags.iter().map(Tag::as_str).collect::<Vec<_>>();
        b.iter_batched(strings, |mut strings| strings.sort_unstable(), BatchSize::LargeInput);
    });
    criterion.bench_function("parse 100,000 tags and decide", |b| {
        b.iter(|| ask(&policies[1], &current, &Listing::new(list.clone())));
    });
    criterion.bench_function("a further decision", |b| b.iter(|| ask(&policies[1], &current, &listing)));
    criterion.final_summary();
}

fn ask(policy: &Policy, current: &Tag, listing: &Listing) -> Decision {
    decide(policy, Current { tag: Some(current), digest: None }, listing, &HashMap::new())
}

fn timed<T>(work: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    black_box(work());
    start.elapsed()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A repository as they are: releases in several spellings and flavours, candidates, revisions, builds of commits,
/// calendar tags and names, in random order but the same in every run.
fn tags() -> Vec<Tag> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let flavours = ["", "", "", "-alpine", "-slim-bookworm", "-alpine3.18", "-debian-12-r5", "-ubi8"];
    let mut tags: Vec<String> = (0..TAGS as u64)
        .map(|number| {
            let (major, minor, patch) = (number % 100, number / 100 % 50, number / 5000);
            let flavour = flavours[random(8) as usize];
            match random(20) {
                0 => format!("v{major}.{minor}.{patch}{flavour}"),
                1 => format!("{major}.{minor}.{patch}-rc{}{flavour}", number % 12),
                2 => format!("{major}.{minor}.{patch}-r{}", number % 40),
                3 => format!("main-{:07x}", random(1 << 28)),
                4 => format!("{major}.{minor}.{patch}-{}-g{:07x}", number % 90, random(1 << 28)),
                5 => format!("{}.{:02}.{}", 2019 + number % 7, 1 + minor % 12, patch),
                6 => format!("pr-{number}"),
                _ => format!("{major}.{minor}.{patch}{flavour}"),
            }
        })
        .collect();
    for place in (1..tags.len()).rev() {
        tags.swap(place, random(place as u64 + 1) as usize);
    }
    tags.iter().map(|tag| Tag::parse(tag).expect("a tag")).collect()
}
