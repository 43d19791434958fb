//! Where a repository defines an image, and the exact edits there: every folder of `tests/data/places` is one case.
//!
//! `case.yaml` says what is wanted and what is configured. `before/` is the repository; `after/` holds the files that
//! change, byte for byte; or `error.txt` why there is no change. With neither, the wanted image must be there already.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Deserialize;
use supercargo::{
    domain::workload::{Kind, WorkloadId},
    manifest::places::{self, Facts, Files, Index, Options, SpotEdit, ValuesRule, Wanted},
};

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/places");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    wanted: Vec<Change>,
    #[serde(default)]
    options: Configured,
    /// Every place, as `path:line image`.
    #[serde(default)]
    spots: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    namespace: String,
    name: String,
    #[serde(default)]
    container: Option<String>,
    #[serde(default)]
    init: bool,
    #[serde(default)]
    instance: Option<String>,
    from: String,
    to: String,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Configured {
    default_namespace: Option<String>,
    overlay: Option<String>,
    #[serde(default)]
    image_policies: BTreeMap<String, String>,
    #[serde(default)]
    values: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Rule {
    files: String,
    image: Option<String>,
    registry: Option<String>,
    repository: Option<String>,
    tag: Option<String>,
    digest: Option<String>,
    for_image: Option<String>,
}

impl Change {
    fn wanted(&self) -> Wanted {
        Wanted {
            workload: WorkloadId {
                kind: Kind(self.kind.clone().unwrap_or_else(|| "Deployment".into()).into()),
                namespace: self.namespace.as_str().into(),
                name: self.name.as_str().into(),
            },
            instance: self.instance.as_deref().map(Arc::from),
            container: self.container.as_deref().unwrap_or(&self.name).into(),
            init: self.init,
            from: self.from.parse().unwrap(),
            to: self.to.parse().unwrap(),
        }
    }
}

impl Configured {
    fn options(&self) -> Options {
        let path = |path: &Option<String>| path.as_ref().map(|path| path.parse().unwrap());
        Options {
            default_namespace: self.default_namespace.clone(),
            overlay: self.overlay.clone(),
            image_policies: self.image_policies.iter().map(|(k, v)| (k.clone(), v.parse().unwrap())).collect(),
            values: self
                .values
                .iter()
                .map(|rule| ValuesRule {
                    files: globset::Glob::new(&rule.files).unwrap().compile_matcher(),
                    image: path(&rule.image),
                    registry: path(&rule.registry),
                    repository: path(&rule.repository),
                    tag: path(&rule.tag),
                    digest: path(&rule.digest),
                    for_image: rule.for_image.as_ref().map(|image| image.parse().unwrap()),
                })
                .collect(),
        }
    }
}

type Texts = BTreeMap<Arc<str>, Vec<u8>>;

fn texts(root: &Path) -> Texts {
    let (mut found, mut open) = (Texts::new(), vec![root.to_owned()]);
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => open.push(path),
                false => {
                    let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
                    found.insert(name.into(), fs::read(&path).unwrap());
                }
            }
        }
    }
    found
}

/// As a target does it: what is not wanted or empty is not kept.
fn facts(texts: &Texts) -> Files {
    let wanted = texts.iter().filter(|(path, _)| Facts::is_wanted(path));
    let read = wanted.map(|(path, bytes)| (path.clone(), Arc::new(Facts::read(path, bytes))));
    read.filter(|(_, facts)| !facts.is_empty()).collect()
}

/// The places found, and the repository with all edits made; or why not.
fn changed(texts: &Texts, wanted: &[Wanted], options: &Options) -> Result<(Vec<String>, Texts), String> {
    let files = facts(texts);
    let index = Index::new(&files, options);
    let mut edits: BTreeMap<Arc<str>, Vec<SpotEdit>> = BTreeMap::new();
    let mut found = Vec::new();
    for wanted in wanted {
        for spot in index.locate(wanted).map_err(|misfit| misfit.to_string())? {
            found.push(format!("{}:{} {}", spot.path, spot.line, spot.holds));
            edits.entry(spot.path).or_default().extend(spot.edits);
        }
    }
    let mut after = texts.clone();
    for (path, edits) in &edits {
        let edits: Vec<&SpotEdit> = edits.iter().collect();
        let edited = places::apply(path, &texts[path], &edits).map_err(|error| format!("{path}: {error}"))?;
        after.insert(path.clone(), edited);
    }
    Ok((found, after))
}

fn check(folder: &Path) -> Result<(), String> {
    let name = folder.file_name().unwrap().to_string_lossy();
    let case: Case = serde_saphyr::from_str(&fs::read_to_string(folder.join("case.yaml")).unwrap())
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let before = texts(&folder.join("before"));
    let wanted: Vec<Wanted> = case.wanted.iter().map(Change::wanted).collect();
    let result = changed(&before, &wanted, &case.options.options());
    if let Ok(expected) = fs::read_to_string(folder.join("error.txt")) {
        return match result {
            Err(error) if error == expected.trim_end() => Ok(()),
            Err(error) => Err(format!("{name}: expected {:?},\n    got {error:?}", expected.trim_end())),
            Ok((spots, _)) => Err(format!("{name}: it found {spots:?}, not {expected:?}")),
        };
    }
    let (spots, after) = result.map_err(|error| format!("{name}: {error}"))?;
    if let Some(expected) = case.spots
        && expected != spots
    {
        return Err(format!("{name}: expected the places {expected:?}, got {spots:?}"));
    }
    let mut expected = before.clone();
    if folder.join("after").exists() {
        expected.extend(texts(&folder.join("after")));
        assert!(expected != before && expected.len() == before.len(), "{name}: after/ changes nothing, or adds a file");
    }
    for (path, bytes) in &expected {
        if after[path] != *bytes {
            let (expected, actual) = (String::from_utf8_lossy(bytes), String::from_utf8_lossy(&after[path]));
            return Err(format!("{name}: {path} differs:\n{expected:?}\n{actual:?}"));
        }
    }
    // The edited repository holds what was wanted, so that a second look edits nothing.
    let (_, again) = changed(&after, &wanted, &case.options.options()).map_err(|e| format!("{name}, again: {e}"))?;
    if again != after { Err(format!("{name}: a second look edits it again")) } else { Ok(()) }
}

#[test]
fn every_place_is_found_and_nothing_else_changes() {
    let mut cases: Vec<PathBuf> = fs::read_dir(CASES).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 80, "only {} cases in {CASES}", cases.len());
    let failures: Vec<String> = cases.iter().filter_map(|case| check(case).err()).collect();
    assert!(failures.is_empty(), "{} of {} failed:\n{}", failures.len(), cases.len(), failures.join("\n"));
}
