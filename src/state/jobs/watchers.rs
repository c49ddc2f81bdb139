//! Watchers: who in this process wants to hear of which job: those who watch one, and the workers that have one.
//!
//! It knows no store. All that passes here is a hint; the record of a job is the truth.

use std::collections::HashMap;

use foldhash::quality::FixedState;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Signal, Stop};
use crate::model::job::JobId;

/// Channels for jobs that were forgotten by all who listened are removed when there are this many at least.
const SWEEP: usize = 1024;

/// The listeners of one process.
#[derive(Default)]
pub struct Watchers(Mutex<Listeners>);

#[derive(Default)]
struct Listeners {
    watched: HashMap<JobId, watch::Sender<u64>, FixedState>,
    /// The newest claim of each job that a worker of this process has.
    held: HashMap<JobId, Held, FixedState>,
    sweep_at: usize,
}

/// A job that a worker of this process has.
struct Held {
    fence: u64,
    told: watch::Sender<Signal>,
    /// Until when somebody watches it in another process, as far as is known.
    elsewhere: Option<Instant>,
}

impl Listeners {
    fn is_watched(&self, id: &JobId) -> bool {
        self.is_watched_here(id) || self.held.get(id).is_some_and(|held| held.elsewhere.is_some())
    }

    fn is_watched_here(&self, id: &JobId) -> bool {
        self.watched.get(id).is_some_and(|told| told.receiver_count() > 0)
    }

    fn tell_worker(&self, id: &JobId) {
        let is_watched = self.is_watched(id);
        if let Some(held) = self.held.get(id) {
            let differs = |signal: &mut Signal| std::mem::replace(&mut signal.is_watched, is_watched) != is_watched;
            held.told.send_if_modified(differs);
        }
    }
}

impl Watchers {
    /// Begins to watch a job. Its worker is told, if this process has it.
    pub fn watch(&self, id: &JobId) -> watch::Receiver<u64> {
        let mut all = self.0.lock();
        if all.watched.len() >= all.sweep_at.max(SWEEP) {
            all.watched.retain(|_, told| told.receiver_count() > 0);
            all.sweep_at = all.watched.len() * 2;
        }
        let receiver = all.watched.entry(*id).or_default().subscribe();
        all.tell_worker(id);
        receiver
    }

    /// Somebody watches a job in another process, until this moment unless it is said again.
    pub fn watch_elsewhere(&self, id: &JobId, until: Instant) {
        let mut all = self.0.lock();
        if let Some(held) = all.held.get_mut(id) {
            held.elsewhere = Some(until);
            all.tell_worker(id);
        }
    }

    /// A job has changed. Also the moment to notice that nobody watches it any more.
    pub fn changed(&self, id: &JobId) {
        let mut all = self.0.lock();
        if all.is_watched_here(id) {
            all.watched.get(id).into_iter().for_each(|told| told.send_modify(bump));
        } else {
            all.watched.remove(id);
        }
        all.tell_worker(id);
    }

    /// Changes may have been missed: whoever watches a job looks.
    pub fn missed(&self) {
        self.0.lock().watched.values().for_each(|told| told.send_modify(bump));
    }

    /// A worker of this process has claimed a job. Whoever had an older claim learns that it is lost.
    pub fn hold(&self, id: &JobId, fence: u64) -> watch::Receiver<Signal> {
        let mut all = self.0.lock();
        let (told, receiver) = watch::channel(Signal { stop: None, is_watched: all.is_watched_here(id) });
        if let Some(older) = all.held.insert(*id, Held { fence, told, elsewhere: None }) {
            older.told.send_modify(|signal| signal.stop = Some(Stop::Lost));
        }
        receiver
    }

    /// A claim is over: its worker must stop.
    pub fn stop(&self, id: &JobId, fence: u64, why: Stop) {
        if let Some(held) = self.take(id, fence) {
            held.told.send_modify(|signal| signal.stop = Some(why));
        }
    }

    /// A worker has done with a claim, and need not be told anything any more.
    pub fn release(&self, id: &JobId, fence: u64) {
        self.take(id, fence);
    }

    fn take(&self, id: &JobId, fence: u64) -> Option<Held> {
        let mut all = self.0.lock();
        let is_newest = all.held.get(id).is_some_and(|held| held.fence == fence);
        if is_newest { all.held.remove(id) } else { None }
    }

    /// True while somebody watches the job: in this process, or in another one a job that a worker of this one has.
    pub fn is_watched(&self, id: &JobId) -> bool {
        self.0.lock().is_watched(id)
    }

    /// Forgets all who are gone. Returns the jobs that somebody in this process watches.
    pub fn sweep(&self) -> Vec<JobId> {
        let mut all = self.0.lock();
        all.watched.retain(|_, told| told.receiver_count() > 0);
        all.held.retain(|_, held| held.told.receiver_count() > 0);
        let now = Instant::now();
        let gone = all.held.iter_mut().filter(|(_, held)| held.elsewhere.is_some_and(|until| until <= now));
        let gone: Vec<JobId> = gone.map(|(id, held)| (held.elsewhere = None, *id).1).collect();
        gone.iter().for_each(|id| all.tell_worker(id));
        all.watched.keys().copied().collect()
    }
}

/// Changes a counter that is watched.
pub fn bump(count: &mut u64) {
    *count = count.wrapping_add(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_learns_when_watching_begins_and_ends() {
        let (watchers, id) = (Watchers::default(), JobId::new([1; 16]));
        let signal = watchers.hold(&id, 1);
        assert_eq!(*signal.borrow(), Signal::default());
        let mut watching = watchers.watch(&id);
        assert!(signal.borrow().is_watched && !watching.has_changed().unwrap());
        watchers.changed(&id);
        assert!(watching.has_changed().unwrap());
        watching.mark_unchanged();
        drop(watching);
        watchers.changed(&id);
        assert!(!signal.borrow().is_watched && !watchers.is_watched(&id));
        let _again = watchers.watch(&id);
        assert!(watchers.hold(&id, 2).borrow().is_watched, "who takes a job that is watched knows at once");
    }

    #[test]
    fn only_the_newest_claim_is_stopped_for_a_reason_of_its_own() {
        let (watchers, id) = (Watchers::default(), JobId::new([1; 16]));
        let (older, newer) = (watchers.hold(&id, 1), watchers.hold(&id, 2));
        assert_eq!(older.borrow().stop, Some(Stop::Lost));
        watchers.release(&id, 1);
        watchers.stop(&id, 1, Stop::Cancelled);
        assert_eq!(newer.borrow().stop, None, "that was the older claim");
        watchers.stop(&id, 2, Stop::Cancelled);
        watchers.stop(&id, 2, Stop::Lost);
        assert_eq!((older.borrow().stop, newer.borrow().stop), (Some(Stop::Lost), Some(Stop::Cancelled)));
    }

    #[test]
    fn jobs_that_nobody_watches_any_more_are_forgotten() {
        let watchers = Watchers::default();
        let kept = watchers.watch(&JobId::new([255; 16]));
        for number in 0u32..10_000 {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&number.to_le_bytes());
            drop(watchers.watch(&JobId::new(bytes)));
        }
        assert!(watchers.0.lock().watched.len() <= SWEEP + 1 && watchers.is_watched(&JobId::new([255; 16])));
        drop(kept);
    }
}
