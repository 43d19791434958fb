//! Digests, created times and origins: one HEAD, or the manifest and the image's configuration.

use jiff::Timestamp;
use reqwest::{
    Method,
    header::{CONTENT_TYPE, HeaderMap},
};
use serde::Deserialize;
use sha2::{Digest as _, Sha256, Sha512};

use super::{
    answer::UnreadAnswer,
    http::{Ask, Class},
    session::Look,
};
use crate::{
    domain::image::{Digest, ImageRef, Tag},
    ports::{ImageTimes, Origin, RegistryError, RegistryErrorKind},
};

const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";
const SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1+";
const DIGEST_HEADER: &str = "docker-content-digest";
const MAX_MANIFEST: usize = 4 * 1024 * 1024;
const MAX_CONFIG: usize = 8 * 1024 * 1024;
/// An index in an index in an index is followed no further.
const MAX_DEPTH: usize = 3;
/// A longer label is none.
const MAX_LABEL: usize = 1024;

/// An image manifest or an index: what we need of either.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    schema_version: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Descriptor {
    digest: String,
    #[serde(default)]
    platform: Option<Platform>,
}

#[derive(Debug, Deserialize)]
struct Platform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
}

#[derive(Debug, Deserialize)]
struct Config {
    #[serde(default)]
    created: Option<String>,
}

/// What a manifest is read for beside what stands in [`Manifest`].
#[derive(Debug, Deserialize)]
struct Annotated {
    annotations: Option<Labels>,
}

#[derive(Debug, Deserialize)]
struct Labelled {
    config: Option<Runtime>,
}

#[derive(Debug, Deserialize)]
struct Runtime {
    #[serde(rename = "Labels")]
    labels: Option<Labels>,
}

/// Keys of the OCI image-spec's annotations.md, which images have as labels too.
#[derive(Debug, Deserialize)]
struct Labels {
    #[serde(rename = "org.opencontainers.image.source")]
    source: Option<String>,
    #[serde(rename = "org.opencontainers.image.revision")]
    revision: Option<String>,
}

/// A manifest as it was sent.
struct Fetched {
    digest: Digest,
    manifest: Manifest,
    body: Vec<u8>,
}

/// The digest a tag points to: one HEAD, and where that is refused or names no digest one GET, whose answer counts:
/// some registries and proxies do not know HEAD, and say so in many ways. Of their hosts that is remembered.
pub(super) async fn digest(look: &Look<'_>, tag: &Tag) -> Result<Digest, RegistryError> {
    digest_of(look, tag.as_str(), format!("{}:{tag}", look.source.repository)).await
}

/// Whether there is a manifest of an image that may be read: by its digest, or else by its tag.
pub(super) async fn has(look: &Look<'_>, image: &ImageRef) -> Result<(), RegistryError> {
    digest_of(look, reference(image), image.to_string()).await.map(|_| ())
}

/// By what an image is asked for.
fn reference(image: &ImageRef) -> &str {
    let tag = image.tag.as_ref().map_or("latest", Tag::as_str);
    image.digest.as_ref().map_or(tag, Digest::as_str)
}

async fn digest_of(look: &Look<'_>, reference: &str, what: String) -> Result<Digest, RegistryError> {
    let mut refused = false;
    if look.sessions.asks_head(look).await {
        match look.send(ask(look, Method::HEAD, reference, &what)?).await {
            Ok(answer) if answer.status().is_success() => {
                refuse_schema_1(&answer)?;
                if let Some(digest) = named_digest(answer.headers()) {
                    look.sessions.keep_head(look, true).await;
                    return Ok(digest);
                }
            }
            Ok(answer) if matches!(answer.status().as_u16(), 400 | 404 | 405 | 501) => refused = true,
            Err(error) if error.kind == RegistryErrorKind::Auth && !look.sessions.is_shut(look).await => refused = true,
            other => return Err(other?.unexpected()),
        }
    }
    let got = get(look, reference, &what).await;
    match &got {
        Ok(_) if refused => look.sessions.keep_head(look, false).await,
        Err(error) if refused && error.kind == RegistryErrorKind::Auth => look.sessions.keep_shut(look).await,
        _ => {}
    }
    Ok(got?.digest)
}

/// The digest a tag points to and when that image was made.
pub(super) async fn image(look: &Look<'_>, tag: &Tag) -> Result<ImageTimes, RegistryError> {
    let what = format!("{}:{tag}", look.source.repository);
    let (found, outer) = image_manifest(look, tag.as_str(), &what).await?;
    let created = match config_of(&found) {
        Some(config) => created(&config_text(look, &config, &what).await?),
        None => None,
    };
    Ok(ImageTimes { digest: outer.into_iter().next().unwrap_or(found).digest, pushed: None, created })
}

/// What the labels of an image say of its source; where they do not, the annotations of its manifest, then of its index.
pub(super) async fn origin(look: &Look<'_>, image: &ImageRef) -> Result<Origin, RegistryError> {
    let reference = reference(image);
    let what = image.to_string();
    let (found, outer) = image_manifest(look, reference, &what).await?;
    let mut said = Vec::new();
    if let Some(config) = config_of(&found) {
        let text = config_text(look, &config, &what).await?;
        said.extend(serde_json::from_slice::<Labelled>(&text).ok().and_then(|labelled| labelled.config?.labels));
    }
    let annotations = |found: &Fetched| serde_json::from_slice::<Annotated>(&found.body).ok()?.annotations;
    said.extend([&found].into_iter().chain(outer.iter().rev()).filter_map(annotations));
    let short = |text: Option<String>| text.filter(|text| !text.is_empty() && text.len() <= MAX_LABEL);
    let said: Vec<Origin> =
        said.into_iter().map(|it| Origin { source: short(it.source), revision: short(it.revision) }).collect();
    // Both from one place: what was inherited from a base image must not mix with what was not.
    let whole = said.iter().find(|it| it.source.is_some() && it.revision.is_some());
    Ok(whole.or_else(|| said.iter().find(|it| it.source.is_some())).cloned().unwrap_or_default())
}

/// The manifest of the image that a reference names, of an index of the first one; and the indexes above it.
async fn image_manifest(
    look: &Look<'_>,
    reference: &str,
    what: &str,
) -> Result<(Fetched, Vec<Fetched>), RegistryError> {
    let mut found = get(look, reference, what).await?;
    let mut outer = Vec::new();
    for _ in 0..MAX_DEPTH {
        let Some(children) = &found.manifest.manifests else { break };
        let Some(child) = children.iter().find(|child| is_image(child)) else { break };
        let Ok(child) = Digest::parse(&child.digest) else { break };
        outer.push(std::mem::replace(&mut found, get(look, child.as_str(), what).await?));
    }
    Ok((found, outer))
}

fn config_of(found: &Fetched) -> Option<Digest> {
    Digest::parse(&found.manifest.config.as_ref()?.digest).ok()
}

/// Not an attestation, which stands in an index as a child for `unknown/unknown`.
fn is_image(child: &Descriptor) -> bool {
    child.platform.as_ref().is_none_or(|p| p.os != "unknown" && p.architecture != "unknown")
}

async fn config_text(look: &Look<'_>, config: &Digest, what: &str) -> Result<Vec<u8>, RegistryError> {
    let path = format!("v2/{}/blobs/{config}", look.source.repository.path());
    let url = look.url(&path)?;
    let ask =
        Ask { class: Class::Blob, source: look.source, method: Method::GET, url, accept: "*/*", form: None, what };
    let mut answer = look.send(ask).await?;
    if !answer.status().is_success() {
        return Err(answer.unexpected());
    }
    let body = answer.body(MAX_CONFIG).await?;
    if !is_of(config, &body) {
        return Err(answer.broken("sent a configuration that is not what its digest says"));
    }
    Ok(body)
}

fn created(config: &[u8]) -> Option<Timestamp> {
    // What a chart or another artifact has in this place need not be JSON.
    let created = serde_json::from_slice::<Config>(config).ok().and_then(|config| config.created);
    // Reproducible builds write the beginning of an era, which says nothing.
    created.and_then(|text| text.parse::<Timestamp>().ok()).filter(|time| *time > Timestamp::UNIX_EPOCH)
}

/// A manifest by tag or digest, and its digest, checked against its bytes.
async fn get(look: &Look<'_>, reference: &str, what: &str) -> Result<Fetched, RegistryError> {
    let mut answer = look.send(ask(look, Method::GET, reference, what)?).await?;
    if !answer.status().is_success() {
        return Err(answer.unexpected());
    }
    refuse_schema_1(&answer)?;
    let body = answer.body(MAX_MANIFEST).await?;
    let named = Digest::parse(reference).ok().or_else(|| named_digest(answer.headers()));
    if named.as_ref().is_some_and(|named| !is_of(named, &body)) {
        return Err(answer.broken("sent a manifest that is not what its digest says"));
    }
    let manifest: Manifest = serde_json::from_slice(&body).map_err(|_| answer.broken("sent no manifest"))?;
    match manifest.schema_version {
        Some(2) => {}
        Some(1) => return Err(schema_1(&answer)),
        _ => return Err(answer.broken("sent no manifest")),
    }
    let digest = match named {
        Some(named) => named,
        None => Digest::parse(&format!("sha256:{}", hex(&Sha256::digest(&body))))
            .map_err(|_| answer.broken("sent a manifest without a digest"))?,
    };
    Ok(Fetched { digest, manifest, body })
}

fn ask<'a>(look: &Look<'a>, method: Method, reference: &str, what: &'a str) -> Result<Ask<'a>, RegistryError> {
    let url = look.url(&format!("v2/{}/manifests/{reference}", look.source.repository.path()))?;
    Ok(Ask { class: Class::Manifest, source: look.source, method, url, accept: ACCEPT, form: None, what })
}

fn named_digest(headers: &HeaderMap) -> Option<Digest> {
    headers.get(DIGEST_HEADER).and_then(|value| value.to_str().ok()).and_then(|text| Digest::parse(text.trim()).ok())
}

fn refuse_schema_1(answer: &UnreadAnswer) -> Result<(), RegistryError> {
    let kind = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if kind.trim_start().starts_with(SCHEMA_1) { Err(schema_1(answer)) } else { Ok(()) }
}

fn schema_1(answer: &UnreadAnswer) -> RegistryError {
    answer.broken("holds it in Docker's old schema 1, which no current runtime can pull: push the image again")
}

fn is_of(digest: &Digest, body: &[u8]) -> bool {
    match digest.as_str().split_once(':') {
        Some(("sha256", expected)) => hex(&Sha256::digest(body)) == expected,
        Some(("sha512", expected)) => hex(&Sha512::digest(body)) == expected,
        _ => false,
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
