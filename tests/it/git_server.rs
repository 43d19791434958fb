//! Whether the tests' own Git server does what other tests take for granted.

use std::{path::Path, time::Duration};

use crate::support::git_server::{BareRepo, GitServer, Options, PERSON, Put, RECEIVE, UPLOAD, git, run, try_run};

const FILES: &[(&str, &[u8])] = &[("web/deployment.yaml", b"image: web:1\n"), ("odd \"näme\".txt", b"\x00\xff")];

/// A client, beside the test's runtime, which serves it.
async fn client(folder: &Path, args: &[&str]) -> std::process::Output {
    let mut command = git();
    command.args(args).current_dir(folder);
    tokio::task::spawn_blocking(move || try_run(&mut command, b"")).await.unwrap()
}

async fn works(folder: &Path, args: &[&str]) {
    let output = client(folder, args).await;
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

async fn fails(folder: &Path, args: &[&str]) -> String {
    let output = client(folder, args).await;
    assert!(!output.status.success(), "git {args:?} worked");
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn a_clone_a_commit_and_a_push_go_over_http() {
    let server = GitServer::start().await;
    let repo = server.create("app", FILES);
    assert_eq!(repo.files(), ["odd \"näme\".txt", "web/deployment.yaml"]);
    let folder = tempfile::tempdir().unwrap();
    works(folder.path(), &["clone", "-q", &server.url("app"), "clone"]).await;
    let clone = folder.path().join("clone");
    assert_eq!(std::fs::read(clone.join("odd \"näme\".txt")).unwrap(), b"\x00\xff");

    // More than git sends in one piece: a chunked body.
    let large: Vec<u8> = (0..3_000_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
    std::fs::write(clone.join("large"), &large).unwrap();
    works(&clone, &["add", "large"]).await;
    works(&clone, &["commit", "-q", "-m", "Add large"]).await;
    works(&clone, &["push", "-q"]).await;
    assert!(repo.read("large") == large);
    let log = repo.log();
    assert_eq!(log.iter().map(|commit| &*commit.message).collect::<Vec<_>>(), ["Add large", "Begin"]);
    assert_eq!((&log[0].id, &*log[0].author), (&repo.head(), PERSON));

    let requests = server.requests();
    assert!(requests.iter().all(|request| request.status == 200 && request.user.is_empty()), "{requests:?}");
    assert!(requests.iter().any(|request| request.service == UPLOAD && request.path == "/app.git/info/refs"));
    assert_eq!(requests.iter().filter(|r| r.is_push() && r.query.is_empty() && r.service == RECEIVE).count(), 2);
    fails(folder.path(), &["ls-remote", &server.url("other")]).await;
    assert_eq!(server.requests().last().unwrap().status, 404);
}

#[tokio::test]
async fn partial_clones_are_served_only_with_filters() {
    for (filters, missing) in [(true, true), (false, false)] {
        let server = GitServer::start_with(Options { filters, ..Options::default() }).await;
        let repo = server.create("app", FILES);
        let folder = tempfile::tempdir().unwrap();
        let url = server.url("app");
        works(folder.path(), &["clone", "-q", "--bare", "--depth=1", "--filter=blob:none", &url, "clone"]).await;
        let mut list = git();
        list.arg("--git-dir").arg(folder.path().join("clone")).args(["rev-list", "--objects", "--missing=print"]);
        let objects = String::from_utf8(run(list.arg(repo.head()), b"")).unwrap();
        assert_eq!(objects.lines().any(|line| line.starts_with('?')), missing, "{objects}");
    }
}

#[tokio::test]
async fn a_password_is_asked_for_and_may_change() {
    let password = Some(("bot".to_owned(), "one".to_owned()));
    let latency = Some(Duration::from_millis(1));
    let server = GitServer::start_with(Options { password, latency, ..Options::default() }).await;
    server.create("app", FILES);
    let here = Path::new("/");
    let url = |login: &str| server.url("app").replace("http://", &format!("http://{login}"));
    fails(here, &["ls-remote", &url("")]).await;
    assert_eq!(server.requests().last().unwrap().status, 401);
    works(here, &["ls-remote", &url("bot:one@")]).await;
    assert_eq!(server.requests().last().unwrap().user, "bot");
    server.set_password("bot", "two");
    fails(here, &["ls-remote", &url("bot:one@")]).await;
    works(here, &["ls-remote", &url("bot:two@")]).await;
}

#[tokio::test]
async fn faults_strike_as_often_as_was_said() {
    let server = GitServer::start().await;
    let repo = server.create("app", FILES);
    let here = Path::new("/");
    server.fail_next(1, 503);
    fails(here, &["ls-remote", &server.url("app")]).await;
    works(here, &["ls-remote", &server.url("app")]).await;

    let folder = tempfile::tempdir().unwrap();
    works(folder.path(), &["clone", "-q", &server.url("app"), "."]).await;
    works(folder.path(), &["commit", "-q", "--allow-empty", "-m", "One"]).await;
    let before = repo.head();
    server.fail_next_push(1, 500);
    fails(folder.path(), &["push", "-q"]).await;
    assert_eq!(repo.head(), before);
    server.lose_next_push(1);
    fails(folder.path(), &["push", "-q"]).await;
    assert_eq!(repo.log()[0].message, "One");
}

#[tokio::test]
async fn a_hook_refuses_with_its_own_words() {
    let server = GitServer::start().await;
    let repo = server.create("app", FILES);
    repo.hook("pre-receive", "#!/bin/sh\necho not on a Friday >&2\nexit 1\n");
    let folder = tempfile::tempdir().unwrap();
    works(folder.path(), &["clone", "-q", &server.url("app"), "."]).await;
    works(folder.path(), &["commit", "-q", "--allow-empty", "-m", "One"]).await;
    let words = fails(folder.path(), &["push"]).await;
    assert!(words.contains("remote: not on a Friday"), "{words}");
}

#[tokio::test]
async fn commits_are_made_without_a_work_tree() {
    let folder = tempfile::tempdir().unwrap();
    let repo = BareRepo::create(&folder.path().join("app.git"), FILES);
    let id = repo.commit(&[("web/deployment.yaml", None), ("a", Some(b"1"))], "Two\n\nlines", "Bob <bob@x.test>");
    assert_eq!((repo.head(), repo.files()), (id.clone(), vec!["a".to_owned(), "odd \"näme\".txt".to_owned()]));
    let newest = &repo.log()[0];
    assert_eq!((&*newest.message, &*newest.author), ("Two\n\nlines", "Bob <bob@x.test>"));

    let other = repo.branch("other");
    other.put(&[("x", Put::Executable(b"")), ("l", Put::Link("/etc")), ("s", Put::Submodule(&id))], "Odd", PERSON);
    assert_eq!((repo.branches(), repo.head()), (vec!["main".to_owned(), "other".to_owned()], id));
    let tree = String::from_utf8(repo.git(&["ls-tree", "other"])).unwrap();
    for mode in ["100755 blob", "120000 blob", "160000 commit"] {
        assert!(tree.contains(mode), "{tree}");
    }
}

#[tokio::test]
async fn commits_of_many_at_once_are_all_there() {
    let folder = tempfile::tempdir().unwrap();
    let repo = BareRepo::create(&folder.path().join("app.git"), FILES);
    std::thread::scope(|scope| {
        for n in 0..8 {
            let repo = &repo;
            scope.spawn(move || repo.commit(&[(&format!("file-{n}"), Some(b"1"))], &format!("{n}"), PERSON));
        }
    });
    assert_eq!((repo.log().len(), repo.files().len()), (9, 10));
}
