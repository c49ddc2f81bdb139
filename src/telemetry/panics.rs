//! Panics: reports the location of a panic in the log and to Sentry, but never its message, which may quote
//! content.
//!
//! It does not know what becomes of the work.

use std::sync::Arc;

use crate::model::log_context::LogContext;
use crate::telemetry::reports::{Report, Reports};

/// From now on a panic is a line in the log and a report.
pub fn tell(reports: Option<Reports>) {
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(ToString::to_string);
        let (request, trace) =
            LogContext::current(|subject| (Arc::clone(&subject.id), subject.trace.get().copied())).unzip();
        tracing::error!(place, "internal error: a panic");
        if let Some(reports) = &reports {
            let trace = trace.flatten();
            let report = Report { code: "panic", place, route: None, provider: None, request, trace };
            reports.outbox.offer(report, 1);
        }
    }));
}
