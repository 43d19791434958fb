//! Serves a router on a listener that the caller made, until the caller says stop.
//!
//! A client costs at most a place among a fixed number of connections, and that for a bounded time: handshake and
//! header have a deadline, and handlers give the body one. Senders speak HTTP/1.1.

use std::{sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::tls::Tls;
use crate::ports::Clock;

/// What clients may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at a time; further ones wait in the system's queue.
    pub connections: usize,
    /// How long a TLS handshake, and then each request's header, may take; also how long a connection may idle.
    pub header: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 256, header: Duration::from_secs(10) }
    }
}

/// After an `accept` that failed (too many open files), so that it is not tried without end.
const PAUSE: Duration = Duration::from_millis(100);
/// How long requests may take that are in when `stop` comes.
const DRAIN: Duration = Duration::from_secs(5);

/// Serves until `stop`; then takes no new connection, and ends when the requests that are in have their answers, or
/// after five seconds. Dropping it ends all at once.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    tls: Option<Tls>,
    limits: Limits,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    let next = async || {
        // The semaphore is never closed.
        let place = Arc::clone(&places).acquire_owned().await.ok()?;
        match listener.accept().await {
            Ok((stream, _)) => Some((place, stream)),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                clock.sleep_until(clock.monotonic() + PAUSE).await;
                None
            }
        }
    };
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = next() => if let Some((place, stream)) = accepted {
                let connection = connection(stream, router.clone(), tls.clone(), limits, Arc::clone(&clock), stop.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(place);
                });
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

async fn connection(
    stream: TcpStream,
    router: Router,
    tls: Option<Tls>,
    limits: Limits,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    // Answers are small: they go out at once.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return http(stream, router, limits, stop).await };
    tokio::select! {
        stream = async { tls.acceptor().accept(stream).await } => match stream {
            Ok(stream) => http(stream, router, limits, stop).await,
            Err(error) => tracing::debug!(%error, "a TLS handshake failed"),
        },
        () = clock.sleep_until(clock.monotonic() + limits.header) => tracing::debug!("a TLS handshake took too long"),
        () = stop.cancelled() => {}
    }
}

async fn http(stream: impl AsyncRead + AsyncWrite + Unpin, router: Router, limits: Limits, stop: CancellationToken) {
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
