//! Latency: the distributions of first token and time per token that explain a sample of answers.
//!
//! It does not know whose answers they are.

use std::time::Duration;

use super::observed::Sample;
use crate::provider::simulated::model::Distribution;
use crate::simulate::world::QUANTILES;

/// Streams that tell the two apart.
const ENOUGH: usize = 30;

/// What was found.
pub(super) struct Latency {
    pub(super) first_token: Distribution,
    pub(super) per_token: Distribution,
    /// How.
    pub(super) how: &'static str,
}

/// Explains a sample, which has one answer at least.
pub(super) fn fit(samples: &[Sample]) -> Latency {
    let streams = || samples.iter().filter(|sample| sample.is_stream);
    let plain: Vec<&Sample> = samples.iter().filter(|sample| !sample.is_stream).collect();
    let speeds: Vec<f64> = streams()
        .filter(|sample| sample.tokens > 1)
        .map(|sample| f64::from(sample.took - sample.first) * 1000.0 / f64::from(sample.tokens))
        .collect();
    if speeds.len() >= ENOUGH || plain.is_empty() {
        return Latency {
            first_token: distribution(streams().map(|sample| f64::from(sample.first) * 1000.0).collect()),
            per_token: distribution(speeds),
            how: "first token and speed are those of its streams",
        };
    }
    let slope = slope(&plain);
    let first = |sample: &&Sample| (f64::from(sample.took) - slope * f64::from(sample.tokens)).max(0.0) * 1000.0;
    Latency {
        first_token: distribution(plain.iter().map(first).collect()),
        per_token: Distribution::Fixed(microseconds(slope * 1000.0)),
        how: match slope > 0.0 {
            true => "too few streams: the time per token is how much longer plain answers with more tokens took",
            false => "too few streams, and plain answers with more tokens took no longer: all of it is the first token",
        },
    }
}

/// How many milliseconds a token adds to plain answers: least squares through the medians of tenths of the sample, by tokens, so
/// that a few late answers do not matter.
fn slope(plain: &[&Sample]) -> f64 {
    let mut by_tokens: Vec<(u32, u32)> = plain.iter().map(|sample| (sample.tokens, sample.took)).collect();
    by_tokens.sort_unstable();
    let points: Vec<(f64, f64)> = by_tokens
        .chunks(by_tokens.len().div_ceil(10).max(5))
        .map(|chunk| {
            let median = |mut values: Vec<u32>| {
                values.sort_unstable();
                values.get(values.len() / 2).copied().map_or(0.0, f64::from)
            };
            (median(chunk.iter().map(|it| it.0).collect()), median(chunk.iter().map(|it| it.1).collect()))
        })
        .collect();
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / points.len().max(1) as f64;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    if spread <= 0.0 {
        return 0.0;
    }
    (points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum::<f64>() / spread).max(0.0)
}

/// The quantiles of times in microseconds: as many as their number can tell.
pub(super) fn distribution(mut times: Vec<f64>) -> Distribution {
    times.sort_unstable_by(f64::total_cmp);
    let (Some(least), Some(most)) = (times.first(), times.last()) else {
        return Distribution::Fixed(Duration::ZERO);
    };
    if least == most {
        return Distribution::Fixed(microseconds(*least));
    }
    // A quantile is told by answers on both sides of it.
    let is_told = |share: f64| {
        let beside = share.min(1.0 - share) * times.len() as f64;
        share == 0.0 || share == 1.0 || share == 0.5 || beside >= 3.0
    };
    let told = QUANTILES.into_iter().filter(|(_, share)| is_told(*share));
    Distribution::Quantiles(told.map(|(_, share)| (share, microseconds(quantile(&times, share)))).collect())
}

/// A quantile of sorted values, between the nearest two.
pub(super) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = share * sorted.len().saturating_sub(1) as f64;
    let at = |rank: f64| sorted.get(rank as usize).copied().unwrap_or_default();
    at(rank.floor()) + (at(rank.ceil()) - at(rank.floor())) * rank.fract()
}

/// A time in whole microseconds: more is not recorded.
fn microseconds(time: f64) -> Duration {
    Duration::from_micros(time.round() as u64)
}
