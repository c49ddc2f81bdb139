//! Tables in Markdown, and whether the aims are met.
//!
//! It measures nothing.

use std::fmt::Write;

use crate::Measured;
use crate::contender::Contender;
use crate::load::Load;

/// How far from the best possible the gateway may be, in points, at s = 0.9 with a tenth of the prompts held.
const AIM_POINTS: f64 = 2.0;

/// The least hit rate on the canvas load after warm-up.
const AIM_CANVAS: f64 = 0.9;

/// One load: a row for each size, a column for each cache.
pub(crate) fn table(load: &Load, measured: &[Measured]) -> String {
    let total: u64 = load.sizes.iter().map(|size| u64::from(*size)).sum();
    let mut out = format!("### {}\n\n| held | bytes |", load.name);
    Contender::ALL.iter().for_each(|contender| _ = write!(out, " {} |", contender.name()));
    let _ = write!(out, " bytes from the cache |\n| ---: | ---: |");
    Contender::ALL.iter().for_each(|_| out.push_str(" ---: |"));
    out.push_str(" ---: |\n");
    for row in measured.chunks(Contender::ALL.len()) {
        let _ = write!(out, "| {} % | {} |", percent(row[0].share), mebibytes(row[0].bytes));
        row.iter().for_each(|cell| _ = write!(out, " {:.1} % |", cell.rate() * 100.0));
        let share = row[0].hit_bytes as f64 / row[0].all_bytes as f64;
        let _ = writeln!(out, " {:.1} % of {} |", share * 100.0, mebibytes(row[0].all_bytes));
    }
    let unlimited = 1.0 - load.kinds() as f64 / load.draws.len() as f64;
    let all = mebibytes(total);
    if load.warm_up == 0 {
        let _ = writeln!(
            out,
            "\nWith room for all ({all}): {:.1} %; every answer has to be asked for once.",
            unlimited * 100.0
        );
    }
    out
}

/// What was aimed at, and what came of it.
pub(crate) fn verdicts(panels: &[(f64, Vec<Measured>)], canvas: &[Measured]) -> String {
    let mut out = String::new();
    let at_aim = panels.iter().find(|(skew, _)| *skew == 0.9).map(|(_, measured)| measured);
    let find = |contender| {
        let mut fitting = at_aim?.iter().filter(|it| it.contender == contender && it.share == 0.1);
        fitting.next().map(|it| it.rate() * 100.0)
    };
    if let (Some(own), Some(lru)) = (find(Contender::Gateway), find(Contender::Lru)) {
        let bests = [
            (Contender::Counted, "a cache that counts every question ever asked, without a limit"),
            (Contender::Popular, "one that knows from the start how popular each will be"),
            (Contender::Belady, "the best possible, which knows the future"),
        ];
        let _ = writeln!(
            out,
            "At s = 0.9 with 10 % held: {own:.1} % (LRU: {lru:.1} %). Aim: within {AIM_POINTS} points of"
        );
        for (contender, what) in bests {
            let Some(best) = find(contender) else { continue };
            let verdict = if best - own <= AIM_POINTS { "met" } else { "missed" };
            let _ = writeln!(out, "- {what}, {best:.1} %: {verdict}, {:.1} points.", best - own);
        }
    }
    let whole = canvas.iter().find(|it| it.contender == Contender::Gateway && it.share == 1.0).map(Measured::rate);
    if let Some(rate) = whole {
        let verdict = if rate >= AIM_CANVAS { "met" } else { "missed" };
        let _ = writeln!(
            out,
            "Aim on the canvas load after warm-up, with room for its thirty answers: at least {:.0} %: {verdict}, {:.1} %.",
            AIM_CANVAS * 100.0,
            rate * 100.0
        );
    }
    out
}

fn percent(share: f64) -> String {
    format!("{:.1}", share * 100.0).trim_end_matches(".0").to_owned()
}

fn mebibytes(bytes: u64) -> String {
    let mebibytes = bytes as f64 / f64::from(1 << 20);
    if mebibytes < 1.0 { format!("{:.0} KiB", bytes as f64 / 1024.0) } else { format!("{mebibytes:.1} MiB") }
}
