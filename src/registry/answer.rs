//! Answers and failures: what they are to the port, and the text people get. Of an answer only its status is told,
//! never its body.

use std::{error::Error, io};

use bytes::Bytes;
use reqwest::{StatusCode, header::HeaderMap};
use tokio::sync::OwnedSemaphorePermit;

use super::{address::Forbidden, http::Class, throttle::Wait};
use crate::{
    net::{Elsewhere, Way, cause},
    ports::{RegistryError, RegistryErrorKind},
};

/// An answer whose body has not been read yet.
#[derive(Debug)]
pub(super) struct UnreadAnswer {
    pub(super) response: reqwest::Response,
    /// Held until it has been read.
    pub(super) _permit: Option<OwnedSemaphorePermit>,
    /// How it was come to.
    pub(super) way: Way,
    pub(super) host: String,
    pub(super) what: String,
    pub(super) class: Class,
    /// Whose credential the request held, for messages.
    pub(super) asked_with: Option<String>,
}

impl UnreadAnswer {
    pub(super) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// This answer as an error: a status that is not what was asked for.
    pub(super) fn unexpected(&self) -> RegistryError {
        let status = self.status();
        let kind = match status.as_u16() {
            401 | 403 => RegistryErrorKind::Auth,
            404 if self.class != Class::Token => RegistryErrorKind::NotFound,
            _ => RegistryErrorKind::Unavailable,
        };
        let mut text = format!("{} answered {status} to the request for {}", self.host, self.what);
        if self.class != Class::Token && matches!(status.as_u16(), 401 | 403 | 404) {
            let with = self.asked_with.as_deref().unwrap_or("no credentials");
            text.push_str(&format!(" (tried {with})"));
        }
        fail(kind, text)
    }

    /// This answer as an error: it breaks the protocol.
    pub(super) fn broken(&self, why: &str) -> RegistryError {
        unavailable(&self.host, &self.what, why)
    }

    /// The whole body, at most `cap` bytes.
    pub(super) async fn body(&mut self, cap: usize) -> Result<Vec<u8>, RegistryError> {
        let announced = self.response.content_length().unwrap_or(0);
        let mut body = Vec::with_capacity(usize::try_from(announced).unwrap_or(0).min(64 * 1024));
        while let Some(piece) = self.piece(cap, body.len()).await? {
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    /// The next piece of the body of which `read` bytes were read; an error if it has more than `cap` bytes.
    pub(super) async fn piece(&mut self, cap: usize, read: usize) -> Result<Option<Bytes>, RegistryError> {
        let too_big = |this: &Self| {
            let error = this.broken(&format!("sent more than {cap} bytes"));
            // A token that nobody can use is as good as none.
            if this.class == Class::Token { RegistryError { kind: RegistryErrorKind::Auth, ..error } } else { error }
        };
        if read == 0 && self.response.content_length().is_some_and(|announced| announced > cap as u64) {
            return Err(too_big(self));
        }
        match self.response.chunk().await {
            Ok(Some(piece)) if read + piece.len() > cap => Err(too_big(self)),
            Ok(piece) => Ok(piece),
            Err(error) => Err(broken(&self.host, &self.what, &error, false)),
        }
    }
}

/// An error with its text.
pub(super) fn fail(kind: RegistryErrorKind, message: impl Into<String>) -> RegistryError {
    RegistryError { kind, message: message.into() }
}

/// What was asked for is elsewhere, and not to be had there without credentials.
pub(super) fn elsewhere(kind: RegistryErrorKind, what: &str, elsewhere: &Elsewhere, why: &str) -> RegistryError {
    fail(kind, format!("{what} cannot be had: {elsewhere}{why}; name the image by the host that serves it"))
}

/// Not to be had now.
pub(super) fn unavailable(host: &str, what: &str, why: &str) -> RegistryError {
    fail(RegistryErrorKind::Unavailable, format!("{host} {why} (asked for {what})"))
}

/// Nothing is asked for a while.
pub(super) fn paused(host: &str, what: &str, wait: Wait) -> RegistryError {
    let seconds = wait.rest.as_secs().max(1);
    let kept = if wait.whole { "nothing is sent to it" } else { "this is not asked of it" };
    let (kind, said) = match wait.is_away {
        true => (RegistryErrorKind::Away(wait.rest), "said that it is unavailable (503)"),
        false => (RegistryErrorKind::Limited(wait.rest), "asked for fewer requests"),
    };
    fail(kind, format!("{host} {said}; {kept} for another {seconds} s (wanted: {what})"))
}

/// What follows the name of a host that is not connected to.
pub(super) fn forbidden_text(forbidden: Forbidden) -> String {
    format!("{forbidden}: in a cluster such a host must be named in the configuration's `registries`")
}

/// A request or a body that failed on its way. Why is told of a host that is `vouched` for only: whether a connection
/// was refused, was reset, or was made and nothing came, would say what listens at an address that only we can reach.
pub(super) fn broken(host: &str, what: &str, error: &reqwest::Error, vouched: bool) -> RegistryError {
    if let Some(forbidden) = chain(error).find_map(|e| e.downcast_ref::<Forbidden>()) {
        return fail(RegistryErrorKind::Refused, format!("{what} leads to {host}, {}", forbidden_text(*forbidden)));
    }
    tracing::debug!(host, what, error = cause(error), "a request to a registry failed");
    let mut why = "did not answer in time, or not to the end".to_owned();
    if vouched || chain(error).any(is_untrusted) {
        why = format!("{why}: {}", cause(error));
    }
    unavailable(host, what, &why)
}

fn is_untrusted(error: &(dyn Error + 'static)) -> bool {
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    matches!(inner.and_then(|inner| inner.downcast_ref()), Some(rustls::Error::InvalidCertificate(_)))
}

fn chain(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    let first: &(dyn Error + 'static) = error;
    std::iter::successors(Some(first), |e: &&(dyn Error + 'static)| (*e).source())
}
