//! What is good to know on a row, beside the decision.

use crate::{
    domain::{
        hint::Source,
        image::ImageRef,
        poll::show_duration,
        reason::{Code, Reason},
        report::Report,
        update::{Change, Record},
    },
    engine::{index::state::State, look::room},
};

/// That what a container is to run does not, or that its rollout stands still.
pub(super) fn rollout(record: &Record, row: &Report) -> Option<Reason> {
    let is_it = |container: &str, to: &ImageRef| *container == *row.container && *to.to_string() == *row.image;
    let of_current = record.current().and_then(|current| {
        let is_its = current.update.changes().any(|Change { container, to, .. }| is_it(container, to));
        current.reason().filter(|reason| is_its && reason.code.is_of_rollout()).cloned()
    });
    of_current.or_else(|| {
        let bad = record.quarantined().iter().find(|bad| is_it(&bad.container, &bad.to))?;
        Some(Reason::new(Code::RolloutFailed, &*bad.evidence))
    })
}

/// What is good to know of a source on the row of a container that uses it.
pub(super) fn notes(state: &State, source: &Source) -> impl Iterator<Item = Reason> {
    let replaced = state.sources.replaced(source).map(|interval| {
        let message = format!(
            "more than 16 different `poll` values ask for {}: it is looked at every {}, the shortest of them",
            source.repository,
            show_duration(interval)
        );
        Reason::new(Code::OverLimit, message)
    });
    const MIB: usize = 1024 * 1024;
    let left_out = state.sources.left_out(source).map(|bytes| {
        let message = format!(
            "the tags of {} take {} MiB and are not kept, as those of all repositories, with what a look at very many \
             needs, may take {} MiB: every look, also one for a webhook, reads all of them",
            source.repository,
            bytes.div_ceil(MIB),
            room::TOTAL / MIB
        );
        Reason::new(Code::OverLimit, message)
    });
    let lost = state.sources.lost(source);
    let lost = lost.map(|lost| Reason::new(Code::HintNotFound, lost.describe(&source.repository)));
    lost.into_iter().chain(replaced).chain(left_out)
}
