//! HelmReleases of Flux and Applications of Argo CD: the values they give to a chart, and the images to Kustomize.

use super::{
    super::{
        ManifestError,
        meta::Meta,
        read::{Object, get, text},
        tree::{Id, Kind, Tree},
    },
    cell::{Cell, Maker, Source, is_unset},
    kustomization::{Entry, entries, mappings},
    marker::{self, Marker},
    names::join,
    values::{self, MAX_FLAT},
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
    /// Where it stands itself; empty if it does not say so.
    pub(super) namespace: Box<str>,
    /// Whether it deploys to its own namespace where it has no target.
    pub(super) is_flux: bool,
    /// Images in values and parameters.
    pub(super) values: Vec<Maker>,
    /// `kustomize.images`
    pub(super) images: Vec<Maker>,
    /// Every scalar of its values by its path.
    pub(super) flat: Vec<(Box<str>, Cell)>,
    /// What is set after the chart is rendered: the images of `postRenderers`.
    pub(super) after: Vec<Entry>,
    /// Marked values in an inline text.
    pub(super) markers: Vec<Marker>,
}

impl Release {
    /// Its kind of object.
    pub(super) fn kind(&self) -> &'static str {
        if self.is_flux { "HelmRelease" } else { "Application" }
    }

    /// The group of its kind.
    pub(super) fn group(&self) -> &'static str {
        if self.is_flux { FLUX } else { ARGO }
    }
}

const FLUX: &str = "helm.toolkit.fluxcd.io";
const ARGO: &str = "argoproj.io";

/// A Kustomization of Flux that sets images of a folder.
#[derive(Debug)]
pub(super) struct Outer {
    /// From the root of the repository.
    pub(super) folder: Box<str>,
    pub(super) images: Vec<Entry>,
}

/// Reads an object, if it is a Kustomization of Flux with images.
pub(super) fn outer(
    source: &Source,
    object: &Object,
    problems: &mut Vec<ManifestError>,
) -> Result<Option<Outer>, ManifestError> {
    if (&*object.kind, &*object.group) != ("Kustomization", "kustomize.toolkit.fluxcd.io") {
        return Ok(None);
    }
    let Some(spec) = child(source.tree, Some(object.node), "spec")? else { return Ok(None) };
    let folder = join("", word(source.tree, Some(spec), "path")?.unwrap_or_default().trim_start_matches('/'));
    let images = entries(source, spec, problems)?;
    Ok(folder.filter(|_| !images.is_empty()).map(|folder| Outer { folder: folder.into(), images }))
}

/// Reads an object, if it is one of these.
pub(super) fn read(
    source: &Source,
    object: &Object,
    problems: &mut Vec<ManifestError>,
) -> Result<Option<Release>, ManifestError> {
    match (&*object.kind, &*object.group) {
        ("HelmRelease", FLUX) => helm_release(source, object.node, problems).map(Some),
        ("Application", ARGO) => application(source, object.node, problems).map(Some),
        _ => Ok(None),
    }
}

fn word<'t>(tree: &'t Tree, mapping: Option<Id>, key: &str) -> Result<Option<&'t str>, ManifestError> {
    let Some(mapping) = mapping else { return Ok(None) };
    Ok(text(tree, mapping, key)?.filter(|word| !is_unset(word)))
}

fn child(tree: &Tree, mapping: Option<Id>, key: &str) -> Result<Option<Id>, ManifestError> {
    mapping.map_or(Ok(None), |mapping| get(tree, mapping, key, Kind::Mapping))
}

fn helm_release(source: &Source, node: Id, problems: &mut Vec<ManifestError>) -> Result<Release, ManifestError> {
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
    let renderers = spec.map_or(Ok(None), |spec| get(tree, spec, "postRenderers", Kind::Sequence))?;
    let mut after = Vec::new();
    for renderer in renderers.into_iter().flat_map(|list| mappings(tree, list)) {
        if let Some(kustomize) = child(tree, Some(renderer), "kustomize")? {
            after.extend(entries(source, kustomize, problems)?);
        }
    }
    Ok(Release {
        after,
        line: source.line(node),
        meta: Meta::read(tree, node),
        name: name.into(),
        instances: vec![instance.into()],
        target: target.map(Box::from),
        namespace: word(tree, metadata, "namespace")?.unwrap_or_default().into(),
        is_flux: true,
        values: values.map(|values| values::images(source, values)).unwrap_or_default(),
        images: Vec::new(),
        flat: values.and_then(|values| values::flat(source, values, ".spec.values", MAX_FLAT)).unwrap_or_default(),
        markers: Vec::new(),
    })
}

fn application(source: &Source, node: Id, problems: &mut Vec<ManifestError>) -> Result<Release, ManifestError> {
    let tree = source.tree;
    let (metadata, spec) = (child(tree, Some(node), "metadata")?, child(tree, Some(node), "spec")?);
    let name = word(tree, metadata, "name")?.unwrap_or_default();
    let namespace = word(tree, metadata, "namespace")?.unwrap_or_default();
    let mut release = Release {
        after: Vec::new(),
        line: source.line(node),
        meta: Meta::read(tree, node),
        name: name.into(),
        // Argo CD's own label may have the Application's namespace before its name.
        instances: vec![name.into(), format!("{namespace}_{name}").into()],
        target: word(tree, child(tree, spec, "destination")?, "namespace")?.map(Box::from),
        namespace: namespace.into(),
        is_flux: false,
        values: Vec::new(),
        images: Vec::new(),
        flat: Vec::new(),
        markers: Vec::new(),
    };
    let mut sources = Vec::new();
    sources.extend(child(tree, spec, "source")?.map(|source| (source, ".spec.source".to_owned())));
    if let Some(list) = spec.map_or(Ok(None), |spec| get(tree, spec, "sources", Kind::Sequence))? {
        let each = mappings(tree, list).enumerate();
        sources.extend(each.map(|(index, source)| (source, format!(".spec.sources[{index}]"))));
    }
    for (each, path) in sources {
        if let Some(helm) = child(tree, Some(each), "helm")? {
            release.instances.extend(word(tree, Some(helm), "releaseName")?.map(Box::from));
            helm_values(source, helm, &format!("{path}.helm"), &mut release, problems)?;
        }
        let kustomize = child(tree, Some(each), "kustomize")?;
        let images = kustomize.map_or(Ok(None), |k| get(tree, k, "images", Kind::Sequence))?;
        let cells = images.into_iter().flat_map(|list| tree.children(list)).filter_map(|item| source.cell(item));
        release.images.extend(cells.map(|cell| {
            let prefix = cell.value.split_once('=').map_or("", |(name, _)| &cell.value[..=name.len()]);
            Maker::Whole { prefix: prefix.into(), cell }
        }));
    }
    Ok(release)
}

fn helm_values(
    source: &Source,
    helm: Id,
    path: &str,
    release: &mut Release,
    problems: &mut Vec<ManifestError>,
) -> Result<(), ManifestError> {
    let tree = source.tree;
    if let Some(object) = child(tree, Some(helm), "valuesObject")? {
        release.values.extend(values::images(source, object));
        release
            .flat
            .extend(values::flat(source, object, &format!("{path}.valuesObject"), MAX_FLAT).unwrap_or_default());
    }
    if let Some(list) = get(tree, helm, "parameters", Kind::Sequence)? {
        release.values.extend(values::parameters(source, list));
        release.flat.extend(values::flat(source, list, &format!("{path}.parameters"), MAX_FLAT).unwrap_or_default());
    }
    // In a patch that is a text itself, a text is too deep.
    let Some(node) = tree.get(helm, "values")?.filter(|_| source.outer().is_none()) else { return Ok(()) };
    let Some(text) = tree.scalar(node) else { return Ok(()) };
    match Tree::parse(text) {
        Ok(inner) => {
            let inner_source = Source::inner(&inner, tree.place(tree.resolve(node)));
            let Some(root) = inner.documents.first().map(|document| document.root) else { return Ok(()) };
            marker::of_tree(&inner_source, &mut release.markers, problems);
            release.values.extend(values::images(&inner_source, root));
            release
                .flat
                .extend(values::flat(&inner_source, root, &format!("{path}.values"), MAX_FLAT).unwrap_or_default());
        }
        Err(error) => {
            let reason = format!("in the text of `values`: {}", error.reason);
            problems.push(ManifestError::new(source.line(node) + error.line - 1, reason));
        }
    }
    Ok(())
}
