//! `--sweep` and `--find`: plays one configuration with many values of a key, or of two.
//!
//! It does not know how a sweep is played or shown.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;

use super::{Arguments, FAILED, about, environment, listed, pairs, parsed, print, save, stage, together, world_goals};
use crate::simulate::names::Names;
use crate::simulate::report::goals::Goal;
use crate::simulate::run::{Candidate, Outcome, RunFault, Stage};
use crate::simulate::sweep::{Row, Set, Sweep, Swept, effect, page, picture, table};

/// What is to be swept.
#[derive(Args)]
pub(super) struct SweepArguments {
    /// Play a key with many values: `limit.ai.rate=10/min..120/min`, `KEY=FROM..TO:COUNT`, or a list, `KEY=A,B,C`. A range without a
    /// count has 12 values, evenly by factors where its end is ten times its beginning or more. Given twice, each value of one
    /// key is played with each of the other (6 by 6 values).
    #[arg(long, value_name = "KEY=VALUES", conflicts_with = "fail_if")]
    pub(super) sweep: Vec<String>,
    /// Find the lowest and the highest value of the swept key that keep all of these: `p95<5s, refused<1%, cost<100/day`. The
    /// values of the sweep are tried first, and then, in a range, those between them. Exit code 1: no value does.
    #[arg(long, value_name = "GOALS", requires = "sweep")]
    pub(super) find: Option<String>,
    /// Write the picture of a sweep as SVG, too. Where there are two keys, or a list, there is a picture for each measure, and
    /// its name goes before the ending: `FILE-refused.svg`, `FILE-p95.svg`, `FILE-cost.svg`.
    #[arg(long, value_name = "FILE", requires = "sweep")]
    pub(super) svg: Option<PathBuf>,
}

/// Sweeps.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, String> {
    let wanted = &arguments.sweep;
    let sweep = Sweep::parse(&wanted.sweep)?;
    if wanted.find.is_some() && sweep.only().is_none() {
        return Err("--find searches the values of one key: give --sweep once".to_owned());
    }
    let base = base(arguments)?;
    let mut stage = stage(arguments)?;
    let mut goals = Vec::new();
    goals.extend(wanted.find.as_ref().map(|text| parsed(std::slice::from_ref(text), "--find")).transpose()?);
    goals.extend([parsed(&arguments.goal, "--goal")?, world_goals(&stage.world)?]);
    let goals = together(&goals.concat())?;
    let with = |set: &Set| {
        let set = base.set.iter().chain(set).cloned().collect();
        Candidate { file: base.file.clone(), set }
    };
    let (mut names, listed) = (Names::default(), listed(arguments.names.as_deref())?);
    effect::check(
        &sweep,
        |set| with(set).load(),
        |plan| {
            let routes: Vec<_> = plan.routes.iter().map(|route| route.name.clone()).collect();
            goals.check(&routes).map_err(|wrong| format!("a goal: {wrong}"))?;
            stage.world.for_plan(plan).map_err(|problems| problems.to_string())?;
            names.add(plan, &listed);
            Ok(())
        },
    )?;
    stage.terms.names = Arc::new(names);
    let goals: Vec<Goal> = goals.iter().cloned().collect();
    let bar = ProgressBar::no_length().with_style(style());
    let skipped = Mutex::new(None);
    let played = sweep.play(wanted.find.is_some(), |sets| {
        let candidates: Vec<_> = sets.iter().map(with).collect();
        play(&stage, &candidates, &goals, &bar, &skipped)
    });
    bar.finish_and_clear();
    let played = played.map_err(|fault| fault.to_string())?;
    let swept = Swept {
        about: about(arguments, skipped.into_inner().unwrap_or_default()),
        config: base.to_string(),
        sweep: sweep.axes().to_vec(),
        goals,
        unchanged: played.unchanged,
        points: played.points,
        found: played.found,
    };
    show(arguments, &swept)?;
    let has_found = swept.found.as_ref().is_none_or(|found| !found.ranges.is_empty());
    Ok(if has_found { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// The configuration that is swept.
fn base(arguments: &Arguments) -> Result<Candidate, String> {
    match &*arguments.config {
        [_, _, ..] => Err("--sweep plays one configuration: give --config once".to_owned()),
        files => {
            let set = environment(arguments).chain(pairs(&arguments.set)?).collect();
            Ok(Candidate { file: files.first().cloned(), set })
        }
    }
}

/// Lines of the trace that did not parse.
type Skipped = (u64, Vec<String>);

fn play(
    stage: &Stage,
    candidates: &[Candidate],
    goals: &[Goal],
    bar: &ProgressBar,
    skipped: &Mutex<Option<Skipped>>,
) -> Result<Vec<Row>, RunFault> {
    bar.inc_length(candidates.len() as u64);
    let row = |outcome: Outcome| {
        bar.inc(1);
        // They are the same in each run.
        skipped.lock().get_or_insert(outcome.skipped);
        Row::of(&outcome.tally, &outcome.ending, goals)
    };
    stage.play_all(candidates, row, |_, _| {}).into_iter().collect()
}

fn style() -> ProgressStyle {
    let style = ProgressStyle::with_template("{bar:40} {pos} of {len} runs {eta}");
    style.unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn show(arguments: &Arguments, swept: &Swept) -> Result<(), String> {
    print(arguments.json, swept, table::table)?;
    if let Some(path) = &arguments.report {
        save(path, &page::page(swept))?;
    }
    let Some(path) = &arguments.sweep.svg else { return Ok(()) };
    match &*picture::pictures(swept) {
        [(_, svg)] => save(path, &svg.file()),
        several => several.iter().try_for_each(|(name, svg)| save(&named(path, name), &svg.file())),
    }
}

/// The path with a name before its ending: `sweep-cost.svg` of `sweep.svg`.
fn named(path: &Path, name: &str) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let ending = path.extension().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{stem}-{name}.{}", if ending.is_empty() { "svg" } else { &*ending }))
}
