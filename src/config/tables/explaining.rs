//! Explaining: reads `[explain]`, the size of the call history.
//!
//! It does not know what is recorded.

use crate::config::engine::reader::Section;
use crate::config::engine::value;
use crate::config::plan::server::ExplainPlan;

/// `[explain]`
pub(in crate::config) fn read(root: &mut Section<'_>) -> ExplainPlan {
    let mut section = root.section("explain");
    let keep = section.required("keep", value::integer("a number of calls", 0, 1_000_000)).unwrap_or_default();
    let max_bytes = section.required("max_bytes", value::memory).unwrap_or_default();
    section.close();
    ExplainPlan { keep: usize::try_from(keep).unwrap_or_default(), max_bytes }
}
