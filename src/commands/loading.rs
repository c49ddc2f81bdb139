//! Loading: the configuration of a command that works on it and ends.
//!
//! It does not know what the command does.

use std::path::Path;

use crate::config::{self, Loaded};

/// The configuration; `None`: it has problems, and they were told on the standard error.
pub(super) fn load(file: Option<&Path>) -> Option<Loaded> {
    config::load_from(file).inspect_err(|problems| eprintln!("{problems}")).ok()
}
