//! Labels: `[metrics]`: how many names that come with requests become labels of metrics.
//!
//! It does not know what is counted.

use super::reader::Section;
use super::value;

/// `[metrics]`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MetricsPlan {
    /// Models that have labels of their own.
    pub max_models: usize,
    /// Tenants that have; zero: tenants are no labels at all.
    pub max_tenants: usize,
}

/// `[metrics]`
pub(super) fn read(root: &mut Section<'_>) -> MetricsPlan {
    let mut section = root.section("metrics");
    let mut number = |key| section.required(key, value::integer("a number", 0, 10_000)).unwrap_or_default();
    let (models, tenants) = (number("max_models"), number("max_tenants"));
    section.close();
    let whole = |number: i64| usize::try_from(number).unwrap_or_default();
    MetricsPlan { max_models: whole(models), max_tenants: whole(tenants) }
}
