//! Jobs: who works on them in this process, and what the store needs done meanwhile. Begun once, and ended in order: no job
//! is begun any more, those that run may end within the drain's time, and the rest is given back before the store closes.
//!
//! It does not know what a job asks, nor who submits one.

mod progress;
mod verdict;
mod webhook;

mod attempt;

mod runner;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::runner::Runner;
use crate::server::current::Current;
use crate::state::jobs::JobStore;
use crate::state::jobs::process::Jobs;

/// How often a process that begins looks whether its store is there.
const LOOK: Duration = Duration::from_millis(5);

/// What this process does for jobs, from the start to the end of its store.
pub struct Workers {
    current: Arc<Current>,
    jobs: Arc<Jobs>,
    /// The store's own work, which goes on until the last job is given back.
    keeping: TaskTracker,
    closed: CancellationToken,
    /// What ends before that.
    working: TaskTracker,
    /// Nothing new is begun.
    stop: CancellationToken,
    /// What still runs is given back.
    give_back: CancellationToken,
    /// How many were.
    given_back: Arc<AtomicUsize>,
}

impl Workers {
    /// Does the store's own work and tells webhooks, and does nobody's jobs yet. When the process leaves no job is begun any
    /// more, and `shutdown` begins the drain's time.
    pub fn keep(current: &Arc<Current>, shutdown: &CancellationToken) -> Self {
        let gateway = current.gateway();
        let workers = Self {
            current: current.clone(),
            jobs: gateway.jobs.clone(),
            keeping: TaskTracker::new(),
            closed: CancellationToken::new(),
            working: TaskTracker::new(),
            stop: CancellationToken::new(),
            give_back: CancellationToken::new(),
            given_back: Arc::default(),
        };
        let (jobs, closed) = (workers.jobs.clone(), workers.closed.clone());
        workers.keeping.spawn(closed.run_until_cancelled_owned(async move { jobs.run().await }));
        workers.working.spawn(webhook::deliver(current.clone(), workers.stop.clone()));
        let (current, leaving, shutdown) = (current.clone(), gateway.state.leaving().clone(), shutdown.clone());
        let (stop, give_back, closed) = (workers.stop.clone(), workers.give_back.clone(), workers.closed.clone());
        workers.keeping.spawn(closed.run_until_cancelled_owned(async move {
            tokio::select! {
                () = leaving.cancelled() => {}
                () = shutdown.cancelled() => {}
            }
            stop.cancel();
            shutdown.cancelled().await;
            if !is_waited_for(&current) {
                let grace = current.gateway().plan.server.leaving.drain;
                sleep(grace).await;
            }
            give_back.cancel();
        }));
        workers
    }

    /// Begins one more worker, which reaches the store in this way. It works on as many jobs at once as the config says, with
    /// `jobs.concurrency = 0` on none. Aborting it is the death of a worker: nothing is given back.
    pub fn begin(&self, store: Arc<dyn JobStore>) -> JoinHandle<()> {
        let runner = Runner::new(self.current.clone(), store, self.given_back.clone());
        self.working.spawn(runner.run(self.stop.clone(), self.give_back.clone()))
    }

    /// Waits until jobs can be submitted, as far as is known, or this time has passed: a gateway that has just begun should not
    /// refuse a job because it has not found its store yet.
    pub async fn known(&self, patience: Duration) {
        let found = async {
            while self.jobs.store().outage().is_some() {
                sleep(LOOK).await;
            }
        };
        let _ = tokio::time::timeout(patience, found).await;
    }

    /// Has all jobs given back that still run: there is no time for them any more.
    pub fn hurry(&self) {
        self.stop.cancel();
        self.give_back.cancel();
    }

    /// How many jobs went back to the store because this process leaves.
    pub fn given_back(&self) -> usize {
        self.given_back.load(Ordering::Relaxed)
    }

    /// Waits until the process leaves, and then until no job runs here any more.
    pub async fn stopped(&self) {
        self.stop.cancelled().await;
        self.working.close();
        self.working.wait().await;
    }

    /// The same; where the next process waits for the store, closes it as well, while calls may still run here.
    pub async fn left(&self) {
        self.stopped().await;
        if is_waited_for(&self.current) {
            self.close().await;
        }
    }

    /// The same as [`stopped`](Self::stopped), and then closes the store: what is asked of it from then on is refused, and
    /// another process may open it.
    pub async fn close(&self) {
        self.stopped().await;
        self.jobs.store().close().await;
        self.closed.cancel();
        self.keeping.close();
        self.keeping.wait().await;
    }
}

/// True when another process has taken the place of this one, and cannot have the jobs before this one lets go of them. What is
/// done here meanwhile nobody would get.
fn is_waited_for(current: &Current) -> bool {
    let gateway = current.gateway();
    gateway.state.is_handed_over() && gateway.jobs.store().is_exclusive()
}
