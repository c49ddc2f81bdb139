//! Flags: `[flags]`, where they outlive a restart.
//!
//! It does not know which flags there are.

use std::path::PathBuf;

use super::reader::Section;
use super::value;

/// `[flags]`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FlagsPlan {
    /// The file that flags are kept in, where there is one.
    pub state_file: Option<PathBuf>,
}

/// `[flags]`
pub(super) fn read(root: &mut Section<'_>) -> FlagsPlan {
    let mut section = root.section("flags");
    let plan = FlagsPlan { state_file: section.optional("state_file", value::text).map(PathBuf::from) };
    section.close();
    plan
}
