//! `tidegate flags list|show|on|off|undo`: asks a running gateway for its flags, and switches them.
//!
//! A change is refused if somebody else changed the flag since it was read. It does not know what a flag switches.

use std::fmt::Write as _;
use std::process::ExitCode;

use bytes::Bytes;
use clap::{Args, Subcommand};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::output::{put, put_json};
use super::remote::{Options, Refusal, Remote, is_segment};
use super::serve::{end, in_runtime};
use super::table::{aligned, aligned_with_numbers};
use crate::model::operator_paths as paths;
use crate::model::text::clean;

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
                let (json, answer) = remote.ask(Method::GET, paths::FLAGS, None).await?;
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
    let (flag_json, flag) = remote.ask(Method::GET, &path, None).await?;
    let (history_json, history) = remote.ask(Method::GET, &format!("{path}/history"), None).await?;
    // Both have been read once.
    let value = |json: &Bytes| serde_json::from_slice::<Value>(json).unwrap_or_default();
    let (mut shown, mut changes) = (value(&flag_json), value(&history_json));
    shown["history"] = changes["history"].take();
    Ok((shown.to_string().into(), one(&flag, &history)))
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
    let (_, before): (_, Flag) = remote.ask(Method::GET, &path, None).await?;
    let version = seen.unwrap_or(before.version);
    let answer = remote.ask_if(method, &format!("{path}{what}"), Some(body), Some(version)).await;
    let (json, after): (_, Flag) = match answer {
        Ok(answer) => answer,
        Err(Refusal { status: Some(StatusCode::CONFLICT), text }) => {
            let (_, now): (_, Flag) = remote.ask(Method::GET, &path, None).await?;
            let hint = match now.version > version {
                true => format!(" `tidegate flags show {key}` tells who changed the flag, and why."),
                false => String::new(),
            };
            return Err(format!("{text}\nNothing was changed.{hint}"));
        }
        Err(refusal) => return Err(refusal.text),
    };
    let change = format!("{} -> {} (version {})", before.is, after.is, after.version);
    let forgotten = if after.persisted { "" } else { FORGOTTEN };
    Ok((json, format!("{key}: {}\n`tidegate flags undo {key}` takes it back.\n{forgotten}", clean(&change))))
}

const FORGOTTEN: &str =
    "Changes are in this gateway's memory only: a restart forgets them. `flags.state_file` or Redis stores them.\n";

/// All flags, as a gateway tells them.
#[derive(Deserialize)]
struct List {
    flags: Vec<Flag>,
    persisted: bool,
    kept: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Flag {
    key: String,
    switches: Map<String, Value>,
    /// For whom it is on, in words.
    is: String,
    /// Why it cannot be switched on.
    obstacle: Option<String>,
    version: u64,
    updated_by: String,
    updated_at: Option<String>,
    note: Option<String>,
    persisted: bool,
}

#[derive(Deserialize)]
struct History {
    history: Vec<FlagChange>,
}

/// A change that was made.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FlagChange {
    version: u64,
    what: String,
    /// For whom it is on, in words.
    is: String,
    updated_by: String,
    updated_at: String,
    updated_from: Option<String>,
    note: Option<String>,
}

impl Flag {
    /// What it switches, such as `provider openai`.
    fn switched(&self) -> String {
        self.switches.iter().map(|(what, name)| format!("{what} {}", name.as_str().unwrap_or_default())).collect()
    }
}

fn list(answer: &List) -> String {
    let mut rows = vec![["FLAG", "SWITCHES", "IS", "SET BY", "SINCE", "NOTE"].map(String::from)];
    for flag in &answer.flags {
        let obstacle = if flag.obstacle.is_some() { " (cannot be switched on)" } else { "" };
        rows.push([
            flag.key.clone(),
            flag.switched(),
            format!("{}{obstacle}", flag.is),
            flag.updated_by.clone(),
            flag.updated_at.clone().unwrap_or_default(),
            flag.note.clone().unwrap_or_default(),
        ]);
    }
    let kept = match (answer.persisted, &*answer.kept) {
        (true, "redis") => "Changes are stored in Redis, for all gateways.\n",
        (true, _) => "Changes are stored in a file (`flags.state_file`), for this gateway.\n",
        (false, _) => FORGOTTEN,
    };
    format!("{}\n{kept}", aligned(&rows))
}

fn one(flag: &Flag, History { history }: &History) -> String {
    let mut rows: Vec<[String; 2]> = Vec::new();
    let mut row = |name: &str, value: &str| rows.push([name.into(), value.into()]);
    row("flag", &flag.key);
    row("switches", &flag.switched());
    row("is", &flag.is);
    if let Some(why) = &flag.obstacle {
        row("cannot be switched on", why);
    }
    row("set by", &flag.updated_by);
    if let Some(since) = &flag.updated_at {
        row("since", since);
    }
    if let Some(note) = &flag.note {
        row("note", note);
    }
    row("version", &flag.version.to_string());
    let mut out = aligned(&rows);
    if history.is_empty() {
        out.push_str("\nIt was never changed here: it follows the configuration.\n");
        return out;
    }
    let mut rows = vec![["VERSION", "WHEN", "WHAT", "BECAME", "BY", "FROM", "NOTE"].map(String::from)];
    rows.extend(history.iter().map(|change| {
        [
            change.version.to_string(),
            change.updated_at.clone(),
            change.what.clone(),
            change.is.clone(),
            change.updated_by.clone(),
            change.updated_from.clone().unwrap_or_default(),
            change.note.clone().unwrap_or_default(),
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
