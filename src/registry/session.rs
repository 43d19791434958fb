//! As whom a look is made: which challenge the registry poses for a repository, and which credential it takes.
//!
//! Both are remembered per source, so that an unchanged poll is one request. The source's credentials are part
//! of the key, and a token's key holds whose it is: nothing that was got for one namespace serves another.

use std::{sync::Arc, time::Duration};

use moka::{future::Cache, policy::EvictionPolicy};
use url::Url;

use super::{
    answer::{Answer, fail},
    auth::{self, Failure, Tokens},
    challenge::{Bearer, Challenge, challenge},
    credentials::{Candidates, Credential, Identity, Owner, Store},
    http::{Ask, Endpoint, Http},
    settings::Settings,
};
use crate::{
    domain::hint::Source,
    ports::{RegistryError, RegistryErrorKind, Secrets},
};

/// How many credentials are tried for one request.
const MAX_TRIED: usize = 10;
/// How long a source whose credentials were refused waits before its secrets are read afresh again.
const READ_AGAIN: Duration = Duration::from_secs(60);
/// How much is remembered, the least recently used goes first; and what each costs beside its texts. What is forgotten
/// costs a request to learn again.
const MAX_KEPT: u64 = 8 * 1024 * 1024;
const OVERHEAD: usize = 256;

/// What is remembered between looks.
pub(super) struct Sessions {
    known: Cache<Source, Session>,
    tokens: Tokens,
    store: Store,
}

#[derive(Clone, Default)]
struct Session {
    challenge: Option<Challenge>,
    /// The credential that was taken last.
    identity: Option<Identity>,
    /// When its secrets were last read afresh.
    read_again: Option<Duration>,
}

impl Sessions {
    pub(super) fn new(settings: &Settings, secrets: Arc<dyn Secrets>) -> Self {
        let known = Cache::builder().weigher(weight).max_capacity(MAX_KEPT).eviction_policy(EvictionPolicy::lru());
        Self { known: known.build(), tokens: Tokens::new(), store: Store::new(settings, secrets) }
    }
}

fn weight(source: &Source, session: &Session) -> u32 {
    let secrets = source.credentials.secrets.as_ref();
    let secrets = secrets.map_or(0, |secrets| secrets.names.iter().map(|name| name.len() + 32).sum());
    let challenge = match &session.challenge {
        Some(Challenge::Bearer(Bearer { realm, service, scope })) => {
            realm.as_str().len() + [service, scope].into_iter().flatten().map(String::len).sum::<usize>()
        }
        Some(Challenge::Basic) | None => 0,
    };
    let repository = source.repository.host().len() + source.repository.path().len();
    u32::try_from(OVERHEAD + repository + secrets + challenge).unwrap_or(u32::MAX)
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
    pub(super) async fn send(&self, ask: Ask<'_>) -> Result<Answer, RegistryError> {
        let mut session = self.sessions.known.get(self.source).await.unwrap_or_default();
        let asked_bare = session.challenge.is_none();
        let mut challenge = match session.challenge.take() {
            Some(challenge) => challenge,
            None => {
                let answer = self.http.send(&self.registry, &ask, None).await?;
                if !is_refusal(&answer) {
                    return Ok(answer);
                }
                challenge(answer.headers()).ok_or_else(|| self.no_challenge(&answer, &ask))?
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
                if let Some(answer) = self.attempt(&ask, &mut challenge, &credential, asked_bare).await? {
                    session.challenge = Some(challenge);
                    session.identity = Some(identity);
                    self.sessions.known.insert(self.source.clone(), session).await;
                    return Ok(answer);
                }
                tried.push(credential);
            }
        }
        let session = Session { challenge: None, ..session };
        self.sessions.known.insert(self.source.clone(), session).await;
        Err(self.refused(&ask, &tried, candidates))
    }

    /// Sends `ask` as `credential`; nothing if that is not taken. A token that was kept and is no longer taken is
    /// replaced once, and a challenge that has changed is answered once.
    async fn attempt(
        &self,
        ask: &Ask<'_>,
        challenge: &mut Challenge,
        credential: &Credential,
        asked_bare: bool,
    ) -> Result<Option<Answer>, RegistryError> {
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
            if !is_refusal(&answer) {
                return Ok(Some(answer));
            }
            let mut was_kept = false;
            if let Some((key, token)) = &token {
                was_kept = token.since < began;
                sessions.tokens.reject(key, token).await;
            }
            let new = super::challenge::challenge(answer.headers()).filter(|new| new != challenge);
            if last || answer.status() != 401 || (new.is_none() && !was_kept) {
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

    fn no_challenge(&self, answer: &Answer, ask: &Ask<'_>) -> RegistryError {
        let text = format!(
            "{} answered {} to the request for {} without saying which credentials it wants",
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
            text.push_str(&format!(
                "; check that {path} exists and that imagePullSecrets hold a credential for {host}"
            ));
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

fn is_refusal(answer: &Answer) -> bool {
    matches!(answer.status().as_u16(), 401 | 403)
}
