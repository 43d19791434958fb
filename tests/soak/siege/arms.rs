//! What stands in the tenants' namespaces, and the servers behind it.

use axum::{Router, body::Body, extract::Path, http::Response};
use futures::stream;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::{super::support, Attack};
use support::{
    attacks,
    commits::target,
    control_plane::Namespace,
    front::Front,
    git_server::{BareRepo, GitServer},
    gitea,
    objects::{deployment, policy},
    registry::Registry,
};

/// What is kept until the end, and how the operator is started.
#[derive(Debug)]
pub(super) struct Arms {
    /// Arguments of `run`.
    pub(super) flags: Vec<String>,
    /// [`support::operator::Setup::through`]
    pub(super) through: Vec<String>,
    /// The repository that is large.
    pub(super) large: Option<BareRepo>,
    _folder: TempDir,
    _git: GitServer,
    _silent: Front,
}

impl Arms {
    /// Lays down what these need. `host` is the registry, as images name it.
    pub(super) async fn lay(tenants: &[Namespace<'_>; 2], registry: &Registry, host: &str, attacks: &[Attack]) -> Self {
        let (folder, git) = (tempfile::tempdir().unwrap(), GitServer::start().await);
        let (silent, tags) = (attacks::git::silent_server().await, tags_host().await);
        let (mut targets, mut through, mut large) = (Vec::new(), Vec::new(), None);
        for attack in attacks {
            let tenant = &tenants[attack.tenant()];
            let many = |name: &str| format!("{tags}/{name}:1.0.0");
            let team = format!("{host}/team:1.0.0");
            let at = |name: &str, url: &str, user: (&str, &str), more: &str| {
                target(folder.path(), name, &tenant.name, url, user, more)
            };
            let objects: Vec<Value> = match attack {
                Attack::SlowHosts => attacks::slow_hosts(1000).await,
                Attack::RefusingHosts => attacks::refusing_hosts(5000),
                Attack::SlowNames => {
                    through.extend(attacks::names::through(folder.path()));
                    attacks::names::slow_names(1500)
                }
                Attack::LongTokens => {
                    let (mut longest, _) = attacks::long_tokens(500, 16 << 10).await;
                    longest.extend(attacks::long_tokens(500, 1 << 20).await.0);
                    longest
                }
                Attack::Patterns => {
                    let image = format!("{tags}/n200000:1-x");
                    (0..40).map(|n| attacks::patterns(n, &image)).collect()
                }
                Attack::Schedules => (0..2800).map(|n| attacks::cron_line(n, &many("n10"))).collect(),
                Attack::MillionsOfTags => {
                    let images: Vec<String> = (0..8).map(|n| many(&format!("n1000000-{n}"))).collect();
                    attacks::hundreds("large-list", &images)
                }
                Attack::PullSecrets => vec![attacks::pull_secrets("secrets", 15_000, &many("n11"))],
                Attack::LongAnnotations => {
                    (0..100).map(|n| attacks::long_annotations(&format!("long-{n}"), &many("n13"))).collect()
                }
                Attack::Edits => vec![deployment("flip", &many("n12"), policy("patch"))],
                Attack::DueAtOnce => attacks::due_at_once(300, &format!("{host}/web:1.0.0")),
                Attack::YearOfRest => vec![attacks::greedy(host)],
                Attack::IdleConnections | Attack::Hooks => Vec::new(),
                Attack::SilentGit => {
                    registry.push_tags("team", ["1.0.0", "1.0.1"]).await;
                    let url = format!("http://{}/deploy.git", silent.host);
                    targets.push(at("silent", &url, ("bot", "geheim-4711"), ""));
                    attacks::git::written_to("silent", "silent", 20, &team)
                }
                Attack::LargeGit => {
                    registry.push_tags("team", ["1.0.0", "1.0.1"]).await;
                    let files = attacks::git::large(tenant, &team);
                    large = Some(git.create("large", &attacks::git::bytes(&files)));
                    targets.push(at("large", &git.url("large"), ("bot", "geheim-4711"), ""));
                    attacks::git::written_to("large", "large", 4, &team)
                }
                Attack::Groups => {
                    registry.push_tags("many", ["1.0.0", "1.1.0"]).await;
                    let (objects, files) = attacks::git::groups(tenant, "forge", 60, &format!("{host}/many:1.0.0"));
                    let gitea = gitea::shared().await;
                    let repo = gitea.repository("siege", &attacks::git::bytes(&files)).await;
                    let bot = gitea.bot().await;
                    repo.invite(&bot).await;
                    targets.push(at("forge", &repo.url(), (&bot.name, &bot.token), "  forge: gitea\n"));
                    objects
                }
                Attack::FewFiles => {
                    through.extend(attacks::with_files(256));
                    attacks::keeping_hosts(300).await.0
                }
            };
            attacks::create(tenant, objects).await;
        }
        let (config, cache) = (folder.path().join("config.yaml"), folder.path().join("cache"));
        let flags = match targets.is_empty() {
            true => Vec::new(),
            false => {
                std::fs::write(&config, format!("git:\n{}", targets.concat())).unwrap();
                ["--config", config.to_str().unwrap(), "--git-cache", cache.to_str().unwrap()].map(str::to_owned).into()
            }
        };
        Self { flags, through, large, _folder: folder, _git: git, _silent: silent }
    }
}

/// A registry whose repository `n1000-x` has 1,000 tags.
async fn tags_host() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let app = Router::new().route("/v2/{name}/tags/list", axum::routing::get(tags));
    tokio::spawn(async move { axum::serve(listener, app).await });
    host
}

async fn tags(Path(name): Path<String>) -> Response<Body> {
    let count = name.trim_start_matches('n').split('-').next();
    let count: usize = count.and_then(|count| count.parse().ok()).unwrap_or(1);
    let chunks = (0..count).step_by(10_000).map(move |start| {
        let tags: Vec<String> =
            (start..(start + 10_000).min(count)).map(|n| format!("\"1.{}.{}\"", n / 1000, n)).collect();
        let lead = if start == 0 { "{\"name\":\"n\",\"tags\":[" } else { "," };
        let end = if start + 10_000 >= count { "]}" } else { "" };
        Ok::<_, std::io::Error>(format!("{lead}{}{end}", tags.join(",")))
    });
    Response::builder()
        .header("content-type", "application/json")
        .body(Body::from_stream(stream::iter(chunks)))
        .unwrap()
}
