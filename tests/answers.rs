//! No answer comes to harm: a hundred thousand mutants of good answers, played through production's exchange and dialects, and
//! judged by what their callers got.
//!
//! `MUTANTS=10000000 cargo test --test answers` plays more of them; `SEED=17` plays one again. What is right is in
//! `answers/judge`, which reads answers with `answers/reading`.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "answers/golden.rs"]
mod golden;
#[path = "answers/judge.rs"]
mod judge;
#[path = "answers/mutate.rs"]
mod mutate;
#[path = "answers/node.rs"]
mod node;
#[path = "answers/play.rs"]
mod play;
#[path = "answers/reading.rs"]
mod reading;

mod fixtures;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use tidegate::config::plan::CallerKind;
use tidegate::model::call::TextUse;

use self::golden::Golden;
use self::play::{Got, Stage, Who};

/// How many are played in the suite.
const MUTANTS: u64 = 100_000;

/// Seeds that one thread takes at a time.
const BATCH: u64 = 500;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

/// All that may be wanted of an answer's texts.
const TEXT_USES: [TextUse; 3] = [TextUse::Ignored, TextUse::Counted, TextUse::Read];

/// Each mutant is played to a caller of the provider's dialect, and the answers to conversations to one of the house's too.
fn audience(seed: u64) -> [Who; 2] {
    let house = [CallerKind::Restaurant, CallerKind::Canvas, CallerKind::Widget];
    [Who::Same { text_use: TEXT_USES[(seed % 3) as usize] }, Who::House(house[(seed / 2 % 3) as usize])]
}

/// What is wrong with the mutant of a seed.
fn play(runtime: &tokio::runtime::Runtime, stage: &Stage, goldens: &[Golden], seed: u64) -> Vec<(String, String)> {
    let (name, mutant) = mutate::mutant(goldens, seed);
    let mut wrong = Vec::new();
    for who in audience(seed) {
        let judged = catch_unwind(AssertUnwindSafe(|| {
            let played = runtime.block_on(stage.play(&mutant, who));
            played.map_or(Ok(()), |played| judge::judge(&mutant, who, &played))
        }));
        let problem = match judged {
            Ok(Ok(())) => continue,
            Ok(Err(problem)) => problem,
            Err(_) => "it panics".into(),
        };
        let body = String::from_utf8_lossy(&mutant.bytes()).into_owned();
        let told = format!(
            "SEED={seed}: {problem}\n  {name}, to {who:?}, stream {}, {} wanted, {:?}, only {:?}, {}\n  {body:?}",
            mutant.wants_stream,
            mutant.wanted,
            mutant.content_type,
            mutant.only,
            if mutant.is_broken_off { "broken off" } else { "ended" },
        );
        wrong.push((problem, told));
    }
    wrong
}

/// Good answers of all endpoints.
fn goldens() -> Vec<Golden> {
    [golden::all(), runtime().block_on(play::simulated())].concat()
}

#[test]
fn a_good_answer_passes_whatever_it_is_called_and_wherever_the_network_cuts() {
    let (runtime, stage) = (runtime(), Stage::new());
    let types = [
        None,
        Some("application/json"),
        Some("Application/JSON; charset=utf-8"),
        Some("text/plain"),
        Some("application/octet-stream"),
        Some("text/event-stream"),
        Some("Text/Event-Stream;charset=UTF-8"),
    ];
    for golden in goldens() {
        for (content_type, size) in types.into_iter().flat_map(|it| [1, 2, 3, 7, 100_000].map(|size| (it, size))) {
            for text_use in TEXT_USES {
                let (mutant, who) =
                    (mutate::unchanged(&golden, content_type, size, usize::MAX), Who::Same { text_use });
                let Some(played) = runtime.block_on(stage.play(&mutant, who)) else { continue };
                let told = format!("{} as {content_type:?} in pieces of {size} bytes", golden.name);
                judge::judge(&mutant, who, &played).unwrap_or_else(|problem| panic!("{told}: {problem}"));
                let passed = match &played.got {
                    Got::Full(bytes) => bytes.to_vec(),
                    Got::Pieces(bytes, None) => bytes.clone(),
                    Got::Pieces(_, Some(fault)) | Got::Refused(fault) => panic!("{told}: {fault:?}"),
                };
                assert_eq!(passed, mutant.bytes(), "{told}");
            }
        }
    }
}

/// Wherever it is cut: in the middle of a character, of an event, between two of them.
#[test]
fn an_answer_that_is_cut_never_ends_cleanly() {
    let (runtime, stage) = (runtime(), Stage::new());
    for golden in goldens() {
        let length = mutate::unchanged(&golden, None, 1, usize::MAX).bytes().len();
        for end in 0..length {
            for who in audience(end as u64) {
                let mutant = mutate::unchanged(&golden, Some("application/json"), 4096, end);
                let mutant = mutate::Mutant { is_broken_off: end % 5 == 0, ..mutant };
                let Some(played) = runtime.block_on(stage.play(&mutant, who)) else { continue };
                let judged = judge::judge(&mutant, who, &played);
                judged
                    .unwrap_or_else(|problem| panic!("{}, cut after {end} bytes, to {who:?}: {problem}", golden.name));
            }
        }
    }
}

#[test]
fn no_mutant_of_a_good_answer_comes_to_harm() {
    let goldens = goldens();
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("MUTANTS").unwrap_or(MUTANTS),
    };
    let next = AtomicU64::new(seeds.start);
    let run = || {
        let (runtime, stage, mut wrong) = (runtime(), Stage::new(), Vec::new());
        loop {
            let from = next.fetch_add(BATCH, Ordering::Relaxed);
            if from >= seeds.end || wrong.len() > 1000 {
                return wrong;
            }
            for seed in from..(from + BATCH).min(seeds.end) {
                wrong.extend(play(&runtime, &stage, &goldens, seed));
            }
        }
    };
    let wrong: Vec<(String, String)> = std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    // One of each kind is enough to begin with.
    let mut kinds: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    for (problem, told) in &wrong {
        let kind = problem.split(':').next().unwrap_or_default();
        kinds.entry(kind).or_insert((0, told)).0 += 1;
    }
    let told: Vec<String> = kinds.values().map(|(times, told)| format!("{times} times: {told}")).collect();
    assert!(wrong.is_empty(), "{} of {} mutants came to harm:\n{}", wrong.len(), seeds.end, told.join("\n"));
}
