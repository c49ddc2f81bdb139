//! Load: how many requests a modelled provider works on at once, and who waits for a slot.
//!
//! It does not know how many are allowed; that is asked for, because it changes over time.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// How many are allowed now; `None`: any number.
type Capacity = Box<dyn Fn() -> Option<usize> + Send + Sync>;

/// The requests that are worked on.
pub(super) struct Load {
    capacity: Capacity,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: usize,
    waiting: VecDeque<oneshot::Sender<Slot>>,
}

/// One request that is worked on, until it is dropped.
pub(super) struct Slot(Arc<Load>);

impl Load {
    pub(super) fn new(capacity: Capacity) -> Arc<Self> {
        Arc::new(Self { capacity, state: Mutex::default() })
    }

    /// A slot, if one is free.
    pub(super) fn try_enter(self: &Arc<Self>) -> Option<Slot> {
        let capacity = (self.capacity)();
        let mut state = self.state.lock();
        let is_free = capacity.is_none_or(|most| state.running < most && state.waiting.is_empty());
        is_free.then(|| {
            state.running += 1;
            Slot(self.clone())
        })
    }

    /// A slot, as soon as it is this request's turn.
    pub(super) async fn enter(self: &Arc<Self>) -> Option<Slot> {
        if let Some(slot) = self.try_enter() {
            return Some(slot);
        }
        let (sender, receiver) = oneshot::channel();
        self.state.lock().waiting.push_back(sender);
        receiver.await.ok()
    }

    fn next(self: &Arc<Self>) -> Option<(oneshot::Sender<Slot>, Slot)> {
        let capacity = (self.capacity)();
        let mut state = self.state.lock();
        if capacity.is_some_and(|most| state.running >= most) {
            return None;
        }
        let sender = loop {
            let sender = state.waiting.pop_front()?;
            // Who has left the queue is passed over.
            if !sender.is_closed() {
                break sender;
            }
        };
        state.running += 1;
        Some((sender, Slot(self.clone())))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.state.lock().running -= 1;
        while let Some((sender, slot)) = self.0.next() {
            // Who has left just now gives its slot back, which serves the next one.
            let _ = sender.send(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn who_waits_is_served_in_turn_and_who_leaves_is_passed_over() {
        let load = Load::new(Box::new(|| Some(1)));
        let first = load.try_enter();
        assert!(first.is_some() && load.try_enter().is_none());
        let mut waiting: Vec<_> = (0..2000).map(|_| Box::pin(load.enter())).collect();
        assert!(waiting.iter_mut().all(|waiter| waiter.now_or_never().is_none()));
        let mut last = waiting.pop().unwrap();
        let mut second = waiting.remove(0);
        drop(waiting);
        drop(first);
        let slot = (&mut second).now_or_never().unwrap();
        assert!(slot.is_some() && (&mut last).now_or_never().is_none());
        drop(slot);
        assert!((&mut last).now_or_never().unwrap().is_some());
    }

    #[test]
    fn more_are_served_once_more_are_allowed() {
        let allowed = Arc::new(AtomicUsize::new(1));
        let load = Load::new({
            let allowed = allowed.clone();
            Box::new(move || Some(allowed.load(Ordering::Relaxed)))
        });
        let first = load.try_enter();
        let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(load.enter())).collect();
        assert!(waiting.iter_mut().all(|waiter| waiter.now_or_never().is_none()));
        allowed.store(2, Ordering::Relaxed);
        drop(first);
        let served = waiting.iter_mut().filter_map(|waiter| waiter.now_or_never()).collect::<Vec<_>>();
        assert_eq!(served.len(), 2);
    }
}
