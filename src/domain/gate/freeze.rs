//! No update starts during a `freeze`.

use super::{Context, Stand};
use crate::domain::reason::Code;

pub(super) fn check(context: &Context<'_>) -> Stand {
    let freezes = context.hours.map(|hours| &*hours.freezes).unwrap_or_default();
    Stand::of_hours("freeze", context, freezes, |freeze| freeze.is_open(context.now), (Code::Frozen, "frozen by"))
}
