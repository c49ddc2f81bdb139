//! Explaining: `[explain]`, what is remembered of calls that are over.
//!
//! It does not know what is told of them.

use super::reader::Section;
use super::value;

/// `[explain]`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExplainPlan {
    /// Calls that are remembered; zero: none.
    pub keep: usize,
    /// Memory for them, in bytes.
    pub max_bytes: usize,
}

/// `[explain]`
pub(super) fn read(root: &mut Section<'_>) -> ExplainPlan {
    let mut section = root.section("explain");
    let keep = section.required("keep", value::integer("a number of calls", 0, 1_000_000)).unwrap_or_default();
    let max_bytes = section.required("max_bytes", value::memory).unwrap_or_default();
    section.close();
    ExplainPlan { keep: usize::try_from(keep).unwrap_or_default(), max_bytes }
}
