//! One rollout at a time: the next begins when the last has ended, however it ended.

use super::{Context, Stand};
use crate::domain::{
    reason::{Code, Reason},
    report::Verdict,
};

pub(super) fn check(context: &Context<'_>) -> Stand {
    let Some(under_way) = context.rolling_out else { return Stand::open("rollout") };
    let images: Vec<String> = under_way.changes().map(|change| change.to.to_string()).collect();
    let images = images.join(", ");
    let message = format!("{images} is being rolled out; the next update waits until that has ended");
    Stand::closed(
        "rollout",
        &format!("the rollout of {images}"),
        Verdict::Waiting,
        Reason::new(Code::RollingOut, message),
    )
}
