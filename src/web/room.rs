//! The memory for bodies that are being read, which has a total: beyond it the largest body of whoever has the most
//! gives way, of two as large the older one. So nobody keeps others out, and a small body finds room at once.

use std::{
    borrow::Cow,
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// Memory is handed out in pieces of so many bytes.
const PIECE: usize = 16 * 1024;

/// Pieces go from body to body and back to the allocator only all at once, as that would keep each for a while, beside
/// what is taken anew.
#[derive(Debug)]
pub(super) struct Room(Mutex<Inner>);

/// Among whom the total is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Owner {
    /// Strangers, by where they come from.
    Address(IpAddr),
    /// A sender that has shown its secret.
    Sender(&'static str),
}

#[derive(Debug)]
struct Inner {
    /// Pieces that may still be taken.
    left: usize,
    /// Pieces that nobody has any more.
    free: Vec<Vec<u8>>,
    /// By age.
    bodies: BTreeMap<u64, Body>,
    came: u64,
}

#[derive(Debug)]
struct Body {
    owner: Owner,
    pieces: Vec<Vec<u8>>,
    gone: Arc<Notify>,
}

impl Room {
    /// For so many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        let inner = Inner { left: bytes / PIECE, free: Vec::new(), bodies: BTreeMap::new(), came: 0 };
        Self(Mutex::new(inner))
    }

    /// A body begins.
    pub(super) fn begin(&self, owner: Owner) -> Growing<'_> {
        let (mut inner, gone) = (self.inner(), Arc::new(Notify::new()));
        let id = inner.came;
        inner.came += 1;
        inner.bodies.insert(id, Body { owner, pieces: Vec::new(), gone: Arc::clone(&gone) });
        Growing { room: self, id, gone }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A body that is being read. It takes memory as bytes come, not as they are announced.
#[derive(Debug)]
pub(super) struct Growing<'r> {
    room: &'r Room,
    id: u64,
    gone: Arc<Notify>,
}

impl<'r> Growing<'r> {
    /// `false` if there is no room, or it had to give way.
    pub(super) fn extend(&self, mut bytes: &[u8]) -> bool {
        let mut inner = self.room.inner();
        while !bytes.is_empty() {
            let Some(body) = inner.bodies.get_mut(&self.id) else { return false };
            match body.pieces.last_mut().filter(|piece| piece.len() < PIECE) {
                Some(piece) => {
                    let (now, later) = bytes.split_at(bytes.len().min(PIECE - piece.len()));
                    piece.extend_from_slice(now);
                    bytes = later;
                }
                None => {
                    let Some(piece) = inner.take(self.id) else { return false };
                    inner.bodies.entry(self.id).and_modify(|body| body.pieces.push(piece));
                }
            }
        }
        true
    }

    /// Ready when it had to give way.
    pub(super) async fn gone(&self) {
        self.gone.notified().await;
    }

    /// All of it has come. `None` if it had to give way.
    pub(super) fn end(self) -> Option<ReadBody<'r>> {
        let body = self.room.inner().bodies.remove(&self.id)?;
        Some(ReadBody { pieces: body.pieces, room: self.room })
    }
}

impl Drop for Growing<'_> {
    fn drop(&mut self) {
        self.room.inner().end(self.id);
    }
}

/// A body that was read. Its memory is given back when it is dropped, and before that to nobody.
#[derive(Debug)]
pub(super) struct ReadBody<'r> {
    pieces: Vec<Vec<u8>>,
    room: &'r Room,
}

impl ReadBody<'_> {
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
}

impl Drop for ReadBody<'_> {
    fn drop(&mut self) {
        self.room.inner().give_back(std::mem::take(&mut self.pieces));
    }
}

impl Inner {
    /// One more piece for that body, for which others may have to give way.
    fn take(&mut self, id: u64) -> Option<Vec<u8>> {
        while self.left == 0 {
            let largest = self.largest_with(id).filter(|largest| *largest != id)?;
            if let Some(gone) = self.end(largest) {
                gone.notify_one();
            }
        }
        self.left -= 1;
        Some(self.free.pop().unwrap_or_else(|| Vec::with_capacity(PIECE)))
    }

    /// The body that has to give way if this one is to grow.
    fn largest_with(&self, growing: u64) -> Option<u64> {
        let size = |id: u64, body: &Body| body.pieces.len() + usize::from(id == growing);
        let mut sums: HashMap<Owner, usize> = HashMap::new();
        for (id, body) in &self.bodies {
            *sums.entry(body.owner).or_default() += size(*id, body);
        }
        let bodies = self.bodies.iter().filter(|(id, body)| size(**id, body) > 0);
        let rank = |(id, body): &(&u64, &Body)| (sums.get(&body.owner).copied(), size(**id, body), Reverse(**id));
        bodies.max_by_key(rank).map(|(id, _)| *id)
    }

    fn end(&mut self, id: u64) -> Option<Arc<Notify>> {
        let body = self.bodies.remove(&id)?;
        self.give_back(body.pieces);
        Some(body.gone)
    }

    fn give_back(&mut self, given: Vec<Vec<u8>>) {
        self.left += given.len();
        self.free.extend(given.into_iter().map(|mut piece| {
            piece.clear();
            piece
        }));
        if self.bodies.values().all(|body| body.pieces.is_empty()) {
            self.free = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 64;

    fn room() -> Room {
        Room::new(SIZE * PIECE)
    }

    fn from(last: u8) -> Owner {
        Owner::Address(IpAddr::from([192, 0, 2, last]))
    }

    fn body(room: &Room, owner: Owner, pieces: usize) -> Growing<'_> {
        let growing = room.begin(owner);
        assert!(growing.extend(&vec![b'x'; pieces * PIECE]), "{pieces} pieces of {owner:?}");
        growing
    }

    fn is_there(growing: &Growing<'_>) -> bool {
        growing.room.inner().bodies.contains_key(&growing.id)
    }

    #[test]
    fn what_was_read_is_what_came_and_its_memory_comes_back() {
        let room = room();
        let bytes: Vec<u8> = (0..3 * PIECE + 7).map(|n| (n % 251) as u8).collect();
        let growing = room.begin(from(1));
        assert!(bytes.chunks(10_000).all(|chunk| growing.extend(chunk)));
        let kept = growing.end().unwrap();
        assert!(kept.bytes() == bytes && kept.pieces().collect::<Vec<_>>().concat() == bytes);
        assert!(kept.pieces.iter().all(|piece| piece.capacity() == PIECE));
        assert_eq!(room.inner().left, SIZE - 4);
        drop(kept);
        drop(body(&room, from(1), 2));
        let inner = room.inner();
        assert_eq!((inner.left, inner.free.len(), inner.bodies.len()), (SIZE, 0, 0));
    }

    #[tokio::test]
    async fn of_whoever_has_the_most_the_largest_gives_way() {
        let room = room();
        let few = body(&room, from(2), 20);
        let many = [body(&room, from(1), 8), body(&room, from(1), 16), body(&room, from(1), 16)];
        let small = body(&room, from(3), 5);
        assert_eq!([0, 1, 2].map(|n| is_there(&many[n])), [true, false, true], "the older one of two");
        assert!(is_there(&few) && is_there(&small));
        many[1].gone().await;
        assert!(!many[1].extend(b"x"), "it gets no room any more");
    }

    #[test]
    fn among_those_of_one_owner_a_small_one_finds_room_and_the_largest_gets_no_more() {
        let room = room();
        let held: Vec<_> = (0..8).map(|_| body(&room, from(1), SIZE / 8)).collect();
        let small = body(&room, from(1), 1);
        assert_eq!(held.iter().filter(|body| is_there(body)).count(), 7);
        let more = room.begin(from(1));
        assert!(!more.extend(&[b'x'; (SIZE + 1) * PIECE]), "it is larger than the room");
        assert!(is_there(&small));
    }

    #[test]
    fn what_is_to_be_answered_does_not_give_way() {
        let room = room();
        let kept = body(&room, from(1), SIZE).end().unwrap();
        assert!(!room.begin(from(2)).extend(b"x"));
        drop(kept);
        assert!(room.begin(from(2)).extend(b"x"));
    }

    proptest::proptest! {
        /// Whatever comes and goes: never more than the total, and a first piece of somebody new is always to be had.
        #[test]
        fn the_total_holds_and_nobody_keeps_others_out(steps in proptest::collection::vec((0..4u8, 0..5 * PIECE, 0..8usize), 0..60)) {
            let room = room();
            let mut bodies: Vec<Growing<'_>> = Vec::new();
            for (owner, length, which) in steps {
                match bodies.get(which) {
                    Some(body) if length % 3 > 0 => _ = body.extend(&vec![b'x'; length]),
                    Some(_) => drop(bodies.swap_remove(which)),
                    None => bodies.push(room.begin(from(owner))),
                }
                let taken: usize = room.inner().bodies.values().map(|body| body.pieces.len()).sum();
                proptest::prop_assert_eq!(taken + room.inner().left, SIZE);
                let newcomer = room.begin(from(9));
                proptest::prop_assert!(newcomer.extend(b"x"));
            }
        }
    }
}
