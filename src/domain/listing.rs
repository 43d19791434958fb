//! The tags of one look, parsed once.

use std::{collections::HashMap, sync::OnceLock};

use super::{
    image::Tag,
    sortkey::{Key, push_natural},
    version::{Flags, Scratch, Version, base_of, is_signature},
};

/// For how many tags that lost a reason is given.
pub(super) const EXPLAINED: usize = 20;

/// The tags of one look, parsed when the first decision needs it and shared by every decision about it. Signatures,
/// attestations and referrers are not among them.
#[derive(Debug)]
pub struct Listing {
    tags: Vec<Tag>,
    index: OnceLock<Index>,
}

/// What every decision about versions asks.
#[derive(Debug)]
pub(super) struct Index {
    /// Every version, greatest first; of equal ones that with more numbers, then the greater tag by bytes.
    pub(super) versions: Vec<Entry>,
    /// The newest tags, a few more than are explained: the greatest versions, then other tags in natural order,
    /// greatest first. With the place among `versions`.
    pub(super) newest: Vec<(TagId, Option<u32>)>,
    prefixes: Names,
    flavours: Names,
}

/// One version of a listing. Names are numbers here, so that the search compares nothing longer.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: Key,
    pub(super) tag: TagId,
    pub(super) prefix: u32,
    pub(super) flavour: u32,
    pub(super) numbers: u8,
    pub(super) flags: Flags,
}

/// A tag's place in its listing.
pub(super) type TagId = u32;

impl Listing {
    /// Takes the tags in any order.
    pub fn new(tags: &[Tag]) -> Self {
        let tags = tags.iter().filter(|tag| !is_signature(tag.as_str())).cloned().collect();
        Self { tags, index: OnceLock::new() }
    }

    /// How many tags policies can see.
    pub fn len(&self) -> usize {
        self.tags.len()
    }

    /// Whether policies can see none.
    pub fn is_empty(&self) -> bool {
        self.tags.is_empty()
    }

    pub(super) fn tag(&self, id: TagId) -> &Tag {
        &self.tags[id as usize]
    }

    /// Every tag with its place.
    pub(super) fn tags(&self) -> impl Iterator<Item = (TagId, &Tag)> {
        (0..).zip(&self.tags)
    }

    pub(super) fn index(&self) -> &Index {
        self.index.get_or_init(|| Index::new(&self.tags))
    }
}

impl Index {
    fn new(tags: &[Tag]) -> Self {
        let mut prefixes = Names::default();
        let mut flavours = Names::default();
        let mut versions = Vec::with_capacity(tags.len());
        let mut others = Vec::new();
        let mut scratch = Scratch::default();
        for (id, tag) in (0..).zip(tags) {
            let Some(version) = Version::parse_with(tag.as_str(), &mut scratch) else {
                others.push(id);
                continue;
            };
            versions.push(Entry {
                tag: id,
                prefix: prefixes.add(version.prefix()),
                flavour: flavours.add(version.flavour()),
                numbers: version.numbers(),
                flags: version.flags(),
                key: version.into_key(),
            });
        }
        let versions = sorted(versions, tags);

        // The chosen and the current tag may be among them, and a tag may be listed twice.
        let wanted = EXPLAINED + 2;
        let mut newest: Vec<(TagId, Option<u32>)> = Vec::with_capacity(wanted);
        for (place, entry) in (0..).zip(&versions) {
            let is_known = |(id, _): &(TagId, _)| tags[*id as usize] == tags[entry.tag as usize];
            if newest.len() == wanted {
                break;
            } else if !newest.last().is_some_and(is_known) {
                newest.push((entry.tag, Some(place)));
            }
        }
        let natural = |id: TagId| {
            let tag = tags[id as usize].as_str();
            let mut bytes = Vec::new();
            push_natural(&mut bytes, tag.as_bytes());
            ((Key::new(bytes), tag), id)
        };
        if newest.len() < wanted {
            let others = greatest(wanted - newest.len(), others.into_iter().map(natural));
            newest.extend(others.into_iter().map(|id| (id, None)));
        }
        Self { versions, newest, prefixes, flavours }
    }

    /// For each prefix of the listing, whether its base is this one.
    pub(super) fn prefixes_of_base(&self, base: &str) -> Vec<bool> {
        self.prefixes.names.iter().map(|prefix| base_of(prefix) == base).collect()
    }

    /// The number of a prefix, if any tag has it.
    pub(super) fn prefix(&self, name: &str) -> Option<u32> {
        self.prefixes.find(name)
    }

    /// The number of a flavour, if any tag has it.
    pub(super) fn flavour(&self, name: &str) -> Option<u32> {
        self.flavours.find(name)
    }
}

/// Sorts versions as the index has them. First by the beginnings of their keys, with the place of each in one number,
/// as moving and comparing whole entries costs far more; then what begins alike.
fn sorted(versions: Vec<Entry>, tags: &[Tag]) -> Vec<Entry> {
    // The complement of the key, as the greatest comes first.
    let numbered = |(entry, place): (&Entry, u32)| ((!entry.key.head() >> 32) << 32) | u128::from(place);
    let mut order: Vec<u128> = versions.iter().zip(0..).map(numbered).collect();
    order.sort_unstable();
    let whole = |number: u128| {
        let entry = &versions[number as u32 as usize];
        (&entry.key, entry.numbers, &tags[entry.tag as usize])
    };
    for alike in order.chunk_by_mut(|a, b| a >> 32 == b >> 32).filter(|alike| alike.len() > 1) {
        alike.sort_unstable_by(|a, b| whole(*b).cmp(&whole(*a)));
    }
    let mut versions: Vec<Option<Entry>> = versions.into_iter().map(Some).collect();
    let mut sorted = Vec::with_capacity(versions.len());
    sorted.extend(order.iter().filter_map(|number| versions[*number as u32 as usize].take()));
    sorted
}

/// The `count` greatest of some tags, greatest first, each key once.
pub(super) fn greatest<K: Ord>(count: usize, tags: impl Iterator<Item = (K, TagId)>) -> Vec<TagId> {
    let mut best: Vec<(K, TagId)> = Vec::with_capacity(count + 1);
    for (key, id) in tags {
        if best.len() == count && best.last().is_none_or(|(least, _)| key <= *least) {
            continue;
        }
        if let Err(place) = best.binary_search_by(|(other, _)| key.cmp(other)) {
            best.insert(place, (key, id));
            best.truncate(count);
        }
    }
    best.into_iter().map(|(_, id)| id).collect()
}

/// Names and their numbers.
#[derive(Debug, Default)]
struct Names {
    names: Vec<Box<str>>,
    numbers: HashMap<Box<str>, u32>,
    /// The last one asked for: neighbours are often alike.
    last: u32,
    /// The most frequent name of all.
    empty: Option<u32>,
}

impl Names {
    fn add(&mut self, name: &str) -> u32 {
        if self.names.get(self.last as usize).is_some_and(|last| **last == *name) {
            return self.last;
        }
        if name.is_empty()
            && let Some(empty) = self.empty
        {
            return empty;
        }
        self.last = self.find(name).unwrap_or_else(|| {
            let number = self.names.len() as u32;
            self.names.push(name.into());
            self.numbers.insert(name.into(), number);
            number
        });
        if name.is_empty() {
            self.empty = Some(self.last);
        }
        self.last
    }

    fn find(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }
}
