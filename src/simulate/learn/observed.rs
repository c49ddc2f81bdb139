//! Observed: what attempts of a trace say about one provider, in memory that does not grow with the trace: a sample of its
//! answers, and counts by slots of time, which become longer when there are too many.
//!
//! It draws no conclusions.

use std::collections::BTreeMap;

use crate::model::recorded::RecordedAttempt;
use crate::model::rng::Draws;

/// Answers that are kept of one provider: with this many its quantiles are exact enough, and each hour of a day has enough.
const SAMPLE: usize = 40_000;

/// Error answers whose times are kept.
const ERRORS: usize = 2_000;

/// A day of minutes, and some.
const MOST_SLOTS: usize = 1_536;

/// How many slots become one when there are too many: minutes become 2, 4, 12 and 60 minutes, and then days.
const GROWTH: [u32; 5] = [2, 2, 3, 5, 24];

/// A time in a trace, in seconds.
pub(super) type Seconds = u32;

/// An answer that came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) at: Seconds,
    pub(super) is_stream: bool,
    /// Until the first event, in milliseconds.
    pub(super) first: u32,
    /// Until the end.
    pub(super) took: u32,
    /// Tokens of the answer.
    pub(super) tokens: u32,
}

/// What went wrong with an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Status(u16),
    Refuse,
    Hang,
    Reset,
    Cut,
    Stall,
}

impl Kind {
    /// False for what a request brings upon itself, however well its provider is.
    pub(super) fn is_illness(self) -> bool {
        !matches!(self, Kind::Status(400..=499)) || self == Kind::Status(429)
    }
}

/// What one attempt says.
enum Said {
    Answer,
    Failure(Kind),
    /// Nobody knows how it would have ended, or the answer came and was not liked.
    Nothing,
}

fn said(attempt: &RecordedAttempt) -> Said {
    let has_begun = attempt.first_ms.is_some();
    match &*attempt.outcome {
        "ok" => Said::Answer,
        "cancelled" => Said::Nothing,
        "provider_unreachable" => Said::Failure(Kind::Refuse),
        "provider_timeout" if has_begun => Said::Failure(Kind::Stall),
        "provider_timeout" => Said::Failure(Kind::Hang),
        "stream_incomplete" => Said::Failure(Kind::Cut),
        "provider_broken" if has_begun => Said::Failure(Kind::Cut),
        "provider_broken" if attempt.status.is_none() => Said::Failure(Kind::Reset),
        _ => match attempt.status {
            Some(status @ 400..=599) => Said::Failure(Kind::Status(status)),
            _ => Said::Nothing,
        },
    }
}

/// As many of a stream's items as fit, each as likely as any other (Vitter's algorithm R).
pub(super) struct Reservoir<T> {
    pub(super) kept: Vec<T>,
    most: usize,
    seen: u64,
    draws: Draws,
}

impl<T> Reservoir<T> {
    fn new(most: usize, draws: Draws) -> Self {
        Self { kept: Vec::new(), most, seen: 0, draws }
    }

    fn add(&mut self, item: T) {
        self.seen += 1;
        if self.kept.len() < self.most {
            return self.kept.push(item);
        }
        let place = (self.draws.of(self.seen).fraction() * self.seen as f64) as usize;
        if let Some(kept) = self.kept.get_mut(place) {
            *kept = item;
        }
    }
}

/// What happened in one slot of time.
#[derive(Clone, Debug, Default)]
pub(super) struct Slot {
    pub(super) attempts: u64,
    pub(super) answers: u64,
    /// Tokens of prompts and answers.
    pub(super) tokens: u64,
    pub(super) failures: BTreeMap<Kind, u64>,
    /// The first and the last failure that its provider is to blame for.
    pub(super) failed: Option<(Seconds, Seconds)>,
}

impl Slot {
    pub(super) fn add(&mut self, other: &Self) {
        self.attempts += other.attempts;
        self.answers += other.answers;
        self.tokens += other.tokens;
        other.failures.iter().for_each(|(kind, count)| *self.failures.entry(*kind).or_default() += count);
        self.failed = match (self.failed, other.failed) {
            (Some((first, last)), Some((from, to))) => Some((first.min(from), last.max(to))),
            (one, other) => one.or(other),
        };
    }

    pub(super) fn ill(&self) -> u64 {
        self.failures.iter().filter(|(kind, _)| kind.is_illness()).map(|(_, count)| count).sum()
    }
}

/// Slots of time, all of one length.
pub(super) struct Slots {
    pub(super) length: Seconds,
    growth: usize,
    pub(super) all: Vec<Slot>,
}

impl Slots {
    fn at(&mut self, at: Seconds) -> Option<&mut Slot> {
        while (at / self.length) as usize >= MOST_SLOTS {
            let factor = GROWTH.get(self.growth).copied().unwrap_or(2);
            self.growth += 1;
            self.length = self.length.saturating_mul(factor);
            self.all = self.grouped(factor as usize);
        }
        let place = (at / self.length) as usize;
        if place >= self.all.len() {
            self.all.resize_with(place + 1, Slot::default);
        }
        self.all.get_mut(place)
    }

    /// Each as many slots as one.
    pub(super) fn grouped(&self, count: usize) -> Vec<Slot> {
        let one = |slots: &[Slot]| {
            let mut whole = Slot::default();
            slots.iter().for_each(|slot| whole.add(slot));
            whole
        };
        self.all.chunks(count.max(1)).map(one).collect()
    }
}

/// What is known of one provider.
pub(super) struct Observed {
    pub(super) attempts: u64,
    pub(super) unknown: u64,
    pub(super) answers: Reservoir<Sample>,
    /// How long error answers took, in milliseconds.
    pub(super) errors: Reservoir<u32>,
    pub(super) slots: Slots,
}

impl Observed {
    pub(super) fn new(draws: Draws) -> Self {
        Self {
            attempts: 0,
            unknown: 0,
            answers: Reservoir::new(SAMPLE, draws.of(1)),
            errors: Reservoir::new(ERRORS, draws.of(2)),
            slots: Slots { length: 60, growth: 0, all: Vec::new() },
        }
    }

    /// Notes an attempt that began at this time.
    pub(super) fn note(&mut self, at: Seconds, wants_stream: bool, attempt: &RecordedAttempt) {
        let said = said(attempt);
        self.attempts += 1;
        let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let Some(slot) = self.slots.at(at) else { return };
        slot.attempts += 1;
        match said {
            Said::Nothing => self.unknown += 1,
            Said::Answer => {
                slot.answers += 1;
                slot.tokens += attempt.tokens_in.saturating_add(attempt.tokens_out);
                let first = attempt.first_ms.unwrap_or(attempt.took_ms).min(attempt.took_ms);
                self.answers.add(Sample {
                    at,
                    is_stream: wants_stream && first < attempt.took_ms,
                    first: small(first),
                    took: small(attempt.took_ms),
                    tokens: small(attempt.tokens_out),
                });
            }
            Said::Failure(kind) => {
                *slot.failures.entry(kind).or_default() += 1;
                if kind.is_illness() {
                    let (first, last) = slot.failed.unwrap_or((at, at));
                    slot.failed = Some((first.min(at), last.max(at)));
                }
                if matches!(kind, Kind::Status(_) | Kind::Reset) {
                    self.errors.add(small(attempt.took_ms));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(outcome: &str, status: Option<u16>, first_ms: Option<u64>) -> RecordedAttempt {
        RecordedAttempt { outcome: outcome.into(), status, first_ms, took_ms: 100, ..RecordedAttempt::default() }
    }

    #[test]
    fn what_went_wrong_is_read_from_outcome_status_and_whether_anything_came() {
        let mut observed = Observed::new(Draws::new(1));
        for (outcome, status, first) in [
            ("ok", Some(200), Some(9)),
            ("cancelled", None, None),
            ("provider_unreachable", None, None),
            ("provider_timeout", None, None),
            ("provider_timeout", Some(200), Some(9)),
            ("provider_broken", None, None),
            ("provider_broken", Some(200), Some(9)),
            ("stream_incomplete", Some(200), Some(9)),
            ("provider_error", Some(503), None),
            ("invalid_model_output", Some(200), None),
        ] {
            observed.note(0, true, &attempt(outcome, status, first));
        }
        let slot = &observed.slots.all[0];
        assert_eq!((slot.attempts, slot.answers, observed.unknown), (10, 1, 2));
        let kinds = [Kind::Status(503), Kind::Refuse, Kind::Hang, Kind::Reset, Kind::Cut, Kind::Stall];
        assert_eq!(kinds.map(|kind| slot.failures[&kind]), [1, 1, 1, 1, 2, 1]);
    }

    #[test]
    fn memory_is_bounded_and_nothing_that_is_counted_is_lost() {
        let mut observed = Observed::new(Draws::new(1));
        for hour in 0..100_000 {
            observed.note(hour * 3600, false, &attempt("ok", Some(200), None));
        }
        assert_eq!(observed.answers.kept.len(), SAMPLE);
        assert!(observed.slots.all.len() <= MOST_SLOTS);
        assert_eq!(observed.slots.all.iter().map(|slot| slot.answers).sum::<u64>(), 100_000);
        // The sample is of the whole trace.
        let late = observed.answers.kept.iter().filter(|sample| sample.at > 50_000 * 3600).count();
        assert!((19_000..21_000).contains(&late), "{late}");
    }
}
