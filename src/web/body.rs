//! Reads the bodies of requests: within a length, and those of strangers within a memory for all of them together.

use axum::body::Body;
use futures::StreamExt;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::ingest::webhook::MAX_BODY;

/// What is refused is read up to here and thrown away: a client that is still writing would not see the answer.
const MAX_DISCARDED: usize = 8 * MAX_BODY;
/// What bodies may take at once whose sender is not known yet, in bytes.
const ROOM: usize = 16 * 1024 * 1024;
/// The least that a body takes of it.
const LEAST: usize = 4096;

/// The memory for bodies of strangers. A permit is a byte.
#[derive(Debug)]
pub(super) struct Room(Semaphore);

impl Default for Room {
    fn default() -> Self {
        Self(Semaphore::new(ROOM))
    }
}

/// What of a body is kept.
#[derive(Debug, Clone, Copy)]
pub(super) enum Keep<'r> {
    Nothing,
    /// All of it, as its sender is known.
    All,
    /// All of it if there is room.
    Within(&'r Room),
}

/// A body, and its place in the room.
#[derive(Debug, Default)]
pub(super) struct Kept<'r> {
    pub(super) bytes: Vec<u8>,
    place: Option<SemaphorePermit<'r>>,
}

/// Why there is no body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyError {
    /// The connection ended within it.
    Broken,
    /// More than [`MAX_BODY`].
    TooLarge,
    /// Others take all the room.
    NoRoom,
}

/// Reads to the end of the body, or of what is read at all; memory is taken as the bytes come, not as they are announced.
pub(super) async fn read(body: Body, keep: Keep<'_>) -> Result<Kept<'_>, BodyError> {
    let mut chunks = body.into_data_stream();
    let (mut kept, mut length, mut full) = (Kept::default(), 0, false);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| BodyError::Broken)?;
        length += chunk.len();
        if length > MAX_DISCARDED {
            break;
        }
        if length > MAX_BODY || full || matches!(keep, Keep::Nothing) {
            kept = Kept::default();
            continue;
        }
        if let Keep::Within(room) = keep
            && !kept.grow(room, length)
        {
            (kept, full) = (Kept::default(), true);
            continue;
        }
        kept.bytes.extend_from_slice(&chunk);
    }
    match length {
        _ if length > MAX_BODY => Err(BodyError::TooLarge),
        _ if full => Err(BodyError::NoRoom),
        _ => Ok(kept),
    }
}

impl<'r> Kept<'r> {
    /// Makes place for that many bytes in all; `false` if there is none.
    fn grow(&mut self, room: &'r Room, length: usize) -> bool {
        let taken = self.place.as_ref().map_or(0, SemaphorePermit::num_permits);
        if length <= taken {
            return true;
        }
        let wanted = length.next_power_of_two().max(LEAST);
        let more = u32::try_from(wanted - taken).unwrap_or(u32::MAX);
        let Ok(place) = room.0.try_acquire_many(more) else { return false };
        match &mut self.place {
            Some(taken) => taken.merge(place),
            None => self.place = Some(place),
        }
        self.bytes.reserve_exact(wanted - self.bytes.len());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn kept(body: Vec<u8>, keep: Keep<'_>) -> Result<Kept<'_>, BodyError> {
        let chunks: Vec<_> = body.chunks(10_000).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())).collect();
        read(Body::from_stream(futures::stream::iter(chunks)), keep).await
    }

    #[tokio::test]
    async fn sixteen_bodies_of_strangers_find_room_and_the_next_one_when_one_has_gone() {
        let room = Room::default();
        let body = || vec![b' '; MAX_BODY];
        let mut all = Vec::new();
        for _ in 0..16 {
            let kept = kept(body(), Keep::Within(&room)).await.unwrap();
            assert_eq!((kept.bytes.len(), kept.bytes.capacity()), (MAX_BODY, MAX_BODY));
            all.push(kept);
        }
        assert_eq!(kept(vec![b' '], Keep::Within(&room)).await.err(), Some(BodyError::NoRoom));
        assert_eq!(kept(body(), Keep::All).await.unwrap().bytes.len(), MAX_BODY, "those that are known need none");
        all.pop();
        assert!(kept(body(), Keep::Within(&room)).await.is_ok());
        drop(all);
        assert_eq!(room.0.available_permits(), ROOM);
    }

    #[tokio::test]
    async fn what_is_too_long_or_refused_takes_no_room() {
        let room = Room::default();
        for length in [MAX_BODY + 1, 2 * MAX_BODY, MAX_DISCARDED + 10_000] {
            assert_eq!(kept(vec![b' '; length], Keep::Within(&room)).await.err(), Some(BodyError::TooLarge));
            assert_eq!(kept(vec![b' '; length], Keep::Nothing).await.err(), Some(BodyError::TooLarge));
        }
        assert!(kept(vec![b' '; MAX_BODY], Keep::Nothing).await.unwrap().bytes.is_empty());
        assert_eq!(room.0.available_permits(), ROOM);
    }
}
