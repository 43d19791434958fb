//! Patches of a kustomization, as they are written: partial objects, and lists of operations (RFC 6902).

use super::{
    super::{
        ManifestError,
        path::key_step,
        read::{Manifests, each_object, get, manifest, text},
        tree::{Id, Kind, Tree},
    },
    cell::{Cell, Source},
    release::{self, Release},
};
use crate::domain::workload::{Container, KindSpec, Workload};

/// A patch, in a file or written inline.
#[derive(Debug, Default)]
pub(super) struct Patch {
    pub(super) file: Option<Box<str>>,
    pub(super) inline: Inline,
    /// What it is for, where that is said.
    pub(super) target: Option<Target>,
}

/// What a patch holds that is a text of the kustomization.
#[derive(Debug, Default)]
pub(super) struct Inline {
    pub(super) workloads: Vec<Patched>,
    pub(super) releases: Vec<Release>,
    pub(super) operations: Vec<Operation>,
}

/// What a patch is for; all of them where nothing is given.
#[derive(Debug)]
pub(super) struct Target {
    kind: Option<Box<str>>,
    name: Option<Box<str>>,
}

/// A workload of an inline patch, and the cell of each of its containers' images.
#[derive(Debug)]
pub(super) struct Patched {
    pub(super) workload: Workload,
    pub(super) images: Vec<Cell>,
}

/// A value that is put at a JSON pointer.
#[derive(Debug)]
pub(super) struct Operation {
    pointer: Box<str>,
    pub(super) cell: Cell,
}

/// Kind and names of an object that patches may be for: its own, and that which it has at this point.
pub(super) struct Subject<'s> {
    pub(super) kind: &'s str,
    pub(super) names: [&'s str; 2],
}

impl Patch {
    /// A patch that is nothing but a file.
    pub(super) fn file(path: Box<str>) -> Self {
        Self { file: Some(path), ..Self::default() }
    }

    /// A patch that is a text.
    pub(super) fn text(tree: &Tree, node: Id) -> Self {
        Self { inline: inline(tree, node), ..Self::default() }
    }

    /// An item of `patches` or `patchesJson6902`.
    pub(super) fn read(tree: &Tree, item: Id) -> Result<Self, ManifestError> {
        let target = match get(tree, item, "target", Kind::Mapping)? {
            None => None,
            Some(target) => {
                let word = |key| Ok::<_, ManifestError>(text(tree, target, key)?.map(Box::from));
                Some(Target { kind: word("kind")?, name: word("name")? })
            }
        };
        let inline = tree.get(item, "patch")?.map(|node| inline(tree, node)).unwrap_or_default();
        Ok(Self { file: text(tree, item, "path")?.map(Box::from), inline, target })
    }

    /// Whether an object in the patch, of this kind and name, is for the subject.
    pub(super) fn has_for(&self, kind: &str, name: &str, subject: &Subject) -> bool {
        let is_named = self.target.is_some() || subject.names.contains(&name);
        kind == subject.kind && is_named && self.is_for(subject)
    }

    /// Whether the target, if there is one, may be the subject.
    fn is_for(&self, subject: &Subject) -> bool {
        self.target.as_ref().is_none_or(|target| {
            target.kind.as_ref().is_none_or(|kind| **kind == *subject.kind)
                && target.name.as_ref().is_none_or(|name| subject.names.contains(&&**name))
        })
    }

    /// The operations, if they are for the subject; without a target they are for nothing.
    pub(super) fn only<'p>(
        &self,
        all: &'p [Operation],
        subject: &Subject,
    ) -> impl Iterator<Item = &'p Operation> + use<'p> {
        let is_for = self.target.is_some() && self.is_for(subject);
        all.iter().filter(move |_| is_for)
    }
}

impl Operation {
    /// Whether it sets the image of a container.
    pub(super) fn sets(&self, spec: &KindSpec, container: &Container) -> bool {
        let list = if container.init { "initContainers" } else { "containers" };
        *self.pointer == *format!("{}/{list}/{}/image", spec.pod_spec, container.index)
    }

    /// The pointer as the path of a scalar ([`super::super::Path::key`]).
    pub(super) fn key(&self) -> String {
        let step = |step: &str| match step.parse::<usize>() {
            Ok(index) => format!("[{index}]"),
            Err(_) => key_step(&step.replace("~1", "/").replace("~0", "~")),
        };
        self.pointer.split('/').skip(1).map(step).collect()
    }
}

/// The operations of a list that put a scalar somewhere.
pub(super) fn operations(source: &Source, root: Id) -> Vec<Operation> {
    let tree = source.tree;
    let read = |item| {
        let get = |key| tree.get(item, key).ok()?.and_then(|node| source.cell(node));
        let is_put = get("op").is_some_and(|op| matches!(&*op.value, "replace" | "add"));
        Some(Operation { pointer: get("path").filter(|_| is_put)?.value, cell: get("value")? })
    };
    super::kustomization::mappings(tree, root).filter_map(read).collect()
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
    let patched = manifests.workloads.into_iter().map(|found| Patched {
        images: found.images.iter().filter_map(|image| source.cell(image.place.node)).collect(),
        workload: found.workload,
    });
    found.workloads = patched.filter(|patched| patched.images.len() == patched.workload.containers.len()).collect();
    found
}
