//! `git[].deployers`: who is told of a push.

use std::path::PathBuf;

use globset::GlobSet;
use serde::Deserialize;

use super::{EnvSecret, globs};

/// One entry of `deployers`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DeployerConfig {
    /// Flux's Receiver.
    FluxReceiver(ReceiverConfig),
    /// Argo CD's webhook.
    ArgocdWebhook(ReceiverConfig),
    /// Argo CD's Applications, by their refresh annotation.
    ArgocdRefresh(RefreshConfig),
}

/// Who receives a request.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReceiverConfig {
    /// Where it is.
    pub url: Option<String>,
    /// The file that holds the URL, where that is the secret.
    pub url_file: Option<PathBuf>,
    /// The file that holds what the request is signed with; both are read again whenever they are used.
    pub secret_file: Option<PathBuf>,
    /// The environment variable that holds it.
    pub secret_env: Option<String>,
    /// A file of certificates (PEM) that are trusted for it.
    pub ca: Option<PathBuf>,
    /// What `secretEnv` names.
    #[serde(skip)]
    pub secret: Option<EnvSecret>,
}

/// Which Applications look at Git.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RefreshConfig {
    /// Where they are.
    pub namespace: String,
    /// Names or globs.
    pub applications: Vec<String>,
}

impl DeployerConfig {
    /// Everything that is wrong with it. `has_page`: whether the repository is one that Argo CD knows by a host.
    pub(super) fn check(&mut self, has_page: bool) -> Vec<String> {
        let (kind, mut problems) = match self {
            Self::FluxReceiver(receiver) => ("fluxReceiver", receiver.check(true)),
            Self::ArgocdWebhook(receiver) => ("argocdWebhook", receiver.check(false)),
            Self::ArgocdRefresh(refresh) => ("argocdRefresh", refresh.check()),
        };
        if kind == "argocdWebhook" && !has_page {
            problems.push("Argo CD knows a repository by its host, and this one is a folder".to_owned());
        }
        problems.into_iter().map(|why| format!("{kind}: {why}")).collect()
    }
}

impl ReceiverConfig {
    fn check(&mut self, signed: bool) -> Vec<String> {
        let mut problems = Vec::new();
        let secret = self.secret_file.is_some() || self.secret_env.is_some();
        match (&self.url, &self.url_file) {
            (Some(url), None) => {
                let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).unwrap_or_default();
                if rest.is_empty() || rest.contains(['@', ' ']) || rest.starts_with('/') {
                    problems.push("url: write https://… or http://…, without credentials".to_owned());
                }
                if signed && !secret {
                    problems.push("without a secret the URL is the secret: put it into a `urlFile`".to_owned());
                }
            }
            (None, Some(_)) => {}
            _ => problems.push("name either `url` or `urlFile`".to_owned()),
        }
        if self.secret_file.is_some() && self.secret_env.is_some() {
            problems.push("both `secretFile` and `secretEnv` are given: take one of them out".to_owned());
        }
        if let Some(name) = &self.secret_env {
            match EnvSecret::read(name) {
                Ok(secret) => self.secret = Some(secret),
                Err(why) => problems.push(why),
            }
        }
        problems
    }
}

impl RefreshConfig {
    /// The names as globs.
    pub fn globs(&self) -> Result<GlobSet, globset::Error> {
        globs(&self.applications)
    }

    fn check(&self) -> Vec<String> {
        match self.globs() {
            Err(error) => vec![format!("applications: {error}")],
            Ok(_) if self.applications.is_empty() => vec!["it names no Application".to_owned()],
            Ok(_) => Vec::new(),
        }
    }
}
