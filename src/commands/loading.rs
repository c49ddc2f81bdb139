//! Loading: the configuration of a command that works on it and ends, and its input.
//!
//! It does not know what the command does.

use std::fs::File;
use std::path::Path;

use crate::config::engine::text_file::{self, INPUT};
use crate::config::{self, Loaded};

/// The configuration; `None`: it has problems, and they were told on the standard error.
pub(super) fn load(file: Option<&Path>) -> Option<Loaded> {
    config::load_from(file).inspect_err(|problems| eprintln!("{problems}")).ok()
}

/// What a file holds; `-`: what comes on the standard input.
///
/// # Errors
/// Why it cannot be read, with its name.
pub(super) fn input(file: &Path) -> Result<Vec<u8>, String> {
    let read = match file == Path::new("-") {
        true => text_file::bounded_bytes(std::io::stdin(), INPUT),
        false => File::open(file)
            .map_err(|fault| fault.to_string())
            .and_then(|source| text_file::bounded_bytes(source, INPUT)),
    };
    read.map_err(|why| format!("{}: {why}", file.display()))
}
