//! How often the cache has the answer, by its size: its memory beside other ways, and beside the best
//! that is possible, with knowledge of the future, on drawn prompts, on the canvas load and on traces.
//!
//! Nothing is timed here: the same seed gives the same figures on any machine. What a hit costs is another bench's.

mod contender;
mod load;
mod picture;
mod report;
mod trace;

use std::process::ExitCode;

use contender::Contender;
use load::Load;

/// Any failure of the bench.
type Fault = Box<dyn std::error::Error + Send + Sync>;

const USAGE: &str = "usage: cargo bench --bench cache_hit_rate [-- [--quick] [TRACE ...]]";

/// Where the picture goes, from the project's root.
const PICTURE: &str = "docs/cache-hit-rate.svg";

/// Prompts that are drawn from, and how often, for the figures of the README.
const FULL: (usize, usize) = (100_000, 1_000_000);

/// A tenth: does it run?
const QUICK: (usize, usize) = (10_000, 100_000);

/// How skewed the draws are: Zipf's exponent.
const SKEWS: [f64; 3] = [0.7, 0.9, 1.1];

/// Draws by which nothing was tuned: the seed, and whether what is popular changes.
const HELD_OUT: [(u64, bool); 4] = [(101, false), (102, false), (103, true), (104, true)];

/// Sizes of the cache, as shares of all prompts.
const SHARES: [f64; 7] = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5];

/// What one cache did with one load.
pub(crate) struct Measured {
    pub(crate) contender: Contender,
    /// Its size, as a share of what all answers take.
    pub(crate) share: f64,
    /// Its size in bytes.
    pub(crate) bytes: u64,
    /// Draws that were answered from it, after the warm-up.
    pub(crate) hits: u64,
    /// Draws after the warm-up.
    pub(crate) draws: u64,
    /// Bytes of answers that came from it.
    pub(crate) hit_bytes: u64,
    /// Bytes of all answers.
    pub(crate) all_bytes: u64,
}

impl Measured {
    /// The hit rate, from 0 to 1.
    pub(crate) fn rate(&self) -> f64 {
        self.hits as f64 / self.draws as f64
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // cargo adds `--bench` to the arguments of its own.
    let (flags, traces): (Vec<&String>, Vec<&String>) =
        arguments.iter().filter(|argument| *argument != "--bench").partition(|argument| argument.starts_with("--"));
    let result = match flags.as_slice() {
        [] if !traces.is_empty() => of_traces(&traces),
        [] => drawn(FULL, true),
        [flag] if *flag == "--quick" && traces.is_empty() => drawn(QUICK, false),
        _ => Err(USAGE.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("cache_hit_rate: {fault}");
            ExitCode::FAILURE
        }
    }
}

/// Drawn prompts and the canvas load; the picture is of the former.
fn drawn((prompts, draws): (usize, usize), is_pictured: bool) -> Result<(), Fault> {
    let mut panels = Vec::new();
    for skew in SKEWS {
        let load = Load::zipf(prompts, draws, skew);
        let measured = measure(&load, &SHARES);
        println!("{}", report::table(&load, &measured));
        panels.push((skew, measured));
    }
    for (seed, drifts) in HELD_OUT {
        let load = Load::drawn(prompts, draws, 0.9, seed, drifts);
        println!("{}", report::table(&load, &measure(&load, &SHARES)));
    }
    let canvas = Load::canvas();
    // Of thirty answers: a few, most, all.
    let measured = measure(&canvas, &[0.2, 0.5, 0.8, 1.0]);
    println!("{}", report::table(&canvas, &measured));
    println!("{}", report::verdicts(&panels, &measured));
    if is_pictured {
        std::fs::write(PICTURE, picture::draw(&panels))?;
        println!("The picture is in {PICTURE}. To repeat: `make bench-cache-hit-rate`.");
    }
    Ok(())
}

fn of_traces(paths: &[&String]) -> Result<(), Fault> {
    for path in paths {
        let load = trace::read(path)?;
        println!("{}", report::table(&load, &measure(&load, &SHARES)));
    }
    println!("{}", trace::CAVEAT);
    Ok(())
}

fn measure(load: &Load, shares: &[f64]) -> Vec<Measured> {
    let total: u64 = load.sizes.iter().map(|size| u64::from(*size)).sum();
    let mut measured = Vec::new();
    for &share in shares {
        let bytes = (total as f64 * share).round() as u64;
        for contender in Contender::ALL {
            let mut result = Measured { contender, share, bytes, hits: 0, draws: 0, hit_bytes: 0, all_bytes: 0 };
            let hits = contender.play(load, bytes);
            for (draw, is_hit) in load.draws.iter().zip(hits).skip(load.warm_up) {
                let size = u64::from(load.sizes[*draw as usize]);
                result.draws += 1;
                result.all_bytes += size;
                if is_hit {
                    result.hits += 1;
                    result.hit_bytes += size;
                }
            }
            measured.push(result);
        }
    }
    measured
}
