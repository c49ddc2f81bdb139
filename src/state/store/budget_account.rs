//! Budget accounts: how much of an amount is spent, each until it resets. The cost of a call is reserved before it
//! is sent, in all of its accounts or in none, and settled when it ends.
//!
//! With a shared store the accounts hold for all gateways, in one round trip. The process also counts locally, so
//! that it can continue alone while the store is down: each gateway then admits its share of what was left when it
//! last knew. What it admitted and what it still has to settle is sent with the next request, or by
//! [`BudgetAccounts::run`]. It does not know what is bought.

use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::StoreFault;
use super::redis::{Redis, Script};
use crate::model::money::Usd;
use crate::model::rate::{Key, OnStoreError};

/// Maximum pending corrections; further ones are sent with the next request about their account.
const WAITING: usize = 4096;

/// How long after a failure the store is told again.
const AGAIN: Duration = Duration::from_secs(1);

/// How long the store keeps a account beyond its end, in milliseconds: late corrections find it, and gateways' clocks differ.
const BEYOND: i64 = 3_600_000;

/// What the store says of each account.
const ROW: usize = 3;

const UNKNOWN: i64 = i64::MIN;

/// One account's part of a request.
#[derive(Clone, Debug)]
pub struct BudgetRequest {
    /// Whose account, in which period.
    pub key: Key,
    /// The budget that it belongs to.
    pub budget: Arc<str>,
    /// When it is full again.
    pub ends: Timestamp,
    /// What is in it when it is full.
    pub amount: Usd,
    /// What the call may cost.
    pub cost: Usd,
    /// True: more than the amount is taken as the amount, so that a call that large gets in when nothing was spent.
    pub may_exceed: bool,
    /// False: it is counted, and refuses nothing.
    pub is_enforced: bool,
    /// From here on somebody should know of it.
    pub warn_at: Usd,
}

/// One account's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetDecision {
    /// True when the cost fits into what is left.
    pub fits: bool,
    /// What was spent or taken before.
    pub before: Usd,
    /// True when this is the first answer here, in this period, that is past the mark.
    pub is_news: bool,
}

/// Something that was taken.
#[derive(Clone, Debug)]
pub struct Reservation {
    key: Key,
    cost: Usd,
}

impl Reservation {
    /// The same once it was settled at this cost.
    #[must_use]
    pub fn now(&self, cost: Usd) -> Self {
        Self { key: self.key, cost }
    }
}

/// A account as far as this process knows it.
#[derive(Clone, Debug)]
struct BudgetAccount {
    budget: Arc<str>,
    amount: Usd,
    ends: Timestamp,
    /// What is spent or taken, as the store said last; without a store, all of it.
    spent: u64,
    /// What the store was not told: taken while it was out, and corrections. Less than nothing when more comes back.
    untold: i64,
    is_warned: bool,
    /// When it was last asked about.
    asked: Timestamp,
}

/// All accounts of a process.
pub struct BudgetAccounts {
    accounts: Mutex<BTreeMap<[u64; 2], BudgetAccount>>,
    max_accounts: usize,
    shared: Option<SharedAccounts>,
}

struct SharedAccounts {
    redis: Arc<Redis>,
    on_error: OnStoreError,
    draw: Script,
    /// The store's clock less ours, in milliseconds, as of its last answer; [`UNKNOWN`] before the first.
    ahead: AtomicI64,
    start: Instant,
    to_tell: mpsc::Sender<Key>,
    told: Mutex<Option<mpsc::Receiver<Key>>>,
}

impl BudgetAccounts {
    /// No accounts yet, and at most this many.
    pub fn new(max_accounts: usize, shared: Option<(Arc<Redis>, OnStoreError)>) -> Self {
        let shared = shared.map(|(redis, on_error)| {
            let (to_tell, told) = mpsc::channel(WAITING);
            let draw = Script::new(include_str!("redis/draw.lua"));
            let (ahead, start) = (AtomicI64::new(UNKNOWN), Instant::now());
            SharedAccounts { redis, on_error, draw, ahead, start, to_tell, told: Mutex::new(Some(told)) }
        });
        Self { accounts: Mutex::default(), max_accounts, shared }
    }

    /// True when a store is asked that gateways share.
    pub fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// Reserves the cost in every account, or in none if an enforced one has not enough left. The holds are there only when it
    /// was taken. An error says that the shared store is down and that the config wants calls refused then.
    pub async fn draw(
        &self,
        draws: &[BudgetRequest],
        now: Timestamp,
    ) -> Result<(Vec<BudgetDecision>, Vec<Reservation>), StoreFault> {
        let drawn = match &self.shared {
            None => self.draw_here(draws, 1, now),
            Some(shared) => match self.ask(shared, draws, now).await {
                Ok(drawn) => drawn,
                Err(fault) => match shared.on_error {
                    OnStoreError::Local => self.draw_here(draws, shared.redis.gateways(), now),
                    OnStoreError::Admit => {
                        let free: Vec<BudgetRequest> =
                            draws.iter().map(|draw| BudgetRequest { is_enforced: false, ..draw.clone() }).collect();
                        self.draw_here(&free, 1, now)
                            .into_iter()
                            .map(|drawn| BudgetDecision { fits: true, ..drawn })
                            .collect()
                    }
                    OnStoreError::Deny => return Err(fault),
                },
            },
        };
        let held = match is_taken(draws, &drawn) {
            true => draws.iter().map(|draw| Reservation { key: draw.key, cost: taken(draw) }).collect(),
            false => Vec::new(),
        };
        Ok((drawn, held))
    }

    /// Corrects what was taken by what it came to.
    pub fn settle(&self, held: &Reservation, used: Usd) {
        let difference = signed(used).saturating_sub(signed(held.cost));
        if difference == 0 {
            return;
        }
        let mut accounts = self.accounts.lock();
        // An account that is gone had been reset, or was evicted for others.
        let Some(account) = accounts.get_mut(&held.key.0) else { return };
        match &self.shared {
            None => account.spent = account.spent.saturating_add_signed(difference),
            Some(shared) => {
                account.untold = account.untold.saturating_add(difference);
                // Full: it is told with the next question.
                let _ = shared.to_tell.try_send(held.key);
            }
        }
    }

    /// Tells the store what calls came to. Runs until dropped; only the first to call it has anything to do.
    pub async fn run(&self) {
        let told = self.shared.as_ref().and_then(|shared| shared.told.lock().take().map(|told| (shared, told)));
        let Some((shared, mut told)) = told else { return std::future::pending().await };
        let mut has_failed = false;
        loop {
            // What the store did not accept stays with its account, and is sent when the store is back, whether anyone asks about
            // that account here or not: callers of other gateways wait for it.
            let again = async {
                match has_failed {
                    true => tokio::time::sleep(AGAIN).await,
                    false => std::future::pending().await,
                }
            };
            tokio::select! {
                key = told.recv() => match key {
                    Some(key) => has_failed |= !self.tell(shared, key).await,
                    None => return,
                },
                () = again => {
                    let keys = if shared.redis.is_out() { Vec::new() } else { self.untold() };
                    has_failed = shared.redis.is_out();
                    for key in keys {
                        has_failed |= !self.tell(shared, key).await;
                    }
                }
            }
        }
    }

    /// The accounts with unsent corrections.
    fn untold(&self) -> Vec<Key> {
        self.accounts.lock().iter().filter(|(_, account)| account.untold != 0).map(|(key, _)| Key(*key)).collect()
    }

    /// Sends an account's corrections to the store. False: they are still pending.
    async fn tell(&self, shared: &SharedAccounts, key: Key) -> bool {
        let Some(account) = self.accounts.lock().get(&key.0).filter(|account| account.untold != 0).cloned() else {
            return true;
        };
        let nothing = BudgetRequest {
            key,
            budget: account.budget,
            ends: account.ends,
            amount: account.amount,
            cost: Usd::default(),
            may_exceed: true,
            is_enforced: false,
            warn_at: Usd::from_nanos(u64::MAX),
        };
        self.ask(shared, &[nothing], account.asked).await.is_ok()
    }

    /// By budget, the largest spent share among its accounts, in periods that have not ended.
    pub fn shares(&self, now: Timestamp) -> BTreeMap<Arc<str>, f64> {
        let mut shares = BTreeMap::new();
        for account in self.accounts.lock().values().filter(|account| account.ends > now) {
            let share = account.total() as f64 / account.amount.nanos().max(1) as f64;
            let most: &mut f64 = shares.entry(account.budget.clone()).or_default();
            *most = most.max(share);
        }
        shares
    }

    fn draw_here(&self, draws: &[BudgetRequest], gateways: u32, now: Timestamp) -> Vec<BudgetDecision> {
        let mut accounts = self.accounts.lock();
        let share = |account: &BudgetAccount, cost: u64| {
            // What all gateways let through by themselves, as if all did what this one does.
            let alone = i128::from(account.untold) + i128::from(cost);
            i128::from(account.spent) + alone * i128::from(gateways)
        };
        let mut drawn = Vec::with_capacity(draws.len());
        for draw in draws {
            let account = self.account(&mut accounts, draw, now);
            let fits = share(account, taken(draw).nanos()) <= i128::from(draw.amount.nanos());
            drawn.push(BudgetDecision {
                fits,
                before: Usd::from_nanos(account.total()),
                is_news: account.is_news(draw),
            });
        }
        if is_taken(draws, &drawn) {
            for draw in draws {
                let account = self.account(&mut accounts, draw, now);
                match &self.shared {
                    None => account.spent = account.spent.saturating_add(taken(draw).nanos()),
                    Some(_) => account.untold = account.untold.saturating_add(signed(taken(draw))),
                }
            }
        }
        drawn
    }

    async fn ask(
        &self,
        shared: &SharedAccounts,
        draws: &[BudgetRequest],
        now: Timestamp,
    ) -> Result<Vec<BudgetDecision>, StoreFault> {
        if shared.redis.is_out() {
            return Err(StoreFault::Out);
        }
        let mut keys = Vec::with_capacity(draws.len());
        let mut arguments = Vec::with_capacity(draws.len() * 6 + 1);
        arguments.push(shared.latest().to_string());
        let mut telling = Vec::with_capacity(draws.len());
        {
            let mut accounts = self.accounts.lock();
            for draw in draws {
                let account = self.account(&mut accounts, draw, now);
                // Told once: another question on its way does not tell it again.
                let untold = std::mem::take(&mut account.untold);
                telling.push(untold);
                keys.push(shared.redis.key("budget", draw.key));
                arguments.push(draw.amount.nanos().to_string());
                arguments.push(taken(draw).nanos().to_string());
                arguments.push(u8::from(draw.is_enforced).to_string());
                arguments.push(untold.to_string());
                arguments.push(account.spent.to_string());
                let left = draw.ends.as_millisecond().saturating_sub(now.as_millisecond()).max(0);
                arguments.push(left.saturating_add(BEYOND).to_string());
            }
        }
        let untell = Untell { accounts: self, draws, telling };
        let answer: Vec<u64> = shared.redis.run_script(&shared.draw, &keys, &arguments).await?;
        let rows = match answer.split_first() {
            Some((time, rows)) => {
                shared.note_time(*time);
                rows
            }
            None => &[],
        };
        match rows.len() {
            0 => return Err(StoreFault::Timeout),
            length if length != draws.len() * ROW => {
                return Err(StoreFault::Broken("a reply of unexpected length".into()));
            }
            _ => untell.done(),
        }
        shared.redis.note_all_spoilt(keys.iter().zip(rows.chunks_exact(ROW).map(|row| row[2])));
        let mut accounts = self.accounts.lock();
        let mut drawn = Vec::with_capacity(draws.len());
        for (draw, row) in draws.iter().zip(rows.chunks_exact(ROW)) {
            let account = self.account(&mut accounts, draw, now);
            account.spent = row[1];
            drawn.push(BudgetDecision {
                fits: row[0] == 1,
                before: Usd::from_nanos(row[1]),
                is_news: account.is_news(draw),
            });
        }
        if is_taken(draws, &drawn) {
            for draw in draws {
                let account = self.account(&mut accounts, draw, now);
                account.spent = account.spent.saturating_add(taken(draw).nanos());
            }
        }
        Ok(drawn)
    }

    /// An account, created if necessary.
    fn account<'p>(
        &self,
        accounts: &'p mut MutexGuard<'_, BTreeMap<[u64; 2], BudgetAccount>>,
        draw: &BudgetRequest,
        now: Timestamp,
    ) -> &'p mut BudgetAccount {
        if !accounts.contains_key(&draw.key.0) && accounts.len() >= self.max_accounts {
            accounts.retain(|_, account| account.ends > now);
            // Those with least in them are missed least; an eighth at once, so that this is rare.
            if accounts.len() >= self.max_accounts {
                let mut spent: Vec<u64> = accounts.values().map(BudgetAccount::total).collect();
                let (_, least, _) = spent.select_nth_unstable(self.max_accounts / 8);
                let least = *least;
                accounts.retain(|_, account| account.total() > least);
            }
        }
        let fresh = || BudgetAccount {
            budget: draw.budget.clone(),
            amount: draw.amount,
            ends: draw.ends,
            spent: 0,
            untold: 0,
            is_warned: false,
            asked: now,
        };
        let account = accounts.entry(draw.key.0).or_insert_with(fresh);
        account.asked = now;
        // It may have been changed meanwhile.
        account.amount = draw.amount;
        account
    }
}

impl BudgetAccount {
    fn total(&self) -> u64 {
        self.spent.saturating_add_signed(self.untold)
    }

    /// True once, when it is past the mark.
    fn is_news(&mut self, draw: &BudgetRequest) -> bool {
        let is_past = self.total() >= draw.warn_at.nanos();
        is_past && !std::mem::replace(&mut self.is_warned, is_past)
    }
}

impl SharedAccounts {
    /// Until when the store may still do what it is asked now, by its own clock: a question that it finds in its socket when it
    /// wakes up was given up long ago.
    fn latest(&self) -> i64 {
        match self.ahead.load(Ordering::Relaxed) {
            UNKNOWN => 0,
            ahead => self.now().saturating_add(ahead).saturating_add(milliseconds(self.redis.timeout())),
        }
    }

    fn note_time(&self, time: u64) {
        let ahead = i64::try_from(time).unwrap_or(i64::MAX).saturating_sub(self.now());
        self.ahead.store(ahead, Ordering::Relaxed);
    }

    fn now(&self) -> i64 {
        milliseconds(self.start.elapsed())
    }
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// Takes back what was about to be told, unless it was: an answer may never come, nor the one who waits for it stay.
struct Untell<'a> {
    accounts: &'a BudgetAccounts,
    draws: &'a [BudgetRequest],
    telling: Vec<i64>,
}

impl Untell<'_> {
    fn done(mut self) {
        self.telling.clear();
    }
}

impl Drop for Untell<'_> {
    fn drop(&mut self) {
        if self.telling.iter().all(|untold| *untold == 0) {
            return;
        }
        let mut accounts = self.accounts.accounts.lock();
        for (draw, untold) in self.draws.iter().zip(&self.telling) {
            if let Some(account) = accounts.get_mut(&draw.key.0) {
                account.untold = account.untold.saturating_add(*untold);
            }
        }
    }
}

fn is_taken(draws: &[BudgetRequest], drawn: &[BudgetDecision]) -> bool {
    draws.iter().zip(drawn).all(|(draw, drawn)| drawn.fits || !draw.is_enforced)
}

/// What is taken for a call.
fn taken(draw: &BudgetRequest) -> Usd {
    if draw.may_exceed { draw.cost.min(draw.amount) } else { draw.cost }
}

fn signed(amount: Usd) -> i64 {
    i64::try_from(amount.nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn draw(key: u64, amount: u64, cost: u64) -> BudgetRequest {
        BudgetRequest {
            key: Key([key, 0]),
            budget: "b".into(),
            ends: Timestamp::MAX,
            amount: Usd::from_nanos(amount),
            cost: Usd::from_nanos(cost),
            may_exceed: true,
            is_enforced: true,
            warn_at: Usd::from_nanos(amount / 2),
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_never_exceeds_the_amount_and_what_comes_back_can_be_taken_again(
            amount in 1..1000_u64, calls in prop::collection::vec((0..400_u64, 0..=100_u64), 1..60),
        ) {
            let accounts = BudgetAccounts::new(10, None);
            let mut spent = 0;
            for (cost, share) in calls {
                let (drawn, held) = accounts.draw_here_for_tests(&draw(1, amount, cost));
                prop_assert_eq!(drawn.before.nanos(), spent);
                prop_assert_eq!(drawn.fits, spent + cost.min(amount) <= amount);
                if let Some(held) = held {
                    let used = cost.min(amount) * share / 100;
                    accounts.settle(&held, Usd::from_nanos(used));
                    spent += used;
                }
                prop_assert!(spent <= amount);
            }
        }
    }

    impl BudgetAccounts {
        fn draw_here_for_tests(&self, draw: &BudgetRequest) -> (BudgetDecision, Option<Reservation>) {
            let draws = std::slice::from_ref(draw);
            let drawn = self.draw_here(draws, 1, Timestamp::UNIX_EPOCH);
            let held = is_taken(draws, &drawn).then(|| Reservation { key: draw.key, cost: taken(draw) });
            (drawn[0], held)
        }
    }

    #[test]
    fn a_refusal_takes_nothing_from_any_and_news_is_news_once() {
        let accounts = BudgetAccounts::new(10, None);
        let both = [draw(1, 100, 60), draw(2, 50, 40)];
        let now = Timestamp::UNIX_EPOCH;
        assert!(accounts.draw_here(&both, 1, now).iter().all(|drawn| drawn.fits && !drawn.is_news));
        let drawn = accounts.draw_here(&both, 1, now);
        assert!(!drawn[0].fits && !drawn[1].fits && drawn[0].is_news && drawn[1].is_news);
        let drawn = accounts.draw_here(&[draw(1, 100, 40)], 1, now);
        assert_eq!(drawn, [BudgetDecision { fits: true, before: Usd::from_nanos(60), is_news: false }]);
    }

    #[test]
    fn accounts_are_bounded_and_the_emptiest_are_evicted_first() {
        let accounts = BudgetAccounts::new(16, None);
        for key in 0..100 {
            accounts.draw_here(&[draw(key, 1000, key)], 1, Timestamp::UNIX_EPOCH);
            assert!(accounts.accounts.lock().len() <= 16);
        }
        assert!(accounts.accounts.lock().contains_key(&[99, 0]));
    }
}
