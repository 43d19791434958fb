//! Transformers of Kustomize's own, in files or as texts in a kustomization. Each is a kustomization that says one thing,
//! after all that the one says which names it.

use std::{collections::HashSet, sync::Arc};

use super::{
    super::{
        ManifestError,
        meta::Pairs,
        read::{Object, each_object, get, text},
        tree::{Id, NodeKind, Tree},
    },
    Files,
    cell::Source,
    kustomization::{Kustomization, Named, entry, mappings},
    names::{folder, join},
    patch::{Ambiguity, Patch},
    replacement::replacements,
    sight::is_promising,
};

/// An item of `transformers`.
#[derive(Debug)]
pub(super) enum Transformers {
    /// A file, or a folder with a kustomization.
    Named(Named),
    Text(Vec<Kustomization>),
}

/// A field that entries of `images` set.
#[derive(Debug)]
pub(super) struct Field {
    kind: Box<str>,
    /// `spec/values/image`
    path: Box<str>,
}

/// What a transformer does where that is not followed.
const UNREAD: &str =
    "what this transformer does is not followed: write it as `images`, `patches` or the like of the kustomization";
/// A plugin that may set images.
const PLUGIN: &str = "this plugin may set images, which is not followed: write that as `images`, `patches` or the like of the \
     kustomization";
/// A transformer that is not there.
const ELSEWHERE: &str = "this transformer could not be read, and may set images: write it as `images`, `patches` or the \
     like of the kustomization";

/// More transformers than this of one kustomization are not followed.
const MAX_TRANSFORMERS: usize = 1_000;

/// The items of a list.
pub(super) fn all(source: &Source, list: Id) -> Vec<Transformers> {
    let tree = source.tree;
    let items = tree.children(list).filter_map(|item| Some((item, tree.scalar(item)?)));
    let read = |(item, word): (Id, &str)| match word {
        "" => None,
        text if text.contains('\n') || text.starts_with('{') => Some(Transformers::Text(of_text(source, item, text))),
        name => Some(Transformers::Named(Named { line: tree.line(item), name: name.into() })),
    };
    items.filter_map(read).collect()
}

/// Those of a text.
fn of_text(source: &Source, item: Id, text: &str) -> Vec<Kustomization> {
    let line = source.line(item);
    let Ok(inner) = source.tree.inner(text) else { return vec![unread(line)] };
    let inner_source = Source::inner(&inner, source.tree.place(source.tree.resolve(item)));
    let mut found = Vec::new();
    each_object(&inner, |object| match object {
        Ok(object) => found.extend(read(&inner_source, &object)),
        Err(_) => found.push(unread(line)),
    });
    if found.is_empty() && is_promising(text.as_bytes()) {
        found.push(Kustomization { unread: Some((line, PLUGIN)), ..Kustomization::default() });
    }
    found
}

fn unread(line: usize) -> Kustomization {
    Kustomization { unread: Some((line, UNREAD)), ..Kustomization::default() }
}

/// Reads an object, if it is one of these.
pub(super) fn read(source: &Source, object: &Object) -> Option<Kustomization> {
    let version = text(source.tree, object.node, "apiVersion").ok().flatten();
    if version != Some("builtin") || object.kind.ends_with("Generator") {
        return None;
    }
    Some(one(source, &object.kind, object.node).unwrap_or_else(|_| unread(source.line(object.node))))
}

fn one(source: &Source, kind: &str, node: Id) -> Result<Kustomization, ManifestError> {
    let tree = source.tree;
    let word = |key| Ok::<_, ManifestError>(text(tree, node, key)?.unwrap_or_default().into());
    let list = |key| get(tree, node, key, NodeKind::Sequence);
    let not_followed = || ManifestError::new(tree.line(node), UNREAD);
    let map = |key, field| match (get(tree, node, key, NodeKind::Mapping)?, reaches(tree, node, field, true)?) {
        (Some(map), true) => Ok(Some(Pairs::read(tree, map))),
        _ => Ok::<_, ManifestError>(None),
    };
    let mut found = Kustomization::default();
    match kind {
        "ReplicaCountTransformer" | "HashTransformer" | "LegacyOrderTransformer" | "SortOrderTransformer" => {}
        "ImageTagTransformer" => {
            let item = get(tree, node, "imageTag", NodeKind::Mapping)?.ok_or_else(not_followed)?;
            found.images.extend(entry(source, (item, Vec::new()), &mut HashSet::new())?);
            found.fields = fields(tree, node, "fieldSpecs");
        }
        "AnnotationsTransformer" => found.annotations = map("annotations", "metadata/annotations")?.unwrap_or_default(),
        "LabelTransformer" => found.labels.extend(map("labels", "metadata/labels")?),
        "NamespaceTransformer" => {
            if text(tree, node, "unsetOnly")?.is_some_and(|word| word != "false") {
                return Err(not_followed());
            }
            let metadata = get(tree, node, "metadata", NodeKind::Mapping)?.ok_or_else(not_followed)?;
            found.namespace = text(tree, metadata, "namespace")?.filter(|own| !own.is_empty()).map(Box::from);
            let specs = list("fieldSpecs")?.into_iter().flat_map(|list| mappings(tree, list));
            let mut paths = specs.filter_map(|item| text(tree, item, "path").ok()?);
            found.leaves_namespaces = !paths.any(|path| path.trim_matches('/') == "metadata/name");
        }
        "PrefixTransformer" | "SuffixTransformer" | "PrefixSuffixTransformer" => {
            if reaches(tree, node, "metadata/name", false)? {
                (found.prefix, found.suffix) = (word("prefix")?, word("suffix")?);
            }
        }
        "PatchTransformer" => found.patches.push(Patch::read(source, node, "patch", false)?),
        "PatchJson6902Transformer" => found.patches.push(Patch::read(source, node, "jsonOp", false)?),
        "PatchStrategicMergeTransformer" => {
            let paths = list("paths")?.into_iter().flat_map(|list| tree.children(list));
            let paths = paths.filter_map(|item| Some((source.line(item), tree.scalar(item)?)));
            found.patches.extend(paths.map(|(line, path)| Patch::file(line, path.into())));
            found.patches.extend(tree.get(node, "patches")?.map(|text| Patch::text(source, text)));
        }
        "ReplacementTransformer" => {
            found.replacements = list("replacements")?.map_or(Ok(Vec::new()), |list| replacements(source, list))?;
        }
        _ => return Err(not_followed()),
    }
    Ok(found)
}

/// Whether `fieldSpecs` name a field, for all objects and, if it is to be made, also where it is not there yet; an error
/// if for some.
fn reaches(tree: &Tree, node: Id, field: &str, is_made: bool) -> Result<bool, ManifestError> {
    let list = get(tree, node, "fieldSpecs", NodeKind::Sequence)?;
    for item in list.into_iter().flat_map(|list| mappings(tree, list)) {
        let word = |key| Ok::<_, ManifestError>(text(tree, item, key)?.unwrap_or_default());
        if word("path")?.trim_matches('/') != field {
            continue;
        }
        let is_of_all = word("group")?.is_empty() && word("version")?.is_empty() && word("kind")?.is_empty();
        let is_whole = is_of_all && (!is_made || word("create")? == "true");
        return is_whole.then_some(true).ok_or_else(|| ManifestError::new(tree.line(item), UNREAD));
    }
    Ok(false)
}

/// The fields that a list says under a key; what cannot be read of it is none.
pub(super) fn fields(tree: &Tree, node: Id, key: &str) -> Vec<Field> {
    if tree.node(node).kind != NodeKind::Mapping {
        return Vec::new();
    }
    let list = get(tree, node, key, NodeKind::Sequence).ok().flatten();
    let field = |item| {
        let path = text(tree, item, "path").ok()??.trim_matches('/').replace("[]", "");
        let kind = text(tree, item, "kind").ok()?.unwrap_or_default();
        Some(Field { kind: kind.into(), path: path.into() })
    };
    list.into_iter().flat_map(|list| mappings(tree, list)).filter_map(field).collect()
}

impl Field {
    /// Whether it is a scalar of an object of this kind, by its path ([`super::super::Path::key`]).
    pub(super) fn is(&self, kind: &str, path: &str) -> bool {
        let is_kind = self.kind.is_empty() || *self.kind == *kind;
        let mut plain = String::new();
        for step in path.trim_start_matches('.').split('.') {
            plain.push_str(step.split('[').next().unwrap_or_default());
            plain.push('/');
        }
        is_kind && plain.trim_end_matches('/') == &*self.path
    }
}

/// A transformer of a kustomization, and its file; or why it is not known what it does.
pub(super) type ReadTransformer<'f> = Result<(&'f Arc<str>, &'f Kustomization), Ambiguity<'f>>;

/// The transformers of a kustomization in their order, those of its files and folders too. Files in which none of
/// Kustomize's own is found are plugins of others; of those that name nothing which concerns us there are no facts.
pub(super) fn of_kustomization<'f>(
    files: &'f Files,
    path: &'f Arc<str>,
    facts: &'f Kustomization,
) -> Vec<ReadTransformer<'f>> {
    let mut found = Vec::new();
    for item in &facts.transformers {
        match item {
            Transformers::Text(all) => found.extend(all.iter().map(|one| Ok((path, one)))),
            Transformers::Named(named) => of_name(files, path, named, &mut found),
        }
    }
    found
}

fn of_name<'f>(files: &'f Files, path: &'f Arc<str>, named: &'f Named, found: &mut Vec<ReadTransformer<'f>>) {
    let (mut open, mut seen) = (vec![(path, named)], HashSet::new());
    while let Some((at, named)) = open.pop() {
        let lost = Err(Ambiguity { path: at, line: named.line, reason: ELSEWHERE });
        let Some(target) = join(folder(at), &named.name).filter(|_| found.len() < MAX_TRANSFORMERS) else {
            return found.push(lost);
        };
        if let Some((file, facts)) = files.get_key_value(&*target) {
            let unread = |line| Err(Ambiguity { path: file, line, reason: UNREAD });
            match facts.first_unread() {
                Some((line, _)) => found.push(unread(line)),
                None if facts.transformers.is_empty() => {
                    found.push(Err(Ambiguity { path: file, line: 1, reason: PLUGIN }))
                }
                // What one in another folder names as a file is not looked for.
                None => found.extend(facts.transformers.iter().map(|one| match one.patches.first() {
                    Some(patch) if one.included().next().is_some() && folder(file) != folder(path) => {
                        unread(patch.line)
                    }
                    _ => Ok((file, one)),
                })),
            }
            continue;
        }
        let inner = ["kustomization.yaml", "kustomization.yml", "Kustomization"].iter().find_map(|file| {
            let (path, facts) = files.get_key_value(&*join(&target, file)?)?;
            Some((path, facts.kustomization.as_deref().filter(|own| facts.broken.is_none() && own.is_plain())))
        });
        match inner {
            Some((inner, Some(facts))) if seen.insert(inner) => {
                open.extend(facts.resources.iter().rev().map(|named| (inner, named)));
            }
            None if [".yaml", ".yml", ".json"].iter().any(|end| named.name.ends_with(end)) => {}
            _ => found.push(lost),
        }
    }
}
