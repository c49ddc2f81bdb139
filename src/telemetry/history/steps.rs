//! Steps of time: what is kept of each, and series of them: an hour in steps of ten seconds, and a day in steps of
//! five minutes that are made of the former.
//!
//! It does not know what time it is.

use crate::model::money::Usd;
use crate::telemetry::histogram::Percentiles;
use crate::telemetry::traffic::STEP;

/// Seconds of a short step: the traffic's own steps.
pub const SHORT: u64 = STEP;

/// Short steps that are kept: an hour.
pub(super) const HOUR: usize = 3600 / SHORT as usize;

/// Seconds of a long step, and the short steps in it.
const LONG: u64 = 300;
pub(super) const PARTS: u64 = LONG / SHORT;

/// Long steps that are kept: a day.
pub(super) const DAY: usize = 24 * 3600 / LONG as usize;

/// How far back series go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// An hour, in steps of ten seconds.
    Hour,
    /// A day, in steps of five minutes.
    Day,
}

impl Span {
    /// Both, with their words.
    pub const ALL: [(Span, &str); 2] = [(Span::Hour, "1h"), (Span::Day, "24h")];

    /// Seconds of its steps, and how many there are.
    pub fn steps(self) -> (u64, usize) {
        match self {
            Span::Hour => (SHORT, HOUR),
            Span::Day => (LONG, DAY),
        }
    }
}

/// Something of which two steps together are one longer step. The default is a step of which nothing is known.
pub(super) trait Step: Copy + Default {
    /// Takes in the step that follows.
    fn merge(&mut self, next: Self);
}

/// Calls in a step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CallStep {
    /// Calls that ended, however they did.
    pub calls: u32,
    /// Those that were refused.
    pub refused: u32,
    /// Those whose callers left.
    pub left: u32,
    /// Those that failed.
    pub failed: u32,
    /// Cache hits.
    pub hits: u32,
    /// Calls for which one was looked for.
    pub lookups: u32,
    /// What they cost.
    pub cost: Usd,
    /// How long those took that were answered, or failed.
    pub took: Option<Percentiles>,
    /// ... and to their first event or whole answer.
    pub first_token: Option<Percentiles>,
}

impl Step for Option<CallStep> {
    /// Percentiles are not among it: they come from histograms, which the history merges.
    fn merge(&mut self, next: Self) {
        let Some(next) = next else { return };
        let step = self.get_or_insert_default();
        let counts = [
            (&mut step.calls, next.calls),
            (&mut step.refused, next.refused),
            (&mut step.left, next.left),
            (&mut step.failed, next.failed),
            (&mut step.hits, next.hits),
            (&mut step.lookups, next.lookups),
        ];
        for (count, more) in counts {
            *count = count.saturating_add(more);
        }
        step.cost += next.cost;
    }
}

/// The state of a circuit breaker; the greater, the worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Band {
    /// Calls pass.
    Closed,
    /// Some calls pass.
    HalfOpen,
    /// No call passes.
    Open,
}

impl Band {
    /// The word in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Band::Closed => "closed",
            Band::HalfOpen => "half-open",
            Band::Open => "open",
        }
    }
}

/// One provider in a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProviderStep {
    /// Attempts that ended.
    pub attempts: u32,
    /// Those that failed.
    pub failures: u32,
    /// The worst state of its circuit breakers; `None`: nothing is known of the provider in this step.
    pub band: Option<Band>,
}

impl Step for ProviderStep {
    fn merge(&mut self, next: Self) {
        self.attempts = self.attempts.saturating_add(next.attempts);
        self.failures = self.failures.saturating_add(next.failures);
        self.band = self.band.max(next.band);
    }
}

/// The last hour and the last day of something. Short steps are numbered from the start.
pub(super) struct Series<T> {
    short: Box<[T]>,
    long: Box<[T]>,
    /// The last short step that was written.
    last: Option<u64>,
}

impl<T: Step> Series<T> {
    pub(super) fn new() -> Self {
        Self { short: vec![T::default(); HOUR].into(), long: vec![T::default(); DAY].into(), last: None }
    }

    /// Writes a short step. Of those between it and the last one nothing is known; what is not after the last one is ignored.
    pub(super) fn write(&mut self, number: u64, step: T) {
        if self.last.is_some_and(|last| number <= last) {
            return;
        }
        let first = self.last.map_or(0, |last| last + 1);
        for skipped in (first..=number).rev().take(HOUR) {
            *slot(&mut self.short, skipped) = T::default();
        }
        for begun in (first.div_ceil(PARTS)..=number / PARTS).rev().take(DAY) {
            *slot(&mut self.long, begun) = T::default();
        }
        *slot(&mut self.short, number) = step;
        slot(&mut self.long, number / PARTS).merge(step);
        self.last = Some(number);
    }

    /// The long step that is being written.
    pub(super) fn latest_long(&mut self) -> Option<&mut T> {
        self.last.map(|last| slot(&mut self.long, last / PARTS))
    }

    /// The steps of a span with these numbers.
    pub(super) fn read(&self, span: Span, numbers: std::ops::Range<u64>) -> Vec<T> {
        let steps = match span {
            Span::Hour => &self.short,
            Span::Day => &self.long,
        };
        let last = match span {
            Span::Hour => self.last,
            Span::Day => self.last.map(|last| last / PARTS),
        };
        let is_written = |number: u64| last.is_some_and(|last| number <= last);
        let step =
            |number: u64| if is_written(number) { steps[(number % steps.len() as u64) as usize] } else { T::default() };
        numbers.map(step).collect()
    }

    /// The last short step that was written.
    pub(super) fn last(&self) -> Option<u64> {
        self.last
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.short) + size_of_val(&*self.long)
    }
}

fn slot<T>(steps: &mut [T], number: u64) -> &mut T {
    &mut steps[(number % steps.len() as u64) as usize]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn step(attempts: u32) -> ProviderStep {
        ProviderStep { attempts, failures: 0, band: Some(Band::Closed) }
    }

    proptest! {
        /// Against a list of all steps that were ever written.
        #[test]
        fn a_series_tells_of_the_last_steps_whatever_was_skipped(
            gaps in prop::collection::vec(prop_oneof![8 => Just(1_u64), 2 => 2_u64..70, 1 => 300_u64..9000], 1..400),
        ) {
            let (mut series, mut written, mut number) = (Series::new(), std::collections::BTreeMap::new(), 0);
            for (index, gap) in gaps.into_iter().enumerate() {
                number += gap;
                series.write(number, step(index as u32 + 1));
                written.insert(number, index as u32 + 1);
            }
            let next = number + 1;
            let hour = next.saturating_sub(HOUR as u64)..next;
            for (number, step) in hour.clone().zip(series.read(Span::Hour, hour)) {
                let known = written.get(&number).copied();
                prop_assert_eq!((step.attempts, step.band.is_some()), (known.unwrap_or(0), known.is_some()), "{}", number);
            }
            let end = next.div_ceil(PARTS);
            let day = end.saturating_sub(DAY as u64)..end;
            for (number, step) in day.clone().zip(series.read(Span::Day, day)) {
                let parts: Vec<u32> = written.range(number * PARTS..(number + 1) * PARTS).map(|(_, count)| *count).collect();
                let known = (parts.iter().sum(), !parts.is_empty());
                prop_assert_eq!((step.attempts, step.band.is_some()), known, "{}", number);
            }
        }
    }

    #[test]
    fn what_came_before_is_not_written_again_and_what_comes_is_not_known() {
        let mut series = Series::new();
        series.write(3, step(1));
        series.write(3, step(7));
        series.write(2, step(7));
        let attempts: Vec<u32> = series.read(Span::Hour, 0..6).iter().map(|step| step.attempts).collect();
        assert_eq!(attempts, [0, 0, 0, 1, 0, 0]);
        assert_eq!(series.read(Span::Day, 0..2)[0].attempts, 1);
        assert_eq!(series.read(Span::Day, 0..2)[1], ProviderStep::default());
    }

    #[test]
    fn the_worst_state_is_the_one_of_a_long_step() {
        let mut series = Series::new();
        for (number, band) in [(0, Some(Band::HalfOpen)), (1, Some(Band::Open)), (2, None), (3, Some(Band::Closed))] {
            series.write(number, ProviderStep { band, ..ProviderStep::default() });
        }
        assert_eq!(series.read(Span::Day, 0..1)[0].band, Some(Band::Open));
    }
}
