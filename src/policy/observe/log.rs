//! The access log: one line per finished call, with its metadata and no content.
//!
//! It does not know who reads it, nor in which format.

use std::time::Duration;

use tracing::Level;

use super::{Watch, outcome_word};
use crate::model::names::display_name;
use crate::model::reply::{CacheResult, Degraded};
use crate::model::trail::{Attempt, Decision, Facts, GuardFact};
use crate::state::ledger::row::Cost;
use crate::telemetry::log;
use crate::telemetry::log::json_line::{JsonLine, LogValue, Milliseconds};
use crate::telemetry::traffic::Ended;

/// What the line says.
const MESSAGE: &str = "request";

/// The policy whose word has a field of its own.
const IDEMPOTENCY: &str = "idempotency";

impl Watch {
    pub(super) fn log(&self, facts: &Facts, cost: Option<Cost>, took: Duration) {
        let is_failure = self.ended_by_head() == Ended::Failed;
        match log::json() {
            None => self.line(facts, cost, took, Out::Event { is_failure }),
            Some(json) if is_failure => json.write(Level::WARN, |line| self.line(facts, cost, took, Out::Line(line))),
            // Nothing is made of a line that nobody wants.
            Some(_) if !tracing::enabled!(target: "tidegate::access", Level::INFO) => {}
            Some(json) => json.write(Level::INFO, |line| self.line(facts, cost, took, Out::Line(line))),
        }
    }

    fn line(&self, facts: &Facts, cost: Option<Cost>, took: Duration, out: Out<'_>) {
        let last = facts.telling();
        let tunnel = facts.tunnel.as_ref();
        let tokens = facts.tokens();
        let bought_twice = facts.attempts.iter().filter(|attempt| attempt.reason.is_beside()).count();
        let (tried, guarded, noted) = (tried(facts), guarded(facts), noted(facts));
        // The fields, once for both ways to write them.
        macro_rules! fields {
            ($write:ident, $to:expr) => {
                $write!(
                    $to,
                    req_id = &*self.subject.id,
                    trace_id = facts.trace.as_ref().map(|trace| trace.id),
                    method = self.method,
                    path = &*self.path,
                    route = &*self.route.route,
                    caller = self.caller,
                    tenant = self.tenant.as_deref(),
                    api_key = self.api_key.as_deref(),
                    status = self.status,
                    outcome = self.outcome(facts),
                    provider = last.map(|attempt| display_name(&attempt.provider)),
                    model = last.and_then(|attempt| attempt.model.as_deref()),
                    attempts = facts.attempts.len(),
                    bought_twice = (bought_twice > 0).then_some(bought_twice),
                    tried = some(&tried),
                    duration = Milliseconds(took),
                    first_token = facts.first_token.map(Milliseconds),
                    bytes_in = facts.bytes_in,
                    bytes_out = self.bytes_out,
                    events = (self.events > 0).then_some(self.events),
                    events_dropped = (facts.events_dropped > 0).then_some(facts.events_dropped),
                    chunks_in = tunnel.map(|tunnel| tunnel.chunks_in),
                    chunks_out = tunnel.map(|tunnel| tunnel.chunks_out),
                    ended_by = tunnel.and_then(|tunnel| tunnel.ended_by),
                    close_code = tunnel.and_then(|tunnel| tunnel.close_code),
                    tokens_in = tokens.map(|usage| usage.input),
                    tokens_out = tokens.map(|usage| usage.output),
                    tokens = facts.is_estimated().then_some("estimated"),
                    cost_usd = cost.map(|cost| cost.usd),
                    price = cost.filter(|cost| cost.is_default).map(|_| "default"),
                    provider_request_id = last.and_then(|attempt| attempt.request_id.as_deref()),
                    answer_id = last.and_then(|attempt| attempt.answer_id.as_deref()),
                    cache = facts.cache.map(CacheResult::as_str),
                    variant = facts.variant.as_ref().map(|taken| &*taken.name),
                    prompt = facts.prompt.as_ref().map(|prompt| &*prompt.key),
                    prompt_version = facts.prompt.as_ref().map(|prompt| u64::from(prompt.version)),
                    degraded = facts.degraded.map(Degraded::as_str),
                    fallback = facts.fallback(),
                    model_asked = facts.model_asked.as_deref(),
                    limited_by = rule_that(facts, Decision::Refused),
                    budget = facts.budgets_spent.first().map(|budget| &**budget),
                    shadow_limited_by = rule_that(facts, Decision::ShadowRefused),
                    idempotency = facts.word(IDEMPOTENCY),
                    guarded = some(&guarded),
                    noted = some(&noted),
                    detail = facts.fault_detail.as_deref(),
                )
            };
        }
        macro_rules! members {
            ($line:expr, $($name:ident = $value:expr,)*) => {{
                $line.member(",\"message\":", MESSAGE);
                $($line.member(concat!(",\"", stringify!($name), "\":"), $value);)*
            }};
        }
        macro_rules! warn {
            ($_:expr, $($name:ident = $value:expr,)*) => {
                tracing::warn!(target: "tidegate::access", $($name = LogValue::traced($value),)* "{MESSAGE}")
            };
        }
        macro_rules! info {
            ($_:expr, $($name:ident = $value:expr,)*) => {
                tracing::info!(target: "tidegate::access", $($name = LogValue::traced($value),)* "{MESSAGE}")
            };
        }
        match out {
            Out::Line(line) => fields!(members, line),
            Out::Event { is_failure: true } => fields!(warn, ()),
            Out::Event { is_failure: false } => fields!(info, ()),
        }
    }
}

/// Where a line goes.
enum Out<'a> {
    /// To the process's log.
    Line(&'a mut JsonLine),
    /// To whoever listens to `tracing`.
    Event { is_failure: bool },
}

/// A text that says something.
fn some(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// The attempts of a call that needed more than one, as `BuildPanel:provider_timeout together:ok`.
fn tried(facts: &Facts) -> String {
    let word = |it: &Attempt| format!("{}:{}", display_name(&it.provider), outcome_word(it));
    match &*facts.attempts {
        [] | [_] => String::new(),
        attempts => attempts.iter().map(word).collect::<Vec<_>>().join(" "),
    }
}

/// The first rule that decided so.
fn rule_that(facts: &Facts, decision: Decision) -> Option<&str> {
    facts.limits.iter().find(|fact| fact.decision == decision).map(|fact| &*fact.terms.rule)
}

/// What guards found, as `pii:request:email:2`.
fn guarded(facts: &Facts) -> String {
    let word = |it: &GuardFact| format!("{}:{}:{}:{}", it.guard, it.direction.as_str(), it.kind, it.count);
    facts.guarded.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// What policies made of the call in a word, as `mirror:sent`.
fn noted(facts: &Facts) -> String {
    let words = facts.words.iter().filter(|(policy, _)| *policy != IDEMPOTENCY);
    words.map(|(policy, word)| format!("{policy}:{word}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::{Arc, OnceLock};

    use parking_lot::Mutex;
    use proptest::prelude::*;
    use serde_json::{Map, Value};
    use tokio::time::Instant;
    use tracing::field::{Field, Visit};
    use tracing_subscriber::Layer;
    use tracing_subscriber::layer::{Context, SubscriberExt};

    use super::*;
    use crate::config::{self, Variables};
    use crate::model::call::Head;
    use crate::model::money::Usd;
    use crate::model::reply::Usage;
    use crate::model::trace::Trace;
    use crate::model::trail::{Direction, LimitFact, LimitTerms, PromptFact, Reason, Taken, Trail, TunnelFact};
    use crate::policy::observe::Observe;
    use crate::state::estimate::Estimates;
    use crate::telemetry::metrics::Metrics;

    /// The fields of the last event, in their order.
    #[derive(Clone, Default)]
    struct Heard(Arc<Mutex<Map<String, Value>>>);

    impl<S: tracing::Subscriber> Layer<S> for Heard {
        fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
            let mut fields = Map::new();
            fields.insert("level".into(), event.metadata().level().as_str().to_lowercase().into());
            event.record(&mut Members(&mut fields));
            *self.0.lock() = fields;
        }
    }

    struct Members<'a>(&'a mut Map<String, Value>);

    impl Visit for Members<'_> {
        fn record_f64(&mut self, field: &Field, value: f64) {
            // Whole numbers have no point in a line.
            let value = if value.fract() == 0.0 { Value::from(value as u64) } else { value.into() };
            self.0.insert(field.name().into(), value);
        }

        fn record_u64(&mut self, field: &Field, value: u64) {
            self.0.insert(field.name().into(), value.into());
        }

        fn record_str(&mut self, field: &Field, value: &str) {
            self.0.insert(field.name().into(), value.into());
        }

        fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
            self.0.insert(field.name().into(), format!("{value:?}").into());
        }
    }

    fn observe() -> Observe {
        let plan = config::load(Some(("x.toml", "defaults = false")), &Variables::default()).unwrap();
        Observe::new(&Metrics::new(), &plan, Estimates::default(), |_| {}, None, None)
    }

    /// What may have happened to a call.
    fn happened(trail: &Trail, text: &str, number: u64, bits: u32) {
        let has = |bit: u32| bits >> bit & 1 == 1;
        let name: Arc<str> = text.into();
        for attempt in 0..bits % 4 {
            let reason = if attempt == 2 { Reason::Hedge } else { Reason::First };
            let note = trail.begin_attempt(&name, has(4).then(|| name.clone()), reason);
            note.request_id(text);
            note.answered();
            if has(5) {
                note.answer_id(text);
                note.usage(Usage { input: number, output: number / 2, ..Usage::default() }, None);
            }
        }
        let mut facts = trail.facts();
        facts.bytes_in = number;
        facts.events_dropped = if has(6) { number } else { 0 };
        facts.first_token = has(7).then(|| Duration::from_micros(number));
        facts.model_asked = has(8).then(|| name.clone());
        facts.cache = has(9).then_some(CacheResult::Hit);
        facts.degraded = has(10).then_some(Degraded::Canned);
        facts.variant = has(11).then(|| Taken { name: name.clone(), has_failed: false });
        let version = (number % 1000) as u32;
        facts.prompt = has(23).then(|| Box::new(PromptFact { key: name.clone(), version }));
        facts.fault_detail = has(12).then(|| text.to_owned());
        facts.trace = has(13).then(|| Box::new(Trace::begin([number, 2, 3], |_| true)));
        let (opened, ended_by) = (Duration::from_micros(number), Some("caller"));
        facts.tunnel = has(14).then_some(TunnelFact {
            opened,
            chunks_in: number,
            chunks_out: 2,
            ended_by,
            close_code: Some(1000),
        });
        let guarded = GuardFact {
            guard: name.clone(),
            kind: name.clone(),
            direction: Direction::Request,
            action: "mask",
            count: number,
        };
        facts.guarded = vec![guarded; if has(15) { 2 } else { 0 }];
        facts.budgets_spent.extend(has(16).then(|| name.clone()));
        let terms = Arc::new(LimitTerms {
            rule: name.clone(),
            quantity: "requests",
            scale: 1,
            count: 1,
            window: Duration::ZERO,
            burst: 1,
            announced: OnceLock::new(),
        });
        let limited = |decision| LimitFact {
            terms: terms.clone(),
            key: 1,
            remaining: 0,
            more_in: Duration::ZERO,
            full_in: Duration::ZERO,
            decision,
            source: "memory",
        };
        facts.limits.extend(has(17).then(|| limited(Decision::Refused)));
        facts.limits.extend(has(18).then(|| limited(Decision::ShadowRefused)));
        drop(facts);
        [(19, IDEMPOTENCY), (20, "mirror"), (21, "affinity")].into_iter().filter(|(bit, _)| has(*bit)).for_each(|it| {
            trail.say(it.1, "sent");
        });
    }

    proptest! {
        /// What is written past `tracing` has the fields of the event that others hear, in its order and with its values.
        #[test]
        fn the_line_has_the_fields_of_the_event(
            text in ".{0,30}", number in 0_u64..1 << 50, bits in any::<u32>(), status in 200_u16..600,
        ) {
            let observe = observe();
            let mut watch = observe.watch(text.as_str().into(), &http::Method::POST, &text);
            if bits >> 22 & 1 == 1 {
                let name = || Arc::from(text.as_str());
                let head = Head::anonymous(name(), name(), name(), std::net::Ipv4Addr::LOCALHOST.into());
                watch.on_behalf_of(&Head { api_key: Some(name()), ..head });
                watch.sent_event(7);
            }
            watch.answered(status);
            happened(&watch.trail, &text, number, bits);
            let took = Instant::now().elapsed() + Duration::from_micros(number);
            let cost = (bits >> 23 & 1 == 1).then(|| Cost { usd: Usd::from_nanos(number), is_default: bits >> 24 & 1 == 1 });
            let facts = watch.trail.facts();
            let heard = Heard::default();
            tracing::subscriber::with_default(tracing_subscriber::registry().with(heard.clone()), || {
                watch.log(&facts, cost, took);
            });
            let is_failure = watch.ended_by_head() == Ended::Failed;
            let level = if is_failure { Level::WARN } else { Level::INFO };
            let written = log::json_line::written(level, |line| watch.line(&facts, cost, took, Out::Line(line)));
            drop(facts);
            let mut line: Map<String, Value> = serde_json::from_str(&written).unwrap();
            for head in ["timestamp", "service", "environment"] {
                line.shift_remove(head);
            }
            let heard = heard.0.lock().clone();
            prop_assert_eq!(line.keys().collect::<Vec<_>>(), heard.keys().collect::<Vec<_>>());
            prop_assert_eq!(line, heard);
        }
    }
}
