//! Metrics of what callers asked for: conversations by outcome, streams, and, where that is wanted, tenants.
//!
//! Names of tenants come with requests: [`Bounded`] decides which become labels, and by default none does.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::bounded::Bounded;

/// The labels of conversations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ChatLabels {
    /// `successful`, `failed` or `cancelled`: the caller left.
    pub outcome: &'static str,
}

/// The labels of a tenant's calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TenantLabels {
    /// The tenant, or `other`.
    pub tenant: Arc<str>,
    /// `successful`, `failed` or `cancelled`: the caller left.
    pub outcome: &'static str,
}

/// The labels of a tenant's tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TenantTokenLabels {
    /// The tenant, or `other`.
    pub tenant: Arc<str>,
    /// `input` or `output`.
    pub kind: &'static str,
}

/// The metrics.
pub struct CallerMetrics {
    /// `chat_requests_total`
    pub chats: Family<ChatLabels, Counter>,
    /// `chat_request_duration_seconds`
    pub chat_durations: Histogram,
    /// `tidegate_streams_in_flight`
    pub streams: Gauge,
    /// The tenants that are labels.
    pub tenants: Bounded,
    /// `tidegate_tenant_requests_total`
    pub tenant_requests: Family<TenantLabels, Counter>,
    /// `tidegate_tenant_tokens_total`
    pub tenant_tokens: Family<TenantTokenLabels, Counter>,
}

impl Default for CallerMetrics {
    fn default() -> Self {
        Self {
            chats: Family::default(),
            chat_durations: super::seconds(),
            streams: Gauge::default(),
            tenants: Bounded::new(0),
            tenant_requests: Family::default(),
            tenant_tokens: Family::default(),
        }
    }
}

impl CallerMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("chat_requests", "Conversations' turns by outcome", self.chats.clone());
        let durations = self.chat_durations.clone();
        let about = "Time of a conversation's turn to the end of the answer";
        registry.register_with_unit("chat_request_duration", about, Unit::Seconds, durations);
        registry.register("tidegate_streams_in_flight", "Answers being streamed", self.streams.clone());
        let requests = self.tenant_requests.clone();
        registry.register("tidegate_tenant_requests", "Calls by tenant, where metrics.max_tenants allows it", requests);
        let tokens = self.tenant_tokens.clone();
        registry.register("tidegate_tenant_tokens", "Tokens by tenant, where metrics.max_tenants allows it", tokens);
    }

    /// One of each, for the reference.
    pub(super) fn fill(&self) {
        super::one(&self.chats);
        super::one(&self.tenant_requests);
        super::one(&self.tenant_tokens);
    }
}
