//! Measure: the numbers by which runs are compared and goals are stated, each under one name everywhere: in goals, in the
//! table, in the JSON of a report, in a sweep.
//!
//! It does not know what a good value is, only in which direction better lies.

use serde::{Serialize, Serializer};

use super::column::{Column, Numbers, Percentiles};

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number of things.
    Count,
    /// A part of all, between 0 and 1; retries and the like may be above.
    Share,
    /// Milliseconds.
    Time,
    /// US dollars.
    Money,
    /// US dollars in 24 hours.
    MoneyPerDay,
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Kind::Count => "count",
            Kind::Share => "share",
            Kind::Time => "ms",
            Kind::Money => "usd",
            Kind::MoneyPerDay => "usd_per_day",
        })
    }
}

/// Spells all measures: variant, name, kind, better when more (`Some(true)`), less, or neither, and words for people.
macro_rules! measures {
    ($($measure:ident $name:literal $kind:ident $better:expr, $words:literal;)+) => {
        /// A number that a run has.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Measure { $(#[doc = $words] $measure,)+ }

        impl Measure {
            /// All of them, the most important first.
            pub const ALL: &[Self] = &[$(Self::$measure,)+];

            /// Its name in goals and JSON.
            pub fn name(self) -> &'static str {
                match self { $(Self::$measure => $name,)+ }
            }

            /// What it is, for people.
            pub fn words(self) -> &'static str {
                match self { $(Self::$measure => $words,)+ }
            }

            /// What it counts.
            pub fn kind(self) -> Kind {
                match self { $(Self::$measure => Kind::$kind,)+ }
            }

            /// True where more is better, false where less is; `None`: neither.
            pub fn is_more_better(self) -> Option<bool> {
                match self { $(Self::$measure => $better,)+ }
            }
        }
    };
}

const MORE: Option<bool> = Some(true);
const LESS: Option<bool> = Some(false);

measures! {
    Calls "calls" Count None, "calls";
    Refused "refused" Share LESS, "refused by limits";
    Errors "errors" Share LESS, "errors that callers saw";
    P50 "p50" Time LESS, "latency p50";
    P90 "p90" Time LESS, "latency p90";
    P95 "p95" Time LESS, "latency p95";
    P99 "p99" Time LESS, "latency p99";
    FirstP50 "ttft_p50" Time LESS, "first token p50";
    FirstP90 "ttft_p90" Time LESS, "first token p90";
    FirstP95 "ttft_p95" Time LESS, "first token p95";
    FirstP99 "ttft_p99" Time LESS, "first token p99";
    Cost "cost" Money LESS, "cost, USD";
    CostPerDay "cost/day" MoneyPerDay LESS, "cost in a day, USD";
    Hits "hits" Share MORE, "cache hits";
    Saved "saved" Count MORE, "tokens saved by the cache";
    Collapsed "collapsed" Share MORE, "calls that shared an answer";
    Queued "queued" Share LESS, "calls that waited";
    QueuedP95 "queued_p95" Time LESS, "time waited p95";
    QueuedP99 "queued_p99" Time LESS, "time waited p99";
    Attempts "attempts" Count None, "attempts at providers";
    Retries "retries" Share LESS, "retries";
    Failovers "failovers" Share LESS, "failovers";
    Hedges "hedges" Share LESS, "hedges";
    Rescues "rescues" Share LESS, "rescues";
    Resumes "resumes" Share LESS, "resumes";
    Cancelled "cancelled" Share LESS, "callers that left";
    Invalid "invalid" Share LESS, "invalid requests";
}

impl Measure {
    /// The measure of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|measure| measure.name() == name)
    }

    /// Its value of all calls of a run. `None`: there is nothing to measure.
    pub fn of(self, column: &Column) -> Option<f64> {
        self.of_numbers(&column.all)
    }

    /// Its value of a group of calls.
    pub fn of_numbers(self, numbers: &Numbers) -> Option<f64> {
        let share = |part: u64, all: u64| (all > 0).then(|| part as f64 / all as f64);
        let of_calls = |part| share(part, numbers.calls);
        let attempts = |reason| of_calls(numbers.attempts_for(reason));
        let time = |times: &Percentiles, pick: fn(&Percentiles) -> Option<u64>| pick(times).map(|ms| ms as f64);
        match self {
            Self::Calls => Some(numbers.calls as f64),
            Self::Refused => of_calls(numbers.refused),
            Self::Errors => of_calls(numbers.errors),
            Self::Invalid => of_calls(numbers.invalid),
            Self::Cancelled => of_calls(numbers.cancelled),
            Self::P50 => time(&numbers.latency, |times| times.p50_ms),
            Self::P90 => time(&numbers.latency, |times| times.p90_ms),
            Self::P95 => time(&numbers.latency, |times| times.p95_ms),
            Self::P99 => time(&numbers.latency, |times| times.p99_ms),
            Self::FirstP50 => time(&numbers.first, |times| times.p50_ms),
            Self::FirstP90 => time(&numbers.first, |times| times.p90_ms),
            Self::FirstP95 => time(&numbers.first, |times| times.p95_ms),
            Self::FirstP99 => time(&numbers.first, |times| times.p99_ms),
            Self::Cost => Some(numbers.cost.as_f64()),
            Self::CostPerDay => numbers.cost_per_day,
            Self::Hits => share(numbers.cache.hits, numbers.cache.consulted),
            Self::Saved => Some(numbers.cache.tokens_saved as f64),
            Self::Collapsed => share(numbers.cache.collapsed, numbers.cache.consulted),
            Self::Queued => share(numbers.waiting, numbers.queued.count),
            Self::QueuedP95 => time(&numbers.queued, |times| times.p95_ms),
            Self::QueuedP99 => time(&numbers.queued, |times| times.p99_ms),
            Self::Attempts => Some(numbers.attempts as f64),
            Self::Retries => attempts("retry"),
            Self::Failovers => attempts("failover"),
            Self::Hedges => attempts("hedge"),
            Self::Rescues => attempts("rescue"),
            Self::Resumes => attempts("resume"),
        }
    }
}

impl Serialize for Measure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
