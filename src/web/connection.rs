//! One connection: handshake, requests one after the other, and a deadline for all that a client may keep waiting.

use std::{sync::Arc, time::Duration};

use axum::Router;
use hyper::{
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::watch,
};
use tokio_util::{io::InspectReader, sync::CancellationToken};

use super::{
    places::{Doing, Phase},
    serve::Limits,
    tls::Tls,
};
use crate::ports::Clock;

/// The longest header that is read, and the most that is read at once of a body.
const MAX_HEADER: usize = 16 * 1024;
/// How long a request may take whose connection was told to end while its header came.
const LEAVE: Duration = Duration::from_secs(1);

/// What a connection is served with.
pub(super) struct Connection {
    pub(super) router: Router,
    pub(super) tls: Option<Tls>,
    /// Whether there may be more than one request.
    pub(super) keep_alive: bool,
    pub(super) limits: Limits,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) phases: watch::Sender<Phase>,
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
        self.enter(Doing::Header);
        let stream = InspectReader::new(stream, |bytes: &[u8]| {
            // The first byte of the next header.
            if !bytes.is_empty() && self.phases.borrow().doing == Doing::Idle {
                self.enter(Doing::Header);
            }
        });
        let router = TowerToHyperService::new(self.router.clone());
        let service = service_fn(|request| {
            self.enter(Doing::Busy);
            let answer = router.call(request);
            async move {
                let answer = answer.await;
                self.enter(Doing::Idle);
                answer
            }
        });
        let connection = http1::Builder::new()
            .keep_alive(self.keep_alive)
            // The deadlines are here, by the port's clock.
            .header_read_timeout(None)
            .max_buf_size(MAX_HEADER)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let mut phases = self.phases.subscribe();
        let (mut ending, mut last) = (false, None);
        loop {
            let due = last.or(self.due(*phases.borrow_and_update()));
            // The connection comes first: what has arrived counts before anything else is decided.
            tokio::select! {
                biased;
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "a connection ended early");
                    }
                    return;
                }
                _ = phases.changed() => {}
                () = self.close.cancelled(), if last.is_none() => {
                    if self.phases.borrow().doing != Doing::Busy {
                        return;
                    }
                    connection.as_mut().graceful_shutdown();
                    last = Some(self.clock.monotonic() + LEAVE);
                }
                () = self.stop.cancelled(), if !ending => {
                    connection.as_mut().graceful_shutdown();
                    ending = true;
                }
                () = self.clock.sleep_until(due.unwrap_or_default()), if due.is_some() => {
                    tracing::debug!("a connection waited too long");
                    return;
                }
            }
        }
    }

    fn enter(&self, doing: Doing) {
        self.phases.send_replace(Phase { doing, since: self.clock.monotonic() });
    }

    /// When the wait ends. Handlers see to it that a body does not take for ever.
    fn due(&self, phase: Phase) -> Option<Duration> {
        match phase.doing {
            Doing::Header => Some(phase.since + self.limits.header),
            Doing::Idle => Some(phase.since + self.limits.idle),
            Doing::Busy => None,
        }
    }
}
