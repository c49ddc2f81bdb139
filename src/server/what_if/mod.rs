//! What if: the calls of the last recorded hour with another rate of one limit, on an operator's request.
//!
//! `tidegate simulate` plays them, in a process of its own at the lowest priority: one at a time, and not without end. It does
//! not know how calls are recorded or played, nor who may ask.

pub mod outcome;
mod process;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::time::Instant;

use self::outcome::Outcome;
use crate::gateway::Gateway;

/// How much of the trace is played.
const SPAN: &str = "1h";

/// How long a simulation may take.
const WITHIN: Duration = Duration::from_secs(60);

/// The program itself, even where the file that it was started from has been replaced since (Linux).
const SELF: &str = "/proc/self/exe";

/// What plays calls.
#[derive(Clone, Debug)]
pub struct Simulator {
    program: PathBuf,
    config: Option<PathBuf>,
    within: Duration,
}

impl Simulator {
    /// This program, with the configuration file that it runs with. An error says why it cannot be started again.
    pub fn of_process(config: Option<&Path>) -> Result<Self, String> {
        let program = match Path::new(SELF).exists() {
            true => SELF.into(),
            false => std::env::current_exe().map_err(|fault| format!("the program is not found: {fault}"))?,
        };
        Ok(Self::new(program, config))
    }

    /// Another program that understands the same arguments.
    pub fn new(program: PathBuf, config: Option<&Path>) -> Self {
        Self { program, config: config.map(Into::into), within: WITHIN }
    }
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// The limit.
    pub limit: Arc<str>,
    /// Its other rate.
    pub rate: Arc<str>,
    /// True for a limit in shadow mode, which is asked about as if it were enforced.
    pub is_shadow: bool,
    /// Where the calls are.
    pub folder: PathBuf,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The question.
    pub question: Question,
    /// When it came.
    pub at: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// What would be, or why nobody knows.
    pub result: Result<Outcome, String>,
}

/// What is known.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The question that is being played, and since when.
    pub running: Option<(Question, Instant)>,
    /// The last answer.
    pub last: Option<Arc<Answer>>,
}

/// The questions of a process.
#[derive(Debug, Default)]
pub struct WhatIf {
    simulator: OnceLock<Simulator>,
    state: Arc<Mutex<State>>,
}

impl WhatIf {
    /// From now on questions are answered, by this one.
    pub fn offer(&self, simulator: Simulator) {
        // The first one stays: there is one for each process.
        let _ = self.simulator.set(simulator);
    }

    /// True where questions are answered.
    pub fn is_offered(&self) -> bool {
        self.simulator.get().is_some()
    }

    /// What is known now.
    pub fn state(&self) -> State {
        self.state.lock().clone()
    }

    /// Begins to answer a question. It ends at once when the gateway leaves.
    ///
    /// # Errors
    /// The question that is being played, or nothing where none can be.
    pub fn begin(&self, question: Question, gateway: &Gateway) -> Result<(), Option<(Question, Instant)>> {
        let simulator = self.simulator.get().ok_or(None)?.clone();
        let began = Instant::now();
        {
            let mut state = self.state.lock();
            if let Some(running) = &state.running {
                return Err(Some(running.clone()));
            }
            state.running = Some((question.clone(), began));
        }
        let (at, leaving, state) = (gateway.world.now(), gateway.state.leaving().clone(), self.state.clone());
        gateway.state.tasks().spawn(async move {
            let work = simulator.answer(&question);
            let result = leaving.run_until_cancelled(work).await;
            let result =
                result.unwrap_or_else(|| Err("the gateway is shutting down; the simulation was stopped".into()));
            if let Err(problem) = &result {
                tracing::warn!(limit = &*question.limit, rate = &*question.rate, problem, "no answer to a what-if");
            }
            let answer = Answer { question, at, took: began.elapsed(), result };
            *state.lock() = State { running: None, last: Some(Arc::new(answer)) };
        });
        Ok(())
    }
}

impl Simulator {
    async fn answer(&self, question: &Question) -> Result<Outcome, String> {
        let report = process::run(&self.program, &self.arguments(question), self.within).await;
        let report = report.map_err(|problem| match question.folder.exists() {
            true => problem,
            false => format!("no call has been recorded in {} yet", question.folder.display()),
        })?;
        Outcome::of(&report, &question.limit)
            .map_err(|fault| format!("the report of the simulation is unreadable: {fault}"))
    }

    fn arguments(&self, Question { limit, rate, is_shadow, folder }: &Question) -> Vec<PathBuf> {
        let words = ["simulate", "--background", "--json", "--learned", "--last", SPAN, "--trace"];
        let mut arguments: Vec<PathBuf> = words.into_iter().map(PathBuf::from).collect();
        arguments.push(folder.clone());
        if let Some(file) = &self.config {
            arguments.extend(["--config".into(), file.clone()]);
        }
        // It wins over the rates of environments.
        arguments.extend(["--set".into(), format!("limit.{limit}.rate={rate}").into()]);
        if *is_shadow {
            arguments.extend(["--set".into(), format!("limit.{limit}.mode=enforce").into()]);
        }
        arguments
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
