//! Worked cases: the examples of policy files and the vectors (docs/policy.md §6, §7), and how they are run.

use std::{collections::HashMap, fmt};

use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::{Kind, NamedPolicies, Policy, PolicyError, RawOptions};
use crate::domain::{
    decide::{Current, Listing, TagFacts, decide},
    image::{Digest, Tag},
    reason::Code,
};

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
    current: Option<String>,
    #[serde(default)]
    current_digest: Option<Digest>,
    tags: Vec<ExampleTag>,
    #[serde(deserialize_with = "Option::deserialize")]
    expect: Option<String>,
    #[serde(default)]
    problem: bool,
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

impl Vector {
    /// Runs it.
    pub fn run(&self, named: &NamedPolicies) -> Result<(), Failure> {
        let policy = self.options.parse().and_then(|options| Policy::parse(&self.policy, &options, named));
        let example = Example {
            name: Some(self.name.clone()),
            current: self.current.clone(),
            current_digest: self.current_digest.clone(),
            tags: self.tags.clone(),
            expect: self.expect.clone(),
            problem: self.problem,
        };
        example.run(policy.as_ref())
    }
}

impl Example {
    /// Asks the policy, and compares.
    pub fn run(&self, policy: Result<&Policy, &PolicyError>) -> Result<(), Failure> {
        let (got, problem, why) = match policy {
            Ok(policy) => self.ask(policy),
            Err(error) => (None, true, error.to_string()),
        };
        if got == self.expect && problem == self.problem {
            return Ok(());
        }
        let say = |choice: &Option<String>, problem| match (choice, problem) {
            (_, true) => "a configuration problem".to_owned(),
            (Some(choice), false) => choice.clone(),
            (None, false) => "no update".to_owned(),
        };
        Err(Failure { expected: say(&self.expect, self.problem), got: say(&got, problem), why })
    }

    /// The choice, whether there was a configuration problem, and the reasons.
    fn ask(&self, policy: &Policy) -> (Option<String>, bool, String) {
        let current = match self.current.as_deref().map(Tag::parse).transpose() {
            Ok(current) => current,
            Err(error) => return (None, true, error.to_string()),
        };
        let mut tags = Vec::new();
        let mut facts = HashMap::new();
        for example in &self.tags {
            let Ok(tag) = Tag::parse(&example.tag) else { continue };
            let ExampleTag { digest, pushed, created, .. } = example.clone();
            facts.insert(tag.clone(), TagFacts { digest, pushed, created });
            tags.push(tag);
        }
        let current = Current { tag: current.as_ref(), digest: self.current_digest.as_ref() };
        let decision = decide(policy, current, &Listing::new(tags.iter().collect()), &facts);
        let digests = matches!(policy.kind(), Kind::Digest);
        let choice = decision.choice().map(|target| match &target.digest {
            Some(digest) if digests => digest.to_string(),
            _ => target.tag.to_string(),
        });
        // What the registry has not told is no mistake of the configuration.
        let problem = decision.problem.as_ref().is_some_and(|problem| problem.code != Code::NotLookedYet);
        (choice, problem, decision.to_string())
    }
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
