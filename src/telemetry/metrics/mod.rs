//! Metrics: every metric's name, in one place. Only `policy/observe` and the server write here; the rest is sampled
//! at scrape.
//!
//! It knows no policy. The cardinality of labels is bounded by construction: routes, providers and fault codes come
//! from the config and the code. Of names from requests, [`bounded`] admits a limited number as labels.

pub mod auth;
pub mod bounded;
pub mod caches;
pub mod flags;
pub mod guards;
pub mod idempotency;
pub mod limits;
pub mod outboxes;
mod process;
mod reference;
pub mod tunnels;

pub mod callers;
pub mod gen_ai;

use parking_lot::{Mutex, MutexGuard};
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

pub use self::reference::reference;

use self::auth::AuthMetrics;
use self::caches::CacheMetrics;
use self::callers::CallerMetrics;
use self::flags::FlagMetrics;
use self::gen_ai::GenAiMetrics;
use self::guards::GuardMetrics;
use self::idempotency::IdempotencyMetrics;
use self::limits::LimitMetrics;
use self::outboxes::{OutboxMetrics, TraceLabel};
use self::process::ProcessMetrics;
use self::tunnels::TunnelMetrics;

/// Seconds. The deployments' targets (0.1 s for a cached answer, 0.5 s for the gateway's share, 5 s at p95, 10 s at p99)
/// are bucket bounds, so that they can be judged exactly.
const SECONDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0];

/// The labels of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// The route's name, or `none`.
    pub route: Arc<str>,
    /// The method; `OTHER` for those that no route has.
    pub method: &'static str,
    /// The status; 499 when the caller went away before there was one.
    pub status: u16,
}

/// The labels of a route's durations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RouteLabels {
    /// The route's name, or `none`.
    pub route: Arc<str>,
}

/// The labels of a call at a provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ProviderCallLabels {
    /// The provider's name.
    pub provider: Arc<str>,
    /// `ok`, `cancelled` or a fault's code.
    pub outcome: &'static str,
}

/// The labels of an attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AttemptLabels {
    /// The provider's name.
    pub provider: Arc<str>,
    /// Why it was made: `first`, `retry`, `failover`, `hedge`, `rescue` or `resume`.
    pub reason: &'static str,
}

/// The labels of what is counted per provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ProviderLabels {
    /// The provider's name.
    pub provider: Arc<str>,
}

/// The labels of an instance of a provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct InstanceLabels {
    /// The provider's name.
    pub provider: Arc<str>,
    /// Its place in the provider's list of addresses, from 0.
    pub instance: u32,
}

/// The labels of degraded answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DegradedLabels {
    /// The route's name.
    pub route: Arc<str>,
    /// `canned` or `stale`.
    pub how: &'static str,
}

/// The labels of stream events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct EventLabels {
    /// The provider's name.
    pub provider: Arc<str>,
    /// `forwarded` or `dropped` (malformed).
    pub result: &'static str,
}

/// The labels of tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TokenLabels {
    /// The provider's name.
    pub provider: Arc<str>,
    /// `input` or `output`.
    pub kind: &'static str,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
}

/// All metrics.
pub struct Metrics {
    registry: Registry,
    /// `http_requests_total`
    pub requests: Family<RequestLabels, Counter>,
    /// `http_request_duration_seconds`: from the head's arrival to the end of the body; each bucket with a trace to look at.
    pub durations: Family<RouteLabels, TracedHistogram, fn() -> TracedHistogram>,
    /// `tidegate_time_to_first_token_seconds`: to the first event, or to the whole plain answer.
    pub first_tokens: Family<RouteLabels, Histogram, fn() -> Histogram>,
    /// `tidegate_requests_in_flight`
    pub in_flight: Gauge,
    /// `tidegate_degraded_total`: answers that were less than what was asked for.
    pub degraded: Family<DegradedLabels, Counter>,
    /// `tidegate_provider_calls_total`: attempts by outcome.
    pub provider_calls: Family<ProviderCallLabels, Counter>,
    /// `tidegate_attempts_total`: attempts by reason.
    pub attempts: Family<AttemptLabels, Counter>,
    /// `tidegate_provider_duration_seconds`: attempts, to the end of the body.
    pub provider_durations: Family<ProviderLabels, Histogram, fn() -> Histogram>,
    /// `tidegate_provider_up`: 1 while the last probe succeeded.
    provider_up: Family<ProviderLabels, Gauge>,
    /// `tidegate_breaker_state`: 0 closed, 1 half-open, 2 open; the worst of a provider's models.
    breaker_state: Family<ProviderLabels, Gauge>,
    /// `tidegate_breaker_transitions_total`
    breaker_transitions: Family<ProviderLabels, Counter>,
    /// `tidegate_breaker_refused_total`
    breaker_refused: Family<ProviderLabels, Counter>,
    /// `tidegate_provider_key_refused`: 1 while the gateway's own key, or its account, is refused.
    key_refused: Family<ProviderLabels, Gauge>,
    /// `tidegate_concurrency_limit`: calls at once that a provider is trusted with.
    concurrency_limit: Family<ProviderLabels, Gauge>,
    /// `tidegate_concurrency_in_flight`
    concurrency_in_flight: Family<ProviderLabels, Gauge>,
    /// `tidegate_concurrency_waiting`
    concurrency_waiting: Family<ProviderLabels, Gauge>,
    /// `tidegate_concurrency_refused_total`: calls that got no place in time.
    concurrency_refused: Family<ProviderLabels, Counter>,
    /// `tidegate_instance_in_flight`: of providers with several instances.
    instance_in_flight: Family<InstanceLabels, Gauge>,
    /// `tidegate_instance_ejected`: 1 while it is left out.
    instance_ejected: Family<InstanceLabels, Gauge>,
    /// `tidegate_stream_events_total`
    pub stream_events: Family<EventLabels, Counter>,
    /// `tidegate_tokens_total`
    pub tokens: Family<TokenLabels, Counter>,
    /// `tidegate_tokens_estimated_total`
    pub tokens_estimated: Family<TokenLabels, Counter>,
    /// Of limits and the store.
    pub limits: LimitMetrics,
    /// Of the cache.
    pub caches: CacheMetrics,
    /// Of conversations: `voice_active_connections`, `voice_chunks_total`, `voice_overrun_total`.
    pub tunnels: TunnelMetrics,
    /// Those of who calls.
    pub auth: AuthMetrics,
    /// Those of guards.
    pub guards: GuardMetrics,
    /// Those of idempotency keys.
    pub idempotency: IdempotencyMetrics,
    /// What flags and variants do.
    pub flags: FlagMetrics,
    /// Of what is sent to collectors.
    pub outboxes: OutboxMetrics,
    /// Of what callers asked for: `chat_requests_total`, `chat_request_duration_seconds`, `tidegate_tenant_requests_total`.
    pub callers: CallerMetrics,
    /// Of what was asked of models: `gen_ai_client_operation_duration_seconds`, `gen_ai_client_token_usage`,
    /// `gen_ai_client_operation_time_to_first_chunk_seconds`.
    pub gen_ai: GenAiMetrics,
    /// `tidegate_connections`: callers' connections.
    pub connections: Gauge,
    /// `tidegate_connections_shed_total`: closed at once because there were too many.
    pub connections_shed: Counter,
    /// `tidegate_buffered_bytes`: memory that large requests take.
    buffered: Gauge,
    /// `tidegate_config_generation`: how many configurations this process has had.
    config_generation: Gauge,
    /// `tidegate_config_reloads_total`: attempts to change it, by result.
    config_reloads: Family<ResultLabels, Counter>,
    /// `tidegate_config_last_reload_success`: 0 while the files say something that is refused.
    config_is_fine: Gauge,
    /// `tidegate_config_last_reload_timestamp_seconds`: since 1970; of the start, while there was no reload.
    config_loaded: Gauge<f64, AtomicU64>,
    /// `tidegate_cost_usd_total`: what providers' answers cost by the price table.
    cost: Family<ProviderLabels, Counter<f64, AtomicU64>>,
    process: ProcessMetrics,
    memory_limit: Gauge<f64, AtomicU64>,
    /// Held while what is sampled is set and written.
    page: Mutex<()>,
}

/// A histogram whose buckets name a trace.
pub type TracedHistogram = HistogramWithExemplars<TraceLabel>;

fn traced_seconds() -> TracedHistogram {
    HistogramWithExemplars::new(SECONDS.into_iter())
}

/// Makes a family have a member.
fn one<L, M, C>(family: &Family<L, M, C>)
where
    L: Clone + Default + Eq + Hash,
    C: MetricConstructor<M>,
{
    drop(family.get_or_create(&L::default()));
}

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

impl Metrics {
    /// A fresh set, all zero.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let version = Info::new(BuildLabels { version: env!("CARGO_PKG_VERSION") });
        registry.register("tidegate_build", "The version that runs", version);
        let mut metrics = Self {
            registry: Registry::default(),
            requests: Family::default(),
            durations: Family::new_with_constructor(traced_seconds),
            first_tokens: Family::new_with_constructor(seconds),
            in_flight: Gauge::default(),
            degraded: Family::default(),
            provider_calls: Family::default(),
            attempts: Family::default(),
            provider_durations: Family::new_with_constructor(seconds),
            provider_up: Family::default(),
            breaker_state: Family::default(),
            breaker_transitions: Family::default(),
            breaker_refused: Family::default(),
            key_refused: Family::default(),
            concurrency_limit: Family::default(),
            concurrency_in_flight: Family::default(),
            concurrency_waiting: Family::default(),
            concurrency_refused: Family::default(),
            instance_in_flight: Family::default(),
            instance_ejected: Family::default(),
            stream_events: Family::default(),
            tokens: Family::default(),
            tokens_estimated: Family::default(),
            limits: LimitMetrics::default(),
            caches: CacheMetrics::default(),
            tunnels: TunnelMetrics::default(),
            auth: AuthMetrics::default(),
            guards: GuardMetrics::default(),
            idempotency: IdempotencyMetrics::default(),
            flags: FlagMetrics::new(seconds),
            outboxes: OutboxMetrics::default(),
            callers: CallerMetrics::default(),
            gen_ai: GenAiMetrics::default(),
            connections: Gauge::default(),
            connections_shed: Counter::default(),
            buffered: Gauge::default(),
            config_generation: Gauge::default(),
            config_reloads: Family::default(),
            config_is_fine: Gauge::default(),
            config_loaded: Gauge::default(),
            cost: Family::default(),
            process: ProcessMetrics::default(),
            memory_limit: Gauge::default(),
            page: Mutex::default(),
        };
        registry.register("http_requests", "Requests by route, method and status", metrics.requests.clone());
        let durations = metrics.durations.clone();
        registry.register_with_unit(
            "http_request_duration",
            "Request time to the end of the body",
            Unit::Seconds,
            durations,
        );
        let first = metrics.first_tokens.clone();
        registry.register_with_unit(
            "tidegate_time_to_first_token",
            "Time to the first event or the answer",
            Unit::Seconds,
            first,
        );
        registry.register("tidegate_requests_in_flight", "Requests being answered", metrics.in_flight.clone());
        let degraded = metrics.degraded.clone();
        registry.register("tidegate_degraded", "Answers that were less than what was asked for", degraded);
        registry.register(
            "tidegate_provider_calls",
            "Attempts at providers by outcome",
            metrics.provider_calls.clone(),
        );
        registry.register("tidegate_attempts", "Attempts at providers by reason", metrics.attempts.clone());
        let durations = metrics.provider_durations.clone();
        registry.register_with_unit(
            "tidegate_provider_duration",
            "Attempt time to the end of the body",
            Unit::Seconds,
            durations,
        );
        registry.register("tidegate_provider_up", "1 while the last probe succeeded", metrics.provider_up.clone());
        let state = metrics.breaker_state.clone();
        registry.register(
            "tidegate_breaker_state",
            "0 closed, 1 half-open, 2 open; the worst of a provider's models",
            state,
        );
        let transitions = metrics.breaker_transitions.clone();
        registry.register("tidegate_breaker_transitions", "Changes of breakers' states", transitions);
        registry.register("tidegate_breaker_refused", "Calls that breakers refused", metrics.breaker_refused.clone());
        let refused = metrics.key_refused.clone();
        registry.register(
            "tidegate_provider_key_refused",
            "1 while a provider refuses the gateway's key or account",
            refused,
        );
        let limit = metrics.concurrency_limit.clone();
        registry.register("tidegate_concurrency_limit", "Calls at once that a provider is trusted with", limit);
        let in_flight = metrics.concurrency_in_flight.clone();
        registry.register("tidegate_concurrency_in_flight", "Calls that hold a place at a provider", in_flight);
        let waiting = metrics.concurrency_waiting.clone();
        registry.register("tidegate_concurrency_waiting", "Calls that wait for a place at a provider", waiting);
        let refused = metrics.concurrency_refused.clone();
        registry.register("tidegate_concurrency_refused", "Calls that got no place at a provider in time", refused);
        let in_flight = metrics.instance_in_flight.clone();
        registry.register("tidegate_instance_in_flight", "Calls that an instance is answering", in_flight);
        let ejected = metrics.instance_ejected.clone();
        registry.register("tidegate_instance_ejected", "1 while an instance is left out", ejected);
        registry.register("tidegate_stream_events", "Stream events by result", metrics.stream_events.clone());
        registry.register("tidegate_tokens", "Tokens of all attempts, counted or estimated", metrics.tokens.clone());
        let about = "Those of tidegate_tokens_total that no provider has counted";
        registry.register("tidegate_tokens_estimated", about, metrics.tokens_estimated.clone());
        metrics.limits.register(&mut registry);
        metrics.caches.register(&mut registry);
        metrics.tunnels.register(&mut registry);
        metrics.auth.register(&mut registry);
        metrics.guards.register(&mut registry);
        metrics.idempotency.register(&mut registry);
        metrics.flags.register(&mut registry);
        metrics.outboxes.register(&mut registry);
        metrics.callers.register(&mut registry);
        metrics.gen_ai.register(&mut registry);
        registry.register("tidegate_connections", "Open connections of callers", metrics.connections.clone());
        let shed = metrics.connections_shed.clone();
        registry.register("tidegate_connections_shed", "Connections closed at once because there were too many", shed);
        let buffered = metrics.buffered.clone();
        registry.register("tidegate_buffered_bytes", "Memory that large requests take", buffered);
        let generation = metrics.config_generation.clone();
        registry.register("tidegate_config_generation", "How many configurations this process has had", generation);
        let reloads = metrics.config_reloads.clone();
        registry.register("tidegate_config_reloads", "Attempts to change the configuration by result", reloads);
        let fine = metrics.config_is_fine.clone();
        registry.register("tidegate_config_last_reload_success", "0 while what the files say is refused", fine);
        let last = metrics.config_loaded.clone();
        let about = "When the configuration was last read";
        registry.register_with_unit("tidegate_config_last_reload_timestamp", about, Unit::Seconds, last);
        registry.register("tidegate_cost_usd", "Cost of providers' answers by the price table", metrics.cost.clone());
        let limit = metrics.memory_limit.clone();
        registry.register_with_unit("tidegate_memory_limit", "Memory that this process may use", Unit::Bytes, limit);
        metrics.process.register(&mut registry);
        metrics.registry = registry;
        metrics
    }

    /// Sets how many names that come with requests become labels.
    pub fn bound(&self, models: usize, tenants: usize) {
        self.gen_ai.models.allow(models);
        self.callers.tenants.allow(tenants);
    }

    /// One sample of each, so that a page has them all.
    fn fill(&self) {
        one(&self.requests);
        one(&self.durations);
        one(&self.first_tokens);
        one(&self.degraded);
        one(&self.provider_calls);
        one(&self.attempts);
        one(&self.provider_durations);
        one(&self.stream_events);
        one(&self.tokens);
        one(&self.tokens_estimated);
        one(&self.config_reloads);
        one(&self.cost);
        let of_providers = [&self.provider_up, &self.breaker_state, &self.key_refused];
        let of_places = [&self.concurrency_limit, &self.concurrency_in_flight, &self.concurrency_waiting];
        of_providers.into_iter().chain(of_places).for_each(one);
        [&self.breaker_transitions, &self.breaker_refused, &self.concurrency_refused].into_iter().for_each(one);
        [&self.instance_in_flight, &self.instance_ejected].into_iter().for_each(one);
        self.limits.fill();
        self.caches.fill();
        self.tunnels.fill();
        self.auth.fill();
        self.guards.fill();
        self.idempotency.fill();
        self.outboxes.fill();
        self.flags.fill();
        self.callers.fill();
        self.gen_ai.fill();
    }

    /// Begins a page. What belongs to one provider is set anew for each, so that one that is gone leaves no gauge behind
    /// that nothing moves any more. Nobody else begins a page while this one is held.
    pub fn sample(&self) -> MutexGuard<'_, ()> {
        // Nothing is behind it.
        let page = self.page.lock();
        let of_providers = [
            &self.provider_up,
            &self.breaker_state,
            &self.concurrency_limit,
            &self.concurrency_in_flight,
            &self.concurrency_waiting,
        ];
        of_providers.into_iter().for_each(Family::clear);
        [&self.instance_in_flight, &self.instance_ejected].into_iter().for_each(Family::clear);
        page
    }

    /// Sets which configuration answers, whether the last attempt to change it went well, and when that was, in
    /// milliseconds since 1970.
    pub fn config(&self, generation: u64, is_fine: bool, loaded: i64) {
        self.config_generation.set(generation.try_into().unwrap_or(i64::MAX));
        self.config_is_fine.set(is_fine.into());
        self.config_loaded.set(loaded as f64 / 1000.0);
    }

    /// Sets how much memory large requests take.
    pub fn buffered(&self, bytes: usize) {
        self.buffered.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Sets how often the configuration was changed, and how often that was refused.
    pub fn reloads(&self, succeeded: u64, failed: u64) {
        for (result, count) in [("success", succeeded), ("failure", failed)] {
            self.config_reloads.get_or_create(&ResultLabels { result }).inner().store(count, Ordering::Relaxed);
        }
    }

    /// Sets whether a provider's last probe succeeded.
    pub fn provider_up(&self, labels: &ProviderLabels, is_up: bool) {
        self.provider_up.get_or_create(labels).set(is_up.into());
    }

    /// Sets a provider's breaker metrics, which the breakers themselves count.
    pub fn breakers(&self, labels: &ProviderLabels, state: i64, transitions: u64, refused: u64) {
        self.breaker_state.get_or_create(labels).set(state);
        self.breaker_transitions.get_or_create(labels).inner().store(transitions, Ordering::Relaxed);
        self.breaker_refused.get_or_create(labels).inner().store(refused, Ordering::Relaxed);
    }

    /// Sets whether a provider refuses the gateway's key or account.
    pub fn key(&self, labels: &ProviderLabels, is_refused: bool) {
        self.key_refused.get_or_create(labels).set(is_refused.into());
    }

    /// Sets what a provider's answers have cost, which Live counts in whole nanodollars.
    pub fn cost(&self, labels: &ProviderLabels, nanodollars: u64) {
        let usd = nanodollars as f64 / 1e9;
        self.cost.get_or_create(labels).inner().store(usd.to_bits(), Ordering::Relaxed);
    }

    /// Sets the metrics of a provider's places, which the places themselves count.
    pub fn places(&self, labels: &ProviderLabels, limit: u32, in_flight: u32, waiting: u32, refused: u64) {
        self.concurrency_limit.get_or_create(labels).set(limit.into());
        self.concurrency_in_flight.get_or_create(labels).set(in_flight.into());
        self.concurrency_waiting.get_or_create(labels).set(waiting.into());
        self.concurrency_refused.get_or_create(labels).inner().store(refused, Ordering::Relaxed);
    }

    /// Sets an instance's metrics, which the balancing itself counts.
    pub fn instance(&self, labels: &InstanceLabels, in_flight: u32, is_ejected: bool) {
        self.instance_in_flight.get_or_create(labels).set(in_flight.into());
        self.instance_ejected.get_or_create(labels).set(is_ejected.into());
    }

    /// The metrics as text. OpenMetrics when asked for, else Prometheus' older text format.
    pub fn render(&self, open_metrics: bool) -> String {
        self.process.sample();
        self.memory_limit.set(memory_limit().unwrap_or(0) as f64);
        let mut text = String::with_capacity(16 * 1024);
        if text::encode(&mut text, &self.registry).is_err() {
            // Writing to a String cannot fail; an empty page would hide it if it ever did.
            return "# metrics could not be encoded\n".into();
        }
        if open_metrics { text } else { classic(&text) }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// OpenMetrics text as Prometheus' older format: a counter's description names the samples (`x_total`), an info is a
/// gauge, and there is no unit, no exemplar and no end mark.
fn classic(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    let mut help = "";
    for line in open.lines() {
        if line.starts_with("# HELP ") {
            help = line;
            continue;
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, "untyped"));
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                kind => ("", kind),
            };
            let about = help.strip_prefix("# HELP ").and_then(|rest| rest.strip_prefix(name)).unwrap_or_default();
            text.push_str(&format!("# HELP {name}{suffix}{about}\n# TYPE {name}{suffix} {kind}\n"));
        } else if !line.starts_with('#') {
            // No label's value has such a mark in it: they are names and codes.
            text.push_str(line.split_once(" # {").map_or(line, |(sample, _)| sample));
            text.push('\n');
        }
    }
    text
}

/// Resident memory of this process in bytes, from `/proc`; `None` where there is none.
pub fn resident_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// What this process may use in bytes: its control group's limit, else the machine's memory. `None` where neither is known.
pub fn memory_limit() -> Option<u64> {
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    if let Some(limit) = group.and_then(|limit| limit.trim().parse().ok()) {
        return Some(limit);
    }
    let memory = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// A duration for a histogram.
pub fn as_seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_text_formats_name_the_samples_that_they_describe() {
        let metrics = Metrics::new();
        let labels = RequestLabels { route: "a".into(), method: "GET", status: 200 };
        metrics.requests.get_or_create(&labels).inc();
        let classic = metrics.render(false);
        assert!(
            classic.contains(
                "# TYPE http_requests_total counter\nhttp_requests_total{route=\"a\",method=\"GET\",status=\"200\"} 1\n"
            ),
            "{classic}"
        );
        assert!(classic.contains("# TYPE tidegate_build_info gauge\ntidegate_build_info{version="), "{classic}");
        assert!(classic.contains("process_resident_memory_bytes "), "{classic}");
        assert!(!classic.contains("# EOF") && !classic.contains("# UNIT"), "{classic}");
        assert!(metrics.render(true).ends_with("# EOF\n"));
    }
}
