//! An update starts when as many people have said yes to exactly it as are asked for, and it is sure who they are.

use super::{Context, Stand, Voting};
use crate::domain::{
    hours::shown,
    reason::{Code, Reason},
    report::Verdict,
    votes::Approval,
};

pub(super) fn check(context: &Context<'_>) -> Stand {
    let Some(demand) = context.asked else { return Stand::open("approval") };
    let none = Approval::default();
    let approval = Approval { needed: demand.value, ..context.approval.unwrap_or(&none).clone() };
    let closed =
        |verdict, code, message: String| Stand::closed("approval", &demand.by, verdict, Reason::new(code, message));
    let far = format!("{}; {} asks for that", approval.shown(), demand.by);
    match context.voting {
        Voting::Unguarded(why) => closed(Verdict::Problem, Code::ApprovalsUnguarded, why.to_owned()),
        Voting::Guarded if approval.unsure => closed(
            Verdict::Waiting,
            Code::Approval,
            format!("{far}; whether nobody can vote for another is being found out"),
        ),
        Voting::Guarded if approval.rejection().is_some() => {
            let by = approval.rejection().map(|vote| &*vote.by).unwrap_or_default();
            closed(Verdict::Blocked, Code::Rejected, format!("{by} rejected it"))
        }
        Voting::Guarded if approval.is_reached() => Stand { by: vec![demand.by.clone()], ..Stand::open("approval") },
        Voting::Guarded => {
            let until = approval.deadline.map(|at| format!(", until {}", shown(at))).unwrap_or_default();
            closed(Verdict::Waiting, Code::Approval, format!("{far}{until}"))
        }
        Voting::Unknown => {
            let message = format!("{far}; whether nobody can vote for another is being found out");
            closed(Verdict::Waiting, Code::Approval, message)
        }
    }
}
