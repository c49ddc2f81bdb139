//! The shared state of one flight: its source, the data received so far, and how far each follower has read.
//!
//! It does not know how followers find the flight, nor their deadlines.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use tokio::time::Instant;

use super::landed::{FlightReply, FollowerReply};
use super::waiting::{Alarm, WakerList};
use super::{Asking, Course, Flights, Joinable, Limits, lock};
use crate::model::fault::Fault;
use crate::model::reply::{Beside, Event, EventKind, EventStream};

/// How much of what everybody has read is kept before it is cleared away: clearing looks at every follower.
const UNSWEPT: usize = 64 * 1024;

/// What an event takes besides its bytes.
const OVERHEAD: usize = size_of::<Event>();

/// The seat of whoever began the flight.
pub(super) const FIRST: usize = 0;

/// Nobody sits here.
const FREE: u64 = u64::MAX;

/// One answer on its way.
pub(super) struct Flight {
    flights: Flights,
    course: Course,
    began_ms: u64,
    answered: OnceLock<Instant>,
    pub(super) limits: Limits,
    is_open: AtomicBool,
    waiting: Arc<WakerList>,
    state: Mutex<State>,
}

struct State {
    source: Source,
    /// What everybody gets, once it is known.
    landed: Option<FlightReply>,
    /// Events that somebody may still need, and the number of the first of them.
    events: VecDeque<Event>,
    first: u64,
    /// What these take, and what they may before the next look at what can go, once the flight is closed.
    bytes: usize,
    sweep_at: usize,
    /// What of that counts as kept for late comers.
    counted: usize,
    /// The number of the next event for each seat.
    seats: Vec<u64>,
}

/// Where the answer comes from.
enum Source {
    Asking(Asking),
    Events(EventStream),
    /// It is complete.
    Complete,
    /// It failed.
    Failed(Fault),
    /// Somebody is polling it. Who finds it so knows that the one who did has panicked.
    Lost,
}

impl Flight {
    /// A flight with its first follower in place.
    pub(super) fn new(flights: Flights, course: Course, began_ms: u64, limits: Limits, asking: Asking) -> Self {
        let state = State {
            source: Source::Asking(asking),
            landed: None,
            events: VecDeque::new(),
            first: 0,
            bytes: 0,
            sweep_at: 0,
            counted: 0,
            seats: vec![0],
        };
        let (is_open, waiting) = (AtomicBool::new(true), Arc::default());
        let (answered, state) = (OnceLock::new(), Mutex::new(state));
        Self { flights, course, began_ms, answered, limits, is_open, waiting, state }
    }

    fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    /// True while it takes in who asks the same.
    pub(super) fn is_joinable(&self, joinable: Joinable) -> bool {
        let is_young = self.answered.get().is_none_or(|at| at.elapsed() <= joinable.answered_within);
        self.is_open() && self.began_ms > joinable.asked_after_ms && is_young
    }

    /// Takes in one more; `None` when what came first may be gone already.
    pub(super) fn board(&self) -> Option<usize> {
        let mut state = lock(&self.state);
        if !self.is_open() {
            return None;
        }
        let seat = state.seats.iter().position(|next| *next == FREE).unwrap_or(state.seats.len());
        match state.seats.get_mut(seat) {
            Some(free) => *free = 0,
            None => state.seats.push(0),
        }
        Some(seat)
    }

    /// One goes.
    pub(super) fn leave(&self, seat: usize) {
        lock(&self.state).seats[seat] = FREE;
        self.waiting.clear(seat);
    }

    /// Waits until the answer has begun.
    pub(super) fn poll_landing(&self, seat: usize, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        let mut state = lock(&self.state);
        loop {
            if state.landed.is_some() {
                return Poll::Ready(Ok(()));
            }
            if let Some(fault) = self.fault(&mut state) {
                return Poll::Ready(Err(fault));
            }
            if self.poll_source(&mut state, seat, cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// The answer, once it has begun. `None`: it was for one alone, and that one has it.
    pub(super) fn give(&self, is_first: bool) -> Option<FollowerReply> {
        lock(&self.state).landed.as_mut()?.give(is_first)
    }

    /// Waits for the next event of a seat.
    pub(super) fn poll_event(&self, seat: usize, cx: &mut Context<'_>) -> Poll<Option<Result<Event, Fault>>> {
        let mut state = lock(&self.state);
        loop {
            let next = state.seats[seat];
            let Some(index) = next.checked_sub(state.first) else { return Poll::Ready(Some(Err(self.late(&state)))) };
            if let Some(event) = usize::try_from(index).ok().and_then(|index| state.events.get(index)) {
                let event = event.clone();
                state.seats[seat] = next + 1;
                return Poll::Ready(Some(Ok(event)));
            }
            if matches!(state.source, Source::Complete) {
                return Poll::Ready(None);
            }
            if let Some(fault) = self.fault(&mut state) {
                return Poll::Ready(Some(Err(fault)));
            }
            if self.poll_source(&mut state, seat, cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Why it failed, if it has.
    fn fault(&self, state: &mut State) -> Option<Fault> {
        match &state.source {
            Source::Failed(fault) => Some(fault.clone()),
            Source::Lost => {
                self.close(state);
                Some(Fault::Internal { detail: "a shared response was lost to a panic".into() })
            }
            Source::Asking(_) | Source::Events(_) | Source::Complete => None,
        }
    }

    /// What one is told who reads so slowly that the events he needs are gone.
    fn late(&self, state: &State) -> Fault {
        let provider = state.landed.as_ref().map_or_else(|| "several".into(), |landed| landed.provider().clone());
        let detail =
            format!("this reader fell more than {} bytes behind the others that share the response", self.limits.bytes);
        Fault::Incomplete { provider, detail }
    }

    /// Makes the answer go on. Ready when something has happened, which everybody who waits is told.
    ///
    /// The lock is held meanwhile. So whoever waits has polled the source after all that had happened before, and it is
    /// enough that the source wakes all of them: one that leaves instead of polling leaves nobody behind unwoken.
    fn poll_source(&self, state: &mut State, seat: usize, cx: &mut Context<'_>) -> Poll<()> {
        self.waiting.set(seat, cx.waker());
        let waker = Waker::from(self.waiting.clone());
        let mut all = Context::from_waker(&waker);
        let _alarm = Alarm(&self.waiting);
        let (source, poll) = match std::mem::replace(&mut state.source, Source::Lost) {
            Source::Asking(mut asking) => match asking.as_mut().poll(&mut all) {
                Poll::Pending => (Source::Asking(asking), Poll::Pending),
                Poll::Ready(Ok(arrival)) => {
                    let (landed, events) = FlightReply::new(arrival);
                    state.landed = Some(landed);
                    self.answered.get_or_init(Instant::now);
                    (events.map_or(Source::Complete, Source::Events), Poll::Ready(()))
                }
                Poll::Ready(Err(fault)) => (Source::Failed(fault), Poll::Ready(())),
            },
            Source::Events(mut events) => match events.as_mut().poll_next(&mut all) {
                Poll::Pending => (Source::Events(events), Poll::Pending),
                Poll::Ready(Some(Ok(event))) => {
                    self.push(state, event);
                    (Source::Events(events), Poll::Ready(()))
                }
                Poll::Ready(Some(Err(fault))) => (Source::Failed(fault), Poll::Ready(())),
                Poll::Ready(None) => (Source::Complete, Poll::Ready(())),
            },
            over => (over, Poll::Ready(())),
        };
        state.source = source;
        if poll.is_pending() {
            return Poll::Pending;
        }
        if matches!(state.source, Source::Complete | Source::Failed(_)) {
            self.close(state);
        }
        self.waiting.clear(seat);
        // Some only wait for the answer to begin, and others for each event.
        Waker::wake(waker);
        Poll::Ready(())
    }

    fn push(&self, state: &mut State, event: Event) {
        let weight = weight(&event);
        state.bytes += weight;
        state.events.push_back(event);
        if self.is_open() {
            state.counted += weight;
            let kept = self.flights.0.kept.fetch_add(weight, Ordering::Relaxed) + weight;
            if state.bytes > self.limits.bytes || kept > self.limits.all_bytes {
                self.close(state);
            }
        }
        if !self.is_open() && state.bytes > state.sweep_at {
            self.sweep(state);
        }
    }

    /// Clears away what nobody needs any more, and what the slowest would have needed beyond the limit.
    fn sweep(&self, state: &mut State) {
        let slowest = state.seats.iter().copied().min().unwrap_or(FREE);
        while state.first < slowest || state.bytes > self.limits.bytes {
            let Some(event) = state.events.pop_front() else { break };
            state.first += 1;
            state.bytes -= weight(&event);
        }
        state.sweep_at = (state.bytes + UNSWEPT).min(self.limits.bytes);
    }

    /// Takes nobody in any more, and frees the course for another flight.
    fn close(&self, state: &mut State) {
        if self.is_open.swap(false, Ordering::Relaxed) {
            self.flights.0.kept.fetch_sub(std::mem::take(&mut state.counted), Ordering::Relaxed);
            self.flights.forget(&self.course, self);
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        self.flights.0.kept.fetch_sub(std::mem::take(&mut state.counted), Ordering::Relaxed);
        if *self.is_open.get_mut() {
            self.flights.forget(&self.course, self);
        }
    }
}

fn weight(event: &Event) -> usize {
    let text = match &event.kind {
        EventKind::Text(text) => text.len(),
        EventKind::Beside(all) => all.iter().map(|one| size_of::<Beside>() + one.text.len()).sum(),
        EventKind::Comment | EventKind::Piece | EventKind::Other | EventKind::Unknown | EventKind::Done => 0,
    };
    event.raw.len() + text + OVERHEAD
}
