//! Lanes: the permits of a provider and the queue for them, by model family. Within a priority the next permit goes
//! to the longest waiting call whose family is below its limit.
//!
//! Overload signals that only one caller triggers may be that caller's own doing, like a 429 for an oversized
//! request: they shrink only that caller's limit. The family's limit shrinks once a second caller triggers one.
//!
//! Nothing here waits. Callers choose model names but must not control the memory used: with too many families an
//! idle one is evicted, and if none is idle, new families share one.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::PlacesReport;
use super::limit::{Limit, Sample};
use crate::config::plan::{ConcurrencyPlan, Priority};
use crate::model::names::family;

/// Model families with a lane of their own.
pub(super) const MOST: usize = 64;

/// What the lane is called that those share for whom there is none of their own.
const OTHERS: &str = "others";

/// The lanes of one provider.
pub(super) struct Lanes {
    settings: ConcurrencyPlan,
    lanes: Vec<Lane>,
    in_flight: u32,
    waiting: usize,
    arrivals: u64,
    /// Calls that did not get a place.
    pub(super) refused: u64,
}

struct Lane {
    family: Box<str>,
    limit: Limit,
    in_flight: u32,
    /// How many of them each caller has.
    held: HashMap<u64, u32>,
    accused: Option<OnlyCaller>,
    /// Those who wait, the most urgent first.
    queues: [VecDeque<Waiter>; Priority::ALL.len()],
    used: Instant,
}

/// The one caller that drew all signs of overload lately, until its limit is at the ceiling again.
struct OnlyCaller {
    caller: u64,
    limit: Limit,
}

struct Waiter {
    number: u64,
    caller: u64,
    grant: oneshot::Sender<()>,
}

impl Lane {
    fn new(family: &str, settings: &ConcurrencyPlan, now: Instant) -> Self {
        let limit = Limit::new(settings, now);
        let (held, accused) = (HashMap::new(), None);
        Self { family: family.into(), limit, in_flight: 0, held, accused, queues: Default::default(), used: now }
    }

    fn waiting(&self) -> usize {
        self.queues.iter().map(VecDeque::len).sum()
    }

    fn has_room(&self) -> bool {
        self.in_flight < self.limit.places()
    }

    fn held(&self, caller: u64) -> u32 {
        self.held.get(&caller).copied().unwrap_or(0)
    }

    /// True when there is room for a caller where there is room at all.
    fn admits(&self, caller: u64) -> bool {
        let accused = self.accused.as_ref().filter(|accused| accused.caller == caller);
        accused.is_none_or(|accused| self.held(caller) < accused.limit.places())
    }

    fn take(&mut self, caller: u64) {
        self.in_flight += 1;
        *self.held.entry(caller).or_default() += 1;
    }

    fn give_back(&mut self, caller: u64) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Entry::Occupied(mut held) = self.held.entry(caller) {
            match held.get().saturating_sub(1) {
                0 => drop(held.remove()),
                left => *held.get_mut() = left,
            }
        }
    }

    /// Lets its limits grow by what is due.
    fn advance(&mut self, now: Instant) {
        self.limit.advance(now);
        if let Some(accused) = &mut self.accused {
            accused.limit.advance(now);
        }
        self.accused.take_if(|accused| accused.limit.due().is_none());
    }

    /// Learns from a caller's call that holds a place.
    fn note(&mut self, caller: u64, sample: Sample, settings: &ConcurrencyPlan, now: Instant) {
        self.advance(now);
        let is_accused = self.accused.as_ref().is_some_and(|accused| accused.caller == caller);
        let is_of_caller = self.limit.may_be_of_caller(sample);
        let held = if is_accused || is_of_caller { self.held(caller) } else { 0 };
        if !is_of_caller {
            self.limit.note(sample, self.in_flight, now);
            if let Some(accused) = self.accused.as_mut().filter(|accused| accused.caller == caller) {
                accused.limit.note(sample, held, now);
            }
            return;
        }
        // Two callers that draw signs do not do so by what is the matter with the requests of one.
        if self.accused.take_if(|accused| accused.caller != caller).is_some() {
            self.limit.note(Sample::Overloaded, self.in_flight, now);
            return;
        }
        let fresh = || OnlyCaller { caller, limit: Limit::new(settings, now) };
        self.accused.get_or_insert_with(fresh).limit.note(Sample::Overloaded, held, now);
    }

    /// True when nothing would be forgotten with it.
    fn is_idle(&mut self, now: Instant) -> bool {
        self.advance(now);
        self.in_flight == 0 && self.waiting() == 0 && self.limit.due().is_none() && self.accused.is_none()
    }
}

impl Lanes {
    pub(super) fn new(settings: ConcurrencyPlan) -> Self {
        Self { settings, lanes: Vec::new(), in_flight: 0, waiting: 0, arrivals: 0, refused: 0 }
    }

    /// The lane of a model, with its limit as it is now.
    pub(super) fn find(&mut self, model: &str, now: Instant) -> usize {
        let family = family(model);
        let lane = self.position(family).unwrap_or_else(|| self.add(family, now));
        self.lanes[lane].used = now;
        self.advance(lane, now);
        lane
    }

    fn position(&self, family: &str) -> Option<usize> {
        self.lanes.iter().position(|lane| *lane.family == *family)
    }

    fn add(&mut self, family: &str, now: Instant) -> usize {
        let fresh = Lane::new(family, &self.settings, now);
        if self.lanes.len() < MOST {
            self.lanes.push(fresh);
            return self.lanes.len() - 1;
        }
        let idle = (0..self.lanes.len()).filter(|index| self.lanes[*index].is_idle(now)).collect::<Vec<_>>();
        if let Some(oldest) = idle.into_iter().min_by_key(|index| self.lanes[*index].used) {
            self.lanes[oldest] = fresh;
            return oldest;
        }
        self.position(OTHERS).unwrap_or_else(|| {
            self.lanes.push(Lane::new(OTHERS, &self.settings, now));
            self.lanes.len() - 1
        })
    }

    /// Takes a place for a caller where there is one.
    pub(super) fn take(&mut self, lane: usize, caller: u64) -> bool {
        let is_free =
            self.in_flight < self.settings.max && self.lanes[lane].has_room() && self.lanes[lane].admits(caller);
        if is_free {
            self.in_flight += 1;
            self.lanes[lane].take(caller);
        }
        is_free
    }

    /// Gives a caller's place back, perhaps to somebody who waits.
    pub(super) fn give_back(&mut self, lane: usize, caller: u64) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.lanes[lane].give_back(caller);
        self.admit();
    }

    /// Learns from a caller's call that holds a place.
    pub(super) fn note(&mut self, lane: usize, caller: u64, sample: Sample, now: Instant) {
        self.lanes[lane].note(caller, sample, &self.settings, now);
        self.admit();
    }

    /// When one of a lane's limits grows next.
    pub(super) fn due(&self, lane: usize) -> Option<Instant> {
        let lane = &self.lanes[lane];
        let accused = lane.accused.as_ref().and_then(|accused| accused.limit.due());
        [lane.limit.due(), accused].into_iter().flatten().min()
    }

    /// Lets a lane's limits grow by what is due.
    pub(super) fn advance(&mut self, lane: usize, now: Instant) {
        self.lanes[lane].advance(now);
        self.admit();
    }

    /// A place in a lane's queue; when that is full, that of somebody less urgent, who loses it.
    pub(super) fn enqueue(&mut self, lane: usize, caller: u64, priority: Priority) -> Option<oneshot::Receiver<()>> {
        let (lane, most) = (&mut self.lanes[lane], self.settings.queue as usize);
        // Who waits for its own limit leaves room for those who may have to wait for the provider.
        let most = if lane.admits(caller) { most } else { most.div_ceil(2) };
        if lane.waiting() >= most {
            let before = lane.waiting();
            lane.queues.iter_mut().for_each(|waiting| waiting.retain(|waiter| !waiter.grant.is_closed()));
            self.waiting -= before - lane.waiting();
        }
        if lane.waiting() >= most {
            let least = lane.queues[priority as usize + 1..].iter_mut().rev().find(|waiting| !waiting.is_empty())?;
            // The youngest: who has waited longest should not lose most.
            least.pop_back();
            self.waiting -= 1;
        }
        let (grant, turn) = oneshot::channel();
        self.arrivals += 1;
        lane.queues[priority as usize].push_back(Waiter { number: self.arrivals, caller, grant });
        self.waiting += 1;
        Some(turn)
    }

    /// Gives free places to those who wait.
    fn admit(&mut self) {
        while self.waiting > 0 && self.in_flight < self.settings.max {
            let Some((lane, waiter)) = self.next() else { break };
            self.waiting -= 1;
            // Who gave up waiting does not take a place.
            if waiter.grant.send(()).is_ok() {
                self.in_flight += 1;
                self.lanes[lane].take(waiter.caller);
            }
        }
    }

    /// Whose turn it is.
    fn next(&mut self) -> Option<(usize, Waiter)> {
        let (priority, lane, at) = (0..Priority::ALL.len()).find_map(|priority| {
            let lanes = self.lanes.iter().enumerate().filter(|(_, lane)| lane.has_room());
            let firsts = lanes.filter_map(|(index, lane)| {
                let at = lane.queues[priority].iter().position(|waiter| lane.admits(waiter.caller))?;
                Some((lane.queues[priority][at].number, index, at))
            });
            firsts.min().map(|(_, lane, at)| (priority, lane, at))
        })?;
        self.lanes[lane].queues[priority].remove(at).map(|waiter| (lane, waiter))
    }

    /// How it stands.
    pub(super) fn report(&mut self, now: Instant) -> PlacesReport {
        self.lanes.iter_mut().for_each(|lane| lane.advance(now));
        let accused = self.lanes.iter().filter_map(|lane| lane.accused.as_ref()).map(|accused| &accused.limit);
        let least = self.lanes.iter().map(|lane| &lane.limit).chain(accused).map(Limit::places).min();
        self.admit();
        PlacesReport {
            limit: least.unwrap_or(self.settings.initial),
            in_flight: self.in_flight,
            waiting: self.waiting as u32,
            refused: self.refused,
        }
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.lanes.len()
    }
}
