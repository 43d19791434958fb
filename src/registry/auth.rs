//! Answers to challenges: Basic, and tokens with their cache.

use std::{sync::Arc, time::Duration};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use reqwest::{Method, header::HeaderValue};
use secrecy::ExposeSecret;
use serde::Deserialize;
use url::{Url, form_urlencoded};

use super::{
    answer::fail,
    challenge::Bearer,
    credentials::{Credential, Identity},
    docker_config::Proof,
    http::{Ask, Class, Endpoint, Http},
};
use crate::{
    domain::{hint::Source, image::Repository},
    net::Kept,
    ports::{RegistryError, RegistryErrorKind},
};

/// The longest token that is used, and the longest answer that may hold it.
const MAX_TOKEN: usize = 16 * 1024;
const MAX_ANSWER: usize = 64 * 1024;
/// How much is kept of tokens; and what each costs beside its texts, so that there are no more than 16,384 of them.
const MAX_KEPT: usize = 8 * 1024 * 1024;
const OVERHEAD: usize = 512;
/// How long a token lives when nobody says (distribution's token specification).
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);
const LONGEST_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// Tokens by what they are for and whose they are.
pub(super) struct Tokens {
    /// Not every value is a token: those who wait for one share its failure too.
    kept: Kept<Key, Result<Arc<Token>, Failure>>,
}

/// A token in use.
pub(super) struct Token {
    pub(super) header: HeaderValue,
    /// When it was got, and until when it is used.
    pub(super) since: Duration,
    until: Duration,
}

/// Why there is no token.
#[derive(Clone)]
pub(super) enum Failure {
    /// The token server did not take the credential.
    Refused,
    /// It could not be asked.
    Failed(RegistryError),
}

/// Whose token, for which registry, from where, for what.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    host: Arc<str>,
    realm: Url,
    service: Option<String>,
    scope: String,
    identity: Identity,
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Claims {
    exp: f64,
    #[serde(default)]
    iat: Option<f64>,
}

impl Key {
    /// Where the registry names no scope, it is to pull the repository.
    pub(super) fn new(registry: &Endpoint, bearer: &Bearer, repository: &Repository, credential: &Credential) -> Self {
        let scope = bearer.scope.clone().unwrap_or_else(|| format!("repository:{}:pull", repository.path()));
        Self {
            host: registry.host.clone(),
            realm: bearer.realm.clone(),
            service: bearer.service.clone(),
            scope,
            identity: credential.identity(),
        }
    }
}

impl Tokens {
    pub(super) fn new() -> Self {
        Self { kept: Kept::new(MAX_KEPT, weight) }
    }

    /// The token of that key. However many wait for it, it is fetched once.
    pub(super) async fn get(
        &self,
        http: &Http,
        registry: &Endpoint,
        source: &Source,
        key: &Key,
        credential: &Credential,
    ) -> Result<Arc<Token>, Failure> {
        let now = http.clock.monotonic();
        let is_over = |token: &Result<Arc<Token>, Failure>| token.as_ref().map_or(true, |token| token.until <= now);
        let fetch = async { fetch(http, registry, source, key, credential).await.map(Arc::new) };
        self.kept.get_or(registry.share(), key.clone(), fetch, is_over).await
    }

    /// The registry did not take this token: the next one is fetched, unless another has been already.
    pub(super) async fn reject(&self, key: &Key, token: &Arc<Token>) {
        if matches!(self.kept.get(key).await, Some(Ok(kept)) if Arc::ptr_eq(&kept, token)) {
            self.kept.remove(key).await;
        }
    }
}

fn weight(key: &Key, token: &Result<Arc<Token>, Failure>) -> usize {
    let token = match token {
        Ok(token) => token.header.len(),
        Err(Failure::Refused) => 0,
        Err(Failure::Failed(error)) => error.message.len(),
    };
    let service = key.service.as_ref().map_or(0, String::len);
    let key = key.host.len() + key.realm.as_str().len() + service + key.scope.len();
    OVERHEAD + key + token
}

/// The value of `Authorization` for Basic.
pub(super) fn basic(credential: &Credential) -> Option<HeaderValue> {
    let Proof::Password { user, password } = &credential.proof else { return None };
    let text = STANDARD.encode(format!("{user}:{}", password.expose_secret()));
    header("Basic", &text)
}

fn header(scheme: &str, text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("{scheme} {text}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

async fn fetch(
    http: &Http,
    registry: &Endpoint,
    source: &Source,
    key: &Key,
    credential: &Credential,
) -> Result<Token, Failure> {
    let what = format!("a token for {}", source.repository);
    let service = key.service.iter().map(|service| ("service", service.as_str()));
    let scopes = key.scope.split(' ').filter(|scope| !scope.is_empty());
    let mut url = key.realm.clone();
    let ask = if let Proof::IdentityToken(token) = &credential.proof {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs([("grant_type", "refresh_token"), ("client_id", "supercargo")]);
        form.extend_pairs(service).append_pair("scope", &key.scope);
        let form = form.append_pair("refresh_token", token.expose_secret()).finish();
        Ask {
            class: Class::Token,
            source,
            method: Method::POST,
            url,
            accept: "application/json",
            form: Some(form),
            what: &what,
        }
    } else {
        url.query_pairs_mut().extend_pairs(service).extend_pairs(scopes.map(|scope| ("scope", scope)));
        Ask {
            class: Class::Token,
            source,
            method: Method::GET,
            url,
            accept: "application/json",
            form: None,
            what: &what,
        }
    };
    let mut answer = http.send(registry, &ask, basic(credential).as_ref()).await.map_err(Failure::Failed)?;
    if matches!(answer.status().as_u16(), 401 | 403) {
        return Err(Failure::Refused);
    }
    if !answer.status().is_success() {
        return Err(Failure::Failed(answer.unexpected()));
    }
    let body = answer.body(MAX_ANSWER).await.map_err(Failure::Failed)?;
    let no_token = || Failure::Failed(answer.broken("sent no token"));
    let parsed: TokenAnswer = serde_json::from_slice(&body).map_err(|_| no_token())?;
    let text = parsed.token.filter(|t| !t.is_empty()).or(parsed.access_token).filter(|t| !t.is_empty());
    let text = text.ok_or_else(no_token)?;
    if text.len() > MAX_TOKEN {
        let why = format!("{} sent a token of {} bytes; at most {MAX_TOKEN} are used", answer.host, text.len());
        return Err(Failure::Failed(fail(RegistryErrorKind::Auth, why)));
    }
    let says = parsed.expires_in.as_ref().and_then(seconds);
    let lifetime = says.or_else(|| own_lifetime(&text, http.clock.now())).unwrap_or(DEFAULT_LIFETIME);
    let since = http.clock.monotonic();
    let until = since + usable(lifetime);
    Ok(Token { header: header("Bearer", &text).ok_or_else(no_token)?, since, until })
}

/// For how long a token is used: until shortly before it expires.
fn usable(lifetime: Duration) -> Duration {
    let lifetime = lifetime.min(LONGEST_LIFETIME);
    lifetime - (lifetime / 10).min(Duration::from_secs(30))
}

fn seconds(value: &serde_json::Value) -> Option<Duration> {
    let number = value.as_f64().or_else(|| value.as_str()?.parse().ok())?;
    positive(number)
}

/// What a JWT says of itself. It is not checked: a wrong one only costs a request.
fn own_lifetime(token: &str, now: jiff::Timestamp) -> Option<Duration> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?.trim_end_matches('=')).ok()?;
    let claims: Claims = serde_json::from_slice(&claims).ok()?;
    // Counted from its own beginning, so that a clock that is wrong does not matter.
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit")]
    let from = claims.iat.unwrap_or(now.as_second() as f64);
    positive(claims.exp - from)
}

fn positive(seconds: f64) -> Option<Duration> {
    if seconds >= 1.0 { Some(Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST_LIFETIME)) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[rstest::rstest]
    #[case(secs(60), secs(54))]
    #[case(secs(300), secs(270))]
    #[case(secs(3600), secs(3570))]
    #[case(Duration::MAX, secs(86_370))]
    fn a_token_is_used_until_shortly_before_its_end(#[case] lifetime: Duration, #[case] used: Duration) {
        assert_eq!(usable(lifetime), used);
    }

    #[rstest::rstest]
    #[case("300", Some(secs(300)))]
    #[case("\"300\"", Some(secs(300)))]
    #[case("300.5", Some(Duration::from_millis(300_500)))]
    #[case("1e300", Some(LONGEST_LIFETIME))]
    #[case("0", None)]
    #[case("-1", None)]
    #[case("null", None)]
    #[case("\"soon\"", None)]
    #[case("[]", None)]
    fn expires_in_is_read_leniently(#[case] json: &str, #[case] expected: Option<Duration>) {
        assert_eq!(seconds(&serde_json::from_str(json).unwrap()), expected);
    }

    #[rstest::rstest]
    #[case(r#"{"exp": 1000900, "iat": 1000000}"#, Some(secs(900)))]
    #[case(r#"{"exp": 4600, "iat": 3600}"#, Some(secs(1000)))]
    #[case(r#"{"exp": 1000700}"#, Some(secs(700)))]
    #[case(r#"{"exp": 5}"#, None)]
    #[case(r#"{"sub": "x"}"#, None)]
    #[case("x", None)]
    fn a_token_that_says_when_it_ends_is_believed(#[case] claims: &str, #[case] expected: Option<Duration>) {
        let now = jiff::Timestamp::from_second(1_000_000).unwrap();
        let token = format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(claims));
        assert_eq!(own_lifetime(&token, now), expected);
        assert_eq!(own_lifetime(claims, now), None);
    }
}
