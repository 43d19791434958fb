//! `suspend: true` and `--dry-run`: nothing is changed, everything is still reported.

use super::{Closed, Context};
use crate::domain::{
    reason::{Code, Reason},
    report::Verdict,
    update::Update,
};

pub(super) fn check(_: &Update, context: &Context<'_>) -> Option<Closed> {
    let reason = if context.suspended {
        Reason::new(
            Code::Suspended,
            "suspended by the annotation `supercargo.dev/suspend` of the workload, its Namespace, an overlay or its entry",
        )
    } else if context.dry_run {
        Reason::new(Code::DryRun, "supercargo runs with --dry-run: nothing is changed")
    } else {
        return None;
    };
    Some(Closed::new(Verdict::Blocked, reason))
}
