//! What the gateways tell each other of jobs, and who here wants to know: runners, watchers, and workers of their own jobs.
//!
//! Messages may get lost, so whoever acts on one must also be correct without it.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::model::job::JobId;
use crate::state::jobs::Stop;
use crate::state::jobs::watchers::{Watchers, bump};

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

/// Who wants to know.
#[derive(Default)]
pub(super) struct Board {
    work: watch::Sender<u64>,
    pub(super) watchers: Watchers,
    /// When the others were told of each job that is watched here.
    told: Mutex<BTreeMap<JobId, Instant>>,
    /// Wakes who tells them.
    pub(super) tell: Notify,
}

impl Board {
    /// See [`JobStore::news`](crate::state::jobs::JobStore::news).
    pub(super) fn news(&self) -> watch::Receiver<u64> {
        self.work.subscribe()
    }

    /// See [`JobStore::watch`](crate::state::jobs::JobStore::watch).
    pub(super) fn watch(&self, id: &JobId) -> watch::Receiver<u64> {
        // Whoever comes anew wants the text so far soon.
        self.told.lock().remove(id);
        let receiver = self.watchers.watch(id);
        self.tell.notify_one();
        receiver
    }

    /// Takes in a message.
    pub(super) fn hear(&self, message: News) {
        match message {
            News::Queued => self.work.send_modify(bump),
            News::Changed(id) => self.watchers.changed(&id),
            News::Cancelled(id, fence) => {
                self.watchers.stop(&id, fence, Stop::Cancelled);
                self.watchers.changed(&id);
            }
            News::Lost(id, fence) => {
                self.watchers.stop(&id, fence, Stop::Lost);
                self.watchers.changed(&id);
                self.work.send_modify(bump);
            }
            News::Watched(id) => self.watchers.watch_elsewhere(&id, Instant::now() + COUNTS),
        }
    }

    /// Something may have been missed: everybody looks.
    pub(super) fn missed(&self) {
        self.work.send_modify(bump);
        self.watchers.missed();
    }

    /// Forgets who wants to know nothing any more. Returns the jobs of which to tell the others that somebody watches them.
    pub(super) fn sweep(&self) -> Vec<JobId> {
        let (now, watched) = (Instant::now(), self.watchers.sweep());
        let mut told = self.told.lock();
        let mut before = std::mem::take(&mut *told);
        let mut due = Vec::new();
        for id in watched {
            let at = before.remove(&id).filter(|at| *at + TELL > now);
            if at.is_none() {
                due.push(id);
            }
            told.insert(id, at.unwrap_or(now));
        }
        due
    }
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
    async fn a_worker_learns_that_somebody_elsewhere_watches_and_that_nobody_does_any_more() {
        let ([here, there], id) = ([Board::default(), Board::default()], JobId::new([7; 16]));
        let signal = here.watchers.hold(&id, 1);
        let watcher = there.watch(&id);
        assert_eq!(there.sweep(), [id], "the others are told at once");
        assert_eq!(there.sweep(), [], "and not again at once");
        here.hear(News::Watched(id));
        assert!(signal.borrow().is_watched && here.watchers.is_watched(&id));
        assert_eq!(here.sweep(), [], "that is for those to tell who have the watcher");
        tokio::time::advance(TELL).await;
        assert_eq!(there.sweep(), [id]);
        let _another = there.watch(&id);
        assert_eq!(there.sweep(), [id], "who comes anew wants the text soon");
        drop(watcher);
        tokio::time::advance(COUNTS).await;
        here.sweep();
        assert!(!signal.borrow().is_watched && !here.watchers.is_watched(&id));
    }

    #[test]
    fn a_worker_learns_that_its_claim_is_over() {
        let (board, id) = (Board::default(), JobId::new([7; 16]));
        let signal = board.watchers.hold(&id, 1);
        board.hear(News::Lost(id, 0));
        assert_eq!(signal.borrow().stop, None, "that was an older claim");
        board.hear(News::Cancelled(id, 1));
        board.hear(News::Lost(id, 1));
        assert_eq!(signal.borrow().stop, Some(Stop::Cancelled), "the first reason stays");
    }
}
