//! Updates start only while every `window` is open.

use super::{Context, Stand};
use crate::domain::reason::Code;

pub(super) fn check(context: &Context<'_>) -> Stand {
    let windows = context.hours.map(|hours| &*hours.windows).unwrap_or_default();
    Stand::of_hours("window", context, windows, |window| !window.is_open(context.now), (Code::OutsideWindow, "outside"))
}
