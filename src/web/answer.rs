//! What a sender of a webhook is told.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde_json::json;

use super::body::BodyError;
use crate::ingest::webhook::{self, Sender};

/// What became of a webhook.
#[derive(Debug)]
pub(super) enum HookAnswer {
    Queued,
    Unwatched,
    Ignored,
    Invalid(String),
    Slow,
    /// What would prove that it knows the secret.
    Unauthorized(String),
    NotFound(String),
    TooLarge,
    TooMany,
    NoRoom,
    Unavailable,
}

impl From<BodyError> for HookAnswer {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Broken => Self::Invalid("the body broke off".to_owned()),
            BodyError::TooLarge => Self::TooLarge,
            BodyError::Slow => Self::Slow,
            BodyError::NoRoom => Self::NoRoom,
        }
    }
}

impl HookAnswer {
    /// A sender of that name is not there or off.
    pub(super) fn not_found(name: &str) -> Self {
        Self::NotFound(not_found(name))
    }

    /// What is asked for is no address of a sender.
    pub(super) fn no_address() -> Self {
        Self::NotFound("no webhook comes here: post it to /hooks/<sender>".to_owned())
    }

    /// The request does not prove that the sender knows the secret.
    pub(super) fn unauthorized(sender: &Sender, headers: &HeaderMap) -> Self {
        let wanted: Vec<_> = sender.proofs.iter().map(ToString::to_string).collect();
        let mut text = format!("the secret is wrong or missing: it is shown by {}", wanted.join(", or by "));
        if let Some(other) = webhook::meant_for_another(sender, headers) {
            text = format!("{text}; {other}");
        }
        let is_form = |value: &HeaderValue| value.as_bytes().starts_with(b"application/x-www-form-urlencoded");
        if headers.get(CONTENT_TYPE).is_some_and(is_form) {
            text.push_str("; the body is a form: let it be sent as application/json");
        }
        Self::Unauthorized(text)
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Queued | Self::Unwatched | Self::Ignored => StatusCode::ACCEPTED,
            Self::Invalid(_) | Self::Slow => StatusCode::BAD_REQUEST,
            Self::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::NoRoom | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// For the metric.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Unwatched => "unwatched",
            Self::Ignored => "ignored",
            Self::Invalid(_) | Self::Slow => "invalid",
            Self::Unauthorized(_) => "unauthorized",
            Self::NotFound(_) => "off",
            Self::TooLarge => "too-large",
            Self::TooMany => "too-many",
            Self::NoRoom | Self::Unavailable => "unavailable",
        }
    }

    /// What is said to whoever is refused.
    pub(super) fn error(&self) -> Option<&str> {
        match self {
            Self::Queued | Self::Unwatched | Self::Ignored => None,
            Self::Invalid(text) | Self::Unauthorized(text) | Self::NotFound(text) => Some(text),
            Self::Slow => Some("the body comes too slowly: it may take 3 s, and one more for each 128 KiB"),
            Self::TooLarge => Some("the body is longer than 1 MiB"),
            Self::TooMany => Some("too many webhooks are waiting: send it again later"),
            Self::NoRoom => Some("too many bodies are read at once: send it again"),
            Self::Unavailable => Some("stopping: send it again"),
        }
    }
}

impl IntoResponse for HookAnswer {
    fn into_response(self) -> Response {
        let body = match self.error() {
            None => json!({"outcome": self.outcome()}),
            Some(error) => json!({"error": error}),
        };
        let mut response = (self.status(), Json(body)).into_response();
        let extra = match self {
            Self::Unauthorized(_) => Some((WWW_AUTHENTICATE, "Bearer")),
            Self::TooMany | Self::NoRoom | Self::Unavailable => Some((RETRY_AFTER, "1")),
            _ => None,
        };
        response.headers_mut().extend(extra.map(|(name, value)| (name, HeaderValue::from_static(value))));
        response
    }
}

fn not_found(name: &str) -> String {
    if let Some(sender) = Sender::find(name) {
        let (name, variable) = (sender.name, sender.name.to_ascii_uppercase());
        return format!(
            "sender `{name}` is off: give it a secret (the key `{name}` of the Secret supercargo-hooks, which is \
             SUPERCARGO_HOOK_SECRET_{variable} and read at the start, or files in the configuration), or allow it \
             without one (--hooks-allow-unsigned {name})"
        );
    }
    webhook::unknown(name)
}
