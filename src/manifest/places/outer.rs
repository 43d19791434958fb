//! Objects of Flux and Argo CD that render a folder, and change images as they do: a Kustomization with `patches` and
//! `images`, an Application with `kustomize`. They do so within the folder's own kustomization, after what it says; a
//! namespace and the like they say in its place. Here as they are written.

use std::collections::HashSet;

use super::{
    super::{
        ManifestError,
        meta::{Meta, Pairs},
        read::{Object, directive, get, is_null, text},
        tree::{Id, NodeKind, Tree},
    },
    cell::{Source, is_unset},
    generator::{Template, is_filled, template},
    kustomization::{ImagesEntry, Named, entries_of, mappings, of_text, words},
    names::join,
    operation::Operation,
    patch::Patch,
    values::{MAX_OF_RELEASE, flat},
};

/// Such an object, or a part of one in a patch.
#[derive(Debug)]
pub(super) struct Outer {
    pub(super) line: usize,
    pub(super) meta: Meta,
    pub(super) name: Box<str>,
    pub(super) namespace: Box<str>,
    /// Whether it is Flux's, which renders a folder without a kustomization, too.
    pub(super) is_flux: bool,
    /// Whether it is the template of an ApplicationSet.
    pub(super) is_set: bool,
    /// The line of what may put something else in the place of that template.
    pub(super) patched: Option<usize>,
    /// Whether it is a patch that takes the object away.
    pub(super) is_deleting: bool,
    /// What it renders: what its `spec` says, or its `source`.
    pub(super) one: Option<Says>,
    /// `sources`
    pub(super) list: Option<Vec<Says>>,
}

/// What an object says of one folder.
#[derive(Debug)]
pub(super) struct Says {
    pub(super) line: usize,
    /// The folder, from the root of the repository.
    pub(super) path: Option<Box<str>>,
    pub(super) set: Set,
    pub(super) over: Over,
    /// Components, from the folder.
    pub(super) components: Option<Vec<Named>>,
    /// The line of what takes something away, in a patch.
    pub(super) takes: Option<usize>,
    /// The line of what a generator fills in.
    pub(super) filled: Option<usize>,
}

/// What an object says of the heads of what it renders, in the place of the folder's kustomization.
#[derive(Debug, Default)]
pub(super) struct Over {
    pub(super) namespace: Option<Box<str>>,
    pub(super) prefix: Option<Box<str>>,
    pub(super) suffix: Option<Box<str>>,
    pub(super) labels: Pairs,
    pub(super) annotations: Pairs,
}

impl Over {
    /// Of a mapping with these keys: of the namespace, and of labels and annotations in a mapping of their own.
    fn read(tree: &Tree, of: Id, is_flux: bool) -> Result<Self, ManifestError> {
        let own = |key| Ok::<_, ManifestError>(word(tree, of, key)?.map(Box::from));
        let metadata = if is_flux { get(tree, of, "commonMetadata", NodeKind::Mapping)? } else { Some(of) };
        let keys = if is_flux { ["labels", "annotations"] } else { ["commonLabels", "commonAnnotations"] };
        let map = |key| match metadata.map_or(Ok(None), |metadata| get(tree, metadata, key, NodeKind::Mapping))? {
            Some(map) => Ok(Pairs::read(tree, map)),
            None => Ok::<_, ManifestError>(Pairs::default()),
        };
        Ok(Self {
            namespace: own(if is_flux { "targetNamespace" } else { "namespace" })?,
            prefix: own("namePrefix")?,
            suffix: own("nameSuffix")?,
            labels: map(keys[0])?,
            annotations: map(keys[1])?,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        let Self { namespace, prefix, suffix, labels, annotations } = self;
        namespace.is_none()
            && prefix.is_none()
            && suffix.is_none()
            && labels.all.is_empty()
            && annotations.all.is_empty()
    }
}

/// Patches, and then images.
#[derive(Debug, Default)]
pub(super) struct Set {
    pub(super) patches: Vec<Patch>,
    pub(super) images: Vec<ImagesEntry>,
    /// Whether there are keys for these.
    pub(super) has: Has,
    /// The line of what cannot be read of it.
    pub(super) unread: Option<usize>,
    /// Whether it stands in a text.
    pub(super) is_in_text: bool,
}

/// The keys of a [`Set`].
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Has {
    pub(super) patches: bool,
    pub(super) images: bool,
    /// `patchesStrategicMerge` or `patchesJson6902`
    pub(super) old: bool,
}

/// Something of [`Set`] that cannot be read may be for any image.
pub(super) const UNREAD: &str = "this sets images in a way that is not followed here: correct it, or write a patch that is a text to a file of its own";

impl Set {
    /// Of a mapping with the keys of a kustomization that Flux and Argo CD take.
    pub(super) fn read(source: &Source, of: Id, problems: &mut Vec<ManifestError>) -> Self {
        let first = problems.len();
        let mut set = Self { is_in_text: source.outer().is_some(), ..Self::default() };
        if let Err(problem) = set.add(source, of, problems) {
            problems.push(problem);
        }
        let line = |problem: &ManifestError| if source.outer().is_some() { source.line(of) } else { problem.line };
        set.unread = problems.get(first).map(line);
        set
    }

    fn add(&mut self, source: &Source, of: Id, problems: &mut Vec<ManifestError>) -> Result<(), ManifestError> {
        let tree = source.tree;
        let list = |key| get(tree, of, key, NodeKind::Sequence);
        let has = |key| Ok::<_, ManifestError>(list(key)?.is_some());
        let old = has("patchesStrategicMerge")? || has("patchesJson6902")?;
        self.has = Has { patches: has("patches")?, images: has("images")?, old };
        for item in list("patchesStrategicMerge")?.into_iter().flat_map(|list| tree.children(list)) {
            self.patches.push(Patch::text(source, item));
        }
        for (key, is_late) in [("patches", false), ("patchesJson6902", true)] {
            for item in list(key)?.into_iter().flat_map(|list| mappings(tree, list)) {
                self.patches.push(Patch::read(source, item, "patch", is_late)?);
            }
        }
        if let Some(list) = list("images")? {
            self.add_images(source, list, problems)?;
        }
        Ok(())
    }

    fn add_images(
        &mut self,
        source: &Source,
        list: Id,
        problems: &mut Vec<ManifestError>,
    ) -> Result<(), ManifestError> {
        let tree = source.tree;
        if tree.children(list).any(|item| tree.scalar(item).is_some()) {
            let mut patterns = HashSet::new();
            for item in tree.children(list) {
                self.images.push(of_text(source, item, &mut patterns)?);
            }
        } else {
            self.images.extend(entries_of(source, list, problems));
        }
        Ok(())
    }

    /// Of a list that an operation puts there.
    pub(super) fn of_list(source: &Source, pointer: &str, list: Id) -> Option<Self> {
        let (tree, list) = (source.tree, source.tree.resolve(list));
        if tree.node(list).kind != NodeKind::Sequence || !pointer.starts_with("/spec") {
            return None;
        }
        let (mut set, mut problems) = (Self::default(), Vec::new());
        let done = match pointer.rsplit_once('/')?.1 {
            "images" => set.add_images(source, list, &mut problems),
            "patches" => mappings(tree, list).try_for_each(|item| {
                set.patches.push(Patch::read(source, item, "patch", false)?);
                Ok(())
            }),
            _ => return None,
        };
        set.unread = (done.is_err() || !problems.is_empty()).then(|| source.line(list));
        Some(set)
    }
}

impl Says {
    /// Of a mapping with `path`, and the one with the rest, which is the same in Flux.
    fn read(source: &Source, at: Id, of: Option<Id>, is_flux: bool, problems: &mut Vec<ManifestError>) -> Self {
        let tree = source.tree;
        let mut set = of.map(|of| Set::read(source, of, problems)).unwrap_or_default();
        let rest = || {
            let path = word(tree, at, "path")?.map(Box::from);
            let over = of.map_or(Ok(Over::default()), |of| Over::read(tree, of, is_flux))?;
            let list = of.map_or(Ok(None), |of| get(tree, of, "components", NodeKind::Sequence))?;
            let components = of.filter(|_| list.is_some()).map(|of| words(tree, of, "components")).transpose()?;
            Ok::<_, ManifestError>((path, over, components))
        };
        let (path, over, components) = rest().unwrap_or_else(|problem| {
            set.unread.get_or_insert(if source.outer().is_some() { source.line(at) } else { problem.line });
            problems.push(problem);
            Default::default()
        });
        let takes = [Some(at), of].into_iter().flatten().any(|node| takes(tree, node));
        let takes = takes.then(|| source.line(at));
        Self { line: source.line(at), path, set, over, components, takes, filled: None }
    }

    /// The folder; none if it leads out of the repository.
    pub(super) fn folder(&self) -> Option<String> {
        join("", self.path.as_deref().unwrap_or_default().trim_start_matches('/'))
    }
}

const KEYS: [&str; 11] = [
    "path",
    "kustomize",
    "patches",
    "images",
    "components",
    "targetNamespace",
    "namespace",
    "namePrefix",
    "nameSuffix",
    "commonMetadata",
    "commonAnnotations",
];

/// Whether a patch takes something away with a mapping.
fn takes(tree: &Tree, node: Id) -> bool {
    directive(tree, node).is_some() || KEYS.iter().any(|key| is_null(tree, node, key))
}

/// Reads an object, if it is one of these.
pub(super) fn read(
    source: &Source,
    object: &Object,
    problems: &mut Vec<ManifestError>,
) -> Result<Option<Outer>, ManifestError> {
    let (tree, node) = (source.tree, object.node);
    let (is_flux, is_set) = match (&*object.kind, &*object.group) {
        ("Kustomization", FLUX) => (true, false),
        ("Application", ARGO) => (false, false),
        ("ApplicationSet", ARGO) => (false, true),
        _ => return Ok(None),
    };
    // What cannot be read of a template need not be a mistake.
    let mut of_template = Vec::new();
    let problems = if is_set { &mut of_template } else { problems };
    let metadata = get(tree, node, "metadata", NodeKind::Mapping)?;
    let of_head =
        |key| Ok::<_, ManifestError>(metadata.map_or(Ok(None), |of| word(tree, of, key))?.unwrap_or_default());
    let mut found = Outer {
        line: source.line(node),
        meta: Meta::read(tree, node),
        name: of_head("name")?.into(),
        namespace: of_head("namespace")?.into(),
        is_flux,
        is_set,
        patched: None,
        is_deleting: directive(tree, node) == Some("delete"),
        one: None,
        list: None,
    };
    let of = match is_set {
        true => {
            let Template { of, patch } = template(tree, node)?;
            found.patched = patch.map(|patch| source.line(patch));
            of
        }
        false => Some(node),
    };
    let Some(spec) = of.map_or(Ok(None), |of| get(tree, of, "spec", NodeKind::Mapping))? else {
        return Ok((found.is_deleting || found.patched.is_some()).then_some(found));
    };
    if is_flux {
        found.one = Some(Says::read(source, spec, Some(spec), true, problems));
        return Ok(Some(found));
    }
    let mut says = |at: Id| {
        let of = get(tree, at, "kustomize", NodeKind::Mapping)?;
        let mut says = Says::read(source, at, of, false, problems);
        if is_set {
            let all = of.and_then(|of| flat(source, of, "", MAX_OF_RELEASE)).unwrap_or_default();
            let mut filled = all.iter().filter(|(_, cell)| is_filled(&cell.value));
            says.filled = filled.next().map(|(_, cell)| cell.line);
        }
        Ok::<_, ManifestError>(says)
    };
    let dry = get(tree, spec, "sourceHydrator", NodeKind::Mapping)?;
    let dry = dry.map_or(Ok(None), |of| get(tree, of, "drySource", NodeKind::Mapping))?;
    found.one = get(tree, spec, "source", NodeKind::Mapping)?.or(dry).map(&mut says).transpose()?;
    if let Some(list) = get(tree, spec, "sources", NodeKind::Sequence)? {
        found.list = Some(mappings(tree, list).map(&mut says).collect::<Result<_, _>>()?);
    }
    Ok(Some(found))
}

const FLUX: &str = "kustomize.toolkit.fluxcd.io";
const ARGO: &str = "argoproj.io";

fn word<'t>(tree: &'t Tree, mapping: Id, key: &str) -> Result<Option<&'t str>, ManifestError> {
    Ok(text(tree, mapping, key)?.filter(|word| !is_unset(word)))
}

impl Outer {
    /// Its kind of object, and the group.
    pub(super) fn kind(&self) -> (&'static str, &'static str) {
        match (self.is_flux, self.is_set) {
            (true, _) => ("Kustomization", FLUX),
            (_, false) => ("Application", ARGO),
            (_, true) => ("ApplicationSet", ARGO),
        }
    }

    /// What it says of each folder.
    pub(super) fn says(&self) -> impl Iterator<Item = &Says> {
        self.one.iter().chain(self.list.iter().flatten())
    }

    /// The folders of its components.
    pub(super) fn component_folders(&self) -> impl Iterator<Item = String> {
        self.says().flat_map(|says| {
            let folder = says.folder();
            let components = says.components.iter().flatten();
            components.filter_map(move |component| join(folder.as_ref()?, &component.name))
        })
    }

    /// Whether an operation may change what it renders.
    pub(super) fn is_changed_by(&self, operation: &Operation) -> bool {
        let steps: Vec<&str> = operation.pointer.split('/').skip(1).filter(|step| !step.is_empty()).collect();
        let of_flux = ["path", "images", "patches", "components", "targetNamespace", "name", "commonMetadata"];
        let steps = match steps.as_slice() {
            ["spec", "templatePatch" | "generators", ..] | ["spec", "template"] if self.is_set => return true,
            ["spec", "template", rest @ ..] if self.is_set => rest,
            steps => steps,
        };
        match (steps, self.is_flux) {
            ([] | ["spec"], _) => true,
            (["spec", key, ..], true) => of_flux.iter().any(|own| key.starts_with(own)),
            (["spec", "source"] | ["spec", "sources"] | ["spec", "sources", _], false) => true,
            (["spec", "sourceHydrator", ..], false) => true,
            (["spec", "source", key, ..] | ["spec", "sources", _, key, ..], false) => {
                matches!(*key, "path" | "kustomize")
            }
            _ => false,
        }
    }
}
