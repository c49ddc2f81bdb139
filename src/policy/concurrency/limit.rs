//! The adaptive concurrency limit of one model family. It starts at the ceiling, so that a provider without signs
//! of overload is never throttled. Each signal shrinks it to the number of calls in flight at that moment; without
//! signals it doubles until it is back at the ceiling.
//!
//! Signals are explicit: 429, 503, 529, refused connections and timeouts. Latency is not one: a healthy model may
//! think for minutes. It does not know who holds a permit.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::plan::ConcurrencyPlan;
use crate::model::usual::Usual;

/// This long after a sign the limit begins to grow again.
const HOLD: Duration = Duration::from_secs(2);
/// Where what it grew by was too much already, it waits twice as long each time, but never longer than this: a provider that
/// at a constant capacity is overloaded only once in a while, and one that recovers gets its calls soon.
const LONGEST_HOLD: Duration = Duration::from_secs(16);
/// How far apart its steps are, each twice as large as the one before.
const PACE: Duration = Duration::from_millis(500);
/// The first step after a sign: this share of the limit.
const FIRST_STEP: f64 = 0.02;
/// It need not wait for that where many calls were answered since: this many for each place that it grows by. So no more
/// than one call in forty finds out that it was too much.
const PROOF: f64 = 40.0;
/// ... but signs on their way need some time to get here.
const SHORTEST: Duration = Duration::from_millis(100);

/// What an attempt says about the provider.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sample {
    /// It began to answer, or was there as a whole.
    Answered(Took),
    /// It refused for load.
    Overloaded,
    /// No connection to it could be made.
    Unreachable,
    /// It showed no sign of life in time.
    Silent(Took),
    /// Nothing.
    Nothing,
}

/// How long something took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Took {
    /// How long.
    pub time: Duration,
    /// Until the first event of a stream; otherwise a whole answer.
    pub is_stream: bool,
}

/// The limit of one model family at one provider.
#[derive(Clone, Debug)]
pub struct Limit {
    places: f64,
    min: f64,
    max: f64,
    slowdown: f64,
    /// What it grows by next, and when; `None` at the ceiling.
    step: f64,
    due: Option<Instant>,
    changed: Instant,
    /// Calls that were answered since it changed.
    answered: f64,
    hold: Duration,
    /// Where the last sign has left it, until it has doubled without another.
    found: Option<f64>,
    has_grown: bool,
    stream: Usual,
    whole: Usual,
}

impl Limit {
    /// A limit that has learnt nothing yet.
    pub fn new(settings: &ConcurrencyPlan, now: Instant) -> Self {
        let (places, max) = (f64::from(settings.initial), f64::from(settings.max));
        Self {
            places,
            min: settings.min.into(),
            max,
            slowdown: settings.slowdown,
            step: places,
            due: (places < max).then(|| now + PACE),
            changed: now,
            answered: 0.0,
            hold: HOLD,
            found: None,
            has_grown: false,
            stream: Usual::default(),
            whole: Usual::default(),
        }
    }

    /// Calls at once.
    pub fn places(&self) -> u32 {
        self.places as u32
    }

    /// When it grows next if there is no sign until then; `None`: it is at the ceiling.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Grows by what is due.
    pub fn advance(&mut self, now: Instant) {
        while let Some(due) = self.due.filter(|due| *due <= now) {
            self.grow(due);
        }
    }

    /// True when an attempt shows a sign of overload that its own request may have caused.
    pub fn may_be_of_caller(&self, sample: Sample) -> bool {
        match sample {
            Sample::Overloaded => true,
            Sample::Silent(took) => self.is_beyond_usual(took),
            Sample::Unreachable | Sample::Answered(_) | Sample::Nothing => false,
        }
    }

    fn is_beyond_usual(&self, took: Took) -> bool {
        let usual = if took.is_stream { &self.stream } else { &self.whole };
        usual.value().is_some_and(|usual| took.time.as_secs_f64() > usual * self.slowdown)
    }

    /// Learns from an attempt, while this many were running, it included.
    pub fn note(&mut self, sample: Sample, in_flight: u32, now: Instant) {
        self.advance(now);
        match sample {
            Sample::Nothing => {}
            Sample::Overloaded | Sample::Unreachable => self.shrink(in_flight, now),
            Sample::Silent(took) if self.is_beyond_usual(took) => self.shrink(in_flight, now),
            Sample::Silent(_) => {}
            Sample::Answered(took) => {
                let usual = if took.is_stream { &mut self.stream } else { &mut self.whole };
                usual.note(took.time.as_secs_f64(), now);
                self.answered += 1.0;
                if self.due.is_some() && self.answered >= self.step * PROOF && now >= self.changed + SHORTEST {
                    self.grow(now);
                }
            }
        }
    }

    fn grow(&mut self, at: Instant) {
        self.places = (self.places + self.step.max(1.0)).min(self.max);
        self.step = (self.step * 2.0).min(self.places);
        (self.changed, self.answered, self.has_grown) = (at, 0.0, true);
        self.due = (self.places < self.max).then(|| at + PACE);
        if self.found.is_some_and(|found| self.places >= found * 2.0) {
            (self.found, self.hold) = (None, HOLD);
        }
    }

    fn shrink(&mut self, in_flight: u32, now: Instant) {
        if std::mem::take(&mut self.has_grown) && self.found.is_some() {
            self.hold = (self.hold * 2).min(LONGEST_HOLD);
        }
        // What is running beside the one that was refused was not refused; each that was brings it down by one.
        let stands = f64::from(in_flight.saturating_sub(1));
        self.places = self.places.min(stands).max(self.min);
        self.found = Some(self.places);
        self.step = (self.places * FIRST_STEP).floor().max(1.0);
        (self.changed, self.answered) = (now, 0.0);
        self.due = (self.places < self.max).then(|| now + self.hold);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limit(now: Instant) -> Limit {
        let plan = ConcurrencyPlan {
            is_on: true,
            initial: 10_000,
            min: 2,
            max: 10_000,
            slowdown: 3.0,
            queue: 0,
            max_wait: None,
        };
        Limit::new(&plan, now)
    }

    fn answered(seconds: u64) -> Sample {
        Sample::Answered(Took { time: Duration::from_secs(seconds), is_stream: true })
    }

    #[test]
    fn a_burst_of_refusals_leaves_what_was_not_refused() {
        let now = Instant::now();
        let mut limit = limit(now);
        for in_flight in (51..=200).rev() {
            limit.note(Sample::Overloaded, in_flight, now);
        }
        assert_eq!(limit.places(), 50);
    }

    #[test]
    fn it_is_at_the_ceiling_again_within_seconds_of_the_last_sign() {
        let now = Instant::now();
        let mut limit = limit(now);
        limit.note(Sample::Overloaded, 51, now);
        limit.advance(now + HOLD - PACE);
        assert_eq!(limit.places(), 50);
        limit.advance(now + HOLD);
        assert_eq!(limit.places(), 51);
        limit.advance(now + Duration::from_secs(10));
        assert_eq!((limit.places(), limit.due()), (10_000, None));
    }

    #[test]
    fn what_a_provider_can_stand_is_exceeded_by_less_than_one_call_in_twenty() {
        let (mut now, mut refused, mut served) = (Instant::now(), 0, 0);
        let mut limit = limit(now);
        limit.note(Sample::Overloaded, 51, now);
        // One call ends, and the next begins, each twentieth of a second: fifty at once that take 2.5 s.
        for _ in 0..6000 {
            now += Duration::from_millis(50);
            limit.advance(now);
            limit.note(answered(2), 50, now);
            served += 1;
            while limit.places() > 50 {
                limit.note(Sample::Overloaded, 51, now);
                refused += 1;
            }
            assert_eq!(limit.places(), 50);
        }
        assert!(refused * 20 < served, "{refused} of {served} refused");
        assert!(refused > 10, "it goes on to look for more");
    }

    #[test]
    fn a_model_that_takes_longer_than_another_shows_no_sign_of_overload() {
        let now = Instant::now();
        let mut limit = limit(now);
        (0..100).for_each(|_| limit.note(answered(1), 50, now));
        (0..100).for_each(|_| limit.note(answered(300), 50, now));
        assert_eq!(limit.places(), 10_000);
    }

    #[test]
    fn silence_is_a_sign_only_beyond_what_is_usual() {
        let silent = |seconds| Sample::Silent(Took { time: Duration::from_secs(seconds), is_stream: true });
        let now = Instant::now();
        let mut limit = limit(now);
        limit.note(silent(600), 50, now);
        assert_eq!(limit.places(), 10_000, "nothing is known of this model");
        (0..100).for_each(|_| limit.note(answered(5), 50, now));
        limit.note(silent(10), 50, now);
        assert_eq!(limit.places(), 10_000);
        limit.note(silent(30), 50, now);
        assert_eq!(limit.places(), 49);
    }

    #[test]
    fn one_that_begins_below_the_ceiling_doubles() {
        let now = Instant::now();
        let plan =
            ConcurrencyPlan { is_on: true, initial: 20, min: 2, max: 1000, slowdown: 3.0, queue: 0, max_wait: None };
        let mut limit = Limit::new(&plan, now);
        let mut grown = Vec::new();
        while let Some(due) = limit.due() {
            limit.advance(due);
            grown.push(limit.places());
        }
        assert_eq!(grown, [40, 80, 160, 320, 640, 1000]);
    }

    proptest! {
        #[test]
        fn it_stays_within_its_bounds_and_gets_back_to_the_ceiling(
            steps in prop::collection::vec((0u8..4, 0u32..20_000, 0u64..100_000), 0..300),
        ) {
            let mut now = Instant::now();
            let mut limit = limit(now);
            for (kind, in_flight, millis) in steps {
                now += Duration::from_millis(millis / 10);
                let took = Took { time: Duration::from_millis(millis), is_stream: millis % 2 == 0 };
                let sample = match kind {
                    0 => Sample::Answered(took),
                    1 => Sample::Overloaded,
                    2 => Sample::Silent(took),
                    _ => Sample::Nothing,
                };
                limit.note(sample, in_flight, now);
                prop_assert!((2..=10_000).contains(&limit.places()));
            }
            limit.advance(now + LONGEST_HOLD + PACE * 20);
            prop_assert_eq!(limit.places(), 10_000);
        }
    }
}
