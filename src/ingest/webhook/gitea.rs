//! Gitea and Forgejo: packages of the type container.
//!
//! A tag that is new or moved is `created`. A manifest that is pushed by digest, as those of an index are, has the digest
//! as its version. <https://docs.gitea.com/usage/webhooks>, and `services/webhook` of its source.

use http::HeaderMap;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::json;
use url::Url;

use super::{
    Push, Sample, Sender, WebhookError,
    auth::{Hash, Proof},
    header, host_of, parse_json,
};
use crate::domain::image::ImageRef;

pub(super) const SENDER: Sender = Sender {
    name: "gitea",
    proofs: &[Proof::Hmac { header: "x-gitea-signature", prefix: "", hash: Hash::Sha256 }],
    parse,
    sample,
};

/// What a body is to be.
const WHAT: &str = "a webhook of Gitea or Forgejo in JSON (content type application/json)";

#[derive(Deserialize)]
struct Event {
    action: String,
    package: Package,
}

#[derive(Deserialize)]
struct Package {
    r#type: String,
    owner: Owner,
    name: String,
    version: String,
    /// The page of the version, which is on the host of the registry.
    html_url: Option<String>,
}

#[derive(Deserialize)]
struct Owner {
    login: String,
}

fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Vec<Push>, WebhookError> {
    if header(headers, "x-gitea-event")? != "package" {
        return parse_json::<IgnoredAny>(body, WHAT).map(|_| Vec::new());
    }
    let Event { action, package } = parse_json(body, WHAT)?;
    if action != "created" || package.r#type != "container" {
        return Ok(Vec::new());
    }
    let host = package.html_url.as_deref().and_then(host_of);
    let path = format!("{}/{}", package.owner.login, package.name).to_ascii_lowercase();
    let tag = Some(package.version).filter(|version| !version.starts_with("sha256:"));
    Ok(vec![Push { host, path, tag, digest: None }])
}

fn sample(image: &ImageRef) -> Result<Sample, &'static str> {
    let path = image.repository.path();
    let (Some((owner, name)), Some(tag)) = (path.split_once('/'), &image.tag) else {
        return Err("host/owner/name:tag");
    };
    let url = format!("https://{}/{owner}/-/packages/container/{name}/{tag}", image.repository.host());
    let package = json!({
        "type": "container", "owner": {"login": owner}, "name": name, "version": tag,
        "html_url": Url::parse(&url).map_or(url, String::from),
    });
    let body = json!({"action": "created", "package": package}).to_string();
    Ok(Sample { headers: &[("x-gitea-event", "package")], body })
}
