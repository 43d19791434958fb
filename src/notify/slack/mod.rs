//! Slack: one message for each update that waits for people, with buttons, brought up to date until the update's end.
//!
//! ```text
//!  records ─► outbox ─► posting: read the record, render `message`, claim in the record, post or edit
//!  Slack ─► socket ─► click: who, may they, is it about this ─► a review, which the API server judges ─► the engine counts
//! ```
//!
//! The operator never waits for Slack: what is told is read from records, and a click only makes an object. Every process
//! hears clicks; only the leader posts.

pub mod api;
mod click;
mod details;
mod failed;
pub mod message;
mod outbox;
mod pace;
mod posting;
mod search;
mod socket;
mod text;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

pub use click::identity;
use futures::{FutureExt as _, future::BoxFuture};
use globset::GlobSet;
pub use outbox::Outbox;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};
use url::Url;

use self::{
    api::{AUTH_TEST, Api, ApiError, Method, OPEN, POST, Token},
    click::Odd,
};
use crate::{
    domain::seldom::{LeftOut, Seldom},
    metrics::{Metrics, ProblemLabels, SlackLabels},
    net::{self, ClientError, Timeouts},
    ports::{Clock, Explain, Messages, Person, Reviewers},
};

/// The longest wait until something is tried again that failed, unless only a person can fix it.
const LONGEST: Duration = Duration::from_secs(60);
/// How long until a record is read again that was written meanwhile.
const CONFLICT: Duration = Duration::from_millis(50);
/// What goes wrong with its token, for those who are told.
const BOT: &str = "the bot";
/// As many people are answered at once.
const ANSWERS: usize = 32;
/// As many records are read or written at once by those who post, however many channels there are: each takes a connection
/// to the API server, which stays open.
const RECORDS: usize = 4;
/// What cannot be read is told at most once in this time.
const ODD_EVERY: Duration = Duration::from_secs(60);
/// A problem of the configuration is tried again after this time.
const MENDED: Duration = Duration::from_secs(600);

/// Slack may take its time: who asks again too soon may have it done twice.
const TIMEOUTS: Timeouts =
    Timeouts { connect: Duration::from_secs(5), read: Duration::from_secs(60), request: Duration::from_secs(60) };

/// A channel that is told.
#[derive(Debug, Clone)]
pub struct Channel {
    /// As the configuration calls it.
    pub name: String,
    /// As Slack calls it.
    pub id: Arc<str>,
    namespaces: Vec<String>,
    globs: GlobSet,
}

impl Channel {
    /// One for the namespaces of these patterns, which that set matches.
    pub fn new(name: String, id: &str, namespaces: Vec<String>, globs: GlobSet) -> Self {
        Self { name, id: id.into(), namespaces, globs }
    }

    /// Whether it is told of a namespace.
    pub fn serves(&self, namespace: &str) -> bool {
        self.globs.is_match(namespace)
    }
}

impl PartialEq for Channel {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, &self.id, &self.namespaces) == (&other.name, &other.id, &other.namespaces)
    }
}

/// What the configuration says of Slack.
#[derive(Debug, Clone, PartialEq)]
pub struct SlackSettings {
    /// Where the Web API is: [`api::API`], unless something stands before it.
    pub api: Url,
    /// Whom TLS trusts besides (PEM).
    pub ca: Option<Vec<u8>>,
    /// The proxy.
    pub proxy: Option<String>,
    /// The app's bot token.
    pub bot_token: Token,
    /// Its app-level token.
    pub app_token: Token,
    /// Its id.
    pub app_id: String,
    /// Where messages go.
    pub channels: Vec<Channel>,
    /// Who is whom: by `TEAM/USER`.
    pub people: BTreeMap<String, Person>,
}

impl SlackSettings {
    /// The client of its API.
    pub fn client(&self) -> Result<Api, ClientError> {
        let client = net::upgradable(self.ca.as_deref(), self.proxy.as_deref(), TIMEOUTS)?;
        Ok(Api::new(client, self.api.clone()))
    }
}

/// Tries what the operator will do: whose the tokens are, a message to a channel, and whether a socket could be opened.
pub async fn try_channel(
    settings: &SlackSettings,
    channel: &Channel,
    clock: &dyn Clock,
    metrics: &Metrics,
) -> Vec<(&'static str, Result<String, ApiError>)> {
    let api = match settings.client() {
        Ok(api) => api,
        Err(error) => return vec![("the client", Err(ApiError::Away(error.to_string())))],
    };
    let call =
        async |method, token, arguments: Value| api.call::<Value>(method, token, &arguments, clock, metrics).await;
    let text = |answer: &Value, key: &str| net::foreign(answer[key].as_str().unwrap_or("?"));
    let who = call(AUTH_TEST, &settings.bot_token, json!({})).await.map(|answer| {
        format!("{} in workspace {} ({})", text(&answer, "user"), text(&answer, "team"), text(&answer, "team_id"))
    });
    let hello = format!("supercargo was asked to try this channel ({}).", channel.name);
    let arguments = json!({"channel": channel.id, "text": hello, "parse": "none", "mrkdwn": false});
    let posted = call(POST, &settings.bot_token, arguments).await;
    let posted = posted.and_then(|answer| match answer["message"]["app_id"].as_str() {
        Some(app) if app != settings.app_id => Err(ApiError::No(api::WRONG_APP.to_owned())),
        _ => Ok(format!("posted to {} as message {}", channel.id, text(&answer, "ts"))),
    });
    let socket = call(OPEN, &settings.app_token, json!({})).await.map(|_| "could be opened".to_owned());
    vec![("the bot", who), ("the message", posted), ("the socket", socket)]
}

/// What Slack's part is given.
#[derive(Clone)]
#[expect(missing_docs, reason = "each field is the port of its name")]
pub struct Ports {
    pub messages: Arc<dyn Messages>,
    pub reviewers: Arc<dyn Reviewers>,
    pub explain: Arc<dyn Explain>,
    pub clock: Arc<dyn Clock>,
    pub metrics: Arc<Metrics>,
}

/// When something is posted.
#[derive(Debug, Clone)]
pub struct Turn {
    /// Whether this process is the one that posts.
    pub leader: watch::Receiver<bool>,
    /// Whether the cluster has told of everything.
    pub ready: watch::Receiver<bool>,
}

/// Where all of it comes together, while the configuration stays as it is.
struct Desk {
    settings: SlackSettings,
    api: Api,
    messages: Arc<dyn Messages>,
    reviewers: Arc<dyn Reviewers>,
    explain: Arc<dyn Explain>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    answers: Arc<Semaphore>,
    /// Who reads or writes records to post.
    records: Semaphore,
    odd: Mutex<Seldom>,
    /// What is wrong, of what.
    troubles: Mutex<BTreeMap<String, ApiError>>,
}

/// Does all of it for ever, as the configuration says at any time; posts when it is its turn.
pub async fn run(ports: Ports, outbox: Outbox, mut settings: watch::Receiver<Option<SlackSettings>>, turn: Turn) {
    // What another configuration has begun is ended before more is posted.
    let mut ending: BoxFuture<'static, ()> = futures::future::ready(()).boxed();
    loop {
        let now = settings.borrow_and_update().clone();
        // Nothing is known of this configuration yet.
        ports.metrics.slack_connected.set(0);
        ports.metrics.problems.get_or_create(&ProblemLabels { category: "slack" }).set(0);
        let (close, closing) = watch::channel(false);
        let desk = now.and_then(|settings| match settings.client() {
            Ok(api) => Some(Arc::new(Desk::new(settings, api, ports.clone()))),
            Err(error) => {
                tracing::error!(%error, "slack: nothing is told");
                None
            }
        });
        let posting = match &desk {
            Some(desk) => posting::run(desk.clone(), outbox.clone(), turn.clone(), closing).boxed(),
            None => {
                outbox.serve(&[]);
                futures::future::ready(()).boxed()
            }
        };
        let before = std::mem::replace(&mut ending, futures::future::ready(()).boxed());
        let mut posting = before.then(|()| posting).boxed();
        let hearing = async {
            match desk {
                Some(desk) => _ = futures::future::join(desk.greet(), socket::run(desk.clone())).await,
                None => futures::future::pending().await,
            }
        };
        tokio::select! {
            () = futures::future::join(&mut posting, hearing).map(|_| ()) => {}
            changed = settings.changed() => if changed.is_err() { return },
        }
        close.send_replace(true);
        ending = posting;
    }
}

impl Desk {
    fn new(settings: SlackSettings, api: Api, ports: Ports) -> Self {
        let Ports { messages, reviewers, explain, clock, metrics } = ports;
        Self {
            settings,
            api,
            messages,
            reviewers,
            explain,
            clock,
            metrics,
            answers: Arc::new(Semaphore::new(ANSWERS)),
            records: Semaphore::new(RECORDS),
            odd: Mutex::default(),
            troubles: Mutex::default(),
        }
    }

    async fn call<T: DeserializeOwned>(&self, method: Method, token: &Token, arguments: &Value) -> Result<T, ApiError> {
        self.api.call(method, token, arguments, &*self.clock, &self.metrics).await
    }

    /// What comes of it within that time.
    async fn within<T>(&self, time: Duration, what: impl Future<Output = T>) -> Option<T> {
        let late = self.clock.sleep_until(self.clock.monotonic() + time);
        tokio::select! {
            biased;
            done = what => Some(done),
            () = late => None,
        }
    }

    /// Whose the bot's token is, so that this is known before there is anything to tell.
    async fn greet(&self) {
        match self.call::<Value>(AUTH_TEST, &self.settings.bot_token, &json!({})).await {
            Ok(answer) => {
                let said = |key: &str| net::foreign(answer[key].as_str().unwrap_or("?"));
                let (channels, approvers) = (self.settings.channels.len(), self.settings.people.len());
                tracing::info!(bot = said("user"), workspace = said("team_id"), channels, approvers, "Slack is told");
                self.fine(BOT);
            }
            Err(error) => _ = self.trouble(BOT, &error),
        }
    }

    fn count(&self, method: &'static str, outcome: &'static str) {
        self.metrics.slack_requests.get_or_create(&SlackLabels { method, outcome }).inc();
    }

    /// Something came that is none of ours. It is counted, and nothing of it is quoted.
    fn odd(&self, odd: Odd) {
        self.count("click", if odd == Odd::NotOurs { "ignored" } else { "invalid" });
        let mut seldom = self.odd.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(LeftOut(left_out)) = seldom.tell(ODD_EVERY, self.clock.monotonic()) {
            tracing::warn!(what = odd.words(), left_out, "Slack sent something that is left alone");
        }
    }

    /// Something went wrong with that, which is told where it is new. How long it is left alone, where that is known.
    fn trouble(&self, what: &str, error: &ApiError) -> Option<Duration> {
        if let ApiError::Later(wait) = error
            && *wait <= ODD_EVERY
        {
            return Some(*wait);
        }
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = troubles.insert(what.to_owned(), error.clone()).as_ref() != Some(error);
        match (error, error.advice()) {
            (ApiError::Later(wait), _) => {
                if is_new {
                    tracing::warn!(what, wait = wait.as_secs(), "Slack asks to wait so many seconds");
                }
                return Some(*wait);
            }
            (_, Some(advice)) => {
                self.problem(&troubles);
                if is_new {
                    tracing::error!(what, why = %error, advice, "Slack is not told; tried again in ten minutes");
                }
                return Some(MENDED);
            }
            _ if is_new => tracing::warn!(what, why = %error, "Slack; tried again later"),
            _ => {}
        }
        None
    }

    /// That went well.
    fn fine(&self, what: &str) {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        if troubles.remove(what).is_some() {
            self.problem(&troubles);
            tracing::info!(what, "Slack answers again");
        }
    }

    /// The gauge of problems.
    fn problem(&self, troubles: &BTreeMap<String, ApiError>) {
        let open = troubles.values().filter(|error| error.advice().is_some()).count();
        let labels = ProblemLabels { category: "slack" };
        self.metrics.problems.get_or_create(&labels).set(i64::try_from(open).unwrap_or(i64::MAX));
    }
}
