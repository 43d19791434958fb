//! A front door before a real registry or forge: passes requests on, keeps when each came, and hangs or says nonsense where the
//! test wants that.

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request,
    http::{Response, StatusCode},
};

use tokio::sync::watch;

use super::registry::Registry;

/// What becomes of a request.
#[derive(Debug)]
pub(crate) enum Way {
    /// What is behind answers.
    Pass,
    /// It answers once this is true.
    Hold(watch::Receiver<bool>),
    /// Nobody ever answers.
    Hang,
    /// This status and body.
    Say(u16, Vec<u8>),
    /// Not before so many seconds.
    Later(u32),
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Came {
    pub(crate) at: Instant,
    /// `GET /v2/web/tags/list?n=1000`
    pub(crate) line: String,
}

/// Runs on the runtime of its test.
#[derive(Debug)]
pub(crate) struct Front {
    /// `127.0.0.1:PORT`, as images write it.
    pub(crate) host: String,
    came: Arc<Mutex<Vec<Came>>>,
}

impl Front {
    /// Passes everything on.
    pub(crate) async fn start(registry: &Registry) -> Self {
        Self::start_with(registry, |_| Way::Pass).await
    }

    /// Does with each path as `way` says.
    pub(crate) async fn start_with(registry: &Registry, way: impl Fn(&str) -> Way + Send + Sync + 'static) -> Self {
        Self::before(&registry.host, move |line| way(line.split_once(' ').unwrap().1)).await
    }

    /// Before any server, whose `host:port` is given; does with each line ([`Came::line`]) as `way` says.
    pub(crate) async fn before(behind: &str, way: impl Fn(&str) -> Way + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let came = Arc::new(Mutex::new(Vec::new()));
        let front = Self { host, came: came.clone() };
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let (behind, way) = (behind.to_owned(), Arc::new(way));
        let app = Router::new().fallback(move |request: Request| {
            let path = request.uri().path_and_query().unwrap().to_string();
            let line = format!("{} {path}", request.method());
            let (way, http, url) = (way(&line), http.clone(), format!("http://{behind}{path}"));
            came.lock().unwrap().push(Came { at: now(), line });
            async move {
                match way {
                    Way::Pass => pass(&http, request, url).await,
                    Way::Hold(mut until) => {
                        until.wait_for(|go| *go).await.unwrap();
                        pass(&http, request, url).await
                    }
                    Way::Hang => std::future::pending().await,
                    Way::Later(seconds) => {
                        let later = Response::builder().status(StatusCode::TOO_MANY_REQUESTS);
                        later.header("retry-after", seconds).body(Body::empty()).unwrap()
                    }
                    Way::Say(status, body) => Response::builder().status(status).body(Body::from(body)).unwrap(),
                }
            }
        });
        tokio::spawn(async move { axum::serve(listener, app).await });
        front
    }

    /// What came so far.
    pub(crate) fn came(&self) -> Vec<Came> {
        self.came.lock().unwrap().clone()
    }

    /// How many requests for this repository came so far.
    pub(crate) fn count(&self, repository: &str) -> usize {
        let part = format!(" /v2/{repository}/");
        self.came.lock().unwrap().iter().filter(|came| came.line.contains(&part)).count()
    }
}

#[expect(clippy::disallowed_methods, reason = "a server's own clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

async fn pass(http: &reqwest::Client, request: Request, url: String) -> Response<Body> {
    let mut headers = request.headers().clone();
    headers.remove("host");
    let (method, body) = (request.method().clone(), to_bytes(request.into_body(), 1 << 20).await.unwrap());
    let Ok(answer) = http.request(method, url).headers(headers).body(body).send().await else {
        return Response::builder().status(StatusCode::BAD_GATEWAY).body(Body::empty()).unwrap();
    };
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers().iter().filter(|(name, _)| *name != "transfer-encoding") {
        response = response.header(name, value);
    }
    response.body(Body::from(answer.bytes().await.unwrap_or_default())).unwrap()
}
