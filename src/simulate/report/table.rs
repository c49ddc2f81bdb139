//! Table: a report for a terminal of 100 columns: what was played, the blocks, and time as strips of characters.
//!
//! What a trace names may hold anything: no control character leaves here. It does not know what the rows mean.

use std::fmt::Write as _;

use super::Report;
use super::blocks::{Block, Row, blocks, breakers};
use super::column::{Buckets, Column, Moment};
use super::words;
use crate::model::text::clean;

/// The columns of the terminal.
const WIDTH: usize = 100;
/// The room that labels have at least; a longer one is cut.
const LEAST_LABEL: usize = 24;
/// The characters of a strip.
const STRIP: usize = 56;
/// What is before it.
const STRIP_LABEL: usize = 28;

/// The table; with colours for a terminal that shows them.
pub fn table(report: &Report, with_colours: bool) -> String {
    let blocks = blocks(report);
    let paint = Paint(with_colours);
    let rows = || blocks.iter().flat_map(|block| &block.rows);
    let longest = |lengths: &mut dyn Iterator<Item = usize>, least: usize| lengths.fold(least, usize::max);
    let columns = report.columns.len().max(1);
    let cell = longest(&mut rows().flat_map(|row| row.cells.iter().map(|cell| width(cell))), 10);
    let change = longest(&mut rows().map(|row| width(&row.change)), 6).min(24);
    // Labels give way first, then cells.
    let left = WIDTH - 2 - change;
    let cell = cell.min((left - LEAST_LABEL) / columns - 2).max(6);
    let label = longest(&mut rows().map(|row| width(&row.label)), LEAST_LABEL);
    let label = label.min(left.saturating_sub(columns * (cell + 2))).max(LEAST_LABEL);
    let widths = (label, cell);
    let mut text = heading(report);
    for block in &blocks {
        write_block(&mut text, block, report, widths, paint);
    }
    write_strips(&mut text, report, paint);
    text
}

#[derive(Clone, Copy)]
struct Paint(bool);

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        if self.0 && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn mood(self, is_better: Option<bool>, text: &str) -> String {
        match is_better {
            Some(true) => self.with("32", text),
            Some(false) => self.with("31", text),
            None => text.to_owned(),
        }
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// Cleaned and cut.
fn cut(text: &str, most: usize) -> String {
    let text = clean(text);
    if width(&text) <= most {
        return text;
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

fn heading(report: &Report) -> String {
    let about = &report.about;
    let mut text = String::new();
    let mut line = |label: &str, words: &str| {
        let _ = writeln!(text, "{label:<10}{}", cut(words, WIDTH - 10));
    };
    line("trace", &about.trace);
    if let Some(world) = &about.world {
        line("world", world);
    }
    for column in &report.columns {
        let config =
            column.config.as_deref().unwrap_or(if column.is_recorded { "the trace's own outcomes" } else { "" });
        let span = words::seconds(column.seconds);
        let (calls, from) = (words::count(column.all.calls as f64), column.from.strftime("%Y-%m-%d %H:%M:%S"));
        let played = format!("{calls} calls in {span} from {from} UTC");
        let whole = format!("{played}  {config}");
        if width(&whole) <= WIDTH - 10 {
            line(&column.name, &whole);
        } else {
            line(&column.name, &played);
            line("", config);
        }
    }
    let gateways = if about.gateways > 1 { format!(", {} gateways", about.gateways) } else { String::new() };
    line("seed", &format!("{}{gateways}", about.seed));
    if about.skipped > 0 {
        line("skipped", &format!("{} lines of the trace that could not be read", words::count(about.skipped as f64)));
        about.skipped_lines.iter().for_each(|skipped| line("", skipped));
    }
    text
}

fn write_block(text: &mut String, block: &Block, report: &Report, (label, cell): (usize, usize), paint: Paint) {
    let title = cut(&block.title, label);
    let _ = write!(text, "\n{}{}", paint.with("1", &title), " ".repeat(label - width(&title)));
    for column in &report.columns {
        let _ = write!(text, "  {:>cell$}", cut(&column.name, cell));
    }
    let has_changes = block.rows.iter().any(|row| !row.change.is_empty());
    let _ = writeln!(text, "{}", if has_changes { "  change" } else { "" });
    if !block.remark.is_empty() {
        let _ = writeln!(text, "{}", paint.with("2", &format!("({})", cut(&block.remark, WIDTH - 2))));
    }
    for Row { label: name, cells, change, is_better } in &block.rows {
        let mut line = format!("{:<label$}", cut(name, label));
        for words in cells {
            let words = format!("{:>cell$}", cut(words, cell));
            // Where there is no change to colour, the cells are what is good or bad.
            let shown = if change.is_empty() { paint.mood(*is_better, &words) } else { words };
            let _ = write!(line, "  {shown}");
        }
        if !change.is_empty() {
            let _ = write!(line, "  {}", paint.mood(*is_better, &cut(change, 24)));
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
}

/// What happened when: each column over the same time.
fn write_strips(text: &mut String, report: &Report, paint: Paint) {
    let Some(axis) = Axis::of(report) else { return };
    let title = paint.with("1", "Over time");
    let _ = writeln!(text, "\n{title}  a character is {}", words::time(axis.width as f64));
    for column in &report.columns {
        let of = |pick: fn(&Moment) -> u64| axis.bars(&column.timeline, pick);
        let strips = [("calls", of(|at| at.calls)), ("refused", of(|at| at.refused)), ("errors", of(|at| at.errors))];
        for (label, (strip, most)) in strips {
            if most > 0 {
                let name = cut(&format!("{} {label}", column.name), STRIP_LABEL);
                let _ = writeln!(text, "{name:<STRIP_LABEL$}  {strip}  up to {}", words::count(most as f64));
            }
        }
        for (name, strip) in axis.breakers(column) {
            let name = cut(&format!("{} breaker {name}", column.name), STRIP_LABEL);
            let _ = writeln!(text, "{name:<STRIP_LABEL$}  {strip}");
        }
    }
    if report.columns.iter().any(|column| !column.breakers.is_empty()) {
        let _ = writeln!(text, "{:<STRIP_LABEL$}  █ open  ▒ half-open  · closed", "");
    }
}

/// The time of all columns, in characters that are whole buckets wide: others would show waves that are not there.
struct Axis {
    /// In milliseconds.
    begin: i64,
    /// The width of a character.
    width: i64,
    /// How many there are.
    characters: usize,
}

impl Axis {
    fn of(report: &Report) -> Option<Self> {
        let begin = report.columns.iter().map(|column| column.from.as_millisecond()).min()?;
        let end = report.columns.iter().map(|column| column.to.as_millisecond()).max()?;
        let bucket =
            report.columns.iter().map(|column| column.timeline.width_seconds).max()?.max(1).saturating_mul(1000);
        let begin = begin.div_euclid(bucket).saturating_mul(bucket);
        let buckets = end.saturating_sub(begin) / bucket + 1;
        let width = bucket.saturating_mul(buckets.saturating_add(STRIP as i64 - 1) / STRIP as i64);
        let characters = usize::try_from(end.saturating_sub(begin) / width + 1).ok()?.min(STRIP);
        (end > begin).then_some(Self { begin, width, characters })
    }

    /// The character of a moment.
    fn at(&self, ms: i64) -> usize {
        usize::try_from(ms.saturating_sub(self.begin) / self.width).unwrap_or(0).min(self.characters - 1)
    }

    /// A strip of bars, and the largest bucket.
    fn bars(&self, timeline: &Buckets, pick: fn(&Moment) -> u64) -> (String, u64) {
        const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        let mut strip = vec![0_u64; self.characters];
        for moment in &timeline.buckets {
            if let Some(bar) = strip.get_mut(self.at(moment.at.as_millisecond())) {
                *bar += pick(moment);
            }
        }
        let most = strip.iter().copied().max().unwrap_or(0);
        let bar = |value: u64| match value {
            0 => ' ',
            value => {
                let height = u128::from(value) * 8 / u128::from(most.max(1));
                BARS.get(usize::try_from(height).unwrap_or(0).saturating_sub(1)).copied().unwrap_or('█')
            }
        };
        (strip.into_iter().map(bar).collect(), most)
    }

    /// A strip for each provider whose breaker was not always closed.
    fn breakers(&self, column: &Column) -> Vec<(String, String)> {
        let strip = |(provider, breakers): (&std::sync::Arc<str>, Vec<&super::column::Breaker>)| {
            let mut strip = vec!['·'; self.characters];
            for span in breakers.iter().flat_map(|breaker| &breaker.spans) {
                let cells = self.at(span.from.as_millisecond())..=self.at(span.to.as_millisecond());
                for cell in strip.get_mut(cells).into_iter().flatten() {
                    match (span.state, &cell) {
                        ("open", _) => *cell = '█',
                        (_, '·') => *cell = '▒',
                        _ => {}
                    }
                }
            }
            (provider.to_string(), strip.into_iter().collect())
        };
        breakers(column).into_iter().map(strip).collect()
    }
}
