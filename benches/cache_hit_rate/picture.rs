//! The picture: hit rate by size of the cache, a panel for each skew, as SVG without a library.
//!
//! It knows figures and where they go.

use std::fmt::Write;

use crate::contender::Contender;
use crate::{Measured, SHARES};

/// A panel, and what is around it.
const WIDTH: f64 = 240.0;
const HEIGHT: f64 = 220.0;
const GAP: f64 = 28.0;
const LEFT: f64 = 52.0;
const TOP: f64 = 78.0;
const BELOW: f64 = 52.0;

const STYLE: &str = "\
<style>
text { font: 12px system-ui, sans-serif; fill: #444 }
.title { font-size: 14px; font-weight: 600; fill: #111 }
.grid { stroke: #e3e3e3; stroke-width: 1 }
.line { fill: none; stroke-width: 2; stroke-linejoin: round }
</style>
";

/// Draws the panels next to each other.
pub(crate) fn draw(panels: &[(f64, Vec<Measured>)]) -> String {
    let width = LEFT + panels.len() as f64 * (WIDTH + GAP);
    let height = TOP + HEIGHT + BELOW;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\">\n\
         <title>Hit rate of the cache by its size, for prompts drawn by Zipf's law</title>\n{STYLE}\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text class=\"title\" x=\"{LEFT}\" y=\"20\">Hit rate by share of the prompts held</text>\n"
    );
    legend(&mut out);
    for (number, (skew, measured)) in panels.iter().enumerate() {
        let left = LEFT + number as f64 * (WIDTH + GAP);
        panel(&mut out, left, number == 0, *skew, measured);
    }
    let middle = LEFT + (width - LEFT - GAP) / 2.0;
    let _ = writeln!(
        out,
        "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">share of the prompts held (logarithmic)</text>\n</svg>",
        height - 10.0
    );
    out
}

/// The colour of a line, its dashes, and its width: what is real is drawn through, what is only possible is dashed.
fn look(contender: Contender) -> (&'static str, &'static str, f64) {
    match contender {
        Contender::Gateway => ("#0b6bcb", "none", 3.0),
        Contender::Moka | Contender::Sieve | Contender::Lru => ("#d9730d", "none", 2.0),
        Contender::Counted => ("#2a9d5c", "2 3", 1.5),
        Contender::Popular => ("#555", "6 4", 1.5),
        Contender::Belady => ("#999", "2 3", 1.5),
    }
}

fn legend(out: &mut String) {
    let mut x = LEFT;
    for contender in Contender::PICTURED {
        let (colour, dashes, width) = look(contender);
        let _ = writeln!(
            out,
            "<line x1=\"{x}\" x2=\"{}\" y1=\"40\" y2=\"40\" stroke=\"{colour}\" stroke-width=\"{width}\" \
             stroke-dasharray=\"{dashes}\"/><text x=\"{}\" y=\"44\">{}</text>",
            x + 26.0,
            x + 32.0,
            contender.name()
        );
        x += 32.0 + contender.name().len() as f64 * 7.0 + 24.0;
    }
}

fn panel(out: &mut String, left: f64, is_first: bool, skew: f64, measured: &[Measured]) {
    let (low, high) = (SHARES[0].ln(), SHARES[SHARES.len() - 1].ln());
    let across = |share: f64| left + (share.ln() - low) / (high - low) * WIDTH;
    let up = |rate: f64| TOP + HEIGHT - rate * HEIGHT;
    let _ = writeln!(out, "<text x=\"{left}\" y=\"{}\">Zipf s = {skew}</text>", TOP - 8.0);
    for step in 0..=5 {
        let (rate, right) = (f64::from(step) / 5.0, left + WIDTH);
        let y = up(rate);
        let _ = writeln!(out, "<line class=\"grid\" x1=\"{left}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>");
        if is_first {
            let percent = step * 20;
            let _ =
                writeln!(out, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{percent} %</text>", left - 8.0, y + 4.0);
        }
    }
    for share in SHARES {
        let (x, percent) = (across(share), share * 100.0);
        let _ =
            writeln!(out, "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{percent}</text>", TOP + HEIGHT + 16.0);
    }
    // The real ones last, so that they lie on top.
    for contender in Contender::PICTURED.into_iter().rev() {
        let (colour, dashes, width) = look(contender);
        let points: Vec<String> = measured
            .iter()
            .filter(|it| it.contender == contender)
            .map(|it| format!("{:.1},{:.1}", across(it.share), up(it.rate())))
            .collect();
        let _ = writeln!(
            out,
            "<polyline class=\"line\" stroke=\"{colour}\" stroke-dasharray=\"{dashes}\" style=\"stroke-width:{width}\" \
             points=\"{}\"/>",
            points.join(" ")
        );
    }
}
