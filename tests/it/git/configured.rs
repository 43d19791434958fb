//! What the configuration says of a target, from its YAML to the commit.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

use super::{
    alone::{FREE, command, deployment, once},
    target::text,
};
use crate::support::{
    eventually,
    git_server::{GitServer, Options},
    keys,
    process::Process,
    registry::{Image, Registry},
};

const ARGS: [&str; 2] = ["--config", "config.yaml"];

/// Writes the configuration of a target `prod`.
fn configure(folder: &Path, url: &str, more: &str) {
    let text = format!("git:\n- name: prod\n  url: {url}\n  branch: main\n  batchWindow: 0s\n{more}");
    fs::write(folder.join("config.yaml"), text).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_ca_is_trusted_only_where_the_configuration_names_it() {
    let (registry, folder) = (Registry::start().await, tempfile::tempdir().unwrap());
    let (ca, certified) = keys::signed();
    let server = GitServer::start_with(Options { tls: Some(certified), ..Options::default() }).await;
    let web = deployment("web", &format!("{}/team/web:1.0.0", registry.host));
    let repo = server.create("deploy", &[("web.yaml", web.as_bytes())]);
    registry.push_tags("team/web", ["1.0.0", "1.1.0"]).await;
    let folder = folder.path();
    fs::write(folder.join("ca.pem"), ca).unwrap();
    fs::write(folder.join("other.pem"), keys::signed().0).unwrap();

    for more in ["", "  ca: other.pem\n"] {
        configure(folder, &server.url("deploy"), more);
        let (code, _, said) = once(folder, "prod", &ARGS);
        assert!(code == 1 && said.contains("certificate"), "{more}: {code} {said}");
        assert_eq!((server.requests().len(), repo.log().len()), (0, 1), "{more}");
    }
    // It comes before what the environment trusts.
    configure(folder, &server.url("deploy"), "  ca: ca.pem\n");
    let mut command = command(folder, "prod", &[&ARGS[..], &["--once"]].concat());
    let done = command.env("GIT_SSL_CAINFO", folder.join("other.pem")).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(text(&repo, "web.yaml"), web.replace("1.0.0", "1.1.0"));
}

#[rstest::rstest]
#[case("  message: 'ci: {{ changs }}'\n", "git: prod: message: it uses what there is not")]
#[case("  forge: githb\n", "git: prod: forge: `githb` is no kind of forge; available: github, gitlab, gitea")]
fn what_no_commit_or_request_could_be_made_with_is_said_at_the_start(#[case] more: &str, #[case] says: &str) {
    let folder = tempfile::tempdir().unwrap();
    configure(folder.path(), "https://git.example.com/a/b.git", more);
    let (code, _, said) = once(folder.path(), "prod", &ARGS);
    assert!(code == 2 && said.contains(says), "{code} {said}");
}

#[test]
fn all_problems_of_all_targets_are_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let config = "
registries:
- {host: 'https://registry.example.com'}
git:
- name: prod
  url: https://git.example.com/a/b.git
  branch: main
  ca: nowhere.pem
  message: 'ci: {{ changs }}'
  values: [{files: 'a[', image: 'web..image'}, {files: values.yaml, repository: 'web[', tag: web.tag}]
  proxy: 'http://user:secret@'
  forge: gitea
  pullRequest: {tokenFile: token, maxOpen: 0}
- name: stage
  url: https://git.example.com/a.git
  branch: 'a b'
  ca: config.yaml
  forge: githb
  api: 'https://['
  credentials: {tokenFile: token}
- name: test
  url: /srv/deploy.git
  branch: main
  forge: gitlab
  pullRequest: {tokenFile: token}
";
    fs::write(folder.path().join("config.yaml"), config).unwrap();
    let (code, _, said) = once(folder.path(), "prod", &[&ARGS[..], &["--hooks-allow-unsigned", "githb"]].concat());
    assert_eq!(code, 2, "{said}");
    insta::assert_snapshot!(said);
}

/// A proxy whose every tunnel leads to one server. Returns its address, and the heads of the requests to it.
async fn proxy(to: String) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = heads.clone();
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let (to, seen) = (to.clone(), seen.clone());
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await.unwrap());
                }
                seen.lock().unwrap().push(String::from_utf8(head).unwrap());
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                let mut server = TcpStream::connect(to).await.unwrap();
                // Either side may hang up.
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    (url, heads)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_leads_to_the_server_and_is_told_no_token() {
    let (registry, folder) = (Registry::start().await, tempfile::tempdir().unwrap());
    let (ca, certified) = keys::signed();
    let password = Some(("bot".to_owned(), "geheim-4711".to_owned()));
    let server = GitServer::start_with(Options { password, tls: Some(certified), ..Options::default() }).await;
    let web = deployment("web", &format!("{}/team/web:1.0.0", registry.host));
    let repo = server.create("deploy", &[("web.yaml", web.as_bytes())]);
    registry.push_tags("team/web", ["1.0.0", "1.1.0"]).await;
    let (proxy, heads) = proxy(server.base.trim_start_matches("https://").to_owned()).await;
    let folder = folder.path();
    fs::write(folder.join("ca.pem"), ca).unwrap();
    fs::write(folder.join("token"), "geheim-4711\n").unwrap();
    let more = "  ca: ca.pem\n  credentials: {username: bot, tokenFile: token}\n";

    // Nobody listens there, but the proxy knows the way.
    let url = "https://localhost:1/deploy.git";
    configure(folder, url, more);
    let (code, _, said) = once(folder, "prod", &ARGS);
    assert!(code == 1 && said.contains("localhost"), "{code} {said}");
    configure(folder, url, &format!("{more}  proxy: {proxy}\n"));
    let (code, table, said) = once(folder, "prod", &ARGS);
    assert_eq!(code, 0, "{table} {said}");
    assert_eq!(text(&repo, "web.yaml"), web.replace("1.0.0", "1.1.0"));
    let heads = heads.lock().unwrap();
    assert!(heads.len() >= 2 && heads.iter().all(|head| head.starts_with("CONNECT localhost:1 ")), "{heads:?}");
    assert!(!heads.iter().any(|head| head.to_ascii_lowercase().contains("authorization")), "{heads:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_taken_from_the_environment_or_from_a_file_that_is_read_again() {
    let (registry, folder) = (Registry::start().await, tempfile::tempdir().unwrap());
    let password = Some(("bot".to_owned(), "geheim-1".to_owned()));
    let server = GitServer::start_with(Options { password, ..Options::default() }).await;
    let web = |tag: &str| deployment("web", &format!("{}/team/web:{tag}", registry.host));
    let repo = server.create("deploy", &[("web.yaml", web("1.0.0").as_bytes())]);
    registry.push_tags("team/web", ["1.0.0", "1.1.0"]).await;
    let folder = folder.path();

    configure(folder, &server.url("deploy"), "  credentials: {username: bot, tokenEnv: BOT_TOKEN}\n");
    let (code, _, said) = once(folder, "prod", &ARGS);
    assert!(code == 2 && said.contains("the environment has no `BOT_TOKEN`"), "{code} {said}");
    let with = |token: &str| {
        let mut command = command(folder, "prod", &[&ARGS[..], &["--once"]].concat());
        let done = command.env("BOT_TOKEN", token).output().unwrap();
        (done.status.code().unwrap(), String::from_utf8(done.stderr).unwrap())
    };
    let (code, said) = with("geheim-2");
    assert!(code == 1 && said.contains("let in by its `credentials` alone"), "{code} {said}");
    assert!(!said.contains("geheim"), "{said}");
    assert_eq!(with("geheim-1\n"), (0, String::new()));
    assert_eq!(text(&repo, "web.yaml"), web("1.1.0"));

    // The same process goes on with what the file says now.
    let file = folder.join("token");
    fs::write(&file, "geheim-1\n").unwrap();
    configure(folder, &server.url("deploy"), "  credentials: {username: bot, tokenFile: token}\n");
    let args = [&ARGS[..], &["--poll-interval", "1s", FREE[0], FREE[1]]].concat();
    let process = Process::spawn(&command(folder, "prod", &args), &folder.join("log"));
    registry.push_tags("team/web", ["1.2.0"]).await;
    eventually("the first token lets it in", async || (text(&repo, "web.yaml") == web("1.2.0")).then_some(())).await;
    server.set_password("bot", "geheim-3");
    eventually("it is refused", async || process.output().contains("wants credentials").then_some(())).await;
    registry.push_tags("team/web", ["1.3.0"]).await;
    fs::write(&file, "geheim-3").unwrap();
    eventually("the new token lets it in", async || (text(&repo, "web.yaml") == web("1.3.0")).then_some(())).await;
    assert!(!process.output().contains("geheim"), "{}", process.output());
}

#[rstest::rstest]
#[case("overlays/prod")]
#[case("./overlays/prod/")]
#[tokio::test(flavor = "multi_thread")]
async fn an_overlay_gets_an_entry_and_the_base_stays(#[case] overlay: &str) {
    let (registry, folder, server) = (Registry::start().await, tempfile::tempdir().unwrap(), GitServer::start().await);
    let image = format!("{}/team/web", registry.host);
    let web = deployment("web", &format!("{image}:1.0.0"));
    let base = "resources: [web.yaml]\n";
    let prod = "# what runs\nresources:\n- ../../base\n";
    let files =
        [("base/web.yaml", &*web), ("base/kustomization.yaml", base), ("overlays/prod/kustomization.yaml", prod)];
    let repo = server.create("deploy", &files.map(|(path, text)| (path, text.as_bytes())));
    registry.push_tags("team/web", ["1.0.0", "1.1.0"]).await;
    configure(folder.path(), &server.url("deploy"), &format!("  overlay: {overlay}\n"));
    for tag in ["1.1.0", "1.2.0"] {
        registry.push_tags("team/web", [tag]).await;
        let (code, table, said) = once(folder.path(), "prod", &ARGS);
        assert!(code == 0 && table.contains("overlays/prod/kustomization.yaml:"), "{code} {table} {said}");
        let expected = format!("{prod}images:\n- name: {image}\n  newTag: {tag}\n");
        assert_eq!(text(&repo, "overlays/prod/kustomization.yaml"), expected);
        assert_eq!(
            (text(&repo, "base/web.yaml"), text(&repo, "base/kustomization.yaml")),
            (web.clone(), base.to_owned())
        );
    }
    assert_eq!(repo.log().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_the_configuration_names_are_edited_whole_and_in_parts() {
    let (registry, folder, server) = (Registry::start().await, tempfile::tempdir().unwrap(), GitServer::start().await);
    let host = &registry.host;
    let old = registry.push("team/job", "1.0.0", &Image::unique()).await;
    let new = registry.push("team/job", "1.1.0", &Image::unique()).await;
    let whole = format!("front:\n  runs: \"{host}/team/web:1.0.0\" # kept\n  other: 1.0.0\n");
    let parts = format!("web:\n- {{at: '{host}', path: team/web,   version: 1.0.0}}\nother: 1.0.0\n");
    let version = "versions:\n  \"web.shop\": 1.0.0\n  api: 1.0.0\n";
    let pinned = format!("job:\n  version: 1.0.0\n  sum: {old}\n");
    let listed = format!("images:\n- {{image: {host}/team/web, policy: minor}}\n");
    let job = deployment("job", &format!("{host}/team/job:1.0.0@{old}"));
    let files = [
        ("charts/a/settings-prod.yaml", &*whole),
        ("charts/b/settings-prod.yaml", &*parts),
        ("charts/c/settings-prod.yaml", version),
        ("charts/d/settings-prod.yaml", &*pinned),
        ("charts/a/settings-test.yaml", &*whole),
        ("job.yaml", &*job),
        ("supercargo.yaml", &*listed),
    ];
    let repo = server.create("deploy", &files.map(|(path, text)| (path, text.as_bytes())));
    registry.push_tags("team/web", ["1.0.0", "1.1.0"]).await;
    let more = format!(
        "  values:\n  - {{files: charts/a/*-prod.yaml, image: front.runs}}\n  - {{files: charts/b/*-prod.yaml, registry: \
         'web[0].at', repository: 'web[0].path', tag: 'web[0].version'}}\n  - {{files: 'charts/*/settings-prod.yaml', tag: \
         'versions[\"web.shop\"]', forImage: {host}/team/web}}\n  - {{files: 'charts/*/settings-prod.yaml', tag: \
         job.version, digest: job.sum, forImage: {host}/team/job}}\n"
    );
    configure(folder.path(), &server.url("deploy"), &more);
    let (code, table, said) = once(folder.path(), "prod", &ARGS);
    assert!(code == 0 && table.matches(" update ").count() == 2, "{code} {table} {said}");
    let read = |path: &str| text(&repo, path);
    let moved = |text: &str| text.replace("1.0.0", "1.1.0").replace(old.as_str(), new.as_str());
    assert_eq!(read("charts/a/settings-prod.yaml"), whole.replacen("1.0.0", "1.1.0", 1));
    assert_eq!(read("charts/b/settings-prod.yaml"), parts.replacen("1.0.0", "1.1.0", 1));
    assert_eq!(read("charts/c/settings-prod.yaml"), version.replacen("1.0.0", "1.1.0", 1));
    assert_eq!(read("charts/d/settings-prod.yaml"), moved(&pinned));
    assert_eq!(read("job.yaml"), moved(&job));
    assert_eq!(read("charts/a/settings-test.yaml"), whole);
}
