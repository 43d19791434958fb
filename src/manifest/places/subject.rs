//! An object on its way through kustomizations: what it is called, and how it is labelled, at each point.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    super::{
        meta::{Meta, Pairs},
        read::concerns_us,
    },
    kustomization::Kustomization,
    operation::{Operation, Put},
    outer::Over,
    patch::Part,
};

/// The kind whose objects `namespace` gives another name.
pub(super) const NAMESPACE: &str = "Namespace";
/// What Kustomize has for the namespace of what is in none.
pub(super) const NO_NAMESPACE: &str = "_non_namespaceable_";

/// An object at some point of its way.
#[derive(Debug)]
pub(super) struct Subject<'f> {
    pub(super) kind: &'f str,
    pub(super) group: &'f str,
    pub(super) meta: &'f Meta,
    /// Each namespace and name that it has had, the present ones last.
    ids: Vec<(Arc<str>, Arc<str>)>,
    labels: Vec<Change<'f>>,
    annotations: Vec<Change<'f>>,
}

/// A change of a map: of one key, or of all.
#[derive(Debug)]
enum Change<'f> {
    Key(&'f str, Option<&'f str>),
    Cleared,
    /// It is not known what this key has then, or any.
    Lost(Option<&'f str>),
}

impl<'f> Subject<'f> {
    pub(super) fn new(kind: &'f str, group: &'f str, meta: &'f Meta, namespace: &str, name: &str) -> Self {
        let ids = vec![(namespace.into(), name.into())];
        Self { kind, group, meta, ids, labels: Vec::new(), annotations: Vec::new() }
    }

    /// The first and the present namespace and name.
    pub(super) fn ends(&self) -> [(&str, &str); 2] {
        [self.ids.first(), self.ids.last()]
            .map(|id| id.map_or(("default", ""), |(namespace, name)| (effective(namespace), &**name)))
    }

    /// Each namespace and name that it has had.
    pub(super) fn each_end(&self) -> impl Iterator<Item = (&str, &str)> {
        self.ids.iter().map(|(namespace, name)| (effective(namespace), &**name))
    }

    /// The present namespace, empty if none is set, and the present name.
    pub(super) fn id(self) -> (Arc<str>, Arc<str>) {
        self.ids.into_iter().next_back().unwrap_or_default()
    }

    /// Whether it has or had this namespace and name.
    pub(super) fn is(&self, namespace: &str, name: &str) -> bool {
        self.ids.iter().any(|(own, n)| **n == *name && effective(own) == effective(namespace))
    }

    /// The label of that key, if it has one; none if that is not known.
    pub(super) fn label(&self, key: &str) -> Option<Option<&'f str>> {
        (!is_lost(&self.labels, key)).then(|| get(&self.meta.labels, &self.labels, key))
    }

    /// The same of an annotation.
    pub(super) fn annotation(&self, key: &str) -> Option<Option<&'f str>> {
        (!is_lost(&self.annotations, key)).then(|| get(&self.meta.annotations, &self.annotations, key))
    }

    /// What of its annotations concerns us.
    pub(super) fn ours(&self) -> BTreeMap<String, String> {
        let mut keys: Vec<&str> = self.meta.annotations.all.iter().map(|(key, _)| &**key).collect();
        keys.extend(self.annotations.iter().filter_map(|change| match change {
            Change::Key(key, _) => Some(*key),
            Change::Cleared | Change::Lost(_) => None,
        }));
        let ours = keys.into_iter().filter(|key| concerns_us(key));
        let value = |key| get(&self.meta.annotations, &self.annotations, key);
        ours.filter_map(|key| Some((key.to_owned(), value(key)?.to_owned()))).collect()
    }

    /// What a kustomization does to its head, besides patches; what renders it may say so in its place.
    pub(super) fn pass(&mut self, layer: Option<&'f Kustomization>, over: &[&'f Over]) {
        let (mut namespace, name) = self.ids.last().cloned().unwrap_or_default();
        let is_namespace = self.kind == NAMESPACE && self.group.is_empty();
        let of_layer = layer.and_then(|layer| layer.namespace.as_deref());
        let last = |get: fn(&'f Over) -> &'f Option<Box<str>>| over.iter().rev().find_map(|over| get(over).as_deref());
        if let Some(own) = last(|over| &over.namespace).or(of_layer) {
            if is_namespace && layer.is_some_and(|layer| layer.leaves_namespaces) {
                // It is called as before.
            } else if is_namespace {
                self.ids.push((namespace.clone(), own.into()));
            } else {
                namespace = own.into();
                self.ids.push((namespace.clone(), name.clone()));
            }
        }
        let prefix = last(|over| &over.prefix).or(layer.map(|layer| &*layer.prefix));
        let suffix = last(|over| &over.suffix).or(layer.map(|layer| &*layer.suffix));
        let (prefix, suffix) = (prefix.unwrap_or_default(), suffix.unwrap_or_default());
        if !is_namespace && (!prefix.is_empty() || !suffix.is_empty()) {
            self.ids.push((namespace, format!("{prefix}{name}{suffix}").into()));
        }
        if let Some(layer) = layer {
            layer.labels.iter().for_each(|pairs| set(&mut self.labels, pairs));
            set(&mut self.annotations, &layer.annotations);
        }
        for over in over {
            set(&mut self.labels, &over.labels);
            set(&mut self.annotations, &over.annotations);
        }
    }

    /// What a partial object does to its head. Where Kustomize copies it first, `null` is a text.
    pub(super) fn merge(&mut self, meta: &'f Meta, is_copied: bool) {
        for (changes, pairs) in [(&mut self.labels, &meta.labels), (&mut self.annotations, &meta.annotations)] {
            let first = changes.len();
            set(changes, pairs);
            for change in changes.iter_mut().skip(first).filter(|_| is_copied) {
                if let Change::Key(_, value) = change {
                    value.get_or_insert("null");
                }
            }
        }
    }

    /// What a part of a patch may do to its labels and annotations.
    pub(super) fn lose(&mut self, part: &Part<'f>) {
        let meta = match part {
            Part::Workload(found, _) => &found.meta,
            Part::Release(release) => &release.meta,
            Part::Namespace(found) => &found.meta,
            Part::Outer(outer) => &outer.meta,
            Part::Operation(operation) => return self.lose_by(operation),
        };
        for (changes, pairs) in [(&mut self.labels, &meta.labels), (&mut self.annotations, &meta.annotations)] {
            changes.extend(pairs.replaces.then_some(Change::Lost(None)));
            changes.extend(pairs.all.iter().map(|(key, _)| Change::Lost(Some(key))));
        }
    }

    fn lose_by(&mut self, operation: &'f Operation) {
        for (map, changes) in [("labels", &mut self.labels), ("annotations", &mut self.annotations)] {
            if operation.map == Some(map) || operation.is_all_of_the_head() {
                changes.push(Change::Lost(operation.key.as_deref()));
            }
        }
    }

    /// What a replacement does that sets the value at a path of it.
    pub(super) fn lose_at(&mut self, path: &'f str) {
        let mut steps = path.splitn(3, '.');
        let (first, map, key) = (steps.next(), steps.next(), steps.next());
        let key = key.map(|key| key.trim_matches(['[', ']'])).filter(|key| !key.contains(['*', '\\', '=']));
        for (own, changes) in [("labels", &mut self.labels), ("annotations", &mut self.annotations)] {
            if matches!(first, Some("metadata" | "*")) && map.is_none_or(|map| map == own || map == "*") {
                changes.push(Change::Lost(key));
            }
        }
    }

    /// What an operation does to its head; false if it puts there what is not followed.
    pub(super) fn operate(&mut self, operation: &'f Operation) -> bool {
        if matches!(operation.put, Put::Other) || operation.is_all_of_the_head() {
            self.lose_by(operation);
            let is_ours =
                operation.map == Some("annotations") && operation.key.as_ref().is_none_or(|key| concerns_us(key));
            return !is_ours && !operation.is_all_of_the_head();
        }
        for (map, changes) in [("labels", &mut self.labels), ("annotations", &mut self.annotations)] {
            if operation.map != Some(map) {
                continue;
            }
            match (&operation.key, &operation.put) {
                (Some(key), Put::Scalar(cell)) => changes.push(Change::Key(key, Some(&cell.value))),
                (Some(key), _) => changes.push(Change::Key(key, None)),
                (None, put) => {
                    changes.push(Change::Cleared);
                    if let Put::Tree(pairs, _) = put {
                        set(changes, pairs);
                    }
                }
            }
        }
        true
    }
}

/// The namespace that Kustomize takes where none is written.
fn effective(namespace: &str) -> &str {
    if namespace.is_empty() { "default" } else { namespace }
}

fn set<'f>(changes: &mut Vec<Change<'f>>, pairs: &'f Pairs) {
    if pairs.replaces {
        changes.push(Change::Cleared);
    }
    changes.extend(pairs.all.iter().map(|(key, value)| Change::Key(key, value.as_deref())));
}

/// Whether the last change of a key is one that is not known.
fn is_lost(changes: &[Change], key: &str) -> bool {
    let last = changes.iter().rev().find_map(|change| match change {
        Change::Lost(own) if own.is_none_or(|own| own == key) => Some(true),
        Change::Key(own, _) if *own == key => Some(false),
        Change::Cleared => Some(false),
        Change::Lost(_) | Change::Key(..) => None,
    });
    last == Some(true)
}

fn get<'f>(written: &'f Pairs, changes: &[Change<'f>], key: &str) -> Option<&'f str> {
    for change in changes.iter().rev() {
        match change {
            Change::Key(own, value) if *own == key => return *value,
            Change::Cleared => return None,
            Change::Key(..) | Change::Lost(_) => {}
        }
    }
    written.all.iter().find(|(own, _)| **own == *key)?.1.as_deref()
}
