//! Bed: a store under test, jobs for it, and time that passes as the store's medium needs it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tidegate::model::call::Head;
use tidegate::model::job::{JobFacts, JobFault, JobId, JobKind, JobPriority, JobRecord, JobState, NewJob, Submitter};
use tidegate::model::time::WallClock;
use tidegate::state::jobs::file::FileStore;
use tidegate::state::jobs::{JobFilter, JobStore, JobTerms, Parts, Scope, Submission, Submitted, TakenJob, WorkerId};
use tokio_util::task::AbortOnDropHandle;

/// Terms with which the contract is tried.
pub(crate) const TERMS: JobTerms = JobTerms {
    lease: Duration::from_secs(1),
    keep_results: Duration::from_secs(3),
    keep_failures: Duration::from_secs(6),
    max_waiting: 200,
    max_waiting_per_tenant: 100,
    replicas: 0,
    is_volatile: true,
};

/// A store and what a test needs beside it. `stores` are several processes' views of one medium, or one store twice.
pub(crate) struct Bed {
    pub(crate) store: Arc<dyn JobStore>,
    /// The same jobs, as another process sees them.
    pub(crate) other: Arc<dyn JobStore>,
    pub(crate) worker: WorkerId,
    pub(crate) rival: WorkerId,
    made: AtomicU32,
    _tasks: Vec<AbortOnDropHandle<()>>,
    _medium: Box<dyn std::any::Any>,
}

impl Bed {
    /// A bed for stores on one medium, which lives as long as the bed.
    pub(crate) fn new(store: Arc<dyn JobStore>, other: Arc<dyn JobStore>, medium: Box<dyn std::any::Any>) -> Self {
        let run = |store: Arc<dyn JobStore>| AbortOnDropHandle::new(spawn(async move { store.run().await }));
        let mut tasks = vec![run(store.clone())];
        if !Arc::ptr_eq(&store, &other) {
            tasks.push(run(other.clone()));
        }
        let (worker, rival) = (WorkerId::new("worker"), WorkerId::new("rival"));
        Self { store, other, worker, rival, made: AtomicU32::new(0), _tasks: tasks, _medium: medium }
    }

    /// A store in memory, in virtual time.
    pub(crate) async fn memory() -> Self {
        tokio::time::pause();
        let clock = WallClock::of_tokio("2026-03-01T12:00:00Z".parse().unwrap());
        let store: Arc<dyn JobStore> = Arc::new(FileStore::in_memory(clock, TERMS));
        Self::new(store.clone(), store, Box::new(()))
    }

    /// A job of this tenant that asks for nothing in particular.
    pub(crate) fn job(&self, tenant: &str) -> NewJob {
        job(tenant, self.made.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn with_priority(&self, tenant: &str, priority: JobPriority) -> NewJob {
        let job = self.job(tenant);
        NewJob { facts: JobFacts { priority, ..job.facts }, ..job }
    }

    /// Submits jobs together, which are accepted.
    pub(crate) async fn submit(&self, jobs: Vec<NewJob>) {
        let submission = Submission { jobs, once: None };
        assert_eq!(self.store.submit(submission).await.unwrap(), Submitted::Accepted);
    }

    /// Submits one job of this tenant.
    pub(crate) async fn one(&self, tenant: &str) -> JobId {
        let job = self.job(tenant);
        let id = job.id;
        self.submit(vec![job]).await;
        id
    }

    /// Takes what there is now, up to this many.
    pub(crate) async fn take(&self, most: usize) -> Vec<TakenJob> {
        self.store.take(&self.worker, most).await.unwrap()
    }

    /// Takes a job, as soon as there is one.
    pub(crate) async fn take_soon(&self) -> TakenJob {
        eventually(async || self.take(1).await.pop()).await
    }

    /// Another process takes a job, as soon as there is one.
    pub(crate) async fn rival_takes(&self) -> TakenJob {
        eventually(async || self.other.take(&self.rival, 1).await.unwrap().pop()).await
    }

    pub(crate) async fn find(&self, id: &JobId) -> JobRecord {
        self.store.find(&Scope::Operator, id, Parts { input: true, result: true }).await.unwrap().unwrap()
    }

    pub(crate) async fn state(&self, id: &JobId) -> JobState {
        self.find(id).await.state
    }

    /// The jobs in these states, newest first.
    pub(crate) async fn list(&self, states: &[JobState]) -> Vec<JobId> {
        let filter = JobFilter { states: states.to_vec(), tenant: None, kind: None, before: None, limit: 1000 };
        self.store.list(&Scope::Operator, &filter).await.unwrap().iter().map(|job| job.id).collect()
    }
}

/// Waits until there is an answer, in steps that are short for the slowest medium.
pub(crate) async fn eventually<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..3000 {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it did not happen within a minute");
}

#[expect(clippy::disallowed_methods, reason = "the test ends it")]
fn spawn(task: impl Future<Output = ()> + Send + 'static) -> tokio::task::JoinHandle<()> {
    tokio::spawn(task)
}

/// The job of this number.
pub(crate) fn job(tenant: &str, number: u32) -> NewJob {
    let mut bytes = [7; 16];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    let head = Head::anonymous("r".into(), "jobs".into(), tenant.into(), "192.0.2.7".parse().unwrap());
    NewJob {
        id: JobId::new(bytes),
        facts: JobFacts {
            kind: JobKind::CustomPrompt,
            priority: JobPriority::Normal,
            submitter: Submitter {
                is_tenant_named: true,
                user: Some("user-1".into()),
                tier: "free".into(),
                credential: Some([3; 32]),
                is_proven: true,
                ..Submitter::of(&head)
            },
            prompt: Some("canvas.generate".into()),
            batch: None,
            request_id: "request-1".into(),
            submitted: Timestamp::from_millisecond(1_772_366_400_123).unwrap(),
            begins: Timestamp::from_millisecond(1_772_366_400_123).unwrap(),
        },
        input: Bytes::from(format!("input {number}")),
        webhook: None,
        delay: Duration::ZERO,
    }
}

/// A fault of this code.
pub(crate) fn fault(code: &str) -> JobFault {
    JobFault { code: code.into(), message: "It did not work.".into() }
}
