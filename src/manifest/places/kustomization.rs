//! A kustomization as it is written: what it renders, and what it does to images.

use std::{borrow::Cow, collections::HashSet, sync::Arc};

use super::{
    super::{
        ManifestError, Place,
        meta::Pairs,
        read::{get, text},
        tree::{Id, NodeKind, Tree},
    },
    cell::{At, Cell, ImageExpr, Source, is_unset, split},
    given::{self, Given},
    inflation::{self, Inflation},
    patch::Patch,
    replacement::{Replacement, replacements},
    transformer::{self, Field, Transformers},
};
use crate::domain::{image::excerpt, policy::Matcher};

/// What a kustomization says that concerns an image.
#[derive(Debug, Default)]
pub(super) struct Kustomization {
    /// `kind: Component`
    pub(super) is_component: bool,
    /// `resources` and `bases`
    pub(super) resources: Vec<Named>,
    pub(super) components: Vec<Named>,
    pub(super) namespace: Option<Box<str>>,
    /// Of a transformer: whether that is no name of Namespaces.
    pub(super) leaves_namespaces: bool,
    pub(super) prefix: Box<str>,
    pub(super) suffix: Box<str>,
    /// `labels` and `commonLabels`
    pub(super) labels: Vec<Pairs>,
    /// `commonAnnotations`
    pub(super) annotations: Pairs,
    pub(super) patches: Vec<Patch>,
    pub(super) images: Vec<ImagesEntry>,
    pub(super) replacements: Vec<Replacement>,
    /// What comes after all that.
    pub(super) transformers: Vec<Transformers>,
    /// Files that say which fields `images` set besides.
    pub(super) configurations: Vec<Named>,
    /// Of a transformer: the fields that its `images` set besides.
    pub(super) fields: Vec<Field>,
    /// Of a transformer: the line of what is not followed, and why.
    pub(super) unread: Option<(usize, &'static str)>,
    /// ConfigMaps and Secrets that it makes.
    pub(super) generated: Vec<Given>,
    /// The charts that it renders.
    pub(super) inflations: Vec<Inflation>,
    /// Files that may render others.
    pub(super) generators: Vec<Named>,
    /// Whether it renders charts.
    pub(super) has_charts: bool,
}

/// A file or a folder as it is named, and the line.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) line: usize,
    pub(super) name: Box<str>,
}

/// An entry of `images`.
#[derive(Debug)]
pub(super) struct ImagesEntry {
    pub(super) name: Box<str>,
    pub(super) new_name: Option<Cell>,
    /// Where the tag stands, or would stand.
    pub(super) new_tag: Cell,
    pub(super) digest: Cell,
    /// What comes after the tag where neither is set.
    pub(super) suffix: Option<Cell>,
    /// What an image must match where the name is a pattern.
    pattern: Option<Arc<str>>,
    /// The one text that all of it is, as Argo CD has it.
    pub(super) text: Option<Box<ImageExpr>>,
}

/// More patterns than this are not read from the `images` of one object, nor from the selectors of one file: each may
/// have to be compiled for each image.
pub(super) const MAX_PATTERNS: usize = 100;

impl Kustomization {
    /// The files and folders that it takes in, as they are named.
    pub(super) fn included(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let lists = [&self.resources, &self.components, &self.configurations, &self.generators].into_iter().flatten();
        let named = self.transformers.iter().filter_map(|item| match item {
            Transformers::Named(named) => Some(named),
            Transformers::Text(_) => None,
        });
        let lists = lists.chain(named).map(|item| &*item.name);
        let patches = self.patches.iter().filter_map(|patch| patch.file.as_deref());
        let texts = self.transformers.iter().flat_map(|item| match item {
            Transformers::Named(_) => &[][..],
            Transformers::Text(all) => all,
        });
        let of_texts = texts.flat_map(|one| one.patches.iter().filter_map(|patch| patch.file.as_deref()));
        let patches = patches.chain(of_texts).chain(self.generated.iter().flat_map(|given| given.files()));
        let replacements = self.replacements.iter().filter_map(|replacement| replacement.file.as_deref());
        let inflations = self.inflations.iter().flat_map(|inflation| inflation.included());
        lists.chain(patches).chain(replacements).map(Cow::Borrowed).chain(inflations.map(Cow::Owned))
    }

    /// Whether it does nothing but take in resources.
    pub(super) fn is_plain(&self) -> bool {
        let changes_names = self.namespace.is_some() || !self.prefix.is_empty() || !self.suffix.is_empty();
        let sets = self.images.is_empty() && self.labels.is_empty() && self.annotations.all.is_empty();
        let is_alone = self.components.is_empty() && self.replacements.is_empty() && self.transformers.is_empty();
        !changes_names && sets && is_alone && self.patches.is_empty() && !self.has_charts
    }
}

impl ImagesEntry {
    /// Whether it is for an image: as Kustomize has it, its name is a pattern for the image's name, or for all of it.
    pub(super) fn matches(&self, image: &str) -> bool {
        let Some(pattern) = &self.pattern else {
            let own = split(image).0;
            let is_same = |(a, b): (u8, u8)| a == b || a == b'.';
            return own.len() == self.name.len() && self.name.bytes().zip(own.bytes()).all(is_same);
        };
        Matcher::of(pattern).is_ok_and(|pattern| pattern.matches(image))
    }

    /// What it makes an image of.
    pub(super) fn cells(&self) -> impl Iterator<Item = &Cell> {
        let (text, own) = match &self.text {
            Some(text) => (Some(text.cells()), None),
            None => (None, Some([Some(&self.new_tag), Some(&self.digest), self.new_name.as_ref()])),
        };
        text.into_iter().flatten().chain(own.into_iter().flatten().flatten())
    }

    /// Whether there is a key for the tag or the digest, if also without a value.
    pub(super) fn has_version(&self) -> bool {
        let is_there = |cell: &Cell| match self.text {
            Some(_) => !cell.value.is_empty(),
            None => !matches!(cell.at, At::Key { .. }),
        };
        is_there(&self.new_tag) || is_there(&self.digest)
    }
}

/// The entries of a list.
pub(super) fn entries_of(source: &Source, list: Id, problems: &mut Vec<ManifestError>) -> Vec<ImagesEntry> {
    let (mut found, mut patterns) = (Vec::new(), HashSet::new());
    for item in source.tree.children(list).map(|item| source.tree.through(item, &[])) {
        if source.tree.node(item.0).kind != NodeKind::Mapping {
            continue;
        }
        match entry(source, item, &mut patterns) {
            Ok(entry) => found.extend(entry),
            Err(problem) => problems.push(problem),
        }
    }
    found
}

/// Reads the one document of a file; none where it is no kustomization of Kustomize's.
pub(super) fn read(source: &Source, problems: &mut Vec<ManifestError>) -> Result<Option<Kustomization>, ManifestError> {
    let tree = source.tree;
    match tree.documents.first().map(|document| document.root) {
        Some(root) if tree.node(root).kind == NodeKind::Mapping => kustomization(source, root, problems),
        _ => Ok(None),
    }
}

fn kustomization(
    source: &Source,
    root: Id,
    problems: &mut Vec<ManifestError>,
) -> Result<Option<Kustomization>, ManifestError> {
    let tree = source.tree;
    if text(tree, root, "apiVersion")?.is_some_and(|version| !version.starts_with("kustomize.config.k8s.io/")) {
        return Ok(None);
    }
    if let Some(list) = tree.get(root, "imageTags")? {
        let reason = "`imageTags` sets images and is not followed: write them as `images`";
        return Err(ManifestError::new(tree.line(list), reason));
    }
    let word = |key| Ok::<_, ManifestError>(text(tree, root, key)?.filter(|w| !is_unset(w)));
    let mut found = Kustomization {
        is_component: word("kind")? == Some("Component"),
        namespace: word("namespace")?.map(Box::from),
        prefix: word("namePrefix")?.unwrap_or_default().into(),
        suffix: word("nameSuffix")?.unwrap_or_default().into(),
        ..Kustomization::default()
    };
    for (key, list) in [("resources", &mut found.resources), ("components", &mut found.components)] {
        list.extend(words(tree, root, key)?);
    }
    found.resources.extend(words(tree, root, "bases")?);
    found.configurations = words(tree, root, "configurations")?;
    let list = |key| get(tree, root, key, NodeKind::Sequence);
    if let Some(list) = list("patchesStrategicMerge")? {
        found.patches.extend(tree.children(list).filter_map(|item| match tree.scalar(item)? {
            "" => None,
            text if text.contains('\n') || text.starts_with('{') => Some(Patch::text(source, item)),
            path => Some(Patch::file(tree.line(item), path.into())),
        }));
    }
    for (key, is_late) in [("patches", false), ("patchesJson6902", true)] {
        for item in list(key)?.into_iter().flat_map(|list| mappings(tree, list)) {
            found.patches.push(Patch::read(source, item, "patch", is_late)?);
        }
    }
    for item in list("labels")?.into_iter().flat_map(|list| mappings(tree, list)) {
        found.labels.extend(get(tree, item, "pairs", NodeKind::Mapping)?.map(|pairs| Pairs::read(tree, pairs)));
    }
    let map = |key| Ok::<_, ManifestError>(get(tree, root, key, NodeKind::Mapping)?.map(|map| Pairs::read(tree, map)));
    found.labels.extend(map("commonLabels")?);
    found.annotations = map("commonAnnotations")?.unwrap_or_default();
    found.has_charts = ["helmCharts", "helmChartInflationGenerator", "generators"]
        .iter()
        .any(|key| tree.entries_of(root).any(|(own, _)| tree.scalar(own) == Some(*key)));
    found.generated = given::generated(source, root)?;
    found.inflations = inflation::all(source, root)?;
    found.generators = words(tree, root, "generators")?;
    found.images = list("images")?.map_or(Vec::new(), |list| entries_of(source, list, problems));
    found.replacements = list("replacements")?.map_or(Ok(Vec::new()), |list| replacements(source, list))?;
    found.transformers = list("transformers")?.map_or(Vec::new(), |list| transformer::all(source, list));
    Ok(Some(found))
}

/// The texts of a list, without those of several lines.
pub(super) fn words(tree: &Tree, root: Id, key: &str) -> Result<Vec<Named>, ManifestError> {
    let Some(list) = get(tree, root, key, NodeKind::Sequence)? else { return Ok(Vec::new()) };
    let words = tree.children(list).filter_map(|item| Some((tree.line(item), tree.scalar(item)?)));
    let words = words.filter(|(_, word)| !word.is_empty() && !word.contains('\n'));
    Ok(words.map(|(line, name)| Named { line, name: name.into() }).collect())
}

pub(super) fn mappings(tree: &Tree, list: Id) -> impl Iterator<Item = Id> {
    tree.children(list).map(|item| tree.resolve(item)).filter(|item| tree.node(*item).kind == NodeKind::Mapping)
}

/// The pattern that the name of an entry is, if it is one: patterns are compiled here once, to know that they can be.
fn pattern(line: usize, name: &str, patterns: &mut HashSet<Arc<str>>) -> Result<Option<Arc<str>>, ManifestError> {
    if !name.contains(|c: char| "*+?()[]{}|^$\\:@".contains(c)) {
        return Ok(None);
    }
    let text: Arc<str> = format!("^{name}(:[a-zA-Z0-9_.{{}}-]*)?(@sha256:[a-zA-Z0-9_.{{}}-]*)?$").into();
    if patterns.contains(&text) {
        return Ok(Some(text));
    }
    let wrong = |reason| Err(ManifestError::new(line, reason));
    if patterns.len() == MAX_PATTERNS {
        return wrong(format!("more than {MAX_PATTERNS} names of `images` are patterns: join some with `(a|b)`"));
    }
    if Matcher::of(&text).is_err() {
        return wrong(format!("`{}` is no pattern for names of images, or is too large a one", excerpt(name)));
    }
    patterns.insert(text.clone());
    Ok(Some(text))
}

pub(super) fn entry(
    source: &Source,
    (item, via): (Id, Vec<Id>),
    patterns: &mut HashSet<Arc<str>>,
) -> Result<Option<ImagesEntry>, ManifestError> {
    let tree = source.tree;
    let is_known = |key: &str| matches!(key, "name" | "newName" | "newTag" | "digest" | "tagSuffix");
    let (all, _) = tree.all_entries(item);
    if let Some(unknown) = all.iter().find(|entry| !is_known(entry.name)) {
        let (name, key) = (excerpt(unknown.name), unknown.value);
        let reason = format!("`{name}` is no key of an entry of `images` that is known: what it does is not followed");
        return Err(ManifestError::new(tree.line(key), reason));
    }
    let cell = |key| {
        let Some((node, more)) = tree.find(item, key)? else { return Ok(None) };
        let place = Place { via: [&*via, &*more].concat().into(), ..tree.place(node) };
        Ok::<_, ManifestError>(source.cell_at(place))
    };
    let Some(name) = cell("name")? else { return Ok(None) };
    let (new_name, new_tag, digest) = (cell("newName")?, cell("newTag")?, cell("digest")?);
    let last = [&new_tag, &new_name].into_iter().flatten().next().unwrap_or(&name);
    let beside = |key| {
        let At::Scalar(place) = last.at.clone() else { return None };
        Some(Cell { line: last.line, at: At::Key { beside: place, key }, value: "".into() })
    };
    let (Some(add_tag), Some(add_digest)) = (beside("newTag"), beside("digest")) else {
        let reason = "`images` in a patch that is a text of its kustomization are not followed: write it to a file";
        return Err(ManifestError::new(source.line(item), reason));
    };
    Ok(Some(ImagesEntry {
        new_tag: new_tag.unwrap_or(add_tag),
        digest: digest.unwrap_or(add_digest),
        new_name: new_name.filter(|name| !is_unset(&name.value)),
        suffix: cell("tagSuffix")?.filter(|suffix| !is_unset(&suffix.value)),
        pattern: pattern(name.line, &name.value, patterns)?,
        name: name.value,
        text: None,
    }))
}

/// An entry as one text, which Argo CD hands to Kustomize: `name:tag`, `name@digest`, `name=other:tag`.
pub(super) fn of_text(
    source: &Source,
    item: Id,
    patterns: &mut HashSet<Arc<str>>,
) -> Result<ImagesEntry, ManifestError> {
    let cell =
        source.cell(item).ok_or_else(|| ManifestError::new(source.line(item), "an item of `images` is no text"))?;
    let prefix = cell.value.split_once('=').map_or("", |(name, _)| &cell.value[..=name.len()]);
    let (new_name, tag, digest) = split(&cell.value[prefix.len()..]);
    let name = if prefix.is_empty() { new_name } else { &prefix[..prefix.len() - 1] };
    if [Some(new_name), tag, digest].contains(&Some("*")) {
        let reason =
            "a `*` in an item of `images` keeps what stands elsewhere, which is not followed: write the image out";
        return Err(ManifestError::new(cell.line, reason));
    }
    let part = |value: &str| Cell { value: value.into(), ..cell.clone() };
    Ok(ImagesEntry {
        name: name.into(),
        new_name: (!prefix.is_empty()).then(|| part(new_name)),
        new_tag: part(tag.unwrap_or_default()),
        digest: part(digest.unwrap_or_default()),
        suffix: None,
        pattern: pattern(cell.line, name, patterns)?,
        text: Some(Box::new(ImageExpr::renaming(cell.clone()))),
    })
}
