//! One request to a registry, its token server or wherever it redirects: where it may go, how long it may take,
//! how much it may say, and that it is counted. Whose credentials it carries is decided above.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use reqwest::{
    Method, StatusCode,
    dns::Resolve,
    header::{ACCEPT, AUTHORIZATION, HeaderValue, RETRY_AFTER},
};
use tokio::sync::OwnedSemaphorePermit;
use url::Url;

use super::{
    address::{self, Guard},
    answer::{UnreadAnswer, broken, elsewhere, fail, forbidden_text, paused, unavailable},
    connections::{Connections, Manner},
    names::Names,
    settings::{HostSettings, RegistrySettings, SettingsError},
    throttle::{Scope, Throttle},
};
use crate::{
    domain::{
        hint::Source,
        image::{DOCKER_HUB, excerpt},
    },
    metrics::Metrics,
    net::{self, Way, retry_after},
    ports::{Clock, RegistryError, RegistryErrorKind},
};

/// Where images of `docker.io` really are.
const DOCKER_HUB_ENDPOINT: &str = "registry-1.docker.io";
const MAX_REDIRECTS: usize = 5;

/// What a request is for, as metrics count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Tags,
    Manifest,
    Blob,
    Token,
}

impl Class {
    fn as_str(self) -> &'static str {
        match self {
            Self::Tags => "tags",
            Self::Manifest => "manifest",
            Self::Blob => "blob",
            Self::Token => "token",
        }
    }
}

/// A registry's root.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    /// As images write it.
    pub(super) host: Arc<str>,
    /// `https://registry-1.docker.io/`
    pub(super) url: Url,
    /// The namespace for which it is asked, where that is known.
    pub(super) namespace: Option<Arc<str>>,
}

impl Endpoint {
    /// Whether plain HTTP is spoken to it.
    pub(super) fn is_plain(&self) -> bool {
        self.url.scheme() == "http"
    }

    /// As whose it counts what is kept of its answers.
    pub(super) fn share(&self) -> &str {
        self.namespace.as_deref().unwrap_or_default()
    }
}

/// A request without credentials.
#[derive(Debug, Clone)]
pub(super) struct Ask<'a> {
    pub(super) class: Class,
    pub(super) source: &'a Source,
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) accept: &'static str,
    /// A form to post.
    pub(super) form: Option<String>,
    /// For messages: `the tags of ghcr.io/team/web`.
    pub(super) what: &'a str,
}

/// The connections, and what is known about hosts.
pub(super) struct Http {
    connections: Connections,
    names: Arc<Names>,
    /// For hosts that the configuration does not name, for those that it does, and for those with certificates of their
    /// own. TLS holds the system's certificates, so there is no more of it than needed.
    others: Manner,
    named: Manner,
    own: HashMap<String, Manner>,
    named_hosts: HashSet<String>,
    plain_hosts: HashSet<String>,
    in_cluster: bool,
    listing: Duration,
    throttle: Throttle,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
}

impl Http {
    pub(super) fn new(
        settings: &RegistrySettings,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        resolver: Arc<dyn Resolve>,
    ) -> Result<Self, SettingsError> {
        let tls = net::tls(None)?;
        let open = Guard { local: false, private: false };
        let guard = Guard { local: settings.in_cluster, private: !settings.private_addresses };
        let (others, named) = (Manner { tls: tls.clone(), guard }, Manner { tls, guard: open });
        let mut own = HashMap::new();
        let mut named_hosts = HashSet::new();
        let mut plain_hosts = HashSet::new();
        for host in &settings.hosts {
            let authority = configured_authority(host)?;
            if let Some(pem) = &host.ca {
                let tls = net::tls(Some(pem)).map_err(|_| SettingsError::Ca(excerpt(&host.host)))?;
                own.insert(authority.clone(), Manner { tls, guard: open });
            }
            if host.insecure {
                plain_hosts.insert(authority.clone());
            }
            if !named_hosts.insert(authority) {
                return Err(SettingsError::Twice(excerpt(&host.host)));
            }
        }
        let names = Names::new(resolver, clock.clone());
        Ok(Self {
            connections: Connections::new(settings.connections, settings.timeouts, names.clone()),
            names,
            others,
            named,
            own,
            named_hosts,
            plain_hosts,
            in_cluster: settings.in_cluster,
            listing: settings.listing,
            throttle: Throttle::default(),
            clock,
            metrics,
        })
    }

    /// The root of a registry.
    pub(super) fn endpoint(&self, host: &str, namespace: Option<Arc<str>>) -> Result<Endpoint, RegistryError> {
        let real = if host == DOCKER_HUB { DOCKER_HUB_ENDPOINT } else { host };
        let parse = |scheme: &str| {
            let bad = |_| fail(RegistryErrorKind::Refused, format!("`{}` is no host of a registry", excerpt(host)));
            Url::parse(&format!("{scheme}://{real}/")).map_err(bad)
        };
        let plain = parse("http")?;
        let url = if self.may_be_plain(&plain) { plain } else { parse("https")? };
        Ok(Endpoint { host: host.into(), url, namespace })
    }

    /// Until when a listing that begins now must have ended.
    pub(super) fn listing_deadline(&self) -> Duration {
        self.clock.monotonic() + self.listing
    }

    /// Sends `ask` to `registry` or, for a token, for it. The credentials are sent to the origin of `ask.url` only,
    /// never to where it redirects, and a request for a token is not redirected elsewhere. An answer is any status but
    /// 429, 503 and a redirect; a 401 or 403 is the origin's own.
    pub(super) async fn send(
        &self,
        registry: &Endpoint,
        ask: &Ask<'_>,
        authorization: Option<&HeaderValue>,
    ) -> Result<UnreadAnswer, RegistryError> {
        let mut way = Way::new(ask.url.clone());
        for _ in 0..=MAX_REDIRECTS {
            self.check(registry, ask, way.url())?;
            let authorization = authorization.filter(|_| way.left().is_none());
            let (response, permit) = self.send_once(registry, ask, way.url(), authorization).await?;
            let (status, host) = (response.status(), authority(way.url()));
            if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
                return match way.left() {
                    Some(to) if matches!(status.as_u16(), 401 | 403) => {
                        Err(elsewhere(RegistryErrorKind::Auth, ask.what, to, &format!(" (it answered {status})")))
                    }
                    _ => {
                        let (what, class) = (ask.what.to_owned(), ask.class);
                        Ok(UnreadAnswer { response, _permit: permit, way, host, what, class, asked_with: None })
                    }
                };
            }
            if !way.follow(response.headers()) {
                return Err(unavailable(&host, ask.what, "redirected to nowhere that can be read"));
            }
            if let (Class::Token, Some(to)) = (ask.class, way.left()) {
                return Err(elsewhere(RegistryErrorKind::Refused, ask.what, to, ""));
            }
            if ask.form.is_some() {
                return Err(unavailable(&host, ask.what, "redirected a request that holds a credential"));
            }
        }
        Err(unavailable(&authority(&ask.url), ask.what, "redirected too many times"))
    }

    async fn send_once(
        &self,
        registry: &Endpoint,
        ask: &Ask<'_>,
        url: &Url,
        authorization: Option<&HeaderValue>,
    ) -> Result<(reqwest::Response, Option<OwnedSemaphorePermit>), RegistryError> {
        let host = authority(url);
        let part = if ask.class == Class::Token { url.path().to_owned() } else { ask.source.repository.to_string() };
        let scope = match host == authority(&registry.url) {
            // What a registry's own token server says holds for all of it.
            true if ask.class == Class::Token => Scope::Whole,
            true => Scope::Own(&part),
            false => Scope::Led(&part),
        };
        if let Some(wait) = self.throttle.remaining(&host, scope, self.clock.monotonic()) {
            return Err(paused(&host, ask.what, wait));
        }
        if let Some(url::Host::Domain(name)) = url.host() {
            self.names
                .look_up(name, registry.namespace.as_deref())
                .await
                .map_err(|why| unavailable(&host, ask.what, &why))?;
        }
        let made = self.connections.client(&host, self.manner(&host)).await;
        let (client, permit) = made.map_err(|error| broken(&host, ask.what, &error, true))?;
        let mut request = client.request(ask.method.clone(), url.clone()).header(ACCEPT, ask.accept);
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value.clone());
        }
        if let Some(form) = &ask.form {
            request = request.header("content-type", "application/x-www-form-urlencoded").body(form.clone());
        }
        let outcome = request.send().await;
        let status = outcome.as_ref().ok().map(|response| response.status().as_u16());
        self.metrics.count_request(&registry.host, ask.class.as_str(), status);
        let response = outcome.map_err(|error| broken(&host, ask.what, &error, self.named_hosts.contains(&host)))?;
        let now = self.clock.monotonic();
        if matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            let header = response.headers().get(RETRY_AFTER).and_then(|h| h.to_str().ok());
            let asked = header.and_then(|h| retry_after(h, self.clock.now()));
            let is_away = response.status() == StatusCode::SERVICE_UNAVAILABLE;
            return Err(paused(&host, ask.what, self.throttle.pause(&host, scope, asked, is_away, now)));
        }
        self.throttle.release(&host, scope, now);
        Ok((response, permit))
    }

    fn manner(&self, host: &str) -> &Manner {
        let named = if self.named_hosts.contains(host) { &self.named } else { &self.others };
        self.own.get(host).unwrap_or(named)
    }

    /// Whether a URL may be gone to at all.
    fn check(&self, registry: &Endpoint, ask: &Ask<'_>, url: &Url) -> Result<(), RegistryError> {
        let host = authority(url);
        let refuse = |why: &str| {
            let text = format!("{} leads to {}, {why}", ask.what, excerpt(&host));
            Err(fail(RegistryErrorKind::Refused, text))
        };
        match url.scheme() {
            "https" => {}
            "http" if self.may_be_plain(url) || (ask.class == Class::Token && registry.is_plain()) => {}
            "http" => {
                return refuse(
                    "which would be plain HTTP: only a host that the configuration names with `insecure: true` is \
                     spoken to like that",
                );
            }
            other => {
                let text =
                    format!("{} leads to a `{}:` address: only https and http are followed", ask.what, excerpt(other));
                return Err(fail(RegistryErrorKind::Refused, text));
            }
        }
        match self.manner(&host).guard.forbids_literal(url) {
            Some(forbidden) => refuse(&forbidden_text(forbidden)),
            None => Ok(()),
        }
    }

    fn may_be_plain(&self, url: &Url) -> bool {
        let host = authority(&with_scheme(url, "http"));
        self.plain_hosts.contains(&host)
            || (!self.in_cluster && address::is_loopback(url) && !self.own.contains_key(&authority(url)))
    }
}

/// `host[:port]`, without the scheme's own port.
pub(super) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The authority under which a host of the configuration is met.
fn configured_authority(host: &HostSettings) -> Result<String, SettingsError> {
    let bad = || SettingsError::Host(excerpt(&host.host));
    let name = match host.host.as_str() {
        DOCKER_HUB | "index.docker.io" => DOCKER_HUB_ENDPOINT,
        name => name,
    };
    if name.is_empty() || name.contains(['/', '@', '?', '#', '\\']) {
        return Err(bad());
    }
    let scheme = if host.insecure { "http" } else { "https" };
    Url::parse(&format!("{scheme}://{name}/")).map(|url| authority(&url)).map_err(|_| bad())
}

fn with_scheme(url: &Url, scheme: &str) -> Url {
    let mut url = url.clone();
    // Both schemes are of the same kind, so this always succeeds.
    let _ = url.set_scheme(scheme);
    url
}
