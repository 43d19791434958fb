//! The operator's loop: what comes in, and when. What follows from it is not decided here: of repositories and rules
//! `index::state` says it, of updates `updates::board`; `driver` carries it out.

use std::pin::pin;

use futures::StreamExt;

use super::{
    driver::Engine,
    inputs::{Inputs, Ports},
};

/// Changes of the cluster that are taken in before anything else gets its turn.
const BURST: usize = 256;

/// Runs until `stop` is ready, and then until the writes under way have ended.
///
/// Nothing is looked at or written before the cluster has told of all its workloads and namespaces.
pub async fn run(ports: Ports, mut inputs: Inputs, stop: impl Future<Output = ()>) {
    let settings = inputs.settings.borrow_and_update().clone();
    let mut engine = Engine::new(&ports, settings, &inputs);
    let mut stop = pin!(stop);
    loop {
        engine.advance();
        let timer = engine.timer();
        tokio::select! {
            biased;
            () = &mut stop => break,
            Some(written) = engine.writes.next(), if !engine.writes.is_empty() => engine.written(written),
            Some(done) = engine.records.next(), if !engine.records.is_empty() => engine.remembered(done),
            Some(done) = engine.histories.next(), if !engine.histories.is_empty() => engine.history_written(done),
            Some((id, read)) = engine.reads.next(), if !engine.reads.is_empty() => engine.observed(&id, read),
            Some(pulled) = engine.pulls.next(), if !engine.pulls.is_empty() => engine.pulled(pulled),
            Some(aimed) = engine.aims.next(), if !engine.aims.is_empty() => engine.aimed(aimed),
            Some(proved) = engine.proofs.next(), if !engine.proofs.is_empty() => engine.proved(proved),
            Some(()) = engine.discards.next(), if !engine.discards.is_empty() => {}
            Some(looked) = engine.looks.next(), if !engine.looks.is_empty() => engine.looked(looked),
            change = inputs.changes.recv() => {
                let Some(change) = change else { break };
                engine.change(change);
                for _ in 0..BURST {
                    let Ok(change) = inputs.changes.try_recv() else { break };
                    engine.change(change);
                }
            }
            Some(source) = inputs.due.recv(), if engine.queue.has_room() => engine.state.due(&source, ports.clock.monotonic()),
            Ok(()) = inputs.settings.changed() => {
                let settings = inputs.settings.borrow_and_update().clone();
                engine.state.settings_changed(settings, ports.clock.monotonic());
                // Others may be known as who they are.
                engine.recount_open();
            }
            // What waits is written then.
            Ok(()) = inputs.leader.changed() => {}
            () = timer => engine.woke(),
            Some(ask) = inputs.asks.recv() => ask.answer(&engine.state, &engine.board, ports.clock.now()),
            // Last, as they come from outside: whoever sends them without end holds up nothing else.
            hint = inputs.inbox.next() => engine.state.hint(&hint, ports.clock.monotonic()),
        }
    }
    inputs.inbox.close();
    let left = engine.write_queue.clear();
    tracing::info!(writes = engine.writes.len(), left, "stopping: writes under way are ended first");
    while let Some(written) = engine.writes.next().await {
        engine.written(written);
    }
    engine.remember_the_rest();
    while let Some(done) = engine.histories.next().await {
        engine.history_written(done);
    }
    while let Some(done) = engine.records.next().await {
        engine.remembered(done);
        engine.remember();
    }
}
