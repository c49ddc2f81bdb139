//! Log context: which call the current work is for, so that every log line about it can name the call.
//!
//! Work is polled within its context; what is spawned to outlive the call has none. It does not know what is
//! logged.

use std::sync::{Arc, OnceLock};

use crate::model::trace::{SpanId, TraceId};

tokio::task_local! {
    static SUBJECT: Arc<LogContext>;
}

/// A call, as log lines name it.
#[derive(Debug)]
pub struct LogContext {
    /// The request's id.
    pub id: Arc<str>,
    /// Its trace and its span in it, once it is traced.
    pub trace: OnceLock<(TraceId, SpanId)>,
}

impl LogContext {
    /// A call that is not traced yet.
    pub fn new(id: Arc<str>) -> Arc<Self> {
        Arc::new(Self { id, trace: OnceLock::new() })
    }

    /// Does work for this call.
    pub async fn during<T>(self: Arc<Self>, work: impl Future<Output = T>) -> T {
        SUBJECT.scope(self, work).await
    }

    /// Does work for this call.
    pub fn enter<T>(self: Arc<Self>, work: impl FnOnce() -> T) -> T {
        SUBJECT.sync_scope(self, work)
    }

    /// Looks at the call that the work at hand is for, if it is for one.
    pub fn current<T>(look: impl FnOnce(&LogContext) -> T) -> Option<T> {
        SUBJECT.try_with(|subject| look(subject)).ok()
    }
}
