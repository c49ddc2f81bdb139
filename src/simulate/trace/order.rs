//! Order: puts the calls of a trace in the order in which they came. A recorder writes a call when it is over, so that a long one
//! stands behind those that came after it.
//!
//! It holds the calls of some minutes, whatever the length of the trace.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use jiff::{SignedDuration, Timestamp};

use super::TraceFault;
use crate::simulate::arrival::Arrival;

/// As long a call may last that is still put in its place. One that stands even further behind comes late.
const WINDOW: SignedDuration = SignedDuration::from_mins(20);

/// Calls with their times, in the order of these.
pub(super) struct InOrder<'a> {
    calls: Box<dyn Iterator<Item = Result<Timed, TraceFault>> + 'a>,
    waiting: BinaryHeap<Reverse<Waiting>>,
    /// The latest time that was seen, and the time of the call that was given last.
    seen: Timestamp,
    given: Timestamp,
    count: u64,
    fault: Option<TraceFault>,
}

/// A call and when it came.
pub(super) type Timed = (Timestamp, Arrival);

struct Waiting {
    at: Timestamp,
    /// Those of one moment stay in the order of the trace.
    number: u64,
    arrival: Arrival,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl<'a> InOrder<'a> {
    /// Puts calls in order.
    pub(super) fn new(calls: impl Iterator<Item = Result<Timed, TraceFault>> + 'a) -> Self {
        let calls = Box::new(calls);
        let (seen, given) = (Timestamp::MIN, Timestamp::MIN);
        Self { calls, waiting: BinaryHeap::new(), seen, given, count: 0, fault: None }
    }

    /// True when the first of those that wait can be given: nothing that comes is older.
    fn is_ready(&self) -> bool {
        self.waiting.peek().is_some_and(|Reverse(first)| self.seen.duration_since(first.at) > WINDOW)
    }
}

impl Iterator for InOrder<'_> {
    type Item = Result<Timed, TraceFault>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.fault.is_none() && !self.is_ready() {
            match self.calls.next() {
                Some(Ok((at, arrival))) => {
                    self.seen = self.seen.max(at);
                    self.waiting.push(Reverse(Waiting { at, number: self.count, arrival }));
                    self.count += 1;
                }
                Some(Err(fault)) => self.fault = Some(fault),
                None => break,
            }
        }
        // A trace that must be whole is not played to the fault.
        if let Some(fault) = self.fault.take() {
            self.waiting.clear();
            return Some(Err(fault));
        }
        let Reverse(Waiting { at, arrival, .. }) = self.waiting.pop()?;
        self.given = self.given.max(at);
        Some(Ok((self.given, arrival)))
    }
}
