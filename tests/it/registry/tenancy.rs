//! Whose credentials go where: captured at the servers.

use supercargo::{
    domain::hint::Credentials,
    ports::{Registry as _, RegistryErrorKind, SecretError},
    registry::{HostSettings, RegistrySettings},
};

use super::{
    Bench, anonymous, failed,
    fault_server::{FaultServer, Seen, answer, page},
    repository, tag, with_secrets,
};
use crate::support::{
    registry::{Access, Image, Options, Registry, docker_config, docker_config_of},
    token_server::{Rules, TokenServer},
};

/// `Basic` of a user and password, as it is sent.
fn basic(user: &str, password: &str) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// A registry that wants Basic of any of these users, whose password is their name.
async fn basic_server(users: &'static [&'static str]) -> FaultServer {
    FaultServer::start(move |seen, _| {
        if users.iter().any(|user| seen.authorization == basic(user, user)) {
            page(&["1.0.0"], None)
        } else {
            answer(401, &[("www-authenticate", "Basic realm=r")], "")
        }
    })
    .await
}

fn sent(server: &FaultServer) -> Vec<String> {
    server.seen().into_iter().map(|seen| seen.authorization).collect()
}

#[tokio::test]
async fn two_namespaces_with_two_secrets_are_never_mixed() {
    let server = TokenServer::start_with(Rules::default()).await;
    let registry = Registry::start_with(Options { access: Access::Token(server.clone()), ..Options::default() }).await;
    let digest = registry.push("team/web", "1.0.0", &Image::unique()).await;
    let bench = Bench::new(RegistrySettings::default());
    bench.secrets.set("a/pull", docker_config(&registry.host, "u", "p"));
    bench.secrets.set("b/pull", docker_config(&registry.host, "v", "q"));
    let repository = registry.repository("team/web");
    let (a, b, nobody) = (
        with_secrets(repository.clone(), "a", &["pull"]),
        with_secrets(repository.clone(), "b", &["pull"]),
        anonymous(repository.clone()),
    );
    for _ in 0..3 {
        assert_eq!(bench.client.digest(&a, &tag("1.0.0")).await.unwrap(), digest);
        assert_eq!(bench.client.digest(&b, &tag("1.0.0")).await.unwrap(), digest);
        assert_eq!(failed(bench.client.digest(&nobody, &tag("1.0.0")).await, "access"), RegistryErrorKind::Auth);
    }
    let mut users: Vec<String> = server.asked().into_iter().map(|asked| asked.user).collect();
    users.retain(|user| !user.is_empty());
    assert_eq!(users, ["u", "v"]);
    // b's credential is taken from it: a's token does not serve it.
    bench.secrets.set("b/pull", docker_config(&registry.host, "v", "wrong"));
    assert_eq!(failed(bench.client.digest(&b, &tag("1.0.0")).await, "Secret b/pull"), RegistryErrorKind::Auth);
    assert_eq!(bench.client.digest(&a, &tag("1.0.0")).await.unwrap(), digest);
}

#[tokio::test]
async fn the_same_secret_in_two_namespaces_is_two_credentials() {
    let server = TokenServer::start().await;
    let registry = Registry::start_with(Options { access: Access::Token(server.clone()), ..Options::default() }).await;
    registry.push("team/web", "1.0.0", &Image::unique()).await;
    let bench = Bench::new(RegistrySettings::default());
    for namespace in ["a", "b"] {
        bench.secrets.set(&format!("{namespace}/pull"), docker_config(&registry.host, "u", "p"));
        let source = with_secrets(registry.repository("team/web"), namespace, &["pull"]);
        bench.client.tags(&source).await.unwrap();
    }
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn only_credentials_that_fit_the_repository_are_sent_the_best_first() {
    let server = basic_server(&["host"]).await;
    let bench = Bench::new(RegistrySettings::default());
    let host = &server.host;
    let keys = [format!("{host}/team"), format!("{host}/team/web"), host.clone(), format!("{host}/else")];
    let names = ["team", "web", "host", "else"];
    let entries: Vec<_> = keys.iter().zip(names).map(|(key, name)| (key.as_str(), name, name)).collect();
    bench.secrets.set("a/one", docker_config_of(&entries));
    bench.secrets.set("a/two", docker_config_of(&[("ghcr.io", "ghcr", "ghcr"), ("127.0.0.1:1", "port", "port")]));
    let source = with_secrets(repository(&format!("{host}/team/web")), "a", &["two", "one"]);
    bench.client.tags(&source).await.unwrap();
    let tried = ["".to_owned(), basic("web", "web"), basic("team", "team"), basic("host", "host")];
    assert_eq!(sent(&server), tried);
    bench.client.tags(&source).await.unwrap();
    assert_eq!(sent(&server)[4..], [basic("host", "host")]);
}

#[tokio::test]
async fn an_open_registry_is_sent_no_credential_at_all() {
    let server = FaultServer::start(|_, _| page(&["1"], None)).await;
    let bench = Bench::new(RegistrySettings::default());
    bench.secrets.set("a/pull", docker_config(&server.host, "u", "p"));
    let source = with_secrets(repository(&format!("{}/web", server.host)), "a", &["pull"]);
    bench.client.tags(&source).await.unwrap();
    assert_eq!(sent(&server), [""]);
}

#[tokio::test]
async fn the_operators_credentials_serve_only_whom_they_are_for_and_come_last() {
    let server = basic_server(&["operator"]).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.json");
    std::fs::write(&file, docker_config(&server.host, "operator", "operator")).unwrap();
    let bench = Bench::new(RegistrySettings { docker_config: Some(file), ..RegistrySettings::default() });
    bench.secrets.set("a/pull", docker_config(&server.host, "tenant", "tenant"));
    let mut source = with_secrets(repository(&format!("{}/web", server.host)), "a", &["pull"]);
    assert_eq!(failed(bench.client.tags(&source).await, "Secret a/pull"), RegistryErrorKind::Auth);
    assert!(!sent(&server).contains(&basic("operator", "operator")));
    source.credentials.operator = true;
    bench.client.tags(&source).await.unwrap();
    assert_eq!(sent(&server)[3..], [basic("tenant", "tenant"), basic("operator", "operator")]);
}

#[tokio::test]
async fn a_credentials_file_of_one_host_serves_no_other() {
    let (one, other) = (basic_server(&["x"]).await, basic_server(&["x"]).await);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.json");
    std::fs::write(&file, docker_config_of(&[(&one.host, "x", "x"), (&other.host, "x", "x")])).unwrap();
    let host = HostSettings { host: one.host.clone(), credentials_file: Some(file), ..HostSettings::default() };
    let bench = Bench::new(RegistrySettings { hosts: vec![host], ..RegistrySettings::default() });
    let source = |server: &FaultServer| {
        let mut source = anonymous(repository(&format!("{}/web", server.host)));
        source.credentials = Credentials { secrets: None, operator: true };
        source
    };
    bench.client.tags(&source(&one)).await.unwrap();
    assert_eq!(failed(bench.client.tags(&source(&other)).await, "access"), RegistryErrorKind::Auth);
    assert_eq!(sent(&other), [""]);
}

#[tokio::test]
async fn a_redirect_to_another_host_carries_no_credential() {
    let store = FaultServer::start(|_, _| page(&["from the store"], None)).await;
    let target = format!("http://user:pass@{}/tags", store.host);
    let server = FaultServer::start(move |seen, _| match seen.authorization.as_str() {
        "" => answer(401, &[("www-authenticate", "Basic")], ""),
        _ => answer(307, &[("location", target.as_str())], ""),
    })
    .await;
    let bench = Bench::new(RegistrySettings::default());
    bench.secrets.set("a/pull", docker_config(&server.host, "u", "p"));
    let source = with_secrets(repository(&format!("{}/web", server.host)), "a", &["pull"]);
    // "from the store" is no tag.
    assert_eq!(bench.client.tags(&source).await.unwrap(), []);
    assert_eq!(sent(&server), ["".to_owned(), basic("u", "p")]);
    assert_eq!(store.seen(), [Seen { line: "GET /tags".into(), host: store.host.clone(), authorization: "".into() }]);
}

#[tokio::test]
async fn a_redirect_within_the_registry_keeps_the_credential() {
    let server = FaultServer::start(|seen, _| match (seen.authorization.as_str(), seen.line.as_str()) {
        ("", _) => answer(401, &[("www-authenticate", "Basic")], ""),
        (_, "GET /v2/web/tags/list") => answer(308, &[("location", "/v2/library/web/tags/list")], ""),
        _ => page(&["1"], None),
    })
    .await;
    let bench = Bench::new(RegistrySettings::default());
    bench.secrets.set("a/pull", docker_config(&server.host, "u", "p"));
    let source = with_secrets(repository(&format!("{}/web", server.host)), "a", &["pull"]);
    assert_eq!(bench.client.tags(&source).await.unwrap(), [tag("1")]);
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_is_named_only_where_it_was_needed() {
    let private = basic_server(&["u"]).await;
    let public = FaultServer::start(|_, _| page(&["1"], None)).await;
    let bench = Bench::new(RegistrySettings::default());
    let refusal = Err(SecretError("Secret a/pull may not be read: kubectl apply -k deploy/pull-secrets".into()));
    bench.secrets.texts.lock().unwrap().insert("a/pull".into(), refusal);
    let source = |server: &FaultServer| with_secrets(repository(&format!("{}/web", server.host)), "a", &["pull"]);
    assert_eq!(bench.client.tags(&source(&public)).await.unwrap(), [tag("1")]);
    assert_eq!(failed(bench.client.tags(&source(&private)).await, "kubectl apply -k"), RegistryErrorKind::Secret);
}

#[rstest::rstest]
#[case(r#"{"credsStore": "evil"}"#, "never run", RegistryErrorKind::Auth)]
#[case(r#"{"credHelpers": {"HOST": "evil"}}"#, "never run", RegistryErrorKind::Auth)]
#[case("hunter2 is no JSON", "no docker config", RegistryErrorKind::Secret)]
#[tokio::test]
async fn a_secret_without_a_usable_credential_says_so(
    #[case] config: &str,
    #[case] words: &str,
    #[case] kind: RegistryErrorKind,
) {
    let server = basic_server(&["u"]).await;
    let bench = Bench::new(RegistrySettings::default());
    bench.secrets.set("a/pull", config.replace("HOST", &server.host));
    let source = with_secrets(repository(&format!("{}/web", server.host)), "a", &["pull"]);
    let error = bench.client.tags(&source).await.unwrap_err();
    assert!(error.message.contains(words) && !error.message.contains("hunter2"), "{}", error.message);
    assert_eq!(error.kind, kind);
}

#[tokio::test]
async fn a_helper_program_of_the_operator_is_refused_as_not_built() {
    let server = basic_server(&["u"]).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.json");
    std::fs::write(&file, r#"{"credsStore": "desktop"}"#).unwrap();
    let bench = Bench::new(RegistrySettings { docker_config: Some(file), ..RegistrySettings::default() });
    let mut source = anonymous(repository(&format!("{}/web", server.host)));
    source.credentials.operator = true;
    assert_eq!(failed(bench.client.tags(&source).await, "not built yet"), RegistryErrorKind::Auth);
}

#[tokio::test]
async fn an_identity_token_is_exchanged_by_a_post() {
    let server = FaultServer::start(|seen, _| {
        if seen.line == "POST /token" {
            return answer(200, &[], r#"{"access_token": "t0ken", "expires_in": 100}"#);
        }
        let realm = format!(r#"Bearer realm="http://{}/token",service="s""#, seen.host);
        match seen.authorization.as_str() {
            "Bearer t0ken" => page(&["1"], None),
            _ => answer(401, &[("www-authenticate", realm.as_str())], ""),
        }
    })
    .await;
    let bench = Bench::new(RegistrySettings::default());
    let config = serde_json::json!({"auths": {&server.host: {"auth": "MDA6", "identitytoken": "refresh me"}}});
    bench.secrets.set("a/pull", config.to_string());
    let source = with_secrets(repository(&format!("{}/web", server.host)), "a", &["pull"]);
    assert_eq!(bench.client.tags(&source).await.unwrap(), [tag("1")]);
    let form = server.bodies().into_iter().find(|body| !body.is_empty()).unwrap();
    assert_eq!(
        form,
        "grant_type=refresh_token&client_id=supercargo&service=s&scope=repository%3Aweb%3Apull&refresh_token=refresh+me"
    );
}
