//! Spans: times on the command line, such as `90m`, `24h` or `30d`.
//!
//! It does not know what lasts this long.

use std::time::Duration;

use crate::model::time::span;

/// Reads a time with its unit; days too, unlike the configuration.
pub(super) fn span_with_unit(text: &str) -> Result<Duration, String> {
    let has_unit = text.ends_with(|last: char| last.is_ascii_alphabetic());
    let read = match text.strip_suffix('d') {
        Some(days) => days.parse::<u32>().ok().map(|days| Duration::from_secs(u64::from(days) * 24 * 3600)),
        None => span(text).filter(|_| has_unit),
    };
    read.ok_or_else(|| "expected a time with its unit, such as 5s, 90m, 24h or 30d".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit() {
        let seconds = |text: &str| span_with_unit(text).map(|span| span.as_secs());
        assert_eq!(
            (seconds("90m"), seconds("24h"), seconds("30d"), seconds("0s")),
            (Ok(5400), Ok(86_400), Ok(2_592_000), Ok(0))
        );
        for wrong in ["", "90", "1.5d", "-1d", "d", "soon", "infinityd", "inf"] {
            assert!(span_with_unit(wrong).is_err(), "{wrong:?}");
        }
    }
}
