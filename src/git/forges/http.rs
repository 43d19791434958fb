//! One request to a forge: with its token, to its host only, within its time and size, and not before a forge that
//! asked to wait has been waited for.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use reqwest::{
    Method, StatusCode,
    header::{ACCEPT, AUTHORIZATION, AsHeaderName, HeaderMap, HeaderValue, RETRY_AFTER},
};
use secrecy::ExposeSecret as _;
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use super::{
    error::{ForgeError, words},
    settings::{AnyToken, RepositoryPlace},
};
use crate::{
    domain::{back_off::BackOff, image::excerpt},
    net::{Pause, Way, cause, retry_after},
    ports::Clock,
};

/// The longest answer: a page of thirty requests, each with its repositories and a body of 64 KiB.
const MAX_ANSWER: usize = 8 * 1024 * 1024;
const MAX_REDIRECTS: usize = 3;
/// How long a forge is left alone that does not say for how long (GitHub: at least a minute).
const GUESS: BackOff = BackOff::millis(60_000, 900_000);

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
    pub(super) place: RepositoryPlace,
    dialect: Dialect,
    token: AnyToken,
    pub(super) clock: Arc<dyn Clock>,
    /// Limits are those of an identity, so others of the same host are not held.
    pause: Mutex<Pause>,
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
        client: reqwest::Client,
        place: RepositoryPlace,
        dialect: Dialect,
        token: AnyToken,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { client, place, dialect, token, clock, pause: Mutex::default() }
    }

    /// The address of these parts below the API, each encoded, slashes in it too.
    pub(super) fn url(&self, parts: &[&str]) -> Url {
        let mut url = self.place.api.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(parts);
        }
        url
    }

    /// As [`url`](Self::url), below `repos/owner/name`.
    pub(super) fn repos(&self, parts: &[&str]) -> Url {
        let (owner, name) = self.place.repository.split_once('/').unwrap_or_default();
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
        let host = self.place.api.host_str().unwrap_or_default();
        self.place.api.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    fn may_send(&self) -> Result<(), ForgeError> {
        match self.pause().rest(self.clock.monotonic()) {
            None => Ok(()),
            Some(after) => Err(ForgeError::Limited { host: self.host(), after }),
        }
    }

    /// GitHub: 403 or 429, with `Retry-After`, or without requests left until a time, or with words of a limit alone.
    /// Others: 429, or 503 with `Retry-After`.
    fn check_limit(&self, answer: &ForgeAnswer) -> Result<(), ForgeError> {
        let is_limit = match answer.status.as_u16() {
            429 => true,
            503 => answer.header(RETRY_AFTER).is_some(),
            403 => {
                let says_so = || words(&answer.body).is_some_and(|words| words.to_lowercase().contains("rate limit"));
                let tells = || answer.header(RETRY_AFTER).is_some() || self.rest(answer).is_some();
                self.dialect.limit.is_some() && (tells() || says_so())
            }
            _ => false,
        };
        if is_limit {
            return Err(self.limited(answer));
        }
        self.pause().release(self.clock.monotonic());
        Ok(())
    }

    /// Takes down that nothing is sent for a while.
    pub(super) fn limited(&self, answer: &ForgeAnswer) -> ForgeError {
        let asked = answer.header(RETRY_AFTER).and_then(|text| retry_after(text, self.clock.now()));
        let (mut pause, now) = (self.pause(), self.clock.monotonic());
        pause.extend(asked.or_else(|| self.rest(answer)), GUESS, now);
        ForgeError::Limited { host: self.host(), after: pause.rest(now).unwrap_or_default() }
    }

    fn pause(&self) -> MutexGuard<'_, Pause> {
        self.pause.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn header(&self, name: impl AsHeaderName) -> Option<&str> {
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
