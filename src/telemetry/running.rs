//! Calls in flight: which there are, and where to look for what has happened to each so far.
//!
//! On the way of every call, so it only takes a call in and out again: what is known of it stays in its trail. It does not know
//! who looks.

use std::sync::Arc;

use parking_lot::Mutex;
use slab::Slab;
use tokio::time::Instant;

use crate::model::log_context::LogContext;
use crate::model::trail::{Facts, Trail, TrailLook};

/// Calls that run at once on several threads should not wait for each other.
const SHARDS: usize = 16;

/// A trail takes more than this many bytes: the bits of its address below say nothing.
const TRAIL_BITS: u32 = 8;

/// A call that runs.
#[derive(Clone, Debug)]
pub struct RunningCall {
    /// Its name in logs.
    pub subject: Arc<LogContext>,
    /// The request's method.
    pub method: &'static str,
    /// Its path, without the query.
    pub path: Arc<str>,
    /// The caller's dialect.
    pub caller: &'static str,
    /// Which generation of the configuration answers.
    pub generation: u64,
    /// When the request's head had arrived.
    pub started: Instant,
    trail: TrailLook,
}

impl RunningCall {
    /// A call that has begun.
    pub fn new(
        subject: &Arc<LogContext>,
        (method, path): (&'static str, &Arc<str>),
        (caller, generation): (&'static str, u64),
        started: Instant,
        trail: &Trail,
    ) -> Self {
        let (subject, path) = (subject.clone(), path.clone());
        Self { subject, method, path, caller, generation, started, trail: trail.look() }
    }

    /// What has happened to it; `None`: it is over.
    pub fn facts(&self) -> Option<Facts> {
        self.trail.facts()
    }

    /// True when its provider has called the request or the answer so.
    pub fn has_provider_id(&self, id: &str) -> bool {
        self.trail.read(|facts| facts.has_provider_id(id)).unwrap_or_default()
    }
}

/// The calls in flight. As many as there are: each has a connection and buffers, which are bounded.
#[derive(Clone, Debug, Default)]
pub struct RunningCalls(Arc<[Mutex<Slab<RunningCall>>; SHARDS]>);

impl RunningCalls {
    /// Takes a call in, until what this returns is dropped.
    #[must_use]
    pub fn begin(&self, call: RunningCall, trail: &Trail) -> Running {
        let shard = (trail.address() >> TRAIL_BITS) % SHARDS;
        let place = self.0[shard].lock().insert(call);
        Running { calls: self.clone(), shard, place }
    }

    /// All of them.
    pub fn all(&self) -> Vec<RunningCall> {
        let calls =
            |shard: &Mutex<Slab<RunningCall>>| shard.lock().iter().map(|(_, call)| call.clone()).collect::<Vec<_>>();
        self.0.iter().flat_map(calls).collect()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.iter().map(|shard| shard.lock().len()).sum()
    }
}

/// A call's place among those in flight, until it is dropped.
#[derive(Debug)]
pub struct Running {
    calls: RunningCalls,
    shard: usize,
    place: usize,
}

impl Drop for Running {
    fn drop(&mut self) {
        let call = self.calls.0[self.shard].lock().try_remove(self.place);
        // Freed outside the lock.
        drop(call);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_in_flight_from_its_beginning_to_its_end_and_its_trail_can_still_be_ended() {
        let calls = RunningCalls::default();
        let mut trails: Vec<Trail> = (0..100).map(|_| Trail::start(None)).collect();
        let mut places: Vec<Running> = Vec::new();
        for (number, trail) in trails.iter().enumerate() {
            let subject = LogContext::new(number.to_string().into());
            let call = RunningCall::new(&subject, ("GET", &"/".into()), ("openai", 1), Instant::now(), trail);
            places.push(calls.begin(call, trail));
        }
        assert_eq!(calls.count(), 100);
        trails[7].facts().bytes_in = 77;
        let seventh = calls.all().into_iter().find(|call| &*call.subject.id == "7").unwrap();
        assert_eq!(seventh.facts().map(|facts| facts.bytes_in), Some(77));
        places.remove(7);
        assert!(calls.count() == 99 && !calls.all().iter().any(|call| &*call.subject.id == "7"));
        // Nobody else holds it: whoever looks afterwards finds it over.
        let mut kept = None;
        trails[7].hand_over(|facts| kept = Some(facts.bytes_in));
        assert_eq!((kept, seventh.facts().is_none()), (Some(77), true));
        places.clear();
        assert_eq!((calls.count(), calls.all().len()), (0, 0));
    }
}
