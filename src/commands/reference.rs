//! `tidegate schema` and `tidegate reference`: print what is generated from the program.
//!
//! They read no configuration of their own and open nothing.

use std::io::Write;
use std::process::ExitCode;

use crate::config;

/// Prints the schema of the configuration.
pub fn schema() -> ExitCode {
    print(&config::schema())
}

/// Prints the reference of the configuration.
pub fn run() -> ExitCode {
    print(&config::reference())
}

/// A reader that has seen enough is no mistake.
fn print(text: &str) -> ExitCode {
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}
