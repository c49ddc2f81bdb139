//! The in-memory rate limiter: a bounded number of keys with one timestamp each, in shards that are locked for
//! nanoseconds.
//!
//! It does not know whom it counts. When it is full it first evicts keys without usage, then those with the least:
//! a caller who is being limited is evicted last.

use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{self, BoxFuture};
use smallvec::SmallVec;
use tokio::time::Instant;

use super::{
    Acquire, Key, Place, RateDecision, RateLimiter, Reservation, RuleDecision, Source, StoreFault, Tally, gcra,
};
use crate::model::rate::KeyScheme;
use crate::model::rng::{HashKey, SeededRng};
use crate::model::time::since;

/// Shards; a power of two. Sixty-four locks are rarely waited for by the threads of one process.
const SHARDS: usize = 64;

/// A shard is not cleaned before it holds this many keys.
const SMALL: usize = 64;

/// Counts per key, in memory.
pub struct Memory {
    start: Instant,
    shards: Vec<Mutex<Shard>>,
    /// Keys a shard may hold.
    room: usize,
    evicted: AtomicU64,
    hash_key: HashKey,
}

/// The shards that a call needs, each with its number. A call has few rules.
type Locked<'m> = SmallVec<[(usize, MutexGuard<'m, Shard>); 4]>;

impl Memory {
    /// An empty meter for at most this many keys.
    pub fn new(max_keys: usize, chance: &SeededRng) -> Self {
        let seeds = [chance.bits(), chance.bits() | 1];
        let shard = || Mutex::new(Shard { moments: HashMap::with_hasher(Mixed(seeds)), clean_at: SMALL });
        Self {
            start: Instant::now(),
            shards: (0..SHARDS).map(|_| shard()).collect(),
            room: max_keys.div_ceil(SHARDS).max(1),
            evicted: AtomicU64::new(0),
            hash_key: chance.hash_key(),
        }
    }

    /// Nanoseconds since the start, and one: zero is before everything.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(since(self.start).as_nanos()).unwrap_or(u64::MAX).saturating_add(1)
    }

    fn shard_of(&self, key: Key) -> usize {
        key.0[1] as usize % SHARDS
    }

    fn lock(&self, shard: usize) -> MutexGuard<'_, Shard> {
        self.shards[shard].lock()
    }

    /// Locks every shard that the takes need, each once and in one order, so that two calls never wait for each other.
    fn lock_all(&self, takes: &[Acquire]) -> Locked<'_> {
        let mut needed: SmallVec<[usize; 8]> = takes.iter().map(|take| self.shard_of(take.key)).collect();
        needed.sort_unstable();
        needed.dedup();
        needed.into_iter().map(|shard| (shard, self.lock(shard))).collect()
    }

    /// Takes from all keys or from none, with the rate divided by the gateways that share it.
    pub(super) fn take_now(&self, takes: &[Acquire], gateways: u32, source: Source) -> RateDecision {
        let mut locked = self.lock_all(takes);
        let now = self.now();
        let mut taken = RateDecision { verdicts: SmallVec::new(), source };
        for take in takes {
            let paid = find(&mut locked, self.shard_of(take.key)).map_or(0, |shard| shard.paid(take.key));
            taken.verdicts.push(judge(take, paid, now, gateways));
        }
        let is_admitted = taken.is_admitted(takes);
        for verdict in &mut taken.verdicts {
            let Some(Reservation { key, place: Place::Local(end), .. }) = verdict.hold else { continue };
            match find(&mut locked, self.shard_of(key)) {
                Some(shard) if is_admitted => {
                    let evicted = shard.set(key, Moment::new(end, true), now, self.room);
                    self.evicted.fetch_add(evicted, Ordering::Relaxed);
                }
                _ => verdict.hold = None,
            }
        }
        taken
    }

    pub(super) fn settle_now(&self, hold: Reservation, used: u64) {
        let Place::Local(end) = hold.place else { return };
        let now = self.now();
        let price = |units| hold.rate.price(units, hold.gateways);
        let mut shard = self.lock(self.shard_of(hold.key));
        // A key that is gone owes nothing: it was paid, or forgotten because others needed its place.
        let before = shard.moments.get(&hold.key).copied().unwrap_or_default();
        let paid = gcra::settle(before.paid(), now, end, price(hold.cost), price(used), hold.rate.capacity());
        if paid > now {
            let evicted = shard.set(hold.key, Moment::new(paid, before.is_ours()), now, self.room);
            self.evicted.fetch_add(evicted, Ordering::Relaxed);
        } else {
            shard.moments.remove(&hold.key);
        }
    }

    /// Changes what a key owes, in nanoseconds from now, unless `change` fails.
    pub fn update<T, E>(&self, key: Key, change: impl FnOnce(u64) -> Result<(T, u64), E>) -> Result<T, E> {
        let mut shard = self.lock(self.shard_of(key));
        let now = self.now();
        let (outcome, debt) = change(shard.paid(key).saturating_sub(now))?;
        let evicted = shard.set(key, Moment::new(now.saturating_add(debt), true), now, self.room);
        self.evicted.fetch_add(evicted, Ordering::Relaxed);
        Ok(outcome)
    }

    /// What is known here of a key that the shared store counts: nanoseconds owed, and whether some of it was taken while
    /// the store was out.
    pub(super) fn recall(&self, key: Key) -> (u64, bool) {
        let now = self.now();
        let moment = self.lock(self.shard_of(key)).moments.get(&key).copied().unwrap_or_default();
        (moment.paid().saturating_sub(now), moment.is_ours())
    }

    /// Remembers what the shared store says that a key owes, as of the moment when it was asked.
    pub(super) fn note(&self, key: Key, asked: u64, debt: u64) {
        let paid = asked.saturating_add(debt);
        let mut shard = self.lock(self.shard_of(key));
        if debt == 0 {
            shard.moments.remove(&key);
            return;
        }
        let evicted = shard.set(key, Moment::new(paid, false), self.now(), self.room);
        self.evicted.fetch_add(evicted, Ordering::Relaxed);
    }

    /// Keys that are remembered.
    pub fn len(&self) -> usize {
        (0..SHARDS).map(|shard| self.lock(shard).moments.len()).sum()
    }

    /// True when no key is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The shard with this number among those that are locked.
fn find<'a, 'm>(
    locked: &'a mut [(usize, MutexGuard<'m, Shard>)],
    shard: usize,
) -> Option<&'a mut MutexGuard<'m, Shard>> {
    locked.iter_mut().find(|(number, _)| *number == shard).map(|(_, shard)| shard)
}

/// What one rule says, given when its key's debts are paid.
fn judge(take: &Acquire, paid: u64, now: u64, gateways: u32) -> RuleDecision {
    let nanos = Duration::from_nanos;
    let cost = take.cost.min(take.rate.burst);
    let price = take.rate.price(cost, gateways);
    // A share may be less than one call: then it gets in when nothing is owed, and is paid in full.
    match gcra::take(paid, now, price, take.rate.capacity().max(price)) {
        Ok(end) => {
            let hold = Reservation { key: take.key, rate: take.rate, cost, gateways, place: Place::Local(end) };
            RuleDecision { fits: true, debt: nanos(end - now), wait: Duration::ZERO, hold: Some(hold) }
        }
        Err(wait) => RuleDecision { fits: false, debt: nanos(paid.saturating_sub(now)), wait: nanos(wait), hold: None },
    }
}

impl RateLimiter for Memory {
    fn take<'a>(&'a self, takes: &'a [Acquire]) -> BoxFuture<'a, Result<RateDecision, StoreFault>> {
        Box::pin(future::ready(Ok(self.take_now(takes, 1, Source::Memory))))
    }

    fn take_at_once(&self, takes: &[Acquire]) -> Option<RateDecision> {
        Some(self.take_now(takes, 1, Source::Memory))
    }

    fn key_scheme(&self) -> KeyScheme {
        KeyScheme::Alone(self.hash_key)
    }

    fn settle(&self, hold: Reservation, used: u64) {
        self.settle_now(hold, used);
    }

    fn tally(&self) -> Tally {
        Tally { keys: self.len() as u64, evicted: self.evicted.load(Ordering::Relaxed), unsettled: 0, gateways: 1 }
    }
}

/// When a key's debts are paid; the lowest bit tells whether some of them were taken here while the shared store was out.
#[derive(Clone, Copy, Debug, Default)]
struct Moment(u64);

impl Moment {
    fn new(paid: u64, is_ours: bool) -> Self {
        Self((paid << 1) | u64::from(is_ours))
    }

    fn paid(self) -> u64 {
        self.0 >> 1
    }

    fn is_ours(self) -> bool {
        self.0 & 1 == 1
    }
}

struct Shard {
    moments: HashMap<Key, Moment, Mixed>,
    /// The number of keys at which those that owe nothing are dropped.
    clean_at: usize,
}

impl Shard {
    /// When a key's debts are paid; zero for one that owes nothing.
    fn paid(&self, key: Key) -> u64 {
        self.moments.get(&key).map_or(0, |moment| moment.paid())
    }

    /// Sets a key's moment, making room first where needed. Returns how many keys that still owed something had to go.
    fn set(&mut self, key: Key, moment: Moment, now: u64, room: usize) -> u64 {
        if let Some(known) = self.moments.get_mut(&key) {
            *known = moment;
            return 0;
        }
        let evicted = if self.moments.len() >= self.clean_at.min(room) { self.clean(now, room) } else { 0 };
        self.moments.insert(key, moment);
        evicted
    }

    /// Drops the keys that owe nothing; where that is not enough, an eighth of the rest: those that owe least. One pass
    /// over the shard pays for many insertions.
    fn clean(&mut self, now: u64, room: usize) -> u64 {
        self.moments.retain(|_, moment| moment.paid() > now);
        let mut evicted = 0;
        if self.moments.len() >= room {
            let mut paid: Vec<u64> = self.moments.values().map(|moment| moment.paid()).collect();
            let goes = (paid.len() / 8).max(1).max(paid.len() + 1 - room);
            let (_, most, _) = paid.select_nth_unstable(goes - 1);
            let most = *most;
            let mut left = goes;
            self.moments.retain(|_, moment| {
                let leaves = left > 0 && moment.paid() <= most;
                left -= usize::from(leaves);
                !leaves
            });
            evicted = goes as u64;
        }
        self.clean_at = (2 * self.moments.len()).max(SMALL);
        if self.moments.capacity() > 4 * self.clean_at {
            self.moments.shrink_to(self.clean_at);
        }
        evicted
    }
}

/// Hashes keys, which are uniform already, with a secret: callers choose their keys' parts, and must not choose places.
#[derive(Clone, Copy)]
struct Mixed([u64; 2]);

impl BuildHasher for Mixed {
    type Hasher = Mixer;

    fn build_hasher(&self) -> Mixer {
        Mixer { seeds: self.0, state: 0 }
    }
}

struct Mixer {
    seeds: [u64; 2],
    state: u64,
}

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, word: u64) {
        // A folded multiplication: every bit of the word reaches the whole result, in an order that the seeds hide.
        let product = u128::from(self.state ^ word ^ self.seeds[0]) * u128::from(self.seeds[1]);
        self.state = (product as u64) ^ ((product >> 64) as u64);
    }

    fn finish(&self) -> u64 {
        self.state
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Rate;
    use super::*;

    fn memory(max_keys: usize) -> Memory {
        Memory::new(max_keys, &SeededRng::new(7))
    }

    fn take(name: &str, rate: Rate, cost: u64, is_enforced: bool) -> Acquire {
        Acquire { key: Key::of(&[name]), rate, cost, is_enforced }
    }

    fn per_minute(count: u64) -> Rate {
        Rate::new(count, Duration::from_secs(60))
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_charges_no_rule_and_names_the_wait() {
        let memory = memory(1000);
        let (wide, narrow) = (take("wide", per_minute(10), 1, true), take("narrow", per_minute(1), 1, true));
        let both = [wide, narrow];
        assert!(memory.take_now(&both, 1, Source::Memory).is_admitted(&both));
        let refused = memory.take_now(&both, 1, Source::Memory);
        assert!(!refused.is_admitted(&both));
        assert_eq!(refused.verdicts[1].wait, Duration::from_secs(60));
        assert!(refused.verdicts.iter().all(|verdict| verdict.hold.is_none()));
        // Only the first call counts: nine are left.
        let admitted = (0..20).filter(|_| memory.take_now(&[wide], 1, Source::Memory).is_admitted(&[wide])).count();
        assert_eq!(admitted, 9);
    }

    #[tokio::test(start_paused = true)]
    async fn a_shadow_rule_never_refuses_and_is_charged_only_as_far_as_it_fits() {
        let memory = memory(1000);
        let shadow = [take("shadow", per_minute(2), 1, false)];
        let fits: Vec<bool> = (0..4).map(|_| memory.take_now(&shadow, 1, Source::Memory).verdicts[0].fits).collect();
        assert_eq!(fits, [true, true, false, false]);
        tokio::time::advance(Duration::from_secs(30)).await;
        assert!(memory.take_now(&shadow, 1, Source::Memory).verdicts[0].fits);
    }

    #[tokio::test(start_paused = true)]
    async fn idle_keys_are_dropped_and_a_flood_of_addresses_takes_no_more_than_its_room() {
        let memory = memory(1_000);
        let spender = [take("spender", per_minute(10), 10, true)];
        assert!(memory.take_now(&spender, 1, Source::Memory).is_admitted(&spender));
        for address in 0..50_000 {
            let take = [take(&address.to_string(), per_minute(10), 1, true)];
            memory.take_now(&take, 1, Source::Memory);
        }
        assert!(memory.len() <= 1_024, "{} keys", memory.len());
        assert!(memory.tally().evicted > 40_000);
        // Who had spent all was not forgotten for those who had spent next to nothing.
        assert!(!memory.take_now(&spender, 1, Source::Memory).is_admitted(&spender));
        tokio::time::advance(Duration::from_secs(61)).await;
        for address in 0..10_000 {
            let take = [take(&format!("late {address}"), per_minute(60_000), 1, true)];
            memory.take_now(&take, 1, Source::Memory);
            tokio::time::advance(Duration::from_millis(2)).await;
        }
        assert!(memory.len() <= SHARDS * SMALL, "{} keys", memory.len());
        assert!(memory.shards.iter().all(|shard| shard.lock().moments.capacity() <= 8 * SMALL));
    }

    #[tokio::test(start_paused = true)]
    async fn a_settlement_gives_back_or_charges_more() {
        let memory = memory(1000);
        let tokens = [take("tokens", per_minute(600), 500, true)];
        let hold = memory.take_now(&tokens, 1, Source::Memory).verdicts[0].hold.unwrap();
        assert!(!memory.take_now(&tokens, 1, Source::Memory).is_admitted(&tokens));
        memory.settle_now(hold, 100);
        let hold = memory.take_now(&tokens, 1, Source::Memory).verdicts[0].hold.unwrap();
        memory.settle_now(hold, 1_100);
        // 1200 of 600 a minute are owed: another 500 fit when no more than 100 are.
        let wait = memory.take_now(&tokens, 1, Source::Memory).verdicts[0].wait;
        assert_eq!(wait, Duration::from_secs(110));
    }

    #[test]
    fn threads_together_are_admitted_no_more_than_the_burst() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let memory = memory(1000);
            // So slow that nothing comes back meanwhile: the clock of other threads is not paused.
            let slow = |count| Rate::new(count, Duration::from_secs(30 * 24 * 3600));
            let takes = [take("a", slow(1_000), 1, true), take("b", slow(500), 1, true)];
            let admitted: usize = std::thread::scope(|scope| {
                let count = || {
                    let taken = || memory.take_now(&takes, 1, Source::Memory).is_admitted(&takes);
                    (0..1_000).filter(|_| taken()).count()
                };
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).sum()
            });
            assert_eq!(admitted, 500);
        });
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Any mix of rules, costs, settlements and shadows: enforced rules keep their law, and shadows refuse nothing.
        #[test]
        fn the_meter_keeps_the_law_of_every_rule(
            steps in proptest::collection::vec((0u64..5_000, 0usize..4, 1u64..4, any::<bool>()), 1..150),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            let outcome: Result<(), TestCaseError> = runtime.block_on(async {
                let memory = memory(1000);
                let rules = [("a", 10, true), ("b", 4, true), ("c", 20, true), ("d", 2, false)];
                let mut admitted: Vec<Vec<(u64, u64)>> = vec![Vec::new(); rules.len()];
                let mut now = 0;
                for (wait, left_out, cost, gives_back) in steps {
                    tokio::time::advance(Duration::from_millis(wait)).await;
                    now += wait;
                    let chosen: Vec<usize> = (0..rules.len()).filter(|rule| *rule != left_out).collect();
                    let takes: Vec<Acquire> = chosen
                        .iter()
                        .map(|rule| take(rules[*rule].0, per_minute(rules[*rule].1), cost.min(rules[*rule].1), rules[*rule].2))
                        .collect();
                    let taken = memory.take_now(&takes, 1, Source::Memory);
                    if !taken.is_admitted(&takes) {
                        prop_assert!(taken.verdicts.iter().all(|verdict| verdict.hold.is_none()));
                        let refused = taken.verdicts.iter().zip(&takes).any(|(it, take)| take.is_enforced && !it.fits);
                        prop_assert!(refused, "only an enforced rule refuses");
                        continue;
                    }
                    for ((rule, take), verdict) in chosen.iter().zip(&takes).zip(&taken.verdicts) {
                        let Some(hold) = verdict.hold else { continue };
                        if gives_back {
                            memory.settle_now(hold, 0);
                        } else {
                            admitted[*rule].push((now, take.cost));
                        }
                    }
                }
                for (rule, times) in admitted.iter().enumerate() {
                    for (first, (start, _)) in times.iter().enumerate() {
                        let mut sum = 0;
                        for (at, cost) in &times[first..] {
                            sum += cost;
                            let allowed = (at - start) * rules[rule].1 / 60_000 + rules[rule].1;
                            prop_assert!(sum <= allowed, "{sum} of {} in {} ms", rules[rule].0, at - start);
                        }
                    }
                }
                Ok(())
            });
            outcome?;
        }
    }
}
