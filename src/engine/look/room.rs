//! How much memory looks and what they leave may take: few looks at many tags at a time, and a total for what is kept.

use std::{collections::HashMap, sync::Arc};

/// What the tags of all repositories may take together, in bytes: those that are kept between looks, and those that a
/// look at the most tags works with.
pub(crate) const TOTAL: usize = 80 * 1024 * 1024;
/// What a look at the most tags counts for: a million of them, and what is decided by. The rest of the total is for what
/// is kept, whatever is looked at.
const MOST: usize = 64 * 1024 * 1024;

/// How many tags a look is about, by their weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) enum Size {
    /// At most some 13,000 tags. Not known yet counts as few.
    #[default]
    Few,
    /// At most some 100,000.
    Many,
    /// More.
    Most,
}

impl Size {
    /// The size of tags of that weight.
    pub(crate) fn of(weight: usize) -> Self {
        [Self::Few, Self::Many].into_iter().find(|size| weight <= size.room()).unwrap_or(Self::Most)
    }

    /// The weight that tags of this size may have.
    pub(crate) fn room(self) -> usize {
        match self {
            Self::Few => 1024 * 1024,
            Self::Many => 8 * 1024 * 1024,
            Self::Most => usize::MAX,
        }
    }

    /// Looks of this size that may be under way at once, where it is not their host that counts.
    pub(crate) fn places(self) -> Option<usize> {
        match self {
            Self::Few => None,
            Self::Many => Some(4),
            Self::Most => Some(1),
        }
    }

    /// What a look at so many tags counts for in [`TOTAL`]. That of others is small.
    pub(crate) fn in_use(self) -> usize {
        if self == Self::Most { MOST } else { 0 }
    }

    /// The next greater one.
    pub(crate) fn more(self) -> Self {
        if self == Self::Few { Self::Many } else { Self::Most }
    }
}

/// Of what is kept for namespaces: the largest of the namespace that takes most, with what is in use for it.
pub(crate) fn largest<'k, K>(
    kept: impl Iterator<Item = (K, &'k Arc<str>, usize)> + Clone,
    in_use: impl Iterator<Item = (&'k Arc<str>, usize)>,
) -> Option<K> {
    let mut of: HashMap<&Arc<str>, usize> = HashMap::new();
    for (namespace, bytes) in kept.clone().map(|(_, namespace, bytes)| (namespace, bytes)).chain(in_use) {
        *of.entry(namespace).or_default() += bytes;
    }
    kept.max_by_key(|(_, namespace, bytes)| (of[namespace], *namespace, *bytes)).map(|(key, ..)| key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_their_rooms() {
        let weights = [0, 1 << 20, (1 << 20) + 1, 8 << 20, (8 << 20) + 1, usize::MAX];
        let sizes = [Size::Few, Size::Few, Size::Many, Size::Many, Size::Most, Size::Most];
        assert_eq!(weights.map(Size::of), sizes);
        assert!(sizes.iter().zip(weights).all(|(size, weight)| weight <= size.room()));
    }

    #[test]
    fn who_takes_most_loses_the_largest() {
        let (a, b) = (Arc::from("a"), Arc::from("b"));
        let kept = [(1, &a, 30), (2, &b, 25), (3, &b, 26), (4, &a, 20)];
        let none = || std::iter::empty();
        assert_eq!(largest(kept.into_iter(), none()), Some(3));
        assert_eq!(largest(kept.into_iter().filter(|(n, ..)| *n != 3), none()), Some(1));
        assert_eq!(largest(kept.into_iter(), [(&a, 2)].into_iter()), Some(1));
        assert_eq!(largest(kept.into_iter().skip(1).take(2), [(&a, 90)].into_iter()), Some(3), "a keeps nothing");
        assert_eq!(largest::<u8>(std::iter::empty(), none()), None);
    }
}
