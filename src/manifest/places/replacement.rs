//! The `replacements` of a kustomization: which fields they set. What they put there is not followed.

use std::sync::Arc;

use super::{
    super::{
        ManifestError,
        read::{get, text},
        tree::{Id, NodeKind, Tree},
    },
    Files,
    cell::Source,
    kustomization::{Kustomization, mappings},
    names::{folder, join},
    patch::{Ambiguity, Named},
    select::PatchTarget,
    subject::Subject,
};
use crate::domain::workload::KindSpec;

/// Why it is not known what an object is after a replacement.
pub(super) const REPLACED: &str = "a replacement sets this image, or what the workload is called or asked for, and is not \
     followed: set that by a patch or an entry of `images`";

/// How the keys begin by which an object of Flux or Argo CD says what it renders.
const CHANGING: [&str; 9] =
    ["*", "path", "kustomize", "images", "patches", "components", "targetNamespace", "name", "commonMetadata"];

/// How the keys begin by which a release says what it deploys.
const OF_RELEASE: [&str; 6] = ["*", "values", "source", "template", "chart", "postRenderers"];

/// A replacement.
#[derive(Debug)]
pub(super) struct Replacement {
    pub(super) line: usize,
    /// The file that it stands in, if that is another one.
    pub(super) file: Option<Box<str>>,
    targets: Vec<Fields>,
}

/// Fields of some objects.
#[derive(Debug)]
struct Fields {
    of: PatchTarget,
    /// `spec.template.spec.containers.[name=web].image`
    paths: Vec<Box<str>>,
    /// Only what stands between delimiters is set.
    is_part: bool,
    /// Whether some of these objects are left out.
    rejects: bool,
}

/// The replacements of a list, or the one that a mapping is.
pub(super) fn replacements(source: &Source, node: Id) -> Result<Vec<Replacement>, ManifestError> {
    let tree = source.tree;
    match tree.node(node).kind {
        NodeKind::Mapping if has_targets(tree, node) => Ok(vec![Replacement::read(source, node)?]),
        NodeKind::Sequence => mappings(tree, node).map(|item| Replacement::read(source, item)).collect(),
        _ => Ok(Vec::new()),
    }
}

/// Whether a mapping is a replacement.
pub(super) fn has_targets(tree: &Tree, node: Id) -> bool {
    tree.entries_of(node).any(|(key, _)| tree.scalar(key) == Some("targets"))
}

impl Replacement {
    fn read(source: &Source, item: Id) -> Result<Self, ManifestError> {
        let tree = source.tree;
        let mut targets = Vec::new();
        let list = get(tree, item, "targets", NodeKind::Sequence)?;
        for target in list.into_iter().flat_map(|list| mappings(tree, list)) {
            let Some(select) = get(tree, target, "select", NodeKind::Mapping)? else { continue };
            let paths = get(tree, target, "fieldPaths", NodeKind::Sequence)?;
            let paths = paths.into_iter().flat_map(|paths| tree.children(paths));
            let mut paths: Vec<Box<str>> = paths.filter_map(|path| Some(tree.scalar(path)?.into())).collect();
            if paths.is_empty() {
                paths.push("metadata.name".into());
            }
            let options = get(tree, target, "options", NodeKind::Mapping)?;
            let delimiter = options.map_or(Ok(None), |options| text(tree, options, "delimiter"))?;
            let rejects = tree.get(target, "reject")?.is_some();
            targets.push(Fields {
                of: PatchTarget::read(source, select)?,
                paths,
                is_part: delimiter.is_some(),
                rejects,
            });
        }
        Ok(Self { line: source.line(item), file: text(tree, item, "path")?.map(Box::from), targets })
    }

    /// Why it is not known what it sets, if its file is not one of the repository.
    pub(super) fn unread<'f>(&self, at: &'f Arc<str>) -> Option<Ambiguity<'f>> {
        let is_here = self.file.as_ref().is_none_or(|file| join(folder(at), file).is_some());
        (!is_here).then_some(Ambiguity { path: at, line: self.line, reason: REPLACED })
    }

    /// The fields that it may set of an object.
    pub(super) fn fields(&self, subject: &Subject) -> impl Iterator<Item = &str> {
        let mine = self.targets.iter().filter(|fields| fields.of.may_have_selected(subject));
        mine.flat_map(|fields| fields.paths.iter().map(|path| &**path))
    }

    /// Whether it may leave a part of a field as it was.
    pub(super) fn is_part(&self) -> bool {
        self.targets.iter().any(|fields| fields.is_part)
    }

    /// Whether it may set what an object is called, or what its annotations ask for.
    pub(super) fn sets_head(&self, subject: &Subject) -> bool {
        self.fields(subject).any(|path| match path.split_once('.').map_or((path, ""), |(first, rest)| (first, rest)) {
            ("kind" | "apiVersion", _) => true,
            ("metadata", rest) => match rest.split_once('.') {
                Some(("annotations", key)) => ["supercargo", "keel", "*"].iter().any(|word| key.contains(word)),
                Some(_) => false,
                None => !rest.starts_with("labels"),
            },
            _ => false,
        })
    }

    /// Whether it may set values of a release.
    pub(super) fn sets_values(&self, subject: &Subject) -> bool {
        self.fields(subject).any(|path| {
            let mut steps = path.split('.');
            steps.next() == Some("spec")
                && steps.next().is_none_or(|step| OF_RELEASE.iter().any(|key| step.starts_with(key)))
        })
    }

    /// Whether it may set what an object of Flux or Argo CD renders.
    pub(super) fn sets_deployed(&self, subject: &Subject) -> bool {
        self.fields(subject).any(|path| {
            let steps: Vec<&str> = path.split('.').collect();
            let rest = match steps[..] {
                ["spec", "sources", _, ref rest @ ..]
                | ["spec", "sourceHydrator", "drySource", ref rest @ ..]
                | ["spec", "source", ref rest @ ..]
                | ["spec", ref rest @ ..] => rest,
                _ => return false,
            };
            let is_it = |step: &&str| CHANGING.iter().any(|key| step.starts_with(key));
            rest.first().is_none_or(is_it)
        })
    }

    /// Whether it may set the image of a container, which is item `index` of its list, and whether that is sure.
    pub(super) fn sets_image(
        &self,
        subject: &Subject,
        spec: &KindSpec,
        one: Named<'_>,
        index: Option<usize>,
    ) -> Option<bool> {
        let list = format!("{}/{}", spec.pod_spec, if one.init { "initContainers" } else { "containers" });
        let list: Vec<&str> = list.split('/').skip(1).collect();
        let sets = |path: &str| {
            let steps: Vec<&str> = path.split('.').collect();
            let is_same = |(own, step): (&&str, &&str)| own == step || *step == "*";
            if !list.iter().zip(&steps).all(is_same) {
                return None;
            }
            match steps.get(list.len()..) {
                // All of the list, or of what it stands in.
                None | Some([]) => Some(true),
                Some([item, rest @ ..]) => {
                    let is_sure = is_item(item, one, index)?;
                    matches!(rest, [] | ["image" | "name" | "*"]).then_some(is_sure && rest != ["name"])
                }
            }
        };
        let mine = self.targets.iter().filter(|fields| fields.of.may_have_selected(subject));
        let all = mine.flat_map(|fields| {
            let is_sure = !fields.rejects && fields.of.selects(subject) == Some(true);
            fields.paths.iter().filter_map(move |path| Some(sets(path)? && is_sure))
        });
        all.max()
    }
}

/// Whether a step may mean a container, and whether that is sure.
fn is_item(step: &str, one: Named<'_>, index: Option<usize>) -> Option<bool> {
    match (step.parse::<usize>(), step.strip_prefix("[name=")) {
        (Ok(own), _) => (Some(own) == index).then_some(true),
        (_, Some(name)) => (name.trim_end_matches(']') == one.name).then_some(true),
        _ => Some(step == "*"),
    }
}

/// The replacements of a kustomization, those of its files too, each with its file.
pub(super) fn of_kustomization<'f>(
    files: &'f Files,
    path: &'f Arc<str>,
    facts: &'f Kustomization,
) -> impl Iterator<Item = (&'f Arc<str>, &'f Replacement)> {
    facts.replacements.iter().flat_map(move |replacement| {
        let file = replacement.file.as_ref().and_then(|file| join(folder(path), file));
        let file = file.and_then(|file| files.get_key_value(&*file));
        let of_file =
            file.into_iter().flat_map(|(path, facts)| facts.replacements.iter().map(move |each| (path, each)));
        std::iter::once((path, replacement)).chain(of_file)
    })
}
