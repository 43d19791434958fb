//! `run --git`: no cluster, only a repository and a registry.

use std::{
    path::Path,
    process::{Command, Output},
};

use super::target::text;
use crate::support::{
    eventually,
    git_server::{BareRepo, GitServer, Options},
    http,
    process::Process,
    registry::Registry,
};

/// Any ports.
pub(crate) const FREE: [&str; 2] = ["--listen=127.0.0.1:0", "--hooks-listen=127.0.0.1:0"];

const PERSON: &str = "Pat <pat@example.com>";

pub(crate) fn command(folder: &Path, url: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_supercargo"));
    command.arg("run").arg("--git").arg(url).args(args).current_dir(folder);
    command.arg("--git-cache").arg(folder.join("cache"));
    command.env("XDG_STATE_HOME", folder.join("state")).env_remove("KUBERNETES_SERVICE_HOST");
    command.env("KUBECONFIG", "/dev/null");
    command
}

/// The exit code, stdout and stderr of one round.
pub(crate) fn once(folder: &Path, url: &str, args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command(folder, url, &[args, &["--once"]].concat()).output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

pub(super) fn deployment(name: &str, image: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {name}\n  annotations: {{supercargo.dev/policy: \
         minor}}\nspec:\n  template:\n    spec:\n      containers:\n      - {{name: web, image: '{image}'}} # kept\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn one_round_commits_what_is_newer_and_the_next_finds_nothing_to_do() {
    let (registry, folder) = (Registry::start().await, tempfile::tempdir().unwrap());
    let password = Some(("bot".to_owned(), "geheim-4711".to_owned()));
    let server = GitServer::start_with(Options { password, ..Options::default() }).await;
    let image = |tag: &str| format!("{}/team/web:{tag}", registry.host);
    let (web, api) = (deployment("web", &image("1.0.0")), deployment("api", &image("1.0.0")));
    let files = [("prod/web.yaml", web.as_bytes()), ("prod/api.yaml", api.as_bytes()), ("test/web.yaml", b"a: [")];
    let repo = server.create("deploy", &files);
    registry.push_tags("team/web", ["1.0.0", "1.1.0", "1.2.0-rc.1", "2.0.0"]).await;
    let (folder, url) = (folder.path(), server.url("deploy"));

    let (code, _, said) = once(folder, &url, &["--path", "prod"]);
    let wanted = format!("the branch main of the Git target {url}: the Git server wants credentials");
    assert!(code == 1 && said.contains(&wanted) && said.contains("SUPERCARGO_GIT_TOKEN"), "{code} {said}");
    let with_token = |args: &[&str]| {
        let mut command = command(folder, &url, &[&["--once", "--path", "prod"], args].concat());
        command.env("SUPERCARGO_GIT_USERNAME", "bot").env("SUPERCARGO_GIT_TOKEN", "geheim-4711\n");
        let Output { status, stdout, stderr } = command.output().unwrap();
        let said = String::from_utf8(stderr).unwrap();
        assert!(!said.contains("geheim"), "{said}");
        (status.code().unwrap(), String::from_utf8(stdout).unwrap(), said)
    };
    let (code, table, said) = with_token(&["--dry-run"]);
    assert!(code == 0 && table.contains("prod/web.yaml:10") && repo.log().len() == 1, "{code} {table} {said}");
    let (code, table, said) = with_token(&[]);
    assert!(code == 0 && table.matches(" update ").count() == 2, "{code} {table} {said}");
    let log = repo.log();
    assert_eq!(log.len(), 2, "one commit for both");
    assert!(table.contains(&log[0].id[..12]), "{table}");
    assert_eq!(text(&repo, "prod/web.yaml"), web.replace("1.0.0", "1.1.0"));
    assert_eq!(text(&repo, "prod/api.yaml"), api.replace("1.0.0", "1.1.0"));

    let (code, table, said) = with_token(&[]);
    assert!(code == 0 && table.matches(" up-to-date ").count() == 2, "{code} {table} {said}");
    assert_eq!(repo.log().len(), 2);
    let state: Vec<_> = std::fs::read_dir(folder.join("state/supercargo")).unwrap().flatten().collect();
    assert!(state.iter().any(|file| file.path().extension().is_some_and(|e| e == "sqlite")), "{state:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_waits_for_its_age_over_rounds_that_keep_the_state() {
    let (registry, server) = (Registry::start().await, GitServer::start().await);
    let folder = tempfile::tempdir().unwrap();
    let web = deployment("web", &format!("{}/team/web:1.0.0", registry.host));
    let web = web.replace("policy: minor", "policy: minor, supercargo.dev/min-age: 5s");
    let repo = server.create("deploy", &[("web.yaml", web.as_bytes())]);
    registry.push_tags("team/web", ["1.0.0", "1.1.0"]).await;
    let (folder, url) = (folder.path(), server.url("deploy"));
    let (_, table, said) = once(folder, &url, &[]);
    assert!(table.contains("waiting") && said.contains("is new, so all tags were seen now"), "{table} {said}");
    assert_eq!(repo.log().len(), 1);
    let said = eventually("it is old enough for a later round", async || {
        let (_, _, said) = once(folder, &url, &[]);
        (repo.log().len() == 2).then_some(said)
    })
    .await;
    assert!(!said.contains("is new, so"), "{said}");
    assert!(text(&repo, "web.yaml").contains("/team/web:1.1.0@sha256:"), "{}", text(&repo, "web.yaml"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_is_not_there_is_told_with_those_that_are() {
    let (server, folder) = (GitServer::start().await, tempfile::tempdir().unwrap());
    let web = deployment("web", "registry.invalid/web:1.0.0");
    server.create("deploy", &[("web.yaml", web.as_bytes())]);
    let (code, _, said) = once(folder.path(), &server.url("deploy"), &["--branch", "master"]);
    assert!(code == 1 && said.contains("there is no branch master; available: main"), "{code} {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_moved_back_is_not_set_again_by_a_later_round() {
    let (registry, folder, server) = (Registry::start().await, tempfile::tempdir().unwrap(), GitServer::start().await);
    let web = deployment("web", &format!("{}/team/web:1.0.0", registry.host));
    let repo = server.create("deploy", &[("web.yaml", web.as_bytes())]);
    registry.push_tags("team/web", ["1.0.0", "1.1.0"]).await;
    let url = server.url("deploy");
    assert_eq!(once(folder.path(), &url, &[]).0, 0);
    repo.commit(&[("web.yaml", Some(web.as_bytes()))], "1.1.0 loses orders", PERSON);
    let (code, table, said) = once(folder.path(), &url, &[]);
    assert!(code == 0 && table.contains("moved it back"), "a person decided that: {code} {table} {said}");
    registry.push_tags("team/web", ["1.2.0"]).await;
    assert_eq!(once(folder.path(), &url, &[]).0, 0);
    assert_eq!(text(&repo, "web.yaml"), web.replace("1.0.0", "1.2.0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_of_flux_keeps_its_format() {
    let (registry, folder, server) = (Registry::start().await, tempfile::tempdir().unwrap(), GitServer::start().await);
    let host = &registry.host;
    // As `flux bootstrap` and `flux create image update` lay it out, with the habits of different hands.
    let release = format!(
        "---\n# The shop, by Helm\napiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata:\n    name: shop\n    \
         namespace: shop\nspec:\n    chart: {{spec: {{chart: ./charts/shop, sourceRef: {{kind: GitRepository, name: \
         flux-system}}}}}}\n    values:\n        image:\n            repository: {host}/team/web # {{\"$imagepolicy\": \
         \"flux-system:web:name\"}}\n            tag:   '1.0.0'   # {{\"$imagepolicy\": \"flux-system:web:tag\"}}\n"
    );
    let worker = format!(
        "apiVersion: apps/v1\r\nkind: Deployment\r\nmetadata: {{name: worker, namespace: shop}}\r\nspec:\r\n  template:\r\n    \
         spec:\r\n      containers:\r\n      - name: worker\r\n        image: \"{host}/team/worker:2.0.0\"  # \
         {{\"$imagepolicy\": \"flux-system:worker\"}}\r\n"
    );
    let kustomization =
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n- release.yaml\n- worker.yaml\n";
    let listed = format!(
        "images:\n- {{image: {host}/team/web, policy: minor}}\n- {{image: {host}/team/worker, policy: patch}}\n"
    );
    let files = [
        ("apps/shop/release.yaml", release.as_bytes()),
        ("apps/shop/worker.yaml", worker.as_bytes()),
        ("apps/shop/kustomization.yaml", kustomization.as_bytes()),
        ("clusters/prod/flux-system/gotk-sync.yaml", b"# left alone\n"),
        ("supercargo.yaml", listed.as_bytes()),
    ];
    let repo = server.create("fleet", &files);
    registry.push_tags("team/web", ["1.0.0", "1.3.0", "2.0.0"]).await;
    registry.push_tags("team/worker", ["2.0.0", "2.0.7", "2.1.0"]).await;
    let config = format!(
        "git:\n- name: fleet\n  url: {}\n  branch: main\n  message: 'ci: bump {{{{ changes | length }}}} images'\n  \
         imagePolicies: {{\"flux-system:web\": {host}/team/web, \"flux-system:worker\": {host}/team/worker}}\n",
        server.url("fleet")
    );
    std::fs::write(folder.path().join("config.yaml"), config).unwrap();

    let (code, table, said) = once(folder.path(), "fleet", &["--config", "config.yaml"]);
    assert_eq!(code, 0, "{table} {said}");
    assert_eq!(text(&repo, "apps/shop/release.yaml"), release.replace("'1.0.0'", "'1.3.0'"));
    assert_eq!(text(&repo, "apps/shop/worker.yaml"), worker.replace("worker:2.0.0", "worker:2.0.7"));
    assert_eq!(text(&repo, "apps/shop/kustomization.yaml"), kustomization);
    assert_eq!(repo.log()[0].message.lines().next(), Some("ci: bump 2 images"));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_follows_the_registry_and_the_repository_until_it_is_stopped() {
    let (registry, folder, server) = (Registry::start().await, tempfile::tempdir().unwrap(), GitServer::start().await);
    let image = |name: &str, tag: &str| format!("{}/team/{name}:{tag}", registry.host);
    let web = deployment("web", &image("web", "1.0.0"));
    let marked = format!("WEB={} # supercargo: minor\n", image("web", "1.0.0"));
    let repo = server.create("deploy", &[("web.yaml", web.as_bytes()), ("compose.conf", marked.as_bytes())]);
    registry.push_tags("team/web", ["1.0.0"]).await;
    registry.push_tags("team/late", ["3.0.0", "3.1.0"]).await;
    let config = format!("git:\n- {{name: deploy, url: '{}', branch: main, batchWindow: 1s}}\n", server.url("deploy"));
    std::fs::write(folder.path().join("config.yaml"), config).unwrap();
    let args = ["--config", "config.yaml", "--poll-interval", "1s", FREE[0], FREE[1]];
    let start = || Process::spawn(&command(folder.path(), &server.url("deploy"), &args), &folder.path().join("log"));

    let mut process = start();
    registry.push_tags("team/web", ["1.1.0"]).await;
    let updated = web.replace("1.0.0", "1.1.0");
    eventually("both places of the image are edited", async || {
        let both =
            text(&repo, "web.yaml") == updated && text(&repo, "compose.conf") == marked.replace("1.0.0", "1.1.0");
        both.then_some(())
    })
    .await;
    // What a person adds is taken up.
    let late = deployment("late", &image("late", "3.0.0"));
    repo.commit(&[("late.yaml", Some(late.as_bytes()))], "One more", PERSON);
    eventually("the new one is updated", async || {
        (text(&repo, "late.yaml") == late.replace("3.0.0", "3.1.0")).then_some(())
    })
    .await;
    // A person's return to the old version stands, also for the next process.
    repo.commit(&[("web.yaml", Some(web.as_bytes()))], "1.1.0 loses orders", PERSON);
    eventually("it says who moved it back", async || process.output().contains("moved container web").then_some(()))
        .await;
    process.signal("TERM");
    assert!(process.wait().await.success(), "{}", process.output());
    let commits = repo.log().len();
    // It was told, and is held by the next process too; a newer one is not.
    let _process = start();
    registry.push_tags("team/web", ["1.2.0"]).await;
    let newer = web.replace("1.0.0", "1.2.0");
    eventually("the newer one is written", async || (text(&repo, "web.yaml") == newer).then_some(())).await;
    let log = repo.log();
    let again = |line: &str| line.starts_with("Supercargo-Change") && line.ends_with(":1.1.0");
    let since = &log[..log.len() - commits];
    assert!(!since.is_empty() && !since.iter().any(|commit| commit.message.lines().any(again)), "{since:?}");
}

#[test]
fn what_cannot_be_run_on_is_said_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (code, _, said) = once(folder.path(), "no-such-folder", &[]);
    assert!(code == 2 && said.contains("no such folder, no target of the configuration, and no address"), "{said}");
    let (code, _, said) = once(folder.path(), "https://bot:geheim@git.example.com/a.git", &[]);
    assert!(code == 2 && said.contains("it holds credentials") && !said.contains("geheim"), "{said}");
    let (code, _, said) = once(folder.path(), "http://bot:geheim@127.0.0.1/a.git", &[]);
    assert!(code == 2 && said.contains("it holds credentials") && !said.contains("geheim"), "{said}");
    let (code, _, said) = once(folder.path(), "/", &["-n", "shop"]);
    assert!(code == 2 && said.contains("--namespace"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkout_is_read_but_not_written_to() {
    let (registry, folder, server) = (Registry::start().await, tempfile::tempdir().unwrap(), GitServer::start().await);
    let web = deployment("web", &format!("{}/team/web:1.0.0", registry.host));
    let repo = server.create("deploy", &[("web.yaml", web.as_bytes())]);
    registry.push_tags("team/web", ["1.0.0", "1.1.0"]).await;
    let (folder, url) = (folder.path(), server.url("deploy"));
    let git = |args: &[&str]| assert!(Command::new("git").current_dir(folder).args(args).status().unwrap().success());
    git(&["clone", "--quiet", &url, "ci"]);
    git(&["-C", "ci", "worktree", "add", "--quiet", "--detach", "../tree"]);
    git(&["-C", "ci", "checkout", "--quiet", "--detach"]);
    git(&["-C", "ci", "remote", "set-url", "origin", &url.replace("://", "://bot:geheim@")]);
    let ci = folder.join("ci").display().to_string();
    for given in ["ci", "tree", &ci, &format!("file://{ci}")] {
        let (code, _, said) = once(folder, given, &[]);
        let says = format!("--git {given}: this is a checkout");
        assert!(code == 2 && said.contains(&says) && said.contains(&url) && !said.contains("geheim"), "{code} {said}");
    }
    let (code, table, said) = once(folder, "ci", &["--dry-run"]);
    assert!(code == 0 && table.contains("web.yaml:10"), "{code} {table} {said}");
    git(&["-C", "ci", "remote", "remove", "origin"]);
    let (code, _, said) = once(folder, "ci", &[]);
    assert!(code == 2 && said.contains("the address of its remote, or a bare repository"), "{code} {said}");
    git(&["clone", "--quiet", "--bare", &url, "bare"]);
    assert_eq!(once(folder, "bare", &[]).0, 0);
    assert_eq!(repo.log().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_so_if_there_is_no_policy_or_a_misspelt_one() {
    let (registry, folder, server) = (Registry::start().await, tempfile::tempdir().unwrap(), GitServer::start().await);
    let image = format!("{}/team/web:1.0.0", registry.host);
    let web = deployment("web", &image);
    let labels = web.replace("annotations:", "labels:");
    let typo = deployment("typo", &image).replace("/policy", "/polcy");
    let files = [("prod/web.yaml", &web), ("labels/web.yaml", &labels), ("typo/web.yaml", &typo)];
    server.create("deploy", &files.map(|(path, text)| (path, text.as_bytes())));
    registry.push_tags("team/web", ["1.0.0"]).await;
    let (folder, url) = (folder.path(), server.url("deploy"));
    for path in ["prodd", "labels"] {
        let (code, table, said) = once(folder, &url, &["--path", path]);
        let says = format!("nothing in {path} of the branch main of {url} has a policy");
        assert!(code == 0 && table.lines().count() == 1 && said.contains(&says), "{code} {table} {said}");
    }
    assert_eq!(once(folder, &url, &["--path", "prod"]).2, "");
    let (code, table, said) = once(folder, &url, &["--path", "typo"]);
    assert!(
        code == 1 && table.contains(" problem ") && table.contains("supercargo.dev/polcy"),
        "{code} {table} {said}"
    );

    let start = |path: &str| {
        let args = ["--path", path, FREE[0], FREE[1]];
        Process::spawn(&command(folder, &url, &args), &folder.join(format!("log-{path}")))
    };
    for (path, warns) in [("prod", false), ("prodd", true)] {
        let mut process = start(path);
        eventually("the repository is read", async || process.output().contains("is read").then_some(())).await;
        if warns {
            let says = "nothing has a policy, so nothing is watched";
            eventually("it says so", async || process.output().contains(says).then_some(())).await;
        }
        process.signal("TERM");
        assert!(process.wait().await.success(), "{}", process.output());
        assert_eq!(process.output().contains("has a policy"), warns, "{}", process.output());
    }
    // Nor is that said where an entry has no place: that entry is.
    let listed = "images: [{image: registry.invalid/web, policy: minor}]\n";
    let values = "image: {repository: registry.invalid/web, tag: '${TAG}'}\n";
    server.create("listed", &[("supercargo.yaml", listed.as_bytes()), ("values.yaml", values.as_bytes())]);
    let mut process = Process::spawn(&command(folder, &server.url("listed"), &FREE), &folder.join("log-listed"));
    let says =
        "supercargo.yaml:registry.invalid/web: line 1: the image registry.invalid/web cannot be edited: values.yaml:1";
    eventually("it says so", async || process.output().contains("is read").then_some(())).await;
    process.signal("TERM");
    assert!(process.wait().await.success(), "{}", process.output());
    let output = process.output();
    assert!(output.contains(says) && !output.contains("has a policy"), "{output}");

    // Where there is nothing to read yet, the probe does not speak of a cluster.
    let mut process = Process::spawn(
        &command(folder, &server.url("none"), &[FREE[0], FREE[1], "--log-format=json"]),
        &folder.join("log"),
    );
    eventually("it is not ready, and says why", async || {
        let first: serde_json::Value = serde_json::from_str(process.output().lines().next()?).ok()?;
        let answer = http().get(format!("http://{}/readyz", first["private"].as_str()?)).send().await.ok()?;
        (answer.status() == 503 && answer.text().await.ok()?.contains("the repository of --git is not read"))
            .then_some(())
    })
    .await;
    process.signal("TERM");
    assert!(process.wait().await.success(), "{}", process.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_marked_value_of_a_file_shows_its_own_line() {
    let (registry, folder) = (Registry::start().await, tempfile::tempdir().unwrap());
    let marked = |name: &str| format!("IMAGE={}/team/{name}:1.0.0 # supercargo: minor\n", registry.host);
    let text = marked("web") + &marked("api");
    let repo = BareRepo::create(&folder.path().join("deploy.git"), &[("images.conf", text.as_bytes())]);
    registry.push_tags("team/web", ["1.0.0", "1.1.0"]).await;
    registry.push_tags("team/api", ["1.0.0", "1.2.0"]).await;
    let url = repo.path.display().to_string();
    let (code, table, said) = once(folder.path(), &url, &["--dry-run"]);
    let shows = |name: &str, line: &str| table.lines().any(|row| row.contains(name) && row.trim_end().ends_with(line));
    assert!(
        code == 0 && shows("team/web:1.0.0", " images.conf:1") && shows("team/api:1.0.0", " images.conf:2"),
        "{table}{said}"
    );
}
