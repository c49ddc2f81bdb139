//! Concurrency: limits the concurrent calls to a provider to its capacity, and queues further calls by priority.
//! Each model family has its own limit, and all of them together the config's `max`. How a limit adapts is in
//! `concurrency/limit`; permits and the queue are in `concurrency/lanes`.
//!
//! A permit is held until the response has ended, streams included. This file does not know the next target if
//! there is no permit.

pub mod limit;

mod lanes;

use parking_lot::Mutex;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use self::lanes::Lanes;
use self::limit::{Sample, Took};
use crate::config::plan::{ConcurrencyPlan, Priority};
use crate::model::call::Call;
use crate::model::fault::Fault;
use crate::model::time;
use crate::model::time::{Phase, later};
use crate::model::trail::StepKind;
use crate::stack::{Next, Outcome, Policy};
use crate::telemetry::metrics::sampled::Samples;

/// When a caller that found no place may come back.
const RETRY_IN: Duration = Duration::from_secs(1);

/// How long a call waits where the config does not say: for a place here, if another target may have one ...
const WAIT: Duration = Duration::from_secs(1);
/// ... and if nobody else can answer.
const LAST_WAIT: Duration = Duration::from_secs(30);

/// The places at one provider. Shared, and outlives the gateway that uses it.
#[derive(Clone)]
pub struct Places(Arc<ProviderQueue>);

struct ProviderQueue {
    settings: ConcurrencyPlan,
    lanes: Mutex<Lanes>,
}

/// The places, for those who look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlacesReport {
    /// Calls at once that are allowed: of the model, or of the one caller of a model, that is allowed the fewest.
    pub limit: u32,
    /// Calls that hold a place.
    pub in_flight: u32,
    /// Calls that wait for one.
    pub waiting: u32,
    /// Calls that did not get one.
    pub refused: u64,
}

impl Places {
    /// Free places.
    pub fn new(settings: ConcurrencyPlan) -> Self {
        let lanes = Mutex::new(Lanes::new(settings.clone()));
        Self(Arc::new(ProviderQueue { settings, lanes }))
    }

    /// Free places at the same provider, with other settings. The count of those who got none goes on. Calls that hold a
    /// place of before give it back there.
    #[must_use]
    pub fn renewed(&self, settings: ConcurrencyPlan) -> Self {
        let fresh = Self::new(settings);
        fresh.0.lanes.lock().refused = self.0.lanes.lock().refused;
        fresh
    }

    /// How it stands; `None` where there is no limit.
    pub fn report(&self) -> Option<PlacesReport> {
        self.0.settings.is_on.then(|| self.0.lanes.lock().report(Instant::now()))
    }

    /// Takes a place for a caller's call to this model, waiting for one until `by` at the latest; what `begins` returns is kept
    /// while it waits. `None`: there was none.
    async fn take<W>(
        &self,
        (caller, model): (u64, &str),
        priority: Priority,
        by: Instant,
        begins: impl FnOnce() -> W,
    ) -> Option<Permit> {
        let (lane, turn) = {
            let mut lanes = self.0.lanes.lock();
            let lane = lanes.find(model, time::now());
            if lanes.take(lane, caller) {
                return Some(Permit { places: self.clone(), lane, caller });
            }
            (lane, lanes.enqueue(lane, caller, priority))
        };
        let granted = match turn {
            None => false,
            Some(turn) => {
                let _wait = begins();
                self.wait(Queued { places: self, lane, caller, turn }, by).await
            }
        };
        if !granted {
            self.0.lanes.lock().refused += 1;
        }
        granted.then(|| Permit { places: self.clone(), lane, caller })
    }

    /// Waits for a turn until `by`; true when it came. Limits grow with time, and those who wait see to that.
    async fn wait(&self, mut waiting: Queued<'_>, by: Instant) -> bool {
        let lane = waiting.lane;
        loop {
            let due = self.0.lanes.lock().due(lane);
            match timeout_at(due.map_or(by, |due| due.min(by)), &mut waiting.turn).await {
                Ok(turn) => return turn.is_ok(),
                Err(_) if Instant::now() >= by => return false,
                Err(_) => self.0.lanes.lock().advance(lane, Instant::now()),
            }
        }
    }
}

/// A turn that somebody waits for. Given up, it gives back the place that may have been granted in the same instant.
struct Queued<'a> {
    places: &'a Places,
    lane: usize,
    caller: u64,
    turn: oneshot::Receiver<()>,
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.turn.close();
        // Granted and not taken: a turn that was taken has nothing left to receive.
        if self.turn.try_recv().is_ok() {
            drop(Permit { places: self.places.clone(), lane: self.lane, caller: self.caller });
        }
    }
}

/// A place, until it is dropped.
struct Permit {
    places: Places,
    lane: usize,
    caller: u64,
}

impl Permit {
    fn note(&self, sample: Sample) {
        self.places.0.lanes.lock().note(self.lane, self.caller, sample, time::now());
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.places.0.lanes.lock().give_back(self.lane, self.caller);
    }
}

/// The policy around one target.
#[derive(Clone)]
pub struct Concurrency {
    provider: Arc<str>,
    places: Places,
    priority: Priority,
}

impl Concurrency {
    /// Calls of this priority take places at a provider.
    pub fn new(provider: Arc<str>, places: Places, priority: Priority) -> Self {
        Self { provider, places, priority }
    }
}

impl Policy for Concurrency {
    const NAME: &'static str = "concurrency";

    async fn apply<N: Next>(&self, call: Box<Call>, next: &N) -> Outcome {
        let arrived = time::now();
        let wait = self.places.0.settings.max_wait.unwrap_or(if call.has_next { WAIT } else { LAST_WAIT });
        let by = later(arrived, wait).min(call.deadline.at);
        let (caller, model) = (call.head.caller_digest(), call.model().unwrap_or_default());
        let begins = || call.trail.begin_wait(Self::NAME, Some(&self.provider));
        let place = self.places.take((caller, model), self.priority, by, begins).await;
        let Some(place) = place else {
            call.trail.note(Self::NAME, Some(&self.provider), StepKind::Refused(RETRY_IN));
            return Err(Fault::Saturated { provider: self.provider.clone(), retry_in: RETRY_IN });
        };
        let (started, is_stream) = (time::now(), call.request.wants_stream());
        // In its place from the beginning: it is large, and would be copied into what awaits it.
        let outcome = pin!(next.call(call)).await;
        let took = Took { time: time::since(started), is_stream };
        match outcome {
            Ok(reply) => {
                place.note(Sample::Answered(took));
                Ok(reply.on_end(move |_| drop(place)))
            }
            Err(fault) => {
                place.note(judge(&fault, took));
                Err(fault)
            }
        }
    }
}

/// What a fault says about how much the provider can stand.
fn judge(fault: &Fault, took: Took) -> Sample {
    match fault {
        fault if fault.is_rate_limit() || fault.is_overload() => Sample::Overloaded,
        fault if fault.is_unreachable() => Sample::Unreachable,
        Fault::Timeout { phase: Phase::FirstByte | Phase::FirstToken, .. } => Sample::Silent(took),
        _ => Sample::Nothing,
    }
}

/// What metrics show of providers' concurrency limits.
pub fn sampled(of: Vec<(Arc<str>, Places)>) -> impl Fn(&mut Samples<'_>) {
    move |samples| {
        let reports = of.iter().filter_map(|(provider, places)| Some((provider, places.report()?)));
        let reports: Vec<_> = reports.collect();
        let each =
            |number: fn(&PlacesReport) -> u32| reports.iter().map(move |(name, report)| ([name], number(report)));
        let help = "Concurrent calls that a provider is allowed";
        samples.gauges("tidegate_concurrency_limit", help, ["provider"], each(|report| report.limit));
        let help = "Calls that hold a permit of a provider";
        samples.gauges("tidegate_concurrency_in_flight", help, ["provider"], each(|report| report.in_flight));
        let help = "Calls waiting for a permit of a provider";
        samples.gauges("tidegate_concurrency_waiting", help, ["provider"], each(|report| report.waiting));
        let refused = reports.iter().map(|(provider, report)| ([provider], report.refused));
        let help = "Calls that got no permit of a provider in time";
        samples.counters("tidegate_concurrency_refused_total", help, ["provider"], refused);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;

    fn plan(limit: u32, queue: u32) -> ConcurrencyPlan {
        ConcurrencyPlan { is_on: true, initial: limit, min: limit, max: limit, slowdown: 3.0, queue, max_wait: None }
    }

    fn places(limit: u32, queue: u32) -> Places {
        Places::new(plan(limit, queue))
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(1)
    }

    #[tokio::test(start_paused = true)]
    async fn voice_comes_before_chat_and_chat_before_the_background() {
        let places = places(1, 10);
        let first = places.take((1, "m"), Priority::Chat, soon(), || ()).await.unwrap();
        let mut background = Box::pin(places.take((1, "m"), Priority::Background, soon(), || ()));
        let mut chat = Box::pin(places.take((1, "m"), Priority::Chat, soon(), || ()));
        let mut voice = Box::pin(places.take((1, "m"), Priority::Voice, soon(), || ()));
        assert!((&mut background).now_or_never().is_none());
        assert!((&mut chat).now_or_never().is_none());
        assert!((&mut voice).now_or_never().is_none());
        drop(first);
        let held = (&mut voice).now_or_never().unwrap().unwrap();
        assert!((&mut chat).now_or_never().is_none());
        drop(held);
        let held = (&mut chat).now_or_never().unwrap().unwrap();
        assert!((&mut background).now_or_never().is_none());
        drop(held);
        assert!((&mut background).now_or_never().unwrap().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_turns_away_the_least_urgent() {
        let places = places(1, 1);
        let _held = places.take((1, "m"), Priority::Chat, soon(), || ()).await.unwrap();
        let mut background = Box::pin(places.take((1, "m"), Priority::Background, soon(), || ()));
        assert!((&mut background).now_or_never().is_none());
        assert!(
            places.take((1, "m"), Priority::Background, soon(), || ()).now_or_never().unwrap().is_none(),
            "nobody is less urgent"
        );
        let mut voice = Box::pin(places.take((1, "m"), Priority::Voice, soon(), || ()));
        assert!((&mut voice).now_or_never().is_none());
        assert!((&mut background).now_or_never().unwrap().is_none(), "it lost its turn to a more urgent call");
        assert_eq!(places.report().unwrap().refused, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_goes_away_and_leaves_nothing_behind() {
        let places = places(1, 10);
        let held = places.take((1, "m"), Priority::Chat, soon(), || ()).await.unwrap();
        assert!(places.take((1, "m"), Priority::Chat, soon(), || ()).await.is_none());
        drop(held);
        assert_eq!(places.report().unwrap().in_flight, 0);
        assert!(places.take((1, "m"), Priority::Chat, soon(), || ()).now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_turns_away_whoever_came_last() {
        let places = places(1, 2);
        let held = places.take((1, "m"), Priority::Chat, soon(), || ()).await.unwrap();
        let mut first = Box::pin(places.take((1, "m"), Priority::Background, soon(), || ()));
        assert!((&mut first).now_or_never().is_none());
        let mut second = Box::pin(places.take((1, "m"), Priority::Background, soon(), || ()));
        assert!((&mut second).now_or_never().is_none());
        let mut voice = Box::pin(places.take((1, "m"), Priority::Voice, soon(), || ()));
        assert!((&mut voice).now_or_never().is_none());
        assert!((&mut second).now_or_never().unwrap().is_none(), "who has waited longest should not lose most");
        drop(held);
        drop((&mut voice).now_or_never().unwrap().unwrap());
        assert!((&mut first).now_or_never().unwrap().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_model_whose_limit_is_reached_holds_up_no_other() {
        let places = Places::new(ConcurrencyPlan { max: 3, initial: 3, ..plan(1, 10) });
        let first = places.take((1, "o3"), Priority::Chat, soon(), || ()).await.unwrap();
        first.note(Sample::Overloaded);
        let mut second = Box::pin(places.take((1, "o3"), Priority::Chat, soon(), || ()));
        assert!((&mut second).now_or_never().is_none());
        let other = places.take((1, "gpt-4o"), Priority::Chat, soon(), || ()).now_or_never().unwrap();
        assert!(other.is_some());
        assert_eq!(places.report().unwrap(), PlacesReport { limit: 1, in_flight: 2, waiting: 1, refused: 0 });
        let third = places.take((1, "gpt-4o"), Priority::Chat, soon(), || ()).now_or_never().unwrap();
        let fourth = places.take((1, "gpt-4"), Priority::Chat, soon(), || ()).now_or_never();
        assert!(third.is_some() && fourth.is_none(), "`max` holds for all models together");
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_get_their_turn_when_the_limit_grows() {
        let places = Places::new(ConcurrencyPlan { max: 100, initial: 100, ..plan(1, 10) });
        let stream = places.take((1, "m"), Priority::Chat, soon(), || ()).await.unwrap();
        stream.note(Sample::Overloaded);
        let began = Instant::now();
        let waiting = places.take((1, "m"), Priority::Chat, began + Duration::from_secs(9), || ()).await;
        assert!(waiting.is_some() && began.elapsed() == Duration::from_secs(2), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn made_up_names_take_no_memory_and_make_nothing_forgotten() {
        let places = Places::new(ConcurrencyPlan { max: 1000, initial: 1000, ..plan(1, 10) });
        let first = places.take((1, "o3"), Priority::Chat, soon(), || ()).await.unwrap();
        first.note(Sample::Overloaded);
        for number in 0..3000 {
            drop(places.take((1, &format!("made-up-{number}x")), Priority::Chat, soon(), || ()).await.unwrap());
        }
        assert_eq!((places.report().unwrap().limit, places.0.lanes.lock().count()), (1, lanes::MOST));
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_caller_alone_draws_holds_up_no_other_until_another_draws_it_too() {
        let places = Places::new(ConcurrencyPlan { max: 100, initial: 100, min: 1, ..plan(1, 10) });
        let first = places.take((1, "m"), Priority::Chat, soon(), || ()).await.unwrap();
        let other = places.take((2, "m"), Priority::Chat, soon(), || ()).await.unwrap();
        (0..9).for_each(|_| first.note(Sample::Overloaded));
        let mut waiting = Box::pin(places.take((1, "m"), Priority::Voice, soon(), || ()));
        assert!((&mut waiting).now_or_never().is_none(), "it has one place");
        drop(places.take((2, "m"), Priority::Background, soon(), || ()).now_or_never().unwrap().unwrap());
        assert!((&mut waiting).now_or_never().is_none(), "the other's place is not for it");
        drop(first);
        assert!((&mut waiting).now_or_never().unwrap().is_some(), "its own is");
        let again = places.take((1, "m"), Priority::Chat, soon(), || ()).await.unwrap();
        again.note(Sample::Overloaded);
        other.note(Sample::Overloaded);
        assert!(
            places.take((3, "m"), Priority::Chat, soon(), || ()).now_or_never().is_none(),
            "two callers: it is the provider"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_connection_is_nobodys_own_doing() {
        let places = Places::new(ConcurrencyPlan { max: 100, initial: 100, min: 1, ..plan(1, 10) });
        let first = places.take((1, "m"), Priority::Chat, soon(), || ()).await.unwrap();
        first.note(Sample::Unreachable);
        assert!(places.take((2, "m"), Priority::Chat, soon(), || ()).now_or_never().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_its_own_limit_fills_half_of_the_queue() {
        let places = Places::new(ConcurrencyPlan { max: 2, initial: 2, min: 1, ..plan(1, 4) });
        let _first = places.take((1, "m"), Priority::Chat, soon(), || ()).await.unwrap();
        _first.note(Sample::Overloaded);
        let mut waiting: Vec<_> =
            (0..3).map(|_| Box::pin(places.take((1, "m"), Priority::Chat, soon(), || ()))).collect();
        let ended: Vec<_> = waiting.iter_mut().map(|it| it.now_or_never().is_some()).collect();
        assert_eq!(ended, [false, false, true]);
        let _other = places.take((2, "m"), Priority::Chat, soon(), || ()).await.unwrap();
        assert!(places.take((2, "m"), Priority::Chat, soon(), || ()).now_or_never().is_none());
    }

    proptest! {
        /// Whatever comes, waits, leaves and ends: never more calls than places, and none lost.
        #[test]
        fn places_are_conserved(
            limit in 1u32..4,
            queue in 0u32..4,
            steps in prop::collection::vec((0u8..5, 0usize..3, 0usize..8), 1..80),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let places = places(limit, queue);
                let mut held = Vec::new();
                let mut waiting: Vec<std::pin::Pin<Box<dyn Future<Output = Option<Permit>> + '_>>> = Vec::new();
                for (act, priority, pick) in steps {
                    match act {
                        0 | 1 => {
                            let mut taking = Box::pin(places.take((pick as u64 % 2, ["a", "b", "c"][pick % 3]), Priority::ALL[priority].0, soon(), || ()));
                            match (&mut taking).now_or_never() {
                                Some(place) => held.extend(place),
                                None => waiting.push(taking),
                            }
                        }
                        2 if !held.is_empty() => drop(held.swap_remove(pick % held.len())),
                        // Gives up, perhaps in the very moment in which it was granted.
                        3 if !waiting.is_empty() => drop(waiting.swap_remove(pick % waiting.len())),
                        4 if !waiting.is_empty() => {
                            let index = pick % waiting.len();
                            if let Some(place) = (&mut waiting[index]).now_or_never() {
                                held.extend(place);
                                drop(waiting.swap_remove(index));
                            }
                        }
                        _ => {}
                    }
                    let report = places.report().unwrap();
                    assert!(report.in_flight <= limit);
                    assert!(held.len() <= report.in_flight as usize);
                }
                drop(waiting);
                drop(held);
                assert_eq!(places.report().unwrap().in_flight, 0);
            });
        }
    }
}
