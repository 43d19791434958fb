//! Workloads as supercargo sees them: who they are, what runs in them, and what people wrote on them.

use std::{borrow::Cow, collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::text::excerpt;

/// The prefix of all our keys.
pub const PREFIX: &str = "supercargo.dev/";

/// What kind of object a workload is, and where its pods are described.
///
/// One more kind is one more line in [`KINDS`].
#[derive(Debug, PartialEq, Eq)]
pub struct KindSpec {
    /// `Deployment`
    pub kind: Kind,
    /// API group, `apps`
    pub group: &'static str,
    /// API version within the group, `v1`
    pub version: &'static str,
    /// Name in URLs, `deployments`
    pub plural: &'static str,
    /// kubectl's short name, `deploy`
    pub short: &'static str,
    /// JSON pointer of the pod spec.
    pub pod_spec: &'static str,
}

/// The kinds that are watched and edited.
pub const KINDS: &[KindSpec] = &[
    KindSpec::new("Deployment", "apps", "v1", ["deployments", "deploy"], "/spec/template/spec"),
    KindSpec::new("StatefulSet", "apps", "v1", ["statefulsets", "sts"], "/spec/template/spec"),
    KindSpec::new("DaemonSet", "apps", "v1", ["daemonsets", "ds"], "/spec/template/spec"),
    KindSpec::new("CronJob", "batch", "v1", ["cronjobs", "cj"], "/spec/jobTemplate/spec/template/spec"),
];

impl KindSpec {
    const fn new(
        kind: &'static str,
        group: &'static str,
        version: &'static str,
        [plural, short]: [&'static str; 2],
        pod_spec: &'static str,
    ) -> Self {
        Self { kind: Kind(Cow::Borrowed(kind)), group, version, plural, short, pod_spec }
    }

    /// `apps/v1`
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Finds a kind by any of its names, letter case aside (`Deployment`, `deployments`, `deploy`).
    pub fn find(name: &str) -> Option<&'static Self> {
        KINDS.iter().find(|k| [k.kind.as_str(), k.plural, k.short].iter().any(|known| known.eq_ignore_ascii_case(name)))
    }

    /// All kinds, for messages.
    pub fn all() -> String {
        KINDS.iter().map(|k| k.kind.as_str()).collect::<Vec<_>>().join(", ")
    }
}

/// The kind of a workload, as written in its manifest (`Deployment`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Kind(pub Cow<'static, str>);

impl Kind {
    /// The kind as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What is known about it.
    pub fn spec(&self) -> Option<&'static KindSpec> {
        KINDS.iter().find(|k| k.kind == *self)
    }
}

/// Which object: the key of everything that is kept per workload.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WorkloadId {
    /// `Deployment`
    pub kind: Kind,
    /// Empty in a manifest that names none.
    pub namespace: Arc<str>,
    /// `metadata.name`
    pub name: Arc<str>,
}

impl WorkloadId {
    /// What stands for all workloads, in the namespace of the operator.
    pub fn all(namespace: &str) -> Self {
        Self { kind: Kind(ALL.into()), namespace: namespace.into(), name: "all".into() }
    }

    /// Whether it stands for all.
    pub fn is_all(&self) -> bool {
        self.kind.as_str() == ALL
    }
}

const ALL: &str = "All";

impl fmt::Display for WorkloadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        write!(f, "{}/{}", self.kind.as_str(), self.name)
    }
}

impl FromStr for WorkloadId {
    type Err = ();

    /// Reads what is displayed. A kind begins with a capital, a namespace never does (RFC 1123), and the name of a file
    /// may hold slashes.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (first, rest) = text.split_once('/').ok_or(())?;
        let is_kind = |text: &str| text.starts_with(|c: char| c.is_ascii_uppercase());
        let (namespace, kind, name) = match is_kind(first) {
            true => ("", first, rest),
            false => rest.split_once('/').map(|(kind, name)| (first, kind, name)).ok_or(())?,
        };
        let is_whole = is_kind(kind) && !name.is_empty();
        let id = || Self { kind: Kind(kind.to_owned().into()), namespace: namespace.into(), name: name.into() };
        is_whole.then(id).ok_or(())
    }
}

/// One container of a workload's pod template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// `name`
    pub name: Arc<str>,
    /// `image` as written; it may not parse.
    pub image: Arc<str>,
    /// Whether it stands under `initContainers`.
    pub init: bool,
    /// Its place in its list, from 0.
    pub index: usize,
}

/// A controller, other than people and plain Helm, that sets a workload's images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// Sets the images itself: what we write would be changed back. Text for people: `Argo CD application "web"`.
    Elsewhere(String),
    /// Plain Helm: updated with a warning, the next `helm upgrade` sets the chart's image.
    Helm,
}

/// An Application of Argo CD.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ApplicationId {
    /// Where it stands.
    pub namespace: String,
    /// `metadata.name`
    pub name: String,
}

impl ApplicationId {
    /// What the label `app.kubernetes.io/instance` of its objects may be: Argo CD puts the namespace before the name
    /// where that is not its own one.
    pub fn labels(&self) -> [String; 2] {
        [self.name.clone(), format!("{}_{}", self.namespace, self.name)]
    }
}

/// What an Application says of the workloads it claims.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Application {
    /// Which one.
    pub id: ApplicationId,
    /// `spec.destination.namespace`: where its workloads are; empty if it names none.
    pub destination: String,
}

/// A workload, pruned to what a decision needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Which object.
    pub id: WorkloadId,
    /// `metadata.uid`; empty in a manifest.
    pub uid: Arc<str>,
    /// `metadata.resourceVersion`; empty in a manifest.
    pub resource_version: Arc<str>,
    /// The annotations that concern us: `supercargo.dev/*`, Keel's, and none else.
    pub annotations: Arc<BTreeMap<String, String>>,
    /// Where and how those are written that are none of an object's annotations.
    pub written: Option<Arc<BTreeMap<String, Written>>>,
    /// Labels that concern us: Keel's.
    pub labels: BTreeMap<String, String>,
    /// Whether the object has an annotations map at all (a JSON Patch must know).
    pub has_annotations: bool,
    /// Containers, then init containers, in their order.
    pub containers: Vec<Container>,
    /// Who sets the image, where it is somebody else.
    pub owner: Option<Owner>,
    /// The label `app.kubernetes.io/instance`: Argo CD's claim, if it has an Application of that name.
    pub instance: Option<Arc<str>>,
    /// Names of `imagePullSecrets` in the pod template, as [`pull_secrets`] keeps them.
    pub pull_secrets: Vec<Arc<str>>,
}

/// What stands for an annotation where there is no object: a marked value, a key of an entry of `supercargo.yaml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// What stands before the value: `# supercargo`, `policy`.
    pub key: String,
    /// `file:line`
    pub at: String,
}

/// How many pull secrets of a workload count.
pub const MAX_PULL_SECRETS: usize = 20;

/// The names that are kept of `imagePullSecrets`: each once, and one more than count where there are more.
pub fn pull_secrets(names: impl IntoIterator<Item = Arc<str>>) -> Vec<Arc<str>> {
    let mut kept: Vec<Arc<str>> = Vec::new();
    for name in names {
        if kept.len() > MAX_PULL_SECRETS {
            break;
        }
        if !name.is_empty() && !kept.contains(&name) {
            kept.push(name);
        }
    }
    kept
}

/// A workload as just read.
#[derive(Debug, Clone)]
pub struct Observed {
    /// The workload.
    pub workload: Workload,
    /// Per container name: the field manager that owns its image, and since when.
    pub image_managers: Vec<ImageManager>,
    /// A hash of the pod template without its images.
    pub template: Arc<str>,
}

/// Who set a container's image last, by managedFields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageManager {
    /// The container.
    pub container: String,
    /// `kubectl-set`, `supercargo`, …
    pub manager: String,
    /// `Apply` or `Update`.
    pub operation: String,
    /// When, to the second.
    pub time: Option<Timestamp>,
}

impl Workload {
    /// One of which no more is known.
    #[cfg(test)]
    pub(crate) fn of(id: WorkloadId, containers: Vec<Container>) -> Self {
        Self {
            id,
            uid: "".into(),
            resource_version: "".into(),
            annotations: Arc::default(),
            written: None,
            labels: BTreeMap::new(),
            has_annotations: false,
            containers,
            owner: None,
            instance: None,
            pull_secrets: Vec::new(),
        }
    }

    /// Whether it says the same of everything but its version.
    pub fn is_same(&self, other: &Self) -> bool {
        let Self {
            id,
            uid,
            resource_version: _,
            annotations,
            written,
            labels,
            has_annotations,
            containers,
            owner,
            instance,
            pull_secrets,
        } = self;
        *id == other.id
            && *uid == other.uid
            && *annotations == other.annotations
            && *written == other.written
            && *labels == other.labels
            && *has_annotations == other.has_annotations
            && *containers == other.containers
            && *owner == other.owner
            && *instance == other.instance
            && *pull_secrets == other.pull_secrets
    }

    /// Who sets the image, where Argo CD claims it by the instance label.
    pub fn claimed(&self) -> Option<Owner> {
        let name = excerpt(self.instance.as_deref()?);
        Some(Owner::Elsewhere(format!("Argo CD's Application \"{name}\" (by the label app.kubernetes.io/instance)")))
    }

    /// Whether this is how it was before that version.
    pub fn is_before(&self, resource_version: &str) -> bool {
        let versions = [&*self.resource_version, resource_version].map(version);
        matches!(versions, [Some(own), Some(other)] if own < other)
    }

    /// The container of that name, regular ones first.
    pub fn container(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|c| &*c.name == name)
    }
}

/// Resource versions of one kind compare as numbers (Kubernetes API concepts, "Resource versions").
pub fn version(text: &str) -> Option<u64> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_is_the_same_whose_version_alone_has_changed() {
        let id: WorkloadId = "shop/Deployment/web".parse().unwrap();
        let image = |image: &str| Container { name: "web".into(), image: image.into(), init: false, index: 0 };
        let written = Written { key: "policy".to_owned(), at: "web.yaml:3".to_owned() };
        let one = Workload {
            id: id.clone(),
            uid: "u".into(),
            resource_version: "1".into(),
            annotations: Arc::default(),
            written: None,
            labels: BTreeMap::new(),
            has_annotations: false,
            containers: vec![image("web:1")],
            owner: None,
            instance: None,
            pull_secrets: Vec::new(),
        };
        let text = || ("a".to_owned(), "b".to_owned());
        assert!(one.is_same(&Workload { resource_version: "2".into(), ..one.clone() }));
        let others = [
            Workload { id: WorkloadId { name: "api".into(), ..id }, ..one.clone() },
            Workload { uid: "v".into(), ..one.clone() },
            Workload { annotations: Arc::new([text()].into()), ..one.clone() },
            Workload { written: Some(Arc::new([("a".to_owned(), written)].into())), ..one.clone() },
            Workload { labels: [text()].into(), ..one.clone() },
            Workload { has_annotations: true, ..one.clone() },
            Workload { containers: vec![image("web:2")], ..one.clone() },
            Workload { owner: Some(Owner::Helm), ..one.clone() },
            Workload { instance: Some("web".into()), ..one.clone() },
            Workload { pull_secrets: vec!["pull".into()], ..one.clone() },
        ];
        for other in others {
            assert!(!one.is_same(&other), "{other:?}");
        }
    }

    #[test]
    fn pull_secrets_are_kept_once_and_not_without_end() {
        let kept = |names: &mut dyn Iterator<Item = String>| pull_secrets(names.map(Arc::from)).len();
        assert_eq!(kept(&mut (0..40).map(|n| format!("s{}", n / 2))), MAX_PULL_SECRETS);
        assert_eq!(kept(&mut (0..15_000).map(|n| format!("s{n}"))), MAX_PULL_SECRETS + 1);
        assert_eq!(kept(&mut [String::new()].into_iter()), 0);
    }

    #[rstest::rstest]
    #[case("shop/Deployment/web", Some(("shop", "Deployment", "web")))]
    #[case("Deployment/web", Some(("", "Deployment", "web")))]
    #[case("File/apps/web.yaml", Some(("", "File", "apps/web.yaml")))]
    #[case("shop/web", None)]
    #[case("web", None)]
    #[case("Deployment/", None)]
    fn an_id_is_read_as_it_is_shown(#[case] text: &str, #[case] expected: Option<(&str, &str, &str)>) {
        let read = text.parse::<WorkloadId>().ok();
        assert_eq!(read.as_ref().map(|id| (&*id.namespace, id.kind.as_str(), &*id.name)), expected);
        assert!(read.is_none_or(|id| id.to_string() == text));
    }
}
