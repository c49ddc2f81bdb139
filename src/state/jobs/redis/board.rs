//! What the gateways tell each other of jobs, and who here wants to know: runners, watchers, and workers of their own jobs.
//!
//! Messages may get lost, so whoever acts on one must also be correct without it.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::model::job::JobId;
use crate::state::jobs::{Signal, Stop};

/// How often it is told that somebody watches, and how long that counts: one message may get lost.
const TELL: Duration = Duration::from_secs(1);
const COUNTS: Duration = Duration::from_secs(5);

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// There is something to take.
    Queued,
    /// A job has changed.
    Changed(JobId),
    /// A job was cancelled while a worker had it by this claim.
    Cancelled(JobId, u64),
    /// A worker has lost a job that it had by this claim.
    Lost(JobId, u64),
    /// Somebody watches a job.
    Watched(JobId),
}

impl News {
    pub(super) fn text(self) -> String {
        match self {
            News::Queued => "queued".to_owned(),
            News::Changed(id) => format!("changed {id}"),
            News::Cancelled(id, fence) => format!("cancelled {id} {fence}"),
            News::Lost(id, fence) => format!("lost {id} {fence}"),
            News::Watched(id) => format!("watched {id}"),
        }
    }

    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(text).ok()?.split(' ');
        let word = words.next()?;
        if word == "queued" {
            return Some(News::Queued);
        }
        let id = JobId::parse(words.next()?)?;
        match word {
            "changed" => Some(News::Changed(id)),
            "cancelled" => Some(News::Cancelled(id, words.next()?.parse().ok()?)),
            "lost" => Some(News::Lost(id, words.next()?.parse().ok()?)),
            "watched" => Some(News::Watched(id)),
            _ => None,
        }
    }
}

/// A job that a worker here has.
struct Held {
    fence: u64,
    signal: watch::Sender<Signal>,
    /// Until when somebody watches.
    watched: Option<Instant>,
}

/// Who wants to know.
pub(super) struct Board {
    news: watch::Sender<u64>,
    watched: Mutex<BTreeMap<JobId, Watched>>,
    held: Mutex<BTreeMap<JobId, Held>>,
    /// Wakes who tells the others that somebody watches.
    pub(super) tell: Notify,
}

struct Watched {
    changes: watch::Sender<u64>,
    told: Option<Instant>,
}

impl Board {
    pub(super) fn new() -> Self {
        Self { news: watch::Sender::new(0), watched: Mutex::default(), held: Mutex::default(), tell: Notify::new() }
    }

    pub(super) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// See [`JobStore::watch`](crate::state::jobs::JobStore::watch).
    pub(super) fn watch(&self, id: &JobId) -> watch::Receiver<u64> {
        let mut watched = self.watched.lock();
        let entry = watched.entry(*id).or_insert_with(|| Watched { changes: watch::Sender::new(0), told: None });
        // Whoever comes anew wants the text so far soon.
        entry.told = None;
        let receiver = entry.changes.subscribe();
        drop(watched);
        self.tell.notify_one();
        receiver
    }

    /// A worker here has a job from now on.
    pub(super) fn hold(&self, id: &JobId, fence: u64) -> watch::Receiver<Signal> {
        let is_watched = self.watched.lock().contains_key(id);
        let signal = watch::Sender::new(Signal { stop: None, is_watched });
        let receiver = signal.subscribe();
        let watched = is_watched.then(|| Instant::now() + COUNTS);
        self.held.lock().insert(*id, Held { fence, signal, watched });
        receiver
    }

    /// It has not any more.
    pub(super) fn release(&self, id: &JobId, fence: u64) {
        let mut held = self.held.lock();
        if held.get(id).is_some_and(|it| it.fence == fence) {
            held.remove(id);
        }
    }

    /// True while somebody watches a job that a worker here has.
    pub(super) fn is_watched(&self, id: &JobId) -> bool {
        self.held.lock().get(id).is_some_and(|held| held.signal.borrow().is_watched)
    }

    /// Takes in a message.
    pub(super) fn hear(&self, message: News) {
        match message {
            News::Queued => self.news.send_modify(bump),
            News::Changed(id) => self.changed(&id),
            News::Cancelled(id, fence) => {
                self.stop(&id, fence, Stop::Cancelled);
                self.changed(&id);
            }
            News::Lost(id, fence) => {
                self.stop(&id, fence, Stop::Lost);
                self.changed(&id);
                self.news.send_modify(bump);
            }
            News::Watched(id) => {
                if let Some(held) = self.held.lock().get_mut(&id) {
                    held.watched = Some(Instant::now() + COUNTS);
                    held.signal.send_if_modified(|signal| !std::mem::replace(&mut signal.is_watched, true));
                }
            }
        }
    }

    /// Something may have been missed: everybody looks.
    pub(super) fn missed(&self) {
        self.news.send_modify(bump);
        self.watched.lock().values().for_each(|watched| watched.changes.send_modify(bump));
    }

    fn changed(&self, id: &JobId) {
        if let Some(watched) = self.watched.lock().get(id) {
            watched.changes.send_modify(bump);
        }
    }

    fn stop(&self, id: &JobId, fence: u64, stop: Stop) {
        if let Some(held) = self.held.lock().get(id).filter(|held| held.fence == fence) {
            held.signal.send_modify(|signal| signal.stop = signal.stop.or(Some(stop)));
        }
    }

    /// Forgets who wants to know nothing any more. Returns the jobs of which to tell the others that somebody watches them.
    pub(super) fn tidy(&self) -> Vec<JobId> {
        let now = Instant::now();
        self.held.lock().retain(|_, held| {
            if held.watched.is_some_and(|until| until <= now) {
                held.watched = None;
                held.signal.send_modify(|signal| signal.is_watched = false);
            }
            held.signal.receiver_count() > 0
        });
        let mut watched = self.watched.lock();
        watched.retain(|_, watched| watched.changes.receiver_count() > 0);
        let mut due = Vec::new();
        for (id, watched) in watched.iter_mut() {
            if watched.told.is_none_or(|told| told + TELL <= now) {
                watched.told = Some(now);
                due.push(*id);
            }
        }
        due
    }
}

fn bump(count: &mut u64) {
    *count = count.wrapping_add(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let id = JobId::new([7; 16]);
        let all = [News::Queued, News::Changed(id), News::Cancelled(id, 3), News::Lost(id, 4), News::Watched(id)];
        for news in all {
            assert_eq!(News::parse(news.text().as_bytes()), Some(news));
        }
        for text in ["", "changed", "changed x", "gone 1", "\u{ff}"] {
            assert_eq!(News::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_learns_that_somebody_watches_and_that_nobody_does_any_more() {
        let (board, id) = (Board::new(), JobId::new([7; 16]));
        let signal = board.hold(&id, 1);
        let watcher = board.watch(&id);
        assert!(!signal.borrow().is_watched);
        assert_eq!(board.tidy(), [id], "the others are told at once");
        assert_eq!(board.tidy(), [], "and not again at once");
        board.hear(News::Watched(id));
        assert!(signal.borrow().is_watched && board.is_watched(&id));
        tokio::time::advance(TELL).await;
        assert_eq!(board.tidy(), [id]);
        drop(watcher);
        tokio::time::advance(COUNTS).await;
        assert_eq!(board.tidy(), []);
        assert!(!signal.borrow().is_watched && !board.is_watched(&id));
        board.hear(News::Lost(id, 0));
        assert_eq!(signal.borrow().stop, None, "that was an older claim");
        board.hear(News::Cancelled(id, 1));
        board.hear(News::Lost(id, 1));
        assert_eq!(signal.borrow().stop, Some(Stop::Cancelled), "the first reason stays");
        board.release(&id, 2);
        assert_eq!(board.held.lock().len(), 1, "an older claim releases nothing");
        board.release(&id, 1);
        assert_eq!(board.held.lock().len(), 0);
    }
}
