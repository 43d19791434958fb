//! Who has a place at a listener, and who makes room when all are taken.
//!
//! A connection that waits (for its header or its body, or between two requests) gives way at once, the one that has
//! waited longest first, and those whose bodies come from a sender that has shown its secret last. While others wait, one
//! address keeps at most a quarter of the places: beyond that it can only take its own. Who finds no place gets a spare
//! one, where nothing but probes is answered.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
};

use tokio::{
    sync::watch,
    task::{AbortHandle, Id},
};
use tokio_util::sync::CancellationToken;

use super::peer::{Doing, Phase};

/// Connections beyond the limit, for probes.
pub(super) const SPARE: usize = 32;

/// What kind of place a connection has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectionPlace {
    /// Within the limit: all is served.
    Usual,
    /// Beyond it: probes are.
    Spare,
}

/// A connection, seen from outside.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) address: IpAddr,
    pub(super) place: ConnectionPlace,
    pub(super) phase: watch::Receiver<Phase>,
    /// Asks it to end; a request whose header is there is still answered.
    pub(super) close: CancellationToken,
    /// Ends it.
    pub(super) task: AbortHandle,
}

/// The connections that nobody has told to end.
#[derive(Debug)]
pub(super) struct Places {
    limit: usize,
    /// In the order in which they came.
    seats: Vec<Seat>,
}

impl Places {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, seats: Vec::new() }
    }

    pub(super) fn take(&mut self, seat: Seat) {
        self.seats.push(seat);
    }

    pub(super) fn leave(&mut self, task: Id) {
        self.seats.retain(|seat| seat.task.id() != task);
    }

    /// Whether all places within the limit are taken.
    pub(super) fn full(&self) -> bool {
        self.of(ConnectionPlace::Usual).count() >= self.limit
    }

    /// Finds a place for a connection from this address; another one may have to go.
    pub(super) fn admit(&mut self, newcomer: IpAddr) -> ConnectionPlace {
        if !self.full() {
            return ConnectionPlace::Usual;
        }
        if let Some(victim) = self.gives_way_to(newcomer) {
            self.end(victim);
            return ConnectionPlace::Usual;
        }
        if self.of(ConnectionPlace::Spare).count() >= SPARE
            && let Some(victim) = oldest(self.of(ConnectionPlace::Spare), |_| true)
        {
            self.end(victim);
        }
        ConnectionPlace::Spare
    }

    /// Ends the connection that has waited longest, if one does: what it held is needed.
    pub(super) fn end_one(&mut self) {
        if let Some(victim) = oldest(self.seats.iter(), waits) {
            self.end(victim);
        }
    }

    fn gives_way_to(&self, newcomer: IpAddr) -> Option<Id> {
        let share = (self.limit / 4).max(1);
        let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for seat in self.of(ConnectionPlace::Usual) {
            *counts.entry(seat.address).or_default() += 1;
        }
        let from = |address| self.of(ConnectionPlace::Usual).filter(move |seat| seat.address == address);
        if counts.get(&newcomer).is_some_and(|&own| own >= share) {
            return oldest(from(newcomer), waits);
        }
        match counts.into_iter().max_by_key(|&(_, count)| count) {
            Some((address, count)) if count > share => {
                oldest(from(address), waits).or_else(|| oldest(from(address), |_| true))
            }
            _ => oldest(self.of(ConnectionPlace::Usual), waits),
        }
    }

    fn of(&self, place: ConnectionPlace) -> impl Iterator<Item = &Seat> {
        self.seats.iter().filter(move |seat| seat.place == place)
    }

    fn end(&mut self, id: Id) {
        let Some(at) = self.seats.iter().position(|seat| seat.task.id() == id) else { return };
        let seat = self.seats.remove(at);
        match waits(&seat) {
            true => seat.close.cancel(),
            false => seat.task.abort(),
        }
    }
}

/// What counts as one address: whoever has an IPv6 address has the 64 bits behind it too.
pub(super) fn address(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address @ IpAddr::V4(_) => address,
    }
}

fn waits(seat: &Seat) -> bool {
    seat.phase.borrow().doing != Doing::Busy
}

fn oldest<'a>(seats: impl Iterator<Item = &'a Seat>, wanted: impl Fn(&Seat) -> bool) -> Option<Id> {
    let wanted = seats.filter(|seat| wanted(seat));
    let rank = |seat: &&Seat| {
        let Phase { doing, since } = *seat.phase.borrow();
        (doing == Doing::Body { known: true }, since)
    };
    wanted.min_by_key(rank).map(|seat| seat.task.id())
}
