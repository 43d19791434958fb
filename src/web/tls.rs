//! TLS for the hooks listener, from a certificate and a key that may be rotated while it runs.

use std::{path::PathBuf, sync::Arc};

use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio_rustls::TlsAcceptor;

use super::reread::{Content, Reread, RereadError};
use crate::ports::Clock;

/// The files' current certificate, ready to accept connections.
#[derive(Clone)]
pub struct Tls(Reread<TlsAcceptor>);

impl Tls {
    /// Reads a certificate chain and its key, both PEM.
    pub async fn start(certificate: PathBuf, key: PathBuf, clock: Arc<dyn Clock>) -> Result<Self, RereadError> {
        Ok(Self(Reread::start(vec![certificate, key], clock, acceptor).await?))
    }

    pub(super) fn acceptor(&self) -> Arc<TlsAcceptor> {
        self.0.get()
    }
}

/// `files` are the certificate chain and the key.
fn acceptor(files: &[Content]) -> Result<TlsAcceptor, String> {
    let [certificate, key_file] = files else { return Err("one certificate and one key are needed".to_owned()) };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate.bytes()?)
        .collect::<Result<_, _>>()
        .map_err(|error| certificate.says(format!("no certificate in PEM: {error}")))?;
    // What is wrong with a key is not told in the key's own words.
    let key = PrivateKeyDer::from_pem_slice(key_file.bytes()?).map_err(|_| key_file.says("no private key in PEM"))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| certificate.says(format!("it does not serve with its key: {error}")))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
