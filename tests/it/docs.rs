//! What the README and docs/ show is what happens: commands with their output, the first Deployment, the table of
//! policies.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::support::{
    bin,
    control_plane::{ADMIN, shared},
    eventually,
    objects::{deployment, event_says, runs},
    operator::{Operator, Setup, supercargo},
    registry::Registry,
};

pub(crate) fn page(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn pages() -> Vec<String> {
    let docs = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")).unwrap();
    let docs = docs.map(|entry| format!("docs/{}", entry.unwrap().file_name().to_str().unwrap()));
    docs.chain(["README.md".to_owned()]).collect()
}

/// The text of each block of that language.
pub(crate) fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let start = format!("```{language}\n");
    text.split(&start).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// A folder for commands on what the program is in, and the words of a shell.
fn shell(line: &str, folder: &Path, kubeconfig: Option<&PathBuf>) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_supercargo")).parent().unwrap();
    let path = format!("{}:{}:/usr/bin:/bin", program.display(), bin("kubectl").parent().unwrap().display());
    let mut command = Command::new("sh");
    command.args(["-c", line]).env("PATH", path).current_dir(folder);
    command.envs(kubeconfig.map(|path| ("KUBECONFIG", path)));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_command_that_is_shown_with_its_output_prints_just_that() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/docs");
    let mut shown = 0;
    for name in pages() {
        for block in blocks(&page(&name), "console") {
            for example in block.split("$ ").skip(1) {
                let (command, output) = example.split_once('\n').unwrap();
                assert_eq!(shell(command, &folder, None), output, "{name}: {command}");
                shown += 1;
            }
        }
    }
    assert!(shown >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_deployment_of_the_readme_is_updated_and_tells_of_it() {
    let (plane, registry) = (shared().await, Registry::start().await);
    let namespace = plane.namespace("readme").await;
    let image = |tag: &str| format!("{}/web:{tag}", registry.host);
    registry.push_tags("web", ["1.4.2", "2.0.0"]).await;
    namespace.create(&deployment("web", &image("1.4.2"), Value::Null).to_string()).await;
    let _operator = Operator::start(plane, &Setup::in_namespace(&namespace, "1s")).await;
    let kubeconfig = plane.kubeconfig_with_token(&format!("{ADMIN}-token"), &namespace.name);

    let readme = page("README.md");
    let section = readme.split("## A first Deployment").nth(1).unwrap();
    let lines: Vec<&str> = blocks(section, "sh")[0].lines().collect();
    // That the base does the whole job is shown for itself.
    let [base, annotate, push, get, describe, records] = lines[..] else { panic!("{lines:?}") };
    assert!(base.starts_with("kubectl apply -k my-cluster"));
    let kubectl = |line| shell(line, Path::new("."), Some(&kubeconfig));

    kubectl(annotate);
    assert!(push.starts_with("# push web:1.5.0"));
    registry.push_tags("web", ["1.5.0"]).await;
    runs(&namespace, "web", &[&image("1.5.0")]).await;
    event_says(&namespace, "web", "1.5.0").await;
    assert_eq!(kubectl(get), image("1.5.0"));
    let described = kubectl(describe);
    let event = described.lines().find(|line| line.contains("ImageUpdated")).unwrap_or_else(|| panic!("{described}"));
    assert!(event.contains(&format!("web: {} to {} (policy minor)", image("1.4.2"), image("1.5.0"))), "{event}");
    eventually("the record has come to its end", async || kubectl(records).contains(" Succeeded ").then_some(())).await;
}

/// The kustomizations that a page shows, each with its folder's name.
fn kustomizations(page: &str) -> Vec<(&str, &str)> {
    let of = |block| {
        let first = str::lines(block).next()?.strip_prefix("# ")?;
        Some((first.strip_suffix("/kustomization.yaml")?, block))
    };
    blocks(page, "yaml").into_iter().filter_map(of).collect()
}

/// What `kubectl kustomize` makes of a kustomization beside `deploy/`, or what it says.
pub(crate) fn built(kustomization: &str) -> Result<Vec<Value>, String> {
    let folder = tempfile::tempdir().unwrap();
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    shell(&format!("cp -r {} . && mkdir -p mine/policies", deploy.display()), folder.path(), None);
    fs::write(folder.path().join("mine/kustomization.yaml"), kustomization).unwrap();
    fs::write(folder.path().join("mine/policies/production.yaml"), "name: production\npolicy: patch\n").unwrap();
    let output = Command::new(bin("kubectl")).args(["kustomize", "mine"]).current_dir(folder.path()).output().unwrap();
    if !output.status.success() {
        return Err(String::from_utf8(output.stderr).unwrap());
    }
    Ok(serde_saphyr::from_multiple(&String::from_utf8(output.stdout).unwrap()).unwrap())
}

#[test]
fn each_kustomization_of_the_install_page_builds_a_pod_with_all_it_mounts() {
    let page = page("docs/install.md");
    let shown = kustomizations(&page);
    let names: Vec<&str> = shown.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["my-cluster", "my-components", "my-files", "my-namespace"]);
    for (name, text) in shown {
        let objects = built(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let home = if name == "my-namespace" { "shop" } else { "supercargo" };
        let is_clusters = |object: &Value| {
            let kind = object["kind"].as_str().unwrap();
            matches!(kind, "Namespace" | "CustomResourceDefinition") || kind.starts_with("ClusterRole")
        };
        for object in objects.iter().filter(|object| !is_clusters(object)) {
            assert_eq!(object["metadata"]["namespace"], home, "{name}: {object}");
        }
        let subjects = objects.iter().flat_map(|object| object["subjects"].as_array().into_iter().flatten());
        assert!(subjects.into_iter().all(|subject| subject["namespace"] == home), "{name}");
        let pod = &objects.iter().find(|object| object["kind"] == "Deployment").unwrap()["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        assert_eq!(container["image"], "registry.example.com/supercargo:0.1.0", "{name}");
        let volume = |name: &Value| pod["volumes"].as_array().unwrap().iter().find(|volume| volume["name"] == *name);
        let mounts = container["volumeMounts"].as_array().unwrap();
        assert!(mounts.iter().all(|mount| volume(&mount["name"]).is_some()), "{name}: {mounts:?}");
        let mounted = |path: &str| mounts.iter().any(|mount| mount["mountPath"] == path);
        let arg = |arg: &str| container["args"].as_array().unwrap().iter().any(|given| given == arg);
        let with_git = matches!(name, "my-components" | "my-files");
        assert_eq!(arg("--git-cache=/var/cache/supercargo") && mounted("/var/cache/supercargo"), with_git, "{name}");
        let with_files = name == "my-files";
        assert_eq!(arg("--policies=/etc/supercargo-policies") && mounted("/etc/supercargo-policies"), with_files);
        assert_eq!(mounted("/run/secrets/git"), with_files, "{name}");
        if with_files {
            // The name that the generator makes of it has a hash.
            let map = &volume(&json!("policies")).unwrap()["configMap"]["name"];
            let data = &objects.iter().find(|object| object["metadata"]["name"] == *map).unwrap()["data"];
            assert!(data["production.yaml"].is_string(), "{data}");
        }
        let reads_secrets = objects.iter().any(|object| object["metadata"]["name"] == "supercargo-pull-secrets");
        assert_eq!(reads_secrets, name == "my-components", "{name}");
    }
}

#[test]
fn two_overlays_do_not_combine_as_the_install_page_says() {
    let error = built("resources: [../deploy/overlays/pull-secrets, ../deploy/overlays/git]\n").unwrap_err();
    assert!(error.contains("already registered id") && page("docs/install.md").contains("\"already registered\nid\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_manifest_that_is_applied_again_stays_and_the_way_back_is_the_one_that_is_shown() {
    let (plane, registry) = (shared().await, Registry::start().await);
    let namespace = plane.namespace("applied-again").await;
    let image = |tag: &str| format!("{}/web:{tag}", registry.host);
    registry.push_tags("web", ["1.4.2", "1.5.0"]).await;
    let manifest = tempfile::tempdir().unwrap();
    let old = deployment("web", &image("1.4.2"), json!({"supercargo.dev/policy": "minor"}));
    fs::write(manifest.path().join("web.json"), old.to_string()).unwrap();
    let kubeconfig = plane.kubeconfig_with_token(&format!("{ADMIN}-token"), &namespace.name);
    let kubectl = |line: &str| shell(line, manifest.path(), Some(&kubeconfig));
    kubectl(&format!("kubectl -n {} apply -f web.json", namespace.name));
    let _operator = Operator::start(plane, &Setup::in_namespace(&namespace, "1s")).await;
    runs(&namespace, "web", &[&image("1.5.0")]).await;

    kubectl(&format!("kubectl -n {} apply -f web.json", namespace.name));
    event_says(&namespace, "web", "(held)").await;
    runs(&namespace, "web", &[&image("1.4.2")]).await;

    let page = page("docs/install.md");
    let section = page.split("## If the old tag is applied again").nth(1).unwrap();
    let shown = blocks(section, "sh")[0].replace("registry.example.com", &registry.host);
    kubectl(&shown.replace("shop/", &format!("{}/", namespace.name)));
    runs(&namespace, "web", &[&image("1.5.0")]).await;
    registry.push_tags("web", ["1.6.0"]).await;
    runs(&namespace, "web", &[&image("1.6.0")]).await;
}

#[test]
fn the_readmes_table_of_policies_holds() {
    let readme = page("README.md");
    let table = readme.split("## Policies").nth(1).unwrap();
    let mut checked = 0;
    for row in table.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.split(" | ").map(|cell| cell.trim_matches(['|', ' ', '`'])).collect();
        let [policy, from, to, not] = cells[..] else { continue };
        // `any`, and what is said in words.
        if from == "any" || to.is_empty() || to.contains(' ') {
            continue;
        }
        let tags: Vec<&str> = [from, to].into_iter().chain(not.split(", ").filter(|tag| !tag.is_empty())).collect();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("tags"), tags.join("\n")).unwrap();
        let args = ["explain", "--policy", policy, "--current", from, "--tags", "tags", "-o", "json"];
        let explained: Value = serde_json::from_slice(&supercargo(&args, folder.path()).stdout).unwrap();
        assert_eq!(explained["to"], json!(to), "{row}");
        checked += 1;
    }
    assert!(checked >= 5, "{checked} rows were checked");
}

/// The page's outputs are compared by [`every_command_that_is_shown_with_its_output_prints_just_that`].
#[test]
fn the_page_of_commands_holds_each_of_them() {
    let help = String::from_utf8(supercargo(&["--help"], Path::new(".")).stdout).unwrap();
    let list = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let names =
        list.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|name| !name.is_empty()));
    let page = page("docs/commands.md");
    for name in names.filter(|name| *name != "help") {
        assert!(page.contains(&format!("\n## supercargo {name}")), "{name} has no section");
    }
}

/// Each link of a page leads to a file, and to a heading where it names one.
#[test]
fn links_between_pages_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let others = ["SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(str::to_owned);
    let link = regex::Regex::new(r"\]\(([^)\s:]+)\)").unwrap();
    let mut followed = 0;
    for name in pages().into_iter().chain(others) {
        let text = page(&name);
        for found in link.captures_iter(&text) {
            let (path, heading) = found[1].split_once('#').unwrap_or((&found[1], ""));
            let to = if path.is_empty() { root.join(&name) } else { root.join(&name).parent().unwrap().join(path) };
            let there = fs::read_to_string(&to).unwrap_or_else(|error| panic!("{name}: {}: {error}", &found[1]));
            let is_named = |line: &str| line.starts_with('#') && anchor(line) == heading;
            assert!(heading.is_empty() || there.lines().any(is_named), "{name}: {} has no such heading", &found[1]);
            followed += 1;
        }
    }
    assert!(followed > 20);
}

/// A heading's name in a link, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).map(|c| if c == ' ' { '-' } else { c }).collect()
}
