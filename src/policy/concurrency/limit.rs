//! The limit: how many calls at once a provider can stand, learnt from its answers. Additive up while the places are used
//! and answers come as fast as usual, multiplicative down when they do not (AIMD; the comparison of short and long latency
//! follows Netflix's gradient limiter).
//!
//! It does not know who holds a place.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::plan::ConcurrencyPlan;

/// What remains of the limit after a 429, a 503 or silence.
const AFTER_OVERLOAD: f64 = 0.75;
/// What remains of it when answers are slow.
const AFTER_SLOWNESS: f64 = 0.9;
/// How much one answer counts in the short memory.
const SHORT: f64 = 0.1;
/// How long the long one lasts. By the clock, not by answers: much traffic must not make a slowdown usual within seconds.
const LONG: Duration = Duration::from_secs(120);
/// Before this many answers nobody knows what is usual.
const ENOUGH: u32 = 50;
/// Two cuts within this time have one cause: what is running now was sent before the first of them.
const CUT_INTERVAL: Duration = Duration::from_secs(1);
/// ... and so do two within this many usual answer times.
const CUT_ANSWERS: f64 = 2.0;
/// This long after the last cut what was lost is regained with each answer, not with each round of answers: one bad second
/// must not slow down a busy hour.
const QUIET: Duration = Duration::from_secs(30);

/// What an attempt says about the provider.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sample {
    /// It began to answer after this time.
    Answered(Duration),
    /// It said, or showed, that it has too much to do.
    Overloaded,
    /// Neither.
    Nothing,
}

/// The limit of one provider.
#[derive(Clone, Debug)]
pub struct Limit {
    places: f64,
    initial: f64,
    min: f64,
    max: f64,
    slowdown: f64,
    /// Seconds until answers begin: lately, and usually.
    short: f64,
    long: f64,
    answers: u32,
    last_answer: Option<Instant>,
    last_cut: Option<Instant>,
}

impl Limit {
    /// A limit that has learnt nothing yet.
    pub fn new(settings: &ConcurrencyPlan) -> Self {
        Self {
            places: settings.initial.into(),
            initial: settings.initial.into(),
            min: settings.min.into(),
            max: settings.max.into(),
            slowdown: settings.slowdown,
            short: 0.0,
            long: 0.0,
            answers: 0,
            last_answer: None,
            last_cut: None,
        }
    }

    /// Calls at once.
    pub fn places(&self) -> u32 {
        self.places as u32
    }

    /// Learns from an attempt, while this many were running.
    pub fn note(&mut self, sample: Sample, in_flight: u32, now: Instant) {
        match sample {
            Sample::Nothing => {}
            Sample::Overloaded => self.cut(AFTER_OVERLOAD, now),
            Sample::Answered(took) => {
                self.remember(took.as_secs_f64(), now);
                if self.answers >= ENOUGH && self.short > self.long * self.slowdown {
                    self.cut(AFTER_SLOWNESS, now);
                } else if f64::from(in_flight) * 2.0 > self.places {
                    // One place more for each round of answers; a limit that nobody comes near says nothing.
                    let is_quiet = self.last_cut.is_none_or(|last| now >= last + QUIET);
                    let step = if is_quiet && self.places < self.initial { 1.0 } else { 1.0 / self.places };
                    self.places = (self.places + step).min(self.max);
                }
            }
        }
    }

    fn remember(&mut self, took: f64, now: Instant) {
        self.answers = self.answers.saturating_add(1);
        let since = self.last_answer.replace(now).map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        // The first answers are averaged plainly: a single odd one must not be what is usual.
        let plain = if self.answers <= ENOUGH { 1.0 / f64::from(self.answers) } else { 0.0 };
        self.short += (took - self.short) * SHORT.max(plain);
        self.long += (took - self.long) * (1.0 - (-since.as_secs_f64() / LONG.as_secs_f64()).exp()).max(plain);
    }

    fn cut(&mut self, to: f64, now: Instant) {
        let pause = CUT_INTERVAL.max(Duration::from_secs_f64((self.long * CUT_ANSWERS).min(60.0)));
        if self.last_cut.is_some_and(|last| now < last + pause) {
            return;
        }
        self.last_cut = Some(now);
        self.places = (self.places * to).clamp(self.min, self.max);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limit() -> Limit {
        Limit::new(&ConcurrencyPlan {
            is_on: true,
            initial: 20,
            min: 2,
            max: 40,
            slowdown: 3.0,
            queue: 0,
            max_wait: Duration::ZERO,
        })
    }

    const FAST: Sample = Sample::Answered(Duration::from_millis(100));

    #[test]
    fn it_grows_by_one_for_each_round_of_answers_while_it_is_used() {
        let (mut limit, now) = (limit(), Instant::now());
        for _ in 0..21 {
            limit.note(FAST, 20, now);
        }
        assert_eq!(limit.places(), 21);
        for _ in 0..100 {
            limit.note(FAST, 1, now);
        }
        assert_eq!(limit.places(), 21, "nobody comes near it: nothing is learnt");
    }

    #[test]
    fn one_burst_of_refusals_is_one_cut() {
        let (mut limit, now) = (limit(), Instant::now());
        for _ in 0..20 {
            limit.note(Sample::Overloaded, 20, now);
        }
        assert_eq!(limit.places(), 15);
        limit.note(Sample::Overloaded, 15, now + Duration::from_secs(1));
        assert_eq!(limit.places(), 11);
    }

    #[test]
    fn what_a_bad_second_took_is_regained_quickly_later() {
        let (mut limit, now) = (limit(), Instant::now());
        for second in 0..4 {
            limit.note(Sample::Overloaded, 1, now + Duration::from_secs(second));
        }
        assert_eq!(limit.places(), 6);
        limit.note(FAST, 6, now + Duration::from_secs(20));
        assert_eq!(limit.places(), 6);
        for _ in 0..20 {
            limit.note(FAST, limit.places(), now + Duration::from_secs(40));
        }
        assert_eq!(limit.places(), 20, "up to where it began, and by rounds from there");
    }

    #[test]
    fn slowness_brings_it_down_and_speed_up_again() {
        let (mut limit, mut now) = (limit(), Instant::now());
        let mut run = |limit: &mut Limit, sample, rounds| {
            for _ in 0..rounds {
                now += Duration::from_millis(100);
                limit.note(sample, limit.places(), now);
            }
        };
        run(&mut limit, FAST, 100);
        let before = limit.places();
        run(&mut limit, Sample::Answered(Duration::from_secs(1)), 200);
        let slow = limit.places();
        assert!(slow < before / 2, "{slow} of {before}");
        run(&mut limit, FAST, 1000);
        assert!(limit.places() > slow * 2, "{} after {slow}", limit.places());
    }

    proptest! {
        #[test]
        fn it_stays_within_its_bounds(steps in prop::collection::vec((0u8..3, 0u32..60, 0u64..100_000), 0..300)) {
            let (mut limit, mut now) = (limit(), Instant::now());
            for (kind, in_flight, millis) in steps {
                now += Duration::from_millis(millis / 10);
                let sample = match kind {
                    0 => Sample::Answered(Duration::from_millis(millis)),
                    1 => Sample::Overloaded,
                    _ => Sample::Nothing,
                };
                limit.note(sample, in_flight, now);
                prop_assert!((2..=40).contains(&limit.places()));
            }
        }
    }
}
