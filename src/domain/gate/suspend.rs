//! `suspend: true` and `--dry-run`: nothing is changed, everything is still reported.

use super::{Context, Stand};
use crate::domain::{
    reason::{Code, Reason},
    report::Verdict,
};

pub(super) fn check(context: &Context<'_>) -> Stand {
    let (by, reason) = if context.suspended {
        let message = "suspended by the annotation `supercargo.dev/suspend` of the workload, its Namespace, an overlay or its entry";
        ("`supercargo.dev/suspend`", Reason::new(Code::Suspended, message))
    } else if context.dry_run {
        ("`--dry-run`", Reason::new(Code::DryRun, "supercargo runs with --dry-run: nothing is changed"))
    } else {
        return Stand::open("suspend");
    };
    Stand::closed("suspend", by, Verdict::Blocked, reason)
}
