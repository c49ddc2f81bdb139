//! Probe: asks whether a provider is up.
//!
//! It does not know when that is asked, nor what becomes of the result.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use tokio::time::{Instant, timeout_at};

use super::Request;
use super::transport::{Reuse, SendFault, Transport};
use crate::config::plan::ProviderPlan;
use crate::model::time::{Deadline, Phase};

/// What a probe got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probed {
    /// An answer with this status, after this time.
    Answered(StatusCode, Duration),
    /// No answer; a short text says why. It names no URL and no key.
    Unanswered(String),
}

/// Asks a provider's probe paths whether it is up: the next path only when the one before is not there.
pub async fn probe(provider: &ProviderPlan, transport: &dyn Transport) -> Probed {
    let Some(plan) = &provider.probe else { return Probed::Unanswered("no probe is configured".into()) };
    let started = Instant::now();
    let deadline = Deadline::after(plan.timeout, Phase::Attempt);
    let mut last = Probed::Unanswered(String::new());
    for path in &plan.paths {
        for instance in 0..provider.urls.len() {
            let request = Request {
                method: Method::GET,
                path: path.clone(),
                headers: HeaderMap::new(),
                body: Bytes::new(),
                degraded: None,
            };
            match timeout_at(deadline.at, transport.send(instance, request, Reuse::Allowed)).await {
                Err(_) => return Probed::Unanswered("timeout".into()),
                Ok(Ok(response)) => {
                    last = Probed::Answered(response.head.status, started.elapsed());
                    if response.head.status.is_success() {
                        return last;
                    }
                }
                Ok(Err(SendFault::Connect(detail) | SendFault::Closed(detail) | SendFault::Broken(detail))) => {
                    last = Probed::Unanswered(detail);
                }
                Ok(Err(SendFault::ConnectTimeout)) => last = Probed::Unanswered("timeout".into()),
            }
        }
        if !matches!(last, Probed::Answered(StatusCode::NOT_FOUND, _)) {
            break;
        }
    }
    last
}
