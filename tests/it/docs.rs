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
    objects::{deployment, event_says, runs},
    operator::{Operator, Setup, supercargo},
    registry::Registry,
};

fn page(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn pages() -> Vec<String> {
    let docs = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")).unwrap();
    let docs = docs.map(|entry| format!("docs/{}", entry.unwrap().file_name().to_str().unwrap()));
    docs.chain(["README.md".to_owned()]).collect()
}

/// The text of each block of that language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
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
    let [base, annotate, push, get, describe] = lines[..] else { panic!("{lines:?}") };
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
