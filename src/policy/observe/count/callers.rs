//! Metrics of callers: chat requests by outcome, streams, and, if enabled, tenants.
//!
//! Names of tenants come from requests: [`Bounded`] decides which become labels, and by default none does. A
//! tenant's counters are looked up per call, because the callers are unknown when a gateway is built.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use crate::telemetry::metrics::bounded::Bounded;
use crate::telemetry::metrics::handles::Handles;
use crate::telemetry::metrics::{Group, Registrar, seconds};

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ChatLabels {
    /// `successful`, `failed` or `cancelled`: the caller left.
    outcome: &'static str,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TenantLabels {
    /// The tenant, or `other`.
    tenant: Arc<str>,
    /// `successful`, `failed` or `cancelled`: the caller left.
    outcome: &'static str,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TenantTokenLabels {
    /// The tenant, or `other`.
    tenant: Arc<str>,
    /// `input` or `output`.
    kind: &'static str,
}

/// The metrics.
pub(in crate::policy::observe) struct Callers {
    chats: Family<ChatLabels, Counter>,
    chats_by_outcome: Handles<&'static str, Counter, 3>,
    chat_durations: Histogram,
    pub(in crate::policy::observe) streams: Gauge,
    /// The tenants that are labels.
    pub(super) tenants: Bounded,
    tenant_requests: Family<TenantLabels, Counter>,
    tenant_tokens: Family<TenantTokenLabels, Counter>,
}

impl Group for Callers {
    fn register(registrar: &mut Registrar<'_>) -> Self {
        Self {
            chats: registrar.counters("chat_requests_total", "Chat requests by outcome"),
            chats_by_outcome: Handles::default(),
            chat_durations: registrar.histogram(
                "chat_request_duration_seconds",
                "Time of a chat request to the end of the response",
                seconds,
            ),
            streams: registrar.gauge("tidegate_streams_in_flight", "Responses being streamed"),
            tenants: Bounded::new(0),
            tenant_requests: registrar.counters(
                "tidegate_tenant_requests_total",
                "Requests by tenant and outcome, if metrics.max_tenants is set",
            ),
            tenant_tokens: registrar
                .counters("tidegate_tenant_tokens_total", "Tokens by tenant and kind, if metrics.max_tenants is set"),
        }
    }
}

impl Callers {
    /// Counts a chat request.
    pub(super) fn chatted(&self, outcome: &'static str, took: Duration) {
        let find = |outcome: &&'static str| self.chats.get_or_create_owned(&ChatLabels { outcome });
        self.chats_by_outcome.get(outcome, find).inc();
        self.chat_durations.observe(took.as_secs_f64());
    }

    /// Counts a tenant's request.
    pub(super) fn requested(&self, tenant: Option<&str>, outcome: &'static str) {
        if let Some(tenant) = tenant.filter(|_| self.tenants.is_on()) {
            let tenant = self.tenants.label(tenant, outcome == "successful");
            self.tenant_requests.get_or_create(&TenantLabels { tenant, outcome }).inc();
        }
    }

    /// Counts the tokens of a tenant's request.
    pub(super) fn used(&self, tenant: &str, tokens: [(&'static str, u64); 2]) {
        if self.tenants.is_on() {
            let tenant = self.tenants.label(tenant, true);
            for (kind, count) in tokens {
                let labels = TenantTokenLabels { tenant: tenant.clone(), kind };
                self.tenant_tokens.get_or_create(&labels).inc_by(count);
            }
        }
    }
}
