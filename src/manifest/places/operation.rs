//! The operations of a JSON patch (RFC 6902), as they are written.

use super::{
    super::{
        meta::Pairs,
        path::key_step,
        tree::{Id, NodeKind, Tree},
    },
    cell::{Cell, Source},
    kustomization::mappings,
    outer::Set,
    values::{self, MAX_OF_RELEASE},
};

/// A change at a JSON pointer.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) line: usize,
    pub(super) pointer: Box<str>,
    pub(super) put: Put,
    /// Whether nothing comes or goes: `replace`.
    pub(super) is_replacing: bool,
    /// Whether it changes labels or annotations, and which of them; all if none is said.
    pub(super) map: Option<&'static str>,
    pub(super) key: Option<Box<str>>,
    /// The `images` or `patches` that it puts there.
    pub(super) set: Option<Box<Set>>,
    /// What it does to a list of containers, and the pointer of the list.
    pub(super) list: Option<(Box<str>, Change)>,
}

/// What an operation puts there.
#[derive(Debug)]
pub(super) enum Put {
    Scalar(Cell),
    /// A mapping or a list: what of it are texts, and its scalars by their paths within it; none if they are too many.
    Tree(Pairs, Option<Vec<(Box<str>, Cell)>>),
    Nothing,
    /// It cannot be told.
    Other,
}

/// A container's name, and its image if it has one.
type Container = (Box<str>, Option<Cell>);

/// A change of a list of containers.
#[derive(Debug)]
pub(super) enum Change {
    All(Vec<Container>),
    /// At the end if no index is given.
    Add(Option<usize>, Container),
    Replace(usize, Container),
    Remove(usize),
    Move(usize, usize),
    /// It is not followed.
    Other,
}

impl Change {
    fn read(source: &Source, op: &str, item: Option<&str>, value: Option<Id>) -> Self {
        let tree = source.tree;
        let container = |node: Id| {
            let node = Some(tree.resolve(node)).filter(|node| tree.node(*node).kind == NodeKind::Mapping)?;
            let field = |key| tree.get(node, key).ok().flatten().and_then(|node| source.cell(node));
            Some((field("name")?.value, field("image")))
        };
        let index = item.and_then(|item| item.parse().ok());
        let one = value.and_then(container);
        match (op, item, index, one) {
            ("remove", None, ..) => Self::All(Vec::new()),
            ("remove", _, Some(index), _) => Self::Remove(index),
            ("add", Some("-"), _, Some(one)) => Self::Add(None, one),
            ("add", _, Some(index), Some(one)) => Self::Add(Some(index), one),
            ("replace", _, Some(index), Some(one)) => Self::Replace(index, one),
            ("add" | "replace", None, ..) => {
                let list = value.map(|value| tree.resolve(value));
                let list = list.filter(|list| tree.node(*list).kind == NodeKind::Sequence);
                let all = list.and_then(|list| tree.children(list).map(container).collect());
                all.map_or(Self::Other, Self::All)
            }
            _ => Self::Other,
        }
    }

    /// The containers that it puts there.
    pub(super) fn containers(&self) -> &[Container] {
        match self {
            Self::All(all) => all,
            Self::Add(_, one) | Self::Replace(_, one) => std::slice::from_ref(one),
            Self::Remove(_) | Self::Move(..) | Self::Other => &[],
        }
    }

    /// Does it to the names of a list; false if that is not followed.
    pub(super) fn reorder<'f>(&'f self, order: &mut Vec<&'f str>) -> bool {
        match self {
            Self::All(all) => *order = all.iter().map(|(name, _)| &**name).collect(),
            Self::Add(None, (name, _)) => order.push(name),
            Self::Add(Some(index), (name, _)) if *index <= order.len() => order.insert(*index, name),
            Self::Replace(index, (name, _)) if *index < order.len() => order[*index] = name,
            Self::Remove(index) if *index < order.len() => _ = order.remove(*index),
            Self::Move(from, to) if *from.max(to) < order.len() => {
                let one = order.remove(*from);
                order.insert(*to, one);
            }
            _ => return false,
        }
        true
    }
}

impl Operation {
    /// Whether it may change an image of a release, which may be an ApplicationSet.
    pub(super) fn sets_values(&self, is_set: bool) -> bool {
        let steps: Vec<&str> = self.pointer.split('/').skip(1).filter(|step| !step.is_empty()).collect();
        match (&steps[..], is_set) {
            ([] | ["spec"], _) => true,
            (["spec", "template"] | ["spec", "template", "spec"], true) => true,
            (["spec", "template", "spec", key, ..], true) => key.starts_with("source"),
            (["spec", key, ..], true) => matches!(*key, "templatePatch" | "generators"),
            (["spec", "chart"] | ["spec", "chart", "spec"], false) => true,
            (["spec", "chart", "spec", key, ..], false) => {
                matches!(*key, "chart" | "sourceRef" | "valuesFile" | "valuesFiles")
            }
            (["spec", key, ..], false) => {
                ["values", "source", "postRenderers", "chartRef"].iter().any(|of| key.starts_with(of))
            }
            _ => false,
        }
    }

    fn read(source: &Source, line: usize, op: &str, pointer: &str, value: Option<Id>) -> Self {
        let tree = source.tree;
        let mut steps = pointer.split('/').skip(1);
        let map = match (steps.next(), steps.next()) {
            (Some("metadata"), Some("annotations")) => Some("annotations"),
            (Some("metadata"), Some("labels")) => Some("labels"),
            _ => None,
        };
        let key = steps.next().filter(|_| map.is_some()).map(|key| plain(key).into());
        let put = match (op, value) {
            ("add" | "replace", Some(value)) => match source.cell(value) {
                Some(cell) => Put::Scalar(cell),
                None => {
                    let node = tree.resolve(value);
                    let is_of_release = pointer.starts_with("/spec/values") || pointer.starts_with("/spec/source");
                    let most = if is_of_release { MAX_OF_RELEASE } else { 0 };
                    Put::Tree(Pairs::read(tree, node), values::flat(source, node, "", most))
                }
            },
            ("remove", _) => Put::Nothing,
            _ => Put::Other,
        };
        let is_list = |list: &str| list.ends_with("/containers") || list.ends_with("/initContainers");
        let (list, item) = match pointer.rsplit_once('/') {
            Some((list, item)) if is_list(list) => (Some(list), Some(item)),
            _ => (Some(pointer).filter(|pointer| is_list(pointer)), None),
        };
        let list = list.map(|list| (list.into(), Change::read(source, op, item, value)));
        let set = value.filter(|_| op != "remove").and_then(|value| Set::of_list(source, pointer, value));
        Self {
            line,
            pointer: pointer.into(),
            put,
            is_replacing: op == "replace",
            map,
            key,
            set: set.map(Box::new),
            list,
        }
    }

    /// The image that it gives to an item of a list of containers, whichever it is.
    pub(super) fn image_in(&self, list: &str) -> Option<&Cell> {
        let Put::Scalar(cell) = &self.put else { return None };
        let item = self.pointer.strip_prefix(list)?.strip_prefix('/')?.strip_suffix("/image")?;
        item.parse::<usize>().is_ok().then_some(cell)
    }

    pub(super) fn is_all_of_the_head(&self) -> bool {
        matches!(&*self.pointer, "" | "/" | "/metadata")
    }

    /// The pointer as the path of a value ([`super::super::Path::key`]).
    pub(super) fn path(&self) -> String {
        let step = |step: &str| match step.parse::<usize>() {
            Ok(index) => format!("[{index}]"),
            Err(_) => key_step(&plain(step)),
        };
        self.pointer.split('/').skip(1).map(step).collect()
    }
}

/// A step of a pointer.
fn plain(step: &str) -> String {
    step.replace("~1", "/").replace("~0", "~")
}

/// The operations of a list.
pub(super) fn operations(source: &Source, root: Id) -> Vec<Operation> {
    let tree: &Tree = source.tree;
    let mut found = Vec::new();
    for item in mappings(tree, root) {
        let get = |key| tree.get(item, key).ok().flatten();
        let word = |key| get(key).and_then(|node| tree.scalar(node));
        let line = source.line(item);
        let (Some(op), Some(pointer)) = (word("op"), word("path")) else { continue };
        if op == "test" {
            continue;
        }
        let mut operation = Operation::read(source, line, op, pointer, get("value"));
        if let Some(from) = word("from").filter(|_| op == "move") {
            let item = |pointer: &str| pointer.rsplit_once('/').and_then(|(_, item)| item.parse::<usize>().ok());
            let removal = Operation::read(source, line, "remove", from, None);
            match (&removal.list, &mut operation.list, item(from), item(pointer)) {
                (Some((list, _)), Some((own, change)), Some(from), Some(to)) if list == own => {
                    *change = Change::Move(from, to);
                }
                _ => found.push(removal),
            }
        }
        found.push(operation);
    }
    found
}
