//! When what is too young is old enough, by source. These times are the wall clock's, which may be set: it is read anew
//! every 30 seconds.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;

use crate::domain::hint::Source;

/// Between two readings of the wall clock.
const LONGEST: Duration = Duration::from_secs(30);

/// One time a source.
#[derive(Debug, Default)]
pub(crate) struct Openings {
    at: HashMap<Arc<Source>, Timestamp>,
    order: BTreeSet<(Timestamp, Arc<Source>)>,
}

impl Openings {
    /// Something opens there then, and nothing before; or nothing does.
    pub(crate) fn set(&mut self, source: &Arc<Source>, at: Option<Timestamp>) {
        if let Some((source, at)) = self.at.remove_entry(source) {
            self.order.remove(&(at, source));
        }
        if let Some(at) = at {
            self.at.insert(source.clone(), at);
            self.order.insert((at, source.clone()));
        }
    }

    /// How long it is until the next one is due, or the clock is to be read again.
    pub(crate) fn wait(&self, now: Timestamp) -> Option<Duration> {
        let (at, _) = self.order.first()?;
        Some(Duration::try_from(at.duration_since(now)).unwrap_or_default().min(LONGEST))
    }

    /// Takes one whose time has come.
    pub(crate) fn due(&mut self, now: Timestamp) -> Option<Arc<Source>> {
        let (at, source) = self.order.first()?;
        if *at > now {
            return None;
        }
        let source = source.clone();
        self.set(&source, None);
        Some(source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{hint::Credentials, image::Repository};

    #[test]
    fn each_is_due_once_by_the_wall_clock_however_that_is_set() {
        let source = |name: &str| {
            Arc::new(Source { repository: Repository::parse(name).unwrap(), credentials: Credentials::default() })
        };
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let (one, other) = (source("r.io/a"), source("r.io/b"));
        let mut openings = Openings::default();
        assert_eq!(openings.wait(at(0)), None);
        openings.set(&one, Some(at(5000)));
        openings.set(&other, Some(at(5000)));
        openings.set(&one, Some(at(1000)));
        assert_eq!(openings.wait(at(0)), Some(LONGEST));
        assert_eq!(openings.wait(at(999)), Some(Duration::from_secs(1)));
        assert_eq!(openings.due(at(999)), None);
        assert_eq!(openings.wait(at(2000)), Some(Duration::ZERO), "the clock was set");
        assert_eq!(openings.due(at(2000)), Some(one));
        assert_eq!(openings.due(at(2000)), None);
        openings.set(&other, None);
        assert_eq!(openings.wait(at(9000)), None);
    }
}
