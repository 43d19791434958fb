//! How fast messages may be edited, all together ("Rate limits": `chat.update` is of tier 3).

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// So many at once, then one in this time. In no minute are there more than 40.
const EDITS: u32 = 10;
const EDITS_EVERY: Duration = Duration::from_secs(2);

/// When all edits together may go on.
#[derive(Default)]
pub(super) struct Edits(Mutex<Duration>);

impl Edits {
    /// None if one may be made now; else when.
    pub(super) fn wait(&self, now: Duration) -> Option<Duration> {
        let mut whole = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let next = (*whole).max(now) + EDITS_EVERY;
        if next > now + EDITS_EVERY * EDITS {
            return Some(next - EDITS_EVERY * EDITS);
        }
        *whole = next;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_no_minute_are_there_more_than_forty() {
        let edits = Edits::default();
        let mut now = Duration::from_secs(1000);
        let mut made = Vec::new();
        while made.len() < 200 {
            match edits.wait(now) {
                None => made.push(now),
                Some(at) => {
                    assert!(at > now);
                    now = at;
                }
            }
        }
        for (n, at) in made.iter().enumerate() {
            assert!(made[n..].iter().filter(|other| **other < *at + Duration::from_secs(60)).count() <= 40);
        }
    }
}
