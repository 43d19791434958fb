//! What the commands share that make a person's wish, and wait until something has come of it.

use std::{process::ExitCode, sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{
    output::{print, tell},
    survey::{block_on, client, parse_workload},
};
use crate::{
    clock::SystemClock,
    cluster::Voter,
    config::ClusterArgs,
    domain::{
        text::escape,
        workload::{KindSpec, WorkloadId},
    },
    ports::Clock,
};

/// How long is waited until the wish is taken up.
const PATIENCE: Duration = Duration::from_secs(15);
const BETWEEN: Duration = Duration::from_millis(250);

/// For which workload.
pub(super) enum For<'a> {
    /// As people name it, and its namespace if that does not say so.
    One(&'a str, Option<&'a str>),
    /// All of them, of the operator in that namespace.
    All(&'a str),
}

/// A wish: its field of the object and what stands there, and how its end is told.
pub(super) struct Wish<'a> {
    pub(super) field: &'static str,
    pub(super) value: Value,
    pub(super) reason: Option<&'a str>,
    /// As in `rolling back`.
    pub(super) doing: &'static str,
    /// As in `not rolled back`.
    pub(super) refused: &'static str,
}

/// Makes it.
pub(super) fn make(args: &ClusterArgs, of: &For<'_>, wish: Wish<'_>) -> anyhow::Result<ExitCode> {
    block_on(made(args, of, wish))
}

async fn made(args: &ClusterArgs, of: &For<'_>, wish: Wish<'_>) -> anyhow::Result<ExitCode> {
    let id = |namespace: &str, kind: &KindSpec, name: &str| WorkloadId {
        kind: kind.kind.clone(),
        namespace: namespace.into(),
        name: name.into(),
    };
    let (client, id) = match of {
        For::One(workload, given) => {
            let (namespace, kind, name) = parse_workload(workload)?;
            let client = client(args).await?;
            let id = id(namespace.or(*given).unwrap_or(client.default_namespace()), kind, name);
            (client, id)
        }
        For::All(operator) => (client(args).await?, WorkloadId::all(operator)),
    };
    let shown = if id.is_all() { "all".to_owned() } else { id.to_string() };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let voter = Voter::new(client, clock.clone());
    let mut spec = json!({"by": voter.name().await?, "at": clock.now()});
    spec[wish.field] = wish.value;
    if let Some(reason) = wish.reason {
        spec["reason"] = json!(reason);
    }
    let made = voter.wish(&id, spec).await?;
    let end = clock.monotonic() + PATIENCE;
    while clock.monotonic() < end {
        match voter.answer(&id, &made).await? {
            Some((true, what)) => {
                print(&format!("{} {shown}: {}\n", wish.doing, escape(&what)))?;
                return Ok(ExitCode::SUCCESS);
            }
            Some((false, why)) => anyhow::bail!("{shown} is {}: {}", wish.refused, escape(&why)),
            None => clock.sleep_until(clock.monotonic() + BETWEEN).await,
        }
    }
    if id.is_all() {
        anyhow::bail!(
            "nothing has taken up the wish: no supercargo answers in the namespace {}; name the one that it runs in with \
             `--operator-namespace`",
            id.namespace
        );
    }
    let made = "the wish is made, and has not been taken up yet: does supercargo run?";
    tell(format!("{made} `supercargo status {id}` shows when it is"));
    Ok(ExitCode::SUCCESS)
}
