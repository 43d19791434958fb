//! Against the real CNCF registry: open, with passwords, with tokens.

use std::time::Duration;

use supercargo::{
    domain::hint::Credentials,
    ports::{Registry as _, RegistryErrorKind},
    registry::{HostSettings, RegistrySettings},
};

use super::{Bench, anonymous, failed, tag, with_secrets};
use crate::support::{
    registry::{Access, Image, OCI_INDEX, Options, PASSWORD, Registry, USER, docker_config},
    token_server::{Rules, TokenServer},
};

#[tokio::test]
async fn an_open_registry_is_read() {
    let registry = Registry::start().await;
    let digest = registry.push("team/web", "1.0.0", &Image::created("2026-01-02T03:04:05.678+01:00")).await;
    registry.push_tags("team/web", (0..150).map(|n| format!("2.0.{n}"))).await;
    let bench = Bench::new(RegistrySettings::default());
    let source = anonymous(registry.repository("team/web"));
    let tags = bench.client.tags(&source).await.unwrap();
    assert_eq!(tags.len(), 151);
    assert!(tags.is_sorted());
    assert!(tags.contains(&tag("2.0.149")));
    assert_eq!(bench.client.digest(&source, &tag("1.0.0")).await.unwrap(), digest);
    let image = bench.client.image(&source, &tag("1.0.0")).await.unwrap();
    assert_eq!(image.digest, digest);
    assert_eq!(image.created.unwrap().to_string(), "2026-01-02T02:04:05.678Z");
    assert_eq!((bench.requests("tags"), bench.requests("manifest"), bench.requests("blob")), (1, 2, 1));
}

#[tokio::test]
async fn a_moved_tag_has_another_digest() {
    let registry = Registry::start().await;
    let bench = Bench::new(RegistrySettings::default());
    let source = anonymous(registry.repository("web"));
    let first = registry.push("web", "latest", &Image::unique()).await;
    assert_eq!(bench.client.digest(&source, &tag("latest")).await.unwrap(), first);
    let second = registry.push("web", "latest", &Image::unique()).await;
    assert_ne!(first, second);
    assert_eq!(bench.client.digest(&source, &tag("latest")).await.unwrap(), second);
}

#[tokio::test]
async fn an_index_is_as_old_as_its_first_image_and_attestations_are_no_images() {
    let registry = Registry::start().await;
    let of = |platform: &str, time: &str| Image { platform: platform.into(), ..Image::created(time) };
    let children = [
        of("unknown/unknown", "2020-01-01T00:00:00Z"),
        of("linux/arm64", "2026-01-01T00:00:00Z"),
        of("linux/amd64", "2026-02-02T00:00:00Z"),
    ];
    let digest = registry.push_index("web", "2.0.0", &children).await;
    let bench = Bench::new(RegistrySettings::default());
    let image = bench.client.image(&anonymous(registry.repository("web")), &tag("2.0.0")).await.unwrap();
    assert_eq!(image.digest, digest);
    assert_eq!(image.created.unwrap().to_string(), "2026-01-01T00:00:00Z");
}

#[tokio::test]
async fn an_index_in_an_index_is_followed() {
    let registry = Registry::start().await;
    let images = [Image { platform: "linux/amd64".into(), ..Image::created("2026-01-01T00:00:00Z") }];
    let inner = registry.push_index("web", "inner", &images).await;
    let outer = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{{"mediaType":"{OCI_INDEX}","digest":"{inner}","size":1}}]}}"#
    );
    let outer = registry.put_manifest("web", "outer", OCI_INDEX, outer.into_bytes()).await;
    let bench = Bench::new(RegistrySettings::default());
    let image = bench.client.image(&anonymous(registry.repository("web")), &tag("outer")).await.unwrap();
    assert_eq!(image.digest, outer);
    assert_eq!(image.created.unwrap().to_string(), "2026-01-01T00:00:00Z");
}

#[rstest::rstest]
#[case(None)]
#[case(Some("0001-01-01T00:00:00Z"))]
#[case(Some("1970-01-01T00:00:00Z"))]
#[case(Some("yesterday"))]
#[tokio::test]
async fn a_time_that_says_nothing_is_none(#[case] created: Option<&str>) {
    let registry = Registry::start().await;
    let image = Image { created: created.map(str::to_owned), ..Image::unique() };
    let digest = registry.push("web", "1", &image).await;
    let bench = Bench::new(RegistrySettings::default());
    let times = bench.client.image(&anonymous(registry.repository("web")), &tag("1")).await.unwrap();
    assert_eq!((times.digest, times.created, times.pushed), (digest, None, None));
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let registry = Registry::start().await;
    registry.push("web", "1.0.0", &Image::unique()).await;
    let bench = Bench::new(RegistrySettings::default());
    let nothing = anonymous(registry.repository("nothing"));
    let web = anonymous(registry.repository("web"));
    assert_eq!(failed(bench.client.tags(&nothing).await, "answered 404"), RegistryErrorKind::NotFound);
    assert_eq!(failed(bench.client.digest(&web, &tag("9")).await, "/web:9"), RegistryErrorKind::NotFound);
    assert_eq!(failed(bench.client.image(&web, &tag("9")).await, "answered 404"), RegistryErrorKind::NotFound);
}

#[tokio::test]
async fn a_registry_that_is_down_is_unavailable_and_nothing_else() {
    let mut registry = Registry::start().await;
    registry.push("web", "1.0.0", &Image::unique()).await;
    let bench = Bench::new(RegistrySettings::default());
    let source = anonymous(registry.repository("web"));
    assert_eq!(bench.client.tags(&source).await.unwrap().len(), 1);
    registry.process.signal("KILL");
    registry.process.wait().await;
    assert_eq!(failed(bench.client.tags(&source).await, &registry.host), RegistryErrorKind::Unavailable);
    assert_eq!(
        failed(bench.client.digest(&source, &tag("1.0.0")).await, "did not answer"),
        RegistryErrorKind::Unavailable
    );
}

#[tokio::test]
async fn a_registry_with_passwords_takes_the_pull_secret_or_the_operators_file() {
    let registry = Registry::start_with(Options { access: Access::Password, ..Options::default() }).await;
    let digest = registry.push("team/web", "1.0.0", &Image::unique()).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.json");
    let host =
        HostSettings { host: registry.host.clone(), credentials_file: Some(file.clone()), ..HostSettings::default() };
    let bench = Bench::new(RegistrySettings { hosts: vec![host], ..RegistrySettings::default() });
    bench.secrets.set("a/pull", docker_config(&registry.host, USER, PASSWORD));
    let secret = with_secrets(registry.repository("team/web"), "a", &["pull"]);
    assert_eq!(bench.client.digest(&secret, &tag("1.0.0")).await.unwrap(), digest);
    // The challenge is remembered: one request each from now on.
    let before = bench.requests("manifest") + bench.requests("tags");
    bench.client.digest(&secret, &tag("1.0.0")).await.unwrap();
    bench.client.tags(&secret).await.unwrap();
    assert_eq!(bench.requests("manifest") + bench.requests("tags"), before + 2);

    let mut operator = anonymous(registry.repository("team/web"));
    assert_eq!(failed(bench.client.tags(&operator).await, "tried no credentials"), RegistryErrorKind::Auth);
    operator.credentials = Credentials { secrets: None, operator: true };
    assert_eq!(failed(bench.client.tags(&operator).await, "operator's credentials"), RegistryErrorKind::Auth);
    // The file is read again when it changes.
    std::fs::write(&file, docker_config(&registry.host, USER, "wrong")).unwrap();
    assert_eq!(failed(bench.client.tags(&operator).await, "operator's credentials"), RegistryErrorKind::Auth);
    std::fs::write(&file, docker_config(&registry.host, USER, PASSWORD)).unwrap();
    assert_eq!(bench.client.tags(&operator).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_registry_with_tokens_costs_one_request_a_poll_while_the_token_lives() {
    let server = TokenServer::start().await;
    let registry = Registry::start_with(Options { access: Access::Token(server.clone()), ..Options::default() }).await;
    registry.push("public/web", "1.0.0", &Image::unique()).await;
    let bench = Bench::new(RegistrySettings::default());
    let source = anonymous(registry.repository("public/web"));
    bench.client.tags(&source).await.unwrap();
    // The challenge, the token, the answer.
    assert_eq!((bench.requests("tags"), bench.requests("token"), server.asked().len()), (2, 1, 1));
    for poll in 1..=5 {
        bench.client.tags(&source).await.unwrap();
        assert_eq!((bench.requests("tags"), bench.requests("token")), (2 + poll, 1));
    }
    assert_eq!(server.asked()[0].user, "");
    assert!(server.asked()[0].query.contains("service=reg&scope=repository%3Apublic%2Fweb%3Apull"));
    // Of 300 s the first 270 are used.
    bench.clock.advance(Duration::from_secs(269)).await;
    bench.client.tags(&source).await.unwrap();
    assert_eq!(bench.requests("token"), 1);
    bench.clock.advance(Duration::from_secs(1)).await;
    bench.client.tags(&source).await.unwrap();
    assert_eq!((bench.requests("tags"), bench.requests("token")), (9, 2));
}

#[tokio::test]
async fn a_token_that_does_not_say_how_long_is_asked_itself() {
    let rules = Rules { says_expires_in: false, lifetime: Duration::from_secs(600), ..Rules::default() };
    let server = TokenServer::start_with(rules).await;
    let registry = Registry::start_with(Options { access: Access::Token(server), ..Options::default() }).await;
    registry.push("public/web", "1.0.0", &Image::unique()).await;
    let bench = Bench::new(RegistrySettings::default());
    let source = anonymous(registry.repository("public/web"));
    for (wait, tokens) in [(0, 1), (569, 1), (1, 2)] {
        bench.clock.advance(Duration::from_secs(wait)).await;
        bench.client.tags(&source).await.unwrap();
        assert_eq!(bench.requests("token"), tokens);
    }
}

#[tokio::test]
async fn many_who_wait_for_a_token_fetch_one() {
    let rules = Rules { delay: Duration::from_millis(300), ..Rules::default() };
    let server = TokenServer::start_with(rules).await;
    let registry = Registry::start_with(Options { access: Access::Token(server.clone()), ..Options::default() }).await;
    registry.push("team/web", "1.0.0", &Image::unique()).await;
    let bench = Bench::new(RegistrySettings::default());
    bench.secrets.set("a/pull", docker_config(&registry.host, USER, PASSWORD));
    let source = with_secrets(registry.repository("team/web"), "a", &["pull"]);
    let looks = (0..50).map(|_| bench.client.tags(&source));
    for tags in futures::future::join_all(looks).await {
        assert_eq!(tags.unwrap().len(), 1);
    }
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn a_private_repository_needs_a_credential_that_the_token_server_takes() {
    let server = TokenServer::start().await;
    let registry = Registry::start_with(Options { access: Access::Token(server.clone()), ..Options::default() }).await;
    let digest = registry.push("team/web", "1.0.0", &Image::unique()).await;
    let bench = Bench::new(RegistrySettings::default());
    let repository = registry.repository("team/web");
    let nobody = anonymous(repository.clone());
    assert_eq!(failed(bench.client.tags(&nobody).await, "tried no credentials"), RegistryErrorKind::Auth);

    let source = with_secrets(repository.clone(), "a", &["missing", "wrong", "right"]);
    bench.secrets.set("a/wrong", docker_config(&registry.host, USER, "hunter2"));
    let error = bench.client.tags(&source).await.unwrap_err();
    assert_eq!(error.kind, RegistryErrorKind::Auth);
    assert!(error.message.contains("there is no Secret a/missing"), "{}", error.message);
    assert!(error.message.contains("those of Secret a/wrong"), "{}", error.message);
    assert!(!error.message.contains("hunter2") && !error.message.contains("bad credentials"), "{}", error.message);

    bench.secrets.set("a/right", docker_config(&registry.host, USER, PASSWORD));
    assert_eq!(bench.client.digest(&source, &tag("1.0.0")).await.unwrap(), digest);
    // The one that was taken is tried first from now on.
    let asked = server.asked().len();
    bench.clock.advance(Duration::from_secs(400)).await;
    assert_eq!(bench.client.digest(&source, &tag("1.0.0")).await.unwrap(), digest);
    assert_eq!(server.asked()[asked..].iter().map(|a| a.password.as_str()).collect::<Vec<_>>(), [PASSWORD]);
}

#[tokio::test]
async fn a_public_repository_is_read_in_spite_of_a_credential_that_is_wrong() {
    let server = TokenServer::start().await;
    let registry = Registry::start_with(Options { access: Access::Token(server), ..Options::default() }).await;
    registry.push("public/web", "1.0.0", &Image::unique()).await;
    let bench = Bench::new(RegistrySettings::default());
    bench.secrets.set("a/pull", docker_config(&registry.host, USER, "wrong"));
    let source = with_secrets(registry.repository("public/web"), "a", &["pull"]);
    assert_eq!(bench.client.tags(&source).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_secret_is_read_again_after_a_refusal_but_not_each_time() {
    let registry = Registry::start_with(Options { access: Access::Password, ..Options::default() }).await;
    registry.push("web", "1.0.0", &Image::unique()).await;
    let bench = Bench::new(RegistrySettings::default());
    bench.secrets.set("a/pull", docker_config(&registry.host, USER, "old"));
    let source = with_secrets(registry.repository("web"), "a", &["pull"]);
    let fresh = || bench.secrets.fresh.load(std::sync::atomic::Ordering::Relaxed);
    for _ in 0..3 {
        assert_eq!(failed(bench.client.tags(&source).await, "Secret a/pull"), RegistryErrorKind::Auth);
        assert_eq!(fresh(), 1);
    }
    bench.clock.advance(Duration::from_secs(60)).await;
    assert_eq!(failed(bench.client.tags(&source).await, "Secret a/pull"), RegistryErrorKind::Auth);
    assert_eq!(fresh(), 2);
    bench.secrets.set("a/pull", docker_config(&registry.host, USER, PASSWORD));
    assert_eq!(bench.client.tags(&source).await.unwrap().len(), 1);
}

#[tokio::test]
async fn in_a_cluster_a_loopback_registry_must_be_named_in_the_configuration() {
    let registry = Registry::start().await;
    registry.push("web", "1.0.0", &Image::unique()).await;
    let source = anonymous(registry.repository("web"));
    let named = |insecure| HostSettings { host: registry.host.clone(), insecure, ..HostSettings::default() };

    let bench = Bench::new(RegistrySettings { in_cluster: true, ..RegistrySettings::default() });
    assert_eq!(failed(bench.client.tags(&source).await, "`registries`"), RegistryErrorKind::Refused);
    assert_eq!(bench.requests("tags"), 0);

    let bench =
        Bench::new(RegistrySettings { in_cluster: true, hosts: vec![named(true)], ..RegistrySettings::default() });
    assert_eq!(bench.client.tags(&source).await.unwrap().len(), 1);

    // Named but not as insecure: https, which this registry does not speak.
    let bench =
        Bench::new(RegistrySettings { in_cluster: true, hosts: vec![named(false)], ..RegistrySettings::default() });
    assert_eq!(failed(bench.client.tags(&source).await, "not to the end: "), RegistryErrorKind::Unavailable);
}
