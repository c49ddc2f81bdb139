//! Lanes: who has a place at a provider and who waits for one, by model family. Within a priority the turn goes to whoever
//! has waited longest of those whose family has room.
//!
//! Nothing here waits itself. Callers choose model names, and must not choose how much memory they take: where there are too
//! many families, an idle one makes room, and where none is idle the new ones share one.

use std::collections::VecDeque;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::PlacesReport;
use super::limit::{Limit, Sample};
use crate::config::plan::{ConcurrencyPlan, Priority};
use crate::names::family;

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
    /// Those who wait, the most urgent first.
    queues: [VecDeque<Waiter>; Priority::ALL.len()],
    used: Instant,
}

struct Waiter {
    number: u64,
    grant: oneshot::Sender<()>,
}

impl Lane {
    fn new(family: &str, settings: &ConcurrencyPlan, now: Instant) -> Self {
        let limit = Limit::new(settings, now);
        Self { family: family.into(), limit, in_flight: 0, queues: Default::default(), used: now }
    }

    fn waiting(&self) -> usize {
        self.queues.iter().map(VecDeque::len).sum()
    }

    fn has_room(&self) -> bool {
        self.in_flight < self.limit.places()
    }

    /// True when nothing would be forgotten with it.
    fn is_idle(&mut self, now: Instant) -> bool {
        self.limit.advance(now);
        self.in_flight == 0 && self.waiting() == 0 && self.limit.due().is_none()
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

    /// Takes a place where there is one.
    pub(super) fn take(&mut self, lane: usize) -> bool {
        let is_free = self.in_flight < self.settings.max && self.lanes[lane].has_room();
        if is_free {
            self.in_flight += 1;
            self.lanes[lane].in_flight += 1;
        }
        is_free
    }

    /// Gives a place back, perhaps to somebody who waits.
    pub(super) fn give_back(&mut self, lane: usize) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.lanes[lane].in_flight = self.lanes[lane].in_flight.saturating_sub(1);
        self.admit();
    }

    /// Learns from a call that holds a place.
    pub(super) fn note(&mut self, lane: usize, sample: Sample, now: Instant) {
        let in_flight = self.lanes[lane].in_flight;
        self.lanes[lane].limit.note(sample, in_flight, now);
        self.admit();
    }

    /// When a lane's limit grows next.
    pub(super) fn due(&self, lane: usize) -> Option<Instant> {
        self.lanes[lane].limit.due()
    }

    /// Lets a lane's limit grow by what is due.
    pub(super) fn advance(&mut self, lane: usize, now: Instant) {
        self.lanes[lane].limit.advance(now);
        self.admit();
    }

    /// A place in a lane's queue; when that is full, that of somebody less urgent, who loses it.
    pub(super) fn enqueue(&mut self, lane: usize, priority: Priority) -> Option<oneshot::Receiver<()>> {
        let (lane, most) = (&mut self.lanes[lane], self.settings.queue as usize);
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
        lane.queues[priority as usize].push_back(Waiter { number: self.arrivals, grant });
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
                self.lanes[lane].in_flight += 1;
            }
        }
    }

    /// Whose turn it is.
    fn next(&mut self) -> Option<(usize, Waiter)> {
        let (priority, lane) = (0..Priority::ALL.len()).find_map(|priority| {
            let lanes = self.lanes.iter().enumerate().filter(|(_, lane)| lane.has_room());
            let first = lanes.filter_map(|(index, lane)| Some((lane.queues[priority].front()?.number, index))).min()?;
            Some((priority, first.1))
        })?;
        self.lanes[lane].queues[priority].pop_front().map(|waiter| (lane, waiter))
    }

    /// How it stands.
    pub(super) fn report(&mut self, now: Instant) -> PlacesReport {
        self.lanes.iter_mut().for_each(|lane| lane.limit.advance(now));
        let least = self.lanes.iter().map(|lane| lane.limit.places()).min();
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
