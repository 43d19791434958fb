//! People elsewhere: what the configuration says of Slack, and what telling them needs of the cluster.

use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::watch;

use crate::{
    config::{self, ChannelConfig, Config, TokenSource},
    engine::View,
    metrics::Metrics,
    notify::slack::{
        self, Outbox, Turn,
        api::{API, Token},
    },
    ports::{Clock, Messages, Person, Reviewers},
};

/// The adapters.
pub(super) struct People {
    pub(super) messages: Arc<dyn Messages>,
    pub(super) reviewers: Arc<dyn Reviewers>,
    pub(super) outbox: Outbox,
}

impl People {
    /// Tells them for ever, as the configuration says at any time.
    pub(super) fn tell(
        self,
        view: View,
        clock: &Arc<dyn Clock>,
        metrics: &Arc<Metrics>,
        settings: watch::Receiver<Option<slack::SlackSettings>>,
        leader: watch::Receiver<bool>,
        ready: watch::Receiver<bool>,
    ) -> impl Future<Output = ()> + use<> {
        let Self { messages, reviewers, outbox } = self;
        let (explain, clock, metrics) = (Arc::new(view), clock.clone(), metrics.clone());
        slack::run(
            slack::Ports { messages, reviewers, explain, clock, metrics },
            outbox,
            settings,
            Turn { leader, ready },
        )
    }
}

/// What the configuration says of Slack.
pub fn slack_settings(config: &Config) -> anyhow::Result<Option<slack::SlackSettings>> {
    let Some(settings) = &config.slack else { return Ok(None) };
    let token = |source: Option<TokenSource>| match source.context("slack: a token is missing")? {
        TokenSource::File(path) => anyhow::Ok(Token::File(path)),
        TokenSource::Given(secret) => Ok(Token::Given(secret.secret().clone())),
    };
    let ca = settings.ca.as_deref().map(|path| config::read_text(path).map(String::into_bytes));
    let channel = |ChannelConfig { name, channel, namespaces, .. }: &ChannelConfig| {
        config::globs(namespaces).map(|globs| slack::Channel::new(name.clone(), channel, namespaces.clone(), globs))
    };
    let people = config.approvers.iter().flat_map(|approver| {
        let groups: Vec<Arc<str>> = approver.groups.iter().map(|group| group.as_str().into()).collect();
        let person = Person { user: approver.user.as_str().into(), groups };
        approver.slack.iter().map(move |identity| (identity.clone(), person.clone()))
    });
    let settings = slack::SlackSettings {
        api: settings.api().map_err(anyhow::Error::msg)?.map_or_else(|| API.parse(), Ok)?,
        ca: ca.transpose().map_err(anyhow::Error::msg)?,
        proxy: settings.proxy.clone(),
        bot_token: token(settings.bot_token())?,
        app_token: token(settings.app_token())?,
        app_id: settings.app_id.clone(),
        channels: config.channels.iter().map(channel).collect::<Result<_, _>>()?,
        people: people.collect(),
    };
    // What cannot work is told now.
    settings.client().context("slack")?;
    Ok(Some(settings))
}

/// The tokens that cannot be read now: then nothing is told.
pub(super) async fn unreadable_tokens(settings: &slack::SlackSettings) -> Vec<String> {
    let tokens = [&settings.bot_token, &settings.app_token];
    let read = futures::future::join_all(tokens.map(Token::read)).await;
    read.into_iter().filter_map(|read| read.err().map(|why| format!("slack: {why}"))).collect()
}
