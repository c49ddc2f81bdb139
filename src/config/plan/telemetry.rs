//! Telemetry: where spans and reports are exported, and calls recorded.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use url::Url;

use crate::config::engine::secret::Secret;

/// `[sentry]`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SentryPlan {
    /// Whom to tell; `None`: nobody.
    pub dsn: Option<Dsn>,
}

/// A Sentry address, `https://KEY@HOST[/PATH]/PROJECT`, taken apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Dsn {
    /// Where reports go: `https://HOST[/PATH]/api/PROJECT/envelope/`.
    pub envelope: Url,
    /// The key that it shows.
    pub key: Secret,
}

/// `[record]`
#[derive(Clone, Debug, PartialEq)]
pub struct RecordPlan {
    /// The folder of the files; `None`: nothing is recorded.
    pub folder: Option<PathBuf>,
    /// What names are hidden with; `None`: each process has a secret of its own.
    pub secret: Option<Secret>,
    /// Bytes of one file.
    pub max_bytes: u64,
    /// How many files there may be.
    pub max_files: usize,
    /// Calls that may wait to be written.
    pub queue: usize,
}

/// `[tracing]`
#[derive(Clone, Debug, PartialEq)]
pub struct TracingPlan {
    /// The collector; `None`: nothing is traced.
    pub endpoint: Option<Url>,
    /// What it speaks.
    pub protocol: Protocol,
    /// What it is shown with each request: credentials, as a rule.
    pub headers: Vec<(HeaderName, Secret)>,
    /// `service.name` of the spans.
    pub service: Arc<str>,
    /// The share of calls that are kept, of those for which nobody else decides.
    pub ratio: f64,
    /// True when a caller that has decided about its trace has decided about the call.
    pub follows_parent: bool,
    /// How much of the tenant is told.
    pub tenant: TenantShown,
    /// Calls whose spans may wait to be sent.
    pub queue: usize,
    /// How long the collector may take for an answer.
    pub timeout: Duration,
}

/// What a collector speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// OTLP over gRPC.
    Grpc,
    /// OTLP over HTTP, as protobuf.
    Http,
}

/// How much of the tenant spans tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TenantShown {
    /// A digest, which tells one from another.
    Hash,
    /// All of it.
    Name,
    /// Nothing.
    Off,
}

/// `trace_context` of a provider: how much of the trace it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// Nothing.
    None,
    /// `traceparent`, which is made of random numbers.
    Parent,
    /// `tracestate` too, in which tracing systems write what they like.
    All,
}
