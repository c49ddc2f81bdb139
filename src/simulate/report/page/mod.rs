//! Page: a report as one HTML file: pictures and tables, no script, and nothing that is loaded from elsewhere.
//!
//! A content security policy says so, and allows the one style by its hash. Every text that a trace or a configuration names is
//! escaped. It knows no number that the blocks do not have.

pub mod pictures;

use std::fmt::Write as _;

use data_encoding::BASE64;
use ring::digest::{SHA256, digest};

use self::pictures::pictures;
use super::blocks::{Block, Row, blocks};
use super::measure::Measure;
use super::{Judged, Report, words};
use crate::simulate::picture::{Ink, STYLE, escape};

/// The logo of the live page.
pub const WAVES: &str = "<svg width=\"26\" height=\"26\" viewBox=\"0 0 24 24\" aria-hidden=\"true\">\
                     <path d=\"M2 8c3.3-3 6.7-3 10 0s6.7 3 10 0M2 15c3.3-3 6.7-3 10 0s6.7 3 10 0\"/></svg>";

/// What is said first, large.
const TILES: [Measure; 5] = [Measure::Refused, Measure::Errors, Measure::P95, Measure::FirstP95, Measure::CostPerDay];

/// Blocks with these titles are of one route or provider, and come last.
const PARTS: [&str; 2] = ["Route ", "Provider "];

/// The page.
pub fn page(report: &Report) -> String {
    let blocks = blocks(report);
    let of = |block: &&Block| PARTS.iter().any(|part| block.title.starts_with(part));
    let (parts, main): (Vec<&Block>, Vec<&Block>) = blocks.iter().filter(|block| !is_verdict(block)).partition(of);
    let mut body = String::new();
    heading(&mut body, report);
    verdicts(&mut body, report);
    tiles(&mut body, report);
    body.push_str("<h2>Pictures</h2>\n<div class=\"pictures\">\n");
    pictures(report).iter().for_each(|(_, svg)| body.push_str(&svg.inline()));
    body.push_str("</div>\n<h2>Numbers</h2>\n");
    tables(&mut body, report, &main);
    if !parts.is_empty() {
        body.push_str("<h2>By route and provider</h2>\n");
        body.push_str("<div class=\"blocks\">\n");
        for block in parts {
            let _ = write!(body, "<details class=\"block\"><summary><h3>{}</h3></summary>", escape(&block.title));
            table(&mut body, report, block);
            body.push_str("</details>\n");
        }
        body.push_str("</div>\n");
    }
    frame(&format!("What if: {}", report.about.trace), &body, report.percentile_error)
}

/// A whole page of this body; percentiles in it are as exact as said.
pub fn frame(title: &str, body: &str, percentile_error: f64) -> String {
    let style = format!("{STYLE}{}", include_str!("page.css"));
    let hash = BASE64.encode(digest(&SHA256, style.as_bytes()).as_ref());
    let (title, error) = (escape(title), words::share(percentile_error));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{hash}'; \
         base-uri 'none'; form-action 'none'\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <meta name=\"color-scheme\" content=\"light dark\"/>\n\
         <title>{title}</title>\n<style>{style}</style>\n</head>\n<body>\n{body}\
         <footer>Percentiles are exact below 128 ms, and within {error} above. Latency is of answered calls. \
         Of the same trace, world and seed this page is the same, byte for byte.</footer>\n</body>\n</html>\n"
    )
}

/// Goals have a place of their own.
fn is_verdict(block: &Block) -> bool {
    matches!(&*block.title, "Goals" | "Fail if")
}

fn heading(body: &mut String, report: &Report) {
    let about = &report.about;
    let _ = write!(body, "<header><h1>{WAVES}What if</h1>\n<dl class=\"facts\">");
    let mut facts = vec![("trace", about.trace.clone())];
    facts.extend(about.world.clone().map(|world| ("world", world)));
    facts.push(("seed", about.seed.to_string()));
    if about.gateways > 1 {
        facts.push(("gateways", about.gateways.to_string()));
    }
    for (name, value) in facts {
        let _ = write!(body, "<div><dt>{name}</dt><dd>{}</dd></div>", escape(&value));
    }
    body.push_str("</dl></header>\n<ul class=\"runs\">\n");
    let mut played = 0;
    for column in &report.columns {
        let ink = if column.is_recorded { Ink::Past } else { Ink::of(played) };
        played += usize::from(!column.is_recorded);
        let config = column.config.as_deref().unwrap_or(if column.is_recorded { "what happened" } else { "" });
        let from = column.from.strftime("%Y-%m-%d %H:%M:%S UTC");
        let _ = writeln!(
            body,
            "<li><svg class=\"tg\" width=\"30\" height=\"10\" aria-hidden=\"true\"><path class=\"line {}\" d=\"M3 5h24\"/></svg>\
             <span><b>{}</b> {}</span><span class=\"soft\">{} calls in {} from {from}</span></li>",
            ink.class(),
            escape(&column.name),
            escape(config),
            words::count(column.all.calls as f64),
            words::seconds(column.seconds),
        );
    }
    body.push_str("</ul>\n");
    if about.skipped > 0 {
        let count = words::count(about.skipped as f64);
        let _ = write!(body, "<div class=\"skipped\">{count} lines of the trace could not be read:<ul>");
        about.skipped_lines.iter().for_each(|line| {
            let _ = write!(body, "<li>{}</li>", escape(line));
        });
        body.push_str("</ul></div>\n");
    }
}

/// Goals, judged by the last configuration.
fn verdicts(body: &mut String, report: &Report) {
    let Some(at) = report.candidate() else { return };
    let name = report.columns.get(at).map_or("", |column| &column.name);
    if report.goals.is_empty() && report.fail_if.is_empty() {
        return;
    }
    body.push_str("<ul class=\"verdicts\">\n");
    let goals = report.goals.iter().map(|judged| (judged, "", ["holds", "fails"], true));
    let fail_if = report.fail_if.iter().map(|judged| (judged, "fail if ", ["is so", "is not so"], false));
    for (judged, prefix, [yes, no], is_good) in goals.chain(fail_if) {
        let Judged { goal, columns } = judged;
        let judgement = columns.get(at);
        let measured = judgement.and_then(|judgement| judgement.measured);
        let (class, word) = match judgement.and_then(|judgement| judgement.holds) {
            None => ("", "nothing to measure"),
            Some(holds) => (if holds == is_good { "good" } else { "bad" }, if holds { yes } else { no }),
        };
        let (goal, value) = (escape(&goal.to_string()), words::value(goal.measure.kind(), measured));
        let _ = writeln!(
            body,
            "<li class=\"{class}\"><code>{prefix}{goal}</code> <span>{word}: {value} in {}</span></li>",
            escape(name)
        );
    }
    body.push_str("</ul>\n");
}

/// Large numbers of the last configuration, and how they have changed.
fn tiles(body: &mut String, report: &Report) {
    let Some(at) = report.candidate() else { return };
    let Some(name) = report.columns.get(at).map(|column| escape(&column.name)) else { return };
    body.push_str("<div class=\"tiles\">\n");
    for compared in report.compared.iter().filter(|compared| TILES.contains(&compared.measure)) {
        let (measure, kind) = (compared.measure, compared.unit);
        let value = words::cell(kind, compared.values.get(at).copied().flatten());
        let _ = write!(body, "<div class=\"tile\"><h3>{}, {name}</h3><b>{value}</b>", measure.words());
        let first = report.columns.iter().position(|column| !column.is_recorded).filter(|first| *first != at);
        if let (Some(first), Some(change)) = (first, compared.change) {
            let from = compared.values.get(first).copied().flatten();
            let class = match measure.is_more_better() {
                Some(more) if change != 0.0 => {
                    if (change > 0.0) == more {
                        "good"
                    } else {
                        "bad"
                    }
                }
                _ => "",
            };
            let of = report.columns.get(first).map_or("", |column| &column.name);
            let (change, from) = (words::change(kind, from, Some(change)), words::cell(kind, from));
            let change = if change == "=" { "no change".to_owned() } else { change };
            let _ = write!(body, "<p><span class=\"{class}\">{change}</span><br/>{}: {from}</p>", escape(of));
        }
        body.push_str("</div>\n");
    }
    body.push_str("</div>\n");
}

fn tables(body: &mut String, report: &Report, blocks: &[&Block]) {
    body.push_str("<div class=\"blocks\">\n");
    for block in blocks {
        let _ = write!(body, "<section class=\"block\"><h3>{}</h3>", escape(&block.title));
        if !block.remark.is_empty() {
            let _ = write!(body, "<p>{}</p>", escape(&block.remark));
        }
        table(body, report, block);
        body.push_str("</section>\n");
    }
    body.push_str("</div>\n");
}

fn table(body: &mut String, report: &Report, block: &Block) {
    let has_changes = block.rows.iter().any(|row| !row.change.is_empty());
    body.push_str("<table><thead><tr><th scope=\"col\"></th>");
    for column in &report.columns {
        let _ = write!(body, "<th scope=\"col\">{}</th>", escape(&column.name));
    }
    body.push_str(if has_changes {
        "<th scope=\"col\">change</th></tr></thead>\n<tbody>\n"
    } else {
        "</tr></thead>\n<tbody>\n"
    });
    block.rows.iter().for_each(|line| row(body, line));
    body.push_str("</tbody></table>");
}

fn row(body: &mut String, row: &Row) {
    let class = if row.label.starts_with("  ") { " class=\"deep\"" } else { "" };
    let _ = write!(body, "<tr{class}><th scope=\"row\">{}</th>", escape(row.label.trim_start()));
    for cell in &row.cells {
        let _ = write!(body, "<td>{}</td>", escape(cell));
    }
    if !row.change.is_empty() {
        let class = match row.is_better {
            Some(true) => " class=\"good\"",
            Some(false) => " class=\"bad\"",
            None => "",
        };
        let _ = write!(body, "<td{class}>{}</td>", escape(&row.change));
    }
    body.push_str("</tr>\n");
}
