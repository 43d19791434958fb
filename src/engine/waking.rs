//! When the loop is to go on by itself, and what it does then.

use futures::{FutureExt, future::BoxFuture};

use crate::engine::{driver::Engine, index::histories::AT_ONCE};

impl Engine<'_> {
    pub(super) fn timer(&mut self) -> BoxFuture<'static, ()> {
        let targets = &self.state.settings.targets;
        let window = self.write_queue.opens(|name| targets.batch_window(name));
        let now = self.ports.clock.now();
        let opens = [self.state.ages.wait(now), self.state.hours.wait(now), self.state.deadlines.wait(now)];
        let opens = opens.into_iter().flatten().min();
        let opens = opens.map(|wait| self.now() + wait);
        // Who may not write waits to remember, too.
        let histories = self.state.histories.next().filter(|_| *self.leader.borrow() && self.histories.len() < AT_ONCE);
        let proofs = self.state.proofs.next().filter(|_| *self.leader.borrow() && self.has_room());
        let next = [self.board.next(), window, self.state.next(), self.ledger.wakes_at(), opens, histories, proofs];
        match next.into_iter().flatten().min() {
            Some(at) => self.ports.clock.sleep_until(at),
            None => futures::future::pending().boxed(),
        }
    }

    pub(super) fn woke(&mut self) {
        let now = self.now();
        self.state.woke(now);
        self.state.opened(self.ports.clock.now(), now);
        self.ledger.woke(now);
        let acts = self.board.woke(self.moment());
        self.perform(acts);
    }
}
