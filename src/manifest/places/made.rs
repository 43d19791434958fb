//! What makes the image of a container, after all that kustomizations do to it.

use std::sync::Arc;

use super::{
    super::ImagePlace,
    Files,
    cell::{At, Cell, Maker, Name, is_unset, split},
    kustomization::Entry,
    names::folder,
    patch::{Doubt, TOO_MUCH, UNKNOWN_TARGET},
    render::{Kustomizations, Rendering, Step},
};
use crate::domain::{
    image::{ImageError, ImageRef},
    workload::Container,
};

/// What makes a container's image.
pub(super) struct Made<'f> {
    pub(super) path: &'f Arc<str>,
    pub(super) line: usize,
    pub(super) maker: Maker,
    /// As rendered.
    pub(super) image: String,
    pub(super) holds: Result<ImageRef, ImageError>,
    /// Why this may not be what makes it.
    pub(super) doubt: Option<Doubt<'f>>,
}

impl<'f> Kustomizations<'f> {
    /// What makes the image of a container: the manifest, a patch, or the outermost entry of `images` that applies.
    pub(super) fn made(
        &self,
        files: &'f Files,
        rendering: &Rendering<'f>,
        (container, place): (&Container, &ImagePlace),
        overlay: Option<&str>,
    ) -> Made<'f> {
        let id = &rendering.found.workload.id;
        let mut path = rendering.path;
        let mut cell =
            Cell { line: place.line, at: At::Scalar(place.place.clone()), value: (&*container.image).into() };
        let mut image_now = Image::of(&container.image);
        let mut entry: Option<(&'f Arc<str>, &'f Entry)> = None;
        let mut new_name: Option<(&'f Arc<str>, &'f Cell)> = None;
        let mut beside: Option<(&'f Arc<str>, Maker)> = None;
        let mut doubt = None;
        let spec = id.kind.spec();
        let mut subject = rendering.subject();
        let head = self.walk(files, &mut subject, &rendering.chain, |step| match step {
            Step::Part { path: at, line, part, is_sure } => {
                let Some(spec) = spec else { return };
                let image = part.image(spec, container);
                let reason = match image.is_some() || part.is_too_much(spec, container) {
                    true if !is_sure => Some(UNKNOWN_TARGET),
                    true if image.is_none() => Some(TOO_MUCH),
                    _ => None,
                };
                doubt = doubt.take().or(reason.map(|reason| Doubt { path: at, line, reason }));
                if let Some(patched) = image {
                    (path, cell) = (at, patched);
                    image_now = Image::of(&cell.value);
                    (entry, new_name, beside) = (None, None, None);
                }
            }
            Step::Images(layer) => {
                let is_overlay = overlay.is_some_and(|overlay| overlay == folder(layer.path));
                if is_overlay {
                    beside = Some((layer.path, Maker::added(&image_now.name)));
                }
                for each in &layer.facts.images {
                    if *each.name != *image_now.name {
                        continue;
                    }
                    if let Some(cell) = &each.new_name {
                        image_now.name = cell.value.to_string();
                        new_name = Some((layer.path, cell));
                    }
                    if each.has_version() {
                        entry = Some((layer.path, each));
                    }
                    let set = |cell: &Cell| Some(cell.value.to_string()).filter(|v| !is_unset(v));
                    let (tag, digest) = (set(&each.new_tag), set(&each.digest));
                    if tag.is_some() || digest.is_some() {
                        (image_now.tag, image_now.digest) = (tag, digest);
                    }
                    if is_overlay {
                        beside = Some((layer.path, of_entry(layer.path, each, new_name, &image_now.name)));
                    }
                }
            }
        });
        let doubt = self.blocked(rendering.path).or(doubt).or(head);
        let image = image_now;
        let text = image.text();
        let holds = ImageRef::parse(&text);
        let (path, maker) = match (entry, beside) {
            (Some((path, entry)), _) => (path, of_entry(path, entry, new_name, &image.name)),
            (None, Some(beside)) => beside,
            (None, None) => (path, Maker::whole(cell)),
        };
        Made { path, line: maker.main().map_or(1, |cell| cell.line), maker, image: text, holds, doubt }
    }
}

fn of_entry(path: &Arc<str>, entry: &Entry, new_name: Option<(&Arc<str>, &Cell)>, name: &str) -> Maker {
    // One that another file gives is not this entry's to change.
    let own = new_name.filter(|(at, _)| *at == path).map(|(_, cell)| Name::Cell(cell.clone()));
    let name = own.unwrap_or_else(|| Name::Known(name.into()));
    Maker::parts(None, name, Some(entry.new_tag.clone()), Some(entry.digest.clone()))
}

/// An image as Kustomize parts it.
struct Image {
    name: String,
    tag: Option<String>,
    digest: Option<String>,
}

impl Image {
    fn of(text: &str) -> Self {
        let (name, tag, digest) = split(text);
        Self { name: name.to_owned(), tag: tag.map(str::to_owned), digest: digest.map(str::to_owned) }
    }

    fn text(&self) -> String {
        let tag = self.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
        let digest = self.digest.as_ref().map(|digest| format!("@{digest}")).unwrap_or_default();
        format!("{}{tag}{digest}", self.name)
    }
}
