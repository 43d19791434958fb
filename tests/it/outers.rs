//! Objects of Flux and Argo CD that kustomizations patch: what they deploy in the end is read, and edited where it stands.

use std::sync::Arc;

use crate::{
    deployers::{WEB, deployed, edited, of, read},
    places::{Texts, output},
    support::write_below,
};

const FLUX: &str = "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata:\n  name: apps\n  labels: {a: b}\nspec:\n";
const ARGO: &str = "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata:\n  name: apps\nspec:\n  destination: {namespace: shop}\n  source:\n";

/// Two folders with a workload, and an object over one of them that a kustomization patches.
fn tree(object: &str, kustomization: &str, patch: &str) -> Texts {
    of(&[
        ("prod/kustomization.yaml", "resources: [web.yaml]\nimages: [{name: httpd, newTag: '2.5'}]\n"),
        ("prod/web.yaml", WEB),
        ("test/kustomization.yaml", "resources: [web.yaml]\n"),
        ("test/web.yaml", &WEB.replace("shop", "test")),
        ("clusters/kustomization.yaml", &format!("resources: [apps.yaml]\n{kustomization}")),
        ("clusters/apps.yaml", object),
        ("clusters/p.yaml", patch),
    ])
}

/// What comes of the folders once the object is as `kubectl kustomize` renders it.
fn rendered(texts: &Texts) -> crate::deployers::Images {
    let root = tempfile::tempdir().unwrap();
    write_below(root.path(), texts);
    let object = output("kubectl", &["kustomize"], &root.path().join("clusters")).expect("it builds");
    let mut all = texts.clone();
    all.retain(|path, _| !path.starts_with("clusters/"));
    let is_test = object.contains("path: test") || object.contains("path: ./test");
    all.insert("apps.yaml".into(), object.into_bytes());
    let mut images = deployed(&all, "apps.yaml");
    images.extend(crate::deployers::kustomized(texts, if is_test { "prod" } else { "test" }));
    images
}

/// Every image is read as it is rendered; edited, it is the wanted one, and no other one changes.
fn check(texts: &Texts) {
    let before = rendered(texts);
    assert_eq!(read(texts), before);
    for container in before.keys() {
        let (after, to) = edited(texts, container).unwrap_or_else(|why| panic!("{container}: {why}"));
        let mut expected = before.clone();
        expected.insert(container.clone(), to);
        assert_eq!(rendered(&after), expected, "{container}");
    }
}

const BY_FILE: &str = "patches: [{path: p.yaml}]\n";

#[rstest::rstest]
#[case::images("  path: ./prod\n", BY_FILE, "spec:\n  images: [{name: nginx, newTag: '1.27'}]\n")]
#[case::images_in_the_place_of_others(
    "  path: ./prod\n  images: [{name: httpd, newTag: '3'}]\n",
    "patches: [{path: p.yaml, target: {kind: Kustomization}}]\n",
    "spec:\n  images: [{name: nginx, newTag: '1.27'}]\n"
)]
#[case::no_images(
    "  path: ./prod\n  images: [{name: httpd, newTag: '3'}]\n",
    "patchesStrategicMerge: [p.yaml]\n",
    "spec:\n  images: []\n"
)]
#[case::patches(
    "  path: ./prod\n",
    BY_FILE,
    "spec:\n  patches:\n  - target: {kind: Deployment}\n    patch: |-\n      - {op: replace, path: /spec/template/spec/containers/0/image, value: 'nginx:1.28'}\n"
)]
#[case::patches_below_images(
    "  path: ./prod\n  images: [{name: redis, newTag: '3'}]\n",
    BY_FILE,
    "spec:\n  patches:\n  - target: {kind: Deployment}\n    patch: |-\n      - {op: replace, path: /spec/template/spec/containers/0/image, value: 'redis:1.28'}\n"
)]
#[case::path("  path: ./prod\n  images: [{name: nginx, newTag: '3'}]\n", BY_FILE, "spec: {path: ./test}\n")]
#[case::namespace(
    "  path: ./prod\n  targetNamespace: a\n  namePrefix: x-\n",
    BY_FILE,
    "spec: {targetNamespace: team}\n"
)]
#[case::for_another(
    "  path: ./prod\n",
    "patches: [{path: p.yaml, target: {kind: Kustomization, labelSelector: a=c}}]\n",
    "spec:\n  images: [{name: nginx, newTag: '1.27'}]\n"
)]
#[case::inline_namespace(
    "  path: ./prod\n",
    "patches:\n- target: {labelSelector: a=b}\n  patch: |-\n    apiVersion: kustomize.toolkit.fluxcd.io/v1\n    kind: Kustomization\n    metadata: {name: any}\n    spec: {targetNamespace: team, prune: false}\n",
    ""
)]
#[case::inline_path(
    "  path: ./prod\n  images: [{name: nginx, newTag: '3'}]\n",
    "patches:\n- target: {name: apps}\n  patch: |-\n    - {op: replace, path: /spec/path, value: ./test}\n    - {op: add, path: /spec/postBuild, value: {substitute: {a: b}}}\n",
    ""
)]
#[case::operations(
    "  path: ./prod\n  images: [{name: nginx, newTag: '3'}]\n",
    "patches: [{path: ops.yaml, target: {kind: Kustomization}}]\n",
    "- {op: replace, path: /spec/images, value: [{name: httpd, newTag: '4'}]}\n- op: add\n  path: /spec/patches\n  value:\n  - target: {kind: Deployment}\n    patch: |\n      - {op: replace, path: /spec/template/spec/containers/0/image, value: 'nginx:7'}\n"
)]
fn what_flux_deploys_after_patches_is_edited_there(
    #[case] spec: &str,
    #[case] kustomization: &str,
    #[case] patch: &str,
) {
    let head = "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: apps}\n";
    let patch = if patch.starts_with("spec") { format!("{head}{patch}") } else { patch.to_owned() };
    let mut texts = tree(&format!("{FLUX}{spec}"), kustomization, &patch);
    if let Some(text) = texts.remove("clusters/p.yaml").filter(|text| !text.is_empty()) {
        let name = if kustomization.contains("ops.yaml") { "clusters/ops.yaml" } else { "clusters/p.yaml" };
        texts.insert(Arc::from(name), text);
    }
    check(&texts);
}

#[rstest::rstest]
#[case::images("    path: prod\n", "    kustomize: {images: ['nginx:1.27']}\n")]
#[case::in_the_place_of(
    "    path: prod\n    kustomize: {images: ['nginx:1.27', 'httpd:3'], namePrefix: a-}\n",
    "    kustomize: {images: ['httpd:4'], namespace: team}\n"
)]
#[case::path("    path: prod\n    kustomize: {images: ['nginx:1.27']}\n", "    path: test\n")]
fn what_argo_cd_deploys_after_patches_is_edited_there(#[case] source: &str, #[case] patch: &str) {
    let head = if patch.contains("path: test") { ARGO.replace("shop", "test") } else { ARGO.to_owned() };
    check(&tree(&format!("{head}{source}"), BY_FILE, &format!("{head}{patch}")));
}

/// What cannot be followed is named by its line, at the folder that is rendered.
#[rstest::rstest]
#[case::one_image(
    "patches:\n- target: {name: apps}\n  patch: |-\n    - {op: add, path: /spec/images/-, value: {name: nginx, newTag: '1.27'}}\n",
    "clusters/kustomization.yaml:3: this operation changes"
)]
#[case::images_in_a_text(
    "patches:\n- target: {name: apps}\n  patch: |-\n    apiVersion: kustomize.toolkit.fluxcd.io/v1\n    kind: Kustomization\n    metadata: {name: apps}\n    spec:\n      images: [{name: nginx, newTag: '1.27'}]\n",
    "clusters/kustomization.yaml:9: a patch sets images here that is a text"
)]
#[case::all_of_it(
    "patches:\n- target: {name: apps}\n  patch: |-\n    - {op: replace, path: /spec, value: {path: ./prod, images: [{name: nginx, newTag: '1.27'}]}}\n",
    "clusters/kustomization.yaml:3: this operation changes"
)]
#[case::taken_away(
    "patches:\n- patch: |-\n    apiVersion: kustomize.toolkit.fluxcd.io/v1\n    kind: Kustomization\n    metadata: {name: apps}\n    spec: {images: null}\n",
    "clusters/kustomization.yaml:7: this patch takes something away"
)]
#[case::unknown_target(
    "patches:\n- target: {labelSelector: 'n > 1'}\n  patch: |-\n    - {op: replace, path: /spec/path, value: ./test}\n",
    "clusters/kustomization.yaml:3: whether this patch"
)]
#[case::unread(
    "patches:\n- target: {kind: Kustomization}\n  patch: 'kind: ['\n",
    "clusters/kustomization.yaml:3: this patch"
)]
#[case::replaced(
    "replacements:\n- source: {kind: Kustomization, name: apps, fieldPath: metadata.name}\n  targets: [{select: {kind: Kustomization}, fieldPaths: [spec.images.0.newTag]}]\n",
    "clusters/kustomization.yaml:3: a replacement sets"
)]
#[case::broken("images: [{name: x, y: z}]\n", "clusters/kustomization.yaml:2: this kustomization cannot be read whole")]
fn what_may_change_what_is_deployed_is_named(#[case] kustomization: &str, #[case] expected: &str) {
    let object = format!("{FLUX}  path: ./prod\n  images: [{{name: nginx, newTag: '3'}}]\n");
    let mut texts = tree(&object, kustomization, "");
    texts.remove("clusters/p.yaml");
    let error = edited(&texts, "shop/web/side").unwrap_err();
    assert!(error.starts_with(expected), "{error}");
    assert!(edited(&texts, "test/web/side").is_ok(), "what is deployed otherwise goes on");
}

/// What changes nothing of that holds nothing up, and what is taken away deploys nothing.
#[rstest::rstest]
#[case(
    "patches:\n- target: {kind: Kustomization}\n  patch: |-\n    - {op: add, path: /spec/decryption, value: {provider: sops}}\n",
    "3"
)]
#[case(
    "patches:\n- target: {labelSelector: 'n > 1'}\n  patch: |-\n    - {op: add, path: /spec/suspend, value: true}\n",
    "3"
)]
#[case(
    "patches:\n- patch: |-\n    $patch: delete\n    apiVersion: kustomize.toolkit.fluxcd.io/v1\n    kind: Kustomization\n    metadata: {name: apps}\n",
    "1.26"
)]
fn other_patches_change_nothing(#[case] kustomization: &str, #[case] tag: &str) {
    let object = format!("{FLUX}  path: ./prod\n  images: [{{name: nginx, newTag: '3'}}]\n");
    let mut texts = tree(&object, kustomization, "");
    texts.remove("clusters/p.yaml");
    assert_eq!(read(&texts)["shop/web/web"], format!("nginx:{tag}"));
    assert!(edited(&texts, "shop/web/web").is_ok());
}
