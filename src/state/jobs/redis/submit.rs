//! Submissions: all jobs of one, or none, written before the answer.
//!
//! It does not know what a job asks, nor what callers are told.

use redis::{cmd, pipe};

use super::board::News;
use super::change::{Subject, command};
use super::keys::{self, Queue};
use super::record::{Word, json};
use super::when::When;
use super::{JobStoreFault, RedisJobs, Submission, Submitted, milliseconds};
use crate::model::job::{JobId, JobPriority, JobState, NewJob};
use crate::state::jobs::Once;
use crate::state::store::StoreFault;
use crate::state::store::redis::Redis;

/// The part of a connection's patience that replicas get.
const REPLICAS: f64 = 0.5;

impl RedisJobs {
    pub(super) async fn accept(&self, submission: Submission) -> Result<Submitted, JobStoreFault> {
        self.open()?;
        let terms = self.terms();
        let redis = if terms.replicas > 0 { &self.replicated } else { &*self.redis };
        self.medium.look(redis, &self.keys.waiting).await?;
        if self.medium.is_volatile() && !terms.is_volatile {
            return Err(JobStoreFault::Volatile);
        }
        let Some(first) = submission.jobs.first() else { return Ok(Submitted::Accepted) };
        let tenant = keys::hash(&first.facts.submitter.tenant);
        let (own, all, known) = self.look_around(redis, &tenant, &submission.jobs).await?;
        let fresh: Vec<&NewJob> =
            submission.jobs.iter().zip(known).filter_map(|(job, is_known)| (!is_known).then_some(job)).collect();
        let more = fresh.len() as u64;
        for (waiting, most, is_tenants) in [(own, terms.max_waiting_per_tenant, true), (all, terms.max_waiting, false)]
        {
            if more > 0 && waiting.saturating_add(more) > most {
                let known = self.known(redis, submission.once.as_ref()).await?;
                return self.replicate(known.unwrap_or(Submitted::Full { most, is_tenants }), terms.replicas).await;
            }
        }
        let submitted = self.write(redis, &submission, &fresh, &tenant).await?;
        self.replicate(submitted, terms.replicas).await
    }

    /// How many jobs wait, of the tenant and of all, and which of these jobs are known already.
    async fn look_around(
        &self,
        redis: &Redis,
        tenant: &str,
        jobs: &[NewJob],
    ) -> Result<(u64, u64, Vec<bool>), StoreFault> {
        let mut commands = pipe();
        for scope in [tenant, keys::ALL] {
            for priority in JobPriority::ALL {
                commands.cmd("ZCARD").arg(self.keys.index(scope, JobState::Queued, priority));
            }
            commands.cmd("ZCARD").arg(self.keys.index(scope, JobState::Delayed, JobPriority::Normal));
        }
        for job in jobs {
            commands.cmd("EXISTS").arg(self.keys.job(&job.id));
        }
        let counts: Vec<u64> = redis.run_all(&commands).await?;
        let sum = |from: usize| counts.iter().skip(from).take(4).sum();
        Ok((sum(0), sum(4), counts.iter().skip(8).map(|is_there| *is_there > 0).collect()))
    }

    /// What is known of a submission that is accepted once.
    async fn known(&self, redis: &Redis, once: Option<&Once>) -> Result<Option<Submitted>, StoreFault> {
        let Some(once) = once else { return Ok(None) };
        let text: Option<String> = redis.ask(&command("GET", &[&self.keys.once(&once.key)])).await?;
        Ok(text.map(|text| read_once(&text, once)))
    }

    async fn write(
        &self,
        redis: &Redis,
        submission: &Submission,
        fresh: &[&NewJob],
        tenant: &str,
    ) -> Result<Submitted, JobStoreFault> {
        let mut when = match (&submission.once, fresh.first()) {
            (Some(once), _) => {
                let key = self.keys.once(&once.key);
                let mut text = hex(&once.request);
                submission.jobs.iter().for_each(|job| text.push_str(&format!(" {}", job.id)));
                let keep = milliseconds(once.keep).max(1).to_string();
                When::answers("", &command("GET", &[&key])).then(&command("SET", &[&key, &text, "PX", &keep]))
            }
            // Somebody who submits the same at the same moment has written all of it, or nothing.
            (None, Some(job)) => self.while_it_is(&job.id, ""),
            (None, None) => return Ok(Submitted::Accepted),
        };
        let now = self.now()?;
        for job in fresh {
            when = self.add(when, job, tenant, now);
        }
        if !fresh.is_empty() {
            when = when.then(&self.publish(News::Queued));
        }
        let said = when.run(redis, &self.when).await?;
        self.board.hear(News::Queued);
        Ok(match (said, &submission.once) {
            (Some(text), Some(once)) => read_once(&text, once),
            _ => Submitted::Accepted,
        })
    }

    /// Writes one job.
    fn add(&self, when: When, job: &NewJob, tenant: &str, now: u64) -> When {
        let queue = Queue { tenant: tenant.into(), priority: job.facts.priority };
        let state = if job.delay.is_zero() { JobState::Queued } else { JobState::Delayed };
        let mut row = cmd("HSET");
        row.arg(self.keys.job(&job.id)).arg("state").arg(Word { state, fence: 0, worker: None }.to_string());
        row.arg("facts").arg(json(&job.facts)).arg("input").arg(&job.input[..]);
        row.arg("attempts").arg(0).arg("since").arg(now);
        if let Some(url) = &job.webhook {
            row.arg("webhook").arg(&url[..]);
        }
        let subject = Subject { id: &job.id, queue: &queue };
        let when = self.index(when.then(&row), subject, state, now);
        match state {
            JobState::Delayed => self.delay(when, subject, now.saturating_add(milliseconds(job.delay))),
            _ => self.enqueue(when, subject, 0),
        }
    }

    /// Answers when enough replicas have all that was written so far, by a submission whose answer was lost too.
    async fn replicate(&self, submitted: Submitted, replicas: u32) -> Result<Submitted, JobStoreFault> {
        if replicas == 0 || !matches!(submitted, Submitted::Accepted | Submitted::Known(_)) {
            return Ok(submitted);
        }
        let patience = self.replicated.timeout().mul_f64(REPLICAS);
        let mut commands = pipe();
        // The key says which node of a Cluster has to wait.
        commands.cmd("EXISTS").arg(&self.keys.waiting).ignore();
        commands.cmd("WAIT").arg(replicas).arg(milliseconds(patience).max(1));
        let (confirmed,): (u32,) = self.replicated.run_all(&commands).await?;
        if confirmed < replicas { Err(JobStoreFault::Unreplicated) } else { Ok(submitted) }
    }
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

/// What was kept of a submission: `REQUEST ID ID..`.
fn read_once(text: &str, once: &Once) -> Submitted {
    let mut words = text.split(' ');
    if words.next() != Some(&hex(&once.request)) {
        return Submitted::KeyReused;
    }
    Submitted::Known(words.filter_map(JobId::parse).collect())
}
