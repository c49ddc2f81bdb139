//! Flights: request coalescing. Identical calls that run at the same time share one response in flight. A follower
//! that joins late gets what has arrived so far, and then follows.
//!
//! A flight has no task of its own: whoever waits for it polls it, and wakes the others. So it continues while one
//! follower is left, is cancelled when the last one leaves, and is as fast as its fastest reader. Received data is
//! kept, up to a limit, for followers that may still join. Past the limit the flight accepts no more followers, and
//! keeps only what some follower has not read yet; a follower that falls behind by more than the limit is cut off.
//!
//! It does not know what is done with a response, nor why two calls are identical.

mod landed;
mod waiting;

mod shared;

#[cfg(test)]
mod tests;

use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeSet, HashMap};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::Stream;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, Sleep};

use self::landed::FollowerReply;
use self::shared::{FIRST, Flight};
use super::{Entry, EntryKey};
use crate::model::fault::Fault;
use crate::model::reply::{Body, Event, EventKind, Reply};
use crate::model::time::{Deadline, Phase, later};
use crate::policy::cache::identity_hasher::BuildSpread;
use crate::wire::sse;

/// A caller whose time ends this shortly before the flight's needs no clock of its own.
const SLACK: Duration = Duration::from_millis(10);

/// Keys whose answers are renewed at the same time. What is one too many is renewed when it is next asked for.
const RENEWALS: usize = 64;

/// What comes of asking.
pub enum Arrival {
    /// A new answer.
    Reply(Box<Reply>),
    /// One that is kept, and turned up meanwhile.
    Entry(Arc<Entry>),
}

/// The asking.
pub type Asking = BoxFuture<'static, Result<Arrival, Fault>>;

/// Which calls share a flight: those with the same key that want the answer in the same form, as it is passed on as it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Course {
    /// What is asked.
    pub key: EntryKey,
    /// In which form.
    pub form: Form,
}

/// The forms in which an answer may be wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// In one piece.
    Whole,
    /// As events; with the tokens at the end, if so wished.
    Events {
        /// `stream_options.include_usage`
        has_usage: bool,
    },
}

/// What a flight may take, and how long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes that are kept of one answer, and by which a follower may be late.
    pub bytes: usize,
    /// Bytes that are kept for late comers of all flights together.
    pub all_bytes: usize,
    /// When whoever asks gives up.
    pub until: Instant,
}

/// Which flights may be joined: they bring what was asked for after some moment, and is not older than that.
#[derive(Clone, Copy, Debug)]
pub struct Joinable {
    /// When it was purged, in milliseconds since 1970: what was asked for before may be what was purged.
    pub asked_after_ms: u64,
    /// How long ago it may have begun to be answered.
    pub answered_within: Duration,
}

/// All flights of a gateway. Shared, and outlives the gateway that uses it.
#[derive(Clone, Default)]
pub struct Flights(Arc<Sky>);

#[derive(Default)]
struct Sky {
    open: Mutex<HashMap<Course, Weak<Flight>, BuildSpread>>,
    /// Bytes that are kept for late comers.
    kept: AtomicUsize,
    renewing: Mutex<BTreeSet<EntryKey>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Only a flight's source can panic, and it says so itself (`Source::Lost`).
    mutex.lock()
}

impl Flights {
    /// Joins the flight on a course if it may be joined, or begins one at `now_ms`.
    pub fn join(
        &self,
        course: Course,
        now_ms: u64,
        joinable: Joinable,
        limits: Limits,
        ask: impl FnOnce() -> Asking,
    ) -> Follower {
        loop {
            let mut open = lock(&self.0.open);
            let found = open.get(&course).and_then(Weak::upgrade);
            let Some(flight) = found.as_ref().filter(|flight| flight.is_joinable(joinable)) else {
                let flight = Arc::new(Flight::new(self.clone(), course, now_ms, limits, ask()));
                open.insert(course, Arc::downgrade(&flight));
                // Before `found` is: who lets go of a flight last takes the same lock.
                drop(open);
                return Follower { flight, seat: FIRST, is_first: true };
            };
            drop(open);
            if let Some(seat) = flight.board() {
                return Follower { flight: flight.clone(), seat, is_first: false };
            }
        }
    }

    /// True when somebody is asking on this course.
    pub fn has(&self, course: &Course) -> bool {
        lock(&self.0.open).get(course).is_some_and(|flight| flight.strong_count() > 0)
    }

    /// The right to renew what is kept under a key; `None` while another has it.
    pub fn renew(&self, key: EntryKey) -> Option<Renewal> {
        let mut renewing = lock(&self.0.renewing);
        let is_new = renewing.len() < RENEWALS && renewing.insert(key);
        is_new.then(|| Renewal { flights: self.clone(), key })
    }

    /// Bytes that are kept for late comers.
    pub fn kept_bytes(&self) -> usize {
        self.0.kept.load(Ordering::Relaxed)
    }

    /// Frees the course of a flight, if that has not been done before.
    fn forget(&self, course: &Course, flight: &Flight) {
        let mut open = lock(&self.0.open);
        if open.get(course).is_some_and(|found| std::ptr::eq(found.as_ptr(), flight)) {
            open.remove(course);
        }
    }
}

/// The right to renew what is kept under a key, until it is dropped.
pub struct Renewal {
    flights: Flights,
    key: EntryKey,
}

impl Drop for Renewal {
    fn drop(&mut self) {
        lock(&self.flights.0.renewing).remove(&self.key);
    }
}

/// One of those who share a flight. Dropping it, or the reply it got, is leaving.
pub struct Follower {
    flight: Arc<Flight>,
    seat: usize,
    /// True for the one whose call it is that is made.
    pub is_first: bool,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.flight.leave(self.seat);
    }
}

impl Follower {
    /// Waits for the answer to begin, and follows it until `by`. `Ok(None)`: it is for one alone, and that one has it.
    pub async fn follow(self, by: Deadline) -> Result<Option<Arrival>, Fault> {
        let own_end = (later(by.at, SLACK) < self.flight.limits.until).then_some(by.at);
        let phase = by.phase;
        let landing = std::future::poll_fn(|cx| self.flight.poll_landing(self.seat, cx));
        match own_end {
            Some(by) => tokio::time::timeout_at(by, landing).await.map_err(|_| Fault::of_deadline(phase))??,
            None => landing.await?,
        }
        Ok(self.flight.give(self.is_first).map(|given| match given {
            FollowerReply::Entry(entry) => Arrival::Entry(entry),
            FollowerReply::Reply(head, Some(body)) => Arrival::Reply(head.with(body)),
            FollowerReply::Reply(head, None) => {
                let own_end = own_end.map(|by| Box::pin(tokio::time::sleep_until(by)));
                let following = Following { follower: Some(self), own_end, phase, rest: None };
                Arrival::Reply(head.with(Body::Events(Box::pin(following))))
            }
        }))
    }
}

/// The events of a shared answer, for one of those who share it.
struct Following {
    /// `None` once it is over.
    follower: Option<Follower>,
    /// When this one has no more time, where the others have.
    own_end: Option<Pin<Box<Sleep>>>,
    /// Whose limit that is.
    phase: Phase,
    /// What may still come of the form of a response that is complete.
    rest: Option<&'static [u8]>,
}

impl Stream for Following {
    type Item = Result<Event, Fault>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(follower) = &this.follower else { return Poll::Ready(None) };
        let item = match follower.flight.poll_event(follower.seat, cx) {
            Poll::Ready(item) => item,
            Poll::Pending => {
                let Some(end) = &mut this.own_end else { return Poll::Pending };
                ready!(end.as_mut().poll(cx));
                this.follower = None;
                // All of the response has come: it is not broken because the others wait for its terminator.
                return Poll::Ready(match this.rest {
                    None => Some(Err(Fault::of_deadline(this.phase))),
                    Some(missing) => sse::terminator(missing).map(Ok),
                });
            }
        };
        if let Some(Ok(event)) = &item
            && event.kind != EventKind::Comment
        {
            this.rest = event.rest;
        }
        if !matches!(item, Some(Ok(_))) {
            this.follower = None;
        }
        Poll::Ready(item)
    }
}
