//! The chart of a release that another object names (`chartRef`), and charts of this repository that one from elsewhere may
//! be.

use std::{borrow::Cow, collections::HashSet, sync::Arc};

use super::{
    Files,
    cell::Cell,
    chains::Chain,
    charts::Values,
    given::{Given, Several},
    index::Draft,
    patch::Ambiguity,
    release::Release,
    release_patch::{Flat, of_flat, over},
    render::Kustomizations,
    stack::{CHART, flux_root},
};

/// Where a HelmRelease names the object that says which chart.
pub(super) const CHART_REF: &str = ".spec.chartRef";

const SEVERAL: &str =
    "several objects may be the one that names the chart of this release: give each a name of its own";
const PATCHED: &str = "this patch may change the object that names the chart of a HelmRelease, and is not followed: write \
     that where the object stands";
const ALIKE: &str = "this sets a part of an image, and the rest is the chart's, which comes from elsewhere and may be one of \
     this repository: write repository and tag here, both";

/// What another object says of the chart of a release.
#[derive(Debug, Default)]
pub(super) struct Chosen<'f> {
    by: Option<&'f Given>,
    pub(super) elsewhere: Option<Elsewhere>,
}

/// A chart that is not known to be of this repository.
#[derive(Debug, Clone)]
pub(super) enum Elsewhere {
    /// By this name.
    Called(Box<str>),
    /// Under a name that is not known.
    Somewhere,
}

impl Elsewhere {
    /// By its name, or its address.
    pub(super) fn called(name: &str) -> Self {
        Self::Called(name.trim_end_matches('/').rsplit('/').next().unwrap_or_default().into())
    }
}

impl<'f> Chosen<'f> {
    /// What is said, as it would stand in the release itself.
    pub(super) fn cells(&self) -> impl Iterator<Item = (Cow<'f, str>, &'f Cell)> {
        self.by.iter().flat_map(|given| of_chart(given))
    }
}

fn of_chart(given: &Given) -> impl Iterator<Item = (Cow<'_, str>, &Cell)> {
    given.cells().map(|(key, cell)| (Cow::Owned(format!("{CHART}{key}")), cell))
}

impl Given {
    /// The files of the chart that it names, if it is one of this repository.
    pub(super) fn chart_files(&self) -> impl Iterator<Item = String> {
        flux_root(of_chart(self), None).included()
    }
}

impl<'f> Kustomizations<'f> {
    /// What says which chart a release is of, if the release does not; `flat` has its values as they are patched.
    pub(super) fn chosen(
        &self,
        files: &'f Files,
        (path, release): (&'f Arc<str>, &'f Release),
        flat: Option<&Flat<'f>>,
        chain: &Chain,
    ) -> (Chosen<'f>, Option<Ambiguity<'f>>) {
        let word = |key: &str| {
            let key = format!("{CHART_REF}.{key}");
            match flat {
                Some(flat) => flat.get(&key).map(|(at, cell)| (*at, cell.line, &*cell.value)),
                None => release.flat.iter().find(|(k, _)| **k == *key).map(|(_, cell)| (path, cell.line, &*cell.value)),
            }
        };
        let (Some((.., kind)), Some((at, line, name))) = (word("kind"), word("name")) else {
            return Default::default();
        };
        let namespace = word("namespace").map_or(&*release.namespace, |(.., namespace)| namespace);
        let somewhere = Chosen { by: None, elsewhere: Some(Elsewhere::Somewhere) };
        let all = self.given.get(&(kind, name)).map_or(&[][..], Vec::as_slice);
        let patches: usize = chain.layers.iter().map(|layer| self.all[*layer].facts.patches.len()).sum();
        if !self.takes(1 + all.len() + patches) {
            return (somewhere, None);
        }
        let ambiguity = |reason| Some(Ambiguity { path: at, line, reason });
        let (given, ambiguity) = match self.one_given(all, namespace, chain) {
            Ok(Some((_, given))) => (given, self.patch_of_given(files, (kind, name), chain, PATCHED)),
            Ok(None) => return (somewhere, None),
            Err(Several) => return (somewhere, ambiguity(SEVERAL)),
        };
        let url = given.cells().find(|(key, _)| *key == ".url").map(|(_, cell)| Elsewhere::called(&cell.value));
        (Chosen { by: Some(given).filter(|_| url.is_none()), elsewhere: url }, ambiguity)
    }

    /// The images of which values below `root` set a part, if their chart is one of these.
    pub(super) fn alike(&self, flat: &Flat<'f>, root: &str, charts: &[&'f str]) -> Vec<Draft<'f>> {
        let own = flat.iter().filter(|(key, _)| key.strip_prefix(root).is_some_and(|rest| rest.starts_with('.')));
        let own: Flat = own.filter(|_| !charts.is_empty()).map(|(key, value)| (key.clone(), value.clone())).collect();
        let mut found = Vec::new();
        for chart in charts {
            let values = self.charts.values(chart);
            if own.is_empty() || !self.takes(1 + values.flat.len() + own.len()) {
                break;
            }
            found.extend(alike(&own, root, &values));
        }
        found
    }
}

/// The images of which values below `root` set a part, if their chart is the one with these.
pub(super) fn alike<'f>(own: &Flat<'f>, root: &str, chart: &Values<'f>) -> Vec<Draft<'f>> {
    let below: Flat = chart.flat.iter().map(|(key, value)| (format!("{root}{key}"), value.clone())).collect();
    let mut all = below.clone();
    over(&mut all, own.clone());
    let drafts = |flat| of_flat(flat, &|path| chart.rank(path)).into_iter().map(|(_, draft)| draft);
    let key = |draft: &Draft<'f>| (draft.path, draft.expr.main().map(|cell| cell.at.clone()), draft.holds.clone());
    let known: HashSet<_> = drafts(own).chain(drafts(&below)).map(|draft| key(&draft)).collect();
    let new = drafts(&all).filter(|draft| !known.contains(&key(draft)));
    let ambiguous = new.map(|draft| {
        let ambiguity = Ambiguity { path: draft.path, line: draft.line, reason: ALIKE };
        Draft { ambiguity: Some(draft.ambiguity.unwrap_or(ambiguity)), ..draft }
    });
    ambiguous.collect()
}
