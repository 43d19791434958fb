//! Docker Hub: a webhook of a repository is sent for each tag that is pushed, and for nothing else.
//!
//! <https://docs.docker.com/docker-hub/repos/manage/webhooks/>. It signs nothing and sets no header of one's own.

use http::HeaderMap;
use serde::Deserialize;
use serde_json::json;

use super::{Push, Sample, Sender, WebhookError, auth::Proof, parse_json};
use crate::domain::image::{DOCKER_HUB, ImageRef};

pub(super) const SENDER: Sender = Sender { name: "dockerhub", proofs: &[Proof::Query, Proof::Header], parse, sample };

#[derive(Deserialize)]
struct Body {
    push_data: PushData,
    repository: Repository,
}

#[derive(Deserialize)]
struct PushData {
    tag: Option<String>,
}

#[derive(Deserialize)]
struct Repository {
    /// `owner/name`
    repo_name: String,
}

fn parse(_: &HeaderMap, body: &[u8]) -> Result<Vec<Push>, WebhookError> {
    let Body { push_data, repository } = parse_json(body, "a webhook of Docker Hub")?;
    let host = Some(DOCKER_HUB.to_owned());
    Ok(vec![Push { host, path: repository.repo_name, tag: push_data.tag, digest: None }])
}

fn sample(image: &ImageRef) -> Result<Sample, &'static str> {
    if image.repository.host() != DOCKER_HUB {
        return Err("images of docker.io");
    }
    let body = json!({"push_data": {"tag": image.tag}, "repository": {"repo_name": image.repository.path()}});
    Ok(Sample { headers: &[], body: body.to_string() })
}
