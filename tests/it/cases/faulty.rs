//! A registry with the faults that a case names. All else of it is as the distribution specification has it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, PoisonError},
};

use axum::{body::Body, http::Response};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::{
    registry::fault_server::{FaultServer, Seen, answer},
    support::registry::OCI_MANIFEST,
};

/// What the registry of a case has, and how it behaves.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Spec {
    /// Without it everybody may read.
    auth: Option<Auth>,
    /// By name; with `bearer` and without users everybody gets a token.
    #[serde(default)]
    users: BTreeMap<String, String>,
    /// The status of a request without credentials, which has no challenge then; only `/v2/` has it.
    bare: Option<u16>,
    /// The status of every HEAD of a manifest.
    head: Option<u16>,
    /// So many requests are answered 429 with `Retry-After: 1`, then all is well.
    #[serde(default)]
    busy: usize,
    /// How many tags are on a page.
    page: Option<usize>,
    /// How a page names the next one.
    link: Option<Link>,
    /// The first token is good for so many requests.
    first_token: Option<usize>,
    /// The status after them.
    expired: Option<u16>,
    /// Tags by repository.
    #[serde(flatten)]
    pub(super) repositories: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Auth {
    Basic,
    Bearer,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Link {
    Path,
    Https,
}

impl Spec {
    /// Whether a real registry does the same.
    pub(super) fn is_plain(&self) -> bool {
        let Self { auth, users: _, bare: _, head, busy, page, link: _, first_token: _, expired: _, repositories: _ } =
            self;
        auth.is_none() && head.is_none() && *busy == 0 && page.is_none()
    }
}

/// The state of one.
struct Faulty {
    spec: Spec,
    /// Manifests by repository and tag.
    manifests: HashMap<(String, String), String>,
    changing: Mutex<Changing>,
}

struct Changing {
    busy: usize,
    /// For how many requests each token is still good; none: for any number.
    tokens: HashMap<String, Option<usize>>,
}

fn manifest(repository: &str, tag: &str) -> String {
    json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": [], "annotations": {"image": [repository, tag]}})
        .to_string()
}

/// Without `sha256:`.
pub(super) fn digest(repository: &str, tag: &str) -> String {
    Sha256::digest(manifest(repository, tag)).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) async fn start(spec: &Spec) -> FaultServer {
    let each =
        spec.repositories.iter().flat_map(|(name, tags)| tags.iter().map(move |tag| (name.clone(), tag.clone())));
    let faulty = Faulty {
        manifests: each.map(|(name, tag)| ((name.clone(), tag.clone()), manifest(&name, &tag))).collect(),
        changing: Mutex::new(Changing { busy: spec.busy, tokens: HashMap::new() }),
        spec: spec.clone(),
    };
    FaultServer::start(move |seen, _| faulty.answer(seen)).await
}

impl Faulty {
    fn answer(&self, seen: &Seen) -> Response<Body> {
        let (method, target) = seen.line.split_once(' ').unwrap();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        if path == "/token" {
            return self.token(seen);
        }
        let busy = {
            let mut changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
            let busy = changing.busy;
            changing.busy = busy.saturating_sub(1);
            busy
        };
        if busy > 0 {
            return answer(429, &[("retry-after", "1")], "");
        }
        let parts: Vec<&str> = path.trim_start_matches("/v2/").rsplitn(3, '/').collect();
        if let Some(refusal) = self.refusal(seen, path, parts.get(2).copied()) {
            return refusal;
        }
        match parts[..] {
            _ if path == "/v2/" => answer(200, &[], "{}"),
            [_, "tags", name] => self.tags(&seen.host, path, name, query),
            [_, "manifests", _] if method == "HEAD" && self.spec.head.is_some() => {
                answer(self.spec.head.unwrap_or_default(), &[], "")
            }
            [reference, "manifests", name] => self.manifest(name, reference),
            _ => answer(404, &[], ""),
        }
    }

    fn manifest(&self, name: &str, reference: &str) -> Response<Body> {
        let key = (name.to_owned(), reference.to_owned());
        let Some(text) = self.manifests.get(&key) else { return answer(404, &[], "") };
        let digest = format!("sha256:{}", digest(name, reference));
        answer(200, &[("content-type", OCI_MANIFEST), ("docker-content-digest", &digest)], text.clone())
    }

    fn tags(&self, host: &str, path: &str, name: &str, query: &str) -> Response<Body> {
        let Some(tags) = self.spec.repositories.get(name) else { return answer(404, &[], "") };
        let last = query.split('&').find_map(|pair| pair.strip_prefix("last="));
        let start = last.and_then(|last| tags.iter().position(|tag| tag == last)).map_or(0, |at| at + 1);
        let size = self.spec.page.unwrap_or(tags.len());
        let rest: Vec<&str> = tags[start..].iter().map(String::as_str).collect();
        let page = &rest[..size.min(rest.len())];
        let before = match self.spec.link {
            Some(Link::Https) => format!("https://{host}{path}"),
            Some(Link::Path) | None => path.to_owned(),
        };
        let link = page.last().filter(|_| page.len() < rest.len());
        let link = link.map(|last| format!("<{before}?n={size}&last={last}>; rel=\"next\""));
        let headers: Vec<(&str, &str)> = link.iter().map(|link| ("link", link.as_str())).collect();
        answer(200, &headers, json!({"name": name, "tags": page}).to_string())
    }

    /// Why a request is not let in.
    fn refusal(&self, seen: &Seen, path: &str, name: Option<&str>) -> Option<Response<Body>> {
        let (good, challenge) = match self.spec.auth? {
            Auth::Basic => (self.is_user(seen), "Basic realm=\"registry\"".to_owned()),
            Auth::Bearer => {
                let scope = name.map(|name| format!(",scope=\"repository:{name}:pull\"")).unwrap_or_default();
                let realm = format!("Bearer realm=\"http://{}/token\",service=\"registry\"{scope}", seen.host);
                match self.is_used_up(&seen.authorization) {
                    Some(true) => return Some(answer(self.spec.expired.unwrap_or(401), &[], "")),
                    used => (used.is_some(), realm),
                }
            }
        };
        match self.spec.bare.filter(|_| seen.authorization.is_empty() && path != "/v2/") {
            _ if good => None,
            Some(status) => Some(answer(status, &[], "")),
            None => Some(answer(401, &[("www-authenticate", &challenge)], "")),
        }
    }

    fn is_user(&self, seen: &Seen) -> bool {
        let given = seen.authorization.strip_prefix("Basic ").and_then(|text| STANDARD.decode(text).ok());
        let given = given.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
        let user = given.split_once(':');
        user.is_some_and(|(name, password)| self.spec.users.get(name).is_some_and(|known| known == password))
    }

    /// Uses a token; nothing if there is no such.
    fn is_used_up(&self, authorization: &str) -> Option<bool> {
        let mut changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let left = changing.tokens.get_mut(authorization.strip_prefix("Bearer ")?)?;
        let is_used_up = *left == Some(0);
        *left = left.map(|left: usize| left.saturating_sub(1));
        Some(is_used_up)
    }

    fn token(&self, seen: &Seen) -> Response<Body> {
        if !self.spec.users.is_empty() && !self.is_user(seen) {
            return answer(401, &[], "");
        }
        let mut changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let token = format!("token-{}", changing.tokens.len() + 1);
        let good_for = self.spec.first_token.filter(|_| changing.tokens.is_empty());
        changing.tokens.insert(token.clone(), good_for);
        answer(200, &[], json!({"token": token, "expires_in": 3600}).to_string())
    }
}
