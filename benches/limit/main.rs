//! What a limit costs: a check in this process with a million keys that owe something, the memory of a key, and a check in
//! a real Redis, with the round trips counted and the time until a store that was gone is in use again.
//!
//! It starts its own redis-server and stops it. Times are of this machine, in this run; no test judges them.

mod local;
mod server;
mod shared;

use std::process::ExitCode;
use std::time::Duration;

/// Any failure of the bench. It ends the run: a figure that is half right is worse than none.
type Fault = Box<dyn std::error::Error + Send + Sync>;

/// How much is measured.
pub(crate) struct Extent {
    /// Keys that owe something.
    pub(crate) keys: usize,
    /// Checks per figure.
    pub(crate) checks: usize,
    /// How often an outage is repeated.
    pub(crate) outages: usize,
}

const FULL: Extent = Extent { keys: 1_000_000, checks: 2_000_000, outages: 5 };
const QUICK: Extent = Extent { keys: 10_000, checks: 20_000, outages: 1 };

/// The middle one and the one that only a hundredth exceed.
pub(crate) fn percentiles(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort_unstable();
    let at = |share: f64| times.get((times.len() as f64 * share) as usize).copied().unwrap_or_default();
    (at(0.5), at(0.99))
}

fn main() -> ExitCode {
    let extent = if std::env::args().any(|argument| argument == "--quick") { QUICK } else { FULL };
    let run = || -> Result<(), Fault> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(async {
            local::measure(&extent)?;
            shared::measure(&extent).await
        })
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("limit: {fault}");
            ExitCode::FAILURE
        }
    }
}
