//! GitHub: the container registry (GHCR), of an organization, a repository or an App.
//!
//! `package` is sent to whoever asks for it, `registry_package` is its older name; both say the same. Each manifest of an
//! index comes as a version of its own without a tag, by the dozen: what has no tag is left alone.
//! <https://docs.github.com/en/webhooks/webhook-events-and-payloads#package>

use http::HeaderMap;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::json;

use super::{
    Push, Sample, Sender, WebhookError,
    auth::{Hash, Proof},
    header, meant_for_another, parse_json,
};
use crate::domain::image::ImageRef;

pub(super) const SENDER: Sender = Sender {
    name: "github",
    proofs: &[Proof::Hmac { header: "x-hub-signature-256", prefix: "sha256=", hash: Hash::Sha256 }],
    parse,
    sample,
};

/// What a body is to be.
const WHAT: &str = "a webhook of GitHub in JSON (content type application/json)";

#[derive(Deserialize)]
struct Event {
    action: String,
    #[serde(alias = "registry_package")]
    package: Package,
}

#[derive(Deserialize)]
struct Package {
    package_type: String,
    package_version: Option<Version>,
}

#[derive(Deserialize)]
struct Version {
    /// `ghcr.io/Owner/name:tag`, or with nothing after the colon.
    package_url: Option<String>,
    container_metadata: Option<Metadata>,
}

#[derive(Deserialize)]
struct Metadata {
    tag: Option<Tag>,
}

#[derive(Deserialize)]
struct Tag {
    name: Option<String>,
    digest: Option<String>,
}

fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Vec<Push>, WebhookError> {
    if let Some(other) = meant_for_another(&SENDER, headers) {
        return Err(WebhookError(other.to_owned()));
    }
    match header(headers, "x-github-event")? {
        "package" | "registry_package" => Ok(push(parse_json(body, WHAT)?).into_iter().collect()),
        _ => parse_json::<IgnoredAny>(body, WHAT).map(|_| Vec::new()),
    }
}

/// `None` for what is no push of a tag of an image.
fn push(event: Event) -> Option<Push> {
    let is_push = matches!(&*event.action, "published" | "updated");
    if !is_push || !event.package.package_type.eq_ignore_ascii_case("container") {
        return None;
    }
    let version = event.package.package_version?;
    let Tag { name, digest } = version.container_metadata?.tag?;
    let tag = name.filter(|name| !name.is_empty())?;
    // Owners keep their capitals there; images have none.
    Some(Push { tag: Some(tag), digest, ..Push::of(&version.package_url?.to_ascii_lowercase()) })
}

fn sample(image: &ImageRef) -> Result<Sample, &'static str> {
    if image.tag.is_none() {
        return Err("an image with a tag");
    }
    let url = format!("{}:{}", image.repository, image.tag.as_ref().map_or("", |tag| tag.as_str()));
    let tag = json!({"name": image.tag, "digest": image.digest});
    let version = json!({"package_url": url, "container_metadata": {"tag": tag}});
    let package = json!({"package_type": "CONTAINER", "package_version": version});
    let body = json!({"action": "published", "package": package}).to_string();
    Ok(Sample { headers: &[("x-github-event", "package")], body })
}
