//! What the state wants done.

use std::sync::Arc;

use crate::domain::{hint::Source, image::Repository, poll::Schedule, workload::WorkloadId};

/// What is to be done about a change.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Look at this source, soon if urgent.
    Look {
        /// Which.
        source: Arc<Source>,
        /// Before what is only due.
        urgent: bool,
    },
    /// The source's schedules are these now.
    Schedule {
        /// Which.
        source: Arc<Source>,
        /// None if nobody uses it any more.
        schedules: Vec<Schedule>,
    },
    /// This repository is watched from now on, or is not.
    Watched {
        /// Which.
        repository: Repository,
        /// Whether it is.
        watched: bool,
    },
    /// A look or a reading brought something for this workload: assess it.
    Assess(WorkloadId),
    /// The workload itself or its rule has changed: assess it, and do not wait for what was refused before.
    Changed(WorkloadId),
    /// What a webhook named was not found there.
    Lost {
        /// Where.
        repository: Repository,
        /// Who named it.
        sender: &'static str,
        /// What was not found.
        why: String,
    },
    /// A workload is gone.
    Forget(WorkloadId),
}
