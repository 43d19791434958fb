//! One truth: for the same choices the chart and `kubectl kustomize` make the same objects, but for names and labels.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use regex::Regex;
use serde_json::{Value, json};

use super::{as_in_the_pod, rendered};
use crate::{
    deploy::{Right, folder, of_kind, rights, rights::right},
    docs::built,
};

/// What a person may choose, in the words of both.
pub(super) struct Choice {
    kustomization: &'static str,
    pub(super) namespace: &'static str,
    pub(super) values: &'static [&'static str],
}

const fn choice(kustomization: &'static str, namespace: &'static str, values: &'static [&'static str]) -> Choice {
    Choice { kustomization, namespace, values }
}

pub(super) const CHOICES: &[Choice] = &[
    choice("resources: [../deploy/base]", "supercargo", &[]),
    choice("resources: [../deploy/overlays/pull-secrets]", "supercargo", &[r#"pullSecrets="all""#]),
    choice("resources: [../deploy/overlays/git]", "supercargo", &["git.enabled=true"]),
    choice("resources: [../deploy/base, ../deploy/approvals]", "supercargo", &["approvals=true"]),
    choice("resources: [../deploy/overlays/namespaced]", "apps", &[r#"scope="namespace""#, "crds.install=false"]),
    choice(
        "{resources: [../deploy/base], components: [../deploy/components/slack]}",
        "supercargo",
        &[r#"slack.secretName="supercargo-slack""#],
    ),
    choice(
        "{resources: [../deploy/base], components: [../deploy/components/argocd]}",
        "supercargo",
        &["argocd.applications=true"],
    ),
    choice(
        "{resources: [../deploy/base], components: [../deploy/components/rollback]}",
        "supercargo",
        &["rollback.deletePods=true"],
    ),
    choice(
        "{resources: [../deploy/base], components: [../deploy/components/argocd-refresh]}",
        "supercargo",
        &["argocd.refresh=true"],
    ),
    choice(
        "{resources: [../deploy/base], components: [../deploy/components/pull-secrets, ../deploy/components/git,
          ../deploy/components/argocd, ../deploy/components/argocd-refresh],
          images: [{name: supercargo, newName: registry.example.com/supercargo, newTag: 1.2.3}]}",
        "supercargo",
        &[
            r#"pullSecrets="all""#,
            "git.enabled=true",
            r#"argocd={"applications":true,"refresh":true}"#,
            r#"image={"repository":"registry.example.com/supercargo","tag":"1.2.3"}"#,
        ],
    ),
];

/// The objects by kind, namespace and name, without what belongs to Helm or to kustomize alone.
fn compared(objects: Vec<Value>) -> BTreeMap<(String, String, String), Value> {
    let pod = of_kind(&objects, "Deployment").next().unwrap()["spec"]["template"]["metadata"]["labels"].clone();
    let mut all = BTreeMap::new();
    for mut object in objects {
        // Helm installs into a namespace that is there: the page says how to make it.
        if object["kind"] == "Namespace" {
            continue;
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut name = text(&object["metadata"]["name"]);
        object["metadata"].as_object_mut().unwrap().remove("labels");
        for selector in ["/spec/selector/matchLabels", "/spec/selector", "/spec/podSelector/matchLabels"] {
            let Some(labels) = object.pointer_mut(selector) else { continue };
            if labels.get("matchLabels").is_some() {
                continue;
            }
            let labels_of_it = labels.as_object().unwrap();
            assert!(!labels_of_it.is_empty(), "{name}: {selector} selects every pod");
            for (key, value) in labels_of_it {
                assert_eq!(&pod[key], value, "{name}: {selector} selects the pod");
            }
            *labels = json!("the pod");
        }
        match object["kind"].as_str().unwrap() {
            "CustomResourceDefinition" => {
                // Kept by default when the release goes.
                if let Some(annotations) = object["metadata"].as_object_mut().unwrap().remove("annotations") {
                    assert_eq!(annotations, json!({"helm.sh/resource-policy": "keep"}));
                }
            }
            "ConfigMap" => {
                // The hash of a generator.
                if let Some((stem, _)) = name.rsplit_once('-').filter(|(_, hash)| hash.len() == 10) {
                    name = stem.to_owned();
                    object["metadata"]["name"] = json!(name);
                }
                if let Some(config) = object["data"].get_mut("config.yaml") {
                    let read: Option<Value> = serde_saphyr::from_str(config.as_str().unwrap()).unwrap();
                    *config = read.unwrap_or_else(|| json!({}));
                }
            }
            "Deployment" => normalise_pod(&mut object["spec"]["template"]),
            _ => {}
        }
        let selector = match object["kind"].as_str().unwrap() {
            "Deployment" => Some("/spec/selector/matchLabels"),
            "Service" => Some("/spec/selector"),
            "NetworkPolicy" => Some("/spec/podSelector/matchLabels"),
            _ => None,
        };
        // Without one it is of every pod.
        assert!(selector.is_none_or(|path| object.pointer(path) == Some(&json!("the pod"))), "{name}: {selector:?}");
        let key = (text(&object["kind"]), text(&object["metadata"]["namespace"]), name);
        assert!(all.insert(key.clone(), object).is_none(), "{key:?} is there twice");
    }
    all
}

/// Without an order where none counts.
fn normalise_pod(template: &mut Value) {
    template["metadata"].as_object_mut().unwrap().remove("labels");
    let spec = &mut template["spec"];
    let by_name = |list: &mut Value, key: &str| {
        list.as_array_mut().unwrap().sort_by_key(|entry| entry[key].as_str().unwrap().to_owned());
    };
    by_name(&mut spec["volumes"], "name");
    for volume in spec["volumes"].as_array_mut().unwrap() {
        if volume["name"] == "policies" {
            volume["configMap"]["name"] = json!("supercargo-policies");
        }
    }
    let container = &mut spec["containers"][0];
    by_name(&mut container["volumeMounts"], "mountPath");
    by_name(&mut container["env"], "name");
    let args = container["args"].as_array_mut().unwrap();
    assert_eq!(args[0], "run");
    args.sort_by_key(|arg| arg.as_str().unwrap().to_owned());
    // The tag that is meant where none is said.
    let image = container["image"].as_str().unwrap().to_owned();
    container["image"] = json!(image.strip_suffix(concat!(":", env!("CARGO_PKG_VERSION"))).unwrap_or(&image));
}

fn assert_same(what: &str, chart: Vec<Value>, kustomize: Vec<Value>) {
    assert_eq!(rights(&chart), rights(&kustomize), "{what}: the rights");
    let (chart, kustomize) = (compared(chart), compared(kustomize));
    let names = |objects: &BTreeMap<_, Value>| objects.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&chart), names(&kustomize), "{what}");
    for (key, object) in chart {
        assert_eq!(object, kustomize[&key], "{what}: {key:?}");
    }
}

#[test]
fn chart_and_kustomize_make_the_same_objects_for_the_same_choices() {
    for Choice { kustomization, namespace, values } in CHOICES {
        let (chart, _) = rendered("supercargo", namespace, values);
        assert_same(kustomization, chart, built(kustomization).unwrap());
    }
}

#[test]
fn each_overlay_and_component_is_among_the_choices() {
    for kind in ["overlays", "components"] {
        for entry in fs::read_dir(folder(kind)).unwrap() {
            let path = format!("../deploy/{kind}/{}", entry.unwrap().file_name().to_str().unwrap());
            let is_it = |choice: &Choice| {
                choice.kustomization.contains(&format!("{path},")) || choice.kustomization.contains(&format!("{path}]"))
            };
            assert!(CHOICES.iter().any(is_it), "{path} is no choice of the chart");
        }
    }
}

/// What install.md mounts by a patch is a value.
#[test]
fn mounted_files_are_the_same_too() {
    let page = fs::read_to_string(folder("../docs/install.md")).unwrap();
    let files = page.split("```yaml\n# my-files/kustomization.yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let values = [
        "git.enabled=true",
        r#"git.secretName="supercargo-git""#,
        r#"policies={"production":"name: production\npolicy: patch\n"}"#,
        r#"image.repository="registry.example.com/supercargo""#,
    ];
    let (chart, _) = rendered("supercargo", "supercargo", &values);
    assert_same("my-files", chart, built(files).unwrap());
}

/// What install.md says for the policies of one namespace is what the chart does there.
#[test]
fn the_policies_of_one_namespace_are_the_same_too() {
    let page = fs::read_to_string(folder("../docs/install.md")).unwrap();
    let approvals = page.split("```yaml\n# my-approvals/").nth(1).unwrap().split_once('\n').unwrap().1;
    let approvals = approvals.split("```").next().unwrap();
    let others = "{namespace: shop, resources: [../deploy/overlays/namespaced]}";
    let kustomize = [built(approvals).unwrap(), built(others).unwrap()].concat();
    let values = [r#"scope="namespace""#, "crds.install=false", "approvals=true"];
    let (chart, _) = rendered("supercargo", "shop", &values);
    assert_same("my-approvals", chart, kustomize);
}

/// What slack.md says by kustomize is what it says by values, and who is whom is written once there.
#[test]
fn what_slack_needs_is_the_same_too() {
    let page = fs::read_to_string(folder("../docs/slack.md")).unwrap();
    let shown = |first: &str| {
        let block = page.split(&format!("```yaml\n# {first}\n")).nth(1).unwrap_or_else(|| panic!("{first}"));
        block.split("```").next().unwrap().to_owned()
    };
    let values: Value = serde_saphyr::from_str(&shown("values.yaml")).unwrap();
    let values: Vec<String> = values.as_object().unwrap().iter().map(|(key, value)| format!("{key}={value}")).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    let (mut chart, test) = rendered("supercargo", "supercargo", &values);
    let output = as_in_the_pod(&test["spec"], &chart);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "ok\n", "{}", String::from_utf8_lossy(&output.stderr));
    let config = chart.iter_mut().find_map(|object| object.pointer_mut("/data/config.yaml")).unwrap();
    let read = |text: &str| serde_saphyr::from_str::<Value>(text).unwrap();
    assert_eq!(read(config.as_str().unwrap()), read(&shown("config.yaml")));
    *config = json!("");
    let slack = built(&shown("my-slack/kustomization.yaml")).unwrap();
    // People write wishes too.
    let ours = |objects: &[Value]| {
        let is_ours = |object: &&Value| object["metadata"]["name"] != "supercargo-editor";
        rights(&objects.iter().filter(is_ours).cloned().collect::<Vec<_>>())
    };
    let others = built("resources: [../deploy/base, ../deploy/approvals]").unwrap();
    let more: Vec<Right> = ours(&slack).difference(&ours(&others)).cloned().collect();
    let both = [
        right("authorization.k8s.io", "localsubjectaccessreviews", "create"),
        right("supercargo.dev", "imagestates", "patch"),
    ];
    assert_eq!(more, both);
    assert_same("my-slack", chart, slack);

    let values = [r#"scope="namespace""#, "crds.install=false", r#"slack.secretName="supercargo-slack""#];
    let (chart, _) = rendered("supercargo", "shop", &values);
    let (without, _) = rendered("supercargo", "shop", &values[..2]);
    let more: Vec<Right> = rights(&chart).difference(&rights(&without)).cloned().collect();
    assert_eq!(more, both);
    assert_same("my-slack-namespace", chart, built(&shown("my-slack-namespace/kustomization.yaml")).unwrap());
}

#[test]
fn the_definitions_of_the_chart_are_those_of_deploy() {
    let names = |folder: &std::path::Path| -> BTreeSet<String> {
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name != "kustomization.yaml").collect()
    };
    let (here, there) = (super::chart().join("files/crds"), folder("crds"));
    assert_eq!(names(&here), names(&there));
    for name in names(&here) {
        let [here, there] = [&here, &there].map(|folder| fs::read_to_string(folder.join(&name)).unwrap());
        assert_eq!(here, there, "cp deploy/crds/{name} deploy/chart/files/crds/");
    }
}

/// A release of another name: nothing is left that names `supercargo` alone, and all that is named is there.
#[test]
fn names_follow_the_release_and_what_they_name_is_there() {
    let values = [
        super::values::EVERYTHING,
        &[r#"policies={"production":"name: production\npolicy: patch\n"}"#, r#"pullSecrets="all""#],
    ]
    .concat();
    let label = Regex::new("^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$").unwrap();
    let of_labels = Regex::new("^[A-Za-z0-9]([-._A-Za-z0-9]{0,61}[A-Za-z0-9])?$").unwrap();
    for (release, more, name) in [
        ("other", &[][..], "other-supercargo"),
        ("other", &[r#"nameOverride="cargo""#], "other-cargo"),
        ("my-supercargo", &[], "my-supercargo"),
        // Services begin with a letter and hold no dot.
        ("my.release", &[], "my-release-supercargo"),
        ("123", &[], "supercargo-123"),
        ("1e3", &[], "supercargo-1e3"),
        ("4.supercargo", &[], "supercargo-4-supercargo"),
        ("no", &[r#"fullnameOverride="true""#], "true"),
        (
            "other",
            &[r#"nameOverride="n23456789012345678901234567890123456789012345678901234567890123""#],
            "other-n23456789012345678901234567890123456789012",
        ),
        ("a23456789-123456789-123456789-123456789-1234567-9-1", &[], "a23456789-123456789-123456789-123456789-1234567"),
        ("other", &[r#"fullnameOverride="ships""#], "ships"),
        (
            "other",
            &[r#"fullnameOverride="s234567890-234567890-234567890-234567890-234567890-234567890""#],
            "s234567890-234567890-234567890-234567890-2345678",
        ),
    ] {
        let values = [&values[..], more].concat();
        let (objects, test) = rendered(release, "123", &values);
        for object in objects.iter().filter(|object| object["kind"] != "CustomResourceDefinition") {
            let own = object["metadata"]["name"].as_str().unwrap();
            let is_account = object["kind"] == "ServiceAccount";
            assert!(own.len() <= 63 && (own.starts_with(name) || is_account), "{own}");
            assert!(object["kind"] != "Service" || label.is_match(own), "{own} is no name of a Service");
            for namespace in [&object["metadata"]["namespace"], &object["subjects"][0]["namespace"]] {
                assert!(["123", "argocd"].iter().any(|name| namespace == name) || namespace.is_null(), "{namespace}");
            }
            let labels = object["metadata"]["labels"].as_object().unwrap();
            for label in ["name", "instance", "version", "managed-by"] {
                assert!(labels.contains_key(&format!("app.kubernetes.io/{label}")), "{own}: {label}");
            }
            assert_eq!(labels["app.kubernetes.io/instance"], release);
            assert!(labels.contains_key("helm.sh/chart"));
        }
        let there =
            |kind: &str, named: &Value| of_kind(&objects, kind).any(|object| object["metadata"]["name"] == *named);
        for binding in of_kind(&objects, "RoleBinding").chain(of_kind(&objects, "ClusterRoleBinding")) {
            assert!(there(binding["roleRef"]["kind"].as_str().unwrap(), &binding["roleRef"]["name"]));
            let subject = &binding["subjects"][0];
            assert!(subject["namespace"] == "123" && there("ServiceAccount", &subject["name"]), "{subject}");
        }
        for binding in of_kind(&objects, "ValidatingAdmissionPolicyBinding") {
            assert!(there("ValidatingAdmissionPolicy", &binding["spec"]["policyName"]), "{binding}");
            let list = &binding["spec"]["paramRef"];
            assert!(list.is_null() || (list["namespace"] == "123" && there("ConfigMap", &list["name"])), "{list}");
        }
        let pod = &of_kind(&objects, "Deployment").next().unwrap()["spec"]["template"];
        assert!(there("ServiceAccount", &pod["spec"]["serviceAccountName"]));
        for policy in of_kind(&objects, "ValidatingAdmissionPolicy") {
            let operator =
                format!("'system:serviceaccount:123:{}'", pod["spec"]["serviceAccountName"].as_str().unwrap());
            assert_eq!(policy["spec"]["variables"][0]["expression"], operator);
        }
        for volume in pod["spec"]["volumes"].as_array().unwrap() {
            let map = &volume["configMap"]["name"];
            assert!(map.is_null() || there("ConfigMap", map), "{volume}");
        }
        let ingress = of_kind(&objects, "Ingress").next().unwrap();
        assert!(there("Service", ingress.pointer("/spec/rules/0/http/paths/0/backend/service/name").unwrap()));
        let route = of_kind(&objects, "HTTPRoute").next().unwrap();
        assert!(there("Service", route.pointer("/spec/rules/0/backendRefs/0/name").unwrap()));
        let selects = |selector: &Value, labels: &Value| {
            let selector = selector.as_object().unwrap();
            let both = ["name", "instance"].map(|label| format!("app.kubernetes.io/{label}"));
            assert!(both.iter().all(|label| selector.contains_key(label)), "{selector:?} selects pods of others");
            selector.iter().all(|(key, value)| labels[key] == *value)
        };
        let labels =
            [&pod["metadata"]["labels"], &test["metadata"]["labels"]].map(|labels| labels.as_object().unwrap());
        for value in labels.into_iter().flat_map(|labels| labels.values()) {
            assert!(of_labels.is_match(value.as_str().unwrap_or_default()), "{value} is no value of a label");
        }
        let monitor =
            of_kind(&objects, "ServiceMonitor").next().unwrap().pointer("/spec/selector/matchLabels").unwrap();
        let monitored = of_kind(&objects, "Service").filter(|service| selects(monitor, &service["metadata"]["labels"]));
        assert!(monitored.map(|service| &service["spec"]["ports"][0]["name"]).eq(["metrics"]));
        for service in of_kind(&objects, "Service") {
            assert!(selects(&service["spec"]["selector"], &pod["metadata"]["labels"]));
            assert!(!selects(&service["spec"]["selector"], &test["metadata"]["labels"]));
        }
    }
}
