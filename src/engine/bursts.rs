//! How often a namespace may have a source looked at by changing what it asks: a few times at once, then once in an
//! interval. Whoever may annotate could else make a look of each edit.

use std::{collections::HashMap, sync::Arc, time::Duration};

use crate::domain::hint::Source;

/// Looks at once.
const BURST: u32 = 5;
/// When more than these are remembered, those that have their whole burst again are forgotten.
const MANY: usize = 10_000;

/// For each source and namespace the time at which its whole burst is there again (the "generic cell rate algorithm",
/// ITU-T I.371). What has its whole burst needs no place here.
#[derive(Debug, Default)]
pub(super) struct Bursts(HashMap<(Arc<Source>, Arc<str>), Duration>);

impl Bursts {
    /// Asks for a look; returns when it may be.
    pub(super) fn take(
        &mut self,
        source: &Arc<Source>,
        namespace: &Arc<str>,
        interval: Duration,
        now: Duration,
    ) -> Duration {
        if self.0.len() >= MANY {
            self.0.retain(|_, whole| *whole > now);
        }
        if self.0.len() >= MANY {
            self.0.clear();
        }
        let whole = self.0.entry((source.clone(), namespace.clone())).or_insert(now);
        pace(whole, BURST, interval, now)
    }
}

/// One more of something that may be so many times at once and then once in an interval: when it may be. `whole` is the
/// time at which all of them are there again.
pub(super) fn pace(whole: &mut Duration, burst: u32, interval: Duration, now: Duration) -> Duration {
    *whole = (*whole).max(now) + interval;
    whole.saturating_sub(interval * burst).max(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{hint::Credentials, image::Repository};

    fn source(name: &str) -> Arc<Source> {
        Arc::new(Source { repository: Repository::parse(name).unwrap(), credentials: Credentials::default() })
    }

    #[test]
    fn five_looks_are_at_once_and_then_one_in_each_interval_and_nobody_elses_count() {
        let secs = Duration::from_secs;
        let (source, tenant, other) = (source("r.io/a"), Arc::from("tenant"), Arc::from("other"));
        let mut bursts = Bursts::default();
        let mut take = |namespace: &Arc<str>, now: u64| bursts.take(&source, namespace, secs(60), secs(now)).as_secs();
        assert_eq!([(); 7].map(|()| take(&tenant, 100)), [100, 100, 100, 100, 100, 160, 220]);
        assert_eq!(take(&other, 100), 100);
        assert_eq!(take(&tenant, 10_000), 10_000);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut bursts = Bursts::default();
        for n in 0..3 * MANY {
            bursts.take(&source(&format!("r.io/r{n}")), &"tenant".into(), Duration::from_secs(3600), Duration::ZERO);
            assert!(bursts.0.len() <= MANY);
        }
    }
}
