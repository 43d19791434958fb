//! How every gate stands, for who asks.

use crate::{
    domain::{
        annotations::{ContainerRule, Watch},
        gate::{self, Context},
        reason::Code,
        report::{GateRow, Report},
    },
    engine::index::entry::WorkloadEntry,
};

/// Says on the row of each container that is watched how the gates of its workload, and its own, stand.
pub(super) fn show(entry: &WorkloadEntry, context: &Context<'_>, reports: &mut [Report]) {
    let all: Vec<GateRow> = gate::rows(context).collect();
    for (rule, row) in entry.rule.containers.iter().zip(reports) {
        if !matches!(rule.state, Watch::Skipped(..)) {
            row.gates = std::iter::once(min_age(rule, row)).chain(all.iter().cloned()).collect();
            let is_held = row.reasons.first().is_some_and(|reason| reason.code.is_of_hold());
            // An image that is held closes it for its container.
            for gate in row.gates.iter_mut().filter(|gate| is_held && gate.gate == "hold") {
                gate.open = false;
            }
        }
    }
}

/// Whether a version is held up by its age.
fn min_age(rule: &ContainerRule, row: &Report) -> GateRow {
    let by = match &rule.state {
        Watch::Watched { gates, .. } => gates.min_age.iter().map(|age| age.by.clone()).collect(),
        _ => Vec::new(),
    };
    let is_young = row.reasons.first().is_some_and(|reason| reason.code == Code::TooYoung);
    GateRow { gate: "min-age", open: !is_young, by, opens: row.opens.filter(|_| is_young) }
}
