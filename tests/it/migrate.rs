//! `supercargo migrate` on real files: what it says, what it writes, and that both mean the same.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use supercargo::{
    domain::{
        annotations::{RuleSettings, WorkloadRule, rules},
        keel::KeelMode,
        policy::NamedPolicies,
        workload::{Workload, WorkloadId},
    },
    manifest,
};

use crate::support::control_plane::shared;

fn migrate(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_supercargo"))
        .arg("migrate")
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("supercargo starts")
}

fn data(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(folder)
}

fn fixtures() -> PathBuf {
    data("keel")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn copy_of_fixtures() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy(&fixtures(), folder.path());
    folder
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// The workloads of all files, by their ids.
fn workloads(folder: &Path) -> BTreeMap<WorkloadId, Workload> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let texts = files.filter(|path| path.is_file()).map(|path| fs::read_to_string(path).unwrap());
    let found = texts.flat_map(|text| manifest::read(&text).unwrap().workloads);
    found.map(|found| (found.workload.id.clone(), found.workload)).collect()
}

fn rule(workload: &Workload, keel: KeelMode) -> WorkloadRule {
    let named = NamedPolicies::default();
    let targets = supercargo::domain::target::Targets::default();
    let default_poll = Duration::from_secs(300);
    rules(workload, None, &RuleSettings { default_poll, named: &named, keel, guards: &[], targets: &targets })
}

#[test]
fn every_key_of_keels_is_answered_line_by_line() {
    let output = migrate(&fixtures(), &["."]);
    assert!(output.status.success());
    insta::assert_snapshot!("migrate_report", text(&output.stdout));
    insta::assert_snapshot!("migrate_errors", text(&output.stderr));
}

#[test]
fn keys_that_stand_on_no_workload_are_named_line_by_line_and_left() {
    let folder = tempfile::tempdir().unwrap();
    copy(&data("keel-elsewhere"), folder.path());
    let output = migrate(folder.path(), &["."]);
    assert!(output.status.success());
    insta::assert_snapshot!("migrate_elsewhere", text(&output.stdout));

    let write = migrate(folder.path(), &[".", "--write"]);
    assert_eq!(write.status.code(), Some(1), "something was left to people");
    let edited = |path: &str| {
        fs::read_to_string(folder.path().join(path)).unwrap()
            != fs::read_to_string(data("keel-elsewhere").join(path)).unwrap()
    };
    let paths = ["base/web.yaml", "prod/merge.yaml", "prod/kustomization.yaml", "old/legacy.yaml", "values.yaml"];
    assert_eq!(paths.into_iter().filter(|path| edited(path)).collect::<Vec<_>>(), ["base/web.yaml"]);
    let again = text(&migrate(folder.path(), &["."]).stdout);
    assert!(again.ends_with("\n0 workloads can be moved with --write; 15 places left to you.\n"), "{again}");
}

#[test]
fn write_edits_the_lines_of_keels_keys_and_nothing_else() {
    let folder = copy_of_fixtures();
    let output = migrate(folder.path(), &[".", "--write"]);
    assert_eq!(output.status.code(), Some(1), "something was left to people");
    for file in ["web.yaml", "force.yaml", "patterns.yaml", "blocked.yaml"] {
        let (old, new) =
            (fs::read_to_string(fixtures().join(file)).unwrap(), fs::read_to_string(folder.path().join(file)).unwrap());
        let diff = similar::TextDiff::from_lines(&old, &new).unified_diff().context_radius(1).to_string();
        insta::assert_snapshot!(format!("migrate_write_{file}"), diff);
    }
    for file in ["plain.yaml", "chart/values.yaml", "chart/templates/deployment.yaml"] {
        assert_eq!(fs::read(fixtures().join(file)).unwrap(), fs::read(folder.path().join(file)).unwrap(), "{file}");
    }
    let again = migrate(folder.path(), &[".", "--write"]);
    let report = text(&again.stdout);
    assert!(report.ends_with("0 workloads moved; 4 places left to you.\n"), "{report}");
}

#[test]
fn what_is_written_is_what_keel_apply_reads() {
    let folder = copy_of_fixtures();
    migrate(folder.path(), &[".", "--write"]);
    let (before, after) = (workloads(&fixtures()), workloads(folder.path()));
    assert_eq!(before.len(), after.len());
    let mut moved = 0;
    for (id, old) in &before {
        let (old_rule, new_rule) = (rule(old, KeelMode::Apply), rule(&after[id], KeelMode::Ignore));
        if old == &after[id] {
            continue;
        }
        moved += 1;
        assert!(new_rule.problems.is_empty(), "{id}: {:?}", new_rule.problems);
        assert_eq!(old_rule.schedule, new_rule.schedule, "{id}");
        assert_eq!(old_rule.containers, new_rule.containers, "{id}");
    }
    assert_eq!(moved, 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_folder_the_cluster_is_read() {
    let plane = shared().await;
    let namespace = plane.namespace("keel").await;
    let deployment = |name: &str, keys: &str| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {name}\n{keys}spec:\n  replicas: 0\n  selector: \
             {{matchLabels: {{app: {name}}}}}\n  template:\n    metadata: {{labels: {{app: {name}}}}}\n    spec:\n      \
             containers:\n      - {{name: app, image: 'registry.invalid/app:1.0.0'}}\n"
        )
    };
    namespace.create(&deployment("web", "  annotations: {keel.sh/policy: minor, keel.sh/trigger: poll}\n")).await;
    namespace.create(&deployment("old", "  labels: {keel.observer/policy: patch}\n")).await;
    namespace.create(&deployment("bank", "  annotations: {keel.sh/policy: minor, keel.sh/approvals: '2'}\n")).await;
    namespace.create(&deployment("plain", "")).await;

    let kubeconfig = plane.kubeconfig("admin");
    let arguments = ["--kubeconfig", kubeconfig.to_str().unwrap(), "-n", &namespace.name];
    let output = tokio::task::block_in_place(|| migrate(&fixtures(), &arguments));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report = text(&output.stdout).replace(&*namespace.name, "NAMESPACE");
    insta::assert_snapshot!("migrate_cluster", report);
}

#[test]
fn where_there_is_nothing_of_keels_it_says_so() {
    let output = migrate(&fixtures(), &["plain.yaml", "--write"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "Nothing of Keel's was found.\n".to_owned()));
}
