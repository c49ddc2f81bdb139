//! Modelled providers: simulated ones that are described by numbers: how long answers take, how often they fail and how,
//! how much at once, which limits, and when they are down.
//!
//! What a request meets depends on the seed, the provider, the question and the attempt alone, and not on other requests,
//! except for capacity and rate limits. So two simulations that differ in one setting meet the same luck. This is data;
//! `provider` acts on it. It does not know where the numbers come from.

mod distribution;
mod limits;
mod load;
mod occurrences;
mod question;
mod text;
mod window;

mod body;

mod provider;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

pub use self::distribution::Distribution;
pub(super) use self::provider::Modelled;
pub use self::window::Window;
use super::OverCapacity;

/// The modelled providers of one simulation.
#[derive(Clone, Debug)]
pub struct Models {
    /// By name.
    pub providers: BTreeMap<Arc<str>, Arc<ProviderModel>>,
    /// What their luck depends on.
    pub seed: u64,
    /// The wall-clock time at which the simulation begins.
    pub start: Timestamp,
}

/// How one provider behaves.
#[derive(Clone, Debug, PartialEq)]
pub struct ProviderModel {
    /// From a request to the first token of its answer.
    pub first_token: Distribution,
    /// For each token of an answer. One answer has one speed.
    pub per_token: Distribution,
    /// From a request to an error answer.
    pub error_after: Distribution,
    /// What goes wrong, as shares of all requests; together at most 1.
    pub errors: Vec<ErrorShare>,
    /// How many requests it works on at once; `None`: any number.
    pub capacity: Option<usize>,
    /// What becomes of those beyond it.
    pub over_capacity: OverCapacity,
    /// How many requests it takes a minute.
    pub requests_per_minute: Option<u64>,
    /// How many tokens, of prompts and answers.
    pub tokens_per_minute: Option<u64>,
    /// True: the same question is answered with the same text each time, as at temperature 0.
    pub repeats: bool,
    /// When it is down.
    pub outages: Vec<Outage>,
    /// When it is worse than usual.
    pub brownouts: Vec<Brownout>,
}

/// What goes wrong, and how often.
#[derive(Clone, Debug, PartialEq)]
pub struct ErrorShare {
    /// The share of requests, 0 to 1.
    pub share: f64,
    /// What.
    pub trouble: Trouble,
}

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Trouble {
    /// An error status, 400 to 599.
    Status {
        /// The status.
        status: u16,
        /// What its `Retry-After` says.
        retry_after: Option<Duration>,
    },
    /// The connection is refused.
    Refuse,
    /// Connecting never ends.
    Blackhole,
    /// The connection breaks before an answer comes.
    Reset,
    /// Nothing comes.
    Hang,
    /// The connection breaks after this share of a stream, anywhere when not set. A plain answer is cut before its head.
    Cut(Option<f64>),
    /// A stream falls silent after this share of it. A plain answer never comes.
    Stall(Option<f64>),
    /// It takes this many times as long.
    Slow(f64),
}

/// A time without answers. Answers that are on their way when it begins break off, unless it is a status.
#[derive(Clone, Debug, PartialEq)]
pub struct Outage {
    /// When.
    pub window: Window,
    /// What all requests meet, health probes included.
    pub trouble: Trouble,
    /// Only this instance, an index into the provider's URLs; `None`: all of them.
    pub instance: Option<usize>,
}

/// A time of worse answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Brownout {
    /// When.
    pub window: Window,
    /// Answers take this many times as long.
    pub latency: f64,
    /// What goes wrong besides.
    pub errors: Vec<ErrorShare>,
    /// How many requests it works on at once then; `None`: as usual.
    pub capacity: Option<usize>,
}

impl Default for ProviderModel {
    /// Answers at once, and without fault.
    fn default() -> Self {
        Self {
            first_token: Distribution::Fixed(Duration::ZERO),
            per_token: Distribution::Fixed(Duration::ZERO),
            error_after: Distribution::Fixed(Duration::ZERO),
            errors: Vec::new(),
            capacity: None,
            over_capacity: OverCapacity::Refuse,
            requests_per_minute: None,
            tokens_per_minute: None,
            repeats: false,
            outages: Vec::new(),
            brownouts: Vec::new(),
        }
    }
}

/// The clock that windows are compared with.
#[derive(Clone, Copy)]
struct Calendar {
    began: tokio::time::Instant,
    /// The time of day at the beginning.
    day: Duration,
}

impl Calendar {
    fn new(start: Timestamp, began: tokio::time::Instant) -> Self {
        let day = u64::try_from(start.as_second().rem_euclid(24 * 3600)).unwrap_or_default();
        Self { began, day: Duration::from_secs(day) }
    }

    fn since(&self) -> Duration {
        self.began.elapsed()
    }
}

impl ProviderModel {
    /// The outage that an instance is in.
    fn outage(&self, calendar: &Calendar, since: Duration, instance: usize) -> Option<&Outage> {
        self.outages.iter().find(|outage| {
            outage.instance.is_none_or(|only| only == instance) && outage.window.contains(since, calendar.day)
        })
    }

    /// The next outage of an instance that breaks off what is on its way.
    fn next_break(&self, calendar: &Calendar, since: Duration, instance: usize) -> Option<(Duration, Trouble)> {
        let hits = self.outages.iter().filter(|outage| {
            outage.instance.is_none_or(|only| only == instance) && !matches!(outage.trouble, Trouble::Status { .. })
        });
        hits.filter_map(|outage| Some((outage.window.next_start(since, calendar.day)?, outage.trouble)))
            .min_by_key(|(at, _)| *at)
    }

    fn browned<'m>(&'m self, calendar: &Calendar, since: Duration) -> impl Iterator<Item = &'m Brownout> {
        let day = calendar.day;
        self.brownouts.iter().filter(move |brownout| brownout.window.contains(since, day))
    }

    /// How many requests it works on at once now.
    fn capacity(&self, calendar: &Calendar, since: Duration) -> Option<usize> {
        self.browned(calendar, since).filter_map(|brownout| brownout.capacity).chain(self.capacity).min()
    }

    /// What goes wrong with the request of this luck.
    fn trouble(&self, calendar: &Calendar, since: Duration, mut luck: f64) -> Option<Trouble> {
        let worse = self.browned(calendar, since).flat_map(|brownout| &brownout.errors);
        for error in self.errors.iter().chain(worse) {
            if luck < error.share {
                return Some(error.trouble);
            }
            luck -= error.share;
        }
        None
    }
}

#[cfg(test)]
mod tests;
