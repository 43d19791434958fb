//! One request to a registry, its token server or wherever it redirects: where it may go, how long it may take,
//! how much it may say, and that it is counted. Whose credentials it carries is decided above.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use reqwest::{
    Certificate, ClientBuilder, Method, StatusCode,
    header::{ACCEPT, AUTHORIZATION, HeaderValue, RETRY_AFTER},
};
use url::Url;

use super::{
    address::{self, GuardedResolver},
    answer::{Answer, broken, elsewhere, fail, forbidden_text, limited, root_cause, unavailable},
    hold::{Holds, retry_after},
    settings::{HostSettings, Settings, SettingsError, Timeouts},
};
use crate::{
    domain::image::{DOCKER_HUB, excerpt},
    metrics::Metrics,
    net::Way,
    ports::{Clock, RegistryError, RegistryErrorKind},
};

/// Where images of `docker.io` really are.
const DOCKER_HUB_ENDPOINT: &str = "registry-1.docker.io";
const MAX_REDIRECTS: usize = 5;
const USER_AGENT: &str = concat!("supercargo/", env!("CARGO_PKG_VERSION"));

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
}

impl Endpoint {
    /// Whether plain HTTP is spoken to it.
    pub(super) fn is_plain(&self) -> bool {
        self.url.scheme() == "http"
    }
}

/// A request without credentials.
#[derive(Debug, Clone)]
pub(super) struct Ask<'a> {
    pub(super) class: Class,
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
    /// Hosts that the configuration does not name; guarded in a cluster.
    others: reqwest::Client,
    /// Hosts that it names.
    named: reqwest::Client,
    /// Hosts with certificates of their own.
    own: HashMap<String, reqwest::Client>,
    named_hosts: HashSet<String>,
    plain_hosts: HashSet<String>,
    in_cluster: bool,
    timeouts: Timeouts,
    holds: Holds,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
}

impl Http {
    pub(super) fn new(
        settings: &Settings,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, SettingsError> {
        let timeouts = settings.timeouts;
        // Each client holds the system's certificates, so there are no more of them than needed.
        let guarded = |b: ClientBuilder| if settings.in_cluster { b.dns_resolver(GuardedResolver) } else { b };
        let others = client(|| guarded(builder(timeouts)))?;
        let has_named = settings.in_cluster && !settings.hosts.is_empty();
        let named = if has_named { client(|| builder(timeouts))? } else { others.clone() };
        let mut own = HashMap::new();
        let mut named_hosts = HashSet::new();
        let mut plain_hosts = HashSet::new();
        for host in &settings.hosts {
            let authority = configured_authority(host)?;
            if let Some(pem) = &host.ca {
                let bad = || SettingsError::Ca(excerpt(&host.host));
                let certificates = Certificate::from_pem_bundle(pem).map_err(|_| bad())?;
                if certificates.is_empty() {
                    return Err(bad());
                }
                let builder = builder(timeouts).tls_certs_merge(certificates);
                own.insert(authority.clone(), builder.build().map_err(|_| bad())?);
            }
            if host.insecure {
                plain_hosts.insert(authority.clone());
            }
            if !named_hosts.insert(authority) {
                return Err(SettingsError::Twice(excerpt(&host.host)));
            }
        }
        let holds = Holds::default();
        let in_cluster = settings.in_cluster;
        Ok(Self { others, named, own, named_hosts, plain_hosts, in_cluster, timeouts, holds, clock, metrics })
    }

    /// The root of a registry.
    pub(super) fn endpoint(&self, host: &str) -> Result<Endpoint, RegistryError> {
        let real = if host == DOCKER_HUB { DOCKER_HUB_ENDPOINT } else { host };
        let parse = |scheme: &str| {
            let bad = |_| fail(RegistryErrorKind::Refused, format!("`{}` is no host of a registry", excerpt(host)));
            Url::parse(&format!("{scheme}://{real}/")).map_err(bad)
        };
        let plain = parse("http")?;
        let url = if self.may_be_plain(&plain) { plain } else { parse("https")? };
        Ok(Endpoint { host: host.into(), url })
    }

    /// Until when a listing that begins now must have ended.
    pub(super) fn listing_deadline(&self) -> Duration {
        self.clock.monotonic() + self.timeouts.listing
    }

    /// Sends `ask` to `registry` or, for a token, for it. The credentials are sent to the origin of `ask.url` only,
    /// never to where it redirects, and a request for a token is not redirected elsewhere. An answer is any status but
    /// 429, 503 and a redirect; a 401 or 403 is the origin's own.
    pub(super) async fn send(
        &self,
        registry: &Endpoint,
        ask: &Ask<'_>,
        authorization: Option<&HeaderValue>,
    ) -> Result<Answer, RegistryError> {
        let mut way = Way::new(ask.url.clone());
        for _ in 0..=MAX_REDIRECTS {
            self.check(registry, ask, way.url())?;
            let authorization = authorization.filter(|_| way.left().is_none());
            let response = self.send_once(registry, ask, way.url(), authorization).await?;
            let (status, host) = (response.status(), authority(way.url()));
            if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
                return match way.left() {
                    Some(to) if matches!(status.as_u16(), 401 | 403) => {
                        Err(elsewhere(RegistryErrorKind::Auth, ask.what, to, &format!(", which answered {status}")))
                    }
                    _ => Ok(Answer { response, way, host, what: ask.what.to_owned(), class: ask.class }),
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
    ) -> Result<reqwest::Response, RegistryError> {
        let host = authority(url);
        if let Some(rest) = self.holds.remaining(&host, self.clock.monotonic()) {
            return Err(limited(&host, rest));
        }
        let client = if let Some(own) = self.own.get(&host) {
            own
        } else if self.named_hosts.contains(&host) {
            &self.named
        } else {
            &self.others
        };
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
        let response = outcome.map_err(|error| broken(&host, ask.what, &error))?;
        let now = self.clock.monotonic();
        if matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            let header = response.headers().get(RETRY_AFTER).and_then(|h| h.to_str().ok());
            let asked = header.and_then(|h| retry_after(h, self.clock.now()));
            return Err(limited(&host, self.holds.hold(&host, asked, now)));
        }
        self.holds.release(&host, now);
        Ok(response)
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
        if self.in_cluster && !self.named_hosts.contains(&host) && address::is_forbidden_literal(url) {
            return refuse(&forbidden_text());
        }
        Ok(())
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

fn builder(timeouts: Timeouts) -> ClientBuilder {
    reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .connect_timeout(timeouts.connect)
        .read_timeout(timeouts.read)
        .timeout(timeouts.request)
        .pool_max_idle_per_host(2)
        .pool_idle_timeout(Duration::from_secs(90))
}

/// A machine without a trust store can still speak to registries whose `ca` is configured, and over plain HTTP.
fn client(builder: impl Fn() -> ClientBuilder) -> Result<reqwest::Client, SettingsError> {
    builder().build().or_else(|error| {
        tracing::warn!(error = root_cause(&error), "no https registry is trusted but those with a `ca`");
        builder().tls_certs_only([]).build().map_err(|error| SettingsError::Tls(root_cause(&error)))
    })
}
