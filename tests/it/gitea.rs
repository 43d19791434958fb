//! Whether the tests' own Gitea does what other tests take for granted.

use reqwest::Method;
use serde_json::json;

use crate::support::{
    git_server::{git, run, try_run},
    gitea,
};

#[tokio::test]
async fn a_bot_clones_pushes_and_has_its_pull_request_merged() {
    let gitea = gitea::shared().await;
    let repo = gitea.repository("merge", &[("web.yaml", b"image: web:1\n"), ("gone", b"")]).await;
    let bot = gitea.bot().await;
    repo.invite(&bot).await;
    repo.commit(&[("gone", None), ("web.yaml", Some(b"image: web:2\n"))], "By hand").await;

    let folder = tempfile::tempdir().unwrap();
    let url = repo.url().replace("http://", &format!("http://{}:{}@", bot.name, bot.token));
    run(git().args(["clone", "-q", &url, "."]).current_dir(folder.path()), b"");
    std::fs::write(folder.path().join("web.yaml"), "image: web:3\n").unwrap();
    run(git().args(["commit", "-q", "-a", "-m", "Bump"]).current_dir(folder.path()), b"");
    run(git().args(["push", "-q", "origin", "HEAD:bump/web"]).current_dir(folder.path()), b"");
    let path = format!("/repos/{}/{}/pulls", gitea::BOSS, repo.name);
    let new = json!({"head": "bump/web", "base": "main", "title": "Bump"});
    let (status, opened) = gitea.api(&bot.token, Method::POST, &path, &new).await;
    assert_eq!((status, &opened["user"]["login"]), (201, &json!(bot.name)), "{opened}");

    repo.merge(opened["number"].as_u64().unwrap(), "squash").await;
    let pull = &repo.pulls().await[0];
    assert_eq!((&pull["merged"], &pull["state"]), (&json!(true), &json!("closed")));
    let main = repo.bare("main");
    assert_eq!((main.read("web.yaml"), main.files()), (b"image: web:3\n".to_vec(), vec!["web.yaml".to_owned()]));
}

#[tokio::test]
async fn a_pull_request_is_closed_and_a_protected_branch_refuses() {
    let gitea = gitea::shared().await;
    let repo = gitea.repository("closed", &[("web.yaml", b"1\n")]).await;
    repo.protect("main").await;
    let folder = tempfile::tempdir().unwrap();
    let url = repo.url().replace("http://", &format!("http://{}:{}@", gitea::BOSS, gitea.token));
    run(git().args(["clone", "-q", &url, "."]).current_dir(folder.path()), b"");
    run(git().args(["commit", "-q", "--allow-empty", "-m", "Bump"]).current_dir(folder.path()), b"");
    let refused = try_run(git().args(["push", "origin", "HEAD:main"]).current_dir(folder.path()), b"");
    let words = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && words.contains("Not allowed to push to protected branch main"), "{words}");

    run(git().args(["push", "-q", "origin", "HEAD:bump"]).current_dir(folder.path()), b"");
    let new = json!({"head": "bump", "base": "main", "title": "Bump"});
    let number = repo.api(Method::POST, "/pulls", &new).await["number"].as_u64().unwrap();
    repo.close(number).await;
    let pull = repo.pull(number).await;
    assert_eq!((&pull["merged"], &pull["state"]), (&json!(false), &json!("closed")));
}

#[tokio::test]
async fn a_deploy_key_clones_and_pushes_over_ssh() {
    let gitea = gitea::shared().await;
    let repo = gitea.repository("ssh", &[("web.yaml", b"1\n")]).await;
    let key = repo.deploy_key().await;
    let folder = tempfile::tempdir().unwrap();
    let known = folder.path().join("known_hosts");
    std::fs::write(&known, &gitea.known_host).unwrap();
    let ssh = format!(
        "ssh -F none -i '{}' -o IdentitiesOnly=yes -o UserKnownHostsFile='{}' -o StrictHostKeyChecking=yes",
        key.display(),
        known.display(),
    );
    let clone = folder.path().join("clone");
    run(git().env("GIT_SSH_COMMAND", &ssh).args(["clone", "-q", &repo.ssh_url()]).arg(&clone), b"");
    run(git().args(["commit", "-q", "--allow-empty", "-m", "Over SSH"]).current_dir(&clone), b"");
    run(git().env("GIT_SSH_COMMAND", &ssh).args(["push", "-q"]).current_dir(&clone), b"");
    assert_eq!(repo.bare("main").log()[0].message, "Over SSH");
}
