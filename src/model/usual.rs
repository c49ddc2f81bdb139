//! Usual: the usual value of a repeated measurement, such as the latency of a model. It adapts over minutes of
//! time, not over a number of samples: heavy traffic must not make a slowdown usual within seconds.
//!
//! It does not know what is measured.

use std::time::Duration;

use tokio::time::Instant;

/// Before this many values nobody knows what is usual.
const ENOUGH: u32 = 20;

/// How long a value is remembered.
const MEMORY: Duration = Duration::from_secs(120);

/// What is usual of one thing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usual {
    mean: f64,
    count: u32,
    last: Option<Instant>,
}

impl Usual {
    /// Notes a value.
    pub fn note(&mut self, value: f64, now: Instant) {
        self.count = self.count.saturating_add(1);
        let since = self.last.replace(now).map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        // The first values are averaged plainly: a single odd one must not be what is usual.
        let plain = if self.count <= ENOUGH { 1.0 / f64::from(self.count) } else { 0.0 };
        self.mean += (value - self.mean) * (1.0 - (-since.as_secs_f64() / MEMORY.as_secs_f64()).exp()).max(plain);
    }

    /// The usual value, once enough is known.
    pub fn value(&self) -> Option<f64> {
        (self.count >= ENOUGH).then_some(self.mean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_usual_before_enough_is_known() {
        let (mut usual, now) = (Usual::default(), Instant::now());
        for _ in 0..ENOUGH - 1 {
            usual.note(2.0, now);
            assert_eq!(usual.value(), None);
        }
        usual.note(2.0, now);
        assert_eq!(usual.value(), Some(2.0));
    }

    #[test]
    fn a_slowdown_becomes_usual_in_minutes_however_much_traffic_there_is() {
        let (mut usual, start) = (Usual::default(), Instant::now());
        (0..100).for_each(|_| usual.note(1.0, start));
        for tenth in 1..=100 {
            usual.note(10.0, start + Duration::from_millis(100) * tenth);
        }
        assert!(usual.value().is_some_and(|value| value < 2.0), "{usual:?} after ten seconds");
        for second in 11..600 {
            usual.note(10.0, start + Duration::from_secs(second));
        }
        assert!(usual.value().is_some_and(|value| value > 9.0), "{usual:?} after ten minutes");
    }
}
