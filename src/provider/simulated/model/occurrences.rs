//! Occurrences: how often a question has been asked lately, so that a second attempt has luck of its own, and the first has
//! the same luck in every simulation.
//!
//! Its memory is bounded: a question gives way to another one with the same place in the table.

use std::time::Duration;

/// Places. Attempts of one call follow each other within seconds, in which no simulation has as many questions.
const PLACES: usize = 1 << 14;

/// How long a question that has lost its place and comes again may have the luck that it had before. Two simulations in
/// which it comes a little earlier or later agree on it, but for those at an edge.
const SLOT: Duration = Duration::from_secs(600);

/// A question that was asked.
#[derive(Clone, Copy, Default)]
struct Asked {
    question: u64,
    /// The slot of time in which its place was taken.
    slot: u64,
    times: u64,
}

/// The questions that were asked lately.
pub(super) struct Occurrences(Box<[Asked]>);

impl Occurrences {
    pub(super) fn new() -> Self {
        Self(vec![Asked::default(); PLACES].into())
    }

    /// Notes a question, and says which occurrence of it this is.
    pub(super) fn note(&mut self, question: u64, since: Duration) -> (u64, u64) {
        // The number may be small, or a hash.
        let place = (question.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as usize % PLACES;
        let Some(asked) = self.0.get_mut(place) else { return (0, 0) };
        if asked.question != question || asked.times == 0 {
            *asked = Asked { question, slot: since.as_secs() / SLOT.as_secs(), times: 0 };
        }
        asked.times += 1;
        (asked.slot, asked.times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_attempt_is_another_occurrence_and_other_questions_change_nothing() {
        let mut alone = Occurrences::new();
        let mut among = Occurrences::new();
        let second = Duration::from_secs(1);
        for attempt in 1..4 {
            among.note(8, second);
            assert_eq!(alone.note(7, second), (0, attempt));
            assert_eq!(among.note(7, second), (0, attempt));
        }
        // A question that has lost its place is not what it was before.
        for other in 100..100_000 {
            alone.note(other, second);
        }
        assert_eq!(alone.note(7, Duration::from_secs(6000)), (10, 1));
    }
}
