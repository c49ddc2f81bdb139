//! Recording: reads `[record]`: where the trace of calls is written, and what names in it are hidden with.
//!
//! It does not know what is recorded.

use std::path::PathBuf;

use crate::config::engine::environment::Variables;
use crate::config::engine::problem::Report;
use crate::config::engine::reader::Section;
use crate::config::engine::value;
use crate::config::plan::RecordPlan;
use crate::config::tables::general;

/// The keys that name where the secret is, and the one under which it is hidden.
const SECRET: [&str; 3] = ["secret_env", "secret_file", "secret"];

/// Whoever guesses the secret learns who has called.
const SHORTEST_SECRET: usize = 16;

/// `[record]`
pub(in crate::config) fn read(root: &mut Section<'_>, variables: &Variables, report: &Report) -> RecordPlan {
    let mut section = root.section("record");
    let folder = section.optional("folder", value::text).map(PathBuf::from);
    let secret = general::named_secret(&mut section, SECRET, variables, report);
    if let Some((key, secret)) = &secret
        && secret.expose().len() < SHORTEST_SECRET
    {
        let message = "the secret must have at least 16 characters: whoever guesses it learns who has called";
        section.problem(key, message);
    }
    let max_bytes = section.required("max_bytes", value::memory).unwrap_or_default();
    let plan = RecordPlan {
        folder,
        secret: secret.map(|(_, secret)| secret),
        max_bytes: max_bytes as u64,
        max_files: section.required("max_files", value::count).unwrap_or(1),
        queue: section.required("queue", value::count).unwrap_or_default(),
    };
    section.close();
    plan
}
