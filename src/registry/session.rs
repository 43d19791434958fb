//! As whom a look is made: which challenge the registry poses for a repository, and which credential it takes.
//!
//! Both are remembered per source, so that an unchanged poll is one request. The source's credentials are part
//! of the key, and a token's key holds whose it is: nothing that was got for one namespace serves another.

use std::{sync::Arc, time::Duration};

use moka::future::Cache;
use reqwest::Method;
use url::Url;

use super::{
    answer::{UnreadAnswer, fail},
    auth::{self, Failure, Tokens},
    challenge::{Bearer, Challenge, challenge},
    credentials::{Candidates, Credential, Identity, Owner, Store},
    http::{Ask, Endpoint, Http},
    settings::RegistrySettings,
};
use crate::{
    domain::hint::Source,
    net::Kept,
    ports::{RegistryError, RegistryErrorKind, Secrets},
};

/// How many credentials are tried for one request.
const MAX_TRIED: usize = 10;
/// How long a source whose credentials were refused waits before its secrets are read afresh again.
const READ_AGAIN: Duration = Duration::from_secs(60);
/// How much is remembered, and what each costs beside its texts. What is forgotten costs a request to learn again.
const MAX_KEPT: usize = 8 * 1024 * 1024;
const OVERHEAD: usize = 256;
/// How long it is remembered that a host does not know HEAD, or that its root knows no challenge; and of how many hosts.
const REMEMBERED: Duration = Duration::from_secs(3600);
const MAX_HOSTS: u64 = 1000;

/// What is remembered between looks.
pub(super) struct Sessions {
    known: Kept<Source, Session>,
    tokens: Tokens,
    store: Store,
    /// Whether a host knows HEAD, and until when that is believed.
    heads: Cache<Arc<str>, (bool, Duration)>,
}

#[derive(Clone, Default)]
struct Session {
    challenge: Option<Challenge>,
    /// The credential that was taken last.
    identity: Option<Identity>,
    /// When its secrets were last read afresh.
    read_again: Option<Duration>,
    /// Until when an answer without a challenge is taken as it is.
    plain_until: Option<Duration>,
    /// Until when GET is taken to be refused as HEAD is.
    shut_until: Option<Duration>,
}

impl Sessions {
    pub(super) fn new(settings: &RegistrySettings, secrets: Arc<dyn Secrets>) -> Self {
        let (store, heads) = (Store::new(settings, secrets), Cache::new(MAX_HOSTS));
        Self { known: Kept::new(MAX_KEPT, weight), tokens: Tokens::new(), store, heads }
    }

    /// Whether HEAD is worth a request.
    pub(super) async fn asks_head(&self, look: &Look<'_>) -> bool {
        self.head(look).await.unwrap_or(true)
    }

    async fn head(&self, look: &Look<'_>) -> Option<bool> {
        let known = self.heads.get(&look.registry.host).await;
        known.filter(|(_, until)| *until > look.http.clock.monotonic()).map(|(knows, _)| knows)
    }

    /// Whether GET was refused after HEAD, not long ago: who has no access is not asked twice each time.
    pub(super) async fn is_shut(&self, look: &Look<'_>) -> bool {
        let session = self.known.get(look.source).await.unwrap_or_default();
        session.shut_until.is_some_and(|until| look.http.clock.monotonic() < until)
    }

    /// Keeps that GET was refused after HEAD.
    pub(super) async fn keep_shut(&self, look: &Look<'_>) {
        let session = self.known.get(look.source).await.unwrap_or_default();
        let shut_until = Some(look.http.clock.monotonic() + REMEMBERED);
        self.known.insert(look.registry.share(), look.source.clone(), Session { shut_until, ..session }).await;
    }

    /// Keeps what was seen. Where HEAD works, a tag that comes between HEAD and GET is no proof of the contrary.
    pub(super) async fn keep_head(&self, look: &Look<'_>, knows: bool) {
        if self.head(look).await.is_none() {
            let until = look.http.clock.monotonic() + REMEMBERED;
            self.heads.insert(look.registry.host.clone(), (knows, until)).await;
        }
    }
}

fn weight(source: &Source, session: &Session) -> usize {
    let secrets = source.credentials.secrets.as_ref();
    let secrets = secrets.map_or(0, |secrets| secrets.names.iter().map(|name| name.len() + 32).sum());
    let challenge = match &session.challenge {
        Some(Challenge::Bearer(Bearer { realm, service, scope })) => {
            realm.as_str().len() + [service, scope].into_iter().flatten().map(String::len).sum::<usize>()
        }
        Some(Challenge::Basic) | None => 0,
    };
    let repository = source.repository.host().len() + source.repository.path().len();
    OVERHEAD + repository + secrets + challenge
}

/// One look at one repository.
pub(super) struct Look<'a> {
    pub(super) http: &'a Http,
    pub(super) sessions: &'a Sessions,
    pub(super) registry: Endpoint,
    pub(super) source: &'a Source,
}

impl Look<'_> {
    /// A URL of this registry.
    pub(super) fn url(&self, path: &str) -> Result<Url, RegistryError> {
        let bad = |_| fail(RegistryErrorKind::Refused, format!("{} has no URL", self.source.repository));
        self.registry.url.join(path).map_err(bad)
    }

    /// Sends `ask` as whoever may see the repository. No answer is a 401 or 403.
    pub(super) async fn send(&self, ask: Ask<'_>) -> Result<UnreadAnswer, RegistryError> {
        let mut session = self.sessions.known.get(self.source).await.unwrap_or_default();
        let asked_bare = session.challenge.is_none();
        let mut hidden = false;
        let mut challenge = match session.challenge.take() {
            Some(challenge) => challenge,
            None => {
                let answer = self.http.send(&self.registry, &ask, None).await?;
                match challenge(answer.headers()).filter(|_| is_refusal(&answer)) {
                    Some(challenge) => challenge,
                    None if !is_refusal(&answer) && answer.status() != 404 => return Ok(answer),
                    None => {
                        hidden = answer.status() == 404;
                        let said = if hidden { answer.unexpected() } else { self.no_challenge(&answer, &ask) };
                        if !self.may_be_hidden(&session).await {
                            return if hidden { Ok(answer) } else { Err(said) };
                        }
                        // Nobody waits for a connection while holding one.
                        drop(answer);
                        let Some(challenge) = self.challenge_of_root(&ask).await? else {
                            session.plain_until = Some(self.http.clock.monotonic() + REMEMBERED);
                            self.sessions.known.insert(self.registry.share(), self.source.clone(), session).await;
                            return Err(said);
                        };
                        challenge
                    }
                }
            }
        };
        let mut tried: Vec<Credential> = vec![];
        let mut candidates = Candidates::default();
        for fresh in [false, true] {
            if fresh && !self.may_read_again(&mut session) {
                break;
            }
            candidates = self.sessions.store.candidates(self.source, fresh).await;
            let mut list = std::mem::take(&mut candidates.list);
            // The one that was taken last time comes first; else the order stays.
            list.sort_by_key(|credential| Some(credential.identity()) != session.identity);
            for credential in list {
                let identity = credential.identity();
                if tried.len() >= MAX_TRIED || tried.iter().any(|t| t.identity() == identity) {
                    continue;
                }
                if let Some(mut answer) = self.attempt(&ask, &mut challenge, &credential, asked_bare).await? {
                    answer.asked_with = Some(credential.name());
                    session.challenge = Some(challenge);
                    session.identity = Some(identity);
                    self.sessions.known.insert(self.registry.share(), self.source.clone(), session).await;
                    return Ok(answer);
                }
                tried.push(credential);
            }
        }
        let plain_until = hidden.then(|| self.http.clock.monotonic() + REMEMBERED);
        let session = Session { challenge: None, plain_until, ..session };
        self.sessions.known.insert(self.registry.share(), self.source.clone(), session).await;
        let error = self.refused(&ask, &tried, candidates);
        // Nobody was let in, but what was said first is that it is not there.
        Err(if hidden { RegistryError { kind: RegistryErrorKind::NotFound, ..error } } else { error })
    }

    /// Whether an answer without a challenge may be meant for those without a credential only: one fits, and the root
    /// of the registry has not just said that it knows no challenge.
    async fn may_be_hidden(&self, session: &Session) -> bool {
        let believed = session.plain_until.is_some_and(|until| self.http.clock.monotonic() < until);
        if believed {
            return false;
        }
        let candidates = self.sessions.store.candidates(self.source, false).await;
        candidates.list.iter().any(|credential| credential.owner != Owner::Nobody)
    }

    /// The challenge that `/v2/` poses to everybody.
    async fn challenge_of_root(&self, ask: &Ask<'_>) -> Result<Option<Challenge>, RegistryError> {
        let ask = Ask { method: Method::GET, url: self.url("v2/")?, accept: "*/*", ..ask.clone() };
        let answer = self.http.send(&self.registry, &ask, None).await?;
        let challenge = challenge(answer.headers()).filter(|_| is_refusal(&answer));
        // What it says of a scope is meant for the root.
        Ok(challenge.map(|challenge| match challenge {
            Challenge::Bearer(bearer) => Challenge::Bearer(Bearer { scope: None, ..bearer }),
            Challenge::Basic => Challenge::Basic,
        }))
    }

    /// Sends `ask` as `credential`; nothing if that is not taken. A token that was kept and is no longer taken is
    /// replaced once, and a challenge that has changed is answered once.
    async fn attempt(
        &self,
        ask: &Ask<'_>,
        challenge: &mut Challenge,
        credential: &Credential,
        asked_bare: bool,
    ) -> Result<Option<UnreadAnswer>, RegistryError> {
        let Self { http, sessions, registry, source } = self;
        for last in [false, true] {
            let began = http.clock.monotonic();
            let mut token = None;
            let authorization = match challenge {
                Challenge::Basic => match auth::basic(credential) {
                    Some(header) => Some(header),
                    None if credential.owner == Owner::Nobody && !asked_bare => None,
                    None => return Ok(None),
                },
                Challenge::Bearer(bearer) => {
                    let key = auth::Key::new(registry, bearer, &source.repository, credential);
                    match sessions.tokens.get(http, registry, source, &key, credential).await {
                        Ok(got) => {
                            let header = got.header.clone();
                            token = Some((key, got));
                            Some(header)
                        }
                        Err(Failure::Refused) => return Ok(None),
                        Err(Failure::Failed(error)) => return Err(error),
                    }
                }
            };
            let answer = http.send(registry, ask, authorization.as_ref()).await?;
            // Some answer 400 to a token whose time has passed.
            let kept = token.as_ref().is_some_and(|(_, token)| token.since < began);
            let may_be_over = answer.status() == 400 && kept && !last;
            if !is_refusal(&answer) && !may_be_over {
                return Ok(Some(answer));
            }
            if let Some((key, token)) = &token {
                sessions.tokens.reject(key, token).await;
            }
            let new = super::challenge::challenge(answer.headers()).filter(|new| new != challenge);
            if last || answer.status() == 403 || (new.is_none() && !kept) {
                return Ok(None);
            }
            if let Some(new) = new {
                *challenge = new;
            }
        }
        Ok(None)
    }

    fn may_read_again(&self, session: &mut Session) -> bool {
        let now = self.http.clock.monotonic();
        let recently = session.read_again.is_some_and(|at| now < at + READ_AGAIN);
        if self.source.credentials.secrets.is_none() || recently {
            return false;
        }
        session.read_again = Some(now);
        true
    }

    fn no_challenge(&self, answer: &UnreadAnswer, ask: &Ask<'_>) -> RegistryError {
        let text = format!(
            "{} answered {} to the request for {} without saying which credentials it wants (tried no credentials)",
            self.registry.host,
            answer.status(),
            ask.what
        );
        fail(RegistryErrorKind::Auth, text)
    }

    fn refused(&self, ask: &Ask<'_>, tried: &[Credential], candidates: Candidates) -> RegistryError {
        let host = &self.registry.host;
        let (nobody, named): (Vec<_>, Vec<_>) = tried.iter().partition(|credential| credential.owner == Owner::Nobody);
        let mut names: Vec<String> = named.into_iter().map(Credential::name).collect();
        if !nobody.is_empty() {
            names.push(if names.is_empty() { "no credentials" } else { "then none" }.to_owned());
        }
        let mut text = format!("{host} gives no access to {} (tried {})", ask.what, first(&names, 5).join(", "));
        for note in first(&candidates.notes, 3) {
            text.push_str("; ");
            text.push_str(&note);
        }
        if candidates.notes.is_empty() {
            let path = self.source.repository.path();
            let way = match self.sessions.store.has_login() && self.source.credentials.secrets.is_none() {
                true => format!(
                    "log in with `docker login {host}`, or name a file under `registries[].credentials` of the \
                     configuration"
                ),
                false => format!("that imagePullSecrets hold a credential for {host}"),
            };
            text.push_str(&format!("; check that {path} exists and {way}"));
        }
        let kind = if candidates.unreadable { RegistryErrorKind::Secret } else { RegistryErrorKind::Auth };
        fail(kind, text)
    }
}

/// The first few of many, and how many more there are.
fn first(texts: &[String], count: usize) -> Vec<String> {
    let mut few: Vec<String> = texts.iter().take(count).cloned().collect();
    if texts.len() > count {
        few.push(format!("and {} more", texts.len() - count));
    }
    few
}

fn is_refusal(answer: &UnreadAnswer) -> bool {
    matches!(answer.status().as_u16(), 401 | 403)
}
