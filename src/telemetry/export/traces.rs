//! Traces: takes spans from the queue and exports them to an OTLP collector, by gRPC or HTTP, in batches.
//!
//! Calls never wait for it: while the collector is slow or down, spans wait in their queue, and when that is full
//! they are dropped and counted. It does not know what is in a span.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body_util::BodyExt;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::config::plan::{Environment, Protocol, TracingPlan};
use crate::telemetry::export::{client, otlp};
use crate::telemetry::export_queue::{ExportQueue, Fate};
use crate::telemetry::spans::{Span, Spans};

/// Spans in one request: what OpenTelemetry's own exporters send.
const BATCH: usize = 512;

/// How long the first span of a request waits for others.
const GATHER: Duration = Duration::from_secs(1);

/// How often a request is sent, and the first pause between two tries; each further one is twice as long.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_secs(1);

/// The most that is read of a collector's answer.
const MAX_ANSWER: usize = 64 * 1024;

/// Where gRPC's one method is, below the address.
const EXPORT: &str = "opentelemetry.proto.collector.trace.v1.TraceService/Export";

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Codes of gRPC after which a request may be sent again (OTLP specification, "OTLP/gRPC response").
const GRPC_RETRY: [u16; 7] = [1, 4, 8, 10, 11, 14, 15];

/// Statuses of HTTP after which it may (ibid., "OTLP/HTTP response").
const HTTP_RETRY: [u16; 4] = [429, 502, 503, 504];

/// The way to one collector.
pub struct Exporter {
    outbox: ExportQueue<Vec<Span>>,
    client: reqwest::Client,
    url: String,
    protocol: Protocol,
    timeout: Duration,
    resource: Vec<u8>,
    /// True once it was said that the collector takes nothing, until it does.
    is_out: bool,
}

/// Why a collector did not take a request.
enum NotTaken {
    /// It may take it later.
    Later(String),
    /// It never will.
    Refused(String),
}

impl Exporter {
    /// The way to the plan's collector, if there is one. `instance` tells this process from others.
    pub fn new(
        plan: &TracingPlan,
        environment: Environment,
        instance: &str,
        spans: &Spans,
    ) -> Result<Option<Self>, String> {
        let Some(endpoint) = &plan.endpoint else { return Ok(None) };
        let (path, media_type) = match plan.protocol {
            Protocol::Grpc => (EXPORT, "application/grpc"),
            Protocol::Http => ("v1/traces", "application/x-protobuf"),
        };
        let mut headers = HeaderMap::new();
        for (name, value) in &plan.headers {
            let mut value =
                HeaderValue::from_str(value.expose()).map_err(|_| format!("header {name} cannot be sent"))?;
            value.set_sensitive(true);
            headers.append(name, value);
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if plan.protocol == Protocol::Grpc {
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        }
        let resource = otlp::resource(&[
            ("service.name", &plan.service),
            ("service.version", env!("CARGO_PKG_VERSION")),
            ("service.instance.id", instance),
            ("deployment.environment.name", environment.as_str()),
        ]);
        Ok(Some(Self {
            outbox: spans.outbox.clone(),
            client: client::client(headers, plan.protocol == Protocol::Grpc)?,
            url: format!("{}/{path}", endpoint.as_str().trim_end_matches('/')),
            protocol: plan.protocol,
            timeout: plan.timeout,
            resource,
            is_out: false,
        }))
    }

    /// Sends what comes until it is told to stop, and then what waits. Who has no time for that drops it.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let spans = tokio::select! {
                biased;
                Some(spans) = self.outbox.next() => spans,
                () = stop.cancelled() => return,
            };
            let mut batch = Batch { spans, outbox: self.outbox.clone() };
            batch.fill();
            if batch.spans.len() < BATCH {
                let _ = timeout(GATHER, stop.cancelled()).await;
                batch.fill();
            }
            self.deliver(batch, &stop).await;
        }
    }

    async fn deliver(&mut self, mut batch: Batch, stop: &CancellationToken) {
        let message = Bytes::from(otlp::request(&self.resource, &batch.spans));
        let mut pause = PAUSE;
        for last in (0..TRIES).rev() {
            let sent = timeout(self.timeout, self.send(message.clone())).await;
            match sent.unwrap_or_else(|_| Err(NotTaken::Later("no response in time".into()))) {
                Ok(rejected) => {
                    self.note(None);
                    return batch.end(rejected);
                }
                Err(NotTaken::Refused(why)) => {
                    self.note(Some(&why));
                    return batch.lose(Fate::Refused);
                }
                Err(NotTaken::Later(why)) => self.note(Some(&why)),
            }
            // Who is about to leave does not wait for better times.
            if last == 0 || timeout(pause, stop.cancelled()).await.is_ok() {
                break;
            }
            pause *= 2;
        }
        batch.lose(if stop.is_cancelled() { Fate::Shutdown } else { Fate::Unreachable });
    }

    /// Sends one request and returns how many of its spans the collector did not want.
    async fn send(&self, message: Bytes) -> Result<usize, NotTaken> {
        let body = match self.protocol {
            Protocol::Http => message,
            // Not compressed, and so long (gRPC over HTTP/2, "Length-Prefixed-Message").
            Protocol::Grpc => {
                let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
                [&[0], &length[..], &message].concat().into()
            }
        };
        let sent = self.client.post(&self.url).body(body).send().await;
        let response = http::Response::<reqwest::Body>::from(sent.map_err(|fault| later(client::fault(fault)))?);
        let (head, mut body) = response.into_parts();
        let (mut answer, mut trailers) = (Vec::new(), HeaderMap::new());
        while let Some(frame) = body.frame().await {
            match frame.map_err(|fault| later(client::fault(fault)))?.into_data() {
                Ok(data) if answer.len() + data.len() <= MAX_ANSWER => answer.extend_from_slice(&data),
                Ok(_) => return Err(NotTaken::Refused(format!("a response larger than {MAX_ANSWER} bytes"))),
                Err(other) => trailers.extend(other.into_trailers().unwrap_or_default()),
            }
        }
        let status = head.status.as_u16();
        if !head.status.is_success() {
            return Err(not_taken(HTTP_RETRY.contains(&status), format!("status {status}")));
        }
        match self.protocol {
            Protocol::Http => Ok(otlp::rejected(&answer)),
            Protocol::Grpc => {
                // A refusal may be all in the head.
                let code = trailers.get(GRPC_STATUS).or(head.headers.get(GRPC_STATUS));
                match code.and_then(|code| code.to_str().ok()?.parse::<u16>().ok()) {
                    Some(0) => Ok(otlp::rejected(answer.get(5..).unwrap_or_default())),
                    Some(code) => Err(not_taken(GRPC_RETRY.contains(&code), format!("gRPC status {code}"))),
                    None => Err(later("a response without a gRPC status".into())),
                }
            }
        }
    }

    /// Says in the log when the collector begins not to take spans, and when it does again.
    fn note(&mut self, why: Option<&str>) {
        match (self.is_out, why) {
            (false, Some(why)) => {
                tracing::warn!(error = why, "could not export spans to the collector; calls are not affected")
            }
            (true, None) => tracing::info!("the collector accepts spans again"),
            _ => {}
        }
        self.is_out = why.is_some();
    }
}

fn later(why: String) -> NotTaken {
    NotTaken::Later(why)
}

fn not_taken(may_retry: bool, why: String) -> NotTaken {
    if may_retry { NotTaken::Later(why) } else { NotTaken::Refused(why) }
}

/// Spans on their way. Dropped on it, they are lost to the end of the process.
struct Batch {
    spans: Vec<Span>,
    outbox: ExportQueue<Vec<Span>>,
}

impl Batch {
    /// Adds what waits.
    fn fill(&mut self) {
        while self.spans.len() < BATCH
            && let Some(more) = self.outbox.waiting()
        {
            self.spans.extend(more);
        }
    }

    /// The collector took all but some.
    fn end(&mut self, rejected: usize) {
        let count = std::mem::take(&mut self.spans).len();
        let rejected = rejected.min(count);
        self.outbox.count(Fate::Refused, rejected);
        self.outbox.count(Fate::Exported, count - rejected);
    }

    fn lose(&mut self, fate: Fate) {
        self.outbox.count(fate, std::mem::take(&mut self.spans).len());
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.lose(Fate::Shutdown);
    }
}
