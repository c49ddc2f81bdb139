//! The keeper: of all gateways and workers one ends delays, takes jobs from workers that are gone, and forgets what has
//! expired. Each of these is a transaction of its own, so that two keepers at once do no harm.

use std::time::Duration;

use redis::cmd;
use tokio::time::{Instant, sleep, timeout};

use super::board::News;
use super::change::{CHANNEL, Subject, command};
use super::claim::read_ticket;
use super::keys::{self, CONSUMER, GROUP, Queue, Ticket};
use super::record::Word;
use super::when::When;
use super::{JobStoreFault, RedisJobs, milliseconds};
use crate::model::job::{JobFault, JobId, JobState};
use crate::state::jobs::Parts;
use crate::state::store::StoreFault;

/// How often it is looked whether a delay has ended.
const TICK: Duration = Duration::from_millis(200);

/// How long a keeper is the only one without saying so again, and how often it says so.
const OFFICE: Duration = Duration::from_secs(3);
const SAY: Duration = Duration::from_secs(1);

/// How often leases are looked at while one lasts.
const LOOKS: u32 = 6;

/// How often what has expired is forgotten.
const FORGET: Duration = Duration::from_secs(5);

/// Jobs that are handled in one go.
const SOME: usize = 100;

/// XAUTOCLAIM's answer: where to go on, and entries with their fields, if these are still there.
type Passed = (String, Vec<Option<(String, Option<Vec<String>>)>>);

/// The name of the office.
const NAME: &str = "keeper";

/// What a gateway remembers of its keeping.
#[derive(Default)]
struct Watch {
    /// Since when Redis answers; `None`: it does not.
    since: Option<Instant>,
    /// The keeper's mark while it is this gateway, and when that was said last.
    office: Option<(String, Instant)>,
    asked: Option<Instant>,
    swept: Option<Instant>,
    forgot: Option<Instant>,
}

impl RedisJobs {
    pub(super) async fn keep(&self) {
        let hear = |message: bytes::Bytes| News::parse(&message).into_iter().for_each(|news| self.board.hear(news));
        tokio::join!(
            self.redis.run(),
            self.keep_replicated(),
            self.redis.listen(CHANNEL, || self.board.missed(), hear),
            self.tick()
        );
    }

    /// Keeps the second connection while it is needed.
    async fn keep_replicated(&self) {
        let mut terms = self.terms.subscribe();
        // The sender is our own.
        while terms.wait_for(|terms| terms.replicas > 0).await.is_ok() {
            let mut later = self.terms.subscribe();
            tokio::select! {
                () = self.replicated.run() => {}
                _ = later.wait_for(|terms| terms.replicas == 0) => {}
            }
        }
    }

    async fn tick(&self) {
        let mut watch = Watch::default();
        loop {
            for id in self.board.sweep() {
                let _ = self.redis.publish(CHANNEL, News::Watched(id).text().as_bytes()).await;
            }
            if self.redis.is_out() || self.open().is_err() {
                watch = Watch::default();
            } else {
                // What fails is done again.
                let _ = self.keep_once(&mut watch).await;
            }
            if timeout(TICK, self.board.tell.notified()).await.is_ok() {
                // Several who begin to watch at once are told of at once.
                sleep(TICK / 20).await;
            }
        }
    }

    async fn keep_once(&self, watch: &mut Watch) -> Result<(), JobStoreFault> {
        let since = *watch.since.get_or_insert_with(Instant::now);
        self.medium.look(&self.redis, &self.keys.waiting).await?;
        if !self.is_keeper(watch).await? {
            return Ok(());
        }
        self.end_delays().await?;
        let lease = self.terms().lease;
        // While Redis was away nobody could renew a lease, but its time has passed.
        let is_calm = since.elapsed() >= lease;
        if is_calm && watch.swept.is_none_or(|swept| swept.elapsed() >= lease / LOOKS) {
            self.sweep(lease).await?;
            watch.swept = Some(Instant::now());
        }
        if watch.forgot.is_none_or(|forgot| forgot.elapsed() >= FORGET) {
            self.forget().await?;
            watch.forgot = Some(Instant::now());
        }
        Ok(())
    }

    /// True while this gateway is the keeper.
    async fn is_keeper(&self, watch: &mut Watch) -> Result<bool, StoreFault> {
        if let Some((mark, said)) = watch.office.as_mut() {
            if said.elapsed() < SAY {
                return Ok(true);
            }
            if self.keepers.renew(NAME, mark, OFFICE).await? {
                *said = Instant::now();
                return Ok(true);
            }
            watch.office = None;
        }
        if watch.asked.is_some_and(|asked| asked.elapsed() < SAY) {
            return Ok(false);
        }
        watch.asked = Some(Instant::now());
        let mark = self.redis.word();
        if self.keepers.take(NAME, &mark, OFFICE).await? {
            watch.office = Some((mark, Instant::now()));
        }
        Ok(watch.office.is_some())
    }

    /// Has a job wait for a moment.
    pub(super) fn delay(&self, when: When, subject: Subject<'_>, due: u64) -> When {
        let number = self.delayed.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        // Those that are due at the same moment are in the order of their names.
        let order = format!("{:015}{number:010} {}", self.now().unwrap_or_default(), subject.id);
        let mut row = cmd("HSET");
        row.arg(self.keys.job(subject.id)).arg("due").arg(due).arg("order").arg(&order);
        when.then(&row).then(&command("ZADD", &[&self.keys.later, &due.to_string(), &order]))
    }

    /// Has those wait for their turn whose delay has ended.
    async fn end_delays(&self) -> Result<(), JobStoreFault> {
        loop {
            let now = self.redis.time().ok_or(StoreFault::Out)?.earliest_ms;
            let mut due = cmd("ZRANGEBYSCORE");
            due.arg(&self.keys.later).arg("-inf").arg(now).arg("LIMIT").arg(0).arg(SOME);
            let due: Vec<String> = self.redis.ask(&due).await?;
            let known: Vec<(&String, JobId)> =
                due.iter().filter_map(|order| Some((order, JobId::parse(order.split_once(' ')?.1)?))).collect();
            let ids: Vec<JobId> = known.iter().map(|(_, id)| *id).collect();
            let records = self.read_all(&ids).await?;
            for ((order, id), record) in known.iter().zip(records) {
                let gone = command("ZREM", &[&self.keys.later, order]);
                let record =
                    record.filter(|it| it.word.state == JobState::Delayed && it.order.as_ref() == Some(*order));
                let Some(record) = record else {
                    self.redis.ask::<u64>(&gone).await?;
                    continue;
                };
                let (queue, now) = (record.queue(), self.now()?);
                let subject = Subject { id, queue: &queue };
                let to = Word { state: JobState::Queued, ..record.word.clone() };
                let when = self.change(subject, &record.word, &to, now).then(&gone);
                let when = when.then(&self.without(id, &["due", "order"]));
                let when = self.enqueue(when, subject, record.word.fence);
                self.run_when(when.then(&self.publish(News::Queued)).then(&self.publish(News::Changed(*id)))).await?;
            }
            for order in due.iter().filter(|order| !known.iter().any(|(it, _)| it == order)) {
                self.redis.ask::<u64>(&command("ZREM", &[&self.keys.later, order])).await?;
            }
            if due.len() < SOME {
                return Ok(());
            }
        }
    }

    /// Queues all jobs again, at their places, whose leases have passed.
    async fn sweep(&self, lease: Duration) -> Result<(), JobStoreFault> {
        let queues: Vec<String> = self.redis.ask(&command("SMEMBERS", &[&self.keys.queues])).await?;
        for text in queues {
            let Some(queue) = Queue::parse(&text) else {
                self.redis.ask::<u64>(&command("SREM", &[&self.keys.queues, &text])).await?;
                continue;
            };
            match self.sweep_one(&queue, lease).await {
                Ok(()) | Err(JobStoreFault::Store(StoreFault::NoGroup)) => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    }

    async fn sweep_one(&self, queue: &Queue, lease: Duration) -> Result<(), JobStoreFault> {
        let (stream, lane) = (self.keys.stream(queue), self.keys.lane(queue));
        let none = When::answers("0", &command("XLEN", &[&stream]))
            .then(&command("DEL", &[&stream]))
            .then(&command("DEL", &[&lane]))
            .then(&command("SREM", &[&self.keys.queues, &queue.to_string()]))
            .then(&command("SREM", &[&self.keys.waiting, &keys::hint(queue, true), &keys::hint(queue, false)]));
        if self.run_when(none).await?.is_none() {
            return Ok(());
        }
        // A hint that got lost: a worker may have gone in the moment between taking the last entry and finding another.
        let hints = [keys::hint(queue, true), keys::hint(queue, false)];
        self.redis.ask::<u64>(&command("SADD", &[&self.keys.waiting, &hints[0], &hints[1]])).await?;
        let idle = milliseconds(lease).max(1).to_string();
        let mut from = "0-0".to_owned();
        loop {
            let count = SOME.to_string();
            let passed = ["XAUTOCLAIM", &stream, GROUP, CONSUMER, &idle, &from, "COUNT", &count];
            let answer: redis::Value = self.redis.ask(&command(passed[0], &passed[1..])).await?;
            let (next, entries) = read_passed(answer)?;
            for (entry, fields) in entries.into_iter().flatten() {
                match fields.as_deref().and_then(|fields| read_ticket(entry.clone(), fields)) {
                    Some(ticket) => self.take_away(queue, &ticket).await?,
                    None => {
                        let gone = When::answers("1", &command("EXISTS", &[&stream]));
                        self.run_when(self.drop_entry(gone, queue, &entry)).await?;
                    }
                }
            }
            if next == "0-0" {
                return Ok(());
            }
            from = next;
        }
    }

    /// The lease of an entry has passed: its job waits again, at its place.
    async fn take_away(&self, queue: &Queue, ticket: &Ticket) -> Result<(), JobStoreFault> {
        let (id, subject) = (&ticket.id, Subject { id: &ticket.id, queue });
        let record = self.read(id, Parts::default()).await?;
        let Some(record) = record else { return self.drop_ticket(queue, ticket).await };
        let word = &record.word;
        let when = if word.state == JobState::Active && record.ticket.as_ref() == Some(&ticket.entry) {
            let fault = JobFault {
                code: "worker_lost".into(),
                message: "The worker that had the job was lost. Another one takes it.".into(),
            };
            self.change(subject, word, &word.without_worker(JobState::Queued), self.now()?)
                .then(&self.field(id, "lost", b"1"))
                .then(&self.fault(id, &fault))
                .then(&self.without(id, &["percent", "text"]))
                .then(&self.publish(News::Lost(*id, word.fence)))
        } else if record.waits_by(ticket) {
            // A worker has read it and was lost before it could claim it.
            self.while_it_is(id, &word.to_string()).then(&self.field(id, "ticket", ticket.entry.as_bytes()))
        } else {
            return self.drop_ticket(queue, ticket).await;
        };
        let when = self.return_ticket(when, queue, ticket);
        self.run_when(when.then(&self.publish(News::Queued))).await.map(drop)
    }

    /// Forgets jobs that have expired: their records are gone already.
    async fn forget(&self) -> Result<(), JobStoreFault> {
        loop {
            let now = self.redis.time().ok_or(StoreFault::Out)?.earliest_ms;
            let mut expired = cmd("ZRANGEBYSCORE");
            expired.arg(&self.keys.over).arg("-inf").arg(now).arg("LIMIT").arg(0).arg(SOME);
            let expired: Vec<String> = self.redis.ask(&expired).await?;
            let mut commands = redis::pipe();
            for member in &expired {
                commands.cmd("ZREM").arg(&self.keys.over).arg(member).ignore();
                let mut words = member.split(' ');
                let state = words.next().and_then(JobState::parse);
                let (queue, id) = (words.next().and_then(Queue::parse), words.next());
                if let (Some(state), Some(queue), Some(id)) = (state, queue, id) {
                    for scope in [&*queue.tenant, keys::ALL] {
                        commands.cmd("ZREM").arg(self.keys.index(scope, state, queue.priority)).arg(id).ignore();
                    }
                }
            }
            if !expired.is_empty() {
                self.redis.run_all::<()>(&commands).await?;
            }
            if expired.len() < SOME {
                return Ok(());
            }
        }
    }
}

/// Newer servers answer with a third part, the entries that are gone.
fn read_passed(answer: redis::Value) -> Result<Passed, StoreFault> {
    let unexpected = || StoreFault::Broken("a reply of unexpected type".into());
    let redis::Value::Array(mut parts) = answer else { return Err(unexpected()) };
    parts.truncate(2);
    redis::FromRedisValue::from_redis_value(redis::Value::Array(parts)).map_err(|_| unexpected())
}
