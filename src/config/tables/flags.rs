//! Flags: reads `[flags]`, where flags are stored, and `[flag_guard.NAME]`, which turns one off automatically.
//!
//! It does not know what a flag does.

use std::path::PathBuf;
use std::sync::Arc;

use crate::config::engine::problem::Report;
use crate::config::engine::reader::Section;
use crate::config::engine::value;
use crate::config::plan::flags::{FlagGuardPlan, FlagsPlan};
use crate::config::tables::providers;

/// Fewer calls say little about a share of 5 %.
const MIN_CALLS: u32 = 20;

/// `[flags]` and `[flag_guard.NAME]`; `guarded` are the keys of the flags that can be guarded.
pub(in crate::config) fn read(root: &mut Section<'_>, guarded: &[Arc<str>], report: &Report) -> FlagsPlan {
    let mut section = root.section("flags");
    let state_file = section.optional("state_file", value::text).map(PathBuf::from);
    section.close();
    let mut guards = Vec::new();
    for (name, node) in root.names("flag_guard") {
        if !providers::is_name(&name.value) {
            let message = format!("{:?} is not a name: {}", name.value, providers::NAME_RULE);
            report.add(&name.origin, "flag_guard", message);
            continue;
        }
        let section = Section::at(node, format!("flag_guard.{}", name.value), report);
        guards.extend(guard(name.value, section, guarded).map(Arc::new));
    }
    FlagsPlan { state_file, guards }
}

fn guard(name: Arc<str>, mut section: Section<'_>, guarded: &[Arc<str>]) -> Option<FlagGuardPlan> {
    let flag = section.required("flag", value::text);
    let known = flag.as_ref().and_then(|flag| guarded.iter().find(|key| ***key == **flag));
    if let Some(flag) = flag.as_ref().filter(|_| known.is_none()) {
        let keys = guarded.iter().map(|key| &**key).collect::<Vec<_>>().join(", ");
        section.problem("flag", format!("\"{}\" cannot have a guard: allowed are {keys}", flag.escape_debug()));
    }
    let error_rate = section.optional("error_rate", value::share);
    let p95 = section.optional("p95", value::duration);
    if !section.has("error_rate") && !section.has("p95") {
        section.problem("error_rate", "this key is missing: name `error_rate`, `p95`, or both");
    }
    let period = section.required("for", value::duration);
    let min_calls = section.optional("min_calls", value::few(1)).unwrap_or(MIN_CALLS);
    section.close();
    Some(FlagGuardPlan { name, flag: known?.clone(), error_rate, p95, period: period?, min_calls })
}
