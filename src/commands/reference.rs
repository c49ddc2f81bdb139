//! `tidegate schema` and `tidegate reference`: print what is generated from the program.
//!
//! They read no configuration of their own and open nothing.

use std::io::Write;
use std::process::ExitCode;

use crate::config;
use crate::telemetry::metrics;

/// Prints the schema of the configuration.
pub fn schema() -> ExitCode {
    print(&config::schema())
}

/// What a reference is about.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
pub enum Page {
    /// Every key of the configuration.
    #[default]
    Configuration,
    /// Every metric.
    Metrics,
}

/// Prints a reference.
pub fn run(subject: Page) -> ExitCode {
    print(&match subject {
        Page::Configuration => config::reference(),
        Page::Metrics => metrics::reference(),
    })
}

/// A reader that has seen enough is no mistake.
fn print(text: &str) -> ExitCode {
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}
