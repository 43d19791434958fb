//! What is not built yet, by the place where it would be written. All of it is known, and refused by its name, never
//! ignored. What is built loses its line here.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, IntoDeserializer as _, MapAccess, Visitor, value::MapAccessDeserializer},
};

/// An annotation.
pub(super) struct LaterAnnotation {
    /// Without the prefix.
    pub(super) name: &'static str,
    /// Whether `<key>.<container>` is to exist.
    pub(super) per_container: bool,
    /// Values that ask for nothing, and are taken.
    pub(super) harmless: &'static [&'static str],
}

const fn annotation(name: &'static str, per_container: bool, harmless: &'static [&'static str]) -> LaterAnnotation {
    LaterAnnotation { name, per_container, harmless }
}

/// Annotations.
pub(super) const ANNOTATIONS: &[LaterAnnotation] =
    &[annotation("platforms", true, &["any"]), annotation("verify", true, &["none"]), annotation("notify", false, &[])];

/// Keys of a policy file.
pub(super) const POLICY_FILE: &[&str] = &["verify", "platforms"];

/// Keys of a guard.
pub(super) const GUARD: &[&str] = &["channels", "verify", "maxInFlight"];

/// Keys of the configuration.
pub const CONFIGURATION: &[&str] = &["verifiers", "kinds", "shard"];

/// Keys of an entry of `channels`.
pub const CHANNEL: &[&str] = &["default", "events", "level", "template"];

/// Types of channels.
pub const CHANNEL_TYPES: &[&str] = &["discord", "email", "mattermost", "teams", "webhook"];

/// Keys of an entry of `registries`.
pub const REGISTRY: &[&str] = &["aliasOf", "clientCert", "proxy", "budget", "listing"];

/// Senders of webhooks.
pub const SENDERS: &[&str] = &["aliyun", "ecr", "gcr", "jfrog", "nexus"];

/// Keys of Keel's, and what each may ask for.
pub(super) const KEEL: &[(&str, &str)] = &[("keel.sh/imageVolumes", "image volumes"), ("keel.sh/notify", "notices")];

/// What is said of one of those.
pub(super) fn asked_for(what: &str) -> String {
    format!("asks for {what}, which is not built yet")
}

/// What is said of one that is ours.
pub fn refusal(name: &str) -> String {
    format!("`{name}` is not built yet: take it out")
}

/// Something that is read from a mapping.
pub trait Keyed {
    /// Keys of it that are not built yet.
    const LATER: &'static [&'static str];
}

/// What is read from a mapping, and those of its keys that are not built yet.
#[derive(Debug, Default)]
pub struct WithLater<T> {
    /// The rest.
    pub value: T,
    /// In the order of the text.
    pub later: Vec<&'static str>,
}

impl<'de, T: Keyed + Deserialize<'de>> Deserialize<'de> for WithLater<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Mapping(PhantomData))
    }
}

struct Mapping<T>(PhantomData<T>);

impl<'de, T: Keyed + Deserialize<'de>> Visitor<'de> for Mapping<T> {
    type Value = WithLater<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<WithLater<T>, A::Error> {
        let mut rest = Rest { map, keys: T::LATER, found: Vec::new() };
        let value = T::deserialize(MapAccessDeserializer::new(&mut rest))?;
        Ok(WithLater { value, later: rest.found })
    }
}

/// A mapping without the keys that are not built yet.
struct Rest<A> {
    map: A,
    keys: &'static [&'static str],
    found: Vec<&'static str>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Rest<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        let mut seed = Some(seed);
        while let Some(key) = self.map.next_key_seed(Key { seed: &mut seed, later: self.keys })? {
            match key {
                Ok(key) => return Ok(Some(key)),
                Err(later) => {
                    self.found.push(later);
                    self.map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

/// A key: one that is not built yet, or what the seed makes of it.
struct Key<'a, K> {
    seed: &'a mut Option<K>,
    later: &'static [&'static str],
}

impl<'de, K: DeserializeSeed<'de>> DeserializeSeed<'de> for Key<'_, K> {
    type Value = Result<K::Value, &'static str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl<'de, K: DeserializeSeed<'de>> Visitor<'de> for Key<'_, K> {
    type Value = Result<K::Value, &'static str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        if let Some(later) = self.later.iter().find(|later| **later == text) {
            return Ok(Err(later));
        }
        let seed = self.seed.take().ok_or_else(|| E::custom("a key was read twice"))?;
        seed.deserialize(text.into_deserializer()).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Any {
        a: Vec<u8>,
        b: Option<String>,
    }

    impl Keyed for Any {
        const LATER: &'static [&'static str] = &["soon", "sometime"];
    }

    #[test]
    fn the_pages_name_all_of_it() {
        let (configuration, policy) =
            (include_str!("../../docs/configuration.md"), include_str!("../../docs/policy.md"));
        let keel = (include_str!("../../docs/keel.md"), &*KEEL.iter().map(|(key, _)| *key).collect::<Vec<_>>());
        let lists = [(configuration, CONFIGURATION), (configuration, GUARD), (configuration, REGISTRY), keel];
        for (page, names) in lists.into_iter().chain([
            (configuration, SENDERS),
            (configuration, CHANNEL),
            (configuration, CHANNEL_TYPES),
            (policy, POLICY_FILE),
        ]) {
            let told: Vec<&str> = page.split("\n\n").filter(|part| part.contains("not built yet")).collect();
            for name in names {
                let name = format!("`{name}`");
                assert!(told.iter().any(|part| part.contains(&name)), "no page says that {name} is not built yet");
            }
        }
    }

    #[test]
    fn keys_that_are_not_built_yet_are_told_and_all_others_are_read_as_ever() {
        let read = |text: &str| serde_saphyr::from_str::<WithLater<Any>>(text);
        let known = read("soon: {a: [1]}\na: [1, 2]\nsometime:\nb: x\n").unwrap();
        assert_eq!(known.value, Any { a: vec![1, 2], b: Some("x".to_owned()) });
        assert_eq!(known.later, ["soon", "sometime"]);
    }

    #[test]
    fn a_mistake_is_told_in_the_same_words_as_without() {
        for text in ["c: 1\n", "a: [1]\nc: 1\n", "a: x\n", "b: x\n", "[1]", "a: [1]\na: [2]\n"] {
            let with = serde_saphyr::from_str::<WithLater<Any>>(text).unwrap_err().to_string();
            let without = serde_saphyr::from_str::<Any>(text).unwrap_err().to_string();
            assert_eq!(with, without, "{text}");
        }
    }
}
