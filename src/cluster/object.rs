//! An object of the API server, decoded to no more than a [`Workload`] needs.
//!
//! Decoding an [`Object`] never fails, so one odd object does not cost a whole list: what went wrong is kept in its
//! place.

use std::{borrow::Cow, collections::BTreeMap, fmt, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    managed::FieldsEntry,
    owner::{Evidence, INSTANCE, Reference, is_marker, owner},
    shared::Shared,
    status::{self, Status, Strategy},
};
use crate::{
    domain::rollout::RolloutView,
    domain::workload::{Container, KINDS, KindSpec, Workload, WorkloadId, pull_secrets},
    net::foreign,
};

/// An object of any watched kind.
#[derive(Debug, Clone)]
pub(super) struct Object {
    /// Name, namespace and resource version, for the watch.
    meta: ObjectMeta,
    /// The rest, or why it could not be decoded.
    body: Result<Arc<Body>, String>,
}

/// The longest value of an annotation that is kept: no policy needs more, and many workloads are held at once.
const MAX_VALUE: usize = 16 * 1024;
/// All that is kept of a workload's annotations, in bytes.
const MAX_ANNOTATIONS: usize = 64 * 1024;
const MAX_CONTAINERS: usize = 1000;
/// The longest image and name of a secret that is kept whole, in bytes. The API server takes any; no longer one is valid.
const MAX_NAME: usize = 1024;

#[derive(Debug, Deserialize)]
struct Body {
    #[serde(default)]
    metadata: Metadata,
    spec: Spec,
    #[serde(default)]
    status: Option<Status>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: String,
    namespace: String,
    uid: String,
    generation: i64,
    resource_version: String,
    annotations: Pruned,
    labels: Pruned,
    owner_references: Vec<Reference>,
    managed_fields: Vec<FieldsEntry>,
}

/// The pod spec below `spec`, at whichever place one of [`KINDS`] has it, and what is said there of rollouts.
#[derive(Debug, Default)]
struct Spec {
    pod: Option<PodSpec>,
    strategy: Strategy,
}

/// Reads what stands at one of these JSON pointers.
struct At<'p>(&'p [&'static str]);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodSpec {
    #[serde(default)]
    containers: Vec<RawContainer>,
    #[serde(default)]
    init_containers: Option<Vec<RawContainer>>,
    #[serde(default)]
    image_pull_secrets: Option<Vec<SecretName>>,
}

#[derive(Debug, Deserialize)]
struct RawContainer {
    name: String,
    #[serde(default)]
    image: String,
}

#[derive(Debug, Deserialize)]
struct SecretName {
    #[serde(default)]
    name: String,
}

/// Annotations or labels, of which only those that matter are kept.
#[derive(Debug, Default)]
struct Pruned {
    /// Whether the map is there at all.
    present: bool,
    kept: BTreeMap<String, String>,
}

impl Object {
    /// The workload; what it has in common with others it shares with them.
    pub(super) fn workload(&self, kind: &'static KindSpec, shared: &mut Shared) -> Result<Workload, String> {
        let body = self.body.as_ref().map_err(Clone::clone)?;
        let meta = &body.metadata;
        let pod = body.spec.pod.as_ref().ok_or("it has no pod template")?;
        let long = meta.annotations.kept.iter().find(|(_, value)| value.len() > MAX_VALUE);
        if let Some((key, value)) = long {
            return Err(format!("the annotation {} is {} bytes long; at most {MAX_VALUE}", foreign(key), value.len()));
        }
        // What is known of a workload is kept, so it has a measure.
        let bytes: usize = meta.annotations.kept.iter().map(|(key, value)| key.len() + value.len()).sum();
        if bytes > MAX_ANNOTATIONS {
            return Err(format!("its annotations that matter here have {bytes} bytes; at most {MAX_ANNOTATIONS}"));
        }
        let containers = pod.containers.len() + pod.init_containers.as_ref().map_or(0, Vec::len);
        if containers > MAX_CONTAINERS {
            return Err(format!("it has {containers} containers; at most {MAX_CONTAINERS}"));
        }
        let annotations = shared.annotations.share(meta.annotations.ours());
        let mut text = |text: &str| shared.texts.share(text);
        let mut containers = Vec::with_capacity(pod.containers.len());
        let lists = [(&pod.containers[..], false), (pod.init_containers.as_deref().unwrap_or_default(), true)];
        for (list, init) in lists {
            for (index, c) in list.iter().enumerate() {
                containers.push(Container { name: text(&c.name), image: text(&cut(&c.image)), init, index });
            }
        }
        let secrets = pod.image_pull_secrets.as_deref().unwrap_or_default();
        Ok(Workload {
            id: self.id(kind, &mut text),
            uid: meta.uid.as_str().into(),
            resource_version: meta.resource_version.as_str().into(),
            annotations,
            labels: meta.labels.ours(),
            written: None,
            has_annotations: meta.annotations.present,
            containers,
            owner: owner(Evidence {
                annotations: &meta.annotations.kept,
                labels: &meta.labels.kept,
                references: &meta.owner_references,
                managed: &meta.managed_fields,
            }),
            instance: meta.labels.kept.get(INSTANCE).map(|instance| text(instance)),
            pull_secrets: pull_secrets(secrets.iter().map(|secret| text(&cut(&secret.name)))),
        })
    }

    /// What it says of its rollout; `None` where it does not decode.
    pub(super) fn rollout(&self) -> Option<RolloutView> {
        let Body { metadata, spec, status } = self.body.as_deref().ok()?;
        let none = Status::default();
        Some(status::view(&metadata.uid, metadata.generation, &spec.strategy, status.as_ref().unwrap_or(&none)))
    }

    /// Which object, as far as it says.
    pub(super) fn id(&self, kind: &'static KindSpec, mut text: impl FnMut(&str) -> Arc<str>) -> WorkloadId {
        WorkloadId {
            kind: kind.kind.clone(),
            namespace: text(self.meta.namespace.as_deref().unwrap_or_default()),
            name: self.meta.name.as_deref().unwrap_or_default().into(),
        }
    }

    /// Who manages which fields; nothing where the object was not decoded.
    pub(super) fn managed(&self) -> &[FieldsEntry] {
        self.body.as_ref().map_or(&[], |body| &body.metadata.managed_fields)
    }
}

/// The text, or so much of it that it still is none that is valid.
fn cut(text: &str) -> Cow<'_, str> {
    match text.len() > MAX_NAME {
        true => format!("{}…", &text[..text.floor_char_boundary(MAX_NAME)]).into(),
        false => text.into(),
    }
}

/// A text of its own, not shared.
pub(super) fn own(text: &str) -> Arc<str> {
    text.into()
}

/// Whether a Namespace's or a workload's annotation is kept for decisions.
pub(super) fn is_ours(key: &str) -> bool {
    key.starts_with("supercargo.dev/") || key.starts_with("keel.sh/") || key.starts_with("keel.observer/")
}

impl<'de> Deserialize<'de> for Spec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Spec;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_unit<E>(self) -> Result<Spec, E> {
                Ok(Spec::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Spec, A::Error> {
                let pointers: Vec<&str> = KINDS.iter().filter_map(|kind| kind.pod_spec.strip_prefix("/spec")).collect();
                let mut spec = Spec::default();
                while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                    match &*key {
                        "replicas" => spec.strategy.replicas = map.next_value()?,
                        "paused" => spec.strategy.paused = map.next_value()?,
                        "progressDeadlineSeconds" => spec.strategy.deadline = map.next_value()?,
                        "minReadySeconds" => spec.strategy.min_ready = map.next_value()?,
                        "strategy" | "updateStrategy" => spec.strategy.update = map.next_value()?,
                        key => spec.pod = below(&pointers, key, &mut map)?.or(spec.pod),
                    }
                }
                Ok(spec)
            }
        }
        deserializer.deserialize_any(Fields)
    }
}

/// What stands at one of these pointers, or nothing, of the value of a key.
fn below<'de, A: MapAccess<'de>>(
    pointers: &[&'static str],
    key: &str,
    map: &mut A,
) -> Result<Option<PodSpec>, A::Error> {
    let rest = |pointer: &&'static str| pointer.strip_prefix('/')?.strip_prefix(key);
    let below: Vec<&str> = pointers.iter().filter_map(rest).filter(|r| r.is_empty() || r.starts_with('/')).collect();
    match below.is_empty() {
        true => map.next_value::<IgnoredAny>().map(|_| None),
        false => map.next_value_seed(At(&below)),
    }
}

impl<'de> DeserializeSeed<'de> for At<'_> {
    type Value = Option<PodSpec>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        match self.0.contains(&"") {
            true => PodSpec::deserialize(deserializer).map(Some),
            false => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for At<'_> {
    type Value = Option<PodSpec>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            found = below(self.0, &key, &mut map)?.or(found);
        }
        Ok(found)
    }
}

impl Pruned {
    fn ours(&self) -> BTreeMap<String, String> {
        self.kept.iter().filter(|(key, _)| is_ours(key)).map(|(k, v)| (k.clone(), v.clone())).collect()
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        match serde_json::from_str::<Body>(raw) {
            Ok(body) => Ok(Self {
                meta: meta(&body.metadata.name, &body.metadata.namespace, &body.metadata.resource_version),
                body: Ok(Arc::new(body)),
            }),
            Err(error) => {
                let Stub { metadata } = serde_json::from_str(raw).unwrap_or_default();
                let meta = meta(&metadata.name, &metadata.namespace, &metadata.resource_version);
                Ok(Self { meta, body: Err(foreign(&error.to_string())) })
            }
        }
    }
}

/// What is left of an object that does not decode.
#[derive(Default, Deserialize)]
struct Stub {
    metadata: StubMetadata,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct StubMetadata {
    name: String,
    namespace: String,
    resource_version: String,
}

fn meta(name: &str, namespace: &str, resource_version: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(namespace.to_owned()),
        resource_version: Some(resource_version.to_owned()),
        ..ObjectMeta::default()
    }
}

impl<'de> Deserialize<'de> for Pruned {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keep;
        impl<'de> Visitor<'de> for Keep {
            type Value = Pruned;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of texts")
            }

            fn visit_unit<E>(self) -> Result<Pruned, E> {
                Ok(Pruned::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pruned, A::Error> {
                let mut pruned = Pruned { present: true, kept: BTreeMap::new() };
                while let Some(key) = map.next_key::<String>()? {
                    if is_ours(&key) || is_marker(&key) {
                        pruned.kept.insert(key, map.next_value()?);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(pruned)
            }
        }
        deserializer.deserialize_any(Keep)
    }
}

impl Resource for Object {
    type DynamicType = &'static KindSpec;
    type Scope = kube::core::DynamicResourceScope;

    fn kind(spec: &Self::DynamicType) -> Cow<'_, str> {
        spec.kind.as_str().into()
    }

    fn group(spec: &Self::DynamicType) -> Cow<'_, str> {
        spec.group.into()
    }

    fn version(spec: &Self::DynamicType) -> Cow<'_, str> {
        spec.version.into()
    }

    fn plural(spec: &Self::DynamicType) -> Cow<'_, str> {
        spec.plural.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

#[cfg(test)]
mod tests {
    use kube::core::ObjectList;

    use super::*;
    use crate::domain::workload::Owner;

    fn kind(name: &str) -> &'static KindSpec {
        KindSpec::find(name).unwrap()
    }

    fn read(kind_name: &str, text: &str) -> Result<Workload, String> {
        serde_json::from_str::<Object>(text).unwrap().workload(kind(kind_name), &mut Shared::default())
    }

    #[test]
    fn a_deployment_is_pruned_to_what_decisions_need() {
        let workload = read(
            "Deployment",
            r#"{"metadata": {
                "name": "web", "namespace": "shop", "uid": "u", "resourceVersion": "7", "generation": 3,
                "annotations": {"supercargo.dev/policy": "minor", "kubectl.kubernetes.io/last-applied-configuration": "{}"},
                "labels": {"keel.sh/policy": "major", "app": "web", "app.kubernetes.io/managed-by": "Helm"}},
              "spec": {"replicas": 1, "template": {"metadata": {}, "spec": {
                "containers": [{"name": "web", "image": "web:1", "env": []}, {"name": "log", "image": "log:2"}],
                "initContainers": [{"name": "init", "image": "init:3"}],
                "imagePullSecrets": [{"name": "pull"}, {}]}}},
              "status": {"replicas": 1}}"#,
        )
        .unwrap();
        assert_eq!(workload.id.to_string(), "shop/Deployment/web");
        assert_eq!((&*workload.uid, &*workload.resource_version), ("u", "7"));
        assert_eq!(workload.annotations.keys().collect::<Vec<_>>(), ["supercargo.dev/policy"]);
        assert_eq!(workload.labels.keys().collect::<Vec<_>>(), ["keel.sh/policy"]);
        assert_eq!(workload.owner, Some(Owner::Helm));
        assert_eq!(workload.pull_secrets, ["pull".into()]);
        let containers: Vec<_> = workload.containers.iter().map(|c| (&*c.name, &*c.image, c.init, c.index)).collect();
        assert_eq!(containers, [("web", "web:1", false, 0), ("log", "log:2", false, 1), ("init", "init:3", true, 0)]);
    }

    #[test]
    fn a_cronjob_is_read_at_its_own_depth_and_no_annotations_are_noticed() {
        let template = r#""template": {"spec": {"containers": [{"name": "job", "image": "job:1"}]}}"#;
        let text = |annotations: &str| {
            format!(
                r#"{{"metadata": {{"name": "job"{annotations}}}, "spec": {{"jobTemplate": {{"spec": {{{template}}}}}}}}}"#
            )
        };
        let without = read("CronJob", &text("")).unwrap();
        assert_eq!(&*without.containers[0].image, "job:1");
        assert!(!without.has_annotations);
        assert!(!read("CronJob", &text(r#", "annotations": null"#)).unwrap().has_annotations);
        assert!(read("CronJob", &text(r#", "annotations": {}"#)).unwrap().has_annotations);
    }

    #[rstest::rstest]
    #[case(
        r#"{"metadata": {"name": "odd", "resourceVersion": "5"}, "spec": {"template": {"spec": {"containers": {}}}}}"#
    )]
    #[case(r#"{"metadata": {"name": "odd", "resourceVersion": "5"}, "spec": {}}"#)]
    #[case(r#"{"metadata": {"name": "odd", "resourceVersion": "5"}}"#)]
    #[case(
        r#"{"metadata": {"name": "odd", "resourceVersion": "5", "annotations": {"supercargo.dev/policy": 1}}, "spec": {"template": {"spec": {}}}}"#
    )]
    fn an_object_that_does_not_decode_costs_only_itself(#[case] odd: &str) {
        let good = r#"{"metadata": {"name": "good", "resourceVersion": "6"}, "spec": {"template": {"spec": {}}}}"#;
        let list = format!(
            r#"{{"kind": "DeploymentList", "apiVersion": "apps/v1", "metadata": {{"resourceVersion": "9"}}, "items": [{odd}, {good}]}}"#
        );
        let list: ObjectList<Object> = serde_json::from_str(&list).unwrap();
        let spec = kind("Deployment");
        let results: Vec<_> = list.items.iter().map(|o| o.workload(spec, &mut Shared::default())).collect();
        assert!(results[0].is_err() && results[1].is_ok(), "{results:?}");
        assert_eq!(&*list.items[0].id(spec, own).name, "odd");
        assert_eq!(list.items[0].meta().resource_version.as_deref(), Some("5"));
    }

    #[test]
    fn a_watch_event_is_read_like_a_list() {
        let text =
            r#"{"type": "MODIFIED", "object": {"metadata": {"name": "odd", "resourceVersion": "5"}, "spec": 1}}"#;
        let event: kube::core::WatchEvent<Object> = serde_json::from_str(text).unwrap();
        let kube::core::WatchEvent::Modified(object) = event else { panic!("{event:?}") };
        assert!(object.workload(kind("Deployment"), &mut Shared::default()).is_err());
    }

    #[test]
    fn an_annotation_without_measure_is_refused() {
        let text = format!(
            r#"{{"metadata": {{"name": "big", "annotations": {{"supercargo.dev/allow": "{}"}}}}, "spec": {{"template": {{"spec": {{}}}}}}}}"#,
            "x".repeat(MAX_VALUE + 1)
        );
        assert!(read("Deployment", &text).unwrap_err().contains("supercargo.dev/allow"));
        let value = "x".repeat(1000);
        let many: Vec<String> = (0..66).map(|n| format!(r#""supercargo.dev/k{n}": "{value}""#)).collect();
        let text = format!(
            r#"{{"metadata": {{"name": "big", "annotations": {{{}}}}}, "spec": {{"template": {{"spec": {{}}}}}}}}"#,
            many.join(",")
        );
        assert!(read("Deployment", &text).unwrap_err().contains("at most 65536"));
    }

    #[test]
    fn containers_without_number_are_refused() {
        let containers: Vec<String> = (0..1001).map(|n| format!(r#"{{"name": "c{n}", "image": "a"}}"#)).collect();
        let text = format!(
            r#"{{"metadata": {{"name": "wide"}}, "spec": {{"template": {{"spec": {{"containers": [{}]}}}}}}}}"#,
            containers.join(",")
        );
        assert_eq!(read("Deployment", &text).unwrap_err(), "it has 1001 containers; at most 1000");
    }
}
