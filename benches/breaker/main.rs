//! What it costs to be told no: an open breaker and a spent retry budget, beside the cheapest thing that could ask the same
//! question, a lock and a look at the clock, all in one run.
//!
//! It measures no network, no answer, and no contention.

#[path = "../../tests/fixtures/mod.rs"]
mod fixtures;

use parking_lot::Mutex;
use std::hint::black_box;
use std::time::Duration;

use futures_util::FutureExt;
use tidegate::config::plan::{BreakerPlan, ProviderKind};
use tidegate::model::attempts::RetryBudget;
use tidegate::model::call::{Call, CallRequest};
use tidegate::model::fault::Fault;
use tidegate::model::rng::SeededRng;
use tidegate::policy::breaker::machine::Machine;
use tidegate::policy::breaker::{Breaker, Breakers};
use tidegate::stack::{Next, Outcome, Policy};
use tokio::time::Instant;

/// Rounds; the contenders take turns, so that what disturbs the machine for a while disturbs all of them.
const ROUNDS: usize = 21;

/// How long one contender has in a round.
const TURN: Duration = Duration::from_millis(20);

/// The most that a consultation may cost.
const AIM: f64 = 1000.0;

const PROVIDER: &str = "provider";

/// What is inside the breaker: a provider that is down.
struct Down;

impl Next for Down {
    async fn call(&self, _: Box<Call>) -> Outcome {
        Err(Fault::Connect { provider: PROVIDER.into(), detail: "down".into() })
    }

    fn describe(&self, _: &mut Vec<&'static str>) {}
}

/// One thing that is measured: its name, and what it does once.
type Contender = (&'static str, Box<dyn FnMut()>);

fn settings() -> BreakerPlan {
    // It must stay open as long as the bench runs.
    let hour = Duration::from_secs(3600);
    BreakerPlan { open_for: hour, open_max: hour, ..fixtures::provider(ProviderKind::OpenAi, PROVIDER).breaker }
}

fn call() -> Box<Call> {
    Box::new(fixtures::call(fixtures::head("tenant", None), CallRequest::Menu, Some("gpt-4"), None))
}

fn contenders() -> Vec<Contender> {
    let lock = Mutex::new(Instant::now());
    let reference = move || {
        let mut last = lock.lock();
        *last = black_box(Instant::now());
    };

    let budget = RetryBudget::new(0.2, 10);
    while budget.withdraw(Instant::now()) {}
    let is_spent = budget.clone();
    // The floor comes back after ten seconds, and is spent again at once.
    let spent = move || {
        black_box(is_spent.withdraw(Instant::now()));
    };

    let mut machine = Machine::new(settings(), SeededRng::new(1));
    while let Ok(pass) = machine.admit(Instant::now()) {
        machine.settle(
            pass,
            Some(tidegate::policy::breaker::machine::CallResult::Failure { request: None }),
            Instant::now(),
        );
    }
    let machine = Mutex::new(machine);
    let open = move || {
        let mut machine = machine.lock();
        assert!(black_box(machine.admit(Instant::now())).is_err(), "the breaker is open");
    };

    let closed = Mutex::new(Machine::new(settings(), SeededRng::new(1)));
    let passing = move || {
        let mut machine = closed.lock();
        if let Ok(pass) = machine.admit(Instant::now()) {
            machine.settle(pass, Some(tidegate::policy::breaker::machine::CallResult::Success), Instant::now());
        }
    };

    let cloned = call();
    let clone = move || {
        black_box(cloned.clone());
    };

    let breakers = Breakers::new(PROVIDER.into(), settings(), SeededRng::new(1));
    let policy = Breaker::new(PROVIDER.into(), breakers);
    let asked = call();
    let ask = move || policy.apply(asked.clone(), &Down).now_or_never();
    while !matches!(ask(), Some(Err(Fault::Open { .. }))) {}
    let refused = move || {
        assert!(matches!(black_box(ask()), Some(Err(Fault::Open { .. }))), "the breaker is open");
    };

    vec![
        ("reference: an uncontended lock and Instant::now", Box::new(reference)),
        ("a spent retry budget", Box::new(spent)),
        ("an open breaker's machine, locked", Box::new(open)),
        ("a closed breaker's machine, in and out", Box::new(passing)),
        ("a copy of the call, as for every attempt", Box::new(clone)),
        ("the whole policy, open: copy, family, lock, fault", Box::new(refused)),
    ]
}

/// Nanoseconds each time, over one turn.
fn measure(act: &mut dyn FnMut()) -> f64 {
    let (started, mut count) = (Instant::now(), 0u32);
    while started.elapsed() < TURN {
        for _ in 0..1000 {
            act();
        }
        count += 1000;
    }
    started.elapsed().as_nanos() as f64 / f64::from(count)
}

/// The lowest, the median and the highest.
fn spread(mut figures: Vec<f64>) -> [f64; 3] {
    figures.sort_unstable_by(f64::total_cmp);
    [figures[0], figures[figures.len() / 2], figures[figures.len() - 1]]
}

fn main() {
    let mut contenders = contenders();
    let mut measured = vec![Vec::new(); contenders.len()];
    // The first round warms up and does not count.
    for round in 0..=ROUNDS {
        for ((_, act), figures) in contenders.iter_mut().zip(&mut measured) {
            let figure = measure(act);
            if round > 0 {
                figures.push(figure);
            }
        }
    }
    println!("\n| consulted | ns, median (lowest to highest) | beside the reference |");
    println!("| --- | ---: | ---: |");
    let reference = measured[0].clone();
    let mut is_met = true;
    for ((name, _), figures) in contenders.iter().zip(measured) {
        let ratios = figures.iter().zip(&reference).map(|(figure, reference)| figure / reference).collect();
        let ([low, median, high], [_, ratio, _]) = (spread(figures), spread(ratios));
        println!("| {name} | {median:.0} ({low:.0} to {high:.0}) | {ratio:.2} |");
        is_met &= median < AIM;
    }
    let verdict = if is_met { "met" } else { "missed" };
    println!("\n{ROUNDS} rounds of {TURN:?} each, one thread. Aim: each below {AIM} ns: {verdict}.");
}
