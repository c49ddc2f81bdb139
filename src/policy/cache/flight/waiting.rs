//! The wakers of all followers of one flight, woken together.
//!
//! It does not know what they wait for.

use parking_lot::Mutex;
use std::sync::Arc;
use std::task::{Wake, Waker};

use super::lock;

/// Wakers by seat.
#[derive(Default)]
pub(super) struct WakerList(Mutex<Vec<Option<Waker>>>);

impl Wake for WakerList {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Waking only puts tasks into their runtime's queue: nothing comes back here.
        lock(&self.0).iter_mut().filter_map(Option::take).for_each(Waker::wake);
    }
}

impl WakerList {
    /// Remembers who waits at a seat.
    pub(super) fn set(&self, seat: usize, waker: &Waker) {
        let mut wakers = lock(&self.0);
        if wakers.len() <= seat {
            wakers.resize(seat + 1, None);
        }
        match &mut wakers[seat] {
            Some(known) => known.clone_from(waker),
            slot => *slot = Some(waker.clone()),
        }
    }

    /// Nobody waits at a seat any more.
    pub(super) fn clear(&self, seat: usize) {
        if let Some(slot) = lock(&self.0).get_mut(seat) {
            *slot = None;
        }
    }
}

/// Wakes those who wait when whoever polls for them panics.
pub(super) struct Alarm<'a>(pub(super) &'a Arc<WakerList>);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.wake_by_ref();
        }
    }
}
