//! The program itself, as `supercargo run`, beside a real control plane.

use std::{path::Path, process::Command};

use tempfile::TempDir;

use super::{
    control_plane::{ControlPlane, Namespace, audited_user},
    eventually, free_port, http,
    process::Process,
    within_minutes,
};

/// What a debug build may take, in MB: far below what any of the inputs could blow it up to.
pub(crate) const RESIDENT: u64 = 200;

/// A running operator. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Operator {
    pub(crate) process: Process,
    /// Whose requests the audit log shows.
    pub(crate) user: String,
    /// `http://127.0.0.1:PORT` of the hooks.
    pub(crate) hooks: String,
    /// `http://127.0.0.1:PORT` of probes and metrics.
    pub(crate) private: String,
    _folder: TempDir,
}

/// Where a test fails it is shown what its operator said last.
impl Drop for Operator {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let output = self.process.output();
            let lines: Vec<&str> = output.lines().collect();
            let last = &lines[lines.len().saturating_sub(100)..];
            println!("the last of {} lines of the operator:\n{}", lines.len(), last.join("\n"));
        }
    }
}

/// How to start one.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// Arguments after `run`.
    pub(crate) args: Vec<String>,
    /// `SUPERCARGO_HOOK_SECRET_DISTRIBUTION`
    pub(crate) hook_secret: Option<String>,
    /// More variables of its environment.
    pub(crate) variables: Vec<(String, String)>,
    /// The port for hooks, where a registry must know it before.
    pub(crate) hooks_port: Option<u16>,
    /// A kubeconfig instead of an audited administrator's.
    pub(crate) kubeconfig: Option<std::path::PathBuf>,
    /// Whose kubeconfig; without one, a new [`audited_user`].
    pub(crate) user: Option<String>,
    /// A program and its arguments that start it; empty: it is started as it is.
    pub(crate) through: Vec<String>,
    /// Logs for people, not for machines.
    pub(crate) text_log: bool,
}

impl Setup {
    /// For one namespace, with this poll interval.
    pub(crate) fn in_namespace(namespace: &Namespace<'_>, interval: &str) -> Self {
        let args = ["-n", &namespace.name, "--poll-interval", interval].map(str::to_owned);
        Self {
            args: args.to_vec(),
            hook_secret: None,
            variables: Vec::new(),
            hooks_port: None,
            kubeconfig: None,
            user: None,
            through: Vec::new(),
            text_log: false,
        }
    }

    /// With more arguments.
    pub(crate) fn with(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|&arg| arg.to_owned()));
        self
    }
}

impl Operator {
    /// Starts it and waits until it is ready.
    pub(crate) async fn start(plane: &ControlPlane, setup: &Setup) -> Self {
        loop {
            let operator = Self::spawn(plane, setup);
            if operator.comes_up().await {
                return operator;
            }
        }
    }

    /// Starts it.
    pub(crate) fn spawn(plane: &ControlPlane, setup: &Setup) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let user = setup.user.clone().unwrap_or_else(audited_user);
        let kubeconfig = setup.kubeconfig.clone().unwrap_or_else(|| plane.kubeconfig(&user));
        let (hooks, private) = (setup.hooks_port.unwrap_or_else(free_port), free_port());
        let mut words = setup.through.iter().map(String::as_str).chain([env!("CARGO_BIN_EXE_supercargo")]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command
            .args(words)
            .arg("run")
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .arg(format!("--hooks-listen=127.0.0.1:{hooks}"))
            .arg(format!("--listen=127.0.0.1:{private}"))
            .arg(format!("--log-format={}", if setup.text_log { "text" } else { "json" }))
            .arg("--log-level=supercargo=debug,info")
            .args(&setup.args)
            // As deploy/Dockerfile has it.
            .env("MIMALLOC_PURGE_DELAY", "10")
            .env_remove("KUBERNETES_SERVICE_HOST");
        if let Some(secret) = &setup.hook_secret {
            command.env("SUPERCARGO_HOOK_SECRET_DISTRIBUTION", secret);
        }
        command.envs(setup.variables.iter().map(|(name, value)| (name, value)));
        let process = Process::spawn(&command, &folder.path().join("log"));
        let url = |port| format!("http://127.0.0.1:{port}");
        Self { process, user, hooks: url(hooks), private: url(private), _folder: folder }
    }

    /// Waits until it has looked at registries twice more.
    pub(crate) async fn looks(&self) {
        let looks = async || self.metric("supercargo_registry_requests_total", "class=\"tags\"").await;
        let before = looks().await;
        eventually("two more looks", async || (looks().await >= before + 2.0).then_some(())).await;
    }

    /// Waits until `/readyz` says so.
    pub(crate) async fn ready(&self) {
        assert!(self.comes_up().await, "{}", self.process.output());
    }

    /// Waits until it is ready; whether it is, or another process was quicker to take one of its ports.
    async fn comes_up(&self) -> bool {
        let url = format!("{}/readyz", self.private);
        let up = within_minutes(5, async || {
            let is_ready = http().get(&url).send().await.is_ok_and(|answer| answer.status() == 200);
            (is_ready || self.process.output().contains("Address already in use")).then_some(is_ready)
        });
        up.await.unwrap_or_else(|| panic!("the operator is not ready in 5 min; it said:\n{}", self.process.output()))
    }

    /// Resident memory, in MB.
    pub(crate) fn resident(&self) -> u64 {
        self.status("VmRSS") / 1024
    }

    /// A number of `/proc/PID/status`; sizes are in kB.
    pub(crate) fn status(&self, key: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// The text of `/metrics`.
    pub(crate) async fn metrics(&self) -> String {
        http().get(format!("{}/metrics", self.private)).send().await.unwrap().text().await.unwrap()
    }

    /// The sum of all lines of a metric whose labels hold `label`.
    pub(crate) async fn metric(&self, name: &str, label: &str) -> f64 {
        let text = self.metrics().await;
        let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}

/// Runs another command of the program to its end.
pub(crate) fn supercargo(args: &[&str], folder: &Path) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_supercargo")).args(args).current_dir(folder).output().unwrap()
}
