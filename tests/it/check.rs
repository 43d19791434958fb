//! `run --check`: everything that would keep `run` from starting, at once, and nothing started.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::json;

use crate::support::{free_port, operator::supercargo};

fn check(args: &[&str], folder: &Path) -> Output {
    supercargo(&[&["run", "--check"], args].concat(), folder)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Each by what makes it, and by the words that name it. Below the folder are the files that [`files`] writes.
const PROBLEMS: &[(&[&str], &[&str])] = &[
    (&["--log-level==debug="], &["--log-level", "=debug="]),
    (&["--hooks-allow-unsigned=gitea2"], &["--hooks-allow-unsigned: no sender `gitea2`"]),
    (&["--config=nowhere.yaml"], &["--config nowhere.yaml"]),
    (&["--config=unknown.yaml"], &["unknown.yaml", "registry"]),
    (&["--config=many.yaml"], &["`https://r.io` is no host", "`ptach`", "there twice", "at most two secretFiles"]),
    (&["--config=secret.yaml"], &["gitea", "nowhere/hook"]),
    (&["--config=ca.yaml"], &["r.io", "nowhere/ca.pem"]),
    (&["--config=no-ca.yaml"], &["r.io", "PEM"]),
    (&["--policies=nowhere"], &["--policies nowhere"]),
    (&["--policies=policies"], &["policies/wrong.yaml"]),
    (&["--hooks-tls-cert=nowhere.pem", "--hooks-tls-key=nowhere.key"], &["--hooks-tls-cert", "nowhere.pem"]),
    (&["--kubeconfig=nowhere/kubeconfig"], &["nowhere/kubeconfig"]),
    (&["--git=nowhere", "--branch=main"], &["--git nowhere: no such folder"]),
    (&["--listen=127.0.0.1:8080", "--hooks-listen=127.0.0.1:8080"], &["--listen and --hooks-listen"]),
];

fn files() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    put("empty.yaml", "{}\n");
    put("unknown.yaml", "registry: []\n");
    let target = json!({"name": "prod", "url": "https://git.example.com/deploy.git", "branch": "main"});
    let many = json!({
        "registries": [{"host": "https://r.io"}],
        "guards": [{"namespaces": ["*"], "policies": ["ptach"]}],
        "git": [target, target],
        "hooks": {"gitea": {"secretFiles": ["a", "b", "c"]}},
    });
    put("many.yaml", &many.to_string());
    put("secret.yaml", "hooks: {gitea: {secretFiles: [nowhere/hook]}}\n");
    put("ca.yaml", "registries: [{host: r.io, ca: nowhere/ca.pem}]\n");
    put("no-ca.yaml", "registries: [{host: r.io, ca: empty.yaml}]\n");
    // Nobody listens there.
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": format!("https://127.0.0.1:{}", free_port())}}],
        "users": [{"name": "test", "user": {"token": "t"}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    });
    put("kubeconfig", &kubeconfig.to_string());
    fs::create_dir(folder.path().join("policies")).unwrap();
    put("policies/wrong.yaml", "name: calm\npolcy: patch\n");
    folder
}

#[test]
fn each_problem_is_named_and_nothing_more() {
    let folder = files();
    for (args, words) in PROBLEMS {
        let output = check(args, folder.path());
        let said = text(&output.stderr);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), String::new()), "{args:?}: {said}");
        assert!(words.iter().all(|word| said.contains(word)), "{args:?}: {words:?} in {said}");
        let lines = if words.len() > 3 { 6 } else { 1 };
        assert_eq!(said.lines().count(), lines, "{args:?}: {said}");
        assert!(said.starts_with(if lines == 1 { "error: " } else { "error: 5 problems:\n" }), "{said}");
    }
}

#[test]
fn what_is_refused_run_refuses_too_in_the_same_words() {
    let folder = files();
    // It finds this one when the port is taken.
    let (_, others) = PROBLEMS.split_last().unwrap();
    for (args, words) in others {
        let mut command = Command::new("timeout");
        command.args([
            "60",
            env!("CARGO_BIN_EXE_supercargo"),
            "run",
            "--listen=127.0.0.1:0",
            "--hooks-listen=127.0.0.1:0",
        ]);
        if !args.iter().any(|arg| arg.starts_with("--kubeconfig") || arg.starts_with("--git")) {
            command.arg("--kubeconfig=kubeconfig");
        }
        let output = command.args(*args).current_dir(folder.path()).output().unwrap();
        let said = text(&output.stderr);
        assert!(matches!(output.status.code(), Some(1 | 2)), "{args:?}: {said}");
        let words = words.iter().filter(|word| !word.starts_with("--"));
        for word in words {
            assert!(said.contains(word), "{args:?}: {word} in {said}");
        }
    }
}

#[test]
fn problems_of_flags_files_and_policies_are_told_at_once() {
    let folder = files();
    let args =
        ["--log-level==", "--config=many.yaml", "--policies=policies", "--hooks-allow-unsigned=x", "--kubeconfig=no"];
    let output = check(&args, folder.path());
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.starts_with("error: 9 problems:\n"), "{said}");
    assert_eq!(said.lines().count(), 10, "{said}");
}

#[test]
fn what_is_good_is_ok_and_nothing_is_started() {
    let folder = files();
    let home = folder.path().join("home");
    fs::create_dir(&home).unwrap();
    // Somebody listens where the operator would.
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let listen = format!("--listen={}", taken.local_addr().unwrap());
    let cases: [&[&str]; 4] = [
        &[],
        &["--config=empty.yaml", "--namespace=shop", "--git-cache=cache", &listen],
        &["--kubeconfig=kubeconfig", "--hooks-allow-unsigned=gitea"],
        &["--git=https://git.example.com/deploy.git", "--once", "--state=state.sqlite", "--git-cache=cache"],
    ];
    for args in cases {
        let mut command = Command::new(env!("CARGO_BIN_EXE_supercargo"));
        command.args(["run", "--check"]).args(args).current_dir(folder.path());
        let output = command.env_clear().env("HOME", &home).output().unwrap();
        let said = (output.status.code(), text(&output.stdout), text(&output.stderr));
        assert_eq!(said, (Some(0), "ok\n".to_owned(), String::new()), "{args:?}");
    }
    assert!(!folder.path().join("cache").exists() && !folder.path().join("state.sqlite").exists());
    assert_eq!(fs::read_dir(&home).unwrap().count(), 0);
}

#[test]
fn a_secret_of_no_sender_is_a_note() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_supercargo"));
    let output = command.args(["run", "--check"]).env("SUPERCARGO_HOOK_SECRET_GITAE", "geheim").output().unwrap();
    let said = text(&output.stderr);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "ok\n".to_owned()), "{said}");
    assert!(said.starts_with("note: ") && said.contains("SUPERCARGO_HOOK_SECRET_GITAE"), "{said}");
    assert!(!said.contains("geheim"));
}
