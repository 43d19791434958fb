//! Whatever can send JSON: a pipeline, a script, a registry that has no file of its own here.
//!
//! `{"image": "host/repository:tag"}` or `{"images": […]}`, written as workloads write them.

use http::HeaderMap;
use serde::Deserialize;
use serde_json::json;

use super::{
    Few, Push, Sample, Sender, WebhookError,
    auth::{Hash, Proof},
    parse_json,
};
use crate::domain::image::ImageRef;

pub(super) const SENDER: Sender = Sender {
    name: "generic",
    proofs: &[Proof::Hmac { header: "x-signature", prefix: "sha256=", hash: Hash::Sha256 }, Proof::Header],
    parse,
    sample,
};

/// What a body is to be.
const WHAT: &str = "`{\"image\": \"host/repository:tag\"}` or `{\"images\": […]}`";

#[derive(Deserialize)]
struct Body {
    image: Option<String>,
    images: Option<Few<String>>,
}

fn parse(_: &HeaderMap, body: &[u8]) -> Result<Vec<Push>, WebhookError> {
    let body: Body = parse_json(body, WHAT)?;
    if body.image.is_none() && body.images.is_none() {
        return Err(WebhookError(format!("not {WHAT}: it has neither")));
    }
    let images = body.image.into_iter().chain(body.images.unwrap_or_default().0);
    Ok(images.filter_map(|image| ImageRef::parse(&image).ok()).map(Push::from).collect())
}

fn sample(image: &ImageRef) -> Result<Sample, &'static str> {
    Ok(Sample { headers: &[], body: json!({"image": image.to_string()}).to_string() })
}
