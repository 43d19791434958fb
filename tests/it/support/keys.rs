//! Keys and certificates, made when they are wanted.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

/// A certificate for `localhost` and 127.0.0.1, and its key, both PEM.
#[derive(Debug, Clone)]
pub(crate) struct Certified {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// A certificate that nobody else has signed.
pub(crate) fn self_signed() -> Certified {
    let key = KeyPair::generate().unwrap();
    let certificate = names().self_signed(&key).unwrap();
    Certified { certificate: certificate.pem(), key: key.serialize_pem() }
}

/// The same, of a CA: as `openssl req -x509` makes one if it is not told otherwise.
pub(crate) fn self_signed_ca() -> Certified {
    let mut ca = names();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = ca.self_signed(&key).unwrap();
    Certified { certificate: certificate.pem(), key: key.serialize_pem() }
}

/// A CA's certificate, PEM, and one that it has signed.
pub(crate) fn signed() -> (String, Certified) {
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().unwrap();
    let ca_certificate = ca.self_signed(&ca_key).unwrap().pem();
    let key = KeyPair::generate().unwrap();
    let certificate = names().signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    (ca_certificate, Certified { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// A private key and its public key, both PEM.
pub(crate) fn key_pair() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    (key.serialize_pem(), key.public_key_pem())
}

fn names() -> CertificateParams {
    CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap()
}
