//! Quay: a notification of a repository, by webhook. It can send other events to the same address; only a push has
//! `updated_tags`. <https://docs.quay.io/guides/notifications.html>

use http::HeaderMap;
use serde::Deserialize;
use serde_json::json;

use super::{Push, Sample, Sender, WebhookError, auth::Proof, parse_json};
use crate::domain::image::ImageRef;

pub(super) const SENDER: Sender = Sender { name: "quay", proofs: &[Proof::Query, Proof::Header], parse, sample };

#[derive(Deserialize)]
struct Event {
    /// `host/namespace/repository`
    docker_url: String,
    updated_tags: Option<Vec<String>>,
}

fn parse(_: &HeaderMap, body: &[u8]) -> Result<Vec<Push>, WebhookError> {
    let Event { docker_url, updated_tags } = parse_json(body, "a notification of Quay")?;
    let tags = updated_tags.unwrap_or_default().into_iter();
    let Push { host, path, .. } = Push::of(&docker_url);
    Ok(tags.map(|tag| Push { host: host.clone(), path: path.clone(), tag: Some(tag), digest: None }).collect())
}

fn sample(image: &ImageRef) -> Result<Sample, &'static str> {
    let tag = image.tag.as_ref().ok_or("an image with a tag")?;
    let body = json!({"docker_url": image.repository, "updated_tags": [tag]}).to_string();
    Ok(Sample { headers: &[], body })
}
