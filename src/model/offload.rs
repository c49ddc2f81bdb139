//! Offload: runs CPU-heavy work on a large body that cannot be sliced, such as parsing its JSON, on a blocking
//! thread.
//!
//! It does not know what the work is. The memory that large bodies share bounds how many there are at once.

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

use crate::model::time::refresh;

/// Work on this many bytes takes less than a millisecond, as it takes a few nanoseconds for each.
const AT_ONCE: usize = 128 * 1024;

/// Does work on a body of `bytes`. If that is large and there is another thread, other calls go on meanwhile. In virtual time there
/// is none, so the order of events stays the same.
pub fn apart<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let has_threads = || Handle::try_current().is_ok_and(|it| it.runtime_flavor() == RuntimeFlavor::MultiThread);
    match bytes > AT_ONCE && has_threads() {
        true => {
            let outcome = block_in_place(work);
            // It has taken a while.
            refresh();
            outcome
        }
        false => work(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn others_go_on_while_work_on_many_bytes_is_done() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let (done, wait) = mpsc::channel();
        runtime.block_on(async {
            let mut tasks = tokio::task::JoinSet::new();
            tasks.spawn(async move { apart(AT_ONCE + 1, || wait.recv().is_ok()) });
            // It needs the only thread that there was.
            tasks.spawn(async move { done.send(()).is_ok() });
            assert_eq!(tasks.join_all().await, [true, true]);
        });
    }

    #[tokio::test]
    async fn where_there_is_one_thread_it_is_done_at_once() {
        assert_eq!(apart(usize::MAX, || 7), 7);
    }
}
