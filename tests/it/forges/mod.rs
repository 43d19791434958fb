//! Forges: the real Gitea, and local servers that speak the documented APIs of GitHub and GitLab.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request,
    http::{HeaderMap, Response},
};
use secrecy::SecretString;
use serde_json::Value;
use supercargo::{
    git::{
        Secret,
        forges::{self, AnyToken, Forge, ForgeError, ForgeSettings, NewRequest, named, place},
    },
    net::{Timeouts, client},
};
use url::{Url, form_urlencoded};

use crate::support::clock::SimClock;

mod gitea;
mod github;
mod github_app;
mod gitlab;
mod http;

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Came {
    pub(crate) method: String,
    /// Still encoded.
    path: String,
    query: HashMap<String, String>,
    headers: HeaderMap,
    pub(crate) body: Value,
}

impl Came {
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// Status, headers, body.
pub(crate) type Reply = (u16, Vec<(&'static str, String)>, Value);

pub(crate) fn reply(status: u16, body: Value) -> Reply {
    (status, Vec::new(), body)
}

/// Runs on the runtime of its test.
pub(crate) struct Server {
    /// `http://127.0.0.1:PORT`
    pub(crate) url: String,
    came: Arc<Mutex<Vec<Came>>>,
}

impl Server {
    pub(crate) async fn start(answer: impl FnMut(&Came) -> Reply + Send + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let came = Arc::new(Mutex::new(Vec::new()));
        let server = Self { url, came: came.clone() };
        let answer = Arc::new(Mutex::new(answer));
        let app = Router::new().fallback(move |request: Request| {
            let (came, answer) = (came.clone(), answer.clone());
            async move {
                let (parts, body) = request.into_parts();
                let body = to_bytes(body, 1 << 20).await.unwrap();
                let query = parts.uri.query().unwrap_or_default();
                let new = Came {
                    method: parts.method.to_string(),
                    path: parts.uri.path().to_owned(),
                    query: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
                    headers: parts.headers,
                    body: serde_json::from_slice(&body).unwrap_or_default(),
                };
                let (status, headers, body) = answer.lock().unwrap()(&new);
                came.lock().unwrap().push(new);
                let mut response = Response::builder().status(status).header("content-type", "application/json");
                for (name, value) in headers {
                    response = response.header(name, value);
                }
                response.body(Body::from(body.to_string())).unwrap()
            }
        });
        tokio::spawn(async move { axum::serve(listener, app).await });
        server
    }

    pub(crate) fn came(&self) -> Vec<Came> {
        self.came.lock().unwrap().clone()
    }

    fn lines(&self) -> Vec<String> {
        self.came().iter().map(Came::line).collect()
    }
}

/// A forge by its documentation, and what people do there.
pub(crate) trait Site: Default + Send + 'static {
    /// As the configuration names it.
    const KIND: &'static str;
    /// The repository that it has.
    const REPOSITORY: &'static str;
    /// The path of its API.
    const API: &'static str;
    fn answer(&mut self, came: &Came) -> Reply;
    /// In the order of their numbers.
    fn requests(&mut self) -> &mut Vec<Value>;
    fn merge(&mut self, number: usize);
    fn close(&mut self, number: usize);
}

/// Serves it.
pub(crate) async fn serve<S: Site>(site: S) -> (Arc<Mutex<S>>, Server) {
    let site = Arc::new(Mutex::new(site));
    let answering = site.clone();
    (site, Server::start(move |came| answering.lock().unwrap().answer(came)).await)
}

/// Serves it to a client that holds its token.
async fn start<S: Site>(site: S) -> (Arc<Mutex<S>>, Server, Arc<dyn Forge>) {
    let (site, server) = serve(site).await;
    let forge = connect(&settings(S::KIND, &format!("{}/{}.git", server.url, S::REPOSITORY), None), held(TOKEN));
    (site, server, forge)
}

pub(crate) use {github::Hub, github_app::app_key, gitlab::Lab};

pub(crate) const TOKEN: &str = "ghp_16C7e42F292c6912E7710c838347Ae178B4a";

pub(crate) fn held(token: &str) -> AnyToken {
    Arc::new(Secret::Value(SecretString::from(token.to_owned())))
}

fn clock() -> SimClock {
    SimClock::at("2026-03-01T12:00:00Z")
}

/// The settings of that repository, whose API may be elsewhere than its address says.
pub(crate) fn settings(kind: &str, git: &str, api: Option<&str>) -> ForgeSettings {
    let kind = named(kind).unwrap();
    let place = place(kind, git, api.map(|api| Url::parse(api).unwrap()).as_ref()).unwrap();
    // A forge under load takes its time.
    let patient = Duration::from_mins(5);
    let patient = Timeouts { connect: patient, read: patient, request: patient };
    let client = client(None, None, patient).unwrap();
    ForgeSettings { kind, place, base: "main".to_owned(), client }
}

pub(crate) fn connect(settings: &ForgeSettings, token: AnyToken) -> Arc<dyn Forge> {
    forges::connect(settings.clone(), token, Arc::new(clock()))
}

/// Opens more requests than a page holds; those of the prefix that are open are told, and no other.
async fn lists_what_is_open<S: Site>() {
    let (site, server, forge) = start(S::default()).await;
    for n in 0..35 {
        forge.open(&new(&format!("supercargo/prod/group/{n}"))).await.unwrap();
    }
    forge.open(&new("supercargo/prod/updates")).await.unwrap();
    site.lock().unwrap().close(3);
    let open = forge.open_from("supercargo/prod/group/").await.unwrap();
    let mut numbers: Vec<u64> = open.iter().map(|request| request.number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=35).filter(|number| *number != 3).collect::<Vec<_>>());
    assert!(open.iter().all(|request| request.body == body("1.1.0")));
    let pages: Vec<_> = server.came().into_iter().filter_map(|came| came.query.get("page").cloned()).collect();
    assert_eq!(pages, ["1", "2", "3"]);
}

#[tokio::test]
async fn the_open_requests_of_a_prefix_are_listed_over_all_pages() {
    lists_what_is_open::<Hub>().await;
    lists_what_is_open::<Lab>().await;
}

fn new(head: &str) -> NewRequest {
    NewRequest {
        title: "Update web to 1.1.0".to_owned(),
        body: body("1.1.0"),
        head: head.to_owned(),
        ..Default::default()
    }
}

fn body(version: &str) -> String {
    format!("| workload | to |\n|---|---|\n| `web` | {version} |\n")
}

/// As [`ForgeError`], with what its text holds.
#[track_caller]
fn failed<T: std::fmt::Debug>(result: Result<T, ForgeError>, says: &str) -> ForgeError {
    let error = result.expect_err("an error");
    let text = format!("{error} {error:?}");
    assert!(text.contains(says), "{text}");
    assert!(!text.contains(TOKEN), "{text}");
    error
}
