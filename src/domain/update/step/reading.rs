//! When it is read who moved an image that we had set.

use std::time::Duration;

use super::{Act, Now};
use crate::domain::update::{
    Record,
    rare::{Wait, Why},
    record::UnderWay,
};

/// It is read at most as often who moved an image of a workload.
pub(super) const BETWEEN: Duration = Duration::from_secs(60);

/// It is to be known who moved an image.
pub(super) fn read(record: &mut Record, now: Now, acts: &mut Vec<Act>) {
    let next = record.rare.read.map(|read| read + BETWEEN).filter(|next| *next > now.since);
    match next {
        Some(until) => record.rare.wait = Some(Wait { why: Why::Read, failures: 0, until, is_over: false }),
        None => {
            record.rare.read = Some(now.since);
            record.under_way = Some(UnderWay::Reading);
            acts.push(Act::Read);
        }
    }
}

/// Whether that is to be known, and may not be read yet.
pub(super) fn waits_to_read(record: &Record) -> bool {
    record.rare.wait.as_ref().is_some_and(|wait| wait.why == Why::Read && !wait.is_over)
}
