//! A person has stopped all changes, of the workload or of everything; or its policy was taken away with an image.

use super::{Context, Stand};
use crate::domain::{
    reason::{Code, Reason},
    report::Verdict,
    update::{HeldBy, SeenRule, TakenAway},
    workload::WorkloadId,
};

/// What stops a workload.
#[derive(Debug, Clone, Copy)]
pub enum Stop<'a> {
    /// A person has stopped everything.
    All(&'a HeldBy),
    /// A person has stopped the workload.
    Workload(&'a HeldBy, &'a WorkloadId),
    /// What is remembered of the workload, or of all, cannot be read.
    Undecodable(&'a WorkloadId, &'a str),
    /// Its policy went together with an image that was moved back.
    Undone(&'a SeenRule, &'a TakenAway, &'a WorkloadId),
}

impl Stop<'_> {
    /// Who stops it, and how that ends.
    pub fn reason(&self) -> Reason {
        match self {
            Self::All(held) => Reason::new(Code::Held, format!("everything is {}", held.why("--all"))),
            Self::Workload(held, workload) => Reason::new(Code::Held, held.why(&workload.to_string())),
            Self::Undecodable(of, why) => {
                let whose = if of.is_all() { "of all workloads" } else { "of it" };
                let message = format!(
                    "what is remembered {whose} cannot be read, so that nothing is changed, as somebody may have held it: \
                     {why}; correct the object in namespace {}, or delete it, and with it any hold that stands only there",
                    of.namespace
                );
                Reason::new(Code::Undecodable, message)
            }
            Self::Undone(rule, taken, workload) => Reason::new(Code::Undone, rule.why_undone(taken, workload)),
        }
    }
}

pub(super) fn check(context: &Context<'_>) -> Stand {
    let Some(stop) = &context.stop else { return Stand::open("hold") };
    let (by, verdict) = match stop {
        Stop::All(held) | Stop::Workload(held, _) => (&*held.by, Verdict::Blocked),
        Stop::Undecodable(..) => ("supercargo", Verdict::Problem),
        Stop::Undone(_, taken, _) => (&*taken.by, Verdict::Blocked),
    };
    Stand::closed("hold", by, verdict, stop.reason())
}
