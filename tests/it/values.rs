//! Values files, HelmReleases and Applications: digests beside tags, anchors, many values.

use std::{collections::BTreeMap, fs, sync::Arc};

use supercargo::{
    domain::{
        image::ImageRef,
        workload::{Kind, WorkloadId},
    },
    manifest::places::{self, Facts, FileKind, Files, LocationEdit, Options, ValuesRule, Wanted},
};

use crate::places::output;

fn files(path: &str, text: &str, is_named: bool) -> Files {
    let facts = Facts::of(FileKind::of(path), text.as_bytes(), is_named);
    assert_eq!(facts.problems(), []);
    [(Arc::from(path), Arc::new(facts))].into()
}

/// The text with another image, or why not.
fn edited(path: &str, text: &str, from: &str, to: &str, options: &Options) -> Result<String, String> {
    let (from, to): (ImageRef, ImageRef) = (from.parse().unwrap(), to.parse().unwrap());
    let wanted = Wanted {
        workload: WorkloadId { kind: Kind("Deployment".into()), namespace: "shop".into(), name: "web".into() },
        instance: None,
        container: "web".into(),
        init: false,
        from,
        to: to.clone(),
    };
    let locate = |text: &str| {
        let files = files(path, text, !options.values.is_empty());
        places::locate(&files, &wanted, options).map_err(|misfit| misfit.to_string())
    };
    let spots = locate(text)?;
    let edits: Vec<&LocationEdit> = spots.iter().flat_map(|spot| &spot.edits).collect();
    let after = places::apply(path, text.as_bytes(), &edits).map_err(|error| error.to_string())?;
    let after = String::from_utf8(after).unwrap();
    for spot in locate(&after)? {
        assert!(spot.edits.is_empty(), "{spot:?}");
        assert_eq!((&spot.holds.tag, &spot.holds.digest), (&to.tag, &to.digest));
    }
    Ok(after)
}

const RELEASE: &str = "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: web, namespace: shop}\nspec:\n  values:\n";
const APPLICATION: &str = "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: web}\nspec:\n  destination: {namespace: shop}\n  source:\n    helm:\n";

/// Each way to write these lines of values: a file, in objects, in a text.
fn ways(values: &str) -> Vec<(&'static str, String)> {
    let under =
        |spaces: usize| values.lines().map(|line| format!("{}{line}\n", " ".repeat(spaces))).collect::<String>();
    vec![
        ("values.yaml", values.to_owned()),
        ("values.yaml", values.replace('\n', "\r\n")),
        ("release.yaml", format!("{RELEASE}{}", under(4))),
        ("app.yaml", format!("{APPLICATION}      valuesObject:\n{}", under(8))),
        ("app.yaml", format!("{APPLICATION}      values: |\n{}", under(8))),
    ]
}

/// A digest under any key beside the tag is written with it, or emptied.
#[rstest::rstest]
#[case::digest("image:\n  repository: team/web\n  tag: 1.0.0\n  digest: sha256:{A}\n")]
#[case::sha("image:\n  repository: team/web\n  tag: 1.0.0 # c\n  sha: {A}\n")]
#[case::sha_digest("image: {repository: team/web, tag: 1.0.0, shaDigest: 'sha256:{A}'}\n")]
#[case::empty_digest(
    "image:\n  digest: \"\"\n  repository: team/web\n  sha256: \"{A}\"\n\n  # between\n  tag: '1.0.0'\n"
)]
#[case::registry("image:\n  registry: docker.io\n  repository: team/web\n  imageTagSHA: {A}\n  tag: 1.0.0\n")]
#[case::whole("image: team/web:1.0.0\nimageDigest: sha256:{A}\n")]
fn a_digest_beside_a_tag_goes_with_it(#[case] values: &str) {
    let [a, b] = ["a", "b"].map(|digit| digit.repeat(64));
    let from = format!("team/web:1.0.0@sha256:{a}");
    for (path, text) in ways(&values.replace("{A}", &a)) {
        let pinned = edited(path, &text, &from, &format!("team/web:2.0.0@sha256:{b}"), &Options::default());
        assert_eq!(pinned.unwrap(), text.replace("1.0.0", "2.0.0").replace(&a, &b), "{path}");
        let plain = edited(path, &text, &from, "team/web:2.0.0", &Options::default()).unwrap();
        assert!(plain.contains("2.0.0") && !plain.contains(&a) && !plain.contains("1.0.0"), "{plain}");
        assert_eq!(plain.lines().count(), text.lines().count());
    }
}

/// So it is beside a marked tag or image, in any file; one of another image stays.
#[rstest::rstest]
#[case::tag("web:\n  version: 1.0.0 # supercargo: minor image=team/web part=tag\n  versionSha: {A}\n")]
#[case::sha("image:\n  repository: team/web\n  tag: 1.0.0 # supercargo: minor\n  sha: {A}\n")]
#[case::digest("image:\n  repository: team/web\n  tag: 1.0.0 # supercargo: minor\n  shaDigest: sha256:{A}\n")]
#[case::marked(
    "image:\n  repository: team/web\n  tag: 1.0.0 # supercargo: minor\n  sum: sha256:{A} # supercargo: minor part=digest\n"
)]
#[case::whole("image: team/web:1.0.0 # supercargo: minor\nimageDigest: sha256:{A}\n")]
#[case::two("webTag: 1.0.0 # supercargo: minor image=team/web\nwebDigest: sha256:{A}\napiDigest: sha256:{C}\n")]
fn a_digest_beside_a_marked_tag_goes_with_it(#[case] values: &str) {
    let [a, b, c] = ["a", "b", "c"].map(|digit| digit.repeat(64));
    let (text, from) = (values.replace("{A}", &a).replace("{C}", &c), format!("team/web:1.0.0@sha256:{a}"));
    let pinned = edited("env.yaml", &text, &from, &format!("team/web:2.0.0@sha256:{b}"), &Options::default());
    assert_eq!(pinned.unwrap(), text.replace("1.0.0", "2.0.0").replace(&a, &b));
    let plain = edited("env.yaml", &text, &from, "team/web:2.0.0", &Options::default()).unwrap();
    let emptied =
        [format!("sha256:{a}"), a].iter().fold(text.replace("1.0.0", "2.0.0"), |text, a| text.replace(a, "\"\""));
    assert_eq!(plain, emptied);
}

#[test]
fn two_digests_beside_a_marked_tag_are_named() {
    let digests = format!("  digest: sha256:{0}\n  sha: {0}\n", "a".repeat(64));
    let from = format!("team/web:1.0.0@sha256:{}", "a".repeat(64));
    let tag = format!("image:\n  repository: team/web\n  tag: 1.0.0 # supercargo: minor\n{digests}");
    let error = edited("env.yaml", &tag, &from, "team/web:2.0.0", &Options::default()).unwrap_err();
    assert!(error.starts_with("env.yaml:3: another key, on line 5, holds a digest"), "{error}");
    let image = format!("web:\n  image: team/web:1.0.0 # supercargo: minor\n{digests}");
    let facts = Facts::of(FileKind::of("env.yaml"), image.as_bytes(), false);
    assert_eq!(facts.problems()[0].line, 2, "{:?}", facts.problems());
}

#[test]
fn a_digest_among_parameters_goes_with_its_tag() {
    let [a, b] = ["a", "b"].map(|digit| digit.repeat(64));
    let text = format!(
        "{APPLICATION}      parameters:\n      - {{name: web.image.repository, value: team/web}}\n      - {{name: \
         web.image.tag, value: 1.0.0}}\n      - name: web.image.sha\n        value: {a}\n"
    );
    let from = format!("team/web:1.0.0@sha256:{a}");
    let after = edited("app.yaml", &text, &from, &format!("team/web:2.0.0@sha256:{b}"), &Options::default()).unwrap();
    assert_eq!(after, text.replace("1.0.0", "2.0.0").replace(&a, &b));
    let plain = edited("app.yaml", &text, &from, "team/web:2.0.0", &Options::default()).unwrap();
    assert!(plain.ends_with("        value: \"\"\n"), "{plain}");
}

/// Parameters are over the other values, as Helm has them: the part that counts is edited.
#[rstest::rstest]
#[case::tag_over(
    "      valuesObject:\n        image:\n          repository: team/web\n",
    "      parameters:\n      - {name: image.tag, value: 1.0.0}\n",
    ""
)]
#[case::repository_over(
    "      valuesObject:\n        image:\n          tag: 1.0.0\n",
    "      parameters:\n      - {name: image.repository, value: team/web}\n",
    ""
)]
#[case::text(
    "      values: |\n        image:\n          repository: team/web\n",
    "      parameters:\n      - {name: image.tag, value: 1.0.0}\n",
    ""
)]
#[case::deep(
    "      valuesObject:\n        web: {image: {repository: team/web, tag: 0.9.0}}\n",
    "      parameters:\n      - {name: web.image.tag, value: 1.0.0}\n",
    "0.9.0"
)]
#[case::whole(
    "      valuesObject:\n        image: team/web:0.9.0\n",
    "      parameters:\n      - {name: image, value: 'team/web:1.0.0'}\n",
    "0.9.0"
)]
#[case::text_passed_over(
    "      valuesObject:\n        image: team/web:1.0.0\n",
    "      values: |\n        image: team/web:0.9.0\n",
    "0.9.0"
)]
fn parameters_are_over_the_values_of_an_application(#[case] values: &str, #[case] more: &str, #[case] stays: &str) {
    for text in [format!("{APPLICATION}{values}{more}"), format!("{APPLICATION}{more}{values}")] {
        let after = edited("app.yaml", &text, "team/web:1.0.0", "team/web:2.0.0", &Options::default()).unwrap();
        assert_eq!(after, text.replace("1.0.0", "2.0.0"));
        assert!(after.contains(stays));
    }
}

#[test]
fn two_digests_beside_a_tag_are_named() {
    let text =
        format!("image:\n  repository: team/web\n  tag: 1.0.0\n  digest: sha256:{0}\n  sha: {0}\n", "a".repeat(64));
    let from = format!("team/web:1.0.0@sha256:{}", "a".repeat(64));
    let error = edited("values.yaml", &text, &from, "team/web:2.0.0", &Options::default()).unwrap_err();
    assert!(error.starts_with("values.yaml:3: another key, on line 5, holds a digest"), "{error}");
}

fn rule(files: &str, tag: &str) -> Options {
    let rule = ValuesRule {
        files: globset::Glob::new(files).unwrap().compile_matcher(),
        image: None,
        registry: None,
        repository: None,
        tag: Some(tag.parse().unwrap()),
        digest: None,
        for_image: Some("team/web".parse().unwrap()),
    };
    Options { values: vec![rule], ..Options::default() }
}

/// A rule names the tag only; the digest beside it would win.
#[test]
fn a_digest_beside_the_tag_of_a_rule_goes_with_it() {
    let text = format!("web:\n  version: 1.0.0\n  sha: {}\n", "a".repeat(64));
    let from = format!("team/web:1.0.0@sha256:{}", "a".repeat(64));
    let after = edited("env.yaml", &text, &from, "team/web:2.0.0", &rule("env.yaml", "web.version")).unwrap();
    assert_eq!(after, "web:\n  version: 2.0.0\n  sha: \"\"\n");
}

/// Many values, in a file and in objects.
#[test]
fn rules_and_patches_find_one_among_very_many_values() {
    let many: String = (0..30_000).map(|n| format!("key{n}: value\n")).collect();
    for (path, text) in ways(&format!("{many}web:\n  version: 1.0.0\n")) {
        let prefix = match text.lines().find(|line| line.trim_start().starts_with("values")) {
            _ if path == "values.yaml" => "",
            Some(line) if line.trim_start().starts_with("valuesObject") => "spec.source.helm.valuesObject.",
            _ if path == "app.yaml" => "spec.source.helm.values.",
            _ => "spec.values.",
        };
        let options = rule(path, &format!("{prefix}web.version"));
        let after = edited(path, &text, "team/web:1.0.0", "team/web:2.0.0", &options).unwrap();
        assert_eq!(after, text.replace("1.0.0", "2.0.0"), "{path}");
    }
}

/// More than are followed where a patch sets one: said, not passed over.
#[test]
fn a_patch_over_very_many_values_is_followed_or_named() {
    let patch = "resources: [../base]\npatches:\n- target: {kind: HelmRelease}\n  patch: '[{\"op\": \"replace\", \"path\": \"/spec/values/image/tag\", \"value\": \"3.0.0\"}]'\n";
    for (count, expected) in [(5_000, None), (25_000, Some("base/release.yaml:6: this has more values than"))] {
        let many: String = (0..count).map(|n| format!("    key{n}: value\n")).collect();
        let release = format!("{RELEASE}    image: {{repository: team/web, tag: 1.0.0}}\n{many}");
        let mut all = files("base/release.yaml", &release, false);
        all.extend(files("base/kustomization.yaml", "resources: [release.yaml]\n", false));
        all.extend(files("prod/kustomization.yaml", patch, false));
        let image = |tag: &str| format!("team/web:{tag}").parse::<ImageRef>().unwrap();
        let wanted = Wanted {
            workload: WorkloadId { kind: Kind("Deployment".into()), namespace: "shop".into(), name: "web".into() },
            instance: None,
            container: "web".into(),
            init: false,
            from: image("3.0.0"),
            to: image("4.0.0"),
        };
        let found = places::locate(&all, &wanted, &Options::default()).map_err(|misfit| misfit.to_string());
        match (found, expected) {
            (Ok(spots), None) => assert_eq!(&*spots[0].path, "prod/kustomization.yaml"),
            (Err(error), Some(expected)) => assert!(error.starts_with(expected), "{error}"),
            (found, _) => panic!("{found:?}"),
        }
    }
}

/// What `helm template` makes of values: the images of three containers.
fn helm(values: &str) -> BTreeMap<String, String> {
    let root = tempfile::tempdir().unwrap();
    let chart = root.path().join("chart");
    fs::create_dir_all(chart.join("templates")).unwrap();
    fs::write(chart.join("Chart.yaml"), "apiVersion: v2\nname: web\nversion: 1.0.0\n").unwrap();
    let template = "images:\n{{- range list \"a\" \"b\" \"c\" }}{{ $key := . }}{{ with index $.Values . }}\n  {{ $key }}: {{ .image.repository }}:{{ .image.tag }}\n{{- end }}{{- end }}\n";
    fs::write(chart.join("templates/all.yaml"), template).unwrap();
    let given = root.path().join("given.yaml");
    fs::write(&given, values).unwrap();
    let text = output("helm", &["template", "web", "-f", given.to_str().unwrap()], &chart).expect("it renders");
    let value: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
    let images = value["images"].as_object().unwrap();
    images.iter().map(|(key, image)| (key.clone(), image.as_str().unwrap().to_owned())).collect()
}

/// Anchors and merge keys whose users all have the image: edited at the anchor, as Helm reads it.
#[rstest::rstest]
#[case::mapping("a:\n  image: &img\n    repository: team/web\n    tag: 1.0.0\nb:\n  image: *img\n")]
#[case::around("a: &a\n  image:\n    repository: team/web\n    tag: 1.0.0\nb: *a\nc: *a\n")]
#[case::merged(
    "x: &img {repository: team/web, tag: 1.0.0}\na:\n  image: {<<: *img, pullPolicy: Always}\nb:\n  image:\n    <<: *img\n"
)]
#[case::list("x: &img\n  repository: team/web\n  tag: 1.0.0\ny: &y {p: q}\na:\n  image:\n    <<: [*y, *img]\n")]
#[case::defaults("x: &x\n  image:\n    repository: team/web\n    tag: 1.0.0\na:\n  <<: *x\n  name: a\nb:\n  <<: *x\n")]
#[case::own_tag("x: &x\n  repository: team/web\n  tag: 0.9.0\na:\n  image:\n    <<: *x\n    tag: 1.0.0\n")]
#[case::own_image(
    "x: &x\n  image: {repository: team/web, tag: 1.0.0}\na: *x\nb:\n  <<: *x\n  image: {repository: other/api, tag: 1.0.0}\n"
)]
#[case::scalars("a:\n  image: {repository: &r team/web, tag: &t 1.0.0}\nb:\n  image: {repository: *r, tag: *t}\n")]
fn an_anchor_whose_users_agree_is_one_place(#[case] values: &str) {
    let before = helm(values);
    let from = if values.contains("0.9.0") { "team/web:0.9.0" } else { "team/web:1.0.0" };
    if from.ends_with("0.9.0") {
        // The anchor itself has another tag.
        let error = edited("values.yaml", values, "team/web:1.0.0", "team/web:2.0.0", &Options::default()).unwrap_err();
        assert!(error.contains("values.yaml:3 has team/web:0.9.0, values.yaml:7 has team/web:1.0.0"), "{error}");
        return;
    }
    let after = edited("values.yaml", values, from, "team/web:2.0.0", &Options::default()).unwrap();
    let of = |image: &String| if image == from { "team/web:2.0.0".to_owned() } else { image.clone() };
    assert_eq!(helm(&after), before.iter().map(|(key, image)| (key.clone(), of(image))).collect());
    assert!(before.values().any(|image| image == from));
    assert_eq!(after.matches("2.0.0").count(), 1);
    // The same in objects.
    for (path, text) in ways(values) {
        let after = edited(path, &text, from, "team/web:2.0.0", &Options::default()).unwrap();
        assert!(after.contains("2.0.0") && after.lines().count() == text.lines().count(), "{path}");
    }
}

/// Where they do not agree, nothing is edited, and the reason says why.
#[rstest::rstest]
#[case(
    "x: &img {repository: team/web, tag: 1.0.0}\na:\n  image: *img\nb:\n  image:\n    <<: *img\n    repository: other/api\n",
    "line 1: the value stands in what the anchor `&img` (line 1) names, which is used again on line 6 with another name"
)]
#[case(
    "a:\n  image: {repository: team/web, tag: &t 1.0.0}\nb:\n  image: {repository: other/api, tag: *t}\n",
    "line 2: the value of the anchor `&t` (line 2) is used on line 4 by an alias, and line 4 is not to change"
)]
#[case(
    "a:\n  image: {repository: team/web, tag: &t 1.0.0}\nlabels: {version: *t}\n",
    "line 2: the value of the anchor `&t` (line 2) is used on line 3 by an alias, and line 3 is not to change"
)]
fn an_anchor_whose_users_disagree_is_refused(#[case] values: &str, #[case] expected: &str) {
    let error = edited("values.yaml", values, "team/web:1.0.0", "team/web:2.0.0", &Options::default()).unwrap_err();
    assert!(error.starts_with(expected), "{error}");
}

/// A file by another name is told of beside the one that is read.
#[test]
fn values_files_by_other_names_are_told_of() {
    let text = "web:\n  image:\n    repository: team/web\n    tag: 1.0.0\n";
    let mut all = files("values.yaml", text, false);
    all.extend(files("env/dev.yaml", text, false));
    let notes = |entry: &str, mut all: Files| {
        all.extend(files("supercargo.yaml", &format!("images: [{{image: team/web, policy: minor{entry}}}]\n"), false));
        let rendered = places::rendered(&all, &Options::default());
        assert_eq!((rendered.workloads.len(), rendered.problems.len()), (1, 0));
        rendered.misplaced.iter().map(|(path, note)| format!("{path}: {note}")).collect::<Vec<_>>()
    };
    let found = notes("", all.clone());
    assert!(
        found.len() == 1 && found[0].starts_with("env/dev.yaml: line 4: `team/web:1.0.0` stands here, too"),
        "{found:?}"
    );
    assert_eq!(notes(", files: '**'", all), [""; 0]);
}
