//! How often a namespace may have a source looked at by changing what it asks: at once, and in a rush of changes after
//! growing gaps, up to one look in an interval. Whoever may annotate could else make a look of each edit; and of twenty
//! workloads that are made together the last is answered a second later.

use std::{collections::HashMap, sync::Arc, time::Duration};

use crate::domain::hint::Source;

/// The gap after the first look of a rush; each further one is four times as long.
const GAP: Duration = Duration::from_secs(1);
/// When more than these are remembered, those that are over are forgotten, and then some of the namespace with the most.
const MANY: usize = 10_000;

/// The rush that each namespace is in at each source.
#[derive(Debug, Default)]
pub(crate) struct Bursts(HashMap<(Arc<Source>, Arc<str>), Rush>);

#[derive(Debug)]
struct Rush {
    /// The last look, and how long after it the next one may be.
    last: Duration,
    gap: Duration,
    /// When it is over if nothing more comes.
    over: Duration,
}

impl Bursts {
    /// Asks for a look; returns when it may be. `interval` is the longest gap.
    pub(crate) fn take(
        &mut self,
        source: &Arc<Source>,
        namespace: &Arc<str>,
        interval: Duration,
        now: Duration,
    ) -> Duration {
        if self.0.len() >= MANY {
            self.forget(now);
        }
        let new = || Rush { last: now, gap: Duration::ZERO, over: now };
        let rush = self.0.entry((source.clone(), namespace.clone())).or_insert_with(new);
        if rush.over <= now {
            *rush = new();
        }
        rush.last = now.max(rush.last + rush.gap);
        rush.gap = if rush.gap.is_zero() { GAP } else { rush.gap * 4 }.min(interval);
        rush.over = rush.last + interval;
        rush.last
    }

    fn forget(&mut self, now: Duration) {
        self.0.retain(|_, rush| rush.over > now);
        if self.0.len() < MANY {
            return;
        }
        let mut ends: HashMap<Arc<str>, Vec<Duration>> = HashMap::new();
        for ((_, namespace), rush) in &self.0 {
            ends.entry(namespace.clone()).or_default().push(rush.over);
        }
        // Half of them, so that the next ones have room for a while.
        let Some((most, mut ends)) = ends.into_iter().max_by_key(|(_, ends)| ends.len()) else { return };
        ends.sort_unstable();
        let middle = ends.get(ends.len() / 2).copied().unwrap_or_default();
        self.0.retain(|(_, namespace), rush| *namespace != most || rush.over > middle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{hint::Credentials, image::Repository};

    fn source(name: &str) -> Arc<Source> {
        Arc::new(Source { repository: Repository::parse(name).unwrap(), credentials: Credentials::default() })
    }

    #[test]
    fn a_rush_is_served_after_growing_gaps_and_nobody_elses_counts() {
        let secs = Duration::from_secs;
        let (source, tenant, other) = (source("r.io/a"), Arc::from("tenant"), Arc::from("other"));
        let mut bursts = Bursts::default();
        let mut take = |namespace: &Arc<str>, now: u64| bursts.take(&source, namespace, secs(60), secs(now)).as_secs();
        assert_eq!([(); 7].map(|()| take(&tenant, 100)), [100, 101, 105, 121, 181, 241, 301]);
        assert_eq!(take(&other, 100), 100);
        assert_eq!([take(&tenant, 1000), take(&tenant, 1000), take(&tenant, 1030)], [1000, 1001, 1030]);
        assert_eq!(take(&tenant, 1090), 1090, "its rush is over");
    }

    #[test]
    fn an_hour_of_edits_is_a_few_looks() {
        let (source, tenant) = (source("r.io/a"), Arc::from("tenant"));
        let mut bursts = Bursts::default();
        let (mut now, mut looks) = (Duration::ZERO, 0);
        while now < Duration::from_secs(3600) {
            now = bursts.take(&source, &tenant, Duration::from_secs(3600), now);
            looks += 1;
        }
        assert!(looks <= 8, "{looks}");
    }

    #[test]
    fn what_is_remembered_is_bounded_and_forgotten_of_who_has_the_most() {
        let mut bursts = Bursts::default();
        let mut take = |source: &Arc<Source>, namespace: &str, now: u64| {
            let at = bursts.take(source, &namespace.into(), Duration::from_secs(3600), Duration::from_millis(now));
            assert!(bursts.0.len() <= MANY);
            at.as_millis() as u64
        };
        let own = source("r.io/a");
        assert_eq!([take(&own, "other", 0), take(&own, "other", 0)], [0, 1000]);
        for n in 0..3 * MANY {
            take(&source(&format!("r.io/r{n}")), "tenant", n as u64 / 100);
        }
        assert_eq!(take(&own, "other", 1000), 5000, "its rush goes on");
    }
}
