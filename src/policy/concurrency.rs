//! Concurrency: a provider is asked only as much at once as it can stand, and those who wait for their turn get it in the
//! order of their priority. How the limit moves is in `concurrency/limit`.
//!
//! A place is held until the answer has ended, streams included. It does not know which target comes next when there is no
//! place.

pub mod limit;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use self::limit::{Limit, Sample};
use crate::call::Call;
use crate::config::plan::{ConcurrencyPlan, Priority};
use crate::fault::Fault;
use crate::stack::{Next, Outcome, Policy};
use crate::time::later;
use crate::trail::Deed;

/// When a caller that found no place may come back.
const RETRY_IN: Duration = Duration::from_secs(1);

/// Who waited less did not wait for a place, but for this thread.
const WORTH_TELLING: Duration = Duration::from_millis(1);

/// The places at one provider. Shared, and outlives the gateway that uses it.
#[derive(Clone)]
pub struct Places(Arc<Shared>);

struct Shared {
    settings: ConcurrencyPlan,
    state: Mutex<State>,
}

struct State {
    limit: Limit,
    in_flight: u32,
    /// Those who wait, the most urgent first.
    queues: [VecDeque<oneshot::Sender<()>>; Priority::ALL.len()],
    refused: u64,
}

/// The places, for those who look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlacesReport {
    /// Calls at once that are allowed.
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
        let limit = Limit::new(&settings);
        let state = State { limit, in_flight: 0, queues: Default::default(), refused: 0 };
        Self(Arc::new(Shared { settings, state: Mutex::new(state) }))
    }

    /// Free places at the same provider, with other settings. The count of those who got none goes on. Calls that hold a
    /// place of before give it back there.
    #[must_use]
    pub fn renewed(&self, settings: ConcurrencyPlan) -> Self {
        let fresh = Self::new(settings);
        fresh.lock().refused = self.lock().refused;
        fresh
    }

    /// How it stands; `None` where there is no limit.
    pub fn report(&self) -> Option<PlacesReport> {
        let state = self.lock();
        self.0.settings.is_on.then(|| PlacesReport {
            limit: state.limit.places(),
            in_flight: state.in_flight,
            waiting: state.waiting() as u32,
            refused: state.refused,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change below is whole before anything in it could panic.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place, waiting for one until `by` at the latest. `None`: there was none.
    async fn take(&self, priority: Priority, by: Instant) -> Option<Place> {
        let turn = {
            let mut state = self.lock();
            if state.in_flight < state.limit.places() {
                state.in_flight += 1;
                return Some(Place(self.clone()));
            }
            state.enqueue(priority, self.0.settings.queue as usize)
        };
        let granted = match turn {
            None => false,
            Some(turn) => {
                let mut waiting = Waiting { places: self, turn };
                timeout_at(by, &mut waiting.turn).await.is_ok_and(|turn| turn.is_ok())
            }
        };
        if !granted {
            self.lock().refused += 1;
        }
        granted.then(|| Place(self.clone()))
    }
}

impl State {
    fn waiting(&self) -> usize {
        self.queues.iter().map(VecDeque::len).sum()
    }

    /// A place in the queue; when that is full, that of somebody less urgent, who loses it.
    fn enqueue(&mut self, priority: Priority, queue: usize) -> Option<oneshot::Receiver<()>> {
        if self.waiting() >= queue {
            self.queues.iter_mut().for_each(|waiting| waiting.retain(|turn| !turn.is_closed()));
        }
        if self.waiting() >= queue {
            let least = self.queues[priority as usize + 1..].iter_mut().rev().find(|waiting| !waiting.is_empty())?;
            // The youngest: who has waited longest should not lose most.
            least.pop_back();
        }
        let (grant, turn) = oneshot::channel();
        self.queues[priority as usize].push_back(grant);
        Some(turn)
    }

    /// Gives free places to those who wait.
    fn admit(&mut self) {
        while self.in_flight < self.limit.places() {
            let Some(next) = self.queues.iter_mut().find_map(VecDeque::pop_front) else { break };
            // Who gave up waiting does not take a place.
            if next.send(()).is_ok() {
                self.in_flight += 1;
            }
        }
    }
}

/// A turn that somebody waits for. Given up, it gives back the place that may have been granted in the same instant.
struct Waiting<'a> {
    places: &'a Places,
    turn: oneshot::Receiver<()>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.turn.close();
        // Granted and not taken: a turn that was taken has nothing left to receive.
        if self.turn.try_recv().is_ok() {
            drop(Place(self.places.clone()));
        }
    }
}

/// A place, until it is dropped.
struct Place(Places);

impl Place {
    fn note(&self, sample: Sample) {
        let mut state = self.0.lock();
        let in_flight = state.in_flight;
        state.limit.note(sample, in_flight, Instant::now());
        state.admit();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.in_flight = state.in_flight.saturating_sub(1);
        state.admit();
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

    async fn apply<N: Next>(&self, call: Call, next: &N) -> Outcome {
        let arrived = Instant::now();
        let by = later(arrived, self.places.0.settings.max_wait).min(call.deadline.at);
        let place = self.places.take(self.priority, by).await;
        let waited = arrived.elapsed();
        if waited >= WORTH_TELLING {
            call.trail.note(Self::NAME, Some(&self.provider), Deed::Waited(waited));
        }
        let Some(place) = place else {
            call.trail.note(Self::NAME, Some(&self.provider), Deed::Refused(RETRY_IN));
            return Err(Fault::Saturated { provider: self.provider.clone(), retry_in: RETRY_IN });
        };
        let started = Instant::now();
        match next.call(call).await {
            Ok(reply) => {
                place.note(Sample::Answered(started.elapsed()));
                Ok(reply.on_end(move |_| drop(place)))
            }
            Err(fault) => {
                place.note(judge(&fault));
                Err(fault)
            }
        }
    }
}

/// What a fault says about how much the provider can stand.
fn judge(fault: &Fault) -> Sample {
    match fault {
        Fault::Refused { refusal, .. } if matches!(refusal.status.as_u16(), 429 | 503 | 529) => Sample::Overloaded,
        Fault::Timeout { .. } => Sample::Overloaded,
        _ => Sample::Nothing,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;

    fn places(limit: u32, queue: u32) -> Places {
        Places::new(ConcurrencyPlan {
            is_on: true,
            initial: limit,
            min: limit,
            max: limit,
            slowdown: 3.0,
            queue,
            max_wait: Duration::from_secs(1),
        })
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(1)
    }

    #[tokio::test(start_paused = true)]
    async fn voice_comes_before_chat_and_chat_before_the_background() {
        let places = places(1, 10);
        let first = places.take(Priority::Chat, soon()).await.unwrap();
        let mut background = Box::pin(places.take(Priority::Background, soon()));
        let mut chat = Box::pin(places.take(Priority::Chat, soon()));
        let mut voice = Box::pin(places.take(Priority::Voice, soon()));
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
        let _held = places.take(Priority::Chat, soon()).await.unwrap();
        let mut background = Box::pin(places.take(Priority::Background, soon()));
        assert!((&mut background).now_or_never().is_none());
        assert!(places.take(Priority::Background, soon()).now_or_never().unwrap().is_none(), "nobody is less urgent");
        let mut voice = Box::pin(places.take(Priority::Voice, soon()));
        assert!((&mut voice).now_or_never().is_none());
        assert!((&mut background).now_or_never().unwrap().is_none(), "it lost its turn to a more urgent call");
        assert_eq!(places.report().unwrap().refused, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_goes_away_and_leaves_nothing_behind() {
        let places = places(1, 10);
        let held = places.take(Priority::Chat, soon()).await.unwrap();
        assert!(places.take(Priority::Chat, soon()).await.is_none());
        drop(held);
        assert_eq!(places.report().unwrap().in_flight, 0);
        assert!(places.take(Priority::Chat, soon()).now_or_never().is_some());
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
                let mut waiting: Vec<std::pin::Pin<Box<dyn Future<Output = Option<Place>> + '_>>> = Vec::new();
                for (act, priority, pick) in steps {
                    match act {
                        0 | 1 => {
                            let mut taking = Box::pin(places.take(Priority::ALL[priority].0, soon()));
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
