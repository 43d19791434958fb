//! One connection: handshake, requests one after the other, and a deadline for all that a client may keep waiting. After
//! the last answer what a client still writes is thrown away for a while: it would not see the answer else.

use std::{future::poll_fn, pin, sync::Arc, time::Duration};

use axum::Router;
use http::Request;
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_util::{io::InspectReader, sync::CancellationToken};

use super::{
    peer::{Doing, Peer, Phase},
    serve::Limits,
    tls::Tls,
};
use crate::ports::Clock;

/// The longest header that is read, and the most that is read at once of a body.
const MAX_HEADER: usize = 16 * 1024;
/// How long a request may take whose connection was told to end while its header came.
const LEAVE: Duration = Duration::from_secs(1);
/// What is thrown away after the last answer, in at most [`LEAVE`].
const MAX_DISCARDED: u64 = 8 * 1024 * 1024;

/// What a connection is served with.
pub(super) struct Connection {
    pub(super) router: Router,
    pub(super) tls: Option<Tls>,
    /// Whether there may be more than one request.
    pub(super) keep_alive: bool,
    pub(super) limits: Limits,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) peer: Peer,
    /// It makes room for another one.
    pub(super) close: CancellationToken,
    /// The listener ends.
    pub(super) stop: CancellationToken,
}

impl Connection {
    pub(super) async fn run(self, stream: TcpStream) {
        // Answers are small: they go out at once.
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.tls else { return self.http(stream).await };
        tokio::select! {
            biased;
            stream = async { tls.acceptor().accept(stream).await } => match stream {
                Ok(stream) => self.http(stream).await,
                Err(error) => tracing::debug!(%error, "a TLS handshake failed"),
            },
            () = self.clock.sleep_until(self.clock.monotonic() + self.limits.header) => {
                tracing::debug!("a TLS handshake took too long");
            }
            () = self.close.cancelled() => {}
            () = self.stop.cancelled() => {}
        }
    }

    async fn http(&self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let peer = &self.peer;
        peer.enter(Doing::Header);
        let stream = InspectReader::new(stream, |bytes: &[u8]| {
            // The first byte of the next header.
            if !bytes.is_empty() && peer.doing() == Doing::Idle {
                peer.enter(Doing::Header);
            }
        });
        let router = TowerToHyperService::new(self.router.clone());
        let service = service_fn(|mut request: Request<Incoming>| {
            peer.enter(Doing::Busy);
            request.extensions_mut().insert(peer.clone());
            let answer = router.call(request);
            Box::pin(async move {
                let answer = answer.await;
                peer.enter(Doing::Idle);
                answer
            })
        });
        let mut connection = http1::Builder::new()
            .keep_alive(self.keep_alive)
            // The deadlines are here, by the port's clock.
            .header_read_timeout(None)
            .max_buf_size(MAX_HEADER)
            .serve_connection(TokioIo::new(stream), service);
        let mut phases = peer.phases();
        let (mut ending, mut last) = (false, None);
        loop {
            let due = last.or(self.due(*phases.borrow_and_update()));
            // The connection comes first: what has arrived counts before anything else is decided.
            tokio::select! {
                biased;
                ended = poll_fn(|cx| connection.poll_without_shutdown(cx)) => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "a connection ended early");
                    }
                    break;
                }
                _ = phases.changed() => {}
                () = self.close.cancelled(), if last.is_none() => {
                    if peer.doing() != Doing::Busy {
                        return;
                    }
                    pin::Pin::new(&mut connection).graceful_shutdown();
                    last = Some(self.clock.monotonic() + LEAVE);
                }
                () = self.stop.cancelled(), if !ending => {
                    pin::Pin::new(&mut connection).graceful_shutdown();
                    ending = true;
                }
                () = self.clock.sleep_until(due.unwrap_or_default()), if due.is_some() => {
                    tracing::debug!("a connection waited too long");
                    return;
                }
            }
        }
        self.leave(connection.into_parts().io.into_inner()).await;
    }

    /// Lets the client see the last answer.
    async fn leave(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        self.peer.enter(Doing::Leaving);
        let discard = async {
            stream.shutdown().await?;
            tokio::io::copy(&mut stream.take(MAX_DISCARDED), &mut tokio::io::sink()).await
        };
        tokio::select! {
            biased;
            _ = discard => {}
            () = self.close.cancelled() => {}
            () = self.stop.cancelled() => {}
            () = self.clock.sleep_until(self.clock.monotonic() + LEAVE) => {}
        }
    }

    /// When the wait ends. Handlers see to it that a body does not take for ever.
    fn due(&self, phase: Phase) -> Option<Duration> {
        match phase.doing {
            Doing::Header => Some(phase.since + self.limits.header),
            Doing::Idle => Some(phase.since + self.limits.idle),
            Doing::Body { .. } | Doing::Busy | Doing::Leaving => None,
        }
    }
}
