//! The places of one image.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use super::{
    Disagreeing, FILE_KIND, Facts, Files, Misfit, Options, Spot, Wanted,
    cell::{Cell, Maker, Name, split},
    listed::{self, Listed},
    marker::{self, Says},
    names::folder,
    release::Release,
    render::{Chain, Kustomizations, Rendering, renderings},
};
use crate::domain::image::{ImageRef, Repository, excerpt};

/// What the files of a repository render together, for many questions.
pub struct Index<'f> {
    pub(super) files: &'f Files,
    pub(super) options: &'f Options,
    pub(super) kustomizations: Kustomizations<'f>,
    pub(super) renderings: Vec<Rendering<'f>>,
    by_name: HashMap<(&'f str, Arc<str>), Vec<usize>>,
    releases: Vec<Deployed<'f>>,
    pub(super) markers: Vec<(&'f Arc<str>, &'f Says, Draft<'f>)>,
    values: HashMap<Repository, Vec<Draft<'f>>>,
    configured: HashMap<Repository, Vec<Draft<'f>>>,
}

/// A release, its file, and the namespaces that its workloads go to; none if they are not known.
type Deployed<'f> = (&'f Arc<str>, &'f Release, Option<BTreeSet<Arc<str>>>);

/// A place and the image that it makes.
#[derive(Debug, Clone)]
pub(super) struct Draft<'f> {
    pub(super) path: &'f Arc<str>,
    pub(super) line: usize,
    pub(super) maker: Maker,
    pub(super) holds: ImageRef,
}

impl<'f> Draft<'f> {
    fn new(path: &'f Arc<str>, maker: Maker) -> Option<Self> {
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
        let (mut releases, mut markers, mut values) = (Vec::new(), Vec::new(), HashMap::new());
        for (path, facts) in files {
            let repository_of = |says: &Says| match says {
                Says::Policy(_) => None,
                Says::Flux(name) => options.image_policies.get(&**name).cloned(),
            };
            let is_ours =
                |says: &Says| !matches!(says, Says::Flux(name) if !options.image_policies.contains_key(&**name));
            for (says, repository, maker) in marker::makers(&facts.markers, repository_of) {
                let draft = Draft::new(path, maker).filter(|draft| draft.holds.repository == repository);
                markers.extend(draft.filter(|_| is_ours(says)).map(|draft| (path, says, draft)));
            }
            if is_template(path) {
                continue;
            }
            for release in &facts.releases {
                let chains = of_releases.get(path).map_or(&[][..], Vec::as_slice);
                releases.push((path, release, targets(&kustomizations, release, chains, options)));
            }
            add(&mut values, facts.values.iter().filter_map(|maker| Draft::new(path, maker.clone())));
        }
        let mut configured = HashMap::new();
        add(&mut configured, by_rules(files, options));
        Self { files, options, kustomizations, renderings, by_name, releases, markers, values, configured }
    }

    /// All places of a change, or why there is none. Those that are found agree on the image that they make now.
    pub fn locate(&self, wanted: &Wanted) -> Result<Vec<Spot>, Misfit> {
        let found = self.places(wanted);
        if matches!(found, Err(Misfit::Nowhere(_))) && wanted.from.repository != wanted.to.repository {
            // It may have moved already.
            return self.places(&Wanted { from: wanted.to.clone(), ..wanted.clone() }).or(found);
        }
        found
    }

    fn places(&self, wanted: &Wanted) -> Result<Vec<Spot>, Misfit> {
        if self.kustomizations.too_many {
            let reason = "the kustomizations include one another in more ways than are followed";
            return Err(Misfit::Nowhere(reason.into()));
        }
        let (listed, of_file) = match wanted.workload.kind.as_str() == FILE_KIND {
            true => (self.listed(&wanted.workload.name), Some(&*wanted.workload.name)),
            false => (None, None),
        };
        let drafts = match (listed, of_file) {
            (Some(listed), _) => self.everywhere(wanted, listed)?,
            (None, Some(path)) => self.marked(wanted, |marked| marked == path),
            (None, None) => self.defined(wanted)?,
        };
        if drafts.is_empty() {
            return Err(Misfit::Nowhere(self.nowhere(wanted)));
        }
        self.spots(drafts, wanted)
    }

    fn listed(&self, name: &str) -> Option<&'f Listed> {
        let entry = name.strip_prefix(listed::FILE)?.strip_prefix(':')?;
        self.files.get(listed::FILE)?.listed.iter().find(|listed| listed.name == entry)
    }

    /// By what a workload is, then by what it runs.
    fn defined(&self, wanted: &Wanted) -> Result<Vec<Draft<'f>>, Misfit> {
        let (values, images) = self.released(wanted);
        let mut drafts = self.configured.get(&wanted.from.repository).cloned().unwrap_or_default();
        let by_rule = !drafts.is_empty();
        // What an Application says comes after all kustomizations.
        let found = if images.is_empty() { self.manifests(wanted)? } else { images };
        let found = if found.is_empty() { values } else { found };
        let found = if found.is_empty() { self.marked(wanted, |_| true) } else { found };
        drafts.extend(found);
        if drafts.is_empty() && !by_rule {
            drafts = self.values.get(&wanted.from.repository).cloned().unwrap_or_default();
        }
        Ok(drafts)
    }

    /// Every place of a repository's image in the files of an entry of `supercargo.yaml`.
    pub(super) fn everywhere(&self, wanted: &Wanted, listed: &Listed) -> Result<Vec<Draft<'f>>, Misfit> {
        let repository = &wanted.from.repository;
        let mut drafts = self.configured.get(repository).cloned().unwrap_or_default();
        let mut found: Vec<Draft> = Vec::new();
        for rendering in self.renderings.iter().filter(|rendering| rendering.chain.is_root) {
            let containers = &rendering.found.workload.containers;
            for container in containers.iter().zip(&rendering.found.images) {
                found.extend(self.made(rendering, container).ok());
            }
        }
        for (path, release, _) in &self.releases {
            let makers = release.values.iter().chain(&release.images);
            found.extend(makers.filter_map(|maker| Draft::new(path, maker.clone())));
        }
        let fits = |draft: &Draft| draft.holds.repository == *repository && listed.covers(draft.path);
        found.retain(fits);
        if found.is_empty() {
            found = self.marked(wanted, |path| listed.covers(path));
        }
        drafts.extend(found);
        drafts.retain(fits);
        if drafts.is_empty() {
            drafts = self.values.get(repository).cloned().unwrap_or_default();
            drafts.retain(fits);
        }
        Ok(drafts)
    }

    /// The manifests of the workload, with what the kustomizations do to them.
    fn manifests(&self, wanted: &Wanted) -> Result<Vec<Draft<'f>>, Misfit> {
        let fits = |rendering: &&Rendering| self.namespace(&rendering.id.namespace) == &*wanted.workload.namespace;
        let of_name = self.named(wanted);
        let all: Vec<&Rendering> = of_name.into_iter().filter(fits).collect();
        let is_root = all.iter().any(|rendering| rendering.chain.is_root);
        let mut drafts = Vec::new();
        for rendering in all.into_iter().filter(|rendering| rendering.chain.is_root == is_root) {
            let workload = &rendering.found.workload;
            let containers = workload.containers.iter().zip(&rendering.found.images);
            for container in containers.filter(|(c, _)| c.name == wanted.container && c.init == wanted.init) {
                let draft = self.made(rendering, container)?;
                let holds = &draft.holds.repository;
                if *holds != wanted.from.repository && *holds != wanted.to.repository {
                    let reason = format!("this has the image {}, while {} runs", draft.holds, wanted.from);
                    return Err(Misfit::Refused { path: draft.path.clone(), line: draft.line, reason });
                }
                drafts.push(draft);
            }
        }
        Ok(drafts)
    }

    fn named(&self, wanted: &Wanted) -> Vec<&Rendering<'f>> {
        let key = (wanted.workload.kind.as_str(), wanted.workload.name.clone());
        let found = self.by_name.get(&key).map_or(&[][..], Vec::as_slice);
        found.iter().map(|index| &self.renderings[*index]).collect()
    }

    fn namespace<'n>(&'n self, namespace: &'n str) -> &'n str {
        match &self.options.default_namespace {
            Some(default) if namespace.is_empty() => default,
            _ => namespace,
        }
    }

    fn made(
        &self,
        rendering: &Rendering<'f>,
        container: (&crate::domain::workload::Container, &super::super::ImagePlace),
    ) -> Result<Draft<'f>, Misfit> {
        let made = self.kustomizations.made(self.files, rendering, container, self.options.overlay.as_deref());
        let (path, line) = (made.path, made.line);
        match made.holds {
            Ok(holds) => Ok(Draft { path, line, maker: made.maker, holds }),
            Err(error) => Err(Misfit::Refused { path: path.clone(), line, reason: error.to_string() }),
        }
    }

    /// The images in the values of the releases that the workload may be of, and those in `kustomize.images`.
    fn released(&self, wanted: &Wanted) -> (Vec<Draft<'f>>, Vec<Draft<'f>>) {
        let fits = |(_, _, targets): &&Deployed| {
            targets.as_ref().is_none_or(|targets| targets.contains(&*wanted.workload.namespace))
        };
        let all: Vec<_> = self.releases.iter().filter(fits).collect();
        let is_its = |release: &Release| {
            wanted.instance.as_ref().is_some_and(|name| release.instances.iter().any(|own| **own == **name))
        };
        let known = all.iter().any(|(_, release, _)| is_its(release));
        let (mut values, mut images) = (Vec::new(), Vec::new());
        for (path, release, _) in all.into_iter().filter(|(_, release, _)| !known || is_its(release)) {
            for (makers, drafts) in [(&release.values, &mut values), (&release.images, &mut images)] {
                let found = makers.iter().filter_map(|maker| Draft::new(path, maker.clone()));
                drafts.extend(found.filter(|draft| draft.holds.repository == wanted.from.repository));
            }
        }
        (values, images)
    }

    fn marked(&self, wanted: &Wanted, is_in: impl Fn(&str) -> bool) -> Vec<Draft<'f>> {
        let fits = |draft: &Draft| draft.holds.repository == wanted.from.repository;
        let marked = self.markers.iter().filter(|(path, _, draft)| is_in(path) && fits(draft));
        marked.map(|(.., draft)| draft.clone()).collect()
    }

    /// The places with their edits, if they agree.
    fn spots(&self, mut drafts: Vec<Draft<'f>>, wanted: &Wanted) -> Result<Vec<Spot>, Misfit> {
        // Values without a tag leave it to the chart, unless others say it.
        let is_versioned = |draft: &Draft| draft.holds.tag.is_some() || draft.holds.digest.is_some();
        if drafts.iter().any(is_versioned) {
            drafts.retain(is_versioned);
        }
        drafts.sort_by(|a, b| (a.path, a.line).cmp(&(b.path, b.line)));
        let mut seen = HashSet::new();
        drafts.retain(|draft| draft.maker.main().is_none_or(|cell| seen.insert((draft.path, cell.at.clone()))));
        let key = |image: &ImageRef| (image.repository.clone(), image.tag.clone(), image.digest.clone());
        if drafts.iter().any(|draft| key(&draft.holds) != key(&drafts[0].holds)) {
            let each = |d: &Draft| Disagreeing { path: d.path.clone(), line: d.line, holds: d.holds.clone() };
            return Err(Misfit::Conflict(drafts.iter().map(each).collect()));
        }
        let mut spots = Vec::new();
        for Draft { path, line, maker, holds } in drafts {
            let refuse = |line, reason| Err(Misfit::Refused { path: path.clone(), line, reason });
            if let Some(line) = self.files.get(path).and_then(|facts: &Arc<Facts>| facts.sealed) {
                return refuse(line, "the file is encrypted by SOPS, whose MAC covers its values".into());
            }
            let edits = match key(&holds) == key(&wanted.to) {
                true => Vec::new(),
                false => match maker.edits(&holds, &wanted.to) {
                    Ok(edits) => edits,
                    Err(reason) => return refuse(line, reason),
                },
            };
            spots.push(Spot { path: path.clone(), line, holds, edits });
        }
        Ok(spots)
    }

    fn nowhere(&self, wanted: &Wanted) -> String {
        let Wanted { workload, container, from, .. } = wanted;
        let place = |rendering: &Rendering| format!("{}:{}", excerpt(rendering.path), rendering.found.line);
        let name = excerpt(container);
        for rendering in self.named(wanted) {
            let (place, namespace) = (place(rendering), self.namespace(&rendering.id.namespace));
            if namespace == &*workload.namespace {
                return format!("{place} defines {workload}, but no container {name}, and no other place holds {from}");
            }
            if namespace.is_empty() {
                return format!(
                    "{place} defines {}/{} without a namespace, and no kustomization sets one: name it by \
                     `defaultNamespace`",
                    workload.kind.as_str(),
                    workload.name
                );
            }
        }
        format!(
            "no file defines the image of {workload}, container {name}, and none marks or holds {}",
            from.repository
        )
    }
}

/// Whether a file is a template of a chart.
fn is_template(charts: &HashSet<&str>, path: &str) -> bool {
    path.match_indices("templates/").any(|(at, _)| match path[..at].strip_suffix('/') {
        Some(chart) => charts.contains(chart),
        None => at == 0 && charts.contains(""),
    })
}

fn add<'f>(map: &mut HashMap<Repository, Vec<Draft<'f>>>, drafts: impl IntoIterator<Item = Draft<'f>>) {
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
                let cell =
                    |path: &Option<super::Path>| path.as_ref().and_then(|p| cells.get(&*p.key())).copied().cloned();
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
