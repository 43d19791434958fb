//! A real Gitea with SQLite, its API and its SSH server.
//!
//! One serves all tests of the process ([`shared`]), each in a [`Repo`] of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::{
    bin, eventually, free_port,
    git_server::{BareRepo, run},
    http,
    process::{Folder, Process},
    stack,
};

/// The administrator, who owns every [`Repo`].
pub(crate) const BOSS: &str = "boss";
const BOSS_PASSWORD: &str = "bosspw123";
/// What a bot's token may do.
pub(crate) const BOT_SCOPES: &[&str] = &["write:repository", "write:package", "read:user"];

/// A running Gitea. Ends with the test process.
#[derive(Debug)]
pub(crate) struct Gitea {
    /// `http://127.0.0.1:PORT`
    pub(crate) url: String,
    /// The administrator's token, with every right.
    pub(crate) token: String,
    /// The line of `known_hosts` of its SSH server.
    pub(crate) known_host: String,
    ssh_port: u16,
    _process: Process,
    folder: Folder,
}

/// The one that all tests of this process share.
pub(crate) async fn shared() -> &'static Gitea {
    static SHARED: OnceCell<Gitea> = OnceCell::const_new();
    SHARED.get_or_init(Gitea::start).await
}

/// A user and its token.
#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) token: String,
}

/// A repository of the administrator, private.
#[derive(Debug, Clone)]
pub(crate) struct Repo {
    pub(crate) gitea: &'static Gitea,
    pub(crate) name: String,
}

impl Gitea {
    /// Starts one; about three seconds.
    async fn start() -> Self {
        let folder = Folder::new();
        let host_key = ssh_key(&folder.join("host"));
        prepare(&folder);
        loop {
            let (port, ssh_port) = (free_port(), free_port());
            fs::write(folder.join("app.ini"), configuration(&folder, port, ssh_port)).unwrap();
            let mut process = Process::spawn(gitea(&folder).arg("web"), &folder.join("log"));
            let url = format!("http://127.0.0.1:{port}");
            if !ready(&mut process, &url).await {
                continue;
            }
            let known_host = format!("[127.0.0.1]:{ssh_port} {}", host_key.public);
            let mut gitea = Self { url, token: String::new(), known_host, ssh_port, _process: process, folder };
            gitea.token = gitea.new_token(BOSS, BOSS_PASSWORD, &["all"]).await;
            return gitea;
        }
    }

    /// Any request below `/api/v1`, with a token: the status and the answer (null where it is no JSON).
    pub(crate) async fn api(&self, token: &str, method: Method, path: &str, body: &Value) -> (u16, Value) {
        let request = http().request(method, format!("{}/api/v1{path}", self.url));
        let request = request.header("authorization", format!("token {token}"));
        let request = if body.is_null() { request } else { request.json(body) };
        let answer = request.send().await.expect("Gitea answers");
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    /// Markdown as it shows it in comments.
    pub(crate) async fn rendered(&self, text: &str) -> String {
        let request =
            http().post(format!("{}/api/v1/markdown", self.url)).json(&json!({"Text": text, "Mode": "comment"}));
        let answer = request.header("authorization", format!("token {}", self.token)).send().await.unwrap();
        answer.text().await.unwrap()
    }

    /// As the administrator; panics with Gitea's words if it refuses.
    async fn done(&self, method: Method, path: &str, body: &Value) -> Value {
        let (status, answer) = self.api(&self.token, method.clone(), path, body).await;
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    /// A new user with a token of [`BOT_SCOPES`].
    pub(crate) async fn bot(&self) -> User {
        self.bot_with(BOT_SCOPES).await
    }

    /// A new user with a token of these scopes.
    pub(crate) async fn bot_with(&self, scopes: &[&str]) -> User {
        let (name, password) = (unique("bot"), "botpw12345");
        let user = json!({
            "username": name, "password": password, "email": format!("{name}@example.test"),
            "must_change_password": false,
        });
        self.done(Method::POST, "/admin/users", &user).await;
        let token = self.new_token(&name, password, scopes).await;
        User { name, token }
    }

    async fn new_token(&self, user: &str, password: &str, scopes: &[&str]) -> String {
        let request = http().post(format!("{}/api/v1/users/{user}/tokens", self.url));
        let request =
            request.basic_auth(user, Some(password)).json(&json!({"name": unique("token"), "scopes": scopes}));
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        answer["sha1"].as_str().unwrap_or_else(|| panic!("no token: {answer}")).to_owned()
    }

    /// Has the packages of a user told to an address, signed with that secret. Its token must have `write:user`.
    pub(crate) async fn tell_of_packages(&self, user: &User, url: &str, secret: &str) {
        let config = json!({"url": url, "content_type": "json", "secret": secret});
        let hook = json!({"type": "gitea", "active": true, "events": ["package"], "config": config});
        let (status, answer) = self.api(&user.token, Method::POST, "/user/hooks", &hook).await;
        assert_eq!(status, 201, "{answer}");
    }

    /// Pushes an image of one file to the container registry of a user, and says how it is called.
    pub(crate) fn push_image(&self, user: &User, name: &str, tag: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let host = self.url.strip_prefix("http://").unwrap();
        let auth = STANDARD.encode(format!("{}:{}", user.name, user.token));
        fs::write(folder.path().join("config.json"), json!({"auths": {host: {"auth": auth}}}).to_string()).unwrap();
        fs::write(folder.path().join("file"), unique(tag)).unwrap();
        run(Command::new("tar").args(["cf", "layer.tar", "file"]).current_dir(folder.path()), b"");
        let image = format!("{host}/{}/{name}:{tag}", user.name);
        let mut crane = Command::new(bin("crane"));
        crane.args(["append", "--oci-empty-base", "-f", "layer.tar", "-t", &image]);
        run(crane.env("DOCKER_CONFIG", folder.path()).current_dir(folder.path()), b"");
        image
    }

    /// A new private repository with one commit of these files on `main`, named after the test.
    pub(crate) async fn repository(&'static self, hint: &str, files: &[(&str, &[u8])]) -> Repo {
        let repo = Repo { gitea: self, name: unique(hint) };
        let new = json!({"name": repo.name, "private": true, "default_branch": "main"});
        self.done(Method::POST, "/user/repos", &new).await;
        let files: Vec<_> = files.iter().map(|(path, bytes)| (*path, Some(*bytes))).collect();
        repo.commit(&files, "Begin").await;
        repo
    }
}

impl Repo {
    /// `http://127.0.0.1:PORT/boss/name.git`
    pub(crate) fn url(&self) -> String {
        format!("{}/{BOSS}/{}.git", self.gitea.url, self.name)
    }

    /// `ssh://git@127.0.0.1:PORT/boss/name.git`
    pub(crate) fn ssh_url(&self) -> String {
        format!("ssh://git@127.0.0.1:{}/{BOSS}/{}.git", self.gitea.ssh_port, self.name)
    }

    /// The repository on disk, to read from: what is written there, Gitea does not hear of.
    pub(crate) fn bare(&self, branch: &str) -> BareRepo {
        let path = self.gitea.folder.join("repos").join(BOSS).join(format!("{}.git", self.name));
        BareRepo { path, branch: branch.to_owned() }
    }

    /// A request below `/api/v1/repos/boss/name` as the administrator; panics if Gitea refuses.
    pub(crate) async fn api(&self, method: Method, path: &str, body: &Value) -> Value {
        self.gitea.done(method, &format!("/repos/{BOSS}/{}{path}", self.name), body).await
    }

    /// Commits files to `main` as a person does on the web site (`None` takes one away).
    pub(crate) async fn commit(&self, files: &[(&str, Option<&[u8]>)], message: &str) {
        let known = if self.bare("main").branches().is_empty() { vec![] } else { self.bare("main").files() };
        let change = |(path, bytes): &(&str, Option<&[u8]>)| {
            let there = known.iter().any(|known| known == path);
            let operation = if bytes.is_none() { "delete" } else { ["create", "update"][usize::from(there)] };
            let mut change = json!({"operation": operation, "path": path});
            if there {
                change["sha"] = json!(self.bare("main").blob(path));
            }
            change["content"] = bytes.map(|bytes| json!(STANDARD.encode(bytes))).unwrap_or_default();
            change
        };
        let files: Vec<_> = files.iter().map(change).collect();
        self.api(Method::POST, "/contents", &json!({"branch": "main", "message": message, "files": files})).await;
    }

    /// Gives a user the right to write.
    pub(crate) async fn invite(&self, user: &User) {
        let path = format!("/collaborators/{}", user.name);
        self.api(Method::PUT, &path, &json!({"permission": "write"})).await;
    }

    /// Lets nobody push to a branch.
    pub(crate) async fn protect(&self, branch: &str) {
        self.api(Method::POST, "/branch_protections", &json!({"rule_name": branch, "enable_push": false})).await;
    }

    /// Lets a key in, to read and to write; returns the private key's file.
    pub(crate) async fn deploy_key(&self) -> PathBuf {
        let name = unique("key");
        let key = ssh_key(&self.gitea.folder.join(&name));
        self.api(Method::POST, "/keys", &json!({"title": name, "key": key.public, "read_only": false})).await;
        key.private
    }

    /// All pull requests, also closed ones, newest first.
    pub(crate) async fn pulls(&self) -> Vec<Value> {
        let answer = self.api(Method::GET, "/pulls?state=all&sort=newest&limit=50", &Value::Null).await;
        answer.as_array().expect("a list").clone()
    }

    /// One pull request.
    pub(crate) async fn pull(&self, number: u64) -> Value {
        self.api(Method::GET, &format!("/pulls/{number}"), &Value::Null).await
    }

    /// Merges a pull request, as soon as Gitea has found out that it can be.
    pub(crate) async fn merge(&self, number: u64, how: &str) {
        self.merge_with(number, &json!({"Do": how})).await;
    }

    /// Merges it as "Merge a pull request" is told.
    pub(crate) async fn merge_with(&self, number: u64, how: &Value) {
        let path = format!("/repos/{BOSS}/{}/pulls/{number}/merge", self.name);
        eventually("the pull request is merged", async || {
            let (status, answer) = self.gitea.api(&self.gitea.token, Method::POST, &path, how).await;
            assert!(status == 200 || answer["message"] == "Please try again later", "{path}: {status} {answer}");
            (status == 200).then_some(())
        })
        .await;
    }

    /// Closes a pull request without merging it.
    pub(crate) async fn close(&self, number: u64) {
        self.api(Method::PATCH, &format!("/pulls/{number}"), &json!({"state": "closed"})).await;
    }
}

/// A pair of SSH keys.
#[derive(Debug)]
struct SshKey {
    private: PathBuf,
    public: String,
}

fn ssh_key(path: &Path) -> SshKey {
    run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]).arg(path), b"");
    SshKey { private: path.to_owned(), public: fs::read_to_string(path.with_extension("pub")).unwrap() }
}

fn unique(hint: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{hint}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Makes the database and the administrator.
fn prepare(folder: &Folder) {
    fs::write(folder.join("app.ini"), configuration(folder, 0, 0)).unwrap();
    run(gitea(folder).arg("migrate"), b"");
    let (user, password) = (format!("--username={BOSS}"), format!("--password={BOSS_PASSWORD}"));
    let create = ["admin", "user", "create", "--admin", &user, &password, "--email=boss@example.test"];
    run(gitea(folder).args(create).arg("--must-change-password=false"), b"");
}

/// Waits until it answers; false if another process was quicker to take one of its ports.
async fn ready(process: &mut Process, url: &str) -> bool {
    let url = format!("{url}/api/healthz");
    eventually("Gitea is ready", async || {
        if process.exited().is_some() {
            let output = process.output();
            assert!(output.contains("address already in use"), "{output}");
            return Some(false);
        }
        let answer = http().get(&url).send().await.ok()?;
        answer.status().is_success().then_some(true)
    })
    .await
}

fn gitea(folder: &Folder) -> Command {
    let mut command = Command::new(bin("gitea"));
    command.arg("--config").arg(folder.join("app.ini")).env("HOME", folder.join("home"));
    fs::create_dir_all(folder.join("home")).unwrap();
    command
}

fn configuration(folder: &Folder, port: u16, ssh_port: u16) -> String {
    let folder = folder.join("").display().to_string();
    let static_root = fs::read_to_string(stack().join("gitea-static")).expect("tests/stack/build has run");
    format!(
        "
WORK_PATH = {folder}
I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true
[server]
HTTP_ADDR = 127.0.0.1
HTTP_PORT = {port}
ROOT_URL = http://127.0.0.1:{port}/
STATIC_ROOT_PATH = {static_root}
APP_DATA_PATH = {folder}data
START_SSH_SERVER = true
BUILTIN_SSH_SERVER_USER = git
SSH_DOMAIN = 127.0.0.1
SSH_LISTEN_HOST = 127.0.0.1
SSH_LISTEN_PORT = {ssh_port}
SSH_PORT = {ssh_port}
SSH_ROOT_PATH = {folder}ssh
SSH_SERVER_HOST_KEYS = {folder}host
LFS_START_SERVER = false
OFFLINE_MODE = true
[database]
DB_TYPE = sqlite3
PATH = {folder}gitea.db
[repository]
ROOT = {folder}repos
[security]
INSTALL_LOCK = true
SECRET_KEY = k
PASSWORD_HASH_ALGO = pbkdf2$1000$10
[service]
DISABLE_REGISTRATION = true
[oauth2]
ENABLED = false
[indexer]
ISSUE_INDEXER_TYPE = db
[actions]
ENABLED = false
[webhook]
ALLOWED_HOST_LIST = loopback
[queue]
TYPE = channel
[cron]
ENABLED = false
[log]
MODE = console
LEVEL = warn
"
    )
}
