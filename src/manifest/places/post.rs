//! What Flux does to the objects that a chart renders: `postRenderers` of a HelmRelease.

use std::sync::Arc;

use super::{
    Files, Wanted,
    cell::{Cell, ImageExpr},
    index::Draft,
    kustomization::ImagesEntry,
    operation::{Operation, Put},
    outer::{Set, UNREAD},
    passing::{of_entry, of_outside},
    patch::{Ambiguity, Part, Patch},
};
use crate::domain::image::ImageRef;

const RENAMED: &str =
    "this gives the image another name, and its tag stands elsewhere: write the tag here, too, as `newTag`";

/// A container's name, and whether it stands under `initContainers`.
type Container = (Box<str>, bool);

/// An image of a release, and how it gets there.
#[derive(Debug, Clone)]
pub(super) struct Released<'f> {
    /// Whether in `kustomize.images`.
    pub(super) is_last: bool,
    /// Whom it is for, if a patch sets it.
    of: Option<(&'f Patch, Part<'f>, Option<Container>)>,
    pub(super) draft: Draft<'f>,
    /// Whether it is a place by the names of values files, too.
    pub(super) is_by_name: bool,
}

impl<'f> Released<'f> {
    /// Whether it may be a container's image, and whether nothing else of the release is then; none if it is not.
    pub(super) fn may_be_of(&self, wanted: &Wanted) -> Option<bool> {
        let Some((patch, part, container)) = &self.of else { return Some(false) };
        let is_for = patch.may_be_for(part, &wanted.workload);
        match (is_for, container) {
            (Some(false), _) => None,
            (_, Some((name, init))) if (&**name, *init) != (&*wanted.container, wanted.init) => None,
            (is_for, container) => Some(is_for == Some(true) && container.is_some()),
        }
    }
}

/// The images of a release after what comes after its chart.
pub(super) fn released<'f>(
    files: &'f Files,
    (path, sets): (&'f Arc<str>, &'f [Set]),
    before: Vec<(bool, Draft<'f>)>,
) -> Vec<Released<'f>> {
    let mut all: Vec<Released> =
        before.into_iter().map(|(is_last, draft)| Released { is_last, of: None, draft, is_by_name: false }).collect();
    for set in sets {
        let mut unread = set.unread.map(|line| Ambiguity { path, line, reason: UNREAD });
        for patch in &set.patches {
            unread = unread.or_else(|| patch.unread(files, path));
            for (at, _, part) in patch.parts(files, path) {
                for (cell, container) in images(&part) {
                    let draft = Draft::new(at, ImageExpr::whole(cell));
                    all.extend(draft.map(|draft| Released {
                        is_last: false,
                        of: Some((patch, part, container)),
                        draft,
                        is_by_name: false,
                    }));
                }
            }
        }
        for entry in &set.images {
            let mut is_known = false;
            for each in all.iter_mut().filter(|each| entry.matches(&each.draft.holds.to_string())) {
                is_known = true;
                if let Some(draft) = changed(path, entry, &each.draft) {
                    each.draft = draft;
                }
            }
            if !is_known {
                let draft = of_outside(path, entry).and_then(|expr| Draft::new(path, expr));
                all.extend(draft.map(|draft| Released { is_last: false, of: None, draft, is_by_name: false }));
            }
        }
        if let Some(ambiguity) = unread {
            all.iter_mut().for_each(|each| _ = each.draft.ambiguity.get_or_insert_with(|| ambiguity.clone()));
        }
    }
    all
}

/// An image after an entry of `images`.
fn changed<'f>(path: &'f Arc<str>, entry: &ImagesEntry, draft: &Draft<'f>) -> Option<Draft<'f>> {
    let name = entry.new_name.as_ref().map_or(draft.holds.name(), |name| &name.value);
    let ambiguity = draft.ambiguity.clone();
    if entry.has_version() {
        let ambiguity = ambiguity.filter(|_| !draft.is_open());
        let named = entry.new_name.as_ref().map(|name| (path, name));
        return Some(Draft { ambiguity, ..Draft::new(path, of_entry(path, entry, named, name))? });
    }
    let line = entry.suffix.as_ref().or(entry.new_name.as_ref())?.line;
    let tag = draft.holds.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
    let suffix = entry.suffix.as_ref().map_or("", |suffix| &suffix.value);
    let holds = ImageRef::parse(&format!("{name}{tag}{suffix}")).ok()?;
    let ambiguity = ambiguity.or(Some(Ambiguity { path, line, reason: RENAMED }));
    Some(Draft { holds, ambiguity, ..draft.clone() })
}

/// The images that a part of a patch holds, and of which container, if it says so.
fn images(part: &Part) -> Vec<(Cell, Option<Container>)> {
    match part {
        Part::Workload(found, Some(cells)) => {
            let each = found.workload.containers.iter().zip(*cells);
            each.map(|(container, cell)| (cell.clone(), Some(((&*container.name).into(), container.init)))).collect()
        }
        Part::Operation(Operation { pointer, put: Put::Scalar(cell), .. })
            if pointer.ends_with("/image") && pointer.to_lowercase().contains("containers/") =>
        {
            vec![(cell.clone(), None)]
        }
        Part::Operation(Operation { list: Some((list, change)), .. }) => {
            let init = list.ends_with("/initContainers");
            let with_image = change.containers().iter().filter_map(|(name, image)| Some((name, image.clone()?)));
            with_image.map(|(name, image)| (image, Some((name.clone(), init)))).collect()
        }
        _ => Vec::new(),
    }
}
