//! The real Gitea.

use std::{process::Command, sync::Arc};

use reqwest::Method;
use serde_json::{Value, json};
use supercargo::git::forges::{Forge, ForgeError, NewRequest, Opened, Request, RequestState};

use super::{body, connect, failed, held, new, settings};
use crate::support::{
    eventually,
    front::{Front, Way},
    git_server::{git, run},
    gitea::{self, BOSS, Gitea, Repo, User},
    http,
};

/// A repository with a branch `supercargo/web`, and a bot that may write to it.
struct Bench {
    gitea: &'static Gitea,
    repo: Repo,
    bot: User,
    forge: Arc<dyn Forge>,
}

const BRANCH: &str = "supercargo/web";

impl Bench {
    async fn start(name: &str) -> Self {
        let gitea = gitea::shared().await;
        let repo = gitea.repository(name, &[("web.yaml", b"image: web:1\n")]).await;
        let bot = gitea.bot().await;
        repo.invite(&bot).await;
        branch(&repo, BRANCH, "2").await;
        let forge = connect(&settings("gitea", &repo.url(), None), held(&bot.token));
        Self { gitea, repo, bot, forge }
    }

    async fn find(&self) -> Option<Request> {
        self.forge.find(BRANCH).await.unwrap()
    }

    async fn open(&self, new: &NewRequest) -> Opened {
        self.forge.open(new).await.unwrap()
    }

    /// A client with another token of the bot's.
    async fn with_scopes(&self, scopes: &[&str]) -> Arc<dyn Forge> {
        let path = format!("/admin/users/{}", self.bot.name);
        let password = json!({"password": "botpw67890", "login_name": self.bot.name, "source_id": 0, "must_change_password": false});
        let (status, answer) = self.gitea.api(&self.gitea.token, Method::PATCH, &path, &password).await;
        assert_eq!(status, 200, "{answer}");
        let url = format!("{}/api/v1/users/{}/tokens", self.gitea.url, self.bot.name);
        let request = http().post(url);
        let request =
            request.basic_auth(&self.bot.name, Some("botpw67890")).json(&json!({"name": "more", "scopes": scopes}));
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        connect(&settings("gitea", &self.repo.url(), None), held(answer["sha1"].as_str().unwrap()))
    }
}

/// Commits to a branch, which is made from `main` if it is not there; returns the commit.
async fn branch(repo: &Repo, name: &str, tag: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let url = repo.url().replace("http://", &format!("http://{BOSS}:{}@", repo.gitea.token));
    run(git().args(["clone", "-q", &url, "."]).current_dir(folder.path()), b"");
    std::fs::write(folder.path().join("web.yaml"), format!("image: web:{tag}\n")).unwrap();
    run(git().args(["commit", "-q", "-a", "-m", "Bump"]).current_dir(folder.path()), b"");
    run(git().args(["push", "-q", "-f", "origin", &format!("HEAD:refs/heads/{name}")]).current_dir(folder.path()), b"");
    let head = run(Command::new("git").args(["rev-parse", "HEAD"]).current_dir(folder.path()), b"");
    String::from_utf8(head).unwrap().trim().to_owned()
}

#[tokio::test]
async fn a_request_is_opened_once_found_updated_in_place_and_closed() {
    let bench = Bench::start("forge-open").await;
    assert_eq!(bench.find().await, None);
    let opened = bench.open(&new(BRANCH)).await;
    assert!(opened.is_new && opened.notes.is_empty(), "{opened:?}");
    let request = opened.request;
    assert_eq!((request.state, request.draft, &*request.body), (RequestState::Open, false, &*body("1.1.0")));
    assert_eq!(request.url, format!("{}/{BOSS}/{}/pulls/{}", bench.gitea.url, bench.repo.name, request.number));
    assert_eq!(bench.find().await, Some(request.clone()));
    let again = bench.open(&new(BRANCH)).await;
    assert_eq!((again.is_new, &again.request), (false, &request));

    let head = branch(&bench.repo, BRANCH, "3").await;
    bench.forge.update(&request, "Update web to 1.2.0", &body("1.2.0")).await.unwrap();
    let updated = bench.find().await.unwrap();
    assert_eq!(
        (updated.number, &*updated.title, &*updated.body),
        (request.number, "Update web to 1.2.0", &*body("1.2.0"))
    );
    assert_eq!(updated.head_commit, head);
    assert_eq!(bench.repo.pulls().await.len(), 1);
    // An update to what is there already changes nothing.
    let front = Front::before(bench.gitea.url.strip_prefix("http://").unwrap(), |_| Way::Pass).await;
    let api = format!("http://{}/api/v1", front.host);
    let forge = connect(&settings("gitea", &bench.repo.url(), Some(&api)), held(&bench.bot.token));
    let found = forge.find(BRANCH).await.unwrap().unwrap();
    forge.update(&found, "Update web to 1.2.0", &body("1.2.0")).await.unwrap();
    assert!(front.came().iter().all(|came| came.line.starts_with("GET ")), "{:?}", front.came());

    bench.forge.close(request.number).await.unwrap();
    let closed = bench.find().await.unwrap();
    assert_eq!((closed.number, closed.state, &closed.head_commit), (request.number, RequestState::Closed, &head));
    let next = bench.open(&new(BRANCH)).await;
    assert!(next.is_new && next.request.number > request.number);
    assert_eq!(bench.find().await, Some(next.request.clone()));
    bench.repo.close(next.request.number).await;
    let last = bench.find().await.unwrap();
    assert_eq!((last.number, last.state), (next.request.number, RequestState::Closed));
}

#[tokio::test]
async fn one_that_was_merged_is_found_also_without_its_branch() {
    let bench = Bench::start("forge-merged").await;
    let request = bench.open(&new(BRANCH)).await.request;
    bench.repo.merge(request.number, "squash").await;
    bench.repo.api(Method::DELETE, "/branches/supercargo%2Fweb", &Value::Null).await;
    let merged = bench.find().await.unwrap();
    assert_eq!((merged.number, merged.state), (request.number, RequestState::Merged));
    assert_eq!((&merged.head_commit, merged.closed_by.as_deref()), (&request.head_commit, Some(BOSS)));
    let main = bench.repo.api(Method::GET, "/branches/main", &Value::Null).await;
    assert_eq!(merged.merge_commit.as_deref(), main["commit"]["id"].as_str());
    let all = bench.forge.merged(BRANCH).await.unwrap();
    let told: Vec<_> = all.iter().map(|request| (request.number, &request.merge_commit, &request.body)).collect();
    assert_eq!(told, [(merged.number, &merged.merge_commit, &merged.body)]);
    assert_eq!(bench.forge.merged("supercargo/other").await.unwrap(), []);
}

#[tokio::test]
async fn a_base_with_a_slash_and_other_bases_are_kept_apart() {
    let bench = Bench::start("forge-base").await;
    branch(&bench.repo, "release/1.x", "0").await;
    let mut to = settings("gitea", &bench.repo.url(), None);
    to.base = "release/1.x".to_owned();
    let release = connect(&to, held(&bench.bot.token));
    let request = bench.open(&new(BRANCH)).await.request;
    assert_eq!(release.find(BRANCH).await.unwrap(), None);
    let other = release.open(&new(BRANCH)).await.unwrap().request;
    assert_eq!(release.find(BRANCH).await.unwrap(), Some(other));
    assert_eq!(bench.find().await, Some(request));
}

#[tokio::test]
async fn a_forks_branch_of_the_same_name_is_another() {
    let bench = Bench::start("forge-fork").await;
    let path = format!("/repos/{BOSS}/{}/forks", bench.repo.name);
    let stranger = bench.gitea.bot().await;
    bench.repo.invite(&stranger).await;
    let fork = eventually("the fork is there", async || {
        let (status, fork) = bench.gitea.api(&stranger.token, Method::POST, &path, &json!({})).await;
        (status == 202 || status == 409).then_some(fork)
    })
    .await;
    let new_pull =
        json!({"head": format!("{}:{BRANCH}", stranger.name), "base": "main", "title": "Stranger", "body": ""});
    let pulls = format!("/repos/{BOSS}/{}/pulls", bench.repo.name);
    eventually("the stranger's request is there", async || {
        let (status, answer) = bench.gitea.api(&stranger.token, Method::POST, &pulls, &new_pull).await;
        assert!([201, 404, 500].contains(&status), "{status} {answer} {fork}");
        (status == 201).then_some(())
    })
    .await;
    assert_eq!(bench.repo.pulls().await[0]["head"]["label"], BRANCH);
    assert_eq!(bench.find().await, None);
    let opened = bench.open(&new(BRANCH)).await;
    assert!(opened.is_new);
    assert_eq!(bench.find().await.unwrap().number, opened.request.number);
}

#[tokio::test]
async fn a_draft_stays_one_until_a_person_says_otherwise() {
    let bench = Bench::start("forge-draft").await;
    let draft = bench.open(&NewRequest { draft: true, ..new(BRANCH) }).await.request;
    assert_eq!((draft.draft, &*draft.title), (true, "Update web to 1.1.0"));
    bench.forge.update(&draft, "Update web to 1.2.0", &draft.body).await.unwrap();
    let pull = bench.repo.pull(draft.number).await;
    assert_eq!((&pull["draft"], &pull["title"]), (&json!(true), &json!("WIP: Update web to 1.2.0")));
    let ready = json!({"title": "Update web to 1.2.0"});
    bench.repo.api(Method::PATCH, &format!("/pulls/{}", draft.number), &ready).await;
    let ready = bench.find().await.unwrap();
    bench.forge.update(&ready, "Update web to 1.3.0", &ready.body).await.unwrap();
    assert_eq!(bench.repo.pull(draft.number).await["title"], "Update web to 1.3.0");
}

#[tokio::test]
async fn labels_reviewers_and_assignees_are_given_and_unknown_ones_noted() {
    let bench = Bench::start("forge-labels").await;
    bench.repo.api(Method::POST, "/labels", &json!({"name": "deploy", "color": "#00aabb"})).await;
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let new = NewRequest {
        labels: names(&["deploy", "unknown"]),
        reviewers: names(&["nobody-1", BOSS]),
        assignees: names(&[&bench.bot.name, "nobody-2"]),
        ..new(BRANCH)
    };
    let forge = bench.with_scopes(&["write:repository", "read:issue"]).await;
    let opened = forge.open(&new).await.unwrap();
    let notes = opened.notes.join("\n");
    assert_eq!(opened.notes.len(), 3, "{notes}");
    for note in ["label `unknown` was left out: there is no such label", "reviewer `nobody-1`", "assignee `nobody-2`"] {
        assert!(notes.contains(note), "{notes}");
    }
    let pull = bench.repo.pull(opened.request.number).await;
    assert_eq!(pull["labels"][0]["name"], "deploy");
    assert_eq!(pull["requested_reviewers"][0]["login"], BOSS);
    assert_eq!(pull["assignees"][0]["login"], json!(bench.bot.name));

    // Without the right to see labels it is opened all the same.
    bench.forge.close(opened.request.number).await.unwrap();
    let opened = bench.open(&NewRequest { reviewers: vec![], assignees: vec![], ..new }).await;
    assert!(opened.is_new && opened.notes.iter().all(|note| note.contains("read:issue")), "{:?}", opened.notes);
}

#[tokio::test]
async fn it_is_merged_automatically_when_the_checks_of_a_protected_branch_succeed() {
    let bench = Bench::start("forge-auto").await;
    let rule = json!({"rule_name": "main", "enable_push": false, "enable_status_check": true, "status_check_contexts": ["ci"]});
    bench.repo.api(Method::POST, "/branch_protections", &rule).await;
    let request = bench.open(&new(BRANCH)).await.request;
    let stale = Request { number: 999, ..request.clone() };
    assert!(matches!(failed(bench.forge.auto_merge(&stale).await, "404"), ForgeError::NotFound(_)));
    for _ in 0..2 {
        eventually("it is to be merged", async || match bench.forge.auto_merge(&request).await {
            Ok(()) => Some(()),
            Err(ForgeError::Unavailable(_)) => None,
            Err(error) => panic!("{error}"),
        })
        .await;
    }
    assert_eq!(bench.find().await.unwrap().state, RequestState::Open);
    let status = json!({"context": "ci", "state": "success"});
    bench.repo.api(Method::POST, &format!("/statuses/{}", request.head_commit), &status).await;
    eventually("it is merged", async || (bench.find().await?.state == RequestState::Merged).then_some(())).await;
    assert_eq!(bench.repo.bare("main").read("web.yaml"), b"image: web:2\n");
}

#[tokio::test]
async fn its_words_come_through() {
    let bench = Bench::start("forge-words").await;
    let bad = connect(&settings("gitea", &bench.repo.url(), None), held("0123456789abcdef0123456789abcdef01234567"));
    assert!(matches!(failed(bad.find(BRANCH).await, "401"), ForgeError::Auth(_)));
    let reader = bench.with_scopes(&["read:repository"]).await;
    assert!(matches!(failed(reader.open(&new(BRANCH)).await, "write:repository"), ForgeError::Auth(_)));
    let stranger = connect(&settings("gitea", &bench.repo.url(), None), held(&bench.gitea.bot().await.token));
    assert!(matches!(failed(stranger.find(BRANCH).await, "404"), ForgeError::NotFound(_)));
    assert!(matches!(failed(bench.forge.open(&new("gone")).await, "404"), ForgeError::NotFound(_)));
    assert!(matches!(failed(bench.forge.close(999).await, "404"), ForgeError::NotFound(_)));
}
