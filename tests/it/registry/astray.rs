//! A registry, or whoever speaks for it, leads us to a host that would like to have our credentials.

use axum::{body::Body, http::Response};
use supercargo::{
    domain::hint::Source,
    ports::{Registry as _, RegistryError, RegistryErrorKind},
    registry::{HostSettings, RegistrySettings},
};

use super::{
    Bench, anonymous, failed,
    fault_server::{FaultServer, Seen, answer, page},
    repository, tag, with_secrets,
};
use crate::support::registry::{OCI_MANIFEST, digest_of, docker_config};

const PASSWORD: &str = "annas-password";
const REFRESH: &str = "annas-refresh-token";
const TOKEN: &str = "annas-token";

/// What the good registry wants before it redirects.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Wants {
    Nothing,
    Basic,
    Bearer,
}

/// What the thief would like us to answer.
#[derive(Debug, Clone, Copy)]
enum Lure {
    Basic,
    RealmHere,
    RealmThere,
}

/// Answers 401 to everything; tokens for all.
fn thief(good: &str, lure: Lure, status: u16) -> impl Fn(&Seen, usize) -> Response<Body> + use<> {
    let good = good.to_owned();
    move |seen, _| {
        let challenge = match lure {
            Lure::Basic => "Basic realm=\"sign in\"".to_owned(),
            Lure::RealmHere => format!("Bearer realm=\"http://{}/token\",service=\"stolen\"", seen.host),
            Lure::RealmThere => format!("Bearer realm=\"http://{good}/token\",service=\"stolen\""),
        };
        match seen.line.contains("/token") {
            true => answer(200, &[], r#"{"token": "theirs"}"#),
            false => answer(status, &[("www-authenticate", challenge.as_str())], ""),
        }
    }
}

/// Wants something, then leads wherever `target` says.
fn good(wants: Wants, target: impl Fn() -> String + Send + Sync + 'static) -> impl Fn(&Seen, usize) -> Response<Body> {
    move |seen, _| {
        let bearer = format!("Bearer realm=\"http://{}/token\",service=\"good\"", seen.host);
        let given = seen.authorization.split(' ').next().unwrap_or_default();
        match (wants, given) {
            _ if seen.line.contains("/token") => answer(200, &[], format!(r#"{{"token": "{TOKEN}"}}"#)),
            (Wants::Basic, "") => answer(401, &[("www-authenticate", "Basic")], ""),
            (Wants::Bearer, "") => answer(401, &[("www-authenticate", bearer.as_str())], ""),
            _ => answer(307, &[("location", format!("{}/led", target()).as_str())], ""),
        }
    }
}

/// Both kinds of credentials for that host.
fn proofs(host: &str) -> [String; 2] {
    let token = serde_json::json!({"auths": {host: {"auth": "MDA6", "identitytoken": REFRESH}}});
    [docker_config(host, "anna", PASSWORD), token.to_string()]
}

async fn all(bench: &Bench, source: &Source) -> [RegistryError; 3] {
    [
        bench.client.tags(source).await.unwrap_err(),
        bench.client.digest(source, &tag("1")).await.unwrap_err(),
        bench.client.image(source, &tag("1")).await.unwrap_err(),
    ]
}

#[track_caller]
fn saw_no_credential(thief: &FaultServer) {
    for seen in thief.seen() {
        assert_eq!(seen.authorization, "", "{}", seen.line);
        assert!(!seen.line.contains("/token"), "no token is asked for: {}", seen.line);
    }
    assert_eq!(thief.bodies().concat(), "");
}

/// Stands for the guard in `net/way.rs` (SECURITY.md): credentials end where the origin is left.
#[rstest::rstest]
#[case::nothing(Wants::Nothing)]
#[case::basic(Wants::Basic)]
#[case::bearer(Wants::Bearer)]
#[tokio::test]
async fn a_challenge_of_another_origin_is_not_answered(
    #[case] wants: Wants,
    #[values(Lure::Basic, Lure::RealmHere, Lure::RealmThere)] lure: Lure,
    #[values(401, 403)] status: u16,
    #[values("127.0.0.1", "localhost")] name: &str,
) {
    let there = std::sync::Arc::new(std::sync::OnceLock::<String>::new());
    let known = there.clone();
    let good = FaultServer::start(good(wants, move || known.get().unwrap().clone())).await;
    let thief = FaultServer::start(thief(&good.host, lure, status)).await;
    // Another port of the same host, or another host.
    let to = format!("http://{name}:{}", thief.host.rsplit(':').next().unwrap());
    there.set(to.clone()).unwrap();
    for config in proofs(&good.host) {
        let bench = Bench::new(RegistrySettings::default());
        bench.secrets.set("a/pull", config.clone());
        let source = with_secrets(repository(&format!("{}/web", good.host)), "a", &["pull"]);
        // An identity token answers no Basic.
        let led = !(wants == Wants::Basic && config.contains(REFRESH));
        for _ in 0..2 {
            for error in all(&bench, &source).await.into_iter().filter(|_| led) {
                assert_eq!(error.kind, RegistryErrorKind::Auth, "{}", error.message);
                let words = error.message;
                assert!(words.contains(&format!("http://{}", good.host)) && words.contains(&to), "{words}");
            }
        }
    }
    assert!(!thief.seen().is_empty());
    saw_no_credential(&thief);
    assert!(!good.seen().iter().any(|seen| seen.line.contains("stolen")), "{:?}", good.lines());
    assert!(!good.bodies().iter().any(|body| body.contains("stolen")));
}

#[rstest::rstest]
#[tokio::test]
async fn plain_http_and_https_of_a_host_are_two_origins(
    #[values(true, false)] from_tls: bool,
    #[values(Lure::Basic, Lure::RealmHere)] lure: Lure,
) {
    let there = std::sync::Arc::new(std::sync::OnceLock::<String>::new());
    let known = there.clone();
    let leads = good(Wants::Basic, move || known.get().unwrap().clone());
    let (good, thief, ca, tls) = match from_tls {
        true => {
            let (good, ca) = FaultServer::start_tls(leads).await;
            let thief = FaultServer::start(thief(&good.host, lure, 401)).await;
            (good.clone(), thief, ca, good)
        }
        false => {
            let good = FaultServer::start(leads).await;
            let (thief, ca) = FaultServer::start_tls(thief(&good.host, lure, 401)).await;
            (good, thief.clone(), ca, thief)
        }
    };
    there.set(format!("http{}://{}", if from_tls { "" } else { "s" }, thief.host)).unwrap();
    let host = HostSettings { host: tls.host, ca: Some(ca), ..HostSettings::default() };
    let bench = Bench::new(RegistrySettings { hosts: vec![host], ..RegistrySettings::default() });
    bench.secrets.set("a/pull", docker_config(&good.host, "anna", PASSWORD));
    let source = with_secrets(repository(&format!("{}/web", good.host)), "a", &["pull"]);
    for error in all(&bench, &source).await {
        assert_eq!(error.kind, RegistryErrorKind::Auth, "{}", error.message);
    }
    assert!(!thief.seen().is_empty());
    saw_no_credential(&thief);
}

#[tokio::test]
async fn who_comes_back_from_another_origin_has_no_credential_any_more() {
    let there = std::sync::Arc::new(std::sync::OnceLock::<String>::new());
    let known = there.clone();
    let leads = good(Wants::Basic, move || format!("http://{}", known.get().unwrap()));
    let good = FaultServer::start(move |seen, before| match seen.line.contains("/private/") {
        true if seen.authorization.is_empty() => answer(401, &[("www-authenticate", "Basic")], ""),
        true => page(&["private"], None),
        false => leads(seen, before),
    })
    .await;
    let back = format!("http://{}/v2/private/tags/list", good.host);
    let other = FaultServer::start(move |_, _| answer(307, &[("location", back.as_str())], "")).await;
    there.set(other.host.clone()).unwrap();
    let bench = Bench::new(RegistrySettings::default());
    bench.secrets.set("a/pull", docker_config(&good.host, "anna", PASSWORD));
    let source = with_secrets(repository(&format!("{}/web", good.host)), "a", &["pull"]);
    assert_eq!(failed(bench.client.tags(&source).await, &other.host), RegistryErrorKind::Auth);
    let asked: Vec<_> = good.seen().into_iter().filter(|seen| seen.line.contains("/private/")).collect();
    assert!(!asked.is_empty() && asked.iter().all(|seen| seen.authorization.is_empty()), "{asked:?}");
}

#[tokio::test]
async fn another_origin_does_not_say_which_page_is_next() {
    let there = std::sync::Arc::new(std::sync::OnceLock::<String>::new());
    let known = there.clone();
    let good = FaultServer::start(good(Wants::Basic, move || format!("http://{}", known.get().unwrap()))).await;
    let link = format!("<http://{}/v2/private/tags/list>; rel=next", good.host);
    let other = FaultServer::start(move |_, _| page(&["1"], Some(&link))).await;
    there.set(other.host.clone()).unwrap();
    let bench = Bench::new(RegistrySettings::default());
    bench.secrets.set("a/pull", docker_config(&good.host, "anna", PASSWORD));
    let source = with_secrets(repository(&format!("{}/web", good.host)), "a", &["pull"]);
    assert_eq!(failed(bench.client.tags(&source).await, &other.host), RegistryErrorKind::Refused);
    assert!(!good.lines().iter().any(|line| line.contains("private")), "{:?}", good.lines());
}

#[rstest::rstest]
#[tokio::test]
async fn a_realm_that_redirects_elsewhere_is_not_followed(#[values(302, 307, 308)] status: u16) {
    let thief = FaultServer::start(|_, _| answer(200, &[], r#"{"token": "theirs"}"#)).await;
    let to = format!("http://{}/token", thief.host);
    let good = FaultServer::start(move |seen, _| {
        let bearer = format!("Bearer realm=\"http://{}/token\"", seen.host);
        match seen.line.contains("/token") {
            true => answer(status, &[("location", to.as_str())], ""),
            false => answer(401, &[("www-authenticate", bearer.as_str())], ""),
        }
    })
    .await;
    let bench = Bench::new(RegistrySettings::default());
    let name = repository(&format!("{}/web", good.host));
    let mut sources = vec![anonymous(name.clone())];
    for (namespace, config) in ["a", "b"].into_iter().zip(proofs(&good.host)) {
        bench.secrets.set(&format!("{namespace}/pull"), config);
        sources.push(with_secrets(name.clone(), namespace, &["pull"]));
    }
    for source in sources {
        let error = bench.client.tags(&source).await.unwrap_err();
        assert_eq!(error.kind, RegistryErrorKind::Refused);
        assert!(error.message.contains(&good.host) && error.message.contains(&thief.host), "{}", error.message);
    }
    assert_eq!(thief.seen(), []);
}

#[tokio::test]
async fn a_blob_is_read_from_where_it_is_kept_without_credentials() {
    const CONFIG: &str = r#"{"created": "2026-01-01T00:00:00Z"}"#;
    let store = FaultServer::start(|_, _| answer(200, &[], CONFIG)).await;
    let kept = format!("http://{}/blob?signature=x", store.host);
    let good = FaultServer::start(move |seen, _| {
        let config = digest_of(CONFIG.as_bytes());
        match (seen.authorization.as_str(), seen.line.as_str()) {
            ("", _) => answer(401, &[("www-authenticate", "Basic")], ""),
            (_, line) if line.contains("/blobs/") => answer(307, &[("location", kept.as_str())], ""),
            _ => {
                let manifest = format!(r#"{{"schemaVersion": 2, "config": {{"digest": "{config}"}}}}"#);
                answer(200, &[("content-type", OCI_MANIFEST)], manifest)
            }
        }
    })
    .await;
    let bench = Bench::new(RegistrySettings::default());
    bench.secrets.set("a/pull", docker_config(&good.host, "anna", PASSWORD));
    let source = with_secrets(repository(&format!("{}/web", good.host)), "a", &["pull"]);
    let image = bench.client.image(&source, &tag("1")).await.unwrap();
    assert_eq!(image.created.unwrap().to_string(), "2026-01-01T00:00:00Z");
    assert_eq!(store.lines(), ["GET /blob?signature=x"]);
    saw_no_credential(&store);
}
