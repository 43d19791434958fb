//! The long counts, run by hand: `cargo test --test soak -- --nocapture`. Results stand in docs/soak.md.

#[path = "../it/support/mod.rs"]
#[expect(dead_code, reason = "shared with the other tests, which use more of it")]
mod support;

mod siege;

use std::time::Duration;

use support::{commits, kills};

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_kills_lose_no_update_and_make_none_twice() {
    let outcome = kills::kill(200, kills::seed()).await;
    println!("{outcome:?}");
    assert!(outcome.updates >= 200, "{outcome:?}");
    assert!(outcome.untold > 0, "no kill came between a write and the word of it: {outcome:?}");
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
async fn a_siege_of_ten_minutes_leaves_a_neighbour_served() {
    let outcome = siege::lay(siege::length(), kills::seed()).await;
    println!("{outcome:?}");
    assert!(outcome.peak <= 220, "{outcome:?}");
    assert!(outcome.p99 <= Duration::from_secs(1), "{outcome:?}");
    assert_eq!(outcome.probes_missed, 0, "{outcome:?}");
}
