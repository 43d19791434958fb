//! A server whose every answer is written by the test, and which keeps what it was asked.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{Response, header::AUTHORIZATION},
};

/// A request as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// `GET /v2/web/tags/list?n=1`
    pub(super) line: String,
    /// The value of `Authorization`, or nothing.
    pub(super) authorization: String,
}

/// Runs on the runtime of its test.
#[derive(Debug, Clone)]
pub(super) struct FaultServer {
    /// `127.0.0.1:PORT`
    pub(super) host: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl FaultServer {
    /// Answers each request by `answer`, which is told the request and how many came before it.
    pub(super) async fn start(answer: impl Fn(&Seen, usize) -> Response<Body> + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let server = Self { host, seen: seen.clone() };
        let answer = Arc::new(answer);
        let app = Router::new().fallback(move |request: Request| {
            let text = |name| request.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
            let line = format!("{} {}", request.method(), request.uri());
            let one = Seen { line, authorization: text(AUTHORIZATION) };
            let before = {
                let mut seen = seen.lock().unwrap();
                seen.push(one.clone());
                seen.len() - 1
            };
            let answer = answer(&one, before);
            async move { answer }
        });
        tokio::spawn(async move { axum::serve(listener, app).await });
        server
    }

    /// What came so far.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The lines of what came so far.
    pub(super) fn lines(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.line).collect()
    }
}

/// An answer with these headers and this body.
pub(super) fn answer(status: u16, headers: &[(&str, &str)], body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(body.into()).unwrap()
}

/// A page of a tag list, with a `Link` if one is given.
pub(super) fn page(tags: &[&str], link: Option<&str>) -> Response<Body> {
    let body = serde_json::json!({"name": "web", "tags": tags}).to_string();
    let headers: Vec<(&str, &str)> = link.iter().map(|link| ("link", *link)).collect();
    answer(200, &headers, body)
}
