//! `tidegate flags list|show|on|off|undo`: asks a running gateway for its flags, and switches them.
//!
//! A change is refused if somebody else changed the flag since it was read. It does not know what a flag switches.

use std::fmt::Write as _;
use std::process::ExitCode;

use bytes::Bytes;
use clap::{Args, Subcommand};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::output::{put, put_json};
use super::remote::{Options, Refusal, Remote, is_segment};
use super::serve::{end, in_runtime};
use super::table::{aligned, aligned_with_numbers, text};
use crate::model::operator_paths as paths;

/// For `--help`.
pub const EXAMPLES: &str = "\
Examples:
  tidegate flags list
  tidegate flags off use_buildpanel --note 'answers in Latin'
  tidegate flags on variant_new_model --percent 10 --tiers pro
  tidegate flags undo use_buildpanel
  tidegate flags show use_buildpanel --url https://gateway.example --json";

/// How it is called.
#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    options: Options,
}

/// What to do.
#[derive(Subcommand)]
enum Action {
    /// List all flags, and say where changes are stored.
    List,
    /// Show one flag, and its last changes: who, when, why.
    Show {
        /// The flag.
        #[arg(value_name = "KEY")]
        key: String,
    },
    /// Switch a flag on: for everybody, or only for those that the options name. It replaces what was set before.
    On {
        /// The flag.
        #[arg(value_name = "KEY")]
        key: String,
        /// Only for this share of the callers, 0 to 100. The same callers stay selected as it grows.
        #[arg(long, value_name = "NUMBER", value_parser = percent)]
        percent: Option<f64>,
        /// Only for these tenants, separated by commas.
        #[arg(long, value_name = "NAMES", value_delimiter = ',')]
        tenants: Vec<String>,
        /// Only for these tiers, separated by commas.
        #[arg(long, value_name = "NAMES", value_delimiter = ',')]
        tiers: Vec<String>,
        #[command(flatten)]
        change: Change,
    },
    /// Switch a flag off for everybody.
    Off {
        /// The flag.
        #[arg(value_name = "KEY")]
        key: String,
        #[command(flatten)]
        change: Change,
    },
    /// Undo the last change of a flag, or go back to a version. An undo is a change too.
    Undo {
        /// The flag.
        #[arg(value_name = "KEY")]
        key: String,
        /// The version to go back to; 0 is the configuration.
        #[arg(long, value_name = "VERSION")]
        to: Option<u64>,
        #[command(flatten)]
        change: Change,
    },
}

/// What every change has.
#[derive(Args)]
struct Change {
    /// Why; stored in the flag's history.
    #[arg(long, value_name = "WHY")]
    note: Option<String>,
    /// Refuse the change if the flag has another version than this one, which `show` has told.
    #[arg(long, value_name = "VERSION")]
    if_version: Option<u64>,
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.trim_end_matches('%').trim_end().parse().ok().filter(|number| (0.0..=100.0).contains(number));
    number.ok_or_else(|| "expected a percentage from 0 to 100, such as 10 or 2.5".into())
}

/// Asks the admin address. Exit code 1: the gateway cannot be asked, or it refuses the change.
pub fn run(arguments: &Arguments) -> ExitCode {
    end(act(arguments))
}

fn act(arguments: &Arguments) -> Result<(), String> {
    let remote = Remote::new(&arguments.options.url)?;
    let (json, text) = in_runtime(async {
        match &arguments.action {
            Action::List => {
                let (json, answer) = remote.ask_json(Method::GET, paths::FLAGS, None).await?;
                Ok((json, list(&answer)))
            }
            Action::Show { key } => show(&remote, key).await,
            Action::On { key, percent, tenants, tiers, change } => {
                let mut body = json!({"enabled": true, "tenants": tenants, "tiers": tiers, "note": change.note});
                if let Some(percent) = percent {
                    body["rolloutPercentage"] = json!(percent);
                }
                alter(&remote, key, Method::PUT, "", &body, change.if_version).await
            }
            Action::Off { key, change } => {
                let body = json!({"enabled": false, "note": change.note});
                alter(&remote, key, Method::PUT, "", &body, change.if_version).await
            }
            Action::Undo { key, to, change } => {
                let body = json!({"to": to, "note": change.note});
                alter(&remote, key, Method::POST, "/undo", &body, change.if_version).await
            }
        }
    })?;
    if arguments.options.json { put_json(&json) } else { put(&text) }
}

/// The path of a flag.
fn path(key: &str) -> Result<String, String> {
    match is_segment(key) {
        true => Ok(format!("{}/{key}", paths::FLAGS)),
        false => Err(format!("{key:?} is not the key of a flag: `tidegate flags list` shows them")),
    }
}

async fn show(remote: &Remote, key: &str) -> Result<(Bytes, String), String> {
    let path = path(key)?;
    let (_, mut flag) = remote.ask_json(Method::GET, &path, None).await?;
    let (_, mut changes) = remote.ask_json(Method::GET, &format!("{path}/history"), None).await?;
    let text = one(&flag, &changes["history"]);
    flag["history"] = changes["history"].take();
    Ok((flag.to_string().into(), text))
}

/// Changes a flag, if it still is as it was read, or as the operator has seen it.
async fn alter(
    remote: &Remote,
    key: &str,
    method: Method,
    what: &str,
    body: &Value,
    seen: Option<u64>,
) -> Result<(Bytes, String), String> {
    let path = path(key)?;
    let (_, before) = remote.ask_json(Method::GET, &path, None).await?;
    let version = seen.or(before["version"].as_u64());
    let answer = remote.ask_if(method, &format!("{path}{what}"), Some(body), version).await;
    let answer = answer.map_err(|refusal| match refusal {
        Refusal { status: Some(StatusCode::CONFLICT), text } => {
            format!("{text}\nNothing was changed. `tidegate flags show {key}` tells who changed the flag, and why.")
        }
        Refusal { text, .. } => text,
    })?;
    let (json, after) = remote.read(answer)?;
    let text = format!(
        "{key}: {} -> {} (version {})\n`tidegate flags undo {key}` takes it back.\n{}",
        text(&before["is"]),
        text(&after["is"]),
        after["version"],
        if after["persisted"] == false { FORGOTTEN } else { "" },
    );
    Ok((json, text))
}

const FORGOTTEN: &str =
    "Changes are in this gateway's memory only: a restart forgets them. `flags.state_file` or Redis stores them.\n";

/// What a flag switches, such as `provider openai`.
fn switched(flag: &Value) -> String {
    let switches = flag["switches"].as_object().into_iter().flatten();
    switches.map(|(what, name)| format!("{what} {}", text(name))).collect()
}

fn list(answer: &Value) -> String {
    let mut rows = vec![["FLAG", "SWITCHES", "IS", "SET BY", "SINCE", "NOTE"].map(String::from)];
    for flag in answer["flags"].as_array().into_iter().flatten() {
        let is = text(&flag["is"]) + if flag["obstacle"].is_string() { " (cannot be switched on)" } else { "" };
        let (by, since) = (text(&flag["updatedBy"]), text(&flag["updatedAt"]));
        rows.push([text(&flag["key"]), switched(flag), is, by, since, text(&flag["note"])]);
    }
    let kept = match (answer["persisted"].as_bool(), answer["kept"].as_str()) {
        (Some(true), Some("redis")) => "Changes are stored in Redis, for all gateways.\n",
        (Some(true), _) => "Changes are stored in a file (`flags.state_file`), for this gateway.\n",
        _ => FORGOTTEN,
    };
    format!("{}\n{kept}", aligned(&rows))
}

fn one(flag: &Value, history: &Value) -> String {
    let mut rows: Vec<[String; 2]> = Vec::new();
    let mut row = |name: &str, value: String| rows.push([name.into(), value]);
    row("flag", text(&flag["key"]));
    row("switches", switched(flag));
    row("is", text(&flag["is"]));
    if let Some(why) = flag["obstacle"].as_str() {
        row("cannot be switched on", why.into());
    }
    row("set by", text(&flag["updatedBy"]));
    if flag["updatedAt"].is_string() {
        row("since", text(&flag["updatedAt"]));
    }
    if flag["note"].is_string() {
        row("note", text(&flag["note"]));
    }
    row("version", flag["version"].to_string());
    let mut out = aligned(&rows);
    let changes = history.as_array().map(Vec::as_slice).unwrap_or_default();
    if changes.is_empty() {
        out.push_str("\nIt was never changed here: it follows the configuration.\n");
        return out;
    }
    let mut rows = vec![["VERSION", "WHEN", "WHAT", "BECAME", "BY", "FROM", "NOTE"].map(String::from)];
    rows.extend(changes.iter().map(|change| {
        [
            change["version"].to_string(),
            text(&change["updatedAt"]),
            text(&change["what"]),
            text(&change["is"]),
            text(&change["updatedBy"]),
            text(&change["updatedFrom"]),
            text(&change["note"]),
        ]
    }));
    // Writing to a String cannot fail.
    let _ = write!(out, "\n{}", aligned_with_numbers(&rows, &[0]));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_key_goes_into_no_path() {
        assert_eq!(path("use_openai").unwrap(), "/api/flags/use_openai");
        for wrong in ["", "..", "a/b", "a?b", "a b"] {
            assert!(path(wrong).unwrap_err().contains("flags list"), "{wrong:?}");
        }
    }

    #[test]
    fn a_percentage_is_a_number_up_to_a_hundred() {
        assert_eq!((percent("10"), percent("2.5%")), (Ok(10.0), Ok(2.5)));
        for wrong in ["101", "-1", "NaN", "half", ""] {
            assert!(percent(wrong).is_err(), "{wrong:?}");
        }
    }
}
