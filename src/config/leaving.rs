//! Leaving: how a process that is told to stop, or to hand over, takes leave of its callers.
//!
//! It does not know what a signal is.

use std::time::Duration;

use super::reader::Section;
use super::value;

/// The times of `[server]` that count once the process is to leave.
#[derive(Clone, Copy, Debug)]
pub struct LeavingPlan {
    /// How long callers still come as ever while readiness already fails.
    pub delay: Duration,
    /// How long kept connections may still ask, once nobody connects any more.
    pub idle: Duration,
    /// How long running calls may go on.
    pub drain: Duration,
    /// How long the process that takes this one's place may take to be ready.
    pub handover: Duration,
}

/// Its part of `[server]`.
pub(super) fn read(section: &mut Section<'_>) -> LeavingPlan {
    // Zero means: do not wait.
    let mut time = |key| section.required(key, value::duration_or_zero).unwrap_or_default();
    let (delay, idle, drain) = (time("leave_delay"), time("drain_idle"), time("drain_timeout"));
    let handover = section.required("handover_timeout", value::duration).unwrap_or_default();
    LeavingPlan { delay, idle, drain, handover }
}
