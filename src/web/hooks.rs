//! `POST /hooks/<sender>`: who is it, what does it say, hand it on, answer.
//!
//! Of a request nothing is logged but the fact that it came and what became of it.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use axum::{
    Extension, Router,
    body::{Body, HttpBody},
    extract::{Path, RawQuery, State},
    response::{IntoResponse, Response},
    routing::post,
};
use http::{HeaderMap, HeaderValue, header::CONNECTION};
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    answer::HookAnswer,
    body,
    peer::{Doing, Peer},
    reread::{Content, Reread},
    room::{Owner, ReadBody, Room},
};
use crate::{
    domain::{
        image::Repository,
        seldom::{LeftOut, Seldom},
    },
    ingest::webhook::{
        self, Hosts, MAX_BODY, Sender,
        auth::{self, Shown, Signature},
    },
    metrics::{HookLabels, Metrics},
    ports::{Clock, Hints, Offer},
};

/// The memory for bodies of strangers, of all connections together. With what 256 connections take beside bodies, some
/// 35 KiB each, that is less than 20 MB.
const STRANGERS: usize = 8 * MAX_BODY;
/// The memory for bodies of those that have shown a secret.
const KNOWN: usize = 32 * MAX_BODY;
/// That nobody watches a repository is told once in this time for each host, of at most so many hosts of a sender.
const TELL_UNWATCHED_EVERY: Duration = Duration::from_secs(60);
const MAX_UNWATCHED: usize = 16;
/// At most one refusal of a kind in this time is told at level `warn`, of each sender; all are counted.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// Which senders are heard, and what they must know. A sender that is not named is off.
#[derive(Debug, Default)]
pub struct HookSettings {
    /// By the sender's name.
    pub senders: BTreeMap<&'static str, SenderSettings>,
}

/// One sender's settings.
#[derive(Debug, Default)]
pub struct SenderSettings {
    /// What the environment gave: a secret, or two on two lines.
    pub given: Option<SecretString>,
    /// Files with as much each, read again when they change.
    pub secret_files: Vec<PathBuf>,
    /// Whether it is heard without a secret. Where there is a secret, it is wanted all the same.
    pub allow_unsigned: bool,
    /// How registries are named.
    pub hosts: Hosts,
}

impl SenderSettings {
    fn has_secret(&self) -> bool {
        self.given.is_some() || !self.secret_files.is_empty()
    }

    /// Whether it is heard at all.
    pub fn is_on(&self) -> bool {
        self.allow_unsigned || self.has_secret()
    }
}

/// The senders that are heard, each with its secrets.
#[derive(Default)]
pub struct Senders(BTreeMap<&'static str, SenderRoute>);

impl Senders {
    /// Reads the secrets. Fails if a file of one cannot be read, or a sender does not exist.
    pub async fn open(settings: HookSettings, clock: &Arc<dyn Clock>) -> Result<Self, HookSettingsError> {
        let mut senders = BTreeMap::new();
        for (name, settings) in settings.senders {
            let sender = Sender::find(name).ok_or(HookSettingsError::Unknown(name))?;
            if !settings.is_on() {
                continue;
            }
            let unsigned = !settings.has_secret();
            let (given, hosts) = (settings.given, Arc::new(settings.hosts));
            let secrets = Reread::start(settings.secret_files, Arc::clone(clock), move |files| {
                Ok(Secrets::of(files, given.as_ref()))
            });
            let wrong = |why| HookSettingsError::Secret(sender.name, why);
            let secrets = secrets.await.map_err(|error| wrong(error.to_string()))?;
            if let Some(why) = secrets.get().wrong.first() {
                return Err(wrong(why.clone()));
            }
            senders.insert(sender.name, SenderRoute { sender, secrets, unsigned, hosts });
        }
        Ok(Self(senders))
    }
}

/// The hooks. Clones are the same; who is heard may change while they are served.
#[derive(Clone)]
pub struct Hooks(Arc<Shared>);

impl Hooks {
    /// Hears these senders.
    pub fn new(senders: Senders, hints: Arc<dyn Hints>, metrics: Arc<Metrics>, clock: Arc<dyn Clock>) -> Self {
        let (senders, told, unwatched) = (RwLock::new(senders), Mutex::default(), Mutex::default());
        let (strangers, known) = (Room::new(STRANGERS), Room::new(KNOWN));
        Self(Arc::new(Shared { senders, strangers, known, hints, metrics, clock, told, unwatched }))
    }

    /// From now on hears these senders, and no others.
    pub fn set_senders(&self, senders: Senders) {
        *self.0.senders.write().unwrap_or_else(PoisonError::into_inner) = senders;
    }

    /// The route.
    pub fn router(&self) -> Router {
        let routes = Router::new().route("/hooks/{sender}", post(hook)).route("/hooks/{sender}/", post(hook));
        routes.fallback(async || HookAnswer::no_address()).with_state(self.clone())
    }
}

/// Why the hooks cannot be served as configured.
#[derive(Debug, thiserror::Error)]
pub enum HookSettingsError {
    /// No such sender.
    #[error("there is no webhook sender `{0}`")]
    Unknown(&'static str),
    /// A sender's secret.
    #[error("the secret of the webhook sender `{0}` cannot be used: {1}")]
    Secret(&'static str, String),
}

struct Shared {
    // Held for a look-up, never across an await.
    senders: RwLock<Senders>,
    strangers: Room,
    known: Room,
    hints: Arc<dyn Hints>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    /// What is told at level `warn` of each sender, by outcome.
    told: Mutex<HashMap<(&'static str, &'static str), Seldom>>,
    /// Of each sender.
    unwatched: Mutex<HashMap<&'static str, Unwatched>>,
}

/// Hosts of repositories that nobody watches.
#[derive(Default)]
struct Unwatched {
    /// When that was said.
    told: HashMap<Box<str>, Duration>,
    left_out: u64,
}

struct SenderRoute {
    sender: &'static Sender,
    secrets: Reread<Secrets>,
    unsigned: bool,
    hosts: Arc<Hosts>,
}

/// A request that may be a sender's.
struct Admitted {
    sender: &'static Sender,
    hosts: Arc<Hosts>,
    proof: Proved,
}

/// What shows that the sender knows the secret.
enum Proved {
    /// It was there.
    Secret,
    /// None is wanted.
    Unsigned,
    /// Whether one of these secrets signed the body.
    By(Signature, Arc<Secrets>),
}

async fn hook(
    State(Hooks(hooks)): State<Hooks>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let has_body = !body.is_end_stream();
    let read = match hooks.admit(&name, &headers, query.as_deref()) {
        Ok(admitted) => hooks.read(&admitted, &peer, body).await.map(|body| (admitted, body)),
        // Nobody waits for the body of a request that is refused anyway.
        Err(refused) => Err(refused),
    };
    let is_left = has_body && read.is_err();
    let answer = match read {
        Ok((admitted, body)) => hooks.take(&admitted, &headers, &body),
        Err(refused) => refused,
    };
    if let Some(sender) = Sender::find(&name) {
        hooks.note(sender.name, &answer);
    }
    let mut response = answer.into_response();
    if is_left {
        // What is left of it would be taken for the next request.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

impl Shared {
    /// The sender, if it is there and knows the secret, or may show with the body that it does.
    fn admit(&self, name: &str, headers: &HeaderMap, query: Option<&str>) -> Result<Admitted, HookAnswer> {
        let senders = self.senders.read().unwrap_or_else(PoisonError::into_inner);
        let route = senders.0.get(name).ok_or_else(|| HookAnswer::not_found(name))?;
        let secrets = route.secrets.get();
        let proof = match auth::show(route.sender.proofs, headers, query, &secrets.good) {
            _ if route.unsigned => Proved::Unsigned,
            Shown::Secret => Proved::Secret,
            Shown::Signature(signature) => Proved::By(signature, secrets),
            Shown::Nothing => return Err(HookAnswer::unauthorized(route.sender, headers)),
        };
        Ok(Admitted { sender: route.sender, hosts: Arc::clone(&route.hosts), proof })
    }

    async fn read(&self, admitted: &Admitted, peer: &Peer, body: Body) -> Result<ReadBody<'_>, HookAnswer> {
        let known = matches!(admitted.proof, Proved::Secret);
        let growing = match known {
            true => self.known.begin(Owner::Sender(admitted.sender.name)),
            false => self.strangers.begin(Owner::Address(peer.address)),
        };
        peer.enter(Doing::Body { known });
        let read = body::read(body, growing, &*self.clock).await;
        peer.enter(Doing::Busy);
        Ok(read?)
    }

    fn take(&self, admitted: &Admitted, headers: &HeaderMap, body: &ReadBody<'_>) -> HookAnswer {
        let sender = admitted.sender;
        if let Proved::By(signature, secrets) = &admitted.proof
            && !signature.fits(&secrets.good, body.pieces())
        {
            return HookAnswer::unauthorized(sender, headers);
        }
        let message = match webhook::read(sender, &admitted.hosts, headers, &body.bytes()) {
            Ok(message) => message,
            Err(error) => return HookAnswer::Invalid(error.to_string()),
        };
        if message.dropped > 0
            && let Some(LeftOut(left_out)) = self.told(sender.name, "dropped")
        {
            let (sender, dropped) = (sender.name, message.dropped);
            tracing::warn!(
                sender,
                dropped,
                left_out,
                "a webhook named more repositories and tags than are taken at once"
            );
        }
        let mut answer = HookAnswer::Ignored;
        for hint in message.hints {
            let repository = hint.repository.clone();
            match self.hints.offer(hint) {
                Offer::Queued => answer = HookAnswer::Queued,
                Offer::Unwatched => {
                    self.note_unwatched(sender, &repository);
                    if matches!(answer, HookAnswer::Ignored) {
                        answer = HookAnswer::Unwatched;
                    }
                }
                Offer::Full => return HookAnswer::TooMany,
                Offer::Closed => return HookAnswer::Unavailable,
            }
        }
        answer
    }

    /// Says that nobody watches what a webhook named: most often its host is not the one that images name.
    fn note_unwatched(&self, sender: &Sender, repository: &Repository) {
        let now = self.clock.monotonic();
        let mut told = self.unwatched.lock().unwrap_or_else(PoisonError::into_inner);
        // What one sender names hides nothing of another's.
        let Unwatched { told, left_out } = told.entry(sender.name).or_default();
        told.retain(|_, at| now < *at + TELL_UNWATCHED_EVERY);
        if told.contains_key(repository.host()) {
            return;
        }
        if told.len() >= MAX_UNWATCHED {
            *left_out += 1;
            return;
        }
        told.insert(repository.host().into(), now);
        let left_out = Some(std::mem::take(left_out)).filter(|count| *count > 0);
        tracing::info!(
            sender = sender.name, %repository, left_out,
            "a webhook named a repository that no workload's image names in this spelling"
        );
    }

    fn note(&self, sender: &'static str, answer: &HookAnswer) {
        let outcome = answer.outcome();
        self.metrics.hooks.get_or_create(&HookLabels { sender, outcome }).inc();
        let told = answer.error().and_then(|why| Some((why, self.told(sender, outcome)?)));
        if let Some((why, LeftOut(left_out))) = told {
            tracing::warn!(sender, outcome, why, left_out, "a webhook was refused");
        } else {
            tracing::debug!(sender, outcome, "a webhook came");
        }
    }

    /// Whether such a line of that sender is told now.
    fn told(&self, sender: &'static str, what: &'static str) -> Option<LeftOut> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.entry((sender, what)).or_default().tell(WARN_EVERY, self.clock.monotonic())
    }
}

/// A sender's secrets.
struct Secrets {
    good: Vec<SecretString>,
    /// What gives none, and why.
    wrong: Vec<String>,
}

impl Secrets {
    /// Those of the files, then the environment's. What a file no longer holds is good no more; where none is left, nobody
    /// is heard.
    fn of(files: &[Content], given: Option<&SecretString>) -> Self {
        let of_file = |file: &Content| {
            let text = std::str::from_utf8(file.bytes()?).map_err(|_| file.says("the secret is not UTF-8"))?;
            auth::secrets(text).map_err(|why| file.says(why))
        };
        let of_environment = given.map(|given| auth::secrets(given.expose_secret()).map_err(str::to_owned));
        let (mut good, mut wrong) = (Vec::new(), Vec::new());
        for secrets in files.iter().map(of_file).chain(of_environment) {
            match secrets {
                Ok(secrets) => good.extend(secrets),
                Err(why) => wrong.push(why),
            }
        }
        if good.len() > auth::MOST {
            wrong.push(format!("there are {} with those of the environment: two may be good at a time", good.len()));
            good.truncate(auth::MOST);
        }
        for why in &wrong {
            tracing::warn!(why, left = good.len(), "a secret of a webhook sender is good no more, or never was");
        }
        Self { good, wrong }
    }
}
