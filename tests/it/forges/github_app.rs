//! A GitHub App's tokens, by the documentation of "Authenticating as a GitHub App installation".

use std::{path::PathBuf, sync::Arc, time::Duration};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rsa::{KeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use supercargo::git::forges::{AppSettings, ForgeError, ForgeSettings, GithubApp};
use tempfile::TempDir;

use super::{Came, Reply, Server, clock, connect, reply, settings};
use crate::support::{clock::SimClock, keys};

/// A key, as PEM of both kinds and as the public key that GitHub keeps.
struct Key {
    pkcs1: String,
    pkcs8: String,
    public: Vec<u8>,
}

fn key() -> Key {
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
    let pem =
        |label: &str, der: &[u8]| format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der));
    // PKCS#8 wraps a PKCS#1 key: version, algorithm and the header of a string are 26 bytes.
    let (pkcs1, pkcs8) = (pem("RSA PRIVATE KEY", &der.as_ref()[26..]), pem("PRIVATE KEY", der.as_ref()));
    Key { pkcs1, pkcs8, public: pair.public_key().as_ref().to_vec() }
}

/// A new private key, as GitHub gives it to download.
pub(crate) fn app_key() -> String {
    key().pkcs1
}

/// GitHub: tokens `ghs_1`, `ghs_2`, … of an hour by the clock, to who signs as app 123.
fn github(public: Vec<u8>, clock: SimClock) -> impl FnMut(&Came) -> Reply {
    use supercargo::ports::Clock as _;
    let mut count = 0;
    move |came| {
        let jwt = came.header("authorization").strip_prefix("Bearer ").unwrap();
        if came.path == "/api/v3/repos/o/r/pulls" {
            let is_good = jwt == format!("ghs_{count}");
            return if is_good { reply(200, json!([])) } else { reply(401, json!({"message": "Bad credentials"})) };
        }
        let (signed, signature) = jwt.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &public);
        if key.verify(signed.as_bytes(), &signature).is_err() {
            return reply(401, json!({"message": "A JSON web token could not be decoded"}));
        }
        let (header, claims) = signed.split_once('.').unwrap();
        let read = |part: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
        let now = clock.now().as_second();
        assert_eq!(read(header), json!({"alg": "RS256", "typ": "JWT"}));
        assert_eq!(read(claims), json!({"iat": now - 60, "exp": now + 540, "iss": "123"}));
        match (&*came.method, &*came.path) {
            ("GET", "/api/v3/repos/o/r/installation") => {
                reply(200, json!({"id": 42, "app_id": 123, "target_type": "Organization"}))
            }
            ("POST", "/api/v3/app/installations/42/access_tokens") => {
                assert_eq!(came.body["repositories"], json!(["r"]));
                count += 1;
                let expires = (clock.now() + Duration::from_secs(3600)).to_string();
                let permissions = came.body["permissions"].clone();
                reply(
                    201,
                    json!({"token": format!("ghs_{count}"), "expires_at": expires, "permissions": permissions,
                    "repository_selection": "selected"}),
                )
            }
            _ => reply(404, json!({"message": "Not Found"})),
        }
    }
}

struct Bench {
    server: Server,
    clock: SimClock,
    folder: TempDir,
}

impl Bench {
    async fn start(public: Vec<u8>) -> Self {
        let clock = clock();
        let server = Server::start(github(public, clock.clone())).await;
        Self { server, clock, folder: tempfile::tempdir().unwrap() }
    }

    fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }

    fn settings(&self) -> ForgeSettings {
        settings("github", &format!("{}/o/r.git", self.server.url), None)
    }

    fn app(&self, installation_id: Option<u64>, pull_requests: bool) -> GithubApp {
        let app = AppSettings { app_id: "123".to_owned(), installation_id, key: self.key(), pull_requests };
        let ForgeSettings { place, client, .. } = self.settings();
        GithubApp::new(client, place, app, Arc::new(self.clock.clone()))
    }
}

async fn token(app: &GithubApp) -> Result<String, ForgeError> {
    app.token().await.map(|token| token.expose_secret().to_owned())
}

#[tokio::test]
async fn a_token_is_kept_until_shortly_before_its_end() {
    let key = key();
    let bench = Bench::start(key.public).await;
    std::fs::write(bench.key(), &key.pkcs1).unwrap();
    let app = bench.app(None, true);
    let many = futures::future::join_all((0..5).map(|_| token(&app))).await;
    assert!(many.iter().all(|token| token.as_deref() == Ok("ghs_1")), "{many:?}");
    let lines = ["GET /api/v3/repos/o/r/installation", "POST /api/v3/app/installations/42/access_tokens"];
    assert_eq!(bench.server.lines(), lines);
    assert_eq!(bench.server.came()[1].body["permissions"], json!({"contents": "write", "pull_requests": "write"}));
    bench.clock.advance(Duration::from_secs(55 * 60 - 1)).await;
    assert_eq!(token(&app).await.as_deref(), Ok("ghs_1"));
    bench.clock.advance(Duration::from_secs(1)).await;
    assert_eq!(token(&app).await.as_deref(), Ok("ghs_2"));
    app.forget();
    assert_eq!(token(&app).await.as_deref(), Ok("ghs_3"));
}

#[tokio::test]
async fn a_key_of_either_kind_is_read_again_and_may_do_no_more_than_it_must() {
    let key = key();
    let bench = Bench::start(key.public).await;
    let app = bench.app(Some(42), false);
    let bad = |error: ForgeError| {
        assert!(matches!(error, ForgeError::Auth(_)), "{error:?}");
        error.to_string()
    };
    assert!(bad(token(&app).await.unwrap_err()).contains("key.pem: No such file"));
    for text in [
        keys::key_pair().0,
        "-----BEGIN RSA PRIVATE KEY-----\nc2VjcmV0\n-----END RSA PRIVATE KEY-----\n".to_owned(),
        String::new(),
    ] {
        std::fs::write(bench.key(), &text).unwrap();
        let words = bad(token(&app).await.unwrap_err());
        assert!(words.ends_with("key.pem: it holds no RSA key in PEM"), "{words}");
    }
    assert_eq!(bench.server.lines(), Vec::<String>::new());
    std::fs::write(bench.key(), self::key().pkcs8).unwrap();
    assert!(bad(token(&app).await.unwrap_err()).contains("could not be decoded"));
    std::fs::write(bench.key(), &key.pkcs8).unwrap();
    assert_eq!(token(&app).await.as_deref(), Ok("ghs_1"));
    assert_eq!(bench.server.came().last().unwrap().body["permissions"], json!({"contents": "write"}));
}

#[tokio::test]
async fn a_forge_asks_for_a_new_one_when_it_is_refused() {
    let key = key();
    let bench = Bench::start(key.public).await;
    std::fs::write(bench.key(), &key.pkcs8).unwrap();
    let app = Arc::new(bench.app(Some(42), true));
    let forge = connect(&bench.settings(), app.clone());
    assert_eq!(forge.find("b").await.unwrap(), None);
    // Another process takes a new one, and GitHub here knows the newest only.
    token(&bench.app(Some(42), true)).await.unwrap();
    assert_eq!(forge.find("b").await.unwrap(), None);
    assert_eq!(token(&app).await.as_deref(), Ok("ghs_3"));
}
