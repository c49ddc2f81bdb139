//! Scale: from values to places on a picture, and where the ticks are.
//!
//! It does not know what a value is of; the axis brings the words for one.

/// How values are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Evenly; ticks at 1, 2 or 5 times a power of ten.
    Linear,
    /// By their logarithm; ticks at 1, 2 and 5 times powers of ten.
    Log,
    /// Seconds since 1970, evenly; ticks at round times.
    Time,
}

/// One axis.
#[derive(Clone, Copy)]
pub struct Axis {
    /// How its values are spread.
    pub scale: Scale,
    /// The words for a value.
    pub words: fn(f64) -> String,
}

/// Steps of time, in seconds.
const STEPS: [f64; 19] = [
    1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 10_800.0, 21_600.0,
    43_200.0, 86_400.0, 604_800.0,
];

/// An axis over the values that are there.
pub(super) struct Range {
    axis: Axis,
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Range {
    /// Over these values. A linear one begins at zero and ends with a tick; `steps` is about how many there are.
    pub(super) fn of(axis: Axis, values: impl Iterator<Item = f64>, steps: f64) -> Self {
        let floor = if axis.scale == Scale::Log { 1.0 } else { f64::MIN };
        let values = values.filter(|value| value.is_finite()).map(|value| value.max(floor));
        let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
        let (low, high) = if low > high { (0.0, 1.0) } else { (low, high) };
        match axis.scale {
            Scale::Linear => {
                let low = low.min(0.0);
                let step = nice((high - low).max(f64::MIN_POSITIVE) / steps);
                let (low, high) = ((low / step).floor() * step, (high / step).ceil() * step);
                Self { axis, low, high: if high > low { high } else { low + 1.0 } }
            }
            Scale::Log => Self { axis, low: low.max(1.0), high: high.max(low.max(1.0) * 2.0) },
            Scale::Time => Self { axis, low, high: if high > low { high } else { low + 1.0 } },
        }
    }

    /// Over values as they are, from the lowest to the highest.
    pub(super) fn tight(axis: Axis, values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
        let (low, high) = if low > high { (0.0, 1.0) } else { (low, high) };
        Self { axis, low, high: if high > low { high } else { low + 1.0 } }
    }

    /// Where a value is, between 0 and 1.
    pub(super) fn at(&self, value: f64) -> f64 {
        let part = match self.axis.scale {
            Scale::Log => (value.max(1.0) / self.low).ln() / (self.high / self.low).ln(),
            Scale::Linear | Scale::Time => (value - self.low) / (self.high - self.low),
        };
        if part.is_finite() { part.clamp(0.0, 1.0) } else { 0.0 }
    }

    /// About this many ticks, with their words.
    pub(super) fn ticks(&self, about: f64) -> Vec<(f64, String)> {
        let span = self.high - self.low;
        let step = match self.axis.scale {
            Scale::Log => return self.powers(about),
            Scale::Linear => nice(span / about),
            Scale::Time => {
                let step = STEPS.into_iter().find(|step| span / step <= about);
                step.unwrap_or_else(|| (span / about / 604_800.0).ceil() * 604_800.0)
            }
        };
        let first = (self.low / step).ceil();
        // The last may be a rounding error away.
        let all = (0..50).map(|at| (first + f64::from(at)) * step);
        all.take_while(|at| *at <= self.high + step / 1e6).map(|at| (at, (self.axis.words)(at))).collect()
    }

    fn powers(&self, about: f64) -> Vec<(f64, String)> {
        let (from, to) = (self.low.log10().floor() as i32, self.high.log10().ceil() as i32);
        let of = |(digits, stride): (&[f64], usize)| -> Vec<f64> {
            let powers = (from..=to).step_by(stride);
            let all = powers.flat_map(|power| digits.iter().map(move |digit| digit * 10_f64.powi(power)));
            all.filter(|at| (self.low..=self.high).contains(at)).collect()
        };
        // Over very many powers not each has a tick.
        let stride = (f64::from(to - from) / about.max(1.0)).ceil().max(1.0) as usize;
        let some = [(&[1.0, 2.0, 5.0][..], 1), (&[1.0, 3.0], 1), (&[1.0], 1), (&[1.0], stride)].map(of);
        let fits = some.iter().find(|ticks| ticks.len() as f64 <= about).or(some.last());
        fits.into_iter().flatten().map(|at| (*at, (self.axis.words)(*at))).collect()
    }
}

/// The next of 1, 2, 5, 10, ... times a power of ten.
fn nice(step: f64) -> f64 {
    let power = 10_f64.powi(step.log10().floor().clamp(-300.0, 300.0) as i32);
    let digit = step / power;
    power * [1.0, 2.0, 5.0].into_iter().find(|nice| digit <= nice * 1.000_001).unwrap_or(10.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn axis(scale: Scale) -> Axis {
        Axis { scale, words: |value| format!("{value}") }
    }

    fn ticks(scale: Scale, values: &[f64]) -> Vec<String> {
        let range = Range::of(axis(scale), values.iter().copied(), 4.0);
        range.ticks(4.0).into_iter().map(|(_, words)| words).collect()
    }

    #[test]
    fn ticks_are_at_round_values() {
        assert_eq!(ticks(Scale::Linear, &[3.0, 97.0]), ["0", "50", "100"]);
        assert_eq!(ticks(Scale::Linear, &[0.0, 7.0]), ["0", "2", "4", "6", "8"]);
        assert_eq!(ticks(Scale::Log, &[4.0, 6000.0]), ["10", "100", "1000"]);
        assert_eq!(
            ticks(Scale::Time, &[1_772_442_000.0, 1_772_443_200.0]),
            ["1772442000", "1772442300", "1772442600", "1772442900", "1772443200"]
        );
    }

    proptest! {
        #[test]
        fn whatever_the_values_each_has_a_place_and_ticks_are_few(values in prop::collection::vec(any::<f64>(), 0..9), at in any::<f64>(), kind in 0..3_usize) {
            let scale = [Scale::Linear, Scale::Log, Scale::Time][kind];
            let range = Range::of(axis(scale), values.into_iter(), 4.0);
            prop_assert!((0.0..=1.0).contains(&range.at(at)));
            prop_assert!(range.ticks(4.0).len() <= 50);
        }
    }
}
