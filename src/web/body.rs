//! Reads the body of a request: at most so long, not too slowly, and within the room for all of them.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use futures::StreamExt;

use super::room::{Growing, ReadBody};
use crate::{ingest::webhook::MAX_BODY, ports::Clock};

/// A body may take so long, and beyond that a second for each so many bytes that have come.
const GRACE: Duration = Duration::from_secs(3);
const PER_SECOND: usize = 128 * 1024;

/// Why there is no body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyError {
    /// The connection ended within it.
    Broken,
    /// More than [`MAX_BODY`].
    TooLarge,
    /// It comes too slowly.
    Slow,
    /// Others take the room.
    NoRoom,
}

/// Reads to the end of the body, or until it cannot be taken.
pub(super) async fn read<'r>(body: Body, growing: Growing<'r>, clock: &dyn Clock) -> Result<ReadBody<'r>, BodyError> {
    if body.size_hint().lower() > MAX_BODY as u64 {
        return Err(BodyError::TooLarge);
    }
    let (mut chunks, mut length, start) = (body.into_data_stream(), 0, clock.monotonic());
    let due = |length: usize| start + GRACE + Duration::from_secs_f64(length as f64 / PER_SECOND as f64);
    let mut wake = clock.sleep_until(due(0));
    loop {
        // What has come counts first.
        tokio::select! {
            biased;
            chunk = chunks.next() => match chunk {
                None => return growing.end().ok_or(BodyError::NoRoom),
                Some(Err(_)) => return Err(BodyError::Broken),
                Some(Ok(chunk)) => {
                    length += chunk.len();
                    if length > MAX_BODY {
                        return Err(BodyError::TooLarge);
                    }
                    if !growing.extend(&chunk) {
                        return Err(BodyError::NoRoom);
                    }
                }
            },
            () = growing.gone() => return Err(BodyError::NoRoom),
            () = &mut wake => {
                if clock.monotonic() >= due(length) {
                    return Err(BodyError::Slow);
                }
                wake = clock.sleep_until(due(length));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, sync::Mutex};

    use futures::{FutureExt, future::BoxFuture};
    use jiff::Timestamp;

    use super::*;
    use crate::web::room::{Owner, Room};

    /// A clock on which a second passes with each look at it.
    #[derive(Default)]
    struct Ticking(Mutex<u64>);

    impl Clock for Ticking {
        fn now(&self) -> Timestamp {
            Timestamp::UNIX_EPOCH
        }

        fn monotonic(&self) -> Duration {
            let mut seconds = self.0.lock().unwrap();
            *seconds += 1;
            Duration::from_secs(*seconds)
        }

        fn sleep_until(&self, _: Duration) -> BoxFuture<'static, ()> {
            std::future::ready(()).boxed()
        }
    }

    fn owner() -> Owner {
        Owner::Address(IpAddr::from([192, 0, 2, 1]))
    }

    fn in_chunks(length: usize) -> Body {
        let chunks: Vec<_> =
            vec![b' '; length].chunks(10_000).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())).collect();
        Body::from_stream(futures::stream::iter(chunks))
    }

    #[tokio::test]
    async fn what_is_too_long_is_not_read_on_and_keeps_no_room() {
        let (room, clock) = (Room::new(2 * MAX_BODY), Ticking::default());
        for body in [in_chunks(MAX_BODY + 1), Body::from(vec![b' '; MAX_BODY + 1])] {
            assert_eq!(read(body, room.begin(owner()), &clock).await.err(), Some(BodyError::TooLarge));
        }
        for body in [in_chunks(MAX_BODY), Body::from(vec![b' '; MAX_BODY])] {
            assert_eq!(read(body, room.begin(owner()), &clock).await.unwrap().bytes().len(), MAX_BODY);
        }
        let growing = room.begin(Owner::Sender("acr"));
        assert!(growing.extend(&vec![b' '; 2 * MAX_BODY]), "all of it is to be had again");
    }

    #[tokio::test]
    async fn a_body_may_take_three_seconds_and_one_more_for_each_128_kib() {
        let room = Room::new(2 * MAX_BODY);
        let seconds = async |sent: usize| {
            let clock = Ticking::default();
            let chunks = futures::stream::iter([Ok::<_, std::io::Error>(vec![b' '; sent])]);
            let body = Body::from_stream(chunks.chain(futures::stream::pending()));
            assert_eq!(read(body, room.begin(owner()), &clock).await.err(), Some(BodyError::Slow));
            clock.monotonic().as_secs() - 2
        };
        assert_eq!((seconds(0).await, seconds(1).await, seconds(PER_SECOND).await), (3, 4, 4));
        assert_eq!(seconds(MAX_BODY).await, 11);
    }

    #[tokio::test]
    async fn a_body_that_gives_way_is_told_at_once() {
        let (room, clock) = (Room::new(MAX_BODY), Ticking::default());
        let waits = Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>());
        let growing = room.begin(owner());
        assert!(growing.extend(&vec![b' '; MAX_BODY]));
        assert!(room.begin(Owner::Sender("acr")).extend(b" "));
        assert_eq!(read(waits, growing, &clock).await.err(), Some(BodyError::NoRoom));
    }
}
