//! HelmReleases of Flux and Applications of Argo CD: the values they give to a chart, and the images to Kustomize.

use std::collections::BTreeMap;

use super::{
    super::{
        ManifestError,
        meta::Meta,
        read::{Object, get, ours, text},
        tree::{Id, NodeKind, Tree},
    },
    cell::{Cell, ImageExpr, Source, is_unset},
    chart_ref::CHART_REF,
    generator::{self, Template, is_filled, template},
    given::{self, From},
    kustomization::mappings,
    marker::{self, Marker},
    names::join,
    outer::Set,
    parameters,
    stack::{self, CHART, DRY},
    values,
};

/// An object that sets images of what it deploys.
#[derive(Debug)]
pub(super) struct Release {
    pub(super) line: usize,
    pub(super) meta: Meta,
    /// `metadata.name`
    pub(super) name: Box<str>,
    /// What the label `app.kubernetes.io/instance` of its workloads may be.
    pub(super) instances: Vec<Box<str>>,
    /// Where its workloads go, if it says so.
    pub(super) target: Option<Box<str>>,
    /// The annotations that concern us which it gives to the namespace that its workloads go to.
    pub(super) asks: BTreeMap<String, String>,
    /// Where it stands itself; empty if it does not say so.
    pub(super) namespace: Box<str>,
    /// Whether it deploys to its own namespace where it has no target.
    pub(super) is_flux: bool,
    /// Whether it is the template of an ApplicationSet.
    pub(super) is_set: bool,
    /// The line of what may put something else in the place of that template.
    pub(super) patched: Option<usize>,
    /// The line of a value of it that a generator fills in, and that may be a part of any image.
    pub(super) filled: Option<usize>,
    /// The line of a parameter that is read from a file, and may be a part of an image.
    pub(super) by_file: Option<usize>,
    /// Images in values and parameters.
    pub(super) values: Vec<ImageExpr>,
    /// `kustomize.images`
    pub(super) images: Vec<ImageExpr>,
    /// Every scalar of its values by its path, of `kustomize.images`, and of what says which chart and which files are below
    /// them; none of a part that has too many.
    pub(super) flat: Vec<(Box<str>, Cell)>,
    /// The line of a part that has too many.
    pub(super) is_cut: Option<usize>,
    /// What is done to what the chart renders: `postRenderers`, in their order.
    pub(super) after: Vec<Set>,
    /// Where it takes values from, the last above the others and its own above all.
    pub(super) from: Vec<From>,
    /// Marked values in an inline text.
    pub(super) markers: Vec<Marker>,
}

impl Release {
    /// Its kind of object.
    pub(super) fn kind(&self) -> &'static str {
        match (self.is_flux, self.is_set) {
            (true, _) => "HelmRelease",
            (_, false) => "Application",
            (_, true) => "ApplicationSet",
        }
    }

    /// The group of its kind.
    pub(super) fn group(&self) -> &'static str {
        if self.is_flux { FLUX } else { ARGO }
    }

    /// The folders that an Application names.
    pub(super) fn folders(&self) -> impl Iterator<Item = String> {
        let is_path = |key: &str| !self.is_flux && stack::source(key).is_some_and(|(_, rest)| rest == ".path");
        let paths = self.flat.iter().filter(move |(key, _)| is_path(key));
        paths.filter_map(|(_, cell)| join("", cell.value.trim_start_matches('/')))
    }

    /// Texts of a mapping, and the items of a list in it.
    fn add_words(&mut self, source: &Source, mapping: Option<Id>, prefix: &str, keys: &[&str]) {
        let tree = source.tree;
        for (key, value) in mapping.into_iter().flat_map(|mapping| values::entries(tree, mapping)) {
            if keys.contains(&key) {
                let value = tree.resolve(value);
                self.flat.extend(source.cell(value).map(|cell| (format!("{prefix}.{key}").into(), cell)));
                let items = tree.children(value).filter(|_| tree.node(value).kind == NodeKind::Sequence).enumerate();
                let items = items.filter_map(|(index, item)| Some((index, source.cell(item)?)));
                self.flat.extend(items.map(|(index, cell)| (format!("{prefix}.{key}[{index}]").into(), cell)));
            }
        }
    }

    fn add_flat(&mut self, source: &Source, node: Id, prefix: &str, most: usize) {
        match values::flat(source, node, prefix, most) {
            Some(flat) => self.flat.extend(flat),
            None => self.is_cut = Some(source.line(node)),
        }
    }
}

const FLUX: &str = "helm.toolkit.fluxcd.io";
const ARGO: &str = "argoproj.io";

/// Reads an object, if it is one of these. Not more scalars of it than `most` are kept by their paths.
pub(super) fn read(
    source: &Source,
    object: &Object,
    most: usize,
    problems: &mut Vec<ManifestError>,
) -> Result<Option<Release>, ManifestError> {
    match (&*object.kind, &*object.group) {
        ("HelmRelease", FLUX) => helm_release(source, object.node, most, problems).map(Some),
        ("Application", ARGO) => application(source, object.node, Some(object.node), most, problems).map(Some),
        ("ApplicationSet", ARGO) => {
            let Template { of, patch } = template(source.tree, object.node)?;
            let mut release = application(source, object.node, of, most, problems)?;
            release.is_set = true;
            release.patched = patch.map(|patch| source.line(patch));
            release.filled = generator::filled(&release.flat, &release.values);
            release.instances.retain(|instance| !is_filled(instance));
            release.target = release.target.filter(|target| !is_filled(target));
            Ok(Some(release))
        }
        _ => Ok(None),
    }
}

fn word<'t>(tree: &'t Tree, mapping: Option<Id>, key: &str) -> Result<Option<&'t str>, ManifestError> {
    let Some(mapping) = mapping else { return Ok(None) };
    Ok(text(tree, mapping, key)?.filter(|word| !is_unset(word)))
}

fn child(tree: &Tree, mapping: Option<Id>, key: &str) -> Result<Option<Id>, ManifestError> {
    mapping.map_or(Ok(None), |mapping| get(tree, mapping, key, NodeKind::Mapping))
}

fn helm_release(
    source: &Source,
    node: Id,
    most: usize,
    problems: &mut Vec<ManifestError>,
) -> Result<Release, ManifestError> {
    let tree = source.tree;
    let (metadata, spec) = (child(tree, Some(node), "metadata")?, child(tree, Some(node), "spec")?);
    let name = word(tree, metadata, "name")?.unwrap_or_default();
    let target = word(tree, spec, "targetNamespace")?;
    let instance = match (word(tree, spec, "releaseName")?, target) {
        (Some(name), _) => name.to_owned(),
        (None, Some(target)) => format!("{target}-{name}"),
        (None, None) => name.to_owned(),
    };
    let values = child(tree, spec, "values")?;
    let renderers = spec.map_or(Ok(None), |spec| get(tree, spec, "postRenderers", NodeKind::Sequence))?;
    let mut after = Vec::new();
    for renderer in renderers.into_iter().flat_map(|list| mappings(tree, list)) {
        if let Some(kustomize) = child(tree, Some(renderer), "kustomize")? {
            after.push(Set::read(source, kustomize, problems));
        }
    }
    let from = spec.map_or(Ok(Vec::new()), |spec| given::from(source, spec))?;
    let mut release = Release {
        after,
        from,
        line: source.line(node),
        meta: Meta::read(tree, node),
        name: name.into(),
        instances: vec![instance.into()],
        target: target.map(Box::from),
        asks: BTreeMap::new(),
        namespace: word(tree, metadata, "namespace")?.unwrap_or_default().into(),
        is_flux: true,
        is_set: false,
        patched: None,
        filled: None,
        by_file: None,
        values: values.map(|values| values::images(source, values)).unwrap_or_default(),
        images: Vec::new(),
        flat: Vec::new(),
        is_cut: None,
        markers: Vec::new(),
    };
    if let Some(values) = values {
        release.add_flat(source, values, ".spec.values", most);
    }
    let chart = child(tree, child(tree, spec, "chart")?, "spec")?;
    release.add_words(source, chart, CHART, &["chart", "valuesFile", "valuesFiles"]);
    release.add_words(source, child(tree, chart, "sourceRef")?, &format!("{CHART}.sourceRef"), &["kind"]);
    release.add_words(source, child(tree, spec, "chartRef")?, CHART_REF, &["kind", "name", "namespace"]);
    Ok(release)
}

/// Of an object; what it is an Application by stands in `of`, which is the object itself or a template in it.
fn application(
    source: &Source,
    node: Id,
    of: Option<Id>,
    most: usize,
    problems: &mut Vec<ManifestError>,
) -> Result<Release, ManifestError> {
    let tree = source.tree;
    let (metadata, spec) = (child(tree, Some(node), "metadata")?, child(tree, of, "spec")?);
    let name = word(tree, metadata, "name")?.unwrap_or_default();
    let namespace = word(tree, metadata, "namespace")?.unwrap_or_default();
    let own = word(tree, child(tree, of, "metadata")?, "name")?.unwrap_or_default();
    let mut release = Release {
        after: Vec::new(),
        from: Vec::new(),
        line: source.line(node),
        meta: Meta::read(tree, node),
        name: name.into(),
        // Argo CD's own label may have the Application's namespace before its name.
        instances: vec![own.into(), format!("{namespace}_{own}").into()],
        target: word(tree, child(tree, spec, "destination")?, "namespace")?.map(Box::from),
        asks: asks(tree, spec)?,
        namespace: namespace.into(),
        is_flux: false,
        is_set: false,
        patched: None,
        filled: None,
        by_file: None,
        values: Vec::new(),
        images: Vec::new(),
        flat: Vec::new(),
        is_cut: None,
        markers: Vec::new(),
    };
    let mut sources = Vec::new();
    sources.extend(child(tree, spec, "source")?.map(|source| (source, ".spec.source".to_owned())));
    let dry = child(tree, child(tree, spec, "sourceHydrator")?, "drySource")?;
    sources.extend(dry.map(|source| (source, DRY.to_owned())));
    if let Some(list) = spec.map_or(Ok(None), |spec| get(tree, spec, "sources", NodeKind::Sequence))? {
        let each = mappings(tree, list).enumerate();
        sources.extend(each.map(|(index, source)| (source, format!(".spec.sources[{index}]"))));
    }
    for (each, path) in sources {
        release.add_words(source, Some(each), &path, &["path", "chart", "repoURL"]);
        if let Some(helm) = child(tree, Some(each), "helm")? {
            release.instances.extend(word(tree, Some(helm), "releaseName")?.map(Box::from));
            release.add_words(source, Some(helm), &format!("{path}.helm"), &["valueFiles"]);
            helm_values(source, helm, &format!("{path}.helm"), most, &mut release, problems)?;
        }
        let kustomize = child(tree, Some(each), "kustomize")?;
        let images = kustomize.map_or(Ok(None), |k| get(tree, k, "images", NodeKind::Sequence))?;
        if let Some(images) = images {
            release.add_flat(source, images, &format!("{path}.kustomize.images"), most);
        }
        let cells = images.into_iter().flat_map(|list| tree.children(list)).filter_map(|item| source.cell(item));
        release.images.extend(cells.map(ImageExpr::renaming));
    }
    Ok(release)
}

/// What an Application gives to the Namespace that it makes.
fn asks(tree: &Tree, spec: Option<Id>) -> Result<BTreeMap<String, String>, ManifestError> {
    let Some(policy) = child(tree, spec, "syncPolicy")? else { return Ok(BTreeMap::new()) };
    let options = get(tree, policy, "syncOptions", NodeKind::Sequence)?;
    let mut options = options.into_iter().flat_map(|list| tree.children(list)).filter_map(|item| tree.scalar(item));
    let managed = child(tree, Some(policy), "managedNamespaceMetadata")?;
    match managed.filter(|_| options.any(|option| option == "CreateNamespace=true")) {
        Some(managed) => Ok(ours(tree, managed, "annotations")?.0),
        None => Ok(BTreeMap::new()),
    }
}

fn helm_values(
    source: &Source,
    helm: Id,
    path: &str,
    most: usize,
    release: &mut Release,
    problems: &mut Vec<ManifestError>,
) -> Result<(), ManifestError> {
    let tree = source.tree;
    let by_file = get(tree, helm, "fileParameters", NodeKind::Sequence)?;
    let of_image = |item: &Id| text(tree, *item, "name").ok().flatten().is_some_and(generator::is_of_image);
    let by_file = by_file.and_then(|list| mappings(tree, list).find(of_image));
    release.by_file = release.by_file.or(by_file.map(|item| source.line(item)));
    let list = get(tree, helm, "parameters", NodeKind::Sequence)?;
    let named = list.map(|list| parameters::named(source, list)).unwrap_or_default();
    if let Some(list) = list {
        release.add_flat(source, list, &format!("{path}.parameters"), most);
    }
    // Argo CD passes over the text where there is an object.
    if let Some(object) = child(tree, Some(helm), "valuesObject")? {
        release.values.extend(parameters::over(Some((source, object)), &named));
        release.add_flat(source, object, &format!("{path}.valuesObject"), most);
        return Ok(());
    }
    let Some((node, text)) = tree.get(helm, "values")?.and_then(|node| Some((node, tree.scalar(node)?))) else {
        release.values.extend(parameters::over(None, &named));
        return Ok(());
    };
    // In a patch that is a text itself, a text is too deep.
    if source.outer().is_some() {
        release.values.extend(parameters::over(None, &named));
        release.is_cut = Some(source.line(node));
        return Ok(());
    }
    match tree.inner(text) {
        Ok(inner) => {
            let inner_source = Source::inner(&inner, tree.place(tree.resolve(node)));
            let root = inner.documents.first().map(|document| document.root);
            release.values.extend(parameters::over(root.map(|root| (&inner_source, root)), &named));
            if let Some(root) = root {
                marker::of_tree(&inner_source, &mut release.markers, problems);
                release.add_flat(&inner_source, root, &format!("{path}.values"), most);
            }
        }
        Err(error) => {
            release.values.extend(parameters::over(None, &named));
            let reason = format!("in the text of `values`: {}", error.reason);
            problems.push(ManifestError::new(source.line(node) + error.line - 1, reason));
        }
    }
    Ok(())
}
