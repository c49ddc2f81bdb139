//! Tally: one pass over calls that are over, and everything that a report says of them, in memory that does not depend on how
//! many there are.
//!
//! It reads rows alone, so a recorded trace is counted as a simulated run is. It knows neither configuration nor world, and
//! nothing in it depends on a clock, or on the order of a hash map.

mod names;
mod sketch;

pub mod breakers;
pub mod call;
pub mod timeline;
pub mod who;

use std::sync::Arc;

use jiff::Timestamp;

pub use self::names::Names;
pub use self::sketch::Sketch;

use self::breakers::Breakers;
use self::call::{Fate, hit, nanos};
use self::timeline::Timeline;
use self::who::{Counts, Who};
use crate::model::money::Usd;
use crate::model::recorded::{RecordedAttempt, RecordedCall};

/// What was counted of a group of calls.
#[derive(Clone, Debug)]
pub struct Calls {
    /// All of them.
    pub calls: u64,
    /// See [`Fate::Answered`].
    pub answered: u64,
    /// See [`Fate::Refused`].
    pub refused: u64,
    /// See [`Fate::Failed`].
    pub errors: u64,
    /// See [`Fate::Invalid`].
    pub invalid: u64,
    /// See [`Fate::Cancelled`].
    pub cancelled: u64,
    /// Calls for which the cache was consulted.
    pub consulted: u64,
    /// Those of them that got a cached response, stale ones included.
    pub hits: u64,
    /// Those of them that shared the answer of a call that was already running.
    pub collapsed: u64,
    /// Tokens of cached responses, which no provider had to make again.
    pub saved: u64,
    /// Tokens of prompts, as they were charged.
    pub tokens_in: u64,
    /// Tokens of answers, as they were charged.
    pub tokens_out: u64,
    /// What they cost, in nanodollars.
    pub nanos: u64,
    /// Calls with attempts of which no price is known.
    pub unpriced: u64,
    /// Attempts at providers.
    pub attempts: u64,
    /// Attempts by their reason.
    pub reasons: Names<u64>,
    /// How long the answered ones took, in milliseconds.
    pub latency: Sketch,
    /// When the answer of the answered ones began.
    pub first: Sketch,
    /// How long those that no limit refused waited for a permit, a quota or a retry; zeros included.
    pub waited: Sketch,
    /// How many of them waited at all.
    pub waiting: u64,
    /// Refusals by the rule or budget that refused; one call may have been refused by several.
    pub rules: Names<Rule>,
    /// What callers saw in place of an answer, by code; refusals by limits are not among them.
    pub codes: Names<u64>,
}

impl Default for Calls {
    fn default() -> Self {
        Self {
            calls: 0,
            answered: 0,
            refused: 0,
            errors: 0,
            invalid: 0,
            cancelled: 0,
            consulted: 0,
            hits: 0,
            collapsed: 0,
            saved: 0,
            tokens_in: 0,
            tokens_out: 0,
            nanos: 0,
            unpriced: 0,
            attempts: 0,
            reasons: Names::default(),
            latency: Sketch::fine(),
            first: Sketch::fine(),
            waited: Sketch::fine(),
            waiting: 0,
            rules: Names::default(),
            codes: Names::default(),
        }
    }
}

/// What a rule or budget refused.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    /// How many calls.
    pub refused: u64,
    /// When the first of them came, and the last.
    pub between: Option<(Timestamp, Timestamp)>,
}

/// What was counted of the attempts at a provider.
#[derive(Clone, Debug)]
pub struct Attempts {
    /// Calls that were sent there at least once.
    pub calls: u64,
    /// Attempts.
    pub attempts: u64,
    /// Those that succeeded.
    pub ok: u64,
    /// Those that were given up: the caller left, or another attempt was faster.
    pub cancelled: u64,
    /// By why they were made.
    pub reasons: Names<u64>,
    /// Failures by code.
    pub failures: Names<u64>,
    /// Until the first event of those that succeeded, in milliseconds.
    pub first: Sketch,
    /// Until their end.
    pub took: Sketch,
    /// Tokens of prompts, as they were charged.
    pub tokens_in: u64,
    /// Tokens of answers, as they were charged.
    pub tokens_out: u64,
}

impl Default for Attempts {
    fn default() -> Self {
        Self {
            calls: 0,
            attempts: 0,
            ok: 0,
            cancelled: 0,
            reasons: Names::default(),
            failures: Names::default(),
            first: Sketch::fine(),
            took: Sketch::fine(),
            tokens_in: 0,
            tokens_out: 0,
        }
    }
}

/// What only the player knows, when a run is over.
#[derive(Clone, Debug, Default)]
pub struct Ending {
    /// When the run began and ended, in its own time. `None`: from the first call to the end of the last.
    pub between: Option<(Timestamp, Timestamp)>,
    /// The routes of the configuration. A report names those without calls too, and a goal may be bound to one of them.
    pub routes: Vec<Arc<str>>,
    /// Its providers.
    pub providers: Vec<Arc<str>>,
    /// What is left of budgets, of each account that was used.
    pub budgets: Vec<Account>,
    /// Calls of the trace that could not be played, by reason.
    pub unplayed: Vec<(String, u64)>,
}

/// The account of somebody in a budget, at the end.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    /// The budget's name.
    pub budget: Arc<str>,
    /// Whose account it is.
    pub key: Arc<str>,
    /// What is spent of it in the period that is running.
    pub spent: Usd,
    /// How much there is in a period.
    pub of: Usd,
}

/// What has been counted so far.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Everything.
    pub all: Calls,
    /// By route.
    pub routes: Names<Calls>,
    /// By gateway, where a fleet is played.
    pub gateways: Names<Counts>,
    /// By provider.
    pub providers: Names<Attempts>,
    /// By tenant, user and key, as far as calls name them.
    pub tenants: Who,
    /// See `tenants`.
    pub users: Who,
    /// See `tenants`.
    pub keys: Who,
    /// By time.
    pub timeline: Timeline,
    /// Circuit breakers.
    pub breakers: Breakers,
    /// When the first call came, and when the last one was over.
    pub between: Option<(Timestamp, Timestamp)>,
}

impl Tally {
    /// Counts a call that is over.
    pub fn note(&mut self, call: &RecordedCall) {
        if call.renewal {
            return self.renewal(call);
        }
        let fate = Fate::of(call);
        let counts = Counts {
            calls: 1,
            refused: u64::from(fate == Fate::Refused),
            errors: u64::from(fate == Fate::Failed),
            nanos: call.cost.map_or(0, nanos),
            rules: Vec::new(),
        };
        self.all.note(call, fate, counts.nanos);
        self.routes.of(&call.route, Calls::default).note(call, fate, counts.nanos);
        let rules = if fate == Fate::Refused { &*call.refused_by } else { &[] };
        for (who, name) in
            [(&mut self.tenants, &call.tenant), (&mut self.users, &call.user), (&mut self.keys, &call.key)]
        {
            if let Some(name) = name {
                who.note(name, &counts, rules);
            }
        }
        self.attempts(&call.attempts);
        let bucket = self.timeline.at(call.at);
        bucket.calls += 1;
        bucket.refused += counts.refused;
        bucket.errors += counts.errors;
        bucket.hits += u64::from(hit(call) == Some(true));
        bucket.nanos = bucket.nanos.saturating_add(counts.nanos);
        if fate == Fate::Answered {
            bucket.latency.add(call.took_ms);
        }
        let end = end(call);
        let (from, to) = self.between.unwrap_or((call.at, end));
        self.between = Some((from.min(call.at), to.max(end)));
    }

    /// Counts what a cached response cost that was renewed for nobody.
    fn renewal(&mut self, call: &RecordedCall) {
        let nanos = call.cost.map_or(0, nanos);
        self.all.spent(call, nanos);
        self.routes.of(&call.route, Calls::default).spent(call, nanos);
        self.attempts(&call.attempts);
        let bucket = self.timeline.at(call.at);
        bucket.nanos = bucket.nanos.saturating_add(nanos);
    }

    /// Counts a call that is over, and by which gateway of a fleet it was served.
    pub fn note_at(&mut self, gateway: &Arc<str>, call: &RecordedCall) {
        self.note(call);
        let (fate, counts) = (Fate::of(call), self.gateways.of(gateway, Counts::default));
        if !call.renewal {
            counts.calls += 1;
            counts.refused += u64::from(fate == Fate::Refused);
            counts.errors += u64::from(fate == Fate::Failed);
        }
        counts.nanos = counts.nanos.saturating_add(call.cost.map_or(0, nanos));
    }

    /// The circuit breaker of a provider changed its state (`closed`, `open` or `half-open`), in a gateway of a fleet or in the
    /// only one. To be told in the order of time, for each breaker.
    pub fn breaker(&mut self, provider: &Arc<str>, gateway: Option<&Arc<str>>, at: Timestamp, state: &str) {
        self.breakers.change(provider, gateway, at, state);
    }

    fn attempts(&mut self, attempts: &[RecordedAttempt]) {
        for (at, attempt) in attempts.iter().enumerate() {
            let provider = self.providers.of(&attempt.provider, Attempts::default);
            // Bounded, whatever a trace says: a gateway makes a handful of attempts for a call.
            let is_first = attempts.iter().take(at.min(32)).all(|earlier| earlier.provider != attempt.provider);
            provider.calls += u64::from(is_first);
            provider.attempts += 1;
            *provider.reasons.of(&attempt.reason, u64::default) += 1;
            provider.tokens_in += attempt.tokens_in;
            provider.tokens_out += attempt.tokens_out;
            match &*attempt.outcome {
                "ok" => {
                    provider.ok += 1;
                    provider.took.add(attempt.took_ms);
                    attempt.first_ms.into_iter().for_each(|ms| provider.first.add(ms));
                }
                "cancelled" => provider.cancelled += 1,
                _ => *provider.failures.of(&attempt.outcome, u64::default) += 1,
            }
        }
    }
}

impl Calls {
    fn note(&mut self, call: &RecordedCall, fate: Fate, nanos: u64) {
        self.calls += 1;
        match fate {
            Fate::Answered => self.answered += 1,
            Fate::Refused => self.refused += 1,
            Fate::Invalid => self.invalid += 1,
            Fate::Failed => self.errors += 1,
            Fate::Cancelled => self.cancelled += 1,
        }
        if let Some(is_hit) = hit(call) {
            self.consulted += 1;
            self.hits += u64::from(is_hit);
            self.collapsed += u64::from(call.cache.as_deref() == Some("collapsed"));
        }
        self.saved = self.saved.saturating_add(call.saved);
        self.spent(call, nanos);
        if fate == Fate::Answered {
            self.latency.add(call.took_ms);
            call.first_ms.into_iter().for_each(|ms| self.first.add(ms));
        }
        if fate == Fate::Refused {
            for name in &call.refused_by {
                let rule = self.rules.of(name, Rule::default);
                rule.refused += 1;
                let (first, last) = rule.between.unwrap_or((call.at, call.at));
                rule.between = Some((first.min(call.at), last.max(call.at)));
            }
        } else {
            self.waited.add(call.waited_ms);
            self.waiting += u64::from(call.waited_ms > 0);
        }
        if matches!(fate, Fate::Failed | Fate::Invalid) {
            *self.codes.of(&call.outcome, u64::default) += 1;
        }
    }
}

impl Calls {
    /// Counts what the attempts of a call came to.
    fn spent(&mut self, call: &RecordedCall, nanos: u64) {
        self.tokens_in = self.tokens_in.saturating_add(call.tokens_in);
        self.tokens_out = self.tokens_out.saturating_add(call.tokens_out);
        self.nanos = self.nanos.saturating_add(nanos);
        self.unpriced += u64::from(call.cost.is_none() && !call.attempts.is_empty());
        self.attempts += call.attempts.len() as u64;
        for attempt in &call.attempts {
            *self.reasons.of(&attempt.reason, u64::default) += 1;
        }
    }
}

/// When a call was over.
fn end(call: &RecordedCall) -> Timestamp {
    let took = i64::try_from(call.took_ms).unwrap_or(i64::MAX);
    let end = call.at.as_millisecond().saturating_add(took);
    Timestamp::from_millisecond(end).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(second: i64, outcome: &str) -> RecordedCall {
        RecordedCall {
            at: Timestamp::from_second(second).unwrap(),
            route: "chat".into(),
            tenant: Some("t".into()),
            status: 200,
            outcome: outcome.into(),
            took_ms: 1500,
            first_ms: Some(300),
            ..RecordedCall::default()
        }
    }

    #[test]
    fn what_is_renewed_for_nobody_costs_and_is_no_call() {
        let mut tally = Tally::default();
        let attempts = vec![attempt("a", "first", "ok")];
        let row = RecordedCall { renewal: true, cost: Some(0.5), tokens_out: 7, attempts, ..call(0, "ok") };
        tally.note_at(&"gateway".into(), &row);
        assert_eq!((tally.all.calls, tally.all.attempts, tally.all.tokens_out), (0, 1, 7));
        assert_eq!(tally.all.nanos, 500_000_000);
        assert_eq!(tally.between, None);
    }

    fn attempt(provider: &str, reason: &str, outcome: &str) -> RecordedAttempt {
        let words = |word: &str| -> Arc<str> { word.into() };
        let (provider, reason, outcome) = (words(provider), words(reason), words(outcome));
        RecordedAttempt { provider, reason, outcome, took_ms: 900, first_ms: Some(200), ..RecordedAttempt::default() }
    }

    #[test]
    fn each_call_is_answered_refused_failed_invalid_or_cancelled() {
        let refused = |outcome, by: &[&str]| RecordedCall {
            status: 429,
            refused_by: by.iter().map(|name| (*name).into()).collect(),
            ..call(0, outcome)
        };
        let status = |status, outcome| RecordedCall { status, ..call(0, outcome) };
        for (call, fate) in [
            (call(0, "ok"), Fate::Answered),
            (call(0, "cancelled"), Fate::Cancelled),
            (refused("rate_limited", &["ai"]), Fate::Refused),
            (refused("budget_exhausted", &[]), Fate::Refused),
            (refused("provider_quota", &[]), Fate::Failed),
            // A budget that only reports refuses nobody.
            (RecordedCall { refused_by: vec!["soft".into()], ..call(0, "ok") }, Fate::Answered),
            (status(400, "invalid_request"), Fate::Invalid),
            (status(502, "provider_broken"), Fate::Failed),
            // The stream broke after it had begun.
            (status(200, "stream_incomplete"), Fate::Failed),
        ] {
            assert_eq!(Fate::of(&call), fate, "{call:?}");
        }
    }

    #[test]
    fn attempts_are_counted_by_provider_and_reason_and_money_exactly() {
        let mut tally = Tally::default();
        let attempts = vec![
            attempt("a", "first", "provider_error"),
            attempt("a", "retry", "ok"),
            attempt("b", "hedge", "cancelled"),
        ];
        let row = RecordedCall { cost: Some(0.000_000_3), attempts, waited_ms: 20, ..call(7, "ok") };
        (0..10).for_each(|_| tally.note(&row));
        tally.note(&RecordedCall { attempts: vec![attempt("b", "first", "ok")], ..call(3, "ok") });
        let a = tally.providers.get("a").unwrap();
        assert_eq!((a.calls, a.attempts, a.ok, a.cancelled), (10, 20, 10, 0));
        assert_eq!((a.reasons.get("retry"), a.failures.get("provider_error")), (Some(&10), Some(&10)));
        assert_eq!((tally.all.nanos, tally.all.unpriced, tally.all.attempts), (3000, 1, 31));
        assert_eq!((tally.all.waiting, tally.all.waited.count()), (10, 11));
        let seconds = tally.between.map(|(from, to)| (from.as_millisecond(), to.as_millisecond()));
        assert_eq!(seconds, Some((3000, 8500)));
    }

    #[test]
    fn a_refusal_is_counted_by_rule_and_by_whom_and_its_time_is_no_latency() {
        let mut tally = Tally::default();
        for second in 0..4 {
            let refused_by = vec!["ai".into()];
            tally.note(&RecordedCall {
                refused_by,
                status: 429,
                took_ms: 0,
                first_ms: None,
                ..call(second, "rate_limited")
            });
        }
        tally.note(&call(9, "ok"));
        let rule = tally.all.rules.get("ai").unwrap();
        let between = rule.between.map(|(from, to)| (from.as_second(), to.as_second()));
        assert_eq!((rule.refused, between), (4, Some((0, 3))));
        assert_eq!(tally.all.latency.quantile(0), Some(1500));
        let who = tally.tenants.get("t").unwrap();
        assert_eq!((who.calls, who.refused, who.rules[0].1), (5, 4, 4));
        assert!(tally.all.codes.iter().next().is_none());
    }

    #[test]
    fn what_an_invented_trace_says_costs_bounded_memory() {
        let mut tally = Tally::default();
        for number in 0..100_000_i64 {
            let name = |kind: &str| -> Option<Arc<str>> { Some(format!("{kind}{number}").into()) };
            let route = name("route").unwrap();
            let attempts = vec![attempt(&format!("p{number}"), &format!("r{number}"), &format!("c{number}"))];
            let (outcome, took_ms) = (name("code").unwrap(), number as u64 * 1_000_003);
            let base = call(number * 3607, "");
            let (tenant, user, key) = (name("t"), name("u"), name("k"));
            tally.note(&RecordedCall { route, tenant, user, key, outcome, took_ms, attempts, ..base });
        }
        assert_eq!(tally.all.calls, 100_000);
        assert!(tally.routes.iter().count() < 300 && tally.providers.iter().count() < 300);
        assert!(tally.all.codes.iter().count() < 300);
        assert!(tally.tenants.len().0 <= 4096 && tally.users.len().0 <= 4096 && tally.keys.len().0 <= 4096);
        assert!(tally.timeline.buckets().count() as u64 <= timeline::MOST);
    }
}
