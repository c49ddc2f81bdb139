//! Names as logs spell them.
//!
//! It does not know what they name.

/// Existing log queries look for the word `BuildPanel`.
pub fn display_name(provider: &str) -> &str {
    if provider == "buildpanel" { "BuildPanel" } else { provider }
}
