//! `tidegate explain [ID]`: asks a running gateway what happened to a call, or for the calls in flight and the latest ones.
//!
//! It prints the gateway's response.

use std::process::ExitCode;

use clap::Args;
use http::Method;

use super::output::{put, put_json};
use super::remote::{Options, Remote};
use super::serve::{end, in_runtime};
use crate::model::names::is_plain_id;
use crate::model::operator_paths as paths;

/// How it is called.
#[derive(Args)]
pub struct Arguments {
    /// The id of the call: X-Tidegate-Request-Id or X-Request-Id of its response, `req_id` in the log, or the response's own
    /// `id`. Without it, lists the latest calls.
    #[arg(value_name = "ID")]
    id: Option<String>,
    #[command(flatten)]
    options: Options,
}

/// Asks the admin address. Exit code 1: nothing is known of this call, or the gateway cannot be asked.
pub fn run(arguments: &Arguments) -> ExitCode {
    end(tell(arguments))
}

fn tell(arguments: &Arguments) -> Result<(), String> {
    let Arguments { id, options } = arguments;
    if let Some(id) = id.as_ref().filter(|id| !is_plain_id(id)) {
        return Err(format!(
            "{id:?} is not the id of a call: give X-Tidegate-Request-Id or X-Request-Id of its response, or the response's own `id`"
        ));
    }
    let name = id.as_ref().map(|id| format!("/{id}")).unwrap_or_default();
    let remote = Remote::new(&options.url)?;
    // Of a list those in flight come first.
    let state = if id.is_none() { "&state=all" } else { "" };
    let path = |format: &str| format!("{}{name}?format={format}{state}", paths::EXPLAIN);
    if options.json {
        let (json, _) = in_runtime(async { Ok(remote.ask_json(Method::GET, &path("json"), None).await?) })?;
        return put_json(&json);
    }
    let text = in_runtime(async { Ok(remote.ask(Method::GET, &path("text"), None).await?) })?;
    put(&String::from_utf8_lossy(&text))
}
