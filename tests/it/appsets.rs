//! ApplicationSets: their template counts as an Application, and what generators fill in is never edited.

use serde_json::json;

use crate::{
    deployers::{WEB, deployed, edited, of, read},
    places::{Texts, facts, wanted},
};
use supercargo::manifest::places::{self, Options};

const HEAD: &str =
    "apiVersion: argoproj.io/v1alpha1\nkind: ApplicationSet\nmetadata: {name: apps, namespace: argocd}\nspec:\n";

/// A set with a list of elements, and the `spec` of its template.
fn set(spec: &str) -> String {
    let lines: String = spec.lines().map(|line| format!("      {line}\n")).collect();
    format!(
        "{HEAD}  generators:\n  - list: {{elements: [{{name: a, tag: '1.0'}}]}}\n  template:\n    metadata: {{name: '{{{{name}}}}'}}\n    spec:\n{lines}"
    )
}

/// A folder with a workload below a kustomization, another one, and a set.
fn tree(set: &str) -> Texts {
    of(&[
        ("apps/web/kustomization.yaml", "resources: [web.yaml]\nimages: [{name: httpd, newTag: '2.5'}]\n"),
        ("apps/web/web.yaml", WEB),
        ("other/kustomization.yaml", "resources: [web.yaml]\n"),
        ("other/web.yaml", &WEB.replace("shop", "other")),
        ("sets.yaml", set),
    ])
}

#[rstest::rstest]
#[case("kustomize: {images: ['nginx:1.27']}\n")]
#[case("kustomize:\n  images:\n  - httpd=team/other:3\n  namePrefix: a-\n")]
fn what_a_template_sets_is_edited_there(#[case] more: &str) {
    let source: String = more.lines().map(|line| format!("  {line}\n")).collect();
    let texts = tree(&set(&format!("destination: {{namespace: '{{{{name}}}}'}}\nsource:\n  path: apps/web\n{source}")));
    let rendered = |texts: &Texts| {
        let text = std::str::from_utf8(&texts["sets.yaml"]).unwrap();
        let set: serde_json::Value = serde_saphyr::from_str(text).unwrap();
        let object = json!({"kind": "Application", "spec": set["spec"]["template"]["spec"]});
        let mut all = texts.clone();
        all.insert("sets.yaml".into(), object.to_string().into_bytes());
        let mut images = deployed(&all, "sets.yaml");
        images.extend(crate::deployers::kustomized(texts, "other"));
        images
    };
    let before = rendered(&texts);
    assert_eq!(read(&texts), before);
    for container in before.keys() {
        let (after, to) = edited(&texts, container).unwrap_or_else(|why| panic!("{container}: {why}"));
        let mut expected = before.clone();
        expected.insert(container.clone(), to);
        assert_eq!(rendered(&after), expected, "{container}");
    }
}

/// What generators have a part in is named, for what it may be for, and for nothing else.
#[rstest::rstest]
#[case::path(
    "source:\n  path: 'apps/{{name}}'\n  kustomize: {images: ['nginx:1.27']}\n",
    "sets.yaml:12: generators of this"
)]
#[case::all_of_the_path(
    "source:\n  path: '{{ .path.path }}'\n  kustomize: {images: ['nginx:1.27']}\n",
    "sets.yaml:12: generators of this"
)]
#[case::image(
    "source:\n  path: apps/web\n  kustomize: {images: ['nginx:{{tag}}']}\n",
    "sets.yaml:13: generators of this"
)]
#[case::namespace(
    "source:\n  path: apps/web\n  kustomize:\n    namespace: '{{name}}'\n",
    "sets.yaml:14: generators of this"
)]
#[case::patch(
    "source:\n  path: apps/web\ntemplatePatch: |\n  spec:\n    source: {kustomize: {images: ['nginx:2']}}\n",
    "sets.yaml:14: generators of this"
)]
#[case::template_of_a_generator(
    "source:\n  path: apps/web\ngenerator: {git: {template: {spec: {source: {kustomize: {images: ['nginx:2']}}}}}}\n",
    "sets.yaml:6: generators of this"
)]
fn what_generators_have_a_part_in_is_named(#[case] spec: &str, #[case] expected: &str) {
    let mut parts = spec.splitn(2, "templatePatch");
    let (template, patch) = (parts.next().unwrap(), parts.next());
    let (template, generator) = template.split_once("generator: ").unwrap_or((template, ""));
    let mut text = set(&format!("destination: {{namespace: '{{{{name}}}}'}}\n{template}"));
    if let Some(patch) = patch {
        let lines: String = patch.lines().skip(1).map(|line| format!("  {line}\n")).collect();
        text += &format!("  templatePatch: |\n{lines}");
    }
    if !generator.is_empty() {
        text = text.replace("  - list: {elements: [{name: a, tag: '1.0'}]}\n", &format!("  - {generator}"));
    }
    let texts = tree(&text);
    let error = edited(&texts, "shop/web/web").unwrap_err();
    assert!(error.starts_with(expected), "{error}\n{text}");
    if !spec.contains("{{ .path.path }}") {
        assert!(edited(&texts, "other/web/web").is_ok(), "what is deployed otherwise goes on");
    }
}

/// A chart beside its set.
fn chart(helm: &str) -> Texts {
    let lines: String = helm.lines().map(|line| format!("    {line}\n")).collect();
    of(&[
        ("charts/web/Chart.yaml", "name: web\nversion: 1.0.0\n"),
        ("charts/web/values.yaml", "image: {repository: nginx, tag: '1.26'}\n"),
        (
            "sets.yaml",
            &set(&format!("destination: {{namespace: shop}}\nsource:\n  path: charts/web\n  helm:\n{lines}")),
        ),
    ])
}

fn lines(texts: &Texts) -> Result<Vec<String>, String> {
    let found = places::locate(&facts(texts), &wanted("shop", "web", "nginx:1.26"), &Options::default());
    let place = |spot: places::Location| format!("{}:{} {}", spot.path, spot.line, spot.holds);
    found.map(|spots| spots.into_iter().map(place).collect()).map_err(|misfit| misfit.to_string())
}

#[rstest::rstest]
#[case::object("valuesObject: {image: {repository: nginx, tag: '1.26'}}\n", Ok("sets.yaml:14 nginx:1.26"))]
#[case::text("values: |\n  image: {repository: nginx, tag: '1.26'}\n", Ok("sets.yaml:15 nginx:1.26"))]
#[case::parameters("parameters:\n- {name: image.tag, value: '1.26'}\n", Ok("sets.yaml:15 nginx:1.26"))]
#[case::others("valuesObject: {name: '{{name}}'}\n", Ok("charts/web/values.yaml:1 nginx:1.26"))]
#[case::filled(
    "valuesObject:\n  image: {repository: nginx, tag: '{{tag}}'}\n",
    Err("sets.yaml:15: `{{tag}}` is filled in from elsewhere")
)]
#[case::filled_over_the_chart("parameters:\n- {name: image.tag, value: '{{tag}}'}\n", Err("sets.yaml:15: "))]
#[case::filled_repository("parameters:\n- {name: image.repository, value: '{{name}}'}\n", Err("sets.yaml:15: "))]
fn values_of_a_template_stand_above_those_of_the_chart(#[case] helm: &str, #[case] expected: Result<&str, &str>) {
    match (lines(&chart(helm)), expected) {
        (Ok(found), Ok(expected)) => assert_eq!(found, [expected]),
        (Err(error), Err(expected)) => assert!(error.contains(expected), "{error}"),
        (found, _) => panic!("{found:?}"),
    }
}

/// The file of values that a generator names is not known; where it may name the tag, nothing of it is edited.
#[test]
fn a_tag_that_a_generator_fills_in_for_a_chart_that_it_names_holds_its_values() {
    let mut texts = chart("parameters:\n- {name: image.tag, value: '{{tag}}'}\n");
    let set = String::from_utf8(texts["sets.yaml"].clone()).unwrap();
    texts.insert("sets.yaml".into(), set.replace("charts/web", "'charts/{{name}}'").into_bytes());
    let error = lines(&texts).unwrap_err();
    assert!(error.starts_with("sets.yaml:15: generators of this ApplicationSet"), "{error}");
    texts.insert(
        "sets.yaml".into(),
        set.replace("charts/web", "'charts/{{name}}'").replace("image.tag", "color").into_bytes(),
    );
    assert_eq!(lines(&texts).unwrap(), ["charts/web/values.yaml:1 nginx:1.26"]);
}

/// A set that a kustomization patches.
#[rstest::rstest]
#[case::operation(
    "- {op: replace, path: /spec/template/spec/source/helm/valuesObject/image/tag, value: '1.26'}\n",
    Ok("patch.yaml:1 nginx:1.26")
)]
#[case::object(
    "apiVersion: argoproj.io/v1alpha1\nkind: ApplicationSet\nmetadata: {name: apps, namespace: argocd}\nspec: {template: {spec: {source: {helm: {valuesObject: {image: {tag: '1.26'}}}}}}}\n",
    Ok("patch.yaml:4 nginx:1.26")
)]
#[case::all(
    "- {op: replace, path: /spec/template/spec/source/helm, value: {valuesObject: {image: {tag: '1.26'}}}}\n",
    Err("patch.yaml:1: this operation")
)]
#[case::patch(
    "- {op: add, path: /spec/templatePatch, value: 'spec: {source: {}}'}\n",
    Err("patch.yaml:1: this operation")
)]
#[case::another("- {op: add, path: /spec/syncPolicy, value: {}}\n", Ok("sets.yaml:14 nginx:1.25"))]
fn a_patch_of_a_set_is_followed(#[case] patch: &str, #[case] expected: Result<&str, &str>) {
    let mut texts = chart("valuesObject: {image: {repository: nginx, tag: '1.25'}}\n");
    texts.remove("charts/web/values.yaml");
    let kustomization = "resources: [sets.yaml]\npatches: [{path: patch.yaml, target: {kind: ApplicationSet}}]\n";
    texts.insert("kustomization.yaml".into(), kustomization.as_bytes().to_vec());
    texts.insert("patch.yaml".into(), patch.as_bytes().to_vec());
    match (lines(&texts), expected) {
        (Ok(found), Ok(expected)) => assert_eq!(found, [expected]),
        (Err(error), Err(expected)) => assert!(error.starts_with(expected), "{error}"),
        (found, _) => panic!("{found:?}"),
    }
}
