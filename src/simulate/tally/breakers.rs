//! Breakers: when the circuit breaker of each provider was not closed.
//!
//! A lane keeps a bounded number of spans. One that has too many joins the two neighbours that are shortest together. How
//! long it was open in all stays exact. It does not know why a breaker opens.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

/// The most spans of one lane: what a picture can show.
const MOST_SPANS: usize = 240;
/// The most lanes: providers times gateways.
const MOST_LANES: usize = 512;

/// A time in which a breaker was not closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its beginning.
    pub from: Timestamp,
    /// Its end.
    pub to: Timestamp,
    /// True for open, false for half-open.
    pub is_open: bool,
}

/// The breaker of one provider in one gateway.
#[derive(Clone, Debug, Default)]
pub struct Lane {
    /// The times in which it was not closed, oldest first.
    pub spans: Vec<Span>,
    /// How often it opened.
    pub opened: u64,
    /// How long it was open, in milliseconds.
    pub open_ms: u64,
    /// How long it was half-open, in milliseconds.
    pub half_open_ms: u64,
    now: Option<(Timestamp, bool)>,
}

impl Lane {
    fn change(&mut self, at: Timestamp, state: &str) {
        let next = match state {
            "open" => Some(true),
            "half-open" => Some(false),
            _ => None,
        };
        if self.now.map(|(_, is_open)| is_open) == next {
            return;
        }
        self.close(at);
        self.opened += u64::from(next == Some(true));
        self.now = next.map(|is_open| (at, is_open));
    }

    /// Ends the span that is open.
    fn close(&mut self, at: Timestamp) {
        let Some((from, is_open)) = self.now.take() else { return };
        let ms = u64::try_from(at.as_millisecond().saturating_sub(from.as_millisecond())).unwrap_or(0);
        *(if is_open { &mut self.open_ms } else { &mut self.half_open_ms }) += ms;
        self.spans.push(Span { from, to: at.max(from), is_open });
        if self.spans.len() > MOST_SPANS {
            self.join();
        }
    }

    fn join(&mut self) {
        let together = |at: &usize| match self.spans.get(*at..at + 2) {
            Some([left, right]) => right.to.as_millisecond().saturating_sub(left.from.as_millisecond()),
            _ => i64::MAX,
        };
        let Some(at) = (0..self.spans.len().saturating_sub(1)).min_by_key(together) else { return };
        let right = self.spans.remove(at + 1);
        if let Some(left) = self.spans.get_mut(at) {
            left.to = right.to;
            left.is_open |= right.is_open;
        }
    }
}

/// All lanes, by provider, then gateway.
#[derive(Clone, Debug, Default)]
pub struct Breakers(BTreeMap<(Arc<str>, Option<Arc<str>>), Lane>);

impl Breakers {
    /// A breaker changed its state, or began with it: `closed`, `open` or `half-open`.
    pub fn change(&mut self, provider: &Arc<str>, gateway: Option<&Arc<str>>, at: Timestamp, state: &str) {
        let key = (provider.clone(), gateway.cloned());
        if self.0.len() < MOST_LANES || self.0.contains_key(&key) {
            self.0.entry(key).or_default().change(at, state);
        }
    }

    /// The run is over: whatever is not closed was so until now.
    pub fn end(&mut self, at: Timestamp) {
        self.0.values_mut().for_each(|lane| lane.close(at));
    }

    /// The lanes.
    pub fn lanes(&self) -> impl Iterator<Item = (&Arc<str>, Option<&Arc<str>>, &Lane)> {
        self.0.iter().map(|((provider, gateway), lane)| (provider, gateway.as_ref(), lane))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_lane_has_the_times_in_which_its_breaker_was_not_closed() {
        let mut breakers = Breakers::default();
        let provider: Arc<str> = "p".into();
        for (second, state) in
            [(0, "closed"), (10, "open"), (40, "half-open"), (41, "half-open"), (45, "closed"), (50, "open")]
        {
            breakers.change(&provider, None, at(second), state);
        }
        breakers.end(at(60));
        let (_, _, lane) = breakers.lanes().next().unwrap();
        let span = |from, to, is_open| Span { from: at(from), to: at(to), is_open };
        assert_eq!(lane.spans, [span(10, 40, true), span(40, 45, false), span(50, 60, true)]);
        assert_eq!((lane.opened, lane.open_ms, lane.half_open_ms), (2, 40_000, 5_000));
    }

    #[test]
    fn one_that_flaps_all_day_is_bounded_and_its_sums_are_exact() {
        let mut breakers = Breakers::default();
        let provider: Arc<str> = "p".into();
        for flap in 0..10_000 {
            breakers.change(&provider, None, at(flap * 10), "open");
            breakers.change(&provider, None, at(flap * 10 + 3), "closed");
        }
        let (_, _, lane) = breakers.lanes().next().unwrap();
        assert_eq!((lane.spans.len(), lane.opened, lane.open_ms), (MOST_SPANS, 10_000, 30_000_000));
        assert!(lane.spans.windows(2).all(|pair| pair[0].to <= pair[1].from));
    }
}
