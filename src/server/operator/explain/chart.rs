//! A call's rows as a chart of plain characters, in the 100 columns of a terminal.
//!
//! It knows no call.

use std::time::Duration;

use super::text::{Lines, WIDTH};
use super::timeline::{self, Row};
use crate::server::operator::answer::milliseconds;

/// Columns of what is what, and of the axis.
const LABEL: usize = 26;
const AXIS: usize = 30;

/// Adds the chart, one line a row.
pub(super) fn draw(lines: &mut Lines, rows: &[Row]) {
    let whole = timeline::end(rows);
    let head = format!("0{:>width$}", time(whole), width = AXIS - 1);
    lines.add(&format!("{:<LABEL$} {head} {:>9} {:>9}", "", "at", "took"));
    for row in rows {
        let took = if row.took.is_zero() { "-".into() } else { time(row.took) };
        let line = format!("{:<LABEL$} {} {:>9} {took:>9} ", short(&row.label, LABEL), axis(row, whole), time(row.at));
        let room = WIDTH.saturating_sub(line.chars().count());
        lines.add(&format!("{line}{}", short(&row.result, room)));
    }
}

/// The axis of one row: `=` while something ran, `-` until an answer began, `.` while the call waited, `|` for an instant.
fn axis(row: &Row, whole: Duration) -> String {
    let column = |at: Duration| {
        let share = at.as_secs_f64() / whole.as_secs_f64().max(f64::MIN_POSITIVE);
        (share * (AXIS - 1) as f64).round() as usize
    };
    let (from, to) = (column(row.at), column(row.at + row.took));
    let answered = row.answered.map_or(AXIS, |answered| column(row.at + answered));
    let sign = |place: usize| match row.kind {
        _ if place < from || place > to => ' ',
        "decision" => '|',
        "wait" => '.',
        "attempt" | "call" if place < answered => '-',
        _ => '=',
    };
    (0..AXIS).map(sign).collect()
}

/// A time as people compare it: never wider than 9 columns.
fn time(time: Duration) -> String {
    let ms = milliseconds(time);
    match time.as_secs() {
        0..10 => format!("{ms:.1} ms"),
        10..1000 => format!("{:.1} s", time.as_secs_f64()),
        _ => format!("{:.0} s", time.as_secs_f64()),
    }
}

/// The beginning of a text, as far as there is room; `~` says that there is more.
fn short(text: &str, room: usize) -> String {
    match text.chars().count() > room {
        true => text.chars().take(room.saturating_sub(1)).chain(['~']).collect(),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::timeline::Tone;
    use super::*;

    fn row(kind: &'static str, label: &str, [at, took]: [u64; 2], answered: Option<u64>) -> Row {
        let ms = Duration::from_millis;
        Row {
            kind,
            label: label.into(),
            at: ms(at),
            took: ms(took),
            answered: answered.map(ms),
            result: "ok".into(),
            tone: Tone::Good,
        }
    }

    fn drawn(rows: &[Row]) -> String {
        let mut lines = Lines::default();
        draw(&mut lines, rows);
        lines.into_text()
    }

    #[test]
    fn what_takes_time_has_a_bar_and_what_happens_at_once_a_stroke() {
        let rows = [
            row("call", "call", [0, 330], Some(297)),
            row("decision", "limit general", [0, 0], None),
            row("attempt", "1 together (first)", [0, 100], None),
            row("wait", "retry", [100, 100], None),
            row("attempt", "2 together (retry)", [200, 130], Some(97)),
        ];
        let wanted = [
            "                           0                     330.0 ms        at      took",
            "call                       --------------------------====    0.0 ms  330.0 ms ok",
            "limit general              |                                 0.0 ms         - ok",
            "1 together (first)         ----------                        0.0 ms  100.0 ms ok",
            "retry                               ..........             100.0 ms  100.0 ms ok",
            "2 together (retry)                           --------====  200.0 ms  130.0 ms ok",
        ];
        assert_eq!(drawn(&rows).lines().collect::<Vec<_>>(), wanted);
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_a_terminal(
            label in "\\PC{0,80}", result in "\\PC{0,80}", at in 0..10_000_000_u64, took in 0..100_000_000_u64,
        ) {
            let rows = [Row { result, ..row("attempt", &label, [at, took], None) }];
            for line in drawn(&rows).lines() {
                let width = line.chars().count();
                prop_assert!(width <= WIDTH || !line.trim().contains(' '), "{width}: {line}");
            }
        }
    }
}
