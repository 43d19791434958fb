//! How workloads stand, for who asks from outside the loop.

use futures::{FutureExt as _, future::BoxFuture};
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::rows::assess;
use crate::{
    domain::{report::Report, workload::WorkloadId},
    engine::{index::state::State, updates::board::Board},
    ports::Explain,
};

/// As many may ask at once.
const ASKS: usize = 32;

/// What is asked.
pub struct Ask {
    workload: WorkloadId,
    answer: oneshot::Sender<Option<Vec<Report>>>,
}

/// Asks the loop.
#[derive(Debug, Clone)]
pub struct View(mpsc::Sender<Ask>);

/// Somebody who asks, and what the loop answers.
pub fn view() -> (View, mpsc::Receiver<Ask>) {
    let (asks, asked) = mpsc::channel(ASKS);
    (View(asks), asked)
}

impl Explain for View {
    fn explain<'a>(&'a self, workload: &'a WorkloadId) -> BoxFuture<'a, Option<Vec<Report>>> {
        async move {
            let (answer, answered) = oneshot::channel();
            self.0.send(Ask { workload: workload.clone(), answer }).await.ok()?;
            answered.await.ok().flatten()
        }
        .boxed()
    }
}

impl Ask {
    /// Answers from what is known.
    pub(in crate::engine) fn answer(self, state: &State, board: &Board, now: Timestamp) {
        let assessed = assess(state, board, &self.workload, "cluster", now);
        // Who asked may have gone.
        _ = self.answer.send(assessed.map(|assessment| assessment.reports));
    }
}
