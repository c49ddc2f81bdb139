//! Buffers: the memory in which large requests wait, bounded for the whole process, and overwritten when it is
//! freed.
//!
//! It does not know what a request contains. The reservation travels with the bytes: it is released when the last
//! piece of them is dropped, wherever that is.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use zeroize::Zeroizing;

/// Room is counted in these: a semaphore counts no further than 2^32.
const UNIT: usize = 1024;

/// The memory of a process for large requests.
#[derive(Clone)]
pub struct Buffers {
    room: Arc<Semaphore>,
    /// In units.
    all: u32,
}

/// Some of it, until it is dropped.
pub struct Room(OwnedSemaphorePermit);

impl Buffers {
    /// Memory of this many bytes.
    pub fn new(bytes: usize) -> Self {
        let all = units(bytes);
        Self { room: Arc::new(Semaphore::new(all as usize)), all }
    }

    /// Waits for room; who came first is served first. More than there is counts as all of it. `None` never comes of waiting.
    pub async fn take(&self, bytes: usize) -> Option<Room> {
        self.room.clone().acquire_many_owned(units(bytes).min(self.all)).await.ok().map(Room)
    }

    /// Bytes that are taken, to the next KiB.
    pub fn taken(&self) -> usize {
        (self.all as usize).saturating_sub(self.room.available_permits()) * UNIT
    }
}

impl Room {
    /// Both together.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        // Of the same semaphore, or it would panic: a process has one of these.
        self.0.merge(other.0);
        self
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

/// Bytes that keep their room, and are overwritten when nobody holds a piece of them any more.
pub fn keep(bytes: Vec<u8>, room: Option<Room>) -> Bytes {
    struct Kept {
        bytes: Zeroizing<Vec<u8>>,
        _room: Option<Room>,
    }

    impl AsRef<[u8]> for Kept {
        fn as_ref(&self) -> &[u8] {
            &self.bytes
        }
    }

    Bytes::from_owner(Kept { bytes: Zeroizing::new(bytes), _room: room })
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn room_is_free_again_when_the_last_piece_of_the_bytes_is_gone() {
        let buffers = Buffers::new(10 * UNIT);
        let room = buffers.take(UNIT * 6 - 1).now_or_never().unwrap();
        assert_eq!(buffers.taken(), 6 * UNIT);
        let bytes = keep(vec![7; 100], room);
        let piece = bytes.slice(40..60);
        drop(bytes);
        assert_eq!((buffers.taken(), &piece[..]), (6 * UNIT, &[7; 20][..]));
        assert!(buffers.take(5 * UNIT).now_or_never().is_none(), "it waits");
        drop(piece);
        assert_eq!(buffers.taken(), 0);
        assert!(buffers.take(usize::MAX).now_or_never().is_some(), "as much as there is");
    }

    proptest! {
        #[test]
        fn no_more_is_taken_than_there_is_and_nothing_is_lost(steps in proptest::collection::vec((0_usize..40, any::<bool>()), 1..60)) {
            let buffers = Buffers::new(20 * UNIT);
            let mut held: Vec<Room> = Vec::new();
            for (size, is_taken) in steps {
                match is_taken {
                    true => if let Some(Some(room)) = buffers.take(size * UNIT).now_or_never() {
                        let joined = match held.pop() {
                            Some(other) if size % 2 == 0 => other.and(room),
                            Some(other) => { held.push(other); room }
                            None => room,
                        };
                        held.push(joined);
                    },
                    false => drop(held.pop()),
                }
                prop_assert!(buffers.taken() <= 20 * UNIT);
            }
            held.clear();
            prop_assert_eq!(buffers.taken(), 0);
        }
    }
}
