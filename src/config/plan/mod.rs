//! Plan: the configuration as typed values. After this no string is compared and nothing can be missing.
//!
//! It does not know where a value came from; `reader` does. Each feature's plan is in a file of its own; routes,
//! targets and providers are here.

pub mod cache;
pub mod edge;
pub mod flags;
pub mod guards;
pub mod idempotency;
pub mod jobs;
pub mod metrics;
pub mod policies;
pub mod prompts;
pub mod public_key;
pub mod request;
pub mod server;
pub mod telemetry;
pub mod tunnel;

pub mod auth;
pub mod provider;

pub mod kinds;
pub mod target;

pub mod route;

pub mod limit;

pub mod budget;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

pub use self::kinds::{CallKind, CallerKind, Priority};
pub use self::provider::{Endpoints, ProbePlan, ProviderKind, ProviderPlan, StreamUsage, StructuredOutput, Usable};
pub use self::route::{ResumeMode, RoutePlan, WhenDisabled};
pub use self::target::{LeftOut, ModelChoice, TargetPlan, as_written};
use crate::config::engine::effective::Effective;
use crate::config::engine::secret::Secret;
pub use crate::config::plan::auth::{AuthMethod, AuthPlan, ClaimNames, JwksPlan, RouteAuth, TokenPlan};
pub use crate::config::plan::budget::{BudgetPlan, ModelsPlan, OnStop, UsagePlan};
pub use crate::config::plan::cache::{CachePlan, CacheScope, CacheWhen, RouteCachePlan};
pub use crate::config::plan::edge::{CompressionPlan, CorsPlan, EdgePlan, HeaderNames, Origins, SecurityPlan};
pub use crate::config::plan::flags::{FlagGuardPlan, FlagsPlan};
pub use crate::config::plan::guards::{GuardAction, GuardPlan};
pub use crate::config::plan::idempotency::IdempotencyPlan;
pub use crate::config::plan::jobs::{JobsPlan, OnBudget, WebhookPlan};
pub use crate::config::plan::limit::{
    Counted, KeyPart, KeyPlan, LimitPlan, LimitsPlan, Quantity, Specificity, believed_tenant,
};
pub use crate::config::plan::metrics::MetricsPlan;
pub use crate::config::plan::policies::{BalancePlan, BreakerPlan, ConcurrencyPlan, QuotaPlan, RetryPlan};
pub use crate::config::plan::prompts::{PromptPlan, PromptStatus, PromptVersion, PromptsPlan};
pub use crate::config::plan::request::{PathPlan, RequestPlan};
pub use crate::config::plan::route::InputPlan;
use crate::config::plan::server::LeavingPlan;
pub use crate::config::plan::server::{ExplainPlan, TlsPlan};
pub use crate::config::plan::target::VariantPlan;
pub use crate::config::plan::telemetry::{Propagation, Protocol, RecordPlan, SentryPlan, TenantShown, TracingPlan};
pub use crate::config::plan::tunnel::TunnelPlan;
pub use crate::model::pattern::Pattern;
pub use crate::model::pricing::{ModelMap, Price, PriceList, Prices, Quote, UnitPrice};
use crate::model::rate::OnStoreError;
use crate::wire::redis_url::Address;

/// Everything a gateway needs to know.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Listening and connections.
    pub server: ServerPlan,
    /// Logging.
    pub log: LogPlan,
    /// Where shared state lives.
    pub store: StorePlan,
    /// What browsers are told.
    pub edge: EdgePlan,
    /// Readiness.
    pub health: HealthPlan,
    /// `development`, `staging` or `production`.
    pub environment: Environment,
    /// The tenant of callers that name none.
    pub default_tenant: Arc<str>,
    /// Who may call.
    pub auth: AuthPlan,
    /// Every provider of the file, also those that cannot be used.
    pub providers: Vec<Arc<ProviderPlan>>,
    /// Every route.
    pub routes: Vec<Arc<RoutePlan>>,
    /// Attempts of one call, over all its targets and retries.
    pub attempts: u32,
    /// No caller is waited for longer than this, whatever it announces.
    pub longest_wait: Duration,
    /// The longest that a refused caller is told to wait, where no provider says otherwise (`quota.longest`).
    pub longest_comeback: Duration,
    /// How much callers may ask.
    pub limits: LimitsPlan,
    /// The response cache.
    pub cache: CachePlan,
    /// What is remembered of calls that are over.
    pub explain: ExplainPlan,
    /// Keys under which calls are executed once.
    pub idempotency: IdempotencyPlan,
    /// Work that callers do not wait for.
    pub jobs: JobsPlan,
    /// How old the prices and lists of models are.
    pub models: ModelsPlan,
    /// What tokens cost.
    pub prices: Prices,
    /// Which prompts there are.
    pub prompts: PromptsPlan,
    /// Where flags outlive a restart.
    pub flags: FlagsPlan,
    /// How it is counted.
    pub usage: UsagePlan,
    /// Where spans go.
    pub tracing: TracingPlan,
    /// Where calls are recorded.
    pub record: RecordPlan,
    /// Where faults of the gateway's own are reported.
    pub sentry: SentryPlan,
    /// How much may be spent.
    pub budgets: Vec<Arc<BudgetPlan>>,
    /// How many names become labels of metrics.
    pub metrics: MetricsPlan,
    /// What an operator should know although nothing is wrong enough to refuse the start.
    pub warnings: Vec<String>,
    /// All of it as it was written, for those who look.
    pub effective: Effective,
}

/// Where the gateway runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment {
    /// A developer's machine.
    Development,
    /// A rehearsal.
    Staging,
    /// The real thing.
    Production,
}

impl Environment {
    /// The word in the config and in `/health`.
    pub fn as_str(self) -> &'static str {
        match self {
            Environment::Development => "development",
            Environment::Staging => "staging",
            Environment::Production => "production",
        }
    }
}

/// `[server]`
#[derive(Clone, Debug)]
pub struct ServerPlan {
    /// Where callers connect.
    pub listen: SocketAddr,
    /// Where operators connect; `None` when off.
    pub admin: Option<SocketAddr>,
    /// Names besides `localhost` under which operators ask there while only this machine can reach it.
    pub admin_hosts: Vec<Box<str>>,
    /// Callers may read `/metrics`, and where providers are.
    pub shows_insides: bool,
    /// Until a connection's first byte, and from a request's first byte to the end of its head.
    pub header_timeout: Duration,
    /// How far the sender of a body may fall behind `body_rate`.
    pub body_timeout: Duration,
    /// Bytes of a body that are expected each second.
    pub body_rate: usize,
    /// How long a kept connection may be idle.
    pub idle_timeout: Duration,
    /// How long a caller may refuse to read.
    pub write_timeout: Duration,
    /// How it takes leave of its callers.
    pub leaving: LeavingPlan,
    /// Connections at once.
    pub max_connections: usize,
    /// Connections at once of one address that is no trusted proxy's.
    pub max_connections_per_address: usize,
    /// Requests that one connection may ask.
    pub max_requests_per_connection: usize,
    /// Headers of a request.
    pub max_headers: usize,
    /// Bytes of memory for all large requests.
    pub max_buffered_bytes: usize,
    /// How long a request may wait for some of it.
    pub buffer_wait: Duration,
    /// Bytes of a request's head.
    pub max_head: usize,
    /// Proxies whose word about the caller's address counts.
    pub trusted_proxies: Vec<IpNet>,
    /// The header in which they give it.
    pub proxy_header: ProxyHeader,
    /// How callers' connections are encrypted; `None`: they are not.
    pub tls: Option<TlsPlan>,
}

/// The header in which proxies say for whom they forward a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// `X-Forwarded-For`
    XForwardedFor,
    /// `Forwarded` (RFC 7239)
    Forwarded,
}

/// `[log]`
#[derive(Clone, Debug)]
pub struct LogPlan {
    /// A `tracing` filter: `info`, `tidegate=debug`.
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
    /// The `service` field of each line.
    pub service: String,
    /// How many warnings and errors a minute that say the same are written; zero: all.
    pub repeats: u32,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Pretty,
}

/// `[store]`
#[derive(Clone, Debug)]
pub struct StorePlan {
    /// The shared store; `None` means the one inside the process.
    pub redis_url: Option<Secret>,
    /// The same, understood.
    pub address: Option<Address>,
    /// The longest that a request waits for it.
    pub timeout: Duration,
    /// What every key in it begins with.
    pub key_prefix: Arc<str>,
    /// Operations that may wait for it at once.
    pub max_in_flight: usize,
    /// What becomes of limited calls while it is out.
    pub on_store_error: OnStoreError,
    /// Gateways that share it, until it says itself.
    pub gateways: u32,
}

/// `[health]`
#[derive(Clone, Debug)]
pub struct HealthPlan {
    /// Readiness fails while BuildPanel is not connected.
    pub strict_readiness: bool,
    /// A probe slower than this makes the status `degraded`.
    pub slow_after: Duration,
}
