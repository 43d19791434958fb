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
    clock::SystemClock,
    domain::{
        image::ImageRef,
        workload::{Kind, Workload, WorkloadId},
    },
    manifest::{
        self,
        places::{self, Facts, Files, Index, LocationEdit, Options, ValuesRule, Wanted},
    },
    ports::Clock,
};

use crate::support::write_below;

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

pub(crate) type Texts = BTreeMap<Arc<str>, Vec<u8>>;

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
pub(crate) fn facts(texts: &Texts) -> Files {
    let wanted = texts.iter().filter(|(path, _)| Facts::is_wanted(path));
    let read = wanted.map(|(path, bytes)| (path.clone(), Arc::new(Facts::read(path, bytes))));
    read.filter(|(_, facts)| !facts.is_empty()).collect()
}

/// The places found, and the repository with all edits made; or why not.
fn changed(texts: &Texts, wanted: &[Wanted], options: &Options) -> Result<(Vec<String>, Texts), String> {
    let files = facts(texts);
    let index = Index::new(&files, options);
    let mut edits: BTreeMap<Arc<str>, Vec<LocationEdit>> = BTreeMap::new();
    let mut found = Vec::new();
    for wanted in wanted {
        for spot in index.locate(wanted).map_err(|misfit| misfit.to_string())? {
            found.push(format!("{}:{} {}", spot.path, spot.line, spot.holds));
            edits.entry(spot.path).or_default().extend(spot.edits);
        }
    }
    let mut after = texts.clone();
    for (path, edits) in &edits {
        let edits: Vec<&LocationEdit> = edits.iter().collect();
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

fn repository(files: &[(&str, &str)]) -> Files {
    let texts = files.iter().map(|(path, text)| (Arc::from(*path), text.as_bytes().to_vec())).collect();
    facts(&texts)
}

/// Each workload as `path:line kind namespace/name container=image… annotations`.
fn shown(files: &Files, options: &Options) -> (Vec<String>, Vec<String>) {
    let rendered = places::rendered(files, options);
    let workload = |(workload, path, line): &(Workload, Arc<str>, usize)| {
        let images: Vec<String> = workload.containers.iter().map(|c| format!("{}={}", c.name, c.image)).collect();
        let id = &workload.id;
        let annotations: Vec<String> =
            workload.annotations.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let words = [format!("{path}:{line} {id}"), images.join(","), annotations.join(",")];
        words.join(" ").trim_end().to_owned()
    };
    let problem = |(path, error): &(Arc<str>, manifest::ManifestError)| format!("{path}: {error}");
    let unplaced = rendered.unplaced.iter().map(|entry| format!("supercargo.yaml: line {}: {}", entry.line, entry.why));
    let problems = rendered.problems.iter().map(problem).chain(unplaced);
    (rendered.workloads.iter().map(workload).collect(), problems.collect())
}

const WEB: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, annotations: {supercargo.dev/policy: minor}}
spec: {template: {spec: {containers: [{name: web, image: 'nginx:1.26'}]}}}
";

#[test]
fn a_repository_renders_its_workloads() {
    let files = repository(&[
        ("base/kustomization.yaml", "resources: [web.yaml]\n"),
        ("base/web.yaml", WEB),
        (
            "prod/kustomization.yaml",
            "namespace: prod\nnamePrefix: a-\nresources: [../base]\nimages: [{name: nginx, newTag: '1.27'}]\n",
        ),
        ("test/kustomization.yaml", "namespace: test\nresources: [../base]\n"),
        ("plain.yaml", WEB),
        (
            "namespace.yaml",
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: prod, annotations: {supercargo.dev/poll: every 1h}}\n",
        ),
    ]);
    let options = Options { default_namespace: Some("apps".into()), ..Options::default() };
    let (workloads, problems) = shown(&files, &options);
    assert_eq!(
        workloads,
        [
            "base/web.yaml:1 test/Deployment/web web=nginx:1.26 supercargo.dev/policy=minor",
            "base/web.yaml:1 prod/Deployment/a-web web=nginx:1.27 supercargo.dev/policy=minor",
            "plain.yaml:1 apps/Deployment/web web=nginx:1.26 supercargo.dev/policy=minor",
        ]
    );
    assert!(problems.is_empty(), "{problems:?}");
    let namespaces = places::rendered(&files, &options).namespaces;
    assert_eq!(
        serde_json::to_value(&namespaces).unwrap(),
        serde_json::json!({"prod": {"supercargo.dev/poll": "every 1h"}})
    );
}

#[test]
fn marked_values_and_listed_images_are_workloads_that_can_be_changed() {
    let files = repository(&[
        (
            "a.env",
            "A=nginx:1.26 # supercargo: minor\nB=2.4 # supercargo: semver:>=2 <3 image=httpd\nC=nginx:1.26 # supercargo: minor\n",
        ),
        ("values.yaml", "redis:\n  repository: ghcr.io/o/redis\n  tag: 7.0.1\n"),
        (
            "supercargo.yaml",
            "images:\n- image: ghcr.io/o/redis\n  policy: patch\n  poll: every 1h\n- {image: none, policy: minor}\n- {image: x}\nother: 1\n",
        ),
        ("c.yaml", "a: nginx:1.26 # supercargo: minor\nb: nginx:1.26 # supercargo: patch\nc: 1 # supercargo: minor\n"),
    ]);
    let options = Options::default();
    let (workloads, problems) = shown(&files, &options);
    assert_eq!(
        workloads,
        [
            "a.env:1 File/a.env docker.io/library/httpd=docker.io/library/httpd:2.4,docker.io/library/nginx=nginx:1.26 \
             supercargo.dev/policy.docker.io/library/httpd=semver:>=2 <3,supercargo.dev/policy.docker.io/library/nginx=minor",
            "supercargo.yaml:2 File/supercargo.yaml:ghcr.io/o/redis ghcr.io/o/redis=ghcr.io/o/redis:7.0.1 \
             supercargo.dev/policy=patch,supercargo.dev/poll=every 1h",
        ]
    );
    assert_eq!(
        problems,
        [
            "c.yaml: line 3: the marker must say whose tag this is: add image=<repository>",
            "supercargo.yaml: line 7: `other` is no key of this file: `images` is",
            "supercargo.yaml: line 6: `policy` is missing: write for example `policy: minor`",
            "c.yaml: line 2: `docker.io/library/nginx` has another policy above in this file, so that neither counts: write the \
             same",
            "supercargo.yaml: line 5: no file that this covers holds the image docker.io/library/none: correct it, or take \
             the entry out",
        ]
    );
    for (workload, ..) in places::rendered(&files, &options).workloads {
        for container in &workload.containers {
            let from: ImageRef = container.image.parse().unwrap();
            let to = from.at(Some("99".parse().unwrap()), None);
            let (workload, container) = (workload.id.clone(), container.name.clone());
            let wanted = Wanted { workload, instance: None, container, init: false, from: from.clone(), to };
            let spots = places::locate(&files, &wanted, &options).unwrap();
            assert!(spots.iter().all(|spot| spot.edits.len() == 1 && spot.holds.tag == from.tag), "{spots:?}");
        }
    }
}

/// A chart's `global.registry` is not joined with a repository: that is said, with what to do.
#[test]
fn a_registry_that_stands_elsewhere_is_told() {
    let values = "global:\n  imageRegistry: r.example\nimage:\n  repository: o/web\n  tag: 1.0.0\n";
    let listed = "images: [{image: r.example/o/web, policy: minor}]\n";
    let files = repository(&[("values.yaml", values), ("supercargo.yaml", listed)]);
    let rendered = places::rendered(&files, &Options::default());
    let expected = "the image r.example/o/web cannot be edited: values.yaml:5: its registry stands on line 2, and is not taken \
                    for it: write `registry: r.example` beside it, or mark the line that has the tag (`# supercargo: minor \
                    image=r.example/o/web part=tag`)";
    assert_eq!(rendered.unplaced[0].why, expected);
}

/// Where a marked value may stand.
#[rstest::rstest]
#[case("Makefile", "V := 1.0.0 # supercargo: minor image=o/web part=tag\n")]
#[case("Makefile", "V:=1.0.0 # supercargo: minor image=o/web part=tag\n")]
#[case("Makefile", "V ?= 1.0.0 # supercargo: minor image=o/web part=tag\n")]
#[case("Makefile", "V ::= o/web:1.0.0 # supercargo: minor\n")]
#[case("x.yaml", "args:\n- --image=o/web:1.0.0 # supercargo: minor\n- --image=o/api:1.0.0\n")]
#[case("x.yaml", "args:\n- \"--image=o/web:1.0.0\" # supercargo: minor\n")]
#[case("web/Chart.yaml", "name: web\nappVersion: \"1.0.0\" # supercargo: minor image=o/web part=tag\n")]
fn a_marked_value_is_edited(#[case] path: &str, #[case] text: &str) {
    let files = repository(&[(path, text)]);
    let rendered = places::rendered(&files, &Options::default());
    assert!(rendered.problems.is_empty() && rendered.workloads.len() == 1, "{rendered:?}");
    let container = &rendered.workloads[0].0.containers[0];
    assert_eq!(container.image.rsplit('/').next(), Some("web:1.0.0"));
    let mut wanted = wanted("", path, "o/web:1.0.0");
    wanted.workload = rendered.workloads[0].0.id.clone();
    wanted.to = "o/web:2.0.0".parse().unwrap();
    let spots = places::locate(&files, &wanted, &Options::default()).unwrap();
    let edits: Vec<&LocationEdit> = spots.iter().flat_map(|spot| &spot.edits).collect();
    let after = places::apply(path, text.as_bytes(), &edits).unwrap();
    assert_eq!(String::from_utf8(after).unwrap(), text.replacen("1.0.0", "2.0.0", 1));
}

/// The problems of a file's facts.
#[rstest::rstest]
#[case("a.yaml", b"image: \xff\n", &["line 1: this is no UTF-8: the file is left alone"])]
#[case("a.txt", b"image: \xff # supercargo: minor\n", &[])]
#[case("a.yaml", b"image: [\n# supercargo: minor\n", &["line 1: this is no valid YAML: unclosed bracket '[' (column 8)", "line 2: exactly one value must stand before the marker, as in `KEY=value # …` or `key: value # …`"])]
#[case("a.yaml", b"a:\n  # supercargo: minor\n  image: x:1\n", &["line 2: the marker stands on a line without a value: put it behind the value"])]
#[case("a.yaml", b"a: x:1 # supercargo:\n", &["line 1: the marker names no policy: write for example `# supercargo: minor`"])]
#[case("a.yaml", b"a: x:1 # supercargo: minor part=all\n", &["line 1: `all` is no part: write image, tag, name or digest"])]
#[case("a.yaml", b"a: x:1 # supercargo: minor image=X//\n", &["line 1: `X//` is no repository: write [host[:port]/]path in lower case"])]
#[case("a.yaml", b"a: x:1 # {\"$imagepolicy\": \"web\"}\n", &["line 1: `web` is no `namespace:name` or `namespace:name:tag`"])]
#[case("a.env", b"A=x:1 y # supercargo: minor\n", &["line 1: exactly one value must stand before the marker, as in `KEY=value # …` or `key: value # …`"])]
#[case("c/templates/a.yaml", b"image: {{ .x }}\n{{ if }}", &[])]
#[case("kustomization.yaml", b"images: {}\n", &["line 1: `images` is no list"])]
fn what_cannot_be_read_is_said(#[case] path: &str, #[case] bytes: &[u8], #[case] expected: &[&str]) {
    let problems: Vec<String> = Facts::read(path, bytes).problems().iter().map(ToString::to_string).collect();
    assert_eq!(problems, expected);
}

#[test]
fn a_file_of_20000_documents_is_edited_in_one_go() {
    let document = |n: usize| match n % 50 {
        0 => WEB.replacen("name: web,", &format!("name: w{n}, namespace: prod,"), 1),
        _ => format!("kind: ConfigMap\ndata: {{n: {n}}}\n"),
    };
    let text = (0..20_000).map(document).collect::<Vec<_>>().join("---\n");
    let files = repository(&[("all.yaml", &text)]);
    let options = Options::default();
    let index = Index::new(&files, &options);
    let workloads = index.rendered().workloads;
    assert_eq!(workloads.len(), 400);
    let wanted = |workload: Workload| Wanted {
        workload: workload.id,
        instance: None,
        container: "web".into(),
        init: false,
        from: "nginx:1.26".parse().unwrap(),
        to: "nginx:1.27".parse().unwrap(),
    };
    let spots = workloads.into_iter().flat_map(|(workload, ..)| index.locate(&wanted(workload)).unwrap());
    let edits: Vec<LocationEdit> = spots.flat_map(|spot| spot.edits).collect();
    let edited = places::apply("all.yaml", text.as_bytes(), &edits.iter().collect::<Vec<_>>()).unwrap();
    assert!(String::from_utf8(edited).unwrap() == text.replace("nginx:1.26", "nginx:1.27"));
}

#[test]
fn kustomizations_that_include_one_another_in_very_many_ways_are_refused() {
    let one = |n: usize| format!("resources: [../k{n}-0, ../k{n}-1]\n");
    let each = |n: usize| (0..2).map(move |side| (format!("k{n}-{side}/kustomization.yaml"), n));
    let texts: Vec<(String, String)> = (0..40)
        .flat_map(each)
        .map(|(path, n)| (path, if n == 39 { "resources: [../web.yaml]\n".to_owned() } else { one(n + 1) }))
        .chain([("web.yaml".to_owned(), WEB.to_owned())])
        .collect();
    let files = repository(&texts.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect::<Vec<_>>());
    let options = Options { default_namespace: Some("prod".into()), ..Options::default() };
    let (_, problems) = shown(&files, &options);
    let expected = "web.yaml: line 1: kustomizations include it in more ways than are followed: simplify them";
    assert_eq!(problems, [expected]);
}

/// 300 workloads in 1,000 overlays: few files, and very many renderings.
#[test]
fn renderings_are_counted_over_all_files() {
    let base: Vec<String> = (0..300).map(|n| deployment(&format!("w{n}"), "")).collect();
    let (base, options) = (base.join("---\n"), Options::default());
    let overlay = |n: usize| (format!("o{n}/kustomization.yaml"), format!("resources: [../base]\nnamespace: n{n}\n"));
    let problems = |overlays: usize| {
        let own = [("base/kustomization.yaml", "resources: [w.yaml]\n"), ("base/w.yaml", &base)];
        let texts = (0..overlays).map(overlay).chain(own.map(|(path, text)| (path.to_owned(), text.to_owned())));
        let files = facts(&texts.map(|(path, text)| (path.into(), text.into_bytes())).collect());
        (shown(&files, &options).1, places::locate(&files, &wanted("n1", "w1", "nginx:1.26"), &options).is_ok())
    };
    assert_eq!(problems(2), (vec![], true));
    let expected = "base/w.yaml: line 1: kustomizations include it in more ways than are followed: simplify them";
    assert_eq!(problems(1000), (vec![expected.to_owned()], false));
}

/// Of each kind only so many are kept from one file, and the rest is told.
#[test]
fn what_is_kept_of_one_file_is_limited() {
    let expected = "line 1: 1 or more values here are left out: 10000 of a kind are kept; split the file";
    let workloads: Vec<String> = (0..10_001).map(|n| deployment(&format!("w{n}"), "")).collect();
    let marked: String = (0..30_000).map(|n| format!("k{n}: x:1 # supercargo: minor\n")).collect();
    let lines: String = (0..30_000).map(|n| format!("K{n}=x:1 # supercargo: minor\n")).collect();
    for (path, text) in [("w.yaml", workloads.join("---\n")), ("m.yaml", marked), ("m.env", lines)] {
        let problems: Vec<String> =
            Facts::read(path, text.as_bytes()).problems().iter().map(|p| p.to_string()).collect();
        assert_eq!(problems, [expected], "{path}");
    }
}

/// Where each place found is, by lines.
fn lines(files: &Files, wanted: &Wanted) -> Result<Vec<String>, String> {
    let spots = places::locate(files, wanted, &Options::default()).map_err(|misfit| misfit.to_string())?;
    assert!(spots.iter().all(|spot| spot.edits.iter().all(|edit| edit.line == spot.line)), "{spots:?}");
    Ok(spots.iter().map(|spot| format!("{}:{}", spot.path, spot.line)).collect())
}

/// The workload that a file or an entry of `supercargo.yaml` is.
fn of_file(name: &str, image: &str) -> Wanted {
    let from: ImageRef = format!("{image}:1.26").parse().unwrap();
    let to = from.at(Some("1.27".parse().unwrap()), None);
    let workload = WorkloadId { kind: Kind("File".into()), namespace: "".into(), name: name.into() };
    Wanted { workload, container: from.repository.to_string().into(), from, to, ..wanted("", "", image) }
}

/// What is marked `never` stays as it is, whoever asks for it.
#[test]
fn a_value_that_is_marked_never_has_no_other_policy() {
    let never = " # supercargo: never image=nginx part=tag\n";
    let never_image = " # supercargo: never\n";
    let minor = " # supercargo: minor image=nginx part=tag\n";
    let listed = ("supercargo.yaml", "images: [{image: nginx, policy: minor}]\n");
    let entry = of_file("supercargo.yaml:nginx", "nginx");
    let none = |place: &str, image: &str| {
        Err(format!("{place} is marked `never`, and no other place makes {image}: mark it with a policy"))
    };

    let tag = format!("tag: 1.26{never}");
    let files = repository(&[("a.yaml", &tag), listed]);
    assert_eq!(lines(&files, &entry), none("a.yaml:1", "docker.io/library/nginx:1.26"));
    let (workloads, problems) = shown(&files, &Options::default());
    assert_eq!(workloads.len(), 1, "{workloads:?}");
    let kept = "supercargo.yaml: line 1: a.yaml:1 holds the image docker.io/library/nginx, and is marked `never`: write a \
                policy there, or take the entry out";
    assert_eq!(problems, [kept]);

    // Others go on without it.
    let both = format!("a:\n  tag: 1.20{never}b:\n  tag: 1.26{minor}");
    let files = repository(&[("a.yaml", &both), listed]);
    assert_eq!(lines(&files, &entry), Ok(vec!["a.yaml:4".to_owned()]));
    assert_eq!(lines(&files, &of_file("a.yaml", "nginx")), Ok(vec!["a.yaml:4".to_owned()]));
    let (workloads, problems) = shown(&files, &Options::default());
    assert_eq!((workloads.len(), problems.len()), (2, 0), "{workloads:?} {problems:?}");
    assert!(workloads[0].ends_with("=minor"), "{workloads:?}");

    // A workload with a policy of its own: in its manifest, a values file, an entry of a kustomization.
    let manifest = format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web, namespace: a}}\nspec:\n  template:\n    spec:\n      \
         containers:\n      - name: c\n        image: nginx:1.26{never_image}"
    );
    assert_eq!(
        lines(&repository(&[("w.yaml", &manifest)]), &wanted("a", "web", "nginx:1.26")),
        none("w.yaml:9", "nginx:1.26")
    );
    let values = format!("image:\n  repository: nginx\n  tag: '1.26'{never}");
    assert_eq!(
        lines(&repository(&[("values.yaml", &values)]), &wanted("a", "web", "nginx:1.26")),
        none("values.yaml:3", "docker.io/library/nginx:1.26")
    );
    let kustomization = format!("resources: [web.yaml]\nimages:\n- name: nginx\n  newTag: '1.26'{never}");
    let files =
        repository(&[("kustomization.yaml", &kustomization), ("web.yaml", &deployment("web", ", namespace: a"))]);
    assert_eq!(lines(&files, &wanted("a", "web", "nginx:1.26")), none("kustomization.yaml:4", "nginx:1.26"));
}

/// The advice that is given where places disagree leads somewhere: the other one is edited.
#[test]
fn beside_a_value_that_is_marked_never_the_values_file_goes_on() {
    let values =
        "a:\n  image:\n    repository: nginx\n    tag: '1.26'\nb:\n  image:\n    repository: nginx\n    tag: '1.20'";
    let listed = ("supercargo.yaml", "images: [{image: nginx, policy: minor}]\n");
    for (text, found) in [(values.to_owned(), None), (format!("{values} # supercargo: never\n"), Some("values.yaml:4"))]
    {
        let files = repository(&[("values.yaml", &text), listed]);
        for wanted in [of_file("supercargo.yaml:nginx", "nginx"), wanted("a", "web", "nginx:1.26")] {
            match (lines(&files, &wanted), found) {
                (Ok(lines), Some(found)) => assert_eq!(lines, [found]),
                (Err(why), None) => assert!(why.contains("or one marked `# supercargo: never`"), "{why}"),
                (other, _) => panic!("{other:?}"),
            }
        }
    }
}

/// An image that stands in a file and is no place of it: the row of its entry, and that of a cluster's workload, name the
/// line and why.
#[rstest::rstest]
#[case::expression(
    "values.yaml",
    "image:\n  repository: o/web\n  tag: \"${TAG}\"\n",
    "values.yaml:3: `${TAG}` is filled in from elsewhere: "
)]
#[case::whole_expression(
    "compose.yaml",
    "services: {web: {image: 'o/web:${TAG:-1.0.0}'}}\n",
    "compose.yaml:1: `o/web:${TAG:-1.0.0}` is filled in from"
)]
#[case::block(
    "values.yaml",
    "image:\n  repository: o/web\n  tag: |\n    1.0.0\n",
    "values.yaml:4: the value is a text of lines (`|` or `>`): write it on the line of its key"
)]
#[case::no_tag(
    "c/values.yaml",
    "image:\n  repository: o/web\n",
    "c/values.yaml:2: no tag that is known stands with it: "
)]
#[case::no_convention(
    "values.yaml",
    "img: o/web:1.0.0\n",
    "values.yaml:1: it is at no place where images are looked for: mark it with"
)]
#[case::broken(
    "values.yaml",
    "image: {repository: o/web, tag: 1.0.0}\nb: [\n",
    "values.yaml:2: this is no valid YAML: unclosed bracket"
)]
#[case::no_workload(
    "cm.yaml",
    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata:\n  IMAGE: o/web:1.0.0\n",
    "cm.yaml:5: it is at no place where"
)]
#[case::in_a_text(
    "cm.yaml",
    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata:\n  pod: |\n    image: o/web:1.0.0\n",
    "cm.yaml:6: it is at no place where"
)]
#[case::dockerfile(
    "web/Dockerfile",
    "FROM o/web:1.0.0\n",
    "web/Dockerfile:1: in such a file only marked values count: put `# supercargo: minor` on the line above"
)]
#[case::env("a.env", "IMAGE=o/web:1.0.0\n", "a.env:1: it is at no place where images are looked for: mark it with")]
#[case::template(
    "c/templates/web.yaml",
    "image: \"o/web:{{ .Values.tag }}\"\n",
    "c/templates/web.yaml:1: a template of a chart is left alone: "
)]
#[case::manifest("web.yaml", &WEB.replace("nginx:1.26", "o/web:${TAG}"), "web.yaml:4: `o/web:${TAG}` is filled in from elsewhere: ")]
#[case::release(
    "app.yaml",
    "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: web}\nspec:\n  source:\n    helm:\n      parameters:\n      - {name: image.repository, value: o/web}\n      - {name: image.tag, value: $ARGOCD_APP_REVISION}\n",
    "app.yaml:9: `$ARGOCD_APP_REVISION` is filled in from elsewhere: "
)]
#[case::kustomization(
    "kustomization.yaml",
    "resources: ['https://example.com/web']\nimages:\n- name: o/web\n  newName: other\n",
    "kustomization.yaml:3: no tag that is known stands with it: "
)]
#[case::other_keys(
    "values.yaml",
    "web:\n  imageName: o/web\n  imageTag: 1.0.0\n",
    "values.yaml:2: no tag that is known stands with it: call the keys `repository` and `tag`, or mark the line that has the \
     tag (`# supercargo: minor image=docker.io/o/web part=tag`)"
)]
#[case::repo_and_tag(
    "values.yaml",
    "web: {repo: o/web, tag: 1.0.0}\n",
    "values.yaml:1: no tag that is known stands with it: "
)]
#[case::name_and_version(
    "env.yaml",
    "- {name: o/web, version: 1.0.0}\n",
    "env.yaml:1: no tag that is known stands with it: "
)]
fn what_holds_an_image_and_is_no_place_is_told(#[case] path: &str, #[case] text: &str, #[case] why: &str) {
    let files = repository(&[(path, text), ("supercargo.yaml", "images: [{image: o/web, policy: minor}]\n")]);
    let rendered = places::rendered(&files, &Options::default());
    let [entry] = &rendered.unplaced[..] else { panic!("{rendered:?}") };
    let begins = format!("the image docker.io/o/web cannot be edited: {why}");
    assert!(entry.why.starts_with(&begins), "{}", entry.why);
    let of_cluster = Wanted { container: "other".into(), ..wanted("shop", "other", "o/web:1.0.0") };
    let error = lines(&files, &of_cluster).unwrap_err();
    assert!(error.contains(&format!("docker.io/o/web stands in {why}")), "{error}");
}

#[test]
fn what_an_entry_does_not_cover_is_told() {
    let files = repository(&[
        ("supercargo.yaml", "images: [{image: o/web, policy: minor, files: 'apps/**'}]\n"),
        ("deploy/values.yaml", "image: {repository: o/web, tag: 1.0.0}\n"),
        ("web.yaml", &WEB.replace("nginx:1.26", "o/web:1.0.0")),
    ]);
    let (_, problems) = shown(&files, &Options::default());
    let not = "`files` of the entry `o/web` of supercargo.yaml does not cover it";
    let expected = format!(
        "supercargo.yaml: line 1: the image docker.io/o/web cannot be edited: deploy/values.yaml:1: {not}; web.yaml:4: {not}"
    );
    assert_eq!(problems, [expected]);
}

#[test]
fn entries_in_a_folder_are_told_not_to_count() {
    let files = repository(&[("deploy/supercargo.yaml", "images:\n- image: o/web\n  policy: minor\n")]);
    let [(path, note)] = &places::rendered(&files, &Options::default()).misplaced[..] else {
        panic!("nothing is said")
    };
    let says = "entries count in the `supercargo.yaml` at the root only: ";
    assert!((&**path, note.line) == ("deploy/supercargo.yaml", 3) && note.reason.starts_with(says), "{note}");
}

/// A marker on what is no image, or is another's, moves nothing: that is told, and where it only says `never` it is not.
#[rstest::rstest]
#[case(
    "compose.yaml",
    "image: o/web:${TAG} # supercargo: minor\n",
    Some("compose.yaml: line 1: `o/web:${TAG}` is filled in")
)]
#[case(
    "values.yaml",
    "image:\n  repository: o/web\n  tag: $TAG # supercargo: minor\n",
    Some("values.yaml: line 3: `$TAG` is filled in")
)]
#[case(
    ".env",
    "IMAGE=o/web:${TAG} # supercargo: minor\n",
    Some(".env: line 1: what stands before the marker is filled in")
)]
#[case(
    "a.yaml",
    "a: o/web:1.0.0 # supercargo: minor image=o/api\n",
    Some("a.yaml: line 1: the marker is for the image docker.io/o/api, and this is docker.io/o/web: ")
)]
#[case("compose.yaml", "image: o/web:${TAG} # supercargo: never\n", None)]
fn a_marker_that_moves_nothing_is_told(#[case] path: &str, #[case] text: &str, #[case] why: Option<&str>) {
    let (workloads, problems) = shown(&repository(&[(path, text)]), &Options::default());
    assert!(workloads.is_empty() && problems.len() == usize::from(why.is_some()), "{workloads:?} {problems:?}");
    assert!(why.is_none_or(|why| problems[0].starts_with(why)), "{problems:?}");
}

/// Two marked values of one file are one workload with two images, each with its own place.
#[test]
fn marked_values_of_one_file_have_their_own_places() {
    let text = "web: 1.26 # supercargo: minor image=x/web\napi: 1.26 # supercargo: minor image=x/api\n";
    let files = repository(&[("charts/values.yaml", text)]);
    assert_eq!(shown(&files, &Options::default()).0.len(), 1);
    for (image, line) in [("x/web", "charts/values.yaml:1"), ("x/api", "charts/values.yaml:2")] {
        assert_eq!(lines(&files, &of_file("charts/values.yaml", image)), Ok(vec![line.to_owned()]));
    }
}

/// An edit is for the text that it was found in, and for no other.
#[test]
fn an_edit_of_a_text_that_has_changed_is_refused() {
    let files = repository(&[
        ("values.yaml", "image:\n  repository: nginx\n  tag: v1\n"),
        ("a.env", "A=x:v1 # supercargo: minor\n"),
    ]);
    for (name, image, path, changed) in [
        ("values", "nginx", "values.yaml", "image:\n  repository: nginx\n  tag: v2\n"),
        ("values", "nginx", "values.yaml", "a: b\nimage:\n  repository: nginx\n  tag: v1\n"),
        ("values", "nginx", "values.yaml", ""),
        ("values", "nginx", "values.yaml", "image: [\n"),
        ("env", "x", "a.env", "A=x:v2 # supercargo: minor\n"),
        ("env", "x", "a.env", "B=y\nA=x:v1 # supercargo: minor\n"),
        ("env", "x", "a.env", ""),
    ] {
        let (from, to) = (format!("{image}:v1"), format!("{image}:v3"));
        let (kind, namespace) = (None, "prod".into());
        let change =
            Change { kind, namespace, name: name.into(), container: None, init: false, instance: None, from, to };
        let spots = places::locate(&files, &change.wanted(), &Options::default()).unwrap();
        let edits: Vec<&LocationEdit> = spots[0].edits.iter().collect();
        assert_eq!(&*spots[0].path, path);
        assert!(places::apply(path, changed.as_bytes(), &edits).is_err(), "{changed:?}");
    }
}

#[test]
fn a_file_that_is_too_large_is_left_alone() {
    let text = vec![b' '; manifest::MAX_BYTES + 1];
    assert!(Facts::read("a.yaml", &text).problems()[0].reason.contains("split the file"));
}

#[test]
fn a_file_with_more_scalars_than_are_read_is_left_alone() {
    let list = |item: &str, count| format!("image: team/web:1.0.0\nlist: [{}]\n", item.repeat(count));
    let problems = |text: &str| Facts::read("values.yaml", text.as_bytes()).problems().to_vec();
    assert_eq!(problems(&list("1,", manifest::MAX_SCALARS - 3)), []);
    for (item, what) in [("1,", "scalars"), ("[],", "lists and mappings"), ("\n# a\n", "comments")] {
        let found = problems(&list(item, manifest::MAX_SCALARS + 1));
        assert!(found[0].reason.contains(&format!("more than 200000 {what}")), "{found:?}");
    }
}

#[test]
fn at_most_100_names_of_a_kustomization_are_patterns_and_each_can_be_compiled() {
    let problems = |names: &[String]| {
        let entries: String = names.iter().map(|name| format!("- {{name: '{name}', newTag: '1'}}\n")).collect();
        let facts = Facts::read("kustomization.yaml", format!("images:\n{entries}").as_bytes());
        facts.problems().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let mut names: Vec<String> = (0..100).map(|n| format!("team/.*-{n}")).collect();
    names.push(names[0].clone());
    assert_eq!(problems(&names), [""; 0]);
    names.push("team/more.*".into());
    assert!(problems(&names)[0].contains("more than 100 names of `images` are patterns"), "{:?}", problems(&names));
    for name in ["team/(web", "([a-z]{1,99}){1,999}"] {
        let found = problems(&[name.to_owned()]);
        assert!(found.len() == 1 && found[0].contains("is no pattern for names of images"), "{found:?}");
    }
}

/// The folders of a case in which a file of that name is, before and after the edit.
fn edited_folders(name: impl Fn(&str) -> bool) -> Vec<(PathBuf, PathBuf, tempfile::TempDir)> {
    let mut found = Vec::new();
    for case in fs::read_dir(CASES).unwrap().map(|entry| entry.unwrap().path()).filter(|c| c.join("after").exists()) {
        let mut after = texts(&case.join("before"));
        let of_name = after.keys().filter_map(|path| path.rsplit_once('/')).filter(|(_, file)| name(file));
        let folders: Vec<String> = of_name.map(|(folder, _)| folder.to_owned()).collect();
        after.extend(texts(&case.join("after")));
        for folder in folders {
            let edited = tempfile::tempdir().unwrap();
            write_below(edited.path(), &after);
            found.push((case.join("before").join(&folder), edited.path().join(&folder), edited));
        }
    }
    found
}

/// How many lines differ, all of them of images.
fn other_images(folder: &Path, before: &str, after: &str) -> usize {
    assert_eq!(before.lines().count(), after.lines().count(), "{folder:?}");
    let is_image = |line: &str| line.contains("image: ") || line.contains("tag: ");
    let differing = before.lines().zip(after.lines()).filter(|(before, after)| before != after);
    let each =
        differing.map(|(before, after)| assert!(is_image(before) && is_image(after), "{folder:?}: {before} {after}"));
    each.count()
}

pub(crate) fn output(program: &str, args: &[&str], folder: &Path) -> Option<String> {
    // Nothing is fetched: a remote resource is one that cannot be had.
    let mut command = std::process::Command::new(crate::support::bin(program));
    command.args(args).arg(folder).env("HTTPS_PROXY", "http://127.0.0.1:1").env("PATH", "");
    let output = command.output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

#[test]
fn kustomize_renders_the_edited_trees_with_other_images_only() {
    let mut changed = 0;
    for (before, after, _edited) in edited_folders(|name| name.to_lowercase().contains("kustomization")) {
        // One may be no more than a part of others, in a circle, or have resources elsewhere.
        let Some(was) = output("kubectl", &["kustomize"], &before) else { continue };
        let is = output("kubectl", &["kustomize"], &after).unwrap_or_else(|| panic!("{before:?}"));
        changed += other_images(&before, &was, &is);
    }
    assert!(changed >= 30, "{changed}");
}

fn sorted(images: impl Iterator<Item = String>) -> String {
    let mut images: Vec<String> = images.collect();
    images.sort();
    images.join(",")
}

/// The workloads of a folder as `kubectl kustomize` renders them, each as `namespace/name images ours`.
fn kustomized(texts: &Texts, folder: &str) -> Vec<String> {
    let root = tempfile::tempdir().unwrap();
    write_below(root.path(), texts);
    let text = output("kubectl", &["kustomize"], &root.path().join(folder)).expect("it builds");
    let read = |text: &str| {
        let object: serde_json::Value = serde_saphyr::from_str(text).unwrap();
        let (metadata, spec) = (&object["metadata"], &object["spec"]["template"]["spec"]);
        let word = |key| metadata[key].as_str().unwrap_or_default().to_owned();
        let annotations = metadata["annotations"].as_object().into_iter().flatten();
        let ours = annotations.filter(|(key, _)| key.starts_with("supercargo.dev/"));
        let ours: Vec<String> = ours.map(|(key, value)| format!("{key}={}", value.as_str().unwrap())).collect();
        let containers = spec["containers"].as_array().into_iter().flatten();
        let images = containers.map(|c| format!("{}={}", c["name"].as_str().unwrap(), c["image"].as_str().unwrap()));
        let image = sorted(images);
        format!("{}/{} {image} {}", word("namespace"), word("name"), ours.join(",")).trim_end().to_owned()
    };
    let mut found: Vec<String> = text.split("\n---\n").map(read).collect();
    found.sort();
    found
}

/// The same as we read it.
fn as_read(texts: &Texts) -> Vec<String> {
    let rendered = places::rendered(&facts(texts), &Options::default());
    assert!(rendered.problems.is_empty(), "{:?}", rendered.problems);
    let workload = |(workload, ..): &(Workload, Arc<str>, usize)| {
        let id = &workload.id;
        let ours: Vec<String> = workload.annotations.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let image = sorted(workload.containers.iter().map(|c| format!("{}={}", c.name, c.image)));
        format!("{}/{} {image} {}", id.namespace, id.name, ours.join(",")).trim_end().to_owned()
    };
    let mut found: Vec<String> = rendered.workloads.iter().map(workload).collect();
    found.sort();
    found
}

/// A Deployment with more in its metadata.
fn deployment(name: &str, more: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}{more}}}\nspec: {{template: {{spec: {{containers: \
         [{{name: c, image: 'nginx:1.26'}}]}}}}}}\n"
    )
}

const SET: &str =
    "\n  patch: |-\n    - op: replace\n      path: /spec/template/spec/containers/0/image\n      value: nginx:1.20\n";

/// Two workloads of one name in two namespaces, a third with a label, and a kustomization over them.
fn three(kustomization: &str) -> Texts {
    let files = [
        ("base/kustomization.yaml", "resources: [a.yaml, b.yaml, canary.yaml]\n".to_owned()),
        ("base/a.yaml", deployment("web", ", namespace: a")),
        ("base/b.yaml", deployment("web", ", namespace: b, annotations: {team: x}")),
        ("base/canary.yaml", deployment("canary", ", labels: {track: canary}")),
        ("prod/kustomization.yaml", format!("resources: [../base]\n{kustomization}")),
        ("prod/p.yaml", deployment("web", ", namespace: a").replace("1.26", "1.21")),
        ("prod/default.yaml", deployment("canary", ", namespace: default").replace("1.26", "1.22")),
        (
            "prod/label.yaml",
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: a, labels: {track: canary}}\n"
                .to_owned(),
        ),
    ];
    let is_used = |(path, _): &(&str, String)| {
        !path.starts_with("prod/") || path.ends_with("kustomization.yaml") || kustomization.contains(&path[5..])
    };
    files.into_iter().filter(is_used).map(|(path, text)| (path.into(), text.into_bytes())).collect()
}

/// A patch is for those that Kustomize would change, and no other.
#[rstest::rstest]
#[case("patches:\n- path: p.yaml\n- path: default.yaml\n")]
#[case("nameSuffix: -z\npatches:\n- path: p.yaml\n- path: default.yaml\n")]
#[case("patchesStrategicMerge: [p.yaml]\n")]
#[case(&format!("patches:\n- target: {{kind: Deployment, name: web, namespace: a}}{SET}"))]
#[case(&format!("patches:\n- target: {{kind: Deployment, name: web, namespace: 'a|c'}}{SET}"))]
#[case(&format!("patches:\n- target: {{namespace: default}}{SET}"))]
#[case(&format!("patches:\n- target: {{name: we.*}}{SET}"))]
#[case(&format!("patches:\n- target: {{name: we}}{SET}"))]
#[case(&format!("patches:\n- target: {{kind: Deploy.*, labelSelector: track=canary}}{SET}"))]
#[case(&format!("patches:\n- target: {{labelSelector: track!=canary}}{SET}"))]
#[case(&format!("patches:\n- target: {{labelSelector: 'track in (x,canary)'}}{SET}"))]
#[case(&format!("patches:\n- target: {{annotationSelector: team=x}}{SET}"))]
#[case(&format!("patches:\n- path: label.yaml\n- target: {{labelSelector: track=canary}}{SET}"))]
#[case(&format!("patches:\n- target: {{group: batch}}{SET}"))]
#[case(&format!("patches:\n- target: {{group: apps, version: v1, name: canary}}{SET}"))]
#[case(&format!("patches:\n- target: {{kind: Deployment, version: v2}}{SET}"))]
#[case(&format!("patches:\n- target: {{name: canary}}{SET}    - op: replace\n      path: /spec/template/spec/containers/0/image\n      value: nginx:1.19\n"))]
#[case(&format!("namePrefix: p-\npatchesJson6902:\n- target: {{version: v1, kind: Deployment, name: p-canary}}{SET}"))]
#[case(&format!("namePrefix: p-\npatches:\n- target: {{name: p-canary}}{SET}"))]
fn a_patch_is_for_what_kustomize_changes(#[case] kustomization: &str) {
    let texts = three(kustomization);
    assert_eq!(as_read(&texts), kustomized(&texts, "prod"));
}

/// A workload with a policy in a base, a component, and an overlay that sets annotations.
fn annotated(kustomization: &str) -> Texts {
    let policy = ", annotations: {supercargo.dev/policy: minor, supercargo.dev/poll: every 1h}";
    let component = "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n";
    let files = [
        ("base/kustomization.yaml", "resources: [web.yaml, other.yaml]\n".to_owned()),
        ("base/web.yaml", deployment("web", policy)),
        ("base/other.yaml", deployment("other", "")),
        ("mid/kustomization.yaml", "resources: [../base]\ncommonAnnotations: {supercargo.dev/policy: patch, a: b}\nlabels: [{pairs: {tier: x}}]\n".to_owned()),
        ("c/kustomization.yaml", format!("{component}commonAnnotations: {{supercargo.dev/suspend: 'true'}}\n")),
        ("prod/kustomization.yaml", format!("{kustomization}{}", if kustomization.contains("resources:") { "" } else { "resources: [../base]\n" })),
        ("prod/never.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, annotations: {supercargo.dev/policy: never}}\n".to_owned()),
        ("prod/merged.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\n  labels: &l {supercargo.dev/suspend: 'true'}\n  annotations: {<<: *l, supercargo.dev/policy: never}\n".to_owned()),
        ("prod/any.yaml", "apiVersion: not-important\nkind: not-important\nmetadata: {name: any, annotations: {supercargo.dev/suspend: 'true'}}\nspec: {template: {spec: {containers: [{name: c, image: 'nginx:1.20'}]}}}\n".to_owned()),
        ("prod/t.yaml", "apiVersion: builtin\nkind: AnnotationsTransformer\nmetadata: {name: x}\nannotations: {supercargo.dev/policy: never}\nfieldSpecs: [{path: metadata/annotations, create: true}]\n".to_owned()),
        ("prod/op.yaml", "- op: add\n  path: /metadata/annotations/supercargo.dev~1suspend\n  value: 'true'\n- op: replace\n  path: /metadata/annotations/supercargo.dev~1policy\n  value: never\n- op: remove\n  path: /metadata/annotations/supercargo.dev~1poll\n".to_owned()),
    ];
    files.into_iter().map(|(path, text)| (path.into(), text.into_bytes())).collect()
}

const HEAD: &str = "    apiVersion: apps/v1\n    kind: Deployment\n";

/// What an overlay writes on a workload is what it is asked for.
#[rstest::rstest]
#[case("commonAnnotations: {supercargo.dev/suspend: 'true', supercargo.dev/policy: never}\n")]
#[case("resources: [../mid]\ncommonAnnotations: {supercargo.dev/policy: never}\n")]
#[case("resources: [../mid]\n")]
#[case("components: [../c]\n")]
#[case("resources: [../mid]\ncomponents: [../c]\ncommonAnnotations: {supercargo.dev/suspend: 'false'}\n")]
#[case("patches: [{path: never.yaml}]\n")]
#[case("patchesStrategicMerge: [never.yaml]\n")]
#[case("commonAnnotations: {supercargo.dev/policy: major}\npatches: [{path: never.yaml}]\n")]
#[case("patches: [{path: op.yaml, target: {name: web}}]\n")]
#[case(
    "commonAnnotations: {supercargo.dev/policy: major}\npatchesJson6902: [{path: op.yaml, target: {version: v1, kind: Deployment, name: web}}]\n"
)]
#[case(&format!("patches:\n- patch: |-\n{HEAD}    metadata:\n      name: web\n      annotations: {{supercargo.dev/policy: null, supercargo.dev/suspend: 'true'}}\n"))]
#[case(&format!("patches:\n- target: {{kind: Deployment}}\n  patch: |-\n{HEAD}    metadata:\n      name: any\n      annotations:\n        supercargo.dev/suspend: 'true'\n"))]
#[case(&format!("patchesStrategicMerge:\n- |-\n{HEAD}    metadata:\n      name: web\n      annotations:\n        $patch: replace\n        supercargo.dev/suspend: 'true'\n"))]
#[case(
    "patches:\n- target: {name: web}\n  patch: |-\n    - op: add\n      path: /metadata/annotations\n      value:\n        supercargo.dev/suspend: 'true'\n"
)]
#[case("patches:\n- target: {name: web}\n  patch: |-\n    - op: remove\n      path: /metadata/annotations\n")]
#[case("transformers: [t.yaml]\n")]
#[case("commonAnnotations: &c {supercargo.dev/policy: never}\nlabels: [{pairs: *c}]\n")]
#[case("patches: [{path: merged.yaml}]\n")]
#[case("patches: [{path: any.yaml, target: {kind: Deployment, name: web}}]\n")]
#[case(
    "patches:\n- target: {kind: Deployment, name: web}\n  patch: |-\n    apiVersion: not-important\n    kind: not-important\n    metadata: {name: any, annotations: {supercargo.dev/suspend: 'true'}}\n    spec: {template: {spec: {containers: [{name: c, image: 'nginx:1.20'}]}}}\n"
)]
#[case("transformers: [t.yaml]\ncommonAnnotations: {supercargo.dev/policy: major}\n")]
#[case(
    "transformers:\n- |-\n  {apiVersion: builtin, kind: AnnotationsTransformer, metadata: {name: x}, annotations: {supercargo.dev/ignore: '1.20'}, fieldSpecs: [{path: metadata/annotations, create: true}]}\n"
)]
#[case(
    "transformers:\n- |-\n  {apiVersion: builtin, kind: AnnotationsTransformer, metadata: {name: x}, annotations: {supercargo.dev/ignore: '1.20'}}\n"
)]
#[case(
    "resources: [../mid]\npatches:\n- target: {labelSelector: tier=x}\n  patch: |-\n    - op: add\n      path: /metadata/annotations/supercargo.dev~1suspend\n      value: 'true'\n"
)]
#[case(
    "resources: [../mid]\npatches:\n- target: {annotationSelector: a=c}\n  patch: |-\n    - op: add\n      path: /metadata/annotations/supercargo.dev~1suspend\n      value: 'true'\n"
)]
fn an_overlay_sets_annotations(#[case] kustomization: &str) {
    let texts = annotated(kustomization);
    assert_eq!(as_read(&texts), kustomized(&texts, "prod"));
}

/// A Deployment of two containers under a kustomization, which may delete it, or replace, move and name containers.
fn of_two(kustomization: &str) -> Texts {
    let web = deployment("web", ", annotations: {supercargo.dev/policy: minor}")
        .replace("[{name: c", "[{name: d, image: 'httpd:2.4'}, {name: c");
    let patch = |spec: &str| format!("{{{HEAD_OF_WEB}, spec: {{template: {{spec: {spec}}}}}}}\n");
    let files = [
        ("base/web.yaml", web),
        ("base/kept.yaml", deployment("kept", "")),
        ("base/kustomization.yaml", "resources: [web.yaml, kept.yaml]\n".to_owned()),
        ("prod/env.yaml", patch("{containers: [{name: c, env: []}]}")),
        ("prod/kustomization.yaml", format!("resources: [../base]\n{kustomization}")),
    ];
    let is_used = |(path, _): &(&str, String)| !path.ends_with("env.yaml") || kustomization.contains("env.yaml");
    files.into_iter().filter(is_used).map(|(path, text)| (path.into(), text.into_bytes())).collect()
}

const HEAD_OF_WEB: &str = "apiVersion: apps/v1, kind: Deployment, metadata: {name: web}";
const FIRST: &str = "- target: {name: web}\n  patch: |-\n    - op: replace\n      path: \
     /spec/template/spec/containers/0/image\n      value: nginx:1.20\n";

/// What Kustomize makes of a patch's directives, and of other things that people seldom write.
#[rstest::rstest]
#[case::a_deleted_object(&format!("patches:\n- patch: '{{{HEAD_OF_WEB}, $patch: delete}}'\n"))]
#[case::an_object_to_replace(&format!("patches:\n- patch: '{{{HEAD_OF_WEB}, $patch: replace, spec: {{replicas: 2}}}}'\n"))]
#[case::an_item_to_replace(&format!("patches:\n- patch: '{{{HEAD_OF_WEB}, spec: {{template: {{spec: {{containers: [{{name: d, image: x, $patch: replace}}]}}}}}}}}'\n"))]
#[case::a_list_to_replace(&format!("patches:\n- patch: '{{{HEAD_OF_WEB}, spec: {{template: {{spec: {{containers: [{{name: c, image: \"nginx:1.21\"}}, {{$patch: replace}}]}}}}}}}}'\n"))]
#[case::a_pod_to_replace(&format!("patches:\n- patch: '{{{HEAD_OF_WEB}, spec: {{template: {{spec: {{$patch: replace, containers: [{{name: c, image: \"nginx:1.21\"}}]}}}}}}}}'\n"))]
#[case::a_patch_without_an_image(&format!("patches:\n- path: env.yaml\n{FIRST}"))]
#[case::a_moved_item(&format!("patches:\n- target: {{name: web}}\n  patch: |-\n    - op: move\n      from: /spec/template/spec/containers/1\n      path: /spec/template/spec/containers/0\n{FIRST}"))]
#[case::null_is_a_text_with_a_target(
    "patches:\n- target: {name: web}\n  patch: '{apiVersion: apps/v1, kind: Deployment, metadata: {name: x, annotations: {supercargo.dev/policy: null}}}'\n"
)]
#[case::null_removes_without_one(
    "patches:\n- patch: '{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, annotations: {supercargo.dev/policy: null}}}'\n"
)]
#[case::a_patch_on_one_line(&format!("patchesStrategicMerge:\n- '{{{HEAD_OF_WEB}, spec: {{template: {{spec: {{containers: [{{name: d, image: x}}]}}}}}}}}'\n"))]
#[case::a_suffix_counts_twice("images: [{name: httpd, tagSuffix: -x}]\n")]
fn directives_do_what_kustomize_makes_of_them(#[case] kustomization: &str) {
    let texts = of_two(kustomization);
    assert_eq!(as_read(&texts), kustomized(&texts, "prod"));
}

/// A replacement may set an image to what is not followed.
#[rstest::rstest]
#[case("spec.template.spec.containers.[name=c].image", false)]
#[case("spec.template.spec.containers.1.image", false)]
#[case("spec.template.spec.containers.*.image", false)]
#[case("spec.template", false)]
#[case("metadata.annotations.[supercargo.dev/policy]", false)]
#[case("metadata.annotations.other", true)]
#[case("spec.template.spec.containers.[name=d].image", true)]
#[case("spec.template.spec.containers.1.env.0.value", true)]
fn what_a_replacement_may_set_is_not_edited(#[case] path: &str, #[case] edited: bool) {
    let target = format!("{{select: {{kind: Deployment, name: web}}, fieldPaths: ['{path}']}}");
    let source = "{kind: Deployment, name: kept, fieldPath: metadata.name}";
    let texts = of_two(&format!("namespace: a\nreplacements:\n- {{source: {source}, targets: [{target}]}}\n"));
    let found = places::locate(&facts(&texts), &wanted("a", "web", "nginx:1.26"), &Options::default());
    assert_eq!(found.is_ok(), edited, "{found:?}");
    assert!(edited || found.unwrap_err().to_string().starts_with("prod/kustomization.yaml:4: a replacement sets"));
}

/// What a replacement sets as a whole is shown as unknown, until something above it sets the image again.
#[rstest::rstest]
#[case("", "", "$(set by the replacement at prod/kustomization.yaml:4)")]
#[case(", options: {delimiter: ':', index: 1}", "", "nginx:1.26")]
#[case("", "d/env", "$(set by the replacement at prod/kustomization.yaml:4)")]
#[case("", "caddy:2.8", "caddy:2.8")]
fn the_image_that_a_replacement_sets_is_not_known(#[case] options: &str, #[case] above: &str, #[case] shown: &str) {
    let select = "{kind: Deployment, name: web}";
    let target = format!("{{select: {select}, fieldPaths: ['spec.template.spec.containers.[name=c].image']{options}}}");
    let source = "{kind: Deployment, name: kept, fieldPath: metadata.name}";
    let mut texts = of_two(&format!("namespace: a\nreplacements:\n- {{source: {source}, targets: [{target}]}}\n"));
    let image = if above.contains(':') { format!("image: '{above}'") } else { "env: []".to_owned() };
    let patch = format!("{{{HEAD_OF_WEB}, spec: {{template: {{spec: {{containers: [{{name: c, {image}}}]}}}}}}}}");
    let outer = format!("resources: [../prod]\npatches:\n- {{target: {select}, patch: \"{patch}\"}}\n");
    texts.insert("outer/kustomization.yaml".into(), outer.into_bytes());
    let read = as_read(&texts);
    let web = read.iter().find(|workload| workload.starts_with("a/web ")).unwrap();
    assert!(web.contains(&format!("c={shown}")) && web.contains("d=httpd:2.4"), "{web}");
}

/// What Kustomize takes for `images` under another name would win over what we edit.
#[rstest::rstest]
#[case("imageTags: [{name: nginx, newTag: '1.20'}]\n")]
#[case(
    "transformers:\n- |-\n  {apiVersion: builtin, kind: ImageTagTransformer, metadata: {name: x}, imageTag: {name: nginx, newTag: '1.20'}}\n"
)]
#[case(
    "transformers:\n- |-\n  {apiVersion: builtin, kind: PatchTransformer, metadata: {name: x}, target: {kind: Deployment}, patch: '[{\"op\": \"replace\", \"path\": \"/spec/template/spec/containers/0/image\", \"value\": \"nginx:1.20\"}]'}\n"
)]
fn images_that_are_set_by_other_words_are_not_edited(#[case] kustomization: &str) {
    let texts = of_two(kustomization);
    assert!(kustomized(&texts, "prod").iter().any(|each| format!("{each:?}").contains("1.20")));
    let found = places::locate(&facts(&texts), &wanted("", "web", "nginx:1.26"), &Options::default());
    let reason = found.unwrap_err().to_string();
    assert!(reason.starts_with("prod/kustomization.yaml:"), "{reason}");
}

const BROKEN: &str =
    "this kustomization cannot be read whole, and may render the workload with another image: repair it";

/// What a broken kustomization names is not edited elsewhere.
#[rstest::rstest]
#[case("resources: [../base]\npatches: [\n", Some("2"))]
#[case("resources:\n- ./../base/\nimages: {}\n", Some("3"))]
#[case("resources: [../mid]\nimages: *x\n", Some("2"))]
#[case("resources: ['../base/web.yaml', \"\n", Some("1"))]
#[case("resources: [../other]\npatches: [\n", None)]
#[case("resources: [https://example.com/base]\npatches: [\n", None)]
fn what_a_broken_kustomization_may_render_is_not_edited(#[case] broken: &str, #[case] line: Option<&str>) {
    let files = repository(&[
        ("prod/kustomization.yaml", broken),
        ("mid/kustomization.yaml", "resources: [../base]\n"),
        ("base/kustomization.yaml", "resources: [web.yaml]\n"),
        ("base/web.yaml", &deployment("web", ", namespace: a")),
        ("other/kustomization.yaml", "resources: [o.yaml]\n"),
        ("other/o.yaml", &deployment("o", ", namespace: a")),
    ]);
    let found = |name| places::locate(&files, &wanted("a", name, "nginx:1.26"), &Options::default());
    let expected = line.map(|line| format!("prod/kustomization.yaml:{line}: {BROKEN}"));
    assert_eq!(found("web").err().map(|misfit| misfit.to_string()), expected);
    assert_eq!(found("o").is_ok(), !broken.contains("other"));
    assert!(!shown(&files, &Options::default()).1.is_empty());
}

/// A folder that is not there is told of; what else the kustomization renders may be edited.
#[test]
fn a_missing_resource_is_told() {
    let files = repository(&[
        ("prod/kustomization.yaml", "resources:\n- web.yaml\n- ../bas\n- github.com/x/y\n- x.yaml\n- https://x/y\n"),
        ("prod/web.yaml", &deployment("web", ", namespace: a")),
    ]);
    assert!(places::locate(&files, &wanted("a", "web", "nginx:1.26"), &Options::default()).is_ok());
    let expected = "prod/kustomization.yaml: line 3: there is no kustomization in `../bas` that could be read, so this one may not build: correct the path";
    assert_eq!(shown(&files, &Options::default()).1, [expected]);
}

/// A patch for one HelmRelease is none for another.
#[rstest::rstest]
#[case("{kind: HelmRelease, labelSelector: x=y}", Some("base/h.yaml:6"))]
#[case("{kind: HelmRelease, namespace: other}", Some("base/h.yaml:6"))]
#[case("{kind: Helm.*, name: w.*, namespace: shop}", Some("prod/kustomization.yaml:7"))]
#[case("{kind: 'Helm\\w+'}", Some("prod/kustomization.yaml:7"))]
#[case("{kind: 'Helm('}", None)]
fn a_patch_of_a_release_is_matched(#[case] target: &str, #[case] place: Option<&str>) {
    let release = "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: w, namespace: shop}\nspec:\n  values:\n    image: {repository: nginx, tag: '1.26'}\n";
    let patch = "  patch: |-\n    - op: replace\n      path: /spec/values/image/tag\n      value: '1.26'\n";
    let files = repository(&[
        ("base/h.yaml", release),
        ("prod/kustomization.yaml", &format!("resources: [../base/h.yaml]\npatches:\n- target: {target}\n{patch}")),
    ]);
    let spots = places::locate(&files, &wanted("shop", "w", "nginx:1.26"), &Options::default());
    let found =
        spots.as_ref().ok().map(|spots| spots.iter().map(|s| format!("{}:{}", s.path, s.line)).collect::<Vec<_>>());
    assert_eq!(found.as_deref(), place.map(|place| vec![place.to_owned()]).as_deref(), "{spots:?}");
}

pub(crate) fn wanted(namespace: &str, name: &str, from: &str) -> Wanted {
    Wanted {
        workload: WorkloadId { kind: Kind("Deployment".into()), namespace: namespace.into(), name: name.into() },
        instance: None,
        container: "c".into(),
        init: false,
        from: from.parse().unwrap(),
        to: "nginx:1.27".parse().unwrap(),
    }
}

/// A patch of which it is not known whether it is for the workload, or what it does to it.
#[rstest::rstest]
#[case(&format!("patches:\n- target: {{name: 'w('}}{SET}"), "prod/kustomization.yaml:3: whether this patch is for the workload cannot be told by its `target`: select by plain names, or by labels with `=`, `!=`, `in` and `notin`")]
#[case(
    "patches:\n- target: {name: web}\n  patch: |-\n    - op: replace\n      path: /spec/template/spec\n      value: {containers: [{name: c, image: 'nginx:1.26'}]}\n",
    "prod/kustomization.yaml:3: this operation changes more than one value around the image or the annotations: patch just the value"
)]
#[case(
    "patches:\n- target: {name: 'w('}\n  patch: |-\n    - op: add\n      path: /metadata/annotations\n      value: {supercargo.dev/suspend: 'true'}\n",
    "prod/kustomization.yaml:3: whether this patch is for the workload cannot be told by its `target`: select by plain names, or by labels with `=`, `!=`, `in` and `notin`"
)]
fn what_a_patch_may_change_is_not_edited(#[case] kustomization: &str, #[case] expected: &str) {
    let options = Options::default();
    let files = facts(&three(kustomization));
    let misfit = places::locate(&files, &wanted("a", "web", "nginx:1.26"), &options).unwrap_err();
    assert_eq!(misfit.to_string(), expected);
    let other = places::locate(&files, &wanted("", "canary", "nginx:1.26"), &options);
    assert_eq!(other.is_ok(), !kustomization.contains("w("), "{other:?}");
}

/// A text with more scalars, its aliases written out, than are read.
fn endless() -> String {
    let list = |level: usize| format!("  l{level}: &l{level} [{}]\n", format!("*l{},", level - 1).repeat(100));
    format!("  l0: &l0 x\n{}", (1..4).map(list).collect::<String>())
}

/// A patch that cannot be read may do anything to what it may be for.
#[rstest::rstest]
#[case::inline(true, "")]
#[case::with_a_target(true, "- target: {name: web}\n  ")]
#[case::of_another(true, "- target: {name: canary}\n  ")]
#[case::in_a_file(false, "")]
fn a_patch_that_cannot_be_read_is_named(#[case] is_inline: bool, #[case] head: &str) {
    let patch = format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web, namespace: a}}\nspec: {{template: {{spec: {{containers: [{{name: c, image: 'nginx:1.20'}}]}}}}}}\nx:\n{}",
        endless()
    );
    let head = if head.is_empty() { "- " } else { head };
    let lines: String = patch.lines().map(|line| format!("    {line}\n")).collect();
    let mut texts = match is_inline {
        true => three(&format!("patches:\n{head}patch: |\n{lines}")),
        false => three("patches:\n- path: long.yaml\n"),
    };
    if !is_inline {
        texts.insert("prod/long.yaml".into(), patch.into_bytes());
    }
    let files = facts(&texts);
    let found = |name: &str, namespace| {
        places::locate(&files, &wanted(namespace, name, "nginx:1.26"), &Options::default()).map_err(|e| e.to_string())
    };
    let place = if is_inline { "prod/kustomization.yaml:3: " } else { "prod/long.yaml:" };
    let is_of_canary = head.contains("canary");
    for (name, namespace, is_blocked) in
        [("web", "a", !is_of_canary), ("canary", "", is_of_canary || !head.contains("web"))]
    {
        match found(name, namespace) {
            Ok(_) => assert!(!is_blocked, "{name}"),
            Err(why) => {
                assert!(is_blocked && why.starts_with(place) && why.contains("this patch cannot be read"), "{why}")
            }
        }
    }
}

/// What more than is kept of a kustomization would do is not passed over.
#[test]
fn a_kustomization_with_more_patches_than_are_kept_is_not_followed() {
    let patch = |n| format!("- {{target: {{name: x{n}}}, patch: ''}}\n");
    let last = format!("- target: {{name: web}}{SET}");
    let texts = three(&format!("patches:\n{}{last}", (0..10_000).map(patch).collect::<String>()));
    let error = places::locate(&facts(&texts), &wanted("a", "web", "nginx:1.26"), &Options::default()).unwrap_err();
    assert!(error.to_string().contains("this kustomization cannot be read whole"), "{error}");
}

/// Few kustomizations that lead outwards in many long ways: what they render is bounded in all.
#[test]
fn deep_ways_through_few_kustomizations_are_not_followed() {
    let component = "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n";
    let of = |levels: usize, components: usize| {
        let mut texts = BTreeMap::from([("base/web.yaml".to_owned(), deployment("web", ", namespace: a"))]);
        texts.insert("base/kustomization.yaml".into(), "resources: [web.yaml]\n".into());
        let named: String = (0..components).map(|n| format!("- ../c{n}\n")).collect();
        for n in 0..components {
            texts.insert(format!("c{n}/kustomization.yaml"), component.into());
        }
        for level in 1..=levels {
            for side in ["l", "r"] {
                let below = |side| if level == 1 { "../base".to_owned() } else { format!("../{side}{}", level - 1) };
                let resources = if level == 1 { below("") } else { format!("{}, {}", below("l"), below("r")) };
                let text = format!("resources: [{resources}]\ncomponents:\n{named}");
                texts.insert(format!("{side}{level}/kustomization.yaml"), text);
            }
        }
        texts.into_iter().map(|(path, text)| (path.into(), text.into_bytes())).collect::<Texts>()
    };
    let problems = |texts: &Texts| places::rendered(&facts(texts), &Options::default()).problems;
    assert_eq!(problems(&of(3, 2)), []);
    let found = problems(&of(15, 8));
    let reason = found.first().map(|(path, problem)| (&**path, &*problem.reason));
    let expected = "kustomizations include it in more ways than are followed: simplify them";
    assert_eq!(reason, Some(("base/web.yaml", expected)));
}

/// Values that a release takes from a ConfigMap or a patch, and containers, count with the ways on which they are kept.
#[test]
fn what_many_ways_bring_to_one_object_is_bounded() {
    let release = "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: web}\nspec:\n";
    let each = |n: usize, text: &dyn Fn(usize) -> String| (0..n).map(text).collect::<String>();
    let value = |n| format!("    i{n}: {{repository: r.io/a{n}, tag: 1.0.0}}\n");
    let container = |n| format!("      - {{name: c{n}, image: 'r.io/a{n}:1.0.0'}}\n");
    let item = |_| "  - {kind: ConfigMap, name: v}\n".to_owned();
    let entry = |n| format!("        - {{name: r.io/x{n}, newTag: 1.0.0}}\n");
    let head = "kind: ConfigMap\napiVersion: v1\nmetadata: {name: v}\ndata:\n  values.yaml: |\n";
    let taken = |n| [format!("{head}{}", each(n, &value)), format!("{release}  valuesFrom:\n{}", item(0))];
    let patched = |n| [format!("{release}  values:\n{}", each(n, &value)), format!("{release}  chart: {{}}\n")];
    let again = |n| [format!("{head}{}", each(n, &value)), format!("{release}  valuesFrom:\n{}", each(n, &item))];
    let after = |n| {
        let renderers = format!("  postRenderers:\n  - kustomize:\n      images:\n{}", each(n, &entry));
        [String::new(), format!("{release}{renderers}  values:\n{}", each(n, &value))]
    };
    let wide = |n| {
        let head = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {template: {spec: {\n";
        [
            String::new(),
            format!(
                "{head}    containers: [\n{}]}}}}}}\n",
                each(n, &container).replace("- ", "").replace("}\n", "},\n")
            ),
        ]
    };
    let problems = |levels: usize, patches: &str, [beside, object]: [String; 2]| {
        let base = format!("resources: [r.yaml, {}]\n", if patches.is_empty() { "b.yaml" } else { "" });
        let mut texts = BTreeMap::from([("base/kustomization.yaml".to_owned(), base + patches)]);
        texts.extend([("base/b.yaml".to_owned(), beside), ("base/r.yaml".to_owned(), object)]);
        for (level, side) in (1..=levels).flat_map(|level| ["l", "r"].map(|side| (level, side))) {
            let below = if level == 1 { "../base".to_owned() } else { format!("../l{0}, ../r{0}", level - 1) };
            texts.insert(format!("{side}{level}/kustomization.yaml"), format!("resources: [{below}]\n"));
        }
        let texts = texts.into_iter().map(|(path, text)| (path.into(), text.into_bytes())).collect::<Texts>();
        let problems = places::rendered(&facts(&texts), &Options::default()).problems;
        problems.iter().map(|(path, problem)| format!("{path}: {}", problem.reason)).collect::<Vec<_>>()
    };
    let by_patch = "patches: [{path: b.yaml}]\n";
    let expected = "base/r.yaml: kustomizations include it in more ways than are followed: simplify them";
    assert_eq!(problems(2, "", taken(10)), [] as [&str; 0]);
    assert_eq!(problems(2, by_patch, patched(10)), [] as [&str; 0]);
    assert_eq!(problems(2, "", wide(10)), [] as [&str; 0]);
    assert_eq!(problems(0, "", again(10)), [] as [&str; 0]);
    assert_eq!(problems(0, "", after(10)), [] as [&str; 0]);
    assert_eq!(problems(8, "", taken(300)), [expected]);
    assert_eq!(problems(8, by_patch, patched(300)), [expected]);
    assert_eq!(problems(8, "", wide(500)), [expected]);
    assert_eq!(problems(0, "", again(1100)), [expected]);
    assert_eq!(problems(0, "", after(1100)), [expected]);
}

/// Each is looked up among all values, which is not done anew for each.
#[test]
fn ten_thousand_parameters_over_as_many_values_are_read_in_no_time() {
    let values: String =
        (0..10_000).map(|n| format!("        i{n}: {{repository: r.io/a{n}, tag: 1.0.0}}\n")).collect();
    let parameters: String = (0..10_000).map(|n| format!("      - {{name: i{n}.tag, value: 2.0.0}}\n")).collect();
    let head =
        "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: web}\nspec:\n  source:\n    helm:\n";
    let text = format!("{head}      parameters:\n{parameters}      valuesObject:\n{values}");
    let clock = SystemClock::default();
    let facts = Facts::read("app.yaml", text.as_bytes());
    assert_eq!(facts.problems(), []);
    assert!(clock.monotonic() < std::time::Duration::from_secs(10), "{:?}", clock.monotonic());
}

#[test]
fn helm_renders_the_edited_charts_with_other_images_only() {
    let mut changed = 0;
    for (before, after, _edited) in edited_folders(|name| name == "Chart.yaml") {
        let Some(was) = output("helm", &["template", "web"], &before) else { continue };
        let is = output("helm", &["template", "web"], &after).unwrap_or_else(|| panic!("{before:?}"));
        changed += other_images(&before, &was, &is);
    }
    assert!(changed >= 4, "{changed}");
}

mod properties {
    use proptest::prelude::*;
    use supercargo::manifest::{
        self,
        places::{self, Facts, LocationEdit, Options},
    };

    use super::{Change, repository};

    /// A mapping that holds the image of a chart, written in some way, and whether a tag or the whole image.
    fn image() -> impl Strategy<Value = String> {
        let tag = "[0-9][a-z0-9._-]{0,6}";
        let quote = prop_oneof![Just(""), Just("'"), Just("\"")];
        let space = prop_oneof![Just(" "), Just("   ")];
        let comment = prop_oneof![Just(""), Just(" # c: 'd'"), Just("\t#\tx: [")];
        let anchor = prop_oneof![Just(""), Just("&Z "), Just("!!str ")];
        (tag, quote, space, comment, anchor, 0..4usize).prop_map(|(tag, quote, space, comment, anchor, style)| {
            let tag = format!("{anchor}{quote}{tag}{quote}");
            match style {
                0 => format!("image:{space}{{repository: nginx, tag:{space}{tag} }}{comment}\n"),
                1 => format!("image:\n  repository: nginx{comment}\n  tag:{space}{tag}{comment}\n"),
                2 => format!("image: [{{image: {{\"repository\": nginx,\n  tag:{space}{tag} }} }}]{comment}\n"),
                _ => format!("image:\n- tag:{space}{tag}{comment}\n\n  # between\n  repository: 'nginx'\n"),
            }
        })
    }

    fn other() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("text: |\n  image: nginx:1\n\n".to_owned()),
            Just("# image: nginx:1\n".to_owned()),
            Just("list: [a, {b: c},   'd' ]   # e\n".to_owned()),
            Just("empty:\n".to_owned()),
            "[a-z]{1,5}: [a-z0-9]{0,9}\n",
        ]
    }

    /// Lays lines under a key of their own, so that keys are not given twice.
    fn under(key: usize, text: &str) -> String {
        let lines = text.lines().map(|line| if line.is_empty() { "\n".to_owned() } else { format!("  {line}\n") });
        format!("k{key}:\n{}", lines.collect::<String>())
    }

    proptest! {
        #[test]
        fn an_edit_of_a_place_changes_only_its_bytes(
            before in prop::collection::vec(other(), 0..4),
            image in image(),
            after in prop::collection::vec(other(), 0..4),
            to in "[a-zA-Z0-9_][a-zA-Z0-9._-]{0,9}",
            crlf in any::<bool>(),
            inline in any::<bool>(),
            cut in any::<bool>(),
        ) {
            let parts = before.iter().chain([&image]).chain(&after).enumerate();
            let mut text: String = parts.map(|(key, text)| under(key, text)).collect();
            if inline {
                let lines = text.lines().map(|line| if line.is_empty() { "\n".to_owned() } else { format!("        {line}\n") });
                let head = "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: web}\nspec:\n  source:\n    helm:\n      values: |\n";
                text = format!("{head}{}", lines.collect::<String>());
            }
            if cut {
                text.truncate(text.trim_end().len());
            }
            if crlf {
                text = text.replace('\n', "\r\n");
            }
            let files = repository(&[("values.yaml", &text)]);
            let change = Change {
                kind: None,
                namespace: "prod".into(),
                name: "web".into(),
                container: None,
                init: false,
                instance: None,
                from: "nginx:0".into(),
                to: format!("nginx:{to}"),
            };
            let spots = places::locate(&files, &change.wanted(), &Options::default()).unwrap();
            prop_assert_eq!(spots.len(), 1);
            let spot = &spots[0];
            let line = text.lines().nth(spot.line - 1).unwrap();
            prop_assert!(line.contains("tag:") && line.contains(spot.holds.tag.as_ref().unwrap().as_str()), "{} {:?}", text, spot);
            let edits: Vec<&LocationEdit> = spot.edits.iter().collect();
            let edited = String::from_utf8(places::apply("values.yaml", text.as_bytes(), &edits).unwrap()).unwrap();

            // All lines but that of the tag are the same, and in it all but the value.
            let lines = |text: &str| text.split('\n').map(str::to_owned).collect::<Vec<_>>();
            let (was, is) = (lines(&text), lines(&edited));
            prop_assert_eq!(was.len(), is.len());
            for (index, (was, is)) in was.iter().zip(&is).enumerate() {
                if index + 1 != spot.line {
                    prop_assert_eq!(was, is);
                    continue;
                }
                let old = spot.holds.tag.as_ref().unwrap().as_str();
                let value = was.find("tag:").map(|at| at + 4 + was[at + 4..].find(old).unwrap()).unwrap();
                let head = was[..value].trim_end_matches(['\'', '"']);
                let tail = was[value + old.len()..].trim_start_matches(['\'', '"']);
                prop_assert!(is.starts_with(head) && is.ends_with(tail), "{} {}", was, is);
                let new = is[head.len()..is.len() - tail.len()].trim_matches(['\'', '"']);
                prop_assert_eq!(new, &to);
            }
            let again = repository(&[("values.yaml", &edited)]);
            let spots = places::locate(&again, &change.wanted(), &Options::default()).unwrap();
            prop_assert_eq!(spots[0].holds.to_string(), change.to);
            prop_assert!(spots[0].edits.is_empty());
        }

        #[test]
        fn no_bytes_stop_the_reader(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            name in prop::sample::select(vec!["a.yaml", "kustomization.yaml", "values.yaml", "supercargo.yaml", "a.env", "Chart.yaml"]),
        ) {
            let text = Facts::read(name, &bytes);
            prop_assert!(text.problems().len() <= bytes.len() + 1);
        }

        #[test]
        fn no_text_stops_the_reader_or_an_edit(
            parts in prop::collection::vec(prop::sample::select(WORDS.to_vec()), 0..40),
            name in prop::sample::select(vec!["a.yaml", "kustomization.yaml", "values.yaml", "supercargo.yaml", "a.env"]),
            other in any::<prop::sample::Index>(),
        ) {
            let text = parts.concat();
            let files = repository(&[(name, &text), ("b/kustomization.yaml", "resources: [.., ../a.yaml]\nimages: [{name: x, newTag: '1'}]\n")]);
            let options = Options { overlay: Some("b".into()), ..Options::default() };
            let index = manifest::Index::new(&files, &options);
            for (workload, path, _) in index.rendered().workloads {
                for container in workload.containers {
                    let Ok(from) = container.image.parse::<super::ImageRef>() else { continue };
                    let to = from.at(Some("99".parse().unwrap()), None);
                    let wanted = places::Wanted {
                        workload: workload.id.clone(), instance: None, container: container.name, init: container.init, from, to,
                    };
                    for spot in index.locate(&wanted).unwrap_or_default() {
                        let edits: Vec<&LocationEdit> = spot.edits.iter().collect();
                        if *spot.path != *name {
                            continue;
                        }
                        let _ = places::apply(&path, text.as_bytes(), &edits);
                        // Also of another text than it was found in.
                        let mut at = other.index(text.len() + 1);
                        while !text.is_char_boundary(at) {
                            at -= 1;
                        }
                        let _ = places::apply(&path, &text.as_bytes()[..at], &edits);
                        let _ = places::apply(&path, &text.as_bytes()[at..], &edits);
                    }
                }
            }
        }
    }

    /// What manifests are made of, in no order.
    const WORDS: &[&str] = &[
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {template: {spec: {containers: [{name: web, image: 'x:1'}]}}}\n",
        "apiVersion: argoproj.io/v1alpha1\nkind: Application\nspec:\n  source:\n    helm:\n      values: |\n        image: x:1 # supercargo: minor\n",
        "---\n",
        "...\n",
        "images:\n",
        "- name: x\n",
        "  newTag: 1\n",
        "  newTag:\n",
        "resources: [a.yaml]\n",
        "resources: [.]\n",
        "components: [b]\n",
        "namespace: n\n",
        "image: x:1",
        " # supercargo: minor\n",
        " # {\"$imagepolicy\": \"a:b:tag\"}\n",
        "tag: &a 1",
        "x: *a\n",
        "\n",
        "\r\n",
        "\t",
        "|\n",
        "'",
        "\"",
        "{",
        "}",
        "[",
        "]",
        ": ",
        "- ",
        "#",
        "é",
        "\u{feff}",
        "  ",
        "A=",
        "<<: ",
        "image:\n  repository: x\n  tag: '1' # supercargo: minor image=x\n",
        "supercargo:",
        "policy: minor\n",
        "- image: x\n",
        "patches: [{path: a.yaml, target: {kind: Deployment}}]\n",
        "patches:\n- target: {name: web}\n  patch: |\n    - {op: replace, path: /spec/values/image/tag, value: 1}\n",
        "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: web}\nspec:\n  values:\n    image: {repository: x, tag: '1'}\n",
        "- {op: add, path: /spec/values/image/tag, value: '2'}\n",
    ];
}
