//! The way of an object through kustomizations: what acts on it, in Kustomize's order.

use std::sync::Arc;

use super::{
    super::meta::Meta,
    Files,
    chains::Chain,
    deployed::Deployed,
    kustomization::{ImagesEntry, Kustomization},
    names::folder,
    patch::{Ambiguity, Part, Patch, TOO_MUCH, UNKNOWN_TARGET},
    render::Kustomizations,
    replacement::{REPLACED, Replacement, of_kustomization},
    subject::Subject,
    transformer::Field,
};

/// A step of an object's way.
pub(super) enum Step<'a, 'f> {
    /// A part of a patch that is for the object, or may be.
    Part { path: &'f Arc<str>, line: usize, part: Part<'f>, is_sure: bool },
    /// The `images` of a kustomization, each with its file; its own file, unless Flux or a transformer makes it.
    Images {
        at: Option<&'f Arc<str>>,
        entries: &'a [(&'f Arc<str>, &'f ImagesEntry)],
        /// The fields that they set besides.
        fields: &'f [Field],
        is_transformer: bool,
    },
    /// A replacement, and the object as it is then.
    Replacement { path: &'f Arc<str>, replacement: &'f Replacement, subject: &'a Subject<'f> },
    /// Something that cannot be read may do anything to it.
    Unread(Ambiguity<'f>),
}

/// A kustomization on a way, or one of its transformers, and what renders it.
#[derive(Default)]
pub(super) struct Layer<'f> {
    pub(super) own: Option<(&'f Arc<str>, &'f Kustomization)>,
    outer: Option<Arc<Deployed<'f>>>,
    is_transformer: bool,
    unread: Option<Ambiguity<'f>>,
}

impl<'f> Kustomizations<'f> {
    /// The layers of a way, with their transformers.
    pub(super) fn layers_of(&self, chain: &Chain) -> Vec<Layer<'f>> {
        let outer = chain.outer.map(|outer| self.outers.get(outer).clone());
        let is_here = |folder: &str| self.by_folder.contains_key(folder);
        let lost = outer.as_ref().and_then(|outer| outer.ambiguity(is_here));
        let mut found = Vec::new();
        let last =
            chain.layers.last().filter(|last| outer.as_ref().is_some_and(|outer| outer.is_of(self.all[**last].path)));
        for layer in &*chain.layers {
            let one = &self.all[*layer];
            let (outer, unread) = match last.is_some_and(|last| std::ptr::eq(last, layer)) {
                true => (outer.clone(), lost.clone()),
                false => (None, None),
            };
            let by_argo = self.by_argo.get(folder(one.path)).filter(|_| chain.layers.last() == Some(layer));
            let unread = unread.or(by_argo.cloned()).or(one.lost.clone());
            found.push(Layer { own: Some((one.path, one.facts)), outer, is_transformer: false, unread });
            found.extend(one.transformers.iter().map(|known| match known {
                Ok(own) => Layer { own: Some(*own), is_transformer: true, ..Layer::default() },
                Err(ambiguity) => Layer { unread: Some(ambiguity.clone()), ..Layer::default() },
            }));
        }
        if last.is_none() && outer.is_some() {
            found.push(Layer { outer, unread: lost, ..Layer::default() });
        }
        found
    }

    /// Namespace and name of an object after a chain.
    pub(super) fn renamed(&self, chain: &Chain, namespace: &str, name: &str) -> (Arc<str>, Arc<str>) {
        let none = Meta::default();
        let layers = self.layers_of(chain);
        let mut subject = Subject::new("", "", &none, namespace, name);
        layers.iter().for_each(|layer| layer.rename(&mut subject));
        subject.id()
    }

    /// Takes an object the way of a chain, and calls for each patch that may be for it, and each kustomization's images.
    /// Says why its annotations are not known afterwards.
    pub(super) fn walk(
        &self,
        files: &'f Files,
        subject: &mut Subject<'f>,
        chain: &Chain,
        mut call: impl FnMut(Step<'_, 'f>),
    ) -> Option<Ambiguity<'f>> {
        let mut ambiguity = None;
        for layer in self.layers_of(chain) {
            layer.walk(files, subject, &mut ambiguity, &mut call);
        }
        ambiguity
    }
}

impl<'f> Layer<'f> {
    fn rename(&self, subject: &mut Subject<'f>) {
        let over = self.outer.as_ref().map_or(&[][..], |outer| &outer.over);
        subject.pass(self.own.map(|(_, facts)| facts), over);
    }

    fn walk(
        &self,
        files: &'f Files,
        subject: &mut Subject<'f>,
        ambiguity: &mut Option<Ambiguity<'f>>,
        call: &mut impl FnMut(Step<'_, 'f>),
    ) {
        let (own, outer, is_transformer) = (self.own, &self.outer, self.is_transformer);
        let of_own = own.and_then(|(path, facts)| facts.unread.map(|(line, reason)| Ambiguity { path, line, reason }));
        for unread in self.unread.iter().cloned().chain(of_own) {
            ambiguity.get_or_insert_with(|| unread.clone());
            call(Step::Unread(unread));
        }
        let inner = own.into_iter().flat_map(|(path, facts)| facts.patches.iter().map(move |patch| (path, patch)));
        let (at, more) = outer.as_ref().map(|outer| outer.patches).unzip();
        let more = more.into_iter().flatten().flat_map(|patch| Some((at?, patch)));
        let patches: Vec<(&'f Arc<str>, &'f Patch)> = inner.chain(more).collect();
        for is_late in [false, true] {
            if is_late {
                self.rename(subject);
            }
            for (at, patch) in patches.iter().filter(|(_, patch)| patch.is_late == is_late) {
                if let Some(unread) = patch.unread(files, at).filter(|_| patch.may_select(subject)) {
                    ambiguity.get_or_insert_with(|| unread.clone());
                    call(Step::Unread(unread));
                }
                for (path, line, part) in patch.parts(files, at) {
                    let is_sure = match patch.is_for(&part, subject) {
                        Some(false) => continue,
                        Some(true) => true,
                        None => false,
                    };
                    let reason = match is_sure {
                        true if part.change(subject, patch.is_copied()) => None,
                        true => Some(TOO_MUCH),
                        false => {
                            subject.lose(&part);
                            Some(UNKNOWN_TARGET).filter(|_| part.has_ours() || part.is_deleting())
                        }
                    };
                    *ambiguity = ambiguity.take().or(reason.map(|reason| Ambiguity { path, line, reason }));
                    call(Step::Part { path, line, part, is_sure });
                }
            }
        }
        let entries: Vec<(&'f Arc<str>, &'f ImagesEntry)> = match outer {
            Some(outer) => outer.images_over(own),
            None => own.into_iter().flat_map(|(at, facts)| facts.images.iter().map(move |entry| (at, entry))).collect(),
        };
        let at = own.map(|(path, _)| path).filter(|_| !is_transformer);
        let fields = own.map_or(&[][..], |(_, facts)| &facts.fields);
        call(Step::Images { at, entries: &entries, fields, is_transformer });
        for unread in
            own.into_iter().flat_map(|(path, facts)| facts.replacements.iter().filter_map(|each| each.unread(path)))
        {
            ambiguity.get_or_insert_with(|| unread.clone());
            call(Step::Unread(unread));
        }
        for (path, replacement) in own.into_iter().flat_map(|(path, facts)| of_kustomization(files, path, facts)) {
            if replacement.sets_head(subject) {
                *ambiguity = ambiguity.take().or(Some(Ambiguity { path, line: replacement.line, reason: REPLACED }));
            }
            let fields: Vec<&'f str> = replacement.fields(subject).collect();
            call(Step::Replacement { path, replacement, subject });
            fields.into_iter().for_each(|field| subject.lose_at(field));
        }
    }
}
