//! What changed in the sources of images, in the body of a request at a real Gitea.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use secrecy::SecretString;
use serde_json::json;
use supercargo::{
    clock::SystemClock,
    domain::{
        hint::{Credentials as Whose, Source},
        image::ImageRef,
        plan::{Approved, Plan},
        target::Route,
        update::{Change, Update},
    },
    git::{Credentials, RequestSettings, Requests, Secret, Target, forges},
    metrics::Metrics,
    net::Timeouts,
    ports::Sink as _,
    registry::{self, NoSecrets},
};
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::target::{approved, code, settings_with, target, update};
use crate::{
    forges::{held, settings as forge_settings},
    support::{
        commits,
        control_plane::shared,
        eventually,
        gitea::{self, BOT_SCOPES, Repo, User},
        objects::deployment,
        operator::{Operator, Setup},
        registry::{Access, Image, Options, PASSWORD, Registry, USER, built_from, docker_config},
    },
};

const SOURCE: &str = "https://git.example/shop/web";
const OLD: &str = "1111111aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const NEW: &str = "2222222bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

fn compared() -> String {
    format!("[1111111...2222222]({SOURCE}/compare/{OLD}...{NEW})")
}

fn built(source: &str, revision: &str) -> Image {
    Image { labels: built_from(source, revision), ..Image::unique() }
}

/// A target that makes requests and reads images without any credentials, and where they are made.
struct Bench {
    repo: Repo,
    target: Target,
    _folder: TempDir,
}

/// A repository with `web` and `api` of that registry.
async fn bench(hint: &str, registry: &str) -> Bench {
    bench_with(hint, registry, Timeouts::default()).await
}

/// The same, where the client of the registry waits so long.
async fn bench_with(hint: &str, registry: &str, timeouts: Timeouts) -> Bench {
    let (gitea, folder) = (gitea::shared().await, tempfile::tempdir().unwrap());
    let manifest = |name: &str| super::target::manifest(name, "1.0.0").replace("r.example", registry);
    let files = ["web", "api"].map(|name| (format!("{name}.yaml"), manifest(name)));
    let files: Vec<(&str, &[u8])> = files.iter().map(|(path, text)| (path.as_str(), text.as_bytes())).collect();
    let repo = gitea.repository(hint, &files).await;
    let bot = bot(&repo).await;
    let secret = Secret::Value(SecretString::from(bot.token.clone()));
    let credentials = Credentials::Token { username: bot.name.clone(), secret };
    let target = target(settings_with(credentials, &repo.url(), folder.path()));
    let clock = Arc::new(SystemClock::default());
    let forge = forges::connect(forge_settings("gitea", &repo.url(), None), held(&bot.token), clock.clone());
    let settings = registry::RegistrySettings { timeouts, ..Default::default() };
    let metrics = Arc::new(Metrics::default());
    let client = registry::Client::new(settings, Arc::new(NoSecrets), clock, metrics).unwrap();
    let requests = Requests { forge, settings: RequestSettings::default(), registry: Some(Arc::new(client)) };
    Bench { repo, target: target.with_requests(requests), _folder: folder }
}

async fn bot(repo: &Repo) -> User {
    let bot = repo.gitea.bot_with(&[BOT_SCOPES, &["write:issue"]].concat()).await;
    repo.invite(&bot).await;
    bot
}

/// `name` from 1.0.0 to that tag, as a look at that registry found it.
fn wish(registry: &str, name: &str, to: &str) -> Plan<Approved> {
    let image = |tag: &str| ImageRef::parse(&format!("{registry}/{name}:{tag}")).unwrap();
    let before = update(name, "1.0.0", to);
    let mut items = before.items.clone();
    items[0].change = Change { from: image("1.0.0"), to: image(to), ..items[0].change.clone() };
    items[0].source = Some(Arc::new(Source { repository: image(to).repository, credentials: Whose::default() }));
    approved(Update::new(before.workload, items, Route::Request("prod".into(), None), before.proposed))
}

impl Bench {
    async fn ask(&self, plans: Vec<Plan<Approved>>) {
        for outcome in self.target.apply(plans).await {
            assert_eq!(code(&outcome), "request-open", "{outcome:?}");
        }
    }

    async fn body(&self) -> String {
        body(&self.repo).await.expect("a request")
    }
}

/// What the only request says.
async fn body(repo: &Repo) -> Option<String> {
    let all = repo.pulls().await;
    assert!(all.len() < 2, "{all:?}");
    Some(all.first()?["body"].as_str()?.to_owned())
}

/// The last cell of a workload's row.
fn cell<'a>(body: &'a str, name: &str) -> &'a str {
    let row = body.lines().find(|line| line.contains(&format!("/{name}` | "))).unwrap_or_else(|| panic!("{body}"));
    row.trim_end_matches('|').rsplit_once(" | ").unwrap().1.trim()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commits_of_two_images_are_compared_and_a_row_that_nobody_asked_for_keeps_its_link() {
    let mut registry = Registry::start().await;
    let host = registry.host.clone();
    registry.push("web", "1.0.0", &built("git@git.example:shop/web.git", OLD)).await;
    registry.push("web", "1.1.0", &built(SOURCE, NEW)).await;
    registry.push("api", "1.0.0", &Image::unique()).await;
    registry.push("api", "1.1.0", &built(SOURCE, NEW)).await;
    let bench = bench("origins", &host).await;
    bench.ask(vec![wish(&host, "web", "1.1.0")]).await;
    assert_eq!(cell(&bench.body().await, "web"), compared());

    bench.ask(vec![wish(&host, "api", "1.1.0")]).await;
    let body = bench.body().await;
    assert_eq!((cell(&body, "web"), cell(&body, "api")), (&*compared(), &*format!("[source]({SOURCE})")));

    // A registry that is gone takes no link away, and stops no newer image.
    registry.stop().await;
    bench.ask(vec![wish(&host, "web", "1.1.0"), wish(&host, "api", "1.2.0")]).await;
    let body = bench.body().await;
    assert!(body.contains("api:1.2.0"), "{body}");
    assert_eq!((cell(&body, "web"), cell(&body, "api")), (&*compared(), ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_labels_do_nothing_and_only_known_links_are_taken_from_a_body() {
    let registry = Registry::start().await;
    let host = &registry.host;
    registry.push("web", "1.0.0", &built("https://git.example/o/r](x)|@alice<img/src=x>", OLD)).await;
    registry.push("web", "1.1.0", &built("https://git.example/o/r](x)|@alice<img/src=x>", NEW)).await;
    registry.push("api", "1.0.0", &built("javascript:alert(1)", OLD)).await;
    registry.push("api", "1.1.0", &built("javascript:alert(1)", NEW)).await;
    let bench = bench("hostile-origins", host).await;
    bench.ask(vec![wish(host, "web", "1.1.0"), wish(host, "api", "1.1.0")]).await;
    let body = bench.body().await;
    assert!(!body.contains("alice<") && !body.contains("@alice") && !body.contains("javascript"), "{body}");
    assert_eq!(cell(&body, "api"), "");
    let link = cell(&body, "web");
    assert!(link.contains("/o/r%5D%28x%29%7C%40alice%3Cimg/src=x%3E/compare/"), "{link}");

    // As the forge shows it: nobody is mentioned, and there is one link to one place.
    let shown = bench.repo.gitea.rendered(&body).await;
    assert!(!shown.contains("<img") && !shown.contains("class=\"mention\""), "{shown}");
    assert_eq!(shown.matches("href=\"https://git.example/o/r%5D%28x%29%7C%40alice").count(), 1, "{shown}");

    let edited = json!({"body": body.replace(link, "[source](https://evil.example/o/r) @alice")});
    let number = bench.repo.pulls().await[0]["number"].clone();
    bench.repo.api(reqwest::Method::PATCH, &format!("/pulls/{number}"), &edited).await;
    bench.ask(vec![wish(host, "api", "1.2.0")]).await;
    assert_eq!(cell(&bench.body().await, "web"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_does_not_answer_delays_a_request_by_seconds_only() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = silent.local_addr().unwrap().to_string();
    let connections = Arc::new(Mutex::new(Vec::new()));
    let held = connections.clone();
    tokio::spawn(async move {
        while let Ok((connection, _)) = silent.accept().await {
            held.lock().unwrap().push(connection);
        }
    });
    // The client of the registry itself would wait for an hour.
    let hour = Duration::from_hours(1);
    let patient = Timeouts { connect: hour, read: hour, request: hour };
    let bench = bench_with("silent-origins", &host, patient).await;
    let ask = async || bench.ask(vec![wish(&host, "web", "1.1.0")]).await;
    tokio::time::timeout(Duration::from_mins(5), ask()).await.expect("not after an hour");
    assert_eq!(cell(&bench.body().await, "web"), "");
    // What is there is not asked about again.
    let asked = connections.lock().unwrap().len();
    assert!(asked > 0);
    ask().await;
    assert_eq!(connections.lock().unwrap().len(), asked);
}

fn config(folder: &Path, namespace: &str, repo: &Repo, bot: &User) -> std::path::PathBuf {
    let (path, token) = (folder.join("config.yaml"), folder.join("token"));
    std::fs::write(&token, &bot.token).unwrap();
    let config = json!({"git": [{
        "name": "prod", "url": repo.url(), "branch": "main", "namespaces": [namespace], "batchWindow": "0s",
        "credentials": {"username": bot.name, "tokenFile": token}, "forge": "gitea",
    }]});
    std::fs::write(&path, config.to_string()).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_reads_the_labels_with_the_pull_secret_of_the_workload() {
    let (plane, folder) = (shared().await, tempfile::tempdir().unwrap());
    let registry = Registry::start_with(Options { access: Access::Password, ..Options::default() }).await;
    let namespace = plane.namespace("origins").await;
    let image = |tag: &str| format!("{}/team/web:{tag}", registry.host);
    registry.push("team/web", "1.0.0", &built(SOURCE, OLD)).await;
    registry.push("team/web", "1.1.0", &built(SOURCE, NEW)).await;
    let manifest = commits::manifest(&namespace, "web", &image("1.0.0"));
    let repo = gitea::shared().await.repository("origins-op", &[("web.yaml", manifest.as_bytes())]).await;
    let config = config(folder.path(), &namespace.name, &repo, &bot(&repo).await);
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson", "metadata": {"name": "pull"},
        "stringData": {".dockerconfigjson": docker_config(&registry.host, USER, PASSWORD)},
    });
    namespace.create(&secret.to_string()).await;
    let annotations = json!({"supercargo.dev/policy": "minor", "supercargo.dev/write": "pr:prod"});
    let mut web = deployment("web", &image("1.0.0"), annotations);
    web["spec"]["template"]["spec"]["imagePullSecrets"] = json!([{"name": "pull"}]);
    namespace.create(&web.to_string()).await;
    let cache = folder.path().join("cache");
    let args = ["--config", config.to_str().unwrap(), "--git-cache", cache.to_str().unwrap()];
    let operator = Operator::start(plane, &Setup::in_namespace(&namespace, "1s").with(&args)).await;
    let body = eventually("a request", async || body(&repo).await).await;
    assert_eq!(cell(&body, "web"), compared());

    // It is told once: looks go on without it.
    let (blobs, looks) = (operator.metric("supercargo_registry_requests_total", "blob").await, async || {
        operator.metric("supercargo_registry_requests_total", "tags").await
    });
    let before = looks().await;
    eventually("two more looks", async || (looks().await >= before + 2.0).then_some(())).await;
    assert_eq!(operator.metric("supercargo_registry_requests_total", "blob").await, blobs);
    assert_eq!(blobs, 2.0);
}
