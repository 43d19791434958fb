//! The operator is killed at random points while it commits: the history tells what it did in all its lives.

use crate::support::{commits, kills};

#[tokio::test(flavor = "multi_thread")]
async fn twenty_kills_during_commits_leave_each_edit_in_the_history_once() {
    let outcome = commits::kill(20, kills::seed()).await;
    // No commit without something new.
    assert!((1..=outcome.pushes).contains(&outcome.commits) && outcome.untold <= outcome.commits, "{outcome:?}");
}
