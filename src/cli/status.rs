//! `supercargo status`: the updates as they are recorded in a cluster.

use std::{cmp::Reverse, process::ExitCode, sync::Arc};

use jiff::Timestamp;

use super::{
    output::{Output, dash, print_as, short, table, tell},
    survey::{self, block_on, parse_workload},
};
use crate::{
    clock::SystemClock,
    cluster::{self, Recorded},
    config::ClusterArgs,
    domain::workload::{KindSpec, WorkloadId},
    ports::Clock,
};

/// Show the recorded updates of a cluster: the unfinished first, then the newest
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The workload; without it all updates of a namespace
    #[arg(value_name = "[NS/]KIND/NAME", conflicts_with = "all_namespaces")]
    workload: Option<String>,
    /// Updates of this namespace (default: the kubeconfig's)
    #[arg(long, short = 'n', conflicts_with = "all_namespaces")]
    namespace: Option<String>,
    /// Updates of all namespaces
    #[arg(long, short = 'A')]
    all_namespaces: bool,
    /// How to print
    #[arg(long, short = 'o', value_enum, default_value = "table")]
    output: Output,
    #[command(flatten)]
    cluster: ClusterArgs,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let one = self.workload.as_deref().map(parse_workload).transpose()?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let (mut updates, left_out) = block_on(self.read(one, clock.clone()))?;
        for why in &left_out {
            tell(why);
        }
        updates.sort_by_cached_key(|update| (update.is_over(), Reverse(update.created_at), update.name.clone()));
        let now = clock.now();
        print_as(self.output, &updates, |updates| updates_table(updates, now))?;
        Ok(if left_out.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    async fn read(
        &self,
        one: Option<(Option<&str>, &'static KindSpec, &str)>,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<(Vec<Recorded>, Vec<String>)> {
        let client = survey::client(&self.cluster).await?;
        let namespace = one.and_then(|(namespace, ..)| namespace).or(self.namespace.as_deref());
        let namespace = namespace.unwrap_or(client.default_namespace()).to_owned();
        let of = match one {
            Some((_, kind, name)) => cluster::Of::Workload(WorkloadId {
                kind: kind.kind.clone(),
                namespace: namespace.into(),
                name: name.into(),
            }),
            None if self.all_namespaces => cluster::Of::All,
            None => cluster::Of::Namespace(namespace),
        };
        let read = cluster::recorded(client, clock, &of).await?;
        if read.0.is_empty() && read.1.is_empty() {
            tell(format!("no update {of} is recorded"));
        }
        Ok(read)
    }
}

/// In the words of `kubectl get imageupdates`.
fn updates_table(updates: &[Recorded], now: Timestamp) -> String {
    let head = ["WORKLOAD", "FROM", "TO", "PHASE", "WAITING FOR", "AGE"].map(str::to_owned);
    let rows = updates.iter().map(|update| {
        let age = update.created_at.map(|at| age(now.as_second() - at.as_second()));
        let first = update.images().map(|image| dash(&short(image)));
        let [from, to] = first;
        [update.workload(), from, to, dash(update.phase()), dash(update.waiting_for()), age.unwrap_or_else(|| dash(""))]
    });
    table(std::iter::once(head).chain(rows))
}

/// Seconds as kubectl shows an age.
fn age(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let (days, years) = (hours / 24, hours / 24 / 365);
    let both = |one: i64, unit: char, less: i64, than: char| match less {
        0 => format!("{one}{unit}"),
        less => format!("{one}{unit}{less}{than}"),
    };
    match (seconds, minutes, hours, years) {
        (..0, ..) => "0s".to_owned(),
        (..120, ..) => format!("{seconds}s"),
        (_, ..10, ..) => both(minutes, 'm', seconds % 60, 's'),
        (_, ..180, ..) => format!("{minutes}m"),
        (_, _, ..8, _) => both(hours, 'h', minutes % 60, 'm'),
        (_, _, ..48, _) => format!("{hours}h"),
        (_, _, ..192, _) => both(days, 'd', hours % 24, 'h'),
        (.., ..2) => format!("{days}d"),
        (.., ..8) => both(years, 'y', days % 365, 'd'),
        _ => format!("{years}y"),
    }
}

#[cfg(test)]
mod tests {
    /// The cases of `HumanDuration` in k8s.io/apimachinery, pkg/util/duration.
    #[rstest::rstest]
    #[case(-3, "0s")]
    #[case(0, "0s")]
    #[case(1, "1s")]
    #[case(70, "70s")]
    #[case(190, "3m10s")]
    #[case(600, "10m")]
    #[case(47 * 60, "47m")]
    #[case(180 * 60, "3h")]
    #[case(200 * 60, "3h20m")]
    #[case(8 * 3600, "8h")]
    #[case(47 * 3600, "47h")]
    #[case(48 * 3600, "2d")]
    #[case(74 * 3600, "3d2h")]
    #[case(196 * 3600, "8d")]
    #[case(364 * 86_400, "364d")]
    #[case(729 * 86_400, "729d")]
    #[case(730 * 86_400, "2y")]
    #[case((365 * 3 + 7) * 86_400, "3y7d")]
    #[case(365 * 9 * 86_400, "9y")]
    fn an_age_is_shown_as_kubectl_does(#[case] seconds: i64, #[case] shown: &str) {
        assert_eq!(super::age(seconds), shown);
    }
}
