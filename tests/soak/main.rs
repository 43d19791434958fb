//! The long counts, run by hand: `cargo test --test soak -- --nocapture`. Results stand in docs/soak.md.

#[path = "../it/support/mod.rs"]
#[expect(dead_code, reason = "shared with the other tests, which use more of it")]
mod support;

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
