//! A stream of documents as one flat list of nodes in the order of the text, with their bytes.
//!
//! Nothing here recurses, so the depth of a document costs no stack; each step over the list is linear.

use std::{borrow::Cow, cell::Cell, collections::HashMap, ops::Range};

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, StructureStyle, Tag};

use super::{
    MAX_BYTES, ManifestError, Place,
    size::{MAX_OTHERS, Size, Sizes, within},
};

/// The index of a node in its tree.
pub(super) type Id = u32;

/// Every document of a text.
pub(super) struct Tree<'a> {
    /// What was parsed.
    pub(super) text: &'a str,
    /// Every node of every document; a collection is followed by what is in it (a mapping: key, value, key, value, …).
    pub(super) nodes: Vec<Node<'a>>,
    /// The documents, in order.
    pub(super) documents: Vec<Document>,
    /// The bytes of each comment, in order of the text.
    pub(super) comments: Vec<Range<usize>>,
    /// How many scalars there are with the aliases written out.
    pub(super) scalars: usize,
    /// How many the texts in it have that were read ([`Self::inner`]).
    pub(super) inner: Cell<usize>,
}

/// A document: its marker and its root.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Document {
    /// Its root node.
    pub(super) root: Id,
    /// Whether it starts with `---`.
    pub(super) explicit: bool,
    /// What `%YAML` says.
    pub(super) version: Option<(u32, u32)>,
}

/// One value or key.
#[derive(Debug)]
pub(super) struct Node<'a> {
    pub(super) kind: NodeKind<'a>,
    /// Bytes of a scalar or an alias; of a collection, those of its start.
    start: u32,
    end: u32,
    /// From 1.
    line: u32,
    /// The first node after this one and all in it.
    next: Id,
    /// Whether it is the value of a key.
    pub(super) is_value: bool,
    /// `&name`: its bytes.
    anchor: Option<(u32, u32)>,
    /// The tag as written and as resolved.
    pub(super) tag: Option<Box<Tag>>,
    /// Whether a `[` or `{` is open around it.
    pub(super) in_flow: bool,
}

/// What a node is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NodeKind<'a> {
    Scalar(Cow<'a, str>, ScalarStyle),
    Sequence,
    Mapping,
    Alias(Id),
}

impl<'a> Tree<'a> {
    /// Parses a text whole. Fails on what is not YAML and on a mapping that has a key twice.
    pub(super) fn parse(text: &'a str) -> Result<Self, ManifestError> {
        if text.len() > MAX_BYTES {
            let reason = format!("{} bytes are more than the {MAX_BYTES} that are read: split the file", text.len());
            return Err(ManifestError::new(1, reason));
        }
        let mut options = granit_parser::options! { emit_anchor_events: true };
        options.max_buffered_comment_events = MAX_OTHERS;
        let mut building = Building {
            tree: Tree {
                text,
                nodes: Vec::new(),
                documents: Vec::new(),
                comments: Vec::new(),
                scalars: 0,
                inner: Cell::default(),
            },
            open: Vec::new(),
            anchors: HashMap::new(),
            sizes: Sizes::default(),
            flow: 0,
        };
        for event in Parser::new_from_str_with_options(text, options) {
            let (event, span) = event.map_err(|e| invalid(text, &e))?;
            building.event(event, span)?;
        }
        building.tree.comments.sort_unstable_by_key(|c| c.start);
        building.tree.scalars = building.sizes.all().scalars;
        Ok(building.tree)
    }

    pub(super) fn node(&self, id: Id) -> &Node<'a> {
        &self.nodes[id as usize]
    }

    /// The node itself, or what an alias stands for.
    pub(super) fn resolve(&self, id: Id) -> Id {
        match self.node(id).kind {
            NodeKind::Alias(target) => target,
            _ => id,
        }
    }

    /// The text of a scalar (through an alias, if it is one); empty where there is no value.
    pub(super) fn scalar(&self, id: Id) -> Option<&str> {
        match &self.node(self.resolve(id)).kind {
            NodeKind::Scalar(value, _) => Some(value),
            _ => None,
        }
    }

    /// The nodes directly in a collection.
    pub(super) fn children(&self, id: Id) -> impl Iterator<Item = Id> {
        let end = self.node(id).next;
        let mut at = id + 1;
        std::iter::from_fn(move || {
            let child = at;
            (child < end).then(|| {
                at = self.node(child).next;
                child
            })
        })
    }

    /// The collection that each node is directly in.
    pub(super) fn parents(&self) -> Vec<Option<Id>> {
        let mut open: Vec<Id> = Vec::new();
        let mut parents = Vec::with_capacity(self.nodes.len());
        for (index, node) in self.nodes.iter().enumerate() {
            while open.last().is_some_and(|last| self.node(*last).next <= index as Id) {
                open.pop();
            }
            parents.push(open.last().copied());
            if node.is_collection() {
                open.push(index as Id);
            }
        }
        parents
    }

    /// The keys and values of a mapping.
    pub(super) fn entries(&self, id: Id) -> impl Iterator<Item = (Id, Id)> {
        let mut children = self.children(id);
        std::iter::from_fn(move || Some((children.next()?, children.next()?)))
    }

    /// The keys and values of a node; none if it is no mapping.
    pub(super) fn entries_of(&self, id: Id) -> impl Iterator<Item = (Id, Id)> {
        let is_mapping = self.node(id).kind == NodeKind::Mapping;
        is_mapping.then(|| self.entries(id)).into_iter().flatten()
    }

    /// The line of a node.
    pub(super) fn line(&self, id: Id) -> usize {
        self.node(id).line()
    }

    /// The name of a node's anchor.
    pub(super) fn anchor(&self, id: Id) -> Option<&'a str> {
        let (start, end) = self.node(id).anchor?;
        self.text.get(start as usize + 1..end as usize)
    }

    /// The document that a node is in.
    pub(super) fn document_of(&self, id: Id) -> usize {
        self.documents.partition_point(|d| d.root <= id).saturating_sub(1)
    }

    /// A scalar's or an alias's place.
    pub(super) fn place(&self, id: Id) -> Place {
        let node = self.node(id);
        Place { document: self.document_of(id), line: node.line(), bytes: node.bytes(), node: id, via: [].into() }
    }
}

impl Node<'_> {
    pub(super) fn line(&self) -> usize {
        self.line as usize
    }

    pub(super) fn bytes(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// The first node after this one and all in it.
    pub(super) fn next(&self) -> Id {
        self.next
    }

    pub(super) fn is_collection(&self) -> bool {
        matches!(self.kind, NodeKind::Sequence | NodeKind::Mapping)
    }
}

/// The error for what is not YAML.
fn invalid(text: &str, error: &ScanError) -> ManifestError {
    let (line, column) = (error.marker().line(), error.marker().col() + 1);
    let info = error.info();
    let info: String = info.chars().filter(|c| !c.is_control()).take(200).collect();
    let source = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    let hint = if source.contains("{{") { "; it looks like a template, which cannot be edited" } else { "" };
    ManifestError::new(line, format!("this is no valid YAML: {info} (column {column}){hint}"))
}

/// A tree in the making.
struct Building<'a> {
    tree: Tree<'a>,
    /// The open collections.
    open: Vec<Open>,
    /// The parser's number of an anchor, and its node.
    anchors: HashMap<usize, Id>,
    sizes: Sizes,
    /// How many of the open ones are in flow style.
    flow: usize,
}

struct Open {
    id: Id,
    in_flow: bool,
    /// Of all before it.
    before: Size,
    is_anchored: bool,
    /// Whether the next node in it is the value of a key.
    value_next: bool,
}

impl<'a> Building<'a> {
    fn event(&mut self, event: Event<'a>, span: Span) -> Result<(), ManifestError> {
        // The parser gives byte ranges for every span of a text that is at hand.
        let bytes = span.byte_range().unwrap_or_default();
        match event {
            Event::DocumentStart(explicit, version) => {
                let version = version.map(|v| (v.major, v.minor));
                self.tree.documents.push(Document { root: self.next_id(), explicit, version });
            }
            Event::Comment(..) => {
                within(self.tree.comments.len() + 1, MAX_OTHERS, "comments", span.start.line())?;
                self.tree.comments.push(bytes);
            }
            Event::Scalar(value, style, anchor, tag) => {
                // Where there is no value the parser says `~`; nothing is written there, so nothing is read.
                let (value, bytes) =
                    if bytes.is_empty() { (Cow::Borrowed(""), self.before_comment(bytes)) } else { (value, bytes) };
                self.add(NodeKind::Scalar(value, style), span, bytes, anchor, tag)?;
            }
            Event::Alias(anchor) => {
                let target = self.anchors.get(&anchor).copied();
                let target =
                    target.ok_or_else(|| ManifestError::new(span.start.line(), "an alias without an anchor"))?;
                self.add(NodeKind::Alias(target), span, bytes, 0, None)?;
            }
            Event::SequenceStart(style, anchor, tag) => {
                self.open(NodeKind::Sequence, style, span, bytes, anchor, tag)?;
            }
            Event::MappingStart(style, anchor, tag) => self.open(NodeKind::Mapping, style, span, bytes, anchor, tag)?,
            Event::SequenceEnd => {
                self.close();
            }
            Event::MappingEnd => {
                if let Some(mapping) = self.close() {
                    self.tree.refuse_repeated_keys(mapping)?;
                }
            }
            Event::Anchor(anchor, _) => {
                if let Some(node) = self.anchors.get(&anchor) {
                    self.tree.nodes[*node as usize].anchor = Some((bytes.start as u32, bytes.end as u32));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The parser sets an item without a value (`- # why`) at the end of its comment; it belongs before it.
    fn before_comment(&self, bytes: Range<usize>) -> Range<usize> {
        match self.tree.comments.last() {
            Some(comment) if comment.end == bytes.start => {
                let at = self.tree.text[..comment.start].trim_end_matches([' ', '\t']).len();
                at..at
            }
            _ => bytes,
        }
    }

    fn next_id(&self) -> Id {
        self.tree.nodes.len() as Id
    }

    fn add(
        &mut self,
        kind: NodeKind<'a>,
        span: Span,
        bytes: Range<usize>,
        anchor: usize,
        tag: Option<Cow<'a, Tag>>,
    ) -> Result<Id, ManifestError> {
        let id = self.next_id();
        let size = match kind {
            NodeKind::Alias(target) => self.sizes.of(target, span.start.line())?,
            NodeKind::Scalar(..) => Size { scalars: 1, others: 0, bytes: bytes.len() },
            NodeKind::Sequence | NodeKind::Mapping => Size { scalars: 0, others: 1, bytes: 0 },
        };
        self.sizes.add(size, span.start.line())?;
        if anchor != 0 {
            self.anchors.insert(anchor, id);
            if let NodeKind::Scalar(..) = kind {
                self.sizes.keep(id, size);
            }
        }
        let mut is_value = false;
        if let Some(open) = self.open.last_mut()
            && self.tree.nodes[open.id as usize].kind == NodeKind::Mapping
        {
            is_value = open.value_next;
            open.value_next = !is_value;
        }
        self.tree.nodes.push(Node {
            kind,
            is_value,
            start: bytes.start as u32,
            end: bytes.end as u32,
            line: span.start.line() as u32,
            next: id + 1,
            anchor: None,
            tag: tag.map(|t| Box::new(t.into_owned())),
            in_flow: self.flow > 0,
        });
        Ok(id)
    }

    fn open(
        &mut self,
        kind: NodeKind<'a>,
        style: StructureStyle,
        span: Span,
        bytes: Range<usize>,
        anchor: usize,
        tag: Option<Cow<'a, Tag>>,
    ) -> Result<(), ManifestError> {
        let before = self.sizes.all();
        let id = self.add(kind, span, bytes, anchor, tag)?;
        let in_flow = style == StructureStyle::Flow;
        self.flow += usize::from(in_flow);
        self.open.push(Open { id, in_flow, before, is_anchored: anchor != 0, value_next: false });
        Ok(())
    }

    fn close(&mut self) -> Option<Id> {
        let Open { id, in_flow, before, is_anchored, .. } = self.open.pop()?;
        if is_anchored {
            self.sizes.keep(id, self.sizes.all() - before);
        }
        self.flow -= usize::from(in_flow);
        self.tree.nodes[id as usize].next = self.next_id();
        Some(id)
    }
}
