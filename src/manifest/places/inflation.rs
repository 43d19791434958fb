//! Charts that Kustomize renders (`helmCharts`), and the values that it gives them.

use std::{collections::HashMap, sync::Arc};

use super::{
    super::{
        ManifestError,
        read::{Object, get, text},
        tree::{Id, NodeKind},
    },
    Files,
    cell::{Cell, Source},
    charts::{Charts, Values, files_of},
    index::Draft,
    kustomization::{Kustomization, mappings},
    names::{folder, join},
    patch::Ambiguity,
    release_patch::of_flat,
    render::Kustomizations,
    values::{self, MAX_OF_RELEASE},
};

const CUT: &str = "this gives a chart more values than are followed, or merges them in a way that is not known: move the image to \
     a values file";

/// How `valuesInline` and the values file go together.
#[derive(Debug, PartialEq, Eq)]
enum Order {
    InlineOver,
    FileOver,
    InlineOnly,
    Unknown,
}

/// A chart and its values.
#[derive(Debug)]
pub(super) struct Inflation {
    line: usize,
    /// The folders that it may be in.
    folders: Vec<String>,
    /// `valuesFile`; the chart's own if there is none.
    file: Option<Box<str>>,
    /// `additionalValuesFiles`
    more: Vec<Box<str>>,
    /// `valuesInline`; none if it has too many.
    inline: Option<Vec<(Box<str>, Cell)>>,
    order: Order,
}

impl Inflation {
    fn read(source: &Source, of: Id, home: Option<&str>, is_old: bool) -> Result<Self, ManifestError> {
        let tree = source.tree;
        let word = |key| Ok::<_, ManifestError>(text(tree, of, key)?.filter(|word| !word.is_empty()));
        let (name, file, inline) = match is_old {
            true => ("chartName", "values", "valuesLocal"),
            false => ("name", "valuesFile", "valuesInline"),
        };
        let home = word("chartHome")?.or(home).unwrap_or("charts");
        let name = word(name)?.unwrap_or_default();
        let fetched = match (word("repo")?, word("version")?) {
            (Some(_), Some(version)) => Some(format!("{home}/{name}-{version}/{name}")),
            _ => None,
        };
        let inline = get(tree, of, inline, NodeKind::Mapping)?;
        let order = match word("valuesMerge")? {
            None | Some("override") => Order::InlineOver,
            Some("merge") => Order::FileOver,
            Some("replace") => Order::InlineOnly,
            Some(_) => Order::Unknown,
        };
        let more = get(tree, of, "additionalValuesFiles", NodeKind::Sequence)?;
        let more = more.into_iter().flat_map(|list| tree.children(list)).filter_map(|item| tree.scalar(item));
        Ok(Self {
            line: source.line(of),
            folders: fetched.into_iter().chain([format!("{home}/{name}")]).collect(),
            file: word(file)?.map(Box::from),
            more: more.map(Box::from).collect(),
            inline: inline.map_or(Some(Vec::new()), |inline| values::flat(source, inline, "", MAX_OF_RELEASE)),
            order,
        })
    }

    /// The files that it takes values from, from the kustomization's folder.
    pub(super) fn included(&self) -> impl Iterator<Item = String> {
        let files = self.file.iter().chain(&self.more).map(ToString::to_string);
        files.chain(self.folders.iter().flat_map(|folder| files_of(folder)))
    }

    /// The values that the chart gets, over its own.
    fn values<'f>(&'f self, path: &'f Arc<str>, files: &'f Files, charts: &Charts<'f>) -> Values<'f> {
        let at = folder(path);
        let mut folders = self.folders.iter().filter_map(|folder| join(at, folder));
        let chart = folders.find(|folder| charts.folders().contains(&**folder));
        let mut found = chart.as_ref().map(|chart| charts.values(chart).into_owned()).unwrap_or_default();
        let file = match &self.file {
            Some(file) => {
                join(at, file).and_then(|file| files.get_key_value(&*file)).map(|(path, facts)| (path, &**facts))
            }
            None => chart.as_ref().and_then(|chart| charts.base(chart)),
        };
        let inline = self.inline.as_deref().filter(|inline| !inline.is_empty());
        let of_file = |found: &mut Values<'f>| {
            if let Some((path, facts)) = file {
                found.put(path, facts);
            }
        };
        match (inline, &self.order) {
            (None, _) => of_file(&mut found),
            (Some(inline), Order::InlineOnly) => found.put_own(path, inline),
            (Some(inline), Order::FileOver) => {
                found.put_own(path, inline);
                of_file(&mut found);
            }
            (Some(inline), Order::InlineOver | Order::Unknown) => {
                of_file(&mut found);
                found.put_own(path, inline);
            }
        }
        for file in self.more.iter().filter_map(|file| join(at, file)) {
            if let Some((path, facts)) = files.get_key_value(&*file) {
                found.put(path, facts);
            }
        }
        found
    }

    /// The charts of the repository that it may be, if it is none by its folder.
    fn may_be<'f>(&self, path: &str, charts: &Charts<'f>) -> Vec<&'f str> {
        let mut folders = self.folders.iter().filter_map(|at| join(folder(path), at));
        match folders.any(|at| charts.folders().contains(&*at)) {
            true => Vec::new(),
            false => self
                .folders
                .first()
                .map(|at| charts.called(at.rsplit('/').next().unwrap_or_default()))
                .unwrap_or_default(),
        }
    }

    fn ambiguity<'f>(&self, path: &'f Arc<str>) -> Option<Ambiguity<'f>> {
        let is_known = self.inline.is_some() && self.order != Order::Unknown;
        (!is_known).then_some(Ambiguity { path, line: self.line, reason: CUT })
    }
}

/// Those of a kustomization.
pub(super) fn all(source: &Source, root: Id) -> Result<Vec<Inflation>, ManifestError> {
    let tree = source.tree;
    let globals = get(tree, root, "helmGlobals", NodeKind::Mapping)?;
    let home = globals.map_or(Ok(None), |globals| text(tree, globals, "chartHome"))?.filter(|home| !home.is_empty());
    let mut found = Vec::new();
    for (key, is_old) in [("helmCharts", false), ("helmChartInflationGenerator", true)] {
        let list = get(tree, root, key, NodeKind::Sequence)?;
        for item in list.into_iter().flat_map(|list| mappings(tree, list)) {
            found.push(Inflation::read(source, item, home, is_old)?);
        }
    }
    Ok(found)
}

/// Reads an object, if it is one that `generators` may name.
pub(super) fn read(source: &Source, object: &Object) -> Result<Option<Inflation>, ManifestError> {
    match &*object.kind {
        "HelmChartInflationGenerator" => Inflation::read(source, object.node, None, false).map(Some),
        _ => Ok(None),
    }
}

/// The images of all charts that Kustomize renders, and the values files that these were given, each with the line that
/// names it.
pub(super) type Inflated<'f> = (Vec<Draft<'f>>, HashMap<&'f str, (&'f Arc<str>, usize)>);

impl<'f> Kustomizations<'f> {
    pub(super) fn inflated(&self, files: &'f Files) -> Inflated<'f> {
        let (mut drafts, mut covered) = (Vec::new(), HashMap::new());
        for one in &self.all {
            for (path, inflation) in inflations(files, one.path, one.facts) {
                // Files are named from the folder of the kustomization.
                let values = inflation.values(path, files, &self.charts);
                if !self.takes(values.flat.len()) {
                    return (drafts, covered);
                }
                let ambiguity = inflation.ambiguity(path).or_else(|| self.blocked(one.path));
                let own = of_flat(&values.flat, &|path| values.rank(path)).into_iter();
                drafts.extend(
                    own.map(|(_, draft)| Draft { ambiguity: ambiguity.clone().or(draft.ambiguity.clone()), ..draft }),
                );
                let charts = inflation.may_be(path, &self.charts);
                drafts.extend(self.alike(&values.flat, "", &charts));
                covered.extend(values.order.iter().map(|file| (&***file, (path, inflation.line))));
            }
        }
        (drafts, covered)
    }
}

fn inflations<'f>(
    files: &'f Files,
    path: &'f Arc<str>,
    facts: &'f Kustomization,
) -> impl Iterator<Item = (&'f Arc<str>, &'f Inflation)> {
    let named =
        facts.generators.iter().filter_map(move |named| files.get_key_value(&*join(folder(path), &named.name)?));
    let of_files = named.flat_map(|(path, facts)| facts.inflations.iter().map(move |inflation| (path, inflation)));
    facts.inflations.iter().map(move |inflation| (path, inflation)).chain(of_files)
}
