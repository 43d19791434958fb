//! A release as kustomizations deploy it: patches may set some of its values.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use super::{
    Files,
    cell::{Cell, ImageExpr, Name, is_unset},
    chains::Chain,
    generator::GENERATED,
    index::Draft,
    operation::{Operation, Put},
    outer::Set,
    patch::{Ambiguity, Part, TOO_MUCH, UNKNOWN_TARGET},
    release::Release,
    render::Kustomizations,
    replacement::REPLACED,
    stack::Stack,
    subject::Subject,
    values::{Keys, keys},
    walk::Step,
};

const CUT: &str =
    "this has more values than patches are followed in: move the image to a values file, or patch it there";
const IN_TWO_FILES: &str = "the tag and the digest of this image stand in two files, or under two keys, where a patch sets one: write both in the \
     patch";

const NAMED_ABOVE: &str = "values that stand above name this image otherwise, and take this tag, which others may take, too: write the tag \
     beside the name";
const BY_FILE: &str = "this parameter is read from a file, which is not followed, and may set the image: give its value under `parameters`";
const BY_ENTRY: &str = "this entry sets an image within the values of a release, too, and is not followed there: set that in the \
     values, or name the image otherwise";

/// A value, and the file that it is in.
pub(super) type Value<'f> = (&'f Arc<str>, Cell);

/// The values of a release on its way, by their paths.
pub(super) type Flat<'f> = BTreeMap<String, Value<'f>>;

/// What comes after the chart: `postRenderers`, and their file.
type After<'f> = (&'f Arc<str>, &'f [Set]);

/// What a release comes to.
pub(super) struct OfRelease<'f> {
    /// Its images, and whether in `kustomize.images`.
    pub(super) images: Vec<(bool, Draft<'f>)>,
    /// What comes after the chart.
    pub(super) after: After<'f>,
    /// Why values that it takes from elsewhere are not known.
    pub(super) lost: Option<Ambiguity<'f>>,
    /// The values files below its own values.
    pub(super) below: Vec<&'f Arc<str>>,
}

/// What a release comes to after the patches on one way outwards.
pub(super) fn images<'f>(
    files: &'f Files,
    kustomizations: &Kustomizations<'f>,
    path: &'f Arc<str>,
    release: &'f Release,
    chain: &Chain,
) -> OfRelease<'f> {
    let mut after: After = (path, &release.after);
    let of_release = |(key, cell): &(Box<str>, Cell)| (key.to_string(), (path, cell.clone()));
    let (given, lost) = kustomizations.given(files, path, release, chain);
    let generated = |line| Ambiguity { path, line, reason: GENERATED };
    let by_file = release.by_file.map(|line| Ambiguity { path, line, reason: BY_FILE });
    let patched = release.patched.map(generated).or(by_file);
    let (mut flat, mut ambiguity): (Option<Flat>, _) = (None, lost.clone().or(patched.clone()));
    let lost = lost.or(patched).or(release.filled.map(generated));
    let mut subject = Subject::new(release.kind(), release.group(), &release.meta, &release.namespace, &release.name);
    kustomizations.walk(files, &mut subject, chain, |step| {
        let values = |flat: &Option<Flat>| flat.as_ref().map_or(release.flat.len(), BTreeMap::len);
        if let Step::Replacement { path, replacement, subject } = &step
            && replacement.sets_values(subject)
        {
            ambiguity.get_or_insert(Ambiguity { path, line: replacement.line, reason: REPLACED });
        }
        let (file, line, part, is_sure) = match step {
            Step::Part { path, line, part, is_sure } => (path, line, part, is_sure),
            Step::Unread(unread) => {
                ambiguity.get_or_insert(unread);
                return;
            }
            Step::Images { entries, fields, .. } => {
                if !kustomizations.takes(values(&flat)) {
                    return;
                }
                let all = || kustomizations.fields.iter().copied().chain(fields);
                let is_set = |path: &str| is_of_containers(path) || all().any(|field| field.is(release.kind(), path));
                let by = |(path, value): (&str, &str)| {
                    is_set(path).then(|| entries.iter().find(|(_, entry)| entry.matches(value))).flatten()
                };
                let found = match &flat {
                    Some(flat) => flat.iter().find_map(|(path, (_, cell))| by((path, &cell.value))),
                    None => release.flat.iter().find_map(|(path, cell)| by((path, &cell.value))),
                };
                let why = found.map(|(path, entry)| Ambiguity { path, line: entry.new_tag.line, reason: BY_ENTRY });
                ambiguity = ambiguity.take().or(why);
                return;
            }
            Step::Replacement { .. } => return,
        };
        let touches = match part {
            Part::Release(patch) => {
                !patch.flat.is_empty() || patch.is_cut.is_some() || !patch.after.is_empty() || patch.patched.is_some()
            }
            Part::Operation(operation) => operation.sets_values(release.is_set),
            Part::Workload(..) | Part::Namespace(_) | Part::Outer(_) => false,
        };
        let own = if let Part::Release(patch) = part { patch.flat.len() } else { 0 };
        if !touches || !kustomizations.takes(values(&flat) + own) {
            return;
        }
        let flat = flat.get_or_insert_with(|| release.flat.iter().map(of_release).collect());
        let cut = |line| Some(Ambiguity { path, line, reason: CUT });
        let reason = match part {
            _ if !is_sure => Some(UNKNOWN_TARGET),
            Part::Release(patch) if patch.is_cut.is_some() => Some(CUT),
            Part::Release(patch) if patch.patched.is_some() => Some(GENERATED),
            Part::Release(patch) => {
                merge(flat, file, &patch.flat);
                if !patch.after.is_empty() {
                    after = (file, &patch.after);
                }
                None
            }
            Part::Operation(operation) => {
                let done = operate(flat, file, operation, release.is_set);
                (!done).then_some(TOO_MUCH)
            }
            Part::Workload(..) | Part::Namespace(_) | Part::Outer(_) => None,
        };
        let why = reason.map(|reason| Ambiguity { path: file, line, reason });
        ambiguity = ambiguity.take().or(why).or(release.is_cut.and_then(cut));
    });
    let (chosen, unsure) = kustomizations.chosen(files, (path, release), flat.as_ref(), chain);
    ambiguity = ambiguity.or(unsure.clone());
    let lost = lost.or(unsure);
    let as_written = || release.flat.iter().map(of_release).collect();
    let (is_patched, mut below) = (flat.is_some(), Vec::new());
    let mut of_given: Vec<&Arc<str>> = given.values().map(|(file, _)| *file).collect();
    let stacked = release.stacked(files, &kustomizations.charts, flat, (given, &chosen), as_written);
    let mut drafts: Vec<(bool, Draft)> = match stacked {
        Some(Stack { flat, files, alike }) if kustomizations.takes(flat.len()) => {
            let mut drafts = all_of_flat(&flat, &|path| files.rank(path));
            let alike = alike.iter().flat_map(|(root, charts)| kustomizations.alike(&flat, &root.values, charts));
            drafts.extend(alike.map(|draft| (false, draft)));
            of_given.dedup();
            below = [files.order, of_given].concat();
            drafts
        }
        _ => {
            let draft = |expr: &ImageExpr| Draft::of_release(path, expr.clone());
            let values = release.values.iter().filter_map(draft).map(|draft| (false, draft));
            values.chain(release.images.iter().filter_map(draft).map(|draft| (true, draft))).collect()
        }
    };
    // What is not kept by its path is not lost.
    if release.is_cut.is_some() && is_patched {
        drafts.extend(release.values.iter().filter_map(|expr| Some((false, Draft::new(path, expr.clone())?))));
    }
    let ambiguous = |(is_last, draft): (bool, Draft<'f>)| {
        let own = draft.ambiguity.clone().filter(|_| draft.is_open());
        let ambiguity = own.or(ambiguity.clone()).or(draft.ambiguity.clone());
        (is_last, Draft { ambiguity, ..draft })
    };
    OfRelease { images: drafts.into_iter().map(ambiguous).collect(), after, lost, below }
}

/// Whether a value is the image of an item of what Kustomize takes for containers, in any object.
fn is_of_containers(path: &str) -> bool {
    let list = path.strip_suffix(".image").and_then(|item| parent(item)).filter(|(_, step)| step.starts_with('['));
    list.is_some_and(|(list, _)| list.ends_with(".containers") || list.ends_with(".initContainers"))
}

/// Takes away what is at a path and below it, and what above it is no mapping.
pub(super) fn clear(flat: &mut Flat, path: &str) {
    let is_below = |key: &str| key.strip_prefix(path).is_some_and(|rest| rest.starts_with(['.', '[']));
    let below = flat.range(path.to_owned()..).take_while(|(key, _)| key.starts_with(path));
    let below: Vec<String> = below.map(|(key, _)| key).filter(|key| *key == path || is_below(key)).cloned().collect();
    for key in below {
        flat.remove(&key);
    }
    let mut above = path;
    while let Some((parent, _)) = parent(above) {
        flat.remove(parent);
        above = parent;
    }
}

/// A partial object: mappings are merged, lists are replaced.
pub(super) fn merge<'f>(flat: &mut Flat<'f>, file: &'f Arc<str>, patch: &[(Box<str>, Cell)]) {
    make_room(flat, patch.iter().map(|(key, _)| &**key));
    flat.extend(patch.iter().map(|(key, cell)| (key.to_string(), (file, cell.clone()))));
}

/// The same, of values of several files.
pub(super) fn over<'f>(flat: &mut Flat<'f>, patch: Flat<'f>) {
    make_room(flat, patch.keys().map(|key| &**key));
    flat.extend(patch);
}

fn make_room<'k>(flat: &mut Flat, keys: impl Iterator<Item = &'k str>) {
    let mut lists: HashSet<&str> = HashSet::new();
    for key in keys {
        // The list that is not in another one.
        let list = steps(key).find(|(_, rest)| rest.starts_with('[')).map(|(list, _)| list);
        match list {
            Some(list) => {
                if lists.insert(list) {
                    clear(flat, list);
                }
            }
            None => clear(flat, key),
        }
    }
}

/// False if it is not followed. Of an ApplicationSet what its template says counts.
fn operate<'f>(flat: &mut Flat<'f>, file: &'f Arc<str>, operation: &'f Operation, is_set: bool) -> bool {
    let mut path = operation.path();
    if is_set {
        let Some(of_template) = path.strip_prefix(".spec.template").filter(|path| path.starts_with(".spec.")) else {
            return false;
        };
        path = of_template.to_owned();
    }
    let count = |list: &str, flat: &Flat| {
        let items = flat.range(format!("{list}[")..).take_while(|(key, _)| key.starts_with(&format!("{list}[")));
        let index = |key: &str| key[list.len() + 1..].split(']').next()?.parse::<usize>().ok();
        items.filter_map(|(key, _)| index(key)).max().map(|last| last + 1)
    };
    match parent(&path) {
        Some((list, ".-")) => path = format!("{list}[{}]", count(list, flat).unwrap_or(0)),
        // It moves the items behind it.
        Some((list, step)) if step.starts_with('[') && !operation.is_replacing => {
            let index = step.trim_matches(['[', ']']).parse().ok();
            if count(list, flat).zip(index).is_none_or(|(count, index): (usize, usize)| index < count) {
                return false;
            }
        }
        _ => {}
    }
    match &operation.put {
        _ if operation.pointer.starts_with("/spec/postRenderers") => return false,
        Put::Scalar(cell) => {
            clear(flat, &path);
            flat.insert(path, (file, cell.clone()));
        }
        Put::Tree(_, Some(tree)) => {
            clear(flat, &path);
            flat.extend(tree.iter().map(|(key, cell)| (format!("{path}{key}"), (file, cell.clone()))));
        }
        Put::Nothing => clear(flat, &path),
        Put::Tree(_, None) | Put::Other => return false,
    }
    true
}

/// A path without its last step, and that step.
pub(super) fn parent(path: &str) -> Option<(&str, &str)> {
    steps(path).last()
}

/// Every way to part a path before a step.
fn steps(path: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut escaped = false;
    path.char_indices().filter_map(move |(at, c)| {
        let is_step = !escaped && matches!(c, '.' | '[');
        escaped = c == '\\' && !escaped;
        is_step.then(|| path.split_at(at))
    })
}

/// The key of a step, as it is written.
fn key(step: &str) -> Option<String> {
    let mut key = String::new();
    let mut chars = step.strip_prefix('.')?.chars();
    while let Some(c) = chars.next() {
        key.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    Some(key)
}

/// The images of values, and whether in `kustomize.images`; `rank` says how far above a file stands.
pub(super) fn of_flat<'f>(flat: &Flat<'f>, rank: &dyn Fn(&str) -> usize) -> Vec<(bool, Draft<'f>)> {
    let mut all = all_of_flat(flat, rank);
    all.retain(|(_, draft)| !draft.is_open());
    all
}

/// The same, also those of which a part is filled in from elsewhere.
fn all_of_flat<'f>(flat: &Flat<'f>, rank: &dyn Fn(&str) -> usize) -> Vec<(bool, Draft<'f>)> {
    let mut groups: BTreeMap<&str, Vec<(String, &Value<'f>)>> = BTreeMap::new();
    let mut found = Vec::new();
    for (path, value) in flat {
        let Some((above, step)) = parent(path) else { continue };
        match key(step) {
            None if above.ends_with(".kustomize.images") => {
                let (file, cell) = value;
                found.extend(Draft::of_release(file, ImageExpr::renaming(cell.clone())).map(|draft| (true, draft)));
            }
            None => {}
            Some(key) => groups.entry(above).or_default().push((key, value)),
        }
    }
    for (path, all) in &groups {
        let values: Vec<(&str, &str)> = all.iter().map(|(key, (_, cell))| (&**key, &*cell.value)).collect();
        for keys in keys(&own_key(path), &values) {
            found.extend(draft(keys, &|index| all[index].1, rank).map(|draft| (false, draft)));
        }
    }
    found
}

/// The last key of a path, behind which there may be indices.
fn own_key(path: &str) -> String {
    let mut at = path;
    while let Some((above, step)) = parent(at) {
        if let Some(key) = key(step) {
            return key;
        }
        at = above;
    }
    String::new()
}

/// A place of parts that may stand in several files: what changes stands in one.
fn draft<'f, 'v>(keys: Keys, get: &dyn Fn(usize) -> &'v Value<'f>, rank: &dyn Fn(&str) -> usize) -> Option<Draft<'f>>
where
    'f: 'v,
{
    let is_doubled;
    let (registry, name, tag, digest) = match keys {
        Keys::Whole { image, digest } => {
            let (file, cell) = get(image);
            let digest = digest.map(get);
            let expr = ImageExpr::beside(cell.clone(), digest.map(|(_, digest)| digest.clone()));
            let mut draft = Draft::of_release(file, expr)?;
            if digest.is_some_and(|(at, _)| at != file) {
                draft.ambiguity = Some(Ambiguity { path: file, line: cell.line, reason: IN_TWO_FILES });
            }
            return Some(draft);
        }
        Keys::Parts { registry, name, tag, digest, other } => {
            is_doubled = other.is_some();
            (registry.map(get), get(name), tag.map(get), digest.map(get))
        }
    };
    let is_set = |(_, cell): &&Value| !is_unset(&cell.value);
    let (tag, digest, is_apart) = match (tag, digest) {
        (Some(tag), Some(digest)) if tag.0 != digest.0 => match (is_set(&tag), is_set(&digest)) {
            (true, true) => (Some(tag), Some(digest), true),
            (false, true) => (None, Some(digest), false),
            (_, false) => (Some(tag), None, false),
        },
        (tag, digest) => (tag, digest, false),
    };
    let (file, line) = tag.or(digest).map(|(file, cell)| (*file, cell.line))?;
    let registry = registry.filter(is_set);
    let is_named_above = rank(name.0) > rank(file) || registry.is_some_and(|(at, _)| rank(at) > rank(file));
    let is_here = name.0 == file && registry.is_none_or(|(at, _)| *at == file);
    let whole = registry.map_or(name.1.value.to_string(), |(_, registry)| {
        format!("{}/{}", registry.value.trim_end_matches('/'), name.1.value)
    });
    let (registry, name) = match is_here {
        true => (registry.map(|(_, cell)| cell.clone()), Name::Cell(name.1.clone())),
        false => (None, Name::Known(whole.into())),
    };
    let cell = |value: Option<&Value>| value.map(|(_, cell)| cell.clone());
    let mut draft = Draft::of_release(file, ImageExpr::parts(registry, name, cell(tag), cell(digest)))?;
    let reason = match is_apart || is_doubled {
        true => Some(IN_TWO_FILES),
        false => is_named_above.then_some(NAMED_ABOVE),
    };
    draft.ambiguity = draft.ambiguity.or(reason.map(|reason| Ambiguity { path: file, line, reason }));
    Some(draft)
}
