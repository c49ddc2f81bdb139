//! CSV: traces of timestamps and token counts, `TIMESTAMP,ContextTokens,GeneratedTokens`, as the Azure Public Dataset has them
//! (Splitwise, ISCA 2024).
//!
//! They do not say who calls, or what is asked: the spread does.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::Terms;
use super::lines::{CSV_HEADER, Line, Rows, TraceFault};
use super::order::Timed;

/// One line.
pub(super) struct Row {
    at: Timestamp,
    tokens_in: u64,
    tokens_out: u64,
}

/// Reads a line. Times without a zone are in UTC.
pub(super) fn row(line: &str) -> Line<Row> {
    if line == CSV_HEADER {
        return Line::Heading;
    }
    let mut fields = line.split(',').map(str::trim);
    let (Some(at), Some(context), Some(generated), None) = (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Line::Wrong(format!("expected three fields, {CSV_HEADER}"));
    };
    let Some(at) = time(at) else {
        return Line::Wrong(format!("{at:?} is not a time like 2023-11-16 18:15:46.68"));
    };
    let count = |name: &str, text: &str| {
        text.parse().map_err(|_| format!("{name} is {text:?}; allowed: a whole number of tokens"))
    };
    match (count("ContextTokens", context), count("GeneratedTokens", generated)) {
        (Ok(tokens_in), Ok(tokens_out)) => Line::Row(Row { at, tokens_in, tokens_out }),
        (Err(wrong), _) | (_, Err(wrong)) => Line::Wrong(wrong),
    }
}

fn time(text: &str) -> Option<Timestamp> {
    let civil = || text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
    text.parse().ok().or_else(civil)
}

/// The calls of the rows, with callers and questions of the spread.
pub(super) fn arrivals(rows: Rows<Row>, terms: &Terms) -> impl Iterator<Item = Result<Timed, TraceFault>> + use<> {
    let spread = terms.spread.drawn(terms.seed);
    rows.zip(0..).map(move |(row, index)| {
        row.map(|Row { at, tokens_in, tokens_out }| (at, spread.arrival(index, tokens_in, tokens_out)))
    })
}
