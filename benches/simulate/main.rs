//! How many calls a second are simulated on one core: the shipped route for chats with all its policies, in front of modelled
//! providers, for plain answers, streams, cached responses and refusals; and the memory that it takes.
//!
//! What is counted is the processor's time of one thread, as the kernel has it (Linux), so that a busy machine shows less. It
//! compares with nothing; `--calls N NAME` plays one kind alone, for a profiler.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

// As in the program: see docs/decisions/0019-allocator.md.
use mimalloc as _;
use tidegate::simulate::run::{Candidate, Stage};
use tidegate::simulate::tally::Tally;
use tidegate::simulate::trace::{Source, Terms, generated};
use tidegate::simulate::world::WorldFile;

/// Any failure of the bench. It ends the run: a figure that is half right is worse than none.
type Fault = Box<dyn std::error::Error + Send + Sync>;

const USAGE: &str = "usage: cargo bench --bench simulate [-- [--quick] [--calls N] [NAME]]";

/// Calls of each kind, and of a quick run.
const CALLS: u64 = 400_000;
const QUICK: u64 = 4_000;

/// Calls in a second of virtual time.
const RATE: u64 = 200;

/// Limits that refuse nobody, and are asked all the same.
const WIDE: [(&str, &str); 2] = [("limit.general.rate", "100000/s"), ("limit.ai.rate", "100000/s")];
const CACHED: [(&str, &str); 4] = [
    ("cache.enabled", "true"),
    ("route.openai-chat.cache.when", "always"),
    ("route.openai-chat.cache.scope", "shared"),
    ("route.openai-chat.cache.ttl", "1h"),
];

/// One kind of traffic.
struct Kind {
    name: &'static str,
    traffic: &'static str,
    set: &'static [(&'static str, &'static str)],
    /// The calls that are what the name says.
    count: fn(&Tally) -> u64,
}

const KINDS: [Kind; 5] = [
    Kind { name: "plain", traffic: "questions=0 streams=0%", set: &[], count: |tally| tally.all.answered },
    Kind { name: "stream", traffic: "questions=0 streams=100%", set: &[], count: |tally| tally.all.answered },
    Kind { name: "hit", traffic: "questions=50 streams=0%", set: &CACHED, count: |tally| tally.all.hits },
    Kind { name: "stream-hit", traffic: "questions=50 streams=100%", set: &CACHED, count: |tally| tally.all.hits },
    Kind {
        name: "refused",
        traffic: "questions=0 streams=0%",
        set: &[("limit.ai.rate", "1/h")],
        count: |tally| tally.all.refused,
    },
];

/// What a run took.
struct Taken {
    calls: u64,
    /// Those that are what was to be measured.
    counted: u64,
    busy: Duration,
}

impl Kind {
    fn play(&self, calls: u64) -> Result<Taken, Fault> {
        let seconds = calls.div_ceil(RATE);
        let words = format!("rate={RATE}/s for={seconds}s callers=500 route=openai-chat {}", self.traffic);
        let (traffic, spread) = generated::parse(&words)?;
        let terms = Terms { spread, names: Arc::default(), is_strict: true, seed: 1 };
        let stage = Stage { gateways: 1, source: Source::Generated(traffic), terms, world: WorldFile::default() };
        let set: BTreeMap<_, _> = WIDE.iter().chain(self.set).copied().collect();
        let set = set.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let before = busy()?;
        let outcome = stage.play(&Candidate { file: None, set }, |_| {}).map_err(|fault| fault.to_string())?;
        let busy = busy()?.saturating_sub(before);
        Ok(Taken { calls: outcome.tally.all.calls, counted: (self.count)(&outcome.tally), busy })
    }
}

/// How long this thread has kept a processor busy.
fn busy() -> Result<Duration, Fault> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = text.split_whitespace().next().ok_or("an empty schedstat")?;
    Ok(Duration::from_nanos(nanoseconds.parse()?))
}

/// The most memory that this process has had, in MiB.
fn memory() -> Result<u64, Fault> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? / 1024)
}

fn measure(calls: u64, only: Option<&str>) -> Result<(), Fault> {
    let wanted = |kind: &&Kind| only.is_none_or(|only| kind.name == only);
    if KINDS.iter().filter(wanted).count() == 0 {
        let names: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
        return Err(format!("no such kind; allowed: {}", names.join(", ")).into());
    }
    println!(
        "| calls | a second on one core | each | of the kind | most memory so far |\n| --- | ---: | ---: | ---: | ---: |"
    );
    for kind in KINDS.iter().filter(wanted) {
        let Taken { calls, counted, busy } = kind.play(calls)?;
        let each = busy.as_secs_f64() / calls.max(1) as f64;
        println!(
            "| {} | {:.0} | {:.1} us | {:.1} % | {} MiB |",
            kind.name,
            1.0 / each,
            each * 1e6,
            100.0 * counted as f64 / calls.max(1) as f64,
            memory()?,
        );
    }
    Ok(())
}

fn main() -> ExitCode {
    let (mut calls, mut only) = (CALLS, None);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            // What `cargo bench` adds.
            "--bench" => {}
            "--quick" => calls = QUICK,
            "--calls" => match words.next().and_then(|number| number.parse().ok()) {
                Some(number) => calls = number,
                None => {
                    eprintln!("{USAGE}");
                    return ExitCode::FAILURE;
                }
            },
            name => only = Some(name.to_owned()),
        }
    }
    match measure(calls, only.as_deref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("simulate: {fault}\n{USAGE}");
            ExitCode::FAILURE
        }
    }
}
