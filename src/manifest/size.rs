//! How much a text holds with its aliases written out, which a few lines can make more than any memory has.

use std::{collections::HashMap, ops::Sub};

use super::{
    MAX_BYTES, MAX_SCALARS, ManifestError,
    tree::{Id, Tree},
};

/// More collections or comments are refused, as more scalars are: each costs memory.
pub(super) const MAX_OTHERS: usize = MAX_SCALARS;

/// What a node has in it, itself included.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Size {
    pub(super) scalars: usize,
    /// Lists and mappings.
    pub(super) others: usize,
    /// Of its scalars.
    pub(super) bytes: usize,
}

impl Sub for Size {
    type Output = Self;

    fn sub(self, less: Self) -> Self {
        Self { scalars: self.scalars - less.scalars, others: self.others - less.others, bytes: self.bytes - less.bytes }
    }
}

/// The sizes of a text that is being read.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    all: Size,
    /// Of what has an anchor and has ended.
    anchored: HashMap<Id, Size>,
}

impl Sizes {
    /// Of all so far.
    pub(super) fn all(&self) -> Size {
        self.all
    }

    /// Of what an alias stands for.
    pub(super) fn of(&self, anchored: Id, line: usize) -> Result<Size, ManifestError> {
        let size = self.anchored.get(&anchored).copied();
        size.ok_or_else(|| ManifestError::new(line, "an alias stands within what it stands for: write it out"))
    }

    /// Of what has an anchor.
    pub(super) fn keep(&mut self, anchored: Id, size: Size) {
        self.anchored.insert(anchored, size);
    }

    /// One more node, if there is room.
    pub(super) fn add(&mut self, size: Size, line: usize) -> Result<(), ManifestError> {
        let Size { scalars, others, bytes } = &mut self.all;
        *scalars += size.scalars;
        *others += size.others;
        *bytes += size.bytes;
        within(*scalars, MAX_SCALARS, "scalars", line)?;
        within(*others, MAX_OTHERS, "lists and mappings", line)?;
        within(*bytes, MAX_BYTES, "bytes of scalars", line)
    }
}

/// Whether so many are read.
pub(super) fn within(count: usize, most: usize, what: &str, line: usize) -> Result<(), ManifestError> {
    let reason = || format!("more than {most} {what}, which is more than is read of one file: split the file");
    (count <= most).then_some(()).ok_or_else(|| ManifestError::new(line, reason()))
}

impl Tree<'_> {
    /// Parses a text that a scalar of this one holds. Those of all such texts count with its own.
    pub(super) fn inner<'i>(&self, text: &'i str) -> Result<Tree<'i>, ManifestError> {
        self.with_inner()?;
        let tree = Tree::parse(text)?;
        self.inner.set(self.inner.get() + tree.scalars);
        self.with_inner()?;
        Ok(tree)
    }

    /// How many scalars there are with those of the texts in it that were read, or that these are too many.
    pub(super) fn with_inner(&self) -> Result<usize, ManifestError> {
        let all = self.scalars + self.inner.get();
        within(all, MAX_SCALARS, "scalars with those of the texts in it", 1).map(|()| all)
    }
}

#[cfg(test)]
mod tests {
    use crate::manifest::places::Facts;

    #[test]
    fn what_aliases_and_texts_stand_for_counts_as_if_it_were_written_out() {
        let first = |path: &str, text: &str| Facts::read(path, text.as_bytes()).problems().first().cloned();
        let merged = |level| format!("m{level}: &m{level}\n  <<: [{}]\n", format!("*m{},", level - 1).repeat(1000));
        let merges = format!("m0: &m0 {{image: team/web:1.0.0}}\n{}", (1..9_usize).map(merged).collect::<String>());
        let empty = |level| format!("l{level}: &l{level} [{}]\n", format!("*l{},", level - 1).repeat(1000));
        let empty = format!("image: &l0 []\n{}", (1..9_usize).map(empty).collect::<String>());
        let values: String = (0..1000).map(|n| format!("v{n}: '1', ")).collect();
        let value = format!("- {{op: add, path: /spec/values/a, value: &v {{{values}}}}}\n");
        let aliased = value + &"- {op: add, path: /spec/values/image, value: *v}\n".repeat(1000);
        let long = format!("image: &i {}\nlist: [{}]\n", "i".repeat(1 << 20), "*i,".repeat(40));
        let texts = format!("- patch: |\n    [{}]\n", "1,".repeat(60_000)).repeat(4);
        for (path, text, what) in [
            ("values.yaml", merges, "more than 200000 scalars"),
            ("values.yaml", empty, "more than 200000 lists and mappings"),
            ("values.yaml", long, "more than 33554432 bytes of scalars"),
            ("values.yaml", "image: &a {tag: *a}\n".to_owned(), "an alias stands within what it stands for"),
            ("patch.yaml", aliased, "more than 200000 scalars"),
            (
                "kustomization.yaml",
                format!("patches:\n{texts}"),
                "more than 200000 scalars with those of the texts in it",
            ),
        ] {
            let found = first(path, &text);
            assert!(found.as_ref().is_some_and(|problem| problem.reason.contains(what)), "{what}: {found:?}");
        }
    }
}
