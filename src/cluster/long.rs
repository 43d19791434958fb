//! What the long annotations of a namespace may take together: whoever may edit workloads may write 64 KiB on each.

use std::{collections::HashMap, sync::Arc};

use crate::domain::workload::WorkloadId;

/// Annotations that matter here and take less than this, in bytes, are not counted.
const SHORT: usize = 1024;
/// What the others of one namespace may take together, in bytes.
const MOST: usize = 4 * 1024 * 1024;

/// The long annotations that are kept.
#[derive(Default)]
pub(super) struct Long {
    of: HashMap<WorkloadId, usize>,
    namespaces: HashMap<Arc<str>, usize>,
}

impl Long {
    /// Counts those of a workload in place of what it had; why they are not kept, if they are too many.
    pub(super) fn take(&mut self, id: &WorkloadId, bytes: usize) -> Result<(), String> {
        self.forget(id);
        if bytes < SHORT {
            return Ok(());
        }
        let taken = self.namespaces.get(&id.namespace).copied().unwrap_or_default();
        if taken + bytes > MOST {
            return Err(format!(
                "its annotations that matter here have {bytes} bytes, and those of all workloads of its namespace with more \
                 than {SHORT} may have {MOST} together: shorten them; this one is read again when it changes"
            ));
        }
        self.namespaces.insert(id.namespace.clone(), taken + bytes);
        self.of.insert(id.clone(), bytes);
        Ok(())
    }

    /// The workload is gone.
    pub(super) fn forget(&mut self, id: &WorkloadId) {
        let Some(bytes) = self.of.remove(id) else { return };
        let Some(taken) = self.namespaces.get_mut(&id.namespace) else { return };
        *taken -= bytes;
        if *taken == 0 {
            self.namespaces.remove(&id.namespace);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(namespace: &str, n: usize) -> WorkloadId {
        format!("{namespace}/Deployment/w{n}").parse().unwrap()
    }

    #[test]
    fn a_namespace_has_its_own_room_and_short_ones_take_none() {
        let mut long = Long::default();
        for n in 0..64 {
            assert_eq!(long.take(&id("a", n), 64 * 1024), Ok(()));
            assert_eq!(long.take(&id("a", n), 64 * 1024), Ok(()), "in place of what it had");
        }
        let more = long.take(&id("a", 64), SHORT).unwrap_err();
        assert!(more.contains("4194304 together"), "{more}");
        assert_eq!(long.take(&id("a", 64), SHORT - 1), Ok(()));
        assert_eq!(long.take(&id("b", 0), 64 * 1024), Ok(()));
        long.forget(&id("a", 0));
        assert_eq!(long.take(&id("a", 64), 64 * 1024), Ok(()));
        for n in 0..=64 {
            long.forget(&id("a", n));
            long.forget(&id("b", n));
        }
        assert!(long.of.is_empty() && long.namespaces.is_empty());
    }
}
