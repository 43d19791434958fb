//! Comments that mark a value: `# supercargo: minor image=ghcr.io/team/web part=tag`, and Flux's
//! `# {"$imagepolicy": "ns:name:tag"}`.

use std::collections::HashMap;

use super::{
    super::{
        ManifestError,
        tree::{Id, NodeKind, Tree},
    },
    cell::{At, Cell, ImageExpr, Name, Source, is_unset, split},
    kept::MAX_KEPT,
    uneditable::is_open,
    values::{self, is_digest_beside},
};
use crate::domain::image::{Repository, excerpt};

/// What of an image a marked value holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Image,
    Name,
    Tag,
    Digest,
}

/// Who the marker speaks to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Says {
    /// A policy, in our words.
    Policy(Box<str>),
    /// The name of a policy of Flux: `ns:name`.
    Flux(Box<str>),
}

impl Says {
    /// Whether the value is to stay as it is, whoever asks.
    pub(super) fn is_never(&self) -> bool {
        matches!(self, Self::Policy(policy) if policy.split_whitespace().next() == Some("never"))
    }
}

/// A marked value.
#[derive(Debug)]
pub(super) struct Marker {
    pub(super) says: Says,
    pub(super) part: Part,
    /// Named by the marker, or by the keys beside the value.
    pub(super) repository: Option<Repository>,
    pub(super) cell: Cell,
    /// The digests that stand beside a tag or an image, by their keys.
    digests: Vec<Cell>,
    /// The mapping that the value is in: marked parts of one image stand together.
    mapping: Option<Mapping>,
}

/// A mapping of the file, or of the text of a scalar of it.
type Mapping = (Option<Id>, Id);

/// An image made by marked values, its repository and what the marker says.
type Marked<'m> = (&'m Says, Repository, ImageExpr);

/// The images that marked values make.
pub(super) fn exprs(markers: &[Marker], repository_of: impl Fn(&Says) -> Option<Repository>) -> Vec<Marked<'_>> {
    let mut found: Vec<Marked> = Vec::new();
    let mut mappings: HashMap<(Mapping, &Repository), usize> = HashMap::new();
    let mut beside = Vec::new();
    let known: Vec<_> = markers.iter().map(|m| repository_of(&m.says).or_else(|| m.repository.clone())).collect();
    for (marker, repository) in markers.iter().zip(&known) {
        let cell = marker.cell.clone();
        if marker.part == Part::Image {
            // An argument: `--image=…`.
            let prefix = cell.value.split_once('=').filter(|(option, _)| option.starts_with('-'));
            let prefix: Box<str> = prefix.map_or("", |(option, _)| &cell.value[..=option.len()]).into();
            let own = Repository::parse(split(&cell.value[prefix.len()..]).0).ok();
            let digest = marker.digests.first().cloned().map(Box::new);
            let expr = ImageExpr::Whole { prefix, cell, digest };
            found.extend(repository.clone().or(own).map(|repository| (&marker.says, repository, expr)));
            continue;
        }
        let Some(repository) = repository else { continue };
        let together = marker.mapping.map(|mapping| (mapping, repository));
        let at = together.and_then(|together| mappings.get(&together).copied()).unwrap_or_else(|| {
            let name = Name::Known(repository.to_string().into());
            found.push((&marker.says, repository.clone(), ImageExpr::parts(None, name, None, None)));
            found.len() - 1
        });
        if let Some(together) = together {
            mappings.insert(together, at);
        }
        if let ImageExpr::Parts(parts) = &mut found[at].2 {
            match marker.part {
                Part::Digest => parts.digest = Some(cell),
                Part::Name if Repository::parse(&cell.value).as_ref() == Ok(repository) => {
                    parts.name = Name::Cell(cell)
                }
                Part::Name => {}
                _ => {
                    parts.tag = Some(cell);
                    beside.push((at, &marker.digests));
                }
            }
        }
    }
    for (at, digests) in beside {
        if let ImageExpr::Parts(parts) = &mut found[at].2 {
            let own = parts.digest.clone().or(digests.first().cloned());
            let is_other =
                |digest: &&Cell| own.as_ref().is_some_and(|own| own.at != digest.at && !is_unset(&digest.value));
            parts.other_digest = digests.iter().find(is_other).cloned();
            parts.digest = own;
        }
    }
    // A name alone says nothing of a version.
    found.retain(|(.., expr)| expr.main().is_some());
    found
}

/// A marker as it is written.
pub(super) struct MarkerText<'t> {
    says: Says,
    part: Option<&'t str>,
    image: Option<&'t str>,
}

/// Reads a comment, without what stands before its `#`; none if it is no marker.
fn written(comment: &str) -> Option<Result<MarkerText<'_>, String>> {
    let text = comment.trim_start_matches('#').trim();
    if let Some(rest) = text.strip_prefix("supercargo:") {
        let (mut policy, mut part, mut image) = (Vec::new(), None, None);
        for word in rest.split_whitespace() {
            match word.split_once('=') {
                Some(("image", value)) => image = Some(value),
                Some(("part", value)) => part = Some(value),
                _ => policy.push(word),
            }
        }
        if policy.is_empty() {
            return Some(Err("the marker names no policy: write for example `# supercargo: minor`".into()));
        }
        return Some(Ok(MarkerText { says: Says::Policy(policy.join(" ").into()), part, image }));
    }
    let value = text.strip_prefix('{')?.trim_start().strip_prefix("\"$imagepolicy\"")?;
    let value = value.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    let (policy, _) = value.split_once('"')?;
    let mut parts = policy.split(':');
    let (namespace, name, part) = (parts.next()?, parts.next(), parts.next());
    let Some(name) = name.filter(|name| !name.is_empty() && parts.next().is_none()) else {
        return Some(Err(format!("`{}` is no `namespace:name` or `namespace:name:tag`", excerpt(policy))));
    };
    let says = Says::Flux(format!("{namespace}:{name}").into());
    Some(Ok(MarkerText { says, part: Some(part.unwrap_or("image")), image: None }))
}

fn marker(
    written: &MarkerText,
    key: &str,
    cell: Cell,
    beside: Option<Repository>,
    mapping: Option<Mapping>,
) -> Result<Marker, String> {
    let named = written.image.map(|image| Repository::parse(image).map_err(|e| e.to_string())).transpose()?;
    let part = match written.part {
        Some("image") => Part::Image,
        Some("tag") => Part::Tag,
        Some("name") => Part::Name,
        Some("digest") => Part::Digest,
        Some(other) => return Err(format!("`{}` is no part: write image, tag, name or digest", excerpt(other))),
        None => usual_part(key, &cell.value),
    };
    let repository = match part {
        Part::Name => named.or(beside).or_else(|| Repository::parse(&cell.value).ok()),
        Part::Image => named,
        Part::Tag | Part::Digest => named.or(beside),
    };
    if repository.is_none() && part != Part::Image && matches!(written.says, Says::Policy(_)) {
        return Err("the marker must say whose tag this is: add image=<repository>".into());
    }
    Ok(Marker { says: written.says.clone(), part, repository, cell, digests: Vec::new(), mapping })
}

fn usual_part(key: &str, value: &str) -> Part {
    let key = key.to_ascii_lowercase();
    let (_, tag, digest) = split(value);
    if value.contains('/') || (tag.is_some() || digest.is_some()) && !value.starts_with("sha256:") {
        return if tag.is_some() || digest.is_some() { Part::Image } else { Part::Name };
    }
    match &*key {
        "repository" | "newname" | "name" => Part::Name,
        key if key.ends_with("digest") || value.starts_with("sha256:") => Part::Digest,
        key if key.ends_with("image") => Part::Image,
        _ => Part::Tag,
    }
}

/// The marked values of a YAML text.
pub(super) fn of_tree(source: &Source, found: &mut Vec<Marker>, problems: &mut Vec<ManifestError>) {
    let tree = source.tree;
    let mut marked: Vec<(usize, Result<MarkerText, String>)> = Vec::new();
    let (mut line, mut at) = (1, 0);
    for comment in &tree.comments {
        let Some(written) = written(&tree.text[comment.clone()]) else { continue };
        line += tree.text[at..comment.start].matches('\n').count();
        at = comment.start;
        marked.push((line, written));
    }
    if marked.is_empty() {
        return;
    }
    let on_line = values_on(tree, marked.iter().map(|(line, _)| *line).collect());
    let (mut beside, mut digests) = (HashMap::new(), HashMap::new());
    for (line, written) in marked {
        if found.len() > MAX_KEPT || problems.len() > MAX_KEPT {
            return;
        }
        let read = written.and_then(|written| match on_line.get(&line).map_or(&[][..], Vec::as_slice) {
            [(value, mapping)] => {
                let key = if mapping.is_some() { tree.scalar(value.saturating_sub(1)) } else { None };
                let cell = source.cell(*value).ok_or("the marked value is too long")?;
                let beside = mapping.and_then(|mapping| {
                    beside.entry(mapping).or_insert_with(|| repository_beside(tree, mapping)).clone()
                });
                let key = key.unwrap_or_default();
                let read = marker(&written, key, cell, beside, mapping.map(|mapping| (source.outer(), mapping)));
                let digests =
                    mapping.map(|mapping| &**digests.entry(mapping).or_insert_with(|| digests_of(source, mapping)));
                read.and_then(|marker| with_digests(key, marker, digests.unwrap_or_default()))
            }
            [] => Err("the marker stands on a line without a value: put it behind the value".to_owned()),
            _ => Err("the marker stands behind several values: write each on a line of its own".to_owned()),
        });
        match read {
            Ok(marker) => found.push(marker),
            Err(reason) => problems.push(ManifestError::new(source.file_line(line), reason)),
        }
    }
}

/// More digests in one mapping are not those of images.
const MAX_DIGESTS: usize = 100;

/// The digests of a mapping and its empty `digest`, by their keys in lower case. It may be long: it is looked through once.
fn digests_of(source: &Source, mapping: Id) -> Vec<(String, Cell)> {
    let is_digest = |key: &str, id: Id| {
        let value = source.tree.scalar(id).unwrap_or_default();
        key == "digest" && is_unset(value) || is_digest_beside(key, value)
    };
    let all = values::entries(source.tree, mapping).filter(|(key, value)| is_digest(key, *value));
    all.filter_map(|(key, value)| Some((key.to_ascii_lowercase(), source.cell(value)?))).take(MAX_DIGESTS).collect()
}

/// A marked tag or image under a key, with those of the digests beside it that are its own.
fn with_digests(key: &str, marker: Marker, all: &[(String, Cell)]) -> Result<Marker, String> {
    let key = key.to_ascii_lowercase();
    // Of one image among several in a mapping: `webTag` and `webDigest`.
    let of = ["tag", "version", "image"].iter().find_map(|end| key.strip_suffix(end)).unwrap_or(&key);
    let own =
        all.iter().filter(|(key, cell)| is_unset(&cell.value) || key.starts_with(of)).map(|(_, cell)| cell.clone());
    // One that is filled counts.
    let (empty, mut digests): (Vec<Cell>, Vec<Cell>) = own.partition(|cell| is_unset(&cell.value));
    match marker.part {
        Part::Image if digests.len() > 1 => {
            Err("several digests stand beside the marked image: leave the one that counts".to_owned())
        }
        Part::Image => Ok(Marker { digests, ..marker }),
        Part::Tag => {
            digests.extend(empty);
            Ok(Marker { digests, ..marker })
        }
        Part::Name | Part::Digest => Ok(marker),
    }
}

/// The values, no keys, that start on these lines, each with the mapping that it is in.
fn values_on(tree: &Tree, lines: std::collections::HashSet<usize>) -> HashMap<usize, Vec<(Id, Option<Id>)>> {
    let mut found: HashMap<usize, Vec<(Id, Option<Id>)>> = HashMap::new();
    for (index, (node, parent)) in tree.nodes.iter().zip(tree.parents()).enumerate() {
        let mapping = parent.filter(|parent| tree.node(*parent).kind == NodeKind::Mapping);
        if !node.is_collection() && (node.is_value || mapping.is_none()) && lines.contains(&node.line()) {
            found.entry(node.line()).or_default().push((index as Id, mapping));
        }
    }
    found
}

/// The repository that the keys of a mapping name. It may be long: it is looked through once.
fn repository_beside(tree: &Tree, mapping: Id) -> Option<Repository> {
    const NAMES: [&str; 5] = ["registry", "repository", "newName", "name", "image"];
    let mut values = [None; NAMES.len()];
    for (key, value) in tree.entries(mapping) {
        let name = tree.scalar(key).and_then(|key| NAMES.iter().position(|name| *name == key));
        if let Some(at) = name {
            values[at] = tree.scalar(value).filter(|value| !is_unset(value));
        }
    }
    let [registry, names @ ..] = values;
    let name = names.into_iter().flatten().next()?;
    match registry {
        Some(registry) => Repository::parse(&format!("{}/{name}", registry.trim_end_matches('/'))).ok(),
        None => Repository::parse(name).ok(),
    }
}

/// The lines of a text without their ends: number, first byte, text.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (usize, usize, &str)> {
    let mut start = 0;
    text.split('\n').enumerate().map(move |(index, whole)| {
        let at = start;
        start += whole.len() + 1;
        let line = whole.strip_suffix('\r').unwrap_or(whole);
        match line.strip_prefix('\u{feff}').filter(|_| index == 0) {
            Some(line) => (1, at + '\u{feff}'.len_utf8(), line),
            None => (index + 1, at, line),
        }
    })
}

/// The marked values of a text, line by line: `KEY=value # …`, `key: value # …`.
pub(super) fn of_lines(text: &str, found: &mut Vec<Marker>, problems: &mut Vec<ManifestError>) {
    for (number, at, line) in lines(text) {
        if found.len() > MAX_KEPT || problems.len() > MAX_KEPT {
            return;
        }
        match comment(line) {
            Some((before, written)) if !is_comment(before) => {
                let one = match is_open(before) {
                    true => "what stands before the marker is filled in from elsewhere: mark the value there",
                    false => {
                        "exactly one value must stand before the marker, as in `KEY=value # …` or `key: value # …`"
                    }
                };
                let value = before.ends_with([' ', '\t']).then(|| value_of(before.trim_end())).flatten();
                match written.and_then(|written| on_line(&written, line, at, number, value.ok_or(one)?)) {
                    Ok(marker) => found.push(marker),
                    Err(reason) => problems.push(ManifestError::new(number, reason)),
                }
            }
            _ => {}
        }
    }
}

/// What stands before the marker of a line, and the marker.
pub(super) fn comment(line: &str) -> Option<(&str, Result<MarkerText<'_>, String>)> {
    let word = line.find("supercargo:").or_else(|| line.find("$imagepolicy"))?;
    let hash = line[..word].rfind('#')?;
    Some((&line[..hash], written(&line[hash..])?))
}

/// Whether a line is nothing but a comment.
pub(super) fn is_comment(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with(['#', ';']) || line.starts_with("//")
}

/// The marker of a value of a line, which begins at a byte of the text.
pub(super) fn on_line(
    written: &MarkerText,
    line: &str,
    at: usize,
    number: usize,
    (key, (start, end)): (&str, (usize, usize)),
) -> Result<Marker, String> {
    let cell = Cell { line: number, at: At::Line(at + start..at + end), value: line[start..end].into() };
    marker(written, key, cell, None, None)
}

/// The key and the bytes of the value of a line that ends with it.
pub(super) fn value_of(line: &str) -> Option<(&str, (usize, usize))> {
    let is_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '"' | '\'');
    // Make assigns with `:=`, `::=` and `?=`, too.
    let assigned = line.find('=').filter(|end| line[..*end].ends_with([':', '?']));
    let end_of_key = assigned.or(line.find(['=', ':']));
    let (key, rest) = match end_of_key {
        Some(end) if line[..end].trim_end_matches([':', '?']).trim_end().ends_with(is_key) => {
            let sign = &line[end..=end];
            let rest = &line[end + 1..];
            match sign == ":" && !rest.starts_with([' ', '\t']) {
                true => (None, line),
                false => (line[..end].trim_end_matches([':', '?']).split_whitespace().next_back(), rest),
            }
        }
        _ => (None, line),
    };
    // A bare item of a list, `- value`, has no key.
    let rest = match key {
        Some(_) => rest,
        None => line.trim_start().strip_prefix("- ")?,
    };
    let key = key.unwrap_or_default().trim_matches(['"', '\'']);
    let value = rest.trim_start();
    let value = ['"', '\''].iter().find_map(|q| value.strip_prefix(*q)?.strip_suffix(*q)).unwrap_or(value);
    let is_part = |c: char| c.is_ascii_alphanumeric() || "._:/@-".contains(c);
    if value.is_empty() || !value.chars().all(is_part) {
        return None;
    }
    let quoted = usize::from(line.ends_with(['"', '\'']));
    let end = line.len() - quoted;
    Some((key, (end - value.len(), end)))
}
