//! Keys in any place of a text, where no annotation of a workload stands: values, patches, pod templates, texts in texts.

use std::collections::HashSet;

use granit_parser::ScalarStyle;

use super::{
    metadata::maps,
    read::FoundWorkload,
    tree::{Id, NodeKind, Tree},
};

/// Where a record of a whole object stands, which means nothing by itself.
const RECORD: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A key in a mapping that is no workload's, or within a text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stray {
    /// The line, from 1.
    pub line: usize,
    /// The key, without the escapes of where it stands.
    pub key: String,
    /// Its value; none within a text, or where it is no text.
    pub value: Option<String>,
    /// The same number for keys of one mapping.
    pub mapping: Option<u32>,
}

/// Finds keys that are not annotations or labels of these workloads: `is_key` says of a mapping's key whether it is one,
/// `in_text` which there are in other texts, with their lines from 0. A text that is no YAML is searched as it is.
pub fn strays(
    text: &str,
    but: &[&FoundWorkload],
    is_key: fn(&str) -> bool,
    in_text: fn(&str) -> Vec<(usize, String)>,
) -> Vec<Stray> {
    let within = |text: &str, line: usize| -> Vec<Stray> {
        let found = in_text(text).into_iter();
        found.map(|(at, key)| Stray { line: line + at, key, value: None, mapping: None }).collect()
    };
    let Ok(tree) = Tree::parse(text) else { return within(text, 1) };
    let known: HashSet<Id> =
        but.iter().flat_map(|found| maps(&tree, found.node).unwrap_or_default()).map(|(_, map)| map).collect();
    let mut found = Vec::new();
    let mut done: HashSet<Id> = HashSet::new();
    for id in 0..tree.nodes.len() as Id {
        for (key, value) in tree.entries_of(id) {
            let Some(name) = tree.scalar(key) else { continue };
            if name == RECORD {
                done.insert(value);
            }
            if !is_key(name) {
                continue;
            }
            done.insert(key);
            if !known.contains(&id) {
                let value = tree.scalar(value).map(str::to_owned);
                found.push(Stray { line: tree.line(key), key: name.to_owned(), value, mapping: Some(id) });
            }
        }
        let NodeKind::Scalar(value, style) = &tree.node(id).kind else { continue };
        if done.contains(&id) {
            continue;
        }
        if matches!(style, ScalarStyle::Literal | ScalarStyle::Folded) {
            // As it is written, as the lines of what is meant may be others.
            let bytes = tree.node(id).bytes();
            let line = 1 + text[..bytes.start].matches('\n').count();
            found.extend(within(&text[bytes], line));
        } else {
            let lines = within(value, 0).into_iter();
            found.extend(lines.map(|stray| Stray { line: tree.line(id), ..stray }));
        }
    }
    found.sort();
    found.dedup();
    found
}

/// The paths of files that the kustomizations in a text name as patches, as written.
pub fn patch_paths(text: &str) -> Vec<String> {
    let Ok(tree) = Tree::parse(text) else { return Vec::new() };
    let mut paths = Vec::new();
    for (key, list) in tree.documents.iter().flat_map(|document| tree.entries_of(document.root)) {
        let list = tree.resolve(list);
        if tree.node(list).kind != NodeKind::Sequence {
            continue;
        }
        let items = tree.children(list).map(|item| tree.resolve(item));
        match tree.scalar(key) {
            Some("patchesStrategicMerge") => {
                paths.extend(items.filter_map(|item| tree.scalar(item)).map(str::to_owned));
            }
            Some("patches" | "patchesJson6902") => {
                let named = items.flat_map(|item| tree.entries_of(item).collect::<Vec<_>>());
                let named = named.filter(|(key, _)| tree.scalar(*key) == Some("path"));
                paths.extend(named.filter_map(|(_, path)| tree.scalar(path)).map(str::to_owned));
            }
            _ => {}
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::keel, manifest::read};

    fn found(text: &str) -> Vec<(usize, String, Option<String>)> {
        let manifests = read(text).unwrap_or_default();
        let but: Vec<&FoundWorkload> = manifests.workloads.iter().collect();
        let strays = strays(text, &but, keel::is_keels, keel::mentions);
        strays.into_iter().map(|stray| (stray.line, stray.key, stray.value)).collect()
    }

    #[rstest::rstest]
    #[case::values("web:\n  podAnnotations:\n    keel.sh/policy: minor\n", 3, Some("minor"))]
    #[case::braces("web: {annotations: {\n  keel.sh/policy: minor}}\n", 2, Some("minor"))]
    #[case::merged("a: &a\n  keel.sh/policy: all\nb:\n  <<: *a\n", 2, Some("all"))]
    #[case::json("{\n\"a\": {\n\"keel.sh/policy\": \"all\"}}", 3, Some("all"))]
    #[case::pod_template(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, annotations: {keel.sh/policy: major}}\nspec:\n  \
         template:\n    metadata:\n      annotations: {keel.sh/policy: minor}\n",
        7,
        Some("minor")
    )]
    #[case::other_group(
        "apiVersion: extensions/v1beta1\nkind: Deployment\nmetadata:\n  name: web\n  labels:\n    keel.sh/policy: all\n",
        6,
        Some("all")
    )]
    #[case::json_patch("- op: add\n  path: /metadata/annotations/keel.sh~1policy\n  value: minor\n", 2, None)]
    #[case::text_in_text(
        "data:\n  a: x\n  web.yaml: |\n\n    # keel.sh/policy: all\n    keel.sh/policy: minor\n",
        6,
        None
    )]
    #[case::folded("data:\n  web.yaml: >-\n    a\n    b\n    keel.sh/policy: minor\n", 5, None)]
    #[case::json_in_text("data:\n  a: \"{\\n\\\"keel.sh/policy\\\": \\\"all\\\"}\"\n", 2, None)]
    #[case::parameter("- name: podAnnotations.keel\\.sh/policy\n  value: all\n", 1, None)]
    #[case::no_yaml("{{- if .Values.keel }}\na: {{ x }}: y\n  keel.sh/policy: minor\n", 3, None)]
    fn a_key_is_found_wherever_it_stands(#[case] text: &str, #[case] line: usize, #[case] value: Option<&str>) {
        assert_eq!(found(text), [(line, "keel.sh/policy".to_owned(), value.map(str::to_owned))]);
    }

    #[rstest::rstest]
    #[case::comment("a: b # keel.sh/policy: minor\n# keel.sh/policy: all\n")]
    #[case::own("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, labels: {keel.sh/policy: all}}\n")]
    #[case::address("a: https://keel.sh/docs\n")]
    #[case::record("kubectl.kubernetes.io/last-applied-configuration: '{\"keel.sh/policy\":\"all\"}'\n")]
    fn what_is_no_stray_key_is_not_found(#[case] text: &str) {
        assert_eq!(found(text), []);
    }

    #[test]
    fn a_kustomization_names_its_patches() {
        let text = "patches:\n- path: a.yaml\n- patch: |-\n    x\npatchesStrategicMerge: [b.yaml]\n\
                    patchesJson6902:\n- {target: {kind: Deployment}, path: ../c.yaml}\nresources: [d.yaml]\n";
        assert_eq!(patch_paths(text), ["a.yaml", "b.yaml", "../c.yaml"]);
    }
}
