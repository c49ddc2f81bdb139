//! Chaos: gateways and workers as processes, and the Redis or the file that keeps their jobs, are killed or paused at random
//! moments, again and again. No accepted job is lost, no result changes once it was read, and what the provider was asked, in
//! which order, says that jobs kept their order and tenants their turns.
//!
//! A round that fails says its seed: `SEED=7 ROUNDS=1 make jobs-chaos` plays it alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on stops, and says what it expected"
)]

#[path = "store/server.rs"]
#[allow(dead_code, reason = "the tests of limits need all of it")]
mod server;
#[path = "wire/shared.rs"]
mod shared;

#[path = "chaos/log.rs"]
mod log;

#[path = "chaos/fleet.rs"]
mod fleet;
#[path = "chaos/load.rs"]
mod load;

use std::time::Duration;

use tidegate::model::rng::SeededRng;
use tokio::time::{Instant, sleep};

use crate::fleet::{Event, Fleet, LEASE};
use crate::load::{Round, Totals};
use crate::shared::{program, provider, words};

/// How many rounds are played, unless ROUNDS says.
const ROUNDS: u64 = 6;

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// Plays rounds on one fleet, each with a seed of its own.
async fn play(mut fleet: Fleet) -> Totals {
    let (first, rounds) = (number("SEED").unwrap_or(1), number("ROUNDS").unwrap_or(ROUNDS));
    let mut totals = Totals::default();
    for seed in first..first + rounds {
        let guard = Seed(seed);
        let chance = SeededRng::new(seed);
        let events = fleet.draw(&chance);
        let mut round = Round::new(&fleet.log, fleet.size());
        let (log, doors, begun) = (fleet.log.clone(), fleet.doors.clone(), Instant::now());
        tokio::join!(round.submit(seed, &doors, &log), happen(&mut fleet, &events));
        round.finish(&fleet.doors).await;
        // Whoever was paused has woken up long ago, and has tried to write what it had.
        sleep(LEASE).await;
        round.check(&fleet, &events, &mut totals).await;
        totals.rounds += 1;
        println!("round {seed}: {} events, {} jobs in {:.1?}", events.len(), round.len(), begun.elapsed());
        drop(guard);
    }
    totals
}

/// Says which round has failed.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this was the round of SEED={}", self.0);
        }
    }
}

/// Has each event happen at its moment.
async fn happen(fleet: &mut Fleet, events: &[(Duration, Event)]) {
    let begun = Instant::now();
    for (at, event) in events {
        sleep(at.saturating_sub(begun.elapsed())).await;
        fleet.suffer(*event).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_in_redis_survive_whatever_dies() {
    let totals = play(Fleet::on_redis().await).await;
    println!("Redis: {totals}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_in_a_file_survive_their_gateway() {
    let totals = play(Fleet::on_a_file().await).await;
    println!("file: {totals}");
}
