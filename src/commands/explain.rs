//! `tidegate explain [ID]`: asks a running gateway what happened to a call, or for the latest calls.
//!
//! It prints the gateway's response.

use std::process::ExitCode;

use super::remote;
use super::serve::{end, in_runtime};
use crate::model::names::is_plain_id;

/// Asks the admin address at `url`. Exit code 1: nothing is known of this call, or the gateway cannot be asked.
pub fn run(id: Option<&str>, url: &str) -> ExitCode {
    end(tell(id, url))
}

fn tell(id: Option<&str>, url: &str) -> Result<(), String> {
    if let Some(id) = id.filter(|id| !is_plain_id(id)) {
        return Err(format!(
            "{id:?} is not the id of a call: give X-Tidegate-Request-Id or X-Request-Id of its response, or the response's own `id`"
        ));
    }
    let path = format!("/admin/explain{}{}?format=text", if id.is_some() { "/" } else { "" }, id.unwrap_or_default());
    let text = in_runtime(remote::ask_as_operator(url, &path))?;
    print!("{}", String::from_utf8_lossy(&text));
    Ok(())
}
