//! Bill: the cost of a response that is created in the background and read later, perhaps many times. It is counted
//! once.
//!
//! It does not know who created the response, nor what a token costs.

use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;

/// What is done once the tokens are counted.
type Then = Box<dyn FnOnce() + Send>;

/// The bill of one answer.
pub struct Bill {
    /// The model that makes it, where one is known.
    pub model: Option<Arc<str>>,
    state: Mutex<State>,
}

struct State {
    is_open: bool,
    then: Vec<Then>,
}

impl fmt::Debug for Bill {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Bill").field("model", &self.model).field("is_open", &self.is_open()).finish()
    }
}

impl Bill {
    /// The bill of an answer whose tokens nobody has counted yet.
    pub fn open(model: Option<Arc<str>>) -> Arc<Self> {
        Arc::new(Self { model, state: Mutex::new(State { is_open: true, then: Vec::new() }) })
    }

    /// The bill of an answer that was counted, or that nobody here knows of.
    pub fn closed() -> Arc<Self> {
        Arc::new(Self { model: None, state: Mutex::new(State { is_open: false, then: Vec::new() }) })
    }

    /// True while nobody has counted.
    pub fn is_open(&self) -> bool {
        self.state.lock().is_open
    }

    /// Closes it. True for the one who may count.
    pub fn close(&self) -> bool {
        let mut state = self.state.lock();
        let was_open = std::mem::replace(&mut state.is_open, false);
        let then = std::mem::take(&mut state.then);
        drop(state);
        then.into_iter().for_each(|then| then());
        was_open
    }

    /// Has something done when it is closed; at once where it is.
    pub fn on_close(&self, then: impl FnOnce() + Send + 'static) {
        let mut state = self.state.lock();
        if state.is_open {
            state.then.push(Box::new(then));
            return;
        }
        drop(state);
        then();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn one_counts_whoever_reads() {
        let (bill, done) = (Bill::open(None), Arc::new(AtomicU32::new(0)));
        let count = || {
            let done = done.clone();
            move || {
                done.fetch_add(1, Ordering::Relaxed);
            }
        };
        bill.on_close(count());
        assert!(bill.is_open() && done.load(Ordering::Relaxed) == 0);
        assert_eq!([bill.close(), bill.close(), Bill::closed().close()], [true, false, false]);
        bill.on_close(count());
        assert_eq!((bill.is_open(), done.load(Ordering::Relaxed)), (false, 2));
    }
}
