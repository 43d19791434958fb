//! The long counts, run by hand: `cargo test --test soak -- --nocapture`. Results stand in docs/soak.md.

#[path = "../it/support/mod.rs"]
#[expect(dead_code, reason = "shared with the other tests, which use more of it")]
mod support;

mod siege;

use std::time::Duration;

use support::{commits, kills, trees};

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_kills_lose_no_update_and_make_none_twice() {
    let outcome = kills::kill(200, kills::seed()).await;
    println!("{outcome:?}");
    assert!(outcome.updates >= 200, "{outcome:?}");
    assert!(outcome.untold > 0, "no kill came between a write and the word of it: {outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_back_does_so_once_whenever_the_operator_is_killed() {
    kills::go_back(kills::how_many(200), kills::seed()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_kills_during_commits_leave_each_edit_in_the_history_once() {
    let outcome = commits::kill(100, kills::seed()).await;
    println!("{outcome:?}");
    assert!(outcome.commits >= 25, "{outcome:?}");
    assert!(outcome.untold > 0, "no kill came between a push and the word of it: {outcome:?}");
}

/// As released: `cargo test --release --test soak -- --nocapture siege`.
#[tokio::test(flavor = "multi_thread")]
async fn a_siege_leaves_a_neighbour_served() {
    let (seed, length) = (kills::seed(), siege::length());
    println!("SUPERCARGO_SEED={seed}");
    let mut outcomes = Vec::new();
    if let Some(attacks) = siege::only() {
        outcomes.push(("those that are named", siege::most(&attacks), siege::lay(&attacks, length, seed).await));
    } else {
        outcomes.push(("nothing", siege::most(&[]), siege::lay(&[], length / 10, seed).await));
        for attack in siege::ATTACKS {
            let outcome = siege::lay(&[attack], length / 10, seed).await;
            outcomes.push((attack.describe(), siege::most(&[attack]), outcome));
        }
        let outcome = siege::lay(&siege::AT_ONCE, length, seed).await;
        outcomes.push(("nine of them at once", siege::most(&siege::AT_ONCE), outcome));
    }
    for (what, _, outcome) in &outcomes {
        println!("| {what} | {outcome}");
    }
    for (what, most, outcome) in outcomes {
        assert!(outcome.peak <= most, "{what}: {outcome:?}");
        assert!(outcome.pushes > 0 && outcome.p99 <= Duration::from_secs(1), "{what}: {outcome:?}");
        assert_eq!(outcome.probes_missed, 0, "{what}: {outcome:?}");
    }
}

/// As released: `cargo test --release --test soak -- --nocapture trees`.
#[tokio::test(flavor = "multi_thread")]
async fn trees_20000_of_kustomizations_render_exactly_the_wanted_images() {
    trees::check(20_000, kills::seed()).await.hold();
}
