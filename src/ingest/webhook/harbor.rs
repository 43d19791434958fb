//! Harbor: a webhook of a project, in either payload format.
//!
//! What is pushed without a tag has its digest in its place.
//! <https://goharbor.io/docs/latest/working-with-projects/project-configuration/configure-webhooks/>

use http::HeaderMap;
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{Few, Push, Sample, Sender, WebhookError, auth::Proof, parse_json};
use crate::domain::image::ImageRef;

pub(super) const SENDER: Sender = Sender { name: "harbor", proofs: &[Proof::Header], parse, sample };

/// What a body is to be.
const WHAT: &str = "a webhook of Harbor";

#[derive(Deserialize)]
struct Event<'a> {
    r#type: String,
    /// Of the format Default; read for pushes only, as others look different.
    #[serde(borrow)]
    event_data: Option<&'a RawValue>,
    /// The same of the format CloudEvents.
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Data {
    resources: Few<Resource>,
}

#[derive(Deserialize)]
struct Resource {
    /// `host/project/repository:tag`, or `@digest`.
    resource_url: String,
    digest: Option<String>,
}

fn parse(_: &HeaderMap, body: &[u8]) -> Result<Vec<Push>, WebhookError> {
    let event: Event = parse_json(body, WHAT)?;
    let data = match &*event.r#type {
        "PUSH_ARTIFACT" => event.event_data,
        "harbor.artifact.pushed" => event.data,
        _ => return Ok(Vec::new()),
    };
    let data = data.ok_or_else(|| WebhookError(format!("not {WHAT}: a push without its data")))?;
    let Data { resources } = parse_json(data.get().as_bytes(), WHAT)?;
    Ok(resources
        .0
        .into_iter()
        .map(|resource| Push { digest: resource.digest, ..Push::of(&resource.resource_url) })
        .collect())
}

fn sample(image: &ImageRef) -> Result<Sample, &'static str> {
    let tag = image.tag.as_ref().ok_or("an image with a tag")?;
    let url = format!("{}:{tag}", image.repository);
    let resource = json!({"resource_url": url, "tag": tag, "digest": image.digest});
    let body = json!({"type": "PUSH_ARTIFACT", "event_data": {"resources": [resource]}}).to_string();
    Ok(Sample { headers: &[], body })
}
