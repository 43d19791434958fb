//! `git[].forge`: where pull requests are made, and with what.

use std::path::PathBuf;

use serde::Deserialize;

use super::EnvSecret;

/// `pullRequest`: what a pull request is given.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RequestConfig {
    /// Labels by name.
    pub labels: Vec<String>,
    /// Users, or teams as `org/team`.
    pub reviewers: Vec<String>,
    /// Users.
    pub assignees: Vec<String>,
    /// Whether it is opened as a draft.
    pub draft: bool,
    /// Whether it is merged as soon as the forge's rules allow that.
    pub auto_merge: bool,
    /// How many requests of groups a namespace may have open; 10 if absent.
    pub max_open: Option<usize>,
    /// A file that holds the token for the forge's API, where that is another than the one for Git.
    pub token_file: Option<PathBuf>,
    /// The environment variable that holds it.
    pub token_env: Option<String>,
    /// What `tokenEnv` names.
    #[serde(skip)]
    pub token: Option<EnvSecret>,
}

/// `credentials.githubApp`: an app whose installation tokens are used for Git and for the API.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AppConfig {
    /// The app's id, or its client id.
    pub app_id: AppId,
    /// Its installation; asked for if absent.
    pub installation_id: Option<u64>,
    /// The file of its private key (PEM), read again for each token.
    pub key_file: PathBuf,
}

/// A number, as GitHub shows it, or a text.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum AppId {
    /// `12345`
    Number(u64),
    /// `Iv1.…`
    Text(String),
}

impl std::fmt::Display for AppId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(id) => write!(f, "{id}"),
            Self::Text(id) => f.write_str(id),
        }
    }
}

impl RequestConfig {
    /// Everything that is wrong with it. Takes in what the environment holds for it.
    pub(super) fn check(&mut self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.max_open == Some(0) {
            problems.push("pullRequest: maxOpen: at least 1; without `forge` there are no requests".to_owned());
        }
        if self.token_file.is_some() && self.token_env.is_some() {
            problems.push("pullRequest: both `tokenFile` and `tokenEnv` are given: take one of them out".to_owned());
        }
        if let Some(name) = &self.token_env {
            match EnvSecret::read(name) {
                Ok(secret) => self.token = Some(secret),
                Err(why) => problems.push(format!("pullRequest: {why}")),
            }
        }
        problems
    }

    /// Whether it brings a token of its own.
    pub(super) fn has_token(&self) -> bool {
        self.token_file.is_some() || self.token_env.is_some()
    }
}
