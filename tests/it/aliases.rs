//! Aliases and merge keys around an image, as the real `kubectl kustomize` renders them: what is used in several places is
//! edited where all of them are to have the new image, and is named where not.

use std::sync::Arc;

use crate::{
    deployers::{edited, edited_all, kustomized, read},
    places::Texts,
};

const HEAD: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: shop}\n";

/// A kustomization, with what is in its folder.
fn of(kustomization: &str, files: &[(&str, &str)]) -> Texts {
    let all = [("kustomization.yaml", kustomization)].into_iter().chain(files.iter().copied());
    all.map(|(path, text)| (Arc::from(format!("prod/{path}")), text.as_bytes().to_vec())).collect()
}

/// All is read as it is rendered. Edited together, the containers named have the new image, and nothing else changes;
/// without the first or the last of them nothing is edited, and the line is named.
fn check(texts: &Texts, together: &[&str]) {
    let before = kustomized(texts, "prod");
    assert_eq!(read(texts), before);
    let (after, to) = edited_all(texts, together).unwrap();
    let mut expected = before;
    expected.extend(together.iter().map(|container| (*container).to_owned()).zip(to));
    assert_eq!(kustomized(&after, "prod"), expected);
    for alone in [&together[1..], &together[..together.len() - 1]].into_iter().filter(|alone| !alone.is_empty()) {
        let error = edited_all(texts, alone).unwrap_err();
        assert!(error.contains("is not to change: write it out in one of the places"), "{error}");
    }
}

#[rstest::rstest]
#[case::merged(
    "spec: {template: {spec: {containers: [&c {name: web, image: 'nginx:1.26'}, {<<: *c, name: side}, {name: x, image: 'httpd:2'}]}}}\n",
    &["shop/web/web", "shop/web/side"]
)]
#[case::merged_of_several(
    "spec: {template: {spec: {containers: [&c {name: web, image: 'nginx:1.26'}, &d {name: x, image: 'httpd:2'}, {<<: [*c, *d], name: side}]}}}\n",
    &["shop/web/web", "shop/web/side"]
)]
#[case::merged_from_merged(
    "spec: {template: {spec: {containers: [&c {name: web, image: 'nginx:1.26'}, &d {<<: *c, name: x}], initContainers: [{<<: *d, name: side}]}}}\n",
    &["shop/web/web", "shop/web/x", "shop/web/side"]
)]
#[case::scalars(
    "spec: {template: {spec: {containers: [{name: web, image: &i 'nginx:1.26'}, {name: side, image: *i}]}}}\n",
    &["shop/web/web", "shop/web/side"]
)]
#[case::lists(
    "spec: {template: {spec: {containers: &l [{name: web, image: 'nginx:1.26'}], initContainers: [{name: side, image: 'httpd:2'}]}}}\nother: *l\n",
    &[]
)]
#[case::a_definition("x-image: &i nginx:1.26\nx-c: &c {image: *i}\nspec: {template: {spec: {containers: [{name: web, image: *i}]}}}\n", &["shop/web/web"])]
#[case::a_definition_of_one(
    "x-c: &c {image: 'nginx:1.26'}\nspec: {template: {spec: {containers: [{<<: *c, name: web}]}}}\n",
    &["shop/web/web"]
)]
#[case::a_definition_of_two(
    "x-c: &c\n  image: nginx:1.26 # both\nspec: {template: {spec: {containers: [{<<: *c, name: web}, {<<: *c, name: side}]}}}\n",
    &["shop/web/web", "shop/web/side"]
)]
#[case::with_its_own(
    "spec: {template: {spec: {containers: [&c {name: web, image: 'nginx:1.26'}, {<<: *c, name: side, image: 'nginx:1.27'}]}}}\n",
    &["shop/web/web"]
)]
fn a_manifest_with_aliases_is_edited_where_all_agree(#[case] spec: &str, #[case] together: &[&str]) {
    let texts = of("resources: [web.yaml]\n", &[("web.yaml", &format!("{HEAD}{spec}"))]);
    if together.is_empty() {
        // Something else uses it, too, and nothing says for what.
        assert_eq!(read(&texts), kustomized(&texts, "prod"));
        let error = edited(&texts, "shop/web/web").unwrap_err();
        assert!(error.starts_with("line 4: ") && error.contains("is not to change"), "{error}");
        return;
    }
    check(&texts, together);
}

/// Two workloads of a list share a spec; another image of the same file is edited for itself.
#[test]
fn workloads_of_a_list_share_what_an_anchor_names() {
    let list = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: apps/v1\n  kind: Deployment\n  metadata: {name: a, namespace: shop}\n  spec: &s {template: {spec: {containers: [{name: web, image: 'nginx:1.26'}]}}}\n- apiVersion: apps/v1\n  kind: Deployment\n  metadata: {name: b, namespace: shop}\n  spec: *s\n- apiVersion: apps/v1\n  kind: Deployment\n  metadata: {name: c, namespace: shop}\n  spec: {template: {spec: {containers: [{name: web, image: 'httpd:2'}]}}}\n";
    let texts = of("resources: [web.yaml]\n", &[("web.yaml", list)]);
    check(&texts, &["shop/a/web", "shop/b/web"]);
    let (after, to) = edited(&texts, "shop/c/web").unwrap();
    assert_eq!(kustomized(&after, "prod")["shop/c/web"], to);
}

/// The items themselves may be aliases, and what another one merges.
#[test]
fn items_that_are_aliases_are_workloads() {
    let web =
        |name: &str| format!("apiVersion: apps/v1, kind: Deployment, metadata: {{name: {name}, namespace: shop}}");
    let spec = "spec: {template: {spec: {containers: [{name: web, image: 'nginx:1.26'}]}}}";
    let list = format!(
        "apiVersion: v1\nkind: List\nitems:\n- &a {{{}, {spec}}}\n- {{<<: *a, metadata: {{name: b, namespace: shop}}}}\n",
        web("a")
    );
    check(&of("resources: [web.yaml]\n", &[("web.yaml", &list)]), &["shop/a/web", "shop/b/web"]);
    let list = format!("apiVersion: v1\nkind: List\nx-web: &web {{{}, {spec}}}\nitems: [*web]\n", web("a"));
    check(&of("resources: [web.yaml]\n", &[("web.yaml", &list)]), &["shop/a/web"]);
}

const TWO: &str =
    "spec: {template: {spec: {containers: [{name: web, image: 'nginx:1.26'}, {name: side, image: 'httpd:2'}]}}}\n";

#[rstest::rstest]
#[case::merged("images: [&n {name: nginx, newTag: '1.27'}, {<<: *n, name: httpd}]\n", &["shop/web/web", "shop/web/side"])]
#[case::scalars("images: [{name: nginx, newTag: &t '1.27'}, {name: httpd, newTag: *t}]\n", &["shop/web/web", "shop/web/side"])]
#[case::with_its_own("images: [&n {name: nginx, newTag: '1.27'}, {<<: *n, name: httpd, newTag: '3'}]\n", &["shop/web/web"])]
#[case::in_a_patch(
    "patches: [{path: p.yaml}]\n",
    &["shop/web/web", "shop/web/side"]
)]
#[case::in_an_inline_patch(
    "patches:\n- patch: |-\n    apiVersion: apps/v1\n    kind: Deployment\n    metadata: {name: web, namespace: shop}\n    spec: {template: {spec: {containers: [&c {name: web, image: 'nginx:1.5'}, {<<: *c, name: side}]}}}\n",
    &["shop/web/web", "shop/web/side"]
)]
fn a_kustomization_with_aliases_is_edited_where_all_agree(#[case] kustomization: &str, #[case] together: &[&str]) {
    let patch = format!(
        "{HEAD}spec: {{template: {{spec: {{containers: [&c {{name: web, image: 'nginx:1.5'}}, {{<<: *c, name: side}}]}}}}}}\n"
    );
    let web = format!("{HEAD}{TWO}");
    let mut files = vec![("web.yaml", &*web)];
    files.extend(kustomization.contains("p.yaml").then_some(("p.yaml", &*patch)));
    check(&of(&format!("resources: [web.yaml]\n{kustomization}"), &files), together);
}

/// A key does not come to a mapping that is used elsewhere, too.
#[test]
fn nothing_is_added_to_an_entry_that_an_anchor_names() {
    let kustomization =
        "resources: [web.yaml]\nimages:\n- &n\n  name: nginx\n  newTag: '1.27'\n- <<: *n\n  name: httpd\n";
    let digest = format!("'1.27'\n  digest: sha256:{}", "1".repeat(64));
    let web = format!("{HEAD}{TWO}");
    // Without a key for the tag, it would be added.
    for kustomization in [kustomization.replace("newTag: '1.27'", "newTag:"), kustomization.replace("'1.27'", &digest)]
    {
        let texts = of(&kustomization, &[("web.yaml", &web)]);
        let error = edited(&texts, "shop/web/web").unwrap_err();
        assert!(error.contains("is not to change"), "{error}");
    }
    let only_digest = kustomization.replace("newTag: '1.27'", &format!("digest: sha256:{}", "1".repeat(64)));
    let texts = of(&only_digest, &[("web.yaml", &web)]);
    let error = edited(&texts, "shop/web/web").unwrap_err();
    assert!(error.contains("`newTag` cannot be added to what an anchor names"), "{error}");
}

/// A line that is marked to stay stays for all that use it.
#[test]
fn a_marked_line_stays_by_whichever_alias_it_is_used() {
    let spec = "x-c: &c\n  image: nginx:1.26 # supercargo: never\nspec: {template: {spec: {containers: [{<<: *c, name: web}]}}}\n";
    let texts = of("resources: [web.yaml]\n", &[("web.yaml", &format!("{HEAD}{spec}"))]);
    let error = edited(&texts, "shop/web/web").unwrap_err();
    assert!(error.contains("prod/web.yaml:5 is marked `never`"), "{error}");
}
