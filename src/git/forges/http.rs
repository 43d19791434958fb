//! One request to a forge: with its token, to its host only, within its time and size, and not before a forge that
//! asked to wait has been waited for.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use reqwest::{
    Certificate, Method, Proxy, StatusCode,
    header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue},
};
use secrecy::ExposeSecret as _;
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use super::{
    error::{ForgeError, words},
    settings::{AnyToken, Settings},
};
use crate::{
    domain::image::excerpt,
    net::{Way, cause},
    ports::Clock,
};

const USER_AGENT: &str = concat!("supercargo/", env!("CARGO_PKG_VERSION"));
/// The longest answer: a page of thirty requests, each with its repositories and a body of 64 KiB.
const MAX_ANSWER: usize = 8 * 1024 * 1024;
const MAX_REDIRECTS: usize = 3;
/// How long a forge is left alone that does not say for how long (GitHub: at least a minute), doubled each time.
const FIRST_WAIT: Duration = Duration::from_secs(60);
/// The longest that it may ask for, and the longest guess: then it is asked again, as a registry is.
const LONGEST_WAIT: Duration = Duration::from_secs(900);

/// How one kind of API is spoken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dialect {
    /// What stands before the token in `Authorization`.
    pub(super) scheme: &'static str,
    pub(super) accept: &'static str,
    pub(super) headers: &'static [(&'static str, &'static str)],
    /// The headers that tell how many requests are left, and when (Unix time) there are more.
    pub(super) limit: Option<(&'static str, &'static str)>,
}

/// The connection to one forge as one identity.
pub(super) struct Http {
    client: reqwest::Client,
    pub(super) api: Url,
    pub(super) repository: String,
    pub(super) base: String,
    dialect: Dialect,
    token: AnyToken,
    pub(super) clock: Arc<dyn Clock>,
    /// Until when nothing is sent, and how often in a row it did not say for how long.
    hold: Mutex<(Duration, u32)>,
}

/// An answer that is neither a redirect nor a refusal to answer now.
pub(super) struct ForgeAnswer {
    pub(super) status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
    /// `api.github.com answered 422 Unprocessable Entity to: opening a request`
    said: String,
}

impl Http {
    pub(super) fn new(
        settings: &Settings,
        dialect: Dialect,
        token: AnyToken,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ForgeError> {
        let refused = |why: &str| ForgeError::Refused(why.to_owned());
        let timeouts = settings.timeouts;
        let mut builder = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .connect_timeout(timeouts.connect)
            .read_timeout(timeouts.read)
            .timeout(timeouts.request)
            .pool_max_idle_per_host(1);
        if let Some(proxy) = &settings.proxy {
            builder = builder.proxy(Proxy::all(proxy).map_err(|_| refused("the proxy's address cannot be read"))?);
        }
        if let Some(pem) = &settings.ca {
            let certificates = Certificate::from_pem_bundle(pem).unwrap_or_default();
            if certificates.is_empty() {
                return Err(refused("`ca` holds no PEM certificate that can be read"));
            }
            builder = builder.tls_certs_merge(certificates);
        }
        let client =
            builder.build().map_err(|error| refused(&format!("no TLS client can be made: {}", cause(&error))))?;
        let Settings { api, repository, base, .. } = settings.clone();
        Ok(Self { client, api, repository, base, dialect, token, clock, hold: Mutex::default() })
    }

    /// The address of these parts below the API, each encoded, slashes in it too.
    pub(super) fn url(&self, parts: &[&str]) -> Url {
        let mut url = self.api.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(parts);
        }
        url
    }

    /// As [`url`](Self::url), below `repos/owner/name`.
    pub(super) fn repos(&self, parts: &[&str]) -> Url {
        let (owner, name) = self.repository.split_once('/').unwrap_or_default();
        self.url(&[&["repos", owner, name], parts].concat())
    }

    /// Asks, and reads the answer of a success.
    pub(super) async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        url: Url,
        body: Option<&Value>,
        what: &str,
    ) -> Result<T, ForgeError> {
        self.send(method, url, body, what).await?.json()
    }

    /// Asks. A token that was refused is asked for once more, as it may have been replaced meanwhile.
    pub(super) async fn send(
        &self,
        method: Method,
        url: Url,
        body: Option<&Value>,
        what: &str,
    ) -> Result<ForgeAnswer, ForgeError> {
        let token = self.token.token().await?;
        let answer = self.send_as(token.expose_secret(), &method, url.clone(), body, what).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        self.token.forget();
        let next = self.token.token().await?;
        match next.expose_secret() == token.expose_secret() {
            true => Ok(answer),
            false => self.send_as(next.expose_secret(), &method, url, body, what).await,
        }
    }

    async fn send_as(
        &self,
        token: &str,
        method: &Method,
        url: Url,
        body: Option<&Value>,
        what: &str,
    ) -> Result<ForgeAnswer, ForgeError> {
        let mut way = Way::new(url);
        let mut secret = HeaderValue::from_str(&format!("{} {token}", self.dialect.scheme))
            .map_err(|_| ForgeError::Auth("the token holds characters that no token has".to_owned()))?;
        secret.set_sensitive(true);
        for _ in 0..=MAX_REDIRECTS {
            self.may_send()?;
            let mut request = self.client.request(method.clone(), way.url().clone());
            for (name, value) in self.dialect.headers {
                request = request.header(*name, *value);
            }
            request = request.header(ACCEPT, self.dialect.accept).header(AUTHORIZATION, secret.clone());
            if let Some(body) = body {
                request = request.json(body);
            }
            let host = self.host();
            let response = request.send().await.map_err(|error| broken(&host, what, &error))?;
            let (status, headers) = (response.status(), response.headers().clone());
            let said = format!("{host} answered {status} to: {what}");
            let body = body_of(response, &host, what).await?;
            let answer = ForgeAnswer { status, headers, body, said };
            self.check_limit(&answer)?;
            // A repository that was renamed: the same host says where it is now.
            let is_same_method = matches!(status.as_u16(), 307 | 308) || *method == Method::GET;
            if !(status.is_redirection() && is_same_method && way.follow(&answer.headers)) {
                return Ok(answer);
            }
            if let Some(elsewhere) = way.left() {
                return Err(ForgeError::Refused(format!("{}: {elsewhere}: correct the address", answer.said)));
            }
        }
        Err(ForgeError::Unavailable(format!("{} redirects in a circle ({what})", self.host())))
    }

    fn host(&self) -> String {
        let host = self.api.host_str().unwrap_or_default();
        self.api.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    fn may_send(&self) -> Result<(), ForgeError> {
        let (until, _) = *self.hold.lock().unwrap_or_else(PoisonError::into_inner);
        match until.saturating_sub(self.clock.monotonic()) {
            Duration::ZERO => Ok(()),
            after => Err(ForgeError::Limited { host: self.host(), after }),
        }
    }

    /// GitHub: 403 or 429, with `Retry-After`, or without requests left until a time, or with words of a limit alone.
    /// Others: 429, or 503 with `Retry-After`.
    fn check_limit(&self, answer: &ForgeAnswer) -> Result<(), ForgeError> {
        let is_limit = match answer.status.as_u16() {
            429 => true,
            503 => answer.header("retry-after").is_some(),
            403 => {
                let says_so = || words(&answer.body).is_some_and(|words| words.to_lowercase().contains("rate limit"));
                let tells = || answer.header("retry-after").is_some() || self.rest(answer).is_some();
                self.dialect.limit.is_some() && (tells() || says_so())
            }
            _ => false,
        };
        if !is_limit {
            self.hold.lock().unwrap_or_else(PoisonError::into_inner).1 = 0;
            return Ok(());
        }
        Err(self.limited(answer))
    }

    /// Takes down that nothing is sent for a while.
    pub(super) fn limited(&self, answer: &ForgeAnswer) -> ForgeError {
        let asked = answer.header("retry-after").and_then(|text| retry_after(text, self.clock.now().as_second()));
        let asked = asked.or_else(|| self.rest(answer));
        let now = self.clock.monotonic();
        let mut hold = self.hold.lock().unwrap_or_else(PoisonError::into_inner);
        let after = asked.unwrap_or_else(|| {
            hold.1 = hold.1.saturating_add(1);
            FIRST_WAIT.saturating_mul(1 << (hold.1 - 1).min(10))
        });
        hold.0 = hold.0.max(now + after.clamp(Duration::from_secs(1), LONGEST_WAIT));
        ForgeError::Limited { host: self.host(), after: hold.0 - now }
    }

    /// Until there are requests left again, where there are none.
    fn rest(&self, answer: &ForgeAnswer) -> Option<Duration> {
        let (remaining, reset) = self.dialect.limit?;
        answer.header(remaining).filter(|left| *left == "0")?;
        let reset: i64 = answer.header(reset)?.parse().ok()?;
        let seconds = reset.saturating_sub(self.clock.now().as_second()).max(1);
        Some(Duration::from_secs(seconds.unsigned_abs()))
    }
}

impl ForgeAnswer {
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, ForgeError> {
        if !self.status.is_success() {
            return Err(self.error());
        }
        serde_json::from_slice(&self.body).map_err(|error| {
            let why = excerpt(&error.to_string());
            ForgeError::Unavailable(format!("{}, but not as documented: {why}", self.said))
        })
    }

    /// A success, whatever it says.
    pub(super) fn done(&self) -> Result<(), ForgeError> {
        if self.status.is_success() { Ok(()) } else { Err(self.error()) }
    }

    /// This answer as an error: it is no success.
    pub(super) fn error(&self) -> ForgeError {
        let text = self.words().map_or_else(|| self.said.clone(), |words| format!("{}: {words}", self.said));
        match self.status.as_u16() {
            401 | 403 => ForgeError::Auth(text),
            404 => ForgeError::NotFound(format!("{text} (or the token may not see it)")),
            408 | 425 | 500.. => ForgeError::Unavailable(text),
            _ => ForgeError::Refused(text),
        }
    }

    /// This answer as an error that passes.
    pub(super) fn not_yet(&self) -> ForgeError {
        ForgeError::Unavailable(self.error().to_string())
    }

    /// The forge's own words.
    pub(super) fn words(&self) -> Option<String> {
        words(&self.body)
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok().map(str::trim)
    }
}

async fn body_of(mut response: reqwest::Response, host: &str, what: &str) -> Result<Vec<u8>, ForgeError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| broken(host, what, &error))? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(ForgeError::Unavailable(format!("{host} sent more than {MAX_ANSWER} bytes ({what})")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn broken(host: &str, what: &str, error: &reqwest::Error) -> ForgeError {
    let why = if error.is_timeout() {
        "did not answer in time".to_owned()
    } else if error.is_connect() {
        format!("cannot be connected to: {}", cause(error))
    } else {
        "broke off its answer".to_owned()
    };
    ForgeError::Unavailable(format!("{host} {why} ({what})"))
}

/// Reads `Retry-After`: seconds, or an HTTP date.
fn retry_after(header: &str, now: i64) -> Option<Duration> {
    let at = || jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(header).ok();
    let seconds = header.parse().ok().or_else(|| Some(at()?.as_second().saturating_sub(now)))?;
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}
