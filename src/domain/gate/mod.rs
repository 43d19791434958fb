//! May the container now? Each gate is one file and one line in [`GATES`]; only [`pass`] makes a
//! [`Plan<Approved>`].

use super::{
    plan::{Approved, Plan, Proposed},
    reason::Reason,
    report::Verdict,
    update::Update,
    workload::Owner,
};

mod owner;
mod rolling_out;
mod suspend;

/// What the gates look at, beside the update itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Context<'a> {
    /// `suspend: true` on the workload.
    pub suspended: bool,
    /// The operator runs with `--dry-run`.
    pub dry_run: bool,
    /// Who else sets the image.
    pub owner: Option<&'a Owner>,
    /// `write: cluster` stands on the workload itself.
    pub owner_overridden: bool,
    /// The update whose rollout goes on.
    pub rolling_out: Option<&'a Update>,
}

/// A gate that is not open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// Blocked, waiting or a problem.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
}

impl Closed {
    fn new(verdict: Verdict, reason: Reason) -> Self {
        Self { verdict, reason }
    }
}

type Gate = fn(&Update, &Context<'_>) -> Option<Closed>;

/// Every gate, the most telling first.
const GATES: &[Gate] = &[owner::check, suspend::check, rolling_out::check];

/// Lets a plan through when every gate is open; otherwise says each gate that is closed.
pub fn pass(plan: Plan<Proposed>, context: &Context<'_>) -> Result<Plan<Approved>, Vec<Closed>> {
    let closed: Vec<Closed> = GATES.iter().filter_map(|gate| gate(plan.update(), context)).collect();
    if closed.is_empty() { Ok(plan.approve()) } else { Err(closed) }
}
