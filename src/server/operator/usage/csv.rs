//! CSV (RFC 4180) that is safe to open in a spreadsheet: a text that would be read as a formula gets an apostrophe
//! in front.
//!
//! It does not know what the columns mean.

use super::Row;
use crate::state::ledger::Dimension;

/// The columns after the period's start and what was asked for.
const SUMS: &str = "calls,cache_hits,default_priced_calls,input_tokens,cached_input_tokens,output_tokens,cost_usd,saved_usd,estimated_tokens,images,audio_ms,characters,cache_write_tokens";

/// A line of names, then one for each row; all of them end with CR LF.
pub(super) fn write(by: &[Dimension], rows: &[Row]) -> String {
    let mut text = String::from("start");
    for dimension in by {
        text.push(',');
        text.push_str(dimension.as_str());
    }
    text.push(',');
    text.push_str(SUMS);
    text.push_str("\r\n");
    for row in rows {
        text.push_str(&row.start.to_string());
        for value in &row.values {
            text.push(',');
            cell(&mut text, value);
        }
        let sums = &row.sums;
        let counts = [
            sums.calls,
            sums.cache_hits,
            sums.default_priced_calls,
            sums.input_tokens,
            sums.cached_input_tokens,
            sums.output_tokens,
        ];
        for count in counts {
            text.push(',');
            text.push_str(&count.to_string());
        }
        text.push_str(&format!(",{},{},{}", sums.cost_usd, sums.saved_usd, sums.estimated_tokens));
        text.push_str(&format!(",{},{},{}", sums.images, sums.audio_ms, sums.characters));
        text.push_str(&format!(",{}\r\n", sums.cache_write_tokens));
    }
    text
}

/// A cell of text. Names of models and users are what callers make of them.
fn cell(out: &mut String, value: &str) {
    let is_formula = value.trim_start_matches(' ').starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
    let must_quote = value.contains([',', '"', '\r', '\n']) || value.starts_with(' ') || value.ends_with(' ');
    if must_quote {
        out.push('"');
    }
    if is_formula {
        out.push('\'');
    }
    match must_quote {
        true => {
            out.push_str(&value.replace('"', "\"\""));
            out.push('"');
        }
        false => out.push_str(value),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::money::Usd;
    use crate::state::ledger::Sums;

    /// Reads CSV by RFC 4180, and nothing else.
    fn read(text: &str) -> Vec<Vec<String>> {
        let (mut rows, mut row, mut cell) = (Vec::new(), Vec::new(), String::new());
        let (mut letters, mut is_quoted) = (text.chars().peekable(), false);
        while let Some(letter) = letters.next() {
            match (is_quoted, letter) {
                (true, '"') if letters.peek() == Some(&'"') => cell.extend(letters.next()),
                (true, '"') => is_quoted = false,
                (true, letter) => cell.push(letter),
                (false, '"') => is_quoted = true,
                (false, ',') => row.push(std::mem::take(&mut cell)),
                (false, '\r') => {
                    assert_eq!(letters.next(), Some('\n'));
                    row.push(std::mem::take(&mut cell));
                    rows.push(std::mem::take(&mut row));
                }
                (false, letter) => cell.push(letter),
            }
        }
        assert!(row.is_empty() && cell.is_empty() && !is_quoted, "it ends with a line's end");
        rows
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_and_is_no_formula(
            values in prop::collection::vec("([=+\\-@,\"' \r\n\t]|[a-zé]){0,12}", 1..4), nanos in any::<u64>(),
        ) {
            let by = [Dimension::Model, Dimension::User, Dimension::Tenant];
            let sums = Sums { calls: 3, cost_usd: Usd::from_nanos(nanos), ..Sums::default() };
            let row = Row {
                start: jiff::Timestamp::UNIX_EPOCH,
                values: values.iter().map(|value| value.as_str().into()).collect(),
                sums,
            };
            let rows = read(&write(&by[..values.len()], &[row]));
            prop_assert_eq!(rows.len(), 2);
            prop_assert_eq!(rows[0].len(), rows[1].len());
            for (got, value) in rows[1][1..].iter().zip(&values) {
                let is_formula = |text: &str| text.trim_start_matches(' ').starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
                prop_assert!(!is_formula(got), "{got:?}");
                let bare = if is_formula(value) { got.strip_prefix('\'').unwrap() } else { got };
                prop_assert_eq!(bare, value);
            }
            let cost = rows[0].iter().position(|name| name == "cost_usd").unwrap();
            prop_assert_eq!(&rows[1][cost], &Usd::from_nanos(nanos).to_string());
        }
    }
}
