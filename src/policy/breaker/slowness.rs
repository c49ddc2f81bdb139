//! Slowness: decides whether a response was slower than is usual for its model. A model that is always slow is not
//! slow by this measure, first tokens and whole responses are measured separately, and a long response may take
//! longer than a short one.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::plan::BreakerPlan;
use crate::model::reply::Body;
use crate::model::usual::Usual;

/// How long an answer took.
#[derive(Clone, Copy, Debug)]
pub(super) enum ResponseTime {
    /// Until the first event of a stream.
    Event(Duration),
    /// Until the first bytes of what is passed on as it comes.
    Byte(Duration),
    /// Until the whole answer was there, which has this many bytes.
    Whole(Duration, usize),
}

impl ResponseTime {
    /// An answer that came after this time; `None` for a conversation.
    pub(super) fn of(body: &Body, took: Duration) -> Option<Self> {
        match body {
            Body::Events(_) => Some(Self::Event(took)),
            Body::Bytes(_) => Some(Self::Byte(took)),
            Body::Whole(bytes) => Some(Self::Whole(took, bytes.len())),
            Body::Answer(answer) => Some(Self::Whole(took, answer.text.len())),
            Body::Transcript(transcript) => Some(Self::Whole(took, transcript.text.len())),
            Body::Socket(_) => None,
        }
    }
}

/// What is usual of one model.
#[derive(Debug, Default)]
pub(super) struct Slowness {
    event: Usual,
    byte: Usual,
    whole: Usual,
    /// Seconds for each byte of whole answers.
    pace: Usual,
}

impl Slowness {
    /// Notes an answer; true when it was slow.
    pub(super) fn note(&mut self, measured: ResponseTime, settings: &BreakerPlan, now: Instant) -> bool {
        let times = settings.slowdown;
        let is_late = |usual: &mut Usual, value: f64| {
            let is_late = usual.value().is_some_and(|usual| value > usual * times);
            usual.note(value, now);
            is_late
        };
        let (took, is_late) = match measured {
            ResponseTime::Event(took) => (took, is_late(&mut self.event, took.as_secs_f64())),
            ResponseTime::Byte(took) => (took, is_late(&mut self.byte, took.as_secs_f64())),
            ResponseTime::Whole(took, bytes) => {
                let seconds = took.as_secs_f64();
                let is_long = is_late(&mut self.whole, seconds);
                (took, is_late(&mut self.pace, seconds / bytes.max(1) as f64) && is_long)
            }
        };
        is_late && took > settings.slow_after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn settings() -> BreakerPlan {
        BreakerPlan {
            window: SECOND * 10,
            failure_share: 0.5,
            min_calls: 10,
            consecutive: 5,
            same_request: 1,
            slow_after: SECOND * 8,
            slowdown: 3.0,
            slow_share: 0.8,
            open_for: SECOND * 10,
            open_max: SECOND * 60,
            probes: 3,
            ramp_step: SECOND * 2,
        }
    }

    fn slow(slowness: &mut Slowness, measured: ResponseTime) -> bool {
        slowness.note(measured, &settings(), Instant::now())
    }

    #[test]
    fn what_is_always_slow_is_not_slow() {
        let mut slowness = Slowness::default();
        assert!((0..100).all(|_| !slow(&mut slowness, ResponseTime::Event(SECOND * 180))));
        assert!((0..100).all(|_| !slow(&mut slowness, ResponseTime::Whole(SECOND * 9, 500))));
    }

    #[test]
    fn several_times_the_usual_is_slow_from_a_floor_on_and_measures_are_not_mixed() {
        let mut slowness = Slowness::default();
        (0..30).for_each(|_| assert!(!slow(&mut slowness, ResponseTime::Event(SECOND / 2))));
        assert!(slow(&mut slowness, ResponseTime::Event(SECOND * 9)));
        assert!(!slow(&mut slowness, ResponseTime::Event(SECOND * 7)), "not above `slow_after`");
        assert!(!slow(&mut slowness, ResponseTime::Whole(SECOND * 9, 500)), "nothing is known of whole answers");
    }

    #[test]
    fn a_long_answer_may_take_longer() {
        let mut slowness = Slowness::default();
        (0..30).for_each(|_| assert!(!slow(&mut slowness, ResponseTime::Whole(SECOND, 500))));
        assert!(!slow(&mut slowness, ResponseTime::Whole(SECOND * 40, 20_000)));
        assert!(slow(&mut slowness, ResponseTime::Whole(SECOND * 40, 600)));
    }
}
