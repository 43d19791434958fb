//! The port's implementation: each method is one look.

use std::sync::Arc;

use futures::future::BoxFuture;
use reqwest::dns::Resolve;

use super::{
    http::Http,
    manifest,
    names::System,
    session::{Look, Sessions},
    settings::{RegistrySettings, SettingsError},
    tags,
};
use crate::{
    domain::{
        hint::Source,
        image::{Digest, ImageRef, Tag},
        tags::Tags,
    },
    metrics::Metrics,
    ports::{Clock, ImageTimes, Origin, Registry, RegistryError, Secrets},
};

/// Reads registries.
#[derive(Clone)]
pub struct Client {
    http: Arc<Http>,
    sessions: Arc<Sessions>,
    /// For which namespace, where that is known.
    namespace: Option<Arc<str>>,
    /// For tags of which weight.
    room: usize,
}

impl Client {
    /// A client that connects to nothing yet.
    pub fn new(
        settings: RegistrySettings,
        secrets: Arc<dyn Secrets>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, SettingsError> {
        Self::resolving_by(Arc::new(System), settings, secrets, clock, metrics)
    }

    /// The same, with names looked up by another than the system.
    pub fn resolving_by(
        resolver: Arc<dyn Resolve>,
        settings: RegistrySettings,
        secrets: Arc<dyn Secrets>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, SettingsError> {
        let http = Http::new(&settings, clock, metrics, resolver)?;
        let sessions = Sessions::new(&settings, secrets);
        Ok(Self { http: Arc::new(http), sessions: Arc::new(sessions), namespace: None, room: usize::MAX })
    }

    fn look<'a>(&'a self, source: &'a Source) -> Result<Look<'a>, RegistryError> {
        let of_secrets = || source.credentials.secrets.as_ref().map(|secrets| secrets.namespace.clone());
        let namespace = self.namespace.clone().or_else(of_secrets);
        let registry = self.http.endpoint(source.repository.host(), namespace)?;
        Ok(Look { http: &self.http, sessions: &self.sessions, registry, source })
    }
}

impl Registry for Client {
    fn within(&self, namespace: &Arc<str>, room: usize) -> Box<dyn Registry> {
        Box::new(Self { namespace: Some(namespace.clone()), room, ..self.clone() })
    }

    fn tags<'a>(&'a self, source: &'a Source) -> BoxFuture<'a, Result<Tags, RegistryError>> {
        Box::pin(async move { tags::list(&self.look(source)?, self.room).await })
    }

    fn digest<'a>(&'a self, source: &'a Source, tag: &'a Tag) -> BoxFuture<'a, Result<Digest, RegistryError>> {
        Box::pin(async move { manifest::digest(&self.look(source)?, tag).await })
    }

    fn has<'a>(&'a self, source: &'a Source, image: &'a ImageRef) -> BoxFuture<'a, Result<(), RegistryError>> {
        Box::pin(async move { manifest::has(&self.look(source)?, image).await })
    }

    fn image<'a>(&'a self, source: &'a Source, tag: &'a Tag) -> BoxFuture<'a, Result<ImageTimes, RegistryError>> {
        Box::pin(async move { manifest::image(&self.look(source)?, tag).await })
    }

    fn origin<'a>(&'a self, source: &'a Source, image: &'a ImageRef) -> BoxFuture<'a, Result<Origin, RegistryError>> {
        Box::pin(async move { manifest::origin(&self.look(source)?, image).await })
    }
}
