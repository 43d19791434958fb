//! What our kinds have in common as the API server has them, and how much of what stands there is taken.
//!
//! Whoever may write to a namespace may write records there. Decoding never fails for one odd object, and no text, list
//! or object is taken that is longer than what we would write.

use std::{borrow::Cow, fmt, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, core::NamespaceResourceScope};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{
    domain::{
        image::ImageRef,
        reason::{Code, Reason},
        text::words,
        workload::{KINDS, Kind, WorkloadId},
    },
    net::foreign,
    ports::Version,
};

/// Our API group.
pub(in crate::cluster) const GROUP: &str = "supercargo.dev";
/// Its only version.
pub(in crate::cluster) const VERSION: &str = "v1alpha1";

/// The longest text for people, such as a message, in bytes.
const WORDS: usize = 1024;
/// The longest text that names something, such as an image, in bytes.
const NAME: usize = 1024;

/// One of our kinds.
pub(in crate::cluster) trait Custom:
    Clone + DeserializeOwned + fmt::Debug + Send + Sync + 'static
{
    /// `ImageUpdate`
    const KIND: &str;
    /// `imageupdates`
    const PLURAL: &str;
}

/// An object of one of our kinds, or why it could not be decoded.
#[derive(Debug, Clone)]
pub(in crate::cluster) struct Found<T> {
    /// Name, namespace and resource version, for the watch.
    meta: ObjectMeta,
    /// As it came, in bytes.
    pub(super) bytes: usize,
    pub(in crate::cluster) object: Result<Arc<T>, String>,
}

/// What matters of an object's metadata.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::cluster) struct Metadata {
    pub(in crate::cluster) name: String,
    pub(in crate::cluster) namespace: String,
    pub(in crate::cluster) uid: String,
    pub(super) resource_version: String,
    pub(in crate::cluster) creation_timestamp: Option<Timestamp>,
    pub(super) deletion_timestamp: Option<Timestamp>,
    pub(super) generation: i64,
    pub(super) owner_references: Vec<WorkloadRef>,
}

impl Metadata {
    pub(super) fn version(&self) -> Version {
        Version(self.resource_version.as_str().into())
    }
}

/// What is left of an object that does not decode.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Stub {
    metadata: Metadata,
}

/// A workload, as an object names it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct WorkloadRef {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(in crate::cluster) name: String,
    pub(in crate::cluster) uid: String,
}

/// What a reason says.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Said {
    pub(super) code: String,
    pub(super) message: String,
}

impl<T: Custom> Found<T> {
    pub(in crate::cluster) fn name(&self) -> &str {
        self.meta.name.as_deref().unwrap_or_default()
    }

    pub(in crate::cluster) fn namespace(&self) -> &str {
        self.meta.namespace.as_deref().unwrap_or_default()
    }

    pub(super) fn resource_version(&self) -> &str {
        self.meta.resource_version.as_deref().unwrap_or_default()
    }
}

impl<'de, T: Custom> Deserialize<'de> for Found<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        let Stub { metadata } = serde_json::from_str(raw).unwrap_or_default();
        let meta = ObjectMeta {
            name: Some(metadata.name),
            namespace: Some(metadata.namespace),
            resource_version: Some(metadata.resource_version),
            ..ObjectMeta::default()
        };
        let object = serde_json::from_str(raw).map(Arc::new).map_err(|error| foreign(&error.to_string()));
        Ok(Self { meta, bytes: raw.len(), object })
    }
}

impl<T: Custom> Resource for Found<T> {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        T::KIND.into()
    }

    fn group((): &()) -> Cow<'_, str> {
        GROUP.into()
    }

    fn version((): &()) -> Cow<'_, str> {
        VERSION.into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        T::PLURAL.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

impl WorkloadRef {
    pub(super) fn new(id: &WorkloadId, uid: &str) -> Self {
        Self {
            api_version: id.kind.spec().map(|kind| kind.api_version()).unwrap_or_default(),
            kind: id.kind.as_str().to_owned(),
            name: id.name.to_string(),
            uid: uid.to_owned(),
        }
    }

    /// The workload of that namespace, and its uid.
    pub(super) fn id(&self, namespace: &str) -> Result<(WorkloadId, Arc<str>), String> {
        let known = KINDS.iter().find(|kind| kind.kind.as_str() == self.kind).map(|kind| kind.kind.clone());
        let kind = match known {
            Some(kind) => kind,
            None => Kind(exact(&self.kind, "workload.kind")?.to_string().into()),
        };
        let name = exact(&self.name, "workload.name")?;
        Ok((WorkloadId { kind, namespace: namespace.into(), name }, exact(&self.uid, "workload.uid")?))
    }
}

impl Said {
    pub(super) fn new(reason: &Reason) -> Self {
        Self { code: reason.code.to_string(), message: told(&reason.message) }
    }

    /// `None` where the code is not known: a newer version wrote it.
    pub(super) fn reason(&self) -> Option<Reason> {
        let code = Code::ALL.iter().find(|code| code.as_str() == self.code)?;
        Some(Reason::new(*code, told(&self.message)))
    }
}

/// Text for people, as long as it may be.
pub(in crate::cluster) fn told(text: &str) -> String {
    words(text, WORDS)
}

/// A text that an object shows, as long as it may be.
pub(super) fn shown(text: &str) -> String {
    match text.len() > NAME {
        true => format!("{}…", &text[..text.floor_char_boundary(NAME - '…'.len_utf8())]),
        false => text.to_owned(),
    }
}

/// A name, which may not be cut.
pub(in crate::cluster) fn exact(text: &str, field: &str) -> Result<Arc<str>, String> {
    match text.len() > NAME {
        true => Err(format!("{field} has {} bytes; at most {NAME}", text.len())),
        false => Ok(text.into()),
    }
}

/// An image.
pub(super) fn image(text: &str, field: &str) -> Result<ImageRef, String> {
    ImageRef::parse(text).map_err(|error| format!("{field}: {error}"))
}

/// A list, which may not be cut.
pub(super) fn at_most<T>(list: &[T], most: usize, field: &str) -> Result<(), String> {
    match list.len() > most {
        true => Err(format!("{field} has {} items; at most {most}", list.len())),
        false => Ok(()),
    }
}
