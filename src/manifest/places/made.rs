//! What makes the image of a container, after all that kustomizations do to it.

use std::sync::Arc;

use super::{
    super::ImagePlace,
    Files,
    cell::{At, Cell, ImageExpr, is_unset},
    chains::Rendering,
    lost::Lost,
    names::folder,
    passing::{ImagesAt, Passing, Placed},
    patch::{Ambiguity, Named, Part, TOO_MUCH, UNKNOWN_TARGET, list_pointer},
    render::Kustomizations,
    replacement::REPLACED,
    walk::Step,
};
use crate::domain::{
    image::{ImageError, ImageRef},
    workload::Container,
};

/// What makes a container's image.
pub(super) struct Made<'f> {
    pub(super) path: &'f Arc<str>,
    pub(super) line: usize,
    pub(super) expr: ImageExpr,
    /// What else the image depends on.
    pub(super) below: Vec<Placed<'f>>,
    /// What decided by its tag or digest that an entry is for it.
    pub(super) by_version: Vec<Placed<'f>>,
    /// As rendered.
    pub(super) image: String,
    pub(super) holds: Result<ImageRef, ImageError>,
    /// Why this may not be what makes it.
    pub(super) ambiguity: Option<Ambiguity<'f>>,
    /// The replacement, with its line, that sets all of it to what is not known.
    pub(super) replaced: Option<(&'f Arc<str>, usize)>,
}

impl<'f> Made<'f> {
    /// What a replacement sets where nothing else does.
    fn unknown(path: &'f Arc<str>, line: usize, ambiguity: Option<Ambiguity<'f>>) -> Self {
        let cell = Cell { line, at: At::Line(0..0), value: "".into() };
        Self {
            path,
            line,
            expr: ImageExpr::whole(cell),
            below: Vec::new(),
            by_version: Vec::new(),
            image: String::new(),
            holds: ImageRef::parse(""),
            ambiguity,
            replaced: Some((path, line)),
        }
    }
}

/// What makes a container's image, if it has one in the end.
pub(super) struct Way<'f> {
    pub(super) made: Option<Made<'f>>,
    /// Why it is not known which image that is, or what is wished for it.
    pub(super) lost: Option<Ambiguity<'f>>,
    /// Where else it may come from then.
    pub(super) may: Vec<Placed<'f>>,
    /// The entries of `images` that may be for it then, whatever they name.
    pub(super) any: Vec<ImagesAt<'f>>,
}

/// A container, and where its manifest has its image, if it does.
#[derive(Clone, Copy)]
pub(super) struct Which<'a> {
    pub(super) name: &'a str,
    pub(super) init: bool,
    base: Option<(&'a Container, &'a ImagePlace)>,
}

impl<'f> Rendering<'f> {
    /// The containers of the manifest.
    fn own(&self) -> impl Iterator<Item = Which<'f>> + use<'f> {
        let pairs = self.found.workload.containers.iter().zip(&self.found.images);
        pairs.map(|(container, place)| Which {
            name: &container.name,
            init: container.init,
            base: Some((container, place)),
        })
    }
}

impl<'f> Kustomizations<'f> {
    /// What makes the image of each container that has one: of those that the manifest has, and those that patches add.
    pub(super) fn all_made(
        &self,
        files: &'f Files,
        rendering: &Rendering<'f>,
        overlay: Option<&str>,
    ) -> Vec<(Arc<str>, bool, Made<'f>)> {
        let ways = self.ways(files, rendering, overlay).into_iter();
        ways.filter_map(|(name, init, way)| Some((name, init, way.made?))).collect()
    }

    /// The same of each that may have one.
    pub(super) fn ways(
        &self,
        files: &'f Files,
        rendering: &Rendering<'f>,
        overlay: Option<&str>,
    ) -> Vec<(Arc<str>, bool, Way<'f>)> {
        let way = |which: Which<'_>| (which.name.into(), which.init, self.way(files, rendering, which, overlay));
        let mut found: Vec<_> = rendering.own().map(way).collect();
        let Some(spec) = rendering.found.workload.id.kind.spec() else { return found };
        let is_there = |name: &str, init| rendering.own().any(|which| which.name == name && which.init == init);
        let without_image = rendering.found.items.iter().map(|item| (item.name.clone(), item.init));
        let mut added: Vec<(Arc<str>, bool)> = without_image.filter(|(name, init)| !is_there(name, *init)).collect();
        self.walk(files, &mut rendering.subject(), &rendering.chain, |step| {
            let Step::Part { part, .. } = step else { return };
            for (name, init) in part.containers(spec) {
                if !is_there(&name, init) && !added.contains(&(name.clone(), init)) {
                    added.push((name, init));
                }
            }
        });
        found.extend(added.iter().map(|(name, init)| way(Which { name, init: *init, base: None })));
        found
    }

    /// What makes the image of a container: the manifest, a patch, the outermost entry of `images` that applies, or a
    /// replacement.
    fn way(&self, files: &'f Files, rendering: &Rendering<'f>, which: Which<'_>, overlay: Option<&str>) -> Way<'f> {
        let found = rendering.found;
        let mut current = which.base.map(|(container, place)| {
            let at = At::Scalar(place.place.clone());
            Passing::new(rendering.path, Cell { line: place.line, at, value: (&*container.image).into() })
        });
        let items = found.items.iter().filter(|item| item.init == which.init);
        let mut order: Vec<&str> = items.map(|item| &*item.name).collect();
        let (mut ambiguity, mut replaced, mut lost) = (None, None, Lost::default());
        let spec = found.workload.id.kind.spec();
        let mut subject = rendering.subject();
        let container = Named { name: which.name, init: which.init };
        // Kustomize has two searches for images, and both find these.
        let times = if spec.is_some_and(|spec| spec.pod_spec == "/spec/template/spec") { 2 } else { 1 };
        let head = self.walk(files, &mut subject, &rendering.chain, |step| match step {
            Step::Part { path: at, line, part, is_sure } => {
                let Some(spec) = spec else { return };
                // The index in the manifest counts where a name is there twice, which no cluster takes.
                let index = order.iter().position(|name| *name == which.name);
                let image = part.image(spec, container, index);
                let mut after = order.clone();
                let is_followed = part.reorder(spec, which.init, &mut after);
                let is_anew = part.begins_anew(spec, which.init);
                let is_moved = is_anew || after != order;
                let is_too_much = part.is_too_much(spec, container, index) || !is_followed;
                let reason = match image.is_some() || is_too_much || is_moved {
                    true if !is_sure => Some(UNKNOWN_TARGET),
                    true if !is_followed || image.is_none() && !is_moved => Some(TOO_MUCH),
                    _ => None,
                };
                if let Some(reason) = reason {
                    let own = Ambiguity { path: at, line, reason };
                    lost.add(own.clone(), is_too_much);
                    ambiguity = ambiguity.take().or(Some(own));
                }
                // Which item it is may not be known any more.
                let of_item = match part {
                    Part::Operation(operation) => operation.image_in(&list_pointer(spec, which.init)),
                    _ => None,
                };
                let may = of_item.or(image.as_ref().filter(|_| !is_sure));
                lost.keep(may.map(|cell| Passing::new(at, cell.clone())));
                if !is_sure {
                    return;
                }
                if image.is_some() || is_anew || index.is_some() && !after.contains(&which.name) {
                    lost.keep(current.take());
                }
                order = after;
                if let Some(cell) = image {
                    replaced = None;
                    current = (!is_unset(&cell.value)).then(|| Passing::new(at, cell));
                }
            }
            Step::Replacement { path, replacement, subject } => {
                let Some(spec) = spec else { return };
                let index = order.iter().position(|name| *name == which.name);
                if let Some(is_sure) = replacement.sets_image(subject, spec, container, index) {
                    replaced = Some((path, replacement.line)).filter(|_| !replacement.is_part());
                    let own = Ambiguity { path, line: replacement.line, reason: REPLACED };
                    lost.add(own.clone(), true);
                    lost.keep(current.clone().filter(|_| !is_sure));
                    ambiguity = ambiguity.take().or(Some(own));
                }
            }
            Step::Unread(unread) => lost.add(unread, true),
            Step::Images { at, entries, is_transformer, .. } => {
                let times = if is_transformer { 1 } else { times };
                lost.pass(entries, times);
                if let Some(current) = &mut current {
                    let overlay = at.filter(|at| overlay.is_some_and(|overlay| overlay == folder(at)));
                    ambiguity = ambiguity.take().or(current.pass(entries, overlay, times));
                }
            }
        });
        let unknown = replaced.filter(|_| current.is_none() && order.contains(&which.name));
        let unknown = unknown.map(|(path, line)| Made::unknown(path, line, ambiguity.clone()));
        let made = current.map(|current| {
            let text = current.image.text();
            let holds = ImageRef::parse(&text);
            let (below, by_version) = (current.below(), current.by_version.clone());
            let (path, expr) = current.expr();
            let of_broken = || self.blocked(path).or_else(|| self.blocked(folder(path)));
            Made {
                path,
                line: expr.main().map_or(1, |cell| cell.line),
                expr,
                below,
                by_version,
                image: text,
                holds,
                ambiguity: self.blocked(rendering.path).or(ambiguity).or(head.clone()).or_else(of_broken),
                replaced,
            }
        });
        let (ambiguity, may, any) = lost.places();
        Way { made: made.or(unknown), lost: ambiguity.or(head), may, any }
    }
}
