//! Spread: who calls and what is asked, for traffic that does not say so: callers and questions after Zipf's law, some of them as
//! streams.
//!
//! What a call gets depends on the seed and on its place in the trace alone. It does not know when calls come.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use crate::model::rng::Draws;
use crate::simulate::arrival::Arrival;

/// Where simulated backends are: one address in a private network, through which all users come.
const BACKEND: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

/// The most callers and questions: each has a number in memory.
pub const MOST: u64 = 1_000_000;

/// Who calls, and what is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Spread {
    /// The route of all calls.
    pub route: Arc<str>,
    /// Users; the first of them call most.
    pub callers: u64,
    /// Tenants that the users belong to in turn; 0: none is named.
    pub tenants: u64,
    /// Different questions; 0: no question is asked twice.
    pub questions: u64,
    /// The exponent of Zipf's law, for callers and questions: 0 treats all alike, 1 is usual.
    pub zipf: f64,
    /// The share of calls that want a stream.
    pub streams: f64,
    /// The model that is asked for; `None`: what callers of the route usually ask for.
    pub model: Option<Arc<str>>,
}

impl Default for Spread {
    fn default() -> Self {
        let route = "openai-chat".into();
        Self { route, callers: 200, tenants: 0, questions: 0, zipf: 1.0, streams: 0.0, model: None }
    }
}

/// A spread from which calls are drawn.
pub(super) struct Drawn {
    spread: Spread,
    callers: Vec<f64>,
    questions: Vec<f64>,
    draws: Draws,
}

impl Spread {
    /// Prepares to draw.
    pub(super) fn drawn(&self, seed: u64) -> Drawn {
        Drawn {
            callers: cumulated(self.callers.max(1), self.zipf),
            questions: cumulated(self.questions, self.zipf),
            draws: Draws::new(seed).named("spread"),
            spread: self.clone(),
        }
    }
}

impl Drawn {
    /// The call at this place of the trace.
    pub(super) fn arrival(&self, index: u64, tokens_in: u64, tokens_out: u64) -> Arrival {
        let draws = self.draws.of(index);
        let caller = rank(&self.callers, draws.of(1).fraction());
        let tenant = (self.spread.tenants > 0).then(|| format!("tenant-{}", caller % self.spread.tenants + 1).into());
        let question = match self.questions.is_empty() {
            true => draws.of(3).bits(),
            // One of a kind is told from another by more than its rank.
            false => self.draws.named("question").of(rank(&self.questions, draws.of(2).fraction())).bits(),
        };
        Arrival {
            after: Duration::ZERO,
            route: self.spread.route.clone(),
            tenant,
            user: Some(format!("user-{}", caller + 1).into()),
            key: None,
            address: BACKEND,
            tier: None,
            question,
            model: self.spread.model.clone(),
            stream: draws.of(4).fraction() < self.spread.streams,
            tokens_in,
            tokens_out,
            bytes_in: 0,
        }
    }
}

/// The weights of ranks by Zipf's law, added up.
fn cumulated(count: u64, exponent: f64) -> Vec<f64> {
    let mut sum = 0.0;
    let weights = (1..=count.min(MOST)).map(|rank| {
        sum += (rank as f64).powf(-exponent);
        sum
    });
    weights.collect()
}

/// The rank, counted from zero, at this share of all weights.
fn rank(cumulated: &[f64], share: f64) -> u64 {
    let wanted = share * cumulated.last().copied().unwrap_or_default();
    let rank = cumulated.partition_point(|sum| *sum <= wanted);
    rank.min(cumulated.len().saturating_sub(1)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_caller_calls_as_often_as_zipfs_law_says() {
        let spread = Spread { callers: 100, ..Spread::default() }.drawn(1);
        let first = (0..20_000).filter(|index| spread.arrival(*index, 1, 1).user.as_deref() == Some("user-1")).count();
        // One in the hundredth harmonic number, 5.187.
        assert!((3_650..4_060).contains(&first), "{first} of 20000");
    }

    #[test]
    fn without_questions_none_is_asked_twice_and_with_them_no_more_are_asked_than_there_are() {
        let asked = |questions| {
            let spread = Spread { questions, ..Spread::default() }.drawn(1);
            (0..5_000)
                .map(|index| spread.arrival(index, 1, 1).question)
                .collect::<std::collections::BTreeSet<_>>()
                .len()
        };
        assert_eq!(asked(0), 5_000);
        assert_eq!(asked(7), 7);
    }

    #[test]
    fn equal_weights_come_equally_often() {
        let spread = Spread { callers: 4, zipf: 0.0, ..Spread::default() }.drawn(2);
        let last = (0..20_000).filter(|index| spread.arrival(*index, 1, 1).user.as_deref() == Some("user-4")).count();
        assert!((4_750..5_250).contains(&last), "{last} of 20000");
    }
}
