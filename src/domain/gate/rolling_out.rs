//! One rollout at a time: the next begins when the last has ended, however it ended.

use super::{Closed, Context};
use crate::domain::{
    reason::{Code, Reason},
    report::Verdict,
    update::Update,
};

pub(super) fn check(_: &Update, context: &Context<'_>) -> Option<Closed> {
    let under_way = context.rolling_out?;
    let images: Vec<String> = under_way.changes().map(|change| change.to.to_string()).collect();
    let message = format!("{} is being rolled out; the next update waits until that has ended", images.join(", "));
    Some(Closed::new(Verdict::Waiting, Reason::new(Code::RollingOut, message)))
}
