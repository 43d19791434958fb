//! What one file holds that can name an image.

use super::{
    super::{
        FoundWorkload, MAX_BYTES, MAX_SCALARS, ManifestError, Manifests,
        edit::sealed,
        read::{each_object, manifest},
        tree::{NodeKind, Tree},
    },
    broken::Broken,
    cell::{Cell, ImageExpr, Source},
    charts::Chart,
    dockerfile::of_dockerfile,
    given::{self, Given},
    inflation::{self, Inflation},
    kustomization::{self, Kustomization},
    listed::{self, Listed},
    marker::{self, Marker},
    mention::Mention,
    names::FileKind,
    operation::{Operation, operations},
    outer::{self, Outer},
    patch::Part,
    release::{self, Release},
    replacement::{Replacement, has_targets, replacements},
    sight::{is_promising, template_line},
    transformer::{self, Field, fields},
    values::{self, MAX_FLAT, MAX_OF_RELEASE, MAX_PATHS},
};

/// What one file holds that can name an image, without its text. It depends on nothing but the [`FileKind`] of its path,
/// the text, and whether the configuration names values of it.
#[derive(Debug, Default)]
pub struct Facts {
    pub(super) manifests: Manifests,
    /// Workloads without an image, as patches have them, which change annotations that concern us.
    pub(super) partial: Vec<FoundWorkload>,
    pub(super) kustomization: Option<Box<Kustomization>>,
    /// A kustomization that cannot be read.
    pub(super) broken: Option<Box<Broken>>,
    pub(super) releases: Vec<Release>,
    pub(super) outer: Vec<Outer>,
    /// The operations of a patch.
    pub(super) operations: Vec<Operation>,
    /// The replacements of a file that a kustomization names.
    pub(super) replacements: Vec<Replacement>,
    /// The transformers of a file that a kustomization names.
    pub(super) transformers: Vec<Kustomization>,
    /// The charts of a file that a kustomization names.
    pub(super) inflations: Vec<Inflation>,
    /// ConfigMaps and Secrets.
    pub(super) given: Vec<Given>,
    /// The fields that entries of `images` set besides, of a file that a kustomization names.
    pub(super) fields: Vec<Field>,
    /// Images by the conventions of values files.
    pub(super) values: Vec<ImageExpr>,
    /// The scalars of a file that holds no object, by their paths.
    pub(super) flat: Vec<(Box<str>, Cell)>,
    pub(super) markers: Vec<Marker>,
    /// The entries of `supercargo.yaml`.
    pub(super) listed: Vec<Listed>,
    /// `Chart.yaml`
    pub(super) chart: Option<Box<Chart>>,
    /// The line on which SOPS's seal stands: no value may change.
    pub(super) sealed: Option<usize>,
    pub(super) problems: Vec<ManifestError>,
    pub(super) left_alone: Option<&'static str>,
    /// The line on which a chart's template shows that it is no YAML.
    pub(super) template: Option<usize>,
    /// Lines that name an image, at a place of one or not.
    pub(super) mentions: Vec<Mention>,
    /// How many scalars were read.
    pub(super) scalars: usize,
    /// Whether nothing else is kept, for want of room.
    pub(super) is_left_out: bool,
}

fn too_many_paths() -> String {
    format!(
        "the paths of these values take more than {MAX_PATHS} bytes, so that no rule of `values` finds one: split the file"
    )
}

impl Facts {
    /// Whether a file of this path may hold anything, by its name only.
    pub fn is_wanted(path: &str) -> bool {
        FileKind::of(path) != FileKind::Never
    }

    /// Reads a file. What cannot be read of it is among the problems, and is never edited.
    pub fn read(path: &str, bytes: &[u8]) -> Self {
        Self::of(FileKind::of(path), bytes, false)
    }

    /// What a file would hold that has so many bytes, if these are more than are read.
    pub fn too_large(kind: FileKind, bytes: usize) -> Self {
        let chart = (kind == FileKind::Chart).then(Box::default);
        let mut facts = Self { chart, ..Self::default() };
        if !matches!(kind, FileKind::Chart | FileKind::Never) {
            let reason = format!("{bytes} bytes are more than the {MAX_BYTES} that are read: split the file");
            facts.problems.push(ManifestError::new(1, reason));
        }
        facts
    }

    /// Of what is no file, and why it is not read.
    pub fn left_alone(why: &'static str) -> Self {
        Self { left_alone: Some(why), ..Self::default() }
    }

    /// Reads the text of a file of this kind. If the configuration names values of it, no word need promise any.
    pub fn of(kind: FileKind, bytes: &[u8], is_named: bool) -> Self {
        Self { mentions: Self::mentions(kind, bytes), ..Self::held_by(kind, bytes, is_named) }
    }

    fn held_by(kind: FileKind, bytes: &[u8], is_named: bool) -> Self {
        let mut facts = Self::default();
        if kind == FileKind::Chart {
            facts.of_chart(bytes);
            return facts;
        }
        let is_text = matches!(kind, FileKind::Text | FileKind::Dockerfile);
        if kind == FileKind::Never || bytes.contains(&0) && is_text {
            return facts;
        }
        if bytes.len() > MAX_BYTES {
            return Self::too_large(kind, bytes.len());
        }
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let line = 1 + bytes[..error.valid_up_to()].iter().filter(|b| **b == b'\n').count();
                if !is_text {
                    facts.problems.push(ManifestError::new(line, "this is no UTF-8: the file is left alone"));
                }
                facts.broken(kind, line, &String::from_utf8_lossy(bytes));
                return facts;
            }
        };
        if !matches!(kind, FileKind::Kustomization | FileKind::Listed) && !is_named && !is_promising(bytes) {
            facts.template = template_line(kind, text);
            return facts;
        }
        let has_marker = text.contains("supercargo:") || text.contains("$imagepolicy");
        if is_text {
            match kind {
                _ if !has_marker => {}
                FileKind::Dockerfile => of_dockerfile(text, &mut facts.markers, &mut facts.problems),
                _ => marker::of_lines(text, &mut facts.markers, &mut facts.problems),
            }
            facts.limit();
            return facts;
        }
        match Tree::parse(text) {
            Ok(tree) => {
                facts.of_tree(kind, &tree, has_marker, is_named);
                match tree.with_inner() {
                    Ok(scalars) => facts.scalars = scalars,
                    Err(problem) => {
                        facts = Self { problems: vec![problem], ..Self::default() };
                        facts.broken(kind, 1, text);
                    }
                }
            }
            Err(error) => {
                facts.broken(kind, error.line, text);
                match template_line(kind, text) {
                    Some(_) => facts.template = Some(error.line),
                    None => facts.problems.push(error),
                }
                if has_marker {
                    marker::of_lines(text, &mut facts.markers, &mut facts.problems);
                }
            }
        }
        facts.limit();
        facts
    }

    fn broken(&mut self, kind: FileKind, line: usize, text: &str) {
        if kind == FileKind::Kustomization {
            self.broken = Some(Box::new(Broken::new(line, text)));
        }
    }

    fn of_tree(&mut self, kind: FileKind, tree: &Tree, has_marker: bool, is_named: bool) {
        let source = Source::file(tree);
        self.sealed = sealed(tree).map(|key| tree.line(key));
        if kind == FileKind::ArgoSource {
            self.broken = Broken::by_argo(tree).map(Box::new);
            return;
        }
        if kind == FileKind::Kustomization {
            match kustomization::read(&source, &mut self.problems) {
                Ok(found) => {
                    self.kustomization = found.map(Box::new);
                    // An entry of `images` that cannot be read may be for any of them.
                    if let Some(line) = self.problems.first().map(|problem| problem.line) {
                        self.broken(kind, line, tree.text);
                    }
                }
                Err(problem) => {
                    self.broken(kind, problem.line, tree.text);
                    self.problems.push(problem);
                }
            }
        }
        if kind == FileKind::Listed {
            listed::read(tree, &mut self.listed, &mut self.problems);
        }
        let mut manifests = Manifests::default();
        let most = if is_named { MAX_SCALARS } else { MAX_OF_RELEASE };
        // `{{ .Values.name }}` is YAML, too: a mapping.
        let is_template = template_line(kind, tree.text).is_some();
        each_object(tree, |object| {
            let read = object.and_then(|object| {
                manifest(tree, &object, &mut manifests)?;
                self.releases.extend(release::read(&source, &object, most, &mut self.problems)?);
                self.outer.extend(outer::read(&source, &object, &mut self.problems)?);
                self.transformers.extend(transformer::read(&source, &object));
                self.inflations.extend(inflation::read(&source, &object)?);
                self.given.extend(given::read(&source, &object)?);
                Ok(())
            });
            match read {
                Err(problem) if is_template => self.template = Some(problem.line),
                read => self.problems.extend(read.err()),
            }
        });
        let (whole, partial) = manifests.workloads.into_iter().partition(|found| !found.images.is_empty());
        (manifests.workloads, self.partial) = (whole, partial);
        let tells =
            |found: &FoundWorkload| found.is_deleting || !found.items.is_empty() || !found.meta.labels.all.is_empty();
        self.partial.retain(|found| Part::Workload(found, None).has_ours() || tells(found));
        self.manifests = manifests;
        for line in self.releases.iter().filter_map(|release| release.is_cut).filter(|_| is_named) {
            self.problems.push(ManifestError::new(line, too_many_paths()));
        }
        for release in &mut self.releases {
            self.markers.append(&mut release.markers);
        }
        if has_marker {
            marker::of_tree(&source, &mut self.markers, &mut self.problems);
        }
        if !matches!(kind, FileKind::Kustomization | FileKind::Listed) {
            self.plain_values(kind, &source, is_named);
        }
    }

    /// Values of a file that is no stream of Kubernetes objects.
    fn plain_values(&mut self, kind: FileKind, source: &Source, is_named: bool) {
        let tree = source.tree;
        let [document] = tree.documents.as_slice() else { return };
        let root = document.root;
        if tree.node(root).kind == NodeKind::Sequence {
            self.operations = operations(source, root);
        }
        let first = tree.children(root).next().filter(|_| tree.node(root).kind == NodeKind::Sequence);
        self.fields = fields(tree, root, "images");
        if has_targets(tree, first.map_or(root, |first| tree.resolve(first))) {
            match replacements(source, root) {
                Ok(found) => self.replacements = found,
                Err(problem) => self.problems.push(problem),
            }
        }
        let is_object = |key| tree.entries_of(root).any(|(k, _)| tree.scalar(k) == Some(key));
        if tree.node(root).kind != NodeKind::Mapping || is_object("apiVersion") && is_object("kind") {
            return;
        }
        // By another name they count where an entry of `supercargo.yaml` names the file.
        if matches!(kind, FileKind::Values | FileKind::Yaml | FileKind::Json) {
            self.values = values::images(source, root);
        }
        // Dashboards and the like are JSON, and large.
        if kind != FileKind::Json || is_named {
            let most = match kind {
                _ if is_named => MAX_SCALARS,
                FileKind::Values => MAX_OF_RELEASE,
                _ => MAX_FLAT,
            };
            let flat = values::flat(source, root, "", most);
            if is_named && flat.is_none() {
                self.problems.push(ManifestError::new(1, too_many_paths()));
            }
            self.flat = flat.unwrap_or_default();
        }
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.holds_nothing() && self.mentions.is_empty()
    }

    pub(super) fn holds_nothing(&self) -> bool {
        let Self {
            manifests,
            partial,
            kustomization,
            broken,
            releases,
            outer,
            operations,
            replacements,
            transformers,
            inflations,
            given,
            fields,
            values,
            flat,
            markers,
            listed,
            chart,
            sealed: _,
            problems,
            left_alone,
            template,
            mentions: _,
            scalars: _,
            is_left_out: _,
        } = self;
        manifests.workloads.is_empty()
            && manifests.namespaces.is_empty()
            && manifests.foreign.is_empty()
            && manifests.misplaced.is_empty()
            && partial.is_empty()
            && kustomization.is_none()
            && broken.is_none()
            && releases.is_empty()
            && outer.is_empty()
            && operations.is_empty()
            && replacements.is_empty()
            && transformers.is_empty()
            && inflations.is_empty()
            && given.is_empty()
            && fields.is_empty()
            && values.is_empty()
            && flat.is_empty()
            && markers.is_empty()
            && listed.is_empty()
            && chart.is_none()
            && problems.is_empty()
            && left_alone.is_none()
            && template.is_none()
    }

    /// Whether it is a kustomization, also one that cannot be read, or stands beside one.
    pub(super) fn is_kustomization(&self) -> bool {
        self.kustomization.is_some() || self.broken.is_some()
    }

    /// The Namespaces of it, and nothing else.
    pub(super) fn namespaces(&self) -> Option<Self> {
        let namespaces = self.manifests.namespaces.clone();
        let manifests = Manifests { namespaces, ..Manifests::default() };
        (!manifests.namespaces.is_empty()).then(|| Self { manifests, ..Self::default() })
    }

    /// The line on which a chart's template shows that it is no YAML, and need not be.
    pub(super) fn template(&self) -> Option<usize> {
        self.template
    }

    /// What could not be read, and why.
    pub fn problems(&self) -> &[ManifestError] {
        &self.problems
    }

    /// Why nothing here was read, and the line; none if something was.
    pub(super) fn unread(&self) -> Option<(usize, &str)> {
        let is_read = !self.flat.is_empty() || !self.manifests.workloads.is_empty() || !self.releases.is_empty();
        let is_known = is_read || !self.markers.is_empty() || !self.listed.is_empty() || self.kustomization.is_some();
        self.first_unread().filter(|_| !is_known)
    }

    /// The first thing here that was not read, and its line.
    pub(super) fn first_unread(&self) -> Option<(usize, &str)> {
        let problem = self.problems.first().map(|problem| (problem.line, &*problem.reason));
        problem.or_else(|| self.left_alone.map(|why| (1, why)))
    }
}
