//! Child processes that end with the test process, however that ends (a panic, `kill -9`).
//!
//! A small shell stands between: it holds the reading end of a pipe whose writing end only the test process
//! has, and kills the child when the pipe closes.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use super::eventually;

pub(crate) const WATCH: &str = r#"
exec 3<&0 </dev/null
"$@" 3<&- >>"$LOG_OF_CHILD" 2>&1 & p=$!
{ read -r _ <&3; kill -KILL $p; } >/dev/null 2>&1 & w=$!
echo $p
exec >/dev/null 2>&1
wait $p; s=$?
kill $w 2>/dev/null
exit $s
"#;

/// A running child. Killed when dropped, and when the test process ends.
#[derive(Debug)]
pub(crate) struct Process {
    shell: Child,
    pid: u32,
    log: PathBuf,
}

impl Process {
    /// Starts `command` (program, arguments, environment, folder); both its outputs are appended to the file `log`.
    pub(crate) fn spawn(command: &Command, log: &Path) -> Self {
        File::options().create(true).append(true).open(log).expect("the log file opens");
        let mut shell = Command::new("sh");
        shell.args(["-c", WATCH, "watch"]).arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(key, value),
                None => shell.env_remove(key),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            shell.current_dir(folder);
        }
        let log = log.canonicalize().expect("the log file has a path");
        shell.env("LOG_OF_CHILD", &log).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut shell = shell.spawn().expect("sh starts");
        let mut pid = String::new();
        let stdout = shell.stdout.take().expect("stdout is a pipe");
        BufReader::new(stdout).read_line(&mut pid).expect("the shell prints the child's process id");
        Self { pid: pid.trim().parse().expect("a process id"), shell, log }
    }

    /// The child's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal: `TERM`, `KILL`, `STOP`, …
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.pid.to_string()]).status().expect("kill starts");
        assert!(status.success(), "kill -s {name} {}: {status}", self.pid);
    }

    /// How it ended, if it has. A signal N shows as exit code 128 + N.
    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        self.shell.try_wait().expect("the shell can be waited for")
    }

    /// Waits for its end, at most 30 s.
    pub(crate) async fn wait(&mut self) -> ExitStatus {
        let what = format!("the end of process {}", self.pid);
        eventually(&what, async || self.exited()).await
    }

    /// What it has printed so far.
    pub(crate) fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// A temporary folder that goes with the test process, also when that is killed.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// Removes the folder when its stdin closes, once the servers in it have ended too.
    _remover: Child,
}

impl Folder {
    pub(crate) fn new() -> Self {
        let path = tempfile::Builder::new().prefix("supercargo-it-").tempdir().unwrap().keep();
        let script = r#"read -r _; rm -rf -- "$0" || { sleep 2; rm -rf -- "$0"; }"#;
        let mut remover = Command::new("sh");
        remover.args(["-c", script]).arg(&path).process_group(0).stdin(Stdio::piped());
        remover.stdout(Stdio::null()).stderr(Stdio::null());
        Self { _remover: remover.spawn().unwrap(), path }
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}
