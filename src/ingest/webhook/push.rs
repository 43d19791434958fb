//! What an event says was pushed, and the hint that this becomes: as workloads write the image, or none.

use std::collections::BTreeMap;

use crate::domain::{
    hint::Hint,
    image::{Digest, ImageRef, Repository, Tag},
};

/// A push as the event has it; nothing of it is checked.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Push {
    /// The registry, with its port; `None` where the event does not say.
    pub(super) host: Option<String>,
    /// The path within the registry.
    pub(super) path: String,
    /// None or empty: some tag of it.
    pub(super) tag: Option<String>,
    /// What the tag points to.
    pub(super) digest: Option<String>,
}

/// How the configuration names registries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts {
    /// The one of events that name none.
    pub default: Option<String>,
    /// From the one that an event names to the one that images name; both as [`Repository::host`] has them.
    pub names: BTreeMap<String, String>,
}

impl Push {
    /// Reads `host/path`, with `:tag` or `@digest` after it or not. An empty tag is none.
    pub(super) fn of(text: &str) -> Self {
        let (rest, digest) = text.split_once('@').map_or((text, None), |(rest, digest)| (rest, Some(digest)));
        let (name, tag) = match rest.rsplit_once(':') {
            // A colon before a slash belongs to a port.
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        let (host, path) = name.split_once('/').map_or((None, name), |(host, path)| (Some(host), path));
        let [host, tag, digest] = [host, tag, digest].map(|text| text.map(str::to_owned));
        Self { host, path: path.to_owned(), tag, digest }
    }

    /// The hint. `None` for what no image of a workload can name.
    pub(super) fn hint(self, sender: &'static str, hosts: &Hosts) -> Option<Hint> {
        let host = self.host.as_deref().filter(|host| !host.is_empty()).or(hosts.default.as_deref())?;
        if host != "localhost" && !host.contains(['.', ':']) {
            // It would be read as a part of Docker Hub's path.
            return None;
        }
        let mut repository = Repository::parse(&format!("{host}/{}", self.path)).ok()?;
        if let Some(name) = hosts.names.get(repository.host()) {
            repository = Repository::parse(&format!("{name}/{}", repository.path())).ok()?;
        }
        let tag = match self.tag.as_deref() {
            None | Some("") => None,
            Some(tag) => Some(Tag::parse(tag).ok()?),
        };
        let digest = self.digest.and_then(|digest| Digest::parse(&digest).ok());
        Some(Hint { repository, digest: digest.filter(|_| tag.is_some()), tag, sender })
    }
}

impl From<ImageRef> for Push {
    fn from(image: ImageRef) -> Self {
        let repository = image.repository;
        Self {
            host: Some(repository.host().to_owned()),
            path: repository.path().to_owned(),
            tag: image.tag.map(Into::into),
            digest: image.digest.map(Into::into),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(push: Push, hosts: &Hosts) -> Option<String> {
        let hint = push.hint("test", hosts)?;
        let tag = hint.tag.map(|tag| format!(":{tag}")).unwrap_or_default();
        let digest = hint.digest.map(|digest| format!("@{digest}")).unwrap_or_default();
        Some(format!("{}{tag}{digest}", hint.repository))
    }

    const DIGEST: &str = "sha256:954b378c375d852eb3c63ab88978f640b4348b01c1b3456a024a81536dafbbf4";

    #[rstest::rstest]
    #[case("r.io/a/b:1.0", Some("r.io/a/b:1.0"))]
    #[case("r.io:5000/a/b:1.0", Some("r.io:5000/a/b:1.0"))]
    #[case("R.io/a/b:1.0", Some("r.io/a/b:1.0"))]
    #[case("r.io/a/b", Some("r.io/a/b"))]
    #[case("r.io/a/b:", Some("r.io/a/b"))]
    #[case("r.io:5000/a/b", Some("r.io:5000/a/b"))]
    #[case(&format!("r.io/a/b@{DIGEST}"), Some("r.io/a/b"))]
    #[case(&format!("r.io/a/b:1@{DIGEST}"), Some(&*format!("r.io/a/b:1@{DIGEST}")))]
    #[case("r.io/a/b:1@sha256:short", Some("r.io/a/b:1"))]
    #[case("localhost/a:1", Some("localhost/a:1"))]
    #[case("index.docker.io/nginx:1", Some("docker.io/library/nginx:1"))]
    #[case("registry/a:1", None)]
    #[case("https://r.io/a:1", None)]
    #[case("r.io@evil.io/a:1", None)]
    #[case("r.io/A:1", None)]
    #[case("r.io/a:.1", None)]
    #[case("r.io/../a:1", None)]
    #[case("r.io/:1", None)]
    #[case("a:1", None)]
    #[case("", None)]
    fn a_reference_becomes_a_hint_only_if_an_image_can_name_it(#[case] text: &str, #[case] want: Option<&str>) {
        assert_eq!(shown(Push::of(text), &Hosts::default()).as_deref(), want);
    }

    #[rstest::rstest]
    #[case("a:1", Some("git.example.com/a:1"))]
    #[case("internal.example:5000/a:1", Some("registry.example.com/a:1"))]
    #[case("INTERNAL.example:5000/a:1", Some("registry.example.com/a:1"))]
    #[case("docker.io/nginx:1", Some("mirror.example.com/library/nginx:1"))]
    #[case("other.example.com/a:1", Some("other.example.com/a:1"))]
    fn the_configuration_names_the_host(#[case] text: &str, #[case] want: Option<&str>) {
        let names = [("internal.example:5000", "registry.example.com"), ("docker.io", "mirror.example.com")];
        let names = names.map(|(from, to)| (from.to_owned(), to.to_owned())).into();
        let hosts = Hosts { default: Some("git.example.com".to_owned()), names };
        assert_eq!(shown(Push::of(text), &hosts).as_deref(), want);
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".{0,64}") {
            let _ = shown(Push::of(&text), &Hosts::default());
        }
    }
}
