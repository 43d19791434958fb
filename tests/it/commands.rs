//! The commands on a folder and on a cluster, with a real registry.

use std::{path::Path, process::Command};

use serde_json::{Value, json};

use crate::support::{
    control_plane::{ADMIN, shared},
    keys::{Certified, self_signed, self_signed_ca},
    objects::{deployment, event_says, policy},
    operator::{Operator, Setup, supercargo},
    registry::{Access, Options, PASSWORD, Registry, USER, docker_config},
    tls::TlsListener,
};

const WEB: &str = "\
# front end
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  annotations: {supercargo.dev/policy: minor}
spec:
  template:
    spec:
      containers:
      - name: web
        image: HOST/team/web:1.0.0   # the tag alone changes
---
apiVersion: batch/v1
kind: CronJob
metadata:
  name: nightly
  namespace: jobs
spec:
  jobTemplate:
    spec:
      template:
        spec:
          containers:
          - {name: job, image: 'HOST/team/job:2.0.0'}
---
apiVersion: v1
kind: Namespace
metadata:
  name: jobs
  annotations:
    supercargo.dev/policy: patch
";

async fn folder() -> (Registry, tempfile::TempDir, String) {
    let registry = Registry::start().await;
    registry.push_tags("team/web", ["1.0.0", "1.1.0", "1.2.0-rc1", "2.0.0"]).await;
    registry.push_tags("team/job", ["2.0.0", "2.0.7", "2.1.0"]).await;
    let text = WEB.replace("HOST", &registry.host);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("web.yaml"), &text).unwrap();
    (registry, folder, text)
}

fn run(args: &[&str], folder: &Path) -> (i32, String, String) {
    let output = supercargo(args, folder);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn plan(args: &[&str], folder: &Path) -> Vec<Value> {
    let args: Vec<&str> = ["plan", "-o", "json"].iter().chain(args).copied().collect();
    let (code, out, err) = run(&args, folder);
    assert_eq!(code, 0, "{err}");
    serde_json::from_str(&out).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn plan_says_for_a_folder_what_would_change_and_why_not() {
    let (registry, folder, text) = folder().await;

    let rows = plan(&["."], folder.path());

    assert_eq!(rows.len(), 2);
    let job = rows.iter().find(|row| row["container"] == "job").unwrap();
    assert_eq!(
        job["workload"],
        json!({"kind": "CronJob", "namespace": "jobs", "name": "nightly", "source": "web.yaml:14"})
    );
    assert_eq!((&job["decision"], &job["to"], &job["policy"]), (&json!("update"), &json!("2.0.7"), &json!("patch")));
    assert_eq!(job["toImage"], format!("{}/team/job:2.0.7", registry.host));
    let web = rows.iter().find(|row| row["container"] == "web").unwrap();
    let reasons = web["reasons"].as_array().unwrap();
    let code = |tag: &str| &reasons.iter().find(|reason| reason["tag"] == tag).unwrap()["code"];
    assert_eq!((code("1.2.0-rc1"), code("2.0.0")), (&json!("pre-release"), &json!("outside-level")));
    assert_eq!(std::fs::read_to_string(folder.path().join("web.yaml")).unwrap(), text);
    assert_eq!(run(&["plan", ".", "--exit-code"], folder.path()).0, 10);
    let (code, table, _) = run(&["plan", "."], folder.path());
    assert_eq!(code, 0);
    assert!(table.starts_with("WORKLOAD") && table.contains("jobs/CronJob/nightly"), "{table}");
}

#[tokio::test(flavor = "multi_thread")]
async fn update_edits_a_folder_in_place_and_prints_the_difference() {
    let (_registry, folder, text) = folder().await;
    let path = folder.path().join("web.yaml");
    let new = text.replace("web:1.0.0", "web:1.1.0").replace("job:2.0.0", "job:2.0.7");

    let (code, dry, err) = run(&["update", ".", "--dry-run"], folder.path());
    assert_eq!((code, std::fs::read_to_string(&path).unwrap()), (0, text), "{err}");
    let (code, diff, err) = run(&["update", "."], folder.path());

    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), new);
    assert_eq!(diff, dry);
    assert!(diff.starts_with("--- a/web.yaml\n+++ b/web.yaml\n"), "{diff}");
    assert_eq!(run(&["update", "."], folder.path()), (0, String::new(), String::new()));
    assert_eq!(run(&["plan", ".", "--exit-code"], folder.path()).0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_does_not_answer_is_said_and_the_rest_is_updated() {
    let (registry, folder, text) = folder().await;
    let dead = text.replace(&format!("{}/team/job", registry.host), "127.0.0.1:1/team/job");
    std::fs::write(folder.path().join("web.yaml"), &dead).unwrap();

    let (code, _, err) = run(&["update", "."], folder.path());

    assert_eq!(code, 1);
    assert!(err.contains("jobs/CronJob/nightly") && err.contains("127.0.0.1:1"), "{err}");
    let text = std::fs::read_to_string(folder.path().join("web.yaml")).unwrap();
    assert_eq!(text, dead.replace("web:1.0.0", "web:1.1.0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_cannot_be_edited_exactly_is_left_and_the_rest_is_updated() {
    let (_registry, folder, text) = folder().await;
    let aliased = |text: &str| {
        text.replacen("        image: ", "        image: &image ", 1).replacen(
            "---\n",
            "        env: [{name: IMAGE, value: *image}]\n---\n",
            1,
        )
    };
    for name in ["a.yaml", "b.yaml"] {
        std::fs::write(folder.path().join(name), aliased(&text)).unwrap();
    }

    let (code, diff, err) = run(&["update", "."], folder.path());

    assert_eq!(code, 1);
    let updated = |text: &str| text.replace("job:2.0.0", "job:2.0.7");
    for name in ["a.yaml", "b.yaml"] {
        let said = format!("{name}:2 Deployment/web web: not updated: folder .: {name}: line 12: ");
        assert!(err.contains(&said), "{err}");
        assert_eq!(std::fs::read_to_string(folder.path().join(name)).unwrap(), updated(&aliased(&text)));
        assert!(diff.contains(&format!("+++ b/{name}")), "{diff}");
    }
    let web = std::fs::read_to_string(folder.path().join("web.yaml")).unwrap();
    assert_eq!(web, updated(&text).replace("web:1.0.0", "web:1.1.0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_holds_up_a_container_holds_up_those_that_follow_it() {
    let (_registry, folder, text) = folder().await;
    let (first, _) = text.split_once("---\n").unwrap();
    let init = "      initContainers:\n      - {name: init, image: 127.0.0.1:1/team/web:1.0.0}\n";
    let host = first.split("image: ").nth(1).unwrap().split("/team").next().unwrap();
    let text = format!("{}{init}", first.replace(host, "127.0.0.1:1"));
    std::fs::write(folder.path().join("web.yaml"), text).unwrap();

    let rows = plan(&["."], folder.path());

    let codes = |row: &Value| -> Vec<String> {
        row["reasons"].as_array().unwrap().iter().map(|reason| reason["code"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!((&rows[1]["container"], &rows[1]["decision"]), (&json!("init"), &json!("blocked")));
    assert_eq!(codes(&rows[1]), ["registry-unavailable", "follows"]);
}

/// Calls that cannot be done as they stand, for each command.
const BAD_CALLS: &[&str] = &[
    "",
    "plna",
    "run --log-level a=b=c",
    "run --log-format xml",
    "run --poll-interval 0s",
    "run --poll-interval 5",
    "run --keel maybe",
    "run --hooks-listen nowhere",
    "run --hooks-tls-cert file",
    "run --hooks-allow-unsigned nobody",
    "run --config nowhere",
    "run --config file",
    "run --config later.yaml",
    "run --policies nowhere",
    "run --once",
    "run --git nowhere",
    "run --git ftp://git.example.com/a.git",
    "run --git https://user:geheim@git.example.com/a.git",
    "run --git . --namespace shop",
    "run --git . --branch a..b",
    "run --git . --path a[",
    "plan nowhere",
    "plan . --config nowhere",
    "plan . --config file",
    "plan . --policies nowhere",
    "plan . --policies policies",
    "plan --kubeconfig nowhere",
    "plan --kubeconfig kubeconfig --context nobody",
    "plan . --namespace shop",
    "plan . --output xml",
    "plan --verbose",
    "update",
    "update nowhere",
    "update . --keel maybe",
    "update . --config file",
    "explain",
    "explain web",
    "explain pod/web",
    "explain a/b/c/d",
    "explain deploy/",
    "explain deploy/web --file nowhere",
    "explain deploy/web --policy minor",
    "explain --policy minor --current 1.0.0",
    "explain --policy minor --tags nowhere",
    "explain --policy mayor --current 1.0.0 --tags file",
    "explain --policy minor --current a:b --tags file",
    "explain --policy digest --tags file",
    "explain --policy minor --order upwards --tags file",
    "status web",
    "status pod/web",
    "status /deploy/web",
    "status a/b/c/d",
    "status deploy/web --all-namespaces",
    "status --namespace shop --all-namespaces",
    "status --output xml",
    "status --kubeconfig nowhere",
    "status --kubeconfig kubeconfig --context nobody",
    "approve",
    "approve pod/web",
    "approve a/b/c/d --yes",
    "approve deploy/web",
    "approve deploy/web --override window --yes",
    "approve deploy/web --override freeze --reason r --yes",
    "approve deploy/web --yes --kubeconfig nowhere",
    "rollback",
    "rollback pod/web",
    "rollback a/b/c/d",
    "rollback deploy/web --to",
    "rollback deploy/web --kubeconfig nowhere",
    "hold",
    "hold pod/web",
    "hold --all",
    "hold deploy/web --all --reason r",
    "hold deploy/web --kubeconfig nowhere",
    "resume",
    "resume --all --keep-quarantine",
    "resume deploy/web --namespace",
    "resume --all --kubeconfig nowhere",
    "reject",
    "reject deploy/web",
    "reject deploy/web --override window --reason r --yes",
    "reject deploy/web --yes --kubeconfig nowhere",
    "policy",
    "policy test",
    "policy test nowhere",
    "policy test file",
    "set-image",
    "set-image file",
    "set-image . --path a --value b",
    "set-image nowhere --path a --value b",
    "set-image file --path a --value b --tag c",
    "set-image file --path b --value c",
    "set-image file --path a..b --value c",
    "set-image file --image web",
    "set-image file --image registry.example.com/web --tag a:b",
    "set-image file --image registry.example.com/web --digest abc",
    "set-image file --image registry.example.com/web --tag 1.0.0",
    "migrate nowhere",
    "migrate . --namespace shop",
    "migrate --write",
    "migrate --kubeconfig nowhere",
    "hooks",
    "hooks test",
    "hooks test nobody --url http://127.0.0.1:1",
    "hooks test distribution --url nowhere",
    "hooks test distribution --url http://127.0.0.1:1 --image web:",
    "hooks test distribution --url http://127.0.0.1:1 --config nowhere",
    "notify",
    "notify test",
    "notify test deploys --config nowhere",
    "notify test deploys --config later.yaml",
    "notify test deploys --config file",
    "notify test deploys --config nobody.yaml",
    "crds now",
    "demo now",
];

#[test]
fn each_bad_call_is_answered_by_one_error_that_says_what_to_write() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("file", "a: 1\n");
    write(
        "later.yaml",
        "verifiers: []\nshard: {}\nhooks: {ecr: {}, nobody: {}}\nregistries: [{host: r.io, proxy: 'http://proxy'}]\n",
    );
    write("nobody.yaml", "approvers: []\n");
    write("kubeconfig", "apiVersion: v1\nkind: Config\n");
    std::fs::create_dir(folder.path().join("policies")).unwrap();
    write("policies/ours.yaml", "{name: ours, description: d, policy: mayor}\n");
    let list = run(&["--help"], folder.path()).1;
    let list = list.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let commands =
        list.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|name| !name.is_empty()));
    for name in commands.filter(|name| *name != "help") {
        let is_its = |call: &&&str| call.split(' ').next() == Some(name);
        assert!(BAD_CALLS.iter().filter(is_its).count() > 0, "no bad call of {name}");
    }

    let mut all = String::new();
    for call in BAD_CALLS {
        let args: Vec<&str> = call.split(' ').filter(|arg| !arg.is_empty()).collect();
        let (code, out, err) = run(&args, folder.path());
        assert_eq!(code, 2, "{call}: {out} {err}");
        assert!(!err.contains("geheim"), "{call}: {err}");
        all.push_str(&format!("$ supercargo {call}\n{out}{err}\n"));
    }
    insta::assert_snapshot!("bad_calls", all.replace(folder.path().to_str().unwrap(), "FOLDER"));
}

#[tokio::test(flavor = "multi_thread")]
async fn plan_and_explain_print_these_tables() {
    let (registry, folder, text) = folder().await;
    let more = "
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: gone, namespace: jobs}
spec: {template: {spec: {containers: [{name: db, image: 'HOST/team/none:1.0.0'}]}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: held, namespace: jobs, annotations: {supercargo.dev/suspend: 'true'}}
spec: {template: {spec: {containers: [{name: job, image: 'HOST/team/job:2.0.0'}, {name: odd, image: 'HOST/team/job'}]}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: misspelt, annotations: {supercargo.dev/polcy: minor}}
spec: {template: {spec: {containers: [{name: web, image: 'HOST/team/web:1.1.0'}]}}}
";
    let text = text + more.replace("HOST", &registry.host).as_str();
    std::fs::write(folder.path().join("web.yaml"), text).unwrap();
    // A port has five digits, nearly always, and the words align columns.
    let shown = |args: &[&str]| {
        let (code, out, err) = run(args, folder.path());
        format!("{out}{err}[{code}]\n").replace(&registry.host, "127.0.0.1:PORT.")
    };
    insta::assert_snapshot!("plan_table", shown(&["plan", "."]));
    insta::assert_snapshot!("explain_table", shown(&["explain", "-f", "web.yaml"]));
}

#[test]
fn explain_takes_the_configuration_of_an_operator() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("c.yaml"), "hooks: {distribution: {secretFiles: [/run/secrets/hook]}}\n")
        .unwrap();
    std::fs::write(folder.path().join("tags"), "1.0.0\n1.1.0\n").unwrap();
    let args = ["explain", "--policy", "minor", "--current", "1.0.0", "--tags", "tags", "--config", "c.yaml"];
    let (code, text, err) = run(&args, folder.path());
    assert!(code == 0 && text.contains("1.1.0"), "{code} {text} {err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_cluster_plan_says_what_the_operator_would_and_not_what_the_users_login_may() {
    let plane = shared().await;
    let registry = Registry::start_with(Options { access: Access::Password, ..Options::default() }).await;
    registry.push_tags("web", ["1.0.0", "1.0.1"]).await;
    let namespace = plane.namespace("login").await;
    let object = deployment("web", &format!("{}/web:1.0.0", registry.host), policy("patch"));
    namespace.create(&object.to_string()).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), docker_config(&registry.host, USER, PASSWORD)).unwrap();
    std::fs::write(folder.path().join("web.json"), object.to_string()).unwrap();
    let decision = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_supercargo"));
        command.args(["plan", "-o", "json"]).args(args).env("DOCKER_CONFIG", folder.path()).current_dir(&folder);
        let rows: Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
        rows[0]["decision"].as_str().unwrap().to_owned()
    };
    let kubeconfig = plane.kubeconfig(ADMIN);
    assert_eq!(decision(&["web.json"]), "update");
    assert_eq!(decision(&["--kubeconfig", kubeconfig.to_str().unwrap(), "-n", &namespace.name]), "blocked");
}

#[test]
fn the_demonstration_finds_decides_and_edits() {
    let (code, out, err) = run(&["demo"], Path::new("."));
    assert_eq!((code, err.as_str()), (0, ""));
    for line in ["+          image: \"", "/shop/web:1.0.1\"", "calendar-jump", "pre-release", "other-flavour"] {
        assert!(out.contains(line), "{line}\n{out}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plan_says_for_a_cluster_what_would_change() {
    let (plane, registry) = (shared().await, Registry::start().await);
    let namespace = plane.namespace("plan").await;
    registry.push_tags("web", ["1.0.0", "1.0.1"]).await;
    namespace
        .create(
            &json!({
                "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": "web", "annotations": {"supercargo.dev/policy": "patch"}},
                "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "web", "image": format!("{}/web:1.0.0", registry.host)}]},
                }},
            })
            .to_string(),
        )
        .await;
    let kubeconfig = plane.kubeconfig(ADMIN);

    let rows = plan(&["--kubeconfig", kubeconfig.to_str().unwrap(), "-n", &namespace.name], Path::new("."));

    assert_eq!(rows.len(), 1);
    assert_eq!(
        rows[0]["workload"],
        json!({"kind": "Deployment", "namespace": namespace.name, "name": "web", "source": "cluster"})
    );
    assert_eq!((&rows[0]["decision"], &rows[0]["to"]), (&json!("update"), &json!("1.0.1")));
    let workload = format!("{}/deployment/web", namespace.name);
    let (code, text, err) = run(&["explain", "--kubeconfig", kubeconfig.to_str().unwrap(), &workload], Path::new("."));
    assert_eq!((code, err.as_str()), (0, ""));
    let chosen = text.lines().find(|line| line.starts_with("1.0.1")).unwrap();
    assert!(chosen.contains("chosen") && text.contains("decision   update"), "{text}");
    let missing = run(&["explain", "--kubeconfig", kubeconfig.to_str().unwrap(), "sts/x/y/z"], Path::new("."));
    assert_eq!(missing.0, 2);
    assert_eq!(namespace.images("deployments", "web").await, [format!("{}/web:1.0.0", registry.host)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn plan_strict_ends_with_1_if_anything_is_blocked_or_a_problem() {
    let (_registry, folder, text) = folder().await;
    assert_eq!(run(&["plan", ".", "--strict"], folder.path()).0, 0);
    assert_eq!(run(&["plan", ".", "--strict", "--exit-code"], folder.path()).0, 10);
    for (old, new) in [
        ("team/job:2.0.0", "team/none:2.0.0"),
        ("team/job:2.0.0", "team/job:latest"),
        ("policy: minor}", "policy: minor, supercargo.dev/suspend: 'true'}"),
        ("policy: minor}", "polcy: minor}"),
    ] {
        std::fs::write(folder.path().join("web.yaml"), text.replace(old, new)).unwrap();
        assert_eq!(run(&["plan", "."], folder.path()).0, 0, "{new}");
        assert_eq!(run(&["plan", ".", "--strict", "--exit-code"], folder.path()).0, 1, "{new}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_misspelt_key_without_a_policy_is_a_problem_wherever_it_is_shown() {
    let (registry, folder, text) = folder().await;
    let text = text.replace("policy: minor}", "polcy: minor}");
    std::fs::write(folder.path().join("web.yaml"), &text).unwrap();
    let said = "is `supercargo.dev/policy` meant?";

    let rows = plan(&["."], folder.path());
    let web = rows.iter().find(|row| row["container"] == "web").unwrap();
    assert_eq!((&web["decision"], &web["reasons"][0]["code"]), (&json!("problem"), &json!("annotation-unknown")));
    let (_, table, _) = run(&["plan", "."], folder.path());
    let row = table.lines().find(|line| line.starts_with("Deployment/web")).unwrap();
    assert!(row.contains(" problem ") && row.contains(said), "{row}");
    let (code, _, err) = run(&["update", "."], folder.path());
    assert!(code == 1 && err.contains("Deployment/web") && err.contains(said), "{code} {err}");

    let plane = shared().await;
    let namespace = plane.namespace("misspelt").await;
    let image = format!("{}/team/web:1.0.0", registry.host);
    namespace.create(&deployment("web", &image, json!({"supercargo.dev/polcy": "minor"})).to_string()).await;
    let operator = Operator::start(plane, &Setup::in_namespace(&namespace, "1h")).await;
    assert!(event_says(&namespace, "web", "(annotation-unknown)").await.contains(said));
    assert_eq!(operator.metric("supercargo_problems", "annotation-unknown").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_reads_a_file_as_it_reads_a_cluster() {
    let (_registry, folder, text) = folder().await;
    let explain = |args: &[&str]| run(&[&["explain", "-f", "web.yaml"], args].concat(), folder.path());

    let (code, all, err) = explain(&[]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(all.contains("Deployment/web") && all.contains("jobs/CronJob/nightly"), "{all}");
    let line = |text: &str, tag: &str| text.lines().find(|line| line.starts_with(tag)).unwrap().to_owned();
    assert!(line(&all, "1.1.0").contains("chosen") && line(&all, "1.2.0-rc1").contains("pre-release"), "{all}");
    for one in [&["cj/nightly"][..], &["jobs/cj/nightly"], &["cj/nightly", "-n", "jobs"]] {
        let (code, job, err) = explain(one);
        assert!(code == 0 && job.contains("2.0.7") && !job.contains("Deployment/web"), "{code} {job} {err}");
    }
    let (code, _, err) = explain(&["elsewhere/cj/nightly"]);
    assert!(code == 1 && err.contains("elsewhere/cj/nightly is not in web.yaml"), "{code} {err}");
    let (code, _, err) = explain(&["pod/web"]);
    assert!(code == 2 && err.contains("the kinds are"), "{code} {err}");

    std::fs::write(folder.path().join("web.yaml"), text.replace("supercargo.dev/policy: minor", "x: y")).unwrap();
    let (code, _, err) = explain(&["deploy/web"]);
    assert!(code == 1 && err.contains("no policy applies to deploy/web"), "{code} {err}");
    std::fs::write(folder.path().join("web.yaml"), "a: 1\n").unwrap();
    let (code, _, err) = explain(&[]);
    assert!(code == 1 && err.contains("no workload is in web.yaml"), "{code} {err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_tells_a_workload_that_is_not_there_from_one_that_no_policy_applies_to() {
    let plane = shared().await;
    let namespace = plane.namespace("causes").await;
    namespace.create(&deployment("web", "127.0.0.1:1/web:1.0.0", json!({})).to_string()).await;
    let kubeconfig = plane.kubeconfig(ADMIN);
    let explain = |name: &str| {
        let workload = format!("{}/deploy/{name}", namespace.name);
        run(&["explain", "--kubeconfig", kubeconfig.to_str().unwrap(), &workload], Path::new("."))
    };
    let (code, _, err) = explain("web");
    assert!(code == 1 && err.contains("no policy applies to"), "{code} {err}");
    let (code, _, err) = explain("wbe");
    let says = format!("there is no Deployment wbe in the namespace {}", namespace.name);
    assert!(code == 1 && err.contains(&says), "{code} {err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_certificate_is_a_cas_own_is_told_what_to_make_instead() {
    let folder = tempfile::tempdir().unwrap();
    let serve = async |certified: &Certified| {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(axum::serve(TlsListener::new(listener, certified), axum::Router::new()).into_future());
        std::fs::write(folder.path().join("ca.pem"), &certified.certificate).unwrap();
        let config = format!("registries: [{{host: '127.0.0.1:{port}', ca: ca.pem}}]\n");
        std::fs::write(folder.path().join("config.yaml"), config).unwrap();
        let object = deployment("web", &format!("127.0.0.1:{port}/web:1.0.0"), policy("minor"));
        std::fs::write(folder.path().join("web.yaml"), object.to_string()).unwrap();
        plan(&["web.yaml", "--config", "config.yaml"], folder.path())[0]["reasons"][0]["message"].to_string()
    };
    let said = serve(&self_signed_ca()).await;
    assert!(said.contains("CA:TRUE") && said.contains("basicConstraints=critical,CA:FALSE"), "{said}");
    let said = serve(&self_signed()).await;
    assert!(said.contains("no such repository") || said.contains("404"), "what is made instead serves: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_line_of_the_log_says_what_runs_and_what_is_on() {
    let plane = shared().await;
    let (one, two) = (plane.namespace("greet").await, plane.namespace("greet").await);
    let folder = tempfile::tempdir().unwrap();
    let (config, cache) = (folder.path().join("config.yaml"), folder.path().join("cache"));
    std::fs::write(&config, "git: [{name: prod, url: 'https://127.0.0.1:1/deploy.git', branch: main}]\n").unwrap();
    let flags = ["-n", &two.name, "--config", config.to_str().unwrap(), "--git-cache", cache.to_str().unwrap()];
    let setup = Setup { hook_secret: Some("geheim-4711".to_owned()), ..Setup::in_namespace(&one, "1h").with(&flags) };
    let operator = Operator::start(plane, &setup).await;

    let output = operator.process.output();
    let first: Value = serde_json::from_str(output.lines().next().unwrap()).unwrap();
    let said = |key: &str| first[key].as_str().unwrap_or_default().to_owned();
    assert_eq!(said("version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(said("namespaces"), format!("{}, {}", one.name, two.name));
    assert_eq!((said("senders"), said("targets")), ("distribution".to_owned(), "prod".to_owned()));
    assert_eq!(
        (format!("http://{}", said("hooks")), format!("http://{}", said("private"))),
        (operator.hooks.clone(), operator.private.clone())
    );
    assert!(!output.contains("geheim"), "{output}");
}
