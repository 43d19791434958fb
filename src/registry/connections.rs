//! The connections to registries: one client for each host that was spoken to lately, each with at most one connection
//! that it keeps, and so many requests at a time; together they are no more than the settings allow. The client of the
//! host that was used the longest ago is dropped, and its connection closed.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use reqwest::ClientBuilder;
use rustls::{
    ClientConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, pem::PemObject as _},
};
use rustls_platform_verifier::Verifier;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    address::Guard,
    names::{Known, Names},
    settings::Timeouts,
};

/// Hosts whose client, and connection, are kept: what each holds is small, and of thousands it is much.
const KEPT: usize = 256;
const USER_AGENT: &str = concat!("supercargo/", env!("CARGO_PKG_VERSION"));

/// How connections to a host are made.
#[derive(Clone)]
pub(super) struct Manner {
    /// Whom TLS trusts.
    pub(super) tls: Arc<ClientConfig>,
    pub(super) guard: Guard,
}

/// Clients by host.
pub(super) struct Connections {
    names: Arc<Names>,
    timeouts: Timeouts,
    clients: Mutex<Clients>,
    most: usize,
    requests: Arc<Semaphore>,
}

#[derive(Default)]
struct Clients {
    /// Each with when it was last used, counted in uses.
    by_host: HashMap<String, (reqwest::Client, u64)>,
    uses: u64,
}

impl Connections {
    /// Half of the connections are for requests under way, half, and no more than [`KEPT`], for those that are kept.
    pub(super) fn new(most: usize, timeouts: Timeouts, names: Arc<Names>) -> Self {
        let most = (most / 2).clamp(1, Semaphore::MAX_PERMITS);
        Self { names, timeouts, clients: Mutex::default(), most, requests: Arc::new(Semaphore::new(most)) }
    }

    /// The client for a host, and the right to use it while the permit is held.
    pub(super) async fn client(
        &self,
        host: &str,
        manner: &Manner,
    ) -> reqwest::Result<(reqwest::Client, Option<OwnedSemaphorePermit>)> {
        // It is never closed.
        let permit = self.requests.clone().acquire_owned().await.ok();
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.uses += 1;
        let now = clients.uses;
        if let Some((client, used)) = clients.by_host.get_mut(host) {
            *used = now;
            return Ok((client.clone(), permit));
        }
        if clients.by_host.len() >= self.most.min(KEPT) {
            let oldest = clients.by_host.iter().min_by_key(|(_, (_, used))| *used).map(|(host, _)| host.clone());
            oldest.and_then(|host| clients.by_host.remove(&host));
        }
        let client = self.builder(manner).build()?;
        clients.by_host.insert(host.to_owned(), (client.clone(), now));
        Ok((client, permit))
    }

    fn builder(&self, manner: &Manner) -> ClientBuilder {
        let timeouts = self.timeouts;
        reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .tls_backend_preconfigured(ClientConfig::clone(&manner.tls))
            .dns_resolver(Arc::new(Known { names: self.names.clone(), guard: manner.guard }))
            .connect_timeout(timeouts.connect)
            .read_timeout(timeouts.read)
            .timeout(timeouts.request)
            .pool_max_idle_per_host(1)
            .pool_idle_timeout(Duration::from_secs(90))
    }
}

/// TLS that trusts the system's certificates. A machine without any can still speak to registries whose `ca` is
/// configured, and over plain HTTP.
pub(super) fn system_tls() -> Result<Arc<ClientConfig>, rustls::Error> {
    tls(&[]).or_else(|error| {
        tracing::warn!(%error, "no https registry is trusted but those with a `ca`");
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        Ok(with_protocols(builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()))
    })
}

/// TLS that trusts these certificates (PEM) too; `None` where they cannot be read.
pub(super) fn own_tls(pem: &[u8]) -> Option<Arc<ClientConfig>> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()?;
    if certificates.is_empty() { None } else { tls(&certificates).ok() }
}

fn tls(more: &[CertificateDer<'static>]) -> Result<Arc<ClientConfig>, rustls::Error> {
    let verifier = Verifier::new_with_extra_roots(more.iter().cloned(), provider())?;
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    Ok(with_protocols(builder.with_no_client_auth()))
}

fn with_protocols(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}
