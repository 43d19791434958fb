//! How a sender shows that it knows the secret.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, header::AUTHORIZATION};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// Where a sender puts the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// In `Authorization`: bare, after `Bearer `, or as the password of Basic.
    Header,
    /// There, or in `?token=`: for senders that can set no header. The query is never logged.
    HeaderOrQuery,
}

/// Whether the request holds one of the secrets. All are compared, each in constant time, so that neither their
/// content nor which of them fits shows in the time it takes. An empty secret fits nothing.
pub fn verify(proof: Proof, headers: &HeaderMap, query: Option<&str>, secrets: &[SecretString]) -> bool {
    let mut offered = authorization(headers);
    if proof == Proof::HeaderOrQuery {
        let pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        offered.extend(pairs.filter(|(key, _)| key == "token").take(1).map(|(_, token)| token.into_owned().into()));
    }
    let mut fits = Choice::from(0);
    for secret in secrets.iter().filter(|secret| !secret.expose_secret().is_empty()) {
        for offer in &offered {
            fits |= same(offer, secret);
        }
    }
    fits.into()
}

/// Every reading of the header; which one is meant is for the comparison to find out.
fn authorization(headers: &HeaderMap) -> Vec<SecretString> {
    let Some(value) = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()) else {
        return Vec::new();
    };
    let mut offered = vec![SecretString::from(value)];
    if let Some((scheme, rest)) = value.split_once(' ') {
        if scheme.eq_ignore_ascii_case("bearer") {
            offered.push(rest.trim_start().into());
        } else if scheme.eq_ignore_ascii_case("basic") {
            let decoded = STANDARD.decode(rest.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            offered.extend(decoded.as_deref().and_then(|text| text.split_once(':')).map(|(_, p)| p.into()));
        }
    }
    offered
}

/// Hashed first, so that the length does not show either.
fn same(one: &SecretString, other: &SecretString) -> Choice {
    let hash = |secret: &SecretString| Sha256::digest(secret.expose_secret());
    hash(one).as_slice().ct_eq(hash(other).as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(pair: &str) -> String {
        format!("Basic {}", STANDARD.encode(pair))
    }

    fn offer(proof: Proof, authorization: &str, query: Option<&str>, secrets: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        if !authorization.is_empty() {
            headers.insert(AUTHORIZATION, authorization.parse().unwrap());
        }
        let secrets: Vec<_> = secrets.iter().map(|secret| SecretString::from(*secret)).collect();
        verify(proof, &headers, query, &secrets)
    }

    #[rstest::rstest]
    #[case("s3cret")]
    #[case("Bearer s3cret")]
    #[case("bearer s3cret")]
    #[case("BEARER  s3cret")]
    #[case(&basic("anyone:s3cret"))]
    #[case(&basic(":s3cret"))]
    fn the_secret_is_known_in_every_spelling(#[case] authorization: &str) {
        assert!(offer(Proof::Header, authorization, None, &["s3cret"]));
        assert!(offer(Proof::Header, authorization, None, &["new", "s3cret"]), "the second while rotating");
        assert!(offer(Proof::Header, authorization, None, &["s3cret", "old"]), "the first while rotating");
    }

    #[rstest::rstest]
    #[case("")]
    #[case("s3cre")]
    #[case("s3cret1")]
    #[case("S3CRET")]
    #[case("Bearer")]
    #[case("Bearer ")]
    #[case("Bearer s3cret s3cret")]
    #[case("Token s3cret")]
    #[case("Basic s3cret")]
    #[case("Basic !!!")]
    #[case(&basic("s3cret"))]
    #[case(&basic("s3cret:"))]
    #[case(&basic("a:b:s3cret"))]
    fn what_is_not_the_secret_is_refused(#[case] authorization: &str) {
        assert!(!offer(Proof::Header, authorization, None, &["s3cret"]));
    }

    #[rstest::rstest]
    #[case("")]
    #[case("Bearer ")]
    #[case(&basic("a:"))]
    fn an_empty_secret_opens_nothing(#[case] authorization: &str) {
        assert!(!offer(Proof::HeaderOrQuery, authorization, Some("token="), &["", ""]));
        assert!(!offer(Proof::HeaderOrQuery, authorization, Some("token="), &[]));
    }

    #[test]
    fn the_query_counts_only_for_senders_that_have_nothing_else() {
        assert!(offer(Proof::HeaderOrQuery, "", Some("a=1&token=s3%63ret"), &["s3cret"]));
        assert!(!offer(Proof::HeaderOrQuery, "", Some("token=wrong&token=s3cret"), &["s3cret"]));
        assert!(!offer(Proof::Header, "", Some("token=s3cret"), &["s3cret"]));
    }

    #[test]
    fn a_password_may_hold_colons() {
        assert!(offer(Proof::Header, &basic("user:a:b"), None, &["a:b"]));
    }

    proptest::proptest! {
        #[test]
        fn no_header_and_no_query_panics_or_opens(value in "[ -~]{0,64}", query in ".{0,64}") {
            let Ok(header) = value.parse() else { return Ok(()) };
            let headers = HeaderMap::from_iter([(AUTHORIZATION, header)]);
            let secret = SecretString::from("a secret that no generator finds");
            proptest::prop_assert!(!verify(Proof::HeaderOrQuery, &headers, Some(&query), &[secret]));
        }
    }
}
