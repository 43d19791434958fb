//! The values of a release over those of its chart and of the files that it names, as Helm has them.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use globset::GlobBuilder;

use super::{
    super::Path,
    Facts, Files,
    cell::Cell,
    chart_ref::{Chosen, Elsewhere},
    charts::{Charts, Values, files_of},
    generator::is_filled,
    names::join,
    release::Release,
    release_patch::{Flat, Value, clear, over},
};

/// Where the values of a chart stand in a release, and what they stand over.
#[derive(Debug, Default)]
pub(super) struct Root {
    /// The path of the values.
    pub(super) values: String,
    /// The folder of the chart, if it may be in this repository.
    chart: Option<String>,
    /// The values files that are named, from the root of the repository.
    files: Vec<String>,
    /// Whether these take the place of the chart's own.
    is_instead: bool,
    /// What is known of the name of a chart from elsewhere.
    elsewhere: Option<Elsewhere>,
}

impl Root {
    /// The files that they stand over.
    pub(super) fn included(self) -> impl Iterator<Item = String> {
        self.chart.into_iter().flat_map(|chart| files_of(&chart)).chain(self.files)
    }
}

/// All values that a release comes to.
pub(super) struct Stack<'f> {
    pub(super) flat: Flat<'f>,
    /// Where the files stand over one another.
    pub(super) files: Values<'f>,
    /// Where values stand that may be over those of charts of this repository, and the folders of these.
    pub(super) alike: Vec<(Root, Vec<&'f str>)>,
}

/// What a source of an Application says.
#[derive(Default)]
struct OfArgo<'c> {
    path: Option<&'c str>,
    chart: Option<&'c str>,
    url: Option<&'c str>,
    /// `helm.valueFiles`, by their indices.
    files: Vec<(usize, &'c str)>,
    has_object: bool,
}

impl Release {
    /// The files that its values stand over.
    pub(super) fn included(&self) -> Vec<String> {
        let cells = self.flat.iter().map(|(key, cell)| (&**key, cell));
        self.roots(cells, &Chosen::default()).into_iter().flat_map(Root::included).collect()
    }

    fn roots<'c>(&self, cells: impl Iterator<Item = (&'c str, &'c Cell)>, chosen: &Chosen<'c>) -> Vec<Root> {
        if self.is_flux {
            let own = cells.map(|(key, cell)| (Cow::Borrowed(key), cell));
            return vec![flux_root(own.chain(chosen.cells()), chosen.elsewhere.clone())];
        }
        let mut sources: BTreeMap<&str, OfArgo> = BTreeMap::new();
        for (key, cell) in cells {
            let Some((prefix, rest)) = source(key) else { continue };
            let OfArgo { path, chart, url, files, has_object } = sources.entry(prefix).or_default();
            match rest {
                ".path" => *path = Some(&cell.value),
                ".chart" => *chart = Some(&cell.value),
                ".repoURL" => *url = Some(&cell.value),
                _ if rest.starts_with(".helm.valuesObject") => *has_object = true,
                _ => files.extend(item(rest, ".helm.valueFiles").map(|index| (index, &*cell.value))),
            }
        }
        let root = |(prefix, OfArgo { path, chart, url, mut files, has_object }): (&str, OfArgo)| {
            files.sort_unstable();
            let elsewhere = chart.or_else(|| url.filter(|url| url.starts_with("oci://"))).map(Elsewhere::called);
            let path = path.filter(|_| elsewhere.is_none());
            let chart = path.and_then(|path| join("", path.trim_start_matches('/')));
            let file = |(_, file): (usize, &str)| match file.strip_prefix('$') {
                Some(of_another) => join("", of_another.split_once('/')?.1),
                None if file.starts_with('/') => join("", file.trim_start_matches('/')),
                None => join(chart.as_ref()?, file),
            };
            Root {
                values: format!("{prefix}.helm.{}", if has_object { "valuesObject" } else { "values" }),
                files: files.into_iter().filter_map(file).collect(),
                chart,
                is_instead: false,
                elsewhere,
            }
        };
        sources.into_iter().map(root).collect()
    }

    /// The files that a path means, the lowest first: Argo CD takes patterns.
    fn named<'f>(&self, files: &'f Files, path: &str) -> Vec<(&'f Arc<str>, &'f Arc<Facts>)> {
        let pattern = match self.is_flux || is_filled(path) || !path.contains(['*', '?', '[', '{']) {
            true => None,
            false => GlobBuilder::new(path).literal_separator(true).build().ok(),
        };
        match pattern.map(|pattern| pattern.compile_matcher()) {
            Some(pattern) => files.iter().filter(|(path, _)| pattern.is_match(&***path)).collect(),
            None => files.get_key_value(path).into_iter().collect(),
        }
    }

    /// All values that the release comes to, over `given`, and where they stand over one another; none if it has none but
    /// its own, as they are written. `own` has its own as they are patched.
    pub(super) fn stacked<'f>(
        &'f self,
        files: &'f Files,
        charts: &Charts<'f>,
        own: Option<Flat<'f>>,
        (given, chosen): (Flat<'f>, &Chosen<'f>),
        as_written: impl Fn() -> Flat<'f>,
    ) -> Option<Stack<'f>> {
        let roots = match &own {
            Some(own) => self.roots(own.iter().map(|(key, (_, cell))| (&**key, cell)), chosen),
            None => self.roots(self.flat.iter().map(|(key, cell)| (&**key, cell)), chosen),
        };
        let (mut all, mut order) = (Vec::new(), Vec::new());
        for root in roots {
            let chart = root.chart.as_deref().filter(|chart| self.is_cut.is_none() && charts.folders().contains(chart));
            let mut values = match chart {
                Some(chart) if root.is_instead => charts.below(chart),
                Some(chart) => charts.values(chart).into_owned(),
                None => Values::default(),
            };
            let files = root.files.iter().flat_map(|file| self.named(files, file));
            for (path, facts) in files.filter(|_| self.is_cut.is_none()) {
                values.put(path, facts);
            }
            order.append(&mut values.order);
            all.push((root, values.flat));
        }
        let may_be = |root: &Root| match &root.elsewhere {
            Some(Elsewhere::Called(name)) => charts.called(name),
            Some(Elsewhere::Somewhere) => charts.folders().iter().copied().collect(),
            None => Vec::new(),
        };
        let has_values = |(root, values): &(Root, Flat)| !values.is_empty() || !may_be(root).is_empty();
        if own.is_none() && given.is_empty() && !all.iter().any(has_values) {
            return None;
        }
        let mut own = own.unwrap_or_else(as_written);
        let (mut flat, mut alike) = (Flat::new(), Vec::new());
        if let Some((root, values)) = all.first_mut().filter(|_| self.is_flux) {
            over(values, given.into_iter().map(|(key, value)| (key[root.values.len()..].to_owned(), value)).collect());
        }
        for (root, mut values) in all {
            if let Some(helm) = root.values.strip_suffix("Object") {
                // Argo CD passes over the text where there is an object.
                taken(&mut own, helm);
            }
            let parameters = if self.is_flux { Vec::new() } else { named(&root, &mut own) };
            over(&mut values, taken(&mut own, &root.values));
            for (path, value) in parameters {
                clear(&mut values, &path);
                values.insert(path, value);
            }
            flat.extend(values.into_iter().map(|(key, value)| (format!("{}{key}", root.values), value)));
            let charts = may_be(&root);
            alike.push((root, charts));
        }
        flat.extend(own);
        Some(Stack { flat, files: Values { flat: Flat::new(), order }, alike })
    }
}

/// Where the values of a HelmRelease stand, by what says which chart.
pub(super) fn flux_root<'c>(
    cells: impl Iterator<Item = (Cow<'c, str>, &'c Cell)>,
    elsewhere: Option<Elsewhere>,
) -> Root {
    let (mut chart, mut kind, mut files) = (None, None, Vec::new());
    for (key, cell) in cells {
        match key.strip_prefix(CHART) {
            Some(".chart") => chart = Some(&*cell.value),
            Some(".sourceRef.kind") => kind = Some(&*cell.value),
            // Of old, and below the others.
            Some(".valuesFile") => files.push((0, &*cell.value)),
            Some(rest) => files.extend(item(rest, ".valuesFiles").map(|index| (1 + index, &*cell.value))),
            None => {}
        }
    }
    files.sort_unstable();
    // The name of one in another repository is no path.
    let is_path = |chart: &&str| matches!(kind, Some("GitRepository" | "Bucket")) || chart.starts_with(['.', '/']);
    let elsewhere = elsewhere.or(chart.filter(|chart| !is_path(chart)).map(Elsewhere::called));
    let chart = chart.filter(is_path).and_then(|chart| join("", chart.trim_start_matches('/')));
    let files = files.into_iter().filter(|_| chart.is_some());
    let files: Vec<String> = files.filter_map(|(_, file)| join("", file.trim_start_matches('/'))).collect();
    Root { values: ".spec.values".to_owned(), chart, is_instead: !files.is_empty(), files, elsewhere }
}

/// What is below a path, by the rest of its path: it is taken out.
fn taken<'f>(flat: &mut Flat<'f>, path: &str) -> Flat<'f> {
    let is_below = |key: &str| key.strip_prefix(path).is_some_and(|rest| rest.starts_with(['.', '[']));
    let below = flat.range(path.to_owned()..).take_while(|(key, _)| key.starts_with(path)).map(|(key, _)| key);
    let below: Vec<String> = below.filter(|key| is_below(key)).cloned().collect();
    below.into_iter().filter_map(|key| Some((key[path.len()..].to_owned(), flat.remove(&key)?))).collect()
}

/// Where a HelmRelease says which chart.
pub(super) const CHART: &str = ".spec.chart.spec";

/// Where an Application says what Argo CD renders and commits elsewhere.
pub(super) const DRY: &str = ".spec.sourceHydrator.drySource";

/// The parameters of a source, by the paths of the values that they set: they are taken out.
fn named<'f>(root: &Root, own: &mut Flat<'f>) -> Vec<(String, Value<'f>)> {
    let helm = root.values.rsplit_once('.').map_or("", |(helm, _)| helm);
    let mut by_index = BTreeMap::new();
    for (key, value) in taken(own, &format!("{helm}.parameters")) {
        let Some((index, part)) = key.strip_prefix('[').and_then(|rest| rest.split_once("].")) else { continue };
        let (name, of) = by_index.entry(index.parse::<usize>().unwrap_or(usize::MAX)).or_insert((None, None));
        match part {
            "name" => *name = Some(value),
            "value" => *of = Some(value),
            _ => {}
        }
    }
    let each = by_index.into_values().filter_map(|(name, value)| {
        let path: Path = name?.1.value.parse().ok()?;
        Some((path.key(), value?))
    });
    each.collect()
}

/// The prefix of a source of an Application, and the rest of a path in it.
pub(super) fn source(key: &str) -> Option<(&str, &str)> {
    let rest = key.strip_prefix(".spec.source")?;
    let end = match rest.strip_prefix("s[") {
        Some(list) => ".spec.sources[".len() + list.find(']')? + 1,
        None if key.starts_with(DRY) => DRY.len(),
        None => ".spec.source".len(),
    };
    Some(key.split_at(end)).filter(|(_, rest)| rest.starts_with('.'))
}

/// The index of an item of a list.
fn item(key: &str, list: &str) -> Option<usize> {
    key.strip_prefix(list)?.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}
