//! How a sender shows that it knows the secret.

use std::fmt::{self, Write as _};

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, header::AUTHORIZATION};
use secrecy::{ExposeSecret, SecretString};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// One way to show it. A sender has one or more; any of them does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// The secret in `Authorization`: bare, after `Bearer `, or as the password of Basic.
    Header,
    /// The secret in `?token=`: for senders that can set no header. The query is never logged.
    Query,
    /// The HMAC of the raw body by the secret, in lower-case hex, in a header.
    Hmac {
        /// The header's name, in lower case.
        header: &'static str,
        /// What stands before the hex.
        prefix: &'static str,
        /// Of which hash.
        hash: Hash,
    },
}

/// For who is refused.
impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("the header Authorization"),
            Self::Query => f.write_str("`?token=` of the URL"),
            Self::Hmac { header, prefix, .. } => write!(f, "the HMAC of the body in the header {header}, `{prefix}…`"),
        }
    }
}

/// The hash of an HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// SHA-256.
    Sha256,
    /// SHA-1, which as an HMAC is not broken.
    Sha1,
}

/// What a request shows before its body is read.
#[derive(Debug)]
pub enum Shown {
    /// One of the secrets.
    Secret,
    /// What may be a signature: the body will tell.
    Signature(Signature),
    /// Nothing that could prove anything.
    Nothing,
}

/// A well-formed signature that is not checked yet.
#[derive(Debug)]
pub struct Signature {
    hash: Hash,
    hex: Vec<u8>,
}

/// What the headers and the query show. All secrets are compared, each in constant time, so that neither their content
/// nor which of them fits shows in the time it takes. An empty secret fits nothing.
pub fn show(proofs: &[Proof], headers: &HeaderMap, query: Option<&str>, secrets: &[SecretString]) -> Shown {
    let mut offered = Vec::new();
    let mut signature = None;
    for proof in proofs {
        match *proof {
            Proof::Header => offered.extend(authorization(headers)),
            Proof::Query => offered.extend(token(query)),
            Proof::Hmac { header, prefix, hash } => {
                signature = signature.or(Signature::find(headers, header, prefix, hash))
            }
        }
    }
    let mut fits = Choice::from(0);
    for secret in not_empty(secrets) {
        for offer in &offered {
            fits |= same(offer, secret);
        }
    }
    if fits.into() { Shown::Secret } else { signature.map_or(Shown::Nothing, Shown::Signature) }
}

impl Signature {
    /// The header's, if it is there once and of the right form.
    fn find(headers: &HeaderMap, header: &str, prefix: &str, hash: Hash) -> Option<Self> {
        let mut values = headers.get_all(header).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return None };
        let hex = value.as_bytes().strip_prefix(prefix.as_bytes())?;
        let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        (hex.len() == hash.hex_length() && hex.iter().all(is_hex)).then(|| Self { hash, hex: hex.to_vec() })
    }

    /// Whether one of the secrets signed these bytes, which may come in pieces. All are tried, and compared in constant
    /// time.
    pub fn fits<'a>(&self, secrets: &[SecretString], body: impl Iterator<Item = &'a [u8]> + Clone) -> bool {
        let mut fits = Choice::from(0);
        for secret in not_empty(secrets) {
            fits |= self.hash.hmac(secret, body.clone()).as_bytes().ct_eq(&self.hex);
        }
        fits.into()
    }
}

impl Hash {
    fn hex_length(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha1 => 40,
        }
    }

    /// The HMAC of a body, in lower-case hex.
    pub fn hmac<'a>(self, secret: &SecretString, body: impl IntoIterator<Item = &'a [u8]>) -> String {
        match self {
            Self::Sha256 => hmac::<Hmac<Sha256>>(secret, body),
            Self::Sha1 => hmac::<Hmac<Sha1>>(secret, body),
        }
    }
}

fn hmac<'a, M: Mac + KeyInit>(secret: &SecretString, body: impl IntoIterator<Item = &'a [u8]>) -> String {
    // A key of any length will do: there is no error. No text is a signature.
    let Ok(mut mac) = <M as KeyInit>::new_from_slice(secret.expose_secret().as_bytes()) else { return String::new() };
    body.into_iter().for_each(|piece| mac.update(piece));
    let mut hex = String::new();
    for byte in mac.finalize().into_bytes() {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// As many secrets are good at a time: the new one and the old one.
pub const MOST: usize = 2;

/// The secrets of a text, one a line: a file, or a variable of the environment.
pub fn secrets(text: &str) -> Result<Vec<SecretString>, &'static str> {
    let secrets: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(SecretString::from).collect();
    match secrets.len() {
        0 => Err("the secret is empty"),
        1..=MOST => Ok(secrets),
        _ => Err("more than two secrets: the new one and the old one may be good at a time, each on a line"),
    }
}

fn not_empty(secrets: &[SecretString]) -> impl Iterator<Item = &SecretString> {
    secrets.iter().filter(|secret| !secret.expose_secret().is_empty())
}

fn token(query: Option<&str>) -> Option<SecretString> {
    let mut tokens =
        url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()).filter(|(key, _)| key == "token");
    // Of two nobody knows which one is meant.
    let (Some((_, token)), None) = (tokens.next(), tokens.next()) else { return None };
    Some(token.into_owned().into())
}

/// Every reading of the header; which one is meant is for the comparison to find out.
fn authorization(headers: &HeaderMap) -> Vec<SecretString> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Vec::new() };
    let Ok(value) = std::str::from_utf8(value.as_bytes()) else { return Vec::new() };
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

    fn secrets(secrets: &[&str]) -> Vec<SecretString> {
        secrets.iter().map(|secret| SecretString::from(*secret)).collect()
    }

    fn offer(proofs: &[Proof], authorization: &str, query: Option<&str>, known: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        if !authorization.is_empty() {
            headers.insert(AUTHORIZATION, authorization.parse().unwrap());
        }
        matches!(show(proofs, &headers, query, &secrets(known)), Shown::Secret)
    }

    const HEADER: &[Proof] = &[Proof::Header];
    const HEADER_OR_QUERY: &[Proof] = &[Proof::Header, Proof::Query];
    /// GitHub's.
    const HUB: Proof = Proof::Hmac { header: "x-hub-signature-256", prefix: "sha256=", hash: Hash::Sha256 };
    const HUB_HEADER: &str = "x-hub-signature-256";

    /// Whether a request with these headers and this body is let in.
    fn signed(values: &[(&'static str, &str)], body: &[u8], known: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in values {
            headers.append(*name, value.parse().unwrap());
        }
        match show(&[HUB], &headers, None, &secrets(known)) {
            Shown::Signature(signature) => signature.fits(&secrets(known), body.chunks(5)),
            Shown::Secret => panic!("no secret is offered"),
            Shown::Nothing => false,
        }
    }

    const GITHUBS_SECRET: &str = "It's a Secret to Everybody";
    const GITHUBS_SIGNATURE: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    /// <https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries>, "Testing the webhook payload
    /// validation".
    #[test]
    fn the_documented_signature_of_github_is_verified() {
        let header = [(HUB_HEADER, GITHUBS_SIGNATURE)];
        assert!(signed(&header, b"Hello, World!", &[GITHUBS_SECRET]));
        assert!(signed(&header, b"Hello, World!", &["new", GITHUBS_SECRET]), "the second while rotating");
        assert!(signed(&header, b"Hello, World!", &[GITHUBS_SECRET, "old"]), "the first while rotating");
        assert!(!signed(&header, b"Hello, World! ", &[GITHUBS_SECRET]), "of other bytes");
        assert!(!signed(&header, b"Hello, World!", &["another"]));
        assert!(!signed(&header, b"Hello, World!", &[]));
    }

    #[rstest::rstest]
    #[case::missing(&[])]
    #[case::empty(&[""])]
    #[case::no_prefix(&["757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"])]
    #[case::prefix_alone(&["sha256="])]
    #[case::other_prefix(&["sha1=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"])]
    #[case::prefix_in_upper_case(&["SHA256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"])]
    #[case::hex_in_upper_case(&["sha256=757107EA0EB2509FC211221CCE984B8A37570B6D7586C22C46F4379C8B043E17"])]
    #[case::short(&["sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e1"])]
    #[case::long(&["sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e170"])]
    #[case::wrong(&["sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e18"])]
    #[case::twice(&[GITHUBS_SIGNATURE, GITHUBS_SIGNATURE])]
    #[case::two(&[GITHUBS_SIGNATURE, "sha256="])]
    #[case::joined(&["sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17, sha256="])]
    fn a_signature_that_is_not_just_right_is_none(#[case] values: &[&str]) {
        let values: Vec<_> = values.iter().map(|value| (HUB_HEADER, *value)).collect();
        assert!(!signed(&values, b"Hello, World!", &[GITHUBS_SECRET]));
    }

    #[test]
    fn an_empty_secret_signs_nothing() {
        let value = format!("sha256={}", Hash::Sha256.hmac(&"".into(), [&b"body"[..]]));
        assert!(!signed(&[(HUB_HEADER, &value)], b"body", &["", ""]));
    }

    /// RFC 2202, case 2, and RFC 4231, case 2.
    #[test]
    fn both_hashes_sign_as_the_standard_says() {
        let (key, text) = (SecretString::from("Jefe"), [&b"what do ya want "[..], b"for nothing?"]);
        assert_eq!(Hash::Sha1.hmac(&key, text), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
        let sha256 = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(Hash::Sha256.hmac(&key, text), sha256);
        assert_eq!((Hash::Sha1.hex_length(), Hash::Sha256.hex_length()), (40, 64));
    }

    #[rstest::rstest]
    #[case("s3cret")]
    #[case("Bearer s3cret")]
    #[case("bearer s3cret")]
    #[case("BEARER  s3cret")]
    #[case(&basic("anyone:s3cret"))]
    #[case(&basic(":s3cret"))]
    fn the_secret_is_known_in_every_spelling(#[case] authorization: &str) {
        assert!(offer(HEADER, authorization, None, &["s3cret"]));
        assert!(offer(HEADER, authorization, None, &["new", "s3cret"]), "the second while rotating");
        assert!(offer(HEADER, authorization, None, &["s3cret", "old"]), "the first while rotating");
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
        assert!(!offer(HEADER, authorization, None, &["s3cret"]));
    }

    #[rstest::rstest]
    #[case("")]
    #[case("Bearer ")]
    #[case(&basic("a:"))]
    fn an_empty_secret_opens_nothing(#[case] authorization: &str) {
        assert!(!offer(HEADER_OR_QUERY, authorization, Some("token="), &["", ""]));
        assert!(!offer(HEADER_OR_QUERY, authorization, Some("token="), &[]));
    }

    #[test]
    fn the_query_counts_only_for_senders_that_have_nothing_else() {
        assert!(offer(HEADER_OR_QUERY, "", Some("a=1&token=s3%63ret"), &["s3cret"]));
        assert!(!offer(HEADER_OR_QUERY, "", Some("token=wrong&token=s3cret"), &["s3cret"]));
        assert!(!offer(HEADER, "", Some("token=s3cret"), &["s3cret"]));
    }

    #[test]
    fn a_password_may_hold_colons() {
        assert!(offer(HEADER, &basic("user:a:b"), None, &["a:b"]));
    }

    proptest::proptest! {
        #[test]
        fn no_header_and_no_query_panics_or_opens(value in "[ -~]{0,64}", query in ".{0,64}") {
            let Ok(header) = value.parse() else { return Ok(()) };
            let headers = HeaderMap::from_iter([(AUTHORIZATION, header)]);
            let secret = SecretString::from("a secret that no generator finds");
            let proofs = [Proof::Header, Proof::Query, HUB];
            let shown = show(&proofs, &headers, Some(&query), &[secret]);
            proptest::prop_assert!(matches!(shown, Shown::Nothing));
        }
    }
}
