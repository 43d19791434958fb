//! What the files of a repository say together.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, OnceLock},
};

use super::{
    Files, Options, Path, by_name,
    cell::{At, Cell, ImageExpr, Name, split},
    chains::{Chain, MAX_RELEASED, Rendering},
    layers::Layered,
    marker::{self, Says},
    mention::Mentions,
    names::{FileKind, folder},
    namespace::{self, Asks},
    passing::of_outside,
    patch::Ambiguity,
    post::{self, Released},
    release::Release,
    release_patch::{self, OfRelease},
    render::Kustomizations,
    renderings::{Renderings, renderings},
    uneditable::{self, AllUneditable, OPEN_ABOVE, Uneditable},
    values::is_digest_beside,
};
use crate::{
    domain::{
        annotations::PREFIX,
        image::{ImageRef, Repository},
    },
    manifest::FoundWorkload,
};

/// What the files of a repository render together, for many questions.
pub struct Index<'f> {
    pub(super) files: &'f Files,
    pub(super) options: &'f Options,
    pub(super) kustomizations: Kustomizations<'f>,
    pub(super) renderings: Vec<Rendering<'f>>,
    /// By name.
    pub(super) namespaces: HashMap<Arc<str>, Asks>,
    pub(super) by_name: HashMap<(&'f str, Arc<str>), Vec<usize>>,
    /// The namespace that each release's workloads go to, by one way outwards each; none if it is not known.
    pub(super) releases: Vec<Option<Arc<str>>>,
    /// The images of releases, by repository, and of which release.
    pub(super) released: HashMap<Repository, Vec<(usize, Released<'f>)>>,
    pub(super) by_instance: HashMap<&'f str, Vec<usize>>,
    /// The releases that take values from elsewhere which are not known, and why.
    pub(super) lost_values: Vec<(usize, Ambiguity<'f>)>,
    pub(super) markers: HashMap<Repository, Vec<Marked<'f>>>,
    /// The scalars that are marked `never`.
    pub(super) never: HashSet<(&'f str, &'f At)>,
    /// Every image that is rendered, once somebody asks.
    pub(super) images: OnceLock<(HashMap<Repository, Vec<Draft<'f>>>, AllUneditable<'f>)>,
    /// What makes no image, in values, releases and entries, and why.
    pub(super) barred: AllUneditable<'f>,
    /// Marked values that make none.
    pub(super) mismarked: Vec<Uneditable<'f>>,
    /// Templates of charts that are plain manifests with a policy, and the line.
    pub(super) templates: Vec<(&'f Arc<str>, usize)>,
    /// Lines that name images, once somebody asks.
    pub(super) mentions: OnceLock<Mentions<'f>>,
    pub(super) values: HashMap<Repository, Vec<Draft<'f>>>,
    /// The same of files by other names.
    pub(super) other_values: HashMap<Repository, Vec<Draft<'f>>>,
    /// The images of charts that Kustomize renders, and whether by the names of values files, too.
    pub(super) inflated: HashMap<Repository, Vec<(bool, Draft<'f>)>>,
    /// Entries of `images` for what kustomizations take from elsewhere.
    pub(super) entries: HashMap<Repository, Vec<Draft<'f>>>,
    pub(super) configured: HashMap<Repository, Vec<Draft<'f>>>,
}

/// A file, what a marker in it says, and the place.
pub(super) type Marked<'f> = (&'f Arc<str>, &'f Says, Draft<'f>);

/// A place and the image that it makes.
#[derive(Debug, Clone)]
pub(super) struct Draft<'f> {
    pub(super) path: &'f Arc<str>,
    pub(super) line: usize,
    pub(super) expr: ImageExpr,
    pub(super) holds: ImageRef,
    /// Why this may not be what makes it.
    pub(super) ambiguity: Option<Ambiguity<'f>>,
}

impl<'f> Draft<'f> {
    pub(super) fn new(path: &'f Arc<str>, expr: ImageExpr) -> Option<Self> {
        let holds = expr.holds().ok()?;
        Some(Self { path, line: expr.main().map_or(1, |cell| cell.line), expr, holds, ambiguity: None })
    }

    /// The same of a release, also where a part of the image is filled in from elsewhere.
    pub(super) fn of_release(path: &'f Arc<str>, expr: ImageExpr) -> Option<Self> {
        if let Some(draft) = Self::new(path, expr.clone()) {
            return Some(draft);
        }
        let (repository, cell) = uneditable::open(&expr)?;
        let (holds, line) = (ImageRef::parse(&repository.to_string()).ok()?, cell.line);
        Some(Self { path, line, holds, ambiguity: Some(Ambiguity { path, line, reason: OPEN_ABOVE }), expr })
    }

    /// Whether a part of it is filled in from elsewhere.
    pub(super) fn is_open(&self) -> bool {
        self.ambiguity.as_ref().is_some_and(|ambiguity| ambiguity.reason == OPEN_ABOVE)
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
        let charts: HashSet<&str> =
            files.iter().filter(|(_, f)| f.chart.is_some()).map(|(path, _)| folder(path)).collect();
        let is_template = |path: &str| is_template(&charts, path);
        let mut kustomizations = Kustomizations::new(files);
        kustomizations.patch_outers(files);
        let Renderings { workloads: renderings, namespaces, of_releases } =
            renderings(files, &mut kustomizations, is_template);
        let namespaces = namespace::namespaces(files, &kustomizations, namespaces);
        let mut by_name: HashMap<_, Vec<usize>> = HashMap::new();
        for (index, rendering) in renderings.iter().enumerate() {
            let kind = rendering.found.workload.id.kind.as_str();
            by_name.entry((kind, rendering.id.name.clone())).or_default().push(index);
        }
        let (mut releases, mut values, mut other_values) = (Vec::new(), HashMap::new(), HashMap::new());
        let mut markers: HashMap<_, Vec<Marked>> = HashMap::new();
        let mut released: HashMap<_, Vec<(usize, Released)>> = HashMap::new();
        let mut by_instance: HashMap<&str, Vec<usize>> = HashMap::new();
        let (mut barred, mut mismarked, mut templates) = (AllUneditable::new(), Vec::new(), Vec::new());
        let (mut lost_values, mut kept, mut given) = (Vec::new(), 0, by_name::Given::new());
        let layered = Layered::new(files, &kustomizations.charts);
        let not_patches = files.iter().filter(|(path, _)| !kustomizations.is_patch(path));
        let bases = not_patches.flat_map(|(_, facts)| facts.releases.iter().map(|r| (r.kind(), &*r.name)));
        let bases: HashSet<(&str, &str)> = bases.collect();
        for (path, facts) in files {
            let repository_of = |says: &Says| match says {
                Says::Policy(_) => None,
                Says::Flux(name) => options.image_policies.get(&**name).cloned(),
            };
            let is_ours =
                |says: &Says| !matches!(says, Says::Flux(name) if !options.image_policies.contains_key(&**name));
            for (says, repository, expr) in marker::exprs(&facts.markers, repository_of) {
                match uneditable::of_marked(path, says, &repository, &expr, is_ours(says)) {
                    Some(held) => {
                        mismarked.extend(is_ours(says).then(|| held.clone()));
                        barred.entry(repository).or_default().push(held);
                    }
                    None => {
                        let draft = Draft::new(path, expr);
                        markers.entry(repository).or_default().extend(draft.map(|draft| (path, says, draft)));
                    }
                }
            }
            if is_template(path) {
                let is_ours =
                    |found: &&FoundWorkload| found.workload.annotations.keys().any(|key| key.starts_with(PREFIX));
                let watched = facts.manifests.workloads.iter().chain(&facts.partial).find(is_ours);
                let literal = watched.filter(|_| facts.template().is_none());
                templates.extend(literal.map(|found| (path, found.line)));
                continue;
            }
            let chains = of_releases.get(path).map_or(&[][..], Vec::as_slice);
            for release in &facts.releases {
                // A patch counts with what it patches, if that is here.
                if kustomizations.is_patch(path) && bases.contains(&(release.kind(), &*release.name)) {
                    continue;
                }
                let roots: Vec<&Chain> = chains.iter().filter(|chain| chain.is_root).collect();
                let unknown = Chain::plain();
                for chain in if roots.is_empty() { vec![&unknown] } else { roots } {
                    let index = releases.len();
                    let OfRelease { images, after, lost, below } =
                        release_patch::images(files, &kustomizations, path, release, chain);
                    given.extend(below.into_iter().map(|file| (&**file, (path, release.line))));
                    lost_values.extend(lost.map(|ambiguity| (index, ambiguity)));
                    let sets: usize = after.1.iter().map(|set| set.images.len() + set.patches.len()).sum();
                    if !kustomizations.takes((images.len() + sets) * sets) || kept > MAX_RELEASED {
                        kustomizations.too_many.get_or_insert_with(|| path.to_string());
                        break;
                    }
                    for mut each in post::released(files, after, images) {
                        kept += 1;
                        let beside =
                            || release.folders().find_map(|folder| kustomizations.by_argo.get(&*folder).cloned());
                        each.draft.ambiguity =
                            each.draft.ambiguity.or_else(|| kustomizations.blocked(path)).or_else(beside);
                        released.entry(each.draft.holds.repository.clone()).or_default().push((index, each));
                    }
                    for instance in &release.instances {
                        by_instance.entry(instance).or_default().push(index);
                    }
                    releases.push(target(&kustomizations, release, chain, options));
                }
            }
            let values_of = if FileKind::of(path) == FileKind::Values { &mut values } else { &mut other_values };
            let beside = kustomizations.by_argo.get(folder(path)).map(|ambiguity| (ambiguity.path, ambiguity.line));
            for expr in &facts.values {
                match beside.or_else(|| layered.over(path, expr)) {
                    Some((above, line)) => by_name::bar(&mut barred, path, expr, (above, line)),
                    None => add(values_of, Draft::new(path, expr.clone())),
                }
            }
            let released = facts.releases.iter().flat_map(|release| release.values.iter().chain(&release.images));
            uneditable::add(&mut barred, path, facts.values.iter().chain(released));
        }
        by_name::add_layered(&mut values, layered.drafts);
        let (inflated, of_kustomizations) = kustomizations.inflated(files);
        given.extend(of_kustomizations);
        let inflated = by_name::resolve(&mut values, &mut other_values, &mut released, inflated, &given, &mut barred);
        let marked = files.iter().flat_map(|(path, facts)| facts.markers.iter().map(move |marker| (&**path, marker)));
        let never = marked.filter(|(_, marker)| marker.says.is_never());
        let never = never.map(|(path, marker)| (path, &marker.cell.at)).collect();
        let mut configured = HashMap::new();
        add(&mut configured, by_rules(files, options));
        let (images, mentions) = (OnceLock::new(), OnceLock::new());
        let mut entries = HashMap::new();
        let outside = kustomizations.entries().into_iter();
        add(&mut entries, outside.filter_map(|(path, entry)| Draft::new(path, of_outside(path, entry)?)));
        Self {
            inflated,
            entries,
            files,
            options,
            kustomizations,
            renderings,
            namespaces,
            by_name,
            releases,
            released,
            by_instance,
            lost_values,
            markers,
            never,
            images,
            barred,
            mismarked,
            templates,
            mentions,
            values,
            other_values,
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

/// The namespace that a release's workloads go to; none if it is not known.
fn target(kustomizations: &Kustomizations, release: &Release, chain: &Chain, options: &Options) -> Option<Arc<str>> {
    if release.target.is_some() || !release.is_flux {
        return release.target.as_deref().map(Arc::from);
    }
    let own: Arc<str> = (&*release.namespace).into();
    let (namespace, _) = kustomizations.renamed(chain, &own, &own);
    match &options.default_namespace {
        Some(default) if namespace.is_empty() => Some(default.as_str().into()),
        _ => Some(namespace).filter(|namespace| !namespace.is_empty()),
    }
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
                // A digest that stands beside the image or the tag wins, also if nobody names it.
                let beside = |path: &Path| {
                    let key = path.key();
                    let (above, _) = release_patch::parent(&key)?;
                    let within = cells.range(above..).take_while(|(key, _)| key.starts_with(above));
                    let own = within.filter_map(|(key, cell)| Some((release_patch::parent(key)?, *cell)));
                    let mut own = own.filter(|((at, key), cell)| *at == above && is_digest_beside(key, &cell.value));
                    own.next().map(|(_, cell)| cell.clone())
                };
                if let (Some(cell), Some(path_of)) = (cell(&rule.image), &rule.image) {
                    found.extend(Draft::new(path, ImageExpr::beside(cell, beside(path_of))));
                }
                let tag = cell(&rule.tag);
                let digest =
                    cell(&rule.digest).or_else(|| beside(rule.tag.as_ref().filter(|_| rule.digest.is_none())?));
                let named = rule.for_image.as_ref().map(|repository| Name::Known(repository.to_string().into()));
                let name = cell(&rule.repository).filter(|cell| split(&cell.value).1.is_none()).map(Name::Cell);
                if let Some(name) = name.or(named).filter(|_| tag.is_some() || digest.is_some()) {
                    found.extend(Draft::new(path, ImageExpr::parts(cell(&rule.registry), name, tag, digest)));
                }
            }
        }
    }
    found
}
