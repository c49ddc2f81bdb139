//! Patience: soft timeouts. After how long without data a response is overdue. A slow model and a stalled provider
//! look the same until something arrives, so an overdue response has not failed: it is only time to try another
//! target in parallel.
//!
//! The time is learnt per model of a provider, upwards only. This file neither waits nor sends.

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::model::call::{Call, CallRequest};
use crate::model::name_map::NameMap;
use crate::model::names::{Wildcard, family};
use crate::model::signs::Signs;
use crate::model::time::{Phase, later};

/// Model families per provider; callers choose model names, and must not choose how much memory they take.
const FAMILIES: usize = 256;
/// Answer times that are remembered: enough for a percentile of 99, few enough to follow a change within minutes.
const REMEMBERED: usize = 200;
/// Before this many answers of a model nobody knows how long it usually takes. Few, as it only ever makes patience longer.
const ENOUGH: usize = 5;
/// The percentile of a model's answer times that is usual.
const USUAL: f64 = 0.99;
/// As many attempts of a model that are overdue are several.
const SEVERAL: u32 = 5;
/// Tokens in a second, at the least: a plain answer of as many tokens as the caller allows is not overdue before that.
const TOKENS_PER_SECOND: u64 = 40;
/// Whoever is asked beside another needs a part of the call's time too: of the time that is left, an answer takes no more than
/// one part of this many before it is overdue ...
const PARTS: u32 = 3;
/// ... and a model that thinks no more than one part of this many.
const PARTS_FOR_THINKING: u32 = 2;

/// `[patience]`
#[derive(Clone, Debug, PartialEq)]
pub struct PatiencePlan {
    /// False: nothing is ever overdue.
    pub is_on: bool,
    /// Until the first token or byte of what usually comes at once.
    pub first: Duration,
    /// Until a plain answer, whose first byte comes after its last token.
    pub whole: Duration,
    /// Until the first token of a model that thinks first, and between two of its tokens.
    pub reasoning: Duration,
    /// Between two pieces of an answer.
    pub silence: Duration,
    /// How many times longer than usual is overdue.
    pub factor: f64,
    /// The models that think first.
    pub reasoning_models: Arc<[Wildcard]>,
}

/// How long the models of one provider usually take. Shared, and outlives the gateway that uses it.
#[derive(Clone, Debug)]
pub struct WaitTimes(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    plan: PatiencePlan,
    families: NameMap<Model>,
}

/// One model family.
#[derive(Debug, Default)]
struct Model {
    is_reasoning: bool,
    /// Of streams to the first event, and of plain answers to their end: they are different things to wait for.
    latency_tracker: [AnswerTimes; 2],
    /// Attempts that were overdue since the last one that was answered.
    overdue: AtomicU32,
}

/// How long one kind of answer takes.
#[derive(Debug, Default)]
struct AnswerTimes {
    /// The usual time in milliseconds; zero while it is not known.
    usual: AtomicU64,
    times: Mutex<Times>,
}

impl WaitTimes {
    /// Nothing is known yet.
    pub fn new(plan: PatiencePlan) -> Self {
        Self(Arc::new(Shared { plan, families: NameMap::new(FAMILIES) }))
    }

    /// What is known of a model; `None` where nothing is ever overdue.
    fn of(&self, model: Option<&str>, request: &CallRequest) -> Option<Arc<Model>> {
        // A WebSocket has limits of its own.
        if !self.0.plan.is_on || matches!(request, CallRequest::Tunnel(_)) {
            return None;
        }
        let family = family(model.unwrap_or_default());
        Some(self.0.families.get_or(family, || {
            let is_reasoning = self.0.plan.reasoning_models.iter().any(|pattern| pattern.matches(family));
            Model { is_reasoning, ..Model::default() }
        }))
    }

    /// Begins to watch an attempt of a call at a model; `None` where nothing is ever overdue.
    pub fn watch(&self, model: Option<&str>, call: &Call) -> Option<Watch> {
        let (model, plan) = (self.of(model, &call.request)?, &self.0.plan);
        let (thinks, is_whole) = (model.is_reasoning || call.request.thinks(), call.request.is_written_whole());
        let least = match (thinks, is_whole) {
            (true, _) => plan.reasoning,
            (false, true) => plan.whole,
            (false, false) => plan.first,
        };
        let tokens = if is_whole { call.request.bounds().tokens } else { 0 };
        let kind = usize::from(call.request.wants_stream());
        let usual = Duration::try_from_secs_f64(model.latency_tracker[kind].usual().as_secs_f64() * plan.factor);
        let usual = usual.unwrap_or(Duration::MAX);
        let wanted = least.max(usual).max(Duration::from_secs(tokens / TOKENS_PER_SECOND));
        let part = call.deadline.remaining() / if thinks { PARTS_FOR_THINKING } else { PARTS };
        // A caller in a hurry must neither use up what is there for extra attempts nor make a provider look ill.
        let is_hurried = call.deadline.phase == Phase::Caller;
        let first = wanted.min(if is_hurried { part.max(plan.first) } else { part });
        let is_telling = first >= usual && (first >= wanted || !is_hurried);
        // An answer that stops in the middle must leave time for another, as one that does not begin.
        let silence = if thinks { plan.reasoning.max(plan.silence) } else { plan.silence };
        let silent_after = if is_hurried { silence } else { silence.min(part) };
        Some(Watch { signs: Signs::new(silent_after), model, kind, first, is_telling })
    }
}

impl AnswerTimes {
    fn usual(&self) -> Duration {
        Duration::from_millis(self.usual.load(Ordering::Relaxed))
    }

    fn note(&self, took: Duration) {
        let mut times = self.times.lock();
        times.note(took, ENOUGH);
        if let Some(usual) = times.percentile(USUAL) {
            self.usual.store(u64::try_from(usual.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }
}

/// The latest answer times of one kind of call.
#[derive(Debug, Default)]
pub struct Times {
    /// In the order in which they came, the oldest at `next` once there are as many as are remembered.
    times: Vec<Duration>,
    next: usize,
    /// The same, the shortest first.
    sorted: Vec<Duration>,
    are_enough: bool,
}

impl Times {
    /// Remembers one. Percentiles are known from `enough` on.
    pub fn note(&mut self, took: Duration, enough: usize) {
        let to = self.sorted.partition_point(|time| *time < took);
        match self.times.get_mut(self.next) {
            Some(oldest) => {
                let from = self.sorted.partition_point(|time| *time < *oldest);
                *oldest = took;
                // It takes the place of the oldest, and those between them move by one.
                match from < to {
                    true => self.sorted[from..to].rotate_left(1),
                    false => self.sorted[to..=from].rotate_right(1),
                }
                self.sorted[if from < to { to - 1 } else { to }] = took;
            }
            None => {
                self.times.push(took);
                self.sorted.insert(to, took);
            }
        }
        self.next = (self.next + 1) % REMEMBERED;
        self.are_enough = self.times.len() >= enough;
    }

    /// The time within which this share of the answers came, once that is known.
    pub fn percentile(&self, share: f64) -> Option<Duration> {
        let rank = (self.sorted.len() as f64 * share).ceil() as usize;
        self.sorted.get(rank.saturating_sub(1)).copied().filter(|_| self.are_enough)
    }
}

/// How long one attempt may be silent, and how long it has been.
#[derive(Clone, Debug)]
pub struct Watch {
    /// Its signs of life.
    pub signs: Signs,
    model: Arc<Model>,
    kind: usize,
    first: Duration,
    /// That it is overdue says something about its provider.
    is_telling: bool,
}

impl Watch {
    /// When it is overdue, unless something comes before.
    pub fn overdue_at(&self) -> Instant {
        let patience = if self.signs.has_begun() { self.signs.silent_after() } else { self.first };
        later(self.signs.last(), patience)
    }

    /// It is overdue. When several are, and none was answered meanwhile, it is not the model that is slow: their provider is
    /// silent, and ill.
    pub fn is_overdue(&self) {
        if !self.is_telling {
            return;
        }
        self.model.overdue.fetch_add(1, Ordering::Relaxed);
        if self.is_provider_silent() {
            self.signs.note_illness();
        }
    }

    /// True while several attempts at the model are overdue and none was answered meanwhile.
    pub fn is_provider_silent(&self) -> bool {
        self.model.overdue.load(Ordering::Relaxed) >= SEVERAL
    }

    /// It was answered after this time.
    pub fn answered(&self, took: Duration) {
        self.model.overdue.store(0, Ordering::Relaxed);
        self.model.latency_tracker[self.kind].note(took);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_is_usual_before_enough_is_known_and_then_the_percentile_follows_the_latest() {
        let mut times = Times::default();
        for number in 1..20 {
            times.note(Duration::from_millis(number), 20);
            assert_eq!(times.percentile(0.95), None);
        }
        times.note(Duration::from_millis(20), 20);
        assert_eq!(times.percentile(0.95), Some(Duration::from_millis(19)));
        for _ in 0..REMEMBERED {
            times.note(Duration::from_secs(1), 20);
        }
        assert_eq!(times.percentile(0.5), Some(Duration::from_secs(1)));
        assert_eq!(times.times.len(), REMEMBERED);
    }

    proptest! {
        #[test]
        fn the_latest_times_are_always_sorted(all in proptest::collection::vec(0u64..50, 1..3 * REMEMBERED)) {
            let mut times = Times::default();
            for (index, time) in all.iter().enumerate() {
                times.note(Duration::from_millis(*time), 1);
                let mut latest = all[(index + 1).saturating_sub(REMEMBERED)..=index].to_vec();
                latest.sort_unstable();
                let sorted: Vec<u64> = times.sorted.iter().map(|time| time.as_millis() as u64).collect();
                prop_assert_eq!(sorted, latest);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_sign_of_life_begins_the_wait_anew() {
        let second = Duration::from_secs(1);
        let watch = Watch {
            signs: Signs::new(5 * second),
            model: Arc::default(),
            kind: 0,
            first: 10 * second,
            is_telling: true,
        };
        let left = || watch.overdue_at().saturating_duration_since(Instant::now());
        tokio::time::advance(4 * second).await;
        assert_eq!(left(), 6 * second);
        watch.signs.alive();
        assert_eq!(left(), 10 * second);
        watch.signs.begun();
        assert_eq!(left(), 5 * second, "what has begun must go on");
        tokio::time::advance(6 * second).await;
        assert_eq!((left(), watch.signs.silence()), (Duration::ZERO, 6 * second));
        watch.signs.renew();
        assert_eq!(left(), 10 * second);
    }
}
