//! Seeded worlds: a virtual hour with random faults, changes, callers and configurations, and what must hold in every one.
//!
//! `SEEDS=5000 cargo test --test soak` plays more of them than the suite does, and `SEED=17` one again. A world is the same
//! whenever it is played.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on stops")]

#[path = "soak/cached.rs"]
mod cached;
#[path = "soak/check.rs"]
mod check;
#[path = "soak/dice.rs"]
mod dice;
#[path = "soak/hostile.rs"]
mod hostile;
#[path = "soak/kind.rs"]
mod kind;
#[path = "soak/play.rs"]
mod play;
#[path = "soak/script.rs"]
mod script;
#[path = "soak/spent.rs"]
mod spent;

use parking_lot::Mutex;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use check::{RuleDecision, Tally};
use script::Script;

/// The worlds of the suite.
const SEEDS: u64 = 100;

/// Problems that are printed of one world.
const PRINTED: usize = 5;

fn verdict(seed: u64) -> RuleDecision {
    let script = Script::new(seed);
    let played = catch_unwind(AssertUnwindSafe(|| play::play(seed, &script)));
    match played {
        Ok(played) => check::check(&script, &played),
        Err(_) => RuleDecision { problems: vec!["a panic".into()], tally: Tally::default(), trace: String::new() },
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a number")))
}

/// Plays seeds on all processors, and returns what went wrong with how all calls ended.
fn soak(seeds: std::ops::Range<u64>) -> (Vec<String>, Tally) {
    let next = AtomicU64::new(seeds.start);
    let found = Mutex::new((Vec::new(), Tally::default()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !seeds.contains(&seed) {
                        return;
                    }
                    let verdict = verdict(seed);
                    let mut found = found.lock();
                    let printed = verdict.problems.iter().take(PRINTED).map(|problem| format!("  {problem}\n"));
                    if !verdict.problems.is_empty() {
                        let count = verdict.problems.len();
                        let again =
                            format!("seed {seed}, {count} problems; `SEED={seed} cargo test --test soak` repeats it:");
                        found.0.push(format!("{again}\n{}", printed.collect::<String>()));
                    }
                    found.1.add(verdict.tally);
                }
            });
        }
    });
    found.into_inner()
}

#[test]
fn every_world_keeps_the_promises() {
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(SEEDS),
    };
    let count = seeds.end - seeds.start;
    let (failures, tally) = soak(seeds);
    println!("{count} worlds: {tally:?}");
    let shown = failures.iter().take(PRINTED).cloned().collect::<Vec<_>>().join("\n");
    assert!(failures.is_empty(), "{} of {count} worlds failed; {tally:?}\n{shown}", failures.len());
    // Worlds in which nothing is ever answered would prove nothing.
    if count >= 10 {
        assert!(tally.complete > tally.refused && tally.incomplete > 0 && tally.left > 0, "{tally:?}");
    }
    if count >= 100 {
        assert!(tally.hedged > 0 && tally.rescued > 0, "{tally:?}");
    }
}

#[test]
fn what_is_kept_or_shared_is_complete_young_enough_and_nobody_elses() {
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(SEEDS),
    };
    let count = seeds.end - seeds.start;
    let (mut failures, mut sum) = (Vec::new(), cached::Tally::default());
    for seed in seeds {
        let script = cached::Script::new(seed);
        let (problems, tally) = match catch_unwind(AssertUnwindSafe(|| cached::play(seed, &script))) {
            Ok(played) => cached::check(&script, &played),
            Err(_) => (vec!["a panic".into()], cached::Tally::default()),
        };
        sum.add(tally);
        if let Some((first, more)) = problems.split_first() {
            failures.push(format!("SEED={seed}: {first}\n  and {} more: {}", more.len(), more.last().unwrap_or(first)));
        }
    }
    println!("{count} worlds that keep answers: {sum:?}");
    let shown = failures.iter().take(PRINTED).cloned().collect::<Vec<_>>().join("\n");
    assert!(failures.is_empty(), "{} of {count} worlds failed; {sum:?}\n{shown}", failures.len());
    if count >= 50 {
        let each = [sum.new, sum.collapsed, sum.hits, sum.renewed, sum.spare, sum.incomplete, sum.refused];
        assert!(each.iter().all(|number| *number >= 20), "{sum:?}");
    }
}

#[test]
fn no_caller_spends_more_than_a_budget_and_one_estimate_for_each_call_at_once() {
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(SEEDS),
    };
    let (count, mut refused, mut tokens) = (seeds.end - seeds.start, 0, 0);
    for seed in seeds {
        let spent = spent::play(seed);
        assert!(spent.tokens <= spent.bound, "SEED={seed}: {} tokens spent, bound {}", spent.tokens, spent.bound);
        (refused, tokens) = (refused + spent.refused, tokens + spent.tokens);
    }
    println!("{count} worlds with a budget: {tokens} tokens spent, {refused} calls refused");
    // Worlds in which nobody spends anything would prove nothing.
    assert!(count < 10 || (refused > 0 && tokens > 0), "{tokens} tokens spent, {refused} calls refused");
}

#[test]
fn no_callers_own_doing_changes_what_another_gets() {
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(SEEDS),
    };
    let count = seeds.end - seeds.start;
    let (next, found) = (AtomicU64::new(seeds.start), Mutex::new((Vec::new(), hostile::Tally::default())));
    let work = || {
        while let Some(seed) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| seeds.contains(seed)) {
            let (problems, tally) = hostile::play(seed);
            let mut found = found.lock();
            found.1.add(tally);
            if let Some((first, more)) = problems.split_first() {
                found.0.push(format!("SEED={seed}: {first}\n  and {} more", more.len()));
            }
        }
    };
    std::thread::scope(|scope| {
        (0..std::thread::available_parallelism().map_or(1, usize::from)).for_each(|_| drop(scope.spawn(work)));
    });
    let (failures, sum) = found.into_inner();
    println!("{count} worlds with hostile callers: {sum:?}");
    let shown = failures.iter().take(PRINTED).cloned().collect::<Vec<_>>().join("\n");
    assert!(failures.is_empty(), "{} of {count} worlds failed; {sum:?}\n{shown}", failures.len());
    // Worlds without anything hostile would prove nothing.
    if count >= 50 {
        let each = [sum.honest, sum.answered, sum.refused, sum.left];
        assert!(each.iter().all(|number| *number >= 100), "{sum:?}");
    }
}

#[test]
fn a_world_is_the_same_whenever_it_is_played() {
    for seed in number("SEED").map_or(0..5, |seed| seed..seed + 1) {
        assert_eq!(verdict(seed).trace, verdict(seed).trace, "seed {seed}: two plays differ");
    }
}
