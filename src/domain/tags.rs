//! The tags of a repository as one text, so that a million of them take little more than their letters.

use std::{
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use super::image::{Tag, is_tag};

/// All tags of a repository: sorted, each once. Cloning is cheap.
#[derive(Clone, Default)]
pub struct Tags(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// Each tag, with a newline after it.
    text: Box<str>,
    count: usize,
    hash: u64,
}

impl Tags {
    fn new(text: String, count: usize) -> Self {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        Self(Arc::new(Inner { hash: hasher.finish(), text: text.into_boxed_str(), count }))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.count == 0
    }

    /// What they take in memory.
    pub fn bytes(&self) -> usize {
        self.0.text.len()
    }

    /// What they take together with all that decisions about them need.
    pub fn weight(&self) -> usize {
        weight(self.bytes(), self.len())
    }

    /// Each of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.text.split_terminator('\n')
    }

    /// Whether this is one of them.
    pub fn contains(&self, tag: &str) -> bool {
        let at = self.place(tag);
        self.0.text[at..].strip_prefix(tag).is_some_and(|rest| rest.starts_with('\n'))
    }

    /// With more of them.
    pub fn with<'t>(&self, more: impl IntoIterator<Item = &'t Tag>) -> Self {
        let mut new: Vec<&str> = more.into_iter().map(Tag::as_str).filter(|tag| !self.contains(tag)).collect();
        new.sort_unstable();
        new.dedup();
        if new.is_empty() {
            return self.clone();
        }
        let room = new.iter().map(|tag| tag.len() + 1).sum::<usize>();
        let (mut text, mut from) = (String::with_capacity(self.bytes() + room), 0);
        for tag in &new {
            let to = self.place(tag);
            text.push_str(&self.0.text[from..to]);
            text.push_str(tag);
            text.push('\n');
            from = to;
        }
        text.push_str(&self.0.text[from..]);
        Self::new(text, self.len() + new.len())
    }

    /// The tag that begins at a place of the text.
    pub(super) fn at(&self, start: u32) -> &str {
        let rest = &self.0.text[start as usize..];
        rest.split_once('\n').map_or(rest, |(tag, _)| tag)
    }

    /// Where in the text the first tag begins that is not lower than `tag`.
    fn place(&self, tag: &str) -> usize {
        let text = &*self.0.text;
        let (mut from, mut to) = (0, text.len());
        while from < to {
            let middle = from + (to - from) / 2;
            // No tag has a character of more than one byte.
            let start = text[..middle].rfind('\n').map_or(0, |at| at + 1).max(from);
            let line = text[start..].split('\n').next().unwrap_or_default();
            if line < tag { from = start + line.len() + 1 } else { to = start }
        }
        from
    }
}

/// Takes up tags in any order, some perhaps more than once.
#[derive(Debug, Default)]
pub struct Collector {
    text: String,
    count: usize,
    /// Where the last one begins.
    last: usize,
    unsorted: bool,
}

impl Collector {
    /// Takes up a text; whether it is a tag. What is none is left out.
    pub fn push(&mut self, text: &str) -> bool {
        if !is_tag(text) {
            return false;
        }
        let last = self.text[self.last..].trim_end_matches('\n');
        self.unsorted |= self.count > 0 && text <= last;
        self.last = self.text.len();
        self.text.push_str(text);
        self.text.push('\n');
        self.count += 1;
        true
    }

    /// How many were taken up.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// What they take in memory.
    pub fn bytes(&self) -> usize {
        self.text.len()
    }

    /// What they take together with all that decisions about them need.
    pub fn weight(&self) -> usize {
        weight(self.bytes(), self.count)
    }

    /// All of them. This takes long where there are many and they came unsorted.
    pub fn finish(self) -> Tags {
        if !self.unsorted {
            return Tags::new(self.text, self.count);
        }
        let mut tags: Vec<(u32, u32)> = Vec::with_capacity(self.count);
        let mut start = 0;
        for tag in self.text.split_terminator('\n') {
            tags.push((start, tag.len() as u32));
            start += tag.len() as u32 + 1;
        }
        let tag = |(start, length): (u32, u32)| &self.text[start as usize..(start + length) as usize];
        tags.sort_unstable_by(|a, b| tag(*a).cmp(tag(*b)));
        tags.dedup_by(|a, b| tag(*a) == tag(*b));
        let mut text = String::with_capacity(tags.iter().map(|(_, length)| *length as usize + 1).sum());
        for place in &tags {
            text.push_str(tag(*place));
            text.push('\n');
        }
        Tags::new(text, tags.len())
    }
}

fn weight(bytes: usize, count: usize) -> usize {
    /// An entry of the sorted list of versions (`super::listing`), and what sorting it takes.
    const EACH: usize = 64;
    bytes + count * EACH
}

impl<'t> FromIterator<&'t Tag> for Tags {
    fn from_iter<I: IntoIterator<Item = &'t Tag>>(tags: I) -> Self {
        let mut collector = Collector::default();
        for tag in tags {
            collector.push(tag.as_str());
        }
        collector.finish()
    }
}

impl PartialEq for Tags {
    fn eq(&self, other: &Self) -> bool {
        let same = |a: &Inner, b: &Inner| a.hash == b.hash && a.text == b.text;
        Arc::ptr_eq(&self.0, &other.0) || same(&self.0, &other.0)
    }
}

impl Eq for Tags {}

impl fmt::Debug for Tags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_taken_up_is_there_once_and_in_order(
            texts in prop::collection::vec("[a-c1.]{0,3}|é", 0..20),
            more in prop::collection::vec("[a-c1]{1,3}", 0..5),
            other in "[a-c1]{1,3}",
        ) {
            let mut collector = Collector::default();
            let taken = texts.iter().filter(|text| collector.push(text)).count();
            prop_assert_eq!(collector.len(), taken);
            let tags = collector.finish();
            let mut plain: BTreeSet<&str> = texts.iter().map(String::as_str).filter(|text| is_tag(text)).collect();
            prop_assert_eq!(tags.iter().collect::<Vec<_>>(), plain.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(tags.len(), plain.len());
            prop_assert_eq!(tags.contains(&other), plain.contains(&*other));

            let added: Vec<Tag> = more.iter().map(|text| Tag::parse(text).unwrap()).collect();
            let with = tags.with(&added);
            plain.extend(more.iter().map(String::as_str));
            prop_assert_eq!(with.iter().collect::<Vec<_>>(), plain.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(with.len(), plain.len());
            prop_assert_eq!(with == tags, with.len() == tags.len());
        }
    }
}
