//! Whether the tests' own children really end with them.

use std::process::Command;

use crate::support::{eventually, process::Process};

fn is_alive(pid: u32) -> bool {
    // A zombie has an empty command line.
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

#[tokio::test]
async fn a_child_ends_when_its_holder_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut inner = Command::new("sh");
    // The holder of the pipe's writing end is this `sleep`, which plays the test process.
    let script =
        r#"mkfifo pipe; sh -c 'sleep 1000 >pipe & echo $! >holder; wait' & exec sh -c "$WATCH" watch sleep 1001 <pipe"#;
    inner.args(["-c", script]).current_dir(folder.path()).env("WATCH", crate::support::process::WATCH);
    let process = Process::spawn(&inner, &folder.path().join("log"));
    let pid: u32 = eventually("the inner child's id", async || process.output().trim().parse().ok()).await;
    let holder: String = eventually("the holder's id", async || {
        std::fs::read_to_string(folder.path().join("holder")).ok().filter(|text| text.ends_with('\n'))
    })
    .await;
    eventually("the inner child is there", async || is_alive(pid).then_some(())).await;
    assert!(Command::new("kill").args(["-9", holder.trim()]).status().unwrap().success());
    eventually("the child's end", async || (!is_alive(pid)).then_some(())).await;
}

#[tokio::test]
async fn a_child_that_ends_by_itself_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "echo hello; exit 7"]);
    let mut process = Process::spawn(&command, &folder.path().join("log"));
    assert_eq!(process.wait().await.code(), Some(7));
    assert_eq!(process.output(), "hello\n");
}

#[tokio::test]
async fn a_dropped_child_is_dead() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("sleep");
    command.arg("1002");
    let process = Process::spawn(&command, &folder.path().join("log"));
    let pid = process.pid();
    // While it becomes another program it has no command line.
    eventually("the child's start", async || is_alive(pid).then_some(())).await;
    drop(process);
    eventually("the child's end", async || (!is_alive(pid)).then_some(())).await;
}
