//! Quay: a notification of a repository, by webhook. It can send other events to the same address; only a push has
//! `updated_tags`. <https://docs.quay.io/guides/notifications.html>

use http::HeaderMap;
use serde::Deserialize;
use serde_json::json;

use super::{Few, Push, Sample, Sender, WebhookError, auth::Proof, parse_json};
use crate::domain::image::ImageRef;

pub(super) const SENDER: Sender = Sender { name: "quay", proofs: &[Proof::Query, Proof::Header], parse, sample };

/// No image has a longer name ([`crate::domain::image::Repository::parse`]).
const MAX_NAME: usize = 512;

#[derive(Deserialize)]
struct Event {
    /// `host/namespace/repository`
    docker_url: String,
    updated_tags: Option<Few<String>>,
}

fn parse(_: &HeaderMap, body: &[u8]) -> Result<Vec<Push>, WebhookError> {
    let Event { docker_url, updated_tags } = parse_json(body, "a notification of Quay")?;
    let tags = updated_tags.unwrap_or_default().0.into_iter();
    // Each push has a copy of it.
    if docker_url.len() > MAX_NAME {
        return Err(WebhookError(format!("not a notification of Quay: docker_url is longer than {MAX_NAME} bytes")));
    }
    let Push { host, path, .. } = Push::of(&docker_url);
    Ok(tags.map(|tag| Push { host: host.clone(), path: path.clone(), tag: Some(tag), digest: None }).collect())
}

fn sample(image: &ImageRef) -> Result<Sample, &'static str> {
    let tag = image.tag.as_ref().ok_or("an image with a tag")?;
    let body = json!({"docker_url": image.repository, "updated_tags": [tag]}).to_string();
    Ok(Sample { headers: &[], body })
}
