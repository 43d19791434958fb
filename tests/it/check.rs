//! `run --check`: everything that would keep `run` from starting, at once, and nothing started.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
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
    (&["--git=bare", "--state=state"], &["--state state", "no file"]),
    (&["--git=bare", "--state=empty.yaml/state.sqlite"], &["--state empty.yaml/state.sqlite", "no folder"]),
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
    for name in ["policies", "state", "bare"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
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
    for (args, words) in PROBLEMS {
        // It finds this one when the port is taken, and those of a state in words of its own.
        if words[0].starts_with("--listen") || words[0].starts_with("--state") {
            continue;
        }
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
fn what_is_wrong_with_the_repository_is_told_beside_other_mistakes() {
    let folder = files();
    let told = |args: &[&str]| {
        let output = check(args, folder.path());
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        said
    };
    let args = ["--log-level==", "--git=nowhere", "--branch=a b", "--config=ca.yaml"];
    let said = told(&args);
    assert!(said.starts_with("error: 4 problems:\n"), "{said}");
    for part in ["--log-level", "nowhere/ca.pem", "--git nowhere: no such folder", "`a b` is no name of a branch"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    // Both certificates, though the client of registries takes one at a time.
    let two = r#"registries: [{host: a.io, ca: empty.yaml}, {host: "b.io", ca: empty.yaml}, {host: "c:d"}]"#;
    fs::write(folder.path().join("two.yaml"), two).unwrap();
    assert!(told(&["--config=two.yaml"]).starts_with("error: 3 problems:\n"));
    // A name is of a target that may be in the file.
    assert_eq!(told(&["--config=unknown.yaml", "--git=prod"]).lines().count(), 1);
}

/// What is shown, and that `geheim` is not.
#[rstest::rstest]
#[case("config", r#"registries: [{host: "bot:geheim@r.io", namespaces: [a]}]"#, "…@r.io")]
#[case("config", r#"registries: [{host: "https://geheim@r.io"}]"#, "https://…@r.io")]
#[case("config", r#"registries: [{host: "bot:geheim@r.io", proxy: a}]"#, "…@r.io")]
#[case("config", r#"registries: [{host: r.io, credentials: geheim}]"#, "line 1")]
#[case("config", r#"git: [{name: a, url: "https://bot:geheim@git.example.com/a.git", branch: main}]"#, "credentials")]
#[case(
    "config",
    r#"git: [{name: a, url: "https://git.example.com/a", branch: main, credentials: {tokenEnv: geheim}}]"#,
    "no variable"
)]
#[case("config", r#"hooks: {generic: {hosts: {"bot:geheim@a.io": "https://bot:geheim@b.io"}}}"#, "…@a.io")]
#[case("kubeconfig", "users:\n- name: a\n  user: geheim\n", "line 3 column 9")]
#[case("kubeconfig", "users:\n- {name: a, user: {token: [geheim]}}\n", "line 2 column 27")]
#[case("kubeconfig", "users: [{name: a, user: {token: geheim}}\n: [", "line 2")]
fn secrets_are_told_nowhere(#[case] flag: &str, #[case] file: &str, #[case] shown: &str) {
    let folder = files();
    fs::write(folder.path().join("file.yaml"), file).unwrap();
    let given = format!("--{flag}=file.yaml");
    let free = ["--listen=127.0.0.1:0", "--hooks-listen=127.0.0.1:0"];
    let mut calls = vec![vec!["run", "--check", &given], [&["run", &given], &free[..]].concat()];
    if flag == "kubeconfig" {
        calls.push(vec!["status", &given]);
    }
    for args in calls {
        let output = supercargo(&args, folder.path());
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(shown) && !said.contains("geheim"), "{args:?}: {said}");
    }
}

/// The plugin of a kubeconfig is a program: it is not run, and a mistake in the rest is seen all the same.
#[test]
fn the_plugin_of_a_kubeconfig_is_not_run() {
    let folder = files();
    let exec = json!({"apiVersion": "client.authentication.k8s.io/v1", "command": "touch", "args": ["ran"],
        "interactiveMode": "Never"});
    let kubeconfig = |server: &str| {
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": server}}],
            "users": [{"name": "test", "user": {"exec": exec}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        });
        fs::write(folder.path().join("exec.yaml"), kubeconfig.to_string()).unwrap();
    };
    kubeconfig("https://127.0.0.1:1");
    let output = check(&["--kubeconfig=exec.yaml"], folder.path());
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "ok\n".to_owned()), "{}", text(&output.stderr));
    assert!(!folder.path().join("ran").exists());
    // As soon as somebody connects, it is.
    assert!(!supercargo(&["status", "--kubeconfig=exec.yaml"], folder.path()).status.success());
    assert!(folder.path().join("ran").exists());
    kubeconfig("no address at all");
    assert_eq!(check(&["--kubeconfig=exec.yaml"], folder.path()).status.code(), Some(2));
    let other = check(&["--kubeconfig=exec.yaml", "--context=other"], folder.path());
    assert!(text(&other.stderr).contains("other"), "{}", text(&other.stderr));
}

/// Whether two addresses collide is what the system says of them.
#[test]
fn addresses_collide_where_the_system_says_so() {
    let folder = files();
    let addresses = ["127.0.0.1", "0.0.0.0", "127.0.0.2", "[::1]", "[::]", "[::ffff:127.0.0.1]"];
    let mut compared = 0;
    for one in addresses {
        let port = free_port();
        let Ok(first) = std::net::TcpListener::bind(format!("{one}:{port}")) else { continue };
        for other in addresses {
            // Where there is no IPv6, nothing is to be said of it.
            if std::net::TcpListener::bind(format!("{other}:0")).is_err() {
                continue;
            }
            let collides = std::net::TcpListener::bind(format!("{other}:{port}")).is_err();
            let args = [format!("--listen={one}:{port}"), format!("--hooks-listen={other}:{port}")];
            let output = check(&[&args[0], &args[1]], folder.path());
            assert_eq!(output.status.success(), !collides, "{one} and {other}: {}", text(&output.stderr));
            compared += 1;
        }
        drop(first);
    }
    assert!(compared >= 9, "{compared}");
}

/// Who is not root may not write to root's folders.
#[test]
fn a_state_that_could_not_be_written_is_named_and_nothing_is_made() {
    let folder = files();
    let (mine, closed) = (folder.path().join("bare"), folder.path().join("closed"));
    fs::create_dir(&closed).unwrap();
    fs::write(closed.join("state.sqlite"), "").unwrap();
    let mode = |path: &Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    mode(folder.path(), 0o755);
    mode(&mine, 0o777);
    mode(&closed, 0o555);
    for (state, good) in
        [("bare/new/state.sqlite", true), ("closed/state.sqlite", false), ("closed/new/state.sqlite", false)]
    {
        let mut command = Command::new("setpriv");
        let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
        // Who is nobody already stays so.
        let is_root = fs::metadata(folder.path()).unwrap().uid() == 0;
        command.args(if is_root { &nobody[..] } else { &["--no-new-privs"] });
        command.args([env!("CARGO_BIN_EXE_supercargo"), "run", "--check", "--git=bare", "--state", state]);
        let output = command.current_dir(folder.path()).output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(if good { 0 } else { 2 }), "{state}: {said}");
        assert_eq!(said.contains(&format!("--state {state}: ")), !good, "{said}");
        assert_eq!(said.contains("Permission denied"), !good, "{said}");
    }
    mode(&closed, 0o755);
    assert!(fs::read_dir(&mine).unwrap().next().is_none());
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
