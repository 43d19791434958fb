//! A workload whose image another controller sets would be changed back, so it is reported and not patched.

use super::{Context, Stand};
use crate::domain::{
    reason::{Code, Reason},
    report::Verdict,
    workload::Owner,
};

pub(super) fn check(context: &Context<'_>) -> Stand {
    match context.owner {
        Some(Owner::Elsewhere(who)) if !context.owner_overridden => {
            let message = format!(
                "{who} sets this image and would change it back: update it at its source, or put \
                 `supercargo.dev/write: cluster` on the workload itself to patch it all the same"
            );
            Stand::closed("owner", who, Verdict::Problem, Reason::new(Code::OwnedElsewhere, message))
        }
        _ => Stand::open("owner"),
    }
}
