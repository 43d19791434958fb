//! Workloads and Namespaces in a text of manifests.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use super::{
    ManifestError, Place,
    meta::Meta,
    misplaced,
    tree::{Id, NodeKind, Tree},
};
use crate::domain::workload::{Container, KINDS, KindSpec, Workload, WorkloadId, pull_secrets};

/// What a text holds that concerns us.
#[derive(Debug, Clone, Default)]
pub struct Manifests {
    /// The workloads of a supported kind, in the order of the text.
    pub workloads: Vec<FoundWorkload>,
    /// The Namespaces.
    pub namespaces: Vec<NamespaceFound>,
    /// Objects of other kinds that are like workloads: as patches with a `target` they are for workloads, too.
    pub(super) foreign: Vec<FoundWorkload>,
    /// Annotations of ours where they cannot count, and where they would.
    pub misplaced: Vec<ManifestError>,
    /// Workloads that could not be read, and why; the others are not touched by it.
    pub problems: Vec<ManifestError>,
}

/// A workload and where its images stand.
#[derive(Debug, Clone)]
pub struct FoundWorkload {
    /// The workload. A container without an `image` key is left out (a patch names it in passing).
    pub workload: Workload,
    /// The document in the stream, from 0.
    pub document: usize,
    /// The line on which the workload starts, from 1.
    pub line: usize,
    /// One place for each of `workload.containers`, in the same order.
    pub images: Vec<ImagePlace>,
    pub(super) node: Id,
    pub(super) meta: Meta,
    /// Every item of its lists of containers, also those without an image, as a patch has them.
    pub(super) items: Box<[Item]>,
    /// Whether it is a patch that takes the whole object away.
    pub(super) is_deleting: bool,
}

/// An item of a list of containers.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) name: Arc<str>,
    pub(super) init: bool,
    /// What a patch does with it, or without a name with the whole list; nothing is merging.
    pub(super) patch: Option<Box<str>>,
}

/// Where a container's image stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImagePlace {
    /// The line, from 1.
    pub line: usize,
    /// For [`super::Edit`].
    pub place: Place,
}

/// A Namespace and its defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceFound {
    /// `metadata.name`
    pub name: String,
    /// The annotations that concern us.
    pub annotations: BTreeMap<String, String>,
    /// The line on which it starts, from 1.
    pub line: usize,
    pub(super) meta: Meta,
    /// Whether it is a patch that takes the object away.
    pub(super) is_deleting: bool,
}

/// Finds the workloads and Namespaces of a text: in its documents, and in the items of Lists.
pub fn read(text: &str) -> Result<Manifests, ManifestError> {
    let tree = Tree::parse(text)?;
    let mut found = Manifests::default();
    each_object(&tree, |object| match object.and_then(|object| manifest(&tree, &object, &mut found)) {
        Ok(()) => {}
        Err(problem) => found.problems.push(problem),
    });
    Ok(found)
}

/// An object of Kubernetes in a text.
pub(super) struct Object<'t> {
    /// Its mapping.
    pub(super) node: Id,
    pub(super) kind: Cow<'t, str>,
    /// Empty for the core group.
    pub(super) group: Cow<'t, str>,
    /// The aliases that it is reached by, the outer ones first: an item of a list may be one.
    via: Vec<Id>,
}

impl Object<'_> {
    /// What is known of its kind, if it is one of a workload.
    fn spec(&self) -> Option<&'static KindSpec> {
        KINDS.iter().find(|known| known.kind.as_str() == self.kind && known.group == self.group)
    }
}

/// Calls for each object: of the documents, and in the items of Lists; and for each that cannot be read.
pub(super) fn each_object<'t>(tree: &'t Tree, mut call: impl FnMut(Result<Object<'t>, ManifestError>)) {
    for document in &tree.documents {
        each_object_in(tree, document.root, &mut call);
    }
}

/// The same of one node.
pub(super) fn each_object_in<'t>(tree: &'t Tree, root: Id, mut call: impl FnMut(Result<Object<'t>, ManifestError>)) {
    // Lists may hold Lists. The next object to look at is the last here.
    let mut items = vec![Open { node: root, via: Vec::new(), list: None }];
    while let Some(item) = items.pop() {
        match visit(tree, item, &mut items) {
            Ok(None) => {}
            Ok(Some(object)) => call(Ok(object)),
            Err(problem) => call(Err(problem)),
        }
    }
}

/// An object, the aliases that it is reached by, and the kind and API version its list gives it.
struct Open {
    node: Id,
    via: Vec<Id>,
    list: Option<(String, String)>,
}

fn visit<'t>(tree: &'t Tree, item: Open, items_left: &mut Vec<Open>) -> Result<Option<Object<'t>>, ManifestError> {
    let Open { node, via, list } = item;
    if tree.node(node).kind != NodeKind::Mapping {
        return Ok(None);
    }
    let (list_kind, list_version) = list.unwrap_or_default();
    let kind = text(tree, node, "kind")?.map_or(Cow::Owned(list_kind), Cow::Borrowed);
    let version = text(tree, node, "apiVersion")?.map_or(Cow::Owned(list_version), Cow::Borrowed);
    if let Some(item_kind) = kind.strip_suffix("List") {
        let Some(items) = get(tree, node, "items", NodeKind::Sequence)? else { return Ok(None) };
        let first = items_left.len();
        for item in tree.children(items) {
            let list = (!item_kind.is_empty()).then(|| (item_kind.to_owned(), version.clone().into_owned()));
            let (node, via) = tree.through(item, &via);
            items_left.push(Open { node, via, list });
        }
        items_left[first..].reverse();
        return Ok(None);
    }
    let group = match version {
        Cow::Borrowed(version) => Cow::Borrowed(version.rsplit_once('/').map_or("", |(group, _)| group)),
        Cow::Owned(version) => Cow::Owned(version.rsplit_once('/').map_or("", |(group, _)| group).to_owned()),
    };
    let object = Object { node, kind, group, via };
    // Of these the aliases are kept with each image, and a Namespace has none.
    let is_followed = object.spec().is_some() || object.kind == "Namespace";
    if let Some(alias) = object.via.last().filter(|_| !is_followed) {
        return Err(ManifestError::new(tree.line(*alias), "an item that is an alias: write it out"));
    }
    Ok(Some(object))
}

/// Keeps a workload or a Namespace.
pub(super) fn manifest(tree: &Tree, object: &Object, found: &mut Manifests) -> Result<(), ManifestError> {
    misplaced::find(tree, object, &mut found.misplaced);
    let node = object.node;
    let word = directive(tree, node);
    if word == Some("replace") {
        // As a patch it changes nothing.
    } else if object.kind == "Namespace" && object.group.is_empty() {
        let Some(metadata) = get(tree, node, "metadata", NodeKind::Mapping)? else { return Ok(()) };
        let name = text(tree, metadata, "name")?.unwrap_or_default().to_owned();
        let (annotations, _) = ours(tree, metadata, "annotations")?;
        let (line, meta, is_deleting) = (tree.line(node), Meta::read(tree, node), word == Some("delete"));
        found.namespaces.push(NamespaceFound { name, annotations, line, meta, is_deleting });
    } else if let Some(spec) = object.spec() {
        found.workloads.push(workload(tree, (node, &object.via), spec)?);
    } else {
        found.foreign.extend(foreign(tree, node));
    }
    Ok(())
}

/// An object of another kind as a workload, by what it has of one.
fn foreign(tree: &Tree, node: Id) -> Option<FoundWorkload> {
    let spec = get(tree, node, "spec", NodeKind::Mapping).ok()?;
    let has = |key| spec.is_some_and(|spec| matches!(get(tree, spec, key, NodeKind::Mapping), Ok(Some(_))));
    let (is_workload, is_job) = (has("template"), has("jobTemplate"));
    let metadata = get(tree, node, "metadata", NodeKind::Mapping).ok()??;
    let has_ours = || ours(tree, metadata, "annotations").is_ok_and(|(ours, _)| !ours.is_empty());
    let like = if is_job { "CronJob" } else { "Deployment" };
    let like = KINDS.iter().find(|kind| kind.kind.as_str() == like)?;
    if is_workload || is_job || has_ours() { workload(tree, (node, &[]), like).ok() } else { None }
}

/// The workload of a mapping, with the aliases that lead to it.
fn workload(tree: &Tree, (node, via): (Id, &[Id]), spec: &KindSpec) -> Result<FoundWorkload, ManifestError> {
    let metadata = get(tree, node, "metadata", NodeKind::Mapping)?;
    let field = |key| metadata.map_or(Ok(None), |m| text(tree, m, key));
    let Some(name) = field("name")?.filter(|n| !n.is_empty()) else {
        let reason = format!("this {} has no metadata.name", spec.kind.as_str());
        return Err(ManifestError::new(tree.line(node), reason));
    };
    let namespace = field("namespace")?.unwrap_or_default();
    let (annotations, has_annotations) = metadata.map_or(Ok(Default::default()), |m| ours(tree, m, "annotations"))?;
    let (labels, _) = metadata.map_or(Ok(Default::default()), |m| ours(tree, m, "labels"))?;

    let is_deleting = directive(tree, node) == Some("delete");
    let (mut pod, mut via) = (Some(node), via.to_vec());
    // What a patch puts there takes the place of all that was.
    let mut anew = None;
    for key in spec.pod_spec.split('/').skip(1) {
        let is_gone = pod.is_some_and(|pod| is_null(tree, pod, key));
        pod = pod.map_or(Ok(None), |p| step(tree, p, key, NodeKind::Mapping, &mut via))?;
        let word = if is_gone { Some("delete") } else { pod.and_then(|pod| directive(tree, pod)) };
        anew = word.filter(|word| *word != "merge").or(anew);
    }
    let list = |key| pod.map_or(Ok(None), |p| get(tree, p, key, NodeKind::Sequence));
    let (mut containers, mut images, mut items) = (Vec::new(), Vec::new(), Vec::new());
    for (key, init) in [("containers", false), ("initContainers", true)] {
        let is_gone = pod.is_some_and(|pod| is_null(tree, pod, key));
        let word = if is_gone { Some("delete") } else { anew };
        items.extend(word.map(|word| Item { name: "".into(), init, patch: Some(word.into()) }));
        let mut via = via.clone();
        let list = pod.map_or(Ok(None), |p| step(tree, p, key, NodeKind::Sequence, &mut via))?;
        for (index, item) in list.into_iter().flat_map(|list| tree.children(list)).enumerate() {
            let (item, mut via) = tree.through(item, &via);
            if tree.node(item).kind != NodeKind::Mapping {
                return Err(ManifestError::new(tree.line(item), format!("an item of `{key}` is no mapping")));
            }
            let name = text(tree, item, "name")?.unwrap_or_default();
            let patch = directive(tree, item).map(Box::from);
            items.push(Item { name: name.into(), init, patch });
            let Some((image, more)) = tree.find(item, "image")? else { continue };
            via.extend(more);
            let written = tree.scalar(image).ok_or_else(|| no(tree, image, "image", "no text"))?;
            containers.push(Container { name: name.into(), image: written.into(), init, index });
            let (scalar, via) = tree.through(image, &via);
            let place = Place { via: via.into(), ..tree.place(scalar) };
            images.push(ImagePlace { line: tree.line(image), place });
        }
    }
    let mut secrets: Vec<Arc<str>> = Vec::new();
    if let Some(given) = list("imagePullSecrets")? {
        for item in tree.children(given).map(|i| tree.resolve(i)).filter(|i| tree.node(*i).kind == NodeKind::Mapping) {
            secrets.extend(text(tree, item, "name")?.map(Arc::from));
        }
    }
    let workload = Workload {
        id: WorkloadId { kind: spec.kind.clone(), namespace: namespace.into(), name: name.into() },
        uid: "".into(),
        resource_version: "".into(),
        annotations: annotations.into(),
        labels,
        has_annotations,
        containers,
        owner: None,
        instance: None,
        written: None,
        pull_secrets: pull_secrets(secrets),
    };
    Ok(FoundWorkload {
        workload,
        document: tree.document_of(node),
        line: tree.line(node),
        images,
        node,
        meta: Meta::read(tree, node),
        items: items.into(),
        is_deleting,
    })
}

/// What a patch does with a mapping, where it says so (`$patch`).
pub(super) fn directive<'t>(tree: &'t Tree, mapping: Id) -> Option<&'t str> {
    let value = tree.get(mapping, "$patch").ok()??;
    Some(tree.scalar(value).unwrap_or_default())
}

/// Whether a key has no value, by which a patch takes it away.
pub(super) fn is_null(tree: &Tree, mapping: Id, key: &str) -> bool {
    let value = tree.get(mapping, key).ok().flatten();
    value.is_some_and(|value| matches!(tree.scalar(value), Some("" | "~" | "null")))
}

/// A collection under a key; none where the key is absent or has no value.
pub(super) fn get(tree: &Tree, mapping: Id, key: &str, kind: NodeKind) -> Result<Option<Id>, ManifestError> {
    step(tree, mapping, key, kind, &mut Vec::new())
}

/// The same, and the aliases by which it is reached are added to those before.
fn step(tree: &Tree, mapping: Id, key: &str, kind: NodeKind, via: &mut Vec<Id>) -> Result<Option<Id>, ManifestError> {
    let Some((value, more)) = tree.find(mapping, key)? else { return Ok(None) };
    via.extend(more);
    let (value, all) = tree.through(value, via);
    *via = all;
    if tree.node(value).kind == kind {
        return Ok(Some(value));
    }
    match tree.scalar(value) {
        Some("" | "~" | "null") => Ok(None),
        _ => Err(no(tree, value, key, if kind == NodeKind::Mapping { "no mapping" } else { "no list" })),
    }
}

/// A text under a key. Names are printed: one that would be more than a name to a terminal is no name.
pub(super) fn text<'t>(tree: &'t Tree, mapping: Id, key: &str) -> Result<Option<&'t str>, ManifestError> {
    let Some(value) = tree.get(mapping, key)? else { return Ok(None) };
    match tree.scalar(value) {
        None => Err(no(tree, value, key, "no text")),
        Some(text) if text.contains(char::is_control) => {
            Err(no(tree, value, key, "no name: it holds control characters"))
        }
        some => Ok(some),
    }
}

/// The entries of `metadata.annotations` or `metadata.labels` that concern us, and whether there is such a map.
pub(super) fn ours(tree: &Tree, metadata: Id, key: &str) -> Result<(BTreeMap<String, String>, bool), ManifestError> {
    let Some(map) = get(tree, metadata, key, NodeKind::Mapping)? else { return Ok(Default::default()) };
    let mut entries = BTreeMap::new();
    let (all, is_cut) = tree.all_entries(map);
    if is_cut {
        return Err(no(tree, map, key, "made of more merge keys (`<<`) than are followed"));
    }
    for entry in all.into_iter().filter(|entry| concerns_us(entry.name)) {
        let value = tree.scalar(entry.value).ok_or_else(|| no(tree, entry.value, entry.name, "no text"))?;
        entries.insert(entry.name.to_owned(), value.to_owned());
    }
    Ok((entries, true))
}

/// Whether an annotation is ours or Keel's.
pub(super) fn concerns_us(key: &str) -> bool {
    ["supercargo.dev/", "keel.sh/", "keel.observer/"].iter().any(|prefix| key.starts_with(prefix))
}

fn no(tree: &Tree, node: Id, key: &str, what: &str) -> ManifestError {
    ManifestError::new(tree.line(node), format!("`{key}` is {what}"))
}
