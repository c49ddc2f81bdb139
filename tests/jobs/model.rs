//! Model: the plainest store of jobs that there can be: a list. It says what a store must do, not how.

use std::time::Duration;

use tidegate::model::job::{JobId, JobPriority, JobState};

/// One job.
#[derive(Clone, Debug)]
pub(crate) struct Plain {
    pub(crate) id: JobId,
    pub(crate) tenant: String,
    pub(crate) priority: JobPriority,
    pub(crate) state: JobState,
    pub(crate) attempts: u32,
    pub(crate) fence: u64,
    /// Its place among all that were ever queued or delayed.
    place: u64,
    /// When its delay or its lease ends, or it expires.
    until: Duration,
}

/// All jobs, and the tenants in the order in which they are served.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) jobs: Vec<Plain>,
    ring: Vec<String>,
    last: u64,
    pub(crate) now: Duration,
}

/// How long a lease, a result and a failure last.
pub(crate) struct Times {
    pub(crate) lease: Duration,
    pub(crate) results: Duration,
    pub(crate) failures: Duration,
}

impl Model {
    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn join(&mut self, tenant: &str) {
        if !self.ring.iter().any(|waiting| waiting == tenant) {
            self.ring.push(tenant.to_owned());
        }
    }

    pub(crate) fn submit(&mut self, id: JobId, tenant: &str, priority: JobPriority, delay: Duration) {
        let place = self.next();
        let state = if delay.is_zero() { JobState::Queued } else { JobState::Delayed };
        let until = self.now + delay;
        let tenant = tenant.to_owned();
        if state == JobState::Queued {
            self.join(&tenant);
        }
        self.jobs.push(Plain { id, tenant, priority, state, attempts: 0, fence: 0, place, until });
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// What time has brought.
    pub(crate) fn tick(&mut self) {
        let mut lost: Vec<_> = self.of(JobState::Active);
        lost.sort_by_key(|at| (self.jobs[*at].until, self.jobs[*at].id));
        for at in lost {
            let tenant = self.jobs[at].tenant.clone();
            let job = &mut self.jobs[at];
            (job.state, job.fence) = (JobState::Queued, job.fence + 1);
            self.join(&tenant);
        }
        let mut due = self.of(JobState::Delayed);
        due.sort_by_key(|at| (self.jobs[*at].until, self.jobs[*at].place));
        for at in due {
            let place = self.next();
            let tenant = self.jobs[at].tenant.clone();
            let job = &mut self.jobs[at];
            (job.state, job.place) = (JobState::Queued, place);
            self.join(&tenant);
        }
        let now = self.now;
        self.jobs.retain(|job| !job.state.is_over() || job.until > now);
    }

    /// The jobs in this state whose time is over.
    fn of(&self, state: JobState) -> Vec<usize> {
        let is_due = |at: &usize| self.jobs[*at].state == state && self.jobs[*at].until <= self.now;
        (0..self.jobs.len()).filter(is_due).collect()
    }

    pub(crate) fn take(&mut self, most: usize, times: &Times) -> Vec<JobId> {
        let mut taken = Vec::new();
        // A tenant whose jobs were cancelled keeps its turn until somebody is served: it costs nobody more than that.
        if !self.jobs.iter().any(|job| job.state == JobState::Queued) {
            return taken;
        }
        while taken.len() < most && !self.ring.is_empty() {
            let tenant = self.ring.remove(0);
            let queued = |job: &&mut Plain| job.state == JobState::Queued && job.tenant == tenant;
            let count = self.jobs.iter_mut().filter(queued).count();
            let first = self.jobs.iter_mut().filter(queued).min_by_key(|job| (job.priority, job.place));
            let Some(job) = first else { continue };
            (job.state, job.attempts, job.fence) = (JobState::Active, job.attempts + 1, job.fence + 1);
            job.until = self.now + times.lease;
            taken.push(job.id);
            if count > 1 {
                self.join(&tenant);
            }
        }
        taken
    }

    pub(crate) fn job(&mut self, id: &JobId) -> Option<&mut Plain> {
        self.jobs.iter_mut().find(|job| job.id == *id)
    }

    /// Whether this claim is the newest on an active job.
    pub(crate) fn holds(&mut self, id: &JobId, fence: u64) -> bool {
        self.job(id).is_some_and(|job| job.state == JobState::Active && job.fence == fence)
    }

    pub(crate) fn end(&mut self, id: &JobId, state: JobState, times: &Times) {
        let keep = if state == JobState::Completed { times.results } else { times.failures };
        let until = self.now + keep;
        self.job(id).into_iter().for_each(|job| (job.state, job.until) = (state, until));
    }

    pub(crate) fn put_back(&mut self, id: &JobId, delay: Option<Duration>, charges: bool) {
        let (place, until) = (self.next(), self.now + delay.unwrap_or_default());
        let Some(job) = self.job(id) else { return };
        job.attempts -= u32::from(!charges);
        if delay.is_some() {
            (job.state, job.place, job.until) = (JobState::Delayed, place, until);
        } else {
            job.state = JobState::Queued;
            let tenant = job.tenant.clone();
            self.join(&tenant);
        }
    }

    pub(crate) fn requeue(&mut self, id: &JobId) {
        let place = self.next();
        let Some(job) = self.job(id) else { return };
        (job.state, job.attempts, job.fence, job.place) = (JobState::Queued, 0, job.fence + 1, place);
        let tenant = job.tenant.clone();
        self.join(&tenant);
    }

    pub(crate) fn renew(&mut self, id: &JobId, times: &Times) {
        let until = self.now + times.lease;
        self.job(id).into_iter().for_each(|job| job.until = until);
    }
}
