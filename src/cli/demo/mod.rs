//! `supercargo demo`: the main job on this machine alone.
//!
//! Nothing here is special to the demonstration but the registry and the making of the repository: it is read, decided
//! and committed to by the same code as `supercargo run --git`.

mod registry;

use std::{
    path::Path,
    process::{Command, ExitCode},
    sync::Arc,
};

use anyhow::{Context, ensure};

use super::{
    once,
    output::{print, table},
    survey::{self, Remembered, block_on},
};
use crate::{
    app,
    clock::SystemClock,
    config::{Config, RepositoryArgs, git_environment},
    domain::{
        keel::KeelMode,
        report::{Report, Verdict},
    },
    ports::{Clock, Records},
    store,
};

/// What the folder holds. `{registry}` is the embedded registry's address.
const MANIFEST: &str = include_str!("web.yaml");
const REPOSITORY: &str = "shop/web";
const PUSHED: [&str; 6] = ["1.0.1", "1.1.0-rc.1", "1.0.2-alpine", "2024.11.5", "2.0.0", "latest"];

/// Show the main job offline: an embedded registry, a push, a decision, a commit
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        block_on(demonstrate())?;
        Ok(ExitCode::SUCCESS)
    }
}

async fn demonstrate() -> anyhow::Result<()> {
    let registry = registry::Registry::start().await?;
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let deploy = folder.path().join("deploy.git");
    make_repository(folder.path(), &MANIFEST.replace("{registry}", &registry.address.to_string()))?;
    let repository = RepositoryArgs { git: Some(deploy.display().to_string()), ..RepositoryArgs::default() };
    let config = repository.narrow(Config::default(), false)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let targets = app::git_targets(&config, &folder.path().join("cache"), &clock, None, None)?;
    let (_, target) = targets.into_values().next().context("no repository")?;
    let records: Arc<dyn Records> = Arc::new(store::Memory::new(clock.clone()));
    let settings = survey::settings(&config, KeelMode::Ignore);
    let client = survey::local_registry(&config)?;

    registry.push(REPOSITORY, "1.0.0").await?;
    say(&format!("A registry listens on {}. It holds {REPOSITORY}:1.0.0.", registry.address))?;
    say("A bare Git repository holds web.yaml, a Deployment of that image with the annotation \
         supercargo.dev/policy: minor.")?;
    let before = once::look(&target, settings.clone(), &client, &*clock, Remembered::default()).await?;
    ensure!(before.plans.is_empty() && !before.failed(), "there was something to update before the push");
    say("supercargo looks: nothing to update.\n")?;

    for tag in PUSHED {
        registry.push(REPOSITORY, tag).await?;
    }
    say(&format!("Pushed: {}.\nsupercargo looks again:\n", PUSHED.join(", ")))?;
    let mut after = once::look(&target, settings, &client, &*clock, Remembered::default()).await?;
    let rows = after.reports.iter().flat_map(|(_, rows)| rows);
    let reasons = rows.flat_map(|row| &row.reasons).filter_map(|reason| {
        Some([format!("  {}", reason.tag.as_ref()?), reason.code.to_string(), reason.message.clone()])
    });
    print(&table(reasons))?;

    let failed = once::write(&target, &mut after.reports, after.plans, &records, &*clock).await;
    let is_update = |row: &Report| row.decision == Verdict::Update;
    ensure!(!failed && after.reports.iter().flat_map(|(_, rows)| rows).any(is_update), "the push was not found");
    say("\nIt commits the new tag, and not one byte elsewhere:\n")?;
    say(git(&deploy, &["show", "--format=commit %h by %an%n%n%w(0,4,4)%B", "main"])?.trim_end())?;
    say("\nNext, with a cluster:\n  \
           kubectl apply -k my-cluster       # deploy/base with the name of your image: docs/install.md\n  \
           kubectl annotate deployment web supercargo.dev/policy=minor\n  \
           supercargo plan")
}

/// `deploy.git`, with one commit of one file.
fn make_repository(folder: &Path, manifest: &str) -> anyhow::Result<()> {
    let (work, deploy) = (folder.join("work"), folder.join("deploy.git"));
    for path in [&work, &deploy] {
        std::fs::create_dir(path)?;
    }
    std::fs::write(work.join("web.yaml"), manifest)?;
    git(&deploy, &["init", "--quiet", "--bare", "--initial-branch=main", "."])?;
    git(&work, &["init", "--quiet", "--initial-branch=main", "."])?;
    git(&work, &["add", "web.yaml"])?;
    git(&work, &["-c", "user.name=demo", "-c", "user.email=demo@localhost", "commit", "--quiet", "-m", "The shop"])?;
    git(&work, &["push", "--quiet", &deploy.display().to_string(), "main"])?;
    Ok(())
}

/// Runs git without anybody's settings.
fn git(folder: &Path, args: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new("git");
    command.current_dir(folder).args(args).env_clear().envs(git_environment());
    command.envs([("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CEILING_DIRECTORIES", "/")]);
    let output = command.output().context("git did not start: install it")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "git {} failed: {}", args[0], said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn say(text: &str) -> anyhow::Result<()> {
    print(&format!("{text}\n"))
}
