//! One rollout at a time: the next begins when the last has ended, however it ended.

use super::{Context, Stand};
use crate::domain::{
    reason::{Code, Reason},
    report::Verdict,
    update::Change,
};

pub(super) fn check(context: &Context<'_>) -> Stand {
    let Some(under_way) = context.rolling_out else { return Stand::open("rollout") };
    let images = |of: fn(&Change) -> String| under_way.update.changes().map(of).collect::<Vec<_>>().join(", ");
    let to = images(|change| change.to.to_string());
    let message = match under_way.way() {
        None => format!("{to} is being rolled out; the next update waits until that has ended"),
        Some(_) => {
            let from = images(|change| change.from.to_string());
            format!("{to} is being rolled back to {from}; the next update waits until that has ended")
        }
    };
    let by = format!("the rollout of {to}");
    Stand::closed("rollout", &by, Verdict::Waiting, Reason::new(Code::RollingOut, message))
}
