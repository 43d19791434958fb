//! The schedules of one source's users, each once.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use crate::domain::poll::Schedule;

/// More distinct schedules than this are not followed one by one.
const MOST: usize = 16;

/// How many users have each schedule. Mostly there is one. Joining and leaving cost the same however many there are.
#[derive(Debug, Default)]
pub(crate) struct Schedules {
    users: HashMap<Schedule, usize>,
    /// The gaps between the looks of each, and how many have it; where they are too many to be followed one by one.
    gaps: BTreeMap<Duration, usize>,
}

impl Schedules {
    /// One more user; whether what is followed has changed.
    pub(crate) fn join(&mut self, schedule: &Schedule) -> bool {
        if let Some(users) = self.users.get_mut(schedule) {
            *users += 1;
            return false;
        }
        let before = self.replaced();
        self.users.insert(schedule.clone(), 1);
        if self.users.len() == MOST + 1 {
            self.users.keys().for_each(|schedule| count(&mut self.gaps, schedule));
        } else if self.users.len() > MOST {
            count(&mut self.gaps, schedule);
        }
        self.users.len() <= MOST + 1 || self.replaced() != before
    }

    /// One user less; whether what is followed has changed.
    pub(crate) fn leave(&mut self, schedule: &Schedule) -> bool {
        let Some(users) = self.users.get_mut(schedule) else { return false };
        *users -= 1;
        if *users > 0 {
            return false;
        }
        let before = self.replaced();
        self.users.remove(schedule);
        if self.users.len() <= MOST {
            self.gaps.clear();
        } else if let Some(gap) = schedule.shortest_gap()
            && let Some(count) = self.gaps.get_mut(&gap)
        {
            *count -= 1;
            if *count == 0 {
                self.gaps.remove(&gap);
            }
        }
        self.users.len() <= MOST || self.replaced() != before
    }

    /// What is followed: each of them or, where they are too many, the shortest interval of them all.
    pub(crate) fn followed(&self) -> Vec<Schedule> {
        match self.replaced() {
            Some(gap) => vec![Schedule::Every(gap)],
            None => self.users.keys().cloned().collect(),
        }
    }

    /// The interval that stands for all of them, where they are too many.
    pub(crate) fn replaced(&self) -> Option<Duration> {
        self.gaps.first_key_value().map(|(gap, _)| *gap)
    }
}

fn count(gaps: &mut BTreeMap<Duration, usize>, schedule: &Schedule) {
    if let Some(gap) = schedule.shortest_gap() {
        *gaps.entry(gap).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(text: &str) -> Schedule {
        text.parse().unwrap()
    }

    #[test]
    fn up_to_sixteen_schedules_are_followed_and_beyond_them_the_shortest() {
        let mut schedules = Schedules::default();
        for n in 0..16 {
            assert!(schedules.join(&schedule(&format!("{n} */6 * * *"))));
            assert!(!schedules.join(&schedule(&format!("{n} */6 * * *"))), "it is followed already");
        }
        assert_eq!(schedules.followed().len(), 16);
        assert!(schedules.join(&schedule("16 */6 * * *")));
        assert_eq!(schedules.followed(), [schedule("every 6h")]);
        assert!(!schedules.join(&schedule("0 0 * * *")), "a longer one changes nothing");
        assert!(schedules.join(&schedule("every 10m")));
        assert_eq!(schedules.followed(), [schedule("every 10m")]);
        assert!(schedules.leave(&schedule("every 10m")));
        assert!(!schedules.leave(&schedule("0 0 * * *")));
        assert!(!schedules.leave(&schedule("16 */6 * * *")) || schedules.followed().len() == 16);
        assert_eq!(schedules.followed().len(), 16);
    }

    #[test]
    fn webhooks_only_is_no_interval() {
        let mut schedules = Schedules::default();
        assert!(schedules.join(&Schedule::Never));
        assert_eq!(schedules.followed(), [Schedule::Never]);
        assert!(schedules.leave(&Schedule::Never));
        assert!(schedules.followed().is_empty());
    }
}
