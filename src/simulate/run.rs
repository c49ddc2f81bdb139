//! Run: plays one trace through several configurations, each in a world and a thread of its own.
//!
//! It does not know what is made of the results, nor who waits for them.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;

use super::play::{self, Played, Setup};
use super::tally::{Ending, Tally};
use super::trace::{Source, Terms, TraceFault};
use super::world::WorldFile;
use crate::config;
use crate::config::Problems;
use crate::config::plan::Plan;
use crate::provider::simulated::model::Models;

/// When a trace begins that does not say: on a Monday, so that days and weeks are easy to see.
const START: &str = "2026-01-05T00:00:00Z";

/// What all candidates are played with.
pub struct Stage {
    /// The traffic.
    pub source: Source,
    /// What is said of it.
    pub terms: Terms,
    /// The providers, and what else happens.
    pub world: WorldFile,
    /// How many gateways share the calls.
    pub gateways: usize,
}

/// A configuration to be played.
#[derive(Clone, Debug, Default)]
pub struct Candidate {
    /// Its file; `None`: what `serve` would use.
    pub file: Option<PathBuf>,
    /// Keys that are set to other values.
    pub set: Vec<(String, String)>,
}

impl Candidate {
    /// The configuration, as it is played.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(&self) -> Result<Plan, Problems> {
        config::load_assumed(self.file.as_deref(), &self.set).map(|loaded| play::quiet(loaded.plan))
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(out, "{}", file.display())?,
            None => out.write_str("the usual configuration")?,
        }
        self.set.iter().try_for_each(|(key, value)| write!(out, " with {key}={value}"))
    }
}

/// Why there is no result.
#[derive(Debug)]
pub enum RunFault {
    /// The configuration, or the world, is wrong.
    Problems(Problems),
    /// The trace cannot be played.
    Trace(TraceFault),
    /// The gateway cannot be built.
    Other(String),
}

impl fmt::Display for RunFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunFault::Problems(problems) => problems.fmt(out),
            RunFault::Trace(fault) => fault.fmt(out),
            RunFault::Other(fault) => out.write_str(fault),
        }
    }
}

impl From<Problems> for RunFault {
    fn from(problems: Problems) -> Self {
        Self::Problems(problems)
    }
}

impl From<TraceFault> for RunFault {
    fn from(fault: TraceFault) -> Self {
        Self::Trace(fault)
    }
}

impl From<String> for RunFault {
    fn from(fault: String) -> Self {
        Self::Other(fault)
    }
}

/// What one run came to.
pub struct Outcome {
    /// What was counted.
    pub tally: Tally,
    /// What counting does not tell.
    pub ending: Ending,
    /// Lines of the trace that did not parse, and the first of them.
    pub skipped: (u64, Vec<String>),
}

impl Stage {
    /// Plays one candidate; `progress` is told how far it is, in the trace's time.
    ///
    /// # Errors
    /// What is wrong with the candidate, the world or the trace.
    pub fn play(&self, candidate: &Candidate, progress: impl FnMut(Duration)) -> Result<Outcome, RunFault> {
        let plan = candidate.load()?;
        let providers = self.world.for_plan(&plan)?;
        let trace = self.source.open(&self.terms)?;
        let usual = || START.parse().unwrap_or(Timestamp::UNIX_EPOCH);
        let start = trace.start.or(self.world.start).unwrap_or_else(usual);
        let skipped = trace.skipped.clone();
        let models = Models { providers, seed: self.terms.seed, start };
        let setup = Setup { plan, models, gateways: self.gateways, events: self.world.fleet.clone() };
        let arrivals = trace.map(|arrival| arrival.map_err(RunFault::Trace));
        let played = play::play(setup, arrivals, progress)?;
        let Played { tally, ending } = check_played(played)?;
        Ok(Outcome { tally, ending, skipped: (skipped.count(), skipped.first()) })
    }

    /// Plays all candidates, as many at once as the machine has cores. The results come in the order of the candidates; `keep`
    /// makes of each what is kept.
    pub fn play_all<T: Send>(
        &self,
        candidates: &[Candidate],
        keep: impl Fn(Outcome) -> T + Sync,
        progress: impl Fn(usize, Duration) + Sync,
    ) -> Vec<Result<T, RunFault>> {
        let next = AtomicUsize::new(0);
        let results = Mutex::new(Vec::new());
        let work = || {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(candidate) = candidates.get(index) else { return };
                let result = self.play(candidate, |at| progress(index, at)).map(&keep);
                results.lock().push((index, result));
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get).min(candidates.len());
        std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
        let mut results = results.into_inner();
        results.sort_by_key(|(index, _)| *index);
        results.into_iter().map(|(_, result)| result).collect()
    }
}

/// No goal could fail where no call was played: whoever asks for one must not take that for a success.
fn check_played(played: Played) -> Result<Played, RunFault> {
    let ending = &played.ending;
    if played.tally.all.calls > 0 || ending.unplayed.is_empty() {
        return Ok(played);
    }
    let reasons: Vec<_> = ending.unplayed.iter().map(|(reason, calls)| format!("{reason} ({calls})")).collect();
    let (reasons, routes) = (reasons.join("; "), ending.routes.join(", "));
    let why = format!("no call of the trace can be simulated: {reasons}; routes of the configuration: {routes}");
    Err(RunFault::Other(why))
}
