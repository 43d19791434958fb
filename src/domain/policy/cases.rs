//! Worked cases: the examples of policy files and the vectors (docs/policy.md §6, §7). `domain/examples.rs` runs them.

use std::fmt;

use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::RawOptions;
use crate::domain::image::Digest;

/// One worked case: what comes of a current tag and the tags of a repository.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Example {
    /// What it shows.
    #[serde(default)]
    pub name: Option<String>,
    /// The tag that runs.
    #[serde(default)]
    pub current: Option<String>,
    /// The digest that is written beside it.
    #[serde(default)]
    pub current_digest: Option<Digest>,
    /// The tags of the repository.
    pub tags: Vec<ExampleTag>,
    /// The chosen tag (for `digest` the digest), or null for no update.
    #[serde(deserialize_with = "Option::deserialize")]
    pub expect: Option<String>,
    /// Whether it is a configuration problem.
    #[serde(default)]
    pub problem: bool,
}

/// A tag of an example: its name, or a mapping with what else is known of it.
#[derive(Debug, Clone)]
pub struct ExampleTag {
    /// The tag as written. One that no registry would have is passed over, as it is in a registry's answer.
    pub tag: String,
    /// When it was pushed.
    pub pushed: Option<Timestamp>,
    /// When it was built.
    pub created: Option<Timestamp>,
    /// What it points to.
    pub digest: Option<Digest>,
}

/// One case of a vector file: an example with its policy.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Vector {
    /// What it shows.
    pub name: String,
    /// `<kind>[:<argument>]`
    pub policy: String,
    /// Beside it.
    #[serde(default)]
    pub options: RawOptions,
    #[serde(default)]
    pub(in crate::domain) current: Option<String>,
    #[serde(default)]
    pub(in crate::domain) current_digest: Option<Digest>,
    pub(in crate::domain) tags: Vec<ExampleTag>,
    #[serde(deserialize_with = "Option::deserialize")]
    pub(in crate::domain) expect: Option<String>,
    #[serde(default)]
    pub(in crate::domain) problem: bool,
}

/// What came of a case that was not as expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// In words.
    pub expected: String,
    /// In words.
    pub got: String,
    /// The reasons, a line each.
    pub why: String,
}

impl<'de> Deserialize<'de> for ExampleTag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ExampleTagVisitor)
    }
}

struct ExampleTagVisitor;

impl<'de> Visitor<'de> for ExampleTagVisitor {
    type Value = ExampleTag;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a tag, or a mapping with tag, pushed, created and digest")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<ExampleTag, E> {
        Ok(ExampleTag { tag: text.to_owned(), pushed: None, created: None, digest: None })
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<ExampleTag, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<ExampleTag, E> {
        Err(E::custom(format!("`{number}` reads as a number, which has no zeros at its end: quote this tag")))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ExampleTag, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields {
            tag: String,
            #[serde(default)]
            pushed: Option<Timestamp>,
            #[serde(default)]
            created: Option<Timestamp>,
            #[serde(default)]
            digest: Option<Digest>,
        }
        let Fields { tag, pushed, created, digest } = Fields::deserialize(MapAccessDeserializer::new(map))?;
        Ok(ExampleTag { tag, pushed, created, digest })
    }
}
