//! The report: medians over the rounds with their spread, beside nginx and the bare references of the same round, as tables
//! for the documents, and what became of the aims.
//!
//! It measures nothing.

use std::fmt::Write;

use crate::bench::{Extent, Memory, Series};
use crate::contender::Contender;
use crate::load::Measured;
use crate::workload::Workload;

/// The most CPU time that each may cost, as a multiple of nginx's.
const AIMS: [(Workload, f64); 4] =
    [(Workload::Chat, 2.0), (Workload::Events, 1.05), (Workload::Slow, 1.2), (Workload::Hit, 1.3)];

/// The most memory that an open stream may take, in KiB.
const STREAM_AIM: f64 = 32.0;

/// The most that the median of a call over one connection may be above the bare proxy's, in microseconds.
const ADDED_AIM: f64 = 25.0;

/// The report in Markdown.
pub(crate) fn render(all: &[Series], memories: &[Memory], cores: &str, extent: &Extent) -> String {
    let mut out = String::new();
    for workload in Workload::ALL {
        let field = Field { all, workload };
        let unit = if workload.is_stream() { "event" } else { "call" };
        let time = if workload.is_stream() { "delay" } else { "time" };
        let _ = writeln!(
            out,
            "\n| {} | per second | {time} p50 | p99 | CPU per {unit} | nginx = 1 | hyper = 1 |",
            workload.title()
        );
        out.push_str("| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n");
        for contender in workload.contenders() {
            out.extend(field.of(*contender).map(|series| field.row(series)));
        }
    }
    out.push_str(&memory_table(memories));
    let _ = write!(
        out,
        "\nMedians of {} rounds of {} s ({} s of slow streams), all interleaved; beside CPU times the ratio to nginx's and \
         hyper's of the same round with its spread. nginx, bare hyper and the gateway each in one process; nginx and the \
         gateway write an access line for each call to `/dev/null`, one write a line; the gateway runs in staging with its \
         default policies and two rate limits.\n{}; {cores}.\nTo repeat: `make bench`.\n\n",
        extent.rounds,
        extent.measure.as_secs_f64(),
        extent.slow.1.as_secs_f64(),
        machine(),
    );
    for (name, aim, reached) in aims(all, memories) {
        let verdict = if reached.is_nan() {
            "not measured".to_owned()
        } else {
            format!("{}, {reached:.2}", if reached <= aim { "met" } else { "missed" })
        };
        let _ = writeln!(out, "Aim: {name}: at most {aim}: {verdict}.");
    }
    out
}

/// What is aimed at, and what was reached; no number where it was not measured.
fn aims(all: &[Series], memories: &[Memory]) -> Vec<(String, f64, f64)> {
    let mut aims = Vec::new();
    for (workload, aim) in AIMS {
        let field = Field { all, workload };
        let ratio = field.gateway_beside(Contender::is_nginx, cpu, |one, other| one / other);
        aims.push((format!("CPU time beside nginx, {}", workload.title()), aim, ratio));
    }
    let field = Field { all, workload: Workload::Alone };
    let added = field.gateway_beside(Contender::is_hyper, p50, |one, other| one - other);
    aims.push(("microseconds added to bare hyper's p50 with one connection".into(), ADDED_AIM, added));
    let gateway = memories.iter().find(|memory| memory.contender == Contender::Gateway);
    let each = gateway.map_or(f64::NAN, |memory| median(memory.processes.iter().map(|process| process.1)));
    aims.push(("KiB of an open stream".into(), STREAM_AIM, each));
    aims
}

/// All who were asked the same.
struct Field<'all> {
    all: &'all [Series],
    workload: Workload,
}

impl<'all> Field<'all> {
    fn find(&self, is_one: impl Fn(Contender) -> bool) -> Option<&'all Series> {
        self.all.iter().find(|series| series.workload == self.workload && is_one(series.contender))
    }

    fn of(&self, contender: Contender) -> Option<&'all Series> {
        self.find(|one| one == contender)
    }

    fn row(&self, series: &Series) -> String {
        let middle = |figure: fn(&Measured) -> f64| median(series.rounds.iter().map(figure));
        let beside = |is_one: fn(Contender) -> bool| match self.find(is_one) {
            Some(other) if series.contender != Contender::Direct => {
                let ratio = Spread::of(pairs(series, other, cpu, |one, other| one / other));
                match is_one(series.contender) {
                    true => "1.00".into(),
                    false => format!("**{:.2}** ({:.2} to {:.2})", ratio.median, ratio.low, ratio.high),
                }
            }
            _ => "-".to_owned(),
        };
        let spent = if series.contender == Contender::Direct { "-".into() } else { format!("{:.1} us", middle(cpu)) };
        format!(
            "| {} | {:.0} | {:.0} us | {:.0} us | {spent} | {} | {} |\n",
            series.contender.name(),
            middle(rate),
            middle(p50),
            middle(|measured| measured.p99),
            beside(Contender::is_nginx),
            beside(Contender::is_hyper),
        )
    }

    /// The median of the gateway's figure beside that of another of the same round.
    fn gateway_beside(&self, is_one: fn(Contender) -> bool, figure: Figure, by: fn(f64, f64) -> f64) -> f64 {
        match (self.of(Contender::Gateway), self.find(is_one)) {
            (Some(gateway), Some(other)) => Spread::of(pairs(gateway, other, figure, by)).median,
            _ => f64::NAN,
        }
    }
}

fn memory_table(memories: &[Memory]) -> String {
    let mut out = String::from("\n| memory | idle | each open stream | peak |\n| --- | ---: | ---: | ---: |\n");
    for memory in memories.iter().filter(|memory| !memory.processes.is_empty()) {
        let _ = writeln!(
            out,
            "| {} | {:.1} MiB | {:.1} KiB | {:.1} MiB |",
            memory.contender.name(),
            median(memory.processes.iter().map(|process| process.0)) / 1024.0,
            median(memory.processes.iter().map(|process| process.1)),
            memory.peak / 1024.0,
        );
    }
    out
}

type Figure = fn(&Measured) -> f64;

fn rate(measured: &Measured) -> f64 {
    measured.count as f64 / measured.seconds
}

/// Microseconds of CPU time for each.
fn cpu(measured: &Measured) -> f64 {
    measured.cpu as f64 / 1000.0 / measured.count as f64
}

fn p50(measured: &Measured) -> f64 {
    measured.p50
}

/// A figure beside that of the same round of another.
fn pairs(one: &Series, other: &Series, figure: Figure, by: fn(f64, f64) -> f64) -> Vec<f64> {
    one.rounds.iter().zip(&other.rounds).map(|(one, other)| by(figure(one), figure(other))).collect()
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    Spread::of(figures.collect()).median
}

/// A figure over the rounds.
struct Spread {
    low: f64,
    median: f64,
    high: f64,
}

impl Spread {
    fn of(mut figures: Vec<f64>) -> Self {
        figures.sort_unstable_by(f64::total_cmp);
        let at = |index: usize| figures.get(index).copied().unwrap_or(f64::NAN);
        Self { low: at(0), median: at(figures.len() / 2), high: at(figures.len().saturating_sub(1)) }
    }
}

fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field =
        |line: &str| line.strip_prefix("model name").map(|rest| rest.trim_start_matches([' ', '\t', ':']).to_owned());
    let model = info.lines().find_map(field).unwrap_or_else(|| std::env::consts::ARCH.into());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{model}, {cores} cores")
}
