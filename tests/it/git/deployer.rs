//! Deployers that are told of a push: what they get, when, and that nobody waits for them.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use aws_lc_rs::hmac;
use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, StatusCode, Uri},
    routing::post,
};
use secrecy::SecretString;
use serde_json::{Value, json};
use supercargo::git::{Address, Deployer, Receiver, Secret, TargetSettings};
use tokio::sync::Semaphore;

use super::target::{code, manifest, one, plan, settings, target};
use crate::support::{
    eventually,
    git_server::{BareRepo, GitServer},
};

/// What a deployer heard.
#[derive(Debug, Clone)]
struct Heard {
    path: String,
    headers: HeaderMap,
    body: Vec<u8>,
    /// Where the branch was then.
    head: String,
}

/// A deployer that answers when it is let.
struct Fake {
    base: String,
    heard: Arc<Mutex<Vec<Heard>>>,
    answers: Arc<Semaphore>,
}

impl Fake {
    async fn start(repo: &BareRepo, status: StatusCode) -> Self {
        let (heard, answers) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Semaphore::new(0)));
        let handler = {
            let (repo, heard, answers) = (repo.clone(), heard.clone(), answers.clone());
            move |uri: Uri, headers: HeaderMap, body: Bytes| async move {
                let head = repo.head();
                heard.lock().unwrap().push(Heard { path: uri.path().to_owned(), headers, body: body.to_vec(), head });
                answers.acquire().await.unwrap().forget();
                status
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().route("/{*path}", post(handler));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { base, heard, answers }
    }

    fn at(&self, path: &str, secret: Option<Secret>) -> Receiver {
        Receiver { address: Address::Url(format!("{}{path}", self.base)), secret, ca: None }
    }

    async fn heard(&self, count: usize) -> Vec<Heard> {
        eventually(&format!("{count} requests"), async || {
            let heard = self.heard.lock().unwrap().clone();
            (heard.len() >= count).then_some(heard)
        })
        .await
    }
}

fn file(folder: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// As the documentation of Flux and GitHub says it.
fn is_signed(heard: &Heard, header: &str, secret: &str) -> bool {
    let said = heard.headers.get(header).and_then(|value| value.to_str().ok()).and_then(|v| v.strip_prefix("sha256="));
    let bytes = |hex: &str| -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    };
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    said.is_some_and(|hex| hex.len() == 64 && hmac::verify(&key, &heard.body, &bytes(hex)).is_ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn deployers_are_told_of_a_push_when_it_is_there_and_of_nothing_else() {
    let (server, folder) = (GitServer::start().await, tempfile::tempdir().unwrap());
    let files = [("apps/web.yaml", manifest("web", "1.0.0")), ("apps/api.yaml", manifest("api", "1.0.0"))];
    let files = files.each_ref().map(|(path, text)| (*path, text.as_bytes()));
    let repo = server.create("deploy", &files);
    let deployer = Fake::start(&repo, StatusCode::OK).await;
    let of_file = Secret::File(file(folder.path(), "secret", "geheim-1\n"));
    let of_environment = Secret::Value(SecretString::from("geheim-2".to_owned()));
    let secret_url = Address::File(file(folder.path(), "url", &format!("{}/hook/generic\n", deployer.base)));
    let deployers = vec![
        Deployer::FluxReceiver(deployer.at("/hook/hmac", Some(of_file))),
        Deployer::FluxReceiver(Receiver { address: secret_url, secret: None, ca: None }),
        Deployer::ArgocdWebhook(deployer.at("/api/webhook", Some(of_environment))),
    ];
    let target = target(TargetSettings { deployers, one_each: true, ..settings(&server.url("deploy"), folder.path()) });
    let before = repo.head();
    let plans = ["web", "api"].map(|name| plan(name, "1.0.0", "1.1.0"));
    let outcomes = supercargo::ports::Sink::apply(&target, plans.into()).await;
    assert!(outcomes.iter().all(|outcome| code(outcome) == "committed"), "{outcomes:?}");

    let heard = deployer.heard(3).await;
    let at = |path: &str| heard.iter().find(|heard| heard.path == path).unwrap();
    let (flux, generic, argocd) = (at("/hook/hmac"), at("/hook/generic"), at("/api/webhook"));
    assert!(is_signed(flux, "x-signature", "geheim-1") && is_signed(argocd, "x-hub-signature-256", "geheim-2"));
    assert!(!is_signed(flux, "x-signature", "geheim-2") && !generic.headers.contains_key("x-signature"));
    assert_eq!(argocd.headers["x-github-event"], "push");
    let log = repo.log();
    assert!(heard.iter().all(|heard| heard.head == log[0].id), "the push is there before anybody hears of it");
    let page = server.url("deploy").replace(".git", "");
    let port = page.rsplit_once(':').unwrap().1.split('/').next().unwrap().to_owned();
    let commit = |id: &str, path: &str| json!({"id": id, "added": [], "removed": [], "modified": [path]});
    let expected = json!({
        "ref": "refs/heads/main", "before": before, "after": log[0].id,
        "repository": {"html_url": page.replace(&format!(":{port}"), ""), "default_branch": "main"},
        "commits": [commit(&log[1].id, "apps/web.yaml"), commit(&log[0].id, "apps/api.yaml")],
    });
    assert_eq!(serde_json::from_slice::<Value>(&argocd.body).unwrap(), expected);

    // Nobody has answered yet, and the next push is made all the same; where nothing changes nothing is told.
    assert_eq!(code(&one(&target, plan("web", "1.1.0", "1.1.0")).await), "committed");
    repo.hook("pre-receive", "#!/bin/sh\nexit 1\n");
    assert_eq!(code(&one(&target, plan("web", "1.1.0", "1.3.0")).await), "refused");
    repo.hook("pre-receive", "#!/bin/sh\nexit 0\n");
    assert_eq!(code(&one(&target, plan("web", "1.1.0", "1.2.0")).await), "committed");
    let heard = deployer.heard(6).await;
    assert_eq!(heard.len(), 6);
    assert!(heard[3..].iter().all(|heard| heard.head == repo.head()));
    deployer.answers.add_permits(6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployer_that_refuses_or_is_gone_stops_nothing() {
    let (server, folder) = (GitServer::start().await, tempfile::tempdir().unwrap());
    let repo = server.create("deploy", &[("web.yaml", manifest("web", "1.0.0").as_bytes())]);
    let deployer = Fake::start(&repo, StatusCode::UNAUTHORIZED).await;
    deployer.answers.add_permits(10);
    let nowhere = Address::Url(format!("http://127.0.0.1:{}/", crate::support::free_port()));
    let missing = Address::File(folder.path().join("none"));
    let deployers =
        [nowhere, missing].map(|address| Deployer::FluxReceiver(Receiver { address, secret: None, ca: None }));
    let deployers = deployers.into_iter().chain([Deployer::ArgocdWebhook(deployer.at("/api/webhook", None))]).collect();
    let target = target(TargetSettings { deployers, ..settings(&server.url("deploy"), folder.path()) });
    // Once for each push: it is not tried again.
    let mut heads = Vec::new();
    for (from, to) in [("1.0.0", "1.1.0"), ("1.1.0", "1.2.0"), ("1.2.0", "1.3.0")] {
        assert_eq!(code(&one(&target, plan("web", from, to)).await), "committed");
        heads.push(repo.head());
        let heard = deployer.heard(heads.len()).await;
        assert_eq!(heard.into_iter().map(|heard| heard.head).collect::<Vec<_>>(), heads);
    }
}
