//! The one builder of HTTP clients: what none of them does, whom TLS trusts, the proxy, and how long things may take.

use std::{sync::Arc, time::Duration};

use reqwest::{Client, ClientBuilder, Proxy, redirect};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, pem::PemObject as _},
};
use rustls_platform_verifier::Verifier;

use super::words::cause;

/// What we are called in each request.
pub const USER_AGENT: &str = concat!("supercargo/", env!("CARGO_PKG_VERSION"));

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until a connection stands.
    pub connect: Duration,
    /// Between two pieces of an answer.
    pub read: Duration,
    /// One request with its whole answer.
    pub request: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let [connect, read, request] = [5, 15, 30].map(Duration::from_secs);
        Self { connect, read, request }
    }
}

/// Why there is no client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// Certificates that do not parse, or none.
    #[error("`ca` holds no PEM certificate that can be read")]
    Ca,
    /// A proxy that is no URL.
    #[error("the proxy's address cannot be read")]
    Proxy,
    /// The TLS library refused.
    #[error("no TLS client can be made: {0}")]
    Tls(String),
}

/// A client that trusts the certificates (PEM) of `ca` beside those of the system.
pub fn client(ca: Option<&[u8]>, proxy: Option<&str>, timeouts: Timeouts) -> Result<Client, ClientError> {
    let tls = tls(ca)?;
    built(builder(&tls, timeouts), proxy)
}

/// The same for a server whose answers may become a socket, which HTTP/1.1 alone has (RFC 9110, section 7.8).
pub fn upgradable(ca: Option<&[u8]>, proxy: Option<&str>, timeouts: Timeouts) -> Result<Client, ClientError> {
    let mut tls = (*tls(ca)?).clone();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    built(builder(&tls, timeouts).http1_only(), proxy)
}

fn built(mut builder: ClientBuilder, proxy: Option<&str>) -> Result<Client, ClientError> {
    if let Some(proxy) = proxy {
        builder = builder.proxy(Proxy::all(proxy).map_err(|_| ClientError::Proxy)?);
    }
    builder.build().map_err(|error| ClientError::Tls(cause(&error)))
}

/// For one that also resolves names in its own way. It follows no redirect, as [`Way`](super::Way) says where a request
/// may go, and goes through no proxy that only the environment names.
pub fn builder(tls: &ClientConfig, timeouts: Timeouts) -> ClientBuilder {
    Client::builder()
        .user_agent(USER_AGENT)
        .redirect(redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .tls_backend_preconfigured(tls.clone())
        .connect_timeout(timeouts.connect)
        .read_timeout(timeouts.read)
        .timeout(timeouts.request)
        .pool_max_idle_per_host(1)
}

/// TLS that trusts the system's certificates and those (PEM) of `ca`. A machine without any can still speak to hosts
/// with a `ca`, and over plain HTTP.
pub fn tls(ca: Option<&[u8]>) -> Result<Arc<ClientConfig>, ClientError> {
    let refused = |error: rustls::Error| ClientError::Tls(cause(&error));
    let more: Vec<_> = match ca {
        None => Vec::new(),
        Some(pem) => match CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>() {
            Ok(certificates) if !certificates.is_empty() => certificates,
            _ => return Err(ClientError::Ca),
        },
    };
    let provider = || Arc::<CryptoProvider>::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let config = config.map_err(refused)?;
    let mut config = match Verifier::new_with_extra_roots(more, provider()) {
        Ok(verifier) => config.dangerous().with_custom_certificate_verifier(Arc::new(verifier)),
        Err(error) if ca.is_none() => {
            tracing::warn!(%error, "over https only hosts with a `ca` are trusted");
            config.with_root_certificates(RootCertStore::empty())
        }
        Err(error) => return Err(refused(error)),
    }
    .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_work_are_refused_at_once() {
        let client = |ca, proxy| client(ca, proxy, Timeouts::default()).err();
        assert_eq!(client(Some(b"no certificate"), None), Some(ClientError::Ca));
        assert_eq!(client(None, Some("http://user:secret@")), Some(ClientError::Proxy));
    }
}
