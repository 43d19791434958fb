//! Patches of a kustomization: partial objects, and lists of operations.

use std::sync::Arc;

use super::{
    super::{
        FoundWorkload, ManifestError, NamespaceFound,
        meta::Pairs,
        read::{concerns_us, get, text},
        tree::{Id, NodeKind},
    },
    Facts, Files,
    cell::{At, Cell, Source},
    inline::{Inline, inline},
    names::{folder, join},
    operation::{Operation, Put},
    outer::Outer,
    release::Release,
    select::PatchTarget,
    subject::{NAMESPACE, NO_NAMESPACE, Subject},
};
use crate::domain::workload::{Container, KindSpec, WorkloadId};

/// A patch, in a file or written inline.
#[derive(Debug, Default)]
pub(super) struct Patch {
    /// Where it stands in the kustomization.
    pub(super) line: usize,
    pub(super) file: Option<Box<str>>,
    inline: Inline,
    /// What it is for, where that is said.
    target: Option<PatchTarget>,
    /// Whether it comes after namespace, prefix and the like: `patchesJson6902`.
    pub(super) is_late: bool,
    /// Whether it is one of `patchesStrategicMerge`.
    is_strategic: bool,
    /// Whether it may give an object another name or kind (`options`).
    renames: bool,
}

/// One object or operation of a patch.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part<'f> {
    /// A partial workload, and the cells of its images where it stands in a text of the kustomization.
    Workload(&'f FoundWorkload, Option<&'f [Cell]>),
    Release(&'f Release),
    Namespace(&'f NamespaceFound),
    Outer(&'f Outer),
    Operation(&'f Operation),
}

/// Why it is not known what an object is after a patch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ambiguity<'f> {
    pub(super) path: &'f Arc<str>,
    pub(super) line: usize,
    pub(super) reason: &'static str,
}

/// A patch of which it cannot be told whether it is for an object.
pub(super) const UNKNOWN_TARGET: &str = "whether this patch is for the workload cannot be told by its `target`: select \
     by plain names, or by labels with `=`, `!=`, `in` and `notin`";

/// A patch after which an object is called otherwise.
const RENAMES: &str = "this patch may change the name or the kind (`allowNameChange`, `allowKindChange`), which is not followed: \
                       write the name where the object stands, or use `namePrefix` or `nameSuffix`";

/// A patch that may change anything.
pub(super) const UNREAD_PATCH: &str =
    "this patch cannot be read whole, and may set the image: repair it, or write less in it";
const ELSEWHERE: &str = "this patch is not in this repository, and may set the image: copy it to a file here";

/// An operation that changes more than can be followed.
pub(super) const TOO_MUCH: &str =
    "this operation changes more than one value around the image or the annotations: patch just the value";

impl Patch {
    /// One of `patchesStrategicMerge` that is a file.
    pub(super) fn file(line: usize, path: Box<str>) -> Self {
        Self { line, file: Some(path), is_strategic: true, ..Self::default() }
    }

    /// One that is a text.
    pub(super) fn text(source: &Source, node: Id) -> Self {
        Self { line: source.line(node), inline: inline(source, node), is_strategic: true, ..Self::default() }
    }

    /// An item of `patches` or `patchesJson6902`, or a transformer, with its text under `key`.
    pub(super) fn read(source: &Source, item: Id, key: &str, is_late: bool) -> Result<Self, ManifestError> {
        let tree = source.tree;
        let target = get(tree, item, "target", NodeKind::Mapping)?;
        let target = target.map(|target| PatchTarget::read(source, target)).transpose()?;
        let inline = tree.get(item, key)?.map(|node| inline(source, node)).unwrap_or_default();
        let file = text(tree, item, "path")?.map(Box::from);
        let options = get(tree, item, "options", NodeKind::Mapping)?;
        let is_set = |key| options.map_or(Ok(None), |options| text(tree, options, key)).map(|set| set == Some("true"));
        let renames = is_set("allowNameChange")? || is_set("allowKindChange")?;
        Ok(Self { line: source.line(item), file, inline, target, is_late, is_strategic: false, renames })
    }

    /// What it consists of, each with its file and line; `at` is the kustomization.
    pub(super) fn parts<'f>(
        &'f self,
        files: &'f Files,
        at: &'f Arc<str>,
    ) -> impl Iterator<Item = (&'f Arc<str>, usize, Part<'f>)> {
        let Inline { workloads, foreign, namespaces, releases, outers, operations, given: _, is_unread: _ } =
            &self.inline;
        let has_target = self.target.is_some();
        let foreign = foreign.iter().filter(move |_| has_target);
        let workloads = workloads.iter().chain(foreign).map(|(found, cells)| Part::Workload(found, Some(cells)));
        let objects = workloads.chain(namespaces.iter().map(Part::Namespace)).chain(releases.iter().map(Part::Release));
        let objects = objects.chain(outers.iter().map(Part::Outer));
        let own = objects.chain(operations.iter().map(Part::Operation));
        let of_file = self.read_file(files, at).into_iter().flat_map(move |(path, facts)| {
            let foreign = facts.manifests.foreign.iter().filter(move |_| has_target);
            let workloads = facts.manifests.workloads.iter().chain(&facts.partial).chain(foreign);
            let workloads = workloads.map(|found| (found.line, Part::Workload(found, None)));
            let namespaces = facts.manifests.namespaces.iter();
            let workloads = workloads.chain(namespaces.map(|found| (found.line, Part::Namespace(found))));
            let releases = facts.releases.iter().map(|release| (release.line, Part::Release(release)));
            let outers = facts.outer.iter().map(|outer| (outer.line, Part::Outer(outer)));
            let operations = facts.operations.iter().map(|operation| (operation.line, Part::Operation(operation)));
            workloads.chain(releases).chain(outers).chain(operations).map(move |(line, part)| (path, line, part))
        });
        own.map(move |part| (at, self.line, part)).chain(of_file)
    }

    /// The file that it stands in.
    pub(super) fn read_file<'f>(&self, files: &'f Files, at: &str) -> Option<(&'f Arc<str>, &'f Arc<Facts>)> {
        files.get_key_value(&*join(folder(at), self.file.as_ref()?)?)
    }

    /// Whether what is written inline takes an object away.
    pub(super) fn is_deleting(&self) -> bool {
        self.inline.workloads.iter().any(|(found, _)| found.is_deleting)
    }

    /// Whether it may change a ConfigMap or Secret.
    pub(super) fn may_change(&self, files: &Files, at: &str, kind: &str, name: &str) -> bool {
        let file = self.read_file(files, at).map(|(_, facts)| facts);
        match &self.target {
            Some(target) => target.may_select("", kind, name) != Some(false),
            None => {
                let given = file.into_iter().flat_map(|facts| &facts.given).chain(&self.inline.given);
                given.into_iter().any(|given| given.is(kind, name))
            }
        }
    }

    /// How much there is in it.
    pub(super) fn steps(&self, files: &Files, at: &str) -> usize {
        let Inline { workloads, foreign, namespaces, releases, outers, operations, given: _, is_unread: _ } =
            &self.inline;
        let of_file = self.read_file(files, at).map_or(0, |(_, facts)| {
            let own = facts.manifests.workloads.len() + facts.manifests.foreign.len();
            let objects = own + facts.partial.len() + facts.releases.len();
            objects + facts.manifests.namespaces.len() + facts.outer.len() + facts.operations.len()
        });
        workloads.len() + foreign.len() + namespaces.len() + releases.len() + outers.len() + operations.len() + of_file
    }

    /// Why it is not known what it does, and to which objects.
    pub(super) fn unread<'f>(&self, files: &'f Files, at: &'f Arc<str>) -> Option<Ambiguity<'f>> {
        let is_elsewhere = self.file.as_ref().is_some_and(|file| join(folder(at), file).is_none());
        if self.renames || is_elsewhere {
            let reason = if self.renames { RENAMES } else { ELSEWHERE };
            return Some(Ambiguity { path: at, line: self.line, reason });
        }
        let own = self.inline.is_unread.then_some((at, self.line));
        let of_file =
            || Some(self.read_file(files, at)?).and_then(|(path, facts)| Some((path, facts.first_unread()?.0)));
        let (path, line) = own.or_else(of_file)?;
        Some(Ambiguity { path, line, reason: UNREAD_PATCH })
    }

    /// Whether something of it may be for an object.
    pub(super) fn may_select(&self, subject: &Subject) -> bool {
        self.target.as_ref().is_none_or(|target| target.selects(subject) != Some(false))
    }

    /// Whether it may be for a workload of which nothing else is known, and whether it says so itself.
    pub(super) fn may_be_for(&self, part: &Part, id: &WorkloadId) -> Option<bool> {
        let group = id.kind.spec().map_or("", |spec| spec.group);
        match (&self.target, part) {
            (Some(target), _) => target.may_select(group, id.kind.as_str(), &id.name),
            (None, Part::Workload(found, _)) => {
                let own = &found.workload.id;
                Some((&own.kind, &own.name) == (&id.kind, &id.name))
            }
            (None, _) => Some(false),
        }
    }

    /// Whether Kustomize copies it before it merges it.
    pub(super) fn is_copied(&self) -> bool {
        self.is_strategic || self.target.is_some()
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
            Part::Outer(outer) => (outer.kind().0, outer.kind().1, &*outer.namespace, &*outer.name),
            Part::Namespace(found) => (NAMESPACE, "", NO_NAMESPACE, &*found.name),
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
            Self::Workload(found, _) if found.is_left(container, index) => None,
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
            Self::Operation(Operation { list: Some((list, change)), .. })
                if **list == *list_pointer(spec, container.init) =>
            {
                change.containers().iter().find(|(name, _)| **name == *container.name)?.1.clone()
            }
            Self::Operation(_) | Self::Release(_) | Self::Namespace(_) | Self::Outer(_) => None,
        }
    }

    /// The containers that it names, with or without an image.
    pub(super) fn containers(&self, spec: &KindSpec) -> Vec<(Arc<str>, bool)> {
        match self {
            Self::Workload(found, _) if is_like(found, spec) => {
                found.items.iter().map(|item| (item.name.clone(), item.init)).collect()
            }
            Self::Operation(operation) => {
                let Some((list, change)) = &operation.list else { return Vec::new() };
                let Some(init) = [false, true].into_iter().find(|init| **list == *list_pointer(spec, *init)) else {
                    return Vec::new();
                };
                change.containers().iter().map(|(name, _)| (name.as_ref().into(), init)).collect()
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
                match found.of_list(init) {
                    None => {}
                    Some("replace") => order.clear(),
                    Some(word) => {
                        order.clear();
                        return word == "delete";
                    }
                }
                for item in found.items.iter().filter(|item| item.init == init) {
                    match item.patch.as_deref() {
                        Some(_) if item.name.is_empty() && found.of_list(init).is_some() => {}
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
            Self::Operation(operation) => {
                let own = list_pointer(spec, init);
                if let Some((_, change)) = operation.list.as_ref().filter(|(list, _)| **list == *own) {
                    return change.reorder(order);
                }
                // Another name.
                let item = operation.pointer.strip_prefix(&*own).and_then(|rest| rest.strip_prefix('/'));
                return item.and_then(|item| item.split_once('/')).is_none_or(|(_, key)| key != "name");
            }
            _ => {}
        }
        true
    }

    /// Whether it puts another list of containers in the place of the one that is there.
    pub(super) fn begins_anew(&self, spec: &KindSpec, init: bool) -> bool {
        matches!(self, Self::Workload(found, _) if is_like(found, spec) && found.of_list(init).is_some())
    }

    /// Whether it changes the image of a container in a way that is not followed.
    pub(super) fn is_too_much(&self, spec: &KindSpec, container: Named<'_>, index: Option<usize>) -> bool {
        let (Self::Operation(operation), Some(index)) = (self, index) else { return false };
        let image = image_pointer(spec, container, index);
        let is_image = *operation.pointer == *image && !matches!(operation.put, Put::Scalar(_));
        is_image || image.strip_prefix(&*operation.pointer).is_some_and(|rest| rest.starts_with('/'))
    }

    /// Whether it takes the whole object away.
    pub(super) fn is_deleting(&self) -> bool {
        match self {
            Self::Workload(found, _) => found.is_deleting,
            Self::Namespace(found) => found.is_deleting,
            Self::Outer(outer) => outer.is_deleting,
            Self::Release(_) | Self::Operation(_) => false,
        }
    }

    /// Whether it changes annotations that concern us.
    pub(super) fn has_ours(&self) -> bool {
        let ours = |pairs: &Pairs| pairs.replaces || pairs.all.iter().any(|(key, _)| concerns_us(key));
        match self {
            Self::Workload(found, _) => ours(&found.meta.annotations),
            Self::Namespace(found) => ours(&found.meta.annotations),
            Self::Release(_) | Self::Outer(_) => false,
            Self::Operation(operation) => {
                let is_it = operation.map == Some("annotations");
                is_it && operation.key.as_ref().is_none_or(|key| concerns_us(key)) || operation.is_all_of_the_head()
            }
        }
    }

    /// Does to the head of an object what it says; false if that is not followed.
    pub(super) fn change(&self, subject: &mut Subject<'f>, is_copied: bool) -> bool {
        match self {
            Self::Workload(found, _) => subject.merge(&found.meta, is_copied),
            Self::Release(release) => subject.merge(&release.meta, is_copied),
            Self::Namespace(found) => subject.merge(&found.meta, is_copied),
            Self::Outer(outer) => subject.merge(&outer.meta, is_copied),
            Self::Operation(operation) => return subject.operate(operation),
        }
        true
    }
}

/// A container of a workload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named<'n> {
    pub(super) name: &'n str,
    pub(super) init: bool,
}

impl FoundWorkload {
    /// What it does with a whole list of containers: `replace`, or `delete`. Not known where it does something with an
    /// item, too.
    fn of_list(&self, init: bool) -> Option<&str> {
        let items = || self.items.iter().filter(|item| item.init == init);
        if items().any(|item| !item.name.is_empty() && item.patch.is_some()) {
            return None;
        }
        let mut whole = items().filter(|item| item.name.is_empty());
        whole.find_map(|item| item.patch.as_deref().filter(|word| *word != "merge"))
    }

    /// Whether it names a container, which is item `index`, in vain: one that is there and to be replaced, Kustomize
    /// leaves as it is.
    fn is_left(&self, container: Named<'_>, index: Option<usize>) -> bool {
        let mut items = self.items.iter().filter(|item| item.init == container.init && *item.name == *container.name);
        match self.of_list(container.init) {
            Some(word) => word != "replace",
            None => index.is_some() && items.any(|item| item.patch.as_deref() == Some("replace")),
        }
    }
}

fn is_like(found: &FoundWorkload, spec: &KindSpec) -> bool {
    found.workload.id.kind.spec().is_some_and(|own| own.pod_spec == spec.pod_spec)
}

pub(super) fn list_pointer(spec: &KindSpec, init: bool) -> String {
    format!("{}/{}", spec.pod_spec, if init { "initContainers" } else { "containers" })
}

fn image_pointer(spec: &KindSpec, container: Named<'_>, index: usize) -> String {
    format!("{}/{index}/image", list_pointer(spec, container.init))
}
