//! Text file: reads a file of text that is no larger than it may be, however large it says it is.
//!
//! It does not know what it holds.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Reads a regular file. A pipe may keep its reader waiting forever, and a device may have no end.
///
/// # Errors
/// Why it cannot be read.
pub(crate) fn regular(path: &Path, most: u64) -> Result<String, String> {
    // Asked before it is opened: opening a pipe waits for its writer.
    match path.metadata().map_err(|fault| fault.to_string())?.is_file() {
        true => bounded(path, most),
        false => Err("it is not a regular file".into()),
    }
}

/// Reads a file of any kind.
///
/// # Errors
/// Why it cannot be read.
pub(crate) fn bounded(path: &Path, most: u64) -> Result<String, String> {
    let mut text = Vec::new();
    let file = File::open(path).map_err(|fault| fault.to_string())?;
    file.take(most.saturating_add(1)).read_to_end(&mut text).map_err(|fault| fault.to_string())?;
    match u64::try_from(text.len()).is_ok_and(|length| length <= most) {
        true => String::from_utf8(text).map_err(|_| "it is not UTF-8".into()),
        false => Err(format!("it is longer than {most} bytes, the maximum")),
    }
}
