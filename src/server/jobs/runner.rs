//! Runner: a worker. It takes jobs from the store as long as there is room for them, has an attempt made at each, keeps its
//! leases meanwhile, and writes what came of them.
//!
//! It does not know how an attempt is made (`attempt`), nor what a fault means for a job (`verdict`). A job belongs to whoever
//! has its newest lease: what a worker without it writes is refused by the store.

use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::gateway::Gateway;
use crate::model::fault::Fault;
use crate::model::job::{JobEnd, JobFault, JobProgress, JobRecord};
use crate::model::rate::Key;
use crate::server::current::Current;
use crate::server::job_metrics::{AttemptOutcome, JobMetrics};
use crate::server::jobs::attempt;
use crate::server::jobs::progress::Progress;
use crate::server::jobs::verdict::{Verdict, judge, told, unreadable, wait, worker_lost};
use crate::state::jobs::seal::Content;
use crate::state::jobs::{Again, Charge, JobStore, JobStoreFault, Lease, Renewal, Signal, Stop, TakenJob, WorkerId};
use crate::state::store::{Acquire, Reservation};

/// How often a worker looks for jobs that nobody has told it of, and whether the config lets it work.
const LOOK: Duration = Duration::from_secs(5);

/// How often it looks whether there is room for jobs again while others wait for a provider's capacity.
const ROOM: Duration = Duration::from_millis(250);

/// The pauses while the store does not answer, from the first to the longest.
const PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Who watches a job is told what came of it no more often than this ...
const PACE: Duration = Duration::from_millis(250);

/// ... and a caller that asks now and then learns a percentage that is no older than this.
const STEP: Duration = Duration::from_secs(2);

/// How long a job waits for the operator: its kind has no route here, or what it asks cannot be read.
const OPERATOR: Duration = Duration::from_secs(60);

/// How long what became of jobs may still be written once their time is over.
const LAST_WRITES: Duration = Duration::from_secs(2);

/// A worker.
pub(super) struct Runner {
    current: Arc<Current>,
    store: Arc<dyn JobStore>,
    id: WorkerId,
    metrics: Arc<JobMetrics>,
    given_back: Arc<AtomicUsize>,
}

/// What a worker waits for before it takes more jobs.
enum Wait {
    /// Nothing: there may be more.
    Nothing,
    /// Jobs.
    News,
    /// A place of its own.
    Slot,
    /// Something that it is not told of.
    Time(Duration),
}

/// What became of a job that a worker had.
enum Outcome {
    /// It has ended.
    End(JobEnd),
    /// It is given back.
    Again(Again),
    /// It is not the worker's any more.
    Stopped(Stop),
}

impl Outcome {
    /// What came of the attempt, for the metrics.
    fn word(&self) -> AttemptOutcome {
        match self {
            Outcome::End(JobEnd::Completed(_)) => AttemptOutcome::Completed,
            Outcome::End(JobEnd::Failed(_)) | Outcome::Again(Again::After { charge: Charge::Attempt, .. }) => {
                AttemptOutcome::Failed
            }
            Outcome::Again(Again::After { charge: Charge::Nothing, .. }) => AttemptOutcome::Waiting,
            Outcome::Again(Again::AtItsPlace) => AttemptOutcome::PutBack,
            Outcome::Stopped(Stop::Cancelled) => AttemptOutcome::Cancelled,
            Outcome::Stopped(Stop::Lost) => AttemptOutcome::Lost,
        }
    }
}

impl Runner {
    /// A worker with a name of its own, which reaches the store in this way. It counts the jobs that it gives back when it leaves.
    pub(super) fn new(current: Arc<Current>, store: Arc<dyn JobStore>, given_back: Arc<AtomicUsize>) -> Self {
        let gateway = current.gateway();
        let (id, metrics) = (WorkerId::new(&gateway.world.next_id()), gateway.metrics.group());
        Self { current, store, id, metrics, given_back }
    }

    /// Works until `stop`, and then until the last job has ended; those that run at `give_back` are given back.
    pub(super) async fn run(self, stop: CancellationToken, give_back: CancellationToken) {
        let runner = Arc::new(self);
        let mut running = JoinSet::new();
        let mut news = runner.store.news();
        let mut trouble = Trouble::default();
        while !stop.is_cancelled() {
            news.mark_unchanged();
            // Never given up halfway: what the store has handed out would be nobody's until its lease is over.
            let (taken, wait) = runner.take(running.len(), &mut trouble).await;
            for job in taken {
                match stop.is_cancelled() {
                    false => running.spawn(runner.clone().work(job, give_back.clone())),
                    true => running.spawn(runner.clone().return_unbegun(job, give_back.clone())),
                };
            }
            let time = match wait {
                Wait::Nothing => continue,
                Wait::News | Wait::Slot => LOOK,
                Wait::Time(time) => time,
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(time) => {}
                _ = running.join_next(), if !running.is_empty() => {}
                Ok(()) = news.changed(), if matches!(wait, Wait::News) => {}
            }
            while running.try_join_next().is_some() {}
        }
        while running.join_next().await.is_some() {}
    }

    /// Takes as many jobs as there is room for, and says what to wait for before the next time.
    async fn take(&self, running: usize, trouble: &mut Trouble) -> (Vec<TakenJob>, Wait) {
        let gateway = self.current.gateway();
        let plan = &gateway.plan.jobs;
        if !plan.is_on || plan.concurrency == 0 {
            return (Vec::new(), Wait::Time(LOOK));
        }
        let free = plan.concurrency.saturating_sub(running);
        if free == 0 {
            return (Vec::new(), Wait::Slot);
        }
        if is_crowded(&gateway) {
            return (Vec::new(), Wait::Time(ROOM));
        }
        let (most, hold) = match permits(&gateway, free).await {
            Ok(permits) => permits,
            Err(time) => return (Vec::new(), Wait::Time(time)),
        };
        let taken = self.store.take(&self.id, most).await;
        let count = taken.as_ref().map_or(0, Vec::len);
        if let Some(hold) = hold.filter(|_| count < most) {
            gateway.state.limits().meter.settle(hold, count as u64);
        }
        match taken {
            Ok(taken) => {
                trouble.is_over();
                let wait = if taken.is_empty() { Wait::News } else { Wait::Nothing };
                (taken, wait)
            }
            Err(fault) => (Vec::new(), Wait::Time(trouble.tell(&fault))),
        }
    }

    /// Gives a job back that came too late to be begun.
    async fn return_unbegun(self: Arc<Self>, taken: TakenJob, give_back: CancellationToken) {
        self.settle(&taken.job, &taken.lease, &Outcome::Again(Again::AtItsPlace), &give_back).await;
    }

    /// Does one job, as long as it is this worker's.
    async fn work(self: Arc<Self>, taken: TakenJob, give_back: CancellationToken) {
        let TakenJob { lease, job, is_takeover, signal } = taken;
        self.note_beginning(&job, is_takeover);
        let (progress, begun) = (Progress::default(), Instant::now());
        // The work is dropped with the attempt, and the provider's with it.
        let outcome = tokio::select! {
            biased;
            stop = self.keep(&lease, &progress, signal) => Outcome::Stopped(stop),
            outcome = self.attempt(&job, is_takeover, &progress) => outcome,
            () = give_back.cancelled() => Outcome::Again(Again::AtItsPlace),
        };
        self.metrics.attempted(job.facts.kind, outcome.word(), begun.elapsed());
        self.settle(&job, &lease, &outcome, &give_back).await;
    }

    fn note_beginning(&self, job: &JobRecord, is_takeover: bool) {
        if is_takeover {
            self.metrics.taken_over();
            let (id, kind, attempts) = (job.id, job.facts.kind.as_str(), job.attempts);
            tracing::warn!(job = %id, kind, attempts, "took over a job: its worker did not renew the lease");
        } else if job.attempts == 1 && job.fault.is_none() {
            let waited = self.current.gateway().world.now().duration_since(job.facts.submitted);
            self.metrics.began(Duration::try_from(waited).unwrap_or_default());
        }
    }

    /// Makes an attempt at a job, if one may be made.
    async fn attempt(&self, job: &JobRecord, is_takeover: bool, progress: &Progress) -> Outcome {
        let gateway = self.current.gateway();
        let (plan, now) = (&gateway.plan.jobs, gateway.world.now());
        if job.attempts > plan.attempts {
            // Its workers died with it, or it had more attempts when it failed last.
            let fault = job.fault.clone().filter(|_| !is_takeover);
            return failed(fault.unwrap_or_else(|| worker_lost(job.attempts - 1)));
        }
        let Some(input) = gateway.jobs.input(job) else {
            let (id, fault) = (job.id, unreadable());
            tracing::warn!(job = %id, error = &*fault.message, "cannot do a job");
            return judged(wait(fault, OPERATOR, job, plan, now));
        };
        let Some(route) = plan.route(job.facts.kind).and_then(|name| gateway.route(name)) else {
            let fault = told(&Fault::RouteDisabled);
            return judged(wait(fault, OPERATOR, job, plan, now));
        };
        match attempt::make(&gateway, route, job, &input, progress).await {
            Ok(result) => {
                let sealed = serde_json::to_vec(&result).ok().and_then(|bytes| {
                    gateway.jobs.seal().seal(&job.id, &job.facts.submitter.tenant, Content::Result, &bytes)
                });
                match sealed {
                    Some(sealed) => Outcome::End(JobEnd::Completed(sealed)),
                    None => failed(told(&Fault::Internal { detail: "a result that cannot be sealed".into() })),
                }
            }
            Err(fault) => judged(judge(&fault, job, plan, gateway.world.now(), gateway.world.chance().fraction())),
        }
    }

    /// Keeps a lease, and tells those who watch how far the work is, until the store says that the lease is over.
    async fn keep(&self, lease: &Lease, progress: &Progress, mut signal: watch::Receiver<Signal>) -> Stop {
        let mut due = Instant::now() + self.third();
        let (mut told, mut told_percent, mut is_told_to_stop) = (0, 0, false);
        loop {
            let Signal { stop, is_watched } = *signal.borrow_and_update();
            let is_news = stop.is_some() && !std::mem::replace(&mut is_told_to_stop, stop.is_some());
            if !is_news {
                let until = due.min(Instant::now() + if is_watched { PACE } else { STEP });
                tokio::select! {
                    () = sleep_until(until) => {}
                    Ok(()) = signal.changed() => continue,
                }
            }
            let text = if is_watched { progress.text_beyond(told) } else { None };
            let percent = progress.percent();
            if text.is_none() && percent == told_percent && !is_news && Instant::now() < due {
                continue;
            }
            (told, told_percent) = (text.as_ref().map_or(told, String::len), percent);
            let text = text.and_then(|text| {
                let jobs = &self.current.gateway().jobs;
                jobs.seal().seal(&lease.id, &lease.tenant, Content::Progress, text.as_bytes())
            });
            let renewal = Renewal { lease: lease.clone(), progress: Some(JobProgress { percent, text }) };
            due = match self.store.renew(slice::from_ref(&renewal)).await {
                Ok(stops) => match stops.first() {
                    Some(Some(stop)) => return *stop,
                    _ => Instant::now() + self.third(),
                },
                // That says nothing about the lease: the work goes on, and the next to take the job decides.
                Err(_) => Instant::now() + self.third().min(PAUSE * 4),
            };
        }
    }

    /// After this time a lease is renewed: so that it lasts although two renewals fail.
    fn third(&self) -> Duration {
        self.current.gateway().plan.jobs.lease / 3
    }

    /// Writes what became of a job, again and again while the store does not answer: until then it is kept here.
    async fn settle(&self, job: &JobRecord, lease: &Lease, outcome: &Outcome, give_back: &CancellationToken) {
        let write = async {
            let mut trouble = Trouble::default();
            loop {
                let written = match outcome {
                    Outcome::End(end) => self.store.finish(lease, end.clone()).await,
                    Outcome::Again(again) => self.store.put_back(lease, again.clone()).await,
                    Outcome::Stopped(_) => return Ok(false),
                };
                match written {
                    Ok(is_ours) => return Ok(is_ours),
                    Err(JobStoreFault::Closed) => return Err(JobStoreFault::Closed),
                    Err(_) => sleep(trouble.next()).await,
                }
            }
        };
        let out_of_time = async {
            give_back.cancelled().await;
            sleep(LAST_WRITES).await;
        };
        let (id, kind, attempts) = (job.id, job.facts.kind.as_str(), job.attempts);
        let written = tokio::select! {
            biased;
            written = write => written.ok(),
            () = out_of_time => None,
        };
        match (written, outcome) {
            (Some(true), Outcome::End(end)) => {
                self.metrics.ended(job.facts.kind, matches!(end, JobEnd::Completed(_)));
                if let JobEnd::Failed(fault) = end {
                    let code = &*fault.code;
                    tracing::warn!(job = %id, kind, attempts, code, "a job failed, and is not tried again");
                }
            }
            (Some(true), Outcome::Again(Again::AtItsPlace)) => {
                self.given_back.fetch_add(1, Ordering::Relaxed);
            }
            (Some(true), Outcome::Again(_)) | (_, Outcome::Stopped(Stop::Cancelled)) => {}
            (Some(false), Outcome::End(_)) => {
                self.metrics.fenced();
                tracing::warn!(job = %id, kind, attempts, "what became of a job was not written: it was lost meanwhile");
            }
            (_, Outcome::Stopped(Stop::Lost)) | (Some(false), Outcome::Again(_)) => {
                tracing::warn!(job = %id, kind, attempts, "a job was lost: its lease was not renewed in time");
            }
            (None, _) => {
                let told = "what became of a job could not be written in time; another worker will do it again";
                tracing::warn!(job = %id, kind, attempts, "{told}");
            }
        }
    }
}

fn failed(fault: JobFault) -> Outcome {
    Outcome::End(JobEnd::Failed(fault))
}

fn judged(verdict: Verdict) -> Outcome {
    match verdict {
        Verdict::End(fault) => failed(fault),
        Verdict::Again(again) => Outcome::Again(again),
    }
}

/// True while calls wait for the capacity of a provider that jobs ask too. A job that waited with them would hold a place of
/// its worker; in the store it holds nothing.
fn is_crowded(gateway: &Gateway) -> bool {
    let routes = gateway.plan.jobs.routes.iter().filter_map(|(_, name)| gateway.route(name));
    let mut targets = routes.flat_map(|route| &route.plan.targets);
    targets.any(|target| {
        let state = gateway.state.provider(&target.provider.name);
        state.and_then(|state| state.places.report()).is_some_and(|report| report.waiting > 0)
    })
}

/// How many jobs may be begun now, up to `most`, and what has to be settled if fewer are; else when one may be. All gateways
/// count together.
async fn permits(gateway: &Gateway, most: usize) -> Result<(usize, Option<Reservation>), Duration> {
    let (rate, meter) = (gateway.plan.jobs.rate, &gateway.state.limits().meter);
    let terms = format!("{}/{}", rate.count, rate.period.as_nanos());
    let key = Key::of(&["jobs", &terms]);
    let most = most.min(usize::try_from(rate.burst).unwrap_or(usize::MAX)).max(1);
    let mut wait = PAUSE;
    // As many as there is room for, or one.
    for count in [most, 1] {
        let acquire = [Acquire { key, rate, cost: count as u64, is_enforced: true }];
        let decision = match meter.take_at_once(&acquire) {
            Some(decision) => decision,
            None => meter.take(&acquire).await.map_err(|_| LONGEST_PAUSE)?,
        };
        let verdict = decision.verdicts.first();
        if decision.is_admitted(&acquire) {
            return Ok((count, verdict.and_then(|verdict| verdict.hold)));
        }
        wait = verdict.map_or(PAUSE, |verdict| verdict.wait);
    }
    Err(wait)
}

/// A store that does not answer: the pauses between questions, and what is told of it.
#[derive(Default)]
struct Trouble {
    pause: Option<Duration>,
    is_told: bool,
}

impl Trouble {
    /// It did not answer again: the pause before the next time.
    fn next(&mut self) -> Duration {
        let pause = self.pause.map_or(PAUSE, |pause| (pause * 2).min(LONGEST_PAUSE));
        *self.pause.insert(pause)
    }

    /// The same, told once: not at the first time, because a process that begins has not found its store yet.
    fn tell(&mut self, fault: &JobStoreFault) -> Duration {
        if self.pause.is_some() && !std::mem::replace(&mut self.is_told, true) {
            tracing::warn!(%fault, "the store of jobs does not answer; no job is begun until it does");
        }
        self.next()
    }

    /// It answers.
    fn is_over(&mut self) {
        self.pause = None;
        if std::mem::take(&mut self.is_told) {
            tracing::info!("the store of jobs answers again");
        }
    }
}
