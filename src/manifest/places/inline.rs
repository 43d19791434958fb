//! Patches that are a text of their kustomization.

use super::{
    super::{
        FoundWorkload, ManifestError, NamespaceFound,
        read::{Manifests, Object, each_object, each_object_in, manifest},
        tree::{Id, NodeKind},
    },
    cell::{Cell, Source},
    given::{self, Given},
    operation::{Operation, operations},
    outer::{self, Outer},
    release::{self, Release},
    values::MAX_OF_RELEASE,
};

/// What a patch holds that is a text of the kustomization.
#[derive(Debug, Default)]
pub(super) struct Inline {
    pub(super) workloads: Vec<(FoundWorkload, Vec<Cell>)>,
    /// Objects of other kinds that are like workloads.
    pub(super) foreign: Vec<(FoundWorkload, Vec<Cell>)>,
    pub(super) namespaces: Vec<NamespaceFound>,
    pub(super) releases: Vec<Release>,
    pub(super) outers: Vec<Outer>,
    pub(super) operations: Vec<Operation>,
    /// ConfigMaps and Secrets.
    pub(super) given: Vec<Given>,
    /// Whether something of it cannot be read.
    pub(super) is_unread: bool,
}

/// What of a patch is about images: of a text, or of what Flux has in its place.
pub(super) fn inline(source: &Source, node: Id) -> Inline {
    let tree = source.tree;
    let node = tree.resolve(node);
    let mut found = Inline::default();
    match tree.node(node).kind {
        NodeKind::Sequence => found.operations = operations(source, node),
        NodeKind::Mapping => {
            each_object_in(tree, node, |object| found.add(source, object));
        }
        _ => match tree.scalar(node) {
            None | Some("") => {}
            // In a text that is a patch itself, a text is too deep.
            Some(_) if source.outer().is_some() => found.is_unread = true,
            Some(text) => match tree.inner(text) {
                Ok(inner) => found.text(&Source::inner(&inner, tree.place(node))),
                Err(_) => found.is_unread = true,
            },
        },
    }
    found
}

impl Inline {
    fn text(&mut self, source: &Source) {
        if let [document] = source.tree.documents.as_slice()
            && source.tree.node(document.root).kind == NodeKind::Sequence
        {
            self.operations = operations(source, document.root);
        }
        each_object(source.tree, |object| self.add(source, object));
    }

    fn add(&mut self, source: &Source, object: Result<Object, ManifestError>) {
        self.is_unread |= object.and_then(|object| self.object(source, &object)).is_err();
    }

    fn object(&mut self, source: &Source, object: &Object) -> Result<(), ManifestError> {
        let mut manifests = Manifests::default();
        manifest(source.tree, object, &mut manifests)?;
        self.releases.extend(release::read(source, object, MAX_OF_RELEASE, &mut Vec::new())?);
        self.outers.extend(outer::read(source, object, &mut Vec::new())?);
        self.given.extend(given::read(source, object)?);
        self.namespaces.append(&mut manifests.namespaces);
        for (list, objects) in [(&mut self.workloads, manifests.workloads), (&mut self.foreign, manifests.foreign)] {
            for object in objects {
                let cells: Vec<Cell> =
                    object.images.iter().filter_map(|image| source.cell_at(image.place.clone())).collect();
                match cells.len() == object.images.len() {
                    true => list.push((object, cells)),
                    false => self.is_unread = true,
                }
            }
        }
        Ok(())
    }
}
