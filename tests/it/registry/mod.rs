//! The registry client against the real CNCF registry, and against servers that misbehave on purpose.

use std::{
    collections::HashMap,
    ops::Deref,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures::future::BoxFuture;
use reqwest::dns::Resolve;
use secrecy::SecretString;
use supercargo::{
    domain::{
        hint::{Credentials, PullSecrets, Source},
        image::{Repository, Tag},
    },
    metrics::Metrics,
    ports::{Clock, Registry as _, RegistryError, RegistryErrorKind, SecretError, Secrets},
    registry::{Client, RegistrySettings, SettingsError},
};

use crate::support::clock::SimClock;

mod astray;
mod crowd;
pub(crate) mod fault_server;
mod faults;
mod origin;
mod paging;
mod real;
mod tenancy;
mod waits;

/// Secrets by `namespace/name`, held in memory.
#[derive(Default)]
struct HeldSecrets {
    texts: Mutex<HashMap<String, Result<String, SecretError>>>,
    fresh: AtomicUsize,
}

impl HeldSecrets {
    fn set(&self, name: &str, docker_config: String) {
        self.texts.lock().unwrap().insert(name.to_owned(), Ok(docker_config));
    }
}

impl Secrets for HeldSecrets {
    fn docker_config<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        fresh: bool,
    ) -> BoxFuture<'a, Result<Option<SecretString>, SecretError>> {
        self.fresh.fetch_add(usize::from(fresh), Ordering::Relaxed);
        let text = self.texts.lock().unwrap().get(&format!("{namespace}/{name}")).cloned().transpose();
        Box::pin(async { Ok(text?.map(SecretString::from)) })
    }
}

/// The client, whose lists of tags can be compared with those written out.
struct Reader(Client);

impl Reader {
    async fn tags(&self, source: &Source) -> Result<Vec<Tag>, RegistryError> {
        let tags = self.0.tags(source).await?;
        Ok(tags.iter().map(tag).collect())
    }
}

impl Deref for Reader {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.0
    }
}

/// A client with everything around it.
struct Bench {
    client: Reader,
    secrets: Arc<HeldSecrets>,
    clock: SimClock,
    metrics: Arc<Metrics>,
}

impl Bench {
    fn new(settings: RegistrySettings) -> Self {
        Self::made(|secrets, clock, metrics| Client::new(settings, secrets, clock, metrics))
    }

    /// With names looked up by `resolver`.
    fn resolving_by(resolver: Arc<dyn Resolve>, settings: RegistrySettings) -> Self {
        Self::made(|secrets, clock, metrics| Client::resolving_by(resolver, settings, secrets, clock, metrics))
    }

    fn made(
        client: impl FnOnce(Arc<dyn Secrets>, Arc<dyn Clock>, Arc<Metrics>) -> Result<Client, SettingsError>,
    ) -> Self {
        let secrets = Arc::new(HeldSecrets::default());
        let clock = SimClock::at("2026-03-01T12:00:00Z");
        let metrics = Arc::new(Metrics::default());
        let client = client(secrets.clone(), Arc::new(clock.clone()), metrics.clone()).unwrap();
        Self { client: Reader(client), secrets, clock, metrics }
    }

    /// How many requests were made of this class (`tags`, `token`, …).
    fn requests(&self, class: &str) -> u64 {
        let text = self.metrics.encode();
        let lines = text.lines().filter(|line| line.starts_with("supercargo_registry_requests_total{"));
        let lines = lines.filter(|line| line.contains(&format!("class=\"{class}\"")));
        lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
    }
}

fn anonymous(repository: Repository) -> Source {
    Source { repository, credentials: Credentials::default() }
}

fn with_secrets(repository: Repository, namespace: &str, names: &[&str]) -> Source {
    let names = names.iter().map(|&name| name.into()).collect();
    let secrets = Some(PullSecrets { namespace: namespace.into(), names });
    Source { repository, credentials: Credentials { secrets, operator: false } }
}

fn tag(text: &str) -> Tag {
    Tag::parse(text).unwrap()
}

fn repository(text: &str) -> Repository {
    Repository::parse(text).unwrap()
}

fn texts(tags: &[Tag]) -> Vec<&str> {
    tags.iter().map(Tag::as_str).collect()
}

/// The failure's kind, checked to have one of these words in its text.
#[track_caller]
fn failed<T: std::fmt::Debug>(result: Result<T, RegistryError>, words: &str) -> RegistryErrorKind {
    let error = result.unwrap_err();
    assert!(error.message.contains(words), "`{words}` is not in: {}", error.message);
    error.kind
}
