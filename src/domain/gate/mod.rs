//! May the container now? Each gate is one file and one line in [`GATES`]; only [`pass`] makes a
//! [`Plan<Approved>`].

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    demand::Demand,
    hours::{Hours, shown},
    plan::{Approved, Plan, Proposed},
    reason::{Code, Reason},
    report::{GateRow, Verdict},
    update::Tracked,
    votes::Approval,
    window::Window,
    workload::Owner,
};

mod approval;
mod freeze;
mod held;
mod owner;
mod rolling_out;
mod suspend;
mod window;

pub use held::Stop;

/// What the gates look at.
#[derive(Debug, Clone, Copy, Default)]
pub struct Context<'a> {
    /// The time.
    pub now: Timestamp,
    /// `suspend: true` on the workload.
    pub suspended: bool,
    /// The operator runs with `--dry-run`.
    pub dry_run: bool,
    /// What stops it, if anything does.
    pub stop: Option<Stop<'a>>,
    /// Who else sets the image.
    pub owner: Option<&'a Owner>,
    /// `write: cluster` stands on the workload itself.
    pub owner_overridden: bool,
    /// The update whose rollout goes on, there or back.
    pub rolling_out: Option<&'a Tracked>,
    /// When updates may start, if not always.
    pub hours: Option<&'a Hours>,
    /// The first time from now on at which they may.
    pub opens: Option<Timestamp>,
    /// Whether one is in Git, or in a request, and so has started.
    pub in_git: bool,
    /// How many people must approve, if any must.
    pub asked: Option<&'a Demand<u8>>,
    /// What was said so far of what is to be written.
    pub approval: Option<&'a Approval>,
    /// Whether it is sure who votes.
    pub voting: Voting<'a>,
}

/// Whether nobody can vote for another, or without the right to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Voting<'a> {
    /// That was proved lately.
    Guarded,
    /// Nobody can, or why it is not so.
    Unguarded(&'a str),
    /// It is being found out.
    #[default]
    Unknown,
}

impl Context<'_> {
    /// The hours of a workload that leave no time.
    pub fn never_opens(&self) -> Option<&Hours> {
        self.hours.filter(|_| self.opens.is_none())
    }
}

/// A gate that is not open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// Blocked, waiting or a problem.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// When it opens, where that is known.
    pub opens: Option<Timestamp>,
}

impl Closed {
    /// Whether people may be asked all the same: time alone, or they themselves, will open it.
    fn may_be_asked(&self) -> bool {
        self.is_of_people() || matches!(self.reason.code, Code::OutsideWindow | Code::Frozen)
    }

    fn is_of_people(&self) -> bool {
        matches!(self.reason.code, Code::Approval | Code::ApprovalsUnguarded)
    }
}

/// Whether an update waits for people, and for nothing that they should not be asked before.
pub fn is_to_be_asked(closed: &[Closed]) -> bool {
    closed.iter().all(Closed::may_be_asked) && closed.iter().any(Closed::is_of_people)
}

/// How a gate stands.
struct Stand {
    /// Its name, for people.
    gate: &'static str,
    /// If it is not open.
    closed: Option<Closed>,
    /// What set it, for people.
    by: Vec<Arc<str>>,
}

impl Stand {
    /// Nobody asks for anything.
    fn open(gate: &'static str) -> Self {
        Self { gate, closed: None, by: Vec::new() }
    }

    fn closed(gate: &'static str, by: &str, verdict: Verdict, reason: Reason) -> Self {
        Self { gate, closed: Some(Closed { verdict, reason, opens: None }), by: vec![by.into()] }
    }

    /// By those of a workload's hours for which that holds; open if it does for none.
    fn of_hours(
        gate: &'static str,
        context: &Context<'_>,
        demands: &[Demand<Window>],
        is_closed: impl Fn(&Window) -> bool,
        (code, what): (Code, &str),
    ) -> Self {
        let names = |of: &dyn Fn(&Window) -> bool| -> Vec<Arc<str>> {
            demands.iter().filter(|demand| of(&demand.value)).map(|demand| demand.by.clone()).collect()
        };
        let by = names(&is_closed);
        if by.is_empty() {
            return Self { gate, closed: None, by: names(&|_| true) };
        }
        let opens = context.opens.map(|at| format!(", opens {}", shown(at))).unwrap_or_default();
        let reason = Reason::new(code, format!("{what} {}{opens}", by.join(", ")));
        Self { gate, closed: Some(Closed { verdict: Verdict::Waiting, reason, opens: context.opens }), by }
    }
}

type Gate = fn(&Context<'_>) -> Stand;

/// Every gate, the most telling first.
const GATES: &[Gate] =
    &[owner::check, suspend::check, held::check, freeze::check, window::check, rolling_out::check, approval::check];

/// Lets a plan through when every gate is open; otherwise gives it back, and says each gate that is closed.
#[expect(clippy::result_large_err, reason = "it is the plan that was given")]
pub fn pass(plan: Plan<Proposed>, context: &Context<'_>) -> Result<Plan<Approved>, (Plan<Proposed>, Vec<Closed>)> {
    let closed: Vec<Closed> = closed(context).collect();
    if closed.is_empty() { Ok(plan.approve()) } else { Err((plan, closed)) }
}

/// Every gate that is closed, the most telling first.
pub fn closed(context: &Context<'_>) -> impl Iterator<Item = Closed> {
    GATES.iter().filter_map(|gate| gate(context).closed)
}

/// How every gate stands, for people.
pub fn rows(context: &Context<'_>) -> impl Iterator<Item = GateRow> {
    GATES.iter().map(|gate| {
        let Stand { gate, closed, by } = gate(context);
        let opens = closed.as_ref().and_then(|closed| closed.opens);
        GateRow { gate, open: closed.is_none(), by, opens }
    })
}
