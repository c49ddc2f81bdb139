//! Costs: `[usage]`, from keys to a plan.
//!
//! It does not know what a call costs, nor who counts.

use super::reader::Section;
use super::value;

/// `[usage]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsagePlan {
    /// Rows of the ledger that are kept in memory.
    pub max_rows: usize,
}

/// `[usage]`
pub(super) fn usage(root: &mut Section<'_>) -> UsagePlan {
    let mut section = root.section("usage");
    let max_rows = section.required("max_rows", value::integer("a number", 1_000, 10_000_000)).unwrap_or(1_000);
    section.close();
    UsagePlan { max_rows: usize::try_from(max_rows).unwrap_or(1_000) }
}
