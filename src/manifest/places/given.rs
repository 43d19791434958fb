//! What HelmReleases take from other objects: values (`valuesFrom`) from ConfigMaps, Secrets and generators, and what Flux's
//! sources say of the chart.

use std::{collections::HashMap, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};

use super::{
    super::{
        ManifestError, Path,
        read::{Object, get, text},
        tree::{Id, NodeKind, Tree},
    },
    Files,
    cell::{self, Cell, Source},
    chains::Chain,
    kustomization::mappings,
    names::{folder, join},
    patch::Ambiguity,
    release::Release,
    release_patch::{Flat, merge},
    render::Kustomizations,
    values::{self, MAX_FLAT, MAX_OF_RELEASE},
};

/// An item of `valuesFrom`.
#[derive(Debug)]
pub(super) struct From {
    line: usize,
    kind: &'static str,
    name: Box<str>,
    key: Box<str>,
    /// Where its one value goes.
    target: Option<Box<str>>,
}

/// A ConfigMap or Secret, or what makes one: what it holds by its keys. Of a source of Flux what its `spec` holds by the
/// paths.
#[derive(Debug)]
pub(super) struct Given {
    kind: &'static str,
    namespace: Box<str>,
    name: Box<str>,
    keys: Vec<(Box<str>, GivenEntry)>,
}

/// Such an object, and its file.
type At<'f> = (&'f Arc<str>, &'f Given);

#[derive(Debug)]
enum GivenEntry {
    One(Cell),
    /// Values, by their paths in the release.
    Values(Vec<(Box<str>, Cell)>),
    File(Box<str>),
    /// What is not read, and its line.
    Other(usize),
}

const SEVERAL: &str =
    "several ConfigMaps or Secrets may be the one that holds these values: give each a name of its own";
const UNREAD: &str =
    "a HelmRelease takes its values from here, and they cannot be read: write them as a block (`values.yaml: |`)";
const PATCHED: &str = "this patch may change the values that a HelmRelease takes from a ConfigMap or Secret, and is not followed: \
     write them there";
/// The group of Flux's sources.
const SOURCES: &str = "source.toolkit.fluxcd.io";
/// Where the values of a release are in it.
const VALUES: &str = ".spec.values";

/// The items of `valuesFrom`.
pub(super) fn from(source: &Source, spec: Id) -> Result<Vec<From>, ManifestError> {
    let tree = source.tree;
    let list = get(tree, spec, "valuesFrom", NodeKind::Sequence)?;
    let mut found = Vec::new();
    for item in list.into_iter().flat_map(|list| mappings(tree, list)) {
        let word = |key| Ok::<_, ManifestError>(text(tree, item, key)?.filter(|word| !word.is_empty()));
        let kind = match word("kind")? {
            Some("ConfigMap") => "ConfigMap",
            Some("Secret") => "Secret",
            _ => continue,
        };
        let Some(name) = word("name")? else { continue };
        found.push(From {
            line: source.line(item),
            kind,
            name: name.into(),
            key: word("valuesKey")?.unwrap_or("values.yaml").into(),
            target: word("targetPath")?.map(Box::from),
        });
    }
    Ok(found)
}

/// Reads an object, if it is one of these.
pub(super) fn read(source: &Source, object: &Object) -> Result<Option<Given>, ManifestError> {
    let tree = source.tree;
    let kind = match (&*object.kind, &*object.group) {
        ("ConfigMap", "") => "ConfigMap",
        ("Secret", "") => "Secret",
        ("HelmChart", SOURCES) => "HelmChart",
        ("OCIRepository", SOURCES) => "OCIRepository",
        _ => return Ok(None),
    };
    let Some(metadata) = get(tree, object.node, "metadata", NodeKind::Mapping)? else { return Ok(None) };
    let mut keys = Vec::new();
    if object.group == SOURCES {
        let spec = get(tree, object.node, "spec", NodeKind::Mapping)?;
        let spec = spec.and_then(|spec| values::flat(source, spec, "", MAX_FLAT)).unwrap_or_default();
        keys.extend(spec.into_iter().map(|(path, cell)| (path, GivenEntry::One(cell))));
    }
    for (map, is_encoded) in [("data", kind == "Secret"), ("stringData", false)] {
        let map = get(tree, object.node, map, NodeKind::Mapping)?;
        for (key, value) in map.into_iter().flat_map(|map| tree.entries(map)) {
            let Some(key) = tree.scalar(key) else { continue };
            keys.extend(given_entry(source, key, value, is_encoded).map(|held| (key.into(), held)));
        }
    }
    let word = |key| Ok::<_, ManifestError>(text(tree, metadata, key)?.unwrap_or_default().into());
    Ok(Some(Given { kind, namespace: word("namespace")?, name: word("name")?, keys }))
}

fn given_entry(source: &Source, key: &str, value: Id, is_encoded: bool) -> Option<GivenEntry> {
    let tree = source.tree;
    let own = tree.scalar(value)?;
    let line = source.line(value);
    let decoded = match is_encoded {
        true => String::from_utf8(BASE64_STANDARD.decode(own.replace(['\n', ' '], "")).ok()?).ok()?,
        false => String::new(),
    };
    let text = if is_encoded { &*decoded } else { own };
    let encoded = |cell: Cell| match is_encoded {
        true => Cell { at: cell::At::Encoded, line, ..cell },
        false => cell,
    };
    if !text.contains('\n') && !text.starts_with('{') && !text.contains(": ") {
        let is_part = text.len() <= 256 && !text.contains(char::is_whitespace);
        let cell = source.cell(value).filter(|_| is_part)?;
        return Some(GivenEntry::One(encoded(Cell { value: text.into(), ..cell })));
    }
    // In a text that is a patch itself, a text is too deep.
    let is_values = key.contains("values") || key.ends_with(".yaml") || key.ends_with(".yml");
    if !is_values || source.outer().is_some() {
        return Some(GivenEntry::Other(line));
    }
    let read = || {
        let inner = tree.inner(text).ok()?;
        let root = inner.documents.first()?.root;
        let source = Source::inner(&inner, tree.place(tree.resolve(value)));
        values::flat(&source, root, VALUES, MAX_OF_RELEASE)
    };
    let flat = read().map(|flat| flat.into_iter().map(|(path, cell)| (path, encoded(cell))).collect());
    Some(flat.map_or(GivenEntry::Other(line), GivenEntry::Values))
}

/// What `configMapGenerator` and `secretGenerator` of a kustomization hold.
pub(super) fn generated(source: &Source, root: Id) -> Result<Vec<Given>, ManifestError> {
    let tree: &Tree = source.tree;
    let mut found = Vec::new();
    for (key, kind) in [("configMapGenerator", "ConfigMap"), ("secretGenerator", "Secret")] {
        let list = get(tree, root, key, NodeKind::Sequence)?;
        for item in list.into_iter().flat_map(|list| mappings(tree, list)) {
            let word = |key| Ok::<_, ManifestError>(text(tree, item, key)?.unwrap_or_default().into());
            let words = |key| {
                let list = get(tree, item, key, NodeKind::Sequence)?;
                let words = list.into_iter().flat_map(|list| tree.children(list));
                Ok::<_, ManifestError>(words.filter_map(|item| Some((source.line(item), tree.scalar(item)?))))
            };
            let file = |(_, word): (usize, &str)| {
                let (key, path) = word.split_once('=').unwrap_or((word.rsplit('/').next().unwrap_or_default(), word));
                (key.into(), GivenEntry::File(path.into()))
            };
            let literal = |(line, word): (usize, &str)| Some((word.split_once('=')?.0.into(), GivenEntry::Other(line)));
            let keys = words("files")?.map(file).chain(words("literals")?.filter_map(literal)).collect();
            found.push(Given { kind, namespace: word("namespace")?, name: word("name")?, keys });
        }
    }
    Ok(found)
}

impl Given {
    /// The files that a generator reads.
    pub(super) fn files(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().filter_map(|(_, held)| match held {
            GivenEntry::File(file) => Some(&**file),
            _ => None,
        })
    }

    /// What a source of Flux says, by its paths.
    pub(super) fn cells(&self) -> impl Iterator<Item = (&str, &Cell)> {
        self.keys.iter().filter_map(|(key, held)| match held {
            GivenEntry::One(cell) => Some((&**key, cell)),
            _ => None,
        })
    }

    /// Whether it is, or changes, one of this kind and name.
    pub(super) fn is(&self, kind: &str, name: &str) -> bool {
        self.kind == kind && *self.name == *name
    }
}

/// Several objects of one kind and name, of which it cannot be told which is meant.
pub(super) struct Several;

/// All that a repository has, by kind and name.
pub(super) type AllGiven<'f> = HashMap<(&'static str, &'f str), Vec<At<'f>>>;

pub(super) fn all(files: &Files) -> AllGiven<'_> {
    let mut all = AllGiven::new();
    for (path, facts) in files {
        let generated = facts.kustomization.iter().flat_map(|kustomization| &kustomization.generated);
        for given in facts.given.iter().chain(generated) {
            all.entry((given.kind, &*given.name)).or_default().push((path, given));
        }
    }
    all
}

impl<'f> Kustomizations<'f> {
    /// The values that a release takes from elsewhere, as far as they are here. Besides, why they may be others.
    pub(super) fn given(
        &self,
        files: &'f Files,
        path: &'f Arc<str>,
        release: &'f Release,
        chain: &Chain,
    ) -> (Flat<'f>, Option<Ambiguity<'f>>) {
        let (mut flat, mut ambiguity) = (Flat::new(), None);
        let patches: usize = chain.layers.iter().map(|layer| self.all[*layer].facts.patches.len()).sum();
        for from in &release.from {
            let all = self.given.get(&(from.kind, &*from.name)).map_or(&[][..], Vec::as_slice);
            if !self.takes(1 + all.len() + patches) {
                break;
            }
            let (at, given) = match self.one_given(all, &release.namespace, chain) {
                Ok(Some(one)) => one,
                Ok(None) => continue,
                Err(Several) => {
                    ambiguity.get_or_insert(Ambiguity { path, line: from.line, reason: SEVERAL });
                    continue;
                }
            };
            let held = given.keys.iter().find(|(key, _)| *key == from.key).map(|(_, held)| held);
            let unread = match (held, &from.target) {
                (Some(GivenEntry::Values(values)), None) => {
                    if self.takes(values.len()) {
                        merge(&mut flat, at, values);
                    }
                    None
                }
                (Some(GivenEntry::File(file)), None) => {
                    let file = join(folder(at), file).and_then(|file| files.get_key_value(&*file));
                    let Some((file, facts)) = file.filter(|(_, facts)| self.takes(facts.flat.len())) else { continue };
                    let within = |(path, cell): &(Box<str>, Cell)| (format!("{VALUES}{path}").into(), cell.clone());
                    let values: Vec<(Box<str>, Cell)> = facts.flat.iter().map(within).collect();
                    merge(&mut flat, file, &values);
                    (facts.flat.is_empty() && !facts.values.is_empty()).then_some((file, 1))
                }
                (Some(GivenEntry::One(cell)), Some(target)) => match target.parse::<Path>() {
                    Ok(target) => {
                        merge(&mut flat, at, &[(format!("{VALUES}{}", target.key()).into(), cell.clone())]);
                        None
                    }
                    Err(_) => Some((path, from.line)),
                },
                (Some(GivenEntry::Other(line)), _) => Some((at, *line)),
                (Some(GivenEntry::Values(_) | GivenEntry::File(_)), Some(_)) => Some((path, from.line)),
                (Some(GivenEntry::One(cell)), None) => Some((at, cell.line)),
                (None, _) => None,
            };
            ambiguity = ambiguity.or(unread.map(|(path, line)| Ambiguity { path, line, reason: UNREAD }));
            ambiguity = ambiguity.or(self.patch_of_given(files, (from.kind, &from.name), chain, PATCHED));
        }
        (flat, ambiguity)
    }

    /// The one of these that an object of this namespace names, those on its way before others.
    pub(super) fn one_given(&self, all: &[At<'f>], namespace: &str, chain: &Chain) -> Result<Option<At<'f>>, Several> {
        let fits = |(at, given): &At<'f>| {
            let is_here = given.namespace.is_empty() || namespace.is_empty() || *given.namespace == *namespace;
            is_here && !self.patches.contains(&***at)
        };
        let fitting: Vec<_> = all.iter().copied().filter(fits).collect();
        let near = |(at, _): &&At<'f>| {
            let of_file = self.of_file.get(&***at).map_or(&[][..], Vec::as_slice);
            chain.layers.iter().any(|layer| self.all[*layer].path == *at || of_file.contains(layer))
        };
        let close: Vec<_> = fitting.iter().filter(near).copied().collect();
        match (&close[..], &fitting[..]) {
            ([one], _) | ([], [one]) => Ok(Some(*one)),
            ([], []) => Ok(None),
            _ => Err(Several),
        }
    }

    /// A patch on a way that may change an object of this kind and name.
    pub(super) fn patch_of_given(
        &self,
        files: &'f Files,
        (kind, name): (&str, &str),
        chain: &Chain,
        reason: &'static str,
    ) -> Option<Ambiguity<'f>> {
        let layers = chain.layers.iter().map(|layer| (self.all[*layer].path, self.all[*layer].facts));
        let mut patches = layers.flat_map(|(path, facts)| facts.patches.iter().map(move |patch| (path, patch)));
        let (path, patch) = patches.find(|(path, patch)| patch.may_change(files, path, kind, name))?;
        Some(Ambiguity { path, line: patch.line, reason })
    }
}
