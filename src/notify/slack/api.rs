//! The Web API of Slack: one method a request, JSON in and out, and what its errors ask for (docs.slack.dev, "Web API").

use std::{path::PathBuf, time::Duration};

use http::{StatusCode, header::RETRY_AFTER};
use reqwest::{Client, Response};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use crate::{
    metrics::{Metrics, SlackLabels},
    net::{LONGEST_PAUSE, cause, foreign, retry_after},
    ports::Clock,
};

/// Where Slack is, unless `api` says otherwise.
pub const API: &str = "https://slack.com/api/";
/// The longest answer that is read.
const MAX_ANSWER: usize = 4 << 20;
/// The longest token.
const MAX_TOKEN: u64 = 4096;

/// A secret that is read again whenever it is used, where it stands in a file.
#[derive(Debug, Clone)]
pub enum Token {
    /// A file that holds it.
    File(PathBuf),
    /// What the environment held at the start.
    Given(SecretString),
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(one), Self::File(other)) => one == other,
            (Self::Given(one), Self::Given(other)) => one.expose_secret() == other.expose_secret(),
            _ => false,
        }
    }
}

impl Token {
    /// What it says now.
    pub async fn read(&self) -> Result<SecretString, String> {
        let path = match self {
            Self::Given(token) => return Ok(token.clone()),
            Self::File(path) => path,
        };
        let say = |error: std::io::Error| format!("the token in {} cannot be read: {error}", path.display());
        if tokio::fs::metadata(path).await.map_err(say)?.len() > MAX_TOKEN {
            return Err(format!("{} is too long for a token", path.display()));
        }
        let text = SecretString::from(tokio::fs::read_to_string(path).await.map_err(say)?);
        Ok(SecretString::from(text.expose_secret().trim()))
    }
}

/// Why a call brought nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// Slack asks to wait that long.
    #[error("Slack asks to wait {} s", .0.as_secs())]
    Later(Duration),
    /// It was not done, or Slack says that it is in trouble.
    #[error("{0}")]
    Away(String),
    /// It was asked, and no answer came: it may still be done.
    #[error("{0}")]
    Lost(String),
    /// There is no token to ask with; why.
    #[error("{0}")]
    NoToken(String),
    /// Slack says no, by this code of its documentation.
    #[error("Slack says `{0}`")]
    No(String),
}

impl ApiError {
    /// Whether whatever is asked next would fail, too.
    pub fn is_of_all(&self) -> bool {
        !matches!(self, Self::No(_)) || self.advice().is_some()
    }

    /// What a person can do about it, where only a person can.
    pub fn advice(&self) -> Option<&'static str> {
        let code = match self {
            Self::No(code) => code.as_str(),
            Self::NoToken(_) => return Some("put the token where the configuration says, readable for the operator"),
            Self::Later(_) | Self::Away(_) | Self::Lost(_) => return None,
        };
        Some(match code {
            "channel_not_found" => "use the channel's id (C…), and invite the app there",
            "not_in_channel" => "invite the app to the channel: /invite @supercargo",
            "is_archived" => "the channel is archived: name another in `channels`",
            "invalid_auth"
            | "not_authed"
            | "account_inactive"
            | "token_revoked"
            | "token_expired"
            | "not_allowed_token_type" => {
                "install the app again and put its tokens where the configuration says: xoxb-… is the bot's, xapp-… the app's"
            }
            "missing_scope" | "no_permission" => "give the app the scopes of docs/slack.md and install it again",
            WRONG_APP => "take both tokens and `appId` from the same app: its id stands under Basic Information",
            "link_disabled" => "switch Socket Mode on again, in the settings of the app",
            "restricted_action"
            | "ekm_access_denied"
            | "team_access_not_granted"
            | "access_denied"
            | "forbidden_team"
            | "enterprise_is_restricted" => "an administrator of the workspace must allow it",
            code if code.starts_with("restricted_action") => "an administrator of the workspace must allow it",
            _ => return None,
        })
    }
}

/// Not of Slack's: the tokens are of another app than `appId`.
pub const WRONG_APP: &str = "wrong_app";

/// The Web API as one app.
#[derive(Debug)]
pub struct Api {
    client: Client,
    base: Url,
}

/// A method, and whose token it takes.
#[derive(Debug, Clone, Copy)]
pub struct Method {
    /// `chat.postMessage`
    pub name: &'static str,
    /// Whether arguments go in the URL, as methods that only read have it.
    reads: bool,
}

/// Whether a token is good, and whose it is.
pub const AUTH_TEST: Method = Method { name: "auth.test", reads: false };
/// Where a socket can be opened (app token).
pub const OPEN: Method = Method { name: "apps.connections.open", reads: false };
/// A new message.
pub const POST: Method = Method { name: "chat.postMessage", reads: false };
/// The same message, anew.
pub const UPDATE: Method = Method { name: "chat.update", reads: false };
/// What stands in a channel.
pub const HISTORY: Method = Method { name: "conversations.history", reads: true };
/// What stands below a message.
pub const REPLIES: Method = Method { name: "conversations.replies", reads: true };

impl Api {
    /// Makes no request yet.
    pub fn new(client: Client, base: Url) -> Self {
        Self { client, base }
    }

    /// The client, for what is no method.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Whether Slack says so there: over TLS at its own hosts, or where `api` is.
    pub fn is_slack(&self, url: &Url, schemes: [&str; 2]) -> bool {
        let [tls, plain] = schemes;
        let Some(host) = url.host_str() else { return false };
        let is_own = [".slack.com", ".slack-gov.com"].iter().any(|end| host.ends_with(end));
        let is_there = Some(host) == self.base.host_str() && self.base.as_str() != API;
        let is_plain = is_there && self.base.scheme() == "http" && url.scheme() == plain;
        url.username().is_empty() && (is_own || is_there) && (url.scheme() == tls || is_plain)
    }

    /// Calls a method with these arguments.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        token: &Token,
        arguments: &Value,
        clock: &dyn Clock,
        metrics: &Metrics,
    ) -> Result<T, ApiError> {
        let answer = self.answer(method, token, arguments, clock).await;
        let outcome = match &answer {
            Ok(_) => "ok",
            Err(ApiError::Later(_)) => "rate-limited",
            Err(ApiError::Away(_) | ApiError::Lost(_) | ApiError::NoToken(_)) => "unavailable",
            Err(ApiError::No(_)) => "refused",
        };
        metrics.slack_requests.get_or_create(&SlackLabels { method: method.name, outcome }).inc();
        let answer = answer?;
        serde_json::from_value(answer).map_err(|_| ApiError::Away("Slack answered something else".to_owned()))
    }

    async fn answer(
        &self,
        method: Method,
        token: &Token,
        arguments: &Value,
        clock: &dyn Clock,
    ) -> Result<Value, ApiError> {
        let token = token.read().await.map_err(ApiError::NoToken)?;
        let Ok(mut url) = self.base.join(method.name) else {
            return Err(ApiError::Away("the address of `slack.api` is none".to_owned()));
        };
        let request = if method.reads {
            for (key, value) in arguments.as_object().into_iter().flatten() {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                url.query_pairs_mut().append_pair(key, &value);
            }
            self.client.get(url)
        } else {
            self.client.post(url).json(arguments)
        };
        let request = request.bearer_auth(token.expose_secret());
        let response = request.send().await.map_err(|error| match error.is_connect() {
            true => ApiError::Away(why(&error)),
            false => ApiError::Lost(why(&error)),
        })?;
        let status = response.status();
        if status == StatusCode::TOO_MANY_REQUESTS {
            let asked = response.headers().get(RETRY_AFTER).and_then(|header| header.to_str().ok());
            let asked = asked.and_then(|header| retry_after(header, clock.now()));
            return Err(ApiError::Later(asked.unwrap_or(Duration::from_secs(30)).min(LONGEST_PAUSE)));
        }
        if !status.is_success() {
            return Err(ApiError::Away(format!("Slack answered with {}", status.as_u16())));
        }
        let answer: Value = body(response).await?;
        match (answer["ok"].as_bool(), answer["error"].as_str()) {
            (Some(true), _) => Ok(answer),
            // These may go by themselves.
            (_, Some(code @ ("internal_error" | "fatal_error" | "service_unavailable" | "request_timeout"))) => {
                Err(ApiError::Away(format!("Slack says `{code}`")))
            }
            (_, Some("ratelimited" | "rate_limited")) => Err(ApiError::Later(Duration::from_secs(30))),
            (Some(false), Some(code)) => Err(ApiError::No(foreign(&code.chars().take(64).collect::<String>()))),
            _ => Err(ApiError::Away("Slack answered something else".to_owned())),
        }
    }
}

/// What went wrong with a request. The URL is never told, as it may hold a ticket.
pub fn why(error: &reqwest::Error) -> String {
    format!("Slack did not answer: {}", cause(error))
}

async fn body(mut response: Response) -> Result<Value, ApiError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| ApiError::Lost(why(&error)))? {
        if bytes.len() + chunk.len() > MAX_ANSWER {
            return Err(ApiError::Away("Slack's answer is too long".to_owned()));
        }
        bytes.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&bytes).map_err(|_| ApiError::Away("Slack answered something else".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case(API, "wss://wss-primary.slack.com/link/?ticket=x", true)]
    #[case(API, "wss://wss.slack-gov.com/link", true)]
    #[case(API, "ws://wss-primary.slack.com/link", false)]
    #[case(API, "wss://slack.com.evil.example/link", false)]
    #[case(API, "wss://evil-slack.com/link", false)]
    #[case(API, "wss://a:b@x.slack.com/link", false)]
    #[case(API, "https://x.slack.com/link", false)]
    #[case("http://127.0.0.1:7/api/", "ws://127.0.0.1:8/link", true)]
    #[case("https://127.0.0.1:7/api/", "ws://127.0.0.1:8/link", false)]
    #[case("https://127.0.0.1:7/api/", "wss://127.0.0.1:8/link", true)]
    #[case("http://127.0.0.1:7/api/", "ws://127.0.0.2:8/link", false)]
    fn a_socket_is_at_slack_or_where_the_api_is(#[case] base: &str, #[case] url: &str, #[case] good: bool) {
        let api = Api::new(Client::new(), base.parse().unwrap());
        assert_eq!(api.is_slack(&url.parse().unwrap(), ["wss", "ws"]), good);
    }
}
