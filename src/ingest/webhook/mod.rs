//! What senders of webhooks tell us: bytes in, hints out.
//!
//! One more sender is one more file here and one more line in [`SENDERS`]; route, settings and metrics follow from it.
//! Nothing in a body is believed but "look there": a hint is answered by asking the registry.

use std::collections::HashSet;

use http::HeaderMap;

use crate::domain::hint::Hint;

pub mod auth;
mod distribution;

/// Who sends, how that is shown, and how the body is read.
#[derive(Debug)]
pub struct Sender {
    /// The last part of the path `/hooks/<name>`.
    pub name: &'static str,
    /// How the sender shows that it knows the secret.
    pub proof: auth::Proof,
    /// Reads a body. May give the same hint many times; [`read`] makes them one.
    parse: fn(&HeaderMap, &[u8]) -> Result<Vec<Hint>, WebhookError>,
}

/// The senders there are.
pub const SENDERS: &[Sender] =
    &[Sender { name: distribution::NAME, proof: auth::Proof::Header, parse: distribution::parse }];

/// The senders that are to come. They are refused with that said.
pub const PLANNED: &[&str] = &[
    "dockerhub",
    "github",
    "gitlab",
    "gitea",
    "harbor",
    "quay",
    "acr",
    "ecr",
    "gcr",
    "jfrog",
    "nexus",
    "aliyun",
    "generic",
];

/// A body larger than this is not read.
pub const MAX_BODY: usize = 1024 * 1024;

/// At most this many different hints of one body are taken.
pub const MAX_HINTS: usize = 1000;

/// What a body told us.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Where to look, each once, in the order of the body.
    pub hints: Vec<Hint>,
    /// How many hints there were beyond [`MAX_HINTS`]. Polling finds what they were about.
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

/// Reads a body of that sender.
pub fn read(sender: &Sender, headers: &HeaderMap, body: &[u8]) -> Result<Message, WebhookError> {
    if body.len() > MAX_BODY {
        return Err(WebhookError(format!("a body of more than {MAX_BODY} bytes")));
    }
    let mut seen = HashSet::new();
    let mut hints = (sender.parse)(headers, body)?;
    hints.retain(|hint| seen.insert(hint.clone()));
    let dropped = hints.len().saturating_sub(MAX_HINTS);
    hints.truncate(MAX_HINTS);
    Ok(Message { hints, dropped })
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    #[test]
    fn a_sender_is_there_once_and_planned_no_more() {
        let names: BTreeSet<_> = SENDERS.iter().map(|sender| sender.name).chain(PLANNED.iter().copied()).collect();
        assert_eq!(names.len(), SENDERS.len() + PLANNED.len());
    }

    #[test]
    fn every_sender_has_fixtures_and_says_where_they_are_from() {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/webhooks");
        for sender in SENDERS {
            let folder = data.join(sender.name);
            let bodies: Vec<_> = fs::read_dir(&folder)
                .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
                .collect();
            assert!(!bodies.is_empty(), "{} has no fixture", sender.name);
            let readme = fs::read_to_string(folder.join("README.md")).unwrap();
            for body in bodies {
                let name = body.file_name().unwrap().to_str().unwrap();
                assert!(readme.contains(name), "the README of {} does not name {name}", sender.name);
                let message = read(sender, &HeaderMap::new(), &fs::read(&body).unwrap());
                assert!(message.is_ok(), "{}: {message:?}", body.display());
            }
        }
    }
}
