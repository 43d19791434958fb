//! Annotations and labels of workloads as lines: say where they stand, and put other annotations in their place.
//!
//! Whole lines of block mappings are replaced, and nothing else; the result is parsed again and compared, value by
//! value. What cannot be done so is refused.

use std::{collections::BTreeMap, collections::HashSet, ops::Range};

use granit_parser::ScalarStyle;

use super::{
    ManifestError,
    read::{self, FoundWorkload, get},
    scalar::{Style, render},
    tree::{Id, NodeKind, Tree},
};
use crate::domain::image::excerpt;

/// What takes the place of one annotation or label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replace {
    /// Whether it is a label, else an annotation.
    pub label: bool,
    /// The key that goes.
    pub key: String,
    /// The annotations that come, by key and value; none to take it out.
    pub by: Vec<(String, String)>,
}

/// The replacements of one workload.
#[derive(Debug, Clone)]
pub struct Rewrite<'a> {
    /// As read from the same text.
    pub found: &'a FoundWorkload,
    /// One for each key that goes.
    pub replace: Vec<Replace>,
}

/// A block of values for Keel's Helm provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Values {
    /// The line of its key, from 1.
    pub line: usize,
    /// Its scalars.
    pub scalars: BTreeMap<String, String>,
    /// Where the values hold each image: the paths of repository and tag.
    pub images: Vec<(String, String)>,
}

/// The lines of a workload's annotations and labels, by (whether it is a label, key).
pub type KeyLines = BTreeMap<(bool, String), usize>;

/// The lines of each workload's annotations and labels.
pub fn key_lines(text: &str, found: &[&FoundWorkload]) -> Result<Vec<KeyLines>, ManifestError> {
    let tree = Tree::parse(text)?;
    let lines = |found: &FoundWorkload| {
        let mut lines = BTreeMap::new();
        for (label, map) in maps(&tree, found.node)? {
            for (key, _) in tree.entries(map) {
                lines.insert((label, tree.scalar(key).unwrap_or_default().to_owned()), tree.line(key));
            }
        }
        Ok(lines)
    };
    found.iter().copied().map(lines).collect()
}

/// The blocks `keel:` of a text that hold a policy or images, wherever they stand in it.
pub fn keel_values(text: &str) -> Result<Vec<Values>, ManifestError> {
    let tree = Tree::parse(text)?;
    let mut blocks = Vec::new();
    for id in 0..tree.nodes.len() as Id {
        for (key, value) in tree.entries_of(id) {
            let value = tree.resolve(value);
            if tree.scalar(key) != Some("keel") || tree.node(value).kind != NodeKind::Mapping {
                continue;
            }
            let mut block = Values { line: tree.line(key), scalars: BTreeMap::new(), images: Vec::new() };
            for (name, value) in tree.entries(value) {
                let name = tree.scalar(name).unwrap_or_default();
                if let Some(text) = tree.scalar(value) {
                    block.scalars.insert(name.to_owned(), text.to_owned());
                } else if name == "images" {
                    block.images = tree.children(tree.resolve(value)).map(|image| paths(&tree, image)).collect();
                }
            }
            if block.scalars.contains_key("policy") || !block.images.is_empty() {
                blocks.push(block);
            }
        }
    }
    Ok(blocks)
}

fn paths(tree: &Tree, image: Id) -> (String, String) {
    let find = |name| {
        let mut entries = tree.entries_of(tree.resolve(image));
        let value = entries.find(|(key, _)| tree.scalar(*key) == Some(name)).and_then(|(_, value)| tree.scalar(value));
        value.unwrap_or_default().to_owned()
    };
    (find("repository"), find("tag"))
}

/// The text with all replacements made, or an error and none of them.
pub fn rewrite(text: &str, rewrites: &[Rewrite]) -> Result<String, ManifestError> {
    let tree = Tree::parse(text)?;
    let mut edits: Vec<(Range<usize>, String)> = Vec::new();
    let mut gone = HashSet::new();
    for rewrite in rewrites {
        plan(&tree, rewrite, &mut edits, &mut gone)?;
    }
    edits.sort_by_key(|(range, _)| (range.start, range.end));
    let mut edited = String::with_capacity(text.len());
    let mut done = 0;
    for (range, new) in &edits {
        edited.push_str(&text[done..range.start]);
        edited.push_str(new);
        done = range.end;
    }
    edited.push_str(&text[done..]);
    verify(&tree, &gone, &edited, rewrites)?;
    Ok(edited)
}

/// The annotations and the labels of an object, where they are mappings.
pub(super) fn maps(tree: &Tree, object: Id) -> Result<Vec<(bool, Id)>, ManifestError> {
    let Some(metadata) = get(tree, object, "metadata", NodeKind::Mapping)? else { return Ok(Vec::new()) };
    let mut maps = Vec::new();
    for (label, key) in [(false, "annotations"), (true, "labels")] {
        maps.extend(get(tree, metadata, key, NodeKind::Mapping)?.map(|map| (label, map)));
    }
    Ok(maps)
}

/// A line that holds one entry of a block mapping and no more than a comment beside.
struct Line<'t> {
    range: Range<usize>,
    indent: &'t str,
    /// Blanks and a comment after the value.
    tail: &'t str,
    /// `\n`, `\r\n`, or nothing at the end of the text.
    end: &'t str,
    /// What ends lines in this text.
    usual_end: &'static str,
}

impl Line<'_> {
    /// Lines in its place.
    fn filled(&self, entries: &[(String, String)]) -> String {
        let mut lines: Vec<String> = entries.iter().map(|(k, v)| format!("{}{}", self.indent, entry(k, v))).collect();
        if let Some(first) = lines.first_mut() {
            first.push_str(self.tail);
        }
        let mut text = lines.join(self.usual_end);
        if !lines.is_empty() {
            text.push_str(self.end);
        }
        text
    }
}

/// An annotation as a line of YAML.
pub fn entry(key: &str, value: &str) -> String {
    let style = Style::Plain { in_flow: false, typed: false };
    format!("{}: {}", render(key, style), render(value, style))
}

fn line<'t>(tree: &Tree<'t>, key: Id, value: Id) -> Result<Line<'t>, ManifestError> {
    let (text, node) = (tree.text, tree.node(key));
    let name = excerpt(tree.scalar(key).unwrap_or_default());
    let refuse = |why: &str| Err(ManifestError::new(node.line(), format!("`{name}` {why}: change it by hand")));
    if node.in_flow {
        return refuse("stands in a mapping in braces");
    }
    let marked = |id: Id| tree.node(id).tag.is_some() || tree.anchor(id).is_some();
    if marked(key) || marked(value) {
        return refuse("has an anchor or a tag");
    }
    let shared = tree.nodes.iter().any(|other| match other.kind {
        NodeKind::Alias(target) => (target..tree.node(target).next()).contains(&key),
        _ => false,
    });
    if shared {
        return refuse("stands in what an anchor names and an alias uses again");
    }
    let start = text[..node.bytes().start].rfind('\n').map_or(0, |at| at + 1);
    let stop = text[start..].find('\n').map_or(text.len(), |at| start + at + 1);
    let content = text[start..stop].trim_end_matches(['\n', '\r']);
    let (stop_content, indent) = (start + content.len(), &text[start..node.bytes().start]);
    let one_line = match tree.node(value).kind {
        NodeKind::Scalar(_, ScalarStyle::Literal | ScalarStyle::Folded) => false,
        NodeKind::Scalar(..) => tree.node(value).bytes().end <= stop_content,
        _ => return refuse("has no plain value"),
    };
    if !one_line || !indent.bytes().all(|b| b == b' ') {
        return refuse("does not stand on one line of its own");
    }
    let tail = match tree.node(value).bytes() {
        bytes if bytes.is_empty() => text[node.bytes().end..stop_content].trim_start().strip_prefix(':'),
        bytes => Some(&text[bytes.end..stop_content]),
    };
    match tail {
        Some(tail) if tail.trim_start().is_empty() || tail.trim_start().starts_with('#') => {
            let usual_end = if text.split('\n').next().is_some_and(|l| l.ends_with('\r')) { "\r\n" } else { "\n" };
            Ok(Line { range: start..stop, indent, tail, end: &text[stop_content..stop], usual_end })
        }
        _ => refuse("does not stand on one line of its own"),
    }
}

/// The edits for one workload, and the nodes that go.
fn plan(
    tree: &Tree,
    rewrite: &Rewrite,
    edits: &mut Vec<(Range<usize>, String)>,
    gone: &mut HashSet<Id>,
) -> Result<(), ManifestError> {
    let at = rewrite.found.line;
    let maps = maps(tree, rewrite.found.node)?;
    let moved: Vec<(String, String)> =
        rewrite.replace.iter().filter(|r| r.label).flat_map(|r| r.by.iter().cloned()).collect();
    let stays = rewrite.replace.iter().any(|r| !r.label && !r.by.is_empty()) || !moved.is_empty();
    for (label, map) in &maps {
        let entries: Vec<(Id, Id)> = tree.entries(*map).collect();
        let mut lines = Vec::new();
        for replace in rewrite.replace.iter().filter(|r| r.label == *label) {
            let found = entries.iter().find(|(key, _)| tree.scalar(*key) == Some(&replace.key));
            let Some((key, value)) = found else {
                let reason = format!("`{}` is no longer there: read the file again", excerpt(&replace.key));
                return Err(ManifestError::new(at, reason));
            };
            let line = line(tree, *key, *value)?;
            let by = if *label { &[] } else { replace.by.as_slice() };
            edits.push((line.range.clone(), line.filled(by)));
            gone.extend([*key, *value]);
            lines.push(line.range);
        }
        let empty = lines.len() == entries.len() && (*label || !stays);
        if empty && let Some(first) = lines.iter().map(|range| range.start).min() {
            let (header, range) = header(tree, *map, first)?;
            edits.push((range, String::new()));
            gone.extend([header, *map]);
        }
    }
    if moved.is_empty() {
        return Ok(());
    }
    let first = |map: Id| tree.entries(map).next();
    match maps.iter().find(|(label, _)| !label) {
        Some((_, map)) => {
            let Some((key, value)) = first(*map) else {
                return Err(ManifestError::new(tree.line(*map), "`annotations` is empty: write the keys by hand"));
            };
            let line = line(tree, key, value)?;
            edits.push((line.range.start..line.range.start, above(&moved, line.indent, line.usual_end)));
        }
        None if rewrite.found.workload.has_annotations => {
            return Err(ManifestError::new(at, "`annotations` is no plain mapping: write the keys by hand"));
        }
        None => {
            // Above `labels`, which are there, as something is to be moved out of them.
            let labels = maps.iter().find(|(label, _)| *label).map(|(_, map)| *map);
            let Some((map, (key, value))) = labels.and_then(|map| Some((map, first(map)?))) else { return Ok(()) };
            let line = line(tree, key, value)?;
            let (_, range) = header(tree, map, line.range.start)?;
            let indent = &tree.text[range.start..][..tree.text[range.clone()].len()];
            let indent = &indent[..indent.len() - indent.trim_start_matches(' ').len()];
            let end = line.usual_end;
            let keys = above(&moved, &format!("{indent}  "), end);
            edits.push((range.start..range.start, format!("{indent}annotations:{end}{keys}")));
        }
    }
    Ok(())
}

fn above(entries: &[(String, String)], indent: &str, end: &str) -> String {
    entries.iter().map(|(key, value)| format!("{indent}{}{end}", entry(key, value))).collect()
}

/// The key of a mapping, and its line, which must be right above the first entry.
fn header(tree: &Tree, map: Id, first: usize) -> Result<(Id, Range<usize>), ManifestError> {
    // A mapping's key is the node before it.
    let key = map.saturating_sub(1);
    let refuse = || {
        let name = excerpt(tree.scalar(key).unwrap_or_default());
        ManifestError::new(tree.line(map), format!("`{name}` does not stand right above its keys: change it by hand"))
    };
    let start = tree.text[..tree.node(key).bytes().start].rfind('\n').map_or(0, |at| at + 1);
    let lead = &tree.text[start..tree.node(key).bytes().start];
    let rest = tree.text.get(tree.node(key).bytes().end..first).ok_or_else(refuse)?;
    if lead.bytes().all(|b| b == b' ') && rest.trim() == ":" && rest.matches('\n').count() == 1 {
        Ok((key, start..first))
    } else {
        Err(refuse())
    }
}

/// Parses the edited text: all that was not to go is there, and all that is new was to come.
fn verify(old: &Tree, gone: &HashSet<Id>, edited: &str, rewrites: &[Rewrite]) -> Result<(), ManifestError> {
    let at = rewrites.first().map_or(1, |rewrite| rewrite.found.line);
    let differs = || ManifestError::new(at, "the edit would change more than these keys: change them by hand");
    let new = Tree::parse(edited).map_err(|_| differs())?;
    let again = read::read(edited).map_err(|_| differs())?.workloads;
    let mut come = HashSet::new();
    for rewrite in rewrites {
        let same = |found: &&FoundWorkload| {
            found.workload.id == rewrite.found.workload.id && found.document == rewrite.found.document
        };
        let found = again.iter().find(same).ok_or_else(differs)?;
        let mut expected: BTreeMap<&str, &str> =
            rewrite.replace.iter().flat_map(|r| r.by.iter().map(|(k, v)| (k.as_str(), v.as_str()))).collect();
        let had = maps(old, rewrite.found.node)?.iter().any(|(label, _)| !label);
        for (_, map) in maps(&new, found.node)?.into_iter().filter(|(label, _)| !label) {
            for (key, value) in new.entries(map) {
                let name = new.scalar(key).unwrap_or_default();
                if expected.get(name).is_some_and(|text| new.scalar(value) == Some(text)) {
                    expected.remove(name);
                    come.extend([key, value]);
                }
            }
            if !had {
                come.extend([map - 1, map]);
            }
        }
        if !expected.is_empty() {
            return Err(differs());
        }
    }
    if bones(old, gone) == bones(&new, &come) { Ok(()) } else { Err(differs()) }
}

/// All nodes but those, with their depth, by what they say.
fn bones<'t>(tree: &'t Tree, but: &HashSet<Id>) -> Vec<(usize, String, Option<String>, Option<&'t str>)> {
    let mut open: Vec<Id> = Vec::new();
    let mut bones = Vec::new();
    for (index, node) in tree.nodes.iter().enumerate() {
        let id = index as Id;
        while open.last().is_some_and(|end| *end <= id) {
            open.pop();
        }
        let depth = open.len();
        if node.is_collection() {
            open.push(node.next());
        }
        if but.contains(&id) {
            continue;
        }
        let kind = match &node.kind {
            NodeKind::Alias(target) => format!("*{}", tree.anchor(*target).unwrap_or_default()),
            other => format!("{other:?}"),
        };
        bones.push((depth, kind, node.tag.as_ref().map(|tag| tag.original()), tree.anchor(id)));
    }
    bones
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `-key` takes out, `key -> a: 1; b: 2` replaces; `label ` before a label.
    fn rewritten(text: &str, replaces: &[&str]) -> Result<String, String> {
        let manifests = read::read(text).unwrap();
        let replace = |line: &&str| {
            let (label, line) = line.strip_prefix("label ").map_or((false, *line), |line| (true, line));
            let (key, by) = line.split_once(" -> ").unwrap_or((line.trim_start_matches('-'), ""));
            let by = by.split("; ").filter_map(|part| part.split_once(": "));
            let by = by.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
            Replace { label, key: key.to_owned(), by }
        };
        let replace = replaces.iter().map(replace).collect();
        let rewrites = [Rewrite { found: &manifests.workloads[0], replace }];
        rewrite(text, &rewrites).map_err(|error| error.to_string())
    }

    fn deployment(metadata: &str) -> String {
        format!(
            "# top\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\n{metadata}spec:\n  template:\n    \
             spec:\n      containers:\n      - {{name: web, image: 'o/web:1.0'}}\n"
        )
    }

    #[test]
    fn an_annotation_is_replaced_on_its_line() {
        let text = deployment("  annotations:\n    a: b # x\n    keel.sh/policy: \"minor\"   # was Keel's\n    z: 1\n");
        let edited = rewritten(&text, &["keel.sh/policy -> s/policy: minor; s/poll: 0 * * * *"]).unwrap();
        let expected =
            "  annotations:\n    a: b # x\n    s/policy: minor   # was Keel's\n    s/poll: 0 * * * *\n    z: 1\n";
        assert_eq!(edited, deployment(expected));
    }

    #[test]
    fn values_that_would_be_read_as_something_else_are_quoted() {
        let text = deployment("  annotations:\n    keel.sh/policy: minor\n");
        let edited = rewritten(&text, &["keel.sh/policy -> s/a: true; s/b: *x; s/c: 1"]).unwrap();
        assert_eq!(edited, deployment("  annotations:\n    s/a: \"true\"\n    s/b: \"*x\"\n    s/c: \"1\"\n"));
    }

    #[test]
    fn a_label_moves_to_the_annotations_that_are_there() {
        let text = deployment("  labels:\n    app: web\n    keel.sh/policy: minor\n  annotations:\n    a: b\n");
        let edited = rewritten(&text, &["label keel.sh/policy -> s/policy: minor"]).unwrap();
        assert_eq!(edited, deployment("  labels:\n    app: web\n  annotations:\n    s/policy: minor\n    a: b\n"));
    }

    #[test]
    fn a_label_makes_annotations_where_there_are_none_and_the_last_label_takes_its_map_along() {
        let text = deployment("  labels:\n    keel.sh/policy: minor\n    keel.sh/trigger: poll\n");
        let edited = rewritten(&text, &["label keel.sh/policy -> s/policy: minor", "label -keel.sh/trigger"]).unwrap();
        assert_eq!(edited, deployment("  annotations:\n    s/policy: minor\n"));
    }

    #[test]
    fn the_last_annotation_takes_its_map_along() {
        let text = deployment("  annotations:\n    keel.sh/digest: x\n");
        assert_eq!(rewritten(&text, &["-keel.sh/digest"]).unwrap(), deployment(""));
    }

    #[test]
    fn line_ends_and_a_missing_last_one_stay() {
        let text = "kind: Deployment\r\napiVersion: apps/v1\r\nmetadata:\r\n  name: web\r\n  annotations:\r\n    keel.sh/policy: minor";
        let edited = rewritten(text, &["keel.sh/policy -> s/a: x; s/b: z"]).unwrap();
        assert_eq!(edited, text.replace("keel.sh/policy: minor", "s/a: x\r\n    s/b: z"));
    }

    #[rstest::rstest]
    #[case("  annotations: {keel.sh/policy: minor}\n", "in braces")]
    #[case("  annotations:\n    keel.sh/policy: &p minor\n    b: *p\n", "an anchor")]
    #[case("  annotations: &a\n    keel.sh/policy: minor\n  labels: *a\n", "an alias uses again")]
    #[case("  annotations:\n    keel.sh/policy: |\n      minor\n", "one line")]
    #[case("  annotations:\n    keel.sh/policy:\n      minor\n", "one line")]
    #[case("  annotations:\n    keel.sh/policy: mi\n      nor\n", "one line")]
    #[case("  annotations:\n    ? keel.sh/policy\n    : minor\n", "one line")]
    #[case("  annotations:\n    keel.sh/policy: !!str minor\n", "a tag")]
    fn what_is_not_a_line_of_its_own_is_refused(#[case] metadata: &str, #[case] says: &str) {
        let error = rewritten(&deployment(metadata), &["keel.sh/policy -> s/policy: minor"]).unwrap_err();
        assert!(error.contains(says), "{error}");
    }

    #[test]
    fn a_comment_above_the_last_key_of_a_map_is_not_taken_along() {
        let text = deployment("  annotations:\n    # why\n    keel.sh/digest: x\n");
        assert!(rewritten(&text, &["-keel.sh/digest"]).unwrap_err().contains("right above"));
    }

    #[test]
    fn helm_values_of_keels_are_found() {
        let text = "image: {tag: 1}\nkeel:\n  policy: all\n  trigger: poll\n  images:\n  - repository: image.repository\n    tag: image.tag\nother:\n  keel: {enabled: true}\n";
        let values = keel_values(text).unwrap();
        assert_eq!(values.len(), 1);
        assert_eq!((values[0].line, values[0].scalars["policy"].as_str()), (2, "all"));
        assert_eq!(values[0].images, [("image.repository".to_owned(), "image.tag".to_owned())]);
    }
}
