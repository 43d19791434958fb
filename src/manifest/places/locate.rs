//! The places of one image.

use std::{collections::HashSet, sync::Arc};

use super::{
    Disagreeing, FILE_KIND, Facts, Index, LocateError, Location, Wanted,
    chains::Rendering,
    index::Draft,
    listed::{self, Listed},
    made::{Made, Way},
    patch::Ambiguity,
    uneditable::{self, Uneditable},
};
use crate::domain::image::{ImageRef, Repository, excerpt};

/// Why nothing is said of a repository.
pub(super) const TOO_MANY: &str = "kustomizations include it in more ways than are followed: simplify them";

/// More files that could not be read are not named where nothing is found.
pub(super) const MAX_LEFT_ALONE: usize = 5;

/// How a file that is none by its name is read as values for an entry.
pub(super) const BY_FILES: &str = "name it by `files` of an entry of `supercargo.yaml`";

impl<'f> Index<'f> {
    /// All places of a change, or why there is none. Those that are found agree on the image that they make now.
    pub fn locate(&self, wanted: &Wanted) -> Result<Vec<Location>, LocateError> {
        let found = self.places(wanted);
        if matches!(found, Err(LocateError::Nowhere(_))) && wanted.from.repository != wanted.to.repository {
            // It may have moved already.
            return self.places(&Wanted { from: wanted.to.clone(), ..wanted.clone() }).or(found);
        }
        found
    }

    fn places(&self, wanted: &Wanted) -> Result<Vec<Location>, LocateError> {
        if let Some(path) = &self.kustomizations.too_many {
            return Err(LocateError::Nowhere(format!("{}: {TOO_MANY}", excerpt(path))));
        }
        if let Some(lost) = self.namespaces.get(&wanted.workload.namespace).and_then(|asks| asks.lost.clone()) {
            return Err(lost);
        }
        let drafts = self.drafts(wanted)?;
        let (kept, drafts): (Vec<_>, Vec<_>) = drafts.into_iter().partition(|draft| self.is_never(draft));
        match (kept.first(), drafts.is_empty()) {
            (_, false) => self.spots(drafts, wanted),
            (None, true) => Err(LocateError::Nowhere(self.nowhere(wanted))),
            (Some(Draft { path, line, holds, .. }), true) => Err(LocateError::Nowhere(format!(
                "{}:{line} is marked `never`, and no other place makes {holds}: mark it with a policy",
                excerpt(path)
            ))),
        }
    }

    /// Every place, also those that are to stay as they are.
    pub(super) fn drafts(&self, wanted: &Wanted) -> Result<Vec<Draft<'f>>, LocateError> {
        let (listed, of_file) = match wanted.workload.kind.as_str() == FILE_KIND {
            true => (self.listed(&wanted.workload.name), Some(&*wanted.workload.name)),
            false => (None, None),
        };
        match (listed, of_file) {
            (Some(listed), _) => self.everywhere(wanted, listed),
            (None, Some(path)) => Ok(self.marked(wanted, |marked| marked == path)),
            (None, None) => self.defined(wanted),
        }
    }

    /// Whether one of its scalars is marked to stay as it is.
    pub(super) fn is_never(&self, draft: &Draft) -> bool {
        !self.never.is_empty() && draft.expr.cells().any(|cell| self.never.contains(&(&**draft.path, &*cell.at.bare())))
    }

    pub(super) fn listed(&self, name: &str) -> Option<&'f Listed> {
        let entry = name.strip_prefix(listed::FILE)?.strip_prefix(':')?;
        self.files.get(listed::FILE)?.listed.iter().find(|listed| listed.name == entry)
    }

    /// By what a workload is, then by what it runs.
    fn defined(&self, wanted: &Wanted) -> Result<Vec<Draft<'f>>, LocateError> {
        let OfReleases { values, images, is_sure, lost } = self.released(wanted);
        let mut drafts = self.configured.get(&wanted.from.repository).cloned().unwrap_or_default();
        let by_rule = !drafts.is_empty();
        // What an Application says comes after all kustomizations, if it is for this workload.
        let own = if is_sure && !images.is_empty() { Vec::new() } else { self.manifests(wanted)? };
        let found = if own.is_empty() { images } else { own };
        // Where something else holds the image, too, those of values files by their names come after all others.
        let (by_name, own): (Vec<_>, Vec<_>) = values.into_iter().partition(|(is_by_name, _)| *is_by_name);
        let (mut by_name, mut own): (Vec<Draft>, Vec<Draft>) =
            (by_name.into_iter().map(|(_, draft)| draft).collect(), own.into_iter().map(|(_, draft)| draft).collect());
        // Of what is filled in elsewhere a marker may tell.
        let is_open = own.iter().all(Draft::is_open);
        let open = if is_open { std::mem::take(&mut own) } else { Vec::new() };
        if !own.is_empty() {
            own.append(&mut by_name);
        }
        let found = if found.is_empty() { own } else { found };
        if let Some(lost) = lost.filter(|_| found.is_empty()) {
            return Err(refused(lost));
        }
        let found = if found.is_empty() { self.outside(wanted) } else { found };
        let marked = if found.is_empty() { self.marked(wanted, |_| true) } else { Vec::new() };
        let is_found = !found.is_empty() || marked.iter().any(|draft| !self.is_never(draft));
        drafts.extend(found);
        drafts.extend(marked);
        // What is marked to stay leaves the others to the values files.
        if !is_found && !by_rule {
            match by_name.is_empty() {
                true => drafts.extend(self.values.get(&wanted.from.repository).into_iter().flatten().cloned()),
                false => drafts.append(&mut by_name),
            }
            if let Some(ambiguity) =
                open.first().and_then(|open| open.ambiguity.as_ref()).filter(|_| !drafts.is_empty())
            {
                return Err(refused(ambiguity));
            }
        }
        Ok(drafts)
    }

    /// Every place of a repository's image in the files of an entry of `supercargo.yaml`.
    pub(super) fn everywhere(&self, wanted: &Wanted, listed: &Listed) -> Result<Vec<Draft<'f>>, LocateError> {
        let repository = &wanted.from.repository;
        let mut drafts = self.configured.get(repository).cloned().unwrap_or_default();
        let released = self.released.get(repository).map_or(&[][..], Vec::as_slice);
        let is_by_name = released.iter().all(|(_, each)| each.is_by_name);
        let released = released.iter().filter(|_| !is_by_name).map(|(_, each)| &each.draft);
        let (open, released): (Vec<&Draft>, Vec<&Draft>) = released.partition(|draft| draft.is_open());
        let mut found: Vec<Draft> =
            released.into_iter().chain(self.images().0.get(repository).into_iter().flatten()).cloned().collect();
        let fits = |draft: &Draft| draft.holds.repository == *repository && listed.covers(draft.path);
        found.extend(self.outside(wanted));
        found.retain(fits);
        if found.is_empty() {
            found = self.marked(wanted, |path| listed.covers(path));
        }
        drafts.extend(found);
        drafts.retain(fits);
        if drafts.iter().all(|draft| self.is_never(draft)) {
            drafts.extend(self.values.get(repository).into_iter().flatten().cloned());
            if listed.files.is_some() {
                drafts.extend(self.other_values.get(repository).into_iter().flatten().cloned());
            }
            drafts.retain(fits);
            if let Some(ambiguity) =
                open.first().and_then(|open| open.ambiguity.as_ref()).filter(|_| !drafts.is_empty())
            {
                return Err(refused(ambiguity));
            }
        }
        Ok(drafts)
    }

    /// The manifests of the workload, with what the kustomizations do to them.
    fn manifests(&self, wanted: &Wanted) -> Result<Vec<Draft<'f>>, LocateError> {
        let fits = |rendering: &&Rendering| self.namespace(&rendering.id.namespace) == &*wanted.workload.namespace;
        let of_name = self.named(wanted);
        let all: Vec<&Rendering> = of_name.into_iter().filter(fits).collect();
        let is_root = all.iter().any(|rendering| rendering.chain.is_root);
        let mut drafts = Vec::new();
        for rendering in all.into_iter().filter(|rendering| rendering.chain.is_root == is_root) {
            let all = self.all_made(rendering).into_iter();
            for (.., made) in all.filter(|(name, init, _)| *name == wanted.container && *init == wanted.init) {
                let draft = draft(made)?;
                if let Some(ambiguity) = &draft.ambiguity {
                    return Err(refused(ambiguity));
                }
                let holds = &draft.holds.repository;
                if *holds != wanted.from.repository && *holds != wanted.to.repository {
                    let reason = format!("this has the image {}, while {} runs", draft.holds, wanted.from);
                    return Err(LocateError::Refused { path: draft.path.clone(), line: draft.line, reason });
                }
                drafts.push(draft);
            }
        }
        Ok(drafts)
    }

    /// Whether several kustomizations render one workload.
    fn is_in_overlays(&self, wanted: &Wanted) -> bool {
        let is_own = |rendering: &&Rendering| {
            let is_outermost = rendering.chain.is_root && !rendering.chain.layers.is_empty();
            is_outermost && self.namespace(&rendering.id.namespace) == &*wanted.workload.namespace
        };
        self.named(wanted).into_iter().filter(is_own).count() > 1
    }

    fn named(&self, wanted: &Wanted) -> Vec<&Rendering<'f>> {
        let key = (wanted.workload.kind.as_str(), wanted.workload.name.clone());
        let found = self.by_name.get(&key).map_or(&[][..], Vec::as_slice);
        found.iter().map(|index| &self.renderings[*index]).collect()
    }

    pub(super) fn namespace<'n>(&'n self, namespace: &'n str) -> &'n str {
        match &self.options.default_namespace {
            Some(default) if namespace.is_empty() => default,
            _ => namespace,
        }
    }

    /// What makes the image of each container that may have one.
    pub(super) fn ways(&self, rendering: &Rendering<'f>) -> Vec<(Arc<str>, bool, Way<'f>)> {
        self.kustomizations.ways(self.files, rendering, self.options.overlay.as_deref())
    }

    /// What makes the image of each container.
    pub(super) fn all_made(&self, rendering: &Rendering<'f>) -> Vec<(Arc<str>, bool, Made<'f>)> {
        self.kustomizations.all_made(self.files, rendering, self.options.overlay.as_deref())
    }

    /// What the releases say that the workload may be of.
    fn released(&self, wanted: &Wanted) -> OfReleases<'_, 'f> {
        let namespace = &*wanted.workload.namespace;
        let fits = |index: &usize| self.releases[*index].as_deref().is_none_or(|target| target == namespace);
        let own = wanted.instance.as_ref().and_then(|instance| self.by_instance.get(&**instance));
        let own: Option<Vec<usize>> = own.map(|own| own.iter().copied().filter(fits).collect());
        let own = own.filter(|own| !own.is_empty());
        let (mut values, mut images, mut patched, mut is_sure) = (Vec::new(), Vec::new(), Vec::new(), false);
        let is_own = |release: &usize| own.as_ref().map_or_else(|| fits(release), |own| own.contains(release));
        let lost = self.lost_values.iter().find(|(release, _)| is_own(release)).map(|(_, ambiguity)| ambiguity);
        for (release, each) in self.released.get(&wanted.from.repository).into_iter().flatten() {
            if is_own(release) {
                match (each.is_last, each.may_be_of(wanted)) {
                    (true, _) => {
                        is_sure |= own.is_some() || self.releases[*release].is_some();
                        images.push(each.draft.clone());
                    }
                    (false, Some(false)) => values.push((each.is_by_name, each.draft.clone())),
                    (false, Some(true)) => patched.push((each.is_by_name, each.draft.clone())),
                    (false, None) => {}
                }
            }
        }
        OfReleases { values: if patched.is_empty() { values } else { patched }, images, is_sure, lost }
    }

    /// The entries of `images` for what kustomizations take from elsewhere; else the values of charts that they render.
    fn outside(&self, wanted: &Wanted) -> Vec<Draft<'f>> {
        let repository = &wanted.from.repository;
        if let Some(entries) = self.entries.get(repository) {
            return entries.clone();
        }
        let inflated = self.inflated.get(repository).map_or(&[][..], Vec::as_slice);
        let is_by_name = inflated.iter().all(|(is_by_name, _)| *is_by_name);
        inflated.iter().filter(|_| !is_by_name).map(|(_, draft)| draft.clone()).collect()
    }

    /// Where an image may stand of which it is not known where it does: wherever it is not of one release alone.
    pub(super) fn may_be_of(&self, wanted: &Wanted) -> Vec<Draft<'f>> {
        let repository = &wanted.from.repository;
        let released = self.released.get(repository).into_iter().flatten().map(|(_, each)| &each.draft);
        let values = [&self.values, &self.other_values].into_iter().flat_map(|all| all.get(repository)).flatten();
        let is_of_one = |draft: &&Draft| self.files.get(draft.path).is_some_and(|facts| !facts.releases.is_empty());
        released.chain(values).filter(|draft| !is_of_one(draft)).cloned().collect()
    }

    fn marked(&self, wanted: &Wanted, is_in: impl Fn(&str) -> bool) -> Vec<Draft<'f>> {
        let marked = self.markers.get(&wanted.from.repository).into_iter().flatten();
        marked.filter(|(path, ..)| is_in(path)).map(|(.., draft)| draft.clone()).collect()
    }

    /// The places with their edits, if they agree.
    fn spots(&self, mut drafts: Vec<Draft<'f>>, wanted: &Wanted) -> Result<Vec<Location>, LocateError> {
        if let Some(ambiguity) = drafts.iter().find_map(|draft| draft.ambiguity.as_ref()) {
            return Err(refused(ambiguity));
        }
        // Values without a tag leave it to the chart, unless others say it.
        let is_versioned = |draft: &Draft| draft.holds.tag.is_some() || draft.holds.digest.is_some();
        if drafts.iter().any(is_versioned) {
            drafts.retain(is_versioned);
        }
        drafts.sort_by(|a, b| (a.path, a.line).cmp(&(b.path, b.line)));
        let mut seen = HashSet::new();
        drafts.retain(|draft| draft.expr.main().is_none_or(|cell| seen.insert((draft.path, cell.at.clone()))));
        let key = |image: &ImageRef| (image.repository.clone(), image.tag.clone(), image.digest.clone());
        if drafts.iter().any(|draft| key(&draft.holds) != key(&drafts[0].holds)) {
            let each = |d: &Draft| Disagreeing { path: d.path.clone(), line: d.line, holds: d.holds.clone() };
            let all = drafts.iter().map(each).collect();
            return Err(if self.is_in_overlays(wanted) {
                LocateError::Overlays(all)
            } else {
                LocateError::Conflict(all)
            });
        }
        let mut spots = Vec::new();
        for Draft { path, line, expr, holds, .. } in drafts {
            let refuse = |line, reason| Err(LocateError::Refused { path: path.clone(), line, reason });
            if let Some(line) = self.files.get(path).and_then(|facts: &Arc<Facts>| facts.sealed) {
                return refuse(line, "the file is encrypted by SOPS, whose MAC covers its values".into());
            }
            let edits = match key(&holds) == key(&wanted.to) {
                true => Vec::new(),
                false => match expr.edits(&holds, &wanted.to) {
                    Ok(edits) => edits,
                    Err(reason) => return refuse(line, reason),
                },
            };
            spots.push(Location { path: path.clone(), line, holds, edits });
        }
        Ok(spots)
    }

    fn nowhere(&self, wanted: &Wanted) -> String {
        let Wanted { workload, container, from, .. } = wanted;
        let place = |rendering: &Rendering| format!("{}:{}", excerpt(rendering.path), rendering.found.line);
        let name = excerpt(container);
        let is_own = |rendering: &&&Rendering| self.namespace(&rendering.id.namespace) == &*workload.namespace;
        let named = self.named(wanted);
        let own = named.iter().find(is_own).map(|rendering| place(rendering));
        if let (None, Some(open)) =
            (&own, named.iter().find(|rendering| self.namespace(&rendering.id.namespace).is_empty()))
        {
            return format!(
                "{} defines {}/{} without a namespace, and no kustomization sets one: name it by `defaultNamespace`",
                place(open),
                workload.kind.as_str(),
                workload.name
            );
        }
        let head = match own {
            Some(place) => format!("{place} defines {workload}, but no container {name}"),
            None => format!("no file defines the image of {workload}, container {name}"),
        };
        let way = match workload.kind.as_str() == FILE_KIND {
            true => BY_FILES,
            false => "name its keys by `values` of the target, or mark the value",
        };
        let others = self.by_other_names(&from.repository, way);
        let held = self.uneditable(&from.repository, None);
        let left_alone = self.left_alone(Facts::first_unread, &held);
        match held.is_empty() {
            true => format!("{head}, and none marks or holds {}{others}{left_alone}", from.repository),
            false => format!("{head}; {} stands in {}{others}{left_alone}", from.repository, uneditable::shown(&held)),
        }
    }

    /// The files that hold the repository as values files do, and are called otherwise.
    pub(super) fn by_other_names(&self, repository: &Repository, way: &str) -> String {
        let Some(drafts) = self.other_values.get(repository) else { return String::new() };
        let shown: Vec<String> =
            drafts.iter().take(MAX_LEFT_ALONE).map(|draft| format!("{}:{}", excerpt(draft.path), draft.line)).collect();
        let more = drafts.len().saturating_sub(shown.len());
        let more = if more > 0 { format!(", and {more} more places") } else { String::new() };
        format!("; {}{more} does, but is no values file by its name: {way}", shown.join(", "))
    }

    /// The files, or parts of them, that could not be read and of which nothing is said: what is looked for may stand there.
    pub(super) fn left_alone(&self, unread: fn(&Facts) -> Option<(usize, &str)>, held: &[Uneditable]) -> String {
        let others = self.files.iter().filter(|(path, _)| !held.iter().any(|held| held.path == *path));
        let mut all = others.filter_map(|(path, facts)| Some((path, unread(facts)?)));
        let shown: Vec<String> = all
            .by_ref()
            .take(MAX_LEFT_ALONE)
            .map(|(path, (line, reason))| format!("{}:{line}: {reason}", excerpt(path)))
            .collect();
        match (shown.is_empty(), all.count()) {
            (true, _) => String::new(),
            (false, 0) => format!("; left alone: {}", shown.join(", ")),
            (false, more) => format!("; left alone: {}, and {more} more files", shown.join(", ")),
        }
    }
}

/// The images of releases.
struct OfReleases<'i, 'f> {
    /// In their values, and whether by the names of values files, too.
    values: Vec<(bool, Draft<'f>)>,
    /// In `kustomize.images`.
    images: Vec<Draft<'f>>,
    /// Whether one that has these is known to be for the workload.
    is_sure: bool,
    /// Why there may be others.
    lost: Option<&'i Ambiguity<'f>>,
}

pub(super) fn draft(made: Made<'_>) -> Result<Draft<'_>, LocateError> {
    let Made { path, line, expr, holds, ambiguity, .. } = made;
    match (holds, ambiguity) {
        (Ok(holds), ambiguity) => Ok(Draft { path, line, expr, holds, ambiguity }),
        (Err(_), Some(ambiguity)) => Err(refused(&ambiguity)),
        (Err(error), None) => {
            let reason = expr.main().and_then(uneditable::why).unwrap_or_else(|| error.to_string());
            Err(LocateError::Refused { path: path.clone(), line, reason })
        }
    }
}

impl Ambiguity<'_> {
    /// For people.
    pub(super) fn shown(&self) -> Arc<str> {
        refused(self).to_string().into()
    }
}

fn refused(ambiguity: &Ambiguity) -> LocateError {
    LocateError::Refused { path: ambiguity.path.clone(), line: ambiguity.line, reason: ambiguity.reason.to_owned() }
}
