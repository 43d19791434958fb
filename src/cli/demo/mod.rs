//! `supercargo demo`: the main job on this machine alone.
//!
//! Nothing here is special to the demonstration but the registry: the folder is read, decided and edited by the same
//! code as `supercargo update`.

mod registry;

use std::{process::ExitCode, sync::Arc};

use anyhow::{Context, ensure};

use super::{
    files::{self, NewText},
    output::{print, table},
    survey::{self, block_on},
    update::edited,
};
use crate::{config::Config, domain::keel::KeelMode};

/// What the folder holds. `{registry}` is the embedded registry's address.
const MANIFEST: &str = include_str!("web.yaml");
const REPOSITORY: &str = "shop/web";
const PUSHED: [&str; 6] = ["1.0.1", "1.1.0-rc.1", "1.0.2-alpine", "2024.11.5", "2.0.0", "latest"];

/// Show the main job offline: an embedded registry, a push, a decision, an exact edit
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
    let path = folder.path().join("web.yaml");
    std::fs::write(&path, MANIFEST.replace("{registry}", &registry.address.to_string()))?;
    let config = Config::default();
    let settings = survey::settings(&config, KeelMode::Ignore);
    let client = Arc::new(survey::local_registry(&config)?);

    registry.push(REPOSITORY, "1.0.0").await?;
    say(&format!("A registry listens on {}. It holds {REPOSITORY}:1.0.0.", registry.address))?;
    say("A folder holds web.yaml, a Deployment of that image with the annotation supercargo.dev/policy: minor.")?;
    let before = survey::folder(folder.path(), &settings, &*client).await?;
    ensure!(edited(&before).0.is_empty(), "there was something to update before the push");
    say("supercargo looks: nothing to update.\n")?;

    for tag in PUSHED {
        registry.push(REPOSITORY, tag).await?;
    }
    say(&format!("Pushed: {}.\nsupercargo looks again:\n", PUSHED.join(", ")))?;
    let after = survey::folder(folder.path(), &settings, &*client).await?;
    let rows = after.surveyed.iter().flat_map(|surveyed| &surveyed.assessment.reports);
    let reasons = rows.flat_map(|row| &row.reasons).filter_map(|reason| {
        Some([format!("  {}", reason.tag.as_ref()?), reason.code.to_string(), reason.message.clone()])
    });
    print(&table(reasons))?;

    let (texts, _) = edited(&after);
    ensure!(texts.len() == 1, "the push was not found");
    for (&file, new) in &texts {
        let found = &after.files[file];
        files::write(&[NewText { path: &found.path, old: &found.text, new }])?;
        let shown = found.path.strip_prefix(folder.path())?;
        say("\nIt writes the new tag, and not one byte elsewhere:\n")?;
        print(&files::diff(shown, &found.text, &std::fs::read_to_string(&found.path)?))?;
    }
    say("\nNext, with a cluster:\n  \
           kubectl apply -k my-cluster       # deploy/base with the name of your image: docs/install.md\n  \
           kubectl annotate deployment web supercargo.dev/policy=minor\n  \
           supercargo plan")
}

fn say(text: &str) -> anyhow::Result<()> {
    print(&format!("{text}\n"))
}
