//! Words: numbers as people read them, in the table and on the page: `19,366`, `1.24 %`, `830 ms`, `2.4 s`, `0.0125 USD`.
//!
//! It does not know what a number is of.

use jiff::Timestamp;

use super::measure::Kind;
use crate::model::text::grouped;

const SECOND: f64 = 1000.0;
const MINUTE: f64 = 60.0 * SECOND;
const HOUR: f64 = 60.0 * MINUTE;

/// Digits in groups of three.
pub fn count(number: f64) -> String {
    signed(&format!("{:.0}", number.abs()), number < 0.0)
}

fn signed(digits: &str, is_negative: bool) -> String {
    format!("{}{}", if is_negative { "-" } else { "" }, grouped(digits))
}

/// A share in per cent: two digits below one, so that `0.1 %` of errors is not nothing.
pub fn share(share: f64) -> String {
    format!("{} %", percent(share * 100.0))
}

fn percent(percent: f64) -> String {
    match percent.abs() {
        0.0 => "0".to_owned(),
        tiny if tiny < 0.01 => format!("{percent:.4}"),
        small if small < 10.0 => format!("{percent:.2}"),
        large if large < 1000.0 => format!("{percent:.1}"),
        _ => count(percent),
    }
}

/// A time.
pub fn time(ms: f64) -> String {
    match ms.abs() {
        short if short < SECOND => format!("{ms:.0} ms"),
        seconds if seconds < 10.0 * SECOND => format!("{:.2} s", ms / SECOND),
        seconds if seconds < 2.0 * MINUTE => format!("{:.1} s", ms / SECOND),
        minutes if minutes < 2.0 * HOUR => format!("{:.1} min", ms / MINUTE),
        _ => format!("{} h", signed(&format!("{:.1}", ms.abs() / HOUR), ms < 0.0)),
    }
}

/// An amount of money.
pub fn money(usd: f64) -> String {
    format!("{} USD", amount(usd))
}

/// The same without its currency.
pub fn amount(usd: f64) -> String {
    let amount = usd.abs();
    let digits = match amount {
        0.0 => "0".to_owned(),
        large if large >= 1.0 => format!("{large:.2}"),
        small if small >= 0.1 => format!("{small:.3}"),
        small if small >= 0.01 => format!("{small:.4}"),
        small if small >= 0.001 => format!("{small:.5}"),
        tiny => format!("{tiny:.6}"),
    };
    signed(&digits, usd < 0.0)
}

/// A value of a measure with its unit.
pub fn value(kind: Kind, value: Option<f64>) -> String {
    match (kind, value) {
        (Kind::Money | Kind::MoneyPerDay, Some(usd)) => money(usd),
        _ => cell(kind, value),
    }
}

/// A value in a row of which the label says that it is about USD.
pub fn cell(kind: Kind, value: Option<f64>) -> String {
    let Some(value) = value else { return "-".to_owned() };
    match kind {
        Kind::Count => count(value),
        Kind::Share => share(value),
        Kind::Time => time(value),
        Kind::Money | Kind::MoneyPerDay => amount(value),
    }
}

/// A change in such a row, from a value on: with its sign, and how large it is beside that value. Shares change by points.
pub fn change(kind: Kind, from: Option<f64>, change: Option<f64>) -> String {
    let Some(change) = change else { return "-".to_owned() };
    if change == 0.0 {
        return "=".to_owned();
    }
    let sign = if change > 0.0 { "+" } else { "" };
    if kind == Kind::Share {
        return format!("{sign}{} points", percent(change * 100.0));
    }
    let part = from.filter(|from| *from > 0.0).map(|from| {
        let part = change / from * 100.0;
        // A hundredth more is "+1 %", ten times as much "+900 %".
        if part.abs() < 10.0 { format!(" ({sign}{part:.1} %)") } else { format!(" ({sign}{} %)", count(part)) }
    });
    format!("{sign}{}{}", cell(kind, Some(change)), part.unwrap_or_default())
}

/// A moment as a day and a time, in UTC; where the whole is shorter than a day, only the time.
pub fn moment(at: Timestamp, span_seconds: f64) -> String {
    let form = if span_seconds < 86_400.0 { "%H:%M:%S" } else { "%m-%d %H:%M" };
    at.strftime(form).to_string()
}

/// A span of time.
pub fn seconds(seconds: f64) -> String {
    time(seconds * SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_people_write_them() {
        for (number, text) in [(0.0, "0"), (999.0, "999"), (1000.0, "1,000"), (-19366.0, "-19,366"), (1e6, "1,000,000")]
        {
            assert_eq!(count(number), text);
        }
        for (part, text) in [
            (0.0, "0 %"),
            (0.00001, "0.0010 %"),
            (0.001, "0.10 %"),
            (0.0124, "1.24 %"),
            (0.5, "50.0 %"),
            (1.0, "100.0 %"),
        ] {
            assert_eq!(share(part), text);
        }
        for (ms, text) in [
            (0.0, "0 ms"),
            (830.0, "830 ms"),
            (1240.0, "1.24 s"),
            (45_000.0, "45.0 s"),
            (180_000.0, "3.0 min"),
            (7.3e6, "2.0 h"),
        ] {
            assert_eq!(time(ms), text);
        }
        for (usd, text) in
            [(0.0, "0 USD"), (0.0000013, "0.000001 USD"), (0.0125, "0.0125 USD"), (1234.5, "1,234.50 USD")]
        {
            assert_eq!(money(usd), text);
        }
        assert_eq!(value(Kind::Time, None), "-");
    }

    #[test]
    fn a_change_has_its_sign_and_its_size() {
        for (kind, from, by, text) in [
            (Kind::Count, 100.0, 1.0, "+1 (+1.0 %)"),
            (Kind::Count, 0.0, 7.0, "+7"),
            (Kind::Share, 0.5, -0.012, "-1.20 points"),
            (Kind::Time, 1000.0, 9000.0, "+9.00 s (+900 %)"),
            (Kind::Money, 10.0, -2.5, "-2.50 (-25 %)"),
            (Kind::Money, 10.0, 0.0, "="),
        ] {
            assert_eq!(change(kind, Some(from), Some(by)), text);
        }
        assert_eq!(change(Kind::Count, None, None), "-");
    }
}
