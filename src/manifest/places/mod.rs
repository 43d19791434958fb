//! Where in a repository the image of a workload is defined, and the exact edits that change it.
//!
//! [`Facts::read`] takes from one file what can name an image; an [`Index`] of many knows what they render together, and
//! [`Index::locate`] finds the places of one image. They are looked for in classes, and the first that has any counts:
//! manifests, with the kustomizations that render them; HelmReleases and Applications; marked values; values files by
//! convention. What the target's configuration names counts besides. [`apply`] then edits the bytes of those places.

use std::{collections::BTreeMap, sync::Arc};

use globset::GlobMatcher;

use super::{ManifestError, Path};
use crate::domain::{
    image::{ImageRef, Repository, excerpt},
    workload::{Workload, WorkloadId},
};

mod apart;
mod apply;
mod broken;
mod by_name;
mod cell;
mod chains;
mod chart_ref;
mod charts;
mod deployed;
mod dockerfile;
mod facts;
mod generator;
mod given;
mod included;
mod index;
mod inflation;
mod inline;
mod insert;
mod kept;
mod kustomization;
mod layers;
mod listed;
mod locate;
mod lost;
mod made;
mod marker;
mod mention;
mod names;
mod namespace;
mod operation;
mod orphans;
mod outer;
mod parameters;
mod passing;
mod patch;
mod post;
mod release;
mod release_patch;
mod render;
mod rendered;
mod renderings;
mod replacement;
mod room;
mod select;
mod shared;
mod sight;
mod stack;
mod subject;
mod transformer;
mod uneditable;
mod values;
mod walk;

pub use apart::apart;
pub use apply::apply;
pub use cell::LocationEdit;
pub use facts::Facts;
pub use index::Index;
pub use names::FileKind;
pub use room::{MAX_SCALARS_IN_ALL, Room};
pub use shared::{Sharer, Sharers};

/// The files of a repository by path: relative to its root, with `/` between folders.
pub type Files = BTreeMap<Arc<str>, Arc<Facts>>;

/// The kind of what [`rendered`] makes a workload of that is none: marked values, and entries of `supercargo.yaml`.
pub const FILE_KIND: &str = "File";

/// A change of one container's image.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The workload.
    pub workload: WorkloadId,
    /// Its label `app.kubernetes.io/instance`.
    pub instance: Option<Arc<str>>,
    /// The container's name.
    pub container: Arc<str>,
    /// Whether it stands under `initContainers`.
    pub init: bool,
    /// The image that runs.
    pub from: ImageRef,
    /// The image to run.
    pub to: ImageRef,
}

/// What a target's configuration says.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The namespace of manifests that name none.
    pub default_namespace: Option<String>,
    /// Where values of charts hold images.
    pub values: Vec<ValuesRule>,
    /// The folder of the kustomization that gets an entry of `images` where none applies.
    pub overlay: Option<String>,
    /// Flux's image policies, as `namespace:name`, and the repository each is about.
    pub image_policies: BTreeMap<String, Repository>,
}

/// Where in some files values hold an image: whole, or in parts.
#[derive(Debug, Clone)]
pub struct ValuesRule {
    /// The files.
    pub files: GlobMatcher,
    /// The whole image.
    pub image: Option<Path>,
    /// The registry.
    pub registry: Option<Path>,
    /// The repository.
    pub repository: Option<Path>,
    /// The tag.
    pub tag: Option<Path>,
    /// The digest.
    pub digest: Option<Path>,
    /// The repository where no path names it.
    pub for_image: Option<Repository>,
}

/// A place that makes the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The file.
    pub path: Arc<str>,
    /// The line, from 1.
    pub line: usize,
    /// The image that is made here now.
    pub holds: ImageRef,
    /// What makes it the wanted one; none if it already is.
    pub edits: Vec<LocationEdit>,
}

/// Why an image cannot be changed in a repository.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocateError {
    /// Nothing defines it.
    #[error("{0}")]
    Nowhere(String),
    /// Several places define it differently.
    #[error(
        "the places disagree on the image: {}: set them to one image, or have fewer files covered (`files:` of an entry \
         of supercargo.yaml, `paths` of the target), or one marked `# supercargo: never`",
        .0.iter().map(Disagreeing::to_string).collect::<Vec<_>>().join(", ")
    )]
    Conflict(Vec<Disagreeing>),
    /// Several overlays render one workload, each with its own image.
    #[error(
        "{} make one and the same workload: set a namespace or a prefix in each overlay, or read each for itself (its folder, \
         `--path`, `paths` of a target)",
        .0.iter().map(Disagreeing::to_string).collect::<Vec<_>>().join(", ")
    )]
    Overlays(Vec<Disagreeing>),
    /// A place was found that cannot be changed.
    #[error("{}:{line}: {reason}", excerpt(path))]
    Refused {
        /// The file.
        path: Arc<str>,
        /// The line, from 1.
        line: usize,
        /// Why, and what to do.
        reason: String,
    },
}

impl LocateError {
    /// Why, without the place.
    fn reason(&self) -> String {
        match self {
            Self::Refused { reason, .. } => reason.clone(),
            other => other.to_string(),
        }
    }
}

/// One of the places that disagree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}:{line} has {holds}", excerpt(path))]
pub struct Disagreeing {
    /// The file.
    pub path: Arc<str>,
    /// The line, from 1.
    pub line: usize,
    /// The image that is made here now.
    pub holds: ImageRef,
}

/// An entry of `supercargo.yaml` that nothing is updated by.
#[derive(Debug, Clone)]
pub struct Unplaced {
    /// What it would be as a workload.
    pub id: WorkloadId,
    /// The repository whose image it is for.
    pub repository: Repository,
    /// Its policy, as written.
    pub policy: Arc<str>,
    /// Where it stands, from 1.
    pub line: usize,
    /// Where the image stands, and why it is not edited there.
    pub why: String,
}

/// What a repository renders.
#[derive(Debug, Clone, Default)]
pub struct Rendered {
    /// The entries of its `supercargo.yaml` that have no place.
    pub unplaced: Vec<Unplaced>,
    /// The workloads, each with the file and the line that define it.
    pub workloads: Vec<(Workload, Arc<str>, usize)>,
    /// What concerns us of the annotations of Namespaces, by their names.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// What stands where it does not count, by file: annotations of ours, images.
    pub misplaced: Vec<(Arc<str>, ManifestError)>,
    /// Templates of charts, which are no YAML, and the line that shows it.
    pub templates: Vec<(Arc<str>, usize)>,
    /// What could not be read, by file.
    pub problems: Vec<(Arc<str>, ManifestError)>,
}

/// All places of a change, or why there is none. For many changes make one [`Index`].
pub fn locate(files: &Files, wanted: &Wanted, options: &Options) -> Result<Vec<Location>, LocateError> {
    Index::new(files, options).locate(wanted)
}

/// The workloads of a repository as it renders them; marked values that name a policy, and the entries of its
/// `supercargo.yaml`, as workloads of the kind [`FILE_KIND`].
pub fn rendered(files: &Files, options: &Options) -> Rendered {
    Index::new(files, options).rendered()
}
