//! Git over smart HTTP without a forge: `git http-backend` as CGI, over bare repositories in one temporary folder.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{self, State},
    http::{HeaderMap, HeaderValue, StatusCode, header, response::Builder},
    response::{IntoResponse, Response},
    serve::ListenerExt as _,
};
use futures::{StreamExt as _, stream};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStdout},
};

use super::{keys::Certified, tls::TlsListener, token_server::basic};

/// What a push asks for ([`Request::service`]).
pub(crate) const RECEIVE: &str = "git-receive-pack";
/// What a fetch asks for ([`Request::service`]).
pub(crate) const UPLOAD: &str = "git-upload-pack";

/// How to start a server.
#[derive(Debug)]
pub(crate) struct Options {
    /// The user and password that every request must bring; none: everybody may read and write.
    pub(crate) password: Option<(String, String)>,
    /// Whether partial clones are served (`uploadpack.allowFilter`, `uploadpack.allowAnySHA1InWant`).
    pub(crate) filters: bool,
    /// How long each answer is held back.
    pub(crate) latency: Option<Duration>,
    /// The certificate and key of a server that speaks TLS.
    pub(crate) tls: Option<Certified>,
}

impl Default for Options {
    fn default() -> Self {
        Self { password: None, filters: true, latency: None, tls: None }
    }
}

/// Runs on the runtime of the test that started it. Clones are the same server; the folder goes with the last one.
#[derive(Debug, Clone)]
pub(crate) struct GitServer {
    /// `http://127.0.0.1:PORT`, or `https://…`
    pub(crate) base: String,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    folder: TempDir,
    filters: bool,
    latency: Option<Duration>,
    password: Mutex<Option<(String, String)>>,
    requests: Mutex<Vec<Request>>,
    faults: Mutex<Vec<Fault>>,
}

/// A request as it came, in the order of the answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// `/name.git/info/refs`
    pub(crate) path: String,
    pub(crate) query: String,
    /// [`UPLOAD`] or [`RECEIVE`]; empty if it asks for neither.
    pub(crate) service: String,
    /// Whom the Basic header named; empty without one.
    pub(crate) user: String,
    /// What was answered.
    pub(crate) status: u16,
}

impl Request {
    /// Whether it carries the objects of a push (and not the question before it).
    pub(crate) fn is_push(&self) -> bool {
        self.method == "POST" && self.service == RECEIVE
    }
}

/// What goes wrong, and how.
#[derive(Debug, Clone, Copy)]
struct Fault {
    pushes_only: bool,
    way: Way,
}

#[derive(Debug, Clone, Copy)]
enum Way {
    /// Not done: this status.
    Refuse(u16),
    /// Done, but the answer is lost: 502.
    Lose,
}

impl GitServer {
    /// Open to everybody, with filters.
    pub(crate) async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    pub(crate) async fn start_with(options: Options) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let Options { password, filters, latency, tls } = options;
        let (password, requests, faults) = (Mutex::new(password), Mutex::default(), Mutex::default());
        let shared = Arc::new(Shared { folder, filters, latency, password, requests, faults });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let base = format!("{scheme}://{}", listener.local_addr().expect("an address"));
        let app = Router::new().fallback(answer).with_state(shared.clone());
        match tls {
            None => {
                // As every server for Git does; else each answer in parts waits 40 ms for an acknowledgement.
                let listener = listener.tap_io(|stream| stream.set_nodelay(true).expect("a socket"));
                tokio::spawn(async move { axum::serve(listener, app).await })
            }
            Some(certified) => {
                let listener = TlsListener::new(listener, &certified);
                tokio::spawn(async move { axum::serve(listener, app).await })
            }
        };
        Self { base, shared }
    }

    /// `http://127.0.0.1:PORT/name.git`
    pub(crate) fn url(&self, name: &str) -> String {
        format!("{}/{name}.git", self.base)
    }

    /// A new repository with one commit of these files on `main`.
    pub(crate) fn create(&self, name: &str, files: &[(&str, &[u8])]) -> BareRepo {
        BareRepo::create(&self.shared.folder.path().join(format!("{name}.git")), files)
    }

    /// From now on every request must bring this user and password.
    pub(crate) fn set_password(&self, user: &str, password: &str) {
        *self.shared.password.lock().unwrap() = Some((user.to_owned(), password.to_owned()));
    }

    /// What was answered so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// Answers the next `n` requests, whatever they ask, with this status.
    pub(crate) fn fail_next(&self, n: usize, status: u16) {
        self.fault(n, Fault { pushes_only: false, way: Way::Refuse(status) });
    }

    /// Answers the next `n` pushes with this status, and does not take what they bring.
    pub(crate) fn fail_next_push(&self, n: usize, status: u16) {
        self.fault(n, Fault { pushes_only: true, way: Way::Refuse(status) });
    }

    /// Takes what the next `n` pushes bring, but answers 502.
    pub(crate) fn lose_next_push(&self, n: usize) {
        self.fault(n, Fault { pushes_only: true, way: Way::Lose });
    }

    fn fault(&self, n: usize, fault: Fault) {
        self.shared.faults.lock().unwrap().extend(std::iter::repeat_n(fault, n));
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: extract::Request) -> Response {
    let (path, query) = (request.uri().path().to_owned(), request.uri().query().unwrap_or_default().to_owned());
    let asked = |service: &&str| query == format!("service={service}") || path.ends_with(&format!("/{service}"));
    let service = [UPLOAD, RECEIVE].into_iter().find(asked).unwrap_or_default().to_owned();
    let login = basic(request.headers());
    let user = login.as_ref().map(|(user, _)| user.clone()).unwrap_or_default();
    let mut seen = Request { method: request.method().to_string(), path, query, service, user, status: 0 };
    if let Some(latency) = shared.latency {
        tokio::time::sleep(latency).await;
    }
    let barred = shared.password.lock().unwrap().as_ref().is_some_and(|wanted| login.as_ref() != Some(wanted));
    let response = match (shared.fault(&seen), barred) {
        (Some(Way::Refuse(status)), _) => StatusCode::from_u16(status).expect("a status").into_response(),
        (_, true) => (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Basic realm=\"git\"")]).into_response(),
        (None, false) => backend(&shared, &seen, request).await,
        (Some(Way::Lose), false) => {
            let done = backend(&shared, &seen, request).await;
            axum::body::to_bytes(done.into_body(), usize::MAX).await.expect("the answer ends");
            StatusCode::BAD_GATEWAY.into_response()
        }
    };
    seen.status = response.status().as_u16();
    shared.requests.lock().unwrap().push(seen);
    response
}

impl Shared {
    /// What is to go wrong with this request.
    fn fault(&self, request: &Request) -> Option<Way> {
        let mut faults = self.faults.lock().unwrap();
        let at = faults.iter().position(|fault| !fault.pushes_only || request.is_push())?;
        Some(faults.remove(at).way)
    }
}

/// Passes the request to `git http-backend` and its answer back, both as they come.
async fn backend(shared: &Shared, seen: &Request, request: extract::Request) -> Response {
    let mut command = git();
    command.arg("http-backend").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    command.env("GIT_PROJECT_ROOT", shared.folder.path()).env("GIT_HTTP_EXPORT_ALL", "1").env("REMOTE_USER", "test");
    command.env("REQUEST_METHOD", &seen.method).env("PATH_INFO", &seen.path).env("QUERY_STRING", &seen.query);
    let names = [
        ("content-type", "CONTENT_TYPE"),
        ("content-length", "CONTENT_LENGTH"),
        ("content-encoding", "HTTP_CONTENT_ENCODING"),
        ("git-protocol", "GIT_PROTOCOL"),
    ];
    for (name, variable) in names {
        if let Some(value) = request.headers().get(name) {
            command.env(variable, value.to_str().expect("a header of ASCII"));
        }
    }
    let filters = if shared.filters { "true" } else { "false" };
    let config = [
        ("http.receivepack", "true"),
        ("safe.directory", "*"),
        ("uploadpack.allowFilter", filters),
        ("uploadpack.allowAnySHA1InWant", filters),
    ];
    command.env("GIT_CONFIG_COUNT", config.len().to_string());
    for (n, (key, value)) in config.iter().enumerate() {
        command.env(format!("GIT_CONFIG_KEY_{n}"), key).env(format!("GIT_CONFIG_VALUE_{n}"), value);
    }
    let mut child = tokio::process::Command::from(command).kill_on_drop(true).spawn().expect("git starts");
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    let mut body = request.into_body().into_data_stream();
    // Beside the answer, which may begin before the request has ended.
    tokio::spawn(async move {
        while let Some(Ok(bytes)) = body.next().await {
            if stdin.write_all(&bytes).await.is_err() {
                // It has heard enough.
                return;
            }
        }
    });
    let stdout = child.stdout.take().expect("stdout is a pipe");
    respond(child, stdout).await
}

/// Reads a CGI answer: headers with an optional `Status:`, an empty line, the body.
async fn respond(child: Child, mut stdout: ChildStdout) -> Response {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stdout.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
    let head = String::from_utf8(head).expect("headers of ASCII");
    let mut response = Builder::new();
    let mut headers = HeaderMap::new();
    for (name, value) in head.lines().filter_map(|line| line.split_once(": ")) {
        if name == "Status" {
            response = response.status(&value[..3]);
        } else {
            let name: header::HeaderName = name.parse().expect("a header's name");
            headers.insert(name, HeaderValue::from_str(value).expect("a header's value"));
        }
    }
    *response.headers_mut().expect("a good status") = headers;
    let body = stream::unfold((child, stdout), async |(child, mut stdout)| {
        let mut part = vec![0; 64 << 10];
        match stdout.read(&mut part).await {
            Ok(n) if n > 0 => {
                part.truncate(n);
                Some((Ok::<_, std::io::Error>(Bytes::from(part)), (child, stdout)))
            }
            _ => None,
        }
    });
    response.body(Body::from_stream(body)).expect("a response")
}

/// A bare repository on disk, seen from one of its branches. It is read and written past the server.
#[derive(Debug, Clone)]
pub(crate) struct BareRepo {
    pub(crate) path: PathBuf,
    pub(crate) branch: String,
}

/// One commit of a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Commit {
    pub(crate) id: String,
    /// Without the last newline.
    pub(crate) message: String,
    /// `Name <address>`
    pub(crate) author: String,
}

/// What a commit puts at a path.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Put<'a> {
    File(&'a [u8]),
    Executable(&'a [u8]),
    /// A symbolic link to this.
    Link(&'a str),
    /// A submodule at this commit.
    Submodule(&'a str),
    /// Takes the path away.
    Gone,
}

/// Who makes the commits of tests, where nothing else is said.
pub(crate) const PERSON: &str = "Ada <ada@example.test>";

impl BareRepo {
    /// A new repository at `path` with one commit of these files on `main`.
    pub(crate) fn create(path: &Path, files: &[(&str, &[u8])]) -> Self {
        run(git().args(["init", "-q", "--bare", "--template=", "-b", "main"]).arg(path), b"");
        let repo = Self { path: path.to_owned(), branch: "main".to_owned() };
        // Nothing that goes on in the background.
        for (key, value) in [("gc.auto", "0"), ("maintenance.auto", "false"), ("receive.autogc", "false")] {
            repo.config(key, value);
        }
        let puts: Vec<_> = files.iter().map(|(path, bytes)| (*path, Put::File(bytes))).collect();
        repo.put(&puts, "Begin", PERSON);
        repo
    }

    /// The same repository, seen from another branch, which begins here if it is new.
    pub(crate) fn branch(&self, name: &str) -> Self {
        let other = Self { path: self.path.clone(), branch: name.to_owned() };
        if !self.branches().iter().any(|branch| branch == name) {
            self.git(&["branch", name, &self.branch]);
        }
        other
    }

    /// The names of all branches.
    pub(crate) fn branches(&self) -> Vec<String> {
        lines(&self.git(&["for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads"]), '\n')
    }

    /// Commits files (`None` takes one away) onto the branch; returns the commit's id. `author` is `Name <address>`.
    pub(crate) fn commit(&self, files: &[(&str, Option<&[u8]>)], message: &str, author: &str) -> String {
        let puts: Vec<_> = files.iter().map(|(path, bytes)| (*path, bytes.map_or(Put::Gone, Put::File))).collect();
        self.put(&puts, message, author)
    }

    /// As [`Self::commit`], also of other things than files.
    pub(crate) fn put(&self, puts: &[(&str, Put<'_>)], message: &str, author: &str) -> String {
        loop {
            let head = self.try_head();
            let stream = self.fast_import(head.as_deref(), puts, message, author);
            let mut import = self.command();
            // A push may hold the branch's lock for a while.
            import.args(["-c", "core.filesRefLockTimeout=-1", "fast-import", "--quiet", "--date-format=now"]);
            let output = try_run(&mut import, &stream);
            if output.status.success() {
                return String::from_utf8(output.stdout).unwrap().trim().to_owned();
            }
            // A push came between: once more, on its commit.
            let words = String::from_utf8_lossy(&output.stderr);
            assert!(head != self.try_head(), "git fast-import: {words}");
        }
    }

    fn fast_import(&self, head: Option<&str>, puts: &[(&str, Put<'_>)], message: &str, author: &str) -> Vec<u8> {
        let mut stream = Vec::new();
        let who = format!("mark :1\nauthor {author} now\ncommitter {author} now\ndata {}\n", message.len());
        write!(stream, "commit refs/heads/{}\n{who}{message}\n", self.branch).unwrap();
        if let Some(head) = head {
            writeln!(stream, "from {head}").unwrap();
        }
        for (path, put) in puts {
            let path = quoted(path);
            let (mode, bytes) = match *put {
                Put::File(bytes) => ("100644", bytes),
                Put::Executable(bytes) => ("100755", bytes),
                Put::Link(target) => ("120000", target.as_bytes()),
                Put::Submodule(id) => {
                    writeln!(stream, "M 160000 {id} {path}").unwrap();
                    continue;
                }
                Put::Gone => {
                    writeln!(stream, "D {path}").unwrap();
                    continue;
                }
            };
            write!(stream, "M {mode} inline {path}\ndata {}\n", bytes.len()).unwrap();
            stream.extend_from_slice(bytes);
            stream.push(b'\n');
        }
        // Prints the commit's id.
        stream.extend_from_slice(b"get-mark :1\n");
        stream
    }

    /// The id of the branch's newest commit.
    pub(crate) fn head(&self) -> String {
        self.try_head().expect("the branch is there")
    }

    fn try_head(&self) -> Option<String> {
        let name = format!("refs/heads/{}", self.branch);
        let output = try_run(self.command().args(["rev-parse", "--verify", "-q", &name]), b"");
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned())
    }

    /// The branch's commits, newest first.
    pub(crate) fn log(&self) -> Vec<Commit> {
        let text = self.git(&["log", "-z", "--topo-order", "--format=%H%x01%an <%ae>%x01%B", &self.reference()]);
        let commit = |text: String| {
            let mut parts = text.splitn(3, '\u{1}').map(|part| part.trim_end_matches('\n').to_owned());
            let mut part = || parts.next().expect("three parts");
            Commit { id: part(), author: part(), message: part() }
        };
        lines(&text, '\0').into_iter().map(commit).collect()
    }

    /// The file at `path` in the branch's newest commit.
    pub(crate) fn read(&self, path: &str) -> Vec<u8> {
        self.git(&["cat-file", "blob", &format!("{}:{path}", self.reference())])
    }

    /// The object id of the file at `path`.
    pub(crate) fn blob(&self, path: &str) -> String {
        let id = self.git(&["rev-parse", &format!("{}:{path}", self.reference())]);
        String::from_utf8(id).unwrap().trim().to_owned()
    }

    /// The paths of the branch's newest commit, sorted.
    pub(crate) fn files(&self) -> Vec<String> {
        lines(&self.git(&["ls-tree", "-r", "-z", "--name-only", &self.reference()]), '\0')
    }

    /// Sets a hook such as `pre-receive`: a whole script.
    pub(crate) fn hook(&self, name: &str, script: &str) {
        let folder = self.path.join("hooks");
        std::fs::create_dir_all(&folder).unwrap();
        // Written by another process: a file that this one had open could not be run while another thread forks.
        let mut write = Command::new("sh");
        write.args(["-c", r#"cat >"$0" && chmod 755 "$0""#]).arg(folder.join(name));
        run(&mut write, script.as_bytes());
    }

    /// Sets a key of the repository's configuration.
    pub(crate) fn config(&self, key: &str, value: &str) {
        self.git(&["config", key, value]);
    }

    /// `git` in this repository; returns stdout, panics with git's words if it fails.
    pub(crate) fn git(&self, args: &[&str]) -> Vec<u8> {
        run(self.command().args(args), b"")
    }

    fn command(&self) -> Command {
        let mut command = git();
        command.arg("--git-dir").arg(&self.path);
        command
    }

    fn reference(&self) -> String {
        format!("refs/heads/{}", self.branch)
    }
}

/// `git` that knows nothing of the machine's and the user's configuration, and asks nobody.
pub(crate) fn git() -> Command {
    let mut command = Command::new("git");
    for (name, value) in [
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_CONFIG_SYSTEM", "/dev/null"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_AUTHOR_NAME", "Ada"),
        ("GIT_AUTHOR_EMAIL", "ada@example.test"),
        ("GIT_COMMITTER_NAME", "Ada"),
        ("GIT_COMMITTER_EMAIL", "ada@example.test"),
        ("LC_ALL", "C"),
    ] {
        command.env(name, value);
    }
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "http_proxy", "https_proxy", "all_proxy"] {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
    command
}

/// Runs to the end with this input; returns stdout, panics with stderr's words if it fails.
pub(crate) fn run(command: &mut Command, input: &[u8]) -> Vec<u8> {
    let output = try_run(command, input);
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Runs to the end with this input, however it ends.
pub(crate) fn try_run(command: &mut Command, input: &[u8]) -> std::process::Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the command starts");
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // It may end without reading all.
            let _ = stdin.write_all(input);
        });
        child.wait_with_output().expect("the command ends")
    })
}

/// A path as `git fast-import` reads it: in quotes, as it may hold anything.
fn quoted(path: &str) -> String {
    format!("\"{}\"", path.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

fn lines(text: &[u8], separator: char) -> Vec<String> {
    let text = std::str::from_utf8(text).expect("UTF-8");
    text.split(separator).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}
