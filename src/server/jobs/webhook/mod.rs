//! Webhooks: tells the URLs that callers named of the ends of their jobs, until each has heard it or a day has passed.
//!
//! Webhooks are rows of the job store, so they outlive this process, and gateways that share a store share them. A message may
//! arrive more than once; its id is the same then. It does not know how a job came to its end.

mod message;
mod queue;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{BoxFuture, join_all};
use futures_util::stream::FuturesUnordered;
use http::StatusCode;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use self::message::{Message, Unsent};
use self::queue::{Queue, TakenHook};
use crate::gateway::Gateway;
use crate::provider::webhook::Sender;
use crate::server::current::Current;
use crate::server::job_metrics::{JobMetrics, WebhookResult};
use crate::state::jobs::process::Jobs;
use crate::state::jobs::{Hook, HookEnd, JobStoreFault};

/// For how long a webhook that was taken is nobody else's: longer than it may wait here and take together.
const HOLD: Duration = Duration::from_secs(60);

/// How long one message may take: the name, the connection and the answer.
const SEND: Duration = Duration::from_secs(15);

/// How many are taken at once.
const TAKE: usize = 64;

/// How often the store is asked, beside when it tells that there is something ...
const LOOK: Duration = Duration::from_secs(5);
/// ... and how often at most, because it tells of much else too.
const PAUSE: Duration = Duration::from_millis(100);

/// The wait after the first attempt, three times as long after each further one, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(3600));

/// A webhook is given up when the next attempt would be later than this after the job's end ...
const PATIENCE: Duration = Duration::from_secs(24 * 3600);
/// ... and it was tried more often than this: a clock that jumps gives up nothing.
const ATTEMPTS: u32 = 10;

/// How long messages on their way, and the store, may still take when the process leaves.
const LAST: Duration = Duration::from_secs(2);

/// Sends what is due until `leaving`; then what was not sent is given back, and another process may send it at once.
pub(in crate::server) async fn deliver(current: Arc<Current>, leaving: CancellationToken) {
    let gateway = current.gateway();
    let (jobs, metrics) = (gateway.jobs.clone(), gateway.metrics.group());
    drop(gateway);
    let delivery = Delivery { current, jobs, metrics, leaving, sender: Mutex::default() };
    let mut queue = Queue::default();
    let (mut sending, mut returning) = (FuturesUnordered::new(), FuturesUnordered::new());
    let mut taking: Option<BoxFuture<'_, Result<Vec<Hook>, JobStoreFault>>> = None;
    let (mut asked, mut next) = (Instant::now(), Instant::now());
    let mut news = delivery.jobs.store().news();
    loop {
        while let Some(taken) = queue.next() {
            sending.push(delivery.send(taken));
        }
        // What goes back has gone before more is taken, or it would be taken in a circle.
        let may_take = taking.is_none() && returning.is_empty() && queue.has_room();
        if may_take && next <= Instant::now() {
            asked = Instant::now();
            next = asked + LOOK;
            taking = delivery.is_wanted().then(|| delivery.jobs.store().take_hooks(TAKE, HOLD));
        }
        tokio::select! {
            biased;
            () = delivery.leaving.cancelled() => break,
            Some((tenant, took)) = sending.next() => queue.done(&tenant, took),
            Some(()) = returning.next() => {}
            Some(taken) = answer(&mut taking) => {
                taking = None;
                // While the store is out it is asked as seldom as when there is nothing.
                let taken = taken.unwrap_or_default();
                if taken.len() == TAKE {
                    next = asked;
                }
                let until = asked + HOLD;
                let back = taken.into_iter().filter_map(|hook| queue.add(TakenHook { hook, until }).err());
                returning.extend(back.map(|(taken, delay)| delivery.settle(taken, HookEnd::Untried(delay))));
            }
            Ok(()) = news.changed() => next = next.min(asked + PAUSE),
            () = sleep_until(next), if next > Instant::now() => {}
        }
    }
    // Taking is not broken off: what was taken would be nobody's until its hold has passed.
    let rest = timeout(LAST, answer(&mut taking)).await.ok().flatten().and_then(Result::ok).unwrap_or_default();
    let until = Instant::now() + LAST;
    let rest = rest.into_iter().map(|hook| TakenHook { hook, until });
    let back = rest.chain(queue.drain()).map(|taken| delivery.settle(taken, HookEnd::Untried(Duration::ZERO)));
    let sent = async { while sending.next().await.is_some() {} };
    let _ = timeout(LAST * 2, async { tokio::join!(join_all(back), sent, returning.collect::<Vec<_>>()) }).await;
}

/// What the store answers to what it was asked; `None`: it was not asked.
async fn answer<T>(asked: &mut Option<BoxFuture<'_, T>>) -> Option<T> {
    match asked {
        Some(answer) => Some(answer.await),
        None => None,
    }
}

/// What became of one attempt.
enum Told {
    /// The receiver has it.
    Delivered,
    /// The receiver wants no more of it (410).
    Unwanted,
    /// Nothing is told any more: the job was deleted, or is tried again.
    Void,
    /// It failed, and may be tried again.
    Failed(String),
    /// It was not tried: the store did not answer, or the process leaves.
    Untried(Duration),
}

/// What all attempts share.
struct Delivery {
    /// Each attempt sees the configuration of its moment, and keeps none.
    current: Arc<Current>,
    jobs: Arc<Jobs>,
    metrics: Arc<JobMetrics>,
    leaving: CancellationToken,
    /// What sends, and whether it refuses addresses that are not public. Made for the first webhook.
    sender: Mutex<Option<(bool, Sender)>>,
}

impl Delivery {
    /// False where jobs are off, or are left to other processes.
    fn is_wanted(&self) -> bool {
        let gateway = self.current.gateway();
        gateway.plan.jobs.is_on && gateway.plan.jobs.concurrency > 0
    }

    /// Sends one, and tells the store what became of it. Returns whose it was and how long that took.
    async fn send(&self, taken: TakenHook) -> (Arc<str>, Duration) {
        let (tenant, began) = (taken.hook.tenant.clone(), Instant::now());
        // One that has waited here for too long is left alone: another process may have it as soon as its hold has passed.
        if began + SEND < taken.until {
            let gone = async {
                self.leaving.cancelled().await;
                sleep(LAST).await;
            };
            let told = tokio::select! {
                biased;
                told = self.tell(&taken.hook) => told,
                () = gone => Told::Untried(Duration::ZERO),
            };
            let then = self.conclude(&taken.hook, told);
            self.settle(taken, then).await;
        }
        (tenant, began.elapsed())
    }

    async fn tell(&self, hook: &Hook) -> Told {
        let gateway = self.current.gateway();
        let message = match Message::of(&gateway, &self.jobs, hook).await {
            Ok(message) => message,
            Err(Unsent::Void) => return Told::Void,
            Err(Unsent::StoreOut) => return Told::Untried(LOOK),
            Err(Unsent::NotNow(why)) => return Told::Failed(why.into()),
        };
        let sender = match self.sender(&gateway) {
            Ok(sender) => sender,
            Err(problem) => return Told::Failed(problem),
        };
        drop(gateway);
        let Message { url, headers, body } = message;
        match timeout(SEND, sender(url, headers, body)).await {
            Ok(Ok(status)) if status.is_success() => Told::Delivered,
            Ok(Ok(StatusCode::GONE)) => Told::Unwanted,
            Ok(Ok(status)) => Told::Failed(format!("status {}", status.as_u16())),
            Ok(Err(problem)) => Told::Failed(problem),
            Err(_) => Told::Failed(format!("no answer within {} s", SEND.as_secs())),
        }
    }

    /// What sends under this configuration.
    fn sender(&self, gateway: &Gateway) -> Result<Sender, String> {
        let denies_private = !gateway.plan.jobs.webhooks.urls.allows_private;
        let mut known = self.sender.lock();
        if let Some((denies, sender)) = &*known
            && *denies == denies_private
        {
            return Ok(sender.clone());
        }
        let sender = gateway.world.webhooks(denies_private)?;
        *known = Some((denies_private, sender.clone()));
        Ok(sender)
    }

    /// Logs and counts what became of an attempt, and says what becomes of the webhook.
    fn conclude(&self, hook: &Hook, told: Told) -> HookEnd {
        let (job, tenant, attempts) = (hook.id, &*hook.tenant, hook.attempts);
        let given_up = |why: &str| {
            self.metrics.told(WebhookResult::GivenUp);
            tracing::warn!(%job, tenant, attempts, error = why, "gave up a webhook");
            HookEnd::Settled
        };
        match told {
            Told::Delivered => {
                self.metrics.told(WebhookResult::Delivered);
                tracing::debug!(%job, tenant, attempts, "delivered a webhook");
                HookEnd::Settled
            }
            Told::Void => HookEnd::Settled,
            Told::Untried(delay) => HookEnd::Untried(delay),
            Told::Unwanted => given_up("status 410: the receiver wants no more of it"),
            Told::Failed(why) => {
                let gateway = self.current.gateway();
                let age = Duration::try_from(gateway.world.now().duration_since(hook.since)).unwrap_or_default();
                let delay = backoff(attempts, gateway.world.chance().fraction());
                if attempts > ATTEMPTS && age + delay > PATIENCE {
                    return given_up(&why);
                }
                self.metrics.told(WebhookResult::Failed);
                let after = delay.as_secs();
                tracing::info!(%job, tenant, attempts, error = why, after, "a webhook was not delivered; trying again");
                HookEnd::Again(delay)
            }
        }
    }

    /// Tells the store what becomes of a webhook, while nobody else has it. A message whose end the store does not hear of is sent
    /// again.
    async fn settle(&self, taken: TakenHook, then: HookEnd) {
        while let Err(fault) = self.jobs.store().settle_hook(&taken.hook.id, then).await
            && fault != JobStoreFault::Closed
            && Instant::now() + Duration::from_secs(1) < taken.until
        {
            sleep(Duration::from_secs(1)).await;
        }
    }
}

/// The wait after this many attempts, up to a tenth longer, so that those which failed together do not stay together.
fn backoff(attempts: u32, fraction: f64) -> Duration {
    let (first, longest) = BACKOFF;
    let wait = first.saturating_mul(3_u32.saturating_pow(attempts.saturating_sub(1))).min(longest);
    wait + wait.mul_f64(fraction / 10.0)
}
