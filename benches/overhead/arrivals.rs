//! By which the caller tells the provider that an event of a stream has arrived. Both are in one process.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use tokio::sync::Semaphore;

/// Streams by their numbers, no two of which have the same.
#[derive(Default)]
pub(crate) struct Arrivals {
    streams: RefCell<BTreeMap<usize, Rc<Semaphore>>>,
    next: Cell<usize>,
}

impl Arrivals {
    /// A number that no stream has had.
    pub(crate) fn number(&self) -> usize {
        self.next.replace(self.next.get() + 1)
    }

    /// It has a permit for each event of this stream that has arrived.
    pub(crate) fn of(&self, number: usize) -> Rc<Semaphore> {
        self.streams.borrow_mut().entry(number).or_insert_with(|| Rc::new(Semaphore::new(0))).clone()
    }

    /// Forgets a stream that is over.
    pub(crate) fn forget(&self, number: usize) {
        self.streams.borrow_mut().remove(&number);
    }
}
