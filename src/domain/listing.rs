//! The tags of one look, parsed once.

use std::{collections::HashMap, sync::OnceLock};

use super::{
    sortkey::{Key, KeyRef, push_natural},
    tags::Tags,
    version::{Flags, Scratch, Version, base_of, is_signature},
};

/// Of more versions than these a list to sort by takes more memory than the time is worth.
const MANY: usize = 200_000;
/// For how many tags that lost a reason is given.
pub(super) const EXPLAINED: usize = 20;

/// The tags of one look, parsed when the first decision needs it and shared by every decision about it. Signatures,
/// attestations and referrers are not among them.
#[derive(Debug)]
pub struct Listing {
    tags: Tags,
    /// Where each tag that policies can see begins. Of many tags it takes long to find out, too.
    starts: OnceLock<Vec<u32>>,
    index: OnceLock<Index>,
}

/// What every decision about versions asks.
#[derive(Debug)]
pub(super) struct Index {
    /// Every version, greatest first; of equal ones that with more numbers, then the greater tag by bytes.
    pub(super) versions: Vec<ListedVersion>,
    /// The newest tags, a few more than are explained: the greatest versions, then other tags in natural order,
    /// greatest first. With the place among `versions`.
    pub(super) newest: Vec<(TagId, Option<u32>)>,
    /// What is left of the keys of versions that do not fit into their entries.
    tails: Vec<u8>,
    prefixes: Names,
    flavours: Names,
}

/// One version of a listing. Names are numbers here, so that the search compares nothing longer. There may be a
/// million, so it is small and holds nothing that is allocated.
#[derive(Debug)]
pub(super) struct ListedVersion {
    /// The beginning of the key, and where the rest of it is.
    head: [u8; 16],
    tail: u32,
    tail_length: u16,
    pub(super) numbers: u8,
    pub(super) flags: Flags,
    pub(super) tag: TagId,
    pub(super) prefix: u32,
    pub(super) flavour: u32,
}

/// A tag's place in its listing. The order of places is that of tags by bytes.
pub(super) type TagId = u32;

impl Listing {
    /// Of all tags of a repository.
    pub fn new(tags: Tags) -> Self {
        Self { tags, starts: OnceLock::new(), index: OnceLock::new() }
    }

    /// How many tags there are, also those that policies cannot see.
    pub fn len(&self) -> usize {
        self.tags.len()
    }

    /// Whether policies can see none.
    pub fn is_empty(&self) -> bool {
        self.starts().is_empty()
    }

    fn starts(&self) -> &[u32] {
        self.starts.get_or_init(|| {
            let (mut starts, mut start) = (Vec::with_capacity(self.tags.len()), 0);
            for tag in self.tags.iter() {
                if !is_signature(tag) {
                    starts.push(start);
                }
                start += tag.len() as u32 + 1;
            }
            starts
        })
    }

    /// Whether policies can see this one.
    pub(crate) fn contains(&self, tag: &str) -> bool {
        !is_signature(tag) && self.tags.contains(tag)
    }

    pub(super) fn tag(&self, id: TagId) -> &str {
        self.tags.at(self.starts()[id as usize])
    }

    /// Every tag with its place.
    pub(super) fn tags(&self) -> impl Iterator<Item = (TagId, &str)> {
        (0..).zip(self.starts().iter().map(|start| self.tags.at(*start)))
    }

    pub(super) fn index(&self) -> &Index {
        self.index.get_or_init(|| Index::new(self))
    }
}

impl Index {
    fn new(listing: &Listing) -> Self {
        let (mut prefixes, mut flavours, mut tails) = (Names::default(), Names::default(), Vec::new());
        let mut versions = Vec::with_capacity(listing.starts().len());
        let mut others = Vec::new();
        let mut scratch = Scratch::default();
        for (id, tag) in listing.tags() {
            let Some(version) = Version::parse_with(tag, &mut scratch) else {
                others.push(id);
                continue;
            };
            let key = version.key();
            versions.push(ListedVersion {
                head: key.head,
                tail: tails.len() as u32,
                tail_length: key.tail.len() as u16,
                numbers: version.numbers(),
                flags: version.flags(),
                tag: id,
                prefix: prefixes.add(version.prefix()),
                flavour: flavours.add(version.flavour()),
            });
            tails.extend_from_slice(key.tail);
        }
        let mut index = Self { versions, newest: Vec::new(), tails, prefixes, flavours };
        index.sort();

        // The chosen and the current tag may be among them.
        let wanted = EXPLAINED + 2;
        index.newest.extend(index.versions.iter().zip(0..).take(wanted).map(|(entry, place)| (entry.tag, Some(place))));
        let natural = |id: TagId| {
            let mut bytes = Vec::new();
            push_natural(&mut bytes, listing.tag(id).as_bytes());
            ((Key::new(bytes), id), id)
        };
        if index.newest.len() < wanted {
            let others = greatest(wanted - index.newest.len(), others.into_iter().map(natural));
            index.newest.extend(others.into_iter().map(|id| (id, None)));
        }
        index
    }

    /// The place of a version in the order.
    #[inline]
    pub(super) fn key(&self, entry: &ListedVersion) -> KeyRef<'_> {
        let start = entry.tail as usize;
        KeyRef { head: entry.head, tail: &self.tails[start..start + usize::from(entry.tail_length)] }
    }

    /// Sorts the versions. First by the beginnings of their keys, with the place of each in one number, as moving and
    /// comparing whole entries costs far more; then what begins alike.
    fn sort(&mut self) {
        if self.versions.len() > MANY {
            let mut versions = std::mem::take(&mut self.versions);
            let whole = |entry: &ListedVersion| (self.key(entry), entry.numbers, entry.tag);
            versions.sort_unstable_by(|a, b| whole(b).cmp(&whole(a)));
            self.versions = versions;
            return;
        }
        // The complement of the key, as the greatest comes first.
        let numbered = |(entry, place): (&ListedVersion, u32)| {
            ((!u128::from_be_bytes(entry.head) >> 32) << 32) | u128::from(place)
        };
        let mut order: Vec<u128> = self.versions.iter().zip(0..).map(numbered).collect();
        order.sort_unstable();
        let whole = |number: u128| {
            let entry = &self.versions[number as u32 as usize];
            (self.key(entry), entry.numbers, entry.tag)
        };
        for alike in order.chunk_by_mut(|a, b| a >> 32 == b >> 32).filter(|alike| alike.len() > 1) {
            alike.sort_unstable_by(|a, b| whole(*b).cmp(&whole(*a)));
        }
        // In place, each cycle of the order in turn: a second list of a million entries would not be small.
        for first in 0..order.len() {
            let mut to = first;
            loop {
                let from = std::mem::replace(&mut order[to], to as u128) as u32 as usize;
                if from == first {
                    break;
                }
                self.versions.swap(to, from);
                to = from;
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::tags::Collector;

    #[test]
    fn very_many_versions_are_in_the_same_order_as_fewer() {
        let order = |count: usize| {
            let mut tags = Collector::default();
            for n in 0..count {
                tags.push(&format!("1.{}.{}-x{}", n % 7, n % 1000, n));
            }
            let listing = Listing::new(tags.finish());
            let index = listing.index();
            assert!(index.versions.is_sorted_by_key(|entry| std::cmp::Reverse((
                index.key(entry),
                entry.numbers,
                entry.tag
            ))));
            let first = |entry: &ListedVersion| listing.tag(entry.tag).to_owned();
            index
                .versions
                .iter()
                .map(first)
                .filter(|tag| tag.ends_with("-x999") || tag.ends_with("-x99"))
                .collect::<Vec<_>>()
        };
        assert_eq!(order(1000), order(MANY + 1));
    }
}
