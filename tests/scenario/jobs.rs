//! Jobs in scenarios: who works on them, when the store is out of reach, and what has become of jobs at the end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::Deserialize;
use tidegate::config::plan::Plan;
use tidegate::gateway::Gateway;
use tidegate::gateway::world::World;
use tidegate::model::call::Head;
use tidegate::model::job::{
    JobEnd, JobFacts, JobId, JobInput, JobKind, JobPriority, JobPrompt, JobRecord, NewJob, Submitter,
};
use tidegate::server::current::Current;
use tidegate::server::jobs::Workers;
use tidegate::state::jobs::file::FileStore;
use tidegate::state::jobs::process::Jobs;
use tidegate::state::jobs::seal::{Content, Seal};
use tidegate::state::jobs::{
    Again, Cancelled, Hook, HookEnd, JobCounts, JobFilter, JobStore, JobStoreFault, JobTerms, Lease, Parts, Renewal,
    Requeued, Scope, Signal, Stop, Submission, Submitted, TakenJob, WorkerId,
};
use tidegate::state::store::StoreFault;
use tokio::sync::watch;
use tokio::time::Instant;

/// A worker that does not live as long as the scenario.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Worker {
    #[serde(default)]
    at_ms: u64,
    /// It is gone, and gives nothing back.
    dies_at_ms: Option<u64>,
    /// It does not reach the store in this time, nor hears from it.
    #[serde(default)]
    cut_off_ms: Option<[u64; 2]>,
}

/// Jobs of a tenant that are submitted straight to the store, a hundred at once.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Backlog {
    #[serde(default)]
    at_ms: u64,
    tenant: Arc<str>,
    count: usize,
    #[serde(default)]
    priority: JobPriority,
    /// What each asks; `$n` is its number among them.
    prompt: String,
}

/// Begins the workers of a scenario, each when it is due, and ends those that die.
pub(super) async fn work(worker: Worker, workers: Arc<Workers>, current: Arc<Current>) -> Vec<String> {
    tokio::time::sleep(Duration::from_millis(worker.at_ms)).await;
    let store = current.gateway().jobs.store().clone();
    let out: Vec<[u64; 2]> = worker.cut_off_ms.into_iter().collect();
    let store: Arc<dyn JobStore> = match out.is_empty() {
        true => store,
        false => Arc::new(OutOfReach::new(store, out, worker.at_ms)),
    };
    let begun = workers.begin(store);
    if let Some(dies) = worker.dies_at_ms {
        tokio::time::sleep(Duration::from_millis(dies.saturating_sub(worker.at_ms))).await;
        begun.abort();
    }
    Vec::new()
}

impl Backlog {
    pub(super) async fn submit(self, gateway: &Gateway) -> Vec<String> {
        tokio::time::sleep(Duration::from_millis(self.at_ms)).await;
        let numbers: Vec<usize> = (1..=self.count).collect();
        for numbers in numbers.chunks(100) {
            let jobs = numbers.iter().map(|number| self.job(gateway, *number)).collect();
            match gateway.jobs.store().submit(Submission { jobs, once: None }).await {
                Ok(Submitted::Accepted) => {}
                other => return vec![format!("jobs of {} were not accepted: {other:?}", self.tenant)],
            }
        }
        Vec::new()
    }

    fn job(&self, gateway: &Gateway, number: usize) -> NewJob {
        let id = JobId::new(gateway.world.secret().unwrap()[..16].try_into().unwrap());
        let input = JobInput {
            prompt: JobPrompt::Text(self.prompt.replace("$n", &number.to_string())),
            model: Some("m".into()),
            max_tokens: None,
            temperature: None,
            metadata: None,
        };
        let input = serde_json::to_vec(&input).unwrap();
        let head =
            Head::anonymous("r".into(), "jobs".into(), self.tenant.clone(), std::net::Ipv4Addr::LOCALHOST.into());
        NewJob {
            id,
            facts: JobFacts {
                kind: JobKind::CustomPrompt,
                priority: self.priority,
                submitter: Submitter { is_tenant_named: true, ..Submitter::of(&head) },
                prompt: None,
                batch: None,
                request_id: "backlog".into(),
                submitted: gateway.world.now(),
                begins: gateway.world.now(),
            },
            input: gateway.jobs.seal().seal(&id, &self.tenant, Content::Input, &input).unwrap(),
            webhook: None,
            delay: Duration::ZERO,
        }
    }
}

/// What is wrong with the numbers of jobs at the end; states that nobody names may have any.
pub(super) async fn compare(gateway: &Gateway, wanted: &BTreeMap<String, u64>) -> Vec<String> {
    let counts = match gateway.jobs.store().counts(&Scope::Operator).await {
        Ok(counts) => counts,
        Err(fault) => return vec![format!("the store does not count jobs: {fault}")],
    };
    let count = |state: &str| match state {
        "queued" => counts.queued.iter().sum(),
        "delayed" => counts.delayed,
        "active" => counts.active,
        "completed" => counts.completed,
        "failed" => counts.failed,
        "cancelled" => counts.cancelled,
        other => panic!("there is no state {other}"),
    };
    let wrong = wanted.iter().filter(|(state, wanted)| count(state) != **wanted);
    wrong.map(|(state, wanted)| format!("{} jobs are {state} instead of {wanted}: {counts:?}", count(state))).collect()
}

/// The jobs of a process whose store is out of reach at times.
pub(super) fn at_times_out(plan: &Plan, world: &World, out: Vec<[u64; 2]>) -> Jobs {
    let terms = JobTerms {
        lease: plan.jobs.lease,
        keep_results: plan.jobs.keep_results,
        keep_failures: plan.jobs.keep_failures,
        max_waiting: plan.jobs.max_waiting as u64,
        max_waiting_per_tenant: plan.jobs.max_waiting_per_tenant as u64,
        replicas: 0,
        is_volatile: true,
    };
    let store = Arc::new(FileStore::in_memory(world.clock(), terms));
    Jobs::new(Arc::new(OutOfReach::new(store, out, 0)), Seal::new(None, world.chance().apart(7)))
}

/// A store that cannot be reached at times.
pub(super) struct OutOfReach {
    store: Arc<dyn JobStore>,
    /// From when to when, in milliseconds from the start of the scenario.
    out: Vec<[u64; 2]>,
    begun: Instant,
    /// Who is cut off hears nothing of its jobs.
    silent: Mutex<Vec<watch::Sender<Signal>>>,
}

impl OutOfReach {
    /// Made so many milliseconds after the scenario began.
    pub(super) fn new(store: Arc<dyn JobStore>, out: Vec<[u64; 2]>, at_ms: u64) -> Self {
        let begun = Instant::now() - Duration::from_millis(at_ms);
        Self { store, out, begun, silent: Mutex::default() }
    }

    fn fault(&self) -> Option<JobStoreFault> {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap();
        let is_out = self.out.iter().any(|[from, to]| (*from..*to).contains(&now));
        is_out.then_some(JobStoreFault::Store(StoreFault::Out))
    }

    fn check(&self) -> Result<(), JobStoreFault> {
        self.fault().map_or(Ok(()), Err)
    }
}

/// Asks the store, unless it cannot be reached.
macro_rules! ask {
    ($self:ident, $asked:expr) => {
        Box::pin(async move {
            $self.check()?;
            $asked.await
        })
    };
}

impl JobStore for OutOfReach {
    fn configure(&self, terms: JobTerms) {
        self.store.configure(terms);
    }

    fn submit(&self, submission: Submission) -> BoxFuture<'_, Result<Submitted, JobStoreFault>> {
        ask!(self, self.store.submit(submission))
    }

    fn take<'a>(&'a self, worker: &'a WorkerId, most: usize) -> BoxFuture<'a, Result<Vec<TakenJob>, JobStoreFault>> {
        Box::pin(async move {
            self.check()?;
            let mut taken = self.store.take(worker, most).await?;
            for job in &mut taken {
                let (told, signal) = watch::channel(Signal::default());
                self.silent.lock().unwrap().push(told);
                job.signal = signal;
            }
            Ok(taken)
        })
    }

    fn renew<'a>(&'a self, held: &'a [Renewal]) -> BoxFuture<'a, Result<Vec<Option<Stop>>, JobStoreFault>> {
        ask!(self, self.store.renew(held))
    }

    fn finish<'a>(&'a self, lease: &'a Lease, end: JobEnd) -> BoxFuture<'a, Result<bool, JobStoreFault>> {
        ask!(self, self.store.finish(lease, end))
    }

    fn put_back<'a>(&'a self, lease: &'a Lease, again: Again) -> BoxFuture<'a, Result<bool, JobStoreFault>> {
        ask!(self, self.store.put_back(lease, again))
    }

    fn cancel<'a>(&'a self, scope: &'a Scope, id: &'a JobId) -> BoxFuture<'a, Result<Cancelled, JobStoreFault>> {
        ask!(self, self.store.cancel(scope, id))
    }

    fn find<'a>(
        &'a self,
        scope: &'a Scope,
        id: &'a JobId,
        parts: Parts,
    ) -> BoxFuture<'a, Result<Option<JobRecord>, JobStoreFault>> {
        ask!(self, self.store.find(scope, id, parts))
    }

    fn list<'a>(
        &'a self,
        scope: &'a Scope,
        filter: &'a JobFilter,
    ) -> BoxFuture<'a, Result<Vec<JobRecord>, JobStoreFault>> {
        ask!(self, self.store.list(scope, filter))
    }

    fn requeue<'a>(&'a self, scope: &'a Scope, id: &'a JobId) -> BoxFuture<'a, Result<Requeued, JobStoreFault>> {
        ask!(self, self.store.requeue(scope, id))
    }

    fn purge<'a>(&'a self, scope: &'a Scope, filter: &'a JobFilter) -> BoxFuture<'a, Result<u64, JobStoreFault>> {
        ask!(self, self.store.purge(scope, filter))
    }

    fn counts<'a>(&'a self, scope: &'a Scope) -> BoxFuture<'a, Result<JobCounts, JobStoreFault>> {
        ask!(self, self.store.counts(scope))
    }

    fn take_hooks(&self, most: usize, hold: Duration) -> BoxFuture<'_, Result<Vec<Hook>, JobStoreFault>> {
        ask!(self, self.store.take_hooks(most, hold))
    }

    fn settle_hook<'a>(&'a self, id: &'a JobId, then: HookEnd) -> BoxFuture<'a, Result<(), JobStoreFault>> {
        ask!(self, self.store.settle_hook(id, then))
    }

    fn news(&self) -> watch::Receiver<u64> {
        self.store.news()
    }

    fn watch(&self, id: &JobId) -> watch::Receiver<u64> {
        self.store.watch(id)
    }

    fn run(&self) -> BoxFuture<'_, ()> {
        self.store.run()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.store.close()
    }

    fn outage(&self) -> Option<JobStoreFault> {
        self.fault().or_else(|| self.store.outage())
    }
}
