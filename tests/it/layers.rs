//! Values over values, as Helm has them: after an edit `helm template` renders the wanted image for whoever has the layers.

use std::{collections::BTreeMap, fs, path::Path, process::Command, sync::Arc};

use serde_json::Value;
use supercargo::{
    domain::{
        image::ImageRef,
        workload::{Kind, WorkloadId},
    },
    manifest::places::{self, Options, Wanted},
};

use crate::places::facts;
use crate::support::{
    bin,
    git_server::{BareRepo, git, run},
    operator::supercargo,
    registry::Registry,
    write_below,
};

const TEMPLATE: &str = "image: {{ with .Values.image }}{{ with .registry }}{{ . }}/{{ end }}{{ .repository }}:{{ .tag }}{{ with .digest }}@{{ . }}{{ end }}{{ end }}\n";
const VALUES: &str = "image:\n  repository: HOST/team/web\n  tag: 1.0.0\n";

/// How a chart is deployed.
#[derive(Default, Clone, Copy)]
struct Deployed {
    chart: &'static str,
    files: &'static [&'static str],
    /// The release that gives values, and where they stand in it.
    release: Option<(&'static str, &'static str)>,
    /// Whether it is a kustomization.
    is_kustomized: bool,
}

/// Files, who deploys them, and the lines that get the wanted tag; or what is said, and nothing changes.
struct Tree {
    name: &'static str,
    files: Vec<(&'static str, String)>,
    deployed: Vec<Deployed>,
    expected: Result<Vec<&'static str>, Vec<&'static str>>,
}

fn tree(
    name: &'static str,
    files: &[(&'static str, &str)],
    deployed: &[Deployed],
    expected: Result<&[&'static str], &[&'static str]>,
) -> Tree {
    let mut all: Vec<(&str, String)> = vec![
        ("supercargo.yaml", "images: [{image: HOST/team/web, policy: minor}]\n".to_owned()),
        ("charts/web/Chart.yaml", "apiVersion: v2\nname: web\nversion: 1.0.0\n".to_owned()),
        ("charts/web/templates/web.yaml", TEMPLATE.to_owned()),
        ("charts/web/values.yaml", VALUES.to_owned()),
    ];
    for (path, text) in files {
        all.retain(|(known, _)| known != path);
        all.push((path, (*text).to_owned()));
    }
    let expected = expected.map(<[_]>::to_vec).map_err(<[_]>::to_vec);
    Tree { name, files: all, deployed: deployed.to_vec(), expected }
}

const ALONE: Deployed = Deployed { chart: "charts/web", files: &[], release: None, is_kustomized: false };
const PROD: Deployed = Deployed { files: &["charts/web/values-prod.yaml"], ..ALONE };

fn release(spec: &str) -> String {
    format!(
        "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {{name: web, namespace: shop}}\nspec:\n{spec}"
    )
}

const CHART: &str = "  chart: {spec: {chart: ./charts/web, sourceRef: {kind: GitRepository, name: flux-system}}}\n";

fn application(source: &str) -> String {
    format!(
        "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {{name: web, namespace: argocd}}\nspec:\n  destination: {{namespace: shop}}\n{source}"
    )
}

fn by_names() -> Vec<Tree> {
    let tag = "image:\n  tag: 1.0.0\n";
    let other = "image:\n  tag: 1.0.1\n";
    let both = Ok(&["charts/web/values-prod.yaml:2", "charts/web/values.yaml:3"][..]);
    let mut all = vec![
        tree("tag over values", &[("charts/web/values-prod.yaml", tag)], &[ALONE, PROD], both),
        tree(
            "another tag over values",
            &[("charts/web/values-prod.yaml", other)],
            &[],
            Err(&[
                "charts/web/values-prod.yaml:2 has HOST/team/web:1.0.1, charts/web/values.yaml:3 has HOST/team/web:1.0.0",
            ]),
        ),
        tree(
            "nothing of the image over values",
            &[("charts/web/values-prod.yaml", "replicas: 3\nimage: {pullPolicy: Always}\nsidecar: {tag: 9.9.9}\n")],
            &[ALONE, PROD],
            Ok(&["charts/web/values.yaml:3"]),
        ),
        tree(
            "a digest over values",
            &[("charts/web/values-prod.yaml", &format!("image:\n  digest: sha256:{}\n", "a".repeat(64)))],
            &[],
            Err(&["charts/web/values.yaml:3", "two files"]),
        ),
        tree(
            "a repository over values",
            &[
                ("charts/web/values-prod.yaml", "image:\n  repository: HOST/team/mirror\n"),
                ("supercargo.yaml", "images: [{image: HOST/team/mirror, policy: minor}]\n"),
            ],
            &[],
            Err(&["charts/web/values.yaml:3", "write the tag beside the name"]),
        ),
        tree(
            "the registry below, the rest over values",
            &[
                ("charts/web/values.yaml", "image:\n  registry: HOST\n  repository: x\n  tag: 0.0.1\n"),
                ("charts/web/values-prod.yaml", "image:\n  repository: team/web\n  tag: 1.0.0\n"),
            ],
            &[PROD],
            Ok(&["charts/web/values-prod.yaml:3"]),
        ),
        tree(
            "deep",
            &[
                (
                    "charts/web/templates/web.yaml",
                    "image: {{ .Values.a.b.image.repository }}:{{ .Values.a.b.image.tag }}\n",
                ),
                ("charts/web/values.yaml", "a:\n  b:\n    image: {repository: HOST/team/web, tag: 1.0.0}\n"),
                ("charts/web/values-prod.yaml", "a:\n  b:\n    image:\n      tag: '1.0.0'\n"),
            ],
            &[ALONE, PROD],
            Ok(&["charts/web/values-prod.yaml:4", "charts/web/values.yaml:3"]),
        ),
        tree(
            "marked below",
            &[
                ("charts/web/values.yaml", "image:\n  repository: HOST/team/web\n  tag: 1.0.0 # supercargo: minor\n"),
                ("charts/web/values-prod.yaml", other),
                ("supercargo.yaml", ""),
            ],
            &[ALONE],
            Ok(&["charts/web/values.yaml:3"]),
        ),
        tree(
            "the entry names the layer",
            &[
                ("charts/web/values-prod.yaml", tag),
                (
                    "supercargo.yaml",
                    "images: [{name: prod, image: HOST/team/web, policy: minor, files: '**/values-prod.yaml'}]\n",
                ),
            ],
            &[PROD],
            Ok(&["charts/web/values-prod.yaml:2"]),
        ),
        tree(
            "values without a chart",
            &[
                ("apps/web/values.yaml", VALUES),
                ("apps/web/values-prod.yaml", tag),
                ("charts/web/values.yaml", "image: {}\n"),
            ],
            &[Deployed { files: &["apps/web/values.yaml", "apps/web/values-prod.yaml"], ..ALONE }],
            Ok(&["apps/web/values-prod.yaml:2", "apps/web/values.yaml:3"]),
        ),
    ];
    for path in [
        "charts/web/values.prod.yaml",
        "charts/web/prod-values.yaml",
        "charts/web/env/values-prod.yml",
        "charts/web/prod/values.yaml",
    ] {
        let places: [&'static str; 2] = [path_line(path), "charts/web/values.yaml:3"];
        let mut places = places.to_vec();
        places.sort_unstable();
        let mut one = tree(path, &[(path, tag)], &[ALONE, Deployed { files: leaked(path), ..ALONE }], Ok(&[]));
        one.expected = Ok(places);
        all.push(one);
    }
    all
}

fn path_line(path: &str) -> &'static str {
    format!("{path}:2").leak()
}

fn leaked(path: &'static str) -> &'static [&'static str] {
    vec![path].leak()
}

fn by_releases() -> Vec<Tree> {
    let hr = |spec: &str| release(&format!("{CHART}{spec}"));
    let values = "  values:\n    image:\n      tag: 1.0.0\n";
    let app = |helm: &str| application(&format!("  source:\n    path: charts/web\n    helm:\n{helm}"));
    let flux = Deployed { release: Some(("release.yaml", "/spec/values")), ..ALONE };
    let parameters = Deployed { release: Some(("app.yaml", "/spec/source/helm/parameters")), ..ALONE };
    let base = "charts/web/values.yaml";
    let old = VALUES.replace("1.0.0", "0.9.0");
    let more = "  chart:\n    spec:\n      chart: charts/web\n      sourceRef: {kind: GitRepository, name: x}\n      valuesFiles: [charts/web/values.yaml, env/prod.yaml]\n";
    vec![
        tree("HelmRelease", &[("release.yaml", &hr(values))], &[flux], Ok(&["release.yaml:8"])),
        tree(
            "HelmRelease over another tag",
            &[("release.yaml", &hr(values)), (base, &old)],
            &[flux],
            Ok(&["release.yaml:8"]),
        ),
        tree(
            "HelmRelease with a digest",
            &[("release.yaml", &hr(&format!("  values:\n    image:\n      digest: sha256:{}\n", "a".repeat(64))))],
            &[],
            Err(&[base, "two files"]),
        ),
        tree(
            "HelmRelease without the image",
            &[("release.yaml", &hr("  values: {replicas: 3}\n"))],
            &[flux],
            Ok(&["charts/web/values.yaml:3"]),
        ),
        tree(
            "HelmRelease over valuesFrom over the chart",
            &[
                ("release.yaml", &hr("  valuesFrom: [{kind: ConfigMap, name: web}]\n  values: {replicas: 3}\n")),
                (
                    "cm.yaml",
                    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web, namespace: shop}\ndata:\n  values.yaml: |\n    image:\n      tag: 1.0.0\n",
                ),
                (base, &old),
            ],
            &[],
            Ok(&["cm.yaml:7"]),
        ),
        tree(
            "HelmRelease with files of values",
            &[("release.yaml", &release(more)), ("env/prod.yaml", "image:\n  tag: 1.0.0\n"), (base, &old)],
            &[Deployed { files: &["env/prod.yaml"], ..ALONE }],
            Ok(&["env/prod.yaml:2"]),
        ),
        tree(
            "HelmRelease that an overlay patches",
            &[
                ("base/release.yaml", &hr("  values: {replicas: 3}\n")),
                ("base/kustomization.yaml", "resources: [release.yaml]\n"),
                ("prod/kustomization.yaml", "resources: [../base]\npatches: [{path: patch.yaml}]\n"),
                ("prod/patch.yaml", &release("  values:\n    image:\n      tag: 1.0.0\n")),
                (base, &old),
            ],
            &[Deployed { release: Some(("prod/patch.yaml", "/spec/values")), ..ALONE }],
            Ok(&["prod/patch.yaml:7"]),
        ),
        tree(
            "a parameter",
            &[("app.yaml", &app("      parameters:\n      - name: image.tag\n        value: 1.0.0\n")), (base, &old)],
            &[parameters],
            Ok(&["app.yaml:11"]),
        ),
        tree(
            "a parameter without an image",
            &[("app.yaml", &app("      parameters:\n      - {name: replicas, value: '3'}\n"))],
            &[parameters],
            Ok(&["charts/web/values.yaml:3"]),
        ),
        tree(
            "valuesObject",
            &[("app.yaml", &app("      valuesObject:\n        image:\n          tag: 1.0.0\n")), (base, &old)],
            &[Deployed { release: Some(("app.yaml", "/spec/source/helm/valuesObject")), ..ALONE }],
            Ok(&["app.yaml:11"]),
        ),
        tree(
            "values as a text",
            &[("app.yaml", &app("      values: |\n        image:\n          tag: 1.0.0\n")), (base, &old)],
            &[Deployed { release: Some(("app.yaml", "/spec/source/helm/values")), ..ALONE }],
            Ok(&["app.yaml:11"]),
        ),
        tree(
            "a parameter over valueFiles",
            &[
                (
                    "app.yaml",
                    &app(
                        "      valueFiles: [values-prod.yaml]\n      parameters:\n      - name: image.tag\n        value: 1.0.0\n",
                    ),
                ),
                ("charts/web/values-prod.yaml", "image: {tag: 0.9.1}\n"),
                (base, &old),
            ],
            &[Deployed { files: &["charts/web/values-prod.yaml"], ..parameters }],
            Ok(&["app.yaml:12"]),
        ),
        tree(
            "valueFiles in their order",
            &[
                ("app.yaml", &app("      valueFiles: [values-prod.yaml, ../../env/eu.yaml]\n")),
                ("charts/web/values-prod.yaml", "image: {tag: 0.9.1}\n"),
                ("env/eu.yaml", "image: {tag: 1.0.0}\n"),
                (base, &old),
            ],
            &[Deployed { files: &["charts/web/values-prod.yaml", "env/eu.yaml"], ..ALONE }],
            Ok(&["env/eu.yaml:1"]),
        ),
        tree(
            "a file with the whole image over the chart",
            &[("app.yaml", &app("      valueFiles: [values-prod.yaml]\n")), ("charts/web/values-prod.yaml", VALUES)],
            &[Deployed { files: &["charts/web/values-prod.yaml"], ..ALONE }],
            Ok(&["charts/web/values-prod.yaml:3"]),
        ),
        tree(
            "a generator's file by another name",
            &[
                ("release.yaml", &hr("  valuesFrom: [{kind: ConfigMap, name: web}]\n")),
                (
                    "kustomization.yaml",
                    "resources: [release.yaml]\nconfigMapGenerator: [{name: web, files: [values.yaml=web.yaml]}]\n",
                ),
                ("web.yaml", "image:\n  tag: 1.0.0\n"),
                (base, &old),
            ],
            &[Deployed { files: &["web.yaml"], ..ALONE }],
            Ok(&["web.yaml:2"]),
        ),
        tree(
            "two Applications of one chart",
            &[
                ("app.yaml", &app("      valueFiles: [values-prod.yaml]\n")),
                ("dev.yaml", &app("      releaseName: dev\n")),
                ("charts/web/values-prod.yaml", "image:\n  tag: 1.0.0\n"),
            ],
            &[ALONE, Deployed { files: &["charts/web/values-prod.yaml"], ..ALONE }],
            Ok(&["charts/web/values-prod.yaml:2", "charts/web/values.yaml:3"]),
        ),
        tree(
            "sources with values of another",
            &[
                (
                    "app.yaml",
                    &application(
                        "  sources:\n  - {repoURL: https://git.example.com/x, ref: values}\n  - path: charts/web\n    helm:\n      valueFiles: [$values/env/values-prod.yaml]\n",
                    ),
                ),
                ("env/values-prod.yaml", "image:\n  tag: 1.0.0\n"),
                (base, &old),
            ],
            &[Deployed { files: &["env/values-prod.yaml"], ..ALONE }],
            Ok(&["env/values-prod.yaml:2"]),
        ),
        tree(
            "a chart from elsewhere with two files of another source",
            &[
                (
                    "app.yaml",
                    &application(
                        "  sources:\n  - repoURL: https://charts.example.com\n    chart: web\n    helm:\n      valueFiles: [$values/env/common.yaml, $values/env/prod.yaml]\n  - {repoURL: https://git.example.com/x, ref: values}\n",
                    ),
                ),
                ("env/common.yaml", VALUES),
                ("env/prod.yaml", "image:\n  tag: 1.0.0\n"),
                (base, "image: {}\n"),
            ],
            &[Deployed { files: &["env/common.yaml", "env/prod.yaml"], ..ALONE }],
            Ok(&["env/prod.yaml:2"]),
        ),
    ]
}

/// A HelmRelease whose chart another object names, or that comes from elsewhere.
fn by_chart_refs() -> Vec<Tree> {
    let values = "  values:\n    image:\n      tag: 1.0.0\n";
    let hr = |kind: &str, more: &str, values: &str| {
        release(&format!("  chartRef: {{kind: {kind}, name: web{more}}}\n{values}"))
    };
    let object = |kind: &str, spec: &str| {
        format!(
            "apiVersion: source.toolkit.fluxcd.io/v1\nkind: {kind}\nmetadata: {{name: web, namespace: shop}}\nspec:\n{spec}"
        )
    };
    let of_git = "  chart: ./charts/web\n  sourceRef: {kind: GitRepository, name: flux-system}\n";
    let chart = object("HelmChart", of_git);
    let oci =
        |of: &str| object("OCIRepository", &format!("  url: oci://registry.example.com/{of}\n  ref: {{tag: 1.0.0}}\n"));
    let flux = Deployed { release: Some(("release.yaml", "/spec/values")), ..ALONE };
    let base = "charts/web/values.yaml";
    let old = VALUES.replace("1.0.0", "0.9.0");
    let of_chart = hr("HelmChart", "", values);
    let alike = Err(&["release.yaml:8: this sets a part of an image, and the rest is the chart's"][..]);
    let both = values.replace("image:\n", "image:\n      repository: HOST/team/web\n");
    let app = application(
        "  source:\n    repoURL: https://charts.example.com\n    chart: web\n    helm:\n      parameters:\n      - name: image.tag\n        value: 1.0.0\n",
    );
    vec![
        tree(
            "a HelmChart",
            &[("release.yaml", &of_chart), ("chart.yaml", &chart), (base, &old)],
            &[flux],
            Ok(&["release.yaml:8"]),
        ),
        tree(
            "a HelmChart of another namespace",
            &[
                ("release.yaml", &hr("HelmChart", ", namespace: flux", values)),
                ("chart.yaml", &chart.replace("namespace: shop", "namespace: flux")),
                (base, &old),
            ],
            &[flux],
            Ok(&["release.yaml:8"]),
        ),
        tree(
            "a HelmChart below a release without the image",
            &[("release.yaml", &hr("HelmChart", "", "  values: {replicas: 3}\n")), ("chart.yaml", &chart)],
            &[flux],
            Ok(&["charts/web/values.yaml:3"]),
        ),
        tree(
            "a HelmChart with files of values",
            &[
                ("release.yaml", &hr("HelmChart", "", "")),
                (
                    "chart.yaml",
                    &object("HelmChart", &format!("{of_git}  valuesFiles: [charts/web/values.yaml, env/prod.yaml]\n")),
                ),
                ("env/prod.yaml", "image:\n  tag: 1.0.0\n"),
                (base, &old),
            ],
            &[Deployed { files: &["env/prod.yaml"], ..ALONE }],
            Ok(&["env/prod.yaml:2"]),
        ),
        tree(
            "a HelmChart that an overlay names",
            &[
                ("base/release.yaml", &of_chart.replace("HelmChart, name: web", "HelmChart, name: other")),
                ("base/chart.yaml", &chart),
                ("base/kustomization.yaml", "resources: [release.yaml, chart.yaml]\n"),
                (
                    "prod/kustomization.yaml",
                    "resources: [../base]\npatches:\n- target: {kind: HelmRelease}\n  patch: '[{op: replace, path: /spec/chartRef/name, value: web}]'\n",
                ),
                (base, &old),
            ],
            &[Deployed { release: Some(("base/release.yaml", "/spec/values")), ..ALONE }],
            Ok(&["base/release.yaml:8"]),
        ),
        tree(
            "a HelmChart that a kustomization patches",
            &[
                ("release.yaml", &of_chart),
                ("chart.yaml", &chart),
                (
                    "kustomization.yaml",
                    "resources: [release.yaml, chart.yaml]\npatches:\n- target: {kind: HelmChart}\n  patch: '[{op: replace, path: /spec/chart, value: charts/other}]'\n",
                ),
            ],
            &[],
            Err(&["kustomization.yaml:3: this patch may change the object that names the chart"]),
        ),
        tree(
            "two HelmCharts of one name",
            &[
                ("release.yaml", &hr("HelmChart", ", namespace: flux", values)),
                ("chart.yaml", &chart.replace(", namespace: shop", "")),
                ("other/chart.yaml", &chart.replace(", namespace: shop", "")),
            ],
            &[],
            Err(&["release.yaml:5: several objects may be the one that names the chart"]),
        ),
        tree(
            "a HelmChart of a registry",
            &[
                ("release.yaml", &of_chart),
                (
                    "chart.yaml",
                    &object("HelmChart", "  chart: web\n  sourceRef: {kind: HelmRepository, name: charts}\n"),
                ),
            ],
            &[],
            alike,
        ),
        tree(
            "an OCIRepository",
            &[("release.yaml", &hr("OCIRepository", "", values)), ("oci.yaml", &oci("charts/web"))],
            &[],
            alike,
        ),
        tree(
            "an OCIRepository of another chart",
            &[("release.yaml", &hr("OCIRepository", "", values)), ("oci.yaml", &oci("charts/redis"))],
            &[ALONE],
            Ok(&["charts/web/values.yaml:3"]),
        ),
        tree(
            "an OCIRepository below the whole image",
            &[("release.yaml", &hr("OCIRepository", "", &both)), ("oci.yaml", &oci("charts/web")), (base, &old)],
            &[flux],
            Ok(&["release.yaml:9"]),
        ),
        tree(
            "an OCIRepository below a release without the image",
            &[
                ("release.yaml", &hr("OCIRepository", "", "  values: {replicas: 3}\n")),
                ("oci.yaml", &oci("charts/web")),
            ],
            &[flux],
            Ok(&["charts/web/values.yaml:3"]),
        ),
        tree(
            "a digest over an OCIRepository",
            &[
                (
                    "release.yaml",
                    &hr(
                        "OCIRepository",
                        "",
                        &format!("  values: {{image: {{digest: 'sha256:{}'}}}}\n", "a".repeat(64)),
                    ),
                ),
                ("oci.yaml", &oci("charts/web")),
            ],
            &[],
            Err(&["charts/web/values.yaml:3", "two files"]),
        ),
        tree("an artifact", &[("release.yaml", &hr("ExternalArtifact", "", values))], &[], alike),
        tree(
            "a chart of a HelmRepository",
            &[(
                "release.yaml",
                &release(&format!(
                    "  chart: {{spec: {{chart: web, sourceRef: {{kind: HelmRepository, name: x}}}}}}\n{values}"
                )),
            )],
            &[],
            alike,
        ),
        tree(
            "a chart of another HelmRepository",
            &[(
                "release.yaml",
                &release(&format!(
                    "  chart: {{spec: {{chart: redis, sourceRef: {{kind: HelmRepository, name: x}}}}}}\n{values}"
                )),
            )],
            &[ALONE],
            Ok(&["charts/web/values.yaml:3"]),
        ),
        tree(
            "a values file as it was named of old",
            &[
                (
                    "release.yaml",
                    &release(
                        "  chart: {spec: {chart: ./charts/web, valuesFile: env/prod.yaml, sourceRef: {kind: GitRepository, name: x}}}\n",
                    ),
                ),
                ("env/prod.yaml", VALUES),
                (base, &old),
            ],
            &[Deployed { files: &["env/prod.yaml"], ..ALONE }],
            Ok(&["env/prod.yaml:3"]),
        ),
        tree(
            "a parameter that is read from a file",
            &[(
                "app.yaml",
                &application(
                    "  source:\n    path: charts/web\n    helm:\n      fileParameters: [{name: image.tag, path: files/tag}]\n",
                ),
            )],
            &[],
            Err(&["app.yaml:9: this parameter is read from a file"]),
        ),
        tree(
            "another parameter that is read from a file",
            &[(
                "app.yaml",
                &application(
                    "  source:\n    path: charts/web\n    helm:\n      fileParameters: [{name: motd, path: files/motd}]\n",
                ),
            )],
            &[ALONE],
            Ok(&["charts/web/values.yaml:3"]),
        ),
        tree(
            "what Argo CD renders and commits elsewhere",
            &[
                (
                    "app.yaml",
                    &application(
                        "  sourceHydrator:\n    drySource:\n      path: charts/web\n      helm:\n        parameters:\n        - name: image.tag\n          value: 1.0.0\n",
                    ),
                ),
                (base, &old),
            ],
            &[Deployed { release: Some(("app.yaml", "/spec/sourceHydrator/drySource/helm/parameters")), ..ALONE }],
            Ok(&["app.yaml:12"]),
        ),
        tree(
            "an Application of a registry",
            &[("app.yaml", &app)],
            &[],
            Err(&["app.yaml:12: this sets a part of an image"]),
        ),
        tree(
            "an Application of a registry of OCI",
            &[(
                "app.yaml",
                &app.replace("https://charts.example.com", "oci://registry.example.com/web")
                    .replace("chart: web", "path: ."),
            )],
            &[],
            Err(&["app.yaml:12: this sets a part of an image"]),
        ),
    ]
}

fn by_charts() -> Vec<Tree> {
    let umbrella = |more: &str| format!("apiVersion: v2\nname: shop\nversion: 1.0.0\n{more}");
    let web = [
        ("shop/charts/web/Chart.yaml", "apiVersion: v2\nname: web\nversion: 1.0.0\n"),
        ("shop/charts/web/templates/web.yaml", TEMPLATE),
        ("charts/web/values.yaml", "image: {}\n"),
    ];
    let shop = Deployed { chart: "shop", ..Deployed::default() };
    let own = umbrella("");
    let aliased = umbrella("dependencies: [{name: web, version: 1.0.0, alias: front}]\n");
    let beside = umbrella("dependencies: [{name: web, version: 1.0.0, repository: 'file://../charts/web'}]\n");
    let with = |more: &[(&'static str, &'static str)]| [&web[..], more].concat();
    let at = |files: &[(&'static str, &'static str)], chart: &str| {
        let mut files = files.to_vec();
        files.push(("shop/Chart.yaml", chart.to_owned().leak()));
        files
    };
    let sub = "shop/charts/web/values.yaml";
    vec![
        tree(
            "an umbrella's tag",
            &at(&with(&[(sub, "image:\n  repository: HOST/team/web\n  tag: 0.9.0\n"), ("shop/values.yaml", "web:\n  image:\n    tag: 1.0.0\n")]), &own),
            &[shop],
            Ok(&["shop/values.yaml:3"]),
        ),
        tree(
            "an umbrella's whole image",
            &at(&with(&[(sub, "image:\n  repository: HOST/team/web\n  tag: 0.9.0\n"), ("shop/values.yaml", "web:\n  image:\n    repository: HOST/team/web\n    tag: 1.0.0\n")]), &own),
            &[shop],
            Ok(&["shop/values.yaml:4"]),
        ),
        tree(
            "an alias",
            &at(&with(&[(sub, "image:\n  repository: HOST/team/web\n  tag: 0.9.0\n"), ("shop/values.yaml", "web:\n  image: {tag: 5.0.0}\nfront:\n  image:\n    tag: 1.0.0\n")]), &aliased),
            &[shop],
            Ok(&["shop/values.yaml:5"]),
        ),
        tree(
            "an umbrella that says nothing",
            &at(&with(&[(sub, "image:\n  repository: HOST/team/web\n  tag: 1.0.0\n"), ("shop/values.yaml", "web:\n  replicas: 2\n")]), &own),
            &[shop],
            Ok(&["shop/charts/web/values.yaml:3"]),
        ),
        tree(
            "a layer over an umbrella",
            &at(
                &with(&[
                    (sub, "image:\n  repository: HOST/team/web\n  tag: 0.9.0\n"),
                    ("shop/values.yaml", "web:\n  image:\n    tag: 1.0.0\n"),
                    ("shop/values-prod.yaml", "web:\n  image:\n    tag: '1.0.0'\n"),
                ]),
                &own,
            ),
            &[shop, Deployed { files: &["shop/values-prod.yaml"], ..shop }],
            Ok(&["shop/values-prod.yaml:3", "shop/values.yaml:3"]),
        ),
        tree(
            "a layer over an umbrella that says nothing",
            &at(
                &with(&[
                    (sub, "image:\n  repository: HOST/team/web\n  tag: 1.0.0\n"),
                    ("shop/values.yaml", "web:\n  replicas: 2\n"),
                    ("shop/values-prod.yaml", "web:\n  image:\n    tag: 1.0.0\n"),
                ]),
                &own,
            ),
            &[shop, Deployed { files: &["shop/values-prod.yaml"], ..shop }],
            Ok(&["shop/charts/web/values.yaml:3", "shop/values-prod.yaml:3"]),
        ),
        tree(
            "only what is hidden",
            &at(
                &with(&[
                    (sub, "image:\n  repository: HOST/team/web\n  tag: 0.9.0\n"),
                    ("shop/values.yaml", "web:\n  image:\n    repository: HOST/team/other\n    tag: 1.0.0\n"),
                ]),
                &own,
            ),
            &[],
            Err(&["shop/charts/web/values.yaml:3", "shop/values.yaml:3 sets it, too, and stands above"]),
        ),
        tree(
            "a chart beside it",
            &at(&[("charts/web/values.yaml", VALUES), ("shop/values.yaml", "web:\n  image:\n    tag: 1.0.0\n")], &beside),
            &[ALONE],
            Ok(&["charts/web/values.yaml:3", "shop/values.yaml:3"]),
        ),
        tree(
            "a chart of a registry",
            &at(
                &[("charts/web/values.yaml", VALUES), ("shop/values.yaml", "front:\n  image:\n    tag: 1.0.0\n")],
                &umbrella("dependencies: [{name: web, version: 1.0.0, alias: front, repository: 'oci://registry.example.com'}]\n"),
            ),
            &[],
            Err(&["shop/values.yaml:3: this sets a part of an image, and the rest is the chart's"]),
        ),
        tree(
            "a layer over a chart of a registry",
            &at(
                &[
                    ("charts/web/values.yaml", VALUES),
                    ("shop/values.yaml", "web: {replicas: 2}\n"),
                    ("shop/values-prod.yaml", "web:\n  image:\n    tag: 1.0.0\n"),
                ],
                &umbrella("dependencies: [{name: web, version: 1.0.0, repository: 'https://charts.example.com'}]\n"),
            ),
            &[],
            Err(&["shop/values-prod.yaml:3: this sets a part of an image, and the rest is the chart's"]),
        ),
        tree(
            "another chart of a registry",
            &at(
                &[("charts/web/values.yaml", VALUES), ("shop/values.yaml", "redis:\n  image:\n    tag: 1.0.0\n")],
                &umbrella("dependencies: [{name: redis, version: 1.0.0, repository: 'https://charts.example.com'}]\n"),
            ),
            &[ALONE],
            Ok(&["charts/web/values.yaml:3"]),
        ),
        tree(
            "a release of an umbrella",
            &at(
                &with(&[
                    (sub, "image:\n  repository: HOST/team/web\n  tag: 0.9.0\n"),
                    ("shop/values.yaml", "web:\n  image:\n    tag: 0.9.1\n"),
                    ("app.yaml", application("  source:\n    path: shop\n    helm:\n      parameters: [{name: web.image.tag, value: 1.0.0}]\n").leak()),
                ]),
                &own,
            ),
            &[Deployed { release: Some(("app.yaml", "/spec/source/helm/parameters")), ..shop }],
            Ok(&["app.yaml:9"]),
        ),
    ]
}

fn by_kustomizations() -> Vec<Tree> {
    let template = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: web}}\ndata:\n  {TEMPLATE}");
    let kustomized = Deployed { chart: ".", is_kustomized: true, ..ALONE };
    let old = "image: {repository: HOST/team/web, tag: 0.9.0}\n";
    let one = |name, chart: &str, more: &[(&'static str, &str)], expected: Result<&[&'static str], &[&'static str]>| {
        let kustomization = format!("helmCharts:\n- name: web\n{chart}");
        let mut files = vec![
            ("kustomization.yaml", &*kustomization),
            ("charts/web/templates/web.yaml", &*template),
            ("charts/web/values.yaml", old),
        ];
        files.extend(more);
        tree(name, &files, &[kustomized][..usize::from(expected.is_ok())], expected)
    };
    let inline = "  valuesInline:\n    image:\n      tag: 1.0.0\n";
    let whole = "  valuesInline:\n    image:\n      repository: HOST/team/web\n      tag: 1.0.0\n";
    let file = "  valuesFile: values.yaml\n";
    let values = ("values.yaml", "image:\n  repository: HOST/team/web\n  tag: 1.0.0\n");
    let other = ("values.yaml", old);
    let more = "  additionalValuesFiles: [env/prod.yaml]\n";
    let merge = |how: &str| format!("  valuesMerge: {how}\n");
    vec![
        one("inline", inline, &[], Ok(&["kustomization.yaml:5"])),
        one("inline over a file", &format!("{inline}{file}"), &[other], Ok(&["kustomization.yaml:5"])),
        one("whole inline over a file", &format!("{whole}{file}"), &[other], Ok(&["kustomization.yaml:6"])),
        one("override", &format!("{inline}{file}{}", merge("override")), &[other], Ok(&["kustomization.yaml:5"])),
        one(
            "merge",
            &format!("{}{file}{}", inline.replace("1.0.0", "0.9.0"), merge("merge")),
            &[values],
            Ok(&["values.yaml:3"]),
        ),
        one("replace", &format!("{whole}{file}{}", merge("replace")), &[other], Ok(&["kustomization.yaml:6"])),
        one(
            "replace over the chart",
            &format!("{inline}{file}{}", merge("replace")),
            &[other],
            Ok(&["kustomization.yaml:5"]),
        ),
        one(
            "an unknown merge",
            &format!("{inline}{}", merge("none")),
            &[],
            Err(&["kustomization.yaml:2: this gives a chart more values"]),
        ),
        one("only a file", file, &[values], Ok(&["values.yaml:3"])),
        one(
            "more files over inline",
            &format!("{}{file}{more}", inline.replace("1.0.0", "0.9.1")),
            &[other, ("env/prod.yaml", "image:\n  tag: 1.0.0\n")],
            Ok(&["env/prod.yaml:2"]),
        ),
        one(
            "more files without the image",
            &format!("{inline}{file}{more}"),
            &[other, ("env/prod.yaml", "replicas: 3\n")],
            Ok(&["kustomization.yaml:5"]),
        ),
        one("only the chart", "", &[("charts/web/values.yaml", VALUES)], Ok(&["charts/web/values.yaml:3"])),
        one(
            "no image inline",
            "  valuesInline: {replicas: 3}\n",
            &[("charts/web/values.yaml", VALUES)],
            Ok(&["charts/web/values.yaml:3"]),
        ),
        tree(
            "an old key",
            &[
                (
                    "kustomization.yaml",
                    "helmChartInflationGenerator:\n- chartName: web\n  chartHome: charts\n  values: values.yaml\n  valuesLocal:\n    image:\n      tag: 1.0.0\n",
                ),
                ("charts/web/templates/web.yaml", &template),
                other,
            ],
            &[kustomized],
            Ok(&["kustomization.yaml:7"]),
        ),
        tree(
            "a generator",
            &[
                ("kustomization.yaml", "generators: [chart.yaml]\n"),
                (
                    "chart.yaml",
                    "apiVersion: builtin\nkind: HelmChartInflationGenerator\nmetadata: {name: web}\nname: web\nvaluesFile: values.yaml\nvaluesInline:\n  image:\n    tag: 1.0.0\n",
                ),
                ("charts/web/templates/web.yaml", &template),
                ("charts/web/values.yaml", old),
                other,
            ],
            &[kustomized],
            Ok(&["chart.yaml:8"]),
        ),
        tree(
            "a chart of a registry",
            &[
                (
                    "deploy/kustomization.yaml",
                    "helmCharts:\n- name: web\n  repo: oci://registry.example.com\n  version: 1.0.0\n  valuesInline:\n    image:\n      tag: 1.0.0\n",
                ),
                ("charts/web/values.yaml", VALUES),
            ],
            &[],
            Err(&["deploy/kustomization.yaml:7: this sets a part of an image, and the rest is the chart's"]),
        ),
        tree(
            "another folder of charts",
            &[
                (
                    "deploy/kustomization.yaml",
                    "helmGlobals: {chartHome: ../charts}\nhelmCharts:\n- name: web\n  valuesInline:\n    image:\n      tag: 1.0.0\n",
                ),
                ("charts/web/templates/web.yaml", &template),
                ("charts/web/values.yaml", old),
            ],
            &[],
            Ok(&["deploy/kustomization.yaml:6"]),
        ),
    ]
}

/// What `helm template`, or `kubectl kustomize`, makes of a chart as it is deployed.
fn rendered(root: &Path, deployed: &Deployed) -> String {
    let helm = bin("helm");
    let mut command = Command::new(if deployed.is_kustomized { bin("kubectl") } else { helm.clone() });
    match deployed.is_kustomized {
        true => command.args(["kustomize", "--enable-helm", "--helm-command"]).arg(helm).arg(deployed.chart),
        false => command.args(["template", "web", deployed.chart]),
    };
    command.current_dir(root).env("PATH", "").env("HOME", root);
    for file in deployed.files {
        command.args(["-f", file]);
    }
    if let Some((path, pointer)) = deployed.release {
        let text = fs::read_to_string(root.join(path)).unwrap();
        let release: Value = serde_saphyr::from_str(&text).unwrap();
        let values = release.pointer(pointer).unwrap_or(&Value::Null);
        match values {
            Value::Array(parameters) => {
                for parameter in parameters {
                    let part = |key: &str| parameter[key].to_string().trim_matches('"').to_owned();
                    command.args(["--set-string", &format!("{}={}", part("name"), part("value"))]);
                }
            }
            values => {
                let text = values.as_str().map_or_else(|| values.to_string(), str::to_owned);
                fs::write(root.join("given.tmp"), text).unwrap();
                command.args(["-f", "given.tmp"]);
            }
        }
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn texts(root: &Path, files: &[(&'static str, String)]) -> BTreeMap<&'static str, String> {
    files.iter().map(|(path, _)| (*path, fs::read_to_string(root.join(path)).unwrap())).collect()
}

/// The lines that differ.
fn changed(before: &BTreeMap<&'static str, String>, after: &BTreeMap<&'static str, String>) -> Vec<String> {
    let each = before.iter().flat_map(|(path, old)| {
        let lines = old.lines().zip(after[path].lines()).enumerate();
        assert_eq!(old.lines().count(), after[path].lines().count());
        lines.filter(|(_, (old, new))| old != new).map(move |(line, (old, new))| {
            assert_eq!(new.replace("1.1.0", "1.0.0"), *old, "{path}");
            format!("{path}:{}", line + 1)
        })
    });
    each.collect()
}

/// What is wrong with a tree after `update`, and after one round of `run --git`.
fn wrong(tree: &Tree, host: &str) -> Vec<String> {
    let room = tempfile::tempdir().unwrap();
    let files: Vec<(&'static str, String)> =
        tree.files.iter().map(|(path, text)| (*path, text.replace("HOST", host))).collect();
    let work = room.path().join("work");
    write_below(&work, files.clone());
    let bytes: Vec<(&str, &[u8])> = files.iter().map(|(path, text)| (*path, text.as_bytes())).collect();
    BareRepo::create(&room.path().join("deploy.git"), &bytes);
    let before = texts(&work, &files);
    let mut wrong = Vec::new();
    let image = |tag: &str| format!("image: {host}/team/web:{tag}\n");
    for deployed in &tree.deployed {
        assert!(rendered(&work, deployed).contains(&image("1.0.0")), "{}: {}", tree.name, rendered(&work, deployed));
    }
    let once = ["run", "--git", "deploy.git", "--once", "--git-cache", "cache", "--state", "state"];
    for (args, at) in [(&["update", "work"][..], "work"), (&once[..], "clone")] {
        let done = supercargo(args, room.path());
        let said =
            String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).replace(host, "HOST").replace("work/", "");
        if at == "clone" {
            run(git().current_dir(room.path()).args(["clone", "-q", "deploy.git", "clone"]), b"");
        }
        let after = texts(&room.path().join(at), &files);
        assert!(!said.contains("and stays"), "{}: {said}", tree.name);
        let (lines, fits) = (
            changed(&before, &after),
            match &tree.expected {
                Ok(_) => true,
                Err(words) => words.iter().all(|words| said.contains(words)),
            },
        );
        if lines != *tree.expected.as_deref().unwrap_or_default() || !fits {
            wrong.push(format!("{}, {args:?}: changed {lines:?}\n{said}", tree.name));
            continue;
        }
        for deployed in &tree.deployed {
            let is = rendered(&room.path().join(at), deployed);
            if !is.contains(&image("1.1.0")) {
                wrong.push(format!("{}: rendered {is}", tree.name));
            }
        }
    }
    wrong
}

async fn check(trees: Vec<Tree>) {
    let registry = Registry::start().await;
    for repository in ["team/web", "team/mirror"] {
        registry.push_tags(repository, ["1.0.0", "1.1.0", "2.0.0"]).await;
    }
    let wrong: Vec<String> = trees.iter().flat_map(|tree| wrong(tree, &registry.host)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_values_file_is_over_another_by_its_name() {
    check(by_names()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_over_its_files_and_its_chart() {
    check(by_releases()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_over_the_chart_that_another_object_names() {
    check(by_chart_refs()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kustomization_gives_values_to_charts() {
    check(by_kustomizations()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chart_is_over_those_that_it_depends_on() {
    check(by_charts()).await;
}

/// Where a workload of a release has its image.
#[test]
fn a_workload_has_the_layers_of_its_own_release() {
    let app = |name: &str, helm: &str| {
        let source = format!("  source:\n    path: charts/web\n    helm: {helm}\n");
        application(&source).replace("name: web", &format!("name: {name}"))
    };
    let files = [
        ("charts/web/Chart.yaml", "name: web\n".to_owned()),
        ("charts/web/values.yaml", VALUES.replace("HOST", "h.example")),
        ("charts/web/values-eu.yaml", "image:\n  tag: 1.0.1\n".to_owned()),
        ("dev.yaml", app("dev", "{}")),
        ("eu.yaml", app("eu", "{valueFiles: [values-eu.yaml]}")),
        ("prod.yaml", app("prod", "{valueFiles: [values-eu.yaml], parameters: [{name: image.tag, value: 1.0.2}]}")),
    ];
    let texts = files.into_iter().map(|(path, text)| (Arc::from(path), text.into_bytes())).collect();
    let files = facts(&texts);
    let place = |instance: &str, tag: &str| {
        let image = |tag: &str| format!("h.example/team/web:{tag}").parse::<ImageRef>().unwrap();
        let wanted = Wanted {
            workload: WorkloadId { kind: Kind("Deployment".into()), namespace: "shop".into(), name: "web".into() },
            instance: Some(instance.into()),
            container: "web".into(),
            init: false,
            from: image(tag),
            to: image("2.0.0"),
        };
        let found = places::locate(&files, &wanted, &Options::default());
        found.map(|spots| spots.iter().map(|spot| format!("{}:{}", spot.path, spot.line)).collect::<Vec<_>>())
    };
    assert_eq!(place("dev", "1.0.0").unwrap(), ["charts/web/values.yaml:3"]);
    assert_eq!(place("eu", "1.0.1").unwrap(), ["charts/web/values-eu.yaml:2"]);
    assert_eq!(place("prod", "1.0.2").unwrap(), ["prod.yaml:8"]);
    // Whose it is cannot be told.
    let why = place("unknown", "1.0.0").unwrap_err().to_string();
    assert!(why.starts_with("the places disagree on the image: charts/web/values-eu.yaml:2 has"), "{why}");
}
