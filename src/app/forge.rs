//! The forge of a Git target, by its configuration.

use std::sync::Arc;

use url::Url;

use crate::{
    config::{ConfigError, GitConfig},
    git::{
        RequestSettings, Requests, Secret,
        forges::{self, AnyToken, AppSettings, GithubApp, Timeouts},
    },
    ports::{Clock, Registry},
};

/// What a target has at its forge.
pub(super) struct Forge {
    /// What its settings say, for comparing.
    pub(super) shown: String,
    /// What Git is let in with, where that is a GitHub App.
    pub(super) app: Option<Arc<GithubApp>>,
    /// How it makes requests, if it does.
    pub(super) requests: Option<Requests>,
}

/// The forge of a target; none if it names none.
pub(super) fn forge(
    entry: &GitConfig,
    clock: &Arc<dyn Clock>,
    registry: Option<&Arc<dyn Registry>>,
) -> Result<Option<Forge>, ConfigError> {
    let wrong = |why: &dyn std::fmt::Display| ConfigError::one(format!("git: {}: forge: {why}", entry.name));
    let app = entry.credentials.github_app.as_ref();
    let Some(name) = entry.forge.as_deref().or(app.map(|_| "github")) else { return Ok(None) };
    let kind = forges::named(name).map_err(|why| wrong(&why))?;
    let api = entry.api.as_deref().map(Url::parse).transpose().map_err(|why| wrong(&format!("api: {why}")))?;
    let place = forges::place(kind, &entry.url, api.as_ref()).map_err(|why| wrong(&why))?;
    let settings = forges::Settings {
        kind,
        api: place.api,
        repository: place.repository,
        base: entry.branch.clone(),
        ca: entry.ca.clone(),
        proxy: entry.proxy.clone(),
        timeouts: Timeouts::default(),
    };
    let makes_requests = entry.forge.is_some();
    let app = app.map(|app| AppSettings {
        app_id: app.app_id.to_string(),
        installation_id: app.installation_id,
        key: app.key_file.clone(),
        pull_requests: makes_requests,
    });
    let request = entry.pull_request.clone().unwrap_or_default();
    let shown = format!("{settings:?} {app:?} {request:?}");
    let app = app.map(|app| GithubApp::new(&settings, app, clock.clone()).map(Arc::new)).transpose();
    let app = app.map_err(|error| wrong(&error))?;
    let own = secret(request.token_file.as_ref(), request.token.as_ref());
    let gits = secret(entry.credentials.token_file.as_ref(), entry.credentials.token.as_ref());
    let token = own.or(gits).map(|secret| Arc::new(secret) as AnyToken).or_else(|| Some(app.clone()? as AnyToken));
    let requests = match token.filter(|_| makes_requests) {
        None => None,
        Some(token) => {
            let forge = forges::connect(&settings, token, clock.clone()).map_err(|error| wrong(&error))?;
            let settings = RequestSettings {
                labels: request.labels,
                reviewers: request.reviewers,
                assignees: request.assignees,
                draft: request.draft,
                auto_merge: request.auto_merge,
                max_open: request.max_open.unwrap_or(RequestSettings::default().max_open),
            };
            Some(Requests { forge, settings, registry: registry.cloned() })
        }
    };
    Ok(Some(Forge { shown, app, requests }))
}

/// A secret of the configuration: a file, or what the environment holds.
pub(super) fn secret(file: Option<&std::path::PathBuf>, value: Option<&secrecy::SecretString>) -> Option<Secret> {
    file.cloned().map(Secret::File).or_else(|| value.cloned().map(Secret::Value))
}
