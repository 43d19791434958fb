//! YAML and JSON manifests as text: find the images of workloads, and change exactly the bytes of the scalars named.
//!
//! [`read`] finds workloads and the place of each image; [`edit`] takes places back, with the value expected there and the
//! new one, and returns the whole text with nothing else in it changed, or an error. Both are pure. The text is parsed
//! again after an edit and compared with what it was, value by value: what cannot be shown to be exact is refused.
//! [`places`] finds where a whole repository defines an image.

use std::ops::Range;

mod anchors;
mod edit;
mod merge;
mod meta;
mod metadata;
mod misplaced;
mod near;
mod path;
pub mod places;
mod read;
mod repeated;
mod scalar;
mod size;
mod strays;
mod tree;

pub use edit::{Edit, EditError, edit};
pub use metadata::{KeyLines, Replace, Rewrite, Values, entry, keel_values, key_lines, rewrite};
pub use near::missing;
pub use path::{Path, PathError, find};
pub use places::{Facts, Files, Index, Location, LocationEdit, Options, Rendered, Wanted, apply, locate, rendered};
pub use read::{FoundWorkload, ImagePlace, Manifests, NamespaceFound, read};
pub use strays::{Stray, patch_paths, strays};

/// The largest text that is read, in bytes.
pub const MAX_BYTES: usize = 32 << 20;
/// The most scalars, keys too, that one file may have to be read.
pub const MAX_SCALARS: usize = 200_000;

/// Why a text, or one workload in it, was not read. The caller adds the name of the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct ManifestError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong and what to do.
    pub reason: String,
}

impl ManifestError {
    fn new(line: usize, reason: impl Into<String>) -> Self {
        Self { line, reason: reason.into() }
    }
}

/// Where a scalar stands in the text it was found in. Good for that text only, which [`edit`] checks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// The document in the stream, from 0.
    pub document: usize,
    /// The line, from 1.
    pub line: usize,
    /// The bytes; empty where a key has no value.
    pub bytes: Range<usize>,
    node: tree::Id,
    /// The aliases that it is reached by, the outer ones first.
    via: Box<[tree::Id]>,
}
