//! Words: amounts, times and sizes as people read them: `26 MiB`, `100 per 15 min`, `10 USD per day`, `45 s`.
//!
//! It does not know what they are of.

use std::time::Duration;

use crate::config::plan::{BudgetPlan, LimitPlan, Price, Quantity};
use crate::model::money::Usd;
use crate::model::rate::Rate;
use crate::model::text::clean;
use crate::model::time::in_words;

/// Nanodollars in the millionth of a dollar in which prices and limits are kept.
const NANOS_PER_MILLIONTH: u64 = 1_000;

/// A size: `26 MiB`, `1.5 KiB`, `300 B`.
pub(super) fn bytes(count: usize) -> String {
    let units = [("GiB", 1_usize << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.into_iter().find(|(_, size)| count >= *size) {
        None => format!("{count} B"),
        Some((unit, size)) => format!("{} {unit}", decimal(count as f64 / size as f64)),
    }
}

/// A time as it is set: exact below a minute, in two units at most above it.
pub(super) fn time(time: Duration) -> String {
    match time {
        time if time < Duration::from_secs(1) => format!("{} ms", decimal(time.as_secs_f64() * 1_000.0)),
        time if time < Duration::from_secs(60) => format!("{} s", decimal(time.as_secs_f64())),
        time => in_words(time),
    }
}

/// The period of a rate: `min` of `30 per min`, `15 min` of `100 per 15 min`.
fn period(time: Duration) -> String {
    let words = in_words(time);
    words.strip_prefix("1 ").map(Into::into).unwrap_or(words)
}

/// An amount of a quantity: `30`, `90000 tokens`, `2.5 USD`.
fn amount(quantity: Quantity, units: u64) -> String {
    match quantity {
        Quantity::Requests => units.to_string(),
        Quantity::Tokens => format!("{units} tokens"),
        Quantity::Usd => format!("{} USD", Usd::from_nanos(units.saturating_mul(NANOS_PER_MILLIONTH))),
    }
}

/// How much a rule allows: `30 per min`, `90000 tokens per h, 20000 at once`.
pub(super) fn rate(plan: &LimitPlan) -> String {
    let Rate { count, period: of, burst } = plan.rate;
    let burst = if burst == count { String::new() } else { format!(", {} at once", amount(plan.quantity, burst)) };
    format!("{} per {}{burst}", amount(plan.quantity, count), period(of))
}

/// How much may be spent: `10 USD per day`.
pub(super) fn budget(plan: &BudgetPlan) -> String {
    format!("{} USD per {}", plan.amount, plan.period.as_str())
}

/// What a model costs: `2.5 USD in, 1.25 USD cached, 10 USD out per 1M tokens`, `0.006 USD per minute`.
pub(super) fn price(price: &Price) -> String {
    let usd = |millionths: u64| Usd::from_nanos(millionths.saturating_mul(NANOS_PER_MILLIONTH));
    let cached = price.cached.map(|cached| format!(", {} USD cached", usd(cached))).unwrap_or_default();
    let written = price.cache_write.map(|written| format!(", {} USD written to the cache", usd(written)));
    let (written, input, output) = (written.unwrap_or_default(), usd(price.input), usd(price.output));
    let tokens = format!("{input} USD in{cached}{written}, {output} USD out per 1M tokens");
    let units = price.units;
    let units = [
        (units.request, "request"),
        (units.image, "image"),
        (units.minute, "minute"),
        (units.characters, "1M characters"),
    ];
    let units = units.into_iter().filter(|(cost, _)| *cost > 0);
    let mut parts: Vec<String> = units.map(|(cost, unit)| format!("{} USD per {unit}", usd(cost))).collect();
    // Most of what is paid for by another unit costs nothing by token.
    if parts.is_empty() || price.input + price.output > 0 {
        parts.insert(0, tokens);
    }
    parts.join(", ")
}

/// A share from 0 to 1 in percent, without what binary fractions add to it.
pub(super) fn percent(share: f64) -> String {
    format!("{} %", (share * 1e6).round() / 1e4)
}

/// Writes a line. What a configuration or an argument says may hold anything: no control character leaves here.
pub(super) fn put_line(text: &mut String, line: &str) {
    text.push_str(&clean(line));
    text.push('\n');
}

/// The same after a mark, which may be painted.
pub(super) fn put_marked(text: &mut String, mark: String, line: &str) {
    text.push_str(&mark);
    text.push(' ');
    put_line(text, line);
}

/// At most two decimals, and no zeros at the end.
fn decimal(number: f64) -> String {
    let text = format!("{number:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Words in a row: `a, b and c`.
pub(super) fn list<T: AsRef<str>>(words: &[T]) -> String {
    match words {
        [] => "none".into(),
        [one] => one.as_ref().into(),
        [first @ .., last] => {
            let first: Vec<&str> = first.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", first.join(", "), last.as_ref())
        }
    }
}

/// The first few of many: `a, b, c, d and 14 more`.
pub(super) fn few(words: &[&str]) -> String {
    const NAMED: usize = 4;
    match words.split_at_checked(NAMED) {
        Some((first, rest)) if rest.len() > 1 => format!("{} and {} more", first.join(", "), rest.len()),
        _ => list(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_read_without_a_calculator() {
        for (size, wanted) in
            [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (27_262_976, "26 MiB"), (1 << 30, "1 GiB")]
        {
            assert_eq!(bytes(size), wanted);
        }
        for (milliseconds, wanted) in [
            (0, "0 ms"),
            (250, "250 ms"),
            (1_500, "1.5 s"),
            (45_000, "45 s"),
            (900_000, "15 min"),
            (86_400_000, "1 day"),
        ] {
            assert_eq!(time(Duration::from_millis(milliseconds)), wanted);
        }
        for (seconds, wanted) in
            [(1, "s"), (60, "min"), (900, "15 min"), (3_600, "h"), (86_400, "day"), (172_800, "2 days")]
        {
            assert_eq!(period(Duration::from_secs(seconds)), wanted);
        }
    }

    #[test]
    fn amounts_have_their_unit() {
        assert_eq!(amount(Quantity::Requests, 30), "30");
        assert_eq!(amount(Quantity::Tokens, 90_000), "90000 tokens");
        assert_eq!(amount(Quantity::Usd, 2_500_000), "2.5 USD");
        let price = Price { input: 2_500_000, cached: Some(1_250_000), output: 10_000_000, ..Price::default() };
        assert_eq!(super::price(&price), "2.5 USD in, 1.25 USD cached, 10 USD out per 1M tokens");
        let price = Price { cache_write: Some(3_125_000), ..price };
        let told = "2.5 USD in, 1.25 USD cached, 3.125 USD written to the cache, 10 USD out per 1M tokens";
        assert_eq!(super::price(&price), told);
        assert_eq!([0.07, 1.0, 0.0001, 1.0 / 3.0].map(percent), ["7 %", "100 %", "0.01 %", "33.3333 %"]);
        assert_eq!(list(&["a", "b", "c"]), "a, b and c");
        assert_eq!(few(&["a", "b", "c", "d", "e"]), "a, b, c, d and e");
        assert_eq!(few(&["a", "b", "c", "d", "e", "f"]), "a, b, c, d and 2 more");
    }
}
