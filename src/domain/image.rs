//! Image references: how a person writes them, and what they mean.
//!
//! The grammar is that of the distribution project (`[domain[:port]/]path[:tag][@digest]`); a first part
//! without a dot, a colon or `localhost` is not a host, so `nginx` is `docker.io/library/nginx`.
//! What is written is kept, so that an update changes the tag and not the spelling.

use std::{borrow::Borrow, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// The host that Docker's short names mean.
pub const DOCKER_HUB: &str = "docker.io";

/// Why a text is no image reference, repository, tag or digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// Nothing was written.
    #[error("the image is empty")]
    Empty,
    /// A template or a variable that something else fills in.
    #[error(
        "`{0}` holds a placeholder, not an image: write the image here, or mark the tag where it is filled in from"
    )]
    Placeholder(String),
    /// The part before the tag is not `[host[:port]/]path`.
    #[error("`{0}` is no repository: write [host[:port]/]path in lower case")]
    Repository(String),
    /// The part after the colon is outside `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}`.
    #[error("`{0}` is no tag: at most 128 letters, digits, `_`, `.`, `-`, not starting with `.` or `-`")]
    Tag(String),
    /// The part after `@` is not `sha256:` and 64 hexadecimal digits (or `sha512:` and 128).
    #[error("`{0}` is no digest: write sha256: and 64 hexadecimal digits")]
    Digest(String),
}

/// A tag: `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}` (OCI distribution-spec, "Pulling manifests").
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tag(Arc<str>);

impl Tag {
    /// Checks a text from a person or a registry.
    pub fn parse(text: &str) -> Result<Self, ImageError> {
        if is_tag(text) { Ok(Self(text.into())) } else { Err(ImageError::Tag(excerpt(text))) }
    }

    /// One that was checked before.
    pub(crate) fn of(text: &str) -> Self {
        Self(text.into())
    }

    /// The tag as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Tag {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// A digest: `sha256:` and 64 lower-case hexadecimal digits, or `sha512:` and 128.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(Arc<str>);

impl Digest {
    /// Checks a text from a person or a registry.
    pub fn parse(text: &str) -> Result<Self, ImageError> {
        let bad = || ImageError::Digest(excerpt(text));
        let (algorithm, hex) = text.split_once(':').ok_or_else(bad)?;
        let length = match algorithm {
            "sha256" => 64,
            "sha512" => 128,
            _ => return Err(bad()),
        };
        let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if hex.len() == length && hex.bytes().all(is_hex) { Ok(Self(text.into())) } else { Err(bad()) }
    }

    /// `algorithm:hex`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A repository with its host, normalised: `nginx` is `docker.io/library/nginx`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Repository {
    host: Arc<str>,
    path: Arc<str>,
}

impl Repository {
    /// Reads `[host[:port]/]path`, without tag and digest.
    pub fn parse(text: &str) -> Result<Self, ImageError> {
        let bad = || ImageError::Repository(excerpt(text));
        let (host, path) = match text.split_once('/') {
            Some((first, rest)) if is_host_like(first) => (first, rest.to_owned()),
            _ => (DOCKER_HUB, text.to_owned()),
        };
        let lower = host.to_ascii_lowercase();
        let host = match &*lower {
            "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB,
            host => host,
        };
        let path = if host == DOCKER_HUB && !path.contains('/') { format!("library/{path}") } else { path };
        if text.len() > 512 || !is_host(host) || !path.split('/').all(is_path_component) {
            return Err(bad());
        }
        Ok(Self { host: host.into(), path: path.into() })
    }

    /// The registry's host, with its port if one was written.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The path within the registry.
    pub fn path(&self) -> &str {
        &self.path
    }
}

/// An image as a workload or a manifest writes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageRef {
    /// Where the image is, normalised.
    pub repository: Repository,
    /// The tag, where one is written. Absent means `latest` to a container runtime.
    pub tag: Option<Tag>,
    /// The digest, where one is written.
    pub digest: Option<Digest>,
    /// The repository in the person's own spelling.
    name: Arc<str>,
}

impl ImageRef {
    /// Reads an image as it stands in a manifest.
    pub fn parse(text: &str) -> Result<Self, ImageError> {
        if text.trim().is_empty() {
            return Err(ImageError::Empty);
        }
        if text.contains(['$', '{', '}', '<', '>']) {
            return Err(ImageError::Placeholder(excerpt(text)));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(Digest::parse(digest)?)),
            None => (text, None),
        };
        // A colon before the last slash belongs to a port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(Tag::parse(tag)?)),
            _ => (rest, None),
        };
        Ok(Self { repository: Repository::parse(name)?, tag, digest, name: name.into() })
    }

    /// The repository as written (`nginx`, not `docker.io/library/nginx`).
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same repository in the same spelling at another tag and digest.
    #[must_use]
    pub fn at(&self, tag: Option<Tag>, digest: Option<Digest>) -> Self {
        Self { tag, digest, ..self.clone() }
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Text on both sides: what serde, `FromStr` and messages use.
macro_rules! as_text {
    ($($type:ty),*) => {$(
        impl TryFrom<String> for $type {
            type Error = ImageError;
            fn try_from(text: String) -> Result<Self, ImageError> {
                Self::parse(&text)
            }
        }
        impl From<$type> for String {
            fn from(value: $type) -> String {
                value.to_string()
            }
        }
        impl std::str::FromStr for $type {
            type Err = ImageError;
            fn from_str(text: &str) -> Result<Self, ImageError> {
                Self::parse(text)
            }
        }
    )*};
}
as_text!(Tag, Digest, Repository, ImageRef);

pub(super) fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    match text.as_bytes() {
        [first, rest @ ..] => {
            word(*first) && rest.len() <= 127 && rest.iter().all(|&b| word(b) || b == b'.' || b == b'-')
        }
        [] => false,
    }
}

fn is_host_like(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.chars().any(|c| c.is_ascii_uppercase())
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(v6) => match v6.split_once(']') {
            Some((name, port)) if name.parse::<std::net::Ipv6Addr>().is_ok() => ("v6", port),
            _ => return false,
        },
        None => host.find(':').map_or((host, ""), |at| host.split_at(at)),
    };
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    let port_ok = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
    port_ok && name.split('.').all(label)
}

/// As it is written, without leading zeros.
fn is_port(text: &str) -> bool {
    !text.starts_with(['0', '+']) && text.parse::<u16>().is_ok()
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_component(part: &str) -> bool {
    let mut last_separator = "";
    let mut rest = part;
    if !part.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()) {
        return false;
    }
    while !rest.is_empty() {
        let word = rest.find(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit())).unwrap_or(rest.len());
        if word == 0 {
            return false;
        }
        rest = &rest[word..];
        let separator = rest.find(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()).unwrap_or(rest.len());
        last_separator = &rest[..separator];
        let fits = matches!(last_separator, "" | "." | "_" | "__") || last_separator.bytes().all(|b| b == b'-');
        if !fits {
            return false;
        }
        rest = &rest[separator..];
    }
    last_separator.is_empty()
}

pub(crate) use super::text::excerpt;

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("nginx", "docker.io/library/nginx", None)]
    #[case("nginx:1.27", "docker.io/library/nginx", Some("1.27"))]
    #[case("team/web:1", "docker.io/team/web", Some("1"))]
    #[case("index.docker.io/team/web:1", "docker.io/team/web", Some("1"))]
    #[case("localhost/web:1", "localhost/web", Some("1"))]
    #[case("localhost:5000/web", "localhost:5000/web", None)]
    #[case("127.0.0.1:5000/a/b/c:v1", "127.0.0.1:5000/a/b/c", Some("v1"))]
    #[case("[::1]:5000/web:1", "[::1]:5000/web", Some("1"))]
    #[case("GHCR.io/o/r__x--y:1", "ghcr.io/o/r__x--y", Some("1"))]
    fn an_image_is_read_and_printed_as_written(
        #[case] text: &str,
        #[case] repository: &str,
        #[case] tag: Option<&str>,
    ) {
        let image = ImageRef::parse(text).unwrap();
        assert_eq!(image.repository.to_string(), repository);
        assert_eq!(image.tag.as_ref().map(Tag::as_str), tag);
        assert_eq!(image.to_string(), text);
    }

    #[rstest::rstest]
    #[case("")]
    #[case("  ")]
    #[case("Nginx")]
    #[case("a//b")]
    #[case("a/-b")]
    #[case("a/b_")]
    #[case("a___b")]
    #[case("web:")]
    #[case("web:.x")]
    #[case("web@sha256:12")]
    #[case("$(IMAGE)")]
    #[case("{{ .Values.image }}")]
    #[case("host:99999/web")]
    #[case("-h.io/web")]
    fn what_is_no_image_is_refused(#[case] text: &str) {
        assert!(ImageRef::parse(text).is_err(), "{text}");
    }

    #[test]
    fn an_update_keeps_the_spelling() {
        let digest = Digest::parse(&format!("sha256:{}", "a".repeat(64))).unwrap();
        let image = ImageRef::parse("nginx:1.0").unwrap();
        let updated = image.at(Some(Tag::parse("1.1").unwrap()), Some(digest.clone()));
        assert_eq!(updated.to_string(), format!("nginx:1.1@{digest}"));
    }
}
