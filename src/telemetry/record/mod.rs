//! Record: where the rows of a traffic trace go, one for each call that is over.
//!
//! `policy/observe` makes the rows. It does not know what is in them, and holds no content: of a question a recorder keeps a
//! digest, if it keeps anything.

use parking_lot::RwLock;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::model::recorded::RecordedCall;

/// Who keeps rows.
pub trait Recorder: Send + Sync {
    /// What a row calls a question. `canonical` gives the form that is equal for equal questions, which is content and takes a
    /// while; `None` where a question has none.
    fn question(&self, canonical: &dyn Fn() -> Option<Vec<u8>>) -> Option<Arc<str>>;

    /// Takes the row of a call when nothing more can happen to it. Its names are those of the callers: whoever writes them down
    /// hides them. It must not block.
    fn note(&self, call: RecordedCall);
}

/// Who keeps the rows of a process's calls, if anybody does. Cheap to clone: all clones are one.
#[derive(Clone, Default)]
pub struct Recording(Arc<Slot>);

#[derive(Default)]
struct Slot {
    /// What a call asks first, so that it pays for no more where nobody records.
    is_on: AtomicBool,
    recorder: RwLock<Option<Arc<dyn Recorder>>>,
}

impl Recording {
    /// Who keeps rows now.
    pub fn recorder(&self) -> Option<Arc<dyn Recorder>> {
        if !self.0.is_on.load(Ordering::Relaxed) {
            return None;
        }
        self.0.recorder.read().clone()
    }

    /// Has another keep the rows of calls from now on, or nobody. Calls that have begun go to whoever was there then.
    pub fn set(&self, recorder: Option<Arc<dyn Recorder>>) {
        let is_on = recorder.is_some();
        *self.0.recorder.write() = recorder;
        self.0.is_on.store(is_on, Ordering::Relaxed);
    }
}
