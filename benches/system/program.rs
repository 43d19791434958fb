//! The program as a process: how it is started for the benchmark, and what the kernel says of it.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::support::{
    control_plane::{ControlPlane, audited_user},
    free_port,
    process::Process,
    slack::{APP_TOKEN, BOT_TOKEN},
};

/// The hook's secret.
pub(crate) const SECRET: &str = "secret";

/// `supercargo run` with the defaults, for the whole cluster.
pub(crate) struct Program {
    pub(crate) process: Process,
    pub(crate) user: String,
    pub(crate) hooks: String,
    private: String,
    http: reqwest::Client,
    _folder: TempDir,
}

impl Program {
    /// Starts it, and says how long it took until it was ready.
    pub(crate) async fn start(plane: &ControlPlane, poll_interval: &str) -> (Self, Duration) {
        Self::start_on(plane, poll_interval, free_port()).await
    }

    /// The same, where the port for hooks is known before.
    pub(crate) async fn start_on(plane: &ControlPlane, poll_interval: &str, hooks: u16) -> (Self, Duration) {
        Self::start_with(plane, poll_interval, hooks, None).await
    }

    /// The same with a configuration, whose secrets are those of the fake Slack.
    pub(crate) async fn start_with(
        plane: &ControlPlane,
        poll_interval: &str,
        hooks: u16,
        configuration: Option<&str>,
    ) -> (Self, Duration) {
        let folder = tempfile::tempdir().unwrap();
        let (user, private) = (audited_user(), free_port());
        let mut command = Command::new(env!("CARGO_BIN_EXE_supercargo"));
        command
            .arg("run")
            .arg("--kubeconfig")
            .arg(plane.kubeconfig(&user))
            .args(["--log-format=json", "--poll-interval", poll_interval])
            .arg(format!("--hooks-listen=127.0.0.1:{hooks}"))
            .arg(format!("--listen=127.0.0.1:{private}"))
            .env("SUPERCARGO_HOOK_SECRET_DISTRIBUTION", SECRET)
            // As deploy/Dockerfile has it.
            .env("MIMALLOC_PURGE_DELAY", "10")
            .env_remove("KUBERNETES_SERVICE_HOST");
        if let Some(configuration) = configuration {
            let file = folder.path().join("config.yaml");
            std::fs::write(&file, configuration).unwrap();
            command.arg("--config").arg(file).env("BOT_TOKEN", BOT_TOKEN).env("APP_TOKEN", APP_TOKEN);
        }
        let url = |port| format!("http://127.0.0.1:{port}");
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let began = Instant::now();
        let process = Process::spawn(&command, &folder.path().join("log"));
        let mut program = Self { process, user, hooks: url(hooks), private: url(private), http, _folder: folder };
        loop {
            let answer = program.http.get(format!("{}/readyz", program.private)).send().await;
            if answer.is_ok_and(|answer| answer.status() == 200) {
                return (program, began.elapsed());
            }
            let ended = program.process.exited();
            assert!(ended.is_none() && began.elapsed().as_secs() < 120, "not ready: {}", program.process.output());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// The sum of all lines of a metric whose labels hold `label`.
    pub(crate) async fn metric(&self, name: &str, label: &str) -> f64 {
        let answer = self.http.get(format!("{}/metrics", self.private)).send().await.expect("metrics");
        let text = answer.text().await.expect("metrics");
        let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Waits until every repository has been listed once.
    pub(crate) async fn looked(&self, repositories: usize) {
        let began = Instant::now();
        while self.metric("supercargo_registry_requests_total", "class=\"tags\",code=\"200\"").await
            < repositories as f64
        {
            assert!(began.elapsed().as_secs() < 300, "not all repositories were looked at");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// `VmRSS` or `VmHWM`, in MB (10^6 bytes).
    pub(crate) fn memory(&self, field: &str) -> f64 {
        let status = self.proc("status");
        let line = status.lines().find(|line| line.starts_with(field)).expect("the field");
        let kib: f64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number");
        kib * 1024.0 / 1e6
    }

    /// User and system time so far.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = self.proc("stat");
        let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
        let ticks: u64 = fields.split_whitespace().skip(11).take(2).map(|n| n.parse::<u64>().expect("ticks")).sum();
        // USER_HZ is 100 on every Linux.
        Duration::from_millis(ticks * 10)
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.process.pid())).expect("it runs")
    }
}
