//! A registry in memory on loopback: enough of the OCI distribution-spec to push and to be polled.
//!
//! It is for the demonstration only; tests run against real registries.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context;
use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::any,
};
use sha2::{Digest as _, Sha256};

use crate::net::{self, Timeouts};

const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";

/// What has been pushed.
#[derive(Default)]
struct Store {
    /// Repository → tag → digest.
    tags: HashMap<String, BTreeMap<String, String>>,
    /// Digest → bytes.
    content: HashMap<String, Bytes>,
}

type Shared = Arc<Mutex<Store>>;

/// A registry that serves until the runtime ends.
pub(super) struct Registry {
    /// Where it listens.
    pub(super) address: SocketAddr,
    client: reqwest::Client,
}

impl Registry {
    /// Starts on a free port of 127.0.0.1.
    pub(super) async fn start() -> anyhow::Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.context("no port on 127.0.0.1")?;
        let address = listener.local_addr()?;
        let app = Router::new().route("/v2/{*path}", any(answer)).with_state(Shared::default());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(Self { address, client: net::client(None, None, Timeouts::default())? })
    }

    /// Pushes a tiny image as any client does: the config as a blob, then the manifest under its tag.
    pub(super) async fn push(&self, repository: &str, tag: &str) -> anyhow::Result<()> {
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []},
            "config": {"Labels": {"org.opencontainers.image.version": tag}},
        })
        .to_string();
        let digest = digest(config.as_bytes());
        let base = format!("http://{}/v2/{repository}", self.address);
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": MANIFEST_TYPE, "layers": [],
            "config": {"mediaType": CONFIG_TYPE, "size": config.len(), "digest": digest},
        });
        let put = |url: String, media: &'static str, body: String| {
            self.client.put(url).header(header::CONTENT_TYPE, media).body(body).send()
        };
        put(format!("{base}/blobs/{digest}"), "application/octet-stream", config).await?.error_for_status()?;
        put(format!("{base}/manifests/{tag}"), MANIFEST_TYPE, manifest.to_string()).await?.error_for_status()?;
        Ok(())
    }
}

async fn answer(State(store): State<Shared>, method: Method, Path(path): Path<String>, body: Bytes) -> Response {
    let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
    let not_found = || StatusCode::NOT_FOUND.into_response();
    if let Some(repository) = path.strip_suffix("/tags/list") {
        let Some(tags) = store.tags.get(repository) else { return not_found() };
        let tags: Vec<&String> = tags.keys().collect();
        return axum::Json(serde_json::json!({"name": repository, "tags": tags})).into_response();
    }
    let Some((rest, reference)) = path.rsplit_once('/') else { return not_found() };
    let Some((repository, kind)) = rest.rsplit_once('/') else { return not_found() };
    if method == Method::PUT {
        let digest = digest(&body);
        store.content.insert(digest.clone(), body);
        if kind == "manifests" {
            store.tags.entry(repository.to_owned()).or_default().insert(reference.to_owned(), digest);
        }
        return StatusCode::CREATED.into_response();
    }
    let tagged = store.tags.get(repository).and_then(|tags| tags.get(reference)).cloned();
    let digest = tagged.unwrap_or_else(|| reference.to_owned());
    let Some(content) = store.content.get(&digest).cloned() else { return not_found() };
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MANIFEST_TYPE));
    if let Ok(digest) = HeaderValue::from_str(&digest) {
        headers.insert("docker-content-digest", digest);
    }
    (headers, content).into_response()
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex}")
}
