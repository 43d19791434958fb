//! Reads the bodies of requests: within a length, and those of strangers within a memory for all of them together.

use std::{
    borrow::Cow,
    sync::{Mutex, MutexGuard, PoisonError},
};

use axum::body::Body;
use futures::StreamExt;

use crate::ingest::webhook::MAX_BODY;

/// What is refused is read up to here and thrown away: a client that is still writing would not see the answer.
const MAX_DISCARDED: usize = 8 * MAX_BODY;
/// The memory for bodies of strangers is handed out in pieces of so many bytes.
const PIECE: usize = 16 * 1024;
/// 8 MiB. With what 256 connections take beside bodies, some 35 KiB each, that is less than 20 MB.
const PIECES: usize = 8 * MAX_BODY / PIECE;

/// The memory for bodies whose sender is not known yet, of all connections together. Its pieces go from
/// body to body and back to the allocator only all at once, as that would keep each for a while, beside what is taken anew.
#[derive(Debug, Default)]
pub(super) struct Room(Mutex<Pieces>);

#[derive(Debug, Default)]
struct Pieces {
    used: usize,
    free: Vec<Vec<u8>>,
}

impl Room {
    fn take(&self) -> Option<Vec<u8>> {
        let mut pieces = self.pieces();
        if pieces.used == PIECES {
            return None;
        }
        pieces.used += 1;
        Some(pieces.free.pop().unwrap_or_else(|| Vec::with_capacity(PIECE)))
    }

    fn give_back(&self, given: Vec<Vec<u8>>) {
        let mut pieces = self.pieces();
        pieces.used -= given.len();
        pieces.free.extend(given.into_iter().map(|mut piece| {
            piece.clear();
            piece
        }));
        if pieces.used == 0 {
            pieces.free = Vec::new();
        }
    }

    fn pieces(&self) -> MutexGuard<'_, Pieces> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

/// A body.
#[derive(Debug)]
pub(super) struct Kept<'r> {
    /// One that grows, or several of the room.
    pieces: Vec<Vec<u8>>,
    room: Option<&'r Room>,
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
    let room = if let Keep::Within(room) = keep { Some(room) } else { None };
    let nothing = || Kept { pieces: Vec::new(), room };
    let (mut kept, mut length, mut full) = (nothing(), 0, false);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| BodyError::Broken)?;
        length += chunk.len();
        if length > MAX_DISCARDED {
            break;
        }
        if length > MAX_BODY || full || matches!(keep, Keep::Nothing) {
            kept = nothing();
        } else if !kept.extend(&chunk) {
            (kept, full) = (nothing(), true);
        }
    }
    match length {
        _ if length > MAX_BODY => Err(BodyError::TooLarge),
        _ if full => Err(BodyError::NoRoom),
        _ => Ok(kept),
    }
}

impl Kept<'_> {
    /// Its bytes, in order.
    pub(super) fn pieces(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.pieces.iter().map(Vec::as_slice)
    }

    /// Its bytes in one piece.
    pub(super) fn bytes(&self) -> Cow<'_, [u8]> {
        match &self.pieces[..] {
            [one] => Cow::Borrowed(one),
            pieces => Cow::Owned(pieces.concat()),
        }
    }

    /// `false` if there is no room.
    fn extend(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let left = match (self.pieces.last(), self.room) {
                (None, _) => 0,
                (Some(_), None) => bytes.len(),
                (Some(piece), Some(_)) => PIECE - piece.len(),
            };
            if left == 0 {
                let Some(piece) = self.room.map_or_else(|| Some(Vec::new()), Room::take) else { return false };
                self.pieces.push(piece);
                continue;
            }
            let (now, later) = bytes.split_at(left.min(bytes.len()));
            self.pieces.last_mut().into_iter().for_each(|piece| piece.extend_from_slice(now));
            bytes = later;
        }
        true
    }
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        if let Some(room) = self.room {
            room.give_back(std::mem::take(&mut self.pieces));
        }
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
    async fn eight_bodies_of_strangers_find_room_and_the_next_one_when_one_has_gone() {
        let room = Room::default();
        let body = || (0..MAX_BODY).map(|n| (n % 251) as u8).collect::<Vec<_>>();
        let mut all = Vec::new();
        for _ in 0..8 {
            let kept = kept(body(), Keep::Within(&room)).await.unwrap();
            assert!(kept.pieces.iter().all(|piece| piece.capacity() == PIECE));
            assert!(kept.bytes() == body() && kept.pieces().collect::<Vec<_>>().concat() == body());
            all.push(kept);
        }
        assert_eq!(kept(vec![b' '], Keep::Within(&room)).await.err(), Some(BodyError::NoRoom));
        assert_eq!(kept(body(), Keep::All).await.unwrap().bytes(), body(), "those that are known need none");
        all.pop();
        assert!(kept(body(), Keep::Within(&room)).await.is_ok());
        drop(all);
        let pieces = room.pieces();
        assert_eq!((pieces.used, pieces.free.len()), (0, 0));
    }

    #[tokio::test]
    async fn what_is_too_long_or_refused_takes_no_room() {
        let room = Room::default();
        for length in [MAX_BODY + 1, 2 * MAX_BODY, MAX_DISCARDED + 10_000] {
            assert_eq!(kept(vec![b' '; length], Keep::Within(&room)).await.err(), Some(BodyError::TooLarge));
            assert_eq!(kept(vec![b' '; length], Keep::Nothing).await.err(), Some(BodyError::TooLarge));
        }
        assert!(kept(vec![b' '; MAX_BODY], Keep::Nothing).await.unwrap().bytes().is_empty());
        assert!(kept(Vec::new(), Keep::Within(&room)).await.unwrap().bytes().is_empty());
        assert_eq!(room.pieces().used, 0);
    }
}
