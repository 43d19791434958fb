//! What senders of webhooks tell us: bytes in, hints out.
//!
//! One more sender is one more file here and one more line in [`SENDERS`]; route, settings and metrics follow from it.
//! Nothing in a body is believed but "look there": a hint is answered by asking the registry.

use std::{collections::HashSet, fmt, marker::PhantomData};

use http::HeaderMap;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use url::Url;

use self::{auth::Proof, push::Push};
use crate::domain::{hint::Hint, image::ImageRef, later};

mod acr;
pub mod auth;
mod distribution;
mod dockerhub;
mod generic;
mod gitea;
mod github;
mod harbor;
mod push;
mod quay;

pub use push::Hosts;

/// Who sends, how that is shown, and how the body is read.
#[derive(Debug)]
pub struct Sender {
    /// The last part of the path `/hooks/<name>`.
    pub name: &'static str,
    /// How the sender shows that it knows the secret; any of them does.
    pub proofs: &'static [Proof],
    /// Reads a body. May give the same push many times; [`read`] makes them one.
    parse: fn(&HeaderMap, &[u8]) -> Result<Vec<Push>, WebhookError>,
    /// What the sender would send of a push of that image. Fails where it could not, with what it can name.
    pub sample: fn(&ImageRef) -> Result<Sample, &'static str>,
}

/// A body as a sender sends it, and the headers beside it.
#[derive(Debug, PartialEq, Eq)]
pub struct Sample {
    /// Names in lower case.
    pub headers: &'static [(&'static str, &'static str)],
    /// JSON.
    pub body: String,
}

/// The senders there are.
pub const SENDERS: &[Sender] = &[
    acr::SENDER,
    distribution::SENDER,
    dockerhub::SENDER,
    generic::SENDER,
    gitea::SENDER,
    github::SENDER,
    harbor::SENDER,
    quay::SENDER,
];

/// The senders that are to come. They are refused with that said.
pub const PLANNED: &[&str] = later::SENDERS;

/// Those that will never be, and what to use in their place.
pub const ABSENT: &[(&str, &str)] = &[(
    "gitlab",
    "GitLab sends no event for images: use `generic` from the pipeline, or `distribution` for a self-managed registry",
)];

/// A body larger than this is not read.
pub const MAX_BODY: usize = 1024 * 1024;

/// A body whose lists and objects stand deeper in one another is none of a sender's: serde_json reads no deeper.
const MAX_DEPTH: usize = 127;

/// At most this many different hints of one body are taken.
pub const MAX_HINTS: usize = 1000;

/// What a body told us.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Where to look, each once, in the order of the body.
    pub hints: Vec<Hint>,
    /// How many pushes came after [`MAX_HINTS`] hints. Polling finds what they were about.
    pub dropped: usize,
}

/// Why a body was not understood. The text is for the sender and quotes nothing of the body.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WebhookError(String);

impl Sender {
    /// The sender of that name.
    pub fn find(name: &str) -> Option<&'static Self> {
        SENDERS.iter().find(|sender| sender.name == name)
    }
}

/// What to say of a name that is none of [`SENDERS`].
pub fn unknown(name: &str) -> String {
    let there: Vec<_> = SENDERS.iter().map(|sender| sender.name).collect();
    let there = there.join(", ");
    if let Some((name, instead)) = ABSENT.iter().find(|(absent, _)| *absent == name) {
        return format!("there is no sender `{name}`: {instead}");
    }
    match PLANNED.iter().find(|planned| **planned == name) {
        Some(planned) => format!("sender `{planned}` is not built yet; available: {there}"),
        None => format!("there is no such sender; available: {there}"),
    }
}

/// Whether it comes from another sender, which says so itself.
pub fn meant_for_another(sender: &Sender, headers: &HeaderMap) -> Option<&'static str> {
    // They send GitHub's headers beside their own.
    let is_gitea = sender.name != "gitea" && headers.contains_key("x-gitea-event");
    is_gitea.then_some("this comes from Gitea or Forgejo: let it be sent to /hooks/gitea")
}

/// Reads a body of that sender; hosts are named as the configuration says.
pub fn read(sender: &Sender, hosts: &Hosts, headers: &HeaderMap, body: &[u8]) -> Result<Message, WebhookError> {
    if body.len() > MAX_BODY {
        return Err(WebhookError(format!("a body of more than {MAX_BODY} bytes")));
    }
    if depth(body) > MAX_DEPTH {
        return Err(WebhookError(format!("a body of more than {MAX_DEPTH} lists and objects in one another")));
    }
    let (mut seen, mut message) = (HashSet::new(), Message::default());
    for push in (sender.parse)(headers, body)? {
        if message.hints.len() == MAX_HINTS {
            message.dropped += 1;
        } else if let Some(hint) = push.hint(sender.name, hosts)
            && seen.insert(hint.clone())
        {
            message.hints.push(hint);
        }
    }
    Ok(message)
}

/// How deep lists and objects of a JSON text stand in one another, also where nobody reads them.
fn depth(body: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut bytes) = (0_usize, 0, false, body.iter());
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => in_string = !in_string,
            b'\\' if in_string => _ = bytes.next(),
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Reads a JSON object; `what` it should have been is told where it is not.
fn parse_json<'a, T: Deserialize<'a>>(body: &'a [u8], what: &str) -> Result<T, WebhookError> {
    // A list would be taken for the values of a struct.
    if body.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
        return Err(WebhookError(format!("not {what}: no JSON object")));
    }
    serde_json::from_slice(body).map_err(|error| {
        // Its own text may quote the body.
        let (line, column) = (error.line(), error.column());
        WebhookError(format!("not {what}: line {line}, column {column}"))
    })
}

/// As many elements of a list are read: what one element takes in memory may be many times its bytes in the body.
const MAX_ELEMENTS: usize = 10_000;

/// The first [`MAX_ELEMENTS`] of a list.
struct Few<T>(Vec<T>);

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Few<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct First<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for First<T> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
                let mut first = Vec::new();
                while first.len() < MAX_ELEMENTS
                    && let Some(element) = list.next_element()?
                {
                    first.push(element);
                }
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(first)
            }
        }

        deserializer.deserialize_seq(First(PhantomData)).map(Few)
    }
}

/// A header that says what the body is about.
fn header<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, WebhookError> {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.ok_or_else(|| WebhookError(format!("the header {name}, which says what the body is about, is missing")))
}

/// The host of a URL, with the port if one is written.
fn host_of(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let host = url.host_str()?;
    Some(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        fs,
        path::{Path, PathBuf},
    };

    use super::*;

    #[test]
    fn a_sender_is_there_once_and_planned_no_more() {
        let planned = PLANNED.iter().copied().chain(ABSENT.iter().map(|(name, _)| *name));
        let names: BTreeSet<_> = SENDERS.iter().map(|sender| sender.name).chain(planned).collect();
        assert_eq!(names.len(), SENDERS.len() + PLANNED.len() + ABSENT.len());
    }

    /// The bodies in the folder of a sender, and the headers beside each.
    fn fixtures(sender: &Sender) -> Vec<(PathBuf, HeaderMap, Vec<u8>)> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/webhooks").join(sender.name);
        let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let paths = files.map(|entry| entry.unwrap().path());
        let bodies = paths.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
        let read = |path: PathBuf| {
            let headers = fs::read_to_string(path.with_extension("headers")).unwrap_or_default();
            let headers = headers.lines().map(|line| line.split_once(": ").unwrap());
            let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            (path.clone(), headers, fs::read(path).unwrap())
        };
        bodies.map(read).collect()
    }

    #[test]
    fn every_sender_has_fixtures_and_says_where_they_are_from() {
        for sender in SENDERS {
            let fixtures = fixtures(sender);
            assert!(!fixtures.is_empty(), "{} has no fixture", sender.name);
            for (path, headers, body) in fixtures {
                let readme = fs::read_to_string(path.with_file_name("README.md")).unwrap();
                let name = path.file_name().unwrap().to_str().unwrap();
                assert!(readme.contains(name), "the README of {} does not name {name}", sender.name);
                let message = read(sender, &Hosts::default(), &headers, &body);
                assert!(message.is_ok(), "{}: {message:?}", path.display());
            }
        }
    }

    #[test]
    fn every_body_that_is_cut_anywhere_is_refused_and_not_quoted() {
        for sender in SENDERS {
            for (path, headers, body) in fixtures(sender) {
                let body = body.trim_ascii_end();
                for end in 0..body.len() {
                    let Err(error) = read(sender, &Hosts::default(), &headers, &body[..end]) else {
                        panic!("{}: the first {end} bytes are taken", path.display());
                    };
                    assert!(error.to_string().starts_with("not "), "{}: {error}", path.display());
                }
            }
        }
    }

    fn with_headers(sender: &Sender) -> HeaderMap {
        let headers = fixtures(sender).into_iter().map(|(_, headers, _)| headers);
        headers.into_iter().find(|headers| headers.values().any(|value| value == "package")).unwrap_or_default()
    }

    #[test]
    fn a_body_of_another_type_is_refused_and_not_quoted() {
        let deep = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let bodies =
            ["", "null", "7", "\"s3cret\"", "[]", "[\"s3cret\"]", "{}", "{\"s3cret\": 1", "\u{0}", &deep(300_000)];
        for sender in SENDERS {
            for body in bodies {
                let error = read(sender, &Hosts::default(), &with_headers(sender), body.as_bytes()).unwrap_err();
                assert!(!error.to_string().contains("s3cret"), "{}: {error}", sender.name);
            }
        }
    }

    #[rstest::rstest]
    #[case("", 0)]
    #[case("[[]]", 2)]
    #[case(r#"{"a": [1, {"b": {}}], "c": []}"#, 4)]
    #[case(r#"["[[[", "\"[[", "\\"]"#, 1)]
    #[case("]]]][", 1)]
    fn lists_and_objects_in_one_another_are_counted(#[case] body: &str, #[case] expected: usize) {
        assert_eq!(depth(body.as_bytes()), expected);
    }

    /// Each value of a push, replaced by one of each type, and by what is nested deeply.
    #[test]
    fn whatever_stands_in_place_of_a_value_does_no_harm_and_is_not_quoted() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let image = ImageRef::parse("docker.io/team/web:1.0").unwrap();
        for sender in SENDERS {
            let sample = (sender.sample)(&image).unwrap();
            let value: serde_json::Value = serde_json::from_str(&sample.body).unwrap();
            let mut pointers = Vec::new();
            places(&value, "", &mut pointers);
            assert!(!pointers.is_empty(), "{}", sender.name);
            for pointer in pointers {
                for other in ["null", "7", "true", "\"s3cret x\"", "[7]", "{\"s3cret\": 7}", &deep] {
                    let mut changed = value.clone();
                    *changed.pointer_mut(&pointer).unwrap() = "MARK".into();
                    let body = changed.to_string().replace("\"MARK\"", other);
                    let said = read(sender, &Hosts::default(), &sample.headers(), body.as_bytes());
                    assert!(other != deep || said.is_err(), "{}: {pointer}: {said:?}", sender.name);
                    let text = format!("{said:?}");
                    assert!(
                        !text.contains("s3cret") && !text.contains("[["),
                        "{}: {pointer}: {other}: {text}",
                        sender.name
                    );
                }
            }
        }
    }

    /// The JSON pointers to all values within.
    fn places(value: &serde_json::Value, at: &str, into: &mut Vec<String>) {
        let children: Vec<(String, &serde_json::Value)> = match value {
            serde_json::Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), value)).collect(),
            serde_json::Value::Array(list) => {
                list.iter().enumerate().map(|(n, value)| (n.to_string(), value)).collect()
            }
            _ => Vec::new(),
        };
        for (key, child) in children {
            let at = format!("{at}/{key}");
            places(child, &at, into);
            into.push(at);
        }
    }

    impl Sample {
        fn headers(&self) -> HeaderMap {
            self.headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
        }
    }

    #[test]
    fn the_sample_of_a_sender_is_read_as_the_push_of_that_image() {
        let images = ["docker.io/team/web:1.0", "r.io:5000/team/sub/web:1.0"];
        let images = images.map(|image| ImageRef::parse(image).unwrap());
        for sender in SENDERS {
            let mut read_back = 0;
            for image in &images {
                let Ok(sample) = (sender.sample)(image) else { continue };
                let message = read(sender, &Hosts::default(), &sample.headers(), sample.body.as_bytes()).unwrap();
                let [hint] = &message.hints[..] else { panic!("{}: {message:?}", sender.name) };
                assert_eq!((&hint.repository, &hint.tag), (&image.repository, &image.tag), "{}", sender.name);
                assert_eq!(hint.sender, sender.name);
                read_back += 1;
            }
            assert!(read_back > 0, "{}", sender.name);
        }
    }

    fn said(sender: &str, headers: &[(&str, &str)], body: &str) -> Result<Vec<String>, String> {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        let hosts = Hosts { default: Some("git.example.com".to_owned()), ..Hosts::default() };
        let message = read(Sender::find(sender).unwrap(), &hosts, &headers, body.as_bytes());
        let show = |hint: &Hint| format!("{}:{}", hint.repository, hint.tag.as_ref().map_or("", |tag| tag.as_str()));
        message.map(|message| message.hints.iter().map(show).collect()).map_err(|error| error.to_string())
    }

    #[rstest::rstest]
    #[case::github("github", "x-github-event", "push")]
    #[case::gitea("gitea", "x-gitea-event", "push")]
    fn an_event_that_is_not_of_packages_is_ignored_and_none_is_refused(
        #[case] sender: &str,
        #[case] header: &str,
        #[case] event: &str,
    ) {
        assert_eq!(said(sender, &[(header, event)], r#"{"ref": "refs/heads/main"}"#), Ok(Vec::new()));
        let error = said(sender, &[], "{}").unwrap_err();
        assert!(error.contains(header), "{error}");
    }

    #[test]
    fn gitea_at_the_address_for_github_is_sent_to_its_own() {
        let headers = [("x-github-event", "package"), ("x-gitea-event", "package")];
        let error = said("github", &headers, "{}").unwrap_err();
        assert!(error.contains("/hooks/gitea"), "{error}");
    }

    #[rstest::rstest]
    #[case::updated(r#"{"action": "updated", "package": PACKAGE}"#, &["ghcr.io/acme/web:1.0"])]
    #[case::deleted(r#"{"action": "deleted", "package": PACKAGE}"#, &[])]
    #[case::of_the_registry(r#"{"action": "published", "registry_package": PACKAGE}"#, &["ghcr.io/acme/web:1.0"])]
    #[case::npm(r#"{"action": "published", "package": {"package_type": "npm", "package_version": {"package_url": ""}}}"#, &[])]
    #[case::no_version(r#"{"action": "published", "package": {"package_type": "CONTAINER", "package_version": null}}"#, &[])]
    fn of_github_a_tag_of_a_container_is_taken(#[case] body: &str, #[case] want: &[&str]) {
        let package = r#"{"package_type": "container", "package_version": {
            "package_url": "ghcr.io/Acme/web:", "container_metadata": {"tag": {"name": "1.0"}}}}"#;
        let body = body.replace("PACKAGE", package);
        assert_eq!(said("github", &[("x-github-event", "package")], &body).unwrap(), want);
    }

    #[rstest::rstest]
    #[case::of_the_page(
        "created",
        "container",
        "1.0",
        r#""https://git.acme.io:3000/Team/-/packages/container/web/1.0""#,
        Some("git.acme.io:3000/team/web:1.0")
    )]
    #[case::of_the_configuration(
        "created",
        "container",
        "1.0",
        r#""/Team/-/packages/container/web/1.0""#,
        Some("git.example.com/team/web:1.0")
    )]
    #[case::no_page("created", "container", "1.0", "null", Some("git.example.com/team/web:1.0"))]
    #[case::digest("created", "container", "sha256:0f89", "null", Some("git.example.com/team/web:"))]
    #[case::deleted("deleted", "container", "1.0", "null", None)]
    #[case::chart("created", "helm", "1.0", "null", None)]
    #[case::bad_tag("created", "container", "../1", "null", None)]
    fn of_gitea_a_created_container_is_taken(
        #[case] action: &str,
        #[case] kind: &str,
        #[case] version: &str,
        #[case] url: &str,
        #[case] want: Option<&str>,
    ) {
        let body = format!(
            r#"{{"action": "{action}", "package": {{"type": "{kind}", "owner": {{"login": "Team"}}, "name": "web",
                "version": "{version}", "html_url": {url}}}}}"#
        );
        let hints = said("gitea", &[("x-gitea-event", "package")], &body).unwrap();
        assert_eq!(hints, Vec::from_iter(want));
    }

    #[rstest::rstest]
    #[case("acr", r#"{"action": "push"}"#)]
    #[case("acr", r#"{"action": "push", "target": {"repository": "a"}}"#)]
    #[case("harbor", r#"{"type": "PUSH_ARTIFACT"}"#)]
    #[case("harbor", r#"{"type": "PUSH_ARTIFACT", "data": {"resources": []}}"#)]
    #[case("generic", r#"{"image": null}"#)]
    fn a_push_without_its_data_is_refused(#[case] sender: &str, #[case] body: &str) {
        let error = said(sender, &[], body).unwrap_err();
        assert!(error.starts_with("not "), "{error}");
    }

    #[rstest::rstest]
    #[case("acr", r#"{"action": "push", "target": {"repository": "web", "tag": "1"}, "request": {"host": "acme"}}"#)]
    #[case(
        "harbor",
        r#"{"type": "PUSH_ARTIFACT", "event_data": {"resources": [{"resource_url": "harbor/team/web:1"}]}}"#
    )]
    #[case("quay", r#"{"docker_url": "https://quay.io/team/web", "updated_tags": ["1"]}"#)]
    #[case("quay", r#"{"docker_url": "quay/team/web", "updated_tags": ["1"]}"#)]
    #[case("dockerhub", r#"{"push_data": {"tag": "1"}, "repository": {"repo_name": "Team/Web"}}"#)]
    #[case("generic", r#"{"images": ["https://r.io/web:1", "r.io/Web:1", "r.io/web:.1", ""]}"#)]
    fn what_an_image_cannot_name_is_ignored(#[case] sender: &str, #[case] body: &str) {
        assert_eq!(said(sender, &[], body), Ok(Vec::new()));
    }
}
