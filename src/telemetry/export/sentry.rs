//! Sentry: sends reports of the gateway's own faults, each as an envelope with one event, one at a time.
//!
//! Reports are rate-limited: the same fault of the same route once a minute, and a maximum for all reports
//! together. If Sentry is slow or down, reports are dropped and counted, nothing else. It does not know what a
//! fault is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::plan::{Environment, SentryPlan};
use crate::model::time::WallClock;
use crate::telemetry::export::client;
use crate::telemetry::export_queue::Fate;
use crate::telemetry::reports::{Report, Reports};

/// How long a report may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// In this time the same fault is told once ...
const PERIOD: Duration = Duration::from_secs(60);

/// ... and this many reports in total.
const MOST: usize = 30;

/// How long nothing is sent after a 429 that does not say (Sentry's SDK documentation, "Rate Limiting").
const PAUSE: Duration = Duration::from_secs(60);

/// What tells one fault from another.
type Kind = (&'static str, Option<Arc<str>>, Option<String>);

/// How many kinds are remembered beyond the period in which they came.
const KINDS: usize = 256;

/// What is remembered of a kind.
#[derive(Default)]
struct Told {
    was_told: bool,
    left_out: u64,
}

/// The way to Sentry.
pub struct Reporter {
    reports: Reports,
    client: reqwest::Client,
    url: String,
    environment: &'static str,
    clock: WallClock,
    told: BTreeMap<Kind, Told>,
    /// When the current period began, and what was sent in it.
    period: Instant,
    sent: usize,
    /// Sentry wants nothing before this.
    paused: Option<Instant>,
}

impl Reporter {
    /// The way to the plan's Sentry, if there is one.
    pub fn new(
        plan: &SentryPlan,
        environment: Environment,
        clock: WallClock,
        reports: Reports,
    ) -> Result<Option<Self>, String> {
        let Some(dsn) = &plan.dsn else { return Ok(None) };
        let client = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));
        let shown = format!("Sentry sentry_version=7, sentry_client={client}, sentry_key={}", dsn.key.expose());
        let mut shown = HeaderValue::try_from(shown).map_err(|_| "its key cannot be sent in a header".to_owned())?;
        shown.set_sensitive(true);
        let mut headers =
            HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/x-sentry-envelope"))]);
        headers.insert("x-sentry-auth", shown);
        Ok(Some(Self {
            reports,
            client: client::client(headers, false)?,
            url: dsn.envelope.to_string(),
            environment: environment.as_str(),
            clock,
            told: BTreeMap::new(),
            period: Instant::now(),
            sent: 0,
            paused: None,
        }))
    }

    /// Sends what comes until it is told to stop, and then what waits.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let report = tokio::select! {
                biased;
                Some(report) = self.reports.outbox.next() => report,
                () = stop.cancelled() => return,
            };
            let fate = match self.admit(&report) {
                Some(before) => self.send(&report, before).await,
                None => Fate::RateLimited,
            };
            self.reports.outbox.count(fate, 1);
        }
    }

    /// Whether a report may be sent, and how many like it were not before.
    fn admit(&mut self, report: &Report) -> Option<u64> {
        let now = Instant::now();
        if self.paused.is_some_and(|until| now < until) {
            return None;
        }
        if now - self.period >= PERIOD {
            (self.period, self.sent) = (now, 0);
            // The next report of the kind says how many were suppressed.
            self.told.retain(|_, told| told.left_out > 0);
            if self.told.len() > KINDS {
                self.told.clear();
            }
            self.told.values_mut().for_each(|told| told.was_told = false);
        }
        if self.sent >= MOST {
            return None;
        }
        let told = self.told.entry((report.code, report.route.clone(), report.place.clone())).or_default();
        if told.was_told {
            told.left_out += 1;
            return None;
        }
        told.was_told = true;
        self.sent += 1;
        Some(std::mem::take(&mut told.left_out))
    }

    async fn send(&mut self, report: &Report, before: u64) -> Fate {
        let envelope = envelope(&self.event(report, before));
        let sent = timeout(TIMEOUT, self.client.post(&self.url).body(envelope).send()).await;
        let response = match sent {
            Ok(Ok(response)) => response,
            Ok(Err(fault)) => {
                tracing::debug!(error = client::fault(fault), "could not send a report to Sentry");
                return Fate::Unreachable;
            }
            Err(_) => return Fate::Unreachable,
        };
        match response.status() {
            status if status.is_success() => Fate::Exported,
            StatusCode::TOO_MANY_REQUESTS => {
                let said = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
                let pause = said.and_then(|text| text.parse().ok()).map_or(PAUSE, Duration::from_secs);
                self.paused = Some(crate::model::time::later(Instant::now(), pause));
                Fate::RateLimited
            }
            _ => Fate::Refused,
        }
    }

    /// The event of a report (Sentry's "Event Payloads"): names and codes, and nothing of a request but its id.
    fn event(&self, report: &Report, before: u64) -> Value {
        let chance = &self.reports.chance;
        let now = Duration::from_nanos(self.clock.nanoseconds(Instant::now()));
        let what =
            report.place.as_deref().map_or_else(|| report.code.to_owned(), |at| format!("{} at {at}", report.code));
        let mut event = json!({
            "event_id": format!("{:016x}{:016x}", chance.bits(), chance.bits()),
            "timestamp": now.as_secs_f64(),
            "platform": "other",
            "level": "error",
            "logger": "tidegate",
            "release": concat!(env!("CARGO_PKG_NAME"), "@", env!("CARGO_PKG_VERSION")),
            "environment": self.environment,
            "message": { "formatted": what },
            "fingerprint": [report.code, report.route.as_deref().unwrap_or("none"), report.place.as_deref().unwrap_or("none")],
            "tags": { "code": report.code, "route": report.route.as_deref(), "provider": report.provider.as_deref() },
            "extra": { "request_id": report.request.as_deref(), "left_out_before": before },
        });
        if let Some((trace, span)) = report.trace {
            event["contexts"] = json!({ "trace": { "trace_id": trace.to_string(), "span_id": span.to_string() } });
        }
        event
    }
}

/// An envelope with one event: a line for the envelope, one for the item, and the item.
fn envelope(event: &Value) -> String {
    format!("{}\n{}\n{event}\n", json!({ "event_id": event["event_id"] }), json!({ "type": "event" }))
}
