//! The registry client against the real CNCF registry, and against a server that misbehaves on purpose.

use std::sync::Arc;

use futures::future::BoxFuture;
use secrecy::SecretString;
use supercargo::{
    clock::SystemClock,
    domain::{
        hint::{Credentials, Source},
        image::Tag,
    },
    metrics::Metrics,
    ports::{Registry as _, SecretError, Secrets},
    registry::{Client, Settings},
};

use crate::support::registry::{Image, Registry};

struct NoSecrets;

impl Secrets for NoSecrets {
    fn docker_config<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: bool,
    ) -> BoxFuture<'a, Result<Option<SecretString>, SecretError>> {
        Box::pin(async { Ok(None) })
    }
}

fn client(settings: Settings) -> Client {
    Client::new(settings, Arc::new(NoSecrets), Arc::new(SystemClock::default()), Arc::new(Metrics::default())).unwrap()
}

fn tag(text: &str) -> Tag {
    Tag::parse(text).unwrap()
}

#[tokio::test]
async fn an_open_registry_is_read() {
    let registry = Registry::start().await;
    let digest = registry.push("team/web", "1.0.0", &Image::created("2026-01-02T03:04:05Z")).await;
    registry.push_tags("team/web", (0..150).map(|n| format!("2.0.{n}"))).await;
    let client = client(Settings::default());
    let source = Source { repository: registry.repository("team/web"), credentials: Credentials::default() };
    let tags = client.tags(&source).await.unwrap();
    assert_eq!(tags.len(), 151);
    assert!(tags.contains(&tag("2.0.149")));
    assert_eq!(client.digest(&source, &tag("1.0.0")).await.unwrap(), digest);
    let image = client.image(&source, &tag("1.0.0")).await.unwrap();
    assert_eq!(image.digest, digest);
    assert_eq!(image.created.unwrap().to_string(), "2026-01-02T03:04:05Z");
}
