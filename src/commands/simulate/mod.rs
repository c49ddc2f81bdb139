//! `tidegate simulate`: plays traffic through configurations in virtual time, and says what would happen.
//!
//! It opens no socket: everything is simulated but the gateway.

mod background;
mod learn;
mod progress;
mod sweep;

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgGroup, Args};
use serde::Serialize;

use self::progress::Progress;
use self::sweep::SweepArguments;
use crate::commands::output::put;
use crate::config;
use crate::config::engine::text_file;
use crate::model::time::in_words;
use crate::simulate::names::Names;
use crate::simulate::report::goals::Goals;
use crate::simulate::report::{About, Report, Run, page, table};
use crate::simulate::run::{Candidate, Outcome, RunFault, Stage};
use crate::simulate::tally::{Ending, Tally};
use crate::simulate::trace::generated;
use crate::simulate::trace::spread::Spread;
use crate::simulate::trace::{Source, Terms};
use crate::simulate::world::{self, MOST_GATEWAYS, WorldFile};

/// Exit code where a goal is not kept, or `--fail-if` applies.
const FAILED: u8 = 1;
/// ... and for errors.
const ERROR: u8 = 2;

/// What is to be simulated.
#[derive(Args)]
#[group(skip)]
#[command(group(ArgGroup::new("traffic").required(true).multiple(true).args(["trace", "generate", "learn"])))]
pub struct Arguments {
    /// Traffic: files or folders that `[record]` wrote, or CSV (TIMESTAMP,ContextTokens,GeneratedTokens).
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with = "generate")]
    trace: Vec<PathBuf>,
    /// Only the end of a recorded trace: calls that came within this time before the last call ended, such as `1h`.
    #[arg(long, value_name = "TIME", value_parser = config::duration, conflicts_with_all = ["generate", "learn"])]
    last: Option<Duration>,
    /// Traffic that is made up: `rate=5/s for=1h burst=5 in=300 out=120 callers=200 questions=1000 streams=50%`.
    #[arg(long, value_name = "WORDS")]
    generate: Option<String>,
    /// Who calls in a CSV trace: `callers=200 tenants=10 questions=1000 zipf=1.0 streams=50% route=openai-chat model=gpt-4`.
    #[arg(long, value_name = "WORDS", conflicts_with = "generate")]
    callers: Option<String>,
    /// The configuration, in TOML; given twice, the second is the candidate. Without it, what `serve` would use.
    #[arg(long, value_name = "FILE")]
    config: Vec<PathBuf>,
    /// A key of the candidate with another value: `limit.ai.rate=20/min`. With one configuration, that is compared with itself
    /// before the change.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// The environment of all configurations: development, staging or production, which limits depend on. Without it, what they
    /// and NODE_ENV say.
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
    /// How providers behave, in TOML (docs/worlds.md). Without it, every provider is a usual one.
    #[arg(long, value_name = "FILE")]
    world: Option<PathBuf>,
    /// Providers behave as the recorded trace shows (`--learn` prints how). One that it does not show is a usual one.
    #[arg(long, conflicts_with_all = ["generate", "learn", "world", "sweep"])]
    learned: bool,
    /// Print the world that a trace shows, in TOML, and how well it fits, instead of a simulation: files or folders that `[record]`
    /// wrote.
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["trace", "generate", "callers", "config", "set", "world", "names", "goal", "fail_if", "report"])]
    learn: Vec<PathBuf>,
    /// Names of tenants, users and keys, one a line, to be shown in the place of a trace's digests. It needs the secret of
    /// `[record]`, with which the trace was made.
    #[arg(long, value_name = "FILE")]
    names: Option<PathBuf>,
    /// How many gateways share the calls, and a simulated Redis where the configuration names one.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=MOST_GATEWAYS as i64))]
    gateways: u8,
    /// What all chance comes from: the same seed gives the same report.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// End at the first line of the trace that does not parse.
    #[arg(long)]
    strict: bool,
    /// What the candidate must keep: `p95<5s, refused<1%, cost<100/day`. The world file may state more.
    #[arg(long, value_name = "GOALS")]
    goal: Vec<String>,
    /// Exit with code 1 if one of these is true of the candidate: `refused>1%, errors>0.1%`.
    #[arg(long, value_name = "CONDITIONS")]
    fail_if: Vec<String>,
    #[command(flatten)]
    sweep: SweepArguments,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    /// Write the report as one HTML page, too.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Write the pictures of the report into this folder, too, as SVG.
    #[arg(long, value_name = "FOLDER")]
    pictures: Option<PathBuf>,
    /// At the lowest priority, one configuration after the other.
    #[arg(long, hide = true)]
    background: bool,
}

/// Simulates.
pub fn run(arguments: &Arguments) -> ExitCode {
    if arguments.background {
        background::step_back();
    }
    let done = if arguments.sweep.sweep.is_empty() { simulate(arguments) } else { sweep::run(arguments) };
    match done {
        Ok(code) => code,
        Err(problem) => {
            eprintln!("tidegate simulate: {problem}");
            ExitCode::from(ERROR)
        }
    }
}

fn simulate(arguments: &Arguments) -> Result<ExitCode, String> {
    if !arguments.learn.is_empty() {
        learn::learn(&arguments.learn, arguments.seed, arguments.strict, arguments.json)?;
        return Ok(ExitCode::SUCCESS);
    }
    let candidates = candidates(arguments)?;
    let mut stage = stage(arguments)?;
    let listed = listed(arguments.names.as_deref())?;
    let mut names = Names::default();
    let goals = goals(arguments, &stage.world)?;
    let fail_if = together(&parsed(&arguments.fail_if, "--fail-if")?)?;
    let mut providers = BTreeSet::new();
    // What is wrong with a configuration is told before anything runs.
    for candidate in &candidates {
        let plan = candidate.load().map_err(|problems| problems.to_string())?;
        let routes: Vec<_> = plan.routes.iter().map(|route| route.name.clone()).collect();
        goals.check(&routes).map_err(|wrong| format!("a goal: {wrong}"))?;
        fail_if.check(&routes).map_err(|wrong| format!("--fail-if: {wrong}"))?;
        stage.world.for_plan(&plan).map_err(|problems| problems.to_string())?;
        names.add(&plan, &listed);
        providers.extend(plan.providers.iter().map(|provider| provider.name.clone()));
    }
    stage.terms.names = Arc::new(names);
    if arguments.learned {
        stage.world = learn::world(&stage.source, &stage.terms, &providers)?;
    }
    let progress = Progress::start(&stage, candidates.len());
    let outcomes = match arguments.background {
        // One processor is enough.
        true => candidates.iter().map(|candidate| stage.play(candidate, |_| {})).collect(),
        false => stage.play_all(&candidates, |outcome| outcome, |index, at| progress.tell(index, at)),
    };
    progress.end();
    let outcomes: Vec<Outcome> =
        outcomes.into_iter().collect::<Result<_, RunFault>>().map_err(|fault| fault.to_string())?;
    let (about, runs) = runs(arguments, &stage, &candidates, outcomes)?;
    let report = Report::of(about, runs, &goals, &fail_if);
    show(arguments, &report)?;
    let broken = report.broken_goals().into_iter().map(|goal| format!("goal not kept: {goal}"));
    let failures = report.failures().into_iter().map(|failure| format!("--fail-if applies: {failure}"));
    let told = broken.chain(failures).inspect(|line| eprintln!("{line}")).count();
    Ok(if told > 0 { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

/// The environment of all configurations, where it is said.
fn environment(arguments: &Arguments) -> impl Iterator<Item = (String, String)> {
    arguments.environment.iter().map(|name| ("environment".to_owned(), name.clone()))
}

/// The configurations that are compared.
fn candidates(arguments: &Arguments) -> Result<Vec<Candidate>, String> {
    let set = pairs(&arguments.set)?;
    let both: Vec<_> = environment(arguments).collect();
    let plain = |file: Option<&PathBuf>| Candidate { file: file.cloned(), set: both.clone() };
    let changed = |file: Option<&PathBuf>| Candidate { set: [both.clone(), set.clone()].concat(), ..plain(file) };
    match (&*arguments.config, set.is_empty()) {
        ([], true) => Ok(vec![plain(None)]),
        ([file], true) => Ok(vec![plain(Some(file))]),
        ([], false) => Ok(vec![plain(None), changed(None)]),
        ([file], false) => Ok(vec![plain(Some(file)), changed(Some(file))]),
        ([before, after], _) => Ok(vec![plain(Some(before)), changed(Some(after))]),
        (more, _) => Err(format!("--config was given {} times; allowed: once or twice", more.len())),
    }
}

/// What `--set` says.
fn pairs(set: &[String]) -> Result<Vec<(String, String)>, String> {
    let pair = |text: &String| {
        let pair = text.split_once('=').map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()));
        pair.ok_or_else(|| format!("--set {text}: expected KEY=VALUE, as in limit.ai.rate=20/min"))
    };
    set.iter().map(pair).collect()
}

/// The names in a file, one a line.
fn listed(file: Option<&Path>) -> Result<Vec<Arc<str>>, String> {
    let Some(path) = file else { return Ok(Vec::new()) };
    let text = text_file::bounded(path, text_file::INPUT);
    let text = text.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Ok(text.lines().map(str::trim).filter(|name| !name.is_empty()).map(Arc::from).collect())
}

fn stage(arguments: &Arguments) -> Result<Stage, String> {
    let words = arguments.generate.as_deref().or(arguments.callers.as_deref());
    let (traffic, spread) = match words {
        Some(words) => {
            let flag = if arguments.generate.is_some() { "--generate" } else { "--callers" };
            generated::parse(words).map_err(|wrong| format!("{flag}: {wrong}"))?
        }
        None => (generated::Traffic::default(), Spread::default()),
    };
    let source = match arguments.generate {
        Some(_) => Source::Generated(traffic),
        None => match arguments.last {
            Some(length) => Source::last(&arguments.trace, length).map_err(|fault| fault.to_string())?,
            None => Source::Files(arguments.trace.clone()),
        },
    };
    let world = match &arguments.world {
        None => WorldFile::default(),
        Some(path) => {
            let name = path.display().to_string();
            let text = text_file::bounded(path, text_file::INPUT);
            let text = text.map_err(|error| format!("cannot read {name}: {error}"))?;
            world::read(&name, &text).map_err(|problems| problems.to_string())?
        }
    };
    let terms = Terms { spread, names: Arc::default(), is_strict: arguments.strict, seed: arguments.seed };
    let gateways = usize::from(arguments.gateways);
    world.check_gateways(gateways).map_err(|problems| problems.to_string())?;
    Ok(Stage { source, terms, world, gateways })
}

/// The stated goals: the command line's, then the world file's.
fn goals(arguments: &Arguments, world: &WorldFile) -> Result<Goals, String> {
    together(&[parsed(&arguments.goal, "--goal")?, world_goals(world)?].concat())
}

fn world_goals(world: &WorldFile) -> Result<Vec<Goals>, String> {
    let goals = world.goals.iter();
    goals.map(|goal| Goals::parse(&goal.text).map_err(|wrong| format!("{}: goals: {wrong}", goal.place))).collect()
}

/// Goals that parse, each by itself: an error shows the text in which it is.
fn parsed(texts: &[String], flag: &str) -> Result<Vec<Goals>, String> {
    texts.iter().map(|text| Goals::parse(text).map_err(|wrong| format!("{flag}: {wrong}"))).collect()
}

fn together(goals: &[Goals]) -> Result<Goals, String> {
    match goals {
        [] => Ok(Goals::default()),
        goals => {
            let texts: Vec<_> = goals.iter().map(ToString::to_string).collect();
            Goals::parse(&texts.join(", ")).map_err(|wrong| wrong.to_string())
        }
    }
}

fn runs(
    arguments: &Arguments,
    stage: &Stage,
    candidates: &[Candidate],
    outcomes: Vec<Outcome>,
) -> Result<(About, Vec<Run>), String> {
    let about = about(arguments, outcomes.first().map(|outcome| outcome.skipped.clone()).unwrap_or_default());
    let mut runs = Vec::new();
    if let Some(tally) = recorded(stage)? {
        let (name, ending) = ("recorded".to_owned(), Ending::default());
        runs.push(Run { name, config: None, is_recorded: true, tally, ending });
    }
    for ((candidate, outcome), name) in candidates.iter().zip(outcomes).zip(["A", "B"]) {
        let Outcome { tally, ending, .. } = outcome;
        runs.push(Run { name: name.into(), config: Some(candidate.to_string()), is_recorded: false, tally, ending });
    }
    Ok((about, runs))
}

/// What is played; with the lines of the trace that did not parse, and the first of them.
fn about(arguments: &Arguments, (skipped, skipped_lines): (u64, Vec<String>)) -> About {
    let shown = |path: &PathBuf| path.display().to_string();
    About {
        trace: match &arguments.generate {
            Some(words) => format!("generated: {words}"),
            None => {
                let files = arguments.trace.iter().map(shown).collect::<Vec<_>>().join(", ");
                arguments.last.map_or(files.clone(), |length| format!("{files}, the last {}", in_words(length)))
            }
        },
        world: arguments.world.as_ref().map(shown),
        seed: arguments.seed,
        gateways: arguments.gateways.into(),
        skipped,
        skipped_lines,
    }
}

/// What happened, where the trace says it.
fn recorded(stage: &Stage) -> Result<Option<Tally>, String> {
    let rows = stage.source.recorded(&stage.terms).map_err(|fault| fault.to_string())?;
    let Some(rows) = rows else { return Ok(None) };
    let mut tally = Tally::default();
    for row in rows {
        tally.note(&row.map_err(|fault| fault.to_string())?);
    }
    Ok(Some(tally))
}

fn show(arguments: &Arguments, report: &Report) -> Result<(), String> {
    print(arguments.json, report, table::table)?;
    if let Some(path) = &arguments.report {
        save(path, &page::page(report))?;
    }
    let Some(folder) = &arguments.pictures else { return Ok(()) };
    std::fs::create_dir_all(folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    let mut pictures = page::pictures::pictures(report).into_iter();
    pictures.try_for_each(|(name, svg)| save(&folder.join(format!("{name}.svg")), &svg.file()))
}

/// Prints a result: as JSON, or as a table, with colours where a person reads it.
fn print<T: Serialize>(is_json: bool, result: &T, table: impl FnOnce(&T, bool) -> String) -> Result<(), String> {
    match is_json {
        true => put(&(serde_json::to_string_pretty(result).map_err(|fault| fault.to_string())? + "\n")),
        false => put(&table(result, std::io::stdout().is_terminal())),
    }
}

fn save(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}
