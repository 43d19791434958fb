//! `slack`, `channels` and `approvers`: the app, where its messages go, and who is whom.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use serde::Deserialize;
use url::Url;

use super::{Config, EnvSecret, git::is_loopback, globs, read_text};
use crate::domain::{
    image::excerpt,
    later::{self, Keyed, WithLater},
    text::is_hidden,
};

/// As many channels are told.
const CHANNELS: usize = 50;

/// The app.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SlackConfig {
    bot_token_file: Option<PathBuf>,
    bot_token_env: Option<String>,
    app_token_file: Option<PathBuf>,
    app_token_env: Option<String>,
    /// Its id: `A…`.
    #[serde(default)]
    pub app_id: String,
    /// The proxy that leads to Slack.
    pub proxy: Option<String>,
    /// A file of certificates (PEM) that are trusted besides.
    pub ca: Option<PathBuf>,
    /// Where the Web API is, if not at Slack.
    pub api: Option<String>,
    /// What the variables hold: the bot's token, and the app's.
    #[serde(skip)]
    given: [Option<EnvSecret>; 2],
}

/// Where a token is.
#[derive(Debug, Clone, PartialEq)]
pub enum TokenSource {
    /// In a file.
    File(PathBuf),
    /// The environment gave it.
    Given(EnvSecret),
}

/// One entry of `channels`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChannelConfig {
    /// What it is called here.
    pub name: String,
    /// `slack`
    pub r#type: String,
    /// As Slack calls it: `C…`.
    #[serde(default)]
    pub channel: String,
    /// The namespaces (globs) that it is told of.
    #[serde(default)]
    pub namespaces: Vec<String>,
}

/// Somebody who may be spoken for.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApproverConfig {
    /// As the API server knows that person.
    pub user: String,
    /// The groups that it knows of.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Who that is in Slack: `TEAM/USER`.
    #[serde(default)]
    pub slack: Vec<String>,
}

impl Config {
    /// Whether somebody of another system, such as `slack:TEAM/USER`, is that user of the API server.
    pub fn speaks_for(&self) -> impl Fn(&str, &str) -> bool + Send + Sync + 'static {
        let all = self.approvers.iter().flat_map(|approver| {
            approver.slack.iter().map(|identity| (format!("slack:{identity}"), approver.user.clone()))
        });
        let all: BTreeMap<String, String> = all.collect();
        move |identity, user| all.get(identity).is_some_and(|known| known == user)
    }
}

impl Keyed for ChannelConfig {
    const LATER: &'static [&'static str] = later::CHANNEL;
}

impl SlackConfig {
    /// The bot's token.
    pub fn bot_token(&self) -> Option<TokenSource> {
        source(self.bot_token_file.as_ref(), self.given[0].as_ref())
    }

    /// The app's token.
    pub fn app_token(&self) -> Option<TokenSource> {
        source(self.app_token_file.as_ref(), self.given[1].as_ref())
    }

    /// Where the Web API is, if not at Slack; methods are below it.
    pub fn api(&self) -> Result<Option<Url>, String> {
        let Some(api) = &self.api else { return Ok(None) };
        let wrong = || "slack: api: write it as https://slack-gov.com/api/, without user and query".to_owned();
        let mut url = Url::parse(api).map_err(|_| wrong())?;
        let is_http = url.scheme() == "https" || url.scheme() == "http" && is_loopback(url.as_str());
        if !is_http || !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
            return Err(wrong());
        }
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        Ok(Some(url))
    }

    /// Takes the environment in; all that is wrong with it.
    fn check(&mut self) -> Vec<String> {
        let mut problems = Vec::new();
        let tokens = [
            ("botToken", &self.bot_token_file, &self.bot_token_env),
            ("appToken", &self.app_token_file, &self.app_token_env),
        ];
        let mut given = [None, None];
        for ((key, file, variable), given) in tokens.into_iter().zip(&mut given) {
            match (file, variable) {
                (Some(_), None) => {}
                (None, Some(variable)) => match EnvSecret::read(variable) {
                    Ok(secret) => *given = Some(secret),
                    Err(why) => problems.push(format!("slack: {key}Env: {why}")),
                },
                _ => problems.push(format!("slack: one of `{key}File` and `{key}Env` says where the token is")),
            }
        }
        self.given = given;
        if !is_id(&self.app_id, "A") {
            let shown = excerpt(&self.app_id);
            problems
                .push(format!("slack: appId: `{shown}` is no id of an app: it begins with A, under Basic Information"));
        }
        problems.extend(self.api().err());
        if let Some(path) = &self.ca {
            problems.extend(read_text(path).err().map(|error| format!("slack: ca: {error}")));
        }
        problems
    }
}

fn source(file: Option<&PathBuf>, given: Option<&EnvSecret>) -> Option<TokenSource> {
    file.cloned().map(TokenSource::File).or_else(|| given.cloned().map(TokenSource::Given))
}

/// All that is wrong with what is said of people; takes the environment in.
pub(super) fn wrong(
    mut slack: Option<&mut SlackConfig>,
    channels: &[WithLater<ChannelConfig>],
    approvers: &[ApproverConfig],
) -> Vec<String> {
    let mut problems: Vec<String> = slack.iter_mut().flat_map(|slack| slack.check()).collect();
    problems.extend(wrong_with_channels(channels, slack.is_some()));
    if slack.is_some() && channels.is_empty() {
        problems.push("slack: `channels` names none that would be told".to_owned());
    }
    problems.extend(wrong_with_approvers(approvers));
    problems
}

/// All that is wrong with `channels`.
fn wrong_with_channels(channels: &[WithLater<ChannelConfig>], slack: bool) -> Vec<String> {
    let mut problems = Vec::new();
    let (mut names, mut ids) = (BTreeSet::new(), BTreeSet::new());
    for WithLater { value: channel, later } in channels {
        let name = excerpt(&channel.name);
        let mut wrong = |what: String| problems.push(format!("channels: {name}: {what}"));
        later.iter().for_each(|key| wrong(later::refusal(key)));
        if channel.name.is_empty() || !names.insert(&channel.name) {
            wrong("each has a `name` of its own".to_owned());
        }
        match channel.r#type.as_str() {
            "slack" if !slack => wrong("`slack` says nothing of the app".to_owned()),
            "slack" => {}
            other if later::CHANNEL_TYPES.contains(&other) => {
                wrong(later::refusal(other));
                continue;
            }
            other => {
                wrong(format!("type: no `{}`; available: slack", excerpt(other)));
                continue;
            }
        }
        let shown = excerpt(&channel.channel);
        if !["C", "G"].iter().any(|begin| is_id(&channel.channel, begin)) {
            wrong(format!(
                "channel: `{shown}` is no id of a channel: it begins with C, at the end of the channel's details"
            ));
        } else if !ids.insert(&channel.channel) {
            wrong(format!("another one is the channel {shown} too: name its namespaces there"));
        }
        if channel.namespaces.is_empty() {
            wrong("`namespaces` says of which (globs) it is told".to_owned());
        }
        if let Err(error) = globs(&channel.namespaces) {
            wrong(format!("namespaces: {error}"));
        }
    }
    if channels.len() > CHANNELS {
        problems.push(format!("channels: at most {CHANNELS}"));
    }
    problems
}

/// All that is wrong with `approvers`.
fn wrong_with_approvers(approvers: &[ApproverConfig]) -> Vec<String> {
    let mut problems = Vec::new();
    let (mut users, mut identities) = (BTreeSet::new(), BTreeSet::new());
    for ApproverConfig { user, groups, slack } in approvers {
        let name = excerpt(user);
        let mut wrong = |what: String| problems.push(format!("approvers: {name}: {what}"));
        let is_name = |name: &str| !name.is_empty() && name.len() <= 1024 && !name.chars().any(is_hidden);
        if !is_name(user) || !groups.iter().all(|group| is_name(group)) {
            wrong("`user` and `groups` are names as the API server has them".to_owned());
        }
        if user.starts_with("system:serviceaccount:") {
            wrong("this is a ServiceAccount, and people approve".to_owned());
        }
        if !users.insert(user) {
            wrong("it is there twice: name all of `slack` in one".to_owned());
        }
        for identity in slack {
            let parts = identity.split_once('/');
            let is_identity = parts.is_some_and(|(team, user)| {
                ["T", "E"].iter().any(|begin| is_id(team, begin)) && ["U", "W"].iter().any(|begin| is_id(user, begin))
            });
            let shown = excerpt(identity);
            if !is_identity {
                wrong(format!("slack: `{shown}` is nobody: write TEAM/USER with both ids, as T024BE7LD/U023BECGF"));
            } else if !identities.insert(identity) {
                wrong(format!("slack: {shown} is somebody else's too"));
            }
        }
    }
    problems
}

fn is_id(text: &str, begin: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit();
    text.strip_prefix(begin).is_some_and(|rest| (2..=30).contains(&rest.len()) && rest.bytes().all(is_inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slack(text: &str) -> Vec<String> {
        serde_saphyr::from_str::<SlackConfig>(text).unwrap().check()
    }

    #[rstest::rstest]
    #[case("{botTokenFile: b, appTokenFile: a, appId: A012}", "")]
    #[case("{botTokenFile: b, appTokenFile: a, appId: A012, api: 'http://127.0.0.1:8/api'}", "")]
    #[case("{appTokenFile: a, appId: A012}", "one of `botTokenFile` and `botTokenEnv`")]
    #[case(
        "{botTokenFile: b, botTokenEnv: B, appTokenFile: a, appId: A012}",
        "one of `botTokenFile` and `botTokenEnv`"
    )]
    #[case(
        "{botTokenFile: b, appTokenEnv: xapp-1-geheim, appId: A012}",
        "appTokenEnv: the environment has no variable"
    )]
    #[case("{botTokenFile: b, appTokenFile: a, appId: supercargo}", "appId")]
    #[case("{botTokenFile: b, appTokenFile: a, appId: A012, api: 'http://slack.com/api'}", "slack: api")]
    #[case("{botTokenFile: b, appTokenFile: a, appId: A012, api: 'https://u:p@slack.com/api'}", "slack: api")]
    #[case("{botTokenFile: b, appTokenFile: a, appId: A012, ca: /nowhere}", "slack: ca: /nowhere")]
    fn what_is_wrong_with_the_app_is_told(#[case] text: &str, #[case] told: &str) {
        let problems = slack(text);
        assert_eq!(problems.len(), usize::from(!told.is_empty()), "{problems:?}");
        assert!(problems.iter().all(|problem| problem.contains(told) && !problem.contains("geheim")), "{problems:?}");
    }

    #[rstest::rstest]
    #[case("{name: a, type: slack, channel: C012, namespaces: ['*']}", "")]
    #[case("{name: a, type: slack, channel: '#deploys', namespaces: ['*']}", "is no id of a channel")]
    #[case("{name: a, type: slack, channel: C012}", "`namespaces` says")]
    #[case("{name: a, type: slack, channel: C012, namespaces: ['[']}", "namespaces: ")]
    #[case("{name: a, type: teams, channel: C012, namespaces: ['*']}", "`teams` is not built yet")]
    #[case("{name: a, type: pigeon}", "no `pigeon`; available: slack")]
    #[case("{name: a, type: slack, channel: C012, namespaces: ['*'], level: info}", "`level` is not built yet")]
    fn what_is_wrong_with_a_channel_is_told(#[case] text: &str, #[case] told: &str) {
        let channel: WithLater<ChannelConfig> = serde_saphyr::from_str(text).unwrap();
        let problems = wrong_with_channels(&[channel], true);
        assert_eq!(problems.len(), usize::from(!told.is_empty()), "{problems:?}");
        assert!(problems.iter().all(|problem| problem.contains(told)), "{problems:?}");
    }

    #[rstest::rstest]
    #[case("[{user: alice, groups: [dev], slack: [T012/U012, T012/W34]}, {user: bob, slack: [T9X/U012]}]", "")]
    #[case("[{user: alice, slack: [U012]}]", "write TEAM/USER")]
    #[case("[{user: alice, slack: [alice@example.com]}]", "write TEAM/USER")]
    #[case("[{user: alice, slack: [T012/U012]}, {user: bob, slack: [T012/U012]}]", "is somebody else's too")]
    #[case("[{user: alice}, {user: alice}]", "there twice")]
    #[case("[{user: ''}]", "are names")]
    #[case("[{user: \"a\\nslack:T/U b\"}]", "are names")]
    #[case("[{user: 'system:serviceaccount:shop:ci'}]", "people approve")]
    fn what_is_wrong_with_an_approver_is_told(#[case] text: &str, #[case] told: &str) {
        let approvers: Vec<ApproverConfig> = serde_saphyr::from_str(text).unwrap();
        let problems = wrong_with_approvers(&approvers);
        assert_eq!(problems.len(), usize::from(!told.is_empty()), "{problems:?}");
        assert!(problems.iter().all(|problem| problem.contains(told)), "{problems:?}");
    }
}
