//! The report: medians over the rounds with their spread, beside the bare proxy, as a table for the README.
//!
//! It measures nothing.

use std::fmt::Write;
use std::time::Duration;

use crate::bench::Series;
use crate::contender::Contender;
use crate::load::Measured;
use crate::wire::{PACE, Workload};

/// The most CPU time that a chat call may cost, as a multiple of the bare proxy's.
const CHAT_AIM: f64 = 1.8;

/// The same for one event of a stream.
const EVENT_AIM: f64 = 1.15;

/// The report in Markdown.
pub(crate) fn render(series: &[Series], cores: &str, rounds: usize, measure: Duration) -> String {
    let mut out = String::new();
    for workload in [Workload::Chat, Workload::Stream] {
        let find =
            |contender| series.iter().find(|series| series.workload == workload && series.contender == contender);
        let Some(bare) = find(Contender::Bare) else { continue };
        let _ = write!(out, "\n{}", header(workload));
        for series in Contender::ALL.into_iter().filter_map(find) {
            let _ = writeln!(out, "{}", row(series, bare));
        }
    }
    let _ = write!(
        out,
        "\nMedians of {rounds} rounds of {} s, in brackets the ratio to the bare proxy with the spread over the rounds; \
         {} chat calls at once, {} streams at once with an event every {} ms.\n{}; {cores}.\n\
         To repeat: `cargo bench --bench overhead`.\n",
        measure.as_secs_f64(),
        Workload::Chat.concurrency(),
        Workload::Stream.concurrency(),
        PACE.as_millis(),
        machine(),
    );
    for (workload, aim, what) in
        [(Workload::Chat, CHAT_AIM, "a chat call"), (Workload::Stream, EVENT_AIM, "a stream's event")]
    {
        let find =
            |contender| series.iter().find(|series| series.workload == workload && series.contender == contender);
        if let (Some(gateway), Some(bare)) = (find(Contender::Gateway), find(Contender::Bare)) {
            let ratio = Spread::of(ratios(gateway, bare, cpu)).median;
            let verdict = if ratio <= aim { "met" } else { "missed" };
            let _ =
                writeln!(out, "Aim for {what}: at most {aim} times the bare proxy's CPU time: {verdict}, {ratio:.2}.");
        }
    }
    out
}

fn header(workload: Workload) -> String {
    let columns = match workload {
        Workload::Chat => ["chat call, 1 KB each way", "calls/s", "p50", "p99", "CPU per call"],
        Workload::Stream => ["stream of 100 events", "events/s", "delay p50", "delay p99", "CPU per event"],
    };
    format!("| {} |\n| --- | ---: | ---: | ---: | ---: |\n", columns.join(" | "))
}

fn row(series: &Series, bare: &Series) -> String {
    let median = |figure: fn(&Measured) -> f64| Spread::of(series.rounds.iter().map(figure).collect()).median;
    let beside = |figure| Spread::of(ratios(series, bare, figure)).median;
    let cell = |figure: fn(&Measured) -> f64, text: String| format!("{text} ({:.2})", beside(figure));
    let cpu_cell = match series.contender {
        Contender::Direct => String::from("-"),
        _ => {
            let ratio = Spread::of(ratios(series, bare, cpu));
            format!("{:.1} us (**{:.2}**, {:.2} to {:.2})", median(cpu), ratio.median, ratio.low, ratio.high)
        }
    };
    let cells = [
        series.contender.name().to_owned(),
        cell(rate, format!("{:.0}", median(rate))),
        cell(p50, format!("{:.0} us", median(p50))),
        cell(p99, format!("{:.0} us", median(p99))),
        cpu_cell,
    ];
    format!("| {} |", cells.join(" | "))
}

/// Calls or events: what the workload counts.
fn count(measured: &Measured) -> f64 {
    (if measured.events > 0 { measured.events } else { measured.calls }) as f64
}

fn rate(measured: &Measured) -> f64 {
    count(measured) / measured.seconds
}

/// Microseconds of CPU time for each.
fn cpu(measured: &Measured) -> f64 {
    measured.cpu as f64 / 1000.0 / count(measured)
}

fn p50(measured: &Measured) -> f64 {
    measured.p50
}

fn p99(measured: &Measured) -> f64 {
    measured.p99
}

/// A figure beside the bare proxy's of the same round.
fn ratios(series: &Series, bare: &Series, figure: fn(&Measured) -> f64) -> Vec<f64> {
    series.rounds.iter().zip(&bare.rounds).map(|(one, other)| figure(one) / figure(other)).collect()
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
