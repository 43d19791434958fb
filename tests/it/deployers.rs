//! Images that a JSON patch, Flux or Argo CD sets on the way: what counts is read and edited there, as the real
//! `kubectl kustomize` renders it.

use std::{collections::BTreeMap, fs, sync::Arc};

use serde_json::{Value, json};
use supercargo::{
    domain::{
        image::ImageRef,
        workload::{Kind, WorkloadId},
    },
    manifest::places::{self, Index, Location, LocationEdit, Options, Wanted},
};

use crate::{
    places::{Texts, facts, output},
    support::write_below,
};

/// The images of a rendered text: `namespace/name/container` and the image.
pub(crate) type Images = BTreeMap<String, String>;

pub(crate) const WEB: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  template:
    spec:
      initContainers: [{name: init, image: 'busybox:1.36'}]
      containers:
      - {name: web, image: 'nginx:1.26'}
      - {name: side, image: 'httpd:2.4'}
";

pub(crate) fn of(files: &[(&str, &str)]) -> Texts {
    files.iter().map(|(path, text)| (Arc::from(*path), text.as_bytes().to_vec())).collect()
}

/// A base with one workload, and an overlay.
pub(crate) fn tree(overlay: &str) -> Texts {
    of(&[
        ("base/kustomization.yaml", "resources: [web.yaml]\n"),
        ("base/web.yaml", WEB),
        ("prod/kustomization.yaml", &format!("resources: [../base]\n{overlay}")),
    ])
}

/// As `kubectl kustomize` renders a folder.
pub(crate) fn kustomized(texts: &Texts, folder: &str) -> Images {
    let root = tempfile::tempdir().unwrap();
    write_below(root.path(), texts);
    let text = output("kubectl", &["kustomize"], &root.path().join(folder)).expect("it builds");
    images(&text)
}

/// The images of objects.
fn images(text: &str) -> Images {
    let mut images = Images::new();
    for object in text.split("\n---\n").map(|text| serde_saphyr::from_str::<Value>(text).unwrap()) {
        let (metadata, pod) = (&object["metadata"], &object["spec"]["template"]["spec"]);
        for list in ["containers", "initContainers"] {
            for container in pod[list].as_array().into_iter().flatten() {
                let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let key = [word(&metadata["namespace"]), word(&metadata["name"]), word(&container["name"])].join("/");
                images.insert(key, word(&container["image"]));
            }
        }
    }
    images
}

/// As Flux and Argo CD render it: what the object says is first put into the kustomization of its folder.
pub(crate) fn deployed(texts: &Texts, object: &str) -> Images {
    let yaml = |path: &str| {
        texts.get(path).map(|text| serde_saphyr::from_str::<Value>(std::str::from_utf8(text).unwrap()).unwrap())
    };
    let object = yaml(object).unwrap();
    let is_flux = object["kind"] == "Kustomization";
    let (of, set) = match is_flux {
        true => (&object["spec"], &object["spec"]),
        false => (&object["spec"]["source"], &object["spec"]["source"]["kustomize"]),
    };
    let folder = of["path"].as_str().unwrap().trim_start_matches("./");
    let at = format!("{folder}/kustomization.yaml");
    let mut kustomization = yaml(&at).unwrap_or_else(|| {
        let inner = texts.keys().filter_map(|path| path.strip_prefix(&format!("{folder}/")));
        json!({"resources": inner.collect::<Vec<_>>()})
    });
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let patches = [list(&kustomization["patches"]), list(&set["patches"])].concat();
    let mut images = list(&kustomization["images"]);
    for entry in list(&set["images"]) {
        let entry = match entry.as_str() {
            None => entry,
            Some(text) => {
                let (name, image) = text.split_once('=').unwrap_or((text, text));
                let (new, tag) = image.rsplit_once(':').unwrap();
                json!({"name": if name == text { new } else { name }, "newName": new, "newTag": tag})
            }
        };
        match images.iter_mut().find(|own| own["name"] == entry["name"]) {
            Some(own) => *own = entry,
            None => images.push(entry),
        }
    }
    (kustomization["patches"], kustomization["images"]) = (patches.into(), images.into());
    let components = [list(&kustomization["components"]), list(&set["components"])].concat();
    kustomization["components"] = components.into();
    let namespace = if is_flux { &set["targetNamespace"] } else { &set["namespace"] };
    for (key, value) in
        [("namespace", namespace), ("namePrefix", &set["namePrefix"]), ("nameSuffix", &set["nameSuffix"])]
    {
        if !value.is_null() {
            kustomization[key] = value.clone();
        }
    }
    let mut all = texts.clone();
    all.insert(at.into(), kustomization.to_string().into_bytes());
    kustomized(&all, folder)
}

/// As we read it.
pub(crate) fn read(texts: &Texts) -> Images {
    let rendered = places::rendered(&facts(texts), &Options::default());
    assert!(rendered.problems.is_empty(), "{:?}", rendered.problems);
    let mut images = Images::new();
    for (workload, ..) in &rendered.workloads {
        let WorkloadId { namespace, name, .. } = &workload.id;
        images.extend(
            workload.containers.iter().map(|c| (format!("{namespace}/{name}/{}", c.name), c.image.to_string())),
        );
    }
    images
}

/// The texts with another tag for the image of one container.
pub(crate) fn edited(texts: &Texts, container: &str) -> Result<(Texts, String), String> {
    let (after, mut to) = edited_all(texts, &[container])?;
    Ok((after, to.pop().expect("one image")))
}

/// The same for several containers, together.
pub(crate) fn edited_all(texts: &Texts, containers: &[&str]) -> Result<(Texts, Vec<String>), String> {
    let files = facts(texts);
    let options = Options::default();
    let index = Index::new(&files, &options);
    let workloads = index.rendered().workloads;
    let all = workloads.iter().flat_map(|(workload, ..)| workload.containers.iter().map(move |c| (workload, c)));
    let named = |id: &WorkloadId, name: &str| format!("{}/{}/{name}", id.namespace, id.name);
    let (mut spots, mut images) = (Vec::new(), Vec::new());
    for container in containers {
        let (workload, found) = all.clone().find(|(workload, c)| named(&workload.id, &c.name) == *container).unwrap();
        let from: ImageRef = found.image.parse().unwrap();
        let to = from.at(Some("99".parse().unwrap()), None);
        images.push(to.to_string());
        let wanted = Wanted {
            workload: workload.id.clone(),
            instance: None,
            container: found.name.clone(),
            init: found.init,
            from,
            to,
        };
        spots.extend(index.locate(&wanted).map_err(|misfit| misfit.to_string())?);
    }
    Ok((apply(texts, &spots)?, images))
}

fn apply(texts: &Texts, spots: &[Location]) -> Result<Texts, String> {
    let mut edits = BTreeMap::<&Arc<str>, Vec<&LocationEdit>>::new();
    for spot in spots {
        edits.entry(&spot.path).or_default().extend(&spot.edits);
    }
    let mut after = texts.clone();
    for (path, edits) in edits {
        let text = places::apply(path, &texts[path], &edits).map_err(|error| error.to_string())?;
        after.insert(path.clone(), text);
    }
    Ok(after)
}

/// Every image is read as it is rendered; edited, it is the wanted one, and no other one changes.
pub(crate) fn check(texts: &Texts, render: impl Fn(&Texts) -> Images) {
    let before = render(texts);
    assert_eq!(read(texts), before);
    for container in before.keys() {
        let (after, to) = edited(texts, container).unwrap_or_else(|why| panic!("{container}: {why}"));
        let mut expected = before.clone();
        expected.insert(container.clone(), to);
        assert_eq!(render(&after), expected, "{container}");
    }
}

/// Operations on whole containers and their lists.
#[rstest::rstest]
#[case::a_container("- {op: replace, path: /spec/template/spec/containers/0, value: {name: web, image: 'nginx:1.27'}}")]
#[case::another("- {op: replace, path: /spec/template/spec/containers/0, value: {name: new, image: 'redis:7'}}")]
#[case::at_the_start("- {op: add, path: /spec/template/spec/containers/0, value: {name: new, image: 'redis:7'}}")]
#[case::between(
    "- {op: add, path: /spec/template/spec/containers/1, value: {image: 'redis:7', name: new}}\n- {op: replace, path: /spec/template/spec/containers/2/image, value: 'httpd:2.5'}"
)]
#[case::gone(
    "- {op: remove, path: /spec/template/spec/containers/0}\n- {op: replace, path: /spec/template/spec/containers/0/image, value: 'httpd:2.5'}"
)]
#[case::all(
    "- {op: replace, path: /spec/template/spec/containers, value: [{name: x, image: 'redis:7'}, {name: web, image: 'nginx:1.20'}]}"
)]
#[case::all_and_one(
    "- {op: add, path: /spec/template/spec/initContainers, value: [{name: x, image: 'redis:7'}]}\n- {op: add, path: /spec/template/spec/initContainers/-, value: {name: second, image: 'memcached:1'}}"
)]
#[case::moved("- {op: move, from: /spec/template/spec/containers/1, path: /spec/template/spec/containers/0}")]
#[case::no_init("- {op: remove, path: /spec/template/spec/initContainers}")]
fn operations_on_containers_are_followed(#[case] operations: &str) {
    let lines: String = operations.lines().map(|line| format!("    {line}\n")).collect();
    let overlay = format!("patches:\n- target: {{name: web}}\n  patch: |-\n{lines}");
    check(&tree(&overlay), |texts| kustomized(texts, "prod"));
    let images = "images: [{name: redis, newTag: '8'}, {name: httpd, newTag: '3'}]\n";
    check(&tree(&format!("{overlay}{images}")), |texts| kustomized(texts, "prod"));
}

/// What cannot be followed is named by its line.
#[rstest::rstest]
#[case("- {op: replace, path: /spec/template/spec, value: {containers: [{name: web, image: 'nginx:1.0'}]}}")]
#[case("- {op: copy, from: /spec/template/spec/containers/1, path: /spec/template/spec/containers/0}")]
#[case("- {op: replace, path: /spec/template/spec/containers/0/name, value: other}")]
#[case("- {op: add, path: /spec/template/spec/containers/0, value: {image: 'redis:7'}}")]
fn an_operation_that_is_not_followed_is_named(#[case] operation: &str) {
    let texts = tree(&format!("patches:\n- target: {{name: web}}\n  patch: |-\n    {operation}\n"));
    let error = edited(&texts, "shop/web/web").unwrap_err();
    assert!(error.starts_with("prod/kustomization.yaml:3: this operation changes more than one value"), "{error}");
}

/// A Kustomization of Flux, and the folder's own kustomization.
#[rstest::rstest]
#[case::images("", "  images: [{name: nginx, newTag: '1.27'}]\n")]
#[case::in_the_place_of(
    "images: [{name: nginx, newTag: '1.20'}, {name: httpd, newTag: '3'}]\n",
    "  images:\n  - name: nginx\n    newTag: '1.27' # here\n"
)]
#[case::renamed(
    "images: [{name: nginx, newName: team/web}]\n",
    "  images: [{name: team/web, newTag: '5'}, {name: httpd, newName: x/y, newTag: v1}]\n"
)]
#[case::merged(
    "",
    "  patches:\n  - patch: |\n      apiVersion: apps/v1\n      kind: Deployment\n      metadata: {name: web, namespace: shop}\n      spec: {template: {spec: {containers: [{name: web, image: 'nginx:1.28'}]}}}\n"
)]
#[case::operations(
    "",
    "  patches:\n  - target: {kind: Deployment}\n    patch: |\n      - op: replace\n        path: /spec/template/spec/containers/1/image\n        value: httpd:2.5\n      - op: add\n        path: /spec/template/spec/containers/-\n        value: {name: new, image: 'redis:7'}\n"
)]
#[case::patch_below_the_folders_images(
    "images: [{name: redis, newTag: '8'}]\n",
    "  patches:\n  - target: {kind: Deployment}\n    patch: |-\n      - {op: add, path: /spec/template/spec/containers/-, value: {name: new, image: redis}}\n"
)]
fn what_flux_sets_is_edited_there(#[case] overlay: &str, #[case] set: &str) {
    let object = format!(
        "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {{name: apps}}\nspec:\n  path: ./prod\n{set}"
    );
    let mut texts = tree(overlay);
    texts.insert("clusters/apps.yaml".into(), object.clone().into_bytes());
    check(&texts, |texts| deployed(texts, "clusters/apps.yaml"));
    // Beside another object.
    let config = "kind: ConfigMap\napiVersion: v1\nmetadata: {name: x}\n---\n";
    texts.insert("clusters/apps.yaml".into(), format!("{config}{object}").into_bytes());
    let (after, _) = edited(&texts, "shop/web/web").unwrap();
    assert!(after["clusters/apps.yaml"].starts_with(config.as_bytes()));
    // A folder without a kustomization: Flux makes one.
    if !set.contains("team/web") && overlay.is_empty() {
        let plain = of(&[("prod/a/web.yaml", WEB), ("clusters/apps.yaml", &object), ("other/web.yaml", "a: b\n")]);
        check(&plain, |texts| deployed(texts, "clusters/apps.yaml"));
    }
}

/// A namespace, a prefix and components that an object brings are part of the folder's kustomization.
#[rstest::rstest]
#[case::namespace("", "  targetNamespace: team\n")]
#[case::in_the_place_of(
    "namespace: a\nnamePrefix: x-\n",
    "  targetNamespace: team\n  nameSuffix: -b\n  namePrefix: y-\n"
)]
#[case::component("", "  components: [../c]\n")]
#[case::component_before_images("images: [{name: redis, newTag: '8'}]\n", "  components: [../c]\n")]
#[case::components("components: [../d]\n", "  components: [../c]\n  images: [{name: nginx, newTag: '1.28'}]\n")]
#[case::reversed("components: [../c]\n", "  components: [../d]\n  targetNamespace: team\n")]
fn what_flux_renders_with_components_and_names_is_edited(#[case] overlay: &str, #[case] set: &str) {
    let object = format!(
        "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {{name: apps}}\nspec:\n  path: ./prod\n{set}"
    );
    let component = "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n";
    let mut texts = tree(overlay);
    for (path, text) in [
        ("clusters/apps.yaml", object.clone()),
        (
            "c/kustomization.yaml",
            format!("{component}resources: [more.yaml]\nimages: [{{name: nginx, newTag: '1.30'}}]\n"),
        ),
        ("c/more.yaml", WEB.replace("name: web, namespace", "name: more, namespace").replace("httpd", "redis")),
        (
            "d/kustomization.yaml",
            format!("{component}images: [{{name: nginx, newTag: '1.31'}}, {{name: redis, newTag: '9'}}]\n"),
        ),
    ] {
        texts.insert(path.into(), text.into_bytes());
    }
    let files = read(&texts);
    assert_eq!(files, deployed(&texts, "clusters/apps.yaml"));
    for container in
        files.keys().filter(|container| container.ends_with("/web/web") || container.ends_with("more/side"))
    {
        let (after, to) = edited(&texts, container).unwrap_or_else(|why| panic!("{container}: {why}"));
        assert_eq!(deployed(&after, "clusters/apps.yaml")[container], to);
    }
    // A folder without a kustomization: Flux makes one.
    if overlay.is_empty() {
        texts.insert("prod/web.yaml".into(), WEB.as_bytes().to_vec());
        texts.retain(|path, _| &**path != "prod/kustomization.yaml" && !path.starts_with("base/"));
        assert_eq!(read(&texts), deployed(&texts, "clusters/apps.yaml"));
    }
}

/// What metadata Flux gives to all that it renders, is obeyed; and a component that is not there is named.
#[test]
fn what_flux_says_of_all_objects_counts() {
    let object = "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: apps}\nspec:\n  path: ./prod\n";
    let mut texts = tree("");
    let metadata = "  commonMetadata:\n    annotations: {supercargo.dev/suspend: 'true'}\n";
    texts.insert("clusters/apps.yaml".into(), format!("{object}{metadata}").into_bytes());
    let rendered = places::rendered(&facts(&texts), &Options::default());
    let annotations: Vec<_> = rendered.workloads.iter().flat_map(|(workload, ..)| &*workload.annotations).collect();
    assert_eq!(annotations, [(&"supercargo.dev/suspend".to_owned(), &"true".to_owned())]);
    texts.insert("clusters/apps.yaml".into(), format!("{object}  components:\n  - ../none\n").into_bytes());
    let error = edited(&texts, "shop/web/web").unwrap_err();
    assert!(error.starts_with("clusters/apps.yaml:7: this component could not be read"), "{error}");
}

/// One folder that two objects render is two deployments.
#[test]
fn two_kustomizations_of_flux_over_one_folder_each_have_their_image() {
    let object = |name: &str, tag: &str| {
        format!(
            "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {{name: {name}}}\nspec:\n  path: prod\n  images: [{{name: nginx, newTag: '{tag}'}}]\n"
        )
    };
    let mut texts = tree("");
    texts.insert("clusters/a.yaml".into(), object("a", "1.27").into_bytes());
    texts.insert("clusters/b.yaml".into(), object("b", "1.27").into_bytes());
    let (after, _) = edited(&texts, "shop/web/web").unwrap();
    for path in ["clusters/a.yaml", "clusters/b.yaml"] {
        assert!(String::from_utf8_lossy(&after[path]).contains("'99'"), "{path}");
    }
    texts.insert("clusters/b.yaml".into(), object("b", "1.28").into_bytes());
    let error = edited(&texts, "shop/web/web").unwrap_err();
    assert!(error.contains("clusters/a.yaml:6") && error.contains("clusters/b.yaml:6"), "{error}");
}

#[rstest::rstest]
#[case("  images: [{name: nginx, newTag: '1', prefix: x}]\n", "clusters/apps.yaml:6")]
#[case("  images: x\n", "clusters/apps.yaml:6")]
#[case(
    "  patches:\n  - target: {name: 'w('}\n    patch: '[{op: replace, path: /spec/template/spec/containers/0/image, value: x}]'\n",
    "clusters/apps.yaml:7"
)]
fn what_flux_sets_and_cannot_be_read_is_named(#[case] set: &str, #[case] place: &str) {
    let mut texts = tree("");
    let head = "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: apps}\nspec:\n  path: ./prod\n";
    texts.insert("clusters/apps.yaml".into(), format!("{head}{set}").into_bytes());
    let error = edited(&texts, "shop/web/web").unwrap_err();
    assert!(error.starts_with(place), "{error}");
}

/// An Application over a folder of the repository.
#[rstest::rstest]
#[case::placeholder("side", "images: []\n", "[web=registry.example.com/team/web:1.0.0]")]
#[case::tag("nginx:1.26", "images: [{name: nginx, newTag: '1.20'}]\n", "['nginx:1.27', 'httpd:3.0']")]
#[case::renamed_below("nginx:1.26", "images: [{name: nginx, newName: team/web}]\n", "['nginx=team/other:1.27']")]
fn what_argo_cd_sets_is_edited_there(#[case] image: &str, #[case] overlay: &str, #[case] images: &str) {
    let image = if image == "side" { "web" } else { image };
    let mut texts = tree(overlay);
    let base = WEB.replace("nginx:1.26", image);
    texts.insert("base/web.yaml".into(), base.into_bytes());
    let head = "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: web, namespace: argocd}\nspec:\n  destination: {namespace: shop}\n  source:\n    path: prod\n    kustomize:\n";
    texts.insert("apps/web.yaml".into(), format!("{head}      images: {images}\n").into_bytes());
    check(&texts, |texts| deployed(texts, "apps/web.yaml"));
}

#[test]
fn an_item_with_a_star_is_named() {
    let mut texts = tree("");
    let object = "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: web}\nspec:\n  source:\n    path: prod\n    kustomize:\n      images:\n      - nginx=*:1.27\n";
    texts.insert("apps/web.yaml".into(), object.as_bytes().to_vec());
    let error = edited(&texts, "shop/web/web").unwrap_err();
    assert!(error.starts_with("apps/web.yaml:9"), "{error}");
}

/// Two workloads of a chart; without a tag the chart has its own.
const CHART: &str = "\
{{- range list \"web\" \"worker\" }}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ . }}, namespace: shop}
spec:
  template:
    spec:
      containers:
      - name: {{ . }}
        {{- with index $.Values . | default $.Values.image }}
        image: {{ .repository }}:{{ .tag | default \"1.0\" }}{{ with .digest }}@{{ . }}{{ end }}
        {{- end }}
      - {name: proxy, image: 'envoy:1.30'}
{{- end }}
";

/// As Flux deploys the HelmRelease that a folder has: its kustomization, the chart, its post-renderers.
fn released(texts: &Texts) -> Images {
    let root = tempfile::tempdir().unwrap();
    write_below(root.path(), texts);
    let text = output("kubectl", &["kustomize"], &root.path().join("prod")).expect("it builds");
    let objects: Vec<Value> = text.split("\n---\n").map(|text| serde_saphyr::from_str(text).unwrap()).collect();
    let release = objects.iter().find(|object| object["kind"] == "HelmRelease").unwrap();
    let chart = root.path().join("chart");
    fs::create_dir_all(chart.join("templates")).unwrap();
    fs::write(chart.join("Chart.yaml"), "apiVersion: v2\nname: web\nversion: 1.0.0\n").unwrap();
    fs::write(chart.join("templates/web.yaml"), CHART).unwrap();
    // As Flux merges them: what is taken from elsewhere in its order, then its own.
    let from = release["spec"]["valuesFrom"].as_array().into_iter().flatten();
    let mut all: Vec<String> = from.map(|from| given(&objects, from)).collect();
    all.push(release["spec"]["values"].to_string());
    let mut args = vec!["template".to_owned(), "web".to_owned()];
    for (number, values) in all.iter().enumerate() {
        let path = root.path().join(format!("given-{number}.yaml"));
        fs::write(&path, values).unwrap();
        args.extend(["-f".to_owned(), path.to_str().unwrap().to_owned()]);
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut text = output("helm", &args, &chart).expect("it renders");
    for (number, renderer) in release["spec"]["postRenderers"].as_array().into_iter().flatten().enumerate() {
        let folder = root.path().join(format!("renderer-{number}"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("all.yaml"), text).unwrap();
        let mut kustomization = renderer["kustomize"].clone();
        kustomization["resources"] = json!(["all.yaml"]);
        fs::write(folder.join("kustomization.yaml"), kustomization.to_string()).unwrap();
        text = output("kubectl", &["kustomize"], &folder).expect("it builds");
    }
    images(&text)
}

/// The values that an item of `valuesFrom` names.
fn given(objects: &[Value], from: &Value) -> String {
    let is_it = |object: &&Value| object["kind"] == from["kind"] && object["metadata"]["name"] == from["name"];
    let object = objects.iter().find(is_it).expect("it is there");
    let key = from["valuesKey"].as_str().unwrap_or("values.yaml");
    let text = object["data"][key].as_str().or(object["stringData"][key].as_str()).expect("a text");
    match from["targetPath"].as_str() {
        None => text.to_owned(),
        Some(path) => path.rsplit('.').fold(json!(text), |value, key| json!({key: value})).to_string(),
    }
}

/// A HelmRelease in a base and an overlay; in its values `web` has one image, and what else is there has another.
fn release(more: &str, overlay: &str) -> Texts {
    let release = format!(
        "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {{name: web, namespace: shop}}\nspec:\n  \
         chart: {{spec: {{chart: web}}}}\n  values:\n    image: {{repository: team/worker, tag: 1.0.0}}\n    web: \
         {{repository: team/web, tag: 2.0.0}}\n{more}"
    );
    of(&[
        ("base/kustomization.yaml", "resources: [release.yaml]\n"),
        ("base/release.yaml", &release),
        ("prod/kustomization.yaml", &format!("resources: [../base]\n{overlay}")),
    ])
}

/// The texts with another tag for a container of a chart, which is known from what is rendered only.
fn edited_release(texts: &Texts, container: &str, image: &str) -> Result<(Texts, String), String> {
    let files = facts(texts);
    let parts: Vec<&str> = container.split('/').collect();
    let from: ImageRef = image.parse().unwrap();
    let to = from.at(Some("99".parse().unwrap()), None);
    let wanted = Wanted {
        workload: WorkloadId { kind: Kind("Deployment".into()), namespace: parts[0].into(), name: parts[1].into() },
        instance: None,
        container: parts[2].into(),
        init: false,
        from,
        to: to.clone(),
    };
    let spots = places::locate(&files, &wanted, &Options::default()).map_err(|misfit| misfit.to_string())?;
    Ok((apply(texts, &spots)?, to.to_string()))
}

/// Each image that is held here, of these workloads, is edited so that the chart has it, and nothing else changes.
fn check_release(texts: &Texts, containers: &[&str]) {
    let before = released(texts);
    for container in containers {
        let (after, to) = edited_release(texts, container, &before[*container])
            .unwrap_or_else(|why| panic!("{container} {}: {why}", before[*container]));
        let mut expected = before.clone();
        for (of, image) in &mut expected {
            if *image == before[*container]
                && (of == container || !of.ends_with("/proxy") || container.ends_with("/proxy"))
            {
                *image = to.clone();
            }
        }
        assert_eq!(released(&after), expected, "{container}");
    }
}

const BOTH: &[&str] = &["shop/web/web", "shop/worker/worker"];

#[rstest::rstest]
#[case::none("", BOTH)]
#[case::images("  postRenderers:\n  - kustomize: {images: [{name: team/web, newTag: 2.1.0}]}\n", BOTH)]
#[case::of_the_chart("  postRenderers:\n  - kustomize: {images: [{name: envoy, newTag: '1.31'}]}\n", &["shop/web/web", "shop/web/proxy"])]
#[case::two(
    "  postRenderers:\n  - kustomize: {images: [{name: team/web, newName: x/web, newTag: '1'}]}\n  - kustomize: {images: [{name: x/web, newTag: '3'}]}\n",
    BOTH
)]
#[case::by_digest(&format!("  postRenderers:\n  - kustomize:\n      images:\n      - name: team/web\n        newTag: '4'\n        digest: sha256:{}\n", "1".repeat(64)), BOTH)]
#[case::patch(
    "  postRenderers:\n  - kustomize:\n      patches:\n      - patch: |\n          apiVersion: apps/v1\n          kind: Deployment\n          metadata: {name: web, namespace: shop}\n          spec: {template: {spec: {containers: [{name: web, image: 'team/web:2.5.0'}]}}}\n",
    BOTH
)]
#[case::operation(
    "  postRenderers:\n  - kustomize:\n      patches:\n      - target: {kind: Deployment, name: web}\n        patch: |\n          - op: replace\n            path: /spec/template/spec/containers/0/image\n            value: other/web:1.0.0\n",
    BOTH
)]
#[case::sidecar("  postRenderers:\n  - kustomize:\n      patches:\n      - target: {kind: Deployment, name: web}\n        patch: |\n          - op: add\n            path: /spec/template/spec/containers/-\n            value: {name: log, image: fluent:1.0.0}\n", &["shop/web/web", "shop/web/log"])]
fn what_post_renderers_set_is_edited_there(#[case] more: &str, #[case] containers: &[&str]) {
    check_release(&release(more, ""), containers);
}

/// Where it cannot be told, the line is named.
#[rstest::rstest]
#[case(
    "  postRenderers:\n  - kustomize: {images: [{name: team/web, newName: x/web}]}\n",
    "x/web:2.0.0",
    "base/release.yaml:10"
)]
#[case(
    "  postRenderers:\n  - kustomize: {images: [{name: team/web, newTag: '1', other: x}]}\n",
    "team/web:2.0.0",
    "base/release.yaml:10"
)]
#[case(
    "  postRenderers:\n  - kustomize:\n      patches:\n      - target: {name: web}\n        patch: |\n          - op: replace\n            path: /spec/template/spec/containers/0/image\n            value: team/web:3.0.0\n",
    "team/web:3.0.0",
    "the places disagree on the image: base/release.yaml:8 has team/web:2.0.0, base/release.yaml:16 has team/web:3.0.0"
)]
fn a_post_renderer_that_is_not_followed_is_named(#[case] more: &str, #[case] image: &str, #[case] place: &str) {
    let error = edited_release(&release(more, ""), "shop/web/web", image).unwrap_err();
    assert!(error.starts_with(place), "{error}");
}

/// A patch of the release's values, of any part of them.
#[rstest::rstest]
#[case::image("- {op: replace, path: /spec/values/web, value: {repository: team/web, tag: '3'}}")]
#[case::all(
    "- {op: replace, path: /spec/values, value: {image: {repository: team/worker, tag: '3'}, web: {repository: x/web, tag: '4'}}}"
)]
#[case::then_the_tag(
    "- {op: add, path: /spec/values/web, value: {repository: team/web, tag: '3'}}\n- {op: replace, path: /spec/values/web/tag, value: '5'}"
)]
#[case::gone("- {op: remove, path: /spec/values/web}")]
#[case::no_tag("- {op: remove, path: /spec/values/web/tag}\n- {op: add, path: /spec/values/web/tag, value: '7'}")]
#[case::digest(&format!("- {{op: add, path: /spec/values/web/digest, value: 'sha256:{}'}}\n- {{op: replace, path: /spec/values/web/tag, value: '7'}}", "2".repeat(64)))]
fn an_operation_on_the_values_of_a_release_is_followed(#[case] operations: &str) {
    let lines: String = operations.lines().map(|line| format!("    {line}\n")).collect();
    let overlay = format!("patches:\n- target: {{kind: HelmRelease}}\n  patch: |-\n{lines}");
    check_release(&release("", &overlay), BOTH);
}

#[rstest::rstest]
#[case::merged("{web: {tag: '3'}}")]
#[case::whole("{web: {repository: x/web, tag: '3'}, image: {repository: y/worker}}")]
#[case::null("{web: null}")]
#[case::new("{web: {repository: x/web, tag: null}}")]
fn a_partial_release_is_followed(#[case] values: &str) {
    let overlay = format!(
        "patches:\n- patch: |-\n    apiVersion: helm.toolkit.fluxcd.io/v2\n    kind: HelmRelease\n    metadata: {{name: web, namespace: \
         shop}}\n    spec:\n      values: {values}\n"
    );
    check_release(&release("", &overlay), if values.contains("tag: null") { &BOTH[1..] } else { BOTH });
}

/// An overlay brings post-renderers of its own: from a file, where they are edited.
#[test]
fn post_renderers_of_an_overlay_are_followed() {
    let patch = "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: web, namespace: shop}\nspec:\n  postRenderers:\n  - kustomize: {images: [{name: team/web, newTag: '8'}]}\n";
    let mut texts = release(
        "  postRenderers: [{kustomize: {images: [{name: team/web, newTag: '7'}]}}]\n",
        "patches: [{path: p.yaml}]\n",
    );
    texts.insert("prod/p.yaml".into(), patch.as_bytes().to_vec());
    check_release(&texts, BOTH);
    let lines: String = patch.lines().map(|line| format!("    {line}\n")).collect();
    let text = release("", &format!("patches:\n- patch: |-\n{lines}"));
    let error = edited_release(&text, "shop/web/web", "team/web:8").unwrap_err();
    assert!(error.contains("prod/kustomization.yaml:9"), "{error}");
}

#[test]
fn a_tag_and_a_digest_in_two_files_are_named() {
    let overlay = format!(
        "patches:\n- target: {{kind: HelmRelease}}\n  patch: |-\n    - op: add\n      path: /spec/values/web/digest\n      value: sha256:{}\n",
        "2".repeat(64)
    );
    let error = edited_release(&release("", &overlay), "shop/web/web", "team/web:2.0.0").unwrap_err();
    assert!(error.contains("stand in two files"), "{error}");
}

/// A release that takes values from elsewhere; of its own it has what is given.
fn taking(from: &str, values: &str, more: &[(&str, &str)]) -> Texts {
    let release = format!(
        "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {{name: web, namespace: shop}}\nspec:\n  \
         chart: {{spec: {{chart: web}}}}\n  valuesFrom: {from}\n  values: {values}\n"
    );
    let mut texts = of(&[("prod/release.yaml", &release)]);
    texts.extend(more.iter().map(|(path, text)| (Arc::from(*path), text.as_bytes().to_vec())));
    texts
}

const CONFIG: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: given, namespace: shop}\ndata:\n  tag: 5.0.0\n  values.yaml: |\n    # of all\n    image:\n      repository: team/worker\n      tag: 1.0.0\n    web: {repository: team/web, tag: 2.0.0}\n";
const IMAGE: &str = "{image: {repository: team/worker, tag: 1.0.0}, web: {repository: team/web, tag: 2.0.0}}";
const WITH_CONFIG: (&str, &str) = ("prod/kustomization.yaml", "resources: [release.yaml, config.yaml]\n");

/// Values that a release takes from elsewhere are edited where they stand, if nothing stands above them.
#[rstest::rstest]
#[case::config("[{kind: ConfigMap, name: given}]", "{}", &[WITH_CONFIG, ("prod/config.yaml", CONFIG)])]
#[case::below_its_own("[{kind: ConfigMap, name: given}]", "{web: {tag: '7'}, image: {repository: x/worker}}", &[WITH_CONFIG, ("prod/config.yaml", CONFIG)])]
#[case::one_value("[{kind: ConfigMap, name: given, valuesKey: tag, targetPath: web.tag}]", "{image: {repository: team/worker, tag: 1.0.0}, web: {repository: team/web}}", &[WITH_CONFIG, ("prod/config.yaml", CONFIG)])]
#[case::the_last(
    "[{kind: ConfigMap, name: given}, {kind: ConfigMap, name: given, valuesKey: tag, targetPath: web.tag}]",
    "{}",
    &[WITH_CONFIG, ("prod/config.yaml", CONFIG)]
)]
#[case::generated(
    "[{kind: ConfigMap, name: given}]",
    "{}",
    &[
        ("prod/kustomization.yaml", "resources: [release.yaml]\nnamespace: shop\ngeneratorOptions: {disableNameSuffixHash: true}\nconfigMapGenerator:\n- {name: given, files: [values.yaml=web.yaml]}\n"),
        ("prod/web.yaml", "image:\n  repository: team/worker\n  tag: 1.0.0 # here\nweb: {repository: team/web, tag: '2'}\n")
    ]
)]
#[case::secret(
    "[{kind: Secret, name: given, valuesKey: my-values}]",
    "{}",
    &[WITH_CONFIG, ("prod/config.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: given, namespace: shop}\nstringData:\n  my-values: |\n    web: {repository: team/web, tag: 2.0.0}\n    image: {repository: team/worker, tag: 1.0.0}\n")]
)]
fn what_a_release_takes_from_elsewhere_is_edited_there(
    #[case] from: &str,
    #[case] values: &str,
    #[case] more: &[(&str, &str)],
) {
    // A values file that has the same, and that nobody uses.
    let mut texts = taking(from, values, more);
    texts.insert("values.yaml".into(), IMAGE.as_bytes().to_vec());
    check_release(&texts, BOTH);
}

/// Where it cannot be told or edited, the line is named, and nothing else is edited.
#[rstest::rstest]
#[case::quoted(
    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: given, namespace: shop}\ndata:\n  values.yaml: \"web: {repository: team/web, tag: 2.0.0}\\n\"\n",
    "",
    "line 5: this is a text in quotes or folded"
)]
#[case::encoded(
    "apiVersion: v1\nkind: Secret\nmetadata: {name: given, namespace: shop}\ndata:\n  values.yaml: d2ViOgogIHJlcG9zaXRvcnk6IHRlYW0vd2ViCiAgdGFnOiAyLjAuMAo=\n",
    "",
    "line 5: this stands in base64"
)]
#[case::patched(
    CONFIG,
    "patches:\n- patch: |-\n    {apiVersion: v1, kind: ConfigMap, metadata: {name: given, namespace: shop}, data: {values.yaml: 'web: {}'}}\n",
    "prod/kustomization.yaml:3: this patch may change the values"
)]
#[case::operated(
    CONFIG,
    "patches:\n- target: {kind: ConfigMap}\n  patch: |-\n    - {op: replace, path: /data/values.yaml, value: 'web: {}'}\n",
    "prod/kustomization.yaml:3: this patch may change the values"
)]
#[case::generated_again(
    CONFIG,
    "configMapGenerator:\n- {name: given, namespace: shop, behavior: merge, literals: ['values.yaml=web: {}']}\n",
    "prod/release.yaml:6: several ConfigMaps"
)]
fn values_from_elsewhere_that_are_not_followed_are_named(
    #[case] config: &str,
    #[case] overlay: &str,
    #[case] place: &str,
) {
    let kustomization = format!("resources: [release.yaml, config.yaml]\n{overlay}");
    let kind = if config.contains("Secret") { "Secret" } else { "ConfigMap" };
    let more = [("prod/kustomization.yaml", &*kustomization), ("prod/config.yaml", config), ("values.yaml", IMAGE)];
    let texts =
        taking(&format!("[{{kind: {kind}, name: given}}]"), "{image: {repository: team/worker, tag: 1.0.0}}", &more);
    let error = edited_release(&texts, "shop/web/web", "team/web:2.0.0").unwrap_err();
    assert!(error.contains(place), "{error}");
}
