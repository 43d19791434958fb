//! Serves a router on a listener that the caller made, until the caller says stop.
//!
//! A client costs at most a place among a fixed number of connections, and that for a bounded time: handshake, header
//! and the pause between two requests have a deadline, and handlers give the body one. Who gets a place when all are
//! taken is said in `places`. Senders speak HTTP/1.1.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use http::{StatusCode, header::RETRY_AFTER};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    connection::Connection,
    peer::Peer,
    places::{ConnectionPlace, Places, SPARE, Seat, address},
    tls::Tls,
};
use crate::ports::Clock;

/// What clients may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at a time. Further ones are accepted at the cost of those that wait.
    pub connections: usize,
    /// How long a TLS handshake, and then each request's header, may take.
    pub header: Duration,
    /// How long a connection may idle between two requests.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 256, header: Duration::from_secs(5), idle: Duration::from_secs(15) }
    }
}

/// What is served.
#[derive(Clone)]
pub struct Site {
    /// Usually.
    pub router: Router,
    /// Also to those for whom there is no other place; all else is told to come again.
    pub probes: Router,
    /// With TLS.
    pub tls: Option<Tls>,
}

/// After an `accept` that failed (too many open files), so that it is not tried without end.
const PAUSE: Duration = Duration::from_millis(100);
/// How long requests may take that are in when `stop` comes.
const DRAIN: Duration = Duration::from_secs(5);
/// At most once in this time it is told that all places are taken.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Serves until `stop`; then takes no new connection, and ends when the requests that are in have their answers, or
/// after five seconds. Dropping it ends all at once.
pub async fn serve(listener: TcpListener, site: Site, limits: Limits, clock: Arc<dyn Clock>, stop: CancellationToken) {
    let spare = site.probes.clone().fallback(async || {
        let text = "too many connections at once; try again\n";
        (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")], text)
    });
    // Those that were told to end, and may still answer one request, have room too.
    let most = limits.connections + 2 * SPARE;
    let mut places = Places::new(limits.connections);
    let mut connections = JoinSet::new();
    let mut told_until = Duration::ZERO;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = connections.join_next_with_id() => {
                places.leave(ended.map_or_else(|error| error.id(), |(id, ())| id));
            }
            accepted = accept(&listener, &*clock), if connections.len() < most => {
                let Some((stream, from)) = accepted else {
                    places.end_one();
                    continue;
                };
                let now = clock.monotonic();
                if places.full() && now >= told_until {
                    told_until = now + TELL_EVERY;
                    let (limit, port) = (limits.connections, listener.local_addr().map_or(0, |own| own.port()));
                    tracing::warn!(limit, port, "all connections are taken; those that wait longest are closed for new ones");
                }
                let address = address(from.ip());
                let place = places.admit(address);
                let peer = Peer::new(address, Arc::clone(&clock));
                let phase = peer.phases();
                let close = CancellationToken::new();
                let connection = Connection {
                    router: if place == ConnectionPlace::Usual { site.router.clone() } else { spare.clone() },
                    tls: site.tls.clone(),
                    keep_alive: place == ConnectionPlace::Usual,
                    limits,
                    clock: Arc::clone(&clock),
                    peer,
                    close: close.clone(),
                    stop: stop.clone(),
                };
                let task = connections.spawn(connection.run(stream));
                places.take(Seat { address, place, phase, close, task });
            }
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    tokio::select! {
        () = drained => {}
        () = clock.sleep_until(clock.monotonic() + DRAIN) => tracing::warn!("requests were cut off while stopping"),
    }
}

async fn accept(listener: &TcpListener, clock: &dyn Clock) -> Option<(TcpStream, SocketAddr)> {
    match listener.accept().await {
        Ok(accepted) => Some(accepted),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            clock.sleep_until(clock.monotonic() + PAUSE).await;
            None
        }
    }
}
