//! Who is at the other end of a connection, and what is being done for it.

use std::{net::IpAddr, sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::ports::Clock;

/// The other end of a connection, beside each of its requests.
#[derive(Clone)]
pub(super) struct Peer {
    /// What counts as its address.
    pub(super) address: IpAddr,
    phases: watch::Sender<Phase>,
    clock: Arc<dyn Clock>,
}

/// What a connection does, and since when (monotonic).
#[derive(Debug, Clone, Copy)]
pub(super) struct Phase {
    pub(super) doing: Doing,
    pub(super) since: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    /// The handshake or a header is awaited: the first one, or one of which a part is there.
    Header,
    /// The body of a request is awaited, of somebody who has shown a secret or not.
    Body { known: bool },
    /// A request is in hand.
    Busy,
    /// The last answer was given; nothing has come since.
    Idle,
    /// The last answer was given, and there will be no other.
    Leaving,
}

impl Peer {
    /// A new connection, of which a header is awaited.
    pub(super) fn new(address: IpAddr, clock: Arc<dyn Clock>) -> Self {
        let (phases, _) = watch::channel(Phase { doing: Doing::Header, since: clock.monotonic() });
        Self { address, phases, clock }
    }

    /// It does this from now on.
    pub(super) fn enter(&self, doing: Doing) {
        self.phases.send_replace(Phase { doing, since: self.clock.monotonic() });
    }

    pub(super) fn doing(&self) -> Doing {
        self.phases.borrow().doing
    }

    /// What it does, as it changes.
    pub(super) fn phases(&self) -> watch::Receiver<Phase> {
        self.phases.subscribe()
    }
}
