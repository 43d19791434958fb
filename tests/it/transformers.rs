//! Transformers in files, folders and texts of a kustomization, and fields that a configuration names: what counts is
//! read and edited there, as the real `kubectl kustomize` renders it, or the line is named.

use std::sync::Arc;

use supercargo::{
    domain::workload::{Kind, WorkloadId},
    manifest::places::{self, Options},
};

use crate::{
    deployers::{check, edited, kustomized, tree},
    places::{Texts, facts, output},
    support::write_below,
};

/// An overlay with further files, which are its own.
fn with(overlay: &str, files: &[(&str, &str)]) -> Texts {
    let mut texts = tree(overlay);
    texts.extend(files.iter().map(|(path, text)| (Arc::from(format!("prod/{path}")), text.as_bytes().to_vec())));
    texts
}

/// A transformer of Kustomize's own.
fn builtin(kind: &str, rest: &str) -> String {
    format!("apiVersion: builtin\nkind: {kind}\nmetadata: {{name: x}}\n{rest}\n")
}

const REPLACE: &str = "- {op: replace, path: /spec/template/spec/containers/1/image, value: 'httpd:2.5'}";

#[rstest::rstest]
#[case::tag("ImageTagTransformer", "imageTag: {name: nginx, newTag: '1.27'}")]
#[case::all(
    "ImageTagTransformer",
    "imageTag: {name: ngin., newName: team/web, newTag: v1}\nfieldSpecs: [{path: 'spec/template/spec/containers[]/image', kind: Deployment}]"
)]
#[case::digest(
    "ImageTagTransformer",
    "imageTag:\n  name: httpd\n  digest: sha256:1111111111111111111111111111111111111111111111111111111111111111"
)]
#[case::name("ImageTagTransformer", "imageTag: {name: nginx, newName: team/web}")]
#[case::operations(
    "PatchTransformer",
    "target: {kind: Deployment}\npatch: |-\n  - {op: replace, path: /spec/template/spec/containers/1/image, value: 'httpd:2.5'}"
)]
#[case::merged(
    "PatchTransformer",
    "patch: |-\n  {apiVersion: apps/v1, kind: Deployment, metadata: {name: web, namespace: shop}, spec: {template: {spec: {containers: [{name: new, image: 'redis:7'}]}}}}"
)]
#[case::in_a_file("PatchTransformer", "target: {name: web}\npath: op.yaml")]
#[case::json(
    "PatchJson6902Transformer",
    "target: {group: apps, version: v1, kind: Deployment, name: web, namespace: shop}\npath: op.yaml"
)]
#[case::json_text(
    "PatchJson6902Transformer",
    "target: {group: apps, version: v1, kind: Deployment, name: web, namespace: shop}\njsonOp: |-\n  - {op: replace, path: /spec/template/spec/containers/1/image, value: 'httpd:2.5'}"
)]
#[case::strategic("PatchStrategicMergeTransformer", "paths: [merge.yaml]")]
#[case::namespace("NamespaceTransformer", "# it is in its metadata")]
#[case::prefix("PrefixTransformer", "prefix: a-\nfieldSpecs: [{path: metadata/name}]")]
#[case::suffix("SuffixTransformer", "suffix: -b\nfieldSpecs: [{path: metadata/name}]")]
#[case::both(
    "PrefixSuffixTransformer",
    "prefix: a-\nsuffix: -b\nfieldSpecs: [{path: metadata/name}, {path: x/y, kind: X}]"
)]
#[case::label("LabelTransformer", "labels: {tier: x}\nfieldSpecs: [{path: metadata/labels, create: true}]")]
#[case::replicas(
    "ReplicaCountTransformer",
    "replica: {name: web, count: 2}\nfieldSpecs: [{path: spec/replicas, create: true, kind: Deployment}]"
)]
fn what_a_transformer_sets_is_edited_there(#[case] kind: &str, #[case] rest: &str) {
    let mut one = builtin(kind, rest);
    if kind == "NamespaceTransformer" {
        one = one.replace("{name: x}", "{name: x, namespace: other}");
    }
    let merge = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, namespace: shop}, spec: {template: {spec: {containers: [{name: side, image: 'httpd:3'}]}}}}\n";
    let files = [("t.yaml", &*one), ("op.yaml", REPLACE), ("merge.yaml", merge)];
    let files: Vec<_> = files.into_iter().filter(|(name, _)| *name == "t.yaml" || rest.contains(name)).collect();
    let render = |texts: &Texts| kustomized(texts, "prod");
    check(&with("transformers: [t.yaml]\n", &files), render);
    // It comes after all else, in a folder, too, and before the layer above.
    let patch = "patches:\n- target: {name: web}\n  patch: |-\n    - {op: replace, path: /spec/template/spec/containers/0/image, value: 'nginx:1.2'}\n";
    let more = "images: [{name: nginx, newTag: '1.20'}, {name: httpd, newTag: '2'}]\n";
    let rest = if rest.contains("merge.yaml") || rest.contains("op.yaml") { "t.yaml" } else { "t" };
    let mut texts = with(&format!("{patch}{more}transformers:\n- ./{rest}\n"), &files);
    if rest == "t" {
        let text = texts.remove("prod/t.yaml").unwrap();
        texts.insert("prod/t/kustomization.yaml".into(), b"resources: [one.yaml]\n".to_vec());
        texts.insert("prod/t/one.yaml".into(), text);
    }
    texts.insert(
        "up/kustomization.yaml".into(),
        b"resources: [../prod]\nimages: [{name: team/web, newTag: v5}]\n".to_vec(),
    );
    check(&texts, |texts| kustomized(texts, "up"));
}

/// Several in one file, and in the order of the list.
#[test]
fn the_last_transformer_counts() {
    let named =
        |name: &str, kind: &str, rest: &str| builtin(kind, rest).replace("{name: x}", &format!("{{name: {name}}}"));
    let image = |name: &str, tag: &str| {
        named(name, "ImageTagTransformer", &format!("imageTag: {{name: nginx, newTag: '{tag}'}}"))
    };
    let two = format!("{}---\n{}", image("a", "3"), image("b", "4"));
    let render = |texts: &Texts| kustomized(texts, "prod");
    let files = [("a.yaml", &*two), ("b.yaml", &image("c", "5").replace("nginx", "httpd"))];
    let texts = with("transformers: [a.yaml, b.yaml]\n", &files);
    check(&texts, render);
    let (after, _) = edited(&texts, "shop/web/web").unwrap();
    assert_eq!(after["prod/a.yaml"], two.replace("'4'", "'99'").into_bytes());
    // One that sets a label, by which the next one selects.
    let label =
        named("l", "LabelTransformer", "labels: {tier: x}\nfieldSpecs: [{path: metadata/labels, create: true}]");
    let patch = named("p", "PatchTransformer", &format!("target: {{labelSelector: tier=x}}\npatch: |-\n  {REPLACE}"));
    check(&with("transformers: [l.yaml, p.yaml]\n", &[("l.yaml", &label), ("p.yaml", &patch)]), render);
}

/// What a transformer may do, and is not followed, is named where it stands.
#[rstest::rstest]
#[case::value(
    "t.yaml",
    "ValueAddTransformer",
    "value: nginx:2\ntargets: [{selector: {kind: Deployment}, fieldPath: spec/template/spec/containers/0/image}]",
    "prod/t.yaml:1"
)]
#[case::of_some(
    "t.yaml",
    "AnnotationsTransformer",
    "annotations: {supercargo.dev/suspend: 'true'}\nfieldSpecs: [{path: metadata/annotations, create: true, kind: Deployment}]",
    "prod/t.yaml:1"
)]
#[case::unknown_key(
    "t.yaml",
    "ImageTagTransformer",
    "imageTag: {name: nginx, newTag: '2', prefix: x}",
    "prod/t.yaml:1"
)]
#[case::suffix("t.yaml", "ImageTagTransformer", "imageTag:\n  name: nginx\n  tagSuffix: -x", "prod/t.yaml:6")]
#[case::text_in_text("t.yaml", "PatchTransformer", "target: {kind: Deployment}\npatch: '['", "prod/t.yaml:1")]
#[case::unset("t.yaml", "NamespaceTransformer", "unsetOnly: true", "prod/t.yaml:1")]
#[case::elsewhere(
    "https://example.com/t?ref=v1",
    "ImageTagTransformer",
    "imageTag: {name: x}",
    "prod/kustomization.yaml:2"
)]
#[case::no_folder("../none", "ImageTagTransformer", "imageTag: {name: x}", "prod/kustomization.yaml:2")]
#[case::changed_folder("changed", "ImageTagTransformer", "imageTag: {name: x}", "prod/kustomization.yaml:2")]
#[case::not_yaml("broken.yaml", "ImageTagTransformer", "imageTag: {name: x}", "prod/broken.yaml:2")]
fn a_transformer_that_is_not_followed_is_named(
    #[case] name: &str,
    #[case] kind: &str,
    #[case] rest: &str,
    #[case] place: &str,
) {
    let overlay = format!("transformers: ['{name}']\n");
    let texts = with(
        &overlay,
        &[
            ("t.yaml", &builtin(kind, rest)),
            ("changed/kustomization.yaml", "resources: [x.yaml]\npatches: [{path: p.yaml}]\n"),
            ("changed/x.yaml", &builtin(kind, rest)),
            ("broken.yaml", "image: x\nimages: [\n"),
        ],
    );
    let error = edited(&texts, "shop/web/web").unwrap_err();
    assert!(error.starts_with(place), "{error}");
}

/// A plugin of others is not read.
#[test]
fn a_transformer_of_others_stops_nothing() {
    let plugin = "apiVersion: example.com/v1\nkind: Labeler\nmetadata: {name: x}\n";
    assert!(edited(&with("transformers: [t.yaml]\n", &[("t.yaml", plugin)]), "shop/web/web").is_ok());
    let replicas =
        "apiVersion: builtin\nkind: ReplicaCountTransformer\nmetadata: {name: image}\nreplica: {name: web, count: 2}\n";
    assert!(edited(&with("transformers: [t.yaml]\n", &[("t.yaml", replicas)]), "shop/web/web").is_ok());
}

/// One that may set images is named.
#[test]
fn a_transformer_of_others_that_names_an_image_is_not_followed() {
    let plugin = "apiVersion: example.com/v1\nkind: Setter\nmetadata: {name: x}\nspec: {image: nginx, tag: '1.20'}\n";
    let why = edited(&with("transformers: [t.yaml]\n", &[("t.yaml", plugin)]), "shop/web/web").unwrap_err();
    assert!(why.starts_with("prod/t.yaml:1: this plugin may set images"), "{why}");
    let inline = format!("transformers:\n- |-\n  {}\n", plugin.trim_end().replace('\n', "\n  "));
    let why = edited(&with(&inline, &[]), "shop/web/web").unwrap_err();
    assert!(why.contains("this plugin may set images"), "{why}");
}

/// An entry of `images` that reaches into the values of a release.
#[rstest::rstest]
#[case::by_a_configuration(
    "image: nginx:1.26",
    "configurations: [fields.yaml]\nimages:\n- name: nginx\n  newTag: '1.27'\n",
    "prod/kustomization.yaml:5"
)]
#[case::as_a_container(
    "pod: {containers: [{name: web, image: 'nginx:1.26'}]}",
    "images:\n- name: nginx\n  newTag: '1.27'\n",
    "prod/kustomization.yaml:4"
)]
#[case::by_a_transformer("image: nginx:1.26", "transformers: [t.yaml]\n", "prod/t.yaml:4")]
fn an_entry_for_values_of_a_release_is_named(#[case] values: &str, #[case] overlay: &str, #[case] place: &str) {
    let release = format!(
        "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {{name: web, namespace: shop}}\nspec:\n  values:\n    {values}\n"
    );
    let transformer = builtin(
        "ImageTagTransformer",
        "imageTag: {name: nginx, newTag: '1.27'}\nfieldSpecs: [{path: spec/values/image, kind: HelmRelease}]",
    );
    let files = [
        ("fields.yaml", "images:\n- path: spec/values/image\n  kind: HelmRelease\n"),
        ("t.yaml", &*transformer),
        ("kustomization.yaml", &*format!("resources: [release.yaml]\n{overlay}")),
        ("release.yaml", &*release),
    ];
    let files: Vec<_> = files
        .into_iter()
        .filter(|(name, _)| *name != "fields.yaml" && *name != "t.yaml" || overlay.contains(name))
        .collect();
    let texts = with("", &files);
    let root = tempfile::tempdir().unwrap();
    write_below(root.path(), &texts);
    let text = output("kubectl", &["kustomize"], &root.path().join("prod")).expect("it builds");
    assert!(text.contains("image: nginx:1.27"), "{text}");
    let files = facts(&texts);
    let wanted = |from: &str| places::Wanted {
        workload: WorkloadId { kind: Kind("Deployment".into()), namespace: "shop".into(), name: "x".into() },
        instance: Some("web".into()),
        container: "x".into(),
        init: false,
        from: from.parse().unwrap(),
        to: "nginx:1.28".parse().unwrap(),
    };
    let error = places::locate(&files, &wanted("nginx:1.26"), &Options::default()).unwrap_err().to_string();
    assert!(error.starts_with(place) && error.contains("sets an image within the values"), "{error}");
}
