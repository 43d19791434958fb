//! Git's command line.
//!
//! Nothing of the user's or the system's settings takes part: the environment is scrubbed, and what is set is set by
//! environment variables, also credentials, so that neither an argument nor the clone's configuration holds one.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::Arc,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::{ChildStdout, Command},
};

use super::{
    forges::GithubApp,
    settings::{Credentials, Remote},
};
use crate::{net::foreign, ports::Clock};

/// How long a command without a server may take, and one with.
const LOCAL: Duration = Duration::from_secs(120);
const REMOTE: Duration = Duration::from_secs(300);
/// How much of an output that is streamed is read at once.
const PIPE: usize = 64 << 10;

/// Git in one folder.
pub(super) struct Git {
    pub(super) remote: Remote,
    clock: Arc<dyn Clock>,
    /// `PATH` and, where it is set, where certificates are.
    inherited: Vec<(String, String)>,
}

/// Why a command did not do what it should.
#[derive(Debug, thiserror::Error)]
pub(super) enum GitError {
    /// It could not be started, was killed, or took too long.
    #[error("{0}")]
    Broken(String),
    /// It said no.
    #[error("{words}")]
    Failed {
        /// What it printed.
        stdout: String,
        /// The server's words where there are some, else git's own.
        words: String,
    },
}

impl Git {
    pub(super) fn new(remote: Remote, clock: Arc<dyn Clock>, inherited: Vec<(String, String)>) -> Self {
        Self { remote, clock, inherited }
    }

    /// Runs a command that asks no server. If it fails, the clone is not what it should be.
    pub(super) async fn local(&self, args: &[&str], input: &[u8]) -> Result<Vec<u8>, GitError> {
        self.tool("git", args, input, Vec::new()).await.map_err(|error| GitError::Broken(error.to_string()))
    }

    /// Runs git or one of its helpers, with these settings and variables.
    pub(super) async fn tool(
        &self,
        program: &str,
        args: &[&str],
        input: &[u8],
        more: Vec<(String, String)>,
    ) -> Result<Vec<u8>, GitError> {
        self.run(program, args, input, LOCAL, more).await.map(|(stdout, _)| stdout)
    }

    /// Runs a command that asks the server; what it printed on both outputs.
    pub(super) async fn remote(&self, args: &[&str], input: &[u8]) -> Result<(Vec<u8>, String), GitError> {
        let access = self.access().await.map_err(GitError::Broken)?;
        self.run("git", args, input, REMOTE, access).await
    }

    async fn run(
        &self,
        program: &str,
        args: &[&str],
        input: &[u8],
        limit: Duration,
        more: Vec<(String, String)>,
    ) -> Result<(Vec<u8>, String), GitError> {
        let read = async |mut stdout: ChildStdout| {
            let mut all = Vec::new();
            stdout.read_to_end(&mut all).await.map(|_| all)
        };
        let (stdout, output) = self.piped(program, args, input, limit, more, read).await?;
        let stdout = stdout.map_err(|error| broken(program, args, &error.to_string()))?;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            return Ok((stdout, stderr));
        }
        let stdout = String::from_utf8_lossy(&stdout).into_owned();
        match output.status.code() {
            Some(code) => {
                let words = words(&stderr);
                let what = args.first().copied().unwrap_or_default();
                let words = if words.is_empty() { format!("{program} {what} ended with {code}") } else { words };
                Err(GitError::Failed { stdout, words })
            }
            None => Err(broken(program, args, "it was killed")),
        }
    }

    /// Runs a command that asks no server, and reads what it prints while it comes.
    pub(super) async fn stream<T>(
        &self,
        args: &[&str],
        input: &[u8],
        read: impl AsyncFnOnce(BufReader<ChildStdout>) -> Result<T, String>,
    ) -> Result<T, GitError> {
        let read = async |stdout| read(BufReader::with_capacity(PIPE, stdout)).await;
        let (read, output) = self.piped("git", args, input, LOCAL, Vec::new(), read).await?;
        match read {
            Ok(read) if output.status.success() => Ok(read),
            read => {
                let said = words(&String::from_utf8_lossy(&output.stderr));
                match read {
                    // It ended as nobody heard it any more.
                    Err(why) if said.is_empty() => Err(GitError::Broken(why)),
                    _ => Err(broken("git", args, &format!("{said} ({})", output.status))),
                }
            }
        }
    }

    /// Runs a command; what was read of it, and how it ended.
    async fn piped<T>(
        &self,
        program: &str,
        args: &[&str],
        input: &[u8],
        limit: Duration,
        more: Vec<(String, String)>,
        read: impl AsyncFnOnce(ChildStdout) -> T,
    ) -> Result<(T, Output), GitError> {
        let broken = |why: String| broken(program, args, &why);
        let mut command = Command::new(self.found(program));
        command.args(args).current_dir(&self.remote.folder).env_clear().envs(self.environment(more));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| broken(format!("cannot be started: {error}")))?;
        let (stdin, stdout) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
        let feed = async move {
            let mut stdin = stdin;
            // A command that ends early does not read all; its exit code says why.
            let _ = stdin.write_all(input).await;
        };
        let ended = async { futures::join!(read(stdout), feed, child.wait_with_output()) };
        tokio::select! {
            (read, (), output) = ended => Ok((read, output.map_err(|error| broken(error.to_string()))?)),
            () = self.clock.sleep_until(self.clock.monotonic() + limit) => {
                Err(broken(format!("no end after {} s", limit.as_secs())))
            }
        }
    }

    /// Where a program is. By its name alone, with another environment than ours, it would be started from a copy of this
    /// process (`fork`), which takes the longer the more memory that has.
    fn found(&self, program: &str) -> PathBuf {
        let paths = self.inherited.iter().filter(|(key, _)| key == "PATH").flat_map(|(_, all)| all.split(':'));
        let found = paths.map(|path| Path::new(path).join(program)).find(|path| path.is_absolute() && path.is_file());
        found.unwrap_or_else(|| program.into())
    }

    fn environment(&self, more: Vec<(String, String)>) -> Vec<(String, String)> {
        let folder = self.remote.folder.display().to_string();
        let config = [
            ("core.hooksPath", "/dev/null"),
            // The clone is a cache: what is lost is fetched again.
            ("core.fsync", "none"),
            // What is larger is not kept in memory, but passed on.
            ("core.bigFileThreshold", "32m"),
            ("gc.auto", "0"),
            ("maintenance.auto", "false"),
            ("protocol.allow", "never"),
            ("protocol.https.allow", "always"),
            ("protocol.http.allow", "always"),
            ("protocol.ssh.allow", "always"),
            ("protocol.file.allow", "always"),
            // What lets git in would be sent to where the redirection leads.
            ("http.followRedirects", "false"),
            ("http.lowSpeedLimit", "1000"),
            ("http.lowSpeedTime", "60"),
            ("credential.helper", ""),
        ];
        let mut config: Vec<(String, String)> = config.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let mut variables = vec![
            ("HOME".to_owned(), folder.clone()),
            ("TMPDIR".to_owned(), folder.clone()),
            ("GIT_DIR".to_owned(), folder),
            ("GIT_CONFIG_NOSYSTEM".to_owned(), "1".to_owned()),
            ("GIT_CONFIG_GLOBAL".to_owned(), "/dev/null".to_owned()),
            ("GIT_TERMINAL_PROMPT".to_owned(), "0".to_owned()),
            ("GIT_ASKPASS".to_owned(), "true".to_owned()),
            ("GIT_NO_LAZY_FETCH".to_owned(), "1".to_owned()),
            ("LC_ALL".to_owned(), "C".to_owned()),
        ];
        for (key, value) in more {
            // What is no variable is a setting.
            if key.contains('.') { config.push((key, value)) } else { variables.push((key, value)) }
        }
        variables.push(("GIT_CONFIG_COUNT".to_owned(), config.len().to_string()));
        for (index, (key, value)) in config.into_iter().enumerate() {
            variables.push((format!("GIT_CONFIG_KEY_{index}"), key));
            variables.push((format!("GIT_CONFIG_VALUE_{index}"), value));
        }
        variables.extend(self.inherited.iter().cloned());
        variables
    }

    /// Settings (`http.…`) and variables that let git in.
    async fn access(&self) -> Result<Vec<(String, String)>, String> {
        let remote = &self.remote;
        let mut access = Vec::new();
        if let Some(ca) = &remote.ca {
            access.push(("http.sslCAInfo".to_owned(), ca.display().to_string()));
        }
        access.push(("http.proxy".to_owned(), remote.proxy.clone().unwrap_or_default()));
        match &remote.credentials {
            Credentials::None => {}
            Credentials::Token { username, secret } => {
                let secret = secret.read().map_err(|why| format!("the token cannot be read: {why}"))?;
                access.push(authorization(&remote.url, username, &secret));
            }
            Credentials::App(app) => {
                let token = app.token().await.map_err(|error| error.to_string())?;
                access.push(authorization(&remote.url, GithubApp::USERNAME, &token));
            }
            Credentials::Ssh { key, known_hosts } => {
                let key = private_copy(key, &remote.folder.join("ssh-key"))?;
                let ssh = format!(
                    "ssh -F /dev/null -o BatchMode=yes -o IdentitiesOnly=yes -o StrictHostKeyChecking=yes -o \
                     ConnectTimeout=15 -o GlobalKnownHostsFile=/dev/null -o UserKnownHostsFile={} -i {}",
                    quoted(known_hosts),
                    quoted(&key)
                );
                access.push(("GIT_SSH_COMMAND".to_owned(), ssh));
            }
        }
        Ok(access)
    }
}

fn broken(program: &str, args: &[&str], why: &str) -> GitError {
    GitError::Broken(format!("{program} {}: {why}", args.first().copied().unwrap_or_default()))
}

/// The setting that sends user and password to the server of that URL, and to no other.
fn authorization(url: &str, username: &str, password: &SecretString) -> (String, String) {
    let basic = STANDARD.encode(format!("{username}:{}", password.expose_secret()));
    (format!("http.{}/.extraHeader", origin(url)), format!("Authorization: Basic {basic}"))
}

/// `https://host:port` of a URL.
fn origin(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    format!("{scheme}://{}", rest.split('/').next().unwrap_or_default())
}

/// ssh refuses a key that others may read, as a mounted Secret often is.
pub(super) fn private_copy(key: &Path, copy: &Path) -> Result<PathBuf, String> {
    let say = |error: std::io::Error| format!("the SSH key {} cannot be used: {error}", key.display());
    let text = fs::read(key).map_err(say)?;
    let mut file = fs::File::options().create(true).truncate(true).write(true).mode(0o600).open(copy).map_err(say)?;
    file.set_permissions(fs::Permissions::from_mode(0o600)).map_err(say)?;
    file.write_all(&text).map_err(say)?;
    if !text.ends_with(b"\n") {
        file.write_all(b"\n").map_err(say)?;
    }
    Ok(copy.to_owned())
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

/// What the server said (`remote: …`), else what git says of errors; one line, capped.
fn words(stderr: &str) -> String {
    let remote: Vec<&str> = stderr.lines().filter_map(|line| line.strip_prefix("remote: ")).collect();
    let own = stderr.lines().filter_map(|line| line.strip_prefix("fatal: ").or_else(|| line.strip_prefix("error: ")));
    let chosen: Vec<&str> = if remote.is_empty() { own.collect() } else { remote };
    // Of a connection that fails, ssh says why, and git only that.
    let by_ssh = chosen.iter().any(|line| line.contains("Could not read from remote repository"));
    let is_gits =
        |line: &str| ["fatal: ", "Please make sure", "and the repository exists"].iter().any(|p| line.starts_with(p));
    let lines: Vec<&str> = match chosen.is_empty() || by_ssh {
        true => stderr.lines().filter(|line| !by_ssh || !is_gits(line)).collect(),
        false => chosen.clone(),
    };
    let lines = if lines.iter().all(|line| line.trim().is_empty()) { chosen } else { lines };
    // Gitea frames what it says by empty errors.
    let lines = lines.iter().map(|line| line.trim().trim_start_matches("error:").trim());
    let line = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
    let said = foreign(&line);
    let any = |signs: &[&str]| signs.iter().any(|sign| stderr.contains(sign));
    if any(&["terminal prompts disabled", "Authentication failed"]) {
        format!("the Git server wants credentials, or refuses these: {said}")
    } else if any(&["error: 301", "error: 302", "error: 303", "error: 307", "error: 308"]) {
        format!(
            "the server leads to another address, where no credential is sent: give the repository's new address, at \
             GitLab with `.git` at its end: {said}"
        )
    } else {
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_words_come_first() {
        let stderr =
            "To http://x\nremote: Not allowed to push to protected branch main        \nerror: failed to push\n";
        assert_eq!(words(stderr), "Not allowed to push to protected branch main");
        let framed = "remote: error:\nremote: error: User permission denied for writing.\nremote: error:\n";
        assert_eq!(words(framed), "User permission denied for writing.");
        let refused = "remote: Unauthorized\nfatal: Authentication failed for 'http://x/'\n";
        assert_eq!(words(refused), "the Git server wants credentials, or refuses these: Unauthorized");
        assert_eq!(words("fatal: repository 'x' not found\n"), "repository 'x' not found");
        let ssh = "Host key verification failed.\nfatal: Could not read from remote repository.\n\nPlease make sure you have \
                   the correct access rights\nand the repository exists.\n";
        assert_eq!(words(ssh), "Host key verification failed.");
        let gone = "fatal: '/g.git' does not appear to be a git repository\nfatal: Could not read from remote repository.\n\n\
                    Please make sure you have the correct access rights\nand the repository exists.\n";
        assert!(words(gone).starts_with("'/g.git' does not appear to be a git repository"), "{}", words(gone));
        assert_eq!(words("remote: \u{1b}[31mred\n"), "\\u{1b}[31mred");
    }

    #[test]
    fn a_header_is_for_one_origin() {
        assert_eq!(origin("https://git.example.com:8443/team/a.git"), "https://git.example.com:8443");
    }
}
