//! Reading: what the clock shows, read at most once in each poll of a connection's task.
//!
//! A call asks for the time in dozens of places, and most of them lie between two waits. Within
//! [`once_per_poll`] they get one reading, which is never older than the poll: the task takes microseconds from one wait to
//! the next. Elsewhere each asks the clock. What measures such a stretch itself asks anew, by [`refresh`].
//!
//! A loop that waits for a timer must not go by it: the timer may fire within the poll, after the reading.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::time::Duration;

use tokio::time::Instant;

thread_local! {
    static READING: Cell<Reading> = const { Cell::new(Reading::Unkept) };
}

#[derive(Clone, Copy)]
enum Reading {
    /// Nobody says when it would be too old.
    Unkept,
    /// The poll has not asked yet.
    Wanted,
    Kept(Instant),
}

/// What the clock shows, or has shown in this poll.
pub fn now() -> Instant {
    match READING.get() {
        Reading::Kept(now) => now,
        Reading::Wanted | Reading::Unkept => refresh(),
    }
}

/// How long ago a moment was; zero if it is yet to come.
pub fn since(moment: Instant) -> Duration {
    now().saturating_duration_since(moment)
}

/// What the clock shows, which holds for the rest of this poll.
pub fn refresh() -> Instant {
    let now = Instant::now();
    if !matches!(READING.get(), Reading::Unkept) {
        READING.set(Reading::Kept(now));
    }
    now
}

/// Does work with one reading of the clock a poll. It is pinned already, as an async function would hold it twice: once as it
/// was given, and once where it is polled.
pub fn once_per_poll<T>(mut work: impl Future<Output = T> + Unpin) -> impl Future<Output = T> + Unpin {
    poll_fn(move |cx| {
        let _poll = Poll::begin();
        Pin::new(&mut work).poll(cx)
    })
}

/// A poll, until it is dropped. One within another goes by the reading of that.
struct Poll {
    is_outermost: bool,
}

impl Poll {
    fn begin() -> Self {
        let is_outermost = matches!(READING.get(), Reading::Unkept);
        if is_outermost {
            READING.set(Reading::Wanted);
        }
        Self { is_outermost }
    }
}

impl Drop for Poll {
    fn drop(&mut self) {
        if self.is_outermost {
            READING.set(Reading::Unkept);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A while during which the thread does nothing else, as a computation would take it.
    fn work(millis: u64) {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(millis) {}
    }

    #[tokio::test]
    async fn a_poll_has_one_reading_and_the_next_has_another() {
        once_per_poll(Box::pin(async {
            let first = now();
            work(2);
            assert_eq!(now(), first);
            once_per_poll(Box::pin(async { assert_eq!(now(), first) })).await;
            assert_eq!(now(), first, "the inner one has ended, and the outer one has not");
            tokio::task::yield_now().await;
            let second = now();
            assert!(second >= first + Duration::from_millis(2), "not older than this poll");
            work(2);
            assert!(refresh() >= second + Duration::from_millis(2));
            assert!(now() > second);
        }))
        .await;
        let outside = now();
        work(1);
        assert!(now() > outside && since(outside) >= Duration::from_millis(1));
    }

    #[tokio::test]
    async fn a_poll_that_panics_leaves_no_reading() {
        let panics = once_per_poll(Box::pin(async {
            now();
            panic!("on purpose");
        }));
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(panics);
        assert!(tasks.join_next().await.is_some_and(|ended| ended.is_err()));
        let outside = now();
        work(1);
        assert!(now() > outside);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_tokios_clock() {
        once_per_poll(Box::pin(async {
            let first = now();
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert_eq!(since(first), Duration::from_secs(60));
        }))
        .await;
    }
}
