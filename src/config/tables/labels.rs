//! Labels: reads `[metrics]`: how many names from requests become metric labels.
//!
//! It does not know what is counted.

use crate::config::engine::reader::Section;
use crate::config::engine::value;
use crate::config::plan::metrics::MetricsPlan;

/// `[metrics]`
pub(in crate::config) fn read(root: &mut Section<'_>) -> MetricsPlan {
    let mut section = root.section("metrics");
    let mut number = |key| section.required(key, value::integer("a number", 0, 10_000)).unwrap_or_default();
    let (models, tenants) = (number("max_models"), number("max_tenants"));
    section.close();
    let whole = |number: i64| usize::try_from(number).unwrap_or_default();
    MetricsPlan { max_models: whole(models), max_tenants: whole(tenants) }
}
