//! What the image of a container may be where what a kustomization does to it is not followed: whatever it may come from
//! moves for nobody else.

use super::{
    passing::{ImagesAt, Passing, Placed},
    patch::Ambiguity,
};

/// More images that a container may have are not followed each for itself.
const MAX_OTHERS: usize = 16;

/// What a container's image may be besides what is followed, once that is not known.
#[derive(Default)]
pub(super) struct Lost<'f> {
    ambiguity: Option<Ambiguity<'f>>,
    others: Vec<Passing<'f>>,
    /// Whether it may be an image that is not among these.
    is_any: bool,
    any: Vec<ImagesAt<'f>>,
    may: Vec<Placed<'f>>,
}

impl<'f> Lost<'f> {
    /// Because of what is not followed; after some of that it may be any image.
    pub(super) fn add(&mut self, ambiguity: Ambiguity<'f>, is_any: bool) {
        self.ambiguity.get_or_insert(ambiguity);
        self.is_any |= is_any;
    }

    /// Keeps what it may be, if that is not known.
    pub(super) fn keep(&mut self, one: Option<Passing<'f>>) {
        let Some(one) = one.filter(|_| self.ambiguity.is_some()) else { return };
        match self.others.len() < MAX_OTHERS {
            true => self.others.push(one),
            false => {
                self.is_any = true;
                self.may.extend(one.places());
            }
        }
    }

    /// Takes all that it may be through the `images` of a kustomization.
    pub(super) fn pass(&mut self, entries: &[ImagesAt<'f>], times: usize) {
        for other in &mut self.others {
            other.pass(entries, None, times);
        }
        self.any.extend(entries.iter().filter(|_| self.is_any));
    }

    /// Why it is not known, if so; then all places that it may come from, and all entries that may be for it.
    pub(super) fn places(self) -> (Option<Ambiguity<'f>>, Vec<Placed<'f>>, Vec<ImagesAt<'f>>) {
        let may = self.others.into_iter().flat_map(Passing::places).chain(self.may).collect();
        (self.ambiguity, may, self.any)
    }
}
