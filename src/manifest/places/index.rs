//! What the files of a repository say together.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, OnceLock},
};

use super::{
    Files, Options, Path,
    cell::{Cell, Maker, Name, split},
    marker::{self, Says},
    names::folder,
    release::Release,
    render::{Chain, Kustomizations, Rendering, renderings},
};
use crate::domain::image::{ImageRef, Repository};

/// What the files of a repository render together, for many questions.
pub struct Index<'f> {
    pub(super) files: &'f Files,
    pub(super) options: &'f Options,
    pub(super) kustomizations: Kustomizations<'f>,
    pub(super) renderings: Vec<Rendering<'f>>,
    pub(super) by_name: HashMap<(&'f str, Arc<str>), Vec<usize>>,
    pub(super) releases: Vec<Deployed<'f>>,
    /// The images of releases, by repository; of which release; and whether in its `kustomize.images`.
    pub(super) released: HashMap<Repository, Vec<(usize, bool, Draft<'f>)>>,
    pub(super) by_instance: HashMap<&'f str, Vec<usize>>,
    pub(super) markers: HashMap<Repository, Vec<Marked<'f>>>,
    /// Every image that is rendered, once somebody asks.
    pub(super) images: OnceLock<HashMap<Repository, Vec<Draft<'f>>>>,
    pub(super) values: HashMap<Repository, Vec<Draft<'f>>>,
    pub(super) configured: HashMap<Repository, Vec<Draft<'f>>>,
}

/// A release, and the namespaces that its workloads go to; none if they are not known.
pub(super) type Deployed<'f> = (&'f Release, Option<BTreeSet<Arc<str>>>);

/// A file, what a marker in it says, and the place.
pub(super) type Marked<'f> = (&'f Arc<str>, &'f Says, Draft<'f>);

/// A place and the image that it makes.
#[derive(Debug, Clone)]
pub(super) struct Draft<'f> {
    pub(super) path: &'f Arc<str>,
    pub(super) line: usize,
    pub(super) maker: Maker,
    pub(super) holds: ImageRef,
}

impl<'f> Draft<'f> {
    pub(super) fn new(path: &'f Arc<str>, maker: Maker) -> Option<Self> {
        let holds = maker.holds().ok()?;
        Some(Self { path, line: maker.main().map_or(1, |cell| cell.line), maker, holds })
    }
}

impl std::fmt::Debug for Index<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").field("files", &self.files.len()).finish_non_exhaustive()
    }
}

impl<'f> Index<'f> {
    /// Reads what the files say together.
    pub fn new(files: &'f Files, options: &'f Options) -> Self {
        let charts: HashSet<&str> = files.iter().filter(|(_, f)| f.is_chart).map(|(path, _)| folder(path)).collect();
        let is_template = |path: &str| is_template(&charts, path);
        let mut kustomizations = Kustomizations::new(files);
        let (renderings, of_releases) = renderings(files, &mut kustomizations, is_template);
        let mut by_name: HashMap<_, Vec<usize>> = HashMap::new();
        for (index, rendering) in renderings.iter().enumerate() {
            let kind = rendering.found.workload.id.kind.as_str();
            by_name.entry((kind, rendering.id.name.clone())).or_default().push(index);
        }
        let (mut releases, mut values) = (Vec::new(), HashMap::new());
        let mut markers: HashMap<_, Vec<Marked>> = HashMap::new();
        let mut released: HashMap<_, Vec<(usize, bool, Draft)>> = HashMap::new();
        let mut by_instance: HashMap<&str, Vec<usize>> = HashMap::new();
        for (path, facts) in files {
            let repository_of = |says: &Says| match says {
                Says::Policy(_) => None,
                Says::Flux(name) => options.image_policies.get(&**name).cloned(),
            };
            let is_ours =
                |says: &Says| !matches!(says, Says::Flux(name) if !options.image_policies.contains_key(&**name));
            for (says, repository, maker) in marker::makers(&facts.markers, repository_of) {
                if let Some(draft) = Draft::new(path, maker)
                    && draft.holds.repository == repository
                    && is_ours(says)
                {
                    markers.entry(repository).or_default().push((path, says, draft));
                }
            }
            if is_template(path) {
                continue;
            }
            for release in &facts.releases {
                let chains = of_releases.get(path).map_or(&[][..], Vec::as_slice);
                let index = releases.len();
                for (makers, is_last) in [(&release.values, false), (&release.images, true)] {
                    for draft in makers.iter().filter_map(|maker| Draft::new(path, maker.clone())) {
                        let of_repository = released.entry(draft.holds.repository.clone()).or_default();
                        of_repository.push((index, is_last, draft));
                    }
                }
                for instance in &release.instances {
                    by_instance.entry(instance).or_default().push(index);
                }
                releases.push((release, targets(&kustomizations, release, chains, options)));
            }
            add(&mut values, facts.values.iter().filter_map(|maker| Draft::new(path, maker.clone())));
        }
        let mut configured = HashMap::new();
        add(&mut configured, by_rules(files, options));
        let images = OnceLock::new();
        Self {
            files,
            options,
            kustomizations,
            renderings,
            by_name,
            releases,
            released,
            by_instance,
            markers,
            images,
            values,
            configured,
        }
    }
}

/// Whether a file is a template of a chart.
fn is_template(charts: &HashSet<&str>, path: &str) -> bool {
    path.match_indices("templates/").any(|(at, _)| match path[..at].strip_suffix('/') {
        Some(chart) => charts.contains(chart),
        None => at == 0 && charts.contains(""),
    })
}

pub(super) fn add<'f>(map: &mut HashMap<Repository, Vec<Draft<'f>>>, drafts: impl IntoIterator<Item = Draft<'f>>) {
    for draft in drafts {
        map.entry(draft.holds.repository.clone()).or_default().push(draft);
    }
}

/// The namespaces that a release's workloads go to; none if they are not known.
fn targets(
    kustomizations: &Kustomizations,
    release: &Release,
    chains: &[Chain],
    options: &Options,
) -> Option<BTreeSet<Arc<str>>> {
    if let Some(target) = &release.target {
        return Some([(&**target).into()].into());
    }
    if !release.is_flux {
        return None;
    }
    let own: Arc<str> = (&*release.namespace).into();
    let roots = chains.iter().filter(|chain| chain.is_root);
    let found = roots.map(|chain| kustomizations.renamed(chain, &own, &own).0);
    let default = |namespace: Arc<str>| match &options.default_namespace {
        Some(default) if namespace.is_empty() => default.as_str().into(),
        _ => namespace,
    };
    let found: BTreeSet<Arc<str>> = found.map(default).collect();
    let known = !found.is_empty() && found.iter().all(|namespace| !namespace.is_empty());
    known.then_some(found)
}

/// The images at the paths that the configuration gives.
fn by_rules<'f>(files: &'f Files, options: &Options) -> Vec<Draft<'f>> {
    let mut found = Vec::new();
    for rule in &options.values {
        for (path, facts) in files.iter().filter(|(path, _)| rule.files.is_match(&***path)) {
            let flats = facts.releases.iter().map(|release| &release.flat).chain([&facts.flat]);
            for flat in flats.filter(|flat| !flat.is_empty()) {
                let cells: BTreeMap<&str, &Cell> = flat.iter().map(|(path, cell)| (&**path, cell)).collect();
                let cell = |path: &Option<Path>| path.as_ref().and_then(|p| cells.get(&*p.key())).copied().cloned();
                if let Some(cell) = cell(&rule.image) {
                    found.extend(Draft::new(path, Maker::whole(cell)));
                }
                let (tag, digest) = (cell(&rule.tag), cell(&rule.digest));
                let named = rule.for_image.as_ref().map(|repository| Name::Known(repository.to_string().into()));
                let name = cell(&rule.repository).filter(|cell| split(&cell.value).1.is_none()).map(Name::Cell);
                if let Some(name) = name.or(named).filter(|_| tag.is_some() || digest.is_some()) {
                    found.extend(Draft::new(path, Maker::parts(cell(&rule.registry), name, tag, digest)));
                }
            }
        }
    }
    found
}
