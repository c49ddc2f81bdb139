//! Leaving: reads the settings of graceful shutdown and hand-over.
//!
//! It does not know what a signal is.

use crate::config::engine::reader::Section;
use crate::config::engine::value;
use crate::config::plan::server::LeavingPlan;

/// Its part of `[server]`.
pub(in crate::config) fn read(section: &mut Section<'_>) -> LeavingPlan {
    // Zero means: do not wait.
    let mut time = |key| section.required(key, value::duration_or_zero).unwrap_or_default();
    let (delay, idle, drain) = (time("leave_delay"), time("drain_idle"), time("drain_timeout"));
    let handover = section.required("handover_timeout", value::duration).unwrap_or_default();
    LeavingPlan { delay, idle, drain, handover }
}
