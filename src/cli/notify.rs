//! `supercargo notify test`: a message to a channel of the configuration, and what its system says of it.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::{Context as _, anyhow};

use super::{
    output::{print, refuse},
    survey::block_on,
};
use crate::{
    app::{read_files, slack_settings},
    clock::SystemClock,
    config::FileArgs,
    domain::text::escape,
    metrics::Metrics,
    notify::slack::try_channel,
    ports::Clock,
};

/// Work with messages to people
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    Test(Args),
}

/// Post a message to a channel of the configuration, and say what came back and what to do
///
/// Also asks whether a socket could be opened, by which clicks come. Ends with 1 if either is not so.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The channel, by its name in `channels`
    channel: String,
    /// The configuration file (YAML)
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

impl Command {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Self::Test(args) = self;
        args.run()
    }
}

impl Args {
    fn run(self) -> anyhow::Result<ExitCode> {
        let config = read_files(&FileArgs { config: Some(self.config), policies: None })?;
        let names: Vec<&str> = config.channels.iter().map(|channel| channel.name.as_str()).collect();
        let Some(name) = names.iter().find(|name| **name == self.channel) else {
            let available = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            return Ok(refuse(format!("no channel `{}` in `channels`; available: {available}", escape(&self.channel))));
        };
        let settings = slack_settings(&config)?.context("`slack` says nothing of the app")?;
        let channel = settings.channels.iter().find(|channel| channel.name == **name);
        let channel = channel.context("the channel is none of Slack")?.clone();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let tried = block_on(async { Ok(try_channel(&settings, &channel, &*clock, &Metrics::default()).await) })?;
        let mut is_good = true;
        for (what, came) in tried {
            match came {
                Ok(said) => print(&format!("{what}: {}\n", escape(&said)))?,
                Err(error) => {
                    is_good = false;
                    let advice = error.advice().map(|advice| format!(": {advice}")).unwrap_or_default();
                    print(&format!("{what}: {}{advice}\n", escape(&error.to_string())))?;
                }
            }
        }
        if is_good { Ok(ExitCode::SUCCESS) } else { Err(anyhow!("Slack does not take all of it")) }
    }
}
