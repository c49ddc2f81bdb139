//! Generated: traffic that nobody has recorded: Poisson arrivals, or bursts of them, and lengths that are log-normal, as those of
//! real services are.
//!
//! It is written in one line of words, `rate=5/s for=1h callers=200`. It does not know what becomes of the calls.

use std::time::Duration;

use super::spread::{Drawn, MOST, Spread};
use crate::config;
use crate::model::rng::Draws;
use crate::simulate::arrival::Arrival;

/// How the logarithm of a length spreads: a tenth of the lengths is more than 2.8 times the median.
const SIGMA: f64 = 0.8;

/// In a bursty hour, this share of the time is a burst, which lasts so long on average.
const BURSTING: f64 = 0.1;
const BURST: f64 = 30.0;

/// The longest prompt or answer that is made up, in tokens.
const LONGEST: f64 = 200_000.0;

/// Traffic to make up.
#[derive(Clone, Debug, PartialEq)]
pub struct Traffic {
    /// Calls in a second, on average.
    pub rate: f64,
    /// For how long.
    pub duration: Duration,
    /// How much more calls come in a burst than on average; 1: they come evenly.
    pub burst: f64,
    /// The median length of prompts, in tokens.
    pub tokens_in: f64,
    /// The median length of answers, in tokens.
    pub tokens_out: f64,
}

impl Default for Traffic {
    fn default() -> Self {
        Self { rate: 5.0, duration: Duration::from_secs(3600), burst: 1.0, tokens_in: 300.0, tokens_out: 120.0 }
    }
}

/// What may be written, with an example each.
const WORDS: &str = "rate=5/s, for=1h, burst=5 (bursts of five times the rate), in=300 and out=120 (median tokens), route=NAME, \
                     model=NAME, callers=200, tenants=10, questions=1000, zipf=1.0, streams=50%";

/// Reads what traffic is like, and who calls: words `NAME=VALUE`.
///
/// # Errors
/// What is wrong, and what is allowed.
pub fn parse(text: &str) -> Result<(Traffic, Spread), String> {
    let (mut traffic, mut spread) = (Traffic::default(), Spread::default());
    for word in text.split_whitespace() {
        let Some((name, value)) = word.split_once('=') else {
            return Err(format!("`{word}` is not of the form NAME=VALUE; allowed: {WORDS}"));
        };
        let wrong = |allowed: &str| format!("{name} is `{value}`; allowed: {allowed}");
        let number = |least: f64, most: f64| value.parse().ok().filter(|number| (least..=most).contains(number));
        let whole = |least: u64| value.parse().ok().filter(|number| (least..=MOST).contains(number));
        let tokens = || number(1.0, LONGEST).ok_or_else(|| wrong("1 to 200000 tokens"));
        match name {
            "rate" => {
                traffic.rate = rate(value).ok_or_else(|| wrong("calls in a time, as in 5/s, 300/min or 2000/h"))?
            }
            "for" => {
                let longest = Duration::from_secs(366 * 24 * 3600);
                let duration = config::duration(value).ok().filter(|it| !it.is_zero() && *it <= longest);
                traffic.duration =
                    duration.ok_or_else(|| wrong("a duration of at most 366 days, as in 90s, 10m or 24h"))?;
            }
            "burst" => traffic.burst = number(1.0, 10.0).ok_or_else(|| wrong("1 (none) to 10"))?,
            "in" => traffic.tokens_in = tokens()?,
            "out" => traffic.tokens_out = tokens()?,
            "route" => spread.route = value.into(),
            "model" => spread.model = Some(value.into()),
            "callers" => spread.callers = whole(1).ok_or_else(|| wrong("1 to 1000000 users"))?,
            "tenants" => spread.tenants = whole(0).ok_or_else(|| wrong("0 (none is named) to 1000000"))?,
            "questions" => spread.questions = whole(0).ok_or_else(|| wrong("0 (all differ) to 1000000"))?,
            "zipf" => spread.zipf = number(0.0, 4.0).ok_or_else(|| wrong("0 (all alike) to 4; 1 is usual"))?,
            "streams" => spread.streams = share(value).ok_or_else(|| wrong("a share, as in 50% or 0.5"))?,
            _ => return Err(format!("there is no `{name}`; allowed: {WORDS}")),
        }
    }
    Ok((traffic, spread))
}

/// Calls in a second.
fn rate(text: &str) -> Option<f64> {
    let (count, unit) = text.split_once('/')?;
    let seconds = match unit {
        "s" => 1.0,
        "min" | "m" => 60.0,
        "h" => 3600.0,
        "day" | "d" => 86_400.0,
        _ => return None,
    };
    let rate = count.parse::<f64>().ok()? / seconds;
    (rate > 0.0 && rate <= 1e6).then_some(rate)
}

fn share(text: &str) -> Option<f64> {
    let share = match text.strip_suffix('%') {
        Some(percent) => percent.parse::<f64>().ok()? / 100.0,
        None => text.parse().ok()?,
    };
    (0.0..=1.0).contains(&share).then_some(share)
}

/// The calls.
pub(super) struct Generated {
    traffic: Traffic,
    spread: Drawn,
    draws: Draws,
    index: u64,
    /// When the last call came, in seconds.
    at: f64,
    /// Until when it is, or is not, a burst, and which one of both.
    is_bursting: bool,
    until: f64,
    turn: u64,
}

impl Generated {
    /// Begins at the seed.
    pub(super) fn new(traffic: &Traffic, spread: &Spread, seed: u64) -> Self {
        let draws = Draws::new(seed).named("traffic");
        let (traffic, spread) = (traffic.clone(), spread.drawn(seed));
        Self { traffic, spread, draws, index: 0, at: 0.0, is_bursting: true, until: 0.0, turn: 0 }
    }

    /// Calls in a second, now. Both states together have the rate on average.
    fn rate(&self) -> f64 {
        let Traffic { rate, burst, .. } = self.traffic;
        match (burst > 1.0, self.is_bursting) {
            (false, _) => rate,
            (true, true) => rate * burst,
            (true, false) => rate * (1.0 - BURSTING * burst).max(0.0) / (1.0 - BURSTING),
        }
    }

    /// The next state, from `until` on.
    fn turn(&mut self) {
        self.is_bursting = !self.is_bursting;
        let mean = if self.is_bursting { BURST } else { BURST * (1.0 - BURSTING) / BURSTING };
        self.until += exponential(self.draws.named("burst").of(self.turn)) * mean;
        self.turn += 1;
    }
}

impl Iterator for Generated {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        let draws = self.draws.of(self.index);
        // So much of the Poisson process has to pass, at the rate that each state has.
        let mut left = exponential(draws.of(1));
        let end = self.traffic.duration.as_secs_f64();
        loop {
            while self.at >= self.until {
                self.turn();
            }
            let rate = self.rate();
            if rate > 0.0 && self.at + left / rate < self.until {
                self.at += left / rate;
                break;
            }
            left -= (self.until - self.at) * rate;
            self.at = self.until;
            if self.at >= end {
                return None;
            }
        }
        if self.at >= end {
            return None;
        }
        let length = |median: f64, what| (median * (SIGMA * normal(draws.of(what))).exp()).clamp(1.0, LONGEST) as u64;
        let (tokens_in, tokens_out) = (length(self.traffic.tokens_in, 2), length(self.traffic.tokens_out, 3));
        let arrival = self.spread.arrival(self.index, tokens_in, tokens_out);
        self.index += 1;
        Some(Arrival { after: Duration::from_secs_f64(self.at), ..arrival })
    }
}

/// An exponentially distributed number with the mean 1.
fn exponential(draws: Draws) -> f64 {
    -(1.0 - draws.fraction()).ln()
}

/// A normally distributed number, by Box and Muller.
fn normal(draws: Draws) -> f64 {
    let radius = (-2.0 * (1.0 - draws.of(1).fraction()).ln()).sqrt();
    radius * (std::f64::consts::TAU * draws.of(2).fraction()).cos()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn count(words: &str, seed: u64) -> usize {
        let (traffic, spread) = parse(words).unwrap();
        Generated::new(&traffic, &spread, seed).count()
    }

    #[test]
    fn as_many_calls_come_as_the_rate_says_in_bursts_or_not() {
        for words in ["rate=2/s for=10h", "rate=120/min for=10h burst=5", "rate=7200/h for=10h burst=10"] {
            let calls = count(words, 1);
            assert!((66_000..78_000).contains(&calls), "{words}: {calls}");
        }
    }

    #[test]
    fn bursts_are_bursts() {
        let busiest = |words| {
            let (traffic, spread) = parse(words).unwrap();
            let mut seconds = std::collections::BTreeMap::<u64, u64>::new();
            for arrival in Generated::new(&traffic, &spread, 3) {
                *seconds.entry(arrival.after.as_secs() / 10).or_default() += 1;
            }
            seconds.into_values().max().unwrap()
        };
        let (even, bursty) = (busiest("rate=5/s for=1h"), busiest("rate=5/s for=1h burst=8"));
        assert!(even < 100 && bursty > 200, "{even} {bursty}");
    }

    #[test]
    fn what_is_wrong_is_named_with_what_is_allowed() {
        for (words, wanted) in [
            ("rate", "`rate` is not of the form NAME=VALUE"),
            ("rates=5/s", "there is no `rates`; allowed: rate=5/s, for=1h"),
            ("rate=5", "rate is `5`; allowed: calls in a time"),
            ("rate=-5/s", "rate is `-5/s`"),
            ("for=0s", "for is `0s`; allowed: a duration"),
            ("streams=150%", "streams is `150%`; allowed: a share"),
            ("callers=0", "callers is `0`; allowed: 1 to 1000000"),
            ("zipf=nan", "zipf is `nan`"),
        ] {
            let wrong = parse(words).unwrap_err();
            assert!(wrong.contains(wanted), "{words}: {wrong}");
        }
    }

    #[test]
    fn the_median_length_is_the_one_that_was_asked_for() {
        let (traffic, spread) = parse("rate=10/s for=1h in=400 out=80").unwrap();
        let mut lengths: Vec<_> =
            Generated::new(&traffic, &spread, 5).map(|it| (it.tokens_in, it.tokens_out)).collect();
        let middle = lengths.len() / 2;
        lengths.sort_unstable();
        assert!((380..420).contains(&lengths[middle].0), "{:?}", lengths[middle]);
        lengths.sort_unstable_by_key(|(_, out)| *out);
        assert!((76..84).contains(&lengths[middle].1), "{:?}", lengths[middle]);
    }
}
