//! Azure Container Registry: a webhook of the registry, with a header of one's own.
//!
//! <https://learn.microsoft.com/azure/container-registry/container-registry-webhook-reference>

use http::HeaderMap;
use serde::Deserialize;
use serde_json::json;

use super::{Push, Sample, Sender, WebhookError, auth::Proof, parse_json};
use crate::domain::image::ImageRef;

pub(super) const SENDER: Sender = Sender { name: "acr", proofs: &[Proof::Header], parse, sample };

/// What a body is to be.
const WHAT: &str = "a webhook of Azure Container Registry";

#[derive(Deserialize)]
struct Event {
    /// `push`, `delete`, `quarantine`, `chart_push`, `chart_delete`, `ping`.
    action: String,
    #[serde(default)]
    target: Pushed,
    #[serde(default)]
    request: Request,
}

#[derive(Deserialize, Default)]
struct Pushed {
    repository: Option<String>,
    tag: Option<String>,
    digest: Option<String>,
}

#[derive(Deserialize, Default)]
struct Request {
    host: Option<String>,
}

fn parse(_: &HeaderMap, body: &[u8]) -> Result<Vec<Push>, WebhookError> {
    let event: Event = parse_json(body, WHAT)?;
    if event.action != "push" {
        return Ok(Vec::new());
    }
    let Pushed { repository, tag, digest } = event.target;
    let (Some(host), Some(path)) = (event.request.host, repository) else {
        return Err(WebhookError(format!("not {WHAT}: a push without `request.host` or `target.repository`")));
    };
    Ok(vec![Push { host: Some(host), path, tag, digest }])
}

fn sample(image: &ImageRef) -> Result<Sample, &'static str> {
    let repository = &image.repository;
    let target = json!({"repository": repository.path(), "tag": image.tag, "digest": image.digest});
    let body = json!({"action": "push", "target": target, "request": {"host": repository.host()}}).to_string();
    Ok(Sample { headers: &[], body })
}
