//! Report: what a simulation says: a column for each configuration and for what was recorded, side by side.
//!
//! It is the JSON of `--json` as it stands; the table and the page show a part of it. Names of fields stay. Same seed, same
//! report, byte for byte: no clock, no thread and no hash map decides anything in it. It does not know how a run is played.

pub mod column;

pub mod measure;

pub mod goals;
pub mod words;

pub mod blocks;

pub mod page;
pub mod table;

use std::sync::Arc;

use serde::Serialize;

use self::column::{Column, Share};
use self::goals::{Goal, Goals, Judgement};
use self::measure::{Kind, Measure};
use super::tally::timeline::Timeline;
use super::tally::who::Who;
use super::tally::{Ending, Sketch, Tally};

/// How many of those who lead by refusals, by cost and by calls are named, each.
const MOST_NAMES: usize = 20;

/// What was played.
#[derive(Clone, Debug, Default, Serialize)]
pub struct About {
    /// Where the calls come from: a file, or the words of `--generate`.
    pub trace: String,
    /// The world's file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub world: Option<String>,
    /// The seed.
    pub seed: u64,
    /// The number of gateways that shared the calls.
    pub gateways: u32,
    /// Lines of the trace that could not be read.
    pub skipped: u64,
    /// The first of them, each with its line number and what is wrong with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skipped_lines: Vec<String>,
}

/// One run that is over.
#[derive(Clone, Debug)]
pub struct Run {
    /// The heading of its column: `A`, `B` or `recorded`.
    pub name: String,
    /// The configuration's file.
    pub config: Option<String>,
    /// True for the trace's own rows.
    pub is_recorded: bool,
    /// What was counted.
    pub tally: Tally,
    /// What only the player knows.
    pub ending: Ending,
}

/// The whole of it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What was played.
    pub about: About,
    /// How far a percentile may be from the exact one, as a share of it. Below 128 ms they are exact.
    pub percentile_error: f64,
    /// One for each run.
    pub columns: Vec<Column>,
    /// The measures of all columns side by side, the most important first; those that are nothing everywhere are left out.
    pub compared: Vec<Compared>,
    /// The stated goals, and whether they hold.
    pub goals: Vec<Judged>,
    /// What was stated to be a failure, and whether it is so.
    pub fail_if: Vec<Judged>,
    /// Who leads by refusals, cost or calls in any of the columns.
    pub tenants: Names,
    /// The same of users.
    pub users: Names,
    /// The same of API keys.
    pub keys: Names,
}

/// A comparison that was stated, and what it says of each column.
#[derive(Clone, Debug, Serialize)]
pub struct Judged {
    /// The comparison, as it is written.
    pub goal: Goal,
    /// One for each column.
    pub columns: Vec<Judgement>,
}

/// A measure of all columns.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compared {
    /// The measure.
    pub measure: Measure,
    /// What its values count.
    pub unit: Kind,
    /// Its value in each column. `null`: there is nothing to measure.
    pub values: Vec<Option<f64>>,
    /// The last value less the first of what was played; `null` where only one was.
    pub change: Option<f64>,
}

/// Those who lead, and all others.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Names {
    /// The leaders, those with most refusals first.
    pub rows: Vec<Named>,
    /// All others together, in each column.
    pub others: Vec<Share>,
    /// How many there are in each column, where that is known.
    pub count: Vec<Option<usize>>,
    /// By how much the calls, the refusals and the cost (nanodollars) of a row may be too small in each column; more than zero
    /// only where more than 4,096 were seen.
    pub short: Vec<[u64; 3]>,
}

/// One of them.
#[derive(Clone, Debug, Serialize)]
pub struct Named {
    /// The name, as the trace has it.
    pub name: Arc<str>,
    /// What happened to its calls in each column. `null`: it is not there, or has been forgotten for others that lead.
    pub values: Vec<Option<Share>>,
}

impl Report {
    /// The report of these runs, in the order in which they are shown.
    ///
    /// `fail_if` is written like a goal, and states what must not be.
    pub fn of(about: About, mut runs: Vec<Run>, goals: &Goals, fail_if: &Goals) -> Self {
        // One axis for all pictures of time.
        let widest = runs.iter().map(|run| &run.tally.timeline).max_by_key(|line| line.width()).cloned();
        let widest: Timeline = widest.unwrap_or_default();
        runs.iter_mut().for_each(|run| run.tally.timeline.match_width(&widest));
        let columns: Vec<Column> = runs
            .iter()
            .map(|run| Column::of(&run.name, run.config.as_deref(), run.is_recorded, &run.tally, &run.ending))
            .collect();
        let judged = |goals: &Goals| {
            let judge = |goal: &Goal| columns.iter().map(|column| goal.judge(column)).collect();
            goals.iter().map(|goal| Judged { goal: goal.clone(), columns: judge(goal) }).collect()
        };
        let names = |pick: fn(&Tally) -> &Who| Names::of(&runs.iter().map(|run| pick(&run.tally)).collect::<Vec<_>>());
        Self {
            about,
            percentile_error: Sketch::ERROR,
            compared: Measure::ALL.iter().filter_map(|measure| Compared::of(*measure, &columns)).collect(),
            goals: judged(goals),
            fail_if: judged(fail_if),
            tenants: names(|tally| &tally.tenants),
            users: names(|tally| &tally.users),
            keys: names(|tally| &tally.keys),
            columns,
        }
    }

    /// The column that is judged: the last configuration that was played, or what was recorded where none was.
    fn candidate(&self) -> Option<usize> {
        let played = self.columns.iter().rposition(|column| !column.is_recorded);
        played.or(self.columns.len().checked_sub(1))
    }

    /// What was stated to be a failure and is so, of the last configuration: the candidate, where two were played. Each with
    /// the value that was measured. Empty: the command succeeds.
    pub fn failures(&self) -> Vec<String> {
        self.told(&self.fail_if, |judgement| judgement.holds == Some(true))
    }

    /// The stated goals that the last configuration does not keep, each with the value that was measured.
    pub fn broken_goals(&self) -> Vec<String> {
        self.told(&self.goals, |judgement| judgement.holds != Some(true))
    }

    /// Those of `judged` of which this is true for the last configuration, in words.
    fn told(&self, judged: &[Judged], is_met: impl Fn(&Judgement) -> bool) -> Vec<String> {
        let Some(at) = self.candidate() else { return Vec::new() };
        let name = self.columns.get(at).map_or("", |column| &column.name);
        let is_met = |judged: &&Judged| judged.columns.get(at).is_some_and(&is_met);
        let line = |judged: &Judged| {
            let measured = judged.columns.get(at).and_then(|judgement| judgement.measured);
            let measure = judged.goal.measure;
            format!("{}: {} is {} in {name}", judged.goal, measure.name(), words::value(measure.kind(), measured))
        };
        judged.iter().filter(is_met).map(line).collect()
    }
}

impl Compared {
    fn of(measure: Measure, columns: &[Column]) -> Option<Self> {
        let values: Vec<_> = columns.iter().map(|column| measure.of(column)).collect();
        if values.iter().flatten().all(|value| *value == 0.0) && measure != Measure::Calls {
            return None;
        }
        let mut played = columns.iter().zip(&values).filter(|(column, _)| !column.is_recorded);
        let first = played.next().and_then(|(_, value)| *value);
        let last = played.next_back().and_then(|(_, value)| *value);
        let change = last.zip(first).map(|(last, first)| last - first);
        Some(Self { measure, unit: measure.kind(), values, change })
    }
}

impl Names {
    fn of(tables: &[&Who]) -> Self {
        // By refusals, cost and calls: the numbers of `Counts::ranks`.
        let mut names: Vec<Arc<str>> = Vec::new();
        for rank in [1, 2, 0] {
            for name in tables.iter().flat_map(|who| who.leaders(rank, MOST_NAMES)) {
                if !names.contains(name) {
                    names.push(name.clone());
                }
            }
        }
        let most = |name: &Arc<str>| {
            let counts = tables.iter().filter_map(|who| who.get(name));
            counts.map(|counts| (counts.refused, counts.nanos, counts.calls)).max()
        };
        names.sort_by(|left, right| most(right).cmp(&most(left)).then_with(|| left.cmp(right)));
        let row = |name: &Arc<str>| Named {
            name: name.clone(),
            values: tables.iter().map(|who| who.get(name).map(Share::of)).collect(),
        };
        Self {
            rows: names.iter().map(row).collect(),
            others: tables.iter().map(|who| Share::of(&who.rest(&names))).collect(),
            count: tables
                .iter()
                .map(|who| Some(who.len()).filter(|(_, is_more)| !is_more).map(|(count, _)| count))
                .collect(),
            short: tables.iter().map(|who| who.short()).collect(),
        }
    }
}
