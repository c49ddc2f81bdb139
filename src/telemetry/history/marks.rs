//! Marks: what changed, and when: the start, reloads, and changes of circuit breakers.
//!
//! The last ones are kept, breakers apart from the rest: one that flaps cannot push a reload out.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::time::Instant;

use super::steps::Band;

/// Marks of each of the two kinds that are kept.
pub(super) const KEPT: usize = 128;

/// The longest text of a mark, in bytes.
pub(super) const LONGEST: usize = 240;

/// A moment at which something changed.
#[derive(Clone, Debug)]
pub struct Mark {
    /// When.
    pub at: Instant,
    /// What.
    pub event: Event,
}

/// What changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The process started.
    Started,
    /// It took over from the process before it.
    TookOver,
    /// A new configuration is in force.
    Reloaded {
        /// Its number.
        generation: u64,
    },
    /// A new configuration was refused.
    ReloadFailed {
        /// The first thing that is wrong with it.
        problem: Box<str>,
    },
    /// A circuit breaker changed its state.
    Breaker {
        /// Whose.
        provider: Arc<str>,
        /// The model family; empty for calls without a model.
        family: Box<str>,
        /// Breakers of the same provider that did the same in that second.
        others: u32,
        /// Its state before.
        from: Band,
        /// Its state from then on.
        to: Band,
        /// Why it opened.
        reason: Option<&'static str>,
    },
}

impl Mark {
    /// The worse of the two states of a breaker that changed.
    pub(super) fn band(&self) -> Option<Band> {
        match &self.event {
            Event::Breaker { from, to, .. } => Some(*from.max(to)),
            _ => None,
        }
    }
}

#[derive(Default)]
pub(super) struct Marks {
    breakers: VecDeque<Mark>,
    others: VecDeque<Mark>,
}

impl Marks {
    pub(super) fn note(&mut self, mut mark: Mark) {
        if let Event::ReloadFailed { problem } = &mut mark.event {
            *problem = problem[..problem.floor_char_boundary(LONGEST)].into();
        }
        let marks = match mark.event {
            Event::Breaker { .. } => &mut self.breakers,
            _ => &mut self.others,
        };
        if marks.len() == KEPT {
            marks.pop_front();
        }
        marks.push_back(mark);
    }

    /// Those from a moment on, oldest first.
    pub(super) fn since(&self, from: Instant) -> Vec<Mark> {
        let mut marks: Vec<Mark> =
            self.breakers.iter().chain(&self.others).filter(|it| it.at >= from).cloned().collect();
        marks.sort_by_key(|mark| mark.at);
        marks
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let text = |mark: &Mark| match &mark.event {
            Event::ReloadFailed { problem } => problem.len(),
            Event::Breaker { family, .. } => family.len(),
            _ => 0,
        };
        let all = || self.breakers.iter().chain(&self.others);
        let slots = self.breakers.capacity() + self.others.capacity();
        slots * size_of::<Mark>() + all().map(text).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_breaker_that_flaps_pushes_no_reload_out() {
        let mut marks = Marks::default();
        let start = Instant::now();
        marks.note(Mark { at: start, event: Event::Reloaded { generation: 2 } });
        for number in 0..1000 {
            let to = if number % 2 == 0 { Band::Open } else { Band::HalfOpen };
            let event = Event::Breaker {
                provider: "p".into(),
                family: "m".into(),
                others: 0,
                from: Band::Closed,
                to,
                reason: None,
            };
            tokio::time::advance(std::time::Duration::from_secs(1)).await;
            marks.note(Mark { at: Instant::now(), event });
        }
        let kept = marks.since(start);
        assert_eq!((kept.len(), &kept[0].event), (KEPT + 1, &Event::Reloaded { generation: 2 }));
        assert_eq!(marks.since(Instant::now()).len(), 1);
    }
}
