//! The rate limiter in Redis, shared by all gateways: one script, one round trip for all rules of a call. The
//! process also counts locally, so that it can continue alone when the store is down, from where the store left
//! off.
//!
//! It does not know rules. Alone, each gateway allows its share: the rate divided by the number of gateways last
//! known to be alive. While the store is down, `n` gateways together admit at most the burst, plus the rate times
//! the outage, plus `n` (each may round one call up), whatever they knew when it began. What they admitted is
//! written to the store when it is back; a store that lost its data gets what it had known.

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use smallvec::SmallVec;
use tokio::sync::mpsc;

use super::memory::Memory;
use super::redis::{Redis, Script};
use super::{Acquire, Place, RateDecision, RateLimiter, Reservation, RuleDecision, Source, StoreFault, Tally};
use crate::model::rate::{KeyScheme, OnStoreError};

/// Settlements that may wait for the store; more are counted as unsettled.
const WAITING: usize = 4096;

/// What the store says of each rule.
const ROW: usize = 4;

/// Counts in Redis.
pub struct SharedLimiter {
    redis: Arc<Redis>,
    local: Memory,
    on_error: OnStoreError,
    take: Script,
    settle: Script,
    to_settle: mpsc::Sender<(Reservation, u64)>,
    settlements: Mutex<Option<mpsc::Receiver<(Reservation, u64)>>>,
    unsettled: AtomicU64,
}

impl SharedLimiter {
    /// A meter in this store; `local` counts along.
    pub fn new(redis: Arc<Redis>, local: Memory, on_error: OnStoreError) -> Self {
        let (to_settle, settlements) = mpsc::channel(WAITING);
        Self {
            redis,
            local,
            on_error,
            take: Script::new(include_str!("redis/take.lua")),
            settle: Script::new(include_str!("redis/settle.lua")),
            to_settle,
            settlements: Mutex::new(Some(settlements)),
            unsettled: AtomicU64::new(0),
        }
    }

    /// Passes settlements on to the store. Runs until dropped; only the first to call it has anything to do.
    pub async fn run(&self) {
        let settlements = self.settlements.lock().take();
        let Some(mut settlements) = settlements else { return std::future::pending().await };
        while let Some((hold, used)) = settlements.recv().await {
            self.pass_on(hold, used).await;
        }
    }

    async fn ask(&self, takes: &[Acquire]) -> Result<RateDecision, StoreFault> {
        let mut keys = Vec::with_capacity(takes.len());
        let mut arguments = Vec::with_capacity(takes.len() * 5);
        for take in takes {
            let (debt, is_ours) = self.local.recall(take.key);
            keys.push(self.redis.key("limit", take.key));
            arguments.push(microseconds(take.rate.price(take.cost, 1)));
            arguments.push(microseconds(take.rate.capacity()));
            arguments.push(u8::from(take.is_enforced).to_string());
            arguments.push(microseconds(debt));
            arguments.push(u8::from(is_ours).to_string());
        }
        // As of the asking, so that what is remembered is never more than what is owed.
        let asked = self.local.now();
        let answer: Vec<u64> = self.redis.run_script(&self.take, &keys, &arguments).await?;
        let Some((now, rows)) = answer.split_first().filter(|(_, rows)| rows.len() == ROW * takes.len()) else {
            return Err(StoreFault::Broken("a reply of unexpected length".into()));
        };
        self.redis.note_all_spoilt(keys.iter().zip(rows.chunks_exact(ROW).map(|row| row[3])));
        let mut verdicts = SmallVec::with_capacity(takes.len());
        for (take, row) in takes.iter().zip(rows.chunks_exact(ROW)) {
            let (fits, debt, wait) = (row[0] == 1, row[1], row[2]);
            self.local.note(take.key, asked, debt.saturating_mul(1000));
            let cost = take.cost.min(take.rate.burst);
            let place = Place::SharedLimiter(now.saturating_add(debt));
            let hold = fits.then_some(Reservation { key: take.key, rate: take.rate, cost, gateways: 1, place });
            verdicts.push(RuleDecision {
                fits,
                debt: Duration::from_micros(debt),
                wait: Duration::from_micros(wait),
                hold,
            });
        }
        let mut taken = RateDecision { verdicts, source: Source::Redis };
        if !taken.is_admitted(takes) {
            taken.verdicts.iter_mut().for_each(|verdict| verdict.hold = None);
        }
        Ok(taken)
    }

    async fn pass_on(&self, hold: Reservation, used: u64) {
        let Place::SharedLimiter(end) = hold.place else { return };
        let price = |units| microseconds(hold.rate.price(units, 1));
        let keys = [self.redis.key("limit", hold.key)];
        let capacity = microseconds(hold.rate.capacity());
        let arguments = [price(hold.cost), price(used), end.to_string(), capacity];
        let asked = self.local.now();
        match self.redis.run_script::<u64>(&self.settle, &keys, &arguments).await {
            Ok(debt) => self.local.note(hold.key, asked, debt.saturating_mul(1000)),
            Err(_) => {
                self.unsettled.fetch_add(1, Ordering::Relaxed);
                // What is missing is charged here, and told to the store with the next check. What is too much comes back
                // by waiting.
                if used > hold.cost {
                    self.local.settle_now(Reservation { place: Place::Local(asked), ..hold }, used);
                }
            }
        }
    }

    fn alone(&self, takes: &[Acquire], fault: StoreFault) -> Result<RateDecision, StoreFault> {
        match self.on_error {
            OnStoreError::Local => Ok(self.local.take_now(takes, self.redis.gateways(), Source::Local)),
            OnStoreError::Deny => Err(fault),
            OnStoreError::Admit => {
                let free = |take: &Acquire| {
                    let hold =
                        Reservation { key: take.key, rate: take.rate, cost: 0, gateways: 1, place: Place::Nowhere };
                    RuleDecision { fits: true, debt: Duration::ZERO, wait: Duration::ZERO, hold: Some(hold) }
                };
                Ok(RateDecision { verdicts: takes.iter().map(free).collect(), source: Source::Nobody })
            }
        }
    }
}

impl RateLimiter for SharedLimiter {
    fn take<'a>(&'a self, takes: &'a [Acquire]) -> BoxFuture<'a, Result<RateDecision, StoreFault>> {
        Box::pin(async move {
            match self.ask(takes).await {
                Ok(taken) => Ok(taken),
                Err(fault) => self.alone(takes, fault),
            }
        })
    }

    fn key_scheme(&self) -> KeyScheme {
        KeyScheme::Shared
    }

    fn settle(&self, hold: Reservation, used: u64) {
        match hold.place {
            Place::Local(_) => self.local.settle_now(hold, used),
            Place::Nowhere => {}
            Place::SharedLimiter(_) if hold.cost == used => {}
            Place::SharedLimiter(_) => {
                if self.to_settle.try_send((hold, used)).is_err() {
                    self.unsettled.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    fn tally(&self) -> Tally {
        let unsettled = self.unsettled.load(Ordering::Relaxed);
        Tally { unsettled, gateways: self.redis.gateways(), ..self.local.tally() }
    }
}

/// Nanoseconds as the microseconds that scripts count in.
fn microseconds(nanoseconds: u64) -> String {
    format!("{}.{:03}", nanoseconds / 1000, nanoseconds % 1000)
}
