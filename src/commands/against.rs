//! `tidegate check --against`: prints what would change if one configuration replaced another, key by key.
//!
//! It compares the effective values, defaults and variables included. It shows no secret, only whether it differs.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use http::Method;
use serde::Deserialize;

use super::output::put_and_end;
use super::remote::Remote;
use super::serve::in_runtime;
use crate::config;
use crate::config::engine::effective::{Change, Dump};
use crate::config::fixed::needs_restart;
use crate::model::text::clean;

/// What `--against` names.
#[derive(Clone, Debug)]
pub enum Other {
    /// The admin address of a running gateway.
    Running(String),
    /// A config file.
    File(PathBuf),
}

impl From<&str> for Other {
    fn from(text: &str) -> Self {
        // As with --url, an address needs no scheme. A file may have any name, so that one that is there is meant.
        let has_port =
            |(host, port): (&str, &str)| !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok();
        let is_address = || text.rsplit_once(':').is_some_and(has_port) && !Path::new(text).exists();
        match text.starts_with("http://") || text.starts_with("https://") || is_address() {
            true => Other::Running(text.into()),
            false => Other::File(text.into()),
        }
    }
}

/// What a running gateway tells of its configuration.
#[derive(Deserialize)]
struct Running {
    salt: String,
    config: Dump,
}

/// Prints what would change from the other configuration to this one. Exit code 0: nothing; 2: something; 1: one of them
/// cannot be read.
pub fn run(file: Option<&Path>, other: &Other) -> ExitCode {
    let told = compare(file, other).map(|changes| match changes.is_empty() {
        true => ("no changes\n".to_owned(), 0),
        false => (report(&changes), 2),
    });
    match told {
        Ok((text, code)) => put_and_end(&text, code, 1),
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn compare(file: Option<&Path>, other: &Other) -> Result<Vec<Change>, String> {
    let load = |file| config::load_from(file).map(|loaded| loaded.plan.effective).map_err(|fault| fault.to_string());
    let ours = load(file)?;
    match other {
        Other::File(path) => Ok(load(Some(path))?.dump("").changes(&ours.dump(""))),
        Other::Running(url) => {
            let running = in_runtime(ask(url)).map_err(|problem| format!("tidegate: {problem}"))?;
            Ok(running.config.changes(&ours.dump(&running.salt)))
        }
    }
}

async fn ask(url: &str) -> Result<Running, String> {
    Ok(Remote::new(url)?.ask(Method::GET, "/config", None).await?.1)
}

fn report(changes: &[Change]) -> String {
    let line = |change: &Change| {
        let note = if needs_restart(&change.key) { "  (needs a restart)" } else { "" };
        format!("{}{note}\n", clean(&change.to_string()))
    };
    changes.iter().map(line).collect()
}
