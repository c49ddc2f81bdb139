//! Text file: reads a file that is no larger than it may be, however large it says it is.
//!
//! It does not know what it holds. Whatever a configuration or a command names is read here, so that no file can take the memory
//! of the process or keep it waiting.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The largest key, token or password with its file's blank lines, and the largest URL.
pub(crate) const SECRET: u64 = 64 << 10;

/// The largest file of certificates and keys in PEM. All that Debian trusts are a quarter of a MiB.
const PEM: u64 = 4 << 20;

/// The largest file that somebody writes by hand or with a program: variables, a world, the body of a call.
pub(crate) const INPUT: u64 = 64 << 20;

/// Reads a regular file. A pipe may keep its reader waiting forever, and a device may have no end.
///
/// # Errors
/// Why it cannot be read.
pub(crate) fn regular(path: &Path, most: u64) -> Result<String, String> {
    text(regular_bytes(path, most)?)
}

/// The same, of bytes that need not be text.
///
/// # Errors
/// Why it cannot be read.
pub(crate) fn regular_bytes(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    // Asked before it is opened: opening a pipe waits for its writer.
    let found = path.metadata().map_err(|fault| fault.to_string())?;
    match (found.is_file(), found.is_dir()) {
        (true, _) if found.len() > most => Err(format!("it has {} bytes; the limit is {most}", found.len())),
        (true, _) => bounded_bytes(File::open(path).map_err(|fault| fault.to_string())?, most),
        (false, true) => Err("it is a directory".into()),
        (false, false) => Err("it is not a regular file".into()),
    }
}

/// Reads a file of any kind.
///
/// # Errors
/// Why it cannot be read.
pub(crate) fn bounded(path: &Path, most: u64) -> Result<String, String> {
    text(bounded_bytes(File::open(path).map_err(|fault| fault.to_string())?, most)?)
}

/// Reads what is not a file too.
///
/// # Errors
/// Why it cannot be read.
pub(crate) fn bounded_bytes(source: impl Read, most: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    source.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(|fault| fault.to_string())?;
    match u64::try_from(bytes.len()).is_ok_and(|length| length <= most) {
        true => Ok(bytes),
        false => Err(format!("it has more than {most} bytes, the limit")),
    }
}

/// Reads a file of certificates or keys.
///
/// # Errors
/// Why it cannot be read, with its name.
pub(crate) fn pem(path: &str) -> Result<Vec<u8>, String> {
    regular_bytes(Path::new(path), PEM).map_err(|why| format!("cannot read {path:?}: {why}"))
}

fn text(bytes: Vec<u8>) -> Result<String, String> {
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_regular_file_within_the_limit_is_read() {
        let folder = std::env::temp_dir().join(format!("tidegate-text-file-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("file");
        std::fs::write(&file, "four").unwrap();
        assert_eq!(regular(&file, 4), Ok("four".into()));
        assert_eq!(regular(&file, 3), Err("it has 4 bytes; the limit is 3".into()));
        assert_eq!(bounded(&file, 3), Err("it has more than 3 bytes, the limit".into()));
        assert_eq!(regular(&folder, 3), Err("it is a directory".into()));
        assert_eq!(regular(Path::new("/dev/zero"), 3), Err("it is not a regular file".into()));
        assert_eq!(bounded(Path::new("/dev/zero"), 3), Err("it has more than 3 bytes, the limit".into()));
        std::fs::write(&file, b"\xff").unwrap();
        assert_eq!(regular(&file, 4), Err("it is not UTF-8".into()));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
