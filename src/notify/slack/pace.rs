//! How fast messages may be edited, all together ("Rate limits": `chat.update` is of tier 3); channels take turns.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// So many at once, then one in this time. In no minute are there more than 40.
const EDITS: u32 = 10;
const EDITS_EVERY: Duration = Duration::from_secs(2);
/// A channel that has not asked again for so long does not wait any more.
const GONE: Duration = Duration::from_secs(10);

/// When all edits together may go on.
#[derive(Default)]
pub(super) struct Edits(Mutex<Turns>);

#[derive(Default)]
struct Turns {
    whole: Duration,
    /// Channels that wait, and when each asked last.
    waiting: VecDeque<(Arc<str>, Duration)>,
}

impl Edits {
    /// None if that channel may edit now; else when it is to ask again.
    pub(super) fn wait(&self, channel: &Arc<str>, now: Duration) -> Option<Duration> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Turns { whole, waiting } = &mut *turns;
        match waiting.iter_mut().find(|(other, _)| other == channel) {
            Some((_, asked)) => *asked = now,
            None => waiting.push_back((channel.clone(), now)),
        }
        waiting.retain(|(_, asked)| *asked + GONE > now);
        let place = waiting.iter().position(|(other, _)| other == channel).unwrap_or_default();
        let next = (*whole).max(now) + EDITS_EVERY;
        let free = next.saturating_sub(EDITS_EVERY * EDITS);
        if place == 0 && free <= now {
            *whole = next;
            waiting.pop_front();
            return None;
        }
        let turn = EDITS_EVERY * u32::try_from(place).unwrap_or(u32::MAX).min(2);
        Some((free.max(now) + turn).max(now + Duration::from_millis(100)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_no_minute_are_there_more_than_forty_and_channels_take_turns() {
        let edits = Edits::default();
        let channels: [Arc<str>; 3] = ["C1", "C2", "C3"].map(Into::into);
        let mut now = Duration::from_secs(1000);
        let mut made: Vec<(Duration, usize)> = Vec::new();
        let mut next = [now; 3];
        while made.len() < 300 {
            for (n, channel) in channels.iter().enumerate() {
                if next[n] <= now {
                    match edits.wait(channel, now) {
                        None => made.push((now, n)),
                        Some(at) => next[n] = at,
                    }
                }
            }
            now += Duration::from_millis(50);
        }
        for (n, (at, _)) in made.iter().enumerate() {
            let minute = made[n..].iter().filter(|(other, _)| *other < *at + Duration::from_secs(60)).count();
            assert!(minute <= 40, "{minute}");
        }
        for channel in 0..3 {
            let its = made.iter().filter(|(_, of)| *of == channel).count();
            assert!((80..=120).contains(&its), "{its} of channel {channel}");
        }
    }
}
