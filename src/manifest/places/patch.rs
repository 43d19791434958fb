//! Patches of a kustomization, as they are written: partial objects, and lists of operations (RFC 6902).

use std::sync::Arc;

use super::{
    super::{
        Found, ManifestError,
        meta::Pairs,
        path::key_step,
        read::{Manifests, concerns_us, each_object, get, manifest, text},
        tree::{Id, Kind, Tree},
    },
    Files,
    cell::{At, Cell, Source},
    names::{folder, join},
    release::{self, Release},
    select::Target,
    subject::Subject,
};
use crate::domain::workload::{Container, KindSpec};

/// A patch, in a file or written inline.
#[derive(Debug, Default)]
pub(super) struct Patch {
    /// Where it stands in the kustomization.
    line: usize,
    pub(super) file: Option<Box<str>>,
    inline: Inline,
    /// What it is for, where that is said.
    target: Option<Target>,
    /// Whether it comes after namespace, prefix and the like: `patchesJson6902`.
    pub(super) is_late: bool,
}

/// What a patch holds that is a text of the kustomization.
#[derive(Debug, Default)]
struct Inline {
    workloads: Vec<(Found, Vec<Cell>)>,
    releases: Vec<Release>,
    operations: Vec<Operation>,
}

/// A change at a JSON pointer.
#[derive(Debug)]
pub(super) struct Operation {
    line: usize,
    pointer: Box<str>,
    pub(super) put: Put,
    /// Whether it changes labels or annotations, and which of them; all if none is said.
    pub(super) map: Option<&'static str>,
    pub(super) key: Option<Box<str>>,
    /// A container that it adds at the end of its list.
    pub(super) added: Option<(Box<str>, Option<Cell>)>,
}

/// What an operation puts there.
#[derive(Debug)]
pub(super) enum Put {
    Scalar(Cell),
    Pairs(Pairs),
    Other,
}

/// One object or operation of a patch.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part<'f> {
    /// A partial workload, and the cells of its images where it stands in a text of the kustomization.
    Workload(&'f Found, Option<&'f [Cell]>),
    Release(&'f Release),
    Operation(&'f Operation),
}

/// Why it is not known what an object is after a patch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Doubt<'f> {
    pub(super) path: &'f Arc<str>,
    pub(super) line: usize,
    pub(super) reason: &'static str,
}

/// A patch of which it cannot be told whether it is for an object.
pub(super) const UNKNOWN_TARGET: &str = "whether this patch is for the workload cannot be told by its `target`: select \
     by plain names, or by labels with `=`, `!=`, `in` and `notin`";

/// An operation that changes more than can be followed.
pub(super) const TOO_MUCH: &str =
    "this operation changes more than one value around the image or the annotations: patch just the value";

impl Patch {
    /// A patch that is nothing but a file.
    pub(super) fn file(line: usize, path: Box<str>) -> Self {
        Self { line, file: Some(path), ..Self::default() }
    }

    /// A patch that is a text.
    pub(super) fn text(tree: &Tree, node: Id) -> Self {
        Self { line: tree.line(node), inline: inline(tree, node), ..Self::default() }
    }

    /// An item of `patches` or `patchesJson6902`.
    pub(super) fn read(tree: &Tree, item: Id, is_late: bool) -> Result<Self, ManifestError> {
        let target = get(tree, item, "target", Kind::Mapping)?;
        let target = target.map(|target| Target::read(tree, target)).transpose()?;
        let inline = tree.get(item, "patch")?.map(|node| inline(tree, node)).unwrap_or_default();
        let file = text(tree, item, "path")?.map(Box::from);
        Ok(Self { line: tree.line(item), file, inline, target, is_late })
    }

    /// What it consists of, each with its file and line; `at` is the kustomization.
    pub(super) fn parts<'f>(
        &'f self,
        files: &'f Files,
        at: &'f Arc<str>,
    ) -> impl Iterator<Item = (&'f Arc<str>, usize, Part<'f>)> {
        let Inline { workloads, releases, operations } = &self.inline;
        let workloads = workloads.iter().map(|(found, cells)| Part::Workload(found, Some(cells)));
        let own = workloads.chain(releases.iter().map(Part::Release)).chain(operations.iter().map(Part::Operation));
        let file = self.file.as_ref().and_then(|file| files.get_key_value(&*join(folder(at), file)?));
        let of_file = file.into_iter().flat_map(|(path, facts)| {
            let workloads = facts.manifests.workloads.iter().chain(&facts.partial);
            let workloads = workloads.map(|found| (found.line, Part::Workload(found, None)));
            let releases = facts.releases.iter().map(|release| (release.line, Part::Release(release)));
            let operations = facts.operations.iter().map(|operation| (operation.line, Part::Operation(operation)));
            workloads.chain(releases).chain(operations).map(move |(line, part)| (path, line, part))
        });
        own.map(move |part| (at, self.line, part)).chain(of_file)
    }

    /// Whether a part of it is for an object; none if that cannot be told.
    pub(super) fn is_for(&self, part: &Part, subject: &Subject) -> Option<bool> {
        if let Some(target) = &self.target {
            return target.selects(subject);
        }
        let (kind, group, namespace, name) = match part {
            // Without a target they are for nothing.
            Part::Operation(_) => return Some(false),
            Part::Release(release) => (release.kind(), release.group(), &*release.namespace, &*release.name),
            Part::Workload(found, _) => {
                let id = &found.workload.id;
                let group = id.kind.spec().map_or("", |spec| spec.group);
                (id.kind.as_str(), group, &*id.namespace, &*id.name)
            }
        };
        Some((kind, group) == (subject.kind, subject.group) && subject.is(namespace, name))
    }
}

impl<'f> Part<'f> {
    /// The image that it gives to a container, which is item `index` of its list.
    pub(super) fn image(&self, spec: &KindSpec, container: Named<'_>, index: Option<usize>) -> Option<Cell> {
        match self {
            Self::Workload(found, cells) => {
                let is_it = |c: &Container| *c.name == *container.name && c.init == container.init;
                let own = found.workload.id.kind.spec().is_some_and(|own| own.pod_spec == spec.pod_spec);
                let index = found.workload.containers.iter().position(is_it).filter(|_| own)?;
                if let Some(cells) = cells {
                    return cells.get(index).cloned();
                }
                let (image, place) = (&found.workload.containers[index].image, &found.images[index]);
                Some(Cell { line: place.line, at: At::Scalar(place.place.clone()), value: (&**image).into() })
            }
            Self::Operation(Operation { pointer, put: Put::Scalar(cell), .. }) => {
                (**pointer == *image_pointer(spec, container, index?)).then(|| cell.clone())
            }
            Self::Operation(Operation { pointer, added: Some((name, image)), .. }) => {
                let is_it = **name == *container.name && **pointer == *list_pointer(spec, container, "-");
                image.clone().filter(|_| is_it)
            }
            Self::Operation(_) | Self::Release(_) => None,
        }
    }

    /// The containers that it names, with or without an image.
    pub(super) fn containers(&self, spec: &KindSpec) -> Vec<(Arc<str>, bool)> {
        match self {
            Self::Workload(found, _) if is_like(found, spec) => {
                found.workload.containers.iter().map(|c| (c.name.clone(), c.init)).collect()
            }
            Self::Operation(operation) => {
                let Some((name, Some(_))) = &operation.added else { return Vec::new() };
                vec![(name.as_ref().into(), operation.pointer.ends_with("/initContainers/-"))]
            }
            _ => Vec::new(),
        }
    }

    /// Does to a list of containers what it says, as Kustomize does it: what a partial object names comes first. False
    /// if that is not followed.
    pub(super) fn reorder(&self, spec: &KindSpec, init: bool, order: &mut Vec<&'f str>) -> bool {
        match self {
            Self::Workload(found, _) if is_like(found, spec) => {
                let mut first: Vec<&str> = Vec::new();
                for item in found.items.iter().filter(|item| item.init == init) {
                    match item.patch.as_deref() {
                        _ if item.name.is_empty() => return false,
                        None | Some("merge" | "replace") => {
                            if !first.contains(&&*item.name) {
                                first.push(&item.name);
                            }
                            order.retain(|name| *name != &*item.name);
                        }
                        Some("delete") => order.retain(|name| *name != &*item.name),
                        Some(_) => return false,
                    }
                }
                order.splice(0..0, first);
            }
            Self::Operation(Operation { pointer, added: Some((name, _)), .. })
                if **pointer == *list_pointer(spec, Named { name, init }, "-") =>
            {
                order.push(name);
            }
            _ => {}
        }
        true
    }

    /// Whether it changes the image of a container in a way that is not followed.
    pub(super) fn is_too_much(&self, spec: &KindSpec, container: Named<'_>, index: Option<usize>) -> bool {
        let (Self::Operation(operation), Some(index)) = (self, index) else { return false };
        let image = image_pointer(spec, container, index);
        let list = format!("{}/{}/", spec.pod_spec, list(container));
        // Another item before it moves it.
        let item = operation.pointer.strip_prefix(&list).and_then(|item| item.parse::<usize>().ok());
        let is_image = *operation.pointer == *image && !matches!(operation.put, Put::Scalar(_));
        let is_around = image.strip_prefix(&*operation.pointer).is_some_and(|rest| rest.starts_with('/'));
        is_image || is_around || item.is_some_and(|item| item <= index)
    }

    /// Whether it changes annotations that concern us.
    pub(super) fn has_ours(&self) -> bool {
        let ours = |pairs: &Pairs| pairs.replaces || pairs.all.iter().any(|(key, _)| concerns_us(key));
        match self {
            Self::Workload(found, _) => ours(&found.meta.annotations),
            Self::Release(_) => false,
            Self::Operation(operation) => {
                let is_it = operation.map == Some("annotations");
                is_it && operation.key.as_ref().is_none_or(|key| concerns_us(key)) || operation.is_all_of_the_head()
            }
        }
    }

    /// Does to the head of an object what it says; false if that is not followed.
    pub(super) fn change(&self, subject: &mut Subject<'f>) -> bool {
        match self {
            Self::Workload(found, _) => subject.merge(&found.meta),
            Self::Release(release) => subject.merge(&release.meta),
            Self::Operation(operation) => subject.operate(operation),
        }
        !matches!(self, Self::Operation(operation) if operation.is_all_of_the_head())
    }
}

/// A container of a workload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named<'n> {
    pub(super) name: &'n str,
    pub(super) init: bool,
}

fn is_like(found: &Found, spec: &KindSpec) -> bool {
    found.workload.id.kind.spec().is_some_and(|own| own.pod_spec == spec.pod_spec)
}

fn list(container: Named<'_>) -> &'static str {
    if container.init { "initContainers" } else { "containers" }
}

fn list_pointer(spec: &KindSpec, container: Named<'_>, item: &str) -> String {
    format!("{}/{}/{item}", spec.pod_spec, list(container))
}

fn image_pointer(spec: &KindSpec, container: Named<'_>, index: usize) -> String {
    list_pointer(spec, container, &format!("{index}/image"))
}

impl Operation {
    fn new(line: usize, pointer: Box<str>, put: Put) -> Self {
        let mut steps = pointer.split('/').skip(1);
        let map = match (steps.next(), steps.next()) {
            (Some("metadata"), Some("annotations")) => Some("annotations"),
            (Some("metadata"), Some("labels")) => Some("labels"),
            _ => None,
        };
        let key = steps.next().filter(|_| map.is_some()).map(|key| plain(key).into());
        Self { line, pointer, put, map, key, added: None }
    }

    fn is_all_of_the_head(&self) -> bool {
        matches!(&*self.pointer, "" | "/" | "/metadata")
    }

    /// The pointer as the path of a scalar ([`super::super::Path::key`]).
    pub(super) fn key(&self) -> String {
        let step = |step: &str| match step.parse::<usize>() {
            Ok(index) => format!("[{index}]"),
            Err(_) => key_step(&plain(step)),
        };
        self.pointer.split('/').skip(1).map(step).collect()
    }
}

/// A step of a pointer.
fn plain(step: &str) -> String {
    step.replace("~1", "/").replace("~0", "~")
}

/// The operations of a list.
pub(super) fn operations(source: &Source, root: Id) -> Vec<Operation> {
    let tree = source.tree;
    let mut found = Vec::new();
    for item in super::kustomization::mappings(tree, root) {
        let get = |key| tree.get(item, key).ok().flatten();
        let word = |key| get(key).and_then(|node| tree.scalar(node));
        let line = source.line(item);
        let (Some(op), Some(pointer)) = (word("op"), word("path")) else { continue };
        let put = match (op, get("value")) {
            ("test", _) => continue,
            ("add" | "replace", Some(value)) => match source.cell(value) {
                Some(cell) => Put::Scalar(cell),
                None if tree.node(tree.resolve(value)).kind == Kind::Mapping => {
                    Put::Pairs(Pairs::read(tree, tree.resolve(value)))
                }
                None => Put::Other,
            },
            _ => Put::Other,
        };
        if let Some(from) = word("from").filter(|_| op == "move") {
            found.push(Operation::new(line, from.into(), Put::Other));
        }
        let mut operation = Operation::new(line, pointer.into(), put);
        if op == "add" && (pointer.ends_with("/containers/-") || pointer.ends_with("/initContainers/-")) {
            let field =
                |key| tree.get(tree.resolve(get("value")?), key).ok().flatten().and_then(|node| source.cell(node));
            operation.added = field("name").map(|name| (name.value, field("image")));
        }
        found.push(operation);
    }
    found
}

/// What of a text is about images. What cannot be read there changes no image that we know of.
fn inline(tree: &Tree, node: Id) -> Inline {
    let mut found = Inline::default();
    let Some(Ok(inner)) = tree.scalar(node).map(Tree::parse) else { return found };
    let source = Source::inner(&inner, tree.place(tree.resolve(node)));
    if let [document] = inner.documents.as_slice()
        && inner.node(document.root).kind == Kind::Sequence
    {
        found.operations = operations(&source, document.root);
    }
    let mut manifests = Manifests::default();
    each_object(&inner, |object| {
        let Ok(object) = object else { return };
        let _ = manifest(&inner, &object, &mut manifests);
        found.releases.extend(release::read(&source, &object, &mut Vec::new()).ok().flatten());
    });
    for object in manifests.workloads {
        let cells: Vec<Cell> = object.images.iter().filter_map(|image| source.cell(image.place.node)).collect();
        if cells.len() == object.images.len() {
            found.workloads.push((object, cells));
        }
    }
    found
}
