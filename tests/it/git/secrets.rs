//! No secret is seen: not in the command lines that `ps` shows, not in what is said, and not in a file that is kept.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::Ipv4Addr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};
use url::Url;

use super::{
    alone::{command, deployment},
    target::text,
};
use crate::{
    forges::{Server, app_key, reply},
    support::{
        free_port,
        git_server::{BareRepo, GitServer, Options},
        gitea,
        process::Process,
        registry::Registry,
    },
};

const TOKEN: &str = "t0ken-of-the-bot-4711";
const WRONG: &str = "wr0ng-token-of-the-bot-4712";
const PROXY: &str = "pr0xy-password-4713";
const INSTALLATION: &str = "ghs_16C7e42F292c6912E7710c838347Ae178B4a";

/// A folder with what the program is given in `given/`; everything else in it is the program's.
struct Place {
    registry: Registry,
    folder: TempDir,
    /// How often all command lines were looked at.
    looks: Arc<watch::Sender<u64>>,
}

/// What was seen of a run.
struct Seen {
    code: i32,
    said: String,
    /// The command lines of the program and all that it started.
    lines: BTreeSet<String>,
    files: BTreeMap<PathBuf, String>,
}

impl Place {
    async fn new() -> Self {
        let (registry, folder) = (Registry::start().await, tempfile::tempdir().unwrap());
        registry.push_tags("team/web", ["1.0.0", "1.1.0"]).await;
        fs::create_dir(folder.path().join("given")).unwrap();
        Self { registry, folder, looks: Arc::default() }
    }

    fn web(&self, tag: &str) -> String {
        deployment("web", &format!("{}/team/web:{tag}", self.registry.host))
    }

    fn repo(&self, server: &GitServer, name: &str) -> BareRepo {
        server.create(name, &[("web.yaml", self.web("1.0.0").as_bytes())])
    }

    fn give(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join("given").join(name), text).unwrap();
    }

    /// This address on another port, where nothing goes through before the command lines were looked at.
    async fn behind(&self, url: &str) -> String {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let mut url = Url::parse(url).unwrap();
        let to = (Ipv4Addr::LOCALHOST, url.port().unwrap());
        url.set_port(Some(listener.local_addr().unwrap().port())).unwrap();
        let looks = self.looks.subscribe();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut looks = looks.clone();
                tokio::spawn(async move {
                    // The look that is under way may have missed whoever connected.
                    let enough = *looks.borrow() + 2;
                    looks.wait_for(|looks| *looks >= enough).await.unwrap();
                    let Ok(mut server) = TcpStream::connect(to).await else { return };
                    // Either side may hang up.
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        url.into()
    }

    /// One round on a target with these settings, watched all the time.
    async fn run(&self, url: &str, more: &str) -> Seen {
        self.give("config.yaml", &format!("git:\n- name: prod\n  url: {url}\n  branch: main\n{more}"));
        let folder = self.folder.path();
        let args = ["--config", "given/config.yaml", "--once", "--log-level", "trace"];
        fs::write(folder.join("log"), "").unwrap();
        let mut process = Process::spawn(&command(folder, "prod", &args), &folder.join("log"));
        let pid = process.pid();
        let looks = self.looks.clone();
        let watched = tokio::task::spawn_blocking(move || watch(pid, &looks));
        let code = process.wait().await.code().unwrap();
        let (lines, said) = (watched.await.unwrap(), process.output());
        let mut files = BTreeMap::new();
        read(folder, &mut files);
        Seen { code, said, lines, files }
    }
}

/// The command lines of a process and its descendants, looked at until it has ended.
fn watch(pid: u32, looks: &watch::Sender<u64>) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    loop {
        let numbers = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let parents: BTreeMap<u32, u32> = numbers.filter_map(|pid| Some((pid, parent(pid)?))).collect();
        if !parents.contains_key(&pid) {
            return seen;
        }
        let is_ours = |of: u32| std::iter::successors(Some(of), |of| parents.get(of).copied()).any(|of| of == pid);
        for pid in parents.keys().copied().filter(|of| is_ours(*of)) {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            seen.insert(String::from_utf8_lossy(&line).replace('\0', " "));
        }
        looks.send_modify(|looks| *looks += 1);
        std::thread::yield_now();
    }
}

/// `pid (comm) state ppid …`, where `comm` may hold anything.
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// All files of a folder, but what was given.
fn read(folder: &Path, found: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("given") {
            read(&path, found);
        } else if path.is_file() {
            let bytes = fs::read(&path).unwrap();
            found.insert(path, String::from_utf8_lossy(&bytes).into_owned());
        }
    }
}

impl Seen {
    /// Of programs of these names command lines were seen, and nothing holds one of these words. The run ended so, and
    /// said that.
    fn is_clean(&self, code: i32, says: &str, programs: &[&str], secrets: &[&str]) {
        let Self { code: ended, said, lines, files } = self;
        assert!(*ended == code && said.contains(says), "{ended} {said}");
        assert!(code != 0 || said.contains("TRACE"), "the log is whole: {said}");
        for program in programs {
            assert!(lines.iter().any(|line| line.contains(program)), "{program}: {lines:?}");
        }
        let is_there = |name: &str| files.keys().any(|path| path.ends_with(name));
        assert!(is_there("HEAD") && is_there("config") && is_there("log"), "{:?}", files.keys());
        assert!(files.keys().any(|path| path.extension().is_some_and(|e| e == "sqlite")), "{:?}", files.keys());
        for secret in secrets {
            let name = &secret[..4];
            assert!(!lines.iter().any(|line| line.contains(secret)), "`{name}…` is in a command line");
            assert!(!said.contains(secret), "`{name}…` was said");
            let holds: Vec<_> = files.iter().filter(|(_, text)| text.contains(secret)).map(|(path, _)| path).collect();
            assert!(holds.is_empty(), "`{name}…` is in {holds:?}");
        }
    }
}

fn basic(user: &str, password: &str) -> String {
    STANDARD.encode(format!("{user}:{password}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_in_no_command_line_no_log_no_error_and_no_file() {
    let place = Place::new().await;
    let password = Some(("bot".to_owned(), TOKEN.to_owned()));
    let server = GitServer::start_with(Options { password, ..Options::default() }).await;
    let repo = place.repo(&server, "deploy");
    let url = place.behind(&server.url("deploy")).await;
    place.give("token", TOKEN);
    place.give("wrong", WRONG);
    let credentials = |file: &str| format!("  credentials: {{username: bot, tokenFile: given/{file}}}\n");
    let secrets = [TOKEN, &basic("bot", TOKEN), WRONG, &basic("bot", WRONG), PROXY, &basic("pia", PROXY)];
    let http = ["git fetch ", "git-remote-http "];

    let refused = place.run(&url, &credentials("wrong")).await;
    refused.is_clean(1, "credentials", &http, &secrets);
    let done = place.run(&url, &credentials("token")).await;
    done.is_clean(0, "update", &[&http[..], &["push --porcelain"]].concat(), &secrets);
    assert_eq!(text(&repo, "web.yaml"), place.web("1.1.0"));

    // A server that hangs up, and one that is not there, behind a proxy that wants a password.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = place.behind(&format!("http://{}/deploy.git", listener.local_addr().unwrap())).await;
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    place.run(&url, &credentials("token")).await.is_clean(1, "unable to access", &http, &secrets);
    let proxy = place.behind(&format!("http://pia:{PROXY}@127.0.0.1:{}", free_port())).await;
    let proxy = format!("  proxy: {proxy}\n");
    let away = place.run("https://git.example.test/deploy.git", &format!("{}{proxy}", credentials("token"))).await;
    away.is_clean(1, "unable to access", &["git fetch ", "git-remote-https "], &secrets);
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_is_the_token_of_a_github_app() {
    let place = Place::new().await;
    let password = Some(("x-access-token".to_owned(), INSTALLATION.to_owned()));
    let server = GitServer::start_with(Options { password, ..Options::default() }).await;
    let repo = place.repo(&server, "o/r");
    let url = place.behind(&server.url("o/r")).await;
    let github = Server::start(|came| match &*came.line() {
        "GET /api/v3/repos/o/r/installation" => reply(200, json!({"id": 42, "app_id": 123})),
        "POST /api/v3/app/installations/42/access_tokens" => {
            let permissions = came.body["permissions"].clone();
            let expires = "2099-01-01T00:00:00Z";
            reply(201, json!({"token": INSTALLATION, "expires_at": expires, "permissions": permissions}))
        }
        _ => reply(404, json!({"message": "Not Found"})),
    })
    .await;
    let key = app_key();
    place.give("key.pem", &key);
    let app = format!(
        "  api: {}/api/v3\n  forge: github\n  credentials: {{githubApp: {{appId: 123, keyFile: given/key.pem}}}}\n",
        github.url
    );
    let jwt = || github.came().iter().map(|came| came.header("authorization").to_owned()).next().unwrap();
    let done = place.run(&url, &app).await;
    let jwt = jwt();
    let jwt = jwt.trim_start_matches("Bearer ");
    let secrets = [INSTALLATION, &basic("x-access-token", INSTALLATION), jwt, longest(&key)];
    done.is_clean(0, "update", &["git fetch ", "git-remote-http ", "push --porcelain"], &secrets);
    assert_eq!(text(&repo, "web.yaml"), place.web("1.1.0"));
}

/// The line of a private key that nothing else holds.
fn longest(key: &str) -> &str {
    key.lines().rev().max_by_key(|line| line.len()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ssh_key_is_in_one_file_for_its_owner_only() {
    let place = Place::new().await;
    let gitea = gitea::shared().await;
    let repo = gitea.repository("secrets", &[("web.yaml", place.web("1.0.0").as_bytes())]).await;
    let key = fs::read_to_string(repo.deploy_key().await).unwrap();
    place.give("key", &key);
    place.give("none", "");
    let (to, url) = (Url::parse(&repo.ssh_url()).unwrap(), place.behind(&repo.ssh_url()).await);
    let [real, port] = [&to, &Url::parse(&url).unwrap()].map(|url| format!(":{} ", url.port().unwrap()));
    assert!(gitea.known_host.contains(&real), "{}", gitea.known_host);
    place.give("hosts", &format!("{}\n", gitea.known_host.replace(&real, &port)));
    let with = |hosts: &str| format!("  credentials: {{sshKeyFile: given/key, knownHostsFile: given/{hosts}}}\n");
    let words: Vec<&str> = key.lines().filter(|line| line.len() > 40 && !line.starts_with('-')).collect();
    assert!(words.len() > 1, "a key of several lines");
    for (hosts, code, says) in [("none", 1, "Host key verification failed"), ("hosts", 0, "update")] {
        let mut seen = place.run(&url, &with(hosts)).await;
        let is_copy = |path: &PathBuf| path.ends_with("ssh-key");
        let copy = seen.files.keys().find(|path| is_copy(path)).unwrap().clone();
        assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(seen.files.remove(&copy).unwrap(), key);
        seen.is_clean(code, says, &["git fetch ", "ssh -F /dev/null"], &words);
    }
    assert_eq!(repo.bare("main").read("web.yaml"), place.web("1.1.0").as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_leads_elsewhere_leads_no_credential_there() {
    let elsewhere = Server::start(|_| reply(404, Value::Null)).await;
    let to = elsewhere.url.clone();
    let moved =
        Server::start(move |_| (302, vec![("location", format!("{to}/moved.git/info/refs"))], Value::Null)).await;
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(folder.path(), &format!("{}/deploy.git", moved.url), &["--once"]);
    command.env("SUPERCARGO_GIT_TOKEN", TOKEN);
    let done = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(said.contains("the server leads to another address") && !said.contains(TOKEN), "{said}");
    assert!(elsewhere.came().is_empty() && !moved.came().is_empty());
}
