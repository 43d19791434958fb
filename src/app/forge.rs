//! The forge of a Git target, by its configuration.

use std::{path::PathBuf, sync::Arc};

use url::Url;

use super::targets::Problems;
use crate::{
    config::{EnvSecret, GitConfig},
    git::{
        RequestSettings, Requests, Secret,
        forges::{self, AnyToken, AppSettings, GithubApp},
    },
    net::{self, Timeouts},
    ports::{Clock, Registry},
};

/// What a target has at its forge.
pub(super) struct Forge {
    /// What Git is let in with, where that is a GitHub App.
    pub(super) app: Option<Arc<GithubApp>>,
    /// How it makes requests, if it does.
    pub(super) requests: Option<Requests>,
}

/// The forge of a target; none if it names none, or something is wrong. `ca` is what the file of it holds.
pub(super) fn forge(
    entry: &GitConfig,
    ca: Option<&[u8]>,
    clock: &Arc<dyn Clock>,
    registry: Option<&Arc<dyn Registry>>,
    problems: &mut Problems,
) -> Option<Forge> {
    let app = entry.credentials.github_app.as_ref();
    let name = entry.forge.as_deref().or(app.map(|_| "github"))?;
    let kind = problems.take("forge", forges::named(name));
    let api = problems.take("api", entry.api.as_deref().map(Url::parse).transpose());
    let (kind, api) = (kind?, api?);
    let place = problems.take("forge", forges::place(kind, &entry.url, api.as_ref()))?;
    let client = problems.take("forge", net::client(ca, entry.proxy.as_deref(), Timeouts::default()))?;
    let makes_requests = entry.forge.is_some();
    let app = app.map(|app| AppSettings {
        app_id: app.app_id.to_string(),
        installation_id: app.installation_id,
        key: app.key_file.clone(),
        pull_requests: makes_requests,
    });
    let app = app.map(|app| Arc::new(GithubApp::new(client.clone(), place.clone(), app, clock.clone())));
    let request = entry.pull_request.clone().unwrap_or_default();
    let own = secret(request.token_file.as_ref(), request.token.as_ref());
    let gits = secret(entry.credentials.token_file.as_ref(), entry.credentials.token.as_ref());
    let token = own.or(gits).map(|secret| Arc::new(secret) as AnyToken).or_else(|| Some(app.clone()? as AnyToken));
    let requests = token.filter(|_| makes_requests).map(|token| {
        let forge = forges::ForgeSettings { kind, place, base: entry.branch.clone(), client };
        let settings = RequestSettings {
            labels: request.labels,
            reviewers: request.reviewers,
            assignees: request.assignees,
            draft: request.draft,
            auto_merge: request.auto_merge,
            max_open: request.max_open.unwrap_or(RequestSettings::default().max_open),
        };
        Requests { forge: forges::connect(forge, token, clock.clone()), settings, registry: registry.cloned() }
    });
    Some(Forge { app, requests })
}

/// A secret of the configuration: a file, or what the environment holds.
pub(super) fn secret(file: Option<&PathBuf>, value: Option<&EnvSecret>) -> Option<Secret> {
    file.cloned().map(Secret::File).or_else(|| value.map(|value| Secret::Value(value.secret().clone())))
}
