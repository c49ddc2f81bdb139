//! A check in this process.

use std::hint::black_box;
use std::time::Duration;

use futures_util::FutureExt;
use tidegate::model::rate::Key;
use tidegate::model::rate::Rate;
use tidegate::model::rng::SeededRng;
use tidegate::state::store::memory::Memory;
use tidegate::state::store::{Acquire, RateLimiter};
use tidegate::telemetry::metrics::resident_memory;
use tokio::time::Instant;

use crate::{Extent, Fault};

/// Nothing comes back while this runs: every key stays alive.
fn rate() -> Rate {
    Rate::new(1_000_000, Duration::from_secs(30 * 24 * 3600))
}

fn take(number: u64, rule: &str) -> Acquire {
    Acquire { key: Key::of(&[rule, &number.to_string()]), rate: rate(), cost: 1, is_enforced: true }
}

pub(crate) fn measure(extent: &Extent) -> Result<(), Fault> {
    let before = resident_memory().ok_or("no /proc")?;
    let memory = Memory::new(2 * extent.keys, &SeededRng::new(1));
    for number in 0..extent.keys as u64 {
        check(&memory, &[take(number, "a")]);
    }
    let bytes = (resident_memory().ok_or("no /proc")? - before) as f64 / memory.len() as f64;
    println!("in this process, {} live keys: {bytes:.0} bytes of memory per key", memory.len());
    for rules in [1, 3] {
        let names = ["a", "b", "c"];
        // Keys are made before: what is measured is the check. What a key costs is measured below.
        let chance = SeededRng::new(2);
        let pick = |_| (chance.fraction() * extent.keys as f64) as u64;
        let calls: Vec<Vec<Acquire>> = (0..100_000.min(extent.checks))
            .map(pick)
            .map(|number| names[..rules].iter().map(|rule| take(number, rule)).collect())
            .collect();
        let started = Instant::now();
        for call in calls.iter().cycle().take(extent.checks) {
            check(&memory, black_box(call));
        }
        println!("  a check of {rules} rule(s): {:.0} ns", per(started, extent.checks));
    }
    let started = Instant::now();
    for number in 0..extent.checks {
        black_box(Key::of(&["general [KeyPlan([User])] requests 100 60000000000 100", "user", black_box("user-4711")]));
        black_box(number);
    }
    println!("  making a key: {:.0} ns", per(started, extent.checks));
    contended(&memory, extent);
    flood(extent);
    Ok(())
}

/// Two threads that ask for random keys.
fn contended(memory: &Memory, extent: &Extent) {
    let started = Instant::now();
    std::thread::scope(|scope| {
        for seed in 0..2 {
            scope.spawn(move || {
                let chance = SeededRng::new(seed);
                let calls: Vec<Acquire> =
                    (0..100_000).map(|_| take((chance.fraction() * extent.keys as f64) as u64, "a")).collect();
                for call in calls.iter().cycle().take(extent.checks / 2) {
                    check(memory, std::slice::from_ref(black_box(call)));
                }
            });
        }
    });
    println!("  two threads at once: {:.0} ns a check and thread", 2.0 * per(started, extent.checks));
}

/// Every call from another address, with room for a tenth of them.
fn flood(extent: &Extent) {
    let memory = Memory::new(extent.keys / 10, &SeededRng::new(3));
    let calls: Vec<Acquire> = (0..extent.keys as u64).map(|number| take(number, "flood")).collect();
    let started = Instant::now();
    for call in &calls {
        check(&memory, std::slice::from_ref(call));
    }
    let (time, tally) = (per(started, calls.len()), memory.tally());
    println!(
        "  a flood of {} addresses into {} places: {time:.0} ns a check, {} keys kept, {} forgotten early",
        calls.len(),
        extent.keys / 10,
        tally.keys,
        tally.evicted
    );
}

fn check(memory: &Memory, takes: &[Acquire]) {
    // The check in this process never waits.
    black_box(memory.take(takes).now_or_never());
}

fn per(started: Instant, count: usize) -> f64 {
    started.elapsed().as_nanos() as f64 / count as f64
}
