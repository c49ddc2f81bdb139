//! What gateways that share a store promise, in virtual time: with partitions, outages and lost data at moments that a seed
//! decides, thousands of them. Over the simulated Redis everything above the connection is production's.

use std::sync::Arc;
use std::time::Duration;

use tidegate::model::money::Usd;
use tidegate::model::rate::{Key, OnStoreError, Rate};
use tidegate::model::rng::SeededRng;
use tidegate::model::time::WallClock;
use tidegate::state::store::budget_account::{BudgetAccounts, BudgetRequest};
use tidegate::state::store::memory::Memory;
use tidegate::state::store::redis::simulated::{Door, Latency, SimulatedRedis};
use tidegate::state::store::redis::{Reach, Redis, Settings};
use tidegate::state::store::shared::SharedLimiter;
use tidegate::state::store::{Acquire, RateLimiter, Source};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// Worlds in which each law is tried.
const SEEDS: u64 = 300;

/// A gateway as far as the store knows it.
struct Member {
    redis: Arc<Redis>,
    meter: SharedLimiter,
    accounts: BudgetAccounts,
}

/// Some gateways, and their store.
struct Group {
    server: Arc<SimulatedRedis>,
    members: Vec<Arc<Member>>,
    chance: SeededRng,
    _keepers: JoinSet<()>,
}

impl Group {
    /// Gateways that know each other.
    async fn meet(seed: u64, size: usize, latency: Latency) -> Self {
        let chance = SeededRng::new(seed);
        let clock = WallClock::of_tokio("2026-11-01T00:00:00Z".parse().unwrap());
        let server = SimulatedRedis::new(clock, latency, chance.apart(1)).unwrap();
        let mut keepers = JoinSet::new();
        let mut members = Vec::new();
        for number in 0..size {
            let own = chance.apart(10 + number as u64);
            let settings = Settings {
                purpose: "limit",
                reach: Reach::Simulated(Door::new(server.clone(), number)),
                timeout: Duration::from_millis(50),
                max_in_flight: 64,
                key_prefix: "test".into(),
                gateways: 1,
            };
            let redis = Arc::new(Redis::new(settings, own.apart(1)));
            let meter = SharedLimiter::new(redis.clone(), Memory::new(1_000, &own.apart(2)), OnStoreError::Local);
            let accounts = BudgetAccounts::new(1_000, Some((redis.clone(), OnStoreError::Local)));
            let member = Arc::new(Member { redis, meter, accounts });
            let kept = member.clone();
            keepers.spawn(async move {
                tokio::join!(kept.redis.run(), kept.meter.run(), kept.accounts.run());
            });
            members.push(member);
        }
        let group = Self { server, members, chance, _keepers: keepers };
        while group.members.iter().any(|member| member.redis.is_out() || member.redis.gateways() as usize != size) {
            sleep(Duration::from_millis(100)).await;
        }
        group
    }

    fn below(&self, most: u64) -> u64 {
        (self.chance.fraction() * most as f64) as u64
    }

    fn any(&self) -> &Arc<Member> {
        &self.members[self.below(self.members.len() as u64) as usize]
    }
}

/// Runs a world in virtual time for each seed.
fn worlds(play: impl AsyncFn(u64)) {
    for seed in 0..SEEDS {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(play(seed));
    }
}

fn takes(rate: Rate) -> [Acquire; 1] {
    [Acquire { key: Key::of(&["tenant"]), rate, cost: 1, is_enforced: true }]
}

/// A limit of so many in ten seconds.
fn rate(count: u64) -> Rate {
    Rate::new(count, Duration::from_secs(10))
}

#[test]
fn with_the_store_gateways_decide_each_call_as_one_would() {
    worlds(async |seed| {
        let group = Group::meet(seed, 2 + seed as usize % 4, Latency::NONE).await;
        // A call's price is a whole number of microseconds: the store is exact to a hundredth of one.
        let takes = takes(rate([5, 8, 10, 16, 20, 25][group.below(6) as usize]));
        let alone = Memory::new(1_000, &SeededRng::new(1));
        for call in 0..100 {
            sleep(Duration::from_millis(group.below(400))).await;
            let wanted = alone.take_at_once(&takes).unwrap().is_admitted(&takes);
            let taken = group.any().meter.take(&takes).await.unwrap();
            assert_eq!((taken.is_admitted(&takes), taken.source), (wanted, Source::Redis), "seed {seed}, call {call}");
        }
    });
}

#[test]
fn calls_at_once_over_a_slow_network_take_no_more_than_there_is() {
    let slow = Latency { p50: Duration::from_millis(4), p99: Duration::from_millis(30) };
    worlds(async |seed| {
        let group = Group::meet(seed, 4, slow).await;
        let count = 5 + group.below(40);
        let (takes, began) = (takes(rate(count)), Instant::now());
        let mut calls = JoinSet::new();
        for _ in 0..150 {
            let (member, after) = (group.any().clone(), group.below(5_000));
            calls.spawn(async move {
                sleep(Duration::from_millis(after)).await;
                let taken = member.meter.take(&takes).await.unwrap();
                (taken.is_admitted(&takes), taken.source)
            });
        }
        let answers = calls.join_all().await;
        let admitted = answers.iter().filter(|(is_admitted, _)| *is_admitted).count() as f64;
        // A way of more than 50 ms is rare, and the gateway counts alone then.
        let alone = answers.iter().filter(|(_, source)| *source != Source::Redis).count() as f64;
        let most = count as f64 * (1.0 + began.elapsed().as_secs_f64() / 10.0) + alone;
        assert!(admitted <= most, "seed {seed}: {admitted} of {most}, {alone} without the store");
        assert!(admitted >= count as f64, "seed {seed}: {admitted} of {count}");
    });
}

#[test]
fn an_outage_admits_at_most_the_burst_the_rate_and_a_call_for_each_gateway() {
    worlds(async |seed| {
        let group = Group::meet(seed, 2 + seed as usize % 5, Latency::default()).await;
        let (size, count) = (group.members.len() as f64, 10 + group.below(40));
        let takes = takes(rate(count));
        // What the store knows when it goes: anything from nothing to all.
        for _ in 0..group.below(2 * count) {
            let _ = group.any().meter.take(&takes).await;
        }
        match seed % 2 {
            0 => group.server.stop(),
            _ => (0..group.members.len()).for_each(|gateway| group.server.cut(gateway)),
        }
        let (began, mut admitted) = (Instant::now(), 0.0);
        while began.elapsed() < Duration::from_secs(20) {
            sleep(Duration::from_millis(group.below(200))).await;
            for member in &group.members {
                admitted += f64::from(u8::from(member.meter.take(&takes).await.unwrap().is_admitted(&takes)));
            }
        }
        let most = count as f64 * (1.0 + began.elapsed().as_secs_f64() / 10.0) + size;
        assert!(admitted <= most, "seed {seed}: {admitted} of {most}");
        // Back, with or without what it held: what was admitted meanwhile is known to it again.
        if seed % 3 == 0 {
            group.server.lose_data();
        }
        group.server.start();
        (0..group.members.len()).for_each(|gateway| group.server.heal(gateway));
        while group.members.iter().any(|member| member.redis.is_out()) {
            sleep(Duration::from_millis(10)).await;
        }
        let (back, mut late) = (Instant::now(), 0.0);
        for member in group.members.iter().cycle().take(5 * group.members.len()) {
            let taken = member.meter.take(&takes).await.unwrap();
            late += f64::from(u8::from(taken.is_admitted(&takes)));
            assert_eq!(taken.source, Source::Redis, "seed {seed}");
        }
        // What comes back in the time of reconnecting, and of each share what was no whole call.
        let most = count as f64 * (2.5 + back.elapsed().as_secs_f64()) / 10.0 + size;
        assert!(late <= most, "seed {seed}: {late} more, of {most}");
    });
}

#[test]
fn whatever_happens_to_the_store_the_limit_holds_within_its_bound() {
    worlds(async |seed| {
        let group = Group::meet(seed, 2 + seed as usize % 5, Latency::default()).await;
        let (size, count) = (group.members.len() as f64, 10 + group.below(40));
        let (takes, began, mut slack, mut admitted) = (takes(rate(count)), Instant::now(), 0.0, 0.0);
        let calls = async |seconds: u64| {
            let (from, mut admitted) = (Instant::now(), 0.0);
            while from.elapsed() < Duration::from_secs(seconds) {
                sleep(Duration::from_millis(group.below(300))).await;
                admitted += f64::from(u8::from(group.any().meter.take(&takes).await.unwrap().is_admitted(&takes)));
            }
            admitted
        };
        admitted += calls(group.below(10)).await;
        for _ in 0..3 {
            let seconds = 1 + group.below(8);
            // A disturbance costs at most what the gateways admit that it separates from the store.
            let (share, alone) = match group.below(3) {
                0 => {
                    group.server.stop();
                    admitted += calls(seconds).await;
                    if group.below(2) == 0 {
                        group.server.lose_data();
                    }
                    group.server.start();
                    (1.0, size)
                }
                1 => {
                    let cut = 1 + group.below(group.members.len() as u64) as usize;
                    (0..cut).for_each(|gateway| group.server.cut(gateway));
                    admitted += calls(seconds).await;
                    (0..cut).for_each(|gateway| group.server.heal(gateway));
                    (cut as f64 / size, cut as f64)
                }
                _ => {
                    group.server.lose_data();
                    (1.0, 0.0)
                }
            };
            slack += count as f64 * share * (1.0 + (seconds + 2) as f64 / 10.0) + alone;
            admitted += calls(2 + group.below(8)).await;
        }
        let most = count as f64 * (1.0 + began.elapsed().as_secs_f64() / 10.0) + slack;
        assert!(admitted <= most, "seed {seed}: {admitted} of {most}");
    });
}

fn cents(cents: u64) -> Usd {
    Usd::from_nanos(cents * 10_000_000)
}

fn budget(amount: Usd, cost: Usd) -> [BudgetRequest; 1] {
    [BudgetRequest {
        key: Key::of(&["budget"]),
        budget: "b".into(),
        ends: "2026-12-01T00:00:00Z".parse().unwrap(),
        amount,
        cost,
        may_exceed: false,
        is_enforced: true,
        warn_at: amount,
    }]
}

#[test]
fn a_budget_is_never_overspent_while_the_store_is_there_and_knows_all_that_was_spent_in_the_end() {
    worlds(async |seed| {
        let group = Group::meet(seed, 2 + seed as usize % 4, Latency::default()).await;
        let now = "2026-11-01T00:00:00Z".parse().unwrap();
        let (amount, mut spent, mut reserved_alone) = (cents(500 + group.below(2_000)), 0, 0);
        let is_disturbed = seed % 2 == 1;
        for call in 0..80 {
            sleep(Duration::from_millis(group.below(200))).await;
            match call {
                20 if is_disturbed && seed % 4 == 1 => group.server.stop(),
                20 if is_disturbed => (0..group.members.len()).for_each(|gateway| group.server.cut(gateway)),
                60 => {
                    group.server.start();
                    (0..group.members.len()).for_each(|gateway| group.server.heal(gateway));
                }
                _ => {}
            }
            let member = group.any();
            let requests = budget(amount, cents(1 + group.below(60)));
            let (_, held) = member.accounts.draw(&requests, now).await.unwrap();
            let Some(held) = held.first() else { continue };
            let used = Usd::from_nanos(requests[0].cost.nanos() * group.below(101) / 100);
            member.accounts.settle(held, used);
            spent += used.nanos();
            if member.redis.is_out() {
                reserved_alone += requests[0].cost.nanos();
            }
        }
        // Corrections are on their way.
        sleep(Duration::from_secs(5)).await;
        let asked = group.server.at_once(&["GET", &format!("{{test:budget}}:{}", Key::of(&["budget"]))]);
        let known: u64 = redis::from_redis_value(asked).unwrap();
        match is_disturbed {
            false => assert_eq!(known, spent, "seed {seed}"),
            // A correction whose answer was lost on its way back is told again: at most the one that each gateway had under way
            // for a call, and the one that it told by itself.
            true => {
                let twice = 2 * group.members.len() as u64 * cents(60).nanos();
                assert!(known + twice >= spent, "seed {seed}: {known} of {spent}");
            }
        }
        assert!(spent <= amount.nanos() + reserved_alone, "seed {seed}: {spent} of {}", amount.nanos());
        let most = amount.nanos() + if is_disturbed { amount.nanos() } else { 0 };
        assert!(spent <= most, "seed {seed}: {spent} of {most}");
    });
}
