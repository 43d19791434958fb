//! Values files that stand over one another by their names, as Helm is given them: `values-prod.yaml` over `values.yaml`,
//! and a chart's own values over those of the charts in it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use super::{
    Facts, Files,
    cell::{At, Cell, ImageExpr},
    chart_ref::alike,
    charts::{Charts, Inner, parts},
    index::Draft,
    names::{FileKind, folder},
    release_patch::{Flat, Value, merge, of_flat, parent},
};

/// What comes of layers.
#[derive(Debug, Default)]
pub(super) struct Layered<'f> {
    /// Places of images whose parts stand in several files.
    pub(super) drafts: Vec<Draft<'f>>,
    /// Values that are always overridden, and where.
    pub(super) hidden: HashMap<(&'f str, At), (&'f Arc<str>, usize)>,
    compared: usize,
}

/// More charts from elsewhere are not compared with those of the repository.
const MAX_COMPARED: usize = 20_000;

impl<'f> Layered<'f> {
    pub(super) fn new(files: &'f Files, charts: &Charts<'f>) -> Self {
        let mut found = Self::default();
        let mut by_base: BTreeMap<&str, Vec<(&'f Arc<str>, &'f Facts)>> = BTreeMap::new();
        for (path, facts) in files.iter().filter(|(path, _)| FileKind::of(path) == FileKind::Values) {
            let own = folder(path);
            match charts.base(own) {
                Some((base, _)) if base == path => {
                    by_base.entry(own).or_default();
                }
                // A chart's own values may hold nothing of an image.
                None if !charts.folders().contains(own) => {}
                _ => by_base.entry(own).or_default().push((path, facts)),
            }
            if let Some(chart) = chart_around(own, charts) {
                by_base.entry(chart).or_default().push((path, facts));
            }
        }
        for at in charts.folders() {
            by_base.entry(at).or_default();
        }
        for (at, layers) in by_base {
            found.of_folder(at, &layers, charts);
        }
        found
    }

    fn of_folder(&mut self, at: &str, layers: &[(&'f Arc<str>, &'f Facts)], charts: &Charts<'f>) {
        let inner = charts.inner(at);
        let mut ground = charts.values(at).into_owned();
        if !inner.is_empty() {
            let drafts = of_flat(&ground.flat, &|path| ground.rank(path));
            self.drafts.extend(drafts.into_iter().map(|(_, draft)| draft));
            self.hide(at, &inner, &ground.flat, charts);
        }
        self.of_elsewhere(at, &ground.flat, layers, charts);
        if layers.is_empty() {
            return;
        }
        let mut groups: HashMap<&str, Vec<(&String, &Value<'f>)>> = HashMap::new();
        for (key, value) in &ground.flat {
            if let Some((above, _)) = parent(key) {
                groups.entry(above).or_default().push((key, value));
            }
        }
        ground.order.extend(layers.iter().map(|(path, _)| *path));
        for (path, facts) in layers {
            let own: Vec<(Box<str>, Cell)> = parts(&facts.flat).cloned().collect();
            let above: HashSet<&str> = own.iter().filter_map(|(key, _)| Some(parent(key)?.0)).collect();
            let touched = above.iter().filter_map(|above| groups.get(above)).flatten();
            let mut flat: Flat = touched.map(|(key, value)| ((*key).clone(), (*value).clone())).collect();
            if flat.is_empty() {
                continue;
            }
            merge(&mut flat, path, &own);
            let drafts = of_flat(&flat, &|path| ground.rank(path)).into_iter().map(|(_, draft)| draft);
            self.drafts.extend(drafts.filter(|draft| draft.path == *path || draft.ambiguity.is_some()));
        }
    }

    /// What the values of a chart, and each layer over them, set of charts from elsewhere which may be of the repository.
    fn of_elsewhere(&mut self, at: &str, ground: &Flat<'f>, layers: &[(&'f Arc<str>, &'f Facts)], charts: &Charts<'f>) {
        let elsewhere = charts.elsewhere(at);
        if elsewhere.is_empty() {
            return;
        }
        let layer = |(path, facts): &(&'f Arc<str>, &'f Facts)| {
            let own: Vec<(Box<str>, Cell)> = parts(&facts.flat).cloned().collect();
            let mut flat = Flat::new();
            merge(&mut flat, path, &own);
            flat
        };
        let all: Vec<Flat> = std::iter::once(ground.clone()).chain(layers.iter().map(layer)).collect();
        for (key, may_be) in elsewhere {
            for flat in &all {
                let below = |path: &String| path.strip_prefix(&*key).is_some_and(|rest| rest.starts_with('.'));
                let own = flat.iter().filter(|(path, _)| below(path));
                let own: Flat = own.map(|(path, value)| (path.clone(), value.clone())).collect();
                for chart in may_be.iter().filter(|_| !own.is_empty()) {
                    self.compared += 1;
                    if self.compared > MAX_COMPARED {
                        return;
                    }
                    self.drafts.extend(alike(&own, &key, &charts.values(chart)));
                }
            }
        }
    }

    /// What the values of a chart set of the charts that are in it and nowhere else.
    fn hide(&mut self, at: &str, inner: &[Inner], ground: &Flat<'f>, charts: &Charts<'f>) {
        let base = charts.base(at).map(|(path, _)| path);
        for Inner { key: step, folder, .. } in inner.iter().filter(|one| one.is_own) {
            for (key, (path, cell)) in &charts.values(folder).flat {
                let over = match ground.get(&format!("{step}{key}")) {
                    Some((other, own)) if (other, &own.at) == (path, &cell.at) => continue,
                    Some((other, own)) => Some((*other, own.line)),
                    None => base.map(|base| (base, 1)),
                };
                self.hidden.extend(over.map(|over| ((&***path, cell.at.bare().into_owned()), over)));
            }
        }
    }

    /// Where something is always over a part of an image, if that is so.
    pub(super) fn over(&self, path: &'f Arc<str>, expr: &ImageExpr) -> Option<(&'f Arc<str>, usize)> {
        if self.hidden.is_empty() {
            return None;
        }
        expr.cells().find_map(|cell| self.hidden.get(&(&**path, cell.at.bare().into_owned())).copied())
    }
}

/// The chart in whose folder a folder is: its values files may be for that chart. Those in `ci` are for trials.
fn chart_around<'f>(at: &str, charts: &Charts<'f>) -> Option<&'f str> {
    let mut above = at;
    while !above.is_empty() && !charts.folders().contains(above) {
        above = folder(above);
    }
    let chart = charts.folders().get(above).filter(|chart| **chart != at)?;
    let within = at[chart.len()..].trim_start_matches('/');
    (!within.split('/').any(|part| part == "ci" || part == "charts")).then_some(chart)
}
