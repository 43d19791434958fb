//! A server whose every answer is written by the test, and which keeps what it was asked.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{
        Response,
        header::{AUTHORIZATION, HOST},
    },
    serve::Listener,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::support::{keys, tls::TlsListener};

/// A request as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// `GET /v2/web/tags/list?n=1`
    pub(crate) line: String,
    /// The value of `Host`.
    pub(crate) host: String,
    /// The value of `Authorization`, or nothing.
    pub(crate) authorization: String,
}

/// Runs on the runtime of its test.
#[derive(Debug, Clone)]
pub(crate) struct FaultServer {
    /// `127.0.0.1:PORT`
    pub(crate) host: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    bodies: Arc<Mutex<Vec<String>>>,
}

impl FaultServer {
    /// Answers each request by `answer`, which is told the request and how many came before it.
    pub(crate) async fn start(answer: impl Fn(&Seen, usize) -> Response<Body> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::serve(listener.local_addr().unwrap(), listener, answer)
    }

    /// The same over TLS, and the certificate of its CA.
    pub(crate) async fn start_tls(
        answer: impl Fn(&Seen, usize) -> Response<Body> + Send + Sync + 'static,
    ) -> (Self, Vec<u8>) {
        let (ca, certified) = keys::signed();
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self::serve(tcp.local_addr().unwrap(), TlsListener::new(tcp, &certified), answer);
        (server, ca.into_bytes())
    }

    fn serve<L: Listener<Addr = SocketAddr>>(
        address: SocketAddr,
        listener: L,
        answer: impl Fn(&Seen, usize) -> Response<Body> + Send + Sync + 'static,
    ) -> Self {
        let host = address.to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let server = Self { host, seen: seen.clone(), bodies: bodies.clone() };
        let answer = Arc::new(answer);
        let app = Router::new().fallback(move |request: Request| {
            let text = |name| request.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
            let line = format!("{} {}", request.method(), request.uri());
            let one = Seen { line, host: text(HOST), authorization: text(AUTHORIZATION) };
            let before = {
                let mut seen = seen.lock().unwrap();
                seen.push(one.clone());
                seen.len() - 1
            };
            let answer = answer(&one, before);
            let bodies = bodies.clone();
            async move {
                let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
                bodies.lock().unwrap().push(String::from_utf8_lossy(&body).into_owned());
                answer
            }
        });
        tokio::spawn(async move { axum::serve(listener, app).await });
        server
    }

    /// What came so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The bodies that came so far.
    pub(crate) fn bodies(&self) -> Vec<String> {
        self.bodies.lock().unwrap().clone()
    }

    /// The lines of what came so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.line).collect()
    }
}

/// What a server does after it has sent its bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Then {
    /// Keeps the connection open and says nothing more.
    Silence,
    /// Sends a byte every 20 ms for ever.
    Drip,
    /// Resets the connection.
    Reset,
}

/// A server that answers each connection with these bytes, whatever it is asked. Returns `127.0.0.1:PORT`.
pub(crate) async fn raw_server(bytes: &'static [u8], then: Then) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                // Of a request that is to be reset one byte is read: the unread rest makes the close a reset.
                let wanted = if matches!(then, Then::Reset) { 1 } else { 4096 };
                let _ = stream.read(&mut vec![0; wanted]).await.unwrap();
                stream.write_all(bytes).await.unwrap();
                match then {
                    Then::Silence => std::future::pending().await,
                    Then::Drip => {
                        // The pace is the fault: each byte comes well within the time for reading, and the end never.
                        while stream.write_all(b" ").await.is_ok() {
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                    }
                    Then::Reset => drop(stream),
                }
            });
        }
    });
    host
}

/// An answer with these headers and this body.
pub(crate) fn answer(status: u16, headers: &[(&str, &str)], body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(body.into()).unwrap()
}

/// A page of a tag list, with a `Link` if one is given.
pub(crate) fn page(tags: &[&str], link: Option<&str>) -> Response<Body> {
    let body = serde_json::json!({"name": "web", "tags": tags}).to_string();
    let headers: Vec<(&str, &str)> = link.iter().map(|link| ("link", *link)).collect();
    answer(200, &headers, body)
}
