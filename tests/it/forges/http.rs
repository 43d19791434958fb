//! What forges do to a client beside answering: limit it, lead it elsewhere, say too much or nonsense.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future::BoxFuture;
use secrecy::SecretString;
use serde_json::{Value, json};
use supercargo::{
    git::forges::{self, Forge, ForgeError, ForgeSettings, Token},
    net::{Timeouts, client},
};

use super::{Reply, Server, TOKEN, clock, connect, failed, held, new, reply, settings};
use crate::support::clock::SimClock;

/// A client with a clock that the test moves.
fn with_clock(settings: &ForgeSettings) -> (Arc<dyn Forge>, SimClock) {
    let clock = clock();
    (forges::connect(settings.clone(), held(TOKEN), Arc::new(clock.clone())), clock)
}

fn limit(status: u16, headers: &[(&'static str, &str)], words: &str) -> Reply {
    let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    (status, headers, json!({"message": words}))
}

// 1772366460 is a minute after the clock's begin.
#[rstest::rstest]
#[case::retry_after("github", 403, &[("retry-after", "90")], "secondary", 90)]
#[case::primary("github", 403, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1772366460")], "API rate limit exceeded", 60)]
#[case::primary_429("github", 429, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1772366460")], "", 60)]
#[case::words_alone("github", 403, &[("x-ratelimit-remaining", "50")], "You have exceeded a secondary rate limit. Please wait", 60)]
#[case::gitlab("gitlab", 429, &[("ratelimit-remaining", "0"), ("ratelimit-reset", "1772366460")], "Retry later", 60)]
#[case::gitlab_both("gitlab", 429, &[("ratelimit-reset", "1772366460"), ("retry-after", "30")], "Retry later", 30)]
#[case::gitea("gitea", 429, &[], "", 60)]
#[case::date("gitea", 503, &[("retry-after", "Sun, 01 Mar 2026 12:02:00 GMT")], "", 120)]
#[case::for_ever("gitlab", 429, &[("retry-after", "99999999")], "", 900)]
#[tokio::test]
async fn a_forge_that_asks_for_fewer_requests_is_left_alone(
    #[case] kind: &str,
    #[case] status: u16,
    #[case] headers: &'static [(&'static str, &'static str)],
    #[case] words: &'static str,
    #[case] seconds: u64,
) {
    let mut first = true;
    let server = Server::start(move |_| match std::mem::take(&mut first) {
        true => limit(status, headers, words),
        false => reply(404, json!({"message": "gone"})),
    })
    .await;
    let (forge, clock) = with_clock(&settings(kind, &format!("{}/o/r.git", server.url), None));
    let limited = |after: Duration| ForgeError::Limited { host: server.url["http://".len()..].to_owned(), after };
    assert_eq!(failed(forge.find("b").await, "fewer requests"), limited(Duration::from_secs(seconds)));
    clock.advance(Duration::from_millis(seconds * 1000 - 1)).await;
    assert_eq!(failed(forge.close(1).await, "another 1 s"), limited(Duration::from_millis(1)));
    assert_eq!(failed(forge.open(&new("b")).await, "fewer requests"), limited(Duration::from_millis(1)));
    assert_eq!(server.came().len(), 1);
    clock.advance(Duration::from_millis(1)).await;
    assert!(matches!(failed(forge.close(1).await, "gone"), ForgeError::NotFound(_)));
}

#[tokio::test]
async fn one_that_does_not_say_for_how_long_is_left_alone_longer_each_time() {
    let server = Server::start(|_| limit(429, &[], "")).await;
    let (forge, clock) = with_clock(&settings("github", &format!("{}/o/r.git", server.url), None));
    let mut waits = Vec::new();
    for _ in 0..8 {
        let ForgeError::Limited { after, .. } = failed(forge.find("b").await, "") else { panic!("no limit") };
        waits.push(after.as_secs());
        clock.advance(after).await;
    }
    assert_eq!(waits, [60, 120, 240, 480, 900, 900, 900, 900]);
    assert_eq!(server.came().len(), 8);
}

#[tokio::test]
async fn a_403_without_a_limit_is_about_rights() {
    let server =
        Server::start(|_| limit(403, &[("x-ratelimit-remaining", "9")], "Resource not accessible by integration"))
            .await;
    let forge = connect(&settings("github", &format!("{}/o/r.git", server.url), None), held(TOKEN));
    assert!(matches!(failed(forge.find("b").await, "not accessible by integration"), ForgeError::Auth(_)));
}

/// Stands for the guard in `net/way.rs` (SECURITY.md): credentials end where the origin is left.
#[rstest::rstest]
#[tokio::test]
async fn a_token_goes_to_no_other_origin_whatever_it_asks_for(
    #[values("github", "gitlab", "gitea")] kind: &str,
    #[values(301, 302, 303, 307, 308)] status: u16,
    #[values("127.0.0.1", "localhost")] name: &str,
) {
    let lure = vec![("www-authenticate", "Basic realm=x".to_owned())];
    let thief = Server::start(move |_| (401, lure.clone(), Value::Null)).await;
    let to = format!("http://{name}:{}", thief.url.rsplit(':').next().unwrap());
    let location = format!("{to}/repositories/1/pulls");
    let server = Server::start(move |_| (status, vec![("location", location.clone())], Value::Null)).await;
    let forge = connect(&settings(kind, &format!("{}/o/r.git", server.url), None), held(TOKEN));
    let error = failed(forge.find("b").await, &to);
    assert!(matches!(&error, ForgeError::Refused(words) if words.contains(&server.url)), "{error}");
    failed(forge.open(&new("b")).await, &status.to_string());
    failed(forge.close(1).await, &status.to_string());
    assert_eq!(thief.lines(), Vec::<String>::new());
}

#[tokio::test]
async fn a_repository_that_was_renamed_is_followed() {
    let server = Server::start(|came| match &*came.path {
        "/api/v3/repositories/1/pulls" => reply(200, json!([])),
        _ => (301, vec![("location", "/api/v3/repositories/1/pulls?state=all".to_owned())], Value::Null),
    })
    .await;
    let forge = connect(&settings("github", &format!("{}/o/r.git", server.url), None), held(TOKEN));
    assert_eq!(forge.find("b").await.unwrap(), None);
    // What changes something is not sent again as something else.
    assert!(matches!(failed(forge.close(1).await, "301"), ForgeError::Refused(_)));
    let circle = Server::start(|came| (307, vec![("location", came.path.clone())], Value::Null)).await;
    let forge = connect(&settings("github", &format!("{}/o/r.git", circle.url), None), held(TOKEN));
    failed(forge.close(1).await, "in a circle");
    assert_eq!(circle.came().len(), 4);
}

#[rstest::rstest]
#[case::not_json(200, json!("<html>"), "not as documented")]
#[case::not_as_documented(200, json!([{"number": "x"}]), "not as documented")]
#[case::too_much(200, json!("x".repeat(9 << 20)), "more than 8388608 bytes")]
#[case::down(502, json!("<html>secret page</html>"), "502 Bad Gateway")]
#[case::control(500, json!({"message": "a\u{1b}[31m"}), "a\\u{1b}[31m")]
#[tokio::test]
async fn nonsense_is_said_and_passes(#[case] status: u16, #[case] body: Value, #[case] says: &str) {
    let server = Server::start(move |_| reply(status, body.clone())).await;
    let forge = connect(&settings("gitlab", &format!("{}/o/r.git", server.url), None), held(TOKEN));
    let error = failed(forge.find("b").await, says);
    assert!(matches!(error, ForgeError::Unavailable(_)), "{error:?}");
    assert!(!error.to_string().contains("secret page"), "{error}");
}

#[tokio::test]
async fn nobody_at_home_is_unavailable() {
    // Bound, so that nobody else listens there either.
    let bound = tokio::net::TcpSocket::new_v4().unwrap();
    bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}/o/r.git", bound.local_addr().unwrap());
    let forge = connect(&settings("gitea", &url, None), held(TOKEN));
    assert!(matches!(failed(forge.find("b").await, "cannot be connected to"), ForgeError::Unavailable(_)));
}

/// A new token after each that was refused.
struct Rotating(AtomicUsize);

impl Token for Rotating {
    fn token(&self) -> BoxFuture<'_, Result<SecretString, ForgeError>> {
        let token = format!("token-{}", self.0.load(Ordering::SeqCst));
        Box::pin(async { Ok(SecretString::from(token)) })
    }

    fn forget(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_token_that_was_replaced_is_tried_once_more() {
    let server = Server::start(|came| match came.header("authorization") {
        "token token-1" => reply(201, json!({})),
        _ => reply(401, json!({"message": "bad"})),
    })
    .await;
    let settings = settings("gitea", &format!("{}/o/r.git", server.url), None);
    let forge = connect(&settings, Arc::new(Rotating(AtomicUsize::new(0))));
    forge.close(1).await.unwrap();
    let forge = connect(&settings, Arc::new(Rotating(AtomicUsize::new(1))));
    forge.close(1).await.unwrap();
    let forge = connect(&settings, Arc::new(Rotating(AtomicUsize::new(2))));
    failed(forge.close(1).await, "bad");
    assert_eq!(server.came().len(), 2 + 1 + 2);
}

#[tokio::test]
async fn a_proxy_is_used_and_silence_ends() {
    let proxy = Server::start(|came| reply(200, json!([came.line()]))).await;
    let mut through = settings("github", "https://ghes.invalid/o/r.git", Some("http://ghes.invalid/api/v3"));
    through.client = client(None, Some(&proxy.url), Timeouts::default()).unwrap();
    failed(connect(&through, held(TOKEN)).find("b").await, "not as documented");
    assert_eq!(proxy.came()[0].header("host"), "ghes.invalid");

    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut slow = settings("gitea", &format!("http://{}/o/r.git", silent.local_addr().unwrap()), None);
    let timeouts = Timeouts { request: Duration::from_millis(200), ..Timeouts::default() };
    slow.client = client(None, None, timeouts).unwrap();
    let error = failed(connect(&slow, held(TOKEN)).find("b").await, "did not answer in time");
    assert!(matches!(error, ForgeError::Unavailable(_)));
}
