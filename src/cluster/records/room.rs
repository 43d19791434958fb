//! How many records are told of: whoever may write records could write any number.

use std::{collections::HashMap, sync::Arc};

use crate::domain::workload::WorkloadId;

/// Updates that have not ended, of one workload.
const OF_WORKLOAD: usize = 50;
/// The same, of a namespace.
const UPDATES: usize = 2_000;
/// As they come, in bytes, of a namespace.
const UPDATES_BYTES: usize = 8 << 20;
/// What is remembered by the names of a namespace's workloads: each has one.
const STATES: usize = 10_000;
/// As they come, in bytes.
const STATES_BYTES: usize = 32 << 20;

/// What is told of, by a hash of namespace and name.
#[derive(Debug)]
pub(super) struct Room {
    what: &'static str,
    most: usize,
    most_bytes: usize,
    /// Where one workload may have several.
    of_workload: Option<HashMap<WorkloadId, Taken>>,
    namespaces: HashMap<Arc<str>, Taken>,
    all: HashMap<u64, RoomEntry>,
}

#[derive(Debug)]
struct RoomEntry {
    counted: Counted,
    bytes: u32,
}

/// Where it is counted.
#[derive(Debug)]
enum Counted {
    OfNamespace(Arc<str>),
    /// And of its namespace.
    OfWorkload(Box<WorkloadId>),
}

#[derive(Debug, Default)]
struct Taken {
    count: usize,
    bytes: usize,
    /// Whether it was said that there are too many.
    is_said: bool,
}

impl Room {
    pub(super) fn of_updates() -> Self {
        Self::new("updates that have not ended", UPDATES, UPDATES_BYTES, Some(HashMap::new()))
    }

    pub(super) fn of_states() -> Self {
        Self::new("records of what was set", STATES, STATES_BYTES, None)
    }

    fn new(
        what: &'static str,
        most: usize,
        most_bytes: usize,
        of_workload: Option<HashMap<WorkloadId, Taken>>,
    ) -> Self {
        Self { what, most, most_bytes, of_workload, namespaces: HashMap::new(), all: HashMap::new() }
    }

    /// Takes one in, in place of what it was before. Where there is no room: what is to be said, once.
    pub(super) fn take(&mut self, key: u64, workload: &WorkloadId, bytes: usize) -> Result<(), Option<String>> {
        self.leave(key);
        let Self { what, most, most_bytes, .. } = *self;
        let namespace = match self.namespaces.get_key_value(&workload.namespace) {
            Some((namespace, _)) => namespace.clone(),
            None => workload.namespace.clone(),
        };
        let taken = self.namespaces.entry(namespace.clone()).or_default();
        if taken.count >= most || taken.bytes + bytes > most_bytes {
            let is_said = std::mem::replace(&mut taken.is_said, true);
            let mib = most_bytes >> 20;
            return Err((!is_said).then(|| {
                format!("its namespace has more {what} than are read: at most {most}, of {mib} MiB together")
            }));
        }
        if let Some(workloads) = &mut self.of_workload {
            let taken = workloads.entry(workload.clone()).or_default();
            if taken.count >= OF_WORKLOAD {
                let is_said = std::mem::replace(&mut taken.is_said, true);
                return Err((!is_said).then(|| format!("it has more {what} than are read: at most {OF_WORKLOAD}")));
            }
            taken.count += 1;
        }
        taken.count += 1;
        taken.bytes += bytes;
        let counted = match self.of_workload {
            Some(_) => Counted::OfWorkload(Box::new(workload.clone())),
            None => Counted::OfNamespace(namespace),
        };
        self.all.insert(key, RoomEntry { counted, bytes: u32::try_from(bytes).unwrap_or(u32::MAX) });
        Ok(())
    }

    /// It is there no more, or has ended.
    pub(super) fn leave(&mut self, key: u64) {
        let Some(RoomEntry { counted, bytes }) = self.all.remove(&key) else { return };
        let namespace = match &counted {
            Counted::OfNamespace(namespace) => namespace,
            Counted::OfWorkload(workload) => &workload.namespace,
        };
        less(&mut self.namespaces, namespace, bytes as usize);
        if let (Some(workloads), Counted::OfWorkload(workload)) = (&mut self.of_workload, counted) {
            less(workloads, &workload, 0);
        }
    }
}

fn less<K: std::hash::Hash + Eq>(all: &mut HashMap<K, Taken>, key: &K, bytes: usize) {
    let Some(taken) = all.get_mut(key) else { return };
    taken.count -= 1;
    taken.bytes -= bytes;
    taken.is_said = false;
    if taken.count == 0 {
        all.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(namespace: &str, name: usize) -> WorkloadId {
        format!("{namespace}/Deployment/w{name}").parse().unwrap()
    }

    #[test]
    fn a_workload_and_a_namespace_have_their_own_room_and_say_once_that_it_is_full() {
        let mut room = Room::of_updates();
        for key in 0..50 {
            assert_eq!(room.take(key, &id("a", 0), 1000), Ok(()));
            assert_eq!(room.take(key, &id("a", 0), 1000), Ok(()), "in place of what it was");
        }
        let full = room.take(50, &id("a", 0), 1000).unwrap_err().unwrap();
        assert_eq!(full, "it has more updates that have not ended than are read: at most 50");
        assert_eq!(room.take(51, &id("a", 0), 1000), Err(None), "it was said");
        for key in 100..2050 {
            assert_eq!(room.take(key, &id("a", key as usize), 1000), Ok(()));
        }
        let full = room.take(2050, &id("a", 2050), 1000).unwrap_err().unwrap();
        assert!(full.contains("at most 2000, of 8 MiB together"), "{full}");
        assert_eq!(room.take(2051, &id("b", 0), 1000), Ok(()), "another namespace");
        room.leave(0);
        assert_eq!(room.take(50, &id("a", 0), 1000), Ok(()));
        (0..3000).for_each(|key| room.leave(key));
        assert!(room.all.is_empty() && room.namespaces.is_empty() && room.of_workload.unwrap().is_empty());
    }

    #[test]
    fn large_ones_fill_it_too() {
        let mut room = Room::of_updates();
        for key in 0..8 {
            assert_eq!(room.take(key, &id("a", key as usize), 1 << 20), Ok(()));
        }
        assert!(room.take(8, &id("a", 8), 1).unwrap_err().is_some());
    }
}
