//! A GitHub App's installation tokens: a JSON Web Token (RS256) signed with the app's key is exchanged for a token of an
//! hour that may do no more than what is needed, in one repository ("Authenticating as a GitHub App installation").

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use rustls::{
    SignatureScheme,
    crypto::aws_lc_rs::sign,
    pki_types::{PrivateKeyDer, pem::PemObject as _},
};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;

use super::{
    error::ForgeError,
    github,
    http::Http,
    settings::{RepositoryPlace, Token},
};
use crate::ports::Clock;

/// GitHub takes a JSON Web Token for ten minutes at most; its clock may be behind ours.
const JWT_BEFORE: SignedDuration = SignedDuration::from_secs(60);
const JWT_LIFETIME: SignedDuration = SignedDuration::from_mins(9);
/// How long before its end a token is no longer used.
const SPARE: SignedDuration = SignedDuration::from_mins(5);

/// Which app, and what for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppSettings {
    /// The app's id, or its client id.
    pub app_id: String,
    /// Its installation; asked for if absent.
    pub installation_id: Option<u64>,
    /// The private key, PEM (PKCS#1, as GitHub gives it, or PKCS#8). Read again for each token.
    pub key: PathBuf,
    /// Whether it opens pull requests, beside writing to branches.
    pub pull_requests: bool,
}

/// Tokens of an app's installation in one repository.
pub struct GithubApp {
    settings: AppSettings,
    http: Http,
    clock: Arc<dyn Clock>,
    /// One at a time asks for a token.
    asking: tokio::sync::Mutex<()>,
    held: Mutex<Option<CachedToken>>,
}

#[derive(Clone)]
struct CachedToken {
    token: SecretString,
    until: Timestamp,
}

#[derive(Deserialize)]
struct Granted {
    token: String,
    expires_at: Timestamp,
}

#[derive(Deserialize)]
struct Installation {
    id: u64,
}

/// The app itself, for the length of one request.
struct AsApp {
    key: PathBuf,
    app_id: String,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for GithubApp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GithubApp").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl GithubApp {
    /// The user of an installation token where it is a Git password.
    pub const USERNAME: &str = "x-access-token";

    /// Connects to nothing yet.
    pub fn new(client: reqwest::Client, place: RepositoryPlace, app: AppSettings, clock: Arc<dyn Clock>) -> Self {
        let as_app = Arc::new(AsApp { key: app.key.clone(), app_id: app.app_id.clone(), clock: clock.clone() });
        let http = Http::new(client, place, github::KIND.dialect, as_app, clock.clone());
        Self { settings: app, http, clock, asking: tokio::sync::Mutex::default(), held: Mutex::default() }
    }

    /// The token to use now, for the API or, with the user [`Self::USERNAME`], for Git. Kept until shortly before its end.
    pub async fn token(&self) -> Result<SecretString, ForgeError> {
        if let Some(token) = self.cached() {
            return Ok(token);
        }
        let _asking = self.asking.lock().await;
        if let Some(token) = self.cached() {
            return Ok(token);
        }
        let Granted { token, expires_at } = self.ask().await?;
        let token = SecretString::from(token);
        let held = CachedToken { token: token.clone(), until: expires_at - SPARE };
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(held);
        Ok(token)
    }

    /// The token was refused: the next one is a new one.
    pub fn forget(&self) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn cached(&self) -> Option<SecretString> {
        let now = self.clock.now();
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().filter(|held| now < held.until).map(|held| held.token.clone())
    }

    async fn ask(&self) -> Result<Granted, ForgeError> {
        let Self { http, settings, .. } = self;
        let installation = match settings.installation_id {
            Some(id) => id,
            None => {
                let what = "the GitHub App's installation in this repository";
                http.json::<Installation>(Method::GET, http.repos(&["installation"]), None, what).await?.id
            }
        };
        let mut body = json!({"permissions": {"contents": "write"}});
        body["repositories"] = json!([http.place.repository.rsplit('/').next()]);
        if settings.pull_requests {
            body["permissions"]["pull_requests"] = json!("write");
        }
        let url = http.url(&["app", "installations", &installation.to_string(), "access_tokens"]);
        http.json(Method::POST, url, Some(&body), "a token of the GitHub App").await
    }
}

impl Token for GithubApp {
    fn token(&self) -> BoxFuture<'_, Result<SecretString, ForgeError>> {
        Box::pin(Self::token(self))
    }

    fn forget(&self) {
        Self::forget(self);
    }
}

impl Token for AsApp {
    fn token(&self) -> BoxFuture<'_, Result<SecretString, ForgeError>> {
        Box::pin(async {
            let bad = |why: String| ForgeError::Auth(format!("the GitHub App's key {}: {why}", self.key.display()));
            let pem = fs::read(&self.key).map_err(|error| bad(error.to_string()))?;
            jwt(&pem, &self.app_id, self.clock.now()).map_err(|why| bad(why.to_owned()))
        })
    }
}

/// A JSON Web Token that says which app asks. What is wrong with a key is not told in the key's own words.
fn jwt(pem: &[u8], app: &str, now: Timestamp) -> Result<SecretString, &'static str> {
    const NO_KEY: &str = "it holds no RSA key in PEM";
    let key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| NO_KEY)?;
    let key = sign::any_supported_type(&key).map_err(|_| NO_KEY)?;
    let signer = key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]).ok_or(NO_KEY)?;
    let claims = json!({
        "iat": (now - JWT_BEFORE).as_second(),
        "exp": (now + JWT_LIFETIME).as_second(),
        "iss": app,
    });
    let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&json!({"alg": "RS256", "typ": "JWT"})), part(&claims));
    let signature = signer.sign(signed.as_bytes()).map_err(|_| "it does not sign")?;
    Ok(SecretString::from(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))))
}
