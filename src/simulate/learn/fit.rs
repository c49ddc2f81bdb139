//! Fit: how well a model explains what was recorded, per provider and hour, in numbers and in a word.
//!
//! It does not know how the model was found.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

/// How well a learnt world fits its trace.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fit {
    /// By provider, in the order of their names.
    pub providers: Vec<ProviderFit>,
}

/// How well the model of one provider fits.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProviderFit {
    /// Its name.
    pub provider: Arc<str>,
    /// Attempts at it in the trace.
    pub attempts: u64,
    /// What was found, and what could not be.
    pub remarks: Vec<String>,
    /// All hours together.
    pub whole: Span,
    /// Hour by hour, those with attempts only. Of a trace of months they are longer.
    pub hours: Vec<Span>,
}

/// How well the model fits in one span of time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Span {
    /// When it begins.
    pub from: Timestamp,
    /// Attempts.
    pub attempts: u64,
    /// Whole answers: milliseconds from start to end.
    pub took: Compared,
    /// Streams: milliseconds to the first token.
    pub first: Compared,
    /// The share of attempts that failed.
    pub failed: f64,
    /// The same as the model has it.
    pub model_failed: f64,
    /// `good`, `fair` or `poor`, and why.
    pub verdict: String,
}

/// Recorded times beside those of the model.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Compared {
    /// How many were compared: a sample where there are many.
    pub count: usize,
    /// 50th, 95th and 99th percentile as recorded, in milliseconds.
    pub recorded: [u64; 3],
    /// The same of the model, for the same answers.
    pub model: [u64; 3],
    /// The Kolmogorov-Smirnov distance: the largest difference between the shares of both that are below any time. 0 to 1.
    pub distance: f64,
}

/// Attempts that a verdict needs.
const ENOUGH: usize = 20;

/// Distances that are good and fair; the noise of a small sample is forgiven.
const GOOD: f64 = 0.1;
const FAIR: f64 = 0.2;

impl Compared {
    /// Compares times in milliseconds.
    pub(super) fn of(mut recorded: Vec<f64>, mut model: Vec<f64>) -> Self {
        recorded.sort_unstable_by(f64::total_cmp);
        model.sort_unstable_by(f64::total_cmp);
        let at = |times: &[f64]| [0.5, 0.95, 0.99].map(|share| super::latency::quantile(times, share).round() as u64);
        Self {
            count: recorded.len(),
            recorded: at(&recorded),
            model: at(&model),
            distance: distance(&recorded, &model),
        }
    }

    /// How far the distance of two samples of one distribution goes by chance: in one of twenty it goes further.
    fn noise(&self) -> f64 {
        1.36 * (2.0 / self.count.max(1) as f64).sqrt()
    }
}

/// The Kolmogorov-Smirnov distance of two sorted samples.
fn distance(left: &[f64], right: &[f64]) -> f64 {
    let (mut i, mut j, mut most) = (0, 0, 0.0_f64);
    while let (Some(one), Some(other)) = (left.get(i), right.get(j)) {
        let at = one.min(*other);
        i += left[i..].iter().take_while(|value| **value <= at).count();
        j += right[j..].iter().take_while(|value| **value <= at).count();
        most = most.max((i as f64 / left.len() as f64 - j as f64 / right.len() as f64).abs());
    }
    most
}

impl Span {
    /// The same with its verdict.
    pub(super) fn judged(mut self) -> Self {
        let answers = self.took.count;
        let by = |compared: &Compared| (compared.distance, compared.noise());
        let worst = [&self.took, &self.first].into_iter().filter(|it| it.count >= ENOUGH).map(by);
        let worst =
            worst.fold((0.0, 0.0), |worst: (f64, f64), it| if it.0 - it.1 > worst.0 - worst.1 { it } else { worst });
        let failures = (self.failed - self.model_failed).abs();
        let noise = 2.0 * (self.failed.max(self.model_failed).max(0.01) / self.attempts.max(1) as f64).sqrt();
        self.verdict = if self.attempts < ENOUGH as u64 {
            format!("poor: {} attempts only", self.attempts)
        } else if failures > 0.1 + noise {
            "poor: other failures than in the model".into()
        } else if answers >= ENOUGH && worst.0 > FAIR.max(1.5 * worst.1) {
            "poor: other latency than in the model".into()
        } else if failures > 0.03 + noise {
            "fair: somewhat other failures".into()
        } else if answers >= ENOUGH && worst.0 > GOOD.max(worst.1) {
            "fair: somewhat other latency".into()
        } else {
            "good".into()
        };
        self
    }
}

/// More hours than these are summed up.
const MOST_HOURS: usize = 48;

impl fmt::Display for Fit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, provider) in self.providers.iter().enumerate() {
            if number > 0 {
                writeln!(out)?;
            }
            write!(out, "{provider}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ProviderFit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}: {} attempts; {}", self.provider, self.attempts, self.whole.verdict)?;
        for remark in &self.remarks {
            writeln!(out, "  {remark}")?;
        }
        let columns = ["hour (UTC)", "attempts", "p50/p95/p99 ms", "model", "distance", "failed", "model", "fit"];
        let [hour, attempts, recorded, model, distance, failed, model_failed, fit] = columns;
        writeln!(
            out,
            "  {hour:<16} {attempts:>9} {recorded:>20} {model:>20} {distance:>8} {failed:>7} {model_failed:>7}  {fit}"
        )?;
        self.whole.row("all", out)?;
        let is_shown = |span: &&Span| self.hours.len() <= MOST_HOURS || !span.verdict.starts_with("good");
        for span in self.hours.iter().filter(is_shown).take(MOST_HOURS) {
            span.row(&span.from.strftime("%Y-%m-%d %H:%M").to_string(), out)?;
        }
        if self.hours.len() > MOST_HOURS {
            let good = self.hours.iter().filter(|span| span.verdict == "good").count();
            writeln!(out, "  {good} of {} hours fit well; only the others are listed", self.hours.len())?;
        }
        Ok(())
    }
}

impl Span {
    fn row(&self, name: &str, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let times = |[p50, p95, p99]: [u64; 3]| format!("{p50}/{p95}/{p99}");
        writeln!(
            out,
            "  {name:<16} {:>9} {:>20} {:>20} {:>8.3} {:>6.2}% {:>6.2}%  {}",
            self.attempts,
            times(self.took.recorded),
            times(self.took.model),
            self.took.distance.max(self.first.distance),
            self.failed * 100.0,
            self.model_failed * 100.0,
            self.verdict
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_is_the_largest_difference_of_shares() {
        assert_eq!(distance(&[1.0, 2.0, 3.0, 4.0], &[1.0, 2.0, 3.0, 4.0]), 0.0);
        assert_eq!(distance(&[1.0, 2.0, 3.0, 4.0], &[3.0, 4.0, 5.0, 6.0]), 0.5);
        assert_eq!(distance(&[1.0, 1.0], &[2.0]), 1.0);
        assert_eq!(distance(&[], &[2.0]), 0.0);
    }

    #[test]
    fn a_verdict_says_why() {
        let span = |attempts: u64, distance, failed| Span {
            from: Timestamp::UNIX_EPOCH,
            attempts,
            took: Compared { count: attempts as usize, distance, ..Compared::default() },
            first: Compared::default(),
            failed,
            model_failed: 0.0,
            verdict: String::new(),
        };
        for (attempts, distance, failed, verdict) in [
            (3, 0.0, 0.0, "poor: 3 attempts only"),
            (1000, 0.05, 0.01, "good"),
            (1000, 0.15, 0.0, "fair: somewhat other latency"),
            (1000, 0.25, 0.0, "poor: other latency than in the model"),
            (1000, 0.0, 0.08, "fair: somewhat other failures"),
            (1000, 0.0, 0.2, "poor: other failures than in the model"),
            // Thirty answers may well be this far from their own distribution.
            (30, 0.3, 0.0, "good"),
        ] {
            assert_eq!(span(attempts, distance, failed).judged().verdict, verdict, "{attempts} {distance} {failed}");
        }
    }
}
