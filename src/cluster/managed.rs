//! `metadata.managedFields`, reduced while it is read to who manages which container's image.

use std::fmt;

use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor},
};

/// One entry of managedFields.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct FieldsEntry {
    /// The field manager.
    pub(super) manager: String,
    /// `Apply` or `Update`.
    pub(super) operation: String,
    /// `status`, `scale`; empty for the object itself.
    pub(super) subresource: String,
    /// To the second.
    pub(super) time: Option<Timestamp>,
    /// What it manages.
    #[serde(rename = "fieldsV1")]
    pub(super) images: Images,
}

/// Names of the containers (also init containers) whose image is managed.
#[derive(Debug, Default)]
pub(super) struct Images(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for Images {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Level::Path.deserialize(deserializer).map(Self)
    }
}

/// Where in the tree of fields the reader is.
#[derive(Clone, Copy)]
enum Level {
    /// Above the lists of containers.
    Path,
    /// In a list of containers: keys are `k:{"name":"web"}`.
    List,
    /// In a container: finds one nameless image, or none.
    Container,
}

/// The keys from the object down to the lists of containers, for every kind.
const PATH: &[&str] = &["f:spec", "f:jobTemplate", "f:template"];
const LISTS: &[&str] = &["f:containers", "f:initContainers"];

impl<'de> DeserializeSeed<'de> for Level {
    type Value = Vec<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<String>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a tree of managed fields")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<String>, A::Error> {
        let mut images = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            match self {
                Self::Path if PATH.contains(&key.as_str()) => images.extend(map.next_value_seed(Self::Path)?),
                Self::Path if LISTS.contains(&key.as_str()) => images.extend(map.next_value_seed(Self::List)?),
                Self::List if key.starts_with("k:") => {
                    if !map.next_value_seed(Self::Container)?.is_empty() {
                        images.extend(container_name(&key));
                    }
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    if matches!(self, Self::Container) && key == "f:image" {
                        images.push(String::new());
                    }
                }
            }
        }
        Ok(images)
    }
}

fn container_name(key: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Key {
        name: String,
    }
    serde_json::from_str::<Key>(key.strip_prefix("k:")?).ok().map(|key| key.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_managers_of_images_are_found_in_every_kind_of_template() {
        let text = r#"{
            "manager": "kubectl-set", "operation": "Update", "apiVersion": "apps/v1", "time": "2026-01-02T03:04:05Z",
            "fieldsType": "FieldsV1", "fieldsV1": {
                "f:metadata": {"f:annotations": {".": {}, "f:x": {}}},
                "f:spec": {"f:replicas": {}, "f:template": {"f:spec": {
                    "f:containers": {
                        "k:{\"name\":\"web\"}": {".": {}, "f:image": {}, "f:name": {}},
                        "k:{\"name\":\"log\"}": {"f:resources": {"f:limits": {}}}
                    },
                    "f:initContainers": {".": {}, "k:{\"name\":\"init\"}": {"f:image": {}}}
                }}}
            }}"#;
        let entry: FieldsEntry = serde_json::from_str(text).unwrap();
        assert_eq!(entry.images.0, ["web", "init"]);
        assert_eq!((entry.manager.as_str(), entry.operation.as_str()), ("kubectl-set", "Update"));
        assert_eq!(entry.time.unwrap().to_string(), "2026-01-02T03:04:05Z");

        let cron = r#"{"fieldsV1": {"f:spec": {"f:jobTemplate": {"f:spec": {"f:template": {"f:spec": {
            "f:containers": {"k:{\"name\":\"job\"}": {"f:image": {}}}}}}}}}}"#;
        assert_eq!(serde_json::from_str::<FieldsEntry>(cron).unwrap().images.0, ["job"]);
    }

    #[test]
    fn an_entry_that_manages_no_image_names_none() {
        for text in ["{}", r#"{"fieldsV1": {}}"#, r#"{"fieldsV1": {"f:status": {"f:image": {}}}}"#] {
            assert!(serde_json::from_str::<FieldsEntry>(text).unwrap().images.0.is_empty(), "{text}");
        }
    }
}
