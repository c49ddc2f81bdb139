//! Column: all numbers of one run, or of a recorded trace, under the names that programs read in the JSON of a report.
//!
//! Times are whole milliseconds, money is USD, shares are between 0 and 1. It does not know what another run did.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use crate::model::money::Usd;
use crate::simulate::tally::breakers::{Lane, Span};
use crate::simulate::tally::timeline::Timeline;
use crate::simulate::tally::who::Counts;
use crate::simulate::tally::{Account, Attempts, Calls, Ending, Names, Rule, Sketch, Tally};

/// The shares of [`Percentiles::curve_ms`], in thousandths.
pub const CURVE: [u64; 26] = [
    0, 10, 25, 50, 100, 150, 200, 250, 300, 350, 400, 450, 500, 550, 600, 650, 700, 750, 800, 850, 900, 950, 975, 990,
    999, 1000,
];

/// Budget accounts that a column lists: those of which the largest share is spent.
const MOST_ACCOUNTS: usize = 50;

const DAY: f64 = 86_400.0;

/// What a run did.
#[derive(Clone, Debug, Serialize)]
pub struct Column {
    /// Its heading: `A`, `B` or `recorded`.
    pub name: String,
    /// The configuration's file, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
    /// True for the trace's own rows: what happened, not what would happen.
    pub is_recorded: bool,
    /// When it began.
    pub from: Timestamp,
    /// When it ended.
    pub to: Timestamp,
    /// How long that is.
    pub seconds: f64,
    /// All calls together.
    pub all: Numbers,
    /// By route.
    pub routes: BTreeMap<Arc<str>, Numbers>,
    /// By provider.
    pub providers: BTreeMap<Arc<str>, Provider>,
    /// By gateway, where a fleet was played.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub gateways: BTreeMap<Arc<str>, Share>,
    /// Circuit breakers that were not closed all the time.
    pub breakers: Vec<Breaker>,
    /// What is left of budgets, the emptiest account first.
    pub budgets: Vec<Left>,
    /// Accounts that are not listed.
    pub more_budgets: usize,
    /// Calls that could not be played, by reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub unplayed: BTreeMap<String, u64>,
    /// By time.
    pub timeline: Buckets,
}

/// The numbers of a group of calls. Each call is answered, refused, an error, invalid or cancelled.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Numbers {
    /// All calls.
    pub calls: u64,
    /// The caller got an answer.
    pub answered: u64,
    /// A limit or a budget refused it.
    pub refused: u64,
    /// The caller saw an error.
    pub errors: u64,
    /// The request itself was wrong.
    pub invalid: u64,
    /// The caller left.
    pub cancelled: u64,
    /// Refusals by the rule or budget; a call that two refused is there twice.
    pub refused_by: BTreeMap<Arc<str>, Refusals>,
    /// Errors and invalid requests by code.
    pub errors_by: BTreeMap<Arc<str>, u64>,
    /// The cache.
    pub cache: Cache,
    /// Tokens of prompts, as they were charged.
    pub tokens_in: u64,
    /// Tokens of answers, as they were charged.
    pub tokens_out: u64,
    /// What all attempts cost.
    pub cost: Usd,
    /// The same in 24 hours of this traffic; `None` of no time.
    pub cost_per_day: Option<f64>,
    /// Calls with attempts of which no price is known.
    pub unpriced: u64,
    /// Attempts at providers.
    pub attempts: u64,
    /// Attempts by their reason: `first`, `retry`, `failover`, `hedge`, `rescue`, `resume` or `repair`.
    pub attempts_by: BTreeMap<Arc<str>, u64>,
    /// How long answered calls took.
    pub latency: Percentiles,
    /// When their answers began.
    pub first: Percentiles,
    /// How long calls that no limit refused waited for a permit, a quota or a retry.
    pub queued: Percentiles,
    /// How many of those waited at all.
    pub waiting: u64,
}

/// What a rule or a budget refused.
#[derive(Clone, Debug, Serialize)]
pub struct Refusals {
    /// How many calls.
    pub calls: u64,
    /// When the first of them came.
    pub first: Option<Timestamp>,
    /// When the last of them came.
    pub last: Option<Timestamp>,
}

/// What the cache did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Cache {
    /// Calls for which it was consulted.
    pub consulted: u64,
    /// Cached responses, stale ones included.
    pub hits: u64,
    /// Calls that shared the answer of one that was running.
    pub collapsed: u64,
    /// Tokens that nobody had to make again.
    pub tokens_saved: u64,
}

/// The percentiles of a time. `None`: there is no value.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Percentiles {
    /// How many values there are.
    pub count: u64,
    /// The mean.
    pub mean_ms: Option<u64>,
    /// Half of the values are not above it.
    pub p50_ms: Option<u64>,
    /// 90 % are not.
    pub p90_ms: Option<u64>,
    /// 95 % are not.
    pub p95_ms: Option<u64>,
    /// 99 % are not.
    pub p99_ms: Option<u64>,
    /// The largest value.
    pub max_ms: Option<u64>,
    /// The percentiles of [`CURVE`], for a picture.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub curve_ms: Vec<u64>,
}

/// What a provider was asked.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Provider {
    /// Calls that were sent there.
    pub calls: u64,
    /// Attempts.
    pub attempts: u64,
    /// Attempts that succeeded.
    pub ok: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Attempts that were given up: the caller left, or another attempt was faster.
    pub cancelled: u64,
    /// Attempts by their reason.
    pub attempts_by: BTreeMap<Arc<str>, u64>,
    /// Failures by code.
    pub failures_by: BTreeMap<Arc<str>, u64>,
    /// Until the first event of those that succeeded.
    pub first: Percentiles,
    /// Until their end.
    pub took: Percentiles,
    /// Tokens of prompts.
    pub tokens_in: u64,
    /// Tokens of answers.
    pub tokens_out: u64,
    /// How often its circuit breaker opened, in all gateways.
    pub breaker_opened: u64,
    /// How long it was open, in all gateways.
    pub breaker_open_ms: u64,
}

/// What somebody's calls came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Share {
    /// All calls.
    pub calls: u64,
    /// Refused by a limit or a budget.
    pub refused: u64,
    /// Failed.
    pub errors: u64,
    /// What they cost.
    pub cost: Usd,
    /// Refusals by rule.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub refused_by: BTreeMap<Arc<str>, u64>,
}

/// The circuit breaker of a provider.
#[derive(Clone, Debug, Serialize)]
pub struct Breaker {
    /// The provider.
    pub provider: Arc<str>,
    /// The gateway of a fleet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Arc<str>>,
    /// How often it opened.
    pub opened: u64,
    /// How long it was open.
    pub open_ms: u64,
    /// How long it was half-open.
    pub half_open_ms: u64,
    /// When: at most 240 spans, and where there were more, neighbours are one.
    pub spans: Vec<Unclosed>,
}

/// A time in which a circuit breaker was not closed.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Unclosed {
    /// Its beginning.
    pub from: Timestamp,
    /// Its end.
    pub to: Timestamp,
    /// `open` or `half-open`.
    pub state: &'static str,
}

/// What is left of an account.
#[derive(Clone, Debug, Serialize)]
pub struct Left {
    /// The budget.
    pub budget: Arc<str>,
    /// Whose account it is.
    pub key: Arc<str>,
    /// What is spent in the period that runs at the end.
    pub spent: Usd,
    /// How much there is in a period.
    pub of: Usd,
}

/// Calls by when they came.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Buckets {
    /// The width of a bucket.
    pub width_seconds: i64,
    /// The buckets in which a call came.
    pub buckets: Vec<Moment>,
}

/// One bucket.
#[derive(Clone, Debug, Serialize)]
pub struct Moment {
    /// Its beginning.
    pub at: Timestamp,
    /// Calls that came.
    pub calls: u64,
    /// Refused by a limit or a budget.
    pub refused: u64,
    /// Failed.
    pub errors: u64,
    /// Answered from the cache.
    pub hits: u64,
    /// What they cost.
    pub cost: Usd,
    /// Of how long answered ones took (error: 1.6 %).
    pub p95_ms: Option<u64>,
}

impl Column {
    /// The numbers of a run.
    pub fn of(name: &str, config: Option<&str>, is_recorded: bool, tally: &Tally, ending: &Ending) -> Self {
        let (from, to) = ending.between.or(tally.between).unwrap_or_default();
        let seconds = to.duration_since(from).as_secs_f64().max(0.0);
        let mut breakers = tally.breakers.clone();
        breakers.end(to);
        let mut routes: BTreeMap<_, _> =
            ending.routes.iter().map(|route| (route.clone(), Numbers::default())).collect();
        routes.extend(map(&tally.routes, |calls| Numbers::of(calls, seconds)));
        let mut providers: BTreeMap<_, _> =
            ending.providers.iter().map(|provider| (provider.clone(), Provider::default())).collect();
        providers.extend(map(&tally.providers, Provider::of));
        for (name, _, lane) in breakers.lanes() {
            if let Some(provider) = providers.get_mut(name) {
                provider.breaker_opened += lane.opened;
                provider.breaker_open_ms += lane.open_ms;
            }
        }
        let breakers = breakers.lanes().filter(|(_, _, lane)| !lane.spans.is_empty());
        let mut unplayed = BTreeMap::new();
        for (reason, count) in &ending.unplayed {
            *unplayed.entry(reason.clone()).or_default() += count;
        }
        let (budgets, more_budgets) = left(&ending.budgets);
        Self {
            name: name.to_owned(),
            config: config.map(str::to_owned),
            is_recorded,
            from,
            to,
            seconds,
            all: Numbers::of(&tally.all, seconds).drawn(&tally.all),
            routes,
            providers,
            gateways: map(&tally.gateways, Share::of),
            breakers: breakers.map(|(provider, gateway, lane)| Breaker::of(provider, gateway, lane)).collect(),
            budgets,
            more_budgets,
            unplayed,
            timeline: Buckets::of(&tally.timeline),
        }
    }
}

/// The accounts that are spent most, and how many more there are.
fn left(accounts: &[Account]) -> (Vec<Left>, usize) {
    // Compared by products, so that no rounding decides.
    let product = |left: Usd, right: Usd| u128::from(left.nanos()) * u128::from(right.nanos());
    let mut order: Vec<&Account> = accounts.iter().collect();
    order.sort_by(|left, right| {
        let by_share = product(right.spent, left.of).cmp(&product(left.spent, right.of));
        by_share.then_with(|| (&left.budget, &left.key).cmp(&(&right.budget, &right.key)))
    });
    let more = order.len().saturating_sub(MOST_ACCOUNTS);
    let of = |account: &Account| Left {
        budget: account.budget.clone(),
        key: account.key.clone(),
        spent: account.spent,
        of: account.of,
    };
    (order.into_iter().take(MOST_ACCOUNTS).map(of).collect(), more)
}

fn map<V, T>(names: &Names<V>, of: impl Fn(&V) -> T) -> BTreeMap<Arc<str>, T> {
    names.iter().map(|(name, value)| (name.clone(), of(value))).collect()
}

impl Numbers {
    fn of(calls: &Calls, seconds: f64) -> Self {
        let cost = Usd::from_nanos(calls.nanos);
        Self {
            calls: calls.calls,
            answered: calls.answered,
            refused: calls.refused,
            errors: calls.errors,
            invalid: calls.invalid,
            cancelled: calls.cancelled,
            refused_by: map(&calls.rules, Refusals::of),
            errors_by: map(&calls.codes, |count| *count),
            cache: Cache {
                consulted: calls.consulted,
                hits: calls.hits,
                collapsed: calls.collapsed,
                tokens_saved: calls.saved,
            },
            tokens_in: calls.tokens_in,
            tokens_out: calls.tokens_out,
            cost,
            cost_per_day: (seconds > 0.0).then(|| cost.as_f64() / seconds * DAY),
            unpriced: calls.unpriced,
            attempts: calls.attempts,
            attempts_by: map(&calls.reasons, |count| *count),
            latency: Percentiles::of(&calls.latency),
            first: Percentiles::of(&calls.first),
            queued: Percentiles::of(&calls.waited),
            waiting: calls.waiting,
        }
    }

    /// With the curves of its times.
    fn drawn(mut self, calls: &Calls) -> Self {
        self.latency.curve_ms = curve(&calls.latency);
        self.first.curve_ms = curve(&calls.first);
        self
    }

    /// Attempts that were made for this reason.
    pub fn attempts_for(&self, reason: &str) -> u64 {
        self.attempts_by.get(reason).copied().unwrap_or(0)
    }
}

fn curve(times: &Sketch) -> Vec<u64> {
    CURVE.into_iter().filter_map(|share| times.quantile(share)).collect()
}

impl Refusals {
    fn of(rule: &Rule) -> Self {
        let (first, last) = rule.between.unzip();
        Self { calls: rule.refused, first, last }
    }
}

impl Percentiles {
    fn of(times: &Sketch) -> Self {
        Self {
            count: times.count(),
            mean_ms: times.mean(),
            p50_ms: times.quantile(500),
            p90_ms: times.quantile(900),
            p95_ms: times.quantile(950),
            p99_ms: times.quantile(990),
            max_ms: (times.count() > 0).then(|| times.max()),
            curve_ms: Vec::new(),
        }
    }
}

impl Provider {
    fn of(attempts: &Attempts) -> Self {
        Self {
            calls: attempts.calls,
            attempts: attempts.attempts,
            ok: attempts.ok,
            failed: attempts.attempts - attempts.ok - attempts.cancelled,
            cancelled: attempts.cancelled,
            attempts_by: map(&attempts.reasons, |count| *count),
            failures_by: map(&attempts.failures, |count| *count),
            first: Percentiles::of(&attempts.first),
            took: Percentiles::of(&attempts.took),
            tokens_in: attempts.tokens_in,
            tokens_out: attempts.tokens_out,
            breaker_opened: 0,
            breaker_open_ms: 0,
        }
    }
}

impl Share {
    /// The same, as it is reported.
    pub fn of(counts: &Counts) -> Self {
        Self {
            calls: counts.calls,
            refused: counts.refused,
            errors: counts.errors,
            cost: Usd::from_nanos(counts.nanos),
            refused_by: counts.rules.iter().cloned().collect(),
        }
    }
}

impl Breaker {
    fn of(provider: &Arc<str>, gateway: Option<&Arc<str>>, lane: &Lane) -> Self {
        let span = |span: &Span| Unclosed {
            from: span.from,
            to: span.to,
            state: if span.is_open { "open" } else { "half-open" },
        };
        Self {
            provider: provider.clone(),
            gateway: gateway.cloned(),
            opened: lane.opened,
            open_ms: lane.open_ms,
            half_open_ms: lane.half_open_ms,
            spans: lane.spans.iter().map(span).collect(),
        }
    }
}

impl Buckets {
    fn of(timeline: &Timeline) -> Self {
        let moments = timeline.buckets().filter_map(|(second, bucket)| {
            Some(Moment {
                at: Timestamp::from_second(second).ok()?,
                calls: bucket.calls,
                refused: bucket.refused,
                errors: bucket.errors,
                hits: bucket.hits,
                cost: Usd::from_nanos(bucket.nanos),
                p95_ms: bucket.latency.quantile(950),
            })
        });
        Self { width_seconds: timeline.width(), buckets: moments.collect() }
    }
}
