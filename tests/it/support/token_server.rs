//! A token server as registries refer to (distribution's token specification), with what it was asked.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use axum::{
    Router,
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};

/// How long its tokens live and whom it knows.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) users: HashMap<String, String>,
    /// Whether anonymous pulls of `public/*` get a token that allows them.
    pub(crate) lifetime: Duration,
    /// Whether the answer says `expires_in`.
    pub(crate) says_expires_in: bool,
    /// How long an answer takes.
    pub(crate) delay: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        let users = HashMap::from([("u".to_owned(), "p".to_owned()), ("v".to_owned(), "q".to_owned())]);
        Self { users, lifetime: Duration::from_secs(300), says_expires_in: true, delay: Duration::ZERO }
    }
}

/// One request for a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Empty if anonymous.
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) query: String,
}

/// Runs on the runtime of the test that started it. Anonymous users may pull `public/*`, others anything.
#[derive(Debug, Clone)]
pub(crate) struct TokenServer {
    /// The URL that challenges name.
    pub(crate) realm: String,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    key: EcdsaKeyPair,
    rules: Rules,
    asked: Mutex<Vec<Asked>>,
    count: AtomicU64,
}

impl TokenServer {
    pub(crate) async fn start() -> Self {
        Self::start_with(Rules::default()).await
    }

    pub(crate) async fn start_with(rules: Rules) -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        let shared = Arc::new(Shared { key, rules, asked: Mutex::default(), count: AtomicU64::default() });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let realm = format!("http://{}/token", listener.local_addr().expect("an address"));
        let server = Self { realm, shared };
        let app = Router::new().route("/token", get(answer)).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        server
    }

    /// What it was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().expect("no panic").clone()
    }

    /// The public key, as registries read it.
    pub(crate) fn jwks(&self) -> String {
        // An uncompressed point: 4, x, y.
        let point = self.shared.key.public_key().as_ref();
        let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..65]));
        json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "k1", "use": "sig", "alg": "ES256", "x": x, "y": y}]})
            .to_string()
    }

    /// A token for one repository.
    pub(crate) fn sign(&self, repository: &str, actions: &[&str], user: &str) -> String {
        self.sign_access(&json!([{"type": "repository", "name": repository, "actions": actions}]), user)
    }

    #[expect(clippy::disallowed_methods, reason = "a server's own clock")]
    fn sign_access(&self, access: &Value, user: &str) -> String {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
        let id = self.shared.count.fetch_add(1, Ordering::Relaxed);
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let head = part(json!({"typ": "JWT", "alg": "ES256", "kid": "k1"}));
        let body = part(json!({
            "iss": "t", "sub": user, "aud": "reg", "exp": now + self.shared.rules.lifetime.as_secs(), "nbf": now - 5,
            "iat": now, "jti": id.to_string(), "access": access,
        }));
        let signed = format!("{head}.{body}");
        let signature = self.shared.key.sign(&SystemRandom::new(), signed.as_bytes()).expect("a signature");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}

async fn answer(State(server): State<TokenServer>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let query = query.unwrap_or_default();
    let (user, password) = basic(&headers).unwrap_or_default();
    let asked = Asked { user: user.clone(), password: password.clone(), query: query.clone() };
    server.shared.asked.lock().expect("no panic").push(asked);
    tokio::time::sleep(server.shared.rules.delay).await;
    if !user.is_empty() && server.shared.rules.users.get(&user) != Some(&password) {
        return (StatusCode::UNAUTHORIZED, "bad credentials").into_response();
    }
    let scopes: Vec<String> = url::form_urlencoded::parse(query.as_bytes())
        .filter(|(key, _)| key == "scope")
        .flat_map(|(_, value)| value.split(' ').map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let access: Vec<Value> = scopes
        .iter()
        .filter_map(|scope| {
            let (kind, rest) = scope.split_once(':')?;
            let (name, actions) = rest.rsplit_once(':')?;
            let may = |action: &&str| !user.is_empty() || (*action == "pull" && name.starts_with("public/"));
            let actions: Vec<&str> = actions.split(',').filter(may).collect();
            Some(json!({"type": kind, "name": name, "actions": actions}))
        })
        .collect();
    let token = server.sign_access(&Value::Array(access), &user);
    let mut body = json!({"token": token});
    if server.shared.rules.says_expires_in {
        body["expires_in"] = json!(server.shared.rules.lifetime.as_secs());
    }
    ([("content-type", "application/json")], body.to_string()).into_response()
}

/// The user and password of a Basic header.
pub(crate) fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get("authorization")?.to_str().ok()?.strip_prefix("Basic ")?;
    let text = String::from_utf8(STANDARD.decode(value).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}
