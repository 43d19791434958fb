//! What real registries do not do to us in a test: wait, refuse, lead astray, break off.

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use futures::StreamExt as _;
use proptest::prelude::*;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use supercargo::{
    app,
    config::FileArgs,
    net::Timeouts,
    ports::{Registry as _, RegistryErrorKind},
    registry::{HostSettings, RegistrySettings},
};

use super::{
    Bench, anonymous, failed,
    fault_server::{FaultServer, Then, answer, page, raw_server},
    repository, tag, with_secrets,
};
use crate::support::registry::{OCI_MANIFEST, digest_of, docker_config};

fn source(server: &FaultServer) -> supercargo::domain::hint::Source {
    anonymous(repository(&format!("{}/web", server.host)))
}

/// `in_cluster`, with these servers named in the configuration as insecure.
fn cluster(named: &[&FaultServer]) -> RegistrySettings {
    let host = |server: &&FaultServer| HostSettings { host: server.host.clone(), insecure: true, ..Default::default() };
    RegistrySettings { in_cluster: true, hosts: named.iter().map(host).collect(), ..RegistrySettings::default() }
}

#[rstest::rstest]
#[case::seconds(429, Some("120"), 120)]
#[case::date(429, Some("Sun, 01 Mar 2026 12:02:00 GMT"), 120)]
#[case::absent(429, None, 5)]
#[case::unreadable(429, Some("soon"), 5)]
#[case::past(429, Some("Sun, 01 Mar 2020 12:02:00 GMT"), 1)]
#[case::for_ever(429, Some("99999999999"), 900)]
#[case::unavailable(503, Some("7"), 7)]
#[tokio::test]
async fn a_repository_for_which_a_host_asks_to_wait_is_left_alone_until_then(
    #[case] status: u16,
    #[case] header: Option<&'static str>,
    #[case] seconds: u64,
) {
    let server = FaultServer::start(move |_, before| {
        let headers: Vec<_> = header.iter().map(|value| ("retry-after", *value)).collect();
        if before == 0 { answer(status, &headers, "slow down") } else { page(&["1"], None) }
    })
    .await;
    let other = FaultServer::start(|_, _| page(&["2"], None)).await;
    let bench = Bench::new(RegistrySettings::default());
    let held = |wait| if status == 503 { RegistryErrorKind::Away(wait) } else { RegistryErrorKind::Limited(wait) };
    let (says, wait) = (if status == 503 { "is unavailable" } else { "fewer requests" }, Duration::from_secs(seconds));
    assert_eq!(failed(bench.client.tags(&source(&server)).await, says), held(wait));
    // Any other request for it is not even sent.
    assert_eq!(failed(bench.client.digest(&source(&server), &tag("1")).await, says), held(wait));
    assert_eq!(server.seen().len(), 1);
    assert_eq!(bench.client.tags(&source(&other)).await.unwrap(), [tag("2")]);
    bench.clock.advance(Duration::from_millis(seconds * 1000 - 1)).await;
    assert_eq!(failed(bench.client.tags(&source(&server)).await, "another 1 s"), held(Duration::from_millis(1)));
    assert_eq!(server.seen().len(), 1);
    bench.clock.advance(Duration::from_millis(1)).await;
    assert_eq!(bench.client.tags(&source(&server)).await.unwrap(), [tag("1")]);
}

#[tokio::test]
async fn one_repository_that_asks_to_wait_holds_up_no_other_and_three_hold_up_the_host() {
    let year = (365 * 24 * 3600).to_string();
    let server = FaultServer::start(move |seen, _| match seen.line.contains("/bad-") {
        true => answer(429, &[("retry-after", year.as_str())], ""),
        false => page(&["1"], None),
    })
    .await;
    let bench = Bench::new(RegistrySettings::default());
    let of = |name: &str| anonymous(repository(&format!("{}/{name}", server.host)));
    let tags = async |name: &str| bench.client.tags(&of(name)).await;
    let held = |seconds| RegistryErrorKind::Limited(Duration::from_secs(seconds));
    for name in ["bad-1", "bad-2"] {
        assert_eq!(failed(tags(name).await, "this is not asked of it for another 900 s"), held(900));
        assert_eq!(tags("good").await.unwrap(), [tag("1")]);
    }
    // Also not by asking again and again.
    failed(tags("bad-2").await, "fewer requests");
    assert_eq!(tags("good").await.unwrap(), [tag("1")]);
    bench.clock.advance(Duration::from_secs(600)).await;
    assert_eq!(failed(tags("bad-3").await, "fewer requests"), held(900));
    // As long as all three say.
    assert_eq!(failed(tags("good").await, "nothing is sent to it for another 300 s"), held(300));
    bench.clock.advance(Duration::from_secs(300)).await;
    assert_eq!(tags("good").await.unwrap(), [tag("1")]);
    let before = server.seen().len();
    assert_eq!(failed(tags("bad-1").await, "fewer requests"), held(900));
    assert_eq!(server.seen().len(), before + 1, "after fifteen minutes it is asked again");
}

#[tokio::test]
async fn who_leads_us_to_a_host_cannot_hold_it_up_for_others() {
    let good = FaultServer::start(|seen, _| match seen.line.contains("/busy") {
        true => answer(429, &[("retry-after", "600")], ""),
        false => page(&["1"], None),
    })
    .await;
    let busy = format!("http://{}/busy", good.host);
    let realm = format!("Bearer realm=\"{busy}\"");
    let hostile = FaultServer::start(move |seen, _| match seen.line.contains("/realm-") {
        true => answer(401, &[("www-authenticate", realm.as_str())], ""),
        false => answer(302, &[("location", busy.as_str())], ""),
    })
    .await;
    let bench = Bench::new(RegistrySettings::default());
    for name in ["a", "b", "c", "realm-a", "realm-b", "realm-c"] {
        let source = anonymous(repository(&format!("{}/{name}", hostile.host)));
        failed(bench.client.tags(&source).await, &good.host);
    }
    assert_eq!(bench.client.tags(&source(&good)).await.unwrap(), [tag("1")]);
}

#[tokio::test]
async fn the_token_server_of_a_registry_speaks_for_all_of_it() {
    let server = FaultServer::start(|seen, _| {
        let challenge = format!("Bearer realm=\"http://{}/token\"", seen.host);
        match seen.line.as_str() {
            line if line.contains("/token") => answer(429, &[("retry-after", "30")], ""),
            line if line.contains("/open/") => page(&["1"], None),
            _ => answer(401, &[("www-authenticate", challenge.as_str())], ""),
        }
    })
    .await;
    let bench = Bench::new(RegistrySettings::default());
    let limited = RegistryErrorKind::Limited(Duration::from_secs(30));
    for name in ["private", "open"] {
        let source = anonymous(repository(&format!("{}/{name}", server.host)));
        assert_eq!(failed(bench.client.tags(&source).await, "nothing is sent to it for another 30 s"), limited);
    }
}

#[tokio::test]
async fn a_token_server_that_asks_to_wait_is_left_alone_too() {
    let tokens = FaultServer::start(|_, _| answer(429, &[("retry-after", "30")], "")).await;
    let challenge = format!(r#"Bearer realm="http://{}/token""#, tokens.host);
    let server = FaultServer::start(move |_, _| answer(401, &[("www-authenticate", challenge.as_str())], "")).await;
    let bench = Bench::new(RegistrySettings::default());
    for _ in 0..3 {
        let kind = failed(bench.client.tags(&source(&server)).await, &tokens.host);
        assert_eq!(kind, RegistryErrorKind::Limited(Duration::from_secs(30)));
    }
    assert_eq!(tokens.seen().len(), 1);
}

#[rstest::rstest]
#[case::unauthorized(401, RegistryErrorKind::Auth)]
#[case::forbidden(403, RegistryErrorKind::Auth)]
#[case::not_found(404, RegistryErrorKind::NotFound)]
#[case::method(405, RegistryErrorKind::Unavailable)]
#[case::teapot(418, RegistryErrorKind::Unavailable)]
#[case::internal(500, RegistryErrorKind::Unavailable)]
#[case::gateway(502, RegistryErrorKind::Unavailable)]
#[case::unknown(799, RegistryErrorKind::Unavailable)]
#[tokio::test]
async fn a_status_becomes_a_kind_and_no_body_is_quoted(#[case] status: u16, #[case] kind: RegistryErrorKind) {
    let server = FaultServer::start(move |_, _| answer(status, &[], "<html>hunter2</html>")).await;
    let bench = Bench::new(RegistrySettings::default());
    for error in [
        bench.client.tags(&source(&server)).await.unwrap_err(),
        bench.client.digest(&source(&server), &tag("1")).await.unwrap_err(),
        bench.client.image(&source(&server), &tag("1")).await.unwrap_err(),
    ] {
        assert_eq!(error.kind, kind);
        assert!(error.message.contains(&status.to_string()), "{}", error.message);
        assert!(error.message.contains(&server.host) && !error.message.contains("hunter2"), "{}", error.message);
    }
}

/// Finds every name on this machine.
struct Here;

impl Resolve for Here {
    fn resolve(&self, _: Name) -> Resolving {
        let found = std::iter::once("127.0.0.1:0".parse().unwrap());
        Box::pin(std::future::ready(Ok(Box::new(found) as Addrs)))
    }
}

#[rstest::rstest]
#[case::silence(b"", Some(Then::Silence))]
#[case::half_a_head(b"HTTP/1.1 200 OK\r\nContent-", Some(Then::Silence))]
#[case::half_a_body(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", Some(Then::Silence))]
#[case::drip(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{", Some(Then::Drip))]
#[case::reset(b"", Some(Then::Reset))]
#[case::reset_in_the_body(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"tags\":[", Some(Then::Reset))]
#[case::no_http(b"SSH-2.0-OpenSSH\r\n", Some(Then::Silence))]
#[case::refused(b"", None)]
#[tokio::test]
async fn what_does_not_end_breaks_off_or_is_not_there_is_unavailable_in_the_same_words(
    #[case] bytes: &'static [u8],
    #[case] then: Option<Then>,
    #[values(false, true)] tls: bool,
) {
    let host = match then {
        Some(then) => raw_server(bytes, then).await,
        None => format!("127.0.0.1:{}", crate::support::free_port()),
    };
    let timeouts =
        Timeouts { read: Duration::from_millis(300), request: Duration::from_millis(800), ..Timeouts::default() };
    // On this machine plain HTTP is spoken, and TLS to a name that is found here.
    let name = if tls { host.replace("127.0.0.1", "registry.test") } else { host };
    let bench = Bench::resolving_by(Arc::new(Here), RegistrySettings { timeouts, ..RegistrySettings::default() });
    let error = bench.client.tags(&anonymous(repository(&format!("{name}/web")))).await.unwrap_err();
    assert_eq!(error.kind, RegistryErrorKind::Unavailable);
    let words = "HOST did not answer in time, or not to the end (asked for the tags of HOST/web)";
    assert_eq!(error.message.replace(&name, "HOST"), words);
}

#[tokio::test]
async fn private_addresses_are_connected_to_unless_the_configuration_denies_it() {
    let timeouts = Timeouts { connect: Duration::from_millis(100), ..Timeouts::default() };
    let named = HostSettings { host: "10.255.255.2:5000".into(), ..HostSettings::default() };
    for (private_addresses, host, kind) in [
        (true, "10.255.255.1:5000", RegistryErrorKind::Unavailable),
        (false, "10.255.255.1:5000", RegistryErrorKind::Refused),
        (false, "[fd12::1]:5000", RegistryErrorKind::Refused),
        (false, "10.255.255.2:5000", RegistryErrorKind::Unavailable),
    ] {
        let hosts = vec![named.clone()];
        let bench = Bench::new(RegistrySettings { hosts, private_addresses, timeouts, ..RegistrySettings::default() });
        let error = bench.client.tags(&anonymous(repository(&format!("{host}/web")))).await.unwrap_err();
        assert_eq!(error.kind, kind, "{host}: {}", error.message);
        assert_eq!(error.message.contains("`privateAddresses: deny`"), kind == RegistryErrorKind::Refused);
    }
}

#[rstest::rstest]
#[case::absent("", Ok(true))]
#[case::allow("privateAddresses: allow", Ok(true))]
#[case::deny("privateAddresses: deny", Ok(false))]
#[case::other("privateAddresses: no", Err("expected one of allow, deny"))]
fn the_configuration_says_whether_private_addresses_are_connected_to(
    #[case] text: &str,
    #[case] expected: Result<bool, &str>,
) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let files = FileArgs { config: Some(file.path().to_owned()), policies: None };
    match (app::read_files(&files), expected) {
        (Ok(config), Ok(expected)) => {
            let settings = app::registry_settings(&config, true).unwrap();
            assert_eq!(settings.private_addresses, expected);
            assert!((1..=2048).contains(&settings.connections), "{}", settings.connections);
        }
        (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{error}"),
        (read, expected) => panic!("{read:?}, not {expected:?}"),
    }
}

#[tokio::test]
async fn bodies_have_their_limits() {
    // Chunked, so that no length is announced.
    let endless = || {
        let chunk = axum::body::Bytes::from(vec![b' '; 64 * 1024]);
        Body::from_stream(futures::stream::repeat(chunk).map(Ok::<_, std::io::Error>))
    };
    let server = FaultServer::start(move |seen, _| match seen.line.as_str() {
        "GET /v2/web/manifests/config" => {
            let config = digest_of(b"?");
            answer(200, &[], format!(r#"{{"schemaVersion":2,"config":{{"digest":"{config}"}}}}"#))
        }
        "GET /v2/secret/tags/list" => answer(
            401,
            &[("www-authenticate", format!(r#"Bearer realm="http://{}/token""#, seen.host).as_str())],
            endless(),
        ),
        _ => answer(200, &[], endless()),
    })
    .await;
    let bench = Bench::new(RegistrySettings::default());
    let secret = anonymous(repository(&format!("{}/secret", server.host)));
    let web = source(&server);
    for (error, bytes) in [
        (bench.client.image(&web, &tag("manifest")).await.unwrap_err(), 4 << 20),
        (bench.client.digest(&web, &tag("manifest")).await.unwrap_err(), 4 << 20),
        (bench.client.image(&web, &tag("config")).await.unwrap_err(), 8 << 20),
        (bench.client.tags(&web).await.unwrap_err(), 64 << 20),
        (bench.client.tags(&secret).await.unwrap_err(), 64 << 10),
    ] {
        let is_token = error.message.contains("/secret");
        let kind = if is_token { RegistryErrorKind::Auth } else { RegistryErrorKind::Unavailable };
        assert_eq!(error.kind, kind);
        assert!(error.message.contains(&format!("sent more than {bytes} bytes")), "{}", error.message);
    }
}

#[rstest::rstest]
#[case::no_header(200, &[])]
#[case::no_digest(200, &[("docker-content-digest", "sha256:xyz")])]
#[case::no_head(405, &[])]
#[case::head_not_built(501, &[])]
#[tokio::test]
async fn a_digest_that_is_not_named_is_computed(
    #[case] status: u16,
    #[case] headers: &'static [(&'static str, &'static str)],
) {
    const MANIFEST: &str = r#"{"schemaVersion": 2, "config": {"digest": "x"}}"#;
    let server = FaultServer::start(move |seen, _| match seen.line.split_once(' ').unwrap().0 {
        "HEAD" => answer(status, headers, ""),
        _ => answer(200, &[("content-type", OCI_MANIFEST)], MANIFEST),
    })
    .await;
    let bench = Bench::new(RegistrySettings::default());
    let digest = bench.client.digest(&source(&server), &tag("1")).await.unwrap();
    assert_eq!(digest, digest_of(MANIFEST.as_bytes()));
    assert_eq!(server.lines(), ["HEAD /v2/web/manifests/1", "GET /v2/web/manifests/1"]);
}

#[rstest::rstest]
#[case::schema_1("application/vnd.docker.distribution.manifest.v1+prettyjws", "{}", "schema 1")]
#[case::schema_1_by_its_body("application/json", r#"{"schemaVersion": 1, "tag": "1"}"#, "schema 1")]
#[case::html("text/html", "<html>", "no manifest")]
#[case::array("application/json", "[]", "no manifest")]
#[case::empty("application/json", "", "no manifest")]
#[tokio::test]
async fn what_is_no_manifest_is_an_error(#[case] kind: &'static str, #[case] body: &'static str, #[case] words: &str) {
    let server = FaultServer::start(move |_, _| answer(200, &[("content-type", kind)], body)).await;
    let bench = Bench::new(RegistrySettings::default());
    let digest = bench.client.digest(&source(&server), &tag("1")).await;
    assert_eq!(failed(digest, words), RegistryErrorKind::Unavailable);
    let image = bench.client.image(&source(&server), &tag("1")).await;
    assert_eq!(failed(image, words), RegistryErrorKind::Unavailable);
}

#[tokio::test]
async fn bytes_that_are_not_what_their_digest_says_are_an_error() {
    let server = FaultServer::start(|seen, _| {
        let manifest = format!(r#"{{"schemaVersion": 2, "config": {{"digest": "{}"}}}}"#, digest_of(b"right"));
        let wrong = digest_of(b"something else");
        match seen.line.as_str() {
            "GET /v2/web/manifests/wrong" => answer(200, &[("docker-content-digest", wrong.as_str())], manifest),
            "GET /v2/web/manifests/right" => answer(200, &[], manifest),
            _ => answer(200, &[], r#"{"created": "2026-01-01T00:00:00Z"}"#),
        }
    })
    .await;
    let bench = Bench::new(RegistrySettings::default());
    for name in ["wrong", "right"] {
        let image = bench.client.image(&source(&server), &tag(name)).await;
        assert_eq!(failed(image, "not what its digest says"), RegistryErrorKind::Unavailable);
    }
}

#[tokio::test]
async fn a_token_without_any_lifetime_is_used_for_a_minute_at_most() {
    let server = FaultServer::start(|seen, _| match (seen.line.as_str(), seen.authorization.as_str()) {
        ("GET /token?scope=repository%3Aweb%3Apull", _) => answer(200, &[], r#"{"token": "opaque"}"#),
        (_, "Bearer opaque") => page(&["1"], None),
        _ => answer(401, &[("www-authenticate", format!(r#"Bearer realm="http://{}/token""#, seen.host).as_str())], ""),
    })
    .await;
    let bench = Bench::new(RegistrySettings::default());
    for (wait, tokens) in [(0, 1), (53, 1), (1, 2)] {
        bench.clock.advance(Duration::from_secs(wait)).await;
        bench.client.tags(&source(&server)).await.unwrap();
        assert_eq!(bench.requests("token"), tokens);
    }
}

#[tokio::test]
async fn a_token_that_is_taken_back_is_replaced_once() {
    let server = FaultServer::start(|seen, before| {
        let challenge = format!(r#"Bearer realm="http://{}/token""#, seen.host);
        if seen.line.starts_with("GET /token") {
            return answer(200, &[], format!(r#"{{"access_token": "t{before}", "expires_in": 300}}"#));
        }
        match seen.authorization.as_str() {
            "Bearer t1" if before == 2 => page(&["1"], None),
            "Bearer t4" => page(&["2"], None),
            _ => answer(401, &[("www-authenticate", challenge.as_str())], ""),
        }
    })
    .await;
    let bench = Bench::new(RegistrySettings::default());
    assert_eq!(bench.client.tags(&source(&server)).await.unwrap(), [tag("1")]);
    bench.clock.advance(Duration::from_secs(10)).await;
    assert_eq!(bench.client.tags(&source(&server)).await.unwrap(), [tag("2")]);
    let sent: Vec<String> = server.seen().into_iter().map(|seen| seen.authorization).collect();
    assert_eq!(sent, ["", "", "Bearer t1", "Bearer t1", "", "Bearer t4"]);
}

#[tokio::test]
async fn a_registry_that_takes_no_token_is_not_asked_in_a_circle() {
    let server = FaultServer::start(|seen, before| {
        // Another challenge each time.
        let challenge = format!(r#"Bearer realm="http://{}/token",service="{before}""#, seen.host);
        match seen.line.starts_with("GET /token") {
            true => answer(200, &[], r#"{"token": "t"}"#),
            false => answer(401, &[("www-authenticate", challenge.as_str())], ""),
        }
    })
    .await;
    let bench = Bench::new(RegistrySettings::default());
    assert_eq!(failed(bench.client.tags(&source(&server)).await, "no access"), RegistryErrorKind::Auth);
    // The question, then twice a token and the question with it.
    assert_eq!(server.seen().len(), 5);
}

#[rstest::rstest]
#[case(500, "<html>hunter2", "answered 500")]
#[case(404, "hunter2", "answered 404")]
#[case(200, "hunter2", "sent no token")]
#[case(200, r#"{"token": "a\nb"}"#, "sent no token")]
#[case(200, r#"{"token": "", "expires_in": 3}"#, "sent no token")]
#[tokio::test]
async fn a_token_server_that_fails_makes_the_look_fail(
    #[case] status: u16,
    #[case] body: &'static str,
    #[case] words: &str,
) {
    let server = FaultServer::start(move |seen, _| match seen.line.starts_with("GET /token") {
        true => answer(status, &[], body),
        false => {
            answer(401, &[("www-authenticate", format!(r#"Bearer realm="http://{}/token""#, seen.host).as_str())], "")
        }
    })
    .await;
    let bench = Bench::new(RegistrySettings::default());
    let error = bench.client.tags(&source(&server)).await.unwrap_err();
    assert_eq!(error.kind, RegistryErrorKind::Unavailable);
    assert!(error.message.contains(words) && !error.message.contains("hunter2"), "{}", error.message);
}

/// A registry with its token server, whose tokens are of that length.
async fn with_tokens_of(length: usize) -> FaultServer {
    FaultServer::start(move |seen, _| {
        let challenge = format!(r#"Bearer realm="http://{}/token""#, seen.host);
        match (seen.line.starts_with("GET /token"), seen.authorization.as_str()) {
            (true, _) => {
                answer(200, &[], serde_json::json!({"token": "t".repeat(length), "expires_in": 3600}).to_string())
            }
            (false, "") => answer(401, &[("www-authenticate", challenge.as_str())], ""),
            (false, _) => page(&["1"], None),
        }
    })
    .await
}

#[rstest::rstest]
#[case::longest(16 << 10, None)]
#[case::too_long((16 << 10) + 1, Some("a token of 16385 bytes"))]
#[case::far_too_long(1 << 20, Some("sent more than 65536 bytes"))]
#[tokio::test]
async fn a_token_is_used_up_to_16_kib(#[case] length: usize, #[case] words: Option<&str>) {
    let server = with_tokens_of(length).await;
    let bench = Bench::new(RegistrySettings::default());
    let tags = bench.client.tags(&source(&server)).await;
    match words {
        None => assert_eq!(tags.unwrap(), [tag("1")]),
        Some(words) => assert_eq!(failed(tags, words), RegistryErrorKind::Auth),
    }
}

#[tokio::test]
async fn tokens_are_kept_up_to_8_mib_the_last_used_ones() {
    let server = with_tokens_of(16 << 10).await;
    let bench = Bench::new(RegistrySettings::default());
    let look = async |n: usize| {
        let source = anonymous(repository(&format!("{}/web-{n}", server.host)));
        bench.client.tags(&source).await.unwrap();
        bench.requests("token")
    };
    for n in 0..700 {
        look(n).await;
        assert_eq!(look(0).await, n as u64 + 1, "what is in use stays");
    }
    assert_eq!(look(699).await, 700);
    assert_eq!(look(1).await, 701, "what was not used makes room");
}

#[tokio::test]
async fn a_registry_with_a_private_ca_is_trusted_where_the_configuration_says_so() {
    let (server, ca) = FaultServer::start_tls(|_, _| page(&["1"], None)).await;
    let named = |ca| vec![HostSettings { host: server.host.clone(), ca, ..HostSettings::default() }];
    let bench =
        Bench::new(RegistrySettings { hosts: named(Some(ca)), in_cluster: true, ..RegistrySettings::default() });
    assert_eq!(bench.client.tags(&source(&server)).await.unwrap(), [tag("1")]);
    let bench = Bench::new(RegistrySettings { hosts: named(None), in_cluster: true, ..RegistrySettings::default() });
    assert_eq!(failed(bench.client.tags(&source(&server)).await, "certificate"), RegistryErrorKind::Unavailable);
}

#[tokio::test]
async fn no_credential_of_an_https_registry_goes_to_a_realm_over_http() {
    let tokens = FaultServer::start(|_, _| answer(200, &[], r#"{"token": "t"}"#)).await;
    let realm = format!(r#"Bearer realm="http://{}/token""#, tokens.host);
    let (server, ca) =
        FaultServer::start_tls(move |_, _| answer(401, &[("www-authenticate", realm.as_str())], "")).await;
    let host = HostSettings { host: server.host.clone(), ca: Some(ca), ..HostSettings::default() };
    let bench = Bench::new(RegistrySettings { hosts: vec![host], in_cluster: true, ..RegistrySettings::default() });
    bench.secrets.set("a/pull", docker_config(&server.host, "u", "p"));
    let source = with_secrets(repository(&format!("{}/web", server.host)), "a", &["pull"]);
    assert_eq!(failed(bench.client.tags(&source).await, "plain HTTP"), RegistryErrorKind::Refused);
    assert_eq!(tokens.seen(), []);
}

/// Where a tenant's registry would like to lead us; `{HOST}` is a server that must not be reached.
const FORBIDDEN: &[&str] = &[
    "http://169.254.169.254/latest/meta-data",
    "https://169.254.169.254/latest/meta-data",
    "https://[fd00:ec2::254]/latest",
    "https://[::ffff:169.254.169.254]/latest",
    "https://2852039166/latest",
    "https://0xa9.254.43518/latest",
    "https://[fe80::1]/",
    "https://0.0.0.0:1/",
    "https://{HOST}/",
    "https://localhost:{PORT}/",
    "https://LOCALHOST:{PORT}/",
    "http://{HOST}/",
];

#[tokio::test]
async fn in_a_cluster_no_redirect_and_no_realm_leads_to_this_machine_or_to_metadata() {
    let victim = FaultServer::start(|_, _| page(&["1"], None)).await;
    let port = victim.host.split_once(':').unwrap().1.to_owned();
    for target in FORBIDDEN {
        let target = target.replace("{HOST}", &victim.host).replace("{PORT}", &port);
        let location = target.clone();
        let challenge = format!(r#"Bearer realm="{target}""#);
        let server = FaultServer::start(move |seen, _| match seen.line.contains("/redirect/") {
            true => answer(302, &[("location", location.as_str())], ""),
            false => answer(401, &[("www-authenticate", challenge.as_str())], ""),
        })
        .await;
        let bench = Bench::new(cluster(&[&server]));
        for path in ["redirect", "realm"] {
            let source = anonymous(repository(&format!("{}/{path}/web", server.host)));
            let error = bench.client.tags(&source).await.unwrap_err();
            assert_eq!(error.kind, RegistryErrorKind::Refused, "{path} to {target}: {}", error.message);
        }
    }
    assert_eq!(victim.seen(), []);
}

#[tokio::test]
async fn in_a_cluster_no_image_leads_to_this_machine_or_to_metadata() {
    let bench = Bench::new(RegistrySettings { in_cluster: true, ..RegistrySettings::default() });
    for host in ["localhost", "localhost:5000", "127.0.0.1:5000", "169.254.169.254", "[::1]:5000", "0.0.0.0:80"] {
        let source = anonymous(repository(&format!("{host}/web")));
        let kind = failed(bench.client.tags(&source).await, "registries");
        assert_eq!(kind, RegistryErrorKind::Refused, "{host}");
    }
}

#[tokio::test]
async fn in_a_cluster_a_realm_that_the_configuration_names_is_asked() {
    let tokens = FaultServer::start(|_, _| answer(200, &[], r#"{"token": "t"}"#)).await;
    let challenge = format!(r#"Bearer realm="http://{}/token""#, tokens.host);
    let server = FaultServer::start(move |seen, _| match seen.authorization.as_str() {
        "Bearer t" => page(&["1"], None),
        _ => answer(401, &[("www-authenticate", challenge.as_str())], ""),
    })
    .await;
    let bench = Bench::new(cluster(&[&server, &tokens]));
    assert_eq!(bench.client.tags(&source(&server)).await.unwrap(), [tag("1")]);
    // Its port counts too: what is named is a server, not a machine.
    let bench = Bench::new(cluster(&[&server]));
    assert_eq!(failed(bench.client.tags(&source(&server)).await, "registries"), RegistryErrorKind::Refused);
}

#[rstest::rstest]
#[case::in_a_ring("/v2/web/tags/list", "too many times", RegistryErrorKind::Unavailable)]
#[case::to_a_file("file:///etc/passwd", "only https and http are followed", RegistryErrorKind::Refused)]
#[case::to_nowhere("http://[", "nowhere", RegistryErrorKind::Unavailable)]
#[tokio::test]
async fn a_redirect_that_leads_nowhere_is_an_error(
    #[case] location: &'static str,
    #[case] words: &str,
    #[case] kind: RegistryErrorKind,
) {
    let server = FaultServer::start(move |_, _| answer(301, &[("location", location)], "")).await;
    let bench = Bench::new(RegistrySettings::default());
    assert_eq!(failed(bench.client.tags(&source(&server)).await, words), kind);
}

#[rstest::rstest]
#[tokio::test]
async fn the_answer_to_get_counts_where_head_is_refused(#[values(400, 401, 403, 404, 405, 501)] status: u16) {
    const MANIFEST: &str = r#"{"schemaVersion": 2}"#;
    let server = FaultServer::start(move |seen, _| match seen.line.starts_with("HEAD") {
        true => answer(status, &[], ""),
        false => answer(200, &[("content-type", OCI_MANIFEST)], MANIFEST),
    })
    .await;
    let bench = Bench::new(RegistrySettings::default());
    for _ in 0..3 {
        let digest = bench.client.digest(&source(&server), &tag("1")).await.unwrap();
        assert_eq!(digest, digest_of(MANIFEST.as_bytes()));
    }
    let heads = || server.lines().iter().filter(|line| line.starts_with("HEAD")).count();
    assert_eq!((heads(), server.lines().len()), (1, 4), "it is remembered");
    bench.clock.advance(Duration::from_secs(3600)).await;
    bench.client.digest(&source(&server), &tag("1")).await.unwrap();
    assert_eq!(heads(), 2, "for an hour");
}

#[rstest::rstest]
#[tokio::test]
async fn who_has_no_access_is_asked_by_head_alone_for_an_hour(#[values(401, 403)] status: u16) {
    let server = FaultServer::start(move |_, before| match before {
        0..6 => answer(status, &[], ""),
        _ => answer(200, &[("docker-content-digest", &format!("sha256:{}", "a".repeat(64)))], ""),
    })
    .await;
    let bench = Bench::new(RegistrySettings::default());
    for _ in 0..3 {
        let digest = bench.client.digest(&source(&server), &tag("1")).await;
        assert_eq!(failed(digest, "tried no credentials"), RegistryErrorKind::Auth);
    }
    let methods = || server.lines().iter().map(|line| line[..3].to_owned()).collect::<Vec<_>>().join(" ");
    assert_eq!(methods(), "HEA GET HEA HEA");
    bench.clock.advance(Duration::from_secs(3600)).await;
    failed(bench.client.digest(&source(&server), &tag("1")).await, "tried no credentials");
    assert_eq!(methods(), "HEA GET HEA HEA HEA GET");
    bench.client.digest(&source(&server), &tag("1")).await.unwrap();
}

#[rstest::rstest]
#[tokio::test]
async fn a_registry_that_hides_what_needs_a_login_is_asked_with_one(#[values(401, 403, 404)] status: u16) {
    let server = FaultServer::start(move |seen, _| match (seen.authorization.as_str(), seen.line.as_str()) {
        ("", "GET /v2/") => answer(401, &[("www-authenticate", "Basic")], ""),
        ("", _) => answer(status, &[], ""),
        _ => page(&["1"], None),
    })
    .await;
    let bench = Bench::new(RegistrySettings::default());
    bench.secrets.set("a/pull", docker_config(&server.host, "anna", "password"));
    let source = with_secrets(repository(&format!("{}/web", server.host)), "a", &["pull"]);
    for _ in 0..2 {
        assert_eq!(bench.client.tags(&source).await.unwrap(), [tag("1")]);
    }
    assert_eq!(server.lines().len(), 4, "the challenge is remembered: {:?}", server.lines());
    let error = bench.client.tags(&self::source(&server)).await.unwrap_err();
    assert!(error.message.contains("tried no credentials"), "{}", error.message);
    assert_eq!(server.lines().len(), 5, "without a credential `/v2/` is not asked");
}

#[rstest::rstest]
#[tokio::test]
async fn a_kept_token_that_is_refused_is_replaced_once(#[values(400, 401)] status: u16) {
    let server = FaultServer::start(move |seen, before| {
        let bearer = format!("Bearer realm=\"http://{}/token\"", seen.host);
        match (seen.line.contains("/token"), seen.authorization.as_str()) {
            (true, _) => answer(200, &[], format!(r#"{{"token": "t{before}", "expires_in": 3600}}"#)),
            (_, "") => answer(401, &[("www-authenticate", bearer.as_str())], ""),
            (_, "Bearer t1") if before > 2 => answer(status, &[], ""),
            _ => page(&["1"], None),
        }
    })
    .await;
    let bench = Bench::new(RegistrySettings::default());
    for _ in 0..3 {
        assert_eq!(bench.client.tags(&source(&server)).await.unwrap(), [tag("1")]);
        bench.clock.advance(Duration::from_secs(1)).await;
    }
    assert_eq!(bench.requests("token"), 2);
}

#[tokio::test]
async fn a_next_page_that_is_not_found_is_told_as_that() {
    let server = FaultServer::start(|_, before| match before {
        0 => page(&["1"], Some("</v2/web/tags/list?last=1>; rel=next")),
        _ => answer(404, &[], ""),
    })
    .await;
    let bench = Bench::new(RegistrySettings::default());
    assert_eq!(failed(bench.client.tags(&source(&server)).await, "page 2"), RegistryErrorKind::Unavailable);
}

#[test]
fn no_answer_panics() {
    type Given = (u16, Vec<(&'static str, String)>, String);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let given = std::sync::Arc::new(std::sync::Mutex::new(Given::default()));
    let shared = given.clone();
    let server = runtime.block_on(FaultServer::start(move |_, _| {
        let (status, headers, body) = shared.lock().unwrap().clone();
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        answer(status, &headers, body)
    }));
    let statuses = prop::sample::select(vec![200, 201, 204, 206, 301, 304, 307, 400, 401, 403, 404, 429, 500, 503]);
    let words = "(Bearer|Basic|realm|service|scope|rel|next|HOST|/v2/web/tags/list|http://HOST|sha256:|[<>;,=\":/ \\[\\]{}]|[ -~]{0,5}|Sun, 01 Mar 2026 12:00:00 GMT|[0-9]{1,30})";
    let headers = prop::collection::vec(
        (
            prop::sample::select(vec![
                "www-authenticate",
                "link",
                "location",
                "docker-content-digest",
                "retry-after",
                "content-type",
            ]),
            prop::string::string_regex(&format!("{words}{{0,8}}"))
                .unwrap()
                .prop_filter("no edge spaces", |text| text.trim() == text),
        ),
        0..5,
    );
    let bodies = r#"([\[\]{}:,]|"tags"|"schemaVersion"|"manifests"|"config"|"digest"|"token"|"expires_in"|2|"sha256:a"|null|é){0,12}"#;
    let host = server.host.clone();
    // In a cluster, so that nothing leads elsewhere.
    let bench = Bench::new(cluster(&[&server]));
    proptest!(ProptestConfig::with_cases(300), |(status in statuses, headers in headers, body in bodies)| {
        let headers = headers.into_iter().map(|(name, value)| (name, value.replace("HOST", &host))).collect();
        *given.lock().unwrap() = (status, headers, body);
        runtime.block_on(async {
            // The host may have asked to wait.
            bench.clock.advance(Duration::from_secs(3600)).await;
            let _ = bench.client.tags(&source(&server)).await;
            let _ = bench.client.digest(&source(&server), &tag("1")).await;
            let _ = bench.client.image(&source(&server), &tag("1")).await;
        });
    });
}
