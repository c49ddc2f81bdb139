//! Changes: how the states of a provider's breakers have changed lately, for whoever comes for it now and then.
//!
//! Callers choose model names, and so how many breakers change at once: those that do the same within a second are one change.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::machine::State;

/// Changes that wait to be taken. The oldest go first.
const MOST: usize = 32;

/// Breakers that do the same within this time are told of together.
const TOGETHER: Duration = Duration::from_secs(1);

/// One change, or several that came together.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// When.
    pub at: Instant,
    /// The model family of the first breaker.
    pub family: Box<str>,
    /// How many others did the same.
    pub others: u32,
    /// Its state before.
    pub from: State,
    /// Its state from then on.
    pub to: State,
    /// Why it opened.
    pub reason: Option<&'static str>,
}

#[derive(Default)]
pub(super) struct Changes(Mutex<VecDeque<Change>>);

impl Changes {
    pub(super) fn note(&self, change: Change) {
        let mut changes = self.0.lock();
        let is_same = |last: &&mut Change| {
            last.to.as_str() == change.to.as_str()
                && last.from.as_str() == change.from.as_str()
                && last.family != change.family
                && change.at.saturating_duration_since(last.at) < TOGETHER
        };
        if let Some(last) = changes.back_mut().filter(is_same) {
            last.others += 1;
            return;
        }
        if changes.len() == MOST {
            changes.pop_front();
        }
        changes.push_back(change);
    }

    /// All of them, which are gone then.
    pub(super) fn take(&self) -> Vec<Change> {
        self.0.lock().drain(..).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn breakers_that_open_together_are_one_change_and_one_that_flaps_is_many() {
        let (changes, start) = (Changes::default(), Instant::now());
        let note = |family: &str, milliseconds, from, to| {
            let at = start + Duration::from_millis(milliseconds);
            changes.note(Change { at, family: family.into(), others: 0, from, to, reason: None });
        };
        ["a", "b", "c"].into_iter().for_each(|family| note(family, 0, State::Closed, State::Open));
        note("d", 999, State::Closed, State::Open);
        note("e", 1000, State::Closed, State::Open);
        note("e", 1001, State::Open, State::HalfOpen);
        let taken = changes.take();
        let told: Vec<_> = taken.iter().map(|it| (&*it.family, it.others, it.to.as_str())).collect();
        assert_eq!(told, [("a", 3, "open"), ("e", 0, "open"), ("e", 0, "half-open")]);
        assert!(changes.take().is_empty());
        (0..100).for_each(|number| note("f", 5000 * number, State::Open, State::HalfOpen));
        assert_eq!(changes.take().len(), MOST);
    }
}
