//! Where a text names an image, whatever the text is: what tells of a file that holds an image at no place of one.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher},
    sync::Arc,
};

use super::{cell::split, facts::Facts, names::FileKind};
use crate::{domain::image::Repository, manifest::MAX_BYTES};

/// More are not kept from one file.
const MAX_KEPT: usize = 1_000;

/// A line that names an image, without its text: a repository has many, and few are ever asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mention {
    /// Of the repository.
    pub(super) hash: u64,
    /// From 1.
    pub(super) line: u32,
    pub(super) version: Version,
}

/// What stands behind the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// A tag or a digest.
    Written,
    /// What something else fills in: `${TAG}`, `{{ .tag }}`.
    Open,
    None,
}

/// By [`hash`], with their files.
pub(super) type Mentions<'f> = HashMap<u64, Vec<(&'f Arc<str>, Mention)>>;

/// What stands for a repository among [`Mention`]s.
pub(super) fn hash(repository: &Repository) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(repository)
}

impl Facts {
    /// The lines of a text that name an image.
    pub(super) fn mentions(kind: FileKind, bytes: &[u8]) -> Vec<Mention> {
        let mut found = Vec::new();
        if matches!(kind, FileKind::Never | FileKind::Chart | FileKind::Listed)
            || bytes.len() > MAX_BYTES
            || bytes.contains(&0)
        {
            return found;
        }
        for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            // Every image has a slash, or stands under a key that names it.
            let is_likely = line.contains(&b'/') || line.windows(4).any(|word| matches!(word, b"mage" | b"FROM"));
            if found.len() < MAX_KEPT
                && is_likely
                && let Ok(line) = std::str::from_utf8(line)
            {
                let each = images(kind, line).map(|(repository, version)| Mention {
                    hash: hash(&repository),
                    line: u32::try_from(number + 1).unwrap_or(u32::MAX),
                    version,
                });
                found.extend(each);
            }
        }
        found.shrink_to_fit();
        found
    }
}

/// The images that a line names, without its comment.
fn images(kind: FileKind, line: &str) -> impl Iterator<Item = (Repository, Version)> {
    let comment = match kind {
        FileKind::Json => None,
        _ if line.trim_start().starts_with('#') => Some(0),
        _ => line.find(" #"),
    };
    let line = &line[..comment.unwrap_or(line.len())];
    let is_part = |c: char| c.is_ascii_alphanumeric() || "._:/@-".contains(c);
    let words = line.split(move |c| !is_part(c)).filter(|word| !word.is_empty());
    words.filter_map(move |word| {
        // The word is a part of the line.
        let start = word.as_ptr() as usize - line.as_ptr() as usize;
        image(kind, &line[..start], word, &line[start + word.len()..])
    })
}

/// The image that a word is between these texts.
fn image(kind: FileKind, before: &str, word: &str, after: &str) -> Option<(Repository, Version)> {
    let is_open = after.starts_with(['$', '{', '<']);
    // What stands before it is filled in, or is an address or a path.
    if before.ends_with(['$', '}', ')', '>']) || word.contains("//") || word.starts_with(['/', '.', '-']) {
        return None;
    }
    let whole = word.strip_suffix([':', '@']).filter(|_| is_open);
    let (name, tag, digest) = split(whole.unwrap_or(word));
    let version = match (whole, tag.or(digest)) {
        (Some(_), _) => Version::Open,
        (None, Some(version)) if !version.is_empty() && !is_open => Version::Written,
        (None, None) if !is_open => Version::None,
        _ => return None,
    };
    let key = before.trim_end_matches(['"', '\'', ' ', '\t']).trim_end_matches([':', '=', '"', '\'']);
    let key = key.rsplit(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default().to_ascii_lowercase();
    let is_named = key.contains("image")
        || ["repo", "repository", "newname"].iter().any(|name| key.ends_with(name))
        || key == "name" && name.contains('/')
        || kind == FileKind::Dockerfile && is_instruction(before)
        || kind == FileKind::Kustomization && key == "name";
    // Few words with a slash and a colon are no image, and few without are one.
    let fits = is_named || name.contains('/') && version != Version::None;
    Some((Repository::parse(name).ok().filter(|_| fits)?, version))
}

/// Whether what stands before an image is `FROM`, with its options.
fn is_instruction(before: &str) -> bool {
    let mut words = before.split_whitespace().filter(|word| !word.starts_with("--"));
    before.ends_with([' ', '\t'])
        && words.next().is_some_and(|word| word.eq_ignore_ascii_case("from"))
        && words.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("web:\n  image: ghcr.io/team/web:1.0.0 # c\n", 2, Version::Written)]
    #[case("{\"image\":\"ghcr.io/team/web@sha256:aa\"}", 1, Version::Written)]
    #[case("a:\n- {image: ghcr.io/team/web}\n", 2, Version::None)]
    #[case("repository: \"ghcr.io/team/web\"\r\n", 1, Version::None)]
    #[case("args: [--sidecar=ghcr.io/team/web:1.0.0]", 1, Version::Written)]
    #[case("  image: ghcr.io/team/web:${TAG:-1.0.0}", 1, Version::Open)]
    #[case("  image: \"ghcr.io/team/web:{{ .tag }}\"", 1, Version::Open)]
    #[case("export IMAGE=ghcr.io/team/web:1.0.0", 1, Version::Written)]
    fn a_line_that_names_an_image_is_seen(#[case] text: &str, #[case] line: u32, #[case] version: Version) {
        let hash = hash(&Repository::parse("ghcr.io/team/web").unwrap());
        assert_eq!(Facts::mentions(FileKind::Yaml, text.as_bytes()), [Mention { hash, line, version }], "{text}");
    }

    #[rstest::rstest]
    #[case("apiVersion: apps/v1\n")]
    #[case("# image: ghcr.io/team/web:1.0.0\n")]
    #[case("a: b # ghcr.io/team/web:1.0.0\n")]
    #[case("url: https://ghcr.io/team/web:1.0.0\n")]
    #[case("app.kubernetes.io/name: web\n")]
    #[case("image: ${REGISTRY}/team/web:1.0.0\n")]
    #[case("image: ghcr.io/team/${NAME}:1.0.0\n")]
    #[case("path: ./team/web:1\n")]
    #[case("name: nginx:1\n")]
    fn what_names_none_is_passed_over(#[case] text: &str) {
        assert_eq!(Facts::mentions(FileKind::Yaml, text.as_bytes()), []);
    }

    #[test]
    fn a_dockerfile_has_images_behind_its_instructions() {
        let nginx = hash(&Repository::parse("nginx").unwrap());
        for line in ["FROM --platform=linux/amd64 nginx:1.25 AS web", "FROM nginx"] {
            let found = Facts::mentions(FileKind::Dockerfile, line.as_bytes());
            assert!(found.iter().any(|mention| mention.hash == nginx), "{line}: {found:?}");
        }
    }
}
