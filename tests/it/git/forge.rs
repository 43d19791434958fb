//! A target at a real forge: Gitea, over HTTP with a bot's token and over SSH with a deploy key.

use secrecy::SecretString;
use supercargo::{
    git::{Credentials, Secret},
    ports::Outcome,
};

use super::target::{code, manifest, one, plan, settings_with, target};
use crate::support::gitea;

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_commits_and_a_protected_branch_refuses_in_its_own_words() {
    let (gitea, folder) = (gitea::shared().await, tempfile::tempdir().unwrap());
    let repo = gitea.repository("commit", &[("web.yaml", manifest("web", "1.0.0").as_bytes())]).await;
    let bot = gitea.bot().await;
    repo.invite(&bot).await;
    let secret = Secret::Value(SecretString::from(bot.token.clone()));
    let credentials = Credentials::Token { username: bot.name.clone(), secret };
    let target = target(settings_with(credentials, &repo.url(), folder.path()));
    assert_eq!(code(&one(&target, plan("web", "1.0.0", "1.1.0")).await), "committed");
    assert_eq!(repo.bare("main").read("web.yaml"), manifest("web", "1.1.0").as_bytes());

    repo.protect("main").await;
    let outcome = one(&target, plan("web", "1.1.0", "1.2.0")).await;
    let Outcome::Refused(words) = &outcome else { panic!("{outcome:?}") };
    assert!(words.contains("Not allowed to push to protected branch main"), "{words}");
    assert!(!words.contains(&bot.token));
    assert_eq!(repo.bare("main").read("web.yaml"), manifest("web", "1.1.0").as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_key_commits_over_ssh_and_a_stranger_host_is_refused() {
    let (gitea, folder) = (gitea::shared().await, tempfile::tempdir().unwrap());
    let repo = gitea.repository("ssh-commit", &[("web.yaml", manifest("web", "1.0.0").as_bytes())]).await;
    let key = repo.deploy_key().await;
    let hosts = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let with =
        |known_hosts| settings_with(Credentials::Ssh { key: key.clone(), known_hosts }, &repo.ssh_url(), folder.path());
    let stranger = target(with(hosts("none", "")));
    let outcome = one(&stranger, plan("web", "1.0.0", "1.1.0")).await;
    let Outcome::Failed(why) = &outcome else { panic!("{outcome:?}") };
    assert!(why.contains("Host key verification failed"), "{why}");
    drop(stranger);
    let known = target(with(hosts("known", &format!("{}\n", gitea.known_host))));
    assert_eq!(code(&one(&known, plan("web", "1.0.0", "1.1.0")).await), "committed");
    assert_eq!(repo.bare("main").read("web.yaml"), manifest("web", "1.1.0").as_bytes());
}
