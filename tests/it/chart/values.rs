//! Values: each has an effect, all stand in the schema, and what is wrong is refused by its path.

use std::collections::BTreeSet;

use regex::Regex;
use serde_json::Value;

use super::{KUBERNETES, chart, helm, parsed, rendered_text, template};
use crate::support::operator::supercargo;

/// Values that turn everything on that can be on at a time.
pub(super) const EVERYTHING: &[&str] = &[
    "git.enabled=true",
    r#"git.secretName="supercargo-git""#,
    r#"argocd={"applications":true,"refresh":true}"#,
    r#"ingress={"enabled":true,"hosts":["hooks.example.com"],"tls":[{"hosts":["hooks.example.com"],"secretName":"hooks-tls"}]}"#,
    r#"httpRoute={"enabled":true,"parentRefs":[{"name":"outer"}],"hostnames":["hooks.example.com"]}"#,
    "serviceMonitor.enabled=true",
    "approvals=true",
    r#"slack.secretName="supercargo-slack""#,
    r#"config.slack={"botTokenFile":"/run/secrets/slack/bot-token","appTokenFile":"/run/secrets/slack/app-token","appId":"A012ABCD0A0"}"#,
    r#"config.channels=[{"name":"deploys","type":"slack","channel":"C0123456789","namespaces":["shop"]}]"#,
    r#"config.approvers=[{"user":"alice","groups":["dev"],"slack":["T024BE7LD/U023BECGF"]},{"user":"bob"}]"#,
    r#"image.pullSecrets=["mine"]"#,
];

/// Each value by its path: another one, and what turns on what it is about.
const CHANGES: &[(&str, &str, &[&str])] = &[
    ("nameOverride", r#""cargo""#, &[]),
    ("fullnameOverride", r#""ships""#, &[]),
    ("image.repository", r#""registry.example.com/supercargo""#, &[]),
    ("image.tag", r#""1.2.3""#, &[]),
    ("image.digest", r#""sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef""#, &[]),
    ("image.pullSecrets", r#"["mine"]"#, &[]),
    ("config", r#"{"privateAddresses":"deny"}"#, &[]),
    ("policies", r#"{"calm":"name: calm\npolicy: minor\n"}"#, &[]),
    ("hooks.secretName", r#""others""#, &[]),
    ("extraEnv", r#"[{"name":"HTTPS_PROXY","value":"http://proxy.example.com:3128"}]"#, &[]),
    ("extraVolumes", r#"[{"name":"ca","configMap":{"name":"ca"}}]"#, &[]),
    ("extraVolumeMounts", r#"[{"name":"config","mountPath":"/etc/again","readOnly":true}]"#, &[]),
    ("extraArgs", r#"["--poll-interval=10m"]"#, &[]),
    ("podLabels", r#"{"example.com/team":"ships"}"#, &[]),
    ("podAnnotations", r#"{"example.com/scrape":"no"}"#, &[]),
    ("scope", r#""namespace""#, &[]),
    ("pullSecrets", r#""all""#, &[]),
    ("approvals", "true", &[]),
    ("git.enabled", "true", &[]),
    ("git.cacheSize", r#""8Gi""#, &["git.enabled=true"]),
    ("git.secretName", r#""supercargo-git""#, &[]),
    ("slack.secretName", r#""supercargo-slack""#, &[]),
    ("rollback.deletePods", "true", &[]),
    ("argocd.applications", "true", &[]),
    ("argocd.refresh", "true", &[]),
    ("argocd.namespace", r#""gitops""#, &["argocd.refresh=true"]),
    ("crds.install", "false", &[]),
    ("crds.keep", "false", &[]),
    ("serviceAccount.create", "false", &[r#"serviceAccount.name="ours""#]),
    ("serviceAccount.name", r#""ours""#, &[]),
    ("serviceAccount.annotations", r#"{"example.com/role":"updater"}"#, &[]),
    ("networkPolicy.enabled", "false", &[]),
    ("networkPolicy.extraEgress", r#"[{"ports":[{"port":22,"protocol":"TCP"}]}]"#, &[]),
    ("ingress.enabled", "true", &[r#"ingress.hosts=["hooks.example.com"]"#]),
    ("ingress.className", r#""nginx""#, EVERYTHING),
    ("ingress.annotations", r#"{"example.com/a":"b"}"#, EVERYTHING),
    ("ingress.hosts", r#"["other.example.com"]"#, EVERYTHING),
    ("ingress.tls", r#"[{"hosts":["hooks.example.com"],"secretName":"other-tls"}]"#, EVERYTHING),
    ("httpRoute.enabled", "true", &[r#"httpRoute.parentRefs=[{"name":"outer"}]"#]),
    ("httpRoute.annotations", r#"{"example.com/a":"b"}"#, EVERYTHING),
    ("httpRoute.parentRefs", r#"[{"name":"outer","namespace":"gateways","sectionName":"https"}]"#, EVERYTHING),
    ("httpRoute.hostnames", r#"["other.example.com"]"#, EVERYTHING),
    ("serviceMonitor.enabled", "true", &[]),
    ("serviceMonitor.labels", r#"{"release":"prometheus"}"#, EVERYTHING),
    ("serviceMonitor.interval", r#""1m""#, EVERYTHING),
    ("serviceMonitor.scrapeTimeout", r#""10s""#, EVERYTHING),
    ("resources.requests.cpu", r#""100m""#, &[]),
    ("resources.requests.memory", r#""128Mi""#, &[]),
    ("resources.limits.memory", r#""1Gi""#, &[]),
    ("nodeSelector", r#"{"kubernetes.io/os":"linux"}"#, &[]),
    ("tolerations", r#"[{"key":"infra","operator":"Exists","effect":"NoSchedule"}]"#, &[]),
    (
        "affinity",
        r#"{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"a","operator":"Exists"}]}]}}}"#,
        &[],
    ),
    (
        "topologySpreadConstraints",
        r#"[{"maxSkew":1,"topologyKey":"topology.kubernetes.io/zone","whenUnsatisfiable":"ScheduleAnyway","labelSelector":{"matchLabels":{"app.kubernetes.io/name":"supercargo"}}}]"#,
        &[],
    ),
    ("priorityClassName", r#""system-cluster-critical""#, &[]),
];

/// The paths of all that `values.yaml` holds.
fn leaves(value: &Value, path: &str, all: &mut BTreeSet<String>) {
    match value.as_object().filter(|map| !map.is_empty()) {
        None => _ = all.insert(path.trim_start_matches('.').to_owned()),
        Some(map) => map.iter().for_each(|(key, value)| leaves(value, &format!("{path}.{key}"), all)),
    }
}

#[test]
fn each_value_changed_alone_changes_what_is_made() {
    let mut all = BTreeSet::new();
    leaves(&parsed("values.yaml"), "", &mut all);
    let changed: BTreeSet<String> = CHANGES.iter().map(|(path, ..)| (*path).to_owned()).collect();
    assert_eq!(changed, all, "one change of each value");
    for (path, value, beside) in CHANGES {
        let change = format!("{path}={value}");
        let with = [beside, &[&*change][..]].concat();
        let [before, after] = [beside, &with[..]].map(|values| rendered_text("supercargo", "supercargo", values));
        assert_ne!(before, after, "{change}");
        // And what is said is heard: each text of it is there.
        let said: Value = serde_json::from_str(value).unwrap();
        if let Some(text) = said.as_str().filter(|text| !["namespace", "all"].contains(text)) {
            assert!(after.contains(text), "{change}");
        }
    }
}

#[test]
fn each_value_has_a_comment() {
    let text = std::fs::read_to_string(chart().join("values.yaml")).unwrap();
    let mut last = "";
    let mut within = "";
    let key = Regex::new(r"^ *[A-Za-z]+:").unwrap();
    for line in text.lines() {
        let is_key = key.is_match(line);
        let opens = line.ends_with(':');
        if !line.starts_with(' ') && is_key {
            within = line;
        }
        // What a block holds has comments of its own; the resources are one value.
        let is_value = is_key && !opens && within != "resources:";
        assert!(!is_value || last.trim_start().starts_with('#'), "{line} has no comment");
        last = line;
    }
}

/// Each object of the schema, by its place.
fn objects<'a>(schema: &'a Value, path: &str, all: &mut Vec<(String, &'a Value)>) {
    match schema {
        Value::Object(map) => {
            let kind = map.get("type");
            let kinds = kind.and_then(Value::as_array).cloned().unwrap_or_else(|| kind.cloned().into_iter().collect());
            if kinds.iter().any(|kind| kind == "object") {
                all.push((path.to_owned(), schema));
            }
            for (key, value) in map {
                objects(value, &format!("{path}/{key}"), all);
            }
        }
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(n, value)| objects(value, &format!("{path}/{n}"), all))
        }
        _ => {}
    }
}

#[test]
fn the_schema_holds_all_values_and_nothing_open_but_what_others_check() {
    let (schema, values) = (parsed("values.schema.json"), parsed("values.yaml"));
    let mut all = Vec::new();
    objects(&schema, "", &mut all);
    assert!(all.len() > 40);
    for (path, object) in all {
        match object.get("additionalProperties") {
            Some(Value::Bool(false)) | Some(Value::Object(_)) => {}
            None => {
                let by = object["description"].as_str().unwrap_or_default();
                let others = ["The program checks", "Nothing of it is read"];
                assert!(others.iter().any(|other| by.contains(other)), "{path} takes anything");
            }
            open => panic!("{path} takes anything: {open:?}"),
        }
    }
    let names = |object: &Value| object.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let mut known = names(&schema["properties"]);
    // What Helm hands to a chart that is a part of another.
    assert!(known.remove("global") && known.remove("enabled"));
    assert_eq!(known, names(&values));
    for (key, value) in values.as_object().unwrap() {
        let inside = &schema["properties"][key]["properties"];
        if value.as_object().is_some_and(|map| !map.is_empty()) {
            assert_eq!(names(inside), names(value), "{key}");
        }
    }
}

/// Those of the program: it names them where it is given another.
#[test]
fn the_keys_of_config_are_those_of_the_program() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.yaml"), "nothing: 1\n").unwrap();
    let output = supercargo(&["run", "--check", "--config=config.yaml"], folder.path());
    let said = String::from_utf8(output.stderr).unwrap();
    let schema = parsed("values.schema.json");
    let keys = schema["properties"]["config"]["properties"].as_object().unwrap().keys().map(String::as_str);
    let told = Regex::new("expected one of (.*) at line").unwrap();
    let told = told.captures(&said).unwrap_or_else(|| panic!("{said}")).get(1).unwrap().as_str();
    assert_eq!(told.split(", ").collect::<BTreeSet<_>>(), keys.collect());
}

/// What is wrong, and where it is said to be.
const BAD: &[(&[&str], &str)] = &[
    (&["replicas=0"], "at '': additional properties 'replicas' not allowed"),
    (&[r#"podDisruptionBudget={"minAvailable":1}"#], "at '': additional properties 'podDisruptionBudget' not allowed"),
    (&["approval=true"], "at '': additional properties 'approval' not allowed"),
    (&["approvals=2"], "at '/approvals': got number, want boolean"),
    (&[r#"scope="team""#], "at '/scope'"),
    (&[r#"extraEnv=[{"name":"NAMESPACE","value":"x"}]"#], "at '/extraEnv/0/name'"),
    (&[r#"extraEnv=[{"name":"SUPERCARGO_HOOK_SECRET_GITHUB","value":"x"}]"#], "at '/extraEnv/0/name'"),
    (&["scope=null"], "at '': missing property 'scope'"),
    (&[r#"pullSecrets=["mine"]"#], "at '/pullSecrets'"),
    (&["image.tag=1.0"], "at '/image/tag': got number, want string"),
    (&[r#"image.repository="registry.example.com/supercargo:1.0""#], "at '/image/repository'"),
    (&[r#"image.repository="""#], "at '/image/repository'"),
    (&[r#"image.digest="sha256:12""#], "at '/image/digest'"),
    (&[r#"image.name="x""#], "at '/image': additional properties 'name' not allowed"),
    (&[r#"image.pullSecrets=[{"name":"mine"}]"#], "at '/image/pullSecrets/0': got object, want string"),
    (&[r#"config={"registry":[]}"#], "at '/config': additional properties 'registry' not allowed"),
    (&[r#"config="registries: []""#], "at '/config': got string, want null or object"),
    (
        &[r#"config.approvers=[{"user":"alice","slack":["alice@example.com"]}]"#],
        "at '/config/approvers/0/slack/0': 'alice@example.com' does not match",
    ),
    // One line would be two.
    (&[r#"config.approvers=[{"user":"a\nslack:T024BE7LD/U023BECGF b"}]"#], "at '/config/approvers/0/user'"),
    (&[r#"config.approvers=[{"user":1000}]"#], "at '/config/approvers/0/user': got number"),
    (&[r#"config.approvers=[{"slack":[]}]"#], "at '/config/approvers/0': missing property 'user'"),
    (&["slack.enabled=true"], "at '/slack': additional properties 'enabled' not allowed"),
    (&[r#"policies={"calm":{"policy":"minor"}}"#], "at '/policies/calm': got object, want string"),
    (&[r#"policies={"a/b":"x"}"#], "at '/policies': additional properties 'a/b' not allowed"),
    (&[r#"extraEnv=[{"value":"x"}]"#], "at '/extraEnv/0': missing property 'name'"),
    (&[r#"extraArgs=["--listen=0.0.0.0:1"]"#], "at '/extraArgs/0'"),
    (&[r#"extraArgs=["poll"]"#], "at '/extraArgs/0'"),
    (&[r#"extraArgs=["--help"]"#], "at '/extraArgs/0'"),
    (&[r#"extraArgs=["-h"]"#], "at '/extraArgs/0'"),
    (&[r#"extraArgs=["--version"]"#], "at '/extraArgs/0'"),
    (&[r#"podLabels={"a":1}"#], "at '/podLabels/a': got number, want string"),
    (&[r#"podAnnotations={"a":true}"#], "at '/podAnnotations/a': got boolean, want string"),
    (
        &[r#"nameOverride="n234567890123456789012345678901234567890123456789012345678901234""#],
        "at '/nameOverride': maxLength",
    ),
    (
        &[r#"extraVolumes=[{"name":"root","hostPath":{"path":"/"}}]"#],
        "at '/extraVolumes/0': additional properties 'hostPath'",
    ),
    (&[r#"extraVolumeMounts=[{"name":"a","mountPath":"relative"}]"#], "at '/extraVolumeMounts/0/mountPath'"),
    (&[r#"git.cacheSize="much""#], "at '/git/cacheSize'"),
    (&["argocd.enabled=true"], "at '/argocd': additional properties 'enabled' not allowed"),
    (&[r#"crds.keep="yes""#], "at '/crds/keep': got string, want boolean"),
    (&[r#"networkPolicy.extraEgress=[{"port":22}]"#], "at '/networkPolicy/extraEgress/0'"),
    (&["networkPolicy.extraEgress=[{}]"], "at '/networkPolicy/extraEgress/0': minProperties"),
    (&[r#"networkPolicy.extraEgress=[{"ports":[]}]"#], "at '/networkPolicy/extraEgress/0/ports': minItems"),
    (
        &[r#"networkPolicy.extraEgress=[{"to":[],"ports":[{"port":22}]}]"#],
        "at '/networkPolicy/extraEgress/0/to': minItems",
    ),
    (&[r#"networkPolicy.extraEgress=[{"ports":[{}]}]"#], "at '/networkPolicy/extraEgress/0/ports/0': minProperties"),
    (&[r#"ingress.hosts=["https://hooks.example.com"]"#], "at '/ingress/hosts/0'"),
    (&[r#"serviceMonitor.interval="often""#], "at '/serviceMonitor/interval'"),
    (&[r#"resources.limits.memory="lots""#], "at '/resources/limits/memory'"),
    (&[r#"resources.limits.memory="-1Gi""#], "at '/resources/limits/memory'"),
    (&["resources.requests.cpu=-1"], "at '/resources/requests/cpu': minimum"),
    (&["resources.requests.cpu=-0.5"], "at '/resources/requests/cpu': minimum"),
    (&["git.cacheSize=-2"], "at '/git/cacheSize': minimum"),
    (&[r#"tolerations=[{"effect":"Never"}]"#], "at '/tolerations/0/effect'"),
    (
        &[
            r#"affinity={"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"a"}]}]}}}"#,
        ],
        "nodeSelectorTerms/0/matchExpressions/0': missing property 'operator'",
    ),
    (
        &[r#"affinity={"podAntiAffinity":{"wrong":[]}}"#],
        "at '/affinity/podAntiAffinity': additional properties 'wrong'",
    ),
    (
        &[r#"extraVolumes=[{"name":"a","secret":{"secretName":1}}]"#],
        "at '/extraVolumes/0/secret/secretName': got number",
    ),
    (&[r#"affinity={"node":{}}"#], "at '/affinity': additional properties 'node' not allowed"),
];

#[test]
fn what_is_wrong_is_refused_by_its_path() {
    assert!(BAD.len() >= 20);
    for (values, place) in BAD {
        let output = template("supercargo", "supercargo", values);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && output.stdout.is_empty(), "{values:?} are taken");
        assert!(said.contains(place), "{values:?}: {place} in {said}");
        // Nothing else is wrong with it.
        let places = said.lines().filter(|line| line.contains("- at '") && !line.ends_with("'allOf' failed"));
        assert_eq!(places.count(), 1, "{said}");
    }
}

/// What is wrong with one value beside another, and the sentences that say so.
const TOGETHER: &[(&[&str], &[&str])] = &[
    (
        &[r#"scope="namespace""#, r#"pullSecrets="all""#, r#"argocd={"applications":true,"refresh":true}"#],
        &[
            "pullSecrets: with `scope: namespace` the operator has no right outside its namespace, so it is not `all`",
            "argocd.applications: with `scope: namespace` the operator has no right outside its namespace, so it is false",
            "argocd.refresh: with `scope: namespace` the operator has no right outside its namespace, so it is false",
        ],
    ),
    (
        &[r#"config={"git":[{"name":"prod"}],"slack":{"appId":"A012ABCD0A0"}}"#, "serviceAccount.create=false"],
        &[
            "git.enabled: `config.git` names targets, which need a folder for clones: set it to true",
            "slack.secretName: `config.slack` is about an app, whose tokens are in a Secret: name it",
            "serviceAccount.name: with `serviceAccount.create: false` it must name the one that is there",
        ],
    ),
    (
        &["ingress.enabled=true", "httpRoute.enabled=true"],
        &[
            "ingress.hosts: with `ingress.enabled: true` it must name a host",
            "httpRoute.parentRefs: with `httpRoute.enabled: true` it must name a Gateway",
        ],
    ),
    (
        &[
            r#"extraEnv=[{"name":"A","value":"1"},{"name":"A","value":"2"}]"#,
            r#"extraVolumes=[{"name":"git","configMap":{"name":"a"}}]"#,
            r#"podLabels={"app.kubernetes.io/name":"a"}"#,
        ],
        &[
            "podLabels: `app.kubernetes.io/name` selects the pod, and is the chart's own",
            "extraEnv: `A` is there twice",
            "extraVolumes: `git` is there twice, or the name of one that the chart has",
        ],
    ),
];

#[test]
fn what_is_wrong_with_values_together_is_told_in_sentences_all_at_once() {
    for (values, sentences) in TOGETHER {
        let output = template("supercargo", "supercargo", values);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && output.stdout.is_empty(), "{values:?} are taken");
        let lines: Vec<&str> =
            said.lines().filter(|line| line.contains(": ") && !line.starts_with("Error: ")).collect();
        assert_eq!(&lines, sentences, "{said}");
    }
}

/// Each value that is a list or a map, also those within, left empty as a person does who has not filled it in yet.
#[test]
fn what_is_left_empty_is_as_if_it_were_not_there() {
    let values = parsed("values.yaml");
    let empty = |value: &Value| {
        value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(serde_json::Map::is_empty)
    };
    let mut all = String::new();
    for (key, value) in values.as_object().unwrap() {
        if empty(value) {
            all.push_str(&format!("{key}:\n"));
        } else if let Some(map) = value.as_object() {
            let inside: Vec<_> =
                map.iter().filter(|(_, value)| empty(value)).map(|(key, _)| format!("  {key}:\n")).collect();
            if !inside.is_empty() {
                all.push_str(&format!("{key}:\n{}", inside.concat()));
            }
        }
    }
    assert!(
        ["config:\n", "policies:\n", "extraEnv:\n", "  pullSecrets:\n"].iter().all(|line| all.contains(line)),
        "{all}"
    );
    let made = |text: &str| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, text).unwrap();
        let home = tempfile::tempdir().unwrap();
        let mut command = helm(home.path());
        command.args(["template", "supercargo", "deploy/chart", KUBERNETES, "--values"]).arg(file.path());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{text}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(made(&all), made("{}"));
    let keys = parsed("values.schema.json")["properties"]["config"]["properties"].as_object().unwrap().clone();
    let keys: String = keys.keys().map(|key| format!("  {key}:\n")).collect();
    assert_eq!(made(&format!("config:\n{keys}")), made("{}"));
}

/// A chart that has this one as a part, with the condition that such charts have.
#[test]
fn it_can_be_a_part_of_another_chart() {
    let folder = tempfile::tempdir().unwrap();
    let charts = folder.path().join("charts");
    std::fs::create_dir(&charts).unwrap();
    let copied = std::process::Command::new("cp").arg("-r").arg(chart()).arg(charts.join("supercargo")).status();
    assert!(copied.unwrap().success());
    let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    put(
        "Chart.yaml",
        &format!(
            "apiVersion: v2\nname: platform\nversion: 1.0.0\ndependencies:\n- {{name: supercargo, version: {version}, condition: supercargo.enabled}}\n"
        ),
    );
    put(
        "values.yaml",
        "global: {domain: example.com}\nsupercargo:\n  enabled: true\n  config:\n  policies:\n  extraArgs:\n  scope: namespace\n",
    );
    let made = |value: &str| {
        let mut command = helm(folder.path());
        let output =
            command.args(["template", "p"]).arg(folder.path()).args([KUBERNETES, "--set", value]).output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (good, made_of_it, said) = made("supercargo.enabled=true");
    assert!(good, "{said}");
    assert!(made_of_it.contains("kind: Deployment") && made_of_it.contains(r#"name: "p-supercargo""#), "{made_of_it}");
    let (good, made_of_none, said) = made("supercargo.enabled=false");
    assert!(good && !made_of_none.contains("kind:"), "{said}");
    let (good, _, said) = made("supercargo.pullSecrets=all");
    assert!(!good && said.contains("pullSecrets: with `scope: namespace`"), "{said}");
}

/// Whoever reads `helm show values` has no checkout.
#[test]
fn what_a_person_with_the_chart_alone_reads_names_no_file_of_the_repository() {
    for path in ["values.yaml", "values.schema.json", "Chart.yaml", "templates/NOTES.txt", "templates/configmaps.yaml"]
    {
        let text = std::fs::read_to_string(chart().join(path)).unwrap();
        assert!(!text.contains("docs/") && !text.contains(".md"), "{path}");
    }
}

/// Helm reads a file of values by YAML 1.1, where `no` is false and `1.10` the number 1.1: neither may get into `config`.
#[rstest::rstest]
#[case("guards: [{namespaces: [de, no, se], policies: [patch]}]", "at '/config/guards/0/namespaces/1': got boolean")]
#[case("git: [{name: prod, branch: 1.10}]", "at '/config/git/0/branch': got number")]
#[case("git: [{name: prod, paths: [0123]}]", "at '/config/git/0/paths/0': got number")]
#[case("hooks: {generic: {hosts: {a: on}}}", "at '/config/hooks/generic/hosts/a': got boolean")]
fn what_helm_would_change_in_config_is_refused(#[case] config: &str, #[case] says: &str) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, format!("config:\n  {config}\n")).unwrap();
    let (path, home) = (file.path().to_str().unwrap(), tempfile::tempdir().unwrap());
    let mut command = helm(home.path());
    let output =
        command.args(["template", "supercargo", "deploy/chart", KUBERNETES, "--values", path]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains(says), "{said}");
}
