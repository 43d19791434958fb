//! Namespaces as kustomizations render them: what they ask for there is what counts for the workloads in them.

use std::collections::BTreeMap;

use serde_json::Value;
use supercargo::manifest::places::{self, Options};

use crate::{
    deployers::of,
    places::{Texts, facts, output, wanted},
    support::write_below,
};

type Asks = BTreeMap<String, BTreeMap<String, String>>;

const NS: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n";
const ASKING: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, annotations: {supercargo.dev/policy: minor, supercargo.dev/poll: every 1h}}\n";
const WEB: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: shop}\nspec: {template: {spec: {containers: \
                   [{name: c, image: 'nginx:1.26'}]}}}\n";
const SUSPEND: &str = "    - {op: add, path: /metadata/annotations, value: {supercargo.dev/suspend: 'true'}}\n";

/// A Namespace and a workload in it below a kustomization, with what else this may name.
fn tree(namespace: &str, kustomization: &str) -> Texts {
    let component = "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n";
    let builtin = "apiVersion: builtin\nkind: NamespaceTransformer\nmetadata: {name: x, namespace: other}\n";
    of(&[
        ("base/kustomization.yaml", "resources: [ns.yaml, web.yaml]\n"),
        ("base/ns.yaml", namespace),
        ("base/web.yaml", WEB),
        ("c/kustomization.yaml", &format!("{component}commonAnnotations: {{supercargo.dev/suspend: 'true'}}\n")),
        ("prod/ns.yaml", &NS.replace("shop", "more")),
        ("prod/p.yaml", &NS.replace("{name: shop}", "{name: shop, annotations: {supercargo.dev/policy: never}}")),
        ("prod/none.yaml", "- {op: remove, path: /metadata/annotations}\n"),
        ("prod/head.yaml", "- {op: replace, path: /metadata/annotations, value: {}}\n"),
        ("prod/gone.yaml", &NS.replace("metadata", "$patch: delete\nmetadata")),
        ("prod/t.yaml", &format!("{builtin}fieldSpecs: [{{path: metadata/namespace, create: true}}]\n")),
        (
            "prod/named.yaml",
            &format!(
                "{builtin}fieldSpecs: [{{path: metadata/namespace, create: true}}, {{path: metadata/name, kind: Namespace, \
                 create: true}}]\n"
            ),
        ),
        ("prod/kustomization.yaml", &format!("resources: [../base]\n{kustomization}")),
    ])
}

/// The Namespaces of a folder that ask for something, as `kubectl kustomize` renders them.
fn kustomized(texts: &Texts, folder: &str) -> Asks {
    let root = tempfile::tempdir().unwrap();
    write_below(root.path(), texts);
    let text = output("kubectl", &["kustomize"], &root.path().join(folder)).expect("it builds");
    let mut found = Asks::new();
    for object in text.split("\n---\n").map(|text| serde_saphyr::from_str::<Value>(text).unwrap()) {
        let metadata = &object["metadata"];
        let annotations = metadata["annotations"].as_object().into_iter().flatten();
        let ours = annotations.filter(|(key, _)| key.starts_with("supercargo.dev/"));
        let ours: BTreeMap<_, _> = ours.map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned())).collect();
        if object["kind"] == "Namespace" && !ours.is_empty() {
            found.insert(metadata["name"].as_str().unwrap().to_owned(), ours);
        }
    }
    found
}

fn read(texts: &Texts) -> Asks {
    let rendered = places::rendered(&facts(texts), &Options::default());
    assert!(rendered.problems.is_empty(), "{:?}", rendered.problems);
    rendered.namespaces
}

#[rstest::rstest]
#[case::plain("")]
#[case::common_annotations("commonAnnotations: {supercargo.dev/suspend: 'true'}\n")]
#[case::component("components: [../c]\n")]
#[case::partial_object("patches: [{path: p.yaml}]\n")]
#[case::strategic("patchesStrategicMerge: [p.yaml]\n")]
#[case::for_what_is_selected("patches: [{path: p.yaml, target: {kind: Namespace}}]\n")]
#[case::for_another("patches: [{path: p.yaml, target: {kind: Namespace, name: other}}]\n")]
#[case::for_a_namespace_in_it("patches: [{path: p.yaml, target: {kind: Namespace, namespace: shop}}]\n")]
#[case::inline(
    "patches:\n- patch: '{apiVersion: v1, kind: Namespace, metadata: {name: shop, annotations: {supercargo.dev/suspend: \"true\"}}}'\n"
)]
#[case::by_its_labels(&format!("patches:\n- target: {{labelSelector: a=b}}\n  patch: |-\n{SUSPEND}"))]
#[case::operation(&format!("patches:\n- target: {{kind: Namespace}}\n  patch: |-\n{SUSPEND}"))]
#[case::all_annotations_go("patches: [{path: none.yaml, target: {kind: Namespace}}]\n")]
#[case::all_annotations_are_others("patches: [{path: head.yaml, target: {kind: Namespace}}]\n")]
#[case::deleted("patches: [{path: gone.yaml}]\n")]
#[case::renamed("namespace: other\n")]
#[case::renamed_and_patched("namespace: other\npatches: [{path: p.yaml}]\n")]
#[case::renamed_and_patched_late(
    "namespace: other\npatchesJson6902:\n- target: {version: v1, kind: Namespace, name: other}\n  patch: '[{\"op\": \"remove\", \"path\": \"/metadata/annotations\"}]'\n"
)]
#[case::not_by_a_prefix("namePrefix: a-\nnameSuffix: -b\n")]
#[case::a_new_one("commonAnnotations: {supercargo.dev/policy: patch}\nresources: [../base, ns.yaml]\n")]
#[case::transformer("transformers: [t.yaml]\n")]
#[case::transformer_of_names("transformers: [named.yaml]\n")]
fn what_kustomize_makes_of_a_namespace_counts(#[case] kustomization: &str) {
    for namespace in [NS, ASKING, &ASKING.replace("name: shop", "name: shop, labels: {a: b}")] {
        // Operations want something to be there.
        if namespace == NS && ["none.yaml", "head.yaml", "patchesJson6902"].iter().any(|of| kustomization.contains(of))
        {
            continue;
        }
        let mut texts = tree(namespace, kustomization);
        if kustomization.starts_with("commonAnnotations: {supercargo.dev/policy: patch}") {
            texts.insert("prod/kustomization.yaml".into(), kustomization.as_bytes().to_vec());
        }
        texts.retain(|path, _| {
            let name = path.strip_prefix("prod/").unwrap_or("");
            name.is_empty() || name == "kustomization.yaml" || kustomization.contains(name)
        });
        assert_eq!(read(&texts), kustomized(&texts, "prod"), "{namespace}");
    }
}

/// What cannot be told of a Namespace holds its workloads, and no others.
#[rstest::rstest]
#[case::unknown_target(
    &format!("patches:\n- target: {{kind: Namespace, labelSelector: 'n > 1'}}\n  patch: |-\n{SUSPEND}"),
    "prod/kustomization.yaml:3: what the Namespace shop asks for is not known: whether this patch"
)]
#[case::copied(
    "patches:\n- target: {kind: Namespace}\n  patch: |-\n    - {op: copy, from: /metadata/annotations/a, path: /metadata/annotations/supercargo.dev~1suspend}\n",
    "prod/kustomization.yaml:3: what the Namespace shop asks for is not known: this operation"
)]
#[case::replaced(
    "replacements:\n- source: {kind: Deployment, name: web, fieldPath: metadata.name}\n  targets: [{select: {kind: Namespace}, fieldPaths: ['metadata.annotations.[supercargo.dev/suspend]']}]\n",
    "prod/kustomization.yaml:3: what the Namespace shop asks for is not known: a replacement"
)]
#[case::head(
    "patches:\n- target: {kind: Namespace}\n  patch: |-\n    - {op: replace, path: /metadata, value: {name: shop, annotations: {supercargo.dev/suspend: 'true'}}}\n",
    "prod/kustomization.yaml:3: what the Namespace shop asks for is not known: this operation"
)]
#[case::unread(
    "patches:\n- target: {kind: Namespace}\n  patch: 'kind: ['\n",
    "prod/kustomization.yaml:3: what the Namespace shop asks for is not known: this patch"
)]
#[case::twice(
    "namespace: more\npatches: [{path: p.yaml}]\n",
    "base/ns.yaml:1: the Namespace more has `supercargo.dev/policy: never` here and `supercargo.dev/policy: minor` at \
     a/ns.yaml:1: write the same"
)]
fn what_is_not_known_of_a_namespace_holds_its_workloads(#[case] kustomization: &str, #[case] expected: &str) {
    let asking = ASKING.replace("annotations: {", "annotations: {a: b, ");
    let mut texts = tree(&asking, kustomization);
    let name = if kustomization.contains("more") { "more" } else { "shop" };
    if name == "more" {
        let other = ASKING.replace("shop", "more");
        texts.insert("a/ns.yaml".into(), other.into_bytes());
        texts.insert("a/kustomization.yaml".into(), b"resources: [ns.yaml]\n".to_vec());
    }
    texts.insert("other.yaml".into(), WEB.replace("shop", "elsewhere").into_bytes());
    let found = |namespace: &str| {
        let found = places::locate(&facts(&texts), &wanted(namespace, "web", "nginx:1.26"), &Options::default());
        found.map(|_| ()).map_err(|misfit| misfit.to_string())
    };
    let error = found(name).unwrap_err();
    assert!(error.starts_with(expected), "{error}");
    assert_eq!(found("elsewhere"), Ok(()));
}

/// What is applied one after the other asks for all of it.
#[test]
fn namespaces_of_one_name_ask_together() {
    let texts = of(&[
        ("a/ns.yaml", ASKING),
        ("b/ns.yaml", NS),
        ("c/ns.yaml", &ASKING.replace("policy: minor", "suspend: 'true'")),
    ]);
    let shop = [("policy", "minor"), ("poll", "every 1h"), ("suspend", "true")];
    let shop = shop.map(|(key, value)| (format!("supercargo.dev/{key}"), value.to_owned()));
    assert_eq!(read(&texts), Asks::from([("shop".to_owned(), shop.into())]));
}
